//! `lost-write` and `unseen`: an acknowledged record is there in the end, unless it was deleted, or the metadata has
//! reported a loss since. In a compacted log it is there, or a later record of its key is.

use std::collections::{BTreeMap, BTreeSet};

use super::super::history::{History, Send};
use super::super::topics;
use crate::replica::simulated::Key;

/// `losses`: the number reported by the metadata for each partition.
pub(in super::super) fn check(history: &History, losses: &BTreeMap<Key, usize>) -> Result<(), String> {
    for (key, last) in &history.last {
        // The beginning of a compacted log is never deleted.
        let start = last.first().map(|(offset, _)| *offset).filter(|_| !topics::is_compacted(*key));
        let records: BTreeSet<_> = last.iter().map(|(_, record)| *record).collect();
        let last_of_keys: BTreeMap<_, _> = last.iter().map(|(offset, record)| (record.key, *offset)).collect();
        let is_superseded = |send: &Send| {
            send.record.key.is_some() && last_of_keys.get(&send.record.key).is_some_and(|last| send.offset < *last)
        };
        let here = history.sends.iter().filter(|send| send.key == *key && send.generation == losses[key]);
        let here = here.filter(|send| start.is_none_or(|start| start <= send.offset));
        for send in here.filter(|send| !is_superseded(send)) {
            if !records.contains(&send.record) {
                return Err(format!("{send:?} was acknowledged, and is not among the {} records", last.len()));
            }
        }
    }
    Ok(())
}
