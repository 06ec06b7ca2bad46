//! Options of a topic.

use super::super::option::{ConfigOption, Element, Synonym, bool, double, int, list, long, string};
use super::same;

const FOREVER: &str = "9223372036854775807";
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;

const THROTTLED_REPLICA: Element =
    Element { expected: "`partition:broker` or `*`", is_one: |replica| replica == "*" || is_pair(replica) };

fn is_pair(replica: &str) -> bool {
    let is_number = |digits: &str| digits.parse::<u32>().is_ok_and(|number| i32::try_from(number).is_ok());
    replica.split_once(':').is_some_and(|(partition, broker)| is_number(partition) && is_number(broker))
}

pub(super) const OPTIONS: &[ConfigOption] = &[
    list(
        "cleanup.policy",
        "delete",
        "What happens to old records: `delete` drops old segments, `compact` keeps the last \
         record of each key, both together do both.",
    )
    .one_of(&["compact", "delete"])
    .or_from(&[same("log.cleanup.policy")]),
    string(
        "compression.type",
        "producer",
        "Codec in which batches are stored: `producer` keeps each as it was sent, and with another value the broker \
         compresses anew what was sent in another codec.",
    )
    .one_of(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"])
    .or_from(&[same("compression.type")]),
    int(
        "compression.gzip.level",
        "-1",
        "Level where the broker compresses with gzip. Millrace takes the codec's own default.",
    )
    .min(-1)
    .max(9)
    .or_from(&[same("compression.gzip.level")])
    .ignored(),
    int(
        "compression.lz4.level",
        "9",
        "Level where the broker compresses with lz4. Millrace takes the codec's own default.",
    )
    .min(1)
    .max(17)
    .or_from(&[same("compression.lz4.level")])
    .ignored(),
    int(
        "compression.zstd.level",
        "3",
        "Level where the broker compresses with zstd. Millrace takes the codec's own default.",
    )
    .min(-131_072)
    .max(22)
    .or_from(&[same("compression.zstd.level")])
    .ignored(),
    long("delete.retention.ms", "86400000", "How long the record that deletes a key stays visible in a compacted log.")
        .min(0)
        .or_from(&[same("log.cleaner.delete.retention.ms")]),
    long("file.delete.delay.ms", "60000", "How long a deleted segment stays on disk, renamed.")
        .min(0)
        .or_from(&[same("log.segment.delete.delay.ms")]),
    long(
        "flush.messages",
        FOREVER,
        "Records after which the log is forced to disk. The produce request that completes them, with \
         acks=1 or all, is answered after that; 1: every one, and consumers see only what is on disk. Producers \
         that wait together share a sync.",
    )
    .min(1)
    .or_from(&[same("log.flush.interval.messages")]),
    long("flush.ms", FOREVER, "Time after which the log is forced to disk; after 5 s it always is.")
        .min(0)
        .or_from(&[same("log.flush.interval.ms"), same("log.flush.scheduler.interval.ms")]),
    list(
        "follower.replication.throttled.replicas",
        "",
        "Replicas whose fetching is throttled: `partition:broker,…` or `*`.",
    )
    .each(THROTTLED_REPLICA),
    list(
        "leader.replication.throttled.replicas",
        "",
        "Replicas whose sending is throttled: `partition:broker,…` or `*`.",
    )
    .each(THROTTLED_REPLICA),
    int("index.interval.bytes", "4096", "Bytes of records between two entries of an index.")
        .min(0)
        .or_from(&[same("log.index.interval.bytes")]),
    long("local.retention.bytes", "-2", "Of tiered storage.")
        .min(-2)
        .or_from(&[same("log.local.retention.bytes")])
        .ignored(),
    long("local.retention.ms", "-2", "Of tiered storage.").min(-2).or_from(&[same("log.local.retention.ms")]).ignored(),
    long("max.compaction.lag.ms", FOREVER, "How long a record may wait for compaction.")
        .min(1)
        .or_from(&[same("log.cleaner.max.compaction.lag.ms")]),
    int("max.message.bytes", "1048588", "Largest batch, as it is sent.").min(0).or_from(&[same("message.max.bytes")]),
    long("message.timestamp.after.max.ms", "3600000", "How far in the future a producer's timestamp may lie.")
        .min(0)
        .or_from(&[same("log.message.timestamp.after.max.ms")]),
    long("message.timestamp.before.max.ms", FOREVER, "How far in the past a producer's timestamp may lie.")
        .min(0)
        .or_from(&[same("log.message.timestamp.before.max.ms")]),
    string(
        "message.timestamp.type",
        "CreateTime",
        "Whose clock stamps a record: the producer's or, with LogAppendTime, the broker's.",
    )
    .one_of(&["CreateTime", "LogAppendTime"])
    .or_from(&[same("log.message.timestamp.type")]),
    double(
        "min.cleanable.dirty.ratio",
        "0.5",
        "Share of the log that must be new since the last pass before it is compacted again.",
    )
    .min(0)
    .max(1)
    .or_from(&[same("log.cleaner.min.cleanable.ratio")]),
    long("min.compaction.lag.ms", "0", "How long a record is safe from compaction.")
        .min(0)
        .or_from(&[same("log.cleaner.min.compaction.lag.ms")]),
    int(
        "min.insync.replicas",
        "1",
        "How many replicas must have a record before it is acknowledged with acks=all and becomes \
         visible.",
    )
    .min(1)
    .or_from(&[same("min.insync.replicas")]),
    bool("preallocate", "false", "Whether a new segment reserves its whole size on disk.")
        .or_from(&[same("log.preallocate")])
        .ignored(),
    bool("remote.log.copy.disable", "false", "Of tiered storage.").ignored(),
    bool("remote.log.delete.on.disable", "false", "Of tiered storage.").ignored(),
    bool("remote.storage.enable", "false", "Tiered storage.").refused("tiered storage is not implemented"),
    long("retention.bytes", "-1", "Size of a partition beyond which its oldest segments are deleted; -1: no limit.")
        .min(-1)
        .or_from(&[same("log.retention.bytes")]),
    long("retention.ms", "604800000", "Age at which a segment is deleted; -1: never.").min(-1).or_from(&[
        same("log.retention.ms"),
        Synonym { name: "log.retention.minutes", factor: MINUTE_MS },
        Synonym { name: "log.retention.hours", factor: HOUR_MS },
    ]),
    int("segment.bytes", "1073741824", "Size at which a new segment begins.")
        .min(1_048_576)
        .or_from(&[same("log.segment.bytes")]),
    int("segment.index.bytes", "10485760", "Largest offset or time index of a segment.")
        .min(4)
        .or_from(&[same("log.index.size.max.bytes")]),
    long(
        "segment.jitter.ms",
        "0",
        "Most that is taken off `segment.ms`, of each segment another part, so that not all roll at once.",
    )
    .min(0)
    .or_from(&[same("log.roll.jitter.ms"), Synonym { name: "log.roll.jitter.hours", factor: HOUR_MS }]),
    long("segment.ms", "604800000", "Age at which a new segment begins.")
        .min(1)
        .or_from(&[same("log.roll.ms"), Synonym { name: "log.roll.hours", factor: HOUR_MS }]),
    bool(
        "unclean.leader.election.enable",
        "false",
        "Whether a replica outside the in-sync set may lead when no other is left, at the price \
         of lost records.",
    )
    .or_from(&[same("unclean.leader.election.enable")]),
];
