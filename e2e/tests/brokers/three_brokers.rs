//! The guarantees of three brokers, whatever happens to them.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

use e2e::admin::{Admin, Partition, Replica};
use e2e::command;
use e2e::connection::append_once;
use e2e::fleet::{Controllers, Cut, Fleet, Place, Plan};
use e2e::progress::Progress;
use protocol::types::DirectoryId;

use crate::records::{produce, read};
use crate::{ANSWER_AT_MOST, BROKER, DEADLINE, brokers};

pub(crate) const TOPIC: &str = "kept";
const FAULTS_FOR: Duration = Duration::from_mins(1);
/// Combined nodes. The order of faults depends on the seed; `cargo soak` tries more.
const SEED: u64 = 21;
/// All brokers at once.
const POWER_SEED: u64 = 20;
const POWER_CUTS: u32 = 2;
/// A quorum with a majority elects a leader in a fraction of this time.
const NO_MAJORITY_FOR: Duration = Duration::from_secs(3);

fn separate_controllers() -> Fleet {
    Fleet::start(Plan { controllers: Controllers::Separate(3), ..brokers(3) }).unwrap()
}

pub(crate) fn create(fleet: &mut Fleet, replicas: [i32; 3]) {
    fleet.ask(|admin| admin.create_topic(TOPIC, &[replicas.to_vec()])).unwrap();
    fleet.wait_until_in_sync(&[TOPIC]).unwrap();
}

pub(crate) fn partition(fleet: &Fleet) -> Partition {
    fleet.ask(|admin| Ok(admin.partitions(TOPIC)?.remove(0))).unwrap()
}

fn create_another(fleet: &Fleet, name: &str) {
    command::retry(DEADLINE, || fleet.ask(|admin| admin.create_topic_of(name, 1, 2))).unwrap();
}

pub(crate) fn controllers_and_brokers_are_nodes_of_their_own() {
    let mut fleet = separate_controllers();
    let quorum = fleet.quorum().unwrap();
    let ids = |replicas: &[Replica]| replicas.iter().map(|replica| replica.id).collect::<BTreeSet<_>>();
    assert_eq!((ids(&quorum.voters), ids(&quorum.observers)), ([4, 5, 6].into(), [1, 2, 3].into()));
    create(&mut fleet, [1, 2, 3]);
    produce(&fleet, TOPIC, 0..100);

    let controller = fleet.controller().unwrap();
    fleet.node(controller).unwrap().kill().unwrap();
    create_another(&fleet, "by-the-next-controller");
    assert_ne!(fleet.controller().unwrap(), controller);
    fleet.node(1).unwrap().kill().unwrap();
    produce(&fleet, TOPIC, 100..200);
    assert_ne!(partition(&fleet).leader, Some(1));

    fleet.spawn(controller).unwrap();
    fleet.spawn(1).unwrap();
    fleet.wait_until_serving().unwrap();
    fleet.wait_until_in_sync(&[TOPIC]).unwrap();
    assert_eq!(read(&fleet, TOPIC), (0..200).collect::<Vec<_>>());
    for id in fleet.ids() {
        fleet.node(id).unwrap().terminate().unwrap();
    }
}

pub(crate) fn an_empty_volume_leads_nothing_and_has_no_vote() {
    let mut fleet = separate_controllers();
    create(&mut fleet, [1, 2, 3]);
    produce(&fleet, TOPIC, 0..100);
    // Broker 2 leaves while enough others are in sync; when 3 leaves only 1 stays: so 3 is still eligible to lead.
    fleet.node(2).unwrap().terminate().unwrap();
    produce(&fleet, TOPIC, 100..200);
    fleet.node(3).unwrap().terminate().unwrap();
    fleet.node(1).unwrap().kill().unwrap();

    fleet.replace_volume(1).unwrap();
    for unfit in [1, 2] {
        fleet.spawn(unfit).unwrap();
        fleet.wait_until_serving().unwrap();
        let found = partition(&fleet);
        assert_eq!((found.leader, found.in_sync.contains(&unfit)), (None, false), "{found:?}");
    }
    fleet.spawn(3).unwrap();
    fleet.wait_until_serving().unwrap();
    fleet.wait_until_in_sync(&[TOPIC]).unwrap();
    assert_eq!(read(&fleet, TOPIC), (0..200).collect::<Vec<_>>());
    an_empty_volume_has_no_vote(&mut fleet);
}

fn an_empty_volume_has_no_vote(fleet: &mut Fleet) {
    let controller = fleet.controller().unwrap();
    let emptied = [4, 5, 6].into_iter().find(|id| *id != controller).unwrap();
    let node = fleet.node(emptied).unwrap();
    let former = node.directory_id().unwrap();
    node.kill().unwrap();
    fleet.replace_volume(emptied).unwrap();
    fleet.spawn(emptied).unwrap();
    let present = fleet.node(emptied).unwrap().directory_id().unwrap();
    command::wait_for("the empty volume follows", DEADLINE, || {
        let quorum = fleet.quorum()?;
        let directories = |replicas: &[Replica]| -> Vec<_> {
            replicas.iter().filter(|replica| replica.id == emptied).map(|replica| replica.directory_id).collect()
        };
        assert_eq!(directories(&quorum.voters), [former], "the vote is that of the lost volume");
        Ok((directories(&quorum.observers) == [present]).then_some(()))
    })
    .unwrap();
    create_another(fleet, "by-two-of-three");

    fleet.node(controller).unwrap().kill().unwrap();
    let broker = fleet.node(1).unwrap().address();
    let created = Admin::open(broker, NO_MAJORITY_FOR).and_then(|mut admin| admin.create_topic_of("by-one", 1, 1));
    assert!(created.is_err(), "one voter of three has elected itself");
    fleet.spawn(controller).unwrap();
    create_another(fleet, "by-two-again");
}

pub(crate) fn the_directory_of_another_broker_is_refused() {
    let mut fleet = Fleet::start(brokers(3)).unwrap();
    let owned = fleet.node(1).unwrap().directory_id().unwrap();
    fleet.node(1).unwrap().terminate().unwrap();
    fleet.node(2).unwrap().kill().unwrap();
    let [theirs, ours] = [1, 2].map(|id| fleet.node(id).unwrap().data(""));
    fs::remove_dir_all(&ours).unwrap();
    command::output(Command::new("cp").args(["--archive", "--no-target-directory"]).arg(&theirs).arg(&ours)).unwrap();
    let properties = ours.join("meta.properties");
    let foreign = fs::read_to_string(&properties).unwrap();

    fleet.spawn(2).unwrap();
    let said = ends(&mut fleet, 2);
    assert!(said.contains("belongs to node 1, this is node 2"), "{said}");
    fs::write(&properties, foreign.replace("node.id=1", "node.id=2")).unwrap();
    fleet.spawn(1).unwrap();
    fleet.spawn(2).unwrap();
    let said = ends(&mut fleet, 2);
    assert!(said.contains("the data directory is another broker's"), "{said}");
    let all_said = fleet.last_words();
    assert!(all_said.contains(&format!("directory {} is that of broker 1", DirectoryId(owned))), "{all_said}");
    fleet.wait_until_serving().unwrap();
    assert_eq!(fleet.ask(Admin::brokers).unwrap(), [1, 3].into());
}

/// Waits until the node has ended by itself, with a failure. Returns the end of its log.
pub(crate) fn ends(fleet: &mut Fleet, id: i32) -> String {
    let node = fleet.node(id).unwrap();
    let refused = command::wait_for("the node ends", DEADLINE, || Ok(node.check().err())).unwrap();
    assert!(node.kill().is_err(), "it has ended");
    let said = format!("{refused:#}");
    assert!(!said.contains("exit status: 0"), "{said}");
    said
}

pub(crate) fn a_leader_that_hears_no_controller_takes_nothing() {
    let mut fleet = Fleet::start(Plan { place: Place::Namespaces, ..brokers(3) }).unwrap();
    let controller = fleet.controller().unwrap();
    let leader = controller % 3 + 1;
    let survivor = leader % 3 + 1;
    create(&mut fleet, [leader, survivor, controller]);
    let address = fleet.node(leader).unwrap().address();
    let append = || append_once(address, TOPIC, &0_u32.to_be_bytes(), ANSWER_AT_MOST);
    command::retry(DEADLINE, append).unwrap();
    produce(&fleet, TOPIC, 1..100);
    let end = || Admin::open(address, ANSWER_AT_MOST)?.end(TOPIC);
    assert_eq!(end().unwrap(), 100);

    fleet.cut(Cut::FromNodes(u8::try_from(leader).unwrap())).unwrap();
    command::wait_for("the leader takes nothing", DEADLINE, || Ok(append().is_err().then_some(()))).unwrap();
    let told = end();
    assert!(told.is_err(), "it told {told:?}, and cannot know what its successor has");
    let survivor = fleet.node(survivor).unwrap().address();
    command::wait_for("another leads", DEADLINE, || {
        let partition = Admin::open(survivor, ANSWER_AT_MOST)?.partitions(TOPIC)?.remove(0);
        Ok(partition.leader.is_some_and(|found| found != leader).then_some(()))
    })
    .unwrap();
    fleet.heal().unwrap();
    fleet.wait_until_serving().unwrap();
    fleet.wait_until_in_sync(&[TOPIC]).unwrap();
    produce(&fleet, TOPIC, 100..200);
    let expected: Vec<_> = (0..200).collect();
    assert_eq!(read(&fleet, TOPIC), expected, "what it took alone gave way to what its successor took");
}

/// Their former sessions would last longer than the test.
pub(crate) fn brokers_that_were_all_killed_wait_for_no_session() {
    let mut fleet = Fleet::start(brokers(3).with_settings(["broker.session.timeout.ms=600000"])).unwrap();
    create(&mut fleet, [1, 2, 3]);
    produce(&fleet, TOPIC, 0..10);
    let ids = fleet.ids();
    for id in &ids {
        fleet.node(*id).unwrap().kill().unwrap();
    }
    for id in ids {
        fleet.spawn(id).unwrap();
    }
    fleet.wait_until_serving().unwrap();
    fleet.wait_until_in_sync(&[TOPIC]).unwrap();
    assert_eq!(read(&fleet, TOPIC), (0..10).collect::<Vec<_>>());
}

pub(crate) fn what_is_synced_outlives_the_power_of_all() {
    e2e::soak::faults::cut_power(&BROKER, POWER_SEED, POWER_CUTS, &Progress::start()).unwrap();
}

pub(crate) fn three_brokers_lose_nothing() {
    e2e::soak::faults::run_for(&BROKER, SEED, FAULTS_FOR, &Progress::start()).unwrap();
}
