//! How the rest of the broker asks the controller, and what it can be asked.

use protocol::types::BrokerEpoch;
use tokio::sync::{mpsc, oneshot};

use super::brokers::{Registration, RegistrationError};
use super::configs::{AlterConfigResults, ConfigChange};
use super::metadata_log::EncodeError;
use super::producer_ids::ProducerIdBlock;
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

#[derive(Debug)]
pub(super) enum Command {
    CreateTopics { specs: Vec<TopicSpec>, validate_only: bool, reply: Reply<TopicResults> },
    AlterConfigs { changes: Vec<ConfigChange>, validate_only: bool, reply: Reply<AlterConfigResults> },
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
