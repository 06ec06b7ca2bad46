//! Replicas, leaders and ISRs.

use super::super::option::{ConfigOption, Kind, bool, int, long, unset};

pub(super) const OPTIONS: &[ConfigOption] = &[
    int("default.replication.factor", "1", "Replicas of a topic whose creation says nothing about them.")
        .min(1)
        .max(32_767),
    int(
        "min.insync.replicas",
        "1",
        "How many replicas must have a record before it is acknowledged with acks=all and becomes \
         visible. The file's value is what a new cluster begins with; from then on the cluster has \
         its own, which `kafka-configs --entity-default` changes.",
    )
    .min(1)
    .cluster_only(),
    bool(
        "unclean.leader.election.enable",
        "false",
        "Whether a replica outside the in-sync set may lead when no other is left, at the price \
         of lost records.",
    )
    .cluster_wide(),
    long(
        "unclean.leader.election.interval.ms",
        "300000",
        "How often partitions without a leader are tried again where that is enabled.",
    )
    .min(1),
    bool("auto.leader.rebalance.enable", "true", "Whether leadership returns to the preferred replica by itself."),
    long("leader.imbalance.check.interval.seconds", "300", "How often that is looked at.").min(1),
    long("replica.lag.time.max.ms", "30000", "A follower that has not caught up for this long leaves the in-sync set.")
        .min(1),
    int("replica.socket.timeout.ms", "30000", "How long a follower's fetch may take.").min(1),
    int(
        "replica.socket.receive.buffer.bytes",
        "65536",
        "Receive buffer of a follower's connection; -1: the system's own.",
    )
    .min(-1)
    .ignored(),
    int("replica.fetch.max.bytes", "1048576", "Bytes that a follower asks for per partition.").min(0),
    int(
        "replica.fetch.wait.max.ms",
        "500",
        "How long a leader may hold back a follower's fetch while there is nothing new.",
    )
    .min(0),
    int("replica.fetch.min.bytes", "1", "Bytes that a leader collects before it answers a follower.").min(0),
    int("replica.fetch.backoff.ms", "1000", "Pause of a follower after an error.").min(0),
    int("replica.fetch.response.max.bytes", "10485760", "Bytes that a follower asks for in all.").min(0),
    int("num.replica.fetchers", "1", "Connections to each leader for following. There are two at least.")
        .min(1)
        .restart(),
    unset(
        "num.replica.alter.log.dirs.threads",
        Kind::Int,
        "Threads that move replicas between directories, of which there is one.",
    )
    .ignored(),
    long(
        "replica.high.watermark.checkpoint.interval.ms",
        "5000",
        "How often Kafka writes the high watermarks down. Here that is done with the recovery points, whenever logs \
         have been synced.",
    )
    .min(1)
    .ignored(),
    unset(
        "replica.selector.class",
        Kind::String,
        "Java class that chooses the replica a consumer reads from. Kafka's own two are known by \
         name.",
    )
    .one_of(&[
        "",
        "org.apache.kafka.common.replica.LeaderSelector",
        "org.apache.kafka.common.replica.RackAwareReplicaSelector",
    ]),
];
