//! Encodes the quorum's requests to other nodes for Kafka's protocol. [`raft`] defines their meaning; the bytes of
//! records and snapshots, which it leaves out, are added here.

mod answers;
mod requests;

use bytes::Bytes;
use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::StrBytes;
use protocol::types::{ClusterId, TopicId};
use raft::{
    FetchResponse, FetchSnapshotResponse, QuorumResponse, Request, SendFailure, VoteResponse, VoterChangeResponse,
};
use tokio::time::Instant;
use uuid::Uuid;

use super::{Connection, PeerError, PeerFailure};
use crate::metadata::METADATA_TOPIC;

/// Kafka's fixed id of the metadata topic.
pub(crate) const METADATA_TOPIC_ID: TopicId = TopicId(Uuid::from_u128(1));

/// Versions that all nodes have; older ones are never used.
const VOTE_VERSION: i16 = 2;
const QUORUM_EPOCH_VERSION: i16 = 1;
/// It carries the high watermark that the follower knows, so that it learns of commits at once.
const FETCH_VERSION: i16 = 18;
const FETCH_SNAPSHOT_VERSION: i16 = 1;
const UPDATE_VOTER_VERSION: i16 = 0;

/// A node's answer to a request of the quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum QuorumAnswer {
    Vote(VoteResponse),
    BeginQuorumEpoch(QuorumResponse),
    EndQuorumEpoch(QuorumResponse),
    Fetch {
        response: FetchResponse,
        records: Bytes,
    },
    /// `size`: that of the whole snapshot, of which `bytes` begin at the position in the response.
    FetchSnapshot {
        response: FetchSnapshotResponse,
        size: i64,
        bytes: Bytes,
    },
    VoterChange(VoterChangeResponse),
}

/// An answer that the quorum cannot use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnusableAnswer {
    #[error("it is about another topic or partition")]
    NotMetadata,
    #[error("error code {0}")]
    Code(i16),
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QuorumCallError {
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error(transparent)]
    Unusable(#[from] UnusableAnswer),
    #[error("nodes do not send each other this request")]
    NotSent,
}

impl QuorumCallError {
    pub(crate) fn is_misdirected(&self) -> bool {
        matches!(self, Self::Peer(error) if error.failure.is_misdirected())
    }

    pub(crate) fn failure(&self) -> SendFailure {
        match self {
            Self::Unusable(_) | Self::NotSent => SendFailure::Unusable,
            Self::Peer(error) => match &error.failure {
                PeerFailure::Refused => SendFailure::Refused,
                PeerFailure::Reset => SendFailure::Reset,
                PeerFailure::Unresolved(_) | PeerFailure::TimedOut | PeerFailure::Io { .. } => SendFailure::TimedOut,
                PeerFailure::Misdirected { .. }
                | PeerFailure::NotServed { .. }
                | PeerFailure::Encode(_)
                | PeerFailure::Malformed(_) => SendFailure::Unusable,
            },
        }
    }
}

/// Sends a request and waits for the answer.
pub(crate) async fn call(
    connection: &Connection,
    cluster: &ClusterId,
    request: &Request,
    deadline: Instant,
) -> Result<QuorumAnswer, QuorumCallError> {
    let cluster = Some(StrBytes::from_string(cluster.to_string()));
    Ok(match request {
        Request::Vote(request) => {
            let request = requests::vote(cluster, request);
            answers::vote(&connection.call(VOTE_VERSION, &request, deadline).await?)?
        }
        Request::BeginQuorumEpoch(request) => {
            let request = requests::begin_quorum_epoch(cluster, request);
            answers::begin_quorum_epoch(&connection.call(QUORUM_EPOCH_VERSION, &request, deadline).await?)?
        }
        Request::EndQuorumEpoch(request) => {
            let request = requests::end_quorum_epoch(cluster, request);
            answers::end_quorum_epoch(&connection.call(QUORUM_EPOCH_VERSION, &request, deadline).await?)?
        }
        Request::Fetch(request) => {
            let request = requests::fetch(cluster, request);
            answers::fetch(&connection.call(FETCH_VERSION, &request, deadline).await?)?
        }
        Request::FetchSnapshot(request) => {
            let request = requests::fetch_snapshot(cluster, request);
            answers::fetch_snapshot(&connection.call(FETCH_SNAPSHOT_VERSION, &request, deadline).await?)?
        }
        Request::UpdateVoter(request) => {
            let request = requests::update_voter(cluster, request);
            answers::update_voter(&connection.call(UPDATE_VOTER_VERSION, &request, deadline).await?)?
        }
        Request::AddVoter(_) | Request::RemoveVoter(_) => return Err(QuorumCallError::NotSent),
    })
}

fn topic_name() -> TopicName {
    TopicName(StrBytes::from_static_str(METADATA_TOPIC))
}
