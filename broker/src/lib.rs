//! A Kafka-compatible broker. Modules from low to high: each uses only those before it.

mod bugs;
mod clock;
mod failure;
mod metrics;

mod config;
mod metadata;

mod peer;

mod coordinator;

mod replica;

mod controller;

mod handlers;

mod server;

mod launch;

pub use launch::{BrokerError, FormatOptions, Launch, Settings, format, random_cluster_id, write_reference};
