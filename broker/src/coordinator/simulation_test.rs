//! Clients that join, commit, leave, crash and come back, over a log that commits late, refuses now and then, and loses
//! what is not committed when another broker takes over. What must hold is checked against what the clients were told:
//!
//! 1. an offset that was acknowledged is never followed by a smaller one
//! 2. a partition has one owner in a generation
//! 3. left in peace, all come to one generation that owns every partition

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use fuzz::random::Random;
use protocol::coordinator_records::GenerationId;
use protocol::types::Offset;

use super::config::GroupConfig;
use super::error::GroupError;
use super::log::LogError;
use super::member::MemberId;
use super::request::{CommitRequest, GroupRequest, JoinRequest, Joined, MemberClaim, Results, SyncRequest, Synced};
use super::testing::{Bench, Waiting, claim, commit_of, config, offset, request};

const PARTITIONS: i32 = 5;
const CLIENTS: usize = 4;
const STEPS: usize = 400;
const SEEDS: u64 = 150;

/// What a client is waiting for.
enum Doing {
    Nothing,
    Joining(Waiting<Joined>),
    Syncing(Waiting<Synced>),
    /// Reads where to go on, once for every assignment.
    Fetching(Waiting<super::request::FetchedOffsets>),
    Owning,
}

struct Client {
    instance: Option<String>,
    member: MemberId,
    generation: GenerationId,
    owned: Vec<i32>,
    positions: BTreeMap<i32, i64>,
    committing: Option<(BTreeMap<i32, i64>, Waiting<Results>)>,
    doing: Doing,
    assignments: Vec<(MemberId, Bytes)>,
}

impl Client {
    fn new(instance: Option<String>) -> Self {
        Self {
            instance,
            member: MemberId::default(),
            generation: GenerationId(-1),
            owned: Vec::new(),
            positions: BTreeMap::new(),
            committing: None,
            doing: Doing::Nothing,
            assignments: Vec::new(),
        }
    }

    fn claim(&self) -> MemberClaim {
        MemberClaim { instance: self.instance.clone(), ..claim(&self.member) }
    }

    /// What a client makes of a refusal.
    fn refused(&mut self, error: &GroupError) {
        match error {
            GroupError::MemberIdRequired(id) => self.member = id.clone(),
            GroupError::UnknownMember(_) | GroupError::UnknownInstance(_) | GroupError::FencedInstance { .. } => {
                self.member = MemberId::default();
            }
            _ => {}
        }
        self.generation = GenerationId(-1);
        self.owned.clear();
        self.doing = Doing::Nothing;
    }
}

struct World {
    bench: Bench,
    random: Random,
    clients: Vec<Client>,
    /// Records before that are on enough brokers.
    high_watermark: usize,
    acknowledged: BTreeMap<i32, i64>,
    owners: BTreeMap<(GenerationId, i32), String>,
    calm: bool,
}

/// `None`: not yet. The coordinator may be gone.
fn poll<T>(waiting: &mut Waiting<T>) -> Option<Result<T, GroupError>> {
    match waiting.try_recv() {
        Ok(answer) => Some(answer),
        Err(tokio::sync::oneshot::error::TryRecvError::Empty) => None,
        Err(tokio::sync::oneshot::error::TryRecvError::Closed) => {
            Some(Err(GroupError::Unavailable(super::error::Unavailable::NotCoordinator)))
        }
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let config = GroupConfig { initial_rebalance_delay: Duration::from_secs(1), ..config() };
        let mut bench = Bench::new(config);
        bench.commits = false;
        let clients = (0..CLIENTS).map(|number| Client::new((number % 2 == 0).then(|| format!("static-{number}"))));
        Self {
            bench,
            random: Random(seed),
            clients: clients.collect(),
            high_watermark: 0,
            acknowledged: BTreeMap::new(),
            owners: BTreeMap::new(),
            calm: false,
        }
    }

    fn one_in(&mut self, chances: usize) -> bool {
        !self.calm && self.random.below(chances) == 0
    }

    fn step(&mut self) {
        if self.one_in(40) {
            self.fail_over();
        }
        let refuse = self.one_in(15);
        self.bench.log.refusal = refuse.then_some(LogError::NotEnoughReplicas);
        if self.calm || self.one_in(2) {
            self.high_watermark = self.bench.log.records.len();
            self.bench.shard.committed(Offset(i64::try_from(self.high_watermark).unwrap()));
        }
        for index in 0..CLIENTS {
            if self.one_in(60) {
                self.crash(index);
            } else if self.calm || self.random.below(3) != 0 {
                self.act(index);
            }
        }
        let pause = Duration::from_millis(100 + self.random.below(900) as u64);
        let pause = if self.one_in(30) { Duration::from_secs(15) } else { pause };
        self.bench.pass(pause);
    }

    /// The new leader has all that is committed, and perhaps some more, which it commits.
    fn fail_over(&mut self) {
        let uncommitted = self.bench.log.records.len() - self.high_watermark;
        let kept = self.high_watermark + self.random.below(uncommitted + 1);
        self.bench.log.records.truncate(kept);
        self.bench.log.refusal = None;
        self.bench.fail_over();
        self.high_watermark = self.high_watermark.min(kept);
        self.bench.shard.committed(Offset(i64::try_from(self.high_watermark).unwrap()));
    }

    fn crash(&mut self, index: usize) {
        let client = &mut self.clients[index];
        *client = Client::new(client.instance.clone());
    }

    fn act(&mut self, index: usize) {
        self.settle_commit(index);
        match std::mem::replace(&mut self.clients[index].doing, Doing::Nothing) {
            Doing::Nothing => self.join(index),
            Doing::Joining(mut waiting) => match poll(&mut waiting) {
                None => self.clients[index].doing = Doing::Joining(waiting),
                Some(Ok(joined)) => self.joined(index, &joined),
                Some(Err(error)) => self.clients[index].refused(&error),
            },
            Doing::Syncing(mut waiting) => match poll(&mut waiting) {
                None => self.clients[index].doing = Doing::Syncing(waiting),
                Some(Ok(synced)) => self.synced(index, &synced),
                Some(Err(error)) => self.clients[index].refused(&error),
            },
            Doing::Fetching(mut waiting) => match poll(&mut waiting) {
                None => {
                    self.clients[index].doing = Doing::Fetching(waiting);
                    self.heartbeat(index);
                }
                Some(Ok(fetched)) => self.fetched(index, fetched),
                Some(Err(_)) => self.fetch(index),
            },
            Doing::Owning => self.work(index),
        }
    }

    fn join(&mut self, index: usize) {
        let client = &self.clients[index];
        let request = JoinRequest {
            member: client.claim(),
            id_required: true,
            can_skip_assignment: index == 0,
            ..request("sim")
        };
        self.clients[index].doing = Doing::Joining(self.bench.join("g", request));
    }

    fn joined(&mut self, index: usize, joined: &Joined) {
        let leads = joined.member == joined.leader && !joined.skip_assignment;
        let mut assignments: BTreeMap<MemberId, Vec<u8>> = BTreeMap::new();
        for (partition, member) in (0..PARTITIONS).zip(joined.members.iter().cycle()).filter(|_| leads) {
            assignments.entry(member.id.clone()).or_default().push(u8::try_from(partition).unwrap());
        }
        let client = &mut self.clients[index];
        client.member = joined.member.clone();
        client.generation = joined.generation;
        client.assignments = assignments.into_iter().map(|(id, owned)| (id, Bytes::from(owned))).collect();
        let request = SyncRequest {
            member: client.claim(),
            generation: client.generation,
            protocol_type: joined.protocol_type.clone(),
            protocol: joined.protocol.clone(),
            assignments: std::mem::take(&mut client.assignments),
        };
        client.doing = Doing::Syncing(self.bench.ask("g", |reply| GroupRequest::Sync(request, reply)));
    }

    fn synced(&mut self, index: usize, synced: &Synced) {
        let client = &mut self.clients[index];
        client.owned = synced.assignment.iter().map(|partition| i32::from(*partition)).collect();
        client.positions.clear();
        let name = client.instance.clone().unwrap_or_else(|| client.member.0.clone());
        for partition in &client.owned {
            let owner = self.owners.entry((client.generation, *partition)).or_insert_with(|| name.clone());
            assert_eq!(*owner, name, "partition {partition} has two owners in generation {}", client.generation);
        }
        self.fetch(index);
    }

    fn fetch(&mut self, index: usize) {
        let waiting = self.bench.ask("g", |reply| GroupRequest::FetchOffsets(None, reply));
        self.clients[index].doing = Doing::Fetching(waiting);
    }

    fn fetched(&mut self, index: usize, fetched: super::request::FetchedOffsets) {
        let mut committed = BTreeMap::new();
        for (partition, offset) in fetched.into_iter().flat_map(|topic| topic.partitions) {
            committed.insert(partition.0, offset.map_or(0, |offset| offset.offset.0));
        }
        for partition in self.clients[index].owned.clone() {
            let position = committed.get(&partition).copied().unwrap_or(0);
            self.clients[index].positions.insert(partition, position);
        }
        self.clients[index].doing = Doing::Owning;
    }

    fn work(&mut self, index: usize) {
        self.clients[index].doing = Doing::Owning;
        if !self.heartbeat(index) || self.clients[index].committing.is_some() {
            return;
        }
        if self.one_in(50) {
            let client = self.clients[index].claim();
            let _left = self
                .bench
                .ask("g", |reply| GroupRequest::Leave(super::request::LeaveRequest { members: vec![client] }, reply));
            return self.crash(index);
        }
        let client = &mut self.clients[index];
        client.positions.values_mut().for_each(|position| *position += 1);
        let offsets = client.positions.iter().map(|(partition, position)| offset(*partition, *position));
        let commit =
            CommitRequest { member: client.claim(), generation: client.generation, ..commit_of(offsets.collect()) };
        let told = client.positions.clone();
        let waiting = self.bench.commit("g", commit);
        self.clients[index].committing = Some((told, waiting));
    }

    /// False: there is something else to do first.
    fn heartbeat(&mut self, index: usize) -> bool {
        let client = &self.clients[index];
        let (claim, generation) = (client.claim(), client.generation);
        match self.bench.heartbeat("g", claim, generation) {
            Ok(()) => true,
            Err(error) => {
                self.clients[index].refused(&error);
                false
            }
        }
    }

    fn settle_commit(&mut self, index: usize) {
        let Some((offsets, mut waiting)) = self.clients[index].committing.take() else { return };
        match poll(&mut waiting) {
            None => self.clients[index].committing = Some((offsets, waiting)),
            Some(Ok(results)) if results.iter().all(Result::is_ok) => {
                for (partition, offset) in offsets {
                    let acknowledged = self.acknowledged.entry(partition).or_default();
                    *acknowledged = (*acknowledged).max(offset);
                }
            }
            Some(_) => {}
        }
    }

    /// As a client sees it that asks now.
    fn check_offsets(&mut self) {
        let waiting = &mut self.bench.ask("g", |reply| GroupRequest::FetchOffsets(None, reply));
        let Some(Ok(fetched)) = poll(waiting) else { return };
        let partitions: BTreeMap<_, _> = fetched.into_iter().flat_map(|topic| topic.partitions).collect();
        for (partition, acknowledged) in &self.acknowledged {
            let found = partitions.get(&protocol::types::PartitionId(*partition)).and_then(Option::as_ref);
            let found = found.map(|offset| offset.offset.0);
            assert!(Some(*acknowledged) <= found, "partition {partition}: {acknowledged} was told, {found:?} is there");
        }
    }

    fn check_calm(&self) {
        let generations: Vec<_> = self.clients.iter().map(|client| client.generation).collect();
        let mut owned: Vec<_> = self.clients.iter().flat_map(|client| client.owned.clone()).collect();
        owned.sort_unstable();
        let all: Vec<_> = (0..PARTITIONS).collect();
        let is_stuck = self.clients.iter().any(|client| !matches!(client.doing, Doing::Owning));
        assert!(!is_stuck && generations.iter().all(|one| *one == generations[0]), "stuck in {generations:?}");
        assert_eq!(owned, all, "every partition has an owner");
        assert_eq!(self.acknowledged.len(), all.len());
    }
}

#[test]
fn no_offset_goes_back_no_partition_has_two_owners_and_no_group_is_stuck() {
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
            world.check_offsets();
        }
        world.calm = true;
        for _ in 0..STEPS {
            world.step();
            world.check_offsets();
        }
        world.check_calm();
    }
}
