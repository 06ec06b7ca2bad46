//! Requests to other nodes of the cluster. With the handlers the only code that uses Kafka's message types.

mod alter_partition;
mod connection;
mod controller_channel;
mod error;
mod forwarding;
mod frames;
mod introduction;
mod log_dirs;
mod membership;
mod producer_ids;
mod quorum;
mod replica_fetch;
mod resolver;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use alter_partition::{IsrAnswer, IsrRequest, alter_partitions};
pub(crate) use connection::Connection;
pub(crate) use controller_channel::{ControllerChannel, ControllerRoute};
pub(crate) use error::{PeerError, PeerFailure};
pub(crate) use forwarding::ForwardError;
pub(crate) use introduction::{CLIENT_SOFTWARE, Introduction};
pub(crate) use log_dirs::bytes_of_partitions;
pub(crate) use membership::{
    Heartbeat, HeartbeatAnswer, NodeDescription, Refusal, register_broker, register_controller, send_heartbeat,
};
pub(crate) use producer_ids::{ProducerIdAllocator, ProducerIdError};
pub(crate) use quorum::{METADATA_TOPIC_ID, QuorumAnswer, QuorumCallError, call as call_quorum};
pub(crate) use replica_fetch::{
    FetchChanges, FetchOutcome, FetchSessionId, ReplicaAnswer, ReplicaFetch, ReplicaFetchError, ReplicaKey,
    ReplicaPosition, fetch_replicas,
};
