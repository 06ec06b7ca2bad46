//! Requests in, responses out: one file per API. With [`crate::peer`], which sends requests to other nodes, the only
//! code that uses Kafka's message types.

mod add_raft_voter;
mod allocate_producer_ids;
mod alter_configs;
mod alter_partition;
mod alter_partition_reassignments;
mod alter_replica_log_dirs;
mod api_versions;
mod authorized_operations;
mod begin_quorum_epoch;
mod broker_heartbeat;
mod broker_registration;
mod configs;
mod controller_registration;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_quorum;
mod describe_topic_partitions;
mod elect_leaders;
mod end_quorum_epoch;
mod envelope;
mod errors;
mod fetch;
mod fetch_metadata;
mod fetch_read;
mod fetch_response;
mod fetch_session;
mod fetch_sessions;
mod fetch_snapshot;
mod find_coordinator;
mod forwarding;
mod groups;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod large_batches;
mod leader_hints;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod quorum;
mod remove_raft_voter;
mod request;
mod sync_group;
mod topics;
mod unregister_broker;
mod update_features;
mod update_raft_voter;
mod vote;

use std::pin::Pin;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use protocol::types::{ClusterId, DirectoryId, IncarnationId};
use storage::LogSlice;
use tracing::debug;

use crate::clock::Pulse;
use crate::config::{BrokerConfig, ListenerKind};
use crate::controller::{ControllerHandle, QuorumHandle};
use crate::coordinator::CoordinatorHandle;
use crate::metadata::{BrokerImage, Image};
use crate::metrics::Metrics;
use crate::peer::{ControllerChannel, ProducerIdAllocator};
use crate::replica::ReplicaManager;

pub(crate) use fetch_sessions::FetchSessions;
pub(crate) use large_batches::LargeBatches;
pub(crate) use request::{Request, RequestContext, RequestError, admit};

/// Identifies this process.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "they are ids, under the names they have everywhere")]
pub(crate) struct Identity {
    pub(crate) cluster_id: ClusterId,
    pub(crate) directory_id: DirectoryId,
    pub(crate) incarnation_id: IncarnationId,
}

/// Everything that a request may need.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) identity: Identity,
    pub(crate) config: Arc<BrokerConfig>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) image: Arc<ArcSwap<Image>>,
    pub(crate) replicas: Arc<ReplicaManager>,
    pub(crate) controller: ControllerHandle,
    pub(crate) raft: QuorumHandle,
    /// Beats when the controller answers this broker. A leader that hears nothing may have been replaced.
    pub(crate) contact: Arc<Pulse>,
    /// Forwards client requests that the active controller decides.
    pub(crate) forwarding: ControllerChannel,
    /// Forwards AddRaftVoter, which waits until the voter has caught up.
    pub(crate) voter_forwarding: ControllerChannel,
    pub(crate) producer_ids: ProducerIdAllocator,
    pub(crate) groups: CoordinatorHandle,
    pub(crate) fetch_sessions: FetchSessions,
    pub(crate) large_batches: LargeBatches,
}

/// A piece of a response: built in memory, or to be sent from a segment.
#[derive(Debug)]
pub(crate) enum Part {
    Bytes(Bytes),
    File(LogSlice),
}

#[derive(Debug)]
pub(crate) enum Outcome {
    Respond(Vec<Part>),
    /// The client expects no answer (`acks=0`).
    Silent,
    /// No answer that the client could understand can be given.
    Close(String),
}

/// A request whose handler has begun. One that needs not wait is answered already; each of the others has a future of
/// its own size, so that no request pays for the largest.
pub(crate) enum Answering<'a> {
    Answered(Result<Outcome, RequestError>),
    Waiting(Pin<Box<dyn Future<Output = Result<Outcome, RequestError>> + 'a>>),
}

impl Outcome {
    /// Bytes of the response.
    pub(crate) fn length(&self) -> usize {
        let Self::Respond(parts) = self else { return 0 };
        let length = |part: &Part| match part {
            Part::Bytes(bytes) => bytes.len(),
            Part::File(slice) => slice.length as usize,
        };
        parts.iter().map(length).sum()
    }
}

impl<'a> Answering<'a> {
    fn begun(answer: impl Future<Output = Result<Outcome, RequestError>> + 'a) -> Self {
        Self::Waiting(Box::pin(answer))
    }

    async fn outcome(self) -> Result<Outcome, RequestError> {
        match self {
            Self::Answered(outcome) => outcome,
            Self::Waiting(answer) => answer.await,
        }
    }
}

impl Broker {
    /// Begins to answer. `frame` is the one that [`admit`] has checked.
    pub(crate) fn answer<'a>(&'a self, request: Request<'a>, frame: Bytes) -> Answering<'a> {
        if !request.api.serves(request.version) {
            return Answering::Answered(api_versions::unsupported_version(request));
        }
        if !self.is_for_controller(&request) {
            return self.dispatch(request);
        }
        Answering::begun(async move {
            match self.forward(&request, frame).await? {
                Some(outcome) => Ok(outcome),
                None => self.dispatch(request).outcome().await,
            }
        })
    }

    /// The peer has closed a connection: if it carried a broker's session, the broker may be gone.
    pub(crate) async fn disconnected(&self, context: &RequestContext) {
        let Some((broker, epoch)) = context.session() else { return };
        if let Err(error) = self.controller.connection_lost(broker, epoch).await {
            debug!(%broker, %error, "lost connection of a broker not reported to the controller");
        }
    }

    /// Whether the metadata replayed here has this process's registration.
    pub(crate) fn is_registered(&self) -> bool {
        self.is_known(|_| true)
    }

    /// As [`Self::is_registered`], and unfenced. Losing the controller does not change it.
    pub(crate) fn is_unfenced(&self) -> bool {
        self.is_known(|broker| !broker.fenced)
    }

    fn is_known(&self, also: impl FnOnce(&BrokerImage) -> bool) -> bool {
        let image = self.image.load();
        let registered = image.brokers.get(&self.config.broker_id);
        registered.is_some_and(|broker| broker.incarnation == self.identity.incarnation_id && also(broker))
    }

    fn dispatch<'a>(&'a self, request: Request<'a>) -> Answering<'a> {
        match request.api.key() {
            ApiKey::Produce => Answering::begun(self.produce(request)),
            ApiKey::Fetch if request.context.listener.kind == ListenerKind::Controller => {
                request.answer(self, Self::fetch_metadata)
            }
            ApiKey::Fetch => Answering::begun(self.fetch(request)),
            ApiKey::ListOffsets => request.answer(self, Self::list_offsets),
            ApiKey::Metadata => request.answer(self, Self::metadata),
            ApiKey::ApiVersions => request.answer_at_once(self, Self::api_versions),
            ApiKey::CreateTopics => request.answer(self, Self::create_topics),
            ApiKey::InitProducerId => request.answer(self, Self::init_producer_id),
            ApiKey::FindCoordinator => request.answer(self, Self::find_coordinator),
            ApiKey::JoinGroup => request.answer(self, Self::join_group),
            ApiKey::SyncGroup => request.answer(self, Self::sync_group),
            ApiKey::Heartbeat => request.answer_at_once(self, Self::heartbeat),
            ApiKey::LeaveGroup => request.answer(self, Self::leave_group),
            ApiKey::OffsetCommit => request.answer(self, Self::offset_commit),
            ApiKey::OffsetFetch => request.answer(self, Self::offset_fetch),
            ApiKey::OffsetDelete => request.answer(self, Self::offset_delete),
            ApiKey::DescribeGroups => request.answer(self, Self::describe_groups),
            ApiKey::ListGroups => request.answer(self, Self::list_groups),
            ApiKey::DeleteGroups => request.answer(self, Self::delete_groups),
            ApiKey::DescribeConfigs => request.answer_at_once(self, Self::describe_configs),
            ApiKey::AlterConfigs => request.answer(self, Self::alter_configs),
            ApiKey::IncrementalAlterConfigs => request.answer(self, Self::incremental_alter_configs),
            ApiKey::ListConfigResources => request.answer_at_once(self, Self::list_config_resources),
            ApiKey::DeleteTopics => request.answer(self, Self::delete_topics),
            ApiKey::CreatePartitions => request.answer(self, Self::create_partitions),
            ApiKey::ElectLeaders => request.answer(self, Self::elect_leaders),
            ApiKey::AlterPartitionReassignments => request.answer(self, Self::alter_partition_reassignments),
            ApiKey::ListPartitionReassignments => request.answer_at_once(self, Self::list_partition_reassignments),
            ApiKey::Vote => request.answer(self, Self::vote),
            ApiKey::BeginQuorumEpoch => request.answer(self, Self::begin_quorum_epoch),
            ApiKey::EndQuorumEpoch => request.answer(self, Self::end_quorum_epoch),
            ApiKey::FetchSnapshot => request.answer(self, Self::fetch_snapshot),
            ApiKey::AddRaftVoter => request.answer(self, Self::add_raft_voter),
            ApiKey::RemoveRaftVoter => request.answer(self, Self::remove_raft_voter),
            ApiKey::UpdateRaftVoter => request.answer(self, Self::update_raft_voter),
            ApiKey::DescribeQuorum => request.answer(self, Self::describe_quorum),
            ApiKey::AlterPartition => request.answer(self, Self::alter_partition),
            ApiKey::BrokerRegistration => request.answer(self, Self::broker_registration),
            ApiKey::BrokerHeartbeat => request.answer(self, Self::broker_heartbeat),
            ApiKey::UnregisterBroker => request.answer(self, Self::unregister_broker),
            ApiKey::AllocateProducerIds => request.answer(self, Self::allocate_producer_ids),
            ApiKey::ControllerRegistration => request.answer(self, Self::controller_registration),
            ApiKey::UpdateFeatures => request.answer(self, Self::update_features),
            ApiKey::Envelope => request.answer(self, Self::envelope),
            ApiKey::DescribeCluster => request.answer_at_once(self, Self::describe_cluster),
            ApiKey::DescribeTopicPartitions => request.answer_at_once(self, Self::describe_topic_partitions),
            ApiKey::DeleteRecords => request.answer(self, Self::delete_records),
            ApiKey::OffsetForLeaderEpoch => request.answer_at_once(self, Self::offset_for_leader_epoch),
            ApiKey::DescribeLogDirs => request.answer(self, Self::describe_log_dirs),
            ApiKey::AlterReplicaLogDirs => request.answer_at_once(self, Self::alter_replica_log_dirs),
            ApiKey::DescribeProducers => request.answer_at_once(self, Self::describe_producers),
            _ => Answering::Answered(Err(RequestError::NoHandler(request.api.name))),
        }
    }
}
