//! Forwards client requests that the active controller decides, in an Envelope (KIP-590).

use std::net::IpAddr;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::EnvelopeRequest;
use kafka_protocol::protocol::{Request, StrBytes};
use protocol::client::{self, EncodeError};
use protocol::frame::LENGTH_BYTES;
use tokio::time::Instant;

use super::controller_channel::{ChannelError, ControllerChannel};
use super::error::AnswerFault;
use super::frames;

const ENVELOPE_VERSION: i16 = 0;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ForwardError {
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error("the controller refuses what was forwarded: error {0}")]
    Refused(i16),
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error("the controller's answer to what was forwarded cannot be understood: {0}")]
    Malformed(#[from] AnswerFault),
}

impl ForwardError {
    /// Whether it was certainly not carried out.
    pub(crate) fn is_not_reached(&self) -> bool {
        matches!(self, Self::Channel(ChannelError::NotReached(_)))
    }
}

impl ControllerChannel {
    /// `frame` is the client's request with its header, without its length. The answer has the same form.
    pub(crate) async fn forward(&self, frame: Bytes, client: IpAddr, deadline: Instant) -> Result<Bytes, ForwardError> {
        let address = match client.to_canonical() {
            IpAddr::V4(address) => Bytes::copy_from_slice(&address.octets()),
            IpAddr::V6(address) => Bytes::copy_from_slice(&address.octets()),
        };
        // No principal: without authentication all clients are the same.
        let envelope = EnvelopeRequest::default()
            .with_request_data(frame)
            .with_request_principal(None)
            .with_client_host_address(address);
        let answer = self.call(ENVELOPE_VERSION, &envelope, deadline).await?;
        match answer.response_data {
            Some(data) if answer.error_code == 0 => Ok(data),
            _ if answer.error_code == 0 => Err(ForwardError::Refused(ResponseError::UnknownServerError.code())),
            _ => Err(ForwardError::Refused(answer.error_code)),
        }
    }

    /// Sends a request of this node's own on behalf of a client.
    pub(crate) async fn forward_own<R: Request>(
        &self,
        version: i16,
        request: &R,
        client: IpAddr,
        deadline: Instant,
    ) -> Result<R::Response, ForwardError> {
        let client_id = StrBytes::from_static_str(super::CLIENT_SOFTWARE);
        let framed = client::encode(&client_id, 0, version, request)?;
        let answer = self.forward(framed.slice(LENGTH_BYTES..), client, deadline).await?;
        frames::check_correlation(&answer, Some(0))?;
        Ok(client::decode::<R>(&answer, version).map_err(AnswerFault::from)?)
    }
}
