//! The counters of each topic that has a partition here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use protocol::types::TopicId;

use crate::metrics::TopicMetrics;

/// The partitions own them: the registry only finds them for further partitions of the topic.
#[derive(Debug, Default)]
pub(super) struct TopicRegistry {
    topics: Mutex<HashMap<TopicId, Weak<TopicMetrics>>>,
}

impl TopicRegistry {
    pub(super) fn of(&self, topic: TopicId) -> Arc<TopicMetrics> {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(metrics) = topics.get(&topic).and_then(Weak::upgrade) {
            return metrics;
        }
        // Deleted topics are dropped when the map would grow.
        if topics.len() == topics.capacity() {
            topics.retain(|_, metrics| 0 < metrics.strong_count());
        }
        let metrics = Arc::new(TopicMetrics::default());
        topics.insert(topic, Arc::downgrade(&metrics));
        metrics
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn partitions_of_a_topic_share_its_counters_until_the_last_is_gone() {
        let (registry, topic) = (TopicRegistry::default(), TopicId(Uuid::from_u128(1)));
        let (one, two) = (registry.of(topic), registry.of(topic));
        assert!(Arc::ptr_eq(&one, &two));
        drop((one, two));
        for other in 2..1000 {
            registry.of(TopicId(Uuid::from_u128(other)));
        }
        assert!(registry.topics.lock().unwrap().len() < 10);
    }
}
