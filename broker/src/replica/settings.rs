//! A topic's options, parsed for its partitions.

use std::time::Duration;

use protocol::batch::Compression;
use protocol::config::{self, Scope, Value, Values};
use protocol::produce::{BatchRules, TimestampRule};
use protocol::types::BrokerId;
use storage::{CompactionRules, LogConfig, Retention};

use super::throttle::ThrottledPartitions;
use crate::metadata::{ConfigResource, Image};

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TopicSettings {
    pub(crate) log: LogConfig,
    pub(crate) rules: BatchRules,
    pub(crate) min_insync_replicas: usize,
    /// `cleanup.policy` contains `delete`.
    pub(crate) records_deletable: bool,
    pub(crate) retention: Retention,
    /// Set if `cleanup.policy` contains `compact`.
    pub(crate) compaction: Option<CompactionRules>,
    pub(crate) file_delete_delay: Duration,
    /// Throttled when others fetch from here.
    pub(super) throttled_leaders: ThrottledPartitions,
    /// Throttled when fetched from others.
    pub(super) throttled_followers: ThrottledPartitions,
}

impl TopicSettings {
    /// The topic's own options, otherwise those of broker `id`.
    pub(crate) fn of(image: &Image, topic: &str, id: BrokerId, broker: &Values) -> Self {
        let topic = image.own_values(Scope::Topic, &ConfigResource::topic(topic));
        Effective { topic: &topic, id, broker }.settings()
    }
}

struct Effective<'a> {
    topic: &'a Values,
    id: BrokerId,
    broker: &'a Values,
}

impl Effective<'_> {
    fn settings(&self) -> TopicSettings {
        TopicSettings {
            log: LogConfig {
                segment_bytes: u64::try_from(self.number("segment.bytes")).unwrap_or(0),
                segment_ms: self.segment_ms(),
                segment_jitter_ms: self.number("segment.jitter.ms"),
                index_interval_bytes: u64::try_from(self.number("index.interval.bytes")).unwrap_or(0),
                segment_index_bytes: usize::try_from(self.number("segment.index.bytes")).unwrap_or(0),
                producer_id_expiration_ms: self.broker.get_long("producer.id.expiration.ms"),
                flush_messages: self.number("flush.messages"),
                flush_ms: self.number("flush.ms"),
                compacted: self.compacts(),
            },
            rules: BatchRules {
                message_bytes_max: usize::try_from(self.number("max.message.bytes")).unwrap_or(0),
                keys_required: self.compacts(),
                timestamps: self.timestamps(),
                codec: self.codec(),
            },
            min_insync_replicas: usize::try_from(self.number("min.insync.replicas")).unwrap_or(1),
            records_deletable: self.deletes(),
            retention: self.retention(),
            compaction: self.compacts().then(|| self.compaction()),
            file_delete_delay: Duration::from_millis(
                u64::try_from(self.number("file.delete.delay.ms")).unwrap_or_default(),
            ),
            throttled_leaders: self.throttled("leader.replication.throttled.replicas"),
            throttled_followers: self.throttled("follower.replication.throttled.replicas"),
        }
    }

    fn throttled(&self, name: &'static str) -> ThrottledPartitions {
        ThrottledPartitions::parse(self.topic.get_list(name), self.id)
    }

    fn deletes(&self) -> bool {
        self.has_word("cleanup.policy", "delete")
    }

    fn compacts(&self) -> bool {
        self.has_word("cleanup.policy", "compact")
    }

    /// Records due for compaction must be in a closed segment by then.
    fn segment_ms(&self) -> i64 {
        let lag_max = if self.compacts() { self.number("max.compaction.lag.ms") } else { i64::MAX };
        self.number("segment.ms").min(lag_max)
    }

    fn compaction(&self) -> CompactionRules {
        CompactionRules {
            dirty_ratio_min: self.fraction("min.cleanable.dirty.ratio"),
            lag_ms_min: self.number("min.compaction.lag.ms"),
            lag_ms_max: self.number("max.compaction.lag.ms"),
            delete_retention_ms: self.number("delete.retention.ms"),
        }
    }

    /// −1 means no limit.
    fn retention(&self) -> Retention {
        if !self.deletes() {
            return Retention::default();
        }
        Retention {
            bytes_max: u64::try_from(self.number("retention.bytes")).ok(),
            age_ms_max: Some(self.number("retention.ms")).filter(|age| 0 <= *age),
        }
    }

    fn timestamps(&self) -> TimestampRule {
        if self.has_word("message.timestamp.type", "LogAppendTime") {
            return TimestampRule::LogAppendTime;
        }
        TimestampRule::CreateTime {
            before_max_ms: self.number("message.timestamp.before.max.ms"),
            after_max_ms: self.number("message.timestamp.after.max.ms"),
        }
    }

    /// `None`: the producer's own.
    fn codec(&self) -> Option<Compression> {
        let codecs = [
            ("uncompressed", Compression::None),
            ("gzip", Compression::Gzip),
            ("snappy", Compression::Snappy),
            ("lz4", Compression::Lz4),
            ("zstd", Compression::Zstd),
        ];
        codecs.into_iter().find(|(name, _)| self.has_word("compression.type", name)).map(|(_, codec)| codec)
    }

    fn value(&self, name: &'static str) -> Option<Value> {
        config::effective_value(self.topic, self.broker, name).map(|effective| effective.value)
    }

    fn number(&self, name: &'static str) -> i64 {
        match self.value(name) {
            Some(Value::Number(number)) => number,
            other => unreachable!("the table has no number {name}: {other:?}"),
        }
    }

    fn fraction(&self, name: &'static str) -> f64 {
        match self.value(name) {
            Some(Value::Double(fraction)) => fraction,
            other => unreachable!("the table has no fraction {name}: {other:?}"),
        }
    }

    fn has_word(&self, name: &'static str, word: &str) -> bool {
        match self.value(name) {
            Some(Value::Text(text)) => text == word,
            Some(Value::List(list)) => list.iter().any(|element| element == word),
            _ => false,
        }
    }
}
