//! Shared by the requests of the metadata quorum: they name a cluster and its only partition; the control thread
//! answers.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{BrokerId as WireBrokerId, TopicName};
use kafka_protocol::protocol::StrBytes;
use protocol::types::{BrokerId, DirectoryId};
use raft::{Endpoint, LeaderInfo, ReplicaKey, VoterChangeResponse};
use uuid::Uuid;

use super::{Broker, Request, RequestError};
use crate::metadata::METADATA_TOPIC;
use crate::peer::QuorumAnswer;

/// Most bytes of records or of a snapshot in an answer, whatever is requested.
const BYTES_MAX: i32 = 8 << 20;

impl Broker {
    /// A request may leave the cluster id empty.
    pub(super) fn check_cluster(&self, claimed: Option<&StrBytes>) -> Result<(), ResponseError> {
        let own = self.identity.cluster_id.to_string();
        match claimed {
            Some(claimed) if claimed.as_str() != own => Err(ResponseError::InconsistentClusterId),
            _ => Ok(()),
        }
    }

    /// The node that a request is for; missing parts are taken to be this node's.
    pub(super) fn addressee(&self, id: i32, directory: Uuid) -> ReplicaKey {
        let id = if id < 0 { self.config.broker_id } else { BrokerId(id) };
        let directory_id = if directory.is_nil() { self.identity.directory_id } else { DirectoryId(directory) };
        ReplicaKey { id, directory_id }
    }

    /// If the control thread has ended the connection is closed, which tells the caller that this node is stopping.
    pub(super) async fn ask_quorum<T>(
        &self,
        request: &Request<'_>,
        wanted: raft::Request,
        bytes_max: i32,
        take: fn(QuorumAnswer) -> Option<T>,
    ) -> Result<T, RequestError> {
        let bytes_max = usize::try_from(bytes_max.clamp(0, BYTES_MAX)).unwrap_or(0);
        let answer = self.raft.call(wanted, bytes_max).await.ok();
        answer.and_then(take).ok_or(RequestError::QuorumStopped { api: request.api.name })
    }
}

/// The partition of the metadata topic, if the request names nothing else.
pub(super) fn only_partition<'a, Topic, Partition>(
    topics: &'a [Topic],
    parts: impl Fn(&'a Topic) -> (&'a str, &'a Vec<Partition>),
    index: impl Fn(&Partition) -> i32,
) -> Option<&'a Partition> {
    let [topic] = topics else { return None };
    let (name, partitions) = parts(topic);
    let [partition] = partitions.as_slice() else { return None };
    (name == METADATA_TOPIC && index(partition) == 0).then_some(partition)
}

pub(super) fn topic_name() -> TopicName {
    TopicName(StrBytes::from_static_str(METADATA_TOPIC))
}

pub(super) fn key(id: i32, directory: Uuid) -> ReplicaKey {
    ReplicaKey { id: BrokerId(id), directory_id: DirectoryId(directory) }
}

pub(super) fn endpoint(name: &StrBytes, host: &StrBytes, port: u16) -> Endpoint {
    Endpoint { name: name.to_string(), address: raft::Address { host: host.to_string(), port } }
}

/// −1: there is none.
pub(super) fn leader_id(leader: &LeaderInfo) -> WireBrokerId {
    WireBrokerId(leader.leader.map_or(-1, |leader| leader.0))
}

/// The leader's endpoint, if it is known and the version has a field for it.
pub(super) fn leader_endpoint<T>(
    leader: &LeaderInfo,
    has_room: bool,
    endpoint: impl Fn(WireBrokerId, StrBytes, u16) -> T,
) -> Vec<T> {
    let found = leader.leader.and(leader.address.as_ref()).filter(|_| has_room);
    let told =
        found.map(|address| endpoint(leader_id(leader), StrBytes::from_string(address.host.clone()), address.port));
    told.into_iter().collect()
}

pub(super) fn voter_change(answer: QuorumAnswer) -> Option<VoterChangeResponse> {
    match answer {
        QuorumAnswer::VoterChange(response) => Some(response),
        _ => None,
    }
}
