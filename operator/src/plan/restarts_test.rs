use protocol::types::BrokerId;
use serde_json::json;

use super::*;
use crate::admin::{BrokerState, RegisteredState};
use crate::crd::condition;
use crate::names::ANNOTATION_IMAGE;
use crate::plan::Plan;
use crate::testing::{CLAIM_UID, answer, elect, fall_silent, notices, parsed, plan_of, running, running_three, settle};

type Disturbance = fn(&mut Observed);

/// A cluster whose image was changed, with everything done but the restarts.
fn changed() -> Observed {
    let mut observed = running_three(json!({}));
    observed.cluster.spec.image = Some("other:1".to_owned());
    let plan = plan_of(&observed);
    settle(&mut observed, &plan);
    observed
}

fn restart(plan: &Plan) -> Option<(i32, Option<GrantCall>)> {
    plan.steps.iter().find_map(|step| match step {
        Step::Restart { broker, grant, .. } => Some((broker.0, grant.clone())),
        _ => None,
    })
}

fn message(plan: &Plan) -> String {
    plan.status.condition(condition::READY).unwrap().message.clone()
}

fn budget(observed: &Observed, plan: &Plan) -> serde_json::Value {
    let is_budget = |manifest: &&Manifest| manifest.resource.kind == "PodDisruptionBudget";
    let applied = plan.steps.iter().find_map(|step| match step {
        Step::Apply(manifest) => Some(manifest).filter(is_budget),
        _ => None,
    });
    let standing = || observed.standing.values().find(is_budget).unwrap();
    applied.unwrap_or_else(standing).body["spec"]["maxUnavailable"].clone()
}

#[test]
fn brokers_are_restarted_one_at_a_time_and_the_controller_last() {
    let mut observed = changed();
    for expected in [1, 2, 0] {
        let plan = plan_of(&observed);
        let (broker, grant) = restart(&plan).unwrap();
        let grant = grant.unwrap();
        assert_eq!((broker, grant.request.broker, grant.request.broker_epoch), (expected, expected, 100));
        assert_eq!((grant.controller, grant.targets.len()), (BrokerId(0), 3));
        assert_eq!(plan.status.condition(condition::READY).unwrap().status, "True");
        let id = BrokerId(broker);
        settle(&mut observed, &plan);
        assert_eq!(restart(&plan_of(&observed)), None, "the next one waits until broker {broker} is back");
        crate::testing::start_pods(&mut observed);
        answer(&mut observed, id, BrokerState::Running);
    }
    let plan = plan_of(&observed);
    assert_eq!((restart(&plan), plan.status.plan.len()), (None, 0));
}

#[test]
fn restarts_are_finished_once_the_last_broker_serves_again() {
    let mut observed = changed();
    for id in 1..3 {
        let pod = observed.pods.get_mut(&BrokerId(id)).unwrap();
        pod.annotations_mut().insert(ANNOTATION_IMAGE.to_owned(), "other:1".to_owned());
    }
    let told = |observed: &mut Observed| {
        let plan = plan_of(observed);
        let finished = notices(observed, &plan).iter().any(|notice| notice.reason == "RestartsFinished");
        observed.cluster.status = Some(plan.status.clone());
        (plan.status.plan.join(" "), finished)
    };
    let due = "Restart broker 0: its image changes from example/millrace-broker:0.1.0 to other:1.".to_owned();
    let wait = "Wait until broker 0 serves.".to_owned();
    assert_eq!(told(&mut observed), (due.clone(), false));
    fall_silent(&mut observed, BrokerId(0));
    observed.pods.get_mut(&BrokerId(0)).unwrap().metadata.deletion_timestamp =
        Some(parsed(json!("2026-01-01T00:00:00Z")));
    assert_eq!(told(&mut observed), (due, false), "it shuts down");
    observed.pods.remove(&BrokerId(0));
    assert_eq!(told(&mut observed), (wait.clone(), false), "it is gone");
    crate::testing::start_pods(&mut observed);
    answer(&mut observed, BrokerId(0), BrokerState::Registering);
    assert_eq!(told(&mut observed), (wait, false), "it starts");
    answer(&mut observed, BrokerId(0), BrokerState::Running);
    assert_eq!(told(&mut observed), (String::new(), true));
    assert_eq!(told(&mut observed), (String::new(), false));
}

#[test]
fn a_restart_waits_and_says_what_for() {
    let silent = |observed: &mut Observed| fall_silent(observed, BrokerId(1));
    let leaderless = |observed: &mut Observed| observed.view_of = Some(BrokerId(2));
    let fenced = |observed: &mut Observed| observed.view.as_mut().unwrap().brokers.clear();
    let granted = |observed: &mut Observed| observed.view.as_mut().unwrap().grants = vec![7];
    let cases: [(Disturbance, &str); 4] = [
        (silent, "2 of 3 brokers ready. Broker 1: pod demo-1 starts."),
        (leaderless, "It waits: no active controller answers, which has to agree."),
        (fenced, "It waits: the controller does not count on broker 1 yet."),
        (granted, "It waits: broker 7 was granted a restart that has not ended."),
    ];
    for (spoil, expected) in cases {
        let mut observed = changed();
        spoil(&mut observed);
        let plan = plan_of(&observed);
        assert_eq!(restart(&plan), None, "{expected}");
        assert!(message(&plan).ends_with(expected), "{}", message(&plan));
    }
}

#[test]
fn only_a_broker_without_its_vote_is_restarted_before_it_votes() {
    for (image_of, expected) in [(BrokerId(1), Some(1)), (BrokerId(2), None)] {
        let mut observed = changed();
        observed.view.as_mut().unwrap().voters.remove(1);
        for (id, pod) in &mut observed.pods {
            if *id != image_of {
                pod.annotations_mut().insert(ANNOTATION_IMAGE.to_owned(), "other:1".to_owned());
            }
        }
        let plan = plan_of(&observed);
        assert_eq!(restart(&plan).map(|(id, _)| id), expected);
        let told = message(&plan);
        let waits = "It waits: broker 1 has to vote first, on the volume that it has now.";
        assert_eq!(told.ends_with(waits), expected.is_none(), "{told}");
        let votes = plan.steps.iter().any(|step| matches!(step, Step::ChangeVoters { .. }));
        assert_eq!(votes, expected.is_none(), "one thing at a time");
    }
}

#[test]
fn a_restart_that_was_granted_is_finished_first() {
    let mut observed = changed();
    observed.view.as_mut().unwrap().grants = vec![2];
    assert_eq!(restart(&plan_of(&observed)).unwrap().0, 2);
}

#[test]
fn a_broker_that_cannot_start_is_restarted_without_asking() {
    let mut observed = changed();
    fall_silent(&mut observed, BrokerId(2));
    observed.brokers.remove(&BrokerId(2));
    let status = observed.pods.get_mut(&BrokerId(2)).unwrap().status.as_mut().unwrap();
    status.container_statuses = Some(parsed(json!([{
        "name": "broker", "image": "", "imageID": "", "ready": false, "restartCount": 3,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
    }])));
    assert_eq!(restart(&plan_of(&observed)), Some((2, None)));
}

#[test]
fn a_broker_that_ended_before_and_runs_again_is_not_restarted_without_asking() {
    let mut observed = changed();
    fall_silent(&mut observed, BrokerId(2));
    let container = &mut observed.pods.get_mut(&BrokerId(2)).unwrap().status.as_mut().unwrap().container_statuses;
    container.as_mut().unwrap()[0].last_state = Some(parsed(json!({"terminated": {"exitCode": 137}})));
    let plan = plan_of(&observed);
    assert_eq!(restart(&plan), None);
    let expected = "2 of 3 brokers ready. Broker 2: pod demo-2 starts again: exit code 137.";
    assert_eq!(message(&plan), expected);
}

#[test]
fn a_broker_that_does_not_get_to_serve_is_restarted_first_where_it_can_be_spared() {
    let cases: [(Disturbance, Option<i32>); 7] = [
        (|_| {}, Some(1)),
        (|observed| observed.view.as_mut().unwrap().grants = vec![2], None),
        (|observed| observed.view.as_mut().unwrap().brokers[1].state = RegisteredState::Unfenced, None),
        (|observed| observed.view.as_mut().unwrap().brokers[1].state = RegisteredState::Other, None),
        (|observed| observed.view_of = Some(BrokerId(2)), None),
        (|observed| fall_silent(observed, BrokerId(2)), None),
        (|observed| drop(observed.view.as_mut().unwrap().voters.remove(2)), None),
    ];
    for (index, (change, expected)) in cases.into_iter().enumerate() {
        let mut observed = changed();
        answer(&mut observed, BrokerId(1), BrokerState::Registering);
        observed.view.as_mut().unwrap().brokers[1].state = RegisteredState::Fenced;
        change(&mut observed);
        let plan = plan_of(&observed);
        assert_eq!(restart(&plan), expected.map(|id| (id, None)), "case {index}");
    }
}

#[test]
fn a_single_broker_has_nobody_to_ask() {
    let mut observed = running(json!({}));
    observed.cluster.spec.image = Some("other:1".to_owned());
    let plan = plan_of(&observed);
    settle(&mut observed, &plan);
    assert_eq!(restart(&plan_of(&observed)), Some((0, None)));
}

#[test]
fn eviction_is_allowed_while_one_more_broker_can_be_spared() {
    let one = running(json!({}));
    assert_eq!(budget(&one, &plan_of(&one)), 1);
    let cases: [(Disturbance, i32); 8] = [
        (|_| {}, 1),
        (|observed| observed.view.as_mut().unwrap().partitions.under_replicated = 1, 0),
        (|observed| observed.view.as_mut().unwrap().partitions.offline = 1, 0),
        (|observed| observed.view.as_mut().unwrap().grants = vec![1], 0),
        (|observed| observed.view.as_mut().unwrap().voters[1].directory_id = CLAIM_UID.to_owned(), 0),
        (|observed| drop(observed.view.as_mut().unwrap().voters.pop()), 0),
        (|observed| observed.view_of = Some(BrokerId(2)), 0),
        (|observed| observed.cluster.spec.image = Some("other:1".to_owned()), 0),
    ];
    for (index, (change, expected)) in cases.into_iter().enumerate() {
        let mut observed = running_three(json!({}));
        change(&mut observed);
        assert_eq!(budget(&observed, &plan_of(&observed)), expected, "case {index}");
    }
}

#[test]
fn a_manifest_that_is_not_followed_leaves_no_budget_that_is_wrong() {
    let mut observed = running_three(json!({}));
    observed.cluster.spec.config = parsed(json!({"node.id": 1}));
    let problems = crate::validate::validate(&observed, &crate::testing::release()).unwrap_err();
    let refused = |observed: &Observed| crate::plan::refuse(observed, &problems, crate::testing::now());
    assert_eq!(refused(&observed).steps, []);
    for (under_replicated, expected) in [(1, 0), (0, 1)] {
        observed.view.as_mut().unwrap().partitions.under_replicated = under_replicated;
        let plan = refused(&observed);
        let told: Vec<_> = plan.steps.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["change PodDisruptionBudget demo"]);
        settle(&mut observed, &plan);
        assert_eq!((budget(&observed, &plan), refused(&observed).steps), (json!(expected), vec![]));
    }
    observed.view.as_mut().unwrap().voters.pop();
    assert_eq!(refused(&observed).steps.len(), 1, "a vote is missing");
}

#[test]
fn the_budget_is_closed_before_a_restart_is_asked_for() {
    let mut observed = running_three(json!({}));
    observed.cluster.spec.image = Some("other:1".to_owned());
    let plan = plan_of(&observed);
    assert_eq!((budget(&observed, &plan).as_i64(), restart(&plan)), (Some(0), None));
    settle(&mut observed, &plan);
    elect(&mut observed, 1);
    assert_eq!(restart(&plan_of(&observed)).unwrap().0, 0, "broker 1 is the controller now");
}

#[test]
fn options_that_brokers_may_know_only_afterwards_do_not_hold_up_their_restart() {
    let mut observed = changed();
    observed.cluster.spec.config = parsed(json!({"log.retention.bytes": 4096}));
    let plan = plan_of(&observed);
    assert!(plan.steps.iter().any(|step| matches!(step, Step::SetOptions { .. })));
    assert_eq!(restart(&plan).unwrap().0, 1);
}

#[test]
fn a_cluster_that_is_blocked_leaves_no_budget_that_is_wrong() {
    let mut observed = running_three(json!({}));
    observed.token = None;
    observed.view.as_mut().unwrap().partitions.under_replicated = 1;
    let told: Vec<_> = plan_of(&observed).steps.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["change PodDisruptionBudget demo"]);
}
