//! One machine: a process that may be down, its volumes, its clock.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use protocol::types::{BrokerId, DirectoryId, LeaderEpoch};
use raft::{
    Action, Address, Config, Endpoint, Event, Failure, KRaftVersion, LogGeneration, Moment, Raft, ReplicaKey,
    RequestId, Response, SnapshotId, Timing, Voter,
};
use uuid::Uuid;

use crate::random::Random;
use crate::volume::{Entry, Snapshot, Volume};
use crate::world::Turn;

pub const LISTENER: &str = "CONTROLLER";

/// What came with a response besides what the engine sees.
#[derive(Debug, Clone, Default)]
pub enum Payload {
    #[default]
    Nothing,
    Records(Rc<[Entry]>),
    Snapshot(Rc<Snapshot>),
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about a machine")]
pub struct Node {
    pub id: BrokerId,
    pub volume: Volume,
    /// Volumes that were mounted here before.
    pub shelf: Vec<Volume>,
    pub raft: Option<Raft>,
    /// Changes with every start, so that messages for an earlier process are recognised.
    pub incarnation: u64,
    /// Where it is reached: its port changes now and then.
    pub port: u16,
    /// Without power connections are not even refused.
    pub has_power: bool,
    pub paused_until: u64,
    /// Its volume once had more than now.
    pub went_back: bool,
    /// Why the process cannot go on.
    pub failure: Option<Failure>,
    pub todo: VecDeque<(Action, Payload)>,
    /// While the election state is written nothing in `todo` is carried out.
    pub is_persisting: bool,
    /// When the engine's timer is due.
    pub alarm: Option<Turn>,
    /// The snapshot being fetched, with the bytes that have arrived.
    pub partial: Option<(SnapshotId, i64)>,
    pub clock: Clock,
    pub is_slow_disk: bool,
    /// The log's generation, as the engine numbers them.
    pub generation: LogGeneration,
    /// The last fetch of a follower, and when it was sent.
    pub fetch: Option<(RequestId, Duration)>,
    /// When the leader last answered a fetch, and its epoch: by the node's own clock.
    pub heard: Option<(LeaderEpoch, Duration)>,
}

/// A node's own clock: it starts anywhere and runs a little fast or slow.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    pub offset_micros: u64,
    pub rate_permille: u64,
}

impl Clock {
    pub fn local(self, now: u64) -> Duration {
        Duration::from_micros(self.offset_micros + now * self.rate_permille / 1000)
    }

    /// The first moment at which the node's clock shows the time.
    pub fn global(self, local: Duration) -> u64 {
        let micros = u64::try_from(local.as_micros()).unwrap();
        (micros.saturating_sub(self.offset_micros) * 1000).div_ceil(self.rate_permille)
    }
}

/// Kafka's defaults, five times as fast.
pub fn timing() -> Timing {
    Timing {
        election_timeout: Duration::from_millis(200),
        fetch_timeout: Duration::from_millis(400),
        election_backoff_max: Duration::from_millis(200),
        request_timeout: Duration::from_millis(400),
        retry_backoff: Duration::from_millis(20),
        fetch_wait_max: Duration::from_millis(150),
    }
}

impl Node {
    pub fn key(&self) -> ReplicaKey {
        ReplicaKey { id: self.id, directory_id: self.volume.directory_id }
    }

    pub fn address(&self) -> Address {
        address(self.id, self.port)
    }

    pub fn has_host(&self, other: &Address) -> bool {
        self.address().host == other.host
    }

    pub fn voter(&self) -> Voter {
        voter(self.key(), self.port)
    }

    pub fn config(&self, bootstrap: Vec<Address>) -> Config {
        Config {
            local: self.key(),
            endpoints: self.voter().endpoints,
            listener: LISTENER.to_owned(),
            bootstrap,
            timing: timing(),
        }
    }

    pub fn moment(&self, now: u64, random: &mut Random) -> Moment {
        Moment { now: self.clock.local(now), random: random.draw() }
    }

    pub fn is_leading(&self) -> bool {
        self.raft.as_ref().is_some_and(|raft| raft.leading().is_some())
    }

    pub fn is_active_controller(&self) -> bool {
        let leading = self.raft.as_ref().and_then(Raft::leading);
        leading.is_some_and(|leading| leading.is_activated) && self.todo.is_empty()
    }

    /// Notes whether the leader it follows is alive.
    pub fn hear(&mut self, event: &Event, now: u64) {
        let Some(raft) = &self.raft else { return };
        match event {
            Event::Response { id, response: Response::Fetch { response, .. } } => {
                let now = self.clock.local(now);
                let in_time = |sent: Duration| now < sent + timing().request_timeout;
                let sent = self.fetch.take_if(|(last, _)| *last == *id);
                let is_expected = sent.is_some_and(|(_, sent)| in_time(sent));
                let is_news = response.error.is_none() && response.leader.leader == raft.leader().leader;
                let is_of_epoch = response.leader.epoch == raft.epoch();
                self.heard = (is_expected && is_news && is_of_epoch).then(|| (raft.epoch(), now));
            }
            Event::Response { response: Response::FetchSnapshot { response, .. }, .. } if response.error.is_none() => {}
            Event::Response { response: Response::FetchSnapshot { .. }, .. } => self.heard = None,
            // Another copy of the request may have been answered: that comes too late.
            Event::RequestFailed { .. } => (self.fetch, self.heard) = (None, None),
            _ => {}
        }
    }

    pub fn stop(&mut self) {
        self.raft = None;
        self.failure = None;
        self.todo.clear();
        self.is_persisting = false;
        self.partial = None;
        self.heard = None;
        self.fetch = None;
        self.generation = LogGeneration::default();
        self.incarnation += 1;
    }
}

pub fn address(id: BrokerId, port: u16) -> Address {
    Address { host: format!("node-{id}"), port }
}

pub fn voter(key: ReplicaKey, port: u16) -> Voter {
    Voter {
        key,
        endpoints: vec![Endpoint { name: LISTENER.to_owned(), address: address(key.id, port) }],
        kraft_version_min: KRaftVersion(0),
        kraft_version_max: KRaftVersion(1),
    }
}

/// The `generation`th volume of a node.
pub fn directory(id: BrokerId, generation: usize) -> DirectoryId {
    let generation = u128::try_from(generation).unwrap();
    DirectoryId(Uuid::from_u128((u128::from(id.0.unsigned_abs()) << 64) + generation + 1))
}
