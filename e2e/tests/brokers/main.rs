//! Brokers as processes, and what happens to machines: a fleet does to its nodes what it says.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

#[path = "../left_out/mod.rs"]
mod left_out;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;
use std::time::Duration;

use e2e::admin::Admin;
use e2e::fleet::{Cut, Fleet, Place, Plan, Program, Volumes};
use e2e::host::{FLEET_TOOLS, SKIP, install, is_root, skip_is_set};
use e2e::programs::{Profile, Programs};
use e2e::progress::{Progress, show_progress};
use libtest_mimic::Arguments;

use left_out::trial;

const ANSWER_AT_MOST: Duration = Duration::from_secs(5);
/// Of a link that is cut nothing comes, however long one waits.
const NO_ANSWER_WITHIN: Duration = Duration::from_millis(300);

static BROKER: LazyLock<PathBuf> = LazyLock::new(|| {
    show_progress();
    let progress = Progress::start();
    if is_root() {
        install(FLEET_TOOLS, &progress).unwrap();
    }
    Programs::broker(Profile::Dev, &progress).unwrap()
});

fn main() -> ExitCode {
    let without_root = (skip_is_set() && !is_root()).then(|| format!("{SKIP}=1, and root is needed"));
    let everybody: [(_, fn()); _] =
        [("a_killed_node_comes_back_with_its_data", a_killed_node_comes_back_with_its_data)];
    let root: [(_, fn()); _] = [
        ("a_node_that_is_cut_off_is_not_reached_until_the_cut_heals", a_node_that_is_cut_off_is_not_reached),
        ("a_node_that_loses_its_power_has_what_was_synced", a_node_that_loses_its_power_has_what_was_synced),
        ("a_full_volume_takes_nothing_until_it_is_freed", a_full_volume_takes_nothing_until_it_is_freed),
    ];
    let everybody = everybody.map(|(name, test)| (name, None, test));
    let root = root.map(|(name, test)| (name, without_root.as_ref(), test));
    let trials = everybody.into_iter().chain(root).map(|(name, left_out, test)| {
        trial(name, left_out, move || {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

fn one_node() -> Plan {
    Plan::new(Program::Millrace(BROKER.clone()), 1)
}

fn one_machine() -> Plan {
    Plan { place: Place::Namespaces, volumes: Volumes::FileSystems { mebibytes: 512 }, ..one_node() }
}

fn a_killed_node_comes_back_with_its_data() {
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

fn a_node_that_is_cut_off_is_not_reached() {
    let mut fleet = Fleet::start(one_machine()).unwrap();
    let address = fleet.node(1).unwrap().address();
    let mut before = Admin::open(address, ANSWER_AT_MOST).unwrap();
    fleet.cut(Cut::FromAll(1)).unwrap();
    assert!(Admin::open(address, NO_ANSWER_WITHIN).is_err());
    fleet.heal().unwrap();
    assert_eq!(before.brokers().unwrap(), [1].into(), "also over the connection of before");
}

fn a_node_that_loses_its_power_has_what_was_synced() {
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

fn a_full_volume_takes_nothing_until_it_is_freed() {
    let mut fleet = Fleet::start(one_machine()).unwrap();
    let node = fleet.node(1).unwrap();
    node.fill_volume().unwrap();
    let file = node.data("further.tmp");
    assert!(fs::write(&file, [0; 8192]).is_err());
    node.free_volume().unwrap();
    fs::write(&file, [0; 8192]).unwrap();
}
