//! The management API (HTTP and JSON): probes and metrics without authentication, `/v1` with one of the cluster's
//! tokens. Repeating a call is harmless. Errors are `application/problem+json` (RFC 9457).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use axum::extract::{FromRequest, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use protocol::types::BrokerId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use tokio::sync::{mpsc, oneshot};

use super::decisions;
use super::network::Network;
use super::scrape;
use super::status::{BrokerStatus, RecoveryStatus, cluster_status, running_status};
use crate::clock::Pulse;
use crate::handlers::Broker;
use crate::replica::LoadProgress;

/// The stage of this process.
#[derive(Debug)]
pub(crate) enum Stage {
    Starting,
    /// Waits for `POST /v1/format`.
    Unformatted(mpsc::Sender<FormatCall>),
    Recovering(Arc<LoadProgress>),
    /// Serves controllers, not clients yet.
    Registering(Arc<Broker>),
    Running(Arc<Broker>),
    /// Serves until its leaderships are moved away.
    Leaving(Arc<Broker>),
    Stopping,
}

/// A request to format, and the channel for its result.
#[derive(Debug)]
pub(crate) struct FormatCall {
    pub(crate) request: FormatRequest,
    pub(crate) reply: oneshot::Sender<Result<(), FormatRefusal>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct FormatRequest {
    pub(crate) cluster_id: String,
    pub(crate) node_id: i32,
    pub(crate) directory_id: String,
    pub(crate) initial_voters: Vec<FormatVoter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct FormatVoter {
    pub(crate) id: i32,
    pub(crate) directory_id: String,
    /// `host:port` of its controller listener.
    pub(crate) endpoint: String,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum FormatRefusal {
    /// The request cannot be carried out.
    #[error("{0}")]
    Invalid(String),
    #[error("the data directory is formatted already")]
    AlreadyFormatted,
    #[error("{0}")]
    Failed(String),
}

/// Shared by the handlers and the rest of the process.
#[derive(Debug)]
pub(crate) struct Management {
    pub(crate) broker_id: BrokerId,
    pub(crate) began: SystemTime,
    pub(crate) stage: ArcSwap<Stage>,
    pub(crate) tokens_file: Option<PathBuf>,
    /// Beats of the control thread.
    pub(crate) control: Arc<Pulse>,
    /// Beats of each reactor.
    pub(crate) pulses: Vec<Arc<Pulse>>,
    pub(crate) network: Arc<Network>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Problem {
    title: &'static str,
    status: u16,
    detail: String,
}

pub(super) const PROBLEM_TYPE: &str = "application/problem+json";

type Shared = State<Arc<Management>>;

/// A JSON request body.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        match Json::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(problem(rejection.status(), rejection.body_text())),
        }
    }
}

pub(crate) fn router(management: Arc<Management>) -> Router {
    let guarded = Router::new()
        .route("/format", post(format))
        .route("/broker", get(broker))
        .route("/cluster", get(cluster))
        .merge(decisions::routes())
        .layer(middleware::from_fn_with_state(management.clone(), require_token));
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .nest("/v1", guarded)
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "no such resource; see /v1/broker, /v1/cluster") })
        .with_state(management)
}

async fn livez(State(management): Shared) -> Response {
    let silent = match &**management.stage.load() {
        Stage::Recovering(progress) => (!progress.pulse.is_alive()).then_some("recovery has not moved for 5 minutes"),
        stage if stage.broker().is_some() => silent_loop(&management.control, &management.pulses),
        _ => None,
    };
    silent.map_or_else(|| "ok\n".into_response(), |reason| problem(StatusCode::SERVICE_UNAVAILABLE, reason))
}

fn silent_loop(control: &Pulse, reactors: &[Arc<Pulse>]) -> Option<&'static str> {
    if !control.is_alive() {
        return Some("the control thread has not turned for 10 s");
    }
    let all_turn = reactors.iter().all(|pulse| pulse.is_alive());
    (!all_turn).then_some("a loop of the data plane has not turned for 10 s")
}

async fn readyz(State(management): Shared) -> Response {
    match &**management.stage.load() {
        Stage::Running(broker) if broker.is_unfenced() => "ok\n".into_response(),
        stage => problem(StatusCode::SERVICE_UNAVAILABLE, format!("state {}", stage.name())),
    }
}

/// On its own thread: with many partitions it takes milliseconds.
async fn metrics(State(management): Shared) -> Response {
    match tokio::task::spawn_blocking(move || scrape::render(management)).await {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            .into_response(),
        failed => problem(StatusCode::INTERNAL_SERVER_ERROR, format!("{failed:?}")),
    }
}

async fn format(State(management): Shared, Body(request): Body<FormatRequest>) -> Response {
    let stage = management.stage.load_full();
    let Stage::Unformatted(calls) = &*stage else {
        return problem(StatusCode::CONFLICT, FormatRefusal::AlreadyFormatted.to_string());
    };
    let (reply, outcome) = oneshot::channel();
    if calls.send(FormatCall { request, reply }).await.is_err() {
        return problem(StatusCode::CONFLICT, FormatRefusal::AlreadyFormatted.to_string());
    }
    match outcome.await {
        Ok(Ok(())) => StatusCode::OK.into_response(),
        Ok(Err(refusal @ FormatRefusal::Invalid(_))) => problem(StatusCode::BAD_REQUEST, refusal.to_string()),
        Ok(Err(refusal @ FormatRefusal::AlreadyFormatted)) => problem(StatusCode::CONFLICT, refusal.to_string()),
        Ok(Err(refusal @ FormatRefusal::Failed(_))) => problem(StatusCode::INTERNAL_SERVER_ERROR, refusal.to_string()),
        Err(_) => problem(StatusCode::CONFLICT, FormatRefusal::AlreadyFormatted.to_string()),
    }
}

async fn broker(State(management): Shared) -> Response {
    let stage = management.stage.load_full();
    let recovery = match &*stage {
        Stage::Recovering(progress) => Some(RecoveryStatus::of(progress)),
        _ => None,
    };
    let running = stage.broker().map(|broker| running_status(broker));
    Json(BrokerStatus { state: stage.name(), broker_id: management.broker_id.0, recovery, running }).into_response()
}

async fn cluster(State(management): Shared) -> Response {
    let stage = management.stage.load();
    match stage.broker() {
        Some(broker) => Json(cluster_status(broker)).into_response(),
        None => problem(StatusCode::SERVICE_UNAVAILABLE, format!("state {}", stage.name())),
    }
}

/// A missing or wrong token is denied, and so is every request while no token is configured.
async fn require_token(State(management): Shared, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(given) = given.and_then(|value| value.strip_prefix("Bearer ")) else {
        return problem(StatusCode::UNAUTHORIZED, "send a bearer token of the cluster");
    };
    let Some(file) = &management.tokens_file else {
        return problem(StatusCode::FORBIDDEN, "set millrace.management.tokens.file to allow these calls");
    };
    // Read at every call, so that a rotated token takes effect at once.
    match tokio::fs::read_to_string(file).await {
        Ok(tokens) if is_accepted(given, &tokens) => next.run(request).await,
        Ok(_) => problem(StatusCode::UNAUTHORIZED, "the bearer token is not one of the cluster"),
        Err(error) => {
            problem(StatusCode::INTERNAL_SERVER_ERROR, format!("the tokens file cannot be read: {}", error.kind()))
        }
    }
}

fn is_accepted(given: &str, tokens: &str) -> bool {
    let matches = |token: &str| bool::from(token.as_bytes().ct_eq(given.as_bytes()));
    tokens.lines().map(str::trim).filter(|token| !token.is_empty()).any(matches)
}

pub(super) fn problem(status: StatusCode, detail: impl Into<String>) -> Response {
    let title = status.canonical_reason().unwrap_or("error");
    let body = Json(Problem { title, status: status.as_u16(), detail: detail.into() });
    (status, [(header::CONTENT_TYPE, PROBLEM_TYPE)], body).into_response()
}

impl Stage {
    /// From the time the metadata is loaded until it is closed.
    pub(super) fn broker(&self) -> Option<&Arc<Broker>> {
        match self {
            Self::Registering(broker) | Self::Running(broker) | Self::Leaving(broker) => Some(broker),
            Self::Starting | Self::Unformatted(_) | Self::Recovering(_) | Self::Stopping => None,
        }
    }

    /// Kafka's `BrokerState` number.
    pub(super) fn number(&self) -> usize {
        match self {
            Self::Unformatted(_) => 0,
            Self::Starting | Self::Registering(_) => 1,
            Self::Recovering(_) => 2,
            Self::Running(_) => 3,
            Self::Leaving(_) => 6,
            Self::Stopping => 7,
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Starting => "Starting",
            Self::Unformatted(_) => "Unformatted",
            Self::Recovering(_) => "Recovering",
            Self::Registering(_) => "Registering",
            Self::Running(_) => "Running",
            Self::Leaving(_) => "Leaving",
            Self::Stopping => "Stopping",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_silent_loop_is_enough_to_be_restarted() {
        let turning = || Arc::new(Pulse::new(Duration::MAX));
        let silent = Arc::new(Pulse::new(Duration::ZERO));
        while silent.is_alive() {
            std::thread::yield_now();
        }
        let table = [
            (turning(), [turning(), turning()], None),
            (silent.clone(), [turning(), turning()], Some("control thread")),
            (turning(), [turning(), silent.clone()], Some("data plane")),
            (silent.clone(), [silent.clone(), silent], Some("control thread")),
        ];
        for (control, reactors, expected) in table {
            let found = silent_loop(&control, &reactors);
            let is_expected =
                expected.map_or_else(|| found.is_none(), |what| found.is_some_and(|found| found.contains(what)));
            assert!(is_expected, "{found:?} instead of {expected:?}");
        }
    }
}
