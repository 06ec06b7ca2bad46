//! Every metric: name, kind, labels, help. The reference page is made from it.

use std::fmt::Write as _;

use prometheus_client::metrics::MetricType;

#[derive(Debug)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) kind: MetricType,
    pub(crate) labels: &'static [&'static str],
    pub(crate) help: &'static str,
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: MetricType::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: MetricType::Gauge, labels, help }
}

const fn histogram(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: MetricType::Histogram, labels, help }
}

const API: &[&str] = &["request"];
const LISTENER: &[&str] = &["listener"];
const TOPIC: &[&str] = &["topic"];
const PARTITION: &[&str] = &["topic", "partition"];

pub(crate) static BUILD_INFO: Metric = gauge("millrace_build_info", &["version"], "1, with the version");
pub(crate) static START_TIME: Metric =
    gauge("process_start_time_seconds", &[], "When the process started, in seconds since 1970");
pub(crate) static UPTIME: Metric = gauge("millrace_uptime_seconds", &[], "Seconds since the process began to start");
pub(crate) static CPU: Metric = counter("process_cpu_seconds", &[], "User and system CPU time of the process");
pub(crate) static RESIDENT: Metric = gauge("process_resident_memory_bytes", &[], "Resident memory of the process");
pub(crate) static OPEN_DESCRIPTORS: Metric = gauge("process_open_fds", &[], "Open descriptors");
pub(crate) static DESCRIPTORS_MAX: Metric = gauge("process_max_fds", &[], "Descriptors that may be open");

pub(crate) static BROKER_STATE: Metric = gauge(
    "kafka_server_kafkaserver_broker_state",
    &[],
    "As in Kafka: 1 starting, 2 recovering, 3 running, 6 handing over, 7 stopping; and 0 waiting to be formatted",
);
pub(crate) static LOGS_TO_LOAD: Metric =
    gauge("kafka_log_logmanager_remaining_logs_to_recover", &[], "Logs that are still to be opened at this start");
pub(crate) static LOGS_TOTAL: Metric =
    gauge("millrace_log_logs_to_recover", &[], "Logs to be opened at this start, those opened already included");

pub(crate) static CONNECTIONS: Metric = gauge("kafka_network_socketserver_connections", LISTENER, "Open connections");
pub(crate) static CONNECTIONS_ACCEPTED: Metric =
    counter("kafka_network_socketserver_connections_accepted", LISTENER, "Connections accepted");
pub(crate) static CONNECTIONS_REFUSED: Metric =
    counter("kafka_network_socketserver_connections_refused", LISTENER, "Connections closed for a limit on them");
pub(crate) static IN_FLIGHT: Metric =
    gauge("kafka_network_socketserver_memory_pool_used", &[], "Bytes of requests and unsent answers");
pub(crate) static IN_FLIGHT_MAX: Metric =
    gauge("kafka_network_socketserver_memory_pool_size", &[], "Bytes that requests and unsent answers may take");

pub(crate) static REQUEST_TIME: Metric = histogram(
    "kafka_network_requestmetrics_total_time_seconds",
    API,
    "From the whole frame to the response. There is no queue between network and handler threads",
);
pub(crate) static REQUEST_WAIT: Metric = histogram(
    "kafka_network_requestmetrics_remote_time_seconds",
    API,
    "Part of it spent waiting, by those that had to: for records, for other nodes or for the disk",
);
pub(crate) static REQUEST_BYTES: Metric =
    counter("kafka_network_requestmetrics_request_bytes", API, "Bytes of requests");
pub(crate) static RESPONSE_BYTES: Metric =
    counter("kafka_network_requestmetrics_response_bytes", API, "Bytes of responses");
pub(crate) static REQUEST_ERRORS: Metric = counter(
    "kafka_network_requestmetrics_errors",
    &["request", "error"],
    "Partitions of produce and fetch requests that were answered with an error, by its code",
);
pub(crate) static REQUESTS_UNANSWERED: Metric =
    counter("kafka_network_requestmetrics_unanswered", &[], "Requests that closed their connection");

pub(crate) static COLD_FETCHES: Metric = counter(
    "millrace_fetch_cold_reads",
    &[],
    "Partitions in answers to Fetch whose records were not in the page cache, and were read from the disk first",
);
pub(crate) static QUEUED: Metric = gauge(
    "millrace_queue_length",
    &["queue"],
    "Who waits for a thread: commands to the controller, partitions for a sync that producers wait for",
);

pub(crate) static MESSAGES_IN: Metric = counter("kafka_server_brokertopicmetrics_messages_in", &[], "Records appended");
pub(crate) static BYTES_IN: Metric =
    counter("kafka_server_brokertopicmetrics_bytes_in", &[], "Bytes of batches appended");
pub(crate) static BYTES_OUT: Metric =
    counter("kafka_server_brokertopicmetrics_bytes_out", &[], "Bytes of batches fetched");
pub(crate) static TOPIC_MESSAGES_IN: Metric =
    counter("kafka_server_brokertopicmetrics_topic_messages_in", TOPIC, "Records appended to the topic here");
pub(crate) static TOPIC_BYTES_IN: Metric =
    counter("kafka_server_brokertopicmetrics_topic_bytes_in", TOPIC, "Bytes of batches appended to the topic here");
pub(crate) static TOPIC_BYTES_OUT: Metric =
    counter("kafka_server_brokertopicmetrics_topic_bytes_out", TOPIC, "Bytes of batches fetched from it here");

pub(crate) static PARTITIONS: Metric =
    gauge("kafka_server_replicamanager_partition_count", &[], "Partitions on this broker");
pub(crate) static LEADERS: Metric =
    gauge("kafka_server_replicamanager_leader_count", &[], "Partitions that this broker leads");
pub(crate) static OFFLINE_LOGS: Metric =
    gauge("kafka_server_replicamanager_offline_replica_count", &[], "Logs here that failed and are not served");
pub(crate) static UNDER_REPLICATED: Metric = gauge(
    "kafka_server_replicamanager_under_replicated_partitions",
    &[],
    "Partitions led here that have replicas out of sync",
);
pub(crate) static UNDER_MIN_ISR: Metric = gauge(
    "kafka_server_replicamanager_under_min_isr_partition_count",
    &[],
    "Partitions led here with fewer replicas in sync than min.insync.replicas, or than there are if those are fewer",
);
pub(crate) static AT_MIN_ISR: Metric = gauge(
    "kafka_server_replicamanager_at_min_isr_partition_count",
    &[],
    "Partitions led here with exactly as many in sync as are needed",
);
pub(crate) static ISR_SHRINKS: Metric = counter(
    "kafka_server_replicamanager_isr_shrinks",
    &[],
    "How often a replica fell out of sync of partitions led here",
);
pub(crate) static ISR_EXPANDS: Metric = counter(
    "kafka_server_replicamanager_isr_expands",
    &[],
    "How often a replica came into sync of partitions led here",
);
pub(crate) static FETCH_SESSIONS: Metric = gauge(
    "kafka_server_fetchsessioncache_num_incremental_fetch_sessions",
    &[],
    "Fetch sessions of consumers and followers that are kept here",
);
pub(crate) static FETCH_SESSION_PARTITIONS: Metric = gauge(
    "kafka_server_fetchsessioncache_num_incremental_fetch_partitions_cached",
    &[],
    "Partitions that they are about",
);
pub(crate) static FETCH_SESSION_EVICTIONS: Metric = counter(
    "kafka_server_fetchsessioncache_incremental_fetch_session_evictions",
    &[],
    "Fetch sessions that gave way to others",
);
pub(crate) static FETCHER_LAG: Metric = gauge(
    "kafka_server_replicafetchermanager_max_lag",
    &[],
    "Committed records that a replica here lacks, of the one that lacks most",
);

pub(crate) static LOG_SIZE: Metric = gauge("kafka_log_log_size", PARTITION, "Bytes of all segments");
pub(crate) static LOG_START: Metric = gauge("kafka_log_log_start_offset", PARTITION, "First offset that can be read");
pub(crate) static LOG_END: Metric = gauge("kafka_log_log_end_offset", PARTITION, "Offset of the next record");
pub(crate) static LOG_SEGMENTS: Metric = gauge("kafka_log_log_segments", PARTITION, "Segments");
pub(crate) static VOLUME_SIZE: Metric =
    gauge("millrace_volume_size_bytes", &[], "Bytes of the volume that holds the data directory");
pub(crate) static VOLUME_AVAILABLE: Metric =
    gauge("millrace_volume_available_bytes", &[], "Bytes that can still be written to it");
pub(crate) static VOLUME_IS_LOW: Metric =
    gauge("millrace_volume_is_low", &[], "1 while producers are told to try again for want of space");
pub(crate) static SERIES_LEFT_OUT: Metric = gauge(
    "millrace_metrics_series_left_out",
    &["kind"],
    "Topics and partitions without series of their own, because there are too many",
);
pub(crate) static FLUSH_TIME: Metric =
    histogram("kafka_log_logflushstats_log_flush_time_seconds", &[], "Time that a flush of one log took");

pub(crate) static CLEANER_DIRTY: Metric = gauge(
    "kafka_log_logcleanermanager_max_dirty_percent",
    &[],
    "Share of a compacted log that is new since its last pass, of the log where it is largest",
);
pub(crate) static CLEANER_DELAY: Metric = gauge(
    "kafka_log_logcleaner_max_compaction_delay_secs",
    &[],
    "How long a log has waited for compaction beyond max.compaction.lag.ms, of the one that waits longest",
);
pub(crate) static UNCLEANABLE: Metric = gauge(
    "kafka_log_logcleanermanager_uncleanable_partitions_count",
    &[],
    "Logs that failed to be compacted, and are not tried again before the next start",
);
pub(crate) static UNCLEANABLE_BYTES: Metric =
    gauge("kafka_log_logcleanermanager_uncleanable_bytes", &[], "Bytes in these logs that were to be compacted");
pub(crate) static CLEANER_LOOKED: Metric = gauge(
    "kafka_log_logcleanermanager_time_since_last_run_ms",
    &[],
    "Since the cleaner looked for something to compact, in milliseconds",
);
pub(crate) static CLEANER_RECOPIED: Metric =
    gauge("kafka_log_logcleaner_cleaner_recopy_percent", &[], "What the last pass has left of the bytes of its log");
pub(crate) static CLEANER_PASSES: Metric =
    counter("millrace_log_logcleaner_passes", &[], "Passes of compaction that came to their end");
pub(crate) static CLEANER_READ: Metric = counter("millrace_log_logcleaner_bytes_read", &[], "Bytes read by compaction");
pub(crate) static CLEANER_WRITTEN: Metric =
    counter("millrace_log_logcleaner_bytes_written", &[], "Bytes written by compaction");

pub(crate) static GROUPS: Metric =
    gauge("kafka_coordinator_group_groupmetadatamanager_num_groups", &["state"], "Groups coordinated here");
pub(crate) static GROUP_MEMBERS: Metric = gauge("millrace_coordinator_group_members", &[], "Members of these groups");
pub(crate) static GROUP_OFFSETS: Metric =
    gauge("kafka_coordinator_group_groupmetadatamanager_num_offsets", &[], "Committed offsets of these groups");
pub(crate) static REBALANCES: Metric = counter(
    "kafka_server_group_coordinator_metrics_group_completed_rebalance",
    &[],
    "Generations of groups that began",
);
pub(crate) static OFFSET_COMMITS: Metric =
    counter("kafka_server_group_coordinator_metrics_offset_commit", &[], "Offsets committed");
pub(crate) static OFFSET_DELETIONS: Metric = counter(
    "kafka_server_group_coordinator_metrics_offset_deletion",
    &[],
    "Offsets deleted: by request, with their group or topic, or because they were kept long enough",
);
pub(crate) static GROUP_RECORDS_SKIPPED: Metric = counter(
    "millrace_coordinator_group_records_skipped",
    &[],
    "Records and batches of __consumer_offsets that could not be read when a coordinator loaded",
);
pub(crate) static GROUP_LAG: Metric = gauge(
    "millrace_coordinator_group_lag",
    &["group", "topic", "partition"],
    "Records between what a group has committed and the high watermark, of partitions that this broker has, too",
);
pub(crate) static GROUP_LAGS_LEFT_OUT: Metric = gauge(
    "millrace_coordinator_group_lags_left_out",
    &[],
    "Committed offsets without a series of their own, because there are too many",
);
pub(crate) static GROUP_LOAD_TIME: Metric = histogram(
    "kafka_server_group_coordinator_metrics_partition_load_time_seconds",
    &[],
    "Time to load one partition of __consumer_offsets",
);

pub(crate) static ACTIVE_CONTROLLER: Metric =
    gauge("kafka_controller_kafkacontroller_active_controller_count", &[], "1 on the active controller");
pub(crate) static FENCED_BROKERS: Metric =
    gauge("kafka_controller_kafkacontroller_fenced_broker_count", &[], "Brokers that are fenced");
pub(crate) static ACTIVE_BROKERS: Metric =
    gauge("kafka_controller_kafkacontroller_active_broker_count", &[], "Brokers that are not fenced");
pub(crate) static GLOBAL_TOPICS: Metric =
    gauge("kafka_controller_kafkacontroller_global_topic_count", &[], "Topics of the cluster");
pub(crate) static GLOBAL_PARTITIONS: Metric =
    gauge("kafka_controller_kafkacontroller_global_partition_count", &[], "Partitions of the cluster");
pub(crate) static OFFLINE_PARTITIONS: Metric = gauge(
    "kafka_controller_kafkacontroller_offline_partitions_count",
    &[],
    "Partitions of the cluster without a leader",
);
pub(crate) static METADATA_END: Metric =
    gauge("kafka_controller_kafkacontroller_metadata_end_offset", &[], "End of the metadata that was applied");

/// In the order of the reference page.
pub(crate) static CATALOGUE: &[&Metric] = &[
    &BUILD_INFO,
    &START_TIME,
    &UPTIME,
    &CPU,
    &RESIDENT,
    &OPEN_DESCRIPTORS,
    &DESCRIPTORS_MAX,
    &BROKER_STATE,
    &LOGS_TO_LOAD,
    &LOGS_TOTAL,
    &CONNECTIONS,
    &CONNECTIONS_ACCEPTED,
    &CONNECTIONS_REFUSED,
    &IN_FLIGHT,
    &IN_FLIGHT_MAX,
    &REQUEST_TIME,
    &REQUEST_WAIT,
    &REQUEST_BYTES,
    &RESPONSE_BYTES,
    &REQUEST_ERRORS,
    &REQUESTS_UNANSWERED,
    &COLD_FETCHES,
    &QUEUED,
    &MESSAGES_IN,
    &BYTES_IN,
    &BYTES_OUT,
    &TOPIC_MESSAGES_IN,
    &TOPIC_BYTES_IN,
    &TOPIC_BYTES_OUT,
    &PARTITIONS,
    &LEADERS,
    &OFFLINE_LOGS,
    &UNDER_REPLICATED,
    &UNDER_MIN_ISR,
    &AT_MIN_ISR,
    &ISR_SHRINKS,
    &ISR_EXPANDS,
    &FETCH_SESSIONS,
    &FETCH_SESSION_PARTITIONS,
    &FETCH_SESSION_EVICTIONS,
    &FETCHER_LAG,
    &LOG_SIZE,
    &LOG_START,
    &LOG_END,
    &LOG_SEGMENTS,
    &VOLUME_SIZE,
    &VOLUME_AVAILABLE,
    &VOLUME_IS_LOW,
    &SERIES_LEFT_OUT,
    &FLUSH_TIME,
    &CLEANER_DIRTY,
    &CLEANER_DELAY,
    &UNCLEANABLE,
    &UNCLEANABLE_BYTES,
    &CLEANER_LOOKED,
    &CLEANER_RECOPIED,
    &CLEANER_PASSES,
    &CLEANER_READ,
    &CLEANER_WRITTEN,
    &GROUPS,
    &GROUP_MEMBERS,
    &GROUP_OFFSETS,
    &REBALANCES,
    &OFFSET_COMMITS,
    &OFFSET_DELETIONS,
    &GROUP_RECORDS_SKIPPED,
    &GROUP_LAG,
    &GROUP_LAGS_LEFT_OUT,
    &GROUP_LOAD_TIME,
    &ACTIVE_CONTROLLER,
    &ACTIVE_BROKERS,
    &FENCED_BROKERS,
    &GLOBAL_TOPICS,
    &GLOBAL_PARTITIONS,
    &OFFLINE_PARTITIONS,
    &METADATA_END,
];

/// The reference of `/metrics`, in Markdown.
pub(crate) fn reference_page() -> String {
    let mut text = String::from(
        "# Metrics\n\nWritten by `millrace-broker reference`; changes here are lost. Served at `/metrics` of the management port in OpenMetrics form. Names follow Kafka's MBeans; \
         counters end in `_total` there.\n\n| metric | kind | labels | meaning |\n|---|---|---|---|\n",
    );
    for metric in CATALOGUE {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind) = (metric.name, metric.kind.as_str());
        // Writing to a string cannot fail.
        writeln!(text, "| `{name}` | {kind} | {} | {} |", labels.join(", "), metric.help).unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_kafkas_or_told_apart_from_them_and_stand_there_once() {
        let names: BTreeSet<_> = CATALOGUE.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), CATALOGUE.len());
        for metric in CATALOGUE {
            assert!(["kafka_", "millrace_", "process_"].iter().any(|prefix| metric.name.starts_with(prefix)));
            let unsuffixed = !metric.name.ends_with("_total") && !metric.help.ends_with('.');
            assert!(unsuffixed, "{}: the text form adds _total and a full stop", metric.name);
        }
    }
}
