//! Every new leader has everything that was committed, unless the metadata says that records may be lost.

use super::super::facts::{Fact, Scene};
use super::super::truth::copy_on;

pub(in super::super) fn check(fact: &Fact, scene: Scene<'_>) -> Result<(), String> {
    let Fact::Leads { node, key, epoch, .. } = fact else { return Ok(()) };
    let Some(truth) = scene.truths.of(*key).filter(|truth| truth.counts(*epoch)) else { return Ok(()) };
    let copy = copy_on(scene.machines, *node, *key);
    // A restarted process leads in the old epoch until it has replayed its registration; until then it serves no
    // clients.
    if !scene.machines[*node].process.as_ref().is_some_and(|process| process.serves) {
        return Ok(());
    }
    let (kept, needed) = (copy.map_or(0, |copy| truth.common(copy)), truth.needed_by(*epoch));
    if needed <= kept {
        return Ok(());
    }
    Err(format!("node {node} leads {key:?} in epoch {epoch} with {kept} of {needed} committed records"))
}
