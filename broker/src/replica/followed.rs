//! The partitions that follow a leader, by leader.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use protocol::types::{BrokerId, PartitionId, TopicId};
use tokio::sync::watch;

use super::partition::{Partition, lock};

type Key = (TopicId, PartitionId);

#[derive(Debug)]
pub(super) struct Followed {
    state: Mutex<State>,
    changes: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    leaders: HashMap<Key, BrokerId>,
    partitions: BTreeMap<BrokerId, BTreeMap<Key, Arc<Partition>>>,
}

impl Default for Followed {
    fn default() -> Self {
        Self { state: Mutex::default(), changes: watch::Sender::new(()) }
    }
}

impl Followed {
    /// `None`: this broker leads it, there is no leader, or the partition is gone.
    pub(super) fn set(&self, partition: &Arc<Partition>, leader: Option<BrokerId>) {
        let key = (partition.topic_id, partition.name.partition);
        let mut state = lock(&self.state);
        let State { leaders, partitions } = &mut *state;
        let before = match leader {
            Some(leader) => leaders.insert(key, leader),
            None => leaders.remove(&key),
        };
        if let Some(before) = before.filter(|before| Some(*before) != leader)
            && let Some(followed) = partitions.get_mut(&before)
        {
            followed.remove(&key);
            if followed.is_empty() {
                partitions.remove(&before);
            }
        }
        if before.is_none() && leader.is_none() {
            return;
        }
        if let Some(leader) = leader {
            partitions.entry(leader).or_default().insert(key, partition.clone());
        }
        drop(state);
        self.changed();
    }

    pub(super) fn leaders(&self) -> Vec<BrokerId> {
        lock(&self.state).partitions.keys().copied().collect()
    }

    pub(super) fn of(&self, leader: BrokerId) -> Vec<Arc<Partition>> {
        lock(&self.state).partitions.get(&leader).into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    /// A partition can be fetched that could not be before.
    pub(super) fn changed(&self) {
        self.changes.send_replace(());
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }
}
