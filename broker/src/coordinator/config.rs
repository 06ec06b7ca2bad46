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
        let count = |name| usize::try_from(values.get_int(name)).unwrap_or(0);
        let milliseconds = |number: i64| Duration::from_millis(u64::try_from(number).unwrap_or(0));
        Self {
            session_timeout_ms_min: values.get_int("group.min.session.timeout.ms"),
            session_timeout_ms_max: values.get_int("group.max.session.timeout.ms"),
            initial_rebalance_delay: milliseconds(values.get_int("group.initial.rebalance.delay.ms").into()),
            group_size_max: count("group.max.size"),
            offset_metadata_bytes_max: count("offset.metadata.max.bytes"),
            offsets_retention: milliseconds(i64::from(values.get_int("offsets.retention.minutes")) * 60_000),
            retention_check_interval: milliseconds(values.get_long("offsets.retention.check.interval.ms")),
            commit_timeout: milliseconds(values.get_int("offsets.commit.timeout.ms").into()),
        }
    }
}
