//! `lost-write` and `unseen`: what was acknowledged is there in the end, unless it was deleted, or the metadata has
//! reported a loss since.

use std::collections::{BTreeMap, BTreeSet};

use super::super::history::History;
use crate::replica::simulated::Key;

/// `losses`: how many the metadata has reported of each partition.
pub(in super::super) fn check(history: &History, losses: &BTreeMap<Key, usize>) -> Result<(), String> {
    for (key, last) in &history.last {
        let start = last.first().map(|(offset, _)| *offset);
        let values: BTreeSet<_> = last.iter().map(|(_, value)| *value).collect();
        let here = history.sends.iter().filter(|send| send.key == *key && send.generation == losses[key]);
        for send in here.filter(|send| start.is_none_or(|start| start <= send.offset)) {
            if !values.contains(&send.value) {
                return Err(format!("{send:?} was acknowledged, and is not among the {} records", last.len()));
            }
        }
    }
    Ok(())
}
