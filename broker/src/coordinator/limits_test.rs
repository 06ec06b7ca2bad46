//! Limits of groups: members that are too large, too many, or gone.

use std::time::Duration;

use bytes::Bytes;
use protocol::coordinator_records::GenerationId;

use super::config::GroupConfig;
use super::error::GroupError;
use super::group::GroupState;
use super::log::LogError;
use super::member::Protocol;
use super::request::{GroupRequest, JoinRequest};
use super::testing::{Bench, REBALANCE, SESSION, again, claim, config, protocols, request, told, waits};

fn saying(bytes: usize) -> JoinRequest {
    let protocol = Protocol { name: "range".to_owned(), metadata: Bytes::from(vec![0; bytes]) };
    JoinRequest { protocols: vec![protocol], ..request("c") }
}

#[test]
fn members_take_no_more_room_than_a_group_has() {
    let mut bench = Bench::new(config());
    let room = 4 * bench.log.batch_bytes_max;
    let too_large = |answer| matches!(answer, Err(GroupError::GroupTooLarge { bytes_max, .. }) if bytes_max == room);
    assert!(too_large(told(&mut bench.join("g", saying(room)))), "one alone");
    assert_eq!(told(&mut bench.ask("g", GroupRequest::Describe)), Err(GroupError::GroupNotFound));
    let mut first = bench.join("g", saying(room / 2));
    assert!(waits(&mut first));
    assert!(too_large(told(&mut bench.join("g", saying(room / 2)))), "with the others");
    let mut second = bench.join("g", saying(room / 4));
    bench.pass(Duration::from_secs(7));
    let (first, second) = (told(&mut first).unwrap(), told(&mut second).unwrap());
    // A member that joins again replaces what it sent before.
    let mut larger = bench.join("g", JoinRequest { member: claim(&second.member), ..saying(room / 3) });
    assert!(waits(&mut larger));
    assert!(too_large(told(&mut bench.join("g", JoinRequest { member: claim(&first.member), ..saying(room) }))));
}

#[test]
fn ids_that_nobody_uses_are_not_given_out_without_end() {
    const IDS: usize = 10_000;
    let mut bench = Bench::new(config());
    let careful = || JoinRequest { id_required: true, ..request("a") };
    for _ in 0..IDS {
        let refused = told(&mut bench.join("g", careful()));
        assert!(matches!(refused, Err(GroupError::MemberIdRequired(_))), "{refused:?}");
    }
    assert_eq!(told(&mut bench.join("g", careful())), Err(GroupError::TooManyUnusedIds { count: IDS }));
    bench.pass(SESSION);
    assert!(matches!(told(&mut bench.join("g", careful())), Err(GroupError::MemberIdRequired(_))));
    // Long ids are limited, too.
    let long = || JoinRequest { id_required: true, ..request(&"x".repeat(32_000)) };
    let given =
        (0..IDS).take_while(|_| matches!(told(&mut bench.join("h", long())), Err(GroupError::MemberIdRequired(_))));
    let (given, room) = (given.count(), 4 * bench.log.batch_bytes_max);
    assert!((room / 40_000..room / 32_000).contains(&given), "{given}");
}

#[test]
fn nobody_waits_for_who_finds_the_group_full() {
    let mut bench = Bench::new(GroupConfig { group_size_max: 1, ..config() });
    let careful = JoinRequest { id_required: true, ..request("a") };
    let Err(GroupError::MemberIdRequired(id)) = told(&mut bench.join("g", careful)) else { panic!("joined at once") };
    let joined = bench.stable("g", 1);
    assert_eq!(told(&mut bench.join("g", again(&id))), Err(GroupError::GroupFull { size_max: 1 }));
    let rejoined = told(&mut bench.join("g", again(&joined[0].member))).unwrap();
    assert_eq!(rejoined.generation, GenerationId(2));
}

#[test]
fn ids_that_nobody_uses_do_not_disturb_the_members() {
    let mut bench = Bench::new(config());
    let joined = bench.stable("g", 2);
    let careful = || JoinRequest { id_required: true, ..request("a") };
    for round in 0..1000 {
        let refused = told(&mut bench.join("g", careful()));
        let Err(GroupError::MemberIdRequired(id)) = refused else { panic!("{refused:?}") };
        if round % 2 == 1 {
            assert_eq!(bench.leave("g", vec![claim(&id)]), [Ok(())]);
        }
        bench.pass(SESSION / 2);
        for member in &joined {
            assert_eq!(bench.heartbeat("g", claim(&member.member), member.generation), Ok(()), "round {round}");
        }
    }
    // A rebalance no longer waits for a member that finds no room.
    let Err(GroupError::MemberIdRequired(id)) = told(&mut bench.join("g", careful())) else { panic!() };
    let mut first =
        bench.join("g", JoinRequest { protocols: protocols(&["range", "other"]), ..again(&joined[0].member) });
    let mut second = bench.join("g", again(&joined[1].member));
    assert!(waits(&mut first) && waits(&mut second));
    assert_eq!(bench.leave("g", vec![claim(&id)]), [Ok(())]);
    let generations = [&mut first, &mut second].map(|join| told(join).unwrap().generation);
    assert_eq!(generations, [GenerationId(2); 2]);
}

#[test]
fn who_has_gone_before_its_first_generation_is_not_in_it() {
    let mut bench = Bench::new(config());
    let vanished = (0..1000).map(|_| bench.join("g", request("c"))).collect::<Vec<_>>();
    drop(vanished);
    bench.pass(REBALANCE);
    assert_eq!(told(&mut bench.ask("g", GroupRequest::Describe)), Err(GroupError::GroupNotFound));
    assert_eq!(bench.log.batches, 0, "nothing was written of it");

    drop(bench.join("g", request("c")));
    let mut stays = bench.join("g", request("c"));
    bench.pass(REBALANCE);
    assert_eq!(told(&mut stays).unwrap().members.len(), 1);
    // A member of an earlier generation is kept as long as its session lasts.
    let joined = bench.stable("h", 2);
    drop(bench.join("h", again(&joined[0].member)));
    let mut second = bench.join("h", again(&joined[1].member));
    assert_eq!(told(&mut second).unwrap().generation, GenerationId(2));
    assert_eq!(told(&mut bench.ask("h", GroupRequest::Describe)).unwrap().members.len(), 2);
}

#[test]
fn a_leader_whose_assignment_is_never_written_is_given_up() {
    let mut bench = Bench::new(config());
    let mut joins = [bench.join("g", request("a")), bench.join("g", request("b"))];
    bench.pass(Duration::from_secs(10));
    let [leader, follower] = joins.each_mut().map(|join| told(join).unwrap());
    assert!(waits(&mut bench.sync("g", &follower, &[])));
    bench.log.refusal = Some(LogError::NotEnoughReplicas);
    assert!(told(&mut bench.sync("g", &leader, &[(&leader.member, "x")])).is_err());
    bench.log.refusal = None;
    for _ in 0..15 {
        bench.pass(Duration::from_secs(4));
        for member in [&leader, &follower] {
            let _alive = bench.heartbeat("g", claim(&member.member), member.generation);
        }
    }
    let gone = bench.heartbeat("g", claim(&leader.member), leader.generation);
    assert_eq!(gone, Err(GroupError::UnknownMember(leader.member)));
    let described = told(&mut bench.ask("g", GroupRequest::Describe)).unwrap();
    assert_eq!(described.state, GroupState::PreparingRebalance);
}
