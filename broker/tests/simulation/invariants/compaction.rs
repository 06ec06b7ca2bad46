//! Compaction removes only committed records, and of those only what a later committed record of the same key
//! supersedes. Tombstones stay: nothing is old enough here for them to be dropped.

use super::super::facts::{Fact, Scene};
use super::super::machine::{Copied, index};
use super::super::truth::copy_on;

pub(in super::super) fn check(fact: &Fact, scene: Scene<'_>) -> Result<(), String> {
    let Fact::Compacted { node, key, before } = fact else { return Ok(()) };
    let Some(after) = copy_on(scene.machines, *node, *key) else { return Ok(()) };
    let is_wrong = |at: &usize| match (before.get(*at), after.get(*at)) {
        (Some(_), None) => !is_superseded(before, *at),
        (was, is) => was != is,
    };
    match (before.start()..before.end()).find(is_wrong) {
        Some(at) => Err(format!(
            "node {node} had {:?} at {at} of {key:?}, and has {:?} now: committed is {}",
            before.get(at),
            after.get(at),
            before.positions.high_watermark,
        )),
        None => Ok(()),
    }
}

fn is_superseded(before: &Copied, at: usize) -> bool {
    let Some((_, record)) = before.get(at) else { return false };
    let committed = index(before.positions.high_watermark);
    let mut later = (at + 1..committed).filter_map(|later| before.get(later));
    record.key.is_some() && later.any(|(_, later)| later.key == record.key)
}
