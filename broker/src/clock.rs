//! The wall clock. Pure code takes the time as an argument; this is where it comes from.

use std::time::{SystemTime, UNIX_EPOCH};

use protocol::types::Timestamp;

pub(crate) fn wall() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}
