//! `inconsistent-offsets`: at one offset all clients saw the same record. After a reported loss offsets are reused.

use std::collections::BTreeMap;

use super::super::history::History;

pub(in super::super) fn check(history: &History) -> Result<(), String> {
    let mut records = BTreeMap::new();
    for (key, generation, offset, record) in history.seen() {
        let known = *records.entry((key, generation, offset)).or_insert(record);
        if known != record {
            return Err(format!("at {offset} of {key:?} there was {known:?}, and {record:?}"));
        }
    }
    Ok(())
}
