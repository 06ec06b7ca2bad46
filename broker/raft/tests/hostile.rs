//! Whatever arrives from the network: no panic, no epoch or high watermark that decreases, an answer to each request,
//! at most one vote per epoch.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use protocol::types::{BrokerId, DirectoryId, LeaderEpoch, Offset};
use raft::*;
use uuid::Uuid;

/// Small numbers that coincide, and the ends of the range.
fn number() -> impl Strategy<Value = i64> {
    prop_oneof![8 => -1..6_i64, 1 => Just(i64::MAX - 1), 1 => Just(i64::MIN)]
}

fn epoch() -> impl Strategy<Value = LeaderEpoch> {
    prop_oneof![8 => -1..6_i32, 1 => Just(i32::MAX), 1 => Just(i32::MIN)].prop_map(LeaderEpoch)
}

fn id() -> impl Strategy<Value = BrokerId> {
    prop_oneof![9 => 0..4_i32, 1 => Just(-1)].prop_map(BrokerId)
}

fn offset() -> impl Strategy<Value = Offset> {
    number().prop_map(Offset)
}

fn key() -> impl Strategy<Value = ReplicaKey> {
    (id(), prop::bool::weighted(0.2)).prop_map(|(id, is_foreign)| replica(id.0, if is_foreign { 1000 } else { 0 }))
}

fn replica(id: i32, of: u128) -> ReplicaKey {
    ReplicaKey { id: BrokerId(id), directory_id: DirectoryId(Uuid::from_u128(of + u128::from(id.unsigned_abs()) + 1)) }
}

fn voter(key: ReplicaKey) -> Voter {
    let address = Address { host: "host".to_owned(), port: 9093 };
    let endpoints = vec![Endpoint { name: "CONTROLLER".to_owned(), address }];
    Voter { key, endpoints, kraft_version_min: KRaftVersion(0), kraft_version_max: KRaftVersion(1) }
}

fn snapshot_id() -> impl Strategy<Value = SnapshotId> {
    (offset(), epoch()).prop_map(|(end_offset, epoch)| SnapshotId { end_offset, epoch })
}

fn request() -> impl Strategy<Value = Request> {
    let vote = (key(), key(), epoch(), epoch(), offset(), any::<bool>());
    let vote = vote.prop_map(|(candidate, voter, epoch, last_epoch, last_offset, pre_vote)| {
        Request::Vote(VoteRequest { candidate, voter, epoch, last_epoch, last_offset, pre_vote })
    });
    let begin = (key(), id(), epoch()).prop_map(|(voter, leader, epoch)| {
        Request::BeginQuorumEpoch(BeginQuorumEpochRequest { voter, leader, epoch, endpoints: Vec::new() })
    });
    let end = (id(), epoch(), prop::collection::vec(key(), 0..3)).prop_map(|(leader, epoch, preferred_candidates)| {
        Request::EndQuorumEpoch(EndQuorumEpochRequest { leader, epoch, preferred_candidates, endpoints: Vec::new() })
    });
    let fetch = (key(), epoch(), offset(), epoch(), prop::option::of(offset()));
    let fetch = fetch.prop_map(|(replica, epoch, offset, last_fetched_epoch, high_watermark)| {
        let wait_max = Duration::ZERO;
        Request::Fetch(FetchRequest { replica, epoch, offset, last_fetched_epoch, high_watermark, wait_max })
    });
    let snapshot = (key(), epoch(), snapshot_id(), number()).prop_map(|(replica, epoch, id, position)| {
        Request::FetchSnapshot(FetchSnapshotRequest { replica, epoch, id, position })
    });
    let change = (0..3, key(), epoch()).prop_map(|(kind, key, epoch)| match kind {
        0 => Request::AddVoter(AddVoterRequest { voter: voter(key), timeout: Duration::ZERO }),
        1 => Request::RemoveVoter(RemoveVoterRequest { key }),
        _ => Request::UpdateVoter(UpdateVoterRequest { epoch, voter: voter(key) }),
    });
    prop_oneof![3 => vote, 2 => begin, 1 => end, 3 => fetch, 1 => snapshot, 1 => change]
}

fn leader() -> impl Strategy<Value = LeaderInfo> {
    let address = Address { host: "told".to_owned(), port: 1 };
    (epoch(), prop::option::of(id())).prop_map(move |(epoch, leader)| LeaderInfo {
        epoch,
        leader,
        address: Some(address.clone()),
    })
}

fn batches() -> impl Strategy<Value = Vec<BatchSummary>> {
    let control = prop::option::of((offset(), prop::collection::vec(key(), 0..3)));
    let batch = (offset(), epoch(), prop_oneof![9 => 0..3_i64, 1 => Just(i64::MIN)], control);
    let batch = batch.prop_map(|(base_offset, epoch, count, control)| {
        let control =
            control.map(|(offset, keys)| (offset, ControlRecord::KRaftVoters(keys.into_iter().map(voter).collect())));
        BatchSummary { base_offset, epoch, count, control: control.into_iter().collect() }
    });
    prop::collection::vec(batch, 0..3)
}

fn response() -> impl Strategy<Value = Response> {
    let refusal = || prop::option::weighted(0.3, Just(Refusal::NotLeader));
    let vote = (refusal(), leader(), any::<bool>())
        .prop_map(|(error, leader, granted)| Response::Vote(VoteResponse { error, leader, granted }));
    let content = prop_oneof![
        3 => Just(FetchContent::Records),
        1 => (epoch(), offset()).prop_map(|(epoch, end_offset)| FetchContent::Diverging { epoch, end_offset }),
        1 => snapshot_id().prop_map(FetchContent::Snapshot),
    ];
    let fetch = (refusal(), leader(), prop::option::of(offset()), content, batches());
    let fetch = fetch.prop_map(|(error, leader, high_watermark, content, batches)| Response::Fetch {
        response: FetchResponse { error, leader, high_watermark, log_start: Offset(0), content },
        batches,
    });
    let snapshot = (refusal(), leader(), snapshot_id(), number(), number(), number());
    let snapshot = snapshot.prop_map(|(error, leader, id, position, size, length)| Response::FetchSnapshot {
        response: FetchSnapshotResponse { error, leader, id, position },
        size,
        length,
    });
    let begin =
        (refusal(), leader()).prop_map(|(error, leader)| Response::BeginQuorumEpoch(QuorumResponse { error, leader }));
    prop_oneof![3 => vote, 4 => fetch, 1 => snapshot, 1 => begin]
}

#[derive(Debug, Clone)]
enum Input {
    Wait(u64),
    Request(Request),
    /// Answers one of the last requests.
    Response(u64, Response),
    Failure(u64, SendFailure),
    Persisted,
    SnapshotFinished(SnapshotId),
}

fn input() -> impl Strategy<Value = Input> {
    let failure = prop_oneof![Just(SendFailure::Refused), Just(SendFailure::Reset), Just(SendFailure::TimedOut)];
    prop_oneof![
        2 => (0..1500_u64).prop_map(Input::Wait),
        6 => request().prop_map(Input::Request),
        6 => (0..4_u64, response()).prop_map(|(back, response)| Input::Response(back, response)),
        1 => (0..4_u64, failure).prop_map(|(back, failure)| Input::Failure(back, failure)),
        3 => Just(Input::Persisted),
        1 => snapshot_id().prop_map(Input::SnapshotFinished),
    ]
}

/// What must hold of all answers and writes.
#[derive(Default)]
struct Watch {
    last_request: u64,
    generation: LogGeneration,
    election: ElectionState,
    high_watermark: Offset,
    votes: BTreeMap<LeaderEpoch, ReplicaKey>,
}

impl Watch {
    fn see(&mut self, actions: &[Action]) {
        for action in actions {
            match action {
                Action::Send { id, .. } => self.last_request = id.0,
                Action::Truncate { generation, .. } | Action::RestartLog { generation, .. } => {
                    self.generation = *generation;
                }
                Action::PersistElection(state) => {
                    assert!(self.election.epoch <= state.epoch, "{state:?} after {:?}", self.election);
                    self.election = *state;
                    if let Some(voted) = state.voted {
                        assert_eq!(*self.votes.entry(state.epoch).or_insert(voted), voted);
                    }
                }
                Action::HighWatermark(offset) => {
                    assert!(self.high_watermark <= *offset);
                    self.high_watermark = *offset;
                }
                _ => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]
    #[test]
    fn nothing_from_the_wire_breaks_a_node(inputs in prop::collection::vec(input(), 1..60)) {
        let quorum = Quorum {
            kraft_version: KRaftVersion::DYNAMIC_VOTERS,
            voters: (0..3).map(|id| voter(replica(id, 0))).collect(),
        };
        let config = Config {
            local: replica(0, 0),
            endpoints: voter(replica(0, 0)).endpoints,
            listener: "CONTROLLER".to_owned(),
            bootstrap: Vec::new(),
            timing: Timing::default(),
        };
        let log = LogSummary::at_snapshot(SnapshotId::default(), quorum);
        let mut now = Duration::ZERO;
        let restored = Restored { election: ElectionState::default(), log };
        let (mut raft, actions) = Raft::start(config, restored, Moment { now, random: 1 });
        let mut watch = Watch::default();
        watch.see(&actions);
        for (random, input) in (0..).zip(inputs) {
            let of = |back: u64, last: u64| RequestId(last.saturating_sub(back));
            let event = match input {
                Input::Wait(millis) => {
                    now += Duration::from_millis(millis);
                    Event::Timer
                }
                Input::Request(request) => Event::Request { token: Token(random), request },
                Input::Response(back, response) => Event::Response { id: of(back, watch.last_request), response },
                Input::Failure(back, failure) => Event::RequestFailed { id: of(back, watch.last_request), failure },
                Input::Persisted => Event::Persisted { end_offset: raft.log_end(), generation: watch.generation },
                Input::SnapshotFinished(id) => Event::SnapshotFinished { id, quorum: Quorum::default() },
            };
            let epoch = raft.epoch();
            let actions = raft.step(event, Moment { now, random });
            watch.see(&actions);
            prop_assert!(epoch <= raft.epoch());
            prop_assert!(raft.high_watermark() <= raft.log_end());
            prop_assert_eq!(raft.epoch(), watch.election.epoch, "the epoch is durable before anything follows");
        }
    }
}
