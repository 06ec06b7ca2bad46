//! Management calls that the active controller decides: restarting a broker, decommissioning it, discarding a volume,
//! checking on a broker that seems gone. Other nodes answer with the address of the controller (421).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use protocol::types::{BrokerEpoch, BrokerId, DirectoryId};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::{debug, info};

use super::management::{Body, Management, PROBLEM_TYPE, problem};
use crate::controller::{
    self, BrokerEpochError, ControllerError, ControllerHandle, Decommission, DecommissionError, DiscardError,
    GrantError, GrantStatus, RestartWish,
};
use crate::handlers::Broker;
use crate::metadata::QuorumView;
use crate::peer::bytes_of_partitions;

/// Timeout of a request to another broker: callers of the controller wait at most two seconds.
const ASK_MAX: Duration = Duration::from_secs(1);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GrantRequest {
    broker: i32,
    broker_epoch: i64,
    ttl_ms: u64,
    #[serde(default)]
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DiscardRequest {
    broker: i32,
    directory: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FenceHint {
    broker: i32,
    broker_epoch: i64,
    #[serde(default)]
    cause: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GrantView {
    controller_epoch: i32,
    broker: i32,
    broker_epoch: i64,
    reason: String,
    remaining_ms: u128,
    leaders_left: usize,
    safe_to_stop: bool,
    /// Partitions that no other replica can serve meanwhile.
    will_be_unavailable: Vec<String>,
    quorum_will_wait: bool,
    /// Obstacles since it was granted.
    obstacles: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DecommissionView {
    controller_epoch: i32,
    broker: i32,
    replicas_left: usize,
    moving: usize,
    /// On the broker's volume; absent if the broker does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_left: Option<u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    controller_epoch: i32,
}

/// A problem (RFC 9457), with the node to ask instead.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Misdirected {
    title: &'static str,
    status: u16,
    detail: String,
    /// −1: not known.
    controller_id: i32,
    /// Its controller listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    controller: Option<String>,
}

pub(super) fn routes() -> Router<Arc<Management>> {
    Router::new()
        .route("/restart-grants", post(grant_restart))
        .route("/restart-grants/{broker}", get(restart_grant).delete(cancel_grant))
        .route("/decommissions/{broker}", post(decommission).get(decommission_progress).delete(cancel_decommission))
        .route("/discards", post(discard))
        .route("/fence-hints", post(fence_hint))
}

/// The broker that is the active controller, and its view of the quorum.
struct Active {
    broker: Arc<Broker>,
    view: QuorumView,
}

impl FromRequestParts<Arc<Management>> for Active {
    type Rejection = Response;

    async fn from_request_parts(_: &mut Parts, management: &Arc<Management>) -> Result<Self, Response> {
        let stage = management.stage.load();
        let Some(broker) = stage.broker().cloned() else {
            return Err(problem(StatusCode::SERVICE_UNAVAILABLE, format!("state {}", stage.name())));
        };
        let view = broker.raft.view().borrow().clone();
        if view.is_active { Ok(Self { broker, view }) } else { Err(misdirected(&view)) }
    }
}

impl Active {
    fn controller(&self) -> &ControllerHandle {
        &self.broker.controller
    }

    fn epoch(&self) -> i32 {
        self.view.epoch.0
    }

    /// Voters that are caught up, so that another one may stop.
    fn voters_caught_up(&self) -> BTreeSet<BrokerId> {
        self.view.voters.iter().filter(|voter| voter.is_caught_up).map(|voter| voter.id).collect()
    }

    /// Possibly because another node is the controller by now.
    fn failed(&self, error: &ControllerError) -> Response {
        let now = self.broker.raft.view().borrow().clone();
        if now.is_active { problem(StatusCode::SERVICE_UNAVAILABLE, error.to_string()) } else { misdirected(&now) }
    }

    fn done(&self) -> Response {
        Json(Done { controller_epoch: self.epoch() }).into_response()
    }

    fn granted(&self, status: &GrantStatus) -> Response {
        let view = GrantView {
            controller_epoch: self.epoch(),
            broker: status.broker.0,
            broker_epoch: status.epoch.0,
            reason: status.reason.clone(),
            remaining_ms: status.remaining.as_millis(),
            leaders_left: status.leaders_left,
            safe_to_stop: status.is_safe_to_stop(),
            will_be_unavailable: status.will_be_unavailable.iter().map(ToString::to_string).collect(),
            quorum_will_wait: status.quorum_will_wait,
            obstacles: status.obstacles.iter().map(ToString::to_string).collect(),
        };
        Json(view).into_response()
    }

    async fn decommissioning(&self, progress: &Decommission) -> Response {
        let view = DecommissionView {
            controller_epoch: self.epoch(),
            broker: progress.broker.0,
            replicas_left: progress.replicas_left,
            moving: progress.moving,
            bytes_left: self.bytes_left(progress.broker).await,
        };
        Json(view).into_response()
    }

    async fn bytes_left(&self, broker: BrokerId) -> Option<u64> {
        let image = self.broker.image.load_full();
        let listener = &self.broker.config.inter_broker_listener;
        let endpoint = image.brokers.get(&broker)?.endpoints.iter().find(|endpoint| endpoint.name == *listener)?;
        let meant = (&self.broker.identity.cluster_id, broker);
        let asked = bytes_of_partitions(meant, endpoint, Instant::now() + ASK_MAX).await;
        asked.inspect_err(|error| debug!(%broker, %error, "size of the remaining replicas unknown")).ok()
    }
}

async fn grant_restart(active: Active, Body(request): Body<GrantRequest>) -> Response {
    let wish = RestartWish {
        broker: BrokerId(request.broker),
        epoch: BrokerEpoch(request.broker_epoch),
        ttl: Duration::from_millis(request.ttl_ms),
        reason: request.reason,
        voters_caught_up: active.voters_caught_up(),
    };
    match active.controller().grant_restart(wish).await {
        Ok(Ok(status)) => active.granted(&status),
        Ok(Err(GrantError::Epoch(error))) => unknown_broker(&error),
        Ok(Err(error @ GrantError::Forbidden(_))) => problem(StatusCode::CONFLICT, error.to_string()),
        Err(error) => active.failed(&error),
    }
}

async fn restart_grant(active: Active, Path(broker): Path<i32>) -> Response {
    match active.controller().restart_grant(BrokerId(broker), active.voters_caught_up()).await {
        Ok(Some(status)) => active.granted(&status),
        Ok(None) => problem(StatusCode::NOT_FOUND, format!("broker {broker} has no grant to restart")),
        Err(error) => active.failed(&error),
    }
}

/// Succeeds whether or not there was a grant.
async fn cancel_grant(active: Active, Path(broker): Path<i32>) -> Response {
    match active.controller().cancel_grant(BrokerId(broker)).await {
        Ok(_was_there) => active.done(),
        Err(error) => active.failed(&error),
    }
}

async fn decommission(active: Active, Path(broker): Path<i32>) -> Response {
    match active.controller().decommission(BrokerId(broker)).await {
        Ok(Ok(progress)) => active.decommissioning(&progress).await,
        Ok(Err(error)) => not_decommissioned(&error),
        Err(error) => active.failed(&error),
    }
}

/// By the metadata: it does not depend on which node is the controller.
async fn decommission_progress(active: Active, Path(broker): Path<i32>) -> Response {
    match controller::decommission_progress(&active.broker.image.load(), BrokerId(broker)) {
        Some(progress) => active.decommissioning(&progress).await,
        None => problem(StatusCode::NOT_FOUND, format!("broker {broker} is not being decommissioned")),
    }
}

async fn cancel_decommission(active: Active, Path(broker): Path<i32>) -> Response {
    match active.controller().cancel_decommission(BrokerId(broker)).await {
        Ok(Ok(()) | Err(DecommissionError::NotBegun { .. })) => active.done(),
        Ok(Err(error)) => not_decommissioned(&error),
        Err(error) => active.failed(&error),
    }
}

async fn discard(active: Active, Body(request): Body<DiscardRequest>) -> Response {
    let directory: DirectoryId = match request.directory.parse() {
        Ok(directory) => directory,
        Err(error) => return problem(StatusCode::BAD_REQUEST, format!("directory: {error}")),
    };
    let broker = BrokerId(request.broker);
    match active.controller().discard(broker, directory).await {
        Ok(Ok(())) => {
            info!(%broker, %directory, "volume discarded: it is in no ISR any more and never registers again");
            active.done()
        }
        Ok(Err(error @ DiscardError::Unknown { .. })) => problem(StatusCode::NOT_FOUND, error.to_string()),
        Ok(Err(error)) => problem(StatusCode::CONFLICT, error.to_string()),
        Err(error) => active.failed(&error),
    }
}

async fn fence_hint(active: Active, Body(request): Body<FenceHint>) -> Response {
    info!(broker = request.broker, cause = request.cause, "fence hint received");
    let (broker, epoch) = (BrokerId(request.broker), BrokerEpoch(request.broker_epoch));
    match active.controller().fence_hint(broker, epoch).await {
        Ok(Ok(())) => active.done(),
        Ok(Err(error)) => unknown_broker(&error),
        Err(error) => active.failed(&error),
    }
}

/// Another epoch than the broker's is a conflict: the caller means another process.
fn unknown_broker(error: &BrokerEpochError) -> Response {
    let status = match error {
        BrokerEpochError::NotRegistered { .. } => StatusCode::NOT_FOUND,
        BrokerEpochError::Stale { .. } => StatusCode::CONFLICT,
    };
    problem(status, error.to_string())
}

fn not_decommissioned(error: &DecommissionError) -> Response {
    match error {
        DecommissionError::NotRegistered(error) => unknown_broker(error),
        DecommissionError::TooFewBrokers { .. } => problem(StatusCode::CONFLICT, error.to_string()),
        DecommissionError::NotBegun { .. } => problem(StatusCode::NOT_FOUND, error.to_string()),
    }
}

/// Names the controller, if it is known.
fn misdirected(view: &QuorumView) -> Response {
    let told = Misdirected {
        title: "Misdirected Request",
        status: StatusCode::MISDIRECTED_REQUEST.as_u16(),
        detail: view.leader.as_ref().map_or_else(
            || "no controller is known at present".to_owned(),
            |leader| format!("node {} at {}:{} is the controller", leader.id, leader.host, leader.port),
        ),
        controller_id: view.leader.as_ref().map_or(-1, |leader| leader.id.0),
        controller: view.leader.as_ref().map(|leader| format!("{}:{}", leader.host, leader.port)),
    };
    (StatusCode::MISDIRECTED_REQUEST, [(header::CONTENT_TYPE, PROBLEM_TYPE)], Json(told)).into_response()
}
