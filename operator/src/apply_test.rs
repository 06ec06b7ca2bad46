use std::collections::BTreeMap;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http_body_util::BodyExt as _;
use hyper::{Request, Response};
use k8s_openapi::jiff::ToSpan as _;
use kube::client::Body;
use protocol::types::{BrokerId, ClusterId, DirectoryId};
use serde_json::{Value, json};

use super::*;
use crate::admin::{
    AdminTarget, BrokerView, ClusterView, FormatRequest, ManagementToken, OptionChange, RestartGrant,
    RestartGrantRequest, Vote, VoterChange,
};
use crate::grant::GrantCall;
use crate::restart::RestartReason;
use crate::testing::{fall_silent, now, plan_of, running_three};

/// Brokers that refuse everything.
#[derive(Debug)]
struct Unwilling;

impl Unwilling {
    fn refuse<T: Send>() -> BoxFuture<'static, Result<T, AdminError>> {
        async { Err(AdminError::Kafka { url: "u".to_owned(), reason: "not caught up".to_owned() }) }.boxed()
    }
}

impl BrokerAdmin for Unwilling {
    fn broker(&self, _: AdminTarget) -> BoxFuture<'_, Result<BrokerView, AdminError>> {
        Self::refuse()
    }

    fn cluster(&self, _: AdminTarget) -> BoxFuture<'_, Result<ClusterView, AdminError>> {
        Self::refuse()
    }

    fn format(&self, _: AdminTarget, _: FormatRequest) -> BoxFuture<'_, Result<(), AdminError>> {
        Self::refuse()
    }

    fn options(&self, _: AdminTarget) -> BoxFuture<'_, Result<BTreeMap<String, String>, AdminError>> {
        Self::refuse()
    }

    fn set_options(&self, _: AdminTarget, _: Vec<OptionChange>) -> BoxFuture<'_, Result<(), AdminError>> {
        Self::refuse()
    }

    fn change_voters(&self, _: AdminTarget, _: VoterChange) -> BoxFuture<'_, Result<(), AdminError>> {
        Self::refuse()
    }

    fn restart_grant(&self, _: AdminTarget, _: RestartGrantRequest) -> BoxFuture<'_, Result<RestartGrant, AdminError>> {
        let detail = "topic-0 would lack a replica".to_owned();
        async { Err(AdminError::Refused { url: "u".to_owned(), status: 409, detail }) }.boxed()
    }
}

fn target() -> AdminTarget {
    AdminTarget { pod_ip: "10.1.2.0".to_owned(), token: ManagementToken(String::new()) }
}

fn restart(grant: Option<GrantCall>) -> Step {
    let (pod, uid) = ("demo-0".to_owned(), "uid-of-pod-0".to_owned());
    Step::Restart { broker: BrokerId(0), pod, uid, reason: RestartReason::ConfigChanged, grant }
}

/// The result of the work, and the body of each request to the API server.
async fn requests_of<T>(work: impl AsyncFnOnce(Executor<'_>) -> T) -> (T, Vec<Value>) {
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let server = async move {
        let mut bodies = Vec::new();
        while let Some((request, send)) = handle.next_request().await {
            let bytes = request.into_body().collect().await.unwrap().to_bytes();
            bodies.push(serde_json::from_slice(&bytes).unwrap());
            let answer = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
            send.send_response(Response::new(Body::from(answer.to_string().into_bytes())));
        }
        bodies
    };
    let work = async move {
        let client = Client::new(service, "shop");
        let metrics = Metrics::default();
        let executor =
            Executor { client: &client, admin: &Unwilling, namespace: "shop", instance: "test", metrics: &metrics };
        work(executor).await
    };
    futures::join!(Box::pin(work), server)
}

async fn taken(step: Step) -> (Result<Outcome, StepError>, Vec<Value>) {
    requests_of(async |executor| executor.take(&step).await).await
}

#[tokio::test]
async fn only_the_pod_that_was_looked_at_is_deleted() {
    let (outcome, requests) = taken(restart(None)).await;
    assert_eq!(outcome.unwrap(), Outcome::Done);
    assert_eq!(requests[0]["preconditions"]["uid"], "uid-of-pod-0");
    assert_eq!(requests[0]["propagationPolicy"], "Background");
}

#[tokio::test]
async fn what_the_brokers_refuse_is_waited_for_and_touches_nothing() {
    let targets = [(BrokerId(0), target())].into();
    let grant = GrantCall::new(BrokerId(0), targets, BrokerId(0), 100, "a reason".to_owned());
    let directory = DirectoryId(uuid::Uuid::from_u128(1));
    let vote = Vote::Add { host: "demo-1".to_owned() };
    let cluster_id = ClusterId::from_uuid(uuid::Uuid::from_u128(2));
    let add = VoterChange { cluster_id, broker: BrokerId(1), directory, vote };
    for (step, expected) in [
        (restart(Some(grant)), "broker 0 is not restarted yet: topic-0 would lack a replica".to_owned()),
        (
            Step::ChangeVoters { target: target(), change: add },
            format!("could not give broker 1 a vote on its volume {directory} yet: not caught up"),
        ),
    ] {
        let (outcome, requests) = taken(step).await;
        let wait = Wait { reason: expected, is_short: false };
        assert_eq!((outcome.unwrap(), requests), (Outcome::Waits(wait), vec![]));
    }
}

#[tokio::test]
async fn what_is_refused_for_long_is_asked_less_often() {
    let mut observed = running_three(json!({}));
    fall_silent(&mut observed, BrokerId(1));
    let status = plan_of(&observed).status;
    let reason = "broker 0 is not restarted yet: topic-0 would lack a replica";
    observed.cluster.status = Some(status::with_wait(status.clone(), &status, reason, now()));
    for (waited, expected) in [(1, Duration::from_millis(500)), (10, Duration::from_secs(5))] {
        let targets = [(BrokerId(0), target())].into();
        let grant = GrantCall::new(BrokerId(0), targets, BrokerId(0), 100, "a reason".to_owned());
        let plan = Plan { steps: vec![restart(Some(grant))], status: status.clone(), look_again: Duration::ZERO };
        let then = now() + waited.minutes();
        let (action, requests) = requests_of(async |executor| apply(&executor, &observed, plan, then).await).await;
        assert_eq!((action.unwrap(), requests), (Action::requeue(expected), vec![]), "after {waited} minutes");
    }
}

#[tokio::test]
async fn options_that_the_brokers_refuse_hold_nothing_up() {
    let steps = [Step::SetOptions { target: target(), changes: Vec::new() }, restart(None)];
    let work = async |executor: Executor<'_>| {
        let taken = executor.take_all(&steps).await;
        (taken.done.len(), taken.failure.map(|failure| failure.to_string()))
    };
    let ((done, failure), requests) = requests_of(work).await;
    assert_eq!((done, requests.len()), (1, 1));
    assert_eq!(failure.unwrap(), "set for all brokers : u: not caught up");
}

#[test]
fn only_what_another_manifest_or_other_rights_could_mend_is_lasting() {
    for (code, lasting) in
        [(400, true), (403, true), (422, true), (401, false), (404, false), (409, false), (429, false), (500, false)]
    {
        let answer = Box::new(Status { code, ..Status::default() });
        let error = StepError::Refused { what: "Pod demo-0".to_owned(), answer };
        assert_eq!(error.is_lasting(), lasting, "{code}");
    }
}
