//! A request from the frame to its handler and back: its header, decoding of the body, encoding of the answer.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Decodable, Encodable};
use protocol::api::Api;
use protocol::frame::{self, HeaderError, RequestHeader};
use protocol::guard::{self, GuardError};
use protocol::types::{BrokerEpoch, BrokerId};
use tokio::sync::Notify;

use super::{Answering, Broker, Outcome, Part};
use crate::config::Listener;
use crate::metrics::RequestMetrics;
use crate::peer::ForwardError;

/// The context of a connection.
#[derive(Debug)]
pub(crate) struct RequestContext {
    pub(crate) listener: Arc<Listener>,
    /// The client's address.
    pub(crate) client: IpAddr,
    /// Asks a waiting request, such as a fetch, to answer with what it has: the client is gone, or the broker stops.
    pub(crate) hurry: Notify,
    /// The counters of the reactor that serves the connection.
    pub(crate) requests: Arc<RequestMetrics>,
    /// The request's frame is no longer needed, though the request goes on.
    frame_is_free: AtomicBool,
    /// The broker whose heartbeats arrive on this connection.
    session: Mutex<Option<(BrokerId, BrokerEpoch)>>,
}

impl RequestContext {
    pub(crate) fn new(listener: Arc<Listener>, client: IpAddr, requests: Arc<RequestMetrics>) -> Self {
        let frame_is_free = AtomicBool::new(false);
        Self { listener, client, hurry: Notify::new(), requests, frame_is_free, session: Mutex::new(None) }
    }

    /// Whether the request in progress has given its frame back since the last call.
    pub(crate) fn take_frame_is_free(&self) -> bool {
        self.frame_is_free.swap(false, Ordering::Relaxed)
    }

    pub(super) fn carries_session(&self, broker: BrokerId, epoch: BrokerEpoch) {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some((broker, epoch));
    }

    pub(super) fn session(&self) -> Option<(BrokerId, BrokerEpoch)> {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request whose header is read and whose body has passed the checks against excessive sizes.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) api: &'static Api,
    pub(super) version: i16,
    pub(super) correlation_id: i32,
    /// Set for JoinGroup only, which uses it.
    pub(super) client_id: String,
    pub(super) body: Bytes,
    /// Memory that decoding the body takes besides the body itself.
    pub(crate) decoded_bytes: usize,
    pub(super) context: &'a RequestContext,
}

/// Why a request cannot be answered; the connection is then closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error("{api} is not served on listener {listener}")]
    WrongListener { api: &'static str, listener: String },
    #[error("{api}: the quorum on this node has stopped")]
    QuorumStopped { api: &'static str },
    #[error("{0} is in the API table but has no handler")]
    NoHandler(&'static str),
    #[error("{0} is not for the controller to answer")]
    NotForwarded(&'static str),
    #[error("{api} may have been carried out: {error}")]
    Forward { api: &'static str, error: ForwardError },
    #[error("{0} was forwarded to the controller, and its client is gone")]
    Abandoned(&'static str),
    #[error("{api} version {version}: {fault}")]
    Guard { api: &'static str, version: i16, fault: GuardError },
    #[error("{api} version {version} cannot be decoded: {reason}")]
    Decode { api: &'static str, version: i16, reason: String },
    #[error("a response of {api} version {version} cannot be encoded: {reason}")]
    Encode { api: &'static str, version: i16, reason: String },
}

/// Reads the header, finds the API, and walks the body before anything of it is decoded.
pub(crate) fn admit<'a>(frame: &Bytes, context: &'a RequestContext) -> Result<Request<'a>, RequestError> {
    let header = RequestHeader::decode(frame)?;
    let api = header.api;
    if !api.listeners.contains(&context.listener.kind) {
        return Err(RequestError::WrongListener { api: api.name, listener: context.listener.name.clone() });
    }
    Request::checked(header, frame, context)
}

impl<'a> Request<'a> {
    /// An unsupported version of ApiVersions passes with an empty body.
    pub(super) fn checked(
        header: RequestHeader<'_>,
        frame: &Bytes,
        context: &'a RequestContext,
    ) -> Result<Self, RequestError> {
        let (api, version, correlation_id) = (header.api, header.api_version, header.correlation_id);
        let (mut body, mut decoded_bytes) = (Bytes::new(), 0);
        if api.serves(version) {
            body = frame.slice(header.body_offset..);
            decoded_bytes = guard::measure(api.request, version, &body).map_err(|fault| RequestError::Guard {
                api: api.name,
                version,
                fault,
            })?;
        }
        let client_id = header.client_id.filter(|_| api.key() == ApiKey::JoinGroup).unwrap_or_default().to_owned();
        Ok(Self { api, version, correlation_id, client_id, body, decoded_bytes, context })
    }

    pub(super) fn answer<T: Encodable>(
        mut self,
        broker: &'a Broker,
        handle: impl AsyncFnOnce(&'a Broker, &mut Self) -> Result<T, RequestError> + 'a,
    ) -> Answering<'a> {
        Answering::begun(async move {
            let body = handle(broker, &mut self).await?;
            self.respond(&body)
        })
    }

    pub(super) fn answer_at_once<T: Encodable>(
        mut self,
        broker: &Broker,
        handle: impl FnOnce(&Broker, &mut Self) -> Result<T, RequestError>,
    ) -> Answering<'a> {
        Answering::Answered(handle(broker, &mut self).and_then(|body| self.respond(&body)))
    }
}

impl Request<'_> {
    /// Called before a long wait. Everything decoded from the body must be dropped or copied by then.
    pub(super) fn give_frame_back(&mut self) {
        self.body = Bytes::new();
        self.context.frame_is_free.store(true, Ordering::Relaxed);
    }

    pub(super) fn decode<T: Decodable>(&mut self) -> Result<T, RequestError> {
        T::decode(&mut self.body, self.version).map_err(|error| RequestError::Decode {
            api: self.api.name,
            version: self.version,
            reason: error.to_string(),
        })
    }

    pub(super) fn respond<T: Encodable>(&self, response: &T) -> Result<Outcome, RequestError> {
        let failed = |error: anyhow::Error| RequestError::Encode {
            api: self.api.name,
            version: self.version,
            reason: error.to_string(),
        };
        let size = response.compute_size(self.version).map_err(failed)?;
        let mut buffer = self.begin_response(size, size);
        response.encode(&mut buffer, self.version).map_err(failed)?;
        Ok(Outcome::Respond(vec![Part::Bytes(buffer.freeze())]))
    }

    /// Length and header of a response whose body has `body_length` bytes, `capacity` of which follow in this buffer.
    pub(super) fn begin_response(&self, body_length: usize, capacity: usize) -> BytesMut {
        let header_length = frame::response_header_bytes(self.api, self.version);
        let mut buffer = BytesMut::with_capacity(frame::LENGTH_BYTES + header_length + capacity);
        buffer.put_i32(i32::try_from(header_length + body_length).unwrap_or(i32::MAX));
        frame::put_response_header(&mut buffer, self.api, self.version, self.correlation_id);
        buffer
    }
}
