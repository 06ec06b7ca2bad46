//! Clients, a coordinator and its log, one step after the other.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use fuzz::random::Random;
use protocol::coordinator_records::GenerationId;
use protocol::types::{Offset, PartitionId};

use super::super::bugs::Bug;
use super::super::config::GroupConfig;
use super::super::log::LogError;
use super::super::member::MemberId;
use super::super::request::{
    CommitRequest, FetchedOffsets, GroupRequest, JoinRequest, Joined, LeaveRequest, SyncRequest, Synced,
};
use super::super::testing::{Bench, commit_of, config, offset, request};
use super::client::{Client, Doing, poll};

const PARTITIONS: i32 = 5;
const CLIENTS: usize = 4;
const ASLEEP_MAX: usize = 60;

/// What must not be.
pub(super) type Violation = String;
type Checked = Result<(), Violation>;

pub(super) struct World {
    bench: Bench,
    random: Random,
    clients: Vec<Client>,
    /// Records before that are on enough brokers.
    high_watermark: usize,
    /// The largest that anybody was told: it is committed.
    told: BTreeMap<i32, i64>,
    owners: BTreeMap<(GenerationId, i32), String>,
    calm: bool,
}

impl World {
    pub(super) fn new(seed: u64, bug: Option<Bug>) -> Self {
        let config = GroupConfig { initial_rebalance_delay: Duration::from_secs(1), ..config() };
        let mut bench = Bench::new(config);
        bench.commits = false;
        bench.plant(bug);
        let clients = (0..CLIENTS).map(|number| Client::new((number % 2 == 0).then(|| format!("static-{number}"))));
        Self {
            bench,
            random: Random(seed),
            clients: clients.collect(),
            high_watermark: 0,
            told: BTreeMap::new(),
            owners: BTreeMap::new(),
            calm: false,
        }
    }

    /// Nothing fails any more, and somebody is there.
    pub(super) fn calm_down(&mut self) {
        self.calm = true;
        if self.clients.iter().all(Client::is_gone) {
            self.clients.push(Client::new(None));
        }
    }

    fn one_in(&mut self, chances: usize) -> bool {
        !self.calm && self.random.below(chances) == 0
    }

    pub(super) fn step(&mut self) -> Checked {
        if self.one_in(40) {
            self.fail_over();
        }
        let refuse = self.one_in(15);
        self.bench.log.refusal = refuse.then_some(LogError::NotEnoughReplicas);
        if self.calm || self.one_in(2) {
            self.high_watermark = self.bench.log.records.len();
            self.commit_up_to_high_watermark();
        }
        for index in 0..self.clients.len() {
            if self.clients[index].is_gone() {
                continue;
            }
            if self.one_in(60) {
                self.crash(index);
            } else if self.one_in(80) {
                self.clients[index].asleep = self.random.below(ASLEEP_MAX);
            } else if 0 < self.clients[index].asleep {
                self.clients[index].asleep -= 1;
            } else if self.calm || self.random.below(3) != 0 {
                self.act(index)?;
            }
        }
        let pause = Duration::from_millis(100 + self.random.below(900) as u64);
        let pause = if self.one_in(30) { Duration::from_secs(15) } else { pause };
        self.bench.pass(pause);
        self.check_offsets()
    }

    /// The new leader has all that is committed, and perhaps some more, which it commits.
    fn fail_over(&mut self) {
        let uncommitted = self.bench.log.records.len() - self.high_watermark;
        let kept = self.high_watermark + self.random.below(uncommitted + 1);
        self.bench.log.records.truncate(kept);
        self.bench.log.refusal = None;
        self.bench.fail_over();
        self.commit_up_to_high_watermark();
    }

    fn commit_up_to_high_watermark(&mut self) {
        self.bench.shard.committed(Offset(i64::try_from(self.high_watermark).unwrap()));
    }

    /// What comes after it, if anything, is a process that knows nothing. Of a static member there may be two then: one
    /// that was only paused, and the one that was started in its place.
    fn crash(&mut self, index: usize) {
        let fresh = Client::new(self.clients[index].instance.clone());
        match self.random.below(4) {
            0 if fresh.instance.is_some() => {
                self.clients[index].asleep = ASLEEP_MAX;
                self.clients.push(fresh);
            }
            1 => self.clients[index].doing = Doing::Gone,
            _ => self.clients[index] = fresh,
        }
        if self.clients.iter().filter(|client| !client.is_gone()).count() < CLIENTS / 2 {
            self.clients.push(Client::new(None));
        }
    }

    fn act(&mut self, index: usize) -> Checked {
        self.settle_commit(index);
        match std::mem::replace(&mut self.clients[index].doing, Doing::Nothing) {
            Doing::Gone => self.clients[index].doing = Doing::Gone,
            Doing::Nothing => self.join(index),
            Doing::Joining(mut waiting) => match poll(&mut waiting) {
                None => self.clients[index].doing = Doing::Joining(waiting),
                Some(Ok(joined)) => self.joined(index, &joined),
                Some(Err(error)) => self.clients[index].refused(&error),
            },
            Doing::Syncing(mut waiting) => match poll(&mut waiting) {
                None => self.clients[index].doing = Doing::Syncing(waiting),
                Some(Ok(synced)) => self.synced(index, &synced)?,
                Some(Err(error)) => self.clients[index].refused(&error),
            },
            Doing::Fetching(mut waiting) => match poll(&mut waiting) {
                None => {
                    self.clients[index].doing = Doing::Fetching(waiting);
                    self.heartbeat(index);
                }
                Some(Ok(fetched)) => self.fetched(index, &fetched),
                Some(Err(_)) => self.fetch(index),
            },
            Doing::Owning => self.work(index),
        }
        Ok(())
    }

    fn join(&mut self, index: usize) {
        let client = &self.clients[index];
        let request = JoinRequest {
            member: client.claim(),
            // Shorter than a session: static members stay that do not join in time.
            rebalance_timeout_ms: 4_000,
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
        let request = SyncRequest {
            member: client.claim(),
            generation: client.generation,
            protocol_type: joined.protocol_type.clone(),
            protocol: joined.protocol.clone(),
            assignments: assignments.into_iter().map(|(id, owned)| (id, Bytes::from(owned))).collect(),
        };
        client.doing = Doing::Syncing(self.bench.ask("g", |reply| GroupRequest::Sync(request, reply)));
    }

    fn synced(&mut self, index: usize, synced: &Synced) -> Checked {
        let client = &mut self.clients[index];
        client.owned = synced.assignment.iter().map(|partition| i32::from(*partition)).collect();
        client.positions.clear();
        let (name, generation) = (client.name(), client.generation);
        for partition in &client.owned {
            let owner = self.owners.entry((generation, *partition)).or_insert_with(|| name.clone());
            if *owner != name {
                return Err(format!("partition {partition} is {owner}'s and {name}'s in generation {generation}"));
            }
        }
        self.fetch(index);
        Ok(())
    }

    fn fetch(&mut self, index: usize) {
        let waiting = self.bench.ask("g", |reply| GroupRequest::FetchOffsets(None, reply));
        self.clients[index].doing = Doing::Fetching(waiting);
    }

    /// What was asked under one coordinator may be answered late: it is no news, and nobody is told less than before.
    fn fetched(&mut self, index: usize, fetched: &FetchedOffsets) {
        let committed = offsets(fetched);
        let client = &mut self.clients[index];
        for partition in &client.owned {
            let position = committed.get(partition).copied().unwrap_or(0);
            client.positions.insert(*partition, position);
        }
        client.doing = Doing::Owning;
        self.tell_all(committed);
    }

    fn tell_all(&mut self, offsets: BTreeMap<i32, i64>) {
        for (partition, offset) in offsets {
            let told = self.told.entry(partition).or_default();
            *told = (*told).max(offset);
        }
    }

    /// Commits before it looks whether it still may, as who was paused does.
    fn work(&mut self, index: usize) {
        self.clients[index].doing = Doing::Owning;
        if self.one_in(50) {
            let members = vec![self.clients[index].claim()];
            let _left = self.bench.ask("g", |reply| GroupRequest::Leave(LeaveRequest { members }, reply));
            return self.crash(index);
        }
        if self.clients[index].committing.is_none() {
            self.commit(index);
        }
        self.heartbeat(index);
    }

    fn commit(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.positions.values_mut().for_each(|position| *position += 1);
        let offsets = client.positions.iter().map(|(partition, position)| offset(*partition, *position));
        let commit =
            CommitRequest { member: client.claim(), generation: client.generation, ..commit_of(offsets.collect()) };
        let positions = client.positions.clone();
        let waiting = self.bench.commit("g", commit);
        self.clients[index].committing = Some((positions, waiting));
    }

    fn heartbeat(&mut self, index: usize) {
        let client = &self.clients[index];
        let (claim, generation) = (client.claim(), client.generation);
        if let Err(error) = self.bench.heartbeat("g", claim, generation) {
            self.clients[index].refused(&error);
        }
    }

    fn settle_commit(&mut self, index: usize) {
        let Some((offsets, mut waiting)) = self.clients[index].committing.take() else { return };
        match poll(&mut waiting) {
            None => self.clients[index].committing = Some((offsets, waiting)),
            Some(Ok(results)) if results.iter().all(Result::is_ok) => {
                self.tell_all(offsets);
            }
            Some(_) => {}
        }
    }

    /// As a client sees it that asks now.
    fn check_offsets(&mut self) -> Checked {
        let waiting = &mut self.bench.ask("g", |reply| GroupRequest::FetchOffsets(None, reply));
        let Some(Ok(fetched)) = poll(waiting) else { return Ok(()) };
        let committed = offsets(&fetched);
        for (partition, told) in &self.told {
            let found = committed.get(partition);
            if found < Some(told) {
                return Err(format!("partition {partition}: {told} was told, {found:?} is there"));
            }
        }
        self.tell_all(committed);
        Ok(())
    }

    /// Left in peace, all that are there have come to one generation that owns every partition.
    pub(super) fn check_calm(&self) -> Checked {
        let clients: Vec<_> = self.clients.iter().filter(|client| !client.is_gone()).collect();
        let generations: Vec<_> = clients.iter().map(|client| client.generation).collect();
        let mut owned: Vec<_> = clients.iter().flat_map(|client| client.owned.clone()).collect();
        owned.sort_unstable();
        let is_stuck = clients.iter().any(|client| !matches!(client.doing, Doing::Owning));
        if is_stuck || generations.iter().any(|one| *one != generations[0]) {
            return Err(format!("stuck in generations {generations:?}"));
        }
        let all: Vec<_> = (0..PARTITIONS).collect();
        if owned != all || self.told.len() != all.len() {
            return Err(format!("owned are {owned:?}, committed {:?}", self.told));
        }
        Ok(())
    }
}

fn offsets(fetched: &FetchedOffsets) -> BTreeMap<i32, i64> {
    let partitions = fetched.iter().flat_map(|topic| &topic.partitions);
    let committed =
        partitions.filter_map(|(PartitionId(partition), offset)| Some((*partition, offset.as_ref()?.offset.0)));
    committed.collect()
}
