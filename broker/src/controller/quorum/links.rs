//! Connections to the other nodes of the quorum, made on demand and kept as long as they hold. Fetches have their own
//! connection, because a long poll holds back the answers behind it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use protocol::types::ClusterId;
use raft::{Address, Destination, Request, RequestId};
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::failure::Failures;
use crate::peer::{Connection, PeerError, PeerFailure, QuorumAnswer, QuorumCallError, call_quorum};

/// Answers that wait to be taken; a node has only a few requests outstanding to each other node.
const ANSWERS_QUEUED_MAX: usize = 256;

/// The outcome of a request.
#[derive(Debug)]
pub(in crate::controller) struct Reply {
    pub(in crate::controller) id: RequestId,
    pub(in crate::controller) result: Result<QuorumAnswer, QuorumCallError>,
}

#[derive(Debug)]
pub(in crate::controller) struct Links {
    caller: Arc<Caller>,
    lanes: HashMap<(Address, Lane), Arc<Mutex<Link>>>,
    replies: mpsc::Sender<Reply>,
    /// Unanswered requests other than fetches.
    open: HashSet<RequestId>,
    failures: Failures,
}

/// A connection to one address.
#[derive(Debug, Default)]
struct Link {
    connection: Option<Connection>,
    /// Another node answered at this address last; logged once.
    is_misdirected: bool,
}

/// Identifies this node to others.
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
    /// Returns also the receiver of the answers.
    pub(in crate::controller) fn new(
        cluster: ClusterId,
        client_id: String,
        timeout: Duration,
        failures: Failures,
    ) -> (Self, mpsc::Receiver<Reply>) {
        let (replies, receiver) = mpsc::channel(ANSWERS_QUEUED_MAX);
        let caller = Arc::new(Caller { cluster, client_id, timeout });
        (Self { caller, lanes: HashMap::new(), replies, open: HashSet::new(), failures }, receiver)
    }

    /// Sends a request; exactly one reply follows, at the latest after the timeout.
    pub(in crate::controller) fn send(&mut self, id: RequestId, to: Destination, request: Request) {
        let lane = match &request {
            Request::Fetch(_) | Request::FetchSnapshot(_) => Lane::Fetches,
            _ => Lane::Others,
        };
        if lane == Lane::Others {
            self.open.insert(id);
        }
        let link = self.lanes.entry((to.address.clone(), lane)).or_default().clone();
        let (caller, replies) = (self.caller.clone(), self.replies.clone());
        // If it panicked the reply would never come.
        tokio::spawn(self.failures.watched("request to the quorum", async move {
            let deadline = Instant::now() + caller.timeout;
            let result = caller.call(&link, &to, &request, deadline).await;
            // The control thread may have ended.
            let _gone = replies.send(Reply { id, result }).await;
        }));
    }

    /// Notes that the reply was taken.
    pub(in crate::controller) fn answered(&mut self, id: RequestId) {
        self.open.remove(&id);
    }

    /// Whether no request is outstanding, except for fetches.
    pub(in crate::controller) fn are_quiet(&self) -> bool {
        self.open.is_empty()
    }
}

impl Caller {
    async fn call(
        &self,
        link: &Mutex<Link>,
        to: &Destination,
        request: &Request,
        deadline: Instant,
    ) -> Result<QuorumAnswer, QuorumCallError> {
        let locked = tokio::time::timeout_at(deadline, link.lock()).await;
        let mut link = locked.map_err(|_| busy(&to.address))?;
        let result = self.call_on(&mut link, to, request, deadline).await;
        let is_misdirected = result.as_ref().is_err_and(QuorumCallError::is_misdirected);
        let was_misdirected = std::mem::replace(&mut link.is_misdirected, is_misdirected);
        match &result {
            Err(error) if is_misdirected && !was_misdirected => {
                warn!(%error, "another node answers at the address of a quorum node");
            }
            Err(error) => debug!(%error, node = ?to.node, "quorum request failed"),
            Ok(_) => {}
        }
        result
    }

    async fn call_on(
        &self,
        link: &mut Link,
        to: &Destination,
        request: &Request,
        deadline: Instant,
    ) -> Result<QuorumAnswer, QuorumCallError> {
        let Destination { node, address } = to;
        let connection = match link.connection.take() {
            Some(connection) if !connection.has_ended() => connection,
            _ => Connection::connect(&address.host, address.port, &self.client_id, deadline).await?,
        };
        // By now the same address may be used for another node.
        let connection = connection.to(&self.cluster, *node)?;
        let result = call_quorum(&connection, &self.cluster, request, deadline).await;
        // After a timeout the answer may still come, and would hold back the next one.
        if result.is_ok() {
            link.connection = Some(connection);
        }
        result
    }
}

/// The earlier request to the same node is still unanswered.
fn busy(address: &Address) -> QuorumCallError {
    PeerError { peer: address.to_string().into(), failure: PeerFailure::TimedOut }.into()
}

#[cfg(test)]
mod tests {
    use protocol::types::{BrokerId, LeaderEpoch};
    use raft::EndQuorumEpochRequest;

    use super::*;
    use crate::peer::testing::{CLUSTER, Server, listen};

    #[tokio::test]
    async fn another_node_at_the_address_of_a_voter_is_asked_nothing() {
        let (told, mut asked) = mpsc::channel(1);
        let port = listen(move |_, mut server: Server| {
            let told = told.clone();
            async move {
                server.introduce(BrokerId(2)).await;
                told.send(server.next_request().await).await.unwrap();
            }
        });
        let address = Address { host: "127.0.0.1".to_owned(), port: port.await };
        let (mut links, mut replies) =
            Links::new(CLUSTER.parse().unwrap(), "test".to_owned(), Duration::from_mins(1), Failures::default());
        let (leader, epoch) = (BrokerId(3), LeaderEpoch(1));
        let request = EndQuorumEpochRequest { leader, epoch, preferred_candidates: Vec::new(), endpoints: Vec::new() };
        let to = Destination { node: Some(BrokerId(1)), address };
        links.send(RequestId(1), to, Request::EndQuorumEpoch(request));
        let error = replies.recv().await.unwrap().result.unwrap_err();
        assert!(error.is_misdirected(), "{error}");
        assert_eq!(asked.recv().await.unwrap(), None);
    }
}
