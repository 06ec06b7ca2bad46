//! Every replica that the controller may elect has everything committed: the members of the ISR and ELR in the
//! committed metadata. This holds for registered processes only: another process may have lost records, and is
//! removed from both when it registers.

use protocol::metadata_records::LeaderRecoveryState;

use super::super::facts::{Fact, Scene};
use super::super::machine::node_of;
use super::super::truth::copy_on;
use crate::metadata::PartitionImage;
use crate::replica::simulated::Key;

pub(in super::super) fn check(fact: &Fact, scene: Scene<'_>) -> Result<(), String> {
    match fact {
        Fact::Metadata { before } => {
            for (topic, id, state) in scene.committed.partitions() {
                let was = before.topics.get(&topic.id).and_then(|topic| topic.partition(id));
                if was != Some(state) {
                    all_have_all((topic.id, id), state, scene)?;
                }
            }
            Ok(())
        }
        Fact::Committed { key, .. } | Fact::Shortened { key, .. } | Fact::Compacted { key, .. } => {
            let state = scene.committed.topics.get(&key.0).and_then(|topic| topic.partition(key.1));
            state.map_or(Ok(()), |state| all_have_all(*key, state, scene))
        }
        Fact::Leads { .. } => Ok(()),
    }
}

fn all_have_all(key: Key, state: &PartitionImage, scene: Scene<'_>) -> Result<(), String> {
    // After an unclean election the leader shows what is left, once it leads.
    let Some(truth) = scene.truths.of(key).filter(|_| state.recovery_state == LeaderRecoveryState::Recovered) else {
        return Ok(());
    };
    for member in state.isr.iter().chain(&state.eligible_leader_replicas) {
        let node = node_of(*member);
        let process = scene.machines[node].process.as_ref();
        let is_the_one =
            process.is_some_and(|process| process.is_loaded && process.is_registered(scene.committed, *member));
        let copy = copy_on(scene.machines, node, key);
        if is_the_one && !truth.is_all_in(copy) {
            return Err(format!(
                "broker {member} may be elected for {key:?} with {} of {} committed records: {state:?}",
                copy.map_or(0, |copy| truth.common(copy)),
                truth.records.len(),
            ));
        }
    }
    Ok(())
}
