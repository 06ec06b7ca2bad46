//! The rows. Defaults are Kafka 4.1's, except where the text says otherwise.

mod groups;
mod log;
mod network;
mod quorum;
mod quotas;
mod replication;
mod server;
mod topic;
mod transactions;

use super::ConfigOption;

pub(super) const BROKER: &[&[ConfigOption]] = &[
    server::OPTIONS,
    network::OPTIONS,
    quorum::OPTIONS,
    log::OPTIONS,
    log::CLEANER,
    replication::OPTIONS,
    groups::OPTIONS,
    groups::SHARE,
    groups::STREAMS,
    transactions::OPTIONS,
    quotas::OPTIONS,
];

pub(super) const TOPIC: &[&[ConfigOption]] = &[topic::OPTIONS];
