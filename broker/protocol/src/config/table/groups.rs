//! Groups and committed offsets.

use super::super::option::{ConfigOption, bool, int, list, long, short, string};
use super::same;

pub(super) const OPTIONS: &[ConfigOption] = &[
    int("group.min.session.timeout.ms", "6000", "Shortest session timeout that a classic member may ask for.").min(0),
    int("group.max.session.timeout.ms", "1800000", "Longest session timeout that a classic member may ask for.").min(0),
    int(
        "group.initial.rebalance.delay.ms",
        "3000",
        "How long the first rebalance of an empty group waits for more members.",
    )
    .min(0),
    int("group.max.size", "2147483647", "Most members of a classic group.").min(1),
    list("group.coordinator.rebalance.protocols", "classic,consumer,streams", "Group protocols that are offered.")
        .one_of(&["classic", "consumer", "share", "streams"])
        .ignored(),
    int("group.coordinator.threads", "4", "Kafka's coordinator threads.").min(1).ignored(),
    int("group.coordinator.append.linger.ms", "5", "How long the coordinator collects records before it writes them.")
        .min(-1)
        .ignored(),
    int("offset.metadata.max.bytes", "4096", "Longest metadata string of a committed offset.").min(0),
    int("offsets.load.buffer.size", "5242880", "Bytes read at a time when a coordinator loads.").min(1).ignored(),
    int("offsets.retention.minutes", "10080", "How long the offsets of a group without members are kept.").min(1),
    long("offsets.retention.check.interval.ms", "600000", "How often expired offsets are looked for.").min(1),
    int("offsets.topic.num.partitions", "50", "Partitions of `__consumer_offsets`. Not to be changed once it exists.")
        .min(1),
    int("offsets.topic.segment.bytes", "104857600", "Segment size of `__consumer_offsets`.").min(1),
    short("offsets.topic.replication.factor", "3", "Replicas of `__consumer_offsets`.").min(1),
    int("offsets.topic.compression.codec", "0", "Codec of its records.").min(0).max(4).ignored(),
    int("offsets.commit.timeout.ms", "5000", "How long a commit may wait for its replicas.").min(1),
    int("group.consumer.session.timeout.ms", "45000", "Session timeout of consumer groups (KIP-848).").min(1).later(),
    int("group.consumer.min.session.timeout.ms", "45000", "Shortest session timeout a group may set.").min(1).later(),
    int("group.consumer.max.session.timeout.ms", "60000", "Longest session timeout a group may set.").min(1).later(),
    int("group.consumer.heartbeat.interval.ms", "5000", "Heartbeat interval of consumer groups.").min(1).later(),
    int("group.consumer.min.heartbeat.interval.ms", "5000", "Shortest heartbeat interval a group may set.")
        .min(1)
        .later(),
    int("group.consumer.max.heartbeat.interval.ms", "15000", "Longest heartbeat interval a group may set.")
        .min(1)
        .later(),
    int("group.consumer.max.size", "2147483647", "Most members of a consumer group.").min(1).later(),
    list("group.consumer.assignors", "uniform,range", "Assignors of consumer groups, the first being the default.")
        .one_of(&["uniform", "range"])
        .later(),
    string(
        "group.consumer.migration.policy",
        "bidirectional",
        "Whether classic and consumer groups may turn into each other.",
    )
    .one_of(&["disabled", "upgrade", "downgrade", "bidirectional"])
    .later(),
    int(
        "group.consumer.regex.refresh.interval.ms",
        "600000",
        "How often a subscription by pattern is matched against the topics.",
    )
    .min(10_000)
    .later(),
];

pub(super) const SHARE: &[ConfigOption] = &[
    bool("group.share.enable", "false", "Share groups (KIP-932).").ignored(),
    int("group.share.max.size", "200", "Most members of a share group.").min(1).max(1000).ignored(),
    int("group.share.session.timeout.ms", "45000", "Session timeout of share groups.").min(1).ignored(),
    int("group.share.min.session.timeout.ms", "45000", "Shortest session timeout a share group may set.")
        .min(1)
        .ignored(),
    int("group.share.max.session.timeout.ms", "60000", "Longest session timeout a share group may set.")
        .min(1)
        .ignored(),
    int("group.share.heartbeat.interval.ms", "5000", "Heartbeat interval of share groups.").min(1).ignored(),
    int("group.share.min.heartbeat.interval.ms", "5000", "Shortest heartbeat interval a share group may set.")
        .min(1)
        .ignored(),
    int("group.share.max.heartbeat.interval.ms", "15000", "Longest heartbeat interval a share group may set.")
        .min(1)
        .ignored(),
    list("group.share.assignors", "simple", "Assignors of share groups.").one_of(&["simple"]).ignored(),
    int("group.share.max.share.sessions", "2000", "Most share sessions of this broker.").min(1).ignored(),
    int("group.share.delivery.count.limit", "5", "Deliveries of a record before it is given up.")
        .min(2)
        .max(10)
        .ignored(),
    int("group.share.record.lock.duration.ms", "30000", "How long a delivered record stays locked.")
        .min(1000)
        .max(3_600_000)
        .ignored(),
    int("group.share.min.record.lock.duration.ms", "15000", "Shortest lock a share group may set.")
        .min(1000)
        .max(30_000)
        .ignored(),
    int("group.share.max.record.lock.duration.ms", "60000", "Longest lock a share group may set.")
        .min(30_000)
        .max(3_600_000)
        .ignored(),
    int("group.share.partition.max.record.locks", "2000", "Most locked records of a partition.")
        .min(100)
        .max(10_000)
        .ignored(),
    int("share.coordinator.state.topic.num.partitions", "50", "Partitions of `__share_group_state`.").min(1).ignored(),
    short("share.coordinator.state.topic.replication.factor", "3", "Replicas of `__share_group_state`.")
        .min(1)
        .ignored(),
    short("share.coordinator.state.topic.min.isr", "2", "min.insync.replicas of `__share_group_state`.")
        .min(1)
        .ignored(),
    int("share.coordinator.state.topic.segment.bytes", "104857600", "Segment size of `__share_group_state`.")
        .min(1)
        .ignored(),
    int("share.coordinator.state.topic.compression.codec", "0", "Codec of its records.").min(0).max(4).ignored(),
    int("share.coordinator.threads", "1", "Kafka's threads for it.").min(1).ignored(),
    int(
        "share.coordinator.snapshot.update.records.per.snapshot",
        "500",
        "Updates between two snapshots of a share group's state.",
    )
    .min(0)
    .ignored(),
    int("share.coordinator.load.buffer.size", "5242880", "Bytes read at a time when it loads.").min(1).ignored(),
    int("share.coordinator.append.linger.ms", "5", "How long it collects records before it writes them.")
        .min(-1)
        .ignored(),
    int("share.coordinator.write.timeout.ms", "5000", "How long a write of its state may wait for replicas.")
        .min(1)
        .ignored(),
];

pub(super) const STREAMS: &[ConfigOption] = &[
    int("group.streams.session.timeout.ms", "45000", "Session timeout of streams groups (KIP-1071).").min(1).ignored(),
    int("group.streams.min.session.timeout.ms", "45000", "Shortest session timeout a streams group may set.")
        .min(1)
        .ignored(),
    int("group.streams.max.session.timeout.ms", "60000", "Longest session timeout a streams group may set.")
        .min(1)
        .ignored(),
    int("group.streams.heartbeat.interval.ms", "5000", "Heartbeat interval of streams groups.").min(1).ignored(),
    int("group.streams.min.heartbeat.interval.ms", "5000", "Shortest heartbeat interval a streams group may set.")
        .min(1)
        .ignored(),
    int("group.streams.max.heartbeat.interval.ms", "15000", "Longest heartbeat interval a streams group may set.")
        .min(1)
        .ignored(),
    int("group.streams.max.size", "2147483647", "Most members of a streams group.").min(1).ignored(),
    int("group.streams.num.standby.replicas", "0", "Standby replicas of a streams group's tasks.").min(0).ignored(),
    int("group.streams.max.standby.replicas", "2", "Most standby replicas a streams group may set.").min(0).ignored(),
];

/// Options of a group.
pub(super) const OF_ONE_GROUP: &[ConfigOption] = &[
    int("consumer.session.timeout.ms", "45000", "Session timeout of a consumer group.")
        .min(1)
        .or_from(&[same("group.consumer.session.timeout.ms")])
        .later(),
    int("consumer.heartbeat.interval.ms", "5000", "Heartbeat interval of a consumer group.")
        .min(1)
        .or_from(&[same("group.consumer.heartbeat.interval.ms")])
        .later(),
    int("share.session.timeout.ms", "45000", "Session timeout of a share group.")
        .min(1)
        .or_from(&[same("group.share.session.timeout.ms")])
        .ignored(),
    int("share.heartbeat.interval.ms", "5000", "Heartbeat interval of a share group.")
        .min(1)
        .or_from(&[same("group.share.heartbeat.interval.ms")])
        .ignored(),
    int("share.record.lock.duration.ms", "30000", "How long a record delivered to a share group stays locked.")
        .min(1000)
        .max(3_600_000)
        .or_from(&[same("group.share.record.lock.duration.ms")])
        .ignored(),
    string("share.auto.offset.reset", "latest", "Where a share group begins without an offset.")
        .one_of(&["earliest", "latest"])
        .ignored(),
    string("share.isolation.level", "read_uncommitted", "Whether a share group reads records of open transactions.")
        .one_of(&["read_committed", "read_uncommitted"])
        .ignored(),
    int("streams.session.timeout.ms", "45000", "Session timeout of a streams group.")
        .min(1)
        .or_from(&[same("group.streams.session.timeout.ms")])
        .ignored(),
    int("streams.heartbeat.interval.ms", "5000", "Heartbeat interval of a streams group.")
        .min(1)
        .or_from(&[same("group.streams.heartbeat.interval.ms")])
        .ignored(),
    int("streams.num.standby.replicas", "0", "Standby replicas of a streams group's tasks.")
        .min(0)
        .or_from(&[same("group.streams.num.standby.replicas")])
        .ignored(),
];
