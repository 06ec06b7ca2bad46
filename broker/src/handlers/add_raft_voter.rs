//! AddRaftVoter (KIP-853): a controller that follows the metadata log becomes a voter, once it has caught up.

use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{AddRaftVoterRequest, AddRaftVoterResponse};
use kafka_protocol::protocol::StrBytes;
use protocol::types::BrokerId;
use raft::{KRaftVersion, Voter};
use tokio::time::{Instant, timeout_at};

use super::errors::KafkaError as _;
use super::quorum::{endpoint, key, voter_change};
use super::{Broker, Request, RequestError};
use crate::metadata::QuorumView;

/// Upper bound, whatever is requested: until the voter has caught up no other change of the voters is accepted.
const PATIENCE_MAX: Duration = Duration::from_secs(5);

impl Broker {
    pub(super) async fn add_raft_voter(&self, request: &mut Request<'_>) -> Result<AddRaftVoterResponse, RequestError> {
        let body: AddRaftVoterRequest = request.decode()?;
        let refused = |error: ResponseError, message: &str| {
            let message = Some(StrBytes::from_string(message.to_owned()));
            Ok(AddRaftVoterResponse::default().with_error_code(error.code()).with_error_message(message))
        };
        if let Err(error) = self.check_cluster(body.cluster_id.as_ref()) {
            return refused(error, "the request is for another cluster");
        }
        if body.voter_id < 0 || body.voter_directory_id.is_nil() {
            return refused(ResponseError::InvalidRequest, "a voter has a node id and a directory id");
        }
        if body.listeners.is_empty() {
            return refused(ResponseError::InvalidRequest, "a voter has a controller listener");
        }
        let wanted_ms = u64::try_from(body.timeout_ms).unwrap_or(0);
        let deadline = Instant::now() + Duration::from_millis(wanted_ms).min(PATIENCE_MAX);
        if !self.registers_as_controller(BrokerId(body.voter_id), deadline).await {
            let message = "a voter is a running controller, and none has registered under this node id";
            return refused(ResponseError::InvalidRequest, message);
        }
        let listeners = body.listeners.iter();
        let voter = Voter {
            key: key(body.voter_id, body.voter_directory_id),
            endpoints: listeners.map(|told| endpoint(&told.name, &told.host, told.port)).collect(),
            kraft_version_min: KRaftVersion(0),
            kraft_version_max: KRaftVersion::DYNAMIC_VOTERS,
        };
        let timeout = deadline.saturating_duration_since(Instant::now());
        let wanted = raft::Request::AddVoter(raft::AddVoterRequest { voter, timeout });
        let answer = self.ask_quorum(request, wanted, 0, voter_change).await?;
        match answer.error {
            None => Ok(AddRaftVoterResponse::default()),
            Some(error) => refused(error.kafka_error(), &error.to_string()),
        }
    }

    /// A node that is not a controller would count as a voter and never answer. One that has just started is about to
    /// register. If this node is not the active controller it refuses anyway.
    async fn registers_as_controller(&self, id: BrokerId, deadline: Instant) -> bool {
        let is_known = |view: &QuorumView| !view.is_active || self.image.load().controllers.contains_key(&id);
        timeout_at(deadline, self.raft.view().wait_for(is_known)).await.is_ok()
    }
}
