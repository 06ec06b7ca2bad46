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

/// Why the options that ask for it are refused: a producer that asks for durability must not believe that it has it.
const SYNC_WITH_APPENDS: &str = "syncing with appends is not implemented; a log is synced after 32 MiB or 5 s";

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
