//! UpdateRaftVoter (KIP-853): a voter tells the leader its current endpoints and supported versions.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::update_raft_voter_response::CurrentLeader;
use kafka_protocol::messages::{UpdateRaftVoterRequest, UpdateRaftVoterResponse};
use kafka_protocol::protocol::StrBytes;
use protocol::types::LeaderEpoch;
use raft::{KRaftVersion, Voter};

use super::errors::KafkaError as _;
use super::quorum::{endpoint, key, leader_id, voter_change};
use super::{Broker, Request, RequestError};

impl Broker {
    pub(super) async fn update_raft_voter(
        &self,
        request: &mut Request<'_>,
    ) -> Result<UpdateRaftVoterResponse, RequestError> {
        let body: UpdateRaftVoterRequest = request.decode()?;
        let refused = |error: ResponseError| Ok(UpdateRaftVoterResponse::default().with_error_code(error.code()));
        if let Err(error) = self.check_cluster(body.cluster_id.as_ref()) {
            return refused(error);
        }
        if body.voter_id < 0 || body.voter_directory_id.is_nil() || body.listeners.is_empty() {
            return refused(ResponseError::InvalidRequest);
        }
        let (levels, listeners) = (&body.k_raft_version_feature, body.listeners.iter());
        let voter = Voter {
            key: key(body.voter_id, body.voter_directory_id),
            endpoints: listeners.map(|told| endpoint(&told.name, &told.host, told.port)).collect(),
            kraft_version_min: KRaftVersion(levels.min_supported_version),
            kraft_version_max: KRaftVersion(levels.max_supported_version),
        };
        let epoch = LeaderEpoch(body.current_leader_epoch);
        let wanted = raft::Request::UpdateVoter(raft::UpdateVoterRequest { epoch, voter });
        let answer = self.ask_quorum(request, wanted, 0, voter_change).await?;
        let (host, port) = answer.leader.address.as_ref().map_or((String::new(), 0), |at| (at.host.clone(), at.port));
        let leader = CurrentLeader::default()
            .with_leader_id(leader_id(&answer.leader))
            .with_leader_epoch(answer.leader.epoch.0)
            .with_host(StrBytes::from_string(host))
            .with_port(port.into());
        let code = answer.error.map_or(0, |error| error.code());
        Ok(UpdateRaftVoterResponse::default().with_error_code(code).with_current_leader(leader))
    }
}
