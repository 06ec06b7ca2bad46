//! The management API over HTTP/1.1.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{
    AdminError, AdminTarget, BrokerAdmin, BrokerView, ClusterView, FormatRequest, OptionChange, RestartGrant,
    RestartGrantRequest, VoterChange, kafka,
};
use crate::names::PORT_MANAGEMENT;

const CALL_TIMEOUT: Duration = Duration::from_secs(2);
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Most characters of a refusal in a status message.
const REFUSAL_CHARS_MAX: usize = 300;

#[derive(Debug, Clone)]
pub struct HttpBrokerAdmin {
    client: Client<HttpConnector, Full<Bytes>>,
    port: u16,
}

impl Default for HttpBrokerAdmin {
    fn default() -> Self {
        Self::with_port(PORT_MANAGEMENT)
    }
}

impl HttpBrokerAdmin {
    pub fn with_port(port: u16) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build(connector);
        Self { client, port }
    }

    async fn call(&self, target: AdminTarget, method: Method, path: &str, body: Bytes) -> Result<Bytes, AdminError> {
        let host = if target.pod_ip.contains(':') { format!("[{}]", target.pod_ip) } else { target.pod_ip };
        let url = format!("http://{host}:{}{path}", self.port);
        let unreachable =
            |error: &dyn std::error::Error| AdminError::Unreachable { url: url.clone(), reason: root_cause(error) };
        let request = Request::builder()
            .method(method)
            .uri(&url)
            .header(header::AUTHORIZATION, format!("Bearer {}", target.token.0))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| unreachable(&error))?;
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| unreachable(&error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            Ok((status, body.map_err(|error| unreachable(error.as_ref()))?.to_bytes()))
        };
        let limit_ms = u64::try_from(CALL_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
        let answer: Result<_, AdminError> = tokio::time::timeout(CALL_TIMEOUT, exchange)
            .await
            .map_err(|_| AdminError::TimedOut { url: url.clone(), limit_ms })?;
        let (status, body) = answer?;
        if status.is_success() { Ok(body) } else { Err(refusal(url, status, &body)) }
    }

    async fn get<T: DeserializeOwned>(&self, target: AdminTarget, path: &str) -> Result<T, AdminError> {
        read(path, &self.call(target, Method::GET, path, Bytes::new()).await?)
    }

    async fn post(&self, target: AdminTarget, path: &str, request: &impl Serialize) -> Result<Bytes, AdminError> {
        let body = serde_json::to_vec(request)
            .map_err(|error| AdminError::Unreadable { url: path.to_owned(), reason: error.to_string() })?;
        self.call(target, Method::POST, path, body.into()).await
    }
}

fn read<T: DeserializeOwned>(path: &str, body: &Bytes) -> Result<T, AdminError> {
    let unreadable =
        |error: serde_json::Error| AdminError::Unreadable { url: path.to_owned(), reason: error.to_string() };
    serde_json::from_slice(body).map_err(unreadable)
}

/// The human-readable part of `application/problem+json`, and the broker to ask instead.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Problem {
    detail: Option<String>,
    controller_id: Option<i32>,
}

fn refusal(url: String, status: StatusCode, body: &Bytes) -> AdminError {
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    if status == StatusCode::MISDIRECTED_REQUEST {
        return AdminError::NotController { url, controller: problem.controller_id.filter(|id| 0 <= *id) };
    }
    let told = problem.detail.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    AdminError::Refused { url, status: status.as_u16(), detail: told.chars().take(REFUSAL_CHARS_MAX).collect() }
}

impl BrokerAdmin for HttpBrokerAdmin {
    fn broker(&self, target: AdminTarget) -> BoxFuture<'_, Result<BrokerView, AdminError>> {
        self.get(target, "/v1/broker").boxed()
    }

    fn cluster(&self, target: AdminTarget) -> BoxFuture<'_, Result<ClusterView, AdminError>> {
        self.get(target, "/v1/cluster").boxed()
    }

    fn format(&self, target: AdminTarget, request: FormatRequest) -> BoxFuture<'_, Result<(), AdminError>> {
        async move { self.post(target, "/v1/format", &request).await.map(drop) }.boxed()
    }

    fn options(&self, target: AdminTarget) -> BoxFuture<'_, Result<BTreeMap<String, String>, AdminError>> {
        kafka::options(target).boxed()
    }

    fn set_options(&self, target: AdminTarget, changes: Vec<OptionChange>) -> BoxFuture<'_, Result<(), AdminError>> {
        kafka::set_options(target, changes).boxed()
    }

    fn change_voters(&self, target: AdminTarget, change: VoterChange) -> BoxFuture<'_, Result<(), AdminError>> {
        kafka::change_voters(target, change).boxed()
    }

    fn restart_grant(
        &self,
        target: AdminTarget,
        request: RestartGrantRequest,
    ) -> BoxFuture<'_, Result<RestartGrant, AdminError>> {
        let path = "/v1/restart-grants";
        async move { read(path, &self.post(target, path, &request).await?) }.boxed()
    }
}

/// hyper wraps the reason twice; only the innermost text is informative ("connection refused").
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
