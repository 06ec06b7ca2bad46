//! No replica truncates what it knew to be committed. After a reported loss the lost records are truncated, together
//! with what was deleted: a batch goes as a whole, even if a new leader's log begins within it; and a compacted log
//! is fetched anew.

use super::super::facts::{Fact, Scene};
use super::super::machine::index;
use super::super::topics;
use super::super::truth::copy_on;

pub(in super::super) fn check(fact: &Fact, scene: Scene<'_>) -> Result<(), String> {
    let Fact::Shortened { node, key, was, behind } = fact else { return Ok(()) };
    let (Some(copy), Some(truth)) = (copy_on(scene.machines, *node, *key), scene.truths.of(*key)) else {
        return Ok(());
    };
    if topics::is_compacted(*key) && !truth.unclean.is_empty() {
        return Ok(());
    }
    let mut known = (copy.end()..index(was.high_watermark)).zip(behind).filter(|(_, slot)| slot.is_some());
    match known.find(|(at, slot)| truth.start <= *at && truth.records.get(*at) == Some(*slot)) {
        Some((at, _)) => {
            Err(format!("node {node} takes back the record of {key:?} at {at}, which it knew to be committed"))
        }
        None => Ok(()),
    }
}
