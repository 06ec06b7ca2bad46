//! When answers are sent, and what survives a failover.

use std::time::Duration;

use super::super::error::{GroupError, Unavailable};
use super::super::group::GroupState;
use super::super::log::LogError;
use super::super::member::MemberId;
use super::super::request::{GroupRequest, JoinRequest, LeaveRequest, Results};
use super::super::testing::{
    Bench, again, claim, commit_of, config, offset, protocols, request, static_request, told, waits,
};
use super::*;

fn bench() -> Bench {
    Bench::new(config())
}

fn unavailable(error: LogError) -> GroupError {
    GroupError::Unavailable(Unavailable::Log(error))
}

#[test]
fn nobody_is_told_what_is_not_committed() {
    let mut bench = bench();
    bench.commits = false;
    let mut committing = bench.commit("g", commit_of(vec![offset(0, 5)]));
    let mut reading = bench.ask("g", |reply| GroupRequest::FetchOffsets(None, reply));
    let mut other = bench.ask("other", |reply| GroupRequest::FetchOffsets(None, reply));
    assert!(waits(&mut committing) && waits(&mut reading) && bench.shard.waits_for_commit());
    assert_eq!(told(&mut other).unwrap(), [], "other groups have nothing to do with it");
    bench.shard.committed(Offset(0));
    assert!(waits(&mut committing));
    bench.shard.committed(Offset(1));
    assert_eq!(told(&mut committing).unwrap(), [Ok(())]);
    assert_eq!(told(&mut reading).unwrap()[0].partitions.len(), 1);
    assert!(!bench.shard.waits_for_commit());
}

#[test]
fn an_assignment_is_told_when_it_is_committed() {
    let mut bench = bench();
    let mut joining = bench.join("g", request("c"));
    bench.pass(Duration::from_secs(10));
    let joined = told(&mut joining).unwrap();
    bench.commits = false;
    let mut first = bench.sync("g", &joined, &[(&joined.member, "mine")]);
    let mut again = bench.sync("g", &joined, &[]);
    assert!(waits(&mut first) && waits(&mut again));
    bench.commits = true;
    bench.settle();
    assert_eq!(told(&mut first).unwrap().assignment, "mine");
    assert_eq!(told(&mut again).unwrap().assignment, "mine");
}

#[test]
fn what_is_not_committed_in_time_is_told_as_such_and_stays() {
    let mut bench = bench();
    bench.commits = false;
    let mut committing = bench.commit("g", commit_of(vec![offset(0, 5)]));
    bench.pass(Duration::from_millis(4999));
    assert!(waits(&mut committing));
    bench.pass(Duration::from_millis(1));
    assert_eq!(told(&mut committing), Err(GroupError::Unavailable(Unavailable::NotCommittedInTime)));
    bench.commits = true;
    bench.settle();
    assert_eq!(bench.offset("g", 0), Some(5));
}

#[test]
fn what_the_log_refuses_changes_nothing() {
    let mut bench = bench();
    bench.log.refusal = Some(LogError::NotLeader);
    let refused = unavailable(LogError::NotLeader);
    assert_eq!(told(&mut bench.commit("g", commit_of(vec![offset(0, 5)]))), Err(refused.clone()));
    assert_eq!(told(&mut bench.join("g", request("c"))), Err(refused), "its limits are not known here");
    bench.log.refusal = Some(LogError::NotEnoughReplicas);
    let refused = unavailable(LogError::NotEnoughReplicas);
    assert_eq!(told(&mut bench.commit("g", commit_of(vec![offset(0, 5)]))), Err(refused.clone()));
    assert_eq!(told(&mut bench.ask("g", GroupRequest::Describe)), Err(GroupError::GroupNotFound));

    let mut joining = bench.join("h", request("c"));
    bench.pass(Duration::from_secs(10));
    let joined = told(&mut joining).unwrap();
    assert_eq!(told(&mut bench.sync("h", &joined, &[(&joined.member, "x")])), Err(refused.clone()));
    assert_eq!(told(&mut bench.ask("h", GroupRequest::Describe)).unwrap().state, GroupState::CompletingRebalance);
    bench.log.refusal = None;
    let joined = told(&mut bench.join("h", again(&joined.member))).unwrap();
    assert_eq!(told(&mut bench.sync("h", &joined, &[(&joined.member, "x")])).unwrap().assignment, "x");

    // A static member that comes back keeps its former id until the new one is written.
    let mut joining = bench.join("s", static_request("i"));
    bench.pass(Duration::from_secs(5));
    let joined = told(&mut joining).unwrap();
    assert!(told(&mut bench.sync("s", &joined, &[])).is_ok());
    bench.log.refusal = Some(LogError::NotEnoughReplicas);
    assert_eq!(told(&mut bench.join("s", static_request("i"))), Err(refused.clone()));
    assert_eq!(bench.heartbeat("s", claim(&joined.member), joined.generation), Ok(()));
    // A group without members is empty, whatever the log says.
    assert_eq!(bench.ask("s", |reply| leave(&joined.member, reply)).try_recv().unwrap(), Err(refused));
}

fn leave(member: &MemberId, reply: Reply<Results>) -> GroupRequest {
    let members = vec![claim(member)];
    GroupRequest::Leave(LeaveRequest { members }, reply)
}

#[test]
fn many_records_are_written_in_batches_that_fit() {
    let mut bench = bench();
    bench.log.batch_bytes_max = 300;
    let offsets = (0..20).map(|partition| offset(partition, 1)).collect();
    assert_eq!(told(&mut bench.commit("g", commit_of(offsets))).unwrap().len(), 20);
    assert!(5 < bench.log.batches, "{}", bench.log.batches);
    assert_eq!(bench.offset("g", 19), Some(1));
    let long = "x".repeat(300);
    let refused = told(&mut bench.commit(&long, commit_of(vec![offset(0, 1)]))).unwrap_err();
    assert!(matches!(refused, GroupError::Unavailable(Unavailable::Log(LogError::TooLarge { .. }))), "{refused:?}");
}

#[test]
fn another_coordinator_finds_generations_and_offsets_again() {
    let mut bench = bench();
    let joined = bench.stable("g", 2);
    assert!(told(&mut bench.commit("simple", commit_of(vec![offset(1, 7)]))).is_ok());
    let mut waiting = bench.join("g", request("third"));
    bench.fail_over();
    assert!(waiting.try_recv().is_err_and(|error| error != tokio::sync::oneshot::error::TryRecvError::Empty));
    assert_eq!(bench.offset("simple", 1), Some(7));
    let described = told(&mut bench.ask("g", GroupRequest::Describe)).unwrap();
    assert_eq!((described.state, described.protocol.as_str()), (GroupState::Stable, "range"));
    for member in &described.members {
        assert_eq!(member.assignment, member.id.0.as_bytes());
        assert_eq!((member.client.id.as_str(), member.client.host.as_str()), ("c", "/h"));
        assert!(!member.metadata.is_empty());
    }
    assert_eq!(bench.heartbeat("g", claim(&joined[0].member), joined[0].generation), Ok(()));
    // A member that is silent from then on is removed, one session after the failover.
    bench.pass(Duration::from_secs(11));
    assert_eq!(told(&mut bench.ask("g", GroupRequest::Describe)).unwrap().state, GroupState::Empty);
}

#[test]
fn another_coordinator_knows_of_members_what_they_said_last() {
    let mut bench = bench();
    let joined = bench.stable("g", 1).remove(0);
    let join = |bench: &mut Bench, names: &[&str]| {
        let said = JoinRequest { protocols: protocols(names), session_timeout_ms: 7000, ..again(&joined.member) };
        let joined = told(&mut bench.join("g", said)).unwrap();
        assert!(told(&mut bench.sync("g", &joined, &[(&joined.member, "x")])).is_ok());
        joined.generation.0
    };
    assert_eq!(join(&mut bench, &["sticky", "range"]), 2);
    bench.fail_over();
    let described = told(&mut bench.ask("g", GroupRequest::Describe)).unwrap();
    assert_eq!((described.protocol.as_str(), described.members[0].metadata.is_empty()), ("sticky", false));
    assert_eq!(join(&mut bench, &["sticky"]), 3, "the group is not left with a protocol that nobody knows");
    bench.fail_over();
    bench.pass(Duration::from_secs(8));
    assert_eq!(told(&mut bench.ask("g", GroupRequest::Describe)).unwrap().state, GroupState::Empty);
}

#[test]
fn what_there_is_is_counted() {
    let mut bench = bench();
    let joined = bench.stable("g", 2);
    assert!(told(&mut bench.commit("simple", commit_of(vec![offset(0, 1), offset(1, 1)]))).is_ok());
    assert_eq!(bench.shard.counts(), GroupCounts { groups: [1, 0, 0, 1], members: 2, offsets: 2 });
    bench.fail_over();
    assert_eq!(bench.shard.counts(), GroupCounts { groups: [1, 0, 0, 1], members: 2, offsets: 2 });
    let _waiting = bench.join("g", again(&joined[0].member));
    assert_eq!(bench.shard.counts(), GroupCounts { groups: [1, 1, 0, 0], members: 2, offsets: 2 });
    bench.pass(Duration::from_hours(3));
    assert_eq!(bench.shard.counts(), GroupCounts::default());
}

#[test]
fn idle_members_cost_a_look_a_session_at_most() {
    let mut bench = bench();
    let joined = bench.stable("g", 3);
    let mut looks = 0;
    for _ in 0..200 {
        let end = bench.now.elapsed + Duration::from_secs(3);
        while bench.shard.next_deadline() <= end {
            bench.now.elapsed = bench.shard.next_deadline();
            bench.shard.wake(bench.now, &mut bench.log);
            looks += 1;
        }
        bench.now.elapsed = end;
        for joined in &joined {
            assert_eq!(bench.heartbeat("g", claim(&joined.member), joined.generation), Ok(()));
        }
    }
    // Ten minutes, with sessions of ten seconds.
    assert!(looks <= 100, "{looks}");
}
