//! Every transition of a group, and every error.

use std::time::Duration;

use protocol::coordinator_records::GenerationId;

use super::config::GroupConfig;
use super::error::GroupError;
use super::group::GroupState;
use super::member::MemberId;
use super::request::{GroupRequest, JoinRequest, SyncRequest};
use super::testing::{
    Bench, REBALANCE, SESSION, again, claim, config, protocols, request, static_claim, static_request, told, waits,
};

fn bench() -> Bench {
    Bench::new(config())
}

fn state(bench: &mut Bench) -> GroupState {
    told(&mut bench.ask("g", GroupRequest::Describe)).unwrap().state
}

#[test]
fn the_first_rebalance_waits_for_more_members_and_longer_as_they_come() {
    let mut bench = bench();
    let mut first = bench.join("g", request("a"));
    bench.pass(Duration::from_secs(2));
    assert!(waits(&mut first));
    let mut second = bench.join("g", request("b"));
    bench.pass(Duration::from_millis(3999));
    assert!(waits(&mut first), "a member that came makes it wait for another three seconds");
    bench.pass(Duration::from_millis(1));
    let (first, second) = (told(&mut first).unwrap(), told(&mut second).unwrap());
    assert_eq!((first.generation, first.leader.clone()), (GenerationId(1), first.member.clone()));
    assert_eq!((first.members.len(), second.members.len()), (2, 0), "the leader alone is told who is there");
    assert!(first.member.0.starts_with("a-"), "{:?}", first.member);
    assert_eq!(state(&mut bench), GroupState::CompletingRebalance);
}

#[test]
fn the_wait_for_more_members_ends_with_the_rebalance_timeout() {
    let mut bench = bench();
    let mut first = bench.join("g", JoinRequest { rebalance_timeout_ms: 7000, ..request("a") });
    let mut others = Vec::new();
    for _ in 0..3 {
        bench.pass(Duration::from_millis(2300));
        others.push(bench.join("g", JoinRequest { rebalance_timeout_ms: 7000, ..request("b") }));
    }
    assert!(waits(&mut first));
    bench.pass(Duration::from_millis(100));
    assert_eq!(told(&mut first).unwrap().members.len(), 4);
}

#[test]
fn a_new_member_gets_its_id_before_it_joins() {
    let mut bench = bench();
    let careful = || JoinRequest { id_required: true, ..request("a") };
    let Err(GroupError::MemberIdRequired(id)) = told(&mut bench.join("g", careful())) else { panic!("joined at once") };
    bench.pass(SESSION);
    let refused = told(&mut bench.join("g", again(&id)));
    assert_eq!(refused, Err(GroupError::UnknownMember(id)), "an id that is not used is forgotten");
    assert_eq!(told(&mut bench.ask("g", GroupRequest::Describe)).unwrap_err(), GroupError::GroupNotFound);

    let Err(GroupError::MemberIdRequired(id)) = told(&mut bench.join("g", careful())) else { panic!("joined at once") };
    let mut joining = bench.join("g", again(&id));
    bench.pass(REBALANCE);
    assert_eq!(told(&mut joining).unwrap().member, id);
}

#[test]
fn joins_are_refused_for_their_reasons() {
    let mut bench = Bench::new(GroupConfig { group_size_max: 2, ..config() });
    let joined = bench.stable("g", 2);
    let nobody = MemberId("nobody".to_owned());
    let consumer = || again(&joined[0].member);
    let timeout = |asked| GroupError::InvalidSessionTimeout { asked, min: 6000, max: 1_800_000 };
    let table = [
        (JoinRequest { session_timeout_ms: 5999, ..consumer() }, timeout(5999)),
        (JoinRequest { session_timeout_ms: 1_800_001, ..consumer() }, timeout(1_800_001)),
        (request("third"), GroupError::GroupFull { size_max: 2 }),
        (again(&nobody), GroupError::GroupFull { size_max: 2 }),
        (JoinRequest { protocol_type: "connect".to_owned(), ..consumer() }, GroupError::InconsistentProtocol),
        (JoinRequest { protocols: protocols(&["roundrobin"]), ..consumer() }, GroupError::InconsistentProtocol),
        (JoinRequest { protocols: Vec::new(), ..consumer() }, GroupError::InconsistentProtocol),
        (
            JoinRequest { member: static_claim(&joined[0].member, "i"), ..consumer() },
            GroupError::UnknownInstance("i".to_owned()),
        ),
    ];
    for (request, expected) in table {
        assert_eq!(told(&mut bench.join("g", request)), Err(expected));
    }
    assert_eq!(told(&mut bench.join("other", again(&nobody))), Err(GroupError::UnknownMember(nobody.clone())));
    let untyped = JoinRequest { protocol_type: String::new(), ..request("a") };
    assert_eq!(told(&mut bench.join("other", untyped)), Err(GroupError::InconsistentProtocol));
    assert_eq!(state(&mut bench), GroupState::Stable, "nothing of it has disturbed the group");
}

#[test]
fn heartbeats_and_syncs_are_refused_for_their_reasons() {
    let mut bench = bench();
    let joined = bench.stable("g", 2);
    let (one, two) = (&joined[0], &joined[1]);
    let nobody = claim(&MemberId("nobody".to_owned()));
    let old = GenerationId(0);
    let illegal = GroupError::IllegalGeneration { claimed: old, current: GenerationId(1) };
    let unknown = GroupError::UnknownMember(nobody.id.clone());
    assert_eq!(bench.heartbeat("g", claim(&one.member), one.generation), Ok(()));
    assert_eq!(bench.heartbeat("g", claim(&one.member), old), Err(illegal.clone()));
    assert_eq!(bench.heartbeat("g", nobody.clone(), old), Err(unknown.clone()));
    assert_eq!(bench.heartbeat("other", nobody.clone(), old), Err(unknown.clone()));
    let sync = |member, generation, protocol: &str| SyncRequest {
        member,
        generation,
        protocol_type: Some("consumer".to_owned()),
        protocol: Some(protocol.to_owned()),
        assignments: Vec::new(),
    };
    let table = [
        (sync(nobody, one.generation, "range"), unknown),
        (sync(claim(&one.member), old, "range"), illegal),
        (sync(claim(&one.member), one.generation, "sticky"), GroupError::InconsistentProtocol),
    ];
    for (request, expected) in table {
        assert_eq!(told(&mut bench.ask("g", |reply| GroupRequest::Sync(request, reply))), Err(expected));
    }
    let mut joining = bench.join("g", again(&one.member));
    assert_eq!(bench.heartbeat("g", claim(&two.member), two.generation), Err(GroupError::RebalanceInProgress));
    assert_eq!(told(&mut bench.sync("g", two, &[])), Err(GroupError::RebalanceInProgress));
    assert!(waits(&mut joining));
    let mut rejoined = bench.join("g", again(&two.member));
    let joined = told(&mut joining).unwrap();
    assert_eq!(told(&mut rejoined).unwrap().generation, GenerationId(2));
    assert_eq!(bench.heartbeat("g", claim(&two.member), joined.generation), Ok(()), "the assignment is on its way");
}

#[test]
fn who_joins_again_unchanged_is_told_again_but_a_leader_makes_a_rebalance() {
    let mut bench = bench();
    let joined = bench.stable("g", 2);
    let (leader, follower) = (&joined[0], &joined[1]);
    let told_again = told(&mut bench.join("g", again(&follower.member))).unwrap();
    assert_eq!((told_again.generation, told_again.members.len()), (GenerationId(1), 0));
    assert_eq!(state(&mut bench), GroupState::Stable);
    let changed = JoinRequest { protocols: protocols(&["range", "sticky"]), ..again(&follower.member) };
    let mut changed = bench.join("g", changed);
    assert_eq!(state(&mut bench), GroupState::PreparingRebalance);
    let mut leading = bench.join("g", again(&leader.member));
    let second = told(&mut leading).unwrap();
    assert_eq!((second.generation, second.members.len()), (GenerationId(2), 2));
    assert_eq!(told(&mut changed).unwrap().protocol.as_deref(), Some("range"));
    // Its answer was lost: it asks again, before anything was assigned.
    let repeated = told(&mut bench.join("g", again(&leader.member))).unwrap();
    assert_eq!((repeated.generation, repeated.members.len()), (GenerationId(2), 2));
    assert_eq!(state(&mut bench), GroupState::CompletingRebalance);
}

#[test]
fn a_join_during_the_assignment_sends_the_syncs_back() {
    let mut bench = bench();
    let joined = bench.stable("g", 2);
    let mut joins = joined.iter().map(|joined| bench.join("g", again(&joined.member))).collect::<Vec<_>>();
    let second: Vec<_> = joins.iter_mut().map(|waiting| told(waiting).unwrap()).collect();
    let mut syncing = bench.sync("g", &second[1], &[]);
    assert!(waits(&mut syncing));
    let _third = bench.join("g", request("c"));
    assert_eq!(told(&mut syncing), Err(GroupError::RebalanceInProgress));
}

#[test]
fn the_protocol_with_most_votes_among_the_common_ones_is_chosen() {
    let mut bench = bench();
    let with = |names: &[&str]| JoinRequest { protocols: protocols(names), ..request("c") };
    let mut joins = [&["a", "b", "c"][..], &["b", "c"], &["c", "b", "a"]].map(|names| bench.join("g", with(names)));
    bench.pass(REBALANCE);
    for join in &mut joins {
        assert_eq!(told(join).unwrap().protocol.as_deref(), Some("b"));
    }
}

#[test]
fn silence_ends_membership_and_waiting_does_not() {
    let mut bench = bench();
    let joined = bench.stable("g", 2);
    bench.pass(SESSION.checked_sub(Duration::from_millis(1)).unwrap());
    assert_eq!(bench.heartbeat("g", claim(&joined[0].member), GenerationId(1)), Ok(()));
    bench.pass(Duration::from_millis(1));
    assert_eq!(state(&mut bench), GroupState::PreparingRebalance, "the other one is gone");
    let mut joining = bench.join("g", again(&joined[0].member));
    let second = told(&mut joining).unwrap();
    assert_eq!((second.generation, second.members.len()), (GenerationId(2), 1));
    // A member that waits for others sends no heartbeats, and still stays.
    let mut long = bench.stable("long", 2);
    let first = long.remove(0);
    let mut waiting = bench.join("long", again(&first.member));
    for _ in 0..11 {
        bench.pass(SESSION / 2);
        let heartbeat = bench.heartbeat("long", claim(&long[0].member), first.generation);
        assert_eq!(heartbeat, Err(GroupError::RebalanceInProgress));
    }
    assert!(waits(&mut waiting));
    bench.pass(SESSION / 2);
    let alone = told(&mut waiting).unwrap();
    assert_eq!(alone.members.len(), 1, "who does not join in time is out, however alive");
}

#[test]
fn a_new_member_that_gave_up_is_forgotten_in_the_end() {
    let mut bench = bench();
    let joined = bench.stable("g", 1);
    let _gone = bench.join("g", JoinRequest { rebalance_timeout_ms: 3_600_000, ..request("c") });
    for _ in 0..60 {
        bench.pass(SESSION / 2);
        let _busy = bench.heartbeat("g", claim(&joined[0].member), GenerationId(1));
    }
    let described = told(&mut bench.ask("g", GroupRequest::Describe)).unwrap();
    assert_eq!(described.members.len(), 1);
}

#[test]
fn who_does_not_ask_for_its_assignment_is_out() {
    let mut bench = bench();
    let mut joins = [bench.join("g", request("a")), bench.join("g", request("b"))];
    bench.pass(Duration::from_secs(10));
    let [first, second] = joins.each_mut().map(|join| told(join).unwrap());
    let mut synced = bench.sync("g", &first, &[(&first.member, "all")]);
    assert_eq!(told(&mut synced).unwrap().assignment, "all");
    for _ in 0..13 {
        bench.pass(Duration::from_secs(4));
        assert_eq!(bench.heartbeat("g", claim(&first.member), first.generation), Ok(()));
        assert_eq!(bench.heartbeat("g", claim(&second.member), first.generation), Ok(()));
    }
    bench.pass(Duration::from_secs(4));
    let gone = bench.heartbeat("g", claim(&second.member), second.generation);
    assert_eq!(gone, Err(GroupError::UnknownMember(second.member)));
    assert_eq!(state(&mut bench), GroupState::PreparingRebalance);
}

#[test]
fn members_leave_and_the_last_one_leaves_the_group_empty() {
    let mut bench = bench();
    let joined = bench.stable("g", 2);
    let nobody = MemberId("nobody".to_owned());
    let left = bench.leave("g", vec![claim(&nobody), claim(&joined[0].member)]);
    assert_eq!(left, [Err(GroupError::UnknownMember(nobody)), Ok(())]);
    assert_eq!(state(&mut bench), GroupState::PreparingRebalance);
    assert_eq!(bench.leave("g", vec![claim(&joined[1].member)]), [Ok(())]);
    assert_eq!(state(&mut bench), GroupState::Empty);
    bench.fail_over();
    assert_eq!(state(&mut bench), GroupState::Empty, "the log has it");
    // A member id that was given out is returned (LeaveGroup).
    let careful = JoinRequest { id_required: true, ..request("a") };
    let Err(GroupError::MemberIdRequired(id)) = told(&mut bench.join("g", careful)) else { panic!("joined at once") };
    assert_eq!(bench.leave("g", vec![claim(&id)]), [Ok(())]);
    assert_eq!(told(&mut bench.join("g", again(&id))), Err(GroupError::UnknownMember(id)));
}

fn stable_static(bench: &mut Bench) -> (super::request::Joined, super::request::Joined) {
    let mut joins = [bench.join("g", static_request("i")), bench.join("g", static_request("j"))];
    bench.pass(Duration::from_secs(10));
    let [leader, follower] = joins.each_mut().map(|join| told(join).unwrap());
    let _synced = bench.sync("g", &leader, &[(&leader.member, "L"), (&follower.member, "F")]);
    let _synced = bench.sync("g", &follower, &[]);
    (leader, follower)
}

#[test]
fn a_static_member_comes_back_without_a_rebalance() {
    let mut bench = bench();
    let (leader, follower) = stable_static(&mut bench);
    let back = told(&mut bench.join("g", static_request("j"))).unwrap();
    assert_eq!((back.generation, state(&mut bench)), (GenerationId(1), GroupState::Stable));
    assert_ne!(back.member, follower.member);
    let fenced = GroupError::FencedInstance {
        instance: "j".to_owned(),
        claimed: follower.member.clone(),
        current: back.member.clone(),
    };
    let old = static_claim(&follower.member, "j");
    assert_eq!(bench.heartbeat("g", old.clone(), GenerationId(1)), Err(fenced.clone()));
    assert_eq!(bench.leave("g", vec![old]), [Err(fenced)]);
    assert_eq!(told(&mut bench.sync("g", &back, &[])).unwrap().assignment, "F", "and with its former assignment");
    // The leader, too: told to skip the assignment or, if its version cannot be told that, named as a mere member.
    let old_client = told(&mut bench.join("g", static_request("i"))).unwrap();
    assert_eq!((old_client.leader, old_client.members.len()), (leader.member, 0));
    let skipping = JoinRequest { can_skip_assignment: true, ..static_request("i") };
    let skipping = told(&mut bench.join("g", skipping)).unwrap();
    assert!(skipping.skip_assignment && skipping.leader == skipping.member && skipping.members.len() == 2);
    assert!(skipping.members.iter().any(|member| member.id == skipping.member));
    bench.fail_over();
    assert_eq!(told(&mut bench.sync("g", &skipping, &[])).unwrap().assignment, "L");
    // A change that affects the protocol starts a rebalance.
    let mut changed = bench.join("g", JoinRequest { protocols: protocols(&["range", "x"]), ..static_request("j") });
    assert_eq!(told(&mut changed).unwrap().generation, GenerationId(1), "the choice is the same");
}

#[test]
fn a_static_member_that_is_started_again_before_its_first_generation_waits_on() {
    let mut bench = bench();
    let joined = bench.stable("g", 1);
    let mut first = bench.join("g", static_request("i"));
    bench.pass(SESSION / 2);
    let _alive = bench.heartbeat("g", claim(&joined[0].member), GenerationId(1));
    let mut second = bench.join("g", static_request("i"));
    assert!(matches!(told(&mut first), Err(GroupError::FencedInstance { .. })));
    for _ in 0..5 {
        bench.pass(SESSION / 2);
        let _alive = bench.heartbeat("g", claim(&joined[0].member), GenerationId(1));
    }
    assert!(waits(&mut second), "the rebalance lasts longer than a session");
    let _rejoined = bench.join("g", again(&joined[0].member));
    assert_eq!(told(&mut second).unwrap().generation, GenerationId(2));
}

#[test]
fn static_members_go_only_in_time_or_when_sent_away() {
    let mut bench = bench();
    let (leader, follower) = stable_static(&mut bench);
    let by_name = |instance: &str| static_claim(&MemberId::default(), instance);
    let left = bench.leave("g", vec![by_name("nobody"), by_name("j")]);
    assert_eq!(left, [Err(GroupError::UnknownInstance("nobody".to_owned())), Ok(())]);
    let leading = JoinRequest { member: static_claim(&leader.member, "i"), ..request("c") };
    let alone = told(&mut bench.join("g", leading)).unwrap();
    assert_eq!((alone.generation, alone.members.len()), (GenerationId(2), 1));
    let gone = bench.heartbeat("g", static_claim(&follower.member, "j"), GenerationId(2));
    assert_eq!(gone, Err(GroupError::UnknownInstance("j".to_owned())));
    // The time to join is over, but not its session: it stays a member.
    let short = |request| JoinRequest { rebalance_timeout_ms: 2000, ..request };
    let mut joining = bench.join("h", short(static_request("i")));
    bench.pass(Duration::from_secs(4));
    let first = told(&mut joining).unwrap();
    assert!(told(&mut bench.sync("h", &first, &[])).is_ok());
    let mut joining = bench.join("h", short(request("c")));
    bench.pass(Duration::from_secs(2));
    let second = told(&mut joining).unwrap();
    assert_eq!((&second.leader, second.members.len()), (&second.member, 2), "who is there assigns");
    let mut syncing = bench.sync("h", &second, &[(&first.member, "still")]);
    assert!(told(&mut syncing).is_ok());
    let claimed = static_claim(&first.member, "i");
    assert_eq!(bench.heartbeat("h", claimed.clone(), second.generation), Ok(()));
    bench.pass(SESSION);
    assert!(matches!(bench.heartbeat("h", claimed, second.generation), Err(GroupError::UnknownInstance(_))));
}

#[test]
fn a_group_that_has_become_too_large_is_made_smaller() {
    let mut bench = bench();
    let joined = bench.stable("g", 3);
    bench.config = std::sync::Arc::new(GroupConfig { group_size_max: 2, ..config() });
    bench.fail_over();
    assert_eq!(state(&mut bench), GroupState::PreparingRebalance);
    let mut joins: Vec<_> = joined.iter().map(|joined| bench.join("g", again(&joined.member))).collect();
    assert_eq!(told(&mut joins[2]), Err(GroupError::GroupFull { size_max: 2 }));
    bench.pass(SESSION);
    assert_eq!(told(&mut joins[0]).unwrap().generation, GenerationId(2));
    assert_eq!(told(&mut bench.ask("g", GroupRequest::Describe)).unwrap().members.len(), 2);
}
