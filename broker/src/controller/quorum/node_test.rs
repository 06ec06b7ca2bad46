use protocol::types::{BrokerId, ClusterId, DirectoryId};
use raft::{
    Address, Config, Endpoint, KRaftVersion, LogGeneration, LogSummary, Quorum, ReplicaKey, Restored, Timing,
    VoteRequest, Voter,
};

use super::*;
use crate::failure::Failures;

fn key(id: i32) -> ReplicaKey {
    ReplicaKey { id: BrokerId(id), directory_id: DirectoryId(Uuid::from_u128(u128::try_from(id).unwrap())) }
}

/// A voter at whose address nothing listens.
fn voter(id: i32) -> Voter {
    let address = Address { host: "127.0.0.1".to_owned(), port: 1 };
    Voter {
        key: key(id),
        endpoints: vec![Endpoint { name: "CONTROLLER".to_owned(), address }],
        kraft_version_min: KRaftVersion(0),
        kraft_version_max: KRaftVersion(1),
    }
}

/// Voter 1 of these, with an empty log.
fn node(voters: &[i32]) -> (Node, mpsc::Receiver<Task>) {
    let quorum = Quorum { kraft_version: KRaftVersion(1), voters: voters.iter().copied().map(voter).collect() };
    let snapshot = Some(SnapshotId::default());
    let log = LogSummary { snapshot, snapshot_quorum: quorum, ..LogSummary::default() };
    let config = Config {
        local: key(1),
        endpoints: voter(1).endpoints,
        listener: "CONTROLLER".to_owned(),
        bootstrap: Vec::new(),
        timing: Timing::default(),
    };
    let cluster = ClusterId::from_uuid(Uuid::from_u128(1));
    let (links, _replies) = Links::new(cluster, "test".to_owned(), Duration::from_secs(1), Failures::default());
    let (tasks, queue) = mpsc::channel(64);
    (Node::new(config, Restored { log, ..Restored::default() }, tasks, links), queue)
}

fn vote(candidate: i32, epoch: i32) -> (Call, oneshot::Receiver<QuorumAnswer>) {
    let request = Request::Vote(VoteRequest {
        candidate: key(candidate),
        voter: key(1),
        epoch: LeaderEpoch(epoch),
        last_epoch: LeaderEpoch(0),
        last_offset: Offset(0),
        pre_vote: false,
    });
    let (reply, answer) = oneshot::channel();
    (Call { request, bytes_max: 0, reply }, answer)
}

#[tokio::test]
async fn no_vote_is_given_before_it_is_on_disk() {
    let (mut node, mut tasks) = node(&[1, 2, 3]);
    node.step(Event::Timer).await;
    let (call, mut answer) = vote(2, 5);
    node.call(call).await;
    let (call, mut later) = vote(3, 5);
    node.call(call).await;
    let mut on_disk = None;
    let answer = loop {
        // A vote that a power cut could revoke is not sent, nor anything after it.
        match answer.try_recv() {
            Ok(answer) => break answer,
            Err(_) => assert!(later.try_recv().is_err(), "answers keep their order"),
        }
        let Ok(Task::WriteState(state)) = tasks.try_recv() else { panic!("the vote is written down") };
        on_disk = Some((state.epoch, state.voted));
        node.reported(Report::StateWritten).await;
    };
    assert_eq!(on_disk, Some((LeaderEpoch(5), Some(key(2)))));
    let is_granted = |answer| matches!(answer, QuorumAnswer::Vote(response) if response.granted);
    assert!(is_granted(answer));
    assert!(!is_granted(later.try_recv().unwrap()));
}

#[tokio::test]
async fn a_sole_voter_commits_what_is_on_disk() {
    let (mut node, mut tasks) = node(&[1]);
    node.step(Event::Timer).await;
    assert!(matches!(tasks.recv().await, Some(Task::WriteState(_))));
    let happened = node.reported(Report::StateWritten).await;
    let commits =
        |happened: &[Happening]| happened.iter().any(|happening| matches!(happening, Happening::HighWatermark(_)));
    assert!(!commits(&happened), "{happened:?}");
    let Some(Task::Append(batch)) = tasks.recv().await else { panic!("the epoch has a first record") };
    let summary = appendable(&batch, &(Offset(0)..Offset(i64::MAX)));
    let end_offset = summary.last().unwrap().0.end;
    assert_eq!(node.append(LeaderEpoch(1), &[]).await.err(), Some(NotLeading), "not before that is committed");

    let happened = node.reported(Report::Persisted { end_offset, generation: LogGeneration::default() }).await;
    assert!(commits(&happened), "{happened:?}");
    assert!(happened.iter().any(|happening| matches!(happening, Happening::Activated(LeaderEpoch(1)))));
    assert_eq!(node.tail.read(&(Offset(0)..end_offset), 1 << 20), Some(batch));
}
