//! In the end all replicas of a partition have the same records, and know them to be committed.

use super::super::facts::Scene;
use super::super::machine::node_of;
use super::super::truth::copy_on;

pub(in super::super) fn check(scene: Scene<'_>) -> Result<(), String> {
    for (topic, id, state) in scene.committed.partitions() {
        let key = (topic.id, id);
        let Some(leader) = state.leader.and_then(|leader| copy_on(scene.machines, node_of(leader), key)) else {
            continue;
        };
        for replica in &state.replicas {
            let copy = copy_on(scene.machines, node_of(replica.broker), key);
            let copy = copy.ok_or_else(|| format!("broker {} has no replica of {key:?}", replica.broker))?;
            let first = leader.start().max(copy.start());
            let differs = (first..leader.end().max(copy.end())).find(|at| leader.get(*at) != copy.get(*at));
            if let Some(at) = differs {
                return Err(format!("broker {} has another record of {key:?} at {at} than its leader", replica.broker));
            }
            if copy.positions.high_watermark != leader.positions.log_end {
                return Err(format!("broker {} does not know that all of {key:?} is committed", replica.broker));
            }
        }
    }
    Ok(())
}
