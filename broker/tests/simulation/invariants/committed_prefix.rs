//! All leaders show the same records as committed.

use super::super::facts::{Fact, Scene};
use super::super::machine::index;
use super::super::truth::copy_on;

pub(in super::super) fn check(fact: &Fact, scene: Scene<'_>) -> Result<(), String> {
    let Fact::Committed { node, key, epoch } = fact else { return Ok(()) };
    let Some(truth) = scene.truths.of(*key).filter(|truth| truth.counts(*epoch)) else { return Ok(()) };
    let Some(copy) = copy_on(scene.machines, *node, *key) else { return Ok(()) };
    let shown = truth.records.len().min(index(copy.positions.high_watermark));
    let common = truth.common(copy);
    if shown <= common {
        return Ok(());
    }
    Err(format!("node {node} shows another record of {key:?} at {common} in epoch {epoch} than was committed"))
}
