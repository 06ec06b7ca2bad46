//! Troubles of brokers that serve all the same, as the conditions and the events tell them.

use protocol::types::BrokerId;
use serde_json::{Value, json};

use crate::admin::{AdminError, BrokerState, BrokerView};
use crate::crd::{KafkaClusterStatus, condition};
use crate::observe::Observed;
use crate::testing::{
    answer, cluster, fall_silent, notices, parsed, plan_of, running, running_three, settle, start_pods,
};

type Disturbance = fn(&mut Observed);

/// Reason and truth of `Ready`, truth of `Reconciling` and of `Stalled`.
fn stand(status: &KafkaClusterStatus) -> (&str, [&str; 3]) {
    let truth = |kind: &str| status.condition(kind).unwrap().status.as_str();
    let kinds = [condition::READY, condition::RECONCILING, condition::STALLED];
    (&status.condition(condition::READY).unwrap().reason, kinds.map(truth))
}

fn told(status: &KafkaClusterStatus) -> &str {
    &status.condition(condition::READY).unwrap().message
}

/// What is disturbed is told at once, as one event, and so is its end.
fn check(calm: &Observed, disturb: Disturbance, reason: &str, truths: [&str; 3], message: &str, events: [&[&str]; 2]) {
    let mut observed = calm.clone();
    disturb(&mut observed);
    let disturbed = plan_of(&observed);
    assert_eq!((stand(&disturbed.status), told(&disturbed.status)), ((reason, truths), message));
    let reasons = |observed: &Observed| -> Vec<_> {
        notices(observed, &plan_of(observed)).into_iter().map(|notice| notice.reason).collect()
    };
    assert_eq!(reasons(&observed), events[0], "{message}");
    observed.cluster.status = Some(disturbed.status);
    assert_eq!(reasons(&observed), [""; 0], "{message}");
    let mut calm = calm.clone();
    calm.cluster.status = observed.cluster.status;
    assert_eq!(reasons(&calm), events[1], "after {message}");
}

fn refuse_all(observed: &mut Observed) {
    let error = |id| AdminError::Unreachable { url: format!("http://10.1.2.{id}"), reason: "refused".to_owned() };
    observed.brokers.iter_mut().for_each(|(id, answer)| *answer = Err(error(id)));
    (observed.view, observed.view_of, observed.options) = (None, None, None);
}

#[test]
fn that_no_broker_answers_is_told_with_what_waits_for_it() {
    let changing = ["True", "True", "False"];
    let (reason, events) = ("BrokersUnreachable", [&["BrokersUnreachable"][..], &["Recovered"]]);
    let single = "1 of 1 brokers ready, but brokers that do not answer the operator: 1 of 1: http://10.1.2.0: refused.";
    check(&running(json!({})), refuse_all, reason, changing, single, events);
    let three = "3 of 3 brokers ready, but brokers that do not answer the operator: 3 of 3: http://10.1.2.2: refused. \
                 Until one does, none is restarted, no pod may be evicted and no option is set.";
    check(&running_three(json!({})), refuse_all, reason, changing, three, events);

    let mut observed = running_three(json!({}));
    refuse_all(&mut observed);
    fall_silent(&mut observed, BrokerId(0));
    let status = plan_of(&observed).status;
    assert_eq!(stand(&status), (reason, ["False", "True", "False"]));
    assert!(told(&status).ends_with(" Broker 0: pod demo-0 starts."), "{}", told(&status));
    for id in 0..3 {
        fall_silent(&mut observed, BrokerId(id));
    }
    assert_eq!(stand(&plan_of(&observed).status).0, "BrokersNotReady", "there is nothing to contradict the probes");
}

#[test]
fn one_broker_that_answers_is_enough() {
    let mut observed = running_three(json!({}));
    let answer = observed.brokers[&BrokerId(1)].clone();
    let (view, view_of, options) = (observed.view.clone(), observed.view_of, observed.options.clone());
    refuse_all(&mut observed);
    observed.brokers.insert(BrokerId(1), answer);
    (observed.view, observed.view_of, observed.options) = (view, view_of, options);
    assert_eq!(stand(&plan_of(&observed).status).0, "BrokersReady");
}

#[test]
fn a_full_volume_and_logs_that_failed_are_told_with_broker_and_volume() {
    let calm = running_three(json!({}));
    let stalled = ["True", "False", "True"];
    let told_full = "3 of 3 brokers ready. Broker 1: volume data-demo-1 is full, so producers are told to try again; enlarge \
                spec.storage.size, or keep less.";
    let fill: Disturbance = |observed| disturb_view(observed, 1, json!({"disk": {"isLow": true}}));
    check(&calm, fill, "VolumeFull", stalled, told_full, [&["Stalled"], &[]]);
    let told_failed = "3 of 3 brokers ready. Broker 2: logs on volume data-demo-2 that failed and are not served: 2, the \
                  first orders-0: EIO; they are tried again when it is restarted, kubectl rollout restart \
                  statefulset/demo.";
    let fail: Disturbance = |observed| {
        let replicas = json!([{"partition": "orders-0", "reason": "EIO"}, {"partition": "orders-1", "reason": "EIO"}]);
        disturb_view(observed, 2, json!({"offlineReplicas": replicas, "disk": {"totalBytes": 9, "isLow": false}}));
    };
    check(&calm, fail, "LogsOffline", stalled, told_failed, [&["Stalled"], &[]]);
    let mut observed = calm;
    fail(&mut observed);
    fill(&mut observed);
    observed.view.as_mut().unwrap().partitions.under_replicated = 1;
    assert_eq!(stand(&plan_of(&observed).status).0, "VolumeFull", "the cause goes before what follows from it");
}

/// As the broker's answer is read.
fn disturb_view(observed: &mut Observed, id: i32, answer: Value) {
    let view = observed.brokers.get_mut(&BrokerId(id)).unwrap().as_mut().unwrap();
    let read: BrokerView = parsed(answer);
    (view.disk, view.offline_replicas) = (read.disk, read.offline_replicas);
}

#[test]
fn brokers_that_share_a_node_are_named() {
    let mut observed = running_three(json!({}));
    for (nodes, expected) in [
        (["a", "b", "c"], ""),
        (["a", "b", "a"], "; with node a brokers 0, 2 would be lost at once"),
        (["a", "a", "a"], "; with node a brokers 0, 1, 2 would be lost at once"),
    ] {
        for (pod, node) in observed.pods.values_mut().zip(nodes) {
            pod.spec.as_mut().unwrap().node_name = Some(node.to_owned());
        }
        let status = plan_of(&observed).status;
        assert_eq!(stand(&status), ("BrokersReady", ["True", "False", "False"]), "nothing is left to do");
        assert_eq!(told(&status), format!("3 of 3 brokers ready{expected}."));
    }
}

#[test]
fn pods_that_still_have_a_former_placement_are_counted() {
    let mut observed = running_three(json!({}));
    observed.cluster.spec = cluster(json!({"replicas": 3, "pod": {"labels": {"team": "shop"}}})).spec;
    for expected in [
        "3 of 3 brokers ready",
        "3 of 3 brokers ready; pods with a former spec.pod: 3, until kubectl \
                                              rollout restart statefulset/demo",
    ] {
        let plan = plan_of(&observed);
        assert_eq!(told(&plan.status), format!("{expected}."));
        settle(&mut observed, &plan);
    }
    observed.pods.clear();
    start_pods(&mut observed);
    (0..3).for_each(|id| answer(&mut observed, BrokerId(id), BrokerState::Running));
    assert_eq!(told(&plan_of(&observed).status), "3 of 3 brokers ready.");
}

#[test]
fn options_that_cannot_be_read_are_not_told_to_be_set() {
    let error = AdminError::TimedOut { url: "10.1.2.0:9091".to_owned(), limit_ms: 2000 };
    let calm = running_three(json!({"config": {"log.retention.bytes": 100}}));
    let mut observed = calm.clone();
    observed.options = Some(Err(error));
    observed.cluster.spec.config = parsed(json!({"log.retention.ms": 100}));
    let status = plan_of(&observed).status;
    assert_eq!(stand(&status), ("OptionsUnknown", ["True", "True", "False"]));
    let expected = "3 of 3 brokers ready, but which options of spec.config they follow is not known: 10.1.2.0:9091: no \
                    answer within 2000 ms.";
    assert_eq!(told(&status), expected);
    assert_eq!(status.options, ["log.retention.bytes", "min.insync.replicas"], "as they were seen");
    observed.options = calm.options;
    let options = plan_of(&observed).status.options;
    assert_eq!(options, ["log.retention.bytes", "log.retention.ms", "min.insync.replicas"], "one goes, one comes");
}
