//! Limits of groups.

use std::time::Duration;

use protocol::config::Values;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupConfig {
    pub(crate) session_timeout_ms_min: i32,
    pub(crate) session_timeout_ms_max: i32,
    pub(crate) initial_rebalance_delay: Duration,
    pub(crate) group_size_max: usize,
    pub(crate) offset_metadata_bytes_max: usize,
    pub(crate) offsets_retention: Duration,
    pub(crate) retention_check_interval: Duration,
    pub(crate) commit_timeout: Duration,
}

impl GroupConfig {
    pub(crate) fn from_values(values: &Values) -> Self {
        let offsets_retention_minutes = values.get_int("offsets.retention.minutes").unsigned_abs();
        Self {
            session_timeout_ms_min: values.get_int("group.min.session.timeout.ms"),
            session_timeout_ms_max: values.get_int("group.max.session.timeout.ms"),
            initial_rebalance_delay: values.get_millis("group.initial.rebalance.delay.ms"),
            group_size_max: values.get_count("group.max.size"),
            offset_metadata_bytes_max: values.get_count("offset.metadata.max.bytes"),
            offsets_retention: Duration::from_mins(offsets_retention_minutes.into()),
            retention_check_interval: values.get_millis("offsets.retention.check.interval.ms"),
            commit_timeout: values.get_millis("offsets.commit.timeout.ms"),
        }
    }
}
