//! `duplicate`: an idempotent producer's record is written once.

use std::collections::BTreeMap;

use super::super::history::History;

pub(in super::super) fn check(history: &History) -> Result<(), String> {
    for (key, last) in &history.last {
        let mut offsets = BTreeMap::new();
        for (offset, value) in last {
            if let Some(earlier) = offsets.insert(*value, *offset) {
                return Err(format!("record {value} of {key:?} is at {earlier} and at {offset}"));
            }
        }
    }
    Ok(())
}
