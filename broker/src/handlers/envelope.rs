//! Envelope (KIP-590): a client's request that another broker forwards to the active controller.

use bytes::{Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{EnvelopeRequest, EnvelopeResponse};
use protocol::frame::{LENGTH_BYTES, RequestHeader};
use tracing::debug;

use super::{Broker, Outcome, Part, Request, RequestContext, RequestError};

impl Broker {
    /// Errors are returned within the envelope: the connection carries the requests of many clients.
    pub(super) async fn envelope(&self, request: &mut Request<'_>) -> Result<EnvelopeResponse, RequestError> {
        let body: EnvelopeRequest = request.decode()?;
        if !self.is_active_controller() {
            return Ok(refused(ResponseError::NotController));
        }
        Ok(match self.answer_forwarded(&body.request_data, request.context).await {
            Ok(Some(answer)) => EnvelopeResponse::default().with_response_data(Some(answer)),
            Ok(None) => refused(ResponseError::UnknownServerError),
            Err(error) => {
                debug!(%error, "forwarded request refused");
                refused(ResponseError::InvalidRequest)
            }
        })
    }

    /// The answer with its header, without its length. `None`: an envelope cannot carry it.
    async fn answer_forwarded(&self, frame: &Bytes, context: &RequestContext) -> Result<Option<Bytes>, RequestError> {
        let header = RequestHeader::decode(frame)?;
        if !header.api.forwarded {
            return Err(RequestError::NotForwarded(header.api.name));
        }
        let request = Request::checked(header, frame, context)?;
        let outcome = self.dispatch(request).outcome().await?;
        Ok(if let Outcome::Respond(parts) = outcome { unframed(&parts) } else { None })
    }
}

fn unframed(parts: &[Part]) -> Option<Bytes> {
    let mut answer = BytesMut::new();
    for part in parts {
        let Part::Bytes(bytes) = part else { return None };
        answer.extend_from_slice(bytes);
    }
    let answer = answer.freeze();
    (LENGTH_BYTES <= answer.len()).then(|| answer.slice(LENGTH_BYTES..))
}

fn refused(error: ResponseError) -> EnvelopeResponse {
    EnvelopeResponse::default().with_response_data(None).with_error_code(error.code())
}
