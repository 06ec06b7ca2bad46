//! No replica truncates what it knew to be committed. After a reported loss the lost records are truncated, together
//! with what was deleted: a batch goes as a whole, even if a new leader's log begins within it; and a compacted log
//! is fetched anew. A leader that was sent a compacted log knows only the earliest offset at which an epoch may have
//! begun: a follower that was away before then truncates superseded records, or everything if it has compacted them.

use super::super::facts::{Fact, Scene};
use super::super::machine::{Slot, index};
use super::super::topics;
use super::super::truth::copy_on;

pub(in super::super) fn check(fact: &Fact, scene: Scene<'_>) -> Result<(), String> {
    let Fact::Shortened { node, key, was, behind } = fact else { return Ok(()) };
    let (Some(copy), Some(truth)) = (copy_on(scene.machines, *node, *key), scene.truths.of(*key)) else {
        return Ok(());
    };
    let is_compacted = topics::is_compacted(*key);
    if is_compacted && (!truth.unclean.is_empty() || copy.end() == copy.start()) {
        return Ok(());
    }
    let mut known = (copy.end()..index(was.high_watermark)).zip(behind).filter(|(_, slot)| slot.is_some());
    let is_needed = |at, slot: &Slot| {
        let later = at + 1..truth.records.len();
        !is_compacted || slot.is_some_and(|(_, record)| !truth.is_superseded(record, later))
    };
    let is_lost = |(at, slot): &(usize, &Slot)| {
        truth.start <= *at && truth.records.get(*at) == Some(*slot) && is_needed(*at, slot)
    };
    match known.find(is_lost) {
        Some((at, _)) => {
            Err(format!("node {node} takes back the record of {key:?} at {at}, which it knew to be committed"))
        }
        None => Ok(()),
    }
}
