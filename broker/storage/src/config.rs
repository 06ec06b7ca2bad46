use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::num::NonZeroU64;
use std::path::Path;

use protocol::types::Offset;

/// The topic options that the log uses, under Kafka's names. May change while the log is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`
    pub segment_bytes: u64,
    /// `segment.ms`
    pub segment_ms: i64,
    /// `segment.jitter.ms`
    pub segment_jitter_ms: i64,
    /// `index.interval.bytes`
    pub index_interval_bytes: u64,
    /// `segment.index.bytes`
    pub segment_index_bytes: usize,
    /// `producer.id.expiration.ms`
    pub producer_id_expiration_ms: i64,
    /// `flush.messages`
    pub flush_messages: i64,
    /// `flush.ms`
    pub flush_ms: i64,
    /// `cleanup.policy` has `compact`: there may be gaps between offsets anywhere.
    pub compacted: bool,
}

impl LogConfig {
    /// Age at which a segment is closed: `segment.ms` minus a part of the jitter that depends on the segment, and is
    /// the same after every start.
    pub(crate) fn segment_age_ms_max(&self, directory: &Path, base: Offset) -> i64 {
        let jitter = u64::try_from(self.segment_jitter_ms.min(self.segment_ms)).unwrap_or(0);
        let mut hasher = DefaultHasher::new();
        let part = NonZeroU64::new(jitter).map_or(0, |jitter| {
            (directory, base.0).hash(&mut hasher);
            hasher.finish() % jitter
        });
        self.segment_ms.saturating_sub_unsigned(part)
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3_600_000,
            segment_jitter_ms: 0,
            index_interval_bytes: 4096,
            segment_index_bytes: 10 << 20,
            producer_id_expiration_ms: 24 * 3_600_000,
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
            compacted: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn jitter_takes_a_part_of_its_own_off_the_age_of_every_segment() {
        let age = |segment_jitter_ms, directory: &str, base| {
            let config = LogConfig { segment_ms: 1000, segment_jitter_ms, ..LogConfig::default() };
            config.segment_age_ms_max(Path::new(directory), Offset(base))
        };
        assert_eq!(age(0, "t-0", 7), 1000);
        for (jitter, least) in [(400, 601), (i64::MAX, 1)] {
            let ages: BTreeSet<_> = (0..100).map(|base| age(jitter, "t-0", base)).collect();
            assert!(50 < ages.len() && ages.iter().all(|age| (least..=1000).contains(age)), "{ages:?}");
            assert_eq!(age(jitter, "t-0", 7), age(jitter, "t-0", 7));
            assert_ne!(age(jitter, "t-0", 7), age(jitter, "t-1", 7));
        }
    }
}
