//! The commands and answers of the controller. They carry no time: the control thread supplies it.

use std::collections::BTreeSet;
use std::time::Duration;

use protocol::metadata_records::RegisterControllerRecord;
use protocol::types::{BrokerEpoch, BrokerId, DirectoryId, PartitionId};
use tokio::sync::oneshot;

use super::alter_partition::{AlterPartition, AlteredPartitions};
use super::brokers::BrokerEpochError;
use super::configs::{AlterConfigResults, ConfigChange};
use super::decommission::{Decommission, DecommissionError};
use super::discards::DiscardError;
use super::elections::ElectionResults;
use super::features::{FeatureUpdate, InvalidFeatureUpdate};
use super::grants::{GrantError, GrantStatus};
use super::handle::ControllerError;
use super::heartbeats::{Heartbeat, HeartbeatAnswer};
use super::partition_change::Election;
use super::partitions::{PartitionsResults, PartitionsSpec};
use super::producer_ids::{AllocateError, ProducerIdBlock};
use super::reassignments::{FactorChange, Reassignment, ReassignmentResults};
use super::registration::{Registration, RegistrationError};
use super::suspicion::ProbeOutcome;
use super::topic_deletion::{TopicDeletion, TopicSelector};
use super::topics::{CreateTopicError, CreatedTopic, TopicSpec};

pub(super) type TopicResults = Vec<Result<CreatedTopic, CreateTopicError>>;
/// What is requested for partitions of topics.
pub(super) type ByTopic<T> = Vec<(String, Vec<T>)>;

pub(super) type Reply<T> = oneshot::Sender<Result<T, ControllerError>>;

#[derive(Debug)]
pub(super) enum Command {
    CreateTopics {
        specs: Vec<TopicSpec>,
        /// The results of the topics created so far.
        created: TopicResults,
        validate_only: bool,
        reply: Reply<TopicResults>,
    },
    AlterConfigs {
        changes: Vec<ConfigChange>,
        validate_only: bool,
        reply: Reply<AlterConfigResults>,
    },
    DeleteTopics {
        topics: Vec<TopicSelector>,
        reply: Reply<Vec<TopicDeletion>>,
    },
    CreatePartitions {
        specs: Vec<PartitionsSpec>,
        validate_only: bool,
        reply: Reply<PartitionsResults>,
    },
    ElectLeaders {
        election: Election,
        wanted: Option<ByTopic<PartitionId>>,
        reply: Reply<ElectionResults>,
    },
    AlterReassignments {
        wanted: ByTopic<Reassignment>,
        factor_change: FactorChange,
        reply: Reply<ReassignmentResults>,
    },
    UpdateFeatures {
        updates: Vec<FeatureUpdate>,
        validate_only: bool,
        reply: Reply<Result<(), InvalidFeatureUpdate>>,
    },
    AllocateProducerIds {
        broker: BrokerId,
        epoch: BrokerEpoch,
        reply: Reply<Result<ProducerIdBlock, AllocateError>>,
    },
    AlterPartition {
        request: AlterPartition,
        reply: Reply<Result<AlteredPartitions, BrokerEpochError>>,
    },
    RegisterBroker {
        registration: Registration,
        reply: Reply<Result<BrokerEpoch, RegistrationError>>,
    },
    RegisterController {
        record: RegisterControllerRecord,
        reply: Reply<()>,
    },
    UnregisterBroker {
        broker: BrokerId,
        reply: Reply<Result<(), BrokerEpochError>>,
    },
    Heartbeat {
        heartbeat: Heartbeat,
        reply: Reply<Result<HeartbeatAnswer, BrokerEpochError>>,
    },
    /// The connection of a broker's session has ended without a controlled shutdown.
    ConnectionLost {
        broker: BrokerId,
        epoch: BrokerEpoch,
    },
    /// The outcome of a [`super::suspicion::Probe`].
    Probed {
        broker: BrokerId,
        epoch: BrokerEpoch,
        outcome: ProbeOutcome,
    },
    /// The management API was told that the broker is gone.
    FenceHint {
        broker: BrokerId,
        epoch: BrokerEpoch,
        reply: Reply<Result<(), BrokerEpochError>>,
    },
    GrantRestart {
        wish: RestartWish,
        reply: Reply<Result<GrantStatus, GrantError>>,
    },
    RestartGrant {
        broker: BrokerId,
        voters_caught_up: BTreeSet<BrokerId>,
        reply: Reply<Option<GrantStatus>>,
    },
    /// The answer is false if there was no grant.
    CancelGrant {
        broker: BrokerId,
        reply: Reply<bool>,
    },
    Decommission {
        broker: BrokerId,
        reply: Reply<Result<Decommission, DecommissionError>>,
    },
    CancelDecommission {
        broker: BrokerId,
        reply: Reply<Result<(), DecommissionError>>,
    },
    Discard {
        broker: BrokerId,
        directory: DirectoryId,
        reply: Reply<Result<(), DiscardError>>,
    },
}

/// What an answer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaits {
    /// For the commit by the quorum.
    Commit,
    /// Also for this broker to have applied the records: a created topic can be used at once.
    Publication,
}

impl Command {
    /// Commands of nodes wait for the commit only: nodes follow the metadata by themselves, and heartbeats must not
    /// wait until logs are created. For the same reason these commands have their own queue.
    pub(super) fn awaits(&self) -> Awaits {
        match self {
            Self::Heartbeat { .. }
            | Self::RegisterBroker { .. }
            | Self::RegisterController { .. }
            | Self::AllocateProducerIds { .. }
            | Self::AlterPartition { .. }
            | Self::ConnectionLost { .. }
            | Self::Probed { .. }
            | Self::FenceHint { .. } => Awaits::Commit,
            Self::CreateTopics { .. }
            | Self::AlterConfigs { .. }
            | Self::DeleteTopics { .. }
            | Self::CreatePartitions { .. }
            | Self::ElectLeaders { .. }
            | Self::AlterReassignments { .. }
            | Self::UpdateFeatures { .. }
            | Self::UnregisterBroker { .. }
            | Self::GrantRestart { .. }
            | Self::RestartGrant { .. }
            | Self::CancelGrant { .. }
            | Self::Decommission { .. }
            | Self::CancelDecommission { .. }
            | Self::Discard { .. } => Awaits::Publication,
        }
    }
}

/// A request for permission to restart a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RestartWish {
    pub(crate) broker: BrokerId,
    pub(crate) epoch: BrokerEpoch,
    pub(crate) ttl: Duration,
    pub(crate) reason: String,
    /// Voters of the metadata quorum that have recently fetched up to its high watermark, including the leader.
    pub(crate) voters_caught_up: BTreeSet<BrokerId>,
}
