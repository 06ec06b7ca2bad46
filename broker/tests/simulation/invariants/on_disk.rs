//! If records must be on disk before they are acknowledged, the whole ISR has on disk what is committed.

use super::super::facts::{Fact, Scene};
use super::super::machine::{index, node_of};
use super::super::topics;
use super::super::truth::copy_on;

pub(in super::super) fn check(fact: &Fact, scene: Scene<'_>) -> Result<(), String> {
    let Fact::Committed { node, key, epoch } = fact else { return Ok(()) };
    let state = scene.committed.topics.get(&key.0).and_then(|topic| topic.partition(key.1));
    // A leader of another epoch uses another ISR.
    let Some(state) = state.filter(|state| topics::is_synced(*key) && state.leader_epoch == *epoch) else {
        return Ok(());
    };
    let Some(leader) = copy_on(scene.machines, *node, *key) else { return Ok(()) };
    let written_here = (0..index(leader.positions.high_watermark)).rev().find_map(|at| leader.get(at));
    if written_here.is_none_or(|(of, _)| of != *epoch) {
        return Ok(());
    }
    for member in &state.isr {
        let process = scene.machines[node_of(*member)].process.as_ref();
        let known = process.filter(|process| process.is_registered(scene.committed, *member));
        let Some(copy) = known.and_then(|process| process.copies.get(key)) else { continue };
        if copy.positions.recovery_point < leader.positions.high_watermark {
            return Err(format!(
                "{key:?} is committed up to {}, but on the disk of broker {member} only up to {}",
                leader.positions.high_watermark, copy.positions.recovery_point,
            ));
        }
    }
    Ok(())
}
