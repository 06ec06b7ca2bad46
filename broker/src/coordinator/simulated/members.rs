//! A group of consumers that join, commit, leave, crash, hang and come back, and the invariants of their answers:
//!
//! 1. after an offset was returned no smaller one is returned
//! 2. a partition has one owner in a generation
//! 3. without faults, all live members come to one generation that owns every partition

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use protocol::coordinator_records::GenerationId;
use protocol::types::PartitionId;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::super::answer::Reply;
use super::super::error::GroupError;
use super::super::member::MemberId;
use super::super::request::{
    CommitRequest, FetchedOffsets, GroupRequest, HeartbeatRequest, JoinRequest, Joined, LeaveRequest, SyncRequest,
    Synced,
};
use super::super::testing::{Waiting, commit_of, offset, request};
use super::client::{Client, Doing, poll};

/// The group that its members belong to.
pub(crate) const GROUP: &str = "g";
const PARTITIONS: i32 = 5;
const CLIENTS: usize = 4;
const ASLEEP_MAX: usize = 60;

/// A broken invariant.
pub(crate) type Violation = String;
pub(crate) type Checked = Result<(), Violation>;

/// A request to the coordinator of the group. Dropping it loses it on the way.
pub(crate) struct Asked(pub(in super::super) GroupRequest);

/// The environment of the members.
pub(crate) trait Surroundings {
    /// Sends the request to the node that the member takes for the coordinator.
    fn ask(&mut self, member: usize, asked: Asked);
    /// The member got no answer, or the answer of a node that is not the coordinator.
    fn doubt_coordinator(&mut self, member: usize);
    fn below(&mut self, end: usize) -> usize;
    /// Whether an optional event happens. Always false once faults have ended.
    fn one_in(&mut self, chances: usize) -> bool;
}

/// Session and rebalance timeouts of the members.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) session_ms: i32,
    pub(crate) rebalance_ms: i32,
}

pub(crate) struct Members {
    clients: Vec<Client>,
    patience: Patience,
    last_id: u128,
    /// The largest offset that was returned to any client: it is committed.
    told: BTreeMap<i32, i64>,
    owners: BTreeMap<(GenerationId, i32), String>,
    is_excused: bool,
    commits: bool,
}

impl Members {
    pub(crate) fn new(patience: Patience) -> Self {
        let clients = (0..CLIENTS).map(|number| Client::new((number % 2 == 0).then(|| format!("static-{number}"))));
        Self {
            clients: clients.collect(),
            patience,
            last_id: 0,
            told: BTreeMap::new(),
            owners: BTreeMap::new(),
            is_excused: false,
            commits: true,
        }
    }

    /// Committed records may be lost from now on, which was reported: the invariants no longer apply.
    pub(crate) fn excuse(&mut self) {
        self.is_excused = true;
    }

    /// Stops commits, so that what is committed stays as it is.
    pub(crate) fn commit_no_more(&mut self) {
        self.commits = false;
    }

    /// Makes sure that at least one member is alive.
    pub(crate) fn fill(&mut self) {
        if self.clients.iter().all(Client::is_gone) {
            self.clients.push(Client::new(None));
        }
    }

    /// Each does something, or nothing.
    pub(crate) fn step(&mut self, around: &mut impl Surroundings) -> Checked {
        for index in 0..self.clients.len() {
            if self.clients[index].is_gone() {
                continue;
            }
            if around.one_in(60) {
                self.crash(index, around);
            } else if around.one_in(80) {
                self.clients[index].asleep = around.below(ASLEEP_MAX);
            } else if 0 < self.clients[index].asleep {
                self.clients[index].asleep -= 1;
            } else if !around.one_in(3) {
                self.act(index, around)?;
            }
        }
        Ok(())
    }

    /// Its successor, if any, is a process without state. There may be two of a static member: one that was only
    /// paused, and the one that was started in its place.
    fn crash(&mut self, index: usize, around: &mut impl Surroundings) {
        let fresh = Client::new(self.clients[index].instance.clone());
        match around.below(4) {
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

    fn ask<T>(
        index: usize,
        around: &mut impl Surroundings,
        request: impl FnOnce(Reply<T>) -> GroupRequest,
    ) -> Waiting<T> {
        let (reply, waiting) = oneshot::channel();
        around.ask(index, Asked(request(reply)));
        waiting
    }

    fn refused(&mut self, index: usize, error: &GroupError, around: &mut impl Surroundings) {
        if matches!(error, GroupError::Unavailable(_)) {
            around.doubt_coordinator(index);
        }
        self.clients[index].refused(error);
        // The last one may have been fenced by a process that is gone itself.
        self.fill();
    }

    fn act(&mut self, index: usize, around: &mut impl Surroundings) -> Checked {
        self.settle_commit(index, around);
        match std::mem::replace(&mut self.clients[index].doing, Doing::Nothing) {
            Doing::Gone => self.clients[index].doing = Doing::Gone,
            Doing::Nothing => self.join(index, around),
            Doing::Joining(mut waiting) => match poll(&mut waiting) {
                None => self.clients[index].doing = Doing::Joining(waiting),
                Some(Ok(joined)) => self.joined(index, &joined, around),
                Some(Err(error)) => self.refused(index, &error, around),
            },
            Doing::Syncing(mut waiting) => match poll(&mut waiting) {
                None => self.clients[index].doing = Doing::Syncing(waiting),
                Some(Ok(synced)) => self.synced(index, &synced, around)?,
                Some(Err(error)) => self.refused(index, &error, around),
            },
            Doing::Fetching(mut waiting) => match poll(&mut waiting) {
                None => {
                    self.clients[index].doing = Doing::Fetching(waiting);
                    self.heartbeat(index, around);
                }
                Some(Ok(fetched)) => self.fetched(index, &fetched)?,
                Some(Err(_)) => {
                    around.doubt_coordinator(index);
                    self.fetch(index, around);
                }
            },
            Doing::Owning => self.work(index, around),
        }
        Ok(())
    }

    fn join(&mut self, index: usize, around: &mut impl Surroundings) {
        self.last_id += 1;
        let request = JoinRequest {
            member: self.clients[index].claim(),
            fresh_id: Uuid::from_u128(self.last_id),
            session_timeout_ms: self.patience.session_ms,
            rebalance_timeout_ms: self.patience.rebalance_ms,
            id_required: true,
            can_skip_assignment: index == 0,
            ..request("sim")
        };
        let waiting = Self::ask(index, around, |reply| GroupRequest::Join(request, reply));
        self.clients[index].joined = self.last_id;
        self.clients[index].doing = Doing::Joining(waiting);
    }

    fn joined(&mut self, index: usize, joined: &Joined, around: &mut impl Surroundings) {
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
        let waiting = Self::ask(index, around, |reply| GroupRequest::Sync(request, reply));
        self.clients[index].doing = Doing::Syncing(waiting);
    }

    fn synced(&mut self, index: usize, synced: &Synced, around: &mut impl Surroundings) -> Checked {
        let client = &mut self.clients[index];
        client.owned = synced.assignment.iter().map(|partition| i32::from(*partition)).collect();
        client.positions.clear();
        let (name, generation) = (client.name(), client.generation);
        for partition in &client.owned {
            let owner = self.owners.entry((generation, *partition)).or_insert_with(|| name.clone());
            if *owner != name && !self.is_excused {
                return Err(format!("partition {partition} is {owner}'s and {name}'s in generation {generation}"));
            }
        }
        self.fetch(index, around);
        Ok(())
    }

    fn fetch(&mut self, index: usize, around: &mut impl Surroundings) {
        let waiting = Self::ask(index, around, |reply| GroupRequest::FetchOffsets(None, reply));
        self.clients[index].doing = Doing::Fetching(waiting);
    }

    /// A member of the last generation that was not replaced in it starts where all before it have ended. Others may
    /// get stale offsets: they cannot commit.
    fn fetched(&mut self, index: usize, fetched: &FetchedOffsets) -> Checked {
        let committed = offsets(fetched);
        let is_replaced = self.is_replaced(index);
        let last = self.owners.last_key_value().map(|((generation, _), _)| *generation);
        let client = &mut self.clients[index];
        client.positions =
            client.owned.iter().map(|partition| (*partition, committed.get(partition).copied().unwrap_or(0))).collect();
        client.doing = Doing::Owning;
        let is_current = !is_replaced && last <= Some(client.generation);
        if is_current {
            self.check(&self.clients[index].positions)?;
        }
        self.tell(&committed);
        Ok(())
    }

    /// Whether a process with the same static id has joined later.
    fn is_replaced(&self, index: usize) -> bool {
        let Client { instance, joined, .. } = &self.clients[index];
        instance.is_some() && self.clients.iter().any(|other| other.instance == *instance && *joined < other.joined)
    }

    /// Checks that no offset is smaller than one that was returned before.
    fn check(&self, offsets: &BTreeMap<i32, i64>) -> Checked {
        for (partition, found) in offsets {
            let told = self.told.get(partition).copied().unwrap_or(0);
            if *found < told && !self.is_excused {
                return Err(format!("partition {partition}: {told} was told, {found} is there"));
            }
        }
        Ok(())
    }

    /// Checks all committed offsets, as they would be returned now.
    pub(in super::super) fn see_all(&mut self, fetched: &FetchedOffsets) -> Checked {
        let committed = offsets(fetched);
        let all = (0..PARTITIONS).map(|partition| (partition, committed.get(&partition).copied().unwrap_or(0)));
        self.check(&all.collect())?;
        self.tell(&committed);
        Ok(())
    }

    fn tell(&mut self, offsets: &BTreeMap<i32, i64>) {
        for (partition, offset) in offsets {
            let told = self.told.entry(*partition).or_default();
            *told = (*told).max(*offset);
        }
    }

    /// Commits before it checks that it still may, as a client that was paused does.
    fn work(&mut self, index: usize, around: &mut impl Surroundings) {
        self.clients[index].doing = Doing::Owning;
        if around.one_in(50) {
            let members = vec![self.clients[index].claim()];
            let _left = Self::ask(index, around, |reply| GroupRequest::Leave(LeaveRequest { members }, reply));
            return self.crash(index, around);
        }
        if self.commits && self.clients[index].committing.is_none() {
            self.commit(index, around);
        }
        self.heartbeat(index, around);
    }

    fn commit(&mut self, index: usize, around: &mut impl Surroundings) {
        let client = &mut self.clients[index];
        client.positions.values_mut().for_each(|position| *position += 1);
        let offsets = client.positions.iter().map(|(partition, position)| offset(*partition, *position));
        let commit =
            CommitRequest { member: client.claim(), generation: client.generation, ..commit_of(offsets.collect()) };
        let waiting = Self::ask(index, around, |reply| GroupRequest::CommitOffsets(commit, reply));
        let client = &mut self.clients[index];
        client.committing = Some((client.positions.clone(), waiting));
    }

    fn settle_commit(&mut self, index: usize, around: &mut impl Surroundings) {
        let Some((offsets, mut waiting)) = self.clients[index].committing.take() else { return };
        match poll(&mut waiting) {
            None => self.clients[index].committing = Some((offsets, waiting)),
            Some(Ok(results)) if results.iter().all(Result::is_ok) => self.tell(&offsets),
            Some(Err(GroupError::Unavailable(_))) => around.doubt_coordinator(index),
            Some(_) => {}
        }
    }

    /// One at a time.
    fn heartbeat(&mut self, index: usize, around: &mut impl Surroundings) {
        if self.clients[index].beating.is_none() {
            let client = &self.clients[index];
            let request = HeartbeatRequest { member: client.claim(), generation: client.generation };
            let waiting = Self::ask(index, around, |reply| GroupRequest::Heartbeat(request, reply));
            self.clients[index].beating = Some(waiting);
        }
        let Some(mut waiting) = self.clients[index].beating.take() else { return };
        match poll(&mut waiting) {
            None => self.clients[index].beating = Some(waiting),
            Some(Ok(())) => {}
            Some(Err(error)) => self.refused(index, &error, around),
        }
    }

    /// Without faults, all live members have come to one generation that owns every partition.
    pub(crate) fn check_calm(&self) -> Checked {
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

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").finish_non_exhaustive()
    }
}

fn offsets(fetched: &FetchedOffsets) -> BTreeMap<i32, i64> {
    let partitions = fetched.iter().flat_map(|topic| &topic.partitions);
    let committed =
        partitions.filter_map(|(PartitionId(partition), offset)| Some((*partition, offset.as_ref()?.offset.0)));
    committed.collect()
}
