//! Management calls that the active controller decides, and their effects.

use e2e::command;
use e2e::fleet::Fleet;
use protocol::types::DirectoryId;
use serde_json::{Value, json};

use crate::records::{produce, read};
use crate::three_brokers::{TOPIC, create, ends, partition};
use crate::{DEADLINE, brokers};

fn decide(fleet: &mut Fleet, controller: i32, path: &str, body: &Value) {
    let (status, said) = fleet.node(controller).unwrap().command(path, body).unwrap();
    assert_eq!(status, 200, "{said}");
}

pub(crate) fn a_discarded_volume_leaves_and_never_comes_back() {
    let mut fleet = Fleet::start(brokers(3)).unwrap();
    let controller = fleet.controller().unwrap();
    let (lost, other) = (controller % 3 + 1, (controller + 1) % 3 + 1);
    create(&mut fleet, [lost, other, controller]);
    produce(&fleet, TOPIC, 0..100);
    let node = fleet.node(lost).unwrap();
    let directory = node.directory_id().unwrap();
    node.kill().unwrap();

    let discard = json!({"broker": lost, "directory": DirectoryId(directory).to_string()});
    for _ in 0..2 {
        decide(&mut fleet, controller, "/v1/discards", &discard);
    }
    command::wait_for("it is out of sync", DEADLINE, || {
        let found = partition(&fleet);
        Ok((found.leader != Some(lost) && !found.in_sync.contains(&lost)).then_some(()))
    })
    .unwrap();
    produce(&fleet, TOPIC, 100..200);
    fleet.spawn(lost).unwrap();
    let said = ends(&mut fleet, lost);
    assert!(said.contains("has been discarded"), "{said}");

    fleet.replace_volume(lost).unwrap();
    fleet.spawn(lost).unwrap();
    fleet.wait_until_serving().unwrap();
    fleet.wait_until_in_sync(&[TOPIC]).unwrap();
    assert_eq!(read(&fleet, TOPIC), (0..200).collect::<Vec<_>>());
}

/// Without a hint its session would last longer than the test.
pub(crate) fn a_hint_ends_the_session_of_a_broker_that_is_silent() {
    let mut fleet = Fleet::start(brokers(3).with_settings(["broker.session.timeout.ms=600000"])).unwrap();
    let controller = fleet.controller().unwrap();
    let (silent, other) = (controller % 3 + 1, (controller + 1) % 3 + 1);
    create(&mut fleet, [silent, other, controller]);
    fleet.node(silent).unwrap().pause().unwrap();
    let epoch = registration(&mut fleet, controller, silent)["epoch"].clone();
    let hint = json!({"broker": silent, "brokerEpoch": epoch, "cause": "its node is not ready"});
    command::wait_for("it is fenced", DEADLINE, || {
        // If another controller has taken over it has not heard the broker.
        let active = fleet.controller()?;
        fleet.node(active)?.command("/v1/fence-hints", &hint)?;
        Ok((registration(&mut fleet, active, silent)["state"] == "Fenced").then_some(()))
    })
    .unwrap();
    fleet.node(silent).unwrap().resume().unwrap();
    fleet.wait_until_serving().unwrap();
    fleet.wait_until_in_sync(&[TOPIC]).unwrap();
    assert_eq!(registration(&mut fleet, controller, silent)["epoch"], epoch, "it is the same process");
}

/// As registered with the controller.
fn registration(fleet: &mut Fleet, controller: i32, broker: i32) -> Value {
    let cluster = fleet.node(controller).unwrap().cluster().unwrap();
    let mut brokers = cluster["brokers"].as_array().unwrap().iter();
    brokers.find(|found| found["id"] == broker).unwrap().clone()
}
