//! A leader knows every producer's batches in flight. So what is in its log, and the next batch once all before it
//! are acknowledged, is never out of order, unless a loss was reported.

use super::super::history::{Forgotten, History};

pub(in super::super) fn check(history: &History) -> Result<(), String> {
    match history.forgotten.iter().find(|forgotten| forgotten.generation == 0) {
        Some(Forgotten { client, key, .. }) => {
            Err(format!("a leader of {key:?} has forgotten what client {client} wrote"))
        }
        None => Ok(()),
    }
}
