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

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use protocol::api::Api;
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

/// The outcome of a request. `api` is known unless it could not be answered.
#[derive(Debug)]
pub(crate) struct Handled {
    pub(crate) api: Option<&'static Api>,
    pub(crate) outcome: Outcome,
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

impl Broker {
    /// `frame` is the one that [`admit`] has checked.
    pub(crate) async fn handle(&self, admitted: Result<Request<'_>, RequestError>, frame: Bytes) -> Handled {
        let answered = match admitted {
            Ok(request) => self.answer(request, frame).await,
            Err(refused) => Err(refused),
        };
        match answered {
            Ok((api, outcome)) => Handled { api: Some(api), outcome },
            Err(error) => {
                self.metrics.unanswered();
                Handled { api: None, outcome: Outcome::Close(error.to_string()) }
            }
        }
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

    async fn answer(&self, request: Request<'_>, frame: Bytes) -> Result<(&'static Api, Outcome), RequestError> {
        let api = request.api;
        if !api.serves(request.version) {
            return Ok((api, api_versions::unsupported_version(request)?));
        }
        // Boxed, so that an idle connection is not as large as the largest request.
        if self.is_for_controller(&request) {
            if let Some(outcome) = Box::pin(self.forward(&request, frame)).await? {
                return Ok((api, outcome));
            }
        } else {
            drop(frame);
        }
        Ok((api, Box::pin(self.dispatch(request)).await?))
    }

    async fn dispatch(&self, request: Request<'_>) -> Result<Outcome, RequestError> {
        match request.api.key() {
            ApiKey::Produce => self.produce(request).await,
            ApiKey::Fetch if request.context.listener.kind == ListenerKind::Controller => {
                request.answer(self, Self::fetch_metadata).await
            }
            ApiKey::Fetch => self.fetch(request).await,
            ApiKey::ListOffsets => request.answer(self, Self::list_offsets).await,
            ApiKey::Metadata => request.answer(self, Self::metadata).await,
            ApiKey::ApiVersions => request.answer_at_once(self, Self::api_versions),
            ApiKey::CreateTopics => request.answer(self, Self::create_topics).await,
            ApiKey::InitProducerId => request.answer(self, Self::init_producer_id).await,
            ApiKey::FindCoordinator => request.answer(self, Self::find_coordinator).await,
            ApiKey::JoinGroup => request.answer(self, Self::join_group).await,
            ApiKey::SyncGroup => request.answer(self, Self::sync_group).await,
            ApiKey::Heartbeat => request.answer(self, Self::heartbeat).await,
            ApiKey::LeaveGroup => request.answer(self, Self::leave_group).await,
            ApiKey::OffsetCommit => request.answer(self, Self::offset_commit).await,
            ApiKey::OffsetFetch => request.answer(self, Self::offset_fetch).await,
            ApiKey::OffsetDelete => request.answer(self, Self::offset_delete).await,
            ApiKey::DescribeGroups => request.answer(self, Self::describe_groups).await,
            ApiKey::ListGroups => request.answer(self, Self::list_groups).await,
            ApiKey::DeleteGroups => request.answer(self, Self::delete_groups).await,
            ApiKey::DescribeConfigs => request.answer_at_once(self, Self::describe_configs),
            ApiKey::AlterConfigs => request.answer(self, Self::alter_configs).await,
            ApiKey::IncrementalAlterConfigs => request.answer(self, Self::incremental_alter_configs).await,
            ApiKey::ListConfigResources => request.answer_at_once(self, Self::list_config_resources),
            ApiKey::DeleteTopics => request.answer(self, Self::delete_topics).await,
            ApiKey::CreatePartitions => request.answer(self, Self::create_partitions).await,
            ApiKey::ElectLeaders => request.answer(self, Self::elect_leaders).await,
            ApiKey::AlterPartitionReassignments => request.answer(self, Self::alter_partition_reassignments).await,
            ApiKey::ListPartitionReassignments => request.answer_at_once(self, Self::list_partition_reassignments),
            ApiKey::Vote => request.answer(self, Self::vote).await,
            ApiKey::BeginQuorumEpoch => request.answer(self, Self::begin_quorum_epoch).await,
            ApiKey::EndQuorumEpoch => request.answer(self, Self::end_quorum_epoch).await,
            ApiKey::FetchSnapshot => request.answer(self, Self::fetch_snapshot).await,
            ApiKey::AddRaftVoter => request.answer(self, Self::add_raft_voter).await,
            ApiKey::RemoveRaftVoter => request.answer(self, Self::remove_raft_voter).await,
            ApiKey::UpdateRaftVoter => request.answer(self, Self::update_raft_voter).await,
            ApiKey::DescribeQuorum => request.answer(self, Self::describe_quorum).await,
            ApiKey::AlterPartition => request.answer(self, Self::alter_partition).await,
            ApiKey::BrokerRegistration => request.answer(self, Self::broker_registration).await,
            ApiKey::BrokerHeartbeat => request.answer(self, Self::broker_heartbeat).await,
            ApiKey::UnregisterBroker => request.answer(self, Self::unregister_broker).await,
            ApiKey::AllocateProducerIds => request.answer(self, Self::allocate_producer_ids).await,
            ApiKey::ControllerRegistration => request.answer(self, Self::controller_registration).await,
            ApiKey::UpdateFeatures => request.answer(self, Self::update_features).await,
            ApiKey::Envelope => request.answer(self, Self::envelope).await,
            ApiKey::DescribeCluster => request.answer_at_once(self, Self::describe_cluster),
            ApiKey::DescribeTopicPartitions => request.answer_at_once(self, Self::describe_topic_partitions),
            ApiKey::DeleteRecords => request.answer(self, Self::delete_records).await,
            ApiKey::OffsetForLeaderEpoch => request.answer_at_once(self, Self::offset_for_leader_epoch),
            ApiKey::DescribeLogDirs => request.answer(self, Self::describe_log_dirs).await,
            ApiKey::AlterReplicaLogDirs => request.answer_at_once(self, Self::alter_replica_log_dirs),
            ApiKey::DescribeProducers => request.answer_at_once(self, Self::describe_producers),
            _ => Err(RequestError::NoHandler(request.api.name)),
        }
    }
}
