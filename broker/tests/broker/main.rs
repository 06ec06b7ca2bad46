//! A broker process on loopback, seen from outside: by librdkafka, by a hostile client, by probes, on the command
//! line.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod administration;
mod broker_life;
mod clients;
mod cluster;
mod command_line;
mod compaction;
mod configs;
mod controller_listener;
mod damage;
mod decisions;
mod deletion;
mod every_version;
mod fetch_sessions;
mod forwarding;
mod full_disk;
mod group_failover;
mod group_refusals;
mod groups;
mod harness;
mod hostile;
mod management_api;
mod many_partitions;
mod network;
mod positions;
mod produce_rules;
mod quorum;
mod readers;
mod refusals;
mod replication;
mod voters;
