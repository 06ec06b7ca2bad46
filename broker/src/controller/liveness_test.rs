use protocol::types::{DirectoryId, LeaderEpoch, Offset};
use uuid::Uuid;

use super::super::command::{Command, RestartWish};
use super::super::features::supported_features;
use super::super::testing::{Bench, CLUSTER};
use super::*;
use crate::metadata::testing::{add_topic, cluster, fence, volume};

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Three brokers, a topic on all of them, led by 0.
fn bench() -> Bench {
    let mut image = cluster(3);
    add_topic(&mut image, "t", &[0, 1, 2]);
    Bench::new(image)
}

fn epoch(bench: &Bench, id: i32) -> BrokerEpoch {
    bench.image.brokers[&BrokerId(id)].epoch
}

fn is_fenced(bench: &Bench, id: i32) -> bool {
    bench.image.brokers[&BrokerId(id)].fenced
}

fn leader(bench: &Bench) -> (Option<i32>, LeaderEpoch) {
    let partition = &bench.image.topic("t").unwrap().partitions[0];
    (partition.leader.map(|leader| leader.0), partition.leader_epoch)
}

fn heartbeat(bench: &mut Bench, id: i32, wants_shutdown: bool) -> HeartbeatAnswer {
    let end = bench.image.end_offset;
    heartbeat_at(bench, id, end, wants_shutdown)
}

/// A heartbeat of a broker that has replayed the metadata up to `end`.
fn heartbeat_at(bench: &mut Bench, id: i32, end: Offset, wants_shutdown: bool) -> HeartbeatAnswer {
    let heartbeat = Heartbeat {
        id: BrokerId(id),
        epoch: epoch(bench, id),
        metadata_offset: end.advance(-1),
        wants_fence: false,
        wants_shutdown,
        offline_directories: Vec::new(),
    };
    bench.ask(|reply| Command::Heartbeat { heartbeat, reply }).unwrap()
}

/// A heartbeat from every broker.
fn beat(bench: &mut Bench) {
    for id in 0..3 {
        heartbeat(bench, id, false);
    }
}

/// No broker is heard for longer than a session lasts.
fn fall_silent(bench: &mut Bench) {
    for _ in 0..5 {
        bench.now += ms(750);
        bench.tick();
    }
}

fn probed(bench: &mut Bench, id: i32, outcome: ProbeOutcome) {
    let (broker, epoch) = (BrokerId(id), epoch(bench, id));
    bench.tell(Command::Probed { broker, epoch, outcome });
}

fn lose_connection(bench: &mut Bench, id: i32) {
    let (broker, epoch) = (BrokerId(id), epoch(bench, id));
    bench.tell(Command::ConnectionLost { broker, epoch });
}

/// The brokers that are to be probed.
fn dialled(bench: &mut Bench) -> Vec<i32> {
    std::iter::from_fn(|| bench.probes.try_recv().ok()).map(|probe| probe.broker.0).collect()
}

/// Another process of the broker, after a crash.
fn register(bench: &mut Bench, id: i32, directory: DirectoryId) -> Result<BrokerEpoch, RegistrationError> {
    let registration = Registration {
        id: BrokerId(id),
        cluster_id: CLUSTER.to_owned(),
        incarnation: IncarnationId(Uuid::from_u128(bench.image.end_offset.0.unsigned_abs().into())),
        directory,
        previous_epoch: None,
        endpoints: Vec::new(),
        features: supported_features(),
        rack: None,
    };
    bench.ask(|reply| Command::RegisterBroker { registration, reply })
}

#[test]
fn a_broker_that_is_found_dead_is_fenced_at_once_and_comes_back_at_once() {
    for outcome in [ProbeOutcome::Refused, ProbeOutcome::OtherIncarnation] {
        let mut bench = bench();
        lose_connection(&mut bench, 0);
        assert_eq!(dialled(&mut bench), [0]);
        probed(&mut bench, 0, outcome);
        assert!(is_fenced(&bench, 0));
        assert_eq!(leader(&bench), (Some(1), LeaderEpoch(1)));
        assert!(register(&mut bench, 0, volume(0)).is_ok());
    }
}

#[test]
fn no_answer_and_an_answer_fence_nobody() {
    let mut bench = bench();
    for outcome in [ProbeOutcome::Silent, ProbeOutcome::Alive] {
        lose_connection(&mut bench, 0);
        assert_eq!(dialled(&mut bench), [0]);
        probed(&mut bench, 0, outcome);
        assert!(!is_fenced(&bench, 0), "{outcome:?}");
    }
    let stale = Command::Probed { broker: BrokerId(0), epoch: BrokerEpoch(77), outcome: ProbeOutcome::Refused };
    bench.tell(stale);
    assert!(!is_fenced(&bench, 0), "that was another process");
}

#[test]
fn whoever_was_called_dead_by_mistake_is_not_asked_about_for_a_while() {
    let mut bench = bench();
    lose_connection(&mut bench, 0);
    probed(&mut bench, 0, ProbeOutcome::Refused);
    assert!(!heartbeat(&mut bench, 0, false).is_fenced, "it serves again");
    assert_eq!(dialled(&mut bench), [0]);
    lose_connection(&mut bench, 0);
    assert_eq!(dialled(&mut bench), Vec::<i32>::new());
    probed(&mut bench, 0, ProbeOutcome::Refused);
    assert!(!is_fenced(&bench, 0));
    let (broker, epoch) = (BrokerId(0), epoch(&bench, 0));
    bench.ask(|reply| Command::FenceHint { broker, epoch, reply }).unwrap();
    bench.now += ms(400);
    bench.tick();
    assert!(!dialled(&mut bench).contains(&0) && !is_fenced(&bench, 0), "it is between two heartbeats");
    bench.now += ms(10_000);
    heartbeat(&mut bench, 0, false);
    lose_connection(&mut bench, 0);
    assert_eq!(dialled(&mut bench), [0]);
}

#[test]
fn a_second_process_waits_for_the_first_which_is_asked_after() {
    let mut bench = bench();
    let refused = register(&mut bench, 0, volume(0));
    assert!(matches!(refused, Err(RegistrationError::Duplicate { .. })), "{refused:?}");
    assert_eq!(dialled(&mut bench), [0]);
    fall_silent(&mut bench);
    assert!(register(&mut bench, 0, volume(0)).is_ok());
}

#[test]
fn who_comes_back_is_behind_until_it_knows_what_it_lost() {
    let mut bench = bench();
    beat(&mut bench);
    let known = bench.image.end_offset;
    for _ in 0..5 {
        bench.now += ms(750);
        for id in [1, 2] {
            heartbeat(&mut bench, id, false);
        }
        bench.tick();
    }
    assert!(is_fenced(&bench, 0) && leader(&bench).0 == Some(1));
    let answer = heartbeat_at(&mut bench, 0, known, false);
    assert!(!answer.is_fenced && !answer.is_caught_up, "{answer:?}");
    assert!(heartbeat(&mut bench, 0, false).is_caught_up);
}

#[test]
fn silent_brokers_are_fenced_one_at_a_time() {
    let mut bench = bench();
    let mut fenced = Vec::new();
    for _ in 0..5 {
        bench.now += ms(750);
        heartbeat(&mut bench, 2, false);
        let deadline = bench.tick();
        fenced.push([0, 1, 2].map(|id| is_fenced(&bench, id)));
        assert!(bench.now < deadline);
    }
    let none = [false; 3];
    assert_eq!(fenced, [none, none, none, [true, false, false], [true, true, false]]);
    assert_eq!(leader(&bench), (Some(2), LeaderEpoch(2)));
}

#[test]
fn a_hint_asks_and_shortens_the_session() {
    let mut bench = bench();
    let (broker, epoch) = (BrokerId(0), epoch(&bench, 0));
    assert_eq!(bench.ask(|reply| Command::FenceHint { broker, epoch, reply }), Ok(()));
    assert_eq!(dialled(&mut bench), [0]);
    bench.now += ms(299);
    probed(&mut bench, 0, ProbeOutcome::Silent);
    let deadline = bench.tick();
    assert!(!is_fenced(&bench, 0) && deadline <= bench.now + ms(5));
    bench.now += ms(1);
    bench.tick();
    assert!(is_fenced(&bench, 0));
    let given = BrokerEpoch(77);
    let refused = bench.ask(|reply| Command::FenceHint { broker: BrokerId(1), epoch: given, reply });
    assert!(matches!(refused, Err(BrokerEpochError::Stale { .. })), "{refused:?}");
}

#[test]
fn a_new_controller_dials_who_has_not_been_heard() {
    let mut image = cluster(3);
    fence(&mut image, 2);
    let mut bench = Bench::new(image);
    heartbeat(&mut bench, 1, false);
    let deadline = bench.tick();
    assert_eq!((deadline, dialled(&mut bench)), (bench.now + ms(100), vec![]));
    bench.now = deadline;
    bench.tick();
    assert_eq!(dialled(&mut bench), [0]);
    bench.now += ms(100);
    bench.tick();
    assert_eq!(dialled(&mut bench), Vec::<i32>::new(), "once");
}

#[test]
fn a_broker_may_stop_when_everybody_knows_who_leads_now() {
    let mut bench = bench();
    assert!(!heartbeat(&mut bench, 0, true).should_shut_down);
    assert_eq!(leader(&bench).0, Some(1));
    heartbeat(&mut bench, 1, false);
    assert!(!heartbeat(&mut bench, 0, true).should_shut_down, "broker 2 has not replayed it");
    heartbeat(&mut bench, 2, false);
    let answer = heartbeat(&mut bench, 0, true);
    assert!(answer.should_shut_down && answer.is_fenced);
    assert!(register(&mut bench, 0, volume(0)).is_ok(), "the next process need not wait");
}

#[test]
fn a_discarded_volume_stays_away() {
    let mut bench = bench();
    let (broker, directory) = (BrokerId(0), volume(0));
    bench.ask(|reply| Command::Discard { broker, directory, reply }).unwrap();
    assert!(heartbeat(&mut bench, 0, false).is_fenced);
    fall_silent(&mut bench);
    assert_eq!(register(&mut bench, 0, directory), Err(RegistrationError::DirectoryDiscarded { directory }));
    assert!(register(&mut bench, 0, volume(9)).is_ok());
}

#[test]
fn leadership_does_not_return_to_who_is_about_to_restart_before_it_has() {
    let mut bench = bench();
    beat(&mut bench);
    let wish = RestartWish {
        broker: BrokerId(0),
        epoch: epoch(&bench, 0),
        ttl: ms(600_000),
        reason: "upgrade".to_owned(),
        voters_caught_up: [].into(),
    };
    let granted = bench.ask(|reply| Command::GrantRestart { wish, reply }).unwrap();
    assert!(granted.is_safe_to_stop());
    assert_eq!(leader(&bench).0, Some(1));
    let balance = |bench: &mut Bench| {
        for _ in 0..500 {
            bench.now += ms(1000);
            beat(bench);
            bench.tick();
        }
    };
    balance(&mut bench);
    assert_eq!(leader(&bench).0, Some(1));
    balance(&mut bench);
    assert_eq!(leader(&bench).0, Some(0), "the grant is over");
    assert_eq!(
        bench.ask(|reply| Command::RestartGrant { broker: BrokerId(0), voters_caught_up: [].into(), reply }),
        None
    );
}
