//! Apache Kafka's command-line tools against one broker and three, and `kafka-dump-log` on the broker's files.
//! Expected is their output with Apache Kafka 4.3.1.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may panic as tests do")]

mod clients;
mod cluster;
mod configs;
mod dump;
mod files;
mod groups;
mod offsets;
#[path = "../packages/mod.rs"]
mod packages;
mod site;
mod three_brokers;
mod topics;

use std::process::ExitCode;

use e2e::kafka_tools::KafkaTools;

use crate::site::Site;

fn main() -> ExitCode {
    let tests: [(_, fn()); _] = [
        ("compacted_logs_are_as_kafka_writes_them", files::compacted_logs_are_as_kafka_writes_them),
        ("console_clients_pass_on_records_of_every_codec", clients::console_clients_pass_on_records_of_every_codec),
        ("groups_are_in_their_log_as_kafka_writes_them", groups::groups_are_in_their_log_as_kafka_writes_them),
        ("kafka_broker_api_versions_finds_what_it_needs", cluster::kafka_broker_api_versions_finds_what_it_needs),
        ("kafka_cluster_knows_its_id_and_its_brokers", cluster::kafka_cluster_knows_its_id_and_its_brokers),
        (
            "kafka_cluster_and_kafka_features_know_three_brokers",
            three_brokers::kafka_cluster_and_kafka_features_know_three_brokers,
        ),
        ("kafka_configs_changes_and_describes_a_broker", configs::kafka_configs_changes_and_describes_a_broker),
        ("kafka_configs_changes_and_describes_topics", configs::kafka_configs_changes_and_describes_topics),
        ("kafka_configs_changes_the_default_of_all_brokers", configs::kafka_configs_changes_the_default_of_all_brokers),
        ("kafka_configs_refuses_what_a_topic_cannot_have", configs::kafka_configs_refuses_what_a_topic_cannot_have),
        ("kafka_console_consumer_goes_on_in_its_group", groups::kafka_console_consumer_goes_on_in_its_group),
        (
            "kafka_console_consumer_reads_one_partition_from_an_offset",
            clients::kafka_console_consumer_reads_one_partition_from_an_offset,
        ),
        (
            "kafka_consumer_groups_describes_a_group_that_is_consumed_in",
            groups::kafka_consumer_groups_describes_a_group_that_is_consumed_in,
        ),
        ("kafka_consumer_groups_resets_and_deletes", groups::kafka_consumer_groups_resets_and_deletes),
        ("kafka_consumer_perf_test_reads_all_there_is", groups::kafka_consumer_perf_test_reads_all_there_is),
        ("kafka_delete_records_moves_the_start_of_the_log", offsets::kafka_delete_records_moves_the_start_of_the_log),
        (
            "kafka_features_describes_the_levels_of_the_cluster",
            cluster::kafka_features_describes_the_levels_of_the_cluster,
        ),
        (
            "kafka_get_offsets_answers_by_position_and_by_time",
            offsets::kafka_get_offsets_answers_by_position_and_by_time,
        ),
        (
            "kafka_leader_election_brings_the_preferred_leader_back",
            three_brokers::kafka_leader_election_brings_the_preferred_leader_back,
        ),
        (
            "kafka_leader_election_finds_the_preferred_leader_in_place",
            topics::kafka_leader_election_finds_the_preferred_leader_in_place,
        ),
        ("kafka_log_dirs_tells_the_sizes_on_disk", offsets::kafka_log_dirs_tells_the_sizes_on_disk),
        ("kafka_metadata_quorum_describes_its_only_voter", cluster::kafka_metadata_quorum_describes_its_only_voter),
        (
            "kafka_metadata_quorum_describes_removes_and_adds_voters",
            three_brokers::kafka_metadata_quorum_describes_removes_and_adds_voters,
        ),
        ("kafka_producer_perf_test_sends_what_it_counts", clients::kafka_producer_perf_test_sends_what_it_counts),
        (
            "kafka_reassign_partitions_lists_executes_and_verifies",
            topics::kafka_reassign_partitions_lists_executes_and_verifies,
        ),
        (
            "kafka_reassign_partitions_moves_replicas_to_other_brokers",
            three_brokers::kafka_reassign_partitions_moves_replicas_to_other_brokers,
        ),
        ("kafka_topics_adds_partitions", topics::kafka_topics_adds_partitions),
        ("kafka_topics_creates_lists_and_describes", topics::kafka_topics_creates_lists_and_describes),
        ("kafka_topics_deletes_and_the_name_is_free_again", topics::kafka_topics_deletes_and_the_name_is_free_again),
        ("kafka_topics_says_why_a_topic_cannot_be", topics::kafka_topics_says_why_a_topic_cannot_be),
        ("segments_of_every_codec_are_as_kafka_writes_them", files::segments_of_every_codec_are_as_kafka_writes_them),
        ("sigkill_under_load_leaves_files_that_kafka_reads", files::sigkill_under_load_leaves_files_that_kafka_reads),
        ("snapshots_of_three_nodes_know_all_of_them", three_brokers::snapshots_of_three_nodes_know_all_of_them),
        ("topics_are_in_the_metadata_log_as_kafka_writes_it", files::topics_are_in_the_metadata_log_as_kafka_writes_it),
        (
            "snapshots_of_the_metadata_are_as_kafka_writes_them",
            files::snapshots_of_the_metadata_are_as_kafka_writes_them,
        ),
    ];
    let ended = packages::run(KafkaTools::needs().unwrap(), &tests);
    Site::end_shared();
    ended
}
