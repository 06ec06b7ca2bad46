//! `inconsistent-offsets`: at one offset everybody saw one record. After a loss that was reported, offsets begin anew.

use std::collections::BTreeMap;

use super::super::history::History;

pub(in super::super) fn check(history: &History) -> Result<(), String> {
    let mut values = BTreeMap::new();
    for (key, generation, offset, value) in history.seen() {
        let known = *values.entry((key, generation, offset)).or_insert(value);
        if known != value {
            return Err(format!("at {offset} of {key:?} there was {known}, and {value}"));
        }
    }
    Ok(())
}
