//! Requests name a thing once. Duplicates are refused, so that no answer depends on the order of the entries. Pure.

use std::collections::HashMap;
use std::hash::Hash;

/// How often each occurs.
pub(super) fn counts<T: Eq + Hash>(all: impl IntoIterator<Item = T>) -> HashMap<T, usize> {
    let mut counts = HashMap::new();
    for one in all {
        *counts.entry(one).or_default() += 1;
    }
    counts
}
