//! Throttling.

use super::super::option::{ConfigOption, Kind, int, long, unset};

const NO_LIMIT: &str = "9223372036854775807";

pub(super) const OPTIONS: &[ConfigOption] = &[
    int("quota.window.num", "11", "Samples of a client quota.").min(1).ignored(),
    int("quota.window.size.seconds", "1", "Length of such a sample.").min(1).ignored(),
    int("replication.quota.window.num", "11", "Samples of the replication throttle.").min(1).ignored(),
    int("replication.quota.window.size.seconds", "1", "Length of such a sample.").min(1).ignored(),
    int("alter.log.dirs.replication.quota.window.num", "11", "Samples of the throttle between directories.")
        .min(1)
        .ignored(),
    int("alter.log.dirs.replication.quota.window.size.seconds", "1", "Length of such a sample.").min(1).ignored(),
    int("controller.quota.window.num", "11", "Samples of the quota on changes of topics.").min(1).ignored(),
    int("controller.quota.window.size.seconds", "1", "Length of such a sample.").min(1).ignored(),
    unset("client.quota.callback.class", Kind::Class, "Java class that decides quotas.")
        .refused("Millrace loads no Java classes"),
    long(
        "leader.replication.throttled.rate",
        NO_LIMIT,
        "Bytes a second that this broker sends for throttled replicas that are not in sync.",
    )
    .min(0)
    .cluster_wide(),
    long(
        "follower.replication.throttled.rate",
        NO_LIMIT,
        "Bytes a second that this broker fetches for throttled replicas that are not in sync.",
    )
    .min(0)
    .cluster_wide(),
    long("replica.alter.log.dirs.io.max.bytes.per.second", NO_LIMIT, "Bytes a second for moves between directories.")
        .min(0)
        .cluster_wide()
        .ignored(),
];
