//! How the rest of the broker talks to the controller.

use std::collections::BTreeSet;
use std::sync::Arc;

use protocol::metadata_records::RegisterControllerRecord;
use protocol::types::{BrokerEpoch, BrokerId, DirectoryId, LeaderEpoch, PartitionId};
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use super::alter_partition::{AlterPartition, AlteredPartitions};
use super::brokers::BrokerEpochError;
use super::command::{Awaits, ByTopic, Command, Reply, RestartWish, TopicResults};
use super::configs::{AlterConfigResults, ConfigChange};
use super::decommission::{Decommission, DecommissionError};
use super::discards::DiscardError;
use super::elections::ElectionResults;
use super::features::{FeatureUpdate, InvalidFeatureUpdate};
use super::grants::{GrantError, GrantStatus};
use super::heard::Heard;
use super::heartbeats::{Heartbeat, HeartbeatAnswer};
use super::metadata_log::EncodeError;
use super::partition_change::Election;
use super::partitions::{PartitionsResults, PartitionsSpec};
use super::producer_ids::{AllocateError, ProducerIdBlock};
use super::reassignments::{FactorChange, Reassignment, ReassignmentResults};
use super::registration::{Registration, RegistrationError};
use super::suspicion::{Probe, ProbeOutcome};
use super::topic_deletion::{TopicDeletion, TopicSelector};
use super::topics::TopicSpec;
use crate::clock;
use crate::metadata::QuorumView;

/// Commands that wait for the controller in each of the two queues; further senders wait.
const COMMANDS_QUEUED_MAX: usize = 1024;
/// Probes that wait to be made; beyond that none is made, and the broker's session decides.
const PROBES_QUEUED_MAX: usize = 64;

/// Why the controller gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ControllerError {
    #[error("the controller has stopped")]
    Stopped,
    #[error("this node is not the active controller; {}", leader_of(*leader, *epoch))]
    NotController { leader: Option<BrokerId>, epoch: LeaderEpoch },
    #[error("the request cannot be written to the metadata log: {0}")]
    Encode(#[from] EncodeError),
    #[error("no space left for the metadata log: the change waits, and may still be committed")]
    NoSpace,
}

fn leader_of(leader: Option<BrokerId>, epoch: LeaderEpoch) -> String {
    match leader {
        Some(leader) => format!("in epoch {epoch} node {leader} is"),
        None => format!("in epoch {epoch} none is known yet"),
    }
}

/// Where the rest of the broker sends commands.
#[derive(Debug, Clone)]
pub(crate) struct ControllerHandle {
    /// Commands of nodes, see [`Command::awaits`].
    urgent: mpsc::Sender<Command>,
    wishes: mpsc::Sender<Command>,
    heard: Arc<Heard>,
    probes: Arc<Mutex<mpsc::Receiver<Probe>>>,
    view: watch::Receiver<QuorumView>,
}

/// The other end of a [`ControllerHandle`].
#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) urgent: mpsc::Receiver<Command>,
    pub(super) wishes: mpsc::Receiver<Command>,
    pub(super) outside: Outside,
}

/// What the decisions on brokers' liveness share with other threads.
#[derive(Debug)]
pub(super) struct Outside {
    pub(super) heard: Arc<Heard>,
    pub(super) probes: mpsc::Sender<Probe>,
}

impl ControllerHandle {
    pub(super) fn new(view: watch::Receiver<QuorumView>) -> (Self, Inbox) {
        let (urgent, urgent_ones) = mpsc::channel(COMMANDS_QUEUED_MAX);
        let (wishes, other_ones) = mpsc::channel(COMMANDS_QUEUED_MAX);
        let (probes, wanted) = mpsc::channel(PROBES_QUEUED_MAX);
        let heard = Arc::new(Heard::default());
        let outside = Outside { heard: heard.clone(), probes };
        let inbox = Inbox { urgent: urgent_ones, wishes: other_ones, outside };
        (Self { urgent, wishes, heard, probes: Arc::new(Mutex::new(wanted)), view }, inbox)
    }

    /// The number of commands that wait for the control thread.
    pub(crate) fn queued(&self) -> usize {
        let queued = |queue: &mpsc::Sender<Command>| queue.max_capacity().saturating_sub(queue.capacity());
        queued(&self.urgent) + queued(&self.wishes)
    }

    pub(crate) async fn create_topics(
        &self,
        specs: Vec<TopicSpec>,
        validate_only: bool,
    ) -> Result<TopicResults, ControllerError> {
        self.ask(|reply| Command::CreateTopics { specs, created: Vec::new(), validate_only, reply }).await
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

    pub(crate) async fn allocate_producer_ids(
        &self,
        broker: BrokerId,
        epoch: BrokerEpoch,
    ) -> Result<Result<ProducerIdBlock, AllocateError>, ControllerError> {
        self.ask(|reply| Command::AllocateProducerIds { broker, epoch, reply }).await
    }

    pub(crate) async fn alter_partition(
        &self,
        request: AlterPartition,
    ) -> Result<Result<AlteredPartitions, BrokerEpochError>, ControllerError> {
        self.ask(|reply| Command::AlterPartition { request, reply }).await
    }

    /// The broker is fenced until its heartbeats show that it has caught up.
    pub(crate) async fn register_broker(
        &self,
        registration: Registration,
    ) -> Result<Result<BrokerEpoch, RegistrationError>, ControllerError> {
        self.ask(|reply| Command::RegisterBroker { registration, reply }).await
    }

    pub(crate) async fn register_controller(&self, record: RegisterControllerRecord) -> Result<(), ControllerError> {
        self.ask(|reply| Command::RegisterController { record, reply }).await
    }

    pub(crate) async fn unregister_broker(
        &self,
        broker: BrokerId,
    ) -> Result<Result<(), BrokerEpochError>, ControllerError> {
        self.ask(|reply| Command::UnregisterBroker { broker, reply }).await
    }

    /// Counts as heard from now on, however long the controller's queue is.
    pub(crate) async fn heartbeat(
        &self,
        heartbeat: Heartbeat,
    ) -> Result<Result<HeartbeatAnswer, BrokerEpochError>, ControllerError> {
        self.heard.note(heartbeat.id, heartbeat.epoch, clock::monotonic());
        self.ask(|reply| Command::Heartbeat { heartbeat, reply }).await
    }

    pub(crate) async fn connection_lost(&self, broker: BrokerId, epoch: BrokerEpoch) -> Result<(), ControllerError> {
        self.tell(Command::ConnectionLost { broker, epoch }).await
    }

    /// Waits for the next broker that is to be probed; report the outcome with [`Self::probed`].
    pub(crate) async fn next_probe(&self) -> Result<Probe, ControllerError> {
        self.probes.lock().await.recv().await.ok_or(ControllerError::Stopped)
    }

    pub(crate) async fn probed(
        &self,
        broker: BrokerId,
        epoch: BrokerEpoch,
        outcome: ProbeOutcome,
    ) -> Result<(), ControllerError> {
        self.tell(Command::Probed { broker, epoch, outcome }).await
    }

    pub(crate) async fn fence_hint(
        &self,
        broker: BrokerId,
        epoch: BrokerEpoch,
    ) -> Result<Result<(), BrokerEpochError>, ControllerError> {
        self.ask(|reply| Command::FenceHint { broker, epoch, reply }).await
    }

    pub(crate) async fn grant_restart(
        &self,
        wish: RestartWish,
    ) -> Result<Result<GrantStatus, GrantError>, ControllerError> {
        self.ask(|reply| Command::GrantRestart { wish, reply }).await
    }

    /// The state of the broker's grant; `None`: it has none.
    pub(crate) async fn restart_grant(
        &self,
        broker: BrokerId,
        voters_caught_up: BTreeSet<BrokerId>,
    ) -> Result<Option<GrantStatus>, ControllerError> {
        self.ask(|reply| Command::RestartGrant { broker, voters_caught_up, reply }).await
    }

    pub(crate) async fn cancel_grant(&self, broker: BrokerId) -> Result<bool, ControllerError> {
        self.ask(|reply| Command::CancelGrant { broker, reply }).await
    }

    /// Begins a decommission, or continues it where more can be moved by now.
    pub(crate) async fn decommission(
        &self,
        broker: BrokerId,
    ) -> Result<Result<Decommission, DecommissionError>, ControllerError> {
        self.ask(|reply| Command::Decommission { broker, reply }).await
    }

    pub(crate) async fn cancel_decommission(
        &self,
        broker: BrokerId,
    ) -> Result<Result<(), DecommissionError>, ControllerError> {
        self.ask(|reply| Command::CancelDecommission { broker, reply }).await
    }

    pub(crate) async fn discard(
        &self,
        broker: BrokerId,
        directory: DirectoryId,
    ) -> Result<Result<(), DiscardError>, ControllerError> {
        self.ask(|reply| Command::Discard { broker, directory, reply }).await
    }

    async fn tell(&self, command: Command) -> Result<(), ControllerError> {
        let queue = match command.awaits() {
            Awaits::Commit => &self.urgent,
            Awaits::Publication => &self.wishes,
        };
        queue.send(command).await.map_err(|_| ControllerError::Stopped)
    }

    /// The command is dropped unanswered by a node that is not the active controller, or no longer is.
    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, ControllerError> {
        let (reply, answer) = oneshot::channel();
        self.tell(command(reply)).await?;
        answer.await.map_err(|_| self.not_controller())?
    }

    fn not_controller(&self) -> ControllerError {
        let view = self.view.borrow();
        ControllerError::NotController { leader: view.leader.as_ref().map(|leader| leader.id), epoch: view.epoch }
    }
}
