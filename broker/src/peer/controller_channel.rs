//! Requests to the active controller, whichever node that is: always through its controller listener, even if it is
//! this node, so that there is one way.
//!
//! A request goes to the leader of the quorum. It is repeated, with whichever node leads then, when no connection was
//! made and when the answer is NOT_CONTROLLER. If the connection is lost after sending, the request may have been
//! carried out: it is repeated only if that does no harm.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{
    AllocateProducerIdsRequest, AllocateProducerIdsResponse, AlterPartitionRequest, AlterPartitionResponse,
    BrokerHeartbeatRequest, BrokerHeartbeatResponse, BrokerRegistrationRequest, BrokerRegistrationResponse,
    ControllerRegistrationRequest, ControllerRegistrationResponse, EnvelopeRequest, EnvelopeResponse,
};
use kafka_protocol::protocol::Request;
use protocol::types::ClusterId;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep, timeout_at};

use super::connection::Connection;
use super::error::{PeerError, PeerFailure};
use crate::metadata::{QuorumLeader, QuorumView};

/// Pause before the same controller is tried again, unless the quorum changes.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// Timeout of one attempt to connect: another node may lead by then.
const CONNECT_MAX: Duration = Duration::from_secs(1);

/// A request that only the active controller answers.
pub(crate) trait ControllerRequest: Request {
    /// Whether carrying it out twice has the same effect as once.
    const REPEATABLE: bool;

    fn error_code(response: &Self::Response) -> i16;
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChannelError {
    /// It was not carried out, unless it is repeatable.
    #[error("no controller was reached in time{}", because(.0.as_ref()))]
    NotReached(Option<PeerError>),
    /// It may have been carried out.
    #[error("the controller's answer did not come: {0}")]
    NotAnswered(PeerError),
}

fn because(error: Option<&PeerError>) -> String {
    error.map(|error| format!(": {error}")).unwrap_or_default()
}

/// Shared by all channels to the controller.
#[derive(Debug, Clone)]
pub(crate) struct ControllerRoute {
    pub(crate) quorum: watch::Receiver<QuorumView>,
    /// This node's own controller listener; `None`: it has none.
    pub(crate) own: Option<QuorumLeader>,
    pub(crate) client_id: String,
    pub(crate) cluster: ClusterId,
    /// Runs the connections, whoever calls.
    pub(crate) runtime: Handle,
}

/// One connection, kept open, to the active controller. Requests on it are answered in order, so urgent ones have
/// their own channel.
#[derive(Debug)]
pub(crate) struct ControllerChannel {
    route: ControllerRoute,
    current: Mutex<Option<(QuorumLeader, Arc<Connection>)>>,
}

impl ControllerChannel {
    pub(crate) fn new(route: ControllerRoute) -> Self {
        Self { route, current: Mutex::new(None) }
    }

    pub(crate) async fn call<R: ControllerRequest>(
        &self,
        version: i16,
        request: &R,
        deadline: Instant,
    ) -> Result<R::Response, ChannelError> {
        let mut quorum = self.route.quorum.clone();
        let mut last = None;
        loop {
            let leader = quorum.borrow_and_update().leader.clone();
            let mut pause = None;
            if let Some(leader) = leader {
                match self.attempt(&leader, &mut quorum, version, request, deadline).await {
                    Ok(response) if is_for_another(R::error_code(&response)) => {}
                    Ok(response) => return Ok(response),
                    Err(Attempt::NotSent(error)) => last = Some(error),
                    Err(Attempt::Sent(error)) if R::REPEATABLE => last = Some(error),
                    Err(Attempt::Sent(error)) => return Err(ChannelError::NotAnswered(error)),
                    Err(Attempt::Overtaken) => continue,
                }
                pause = Some(RETRY_PAUSE);
            }
            if !may_go_on(&mut quorum, pause, deadline).await {
                return Err(ChannelError::NotReached(last));
            }
        }
    }

    /// Calls this leader as long as it leads. A request that must not be repeated, once sent, waits for its answer
    /// anyway.
    async fn attempt<R: ControllerRequest>(
        &self,
        leader: &QuorumLeader,
        quorum: &mut watch::Receiver<QuorumView>,
        version: i16,
        request: &R,
        deadline: Instant,
    ) -> Result<R::Response, Attempt> {
        let connection = tokio::select! {
            connection = self.connection(leader, deadline) => connection.map_err(Attempt::NotSent)?,
            () = overtaken(quorum, leader) => return Err(Attempt::Overtaken),
        };
        let answered = tokio::select! {
            answered = connection.call(version, request, deadline) => answered,
            () = overtaken(quorum, leader), if R::REPEATABLE => return Err(Attempt::Overtaken),
        };
        match answered {
            Ok(response) => Ok(response),
            Err(error) if matches!(error.failure, PeerFailure::NotServed { .. } | PeerFailure::Encode(_)) => {
                Err(Attempt::NotSent(error))
            }
            Err(error) => {
                // The next request must not queue up behind one that got no answer.
                self.forget(&connection).await;
                Err(Attempt::Sent(error))
            }
        }
    }

    /// The open connection, or a new one. Other callers wait while it is being opened.
    async fn connection(&self, leader: &QuorumLeader, deadline: Instant) -> Result<Arc<Connection>, PeerError> {
        let to = self.route.own.clone().filter(|own| own.id == leader.id).unwrap_or_else(|| leader.clone());
        let failed = |failure| PeerError { peer: format!("{}:{}", to.host, to.port).into(), failure };
        let Ok(mut current) = timeout_at(deadline, self.current.lock()).await else {
            return Err(failed(PeerFailure::TimedOut));
        };
        if let Some((open_to, connection)) = current.as_ref()
            && *open_to == to
            && !connection.has_ended()
        {
            return Ok(connection.clone());
        }
        *current = None;
        let (node, client_id, cluster) = (to.clone(), self.route.client_id.clone(), self.route.cluster.clone());
        let deadline = deadline.min(Instant::now() + CONNECT_MAX);
        let opening = async move {
            let opened = Connection::connect(&node.host, node.port, &client_id, deadline).await?;
            opened.to(&cluster, Some(node.id))
        };
        // Fails only if the runtime ends.
        let opened = self.route.runtime.spawn(opening).await.map_err(|_| failed(PeerFailure::Reset))?;
        let connection = Arc::new(opened?);
        *current = Some((to, connection.clone()));
        Ok(connection)
    }

    async fn forget(&self, connection: &Arc<Connection>) {
        let mut current = self.current.lock().await;
        if current.as_ref().is_some_and(|(_, open)| Arc::ptr_eq(open, connection)) {
            *current = None;
        }
    }
}

/// Why an attempt gave no answer.
enum Attempt {
    NotSent(PeerError),
    Sent(PeerError),
    /// Another node leads.
    Overtaken,
}

fn is_for_another(error_code: i16) -> bool {
    error_code == ResponseError::NotController.code()
}

/// Returns when another node is known to lead.
async fn overtaken(quorum: &mut watch::Receiver<QuorumView>, leader: &QuorumLeader) {
    let is_other = |view: &QuorumView| view.leader.as_ref().is_some_and(|now| now != leader);
    let has_stopped = quorum.wait_for(is_other).await.is_err();
    if has_stopped {
        // The node stops: the attempt ends at its deadline.
        std::future::pending::<()>().await;
    }
}

/// Waits for a change of the quorum, or the pause. False: the deadline has passed, or the node stops.
async fn may_go_on(quorum: &mut watch::Receiver<QuorumView>, pause: Option<Duration>, deadline: Instant) -> bool {
    let pause = async {
        match pause {
            Some(pause) => sleep(pause).await,
            None => std::future::pending().await,
        }
    };
    let changed = async {
        tokio::select! {
            changed = quorum.changed() => changed.is_ok(),
            () = pause => true,
        }
    };
    timeout_at(deadline, changed).await.unwrap_or(false)
}

impl ControllerRequest for BrokerRegistrationRequest {
    const REPEATABLE: bool = true;

    fn error_code(response: &BrokerRegistrationResponse) -> i16 {
        response.error_code
    }
}

impl ControllerRequest for BrokerHeartbeatRequest {
    const REPEATABLE: bool = true;

    fn error_code(response: &BrokerHeartbeatResponse) -> i16 {
        response.error_code
    }
}

impl ControllerRequest for ControllerRegistrationRequest {
    const REPEATABLE: bool = true;

    fn error_code(response: &ControllerRegistrationResponse) -> i16 {
        response.error_code
    }
}

impl ControllerRequest for AllocateProducerIdsRequest {
    /// A block that was allocated twice is lost: there are enough.
    const REPEATABLE: bool = true;

    fn error_code(response: &AllocateProducerIdsResponse) -> i16 {
        response.error_code
    }
}

impl ControllerRequest for AlterPartitionRequest {
    /// The partition epoch shows whether it was carried out.
    const REPEATABLE: bool = true;

    fn error_code(response: &AlterPartitionResponse) -> i16 {
        response.error_code
    }
}

impl ControllerRequest for EnvelopeRequest {
    /// A client's request may create, delete, or append to a list.
    const REPEATABLE: bool = false;

    fn error_code(response: &EnvelopeResponse) -> i16 {
        response.error_code
    }
}

#[cfg(test)]
#[path = "controller_channel_test.rs"]
mod tests;
