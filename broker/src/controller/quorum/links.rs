//! Connections to the other nodes of the quorum, made when they are needed and kept for as long as they hold. What is
//! fetched has one of its own, because an answer to a long poll holds back those behind it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use protocol::types::ClusterId;
use raft::{Address, Destination, Request, RequestId};
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;
use tracing::debug;

use crate::peer::{Connection, PeerError, PeerFailure, QuorumAnswer, QuorumCallError, call_quorum};

/// Answers that wait to be taken; a node has at most some requests to each other node outstanding.
const ANSWERS_QUEUED_MAX: usize = 256;

/// What came of a request.
#[derive(Debug)]
pub(in crate::controller) struct Reply {
    pub(in crate::controller) id: RequestId,
    pub(in crate::controller) result: Result<QuorumAnswer, QuorumCallError>,
}

#[derive(Debug)]
pub(in crate::controller) struct Links {
    caller: Arc<Caller>,
    connections: HashMap<(Address, Lane), Arc<Mutex<Option<Connection>>>>,
    replies: mpsc::Sender<Reply>,
    /// Requests without an answer that are no fetches.
    open: HashSet<RequestId>,
}

/// Who calls.
#[derive(Debug)]
struct Caller {
    cluster: ClusterId,
    client_id: String,
    timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Lane {
    Fetches,
    Others,
}

impl Links {
    /// And where the answers come.
    pub(in crate::controller) fn new(
        cluster: ClusterId,
        client_id: String,
        timeout: Duration,
    ) -> (Self, mpsc::Receiver<Reply>) {
        let (replies, receiver) = mpsc::channel(ANSWERS_QUEUED_MAX);
        let caller = Arc::new(Caller { cluster, client_id, timeout });
        (Self { caller, connections: HashMap::new(), replies, open: HashSet::new() }, receiver)
    }

    /// One reply follows, in time.
    pub(in crate::controller) fn send(&mut self, id: RequestId, to: Destination, request: Request) {
        let lane = match &request {
            Request::Fetch(_) | Request::FetchSnapshot(_) => Lane::Fetches,
            _ => Lane::Others,
        };
        if lane == Lane::Others {
            self.open.insert(id);
        }
        let link = self.connections.entry((to.address.clone(), lane)).or_default().clone();
        let (caller, replies) = (self.caller.clone(), self.replies.clone());
        tokio::spawn(async move {
            let deadline = Instant::now() + caller.timeout;
            let result = caller.call(&link, &to.address, &request, deadline).await;
            if let Err(error) = &result {
                debug!(%error, node = ?to.node, "a request of the quorum failed");
            }
            // The control thread may have ended.
            let _gone = replies.send(Reply { id, result }).await;
        });
    }

    /// A reply was taken.
    pub(in crate::controller) fn answered(&mut self, id: RequestId) {
        self.open.remove(&id);
    }

    /// Nothing is on its way, but for fetches.
    pub(in crate::controller) fn are_quiet(&self) -> bool {
        self.open.is_empty()
    }
}

impl Caller {
    async fn call(
        &self,
        link: &Mutex<Option<Connection>>,
        address: &Address,
        request: &Request,
        deadline: Instant,
    ) -> Result<QuorumAnswer, QuorumCallError> {
        let locked = tokio::time::timeout_at(deadline, link.lock()).await;
        let mut link = locked.map_err(|_| busy(address))?;
        let connection = match link.take() {
            Some(connection) if !connection.has_ended() => connection,
            _ => Connection::connect(&address.host, address.port, &self.client_id, deadline).await?,
        };
        let result = call_quorum(&connection, &self.cluster, request, deadline).await;
        // After a timeout the answer may still come, and would hold back the next one.
        if result.is_ok() {
            *link = Some(connection);
        }
        result
    }
}

/// An earlier request to the same node has not been answered either.
fn busy(address: &Address) -> QuorumCallError {
    PeerError { peer: address.to_string().into(), failure: PeerFailure::TimedOut }.into()
}
