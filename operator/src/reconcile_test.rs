//! The whole reconcile against an API server that has only one KafkaCluster.

use std::collections::BTreeMap;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http_body_util::BodyExt as _;
use hyper::{Method, Request, Response};
use kube::client::Body;
use kube::core::PartialObjectMetaExt as _;
use serde_json::{Value, json};

use super::*;
use crate::admin::{
    AdminError, AdminTarget, BrokerView, ClusterView, FormatRequest, OptionChange, RestartGrant, RestartGrantRequest,
    VoterChange,
};
use crate::crd::KafkaClusterStatus;
use crate::testing::{cluster, release};

/// Brokers that are never asked here.
#[derive(Debug)]
struct NoBrokers;

impl NoBrokers {
    fn unreachable<T: Send>() -> BoxFuture<'static, Result<T, AdminError>> {
        let error = AdminError::Unreachable { url: "none".to_owned(), reason: "there is none".to_owned() };
        async { Err(error) }.boxed()
    }
}

impl BrokerAdmin for NoBrokers {
    fn broker(&self, _: AdminTarget) -> BoxFuture<'_, Result<BrokerView, AdminError>> {
        Self::unreachable()
    }

    fn cluster(&self, _: AdminTarget) -> BoxFuture<'_, Result<ClusterView, AdminError>> {
        Self::unreachable()
    }

    fn format(&self, _: AdminTarget, _: FormatRequest) -> BoxFuture<'_, Result<(), AdminError>> {
        Self::unreachable()
    }

    fn options(&self, _: AdminTarget) -> BoxFuture<'_, Result<BTreeMap<String, String>, AdminError>> {
        Self::unreachable()
    }

    fn set_options(&self, _: AdminTarget, _: Vec<OptionChange>) -> BoxFuture<'_, Result<(), AdminError>> {
        Self::unreachable()
    }

    fn change_voters(&self, _: AdminTarget, _: VoterChange) -> BoxFuture<'_, Result<(), AdminError>> {
        Self::unreachable()
    }

    fn restart_grant(&self, _: AdminTarget, _: RestartGrantRequest) -> BoxFuture<'_, Result<RestartGrant, AdminError>> {
        Self::unreachable()
    }
}

struct Write {
    what: String,
    query: String,
    body: Value,
}

/// Reconciles once and returns what was written. Requests that begin like `refuse` are answered with 403.
async fn writes(spec: Value, refuse: &'static str) -> Vec<Write> {
    let (outcome, writes) = reconciled(spec, refuse).await;
    assert!(outcome.is_ok(), "{outcome:?}");
    writes
}

async fn reconciled(spec: Value, refuse: &'static str) -> (Result<Action, ReconcileError>, Vec<Write>) {
    let cluster = cluster(spec);
    reconciled_as(json!(cluster), cluster, refuse).await
}

async fn reconciled_as(
    stored: Value,
    cluster: KafkaCluster,
    refuse: &'static str,
) -> (Result<Action, ReconcileError>, Vec<Write>) {
    let is_there = stored.pointer("/metadata/deletionTimestamp").is_none();
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let server = async move {
        let mut writes = Vec::new();
        while let Some((request, send)) = handle.next_request().await {
            let (parts, body) = request.into_parts();
            let bytes = body.collect().await.unwrap().to_bytes();
            let refused = format!("{} {}", parts.method, parts.uri.path()).starts_with(refuse);
            let (code, answer) = match (&parts.method, parts.uri.path()) {
                (&Method::GET, _) if refused => (403, failure(403, "Forbidden")),
                (&Method::GET, path) if path.ends_with("/kafkaclusters/demo") => (200, json!(stored)),
                (&Method::GET, path) if path.contains("/demo") => (404, failure(404, "NotFound")),
                (&Method::GET, _) => (200, json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": []})),
                (method, path) => {
                    let body: Value = serde_json::from_slice(&bytes).unwrap();
                    let what = path.rsplit("/shop/").next().unwrap();
                    let query = parts.uri.query().unwrap_or_default().to_owned();
                    writes.push(Write { what: format!("{method} {what}"), query, body: body.clone() });
                    match path {
                        _ if refused => (403, failure(403, "Forbidden")),
                        path if path.ends_with("/status") => (200, json!(stored)),
                        _ => (200, body),
                    }
                }
            };
            send.send_response(
                Response::builder().status(code).body(Body::from(answer.to_string().into_bytes())).unwrap(),
            );
        }
        writes
    };
    let metrics = Metrics::default();
    metrics.tell("shop", "demo", &KafkaClusterStatus::default());
    let context = Context {
        client: Client::new(service, "shop"),
        admin: Box::new(NoBrokers),
        release: release(),
        reach: Reach::Nodes,
        instance: "test".to_owned(),
        metrics: metrics.clone(),
    };
    let known = cluster.metadata.into_response_partial();
    let reconciled = Box::pin(async move { reconcile(Arc::new(known), Arc::new(context)).await });
    let (outcome, writes) = futures::join!(reconciled, server);
    let told = metrics.encode().unwrap();
    assert_eq!(told.contains(r#"cluster="demo",type="Ready"} 0"#), is_there, "{told}");
    (outcome, writes)
}

fn failure(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": "not here", "reason": reason})
}

#[tokio::test]
async fn a_new_cluster_is_written_in_order_and_the_status_last() {
    let writes = writes(json!({}), "nothing").await;
    let seen: Vec<_> = writes.iter().map(|write| write.what.as_str()).collect();
    let expected = [
        "PATCH serviceaccounts/demo",
        "POST secrets",
        "PATCH services/demo-brokers",
        "PATCH services/demo-bootstrap",
        "POST configmaps",
        "PATCH statefulsets/demo",
        "PATCH poddisruptionbudgets/demo",
        "PATCH kafkaclusters/demo/status",
        "POST events",
    ];
    assert_eq!(seen, expected);
    for write in writes.iter().filter(|write| write.what.starts_with("PATCH")) {
        assert!(write.query.contains("fieldManager=millrace-operator"), "{}", write.query);
    }
    assert_eq!(writes[7].body["status"]["conditions"][0]["status"], "False");
    assert_eq!(writes[8].body["reason"], "Created");
}

#[tokio::test]
async fn a_cluster_that_is_deleted_in_the_foreground_is_left_alone_and_told_no_longer() {
    let cluster = cluster(json!({}));
    let mut stored = json!(cluster);
    stored["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    stored["metadata"]["finalizers"] = json!(["foregroundDeletion"]);
    let (outcome, writes) = reconciled_as(stored, cluster, "nothing").await;
    assert!(outcome.is_ok() && writes.is_empty(), "{outcome:?}");
}

#[tokio::test]
async fn a_refused_step_ends_up_in_the_status() {
    let writes = writes(json!({}), "PATCH /apis/apps/v1/namespaces/shop/statefulsets").await;
    assert!(!writes.iter().any(|write| write.what.contains("poddisruptionbudgets")), "later steps wait");
    let status = writes.iter().find(|write| write.what.ends_with("/status")).unwrap();
    let conditions = status.body["status"]["conditions"].as_array().unwrap();
    let stalled = conditions.iter().find(|condition| condition["type"] == "Stalled").unwrap();
    assert_eq!((&stalled["status"], &stalled["message"]), (&json!("True"), &json!("StatefulSet demo: not here.")));
}

#[test]
fn a_cluster_that_cannot_be_looked_at_is_tried_less_and_less_often() {
    let seconds = [1, 2, 3, 5, 6, 1000].map(|failures| pause_after(failures).as_secs());
    assert_eq!(seconds, [2, 4, 8, 32, 32, 32]);
}

#[tokio::test]
async fn an_invalid_manifest_writes_nothing_but_its_status() {
    let writes = writes(json!({"config": {"node.id": 1}}), "nothing").await;
    let seen: Vec<_> = writes.iter().map(|write| write.what.as_str()).collect();
    assert_eq!(seen, ["PATCH kafkaclusters/demo/status", "POST events"]);
}

#[tokio::test]
async fn what_the_operator_may_not_read_ends_up_in_the_status() {
    let (outcome, writes) = reconciled(json!({}), "GET /api/v1/namespaces/shop/pods").await;
    assert!(matches!(outcome, Err(ReconcileError::Observe(_))), "{outcome:?}");
    let seen: Vec<_> = writes.iter().map(|write| write.what.as_str()).collect();
    assert_eq!(seen, ["PATCH kafkaclusters/demo/status", "POST events"]);
    let stalled = &writes[0].body["status"]["conditions"][1];
    assert_eq!(stalled["reason"], "NotAllowed");
    assert_eq!((&stalled["type"], &stalled["status"]), (&json!("Stalled"), &json!("True")));
    assert_eq!(stalled["message"], "could not read the pods: not here.");
}

#[tokio::test]
async fn a_cluster_written_for_a_newer_operator_is_told_so_and_keeps_what_was_told() {
    let cluster = cluster(json!({}));
    let mut stored = json!(cluster);
    stored["spec"]["listeners"] = json!([{"name": "clients", "port": 9092, "type": "carrierpigeon"}]);
    stored["status"] = json!({"clusterId": "kept", "version": "0.1.0"});
    let (outcome, writes) = reconciled_as(stored, cluster, "nothing").await;
    assert!(matches!(outcome, Err(ReconcileError::Observe(_))), "{outcome:?}");
    let seen: Vec<_> = writes.iter().map(|write| write.what.as_str()).collect();
    assert_eq!(seen, ["PATCH kafkaclusters/demo/status", "POST events"]);
    let status = &writes[0].body["status"];
    assert_eq!((&status["clusterId"], &status["version"]), (&json!("kept"), &json!("0.1.0")));
    let stalled = &status["conditions"][1];
    assert_eq!((&stalled["status"], &stalled["reason"]), (&json!("True"), &json!("NotUnderstood")));
    let told = stalled["message"].as_str().unwrap();
    assert!(told.starts_with("could not read KafkaCluster demo: ") && told.contains("carrierpigeon"), "{told}");
}
