use kube::ResourceExt as _;
use serde_json::json;

use super::*;
use crate::names::ANNOTATION_FORMATTED;
use crate::plan::Plan;
use crate::testing::{CLAIM_UID, answer, fall_silent, plan_of, running_three, settle, take_new_volume};

fn told(plan: &Plan) -> Vec<String> {
    let is_change = |step: &&Step| matches!(step, Step::ChangeVoters { .. });
    plan.steps.iter().filter(is_change).map(ToString::to_string).collect()
}

/// Broker 1 serves on a new volume; its vote is for the former one.
fn on_a_new_volume() -> Observed {
    let mut observed = running_three(json!({}));
    take_new_volume(&mut observed, 1);
    for _ in 0..3 {
        assert_eq!(told(&plan_of(&observed)), [""; 0], "broker 1 does not serve yet");
        let plan = plan_of(&observed);
        settle(&mut observed, &plan);
        if observed.brokers[&BrokerId(1)].as_ref().unwrap().state == BrokerState::Running {
            let claim = observed.claims.get_mut(&BrokerId(1)).unwrap();
            claim.annotations_mut().insert(ANNOTATION_FORMATTED.to_owned(), "true".to_owned());
            return observed;
        }
    }
    panic!("broker 1 was not formatted");
}

#[test]
fn a_broker_on_a_new_volume_loses_the_former_vote_and_gets_one_there() {
    let mut observed = on_a_new_volume();
    let directory = |id: &str| id.parse::<DirectoryId>().unwrap();
    let former = directory(&observed.view.as_ref().unwrap().voters[1].directory_id);
    let own = directory(observed.claims[&BrokerId(1)].metadata.uid.as_ref().unwrap());
    for expected in [
        vec![format!("take the vote of broker 1 on volume {former} away, which is gone")],
        vec![format!("give broker 1 a vote on its volume {own}")],
        vec![],
    ] {
        let plan = plan_of(&observed);
        assert_eq!(told(&plan), expected);
        settle(&mut observed, &plan);
    }
}

type Disturbance = fn(&mut Observed);

#[test]
fn voters_change_only_while_none_can_be_missing() {
    let cases: [(&str, Disturbance); 6] = [
        ("another broker is away", |observed| fall_silent(observed, BrokerId(2))),
        ("another broker checks its logs", |observed| answer(observed, BrokerId(2), BrokerState::Recovering)),
        ("a restart was granted", |observed| observed.view.as_mut().unwrap().grants = vec![2]),
        ("no controller answers", |observed| observed.view_of = Some(BrokerId(2))),
        ("the broker does not answer", |observed| drop(observed.brokers.remove(&BrokerId(1)))),
        ("the broker is on another volume", |observed| {
            observed.brokers.get_mut(&BrokerId(1)).unwrap().as_mut().unwrap().directory_id = Some(CLAIM_UID.to_owned());
        }),
    ];
    for (reason, disturb) in cases {
        let mut observed = on_a_new_volume();
        assert_eq!(told(&plan_of(&observed)).len(), 1);
        disturb(&mut observed);
        assert_eq!(told(&plan_of(&observed)), [""; 0], "{reason}");
    }
}

#[test]
fn voters_stay_as_they_are_where_their_volumes_do() {
    let observed = running_three(json!({}));
    assert_eq!(told(&plan_of(&observed)), [""; 0]);
}
