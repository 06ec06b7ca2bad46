//! A fleet has the effects on its nodes that it promises.

use std::fs;
use std::time::Duration;

use e2e::admin::Admin;
use e2e::fleet::{Cut, Fleet, Place, Plan, Volumes};

use crate::{ANSWER_AT_MOST, brokers};

/// Over a link that is cut nothing arrives, however long one waits.
const NO_ANSWER_WITHIN: Duration = Duration::from_millis(300);

fn one_node() -> Plan {
    brokers(1)
}

fn one_machine() -> Plan {
    Plan { place: Place::Namespaces, volumes: Volumes::FileSystems { mebibytes: 512 }, ..one_node() }
}

pub(crate) fn a_killed_node_comes_back_with_its_data() {
    let mut fleet = Fleet::start(one_node()).unwrap();
    fleet.ask(|admin| admin.create_topic("kept", &[vec![1]])).unwrap();
    fleet.node(1).unwrap().kill().unwrap();
    assert!(fleet.node(1).unwrap().kill().is_err(), "it is dead");
    fleet.spawn(1).unwrap();
    fleet.wait_until_serving().unwrap();
    fleet.wait_until_in_sync(&["kept"]).unwrap();
    assert_eq!(fleet.controller().unwrap(), 1);

    let node = fleet.node(1).unwrap();
    node.pause().unwrap();
    let asked = Admin::open(node.address(), NO_ANSWER_WITHIN).and_then(|mut admin| admin.brokers());
    assert!(asked.is_err(), "it hangs");
    node.resume().unwrap();
    assert_eq!(Admin::open(node.address(), ANSWER_AT_MOST).unwrap().brokers().unwrap(), [1].into());

    node.terminate().unwrap();
    node.copy_volume().unwrap();
    fs::remove_file(node.data("bootstrap.checkpoint")).unwrap();
    node.put_copy_back().unwrap();
    assert!(node.data("bootstrap.checkpoint").exists());
    let former = node.directory_id().unwrap();
    fleet.replace_volume(1).unwrap();
    assert_ne!(fleet.node(1).unwrap().directory_id().unwrap(), former);
}

pub(crate) fn a_node_that_is_cut_off_is_not_reached() {
    let mut fleet = Fleet::start(one_machine()).unwrap();
    let address = fleet.node(1).unwrap().address();
    let mut before = Admin::open(address, ANSWER_AT_MOST).unwrap();
    fleet.cut(Cut::FromAll(1)).unwrap();
    assert!(Admin::open(address, NO_ANSWER_WITHIN).is_err());
    fleet.heal().unwrap();
    assert_eq!(before.brokers().unwrap(), [1].into(), "also over the connection of before");
}

pub(crate) fn a_node_that_loses_its_power_has_what_was_synced() {
    let mut fleet = Fleet::start(one_machine()).unwrap();
    let node = fleet.node(1).unwrap();
    let [synced, forgotten] = ["synced.tmp", "forgotten.tmp"].map(|name| node.data(name));
    fs::write(&synced, "1").unwrap();
    fs::File::open(&synced).unwrap().sync_all().unwrap();
    fs::File::open(node.data("")).unwrap().sync_all().unwrap();
    fs::write(&forgotten, "1").unwrap();
    node.lose_power().unwrap();
    assert_eq!([&synced, &forgotten].map(|path| path.exists()), [true, false]);
    fleet.spawn(1).unwrap();
    fleet.wait_until_serving().unwrap();
}

pub(crate) fn a_full_volume_takes_nothing_until_it_is_freed() {
    let mut fleet = Fleet::start(one_machine()).unwrap();
    let node = fleet.node(1).unwrap();
    node.fill_volume().unwrap();
    let file = node.data("further.tmp");
    assert!(fs::write(&file, [0; 8192]).is_err());
    node.free_volume().unwrap();
    fs::write(&file, [0; 8192]).unwrap();
}
