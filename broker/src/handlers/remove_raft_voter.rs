//! RemoveRaftVoter (KIP-853): a voter is removed. It may be this node, which then resigns.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{RemoveRaftVoterRequest, RemoveRaftVoterResponse};
use kafka_protocol::protocol::StrBytes;

use super::errors::KafkaError as _;
use super::quorum::{key, voter_change};
use super::{Broker, Request, RequestError};

impl Broker {
    pub(super) async fn remove_raft_voter(
        &self,
        request: &mut Request<'_>,
    ) -> Result<RemoveRaftVoterResponse, RequestError> {
        let body: RemoveRaftVoterRequest = request.decode()?;
        let refused = |error: ResponseError, message: &str| {
            let message = Some(StrBytes::from_string(message.to_owned()));
            Ok(RemoveRaftVoterResponse::default().with_error_code(error.code()).with_error_message(message))
        };
        if let Err(error) = self.check_cluster(body.cluster_id.as_ref()) {
            return refused(error, "the request is for another cluster");
        }
        let voter = key(body.voter_id, body.voter_directory_id);
        let wanted = raft::Request::RemoveVoter(raft::RemoveVoterRequest { key: voter });
        let answer = self.ask_quorum(request, wanted, 0, voter_change).await?;
        match answer.error {
            None => Ok(RemoveRaftVoterResponse::default()),
            Some(error) => refused(error.kafka_error(), &error.to_string()),
        }
    }
}
