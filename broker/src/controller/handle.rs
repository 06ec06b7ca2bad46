//! How the rest of the broker asks the controller, and what it can be asked.

use protocol::types::{BrokerEpoch, PartitionId};
use tokio::sync::{mpsc, oneshot};

use super::brokers::{Registration, RegistrationError};
use super::configs::{AlterConfigResults, ConfigChange};
use super::elections::ElectionResults;
use super::features::{FeatureUpdate, InvalidFeatureUpdate};
use super::metadata_log::EncodeError;
use super::partition_change::Election;
use super::partitions::{PartitionsResults, PartitionsSpec};
use super::producer_ids::ProducerIdBlock;
use super::reassignments::{FactorChange, Reassignment, ReassignmentResults};
use super::topic_deletion::{TopicDeletion, TopicSelector};
use super::topics::{CreateTopicError, CreatedTopic, TopicSpec};

/// Commands that wait for the controller; whoever sends one more waits.
const COMMANDS_QUEUED_MAX: usize = 1024;
/// Why the controller gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ControllerError {
    #[error("the controller has stopped")]
    Stopped,
    #[error("the request cannot be written to the metadata log: {0}")]
    Encode(#[from] EncodeError),
    #[error("all producer ids are used up")]
    NoProducerIds,
    #[error("no space left for the metadata log: nothing was changed")]
    NoSpace,
}

pub(super) type TopicResults = Vec<Result<CreatedTopic, CreateTopicError>>;
/// What is asked for partitions of topics.
type ByTopic<T> = Vec<(String, Vec<T>)>;

#[derive(Debug)]
pub(super) enum Command {
    CreateTopics { specs: Vec<TopicSpec>, validate_only: bool, reply: Reply<TopicResults> },
    AlterConfigs { changes: Vec<ConfigChange>, validate_only: bool, reply: Reply<AlterConfigResults> },
    DeleteTopics { topics: Vec<TopicSelector>, reply: Reply<Vec<TopicDeletion>> },
    CreatePartitions { specs: Vec<PartitionsSpec>, validate_only: bool, reply: Reply<PartitionsResults> },
    ElectLeaders { election: Election, wanted: Option<ByTopic<PartitionId>>, reply: Reply<ElectionResults> },
    AlterReassignments { wanted: ByTopic<Reassignment>, factor_change: FactorChange, reply: Reply<ReassignmentResults> },
    UpdateFeatures { updates: Vec<FeatureUpdate>, validate_only: bool, reply: Reply<Result<(), InvalidFeatureUpdate>> },
    AllocateProducerIds { reply: Reply<ProducerIdBlock> },
    Register { registration: Registration, reply: Reply<BrokerEpoch> },
    Unfence { epoch: BrokerEpoch, reply: Reply<Result<(), RegistrationError>> },
    Stop,
}

pub(super) type Reply<T> = oneshot::Sender<Result<T, ControllerError>>;

/// Where the rest of the broker sends commands.
#[derive(Debug, Clone)]
pub(crate) struct ControllerHandle {
    commands: mpsc::Sender<Command>,
}

impl ControllerHandle {
    /// And where the controller takes them from.
    pub(super) fn new() -> (Self, mpsc::Receiver<Command>) {
        let (commands, receiver) = mpsc::channel(COMMANDS_QUEUED_MAX);
        (Self { commands }, receiver)
    }

    pub(crate) async fn create_topics(
        &self,
        specs: Vec<TopicSpec>,
        validate_only: bool,
    ) -> Result<TopicResults, ControllerError> {
        self.ask(|reply| Command::CreateTopics { specs, validate_only, reply }).await
    }

    pub(crate) async fn alter_configs(
        &self,
        changes: Vec<ConfigChange>,
        validate_only: bool,
    ) -> Result<AlterConfigResults, ControllerError> {
        self.ask(|reply| Command::AlterConfigs { changes, validate_only, reply }).await
    }

    pub(crate) async fn delete_topics(
        &self,
        topics: Vec<TopicSelector>,
    ) -> Result<Vec<TopicDeletion>, ControllerError> {
        self.ask(|reply| Command::DeleteTopics { topics, reply }).await
    }

    pub(crate) async fn create_partitions(
        &self,
        specs: Vec<PartitionsSpec>,
        validate_only: bool,
    ) -> Result<PartitionsResults, ControllerError> {
        self.ask(|reply| Command::CreatePartitions { specs, validate_only, reply }).await
    }

    /// `None`: all partitions.
    pub(crate) async fn elect_leaders(
        &self,
        election: Election,
        wanted: Option<ByTopic<PartitionId>>,
    ) -> Result<ElectionResults, ControllerError> {
        self.ask(|reply| Command::ElectLeaders { election, wanted, reply }).await
    }

    pub(crate) async fn alter_reassignments(
        &self,
        wanted: ByTopic<Reassignment>,
        factor_change: FactorChange,
    ) -> Result<ReassignmentResults, ControllerError> {
        self.ask(|reply| Command::AlterReassignments { wanted, factor_change, reply }).await
    }

    pub(crate) async fn update_features(
        &self,
        updates: Vec<FeatureUpdate>,
        validate_only: bool,
    ) -> Result<Result<(), InvalidFeatureUpdate>, ControllerError> {
        self.ask(|reply| Command::UpdateFeatures { updates, validate_only, reply }).await
    }

    pub(crate) async fn allocate_producer_ids(&self) -> Result<ProducerIdBlock, ControllerError> {
        self.ask(|reply| Command::AllocateProducerIds { reply }).await
    }

    /// Fenced until [`Self::unfence`].
    pub(crate) async fn register(&self, registration: Registration) -> Result<BrokerEpoch, ControllerError> {
        self.ask(|reply| Command::Register { registration, reply }).await
    }

    pub(crate) async fn unfence(&self, epoch: BrokerEpoch) -> Result<Result<(), RegistrationError>, ControllerError> {
        self.ask(|reply| Command::Unfence { epoch, reply }).await
    }

    /// False: the controller has ended by itself.
    pub(super) async fn stop(&self) -> bool {
        self.commands.send(Command::Stop).await.is_ok()
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, ControllerError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| ControllerError::Stopped)?;
        answer.await.map_err(|_| ControllerError::Stopped)?
    }
}
