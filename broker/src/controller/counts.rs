//! Requests name a thing once. What one names more than once is refused, so that no answer depends on the order of its
//! entries. Pure.

use std::collections::HashMap;
use std::hash::Hash;

/// How often each is there.
pub(super) fn counts<T: Eq + Hash>(all: impl IntoIterator<Item = T>) -> HashMap<T, usize> {
    let mut counts = HashMap::new();
    for one in all {
        *counts.entry(one).or_default() += 1;
    }
    counts
}
