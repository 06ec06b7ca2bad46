//! A connection to another node: requests go out as they come, answers come back in the same order.
//!
//! ```text
//! call ── encode ── requests ──▶ write loop ──▶ socket ──▶ read loop ──▶ decode ── its answer
//!                                     └── waiting: correlation id, where the answer goes ──▶┘
//! ```
//!
//! Both loops are one task of the runtime that connected. It ends with the connection: when the other side closes,
//! when an answer is malformed, and when the [`Connection`] is dropped. A call that was given up keeps its place, and
//! its answer is discarded. A long poll holds back the answers to requests sent after it: so fetches have their own
//! connection.

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::{Request, StrBytes};
use protocol::client;
use protocol::frame::{self, LENGTH_BYTES};
use protocol::schema::Versions;
use protocol::types::{BrokerId, ClusterId, IncarnationId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::error::{AnswerFault, PeerError, PeerFailure};
use super::frames;
use super::introduction::{CLIENT_SOFTWARE, Introduction};
use super::resolver::RESOLVER;

/// Longest answer that is accepted; the largest fetch of a follower is smaller.
const ANSWER_BYTES_MAX: usize = 128 << 20;
/// Requests that wait to be sent, and requests that wait for their answer; further calls wait.
const REQUESTS_QUEUED_MAX: usize = 64;
/// Largest buffer kept between answers. A larger one is freed with its answer.
const IDLE_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// The first request on every connection, in a version that all nodes have.
const API_VERSIONS_VERSION: i16 = 3;

/// A client of one other node. Calls may overlap.
#[derive(Debug)]
pub(crate) struct Connection {
    peer: Arc<str>,
    client_id: StrBytes,
    /// The versions that the other side serves, by API key.
    served: Vec<(i16, Versions)>,
    introduction: Introduction,
    requests: mpsc::Sender<Outgoing>,
    next_correlation_id: AtomicI32,
    end: Arc<End>,
}

/// A request on its way out.
#[derive(Debug)]
struct Outgoing {
    frame: Bytes,
    waiting: Waiting,
}

/// A call that waits for its answer.
#[derive(Debug)]
struct Waiting {
    correlation_id: i32,
    answer: oneshot::Sender<Bytes>,
}

/// How the connection ended. Only the first reason counts.
#[derive(Debug, Default)]
struct End {
    failure: OnceLock<PeerFailure>,
    token: CancellationToken,
}

impl End {
    fn because(&self, failure: PeerFailure) {
        let _earlier = self.failure.set(failure);
        self.token.cancel();
    }
}

impl Connection {
    pub(crate) async fn connect(host: &str, port: u16, client_id: &str, deadline: Instant) -> Result<Self, PeerError> {
        let peer: Arc<str> = format!("{host}:{port}").into();
        let opened = timeout_at(deadline, open(host, port)).await.unwrap_or(Err(PeerFailure::TimedOut));
        let stream = opened.map_err(|failure| PeerError { peer: peer.clone(), failure })?;
        let (requests, outgoing) = mpsc::channel(REQUESTS_QUEUED_MAX);
        let end = Arc::new(End::default());
        tokio::spawn(run(stream, outgoing, end.clone()));
        let mut connection = Self {
            peer,
            client_id: StrBytes::from_string(client_id.to_owned()),
            served: Vec::new(),
            introduction: Introduction::default(),
            requests,
            next_correlation_id: AtomicI32::new(0),
            end,
        };
        let answer = connection.ask_versions(deadline).await?;
        let versions = answer.api_keys.iter();
        connection.served =
            versions.map(|row| (row.api_key, Versions::between(row.min_version, row.max_version))).collect();
        connection.introduction = Introduction::read(&answer.unknown_tagged_fields);
        Ok(connection)
    }

    /// Returns this connection if the intended node has answered. A node known by its address alone has no id yet.
    pub(crate) fn to(self, cluster: &ClusterId, node: Option<BrokerId>) -> Result<Self, PeerError> {
        let meant = Introduction { cluster: Some(cluster.clone()), node, incarnation: None };
        if self.introduction.is_of(&meant) {
            return Ok(self);
        }
        let found = self.introduction.to_string();
        Err(self.error(PeerFailure::Misdirected { found, meant: meant.to_string() }))
    }

    /// The answer. Its text and records are slices of its frame.
    pub(crate) async fn call<R: Request>(
        &self,
        version: i16,
        request: &R,
        deadline: Instant,
    ) -> Result<R::Response, PeerError> {
        let served = self.served.iter().find(|(key, _)| *key == R::KEY).map_or(Versions::NONE, |(_, served)| *served);
        if !served.contains(version) {
            return Err(self.error(PeerFailure::NotServed { request: client::name::<R>(), version, served }));
        }
        let frame = self.exchange(version, request, deadline).await?;
        client::decode::<R>(&frame, version).map_err(|fault| self.give_up(fault.into()))
    }

    /// Whether every further call will fail.
    pub(crate) fn has_ended(&self) -> bool {
        self.end.token.is_cancelled()
    }

    /// The incarnation of the answering process; `None`: it does not tell.
    pub(crate) fn incarnation(&self) -> Option<IncarnationId> {
        self.introduction.incarnation
    }

    async fn ask_versions(&self, deadline: Instant) -> Result<ApiVersionsResponse, PeerError> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str(CLIENT_SOFTWARE))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let frame = self.exchange(API_VERSIONS_VERSION, &request, deadline).await?;
        frames::decode_api_versions(&frame, API_VERSIONS_VERSION).map_err(|fault| self.give_up(fault))
    }

    /// Sends a request and waits for the frame with its answer.
    async fn exchange<R: Request>(&self, version: i16, request: &R, deadline: Instant) -> Result<Bytes, PeerError> {
        let correlation_id = self.next_correlation_id.fetch_add(1, Ordering::Relaxed);
        let frame = client::encode(&self.client_id, correlation_id, version, request);
        let frame = frame.map_err(|error| self.error(error.into()))?;
        let (answer, answered) = oneshot::channel();
        let outgoing = Outgoing { frame, waiting: Waiting { correlation_id, answer } };
        let exchange = async {
            self.requests.send(outgoing).await.ok()?;
            answered.await.ok()
        };
        match timeout_at(deadline, exchange).await {
            Ok(Some(frame)) => Ok(frame),
            Ok(None) => Err(self.why_ended()),
            Err(_elapsed) => Err(self.error(PeerFailure::TimedOut)),
        }
    }

    fn give_up(&self, fault: AnswerFault) -> PeerError {
        self.end.because(PeerFailure::Malformed(fault.clone()));
        self.error(PeerFailure::Malformed(fault))
    }

    fn why_ended(&self) -> PeerError {
        // There is no reason only if the runtime of the connection has ended.
        self.error(self.end.failure.get().cloned().unwrap_or(PeerFailure::Reset))
    }

    fn error(&self, failure: PeerFailure) -> PeerError {
        PeerError { peer: self.peer.clone(), failure }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.end.token.cancel();
    }
}

async fn open(host: &str, port: u16) -> Result<TcpStream, PeerFailure> {
    let addresses = RESOLVER.resolve(host, port).await?;
    let stream = TcpStream::connect(&*addresses).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Runs the connection until it ends. The reason is set before waiting calls learn of the end.
async fn run(stream: TcpStream, mut requests: mpsc::Receiver<Outgoing>, end: Arc<End>) {
    let (read, write) = stream.into_split();
    let (waiting, mut asked) = mpsc::channel(REQUESTS_QUEUED_MAX);
    let failure = tokio::select! {
        // First, so that nothing more is sent on a connection that was given up.
        biased;
        () = end.token.cancelled() => return,
        failure = send(write, &mut requests, &waiting) => failure,
        failure = receive(read, &mut asked) => failure,
    };
    end.because(failure);
}

async fn send(
    mut stream: OwnedWriteHalf,
    requests: &mut mpsc::Receiver<Outgoing>,
    waiting: &mpsc::Sender<Waiting>,
) -> PeerFailure {
    while let Some(outgoing) = requests.recv().await {
        if waiting.send(outgoing.waiting).await.is_err() {
            break;
        }
        if let Err(error) = stream.write_all(&outgoing.frame).await {
            return error.into();
        }
    }
    PeerFailure::Reset
}

async fn receive(mut stream: OwnedReadHalf, asked: &mut mpsc::Receiver<Waiting>) -> PeerFailure {
    let mut received = BytesMut::new();
    loop {
        match next_frame(&mut received) {
            Ok(Some(frame)) => {
                let waiting = asked.try_recv().ok();
                let expected = waiting.as_ref().map(|waiting| waiting.correlation_id);
                if let Err(fault) = frames::check_correlation(&frame, expected) {
                    return fault.into();
                }
                // The caller may have given up.
                let _gone = waiting.map(|waiting| waiting.answer.send(frame));
            }
            Ok(None) => match stream.read_buf(&mut received).await {
                Ok(0) => return PeerFailure::Reset,
                Ok(_) => {}
                Err(error) => return error.into(),
            },
            Err(fault) => return fault.into(),
        }
    }
}

/// Splits a whole frame off the start of what was received, or makes room for more of it.
fn next_frame(received: &mut BytesMut) -> Result<Option<Bytes>, AnswerFault> {
    if let Some(frame) = frame::split(received, ANSWER_BYTES_MAX)? {
        return Ok(Some(frame));
    }
    if received.is_empty() && IDLE_BUFFER_BYTES_MAX < received.capacity() {
        *received = BytesMut::new();
    }
    let whole = frame::announced(received, ANSWER_BYTES_MAX)?.map_or(LENGTH_BYTES, |length| LENGTH_BYTES + length);
    received.reserve(whole.saturating_sub(received.len()).max(1024));
    Ok(None)
}

#[cfg(test)]
#[path = "connection_test.rs"]
mod tests;
