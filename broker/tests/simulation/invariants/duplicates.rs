//! `duplicate`: an idempotent producer's record is written once.

use std::collections::BTreeMap;

use super::super::history::History;

pub(in super::super) fn check(history: &History) -> Result<(), String> {
    for (key, last) in &history.last {
        let mut offsets = BTreeMap::new();
        // Tombstones of one key are all equal.
        for (offset, record) in last.iter().filter(|(_, record)| record.value.is_some()) {
            if let Some(earlier) = offsets.insert(*record, *offset) {
                return Err(format!("{record:?} of {key:?} is at {earlier} and at {offset}"));
            }
        }
    }
    Ok(())
}
