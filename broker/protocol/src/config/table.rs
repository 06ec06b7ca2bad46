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
use super::option::Synonym;

const fn same(name: &'static str) -> Synonym {
    Synonym { name, factor: 1 }
}

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
pub(super) const GROUP: &[&[ConfigOption]] = &[groups::OF_ONE_GROUP];
pub(super) const CLIENT_METRICS: &[&[ConfigOption]] = &[server::CLIENT_METRICS];
