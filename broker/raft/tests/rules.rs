//! Single rules, each with one node.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may panic as tests do")]

use std::time::Duration;

use protocol::types::{BrokerId, DirectoryId, LeaderEpoch, Offset};
use raft::{
    Action, Address, Answer, BatchSummary, BeginQuorumEpochRequest, Config, ControlRecord, ElectionState,
    EndQuorumEpochRequest, Endpoint, Event, Failure, FetchContent, FetchRequest, FetchResponse, FetchSnapshotRequest,
    KRaftVersion, LeaderInfo, LogGeneration, LogSummary, Moment, Quorum, Raft, Refusal, ReplicaKey, Request, RequestId,
    Response, Restored, SendFailure, SnapshotId, Timing, Token, VoteRequest, VoteResponse, Voter,
};
use uuid::Uuid;

const TIMING: Timing = Timing {
    election_timeout: Duration::from_secs(1),
    fetch_timeout: Duration::from_secs(2),
    election_backoff_max: Duration::from_secs(1),
    request_timeout: Duration::from_secs(2),
    retry_backoff: Duration::from_millis(20),
    fetch_wait_max: Duration::from_millis(500),
};

struct Node {
    raft: Raft,
    now: Duration,
    /// The actions of the last step.
    actions: Vec<Action>,
    /// The last fetch it has sent.
    fetch: Option<RequestId>,
}

fn key(id: i32) -> ReplicaKey {
    ReplicaKey { id: BrokerId(id), directory_id: DirectoryId(Uuid::from_u128(u128::from(id.unsigned_abs()) + 1)) }
}

fn voter(id: i32) -> Voter {
    let address = Address { host: format!("node-{id}"), port: 9093 };
    Voter {
        key: key(id),
        endpoints: vec![Endpoint { name: "CONTROLLER".to_owned(), address }],
        kraft_version_min: KRaftVersion(0),
        kraft_version_max: KRaftVersion(1),
    }
}

/// Node 0 of a quorum that was formatted with the voters 0 to `voters`.
fn start(voters: i32) -> Node {
    start_at(voter(0).endpoints, voters)
}

fn start_at(endpoints: Vec<Endpoint>, voters: i32) -> Node {
    let quorum = Quorum { kraft_version: KRaftVersion(1), voters: (0..voters).map(voter).collect() };
    let log = LogSummary::at_snapshot(SnapshotId::default(), quorum);
    let config =
        Config { local: key(0), endpoints, listener: "CONTROLLER".to_owned(), bootstrap: Vec::new(), timing: TIMING };
    let restored = Restored { election: ElectionState::default(), log };
    let (raft, actions) = Raft::start(config, restored, Moment { now: Duration::ZERO, random: 7 });
    Node { raft, now: Duration::ZERO, actions, fetch: None }
}

impl Node {
    fn step(&mut self, event: Event) -> &[Action] {
        self.actions = self.raft.step(event, Moment { now: self.now, random: 7 });
        let mut fetches = self.sent().into_iter().filter(|(_, _, request)| matches!(request, Request::Fetch(_)));
        self.fetch = fetches.next().map(|(id, ..)| id).or(self.fetch);
        &self.actions
    }

    fn ask(&mut self, request: Request) -> Answer {
        self.step(Event::Request { token: Token(1), request });
        let mut answers = self.actions.iter().filter_map(|action| match action {
            Action::Answer { answer, .. } => Some(answer.clone()),
            _ => None,
        });
        answers.next_back().expect("it is answered at once")
    }

    /// Requests sent in the last step.
    fn sent(&self) -> Vec<(RequestId, BrokerId, Request)> {
        let sent = self.actions.iter().filter_map(|action| match action {
            Action::Send { id, to, request } => Some((*id, to.node.unwrap(), request.clone())),
            _ => None,
        });
        sent.collect()
    }

    fn let_pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.raft.next_timer().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.step(Event::Timer);
            if !self.actions.is_empty() {
                return;
            }
        }
        self.now = end;
    }

    /// Grants all votes requested in the last step.
    fn elect(&mut self) {
        while self.raft.leading().is_none() {
            let votes = self.sent().into_iter().filter(|(_, _, request)| matches!(request, Request::Vote(_)));
            let votes: Vec<_> = votes.collect();
            if votes.is_empty() {
                self.let_pass(Duration::from_secs(5));
            }
            for (id, _, _) in votes {
                let leader = LeaderInfo { epoch: self.raft.epoch(), ..LeaderInfo::default() };
                let response = Response::Vote(VoteResponse { error: None, leader, granted: true });
                let former = std::mem::take(&mut self.actions);
                self.step(Event::Response { id, response });
                if self.actions.is_empty() {
                    self.actions = former;
                }
            }
        }
    }

    /// Follows node 1 in epoch 5, which has answered.
    fn follow(&mut self, batches: Vec<BatchSummary>) {
        self.ask(begin(1, 5));
        self.answer_fetch(FetchContent::Records, batches);
    }

    fn answer_fetch(&mut self, content: FetchContent, batches: Vec<BatchSummary>) {
        self.answer_fetch_with(content, None, batches);
    }

    fn answer_fetch_with(&mut self, content: FetchContent, high_watermark: Option<Offset>, batches: Vec<BatchSummary>) {
        let id = self.fetch.take().unwrap();
        let leader = LeaderInfo { epoch: LeaderEpoch(5), leader: Some(BrokerId(1)), address: None };
        let response = FetchResponse { error: None, leader, high_watermark, log_start: Offset(0), content };
        self.step(Event::Response { id, response: Response::Fetch { response, batches } });
    }

    fn fail_fetch(&mut self, failure: SendFailure) {
        let id = self.fetch.take().unwrap();
        self.step(Event::RequestFailed { id, failure });
    }

    fn state(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let raft = &self.raft;
        (raft.leader(), raft.leading(), raft.log_end(), raft.high_watermark(), raft.voters().clone())
    }
}

fn begin(leader: i32, epoch: i32) -> Request {
    let (leader, epoch, endpoints) = (BrokerId(leader), LeaderEpoch(epoch), voter(leader).endpoints);
    Request::BeginQuorumEpoch(BeginQuorumEpochRequest { voter: key(0), leader, epoch, endpoints })
}

fn vote(candidate: ReplicaKey, epoch: i32, last_offset: i64, pre_vote: bool) -> Request {
    let (epoch, last_epoch, last_offset) = (LeaderEpoch(epoch), LeaderEpoch(0), Offset(last_offset));
    Request::Vote(VoteRequest { candidate, voter: key(0), epoch, last_epoch, last_offset, pre_vote })
}

fn fetch(replica: ReplicaKey, epoch: i32, offset: i64, last_fetched_epoch: i32) -> Request {
    Request::Fetch(FetchRequest {
        replica,
        epoch: LeaderEpoch(epoch),
        offset: Offset(offset),
        last_fetched_epoch: LeaderEpoch(last_fetched_epoch),
        high_watermark: None,
        wait_max: Duration::ZERO,
    })
}

fn batch(base_offset: i64, epoch: i32, count: i64) -> BatchSummary {
    BatchSummary { base_offset: Offset(base_offset), epoch: LeaderEpoch(epoch), count, control: Vec::new() }
}

fn error_of(answer: &Answer) -> Option<Refusal> {
    match answer {
        Answer::Vote(response) => response.error,
        Answer::BeginQuorumEpoch(response) | Answer::EndQuorumEpoch(response) => response.error,
        Answer::Fetch { response, .. } => response.error,
        Answer::FetchSnapshot(response) => response.error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_only_voter_leads_when_its_first_records_are_durable() {
    let mut node = start(1);
    let epoch = LeaderEpoch(1);
    let persisted = ElectionState { epoch, leader: None, voted: Some(key(0)) };
    let leader_change = ControlRecord::LeaderChange {
        leader: BrokerId(0),
        voters: vec![BrokerId(0)],
        granting_voters: vec![BrokerId(0)],
    };
    let laid_down = ControlRecord::KRaftVoters(node.raft.voters().clone());
    let records = vec![leader_change, ControlRecord::KRaftVersion(KRaftVersion(1)), laid_down];
    let leader = LeaderInfo { epoch, leader: Some(BrokerId(0)), address: Some(voter(0).endpoints[0].address.clone()) };
    assert_eq!(
        node.actions,
        [
            Action::HighWatermark(Offset(0)),
            Action::PersistElection(persisted),
            Action::AppendControl { base_offset: Offset(0), epoch, records },
            Action::LeaderChanged(leader),
        ]
    );
    let actions = node.step(Event::Persisted { end_offset: Offset(3), generation: LogGeneration(0) });
    assert_eq!(actions, [Action::HighWatermark(Offset(3)), Action::Activated { epoch }]);
    assert_eq!(node.raft.next_timer(), None, "nothing will happen by time alone");
}

#[test]
fn what_is_stale_or_hostile_is_refused_and_changes_nothing() {
    let invalid = |request: &Request, answer: &Answer| {
        assert!(matches!(error_of(answer), Some(Refusal::InvalidRequest(_))), "{request:?}: {answer:?}");
    };
    let mut leader = start(3);
    leader.elect();
    let mut follower = start(3);
    follower.follow(Vec::new());
    for (node, epoch) in [(&mut leader, 1), (&mut follower, 5)] {
        let before = node.state();
        for request in [
            vote(key(-1), epoch, 0, false),
            vote(key(1), -1, 0, true),
            vote(key(1), epoch, -1, true),
            vote(key(0), epoch + 1, 0, false),
            begin(-1, epoch),
            begin(0, epoch + 1),
            begin(2, epoch),
            fetch(key(1), epoch, -1, 0),
            fetch(key(1), epoch, 0, -1),
            fetch(key(-1), epoch, 0, 0),
            fetch(key(0), epoch, 0, 0),
        ] {
            let answer = node.ask(request.clone());
            invalid(&request, &answer);
            assert_eq!(node.state(), before, "{request:?}");
        }
        let foreign = ReplicaKey { directory_id: key(7).directory_id, ..key(0) };
        let mut other_volume = vote(key(1), epoch + 1, 9, false);
        if let Request::Vote(request) = &mut other_volume {
            request.voter = foreign;
        }
        let late_end = Request::EndQuorumEpoch(EndQuorumEpochRequest {
            leader: BrokerId(2),
            epoch: LeaderEpoch(0),
            preferred_candidates: vec![key(0)],
            endpoints: Vec::new(),
        });
        let snapshot = Request::FetchSnapshot(FetchSnapshotRequest {
            replica: key(1),
            epoch: LeaderEpoch(0),
            id: SnapshotId::default(),
            position: -1,
        });
        for (request, expected) in [
            (other_volume, Refusal::InvalidVoterKey),
            (vote(key(1), 0, 9, true), Refusal::FencedLeaderEpoch),
            (begin(1, 0), Refusal::FencedLeaderEpoch),
            (late_end, Refusal::FencedLeaderEpoch),
            (fetch(key(1), 0, 0, 0), Refusal::FencedLeaderEpoch),
            (fetch(key(1), epoch + 1, 0, 0), Refusal::UnknownLeaderEpoch),
            (snapshot, Refusal::FencedLeaderEpoch),
        ] {
            assert_eq!(error_of(&node.ask(request.clone())), Some(expected), "{request:?}");
            assert_eq!(node.state(), before, "{request:?}");
        }
    }
    // Beyond the leader's log, with the right epoch and a wrong one: told the log end, and not counted.
    let before = leader.state();
    for last_epoch in [1, 9] {
        let answer = leader.ask(fetch(key(1), 1, 1000, last_epoch));
        let Answer::Fetch { response, .. } = answer else { panic!() };
        assert_eq!(response.content, FetchContent::Diverging { epoch: LeaderEpoch(1), end_offset: Offset(3) });
        assert_eq!(leader.state(), before);
    }
}

#[test]
fn a_leader_whose_process_is_gone_is_noticed_at_once() {
    let mut node = start(3);
    node.follow(Vec::new());
    let granted = |answer: Answer| matches!(answer, Answer::Vote(VoteResponse { granted: true, .. }));
    assert!(!granted(node.ask(vote(key(2), 5, 9, true))), "the leader lives");
    node.fail_fetch(SendFailure::Reset);
    node.fail_fetch(SendFailure::Refused);
    node.let_pass(Duration::from_millis(50));
    node.fail_fetch(SendFailure::Refused);
    assert!(granted(node.ask(vote(key(2), 5, 9, true))), "it is gone");
    node.let_pass(Duration::from_millis(50));
    assert!(node.sent().iter().any(|(_, _, request)| matches!(request, Request::Vote(vote) if vote.pre_vote)));
    assert!(node.now <= Duration::from_millis(100), "{:?}", node.now);
}

#[test]
fn a_voter_whose_volume_went_back_is_refused_and_does_not_count() {
    let mut node = start(5);
    node.elect();
    node.step(Event::Persisted { end_offset: Offset(3), generation: LogGeneration(0) });
    assert_eq!(error_of(&node.ask(fetch(key(1), 1, 3, 1))), None);
    assert_eq!(error_of(&node.ask(fetch(key(1), 1, 0, 0))), Some(Refusal::VolumeWentBack));
    assert_eq!(error_of(&node.ask(fetch(key(2), 1, 3, 1))), None);
    assert_eq!(node.raft.high_watermark(), Offset(0), "two of five have it");
    assert_eq!(error_of(&node.ask(fetch(key(1), 1, 3, 1))), None, "that was a request that was overtaken");
    assert_eq!(node.raft.high_watermark(), Offset(3));
    assert_eq!(error_of(&node.ask(fetch(key(1), 1, 1000, 1))), None, "it has more, which is not this leader's");
    assert_eq!(error_of(&node.ask(fetch(key(7), 1, 3, 1))), None);
    assert_eq!(error_of(&node.ask(fetch(key(7), 1, 0, 0))), None, "nothing depends on an observer");
}

#[test]
fn who_is_told_that_its_volume_went_back_gives_up() {
    let mut node = start(3);
    node.follow(vec![batch(0, 5, 10)]);
    node.step(Event::Persisted { end_offset: Offset(10), generation: LogGeneration(0) });
    let id = node.fetch.take().unwrap();
    let leader = LeaderInfo { epoch: LeaderEpoch(5), leader: Some(BrokerId(1)), address: None };
    let (error, content) = (Some(Refusal::VolumeWentBack), FetchContent::Records);
    let response = FetchResponse { error, leader, high_watermark: None, log_start: Offset(0), content };
    node.step(Event::Response { id, response: Response::Fetch { response, batches: Vec::new() } });
    let failure = Failure::VolumeWentBack { epoch: LeaderEpoch(5), log_end: Offset(10) };
    assert_eq!(node.actions.first(), Some(&Action::Fail(failure)));
}

#[test]
fn what_is_committed_is_known_once_the_log_has_all_of_it() {
    let mut node = start(3);
    node.ask(begin(1, 5));
    for (base_offset, is_known) in [(0, false), (10, true), (20, true)] {
        let committed = Some(Offset(if base_offset < 20 { 20 } else { 90 }));
        node.answer_fetch_with(FetchContent::Records, committed, vec![batch(base_offset, 5, 10)]);
        assert_eq!(node.raft.has_heard_commits(), is_known, "{base_offset}");
        node.step(Event::Persisted { end_offset: Offset(base_offset + 10), generation: LogGeneration(0) });
    }
}

#[test]
fn completions_of_what_was_truncated_since_do_not_count() {
    let mut node = start(3);
    node.follow(vec![batch(0, 1, 10)]);
    assert!(node.sent().is_empty(), "nothing is acknowledged before it is durable");
    node.step(Event::Persisted { end_offset: Offset(10), generation: LogGeneration(0) });
    node.answer_fetch(FetchContent::Diverging { epoch: LeaderEpoch(0), end_offset: Offset(0) }, Vec::new());
    assert_eq!(node.actions[0], Action::Truncate { end_offset: Offset(0), generation: LogGeneration(1) });
    node.answer_fetch(FetchContent::Records, vec![batch(0, 5, 10)]);
    node.step(Event::Persisted { end_offset: Offset(10), generation: LogGeneration(0) });
    assert!(node.sent().is_empty(), "that was the log before the truncation");
    node.step(Event::Persisted { end_offset: Offset(4), generation: LogGeneration(1) });
    node.step(Event::Persisted { end_offset: Offset(10), generation: LogGeneration(1) });
    assert_eq!(node.sent().len(), 1);
    node.step(Event::Persisted { end_offset: Offset(4), generation: LogGeneration(1) });
    assert_eq!(node.raft.log_end(), Offset(10));
}

#[test]
fn a_voter_that_is_called_elsewhere_asks_the_leader_to_correct_that() {
    let mut node = start(3);
    let moved = Voter { endpoints: voter(9).endpoints, ..voter(0) };
    let voters = ControlRecord::KRaftVoters([moved, voter(1), voter(2)].into_iter().collect());
    node.follow(vec![BatchSummary { control: vec![(Offset(0), voters)], ..batch(0, 5, 1) }]);
    let sent = node.sent();
    let Some((_, to, Request::UpdateVoter(request))) = sent.first() else { panic!("{sent:?}") };
    assert_eq!((*to, &request.voter), (BrokerId(1), &voter(0)));
}

#[test]
fn a_leader_that_stops_names_its_successors() {
    let mut node = start(3);
    node.elect();
    node.ask(fetch(key(2), 1, 0, 0));
    let Answer::Fetch { records, .. } = node.ask(fetch(key(2), 1, 3, 1)) else { panic!() };
    assert!(records.is_empty());
    node.step(Event::Resign);
    let ends = node.sent().into_iter().filter_map(|(_, to, request)| match request {
        Request::EndQuorumEpoch(end) => Some((to, end.preferred_candidates)),
        _ => None,
    });
    let successors = vec![key(2), key(1)]; // who is furthest comes first
    assert_eq!(ends.collect::<Vec<_>>(), [(BrokerId(2), successors.clone()), (BrokerId(1), successors)]);
    node.let_pass(Duration::from_mins(1));
    assert!(node.raft.leading().is_none(), "who stops does not campaign");
}

#[test]
fn a_leader_that_stops_votes_for_its_successor_and_hears_of_it() {
    let mut node = start(3);
    node.elect();
    let last_offset = node.raft.log_end();
    node.step(Event::Resign);
    for (epoch, pre_vote) in [(1, true), (2, false)] {
        let (epoch, last_epoch) = (LeaderEpoch(epoch), LeaderEpoch(1));
        let request = VoteRequest { candidate: key(2), voter: key(0), epoch, last_epoch, last_offset, pre_vote };
        let answer = node.ask(Request::Vote(request));
        assert!(matches!(&answer, Answer::Vote(response) if response.granted), "{answer:?}");
    }
    assert_eq!(node.raft.leader().leader, None);
    node.ask(begin(2, 2));
    assert_eq!(node.raft.leader().leader, Some(BrokerId(2)));
}

#[test]
fn a_voter_that_nobody_can_call_leaves_leading_to_others() {
    let mut node = start_at(Vec::new(), 3);
    let end = node.now + Duration::from_mins(1);
    while node.now < end {
        let sent = node.sent();
        assert!(sent.iter().all(|(_, _, request)| matches!(request, Request::Fetch(_))), "{sent:?}");
        node.let_pass(end.saturating_sub(node.now));
    }
    let Answer::Vote(response) = node.ask(vote(key(1), 1, 0, false)) else { panic!() };
    assert!(response.granted, "its vote counts");
}

/// It may be a voter that this node, which was cut off, does not know yet.
#[test]
fn who_is_no_voter_here_gets_the_vote_on_the_same_terms() {
    let stranger = key(7);
    let granted = |node: &mut Node, request| {
        let Answer::Vote(response) = node.ask(request) else { panic!() };
        response.granted
    };
    let mut node = start(3);
    assert!(granted(&mut node, vote(stranger, 1, 0, true)));
    assert!(granted(&mut node, vote(stranger, 1, 0, false)));
    assert!(!granted(&mut node, vote(key(1), 1, 0, false)), "there is one vote in an epoch");
    let mut ahead = start(3);
    ahead.follow(vec![batch(0, 5, 10)]);
    assert!(!granted(&mut ahead, vote(stranger, 5, 9, true)), "the leader lives");
    assert!(!granted(&mut ahead, vote(stranger, 6, 9, false)), "it lacks records");
}
