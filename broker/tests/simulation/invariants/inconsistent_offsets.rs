//! `inconsistent-offsets`: at one offset everybody saw one record. After a loss that was reported, offsets begin anew.

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
