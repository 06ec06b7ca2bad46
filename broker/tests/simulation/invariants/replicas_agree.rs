//! In the end all replicas of a partition have the same records, and know them to be committed. If each has compacted
//! its own log they have the same last record of each key.

use super::super::facts::Scene;
use super::super::machine::{Copied, node_of};
use super::super::topics;
use super::super::truth::copy_on;
use crate::replica::simulated::Key;

pub(in super::super) fn check(scene: Scene<'_>) -> Result<(), String> {
    for (topic, id, state) in scene.committed.partitions() {
        let key = (topic.id, id);
        let Some(leader) = state.leader.and_then(|leader| copy_on(scene.machines, node_of(leader), key)) else {
            continue;
        };
        for replica in &state.replicas {
            let copy = copy_on(scene.machines, node_of(replica.broker), key);
            let copy = copy.ok_or_else(|| format!("broker {} has no replica of {key:?}", replica.broker))?;
            if let Some(at) = difference(key, leader, copy) {
                return Err(format!("broker {} has another record of {key:?} at {at} than its leader", replica.broker));
            }
            if copy.positions.high_watermark != leader.positions.log_end {
                return Err(format!("broker {} does not know that all of {key:?} is committed", replica.broker));
            }
        }
    }
    Ok(())
}

fn difference(key: Key, leader: &Copied, copy: &Copied) -> Option<usize> {
    if !topics::is_compacted(key) {
        let first = leader.start().max(copy.start());
        return (first..leader.end().max(copy.end())).find(|at| leader.get(*at) != copy.get(*at));
    }
    let (expected, found) = (leader.last_of_keys(), copy.last_of_keys());
    let differs = expected.iter().find(|(key, last)| found.get(*key) != Some(*last));
    let other = differs.map(|(_, (at, _))| *at).or_else(|| (expected.len() != found.len()).then_some(copy.start()));
    other.or_else(|| (leader.end() != copy.end()).then_some(leader.end().min(copy.end())))
}
