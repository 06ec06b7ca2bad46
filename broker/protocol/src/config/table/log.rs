//! The log of every partition, and its cleaner.

use super::super::option::{ConfigOption, Kind, bool, double, int, list, long, string, unset};

const FOREVER: &str = "9223372036854775807";

pub(super) const OPTIONS: &[ConfigOption] = &[
    int("log.segment.bytes", "1073741824", "Size at which a new segment begins.").min(1_048_576).cluster_wide(),
    unset("log.roll.ms", Kind::Long, "Age at which a new segment begins. Unset: `log.roll.hours`.")
        .min(1)
        .cluster_wide(),
    int("log.roll.hours", "168", "Age at which a new segment begins, in hours.").min(1),
    unset(
        "log.roll.jitter.ms",
        Kind::Long,
        "Most that is taken off that age, of each segment another part, so that not all roll at once. Unset: \
         `log.roll.jitter.hours`.",
    )
    .min(0)
    .cluster_wide(),
    int("log.roll.jitter.hours", "0", "The same in hours.").min(0),
    unset(
        "log.retention.ms",
        Kind::Long,
        "Age at which a segment is deleted; -1: never. Unset: `log.retention.minutes`.",
    )
    .min(-1)
    .cluster_wide(),
    unset("log.retention.minutes", Kind::Int, "The same in minutes. Unset: `log.retention.hours`.").min(-1),
    int("log.retention.hours", "168", "The same in hours.").min(-1),
    long(
        "log.retention.bytes",
        "-1",
        "Size of a partition beyond which its oldest segments are deleted; -1: no limit.",
    )
    .min(-1)
    .cluster_wide(),
    long("log.retention.check.interval.ms", "300000", "How often segments are looked at for deletion.").min(1),
    list(
        "log.cleanup.policy",
        "delete",
        "What happens to old records: `delete` drops old segments, `compact` keeps the last \
         record of each key.",
    )
    .one_of(&["compact", "delete"])
    .cluster_wide(),
    int(
        "log.index.size.max.bytes",
        "10485760",
        "Largest offset or time index of a segment. A full index begins a new segment.",
    )
    .min(4)
    .cluster_wide(),
    int("log.index.interval.bytes", "4096", "Bytes of records between two entries of an index.").min(0).cluster_wide(),
    long(
        "log.flush.interval.messages",
        FOREVER,
        "Records after which a log is forced to disk. The produce request that completes them, with \
         acks=1 or all, is answered after that; 1: every one, and consumers see only what is on disk. Producers \
         that wait together share a sync.",
    )
    .min(1)
    .cluster_wide(),
    unset(
        "log.flush.interval.ms",
        Kind::Long,
        "Time after which a log is forced to disk, looked at five times a second; after 5 s it always is. Unset: \
         `log.flush.scheduler.interval.ms`.",
    )
    .min(0)
    .cluster_wide(),
    long(
        "log.flush.scheduler.interval.ms",
        FOREVER,
        "How often Kafka looks for logs to force to disk; here only the default of \
         `log.flush.interval.ms`.",
    ),
    int("log.flush.offset.checkpoint.interval.ms", "60000", "How often the recovery points are written down.")
        .min(0)
        .later(),
    int("log.flush.start.offset.checkpoint.interval.ms", "60000", "How often the log start offsets are written down.")
        .min(0)
        .later(),
    long(
        "log.segment.delete.delay.ms",
        "60000",
        "How long a deleted segment stays on disk, renamed, for readers that are still at it.",
    )
    .min(0)
    .cluster_wide(),
    long("log.local.retention.bytes", "-2", "Of tiered storage.").min(-2).cluster_wide().ignored(),
    long("log.local.retention.ms", "-2", "Of tiered storage.").min(-2).cluster_wide().ignored(),
    bool("log.preallocate", "false", "Whether a new segment reserves its whole size on disk.").cluster_wide().ignored(),
    string(
        "log.message.timestamp.type",
        "CreateTime",
        "Whose clock stamps a record: the producer's or, with LogAppendTime, the broker's.",
    )
    .one_of(&["CreateTime", "LogAppendTime"])
    .cluster_wide(),
    long("log.message.timestamp.before.max.ms", FOREVER, "How far in the past a producer's timestamp may lie.")
        .min(0)
        .cluster_wide(),
    long("log.message.timestamp.after.max.ms", "3600000", "How far in the future a producer's timestamp may lie.")
        .min(0)
        .cluster_wide(),
    int("message.max.bytes", "1048588", "Largest batch, as it is sent.").min(0).cluster_wide(),
    string(
        "compression.type",
        "producer",
        "Codec in which batches are stored: `producer` keeps each as it was sent, and with another value the broker \
         compresses anew what was sent in another codec.",
    )
    .one_of(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"])
    .cluster_wide(),
    int(
        "compression.gzip.level",
        "-1",
        "Level where the broker compresses with gzip. Millrace takes the codec's own default.",
    )
    .min(-1)
    .max(9)
    .cluster_wide()
    .ignored(),
    int(
        "compression.lz4.level",
        "9",
        "Level where the broker compresses with lz4. Millrace takes the codec's own default.",
    )
    .min(1)
    .max(17)
    .cluster_wide()
    .ignored(),
    int(
        "compression.zstd.level",
        "3",
        "Level where the broker compresses with zstd. Millrace takes the codec's own default.",
    )
    .min(-131_072)
    .max(22)
    .cluster_wide()
    .ignored(),
    int("num.recovery.threads.per.data.dir", "2", "Threads that open and check the logs at the start.")
        .min(1)
        .cluster_wide(),
    long("log.initial.task.delay.ms", "30000", "How long after the start background work on logs begins.").min(0),
    long(
        "log.dir.failure.timeout.ms",
        "30000",
        "How long Kafka runs on when it cannot tell the controller of a failed directory.",
    )
    .min(1)
    .ignored(),
];

pub(super) const CLEANER: &[ConfigOption] = &[
    bool("log.cleaner.enable", "true", "Whether compacted topics are compacted. Internal topics need it."),
    int("log.cleaner.threads", "1", "Threads that compact, each another log. No more than 64 work.")
        .min(0)
        .cluster_wide(),
    double(
        "log.cleaner.io.max.bytes.per.second",
        "1.7976931348623157E308",
        "Bytes a second, read and written together, that compaction may use.",
    )
    .cluster_wide(),
    long(
        "log.cleaner.dedupe.buffer.size",
        "134217728",
        "Memory that the maps from key to offset may take in all passes that go on at a time. They grow with the \
         keys; less than 1 MiB for each counts as 1 MiB.",
    )
    .min(1)
    .cluster_wide(),
    int("log.cleaner.io.buffer.size", "524288", "Memory for reading and writing.").min(0).cluster_wide().ignored(),
    double("log.cleaner.io.buffer.load.factor", "0.9", "How full the map may become.").cluster_wide(),
    long("log.cleaner.backoff.ms", "15000", "Pause when there is nothing to compact.").min(0).cluster_wide(),
    double(
        "log.cleaner.min.cleanable.ratio",
        "0.5",
        "Share of a log that must be new since the last pass before it is compacted again.",
    )
    .min(0)
    .max(1)
    .cluster_wide(),
    long(
        "log.cleaner.delete.retention.ms",
        "86400000",
        "How long the record that deletes a key stays visible in a compacted log.",
    )
    .min(0)
    .cluster_wide(),
    long("log.cleaner.min.compaction.lag.ms", "0", "How long a record is safe from compaction.").min(0).cluster_wide(),
    long("log.cleaner.max.compaction.lag.ms", FOREVER, "How long a record may wait for compaction.")
        .min(1)
        .cluster_wide(),
];
