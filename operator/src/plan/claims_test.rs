use kube::ResourceExt as _;
use protocol::types::{BrokerId, DirectoryId};
use serde_json::{Value, json};

use super::*;
use crate::crd::condition;
use crate::names::ANNOTATION_VOTERS;
use crate::plan::Plan;
use crate::testing::{
    claim_uid, cluster, parsed, plan_of, running, running_three, settle, start_pods, take_new_volume,
};

/// With pods, but nothing formatted.
fn started(spec: Value) -> Observed {
    let mut observed = Observed::nothing(cluster(spec));
    let plan = plan_of(&observed);
    settle(&mut observed, &plan);
    start_pods(&mut observed);
    observed
}

fn formats(plan: &Plan) -> Vec<FormatRequest> {
    let request = |step: &Step| match step {
        Step::Format { request, .. } => Some(request.clone()),
        _ => None,
    };
    plan.steps.iter().filter_map(request).collect()
}

fn directory(id: i32) -> String {
    claim_uid(BrokerId(id)).parse::<DirectoryId>().unwrap().to_string()
}

#[test]
fn voters_are_written_on_every_claim_before_any_is_formatted() {
    let mut observed = started(json!({"replicas": 4}));
    let first = plan_of(&observed);
    assert_eq!(formats(&first), []);
    settle(&mut observed, &first);
    let voters = format!("0@{},1@{},2@{}", directory(0), directory(1), directory(2));
    assert!(observed.claims.values().all(|claim| claim.annotations()[ANNOTATION_VOTERS] == voters));

    let requests = formats(&plan_of(&observed));
    assert_eq!(requests.len(), 4);
    let told: Vec<_> = requests[0].initial_voters.iter().map(|voter| voter.endpoint.as_str()).collect();
    let host = |id: i32| format!("demo-{id}.demo-brokers.shop.svc:9093");
    assert_eq!(told, [host(0), host(1), host(2)]);
    assert_eq!(requests[0].initial_voters[2].directory_id, directory(2));
    assert!(requests[..3].iter().all(|request| request.initial_voters == requests[0].initial_voters));
    assert_eq!(requests[3].initial_voters, [], "broker 3 does not vote");
}

#[test]
fn nothing_is_formatted_while_a_voter_has_no_claim() {
    let mut observed = started(json!({"replicas": 3}));
    observed.claims.remove(&BrokerId(2));
    for _ in 0..3 {
        let plan = plan_of(&observed);
        assert_eq!(formats(&plan), []);
        settle(&mut observed, &plan);
    }
}

#[test]
fn a_voter_on_a_new_volume_is_another_one_and_does_not_vote() {
    let mut observed = running_three(json!({}));
    take_new_volume(&mut observed, 1);
    let plan = plan_of(&observed);
    assert_eq!(formats(&plan), [], "its claim does not say yet who votes");
    settle(&mut observed, &plan);
    let requests = formats(&plan_of(&observed));
    assert_eq!((requests[0].node_id, requests[0].initial_voters.len()), (1, 0));
}

#[test]
fn the_voters_outlive_all_but_the_last_volume() {
    let mut observed = running_three(json!({}));
    take_new_volume(&mut observed, 0);
    take_new_volume(&mut observed, 1);
    let plan = plan_of(&observed);
    settle(&mut observed, &plan);
    assert!(formats(&plan_of(&observed)).iter().all(|request| request.initial_voters.is_empty()));
}

#[test]
fn volumes_that_name_different_voters_block_everything() {
    let mut observed = running_three(json!({}));
    let other = format!("0@{}", directory(0));
    let claim = observed.claims.get_mut(&BrokerId(2)).unwrap();
    claim.annotations_mut().insert(ANNOTATION_VOTERS.to_owned(), other);
    let plan = plan_of(&observed);
    assert_eq!(plan.steps, []);
    assert_eq!(plan.status.condition(condition::STALLED).unwrap().reason, "VotersConflict");
}

#[test]
fn a_volume_that_lags_behind_its_claim_is_told_and_may_be_wished_smaller_again() {
    let mut observed = running(json!({"storage": {"size": "20Gi"}}));
    let claim = observed.claims.get_mut(&BrokerId(0)).unwrap();
    let conditions = json!([
        {"type": "Resizing", "status": "True"},
        {"type": "ControllerResizeError", "status": "True", "message": "no space"},
    ]);
    claim.status = Some(parsed(json!({"capacity": {"storage": "10Gi"}, "conditions": conditions})));
    let status = plan_of(&observed).status;
    let ready = status.condition(condition::READY).unwrap();
    let expected = "1 of 1 brokers ready; volume data-demo-0 has 10Gi of 20Gi: no space.";
    assert_eq!((ready.status.as_str(), ready.message.as_str()), ("True", expected));
    assert_eq!(status.condition(condition::RECONCILING).unwrap().status, "True");

    observed.cluster.spec.storage.size = parsed(json!("15Gi"));
    let plan = plan_of(&observed);
    let told: Vec<_> = plan.steps.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["grow PersistentVolumeClaim data-demo-0"]);
    observed.cluster.spec.storage.size = parsed(json!("5Gi"));
    let refused = crate::validate::validate(&observed, &crate::testing::release()).unwrap_err();
    assert!(refused[0].to_string().ends_with("set it to at least 10Gi"), "{}", refused[0]);
}
