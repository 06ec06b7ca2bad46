//! One partition on three brokers, with a controller: the pure states of leaders and followers over logs of numbers,
//! while processes die and hang, messages are late or lost, and the metadata reaches everybody at another time.
//!
//! What has to hold: a record that was acknowledged with acks=all is in the log of every later leader; what one leader
//! has shown as committed, no other shows otherwise; and no follower takes back what it knew to be committed.

mod controller;

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::metadata_records::LeaderRecoveryState;
use protocol::types::{BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionEpoch};
use storage::LeaderEpochs;

use super::follower_state::{FollowerState, LeaderAnswer, LocalLog, Step};
use super::leader_state::{ActiveBrokers, FollowerFetch, IsrProposal, Judgement, LeaderState, ProposalOutcome};
use crate::metadata::testing::volume;
use crate::metadata::{PartitionImage, Replica};

const BROKERS: usize = 3;
const MIN_INSYNC_REPLICAS: usize = 2;
const LAG_MAX: Duration = Duration::from_millis(80);
const STEPS: usize = 2500;
const HEALING_STEPS: usize = 1000;
const SEEDS: u64 = 200;

type Value = u64;

#[derive(Clone)]
struct Entry {
    epoch: LeaderEpoch,
    value: Value,
}

enum Role {
    Leader(LeaderState),
    Follower(FollowerState),
}

struct Node {
    id: BrokerId,
    /// A process that is down or hangs does nothing.
    down: bool,
    hangs_until: u64,
    log: Vec<Entry>,
    high_watermark: usize,
    /// How much of it was compared with what others have shown, in this role.
    compared: usize,
    role: Role,
    broker_epoch: BrokerEpoch,
    /// How much of the controller's history it has seen.
    metadata: usize,
    /// Written by acks=all producers: where it ends, what it is, in which leadership.
    pending: Vec<(usize, Value, LeaderEpoch)>,
    fetching: bool,
}

/// What is on its way. The last field of each: when it arrives.
enum Message {
    Fetch {
        from: usize,
        to: usize,
        epoch: LeaderEpoch,
        last_epoch: Option<LeaderEpoch>,
        fetch: FollowerFetch,
    },
    Answer {
        to: usize,
        /// An answer does not outlive the process that asked.
        process: BrokerEpoch,
        epoch: LeaderEpoch,
        fetched_at: usize,
        answer: LeaderAnswer,
        log: Vec<Entry>,
        high_watermark: usize,
    },
    Propose {
        from: usize,
        broker_epoch: BrokerEpoch,
        proposal: IsrProposal,
    },
    Outcome {
        to: usize,
        proposal: IsrProposal,
        outcome: ProposalOutcome,
    },
}

/// What the metadata says after some change.
#[derive(Clone, PartialEq)]
struct Metadata {
    partition: PartitionImage,
    active: ActiveBrokers,
}

struct Simulation {
    seed: u64,
    random: u64,
    now: u64,
    nodes: Vec<Node>,
    history: Vec<Metadata>,
    messages: Vec<(u64, Message)>,
    next_value: Value,
    next_broker_epoch: i64,
    acknowledged: BTreeMap<usize, Value>,
    committed: BTreeMap<usize, Value>,
    heals: bool,
}

impl Node {
    fn epochs(&self) -> LeaderEpochs {
        (0..).map(Offset).zip(&self.log).map(|(offset, entry)| (entry.epoch, offset)).collect()
    }

    fn end(&self) -> Offset {
        offset(self.log.len())
    }
}

fn offset(index: usize) -> Offset {
    Offset(i64::try_from(index).unwrap())
}

fn index(offset: Offset) -> usize {
    usize::try_from(offset.0).unwrap()
}

fn broker(index: usize) -> BrokerId {
    BrokerId(i32::try_from(index).unwrap())
}

fn node_of(broker: BrokerId) -> usize {
    usize::try_from(broker.0).unwrap()
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let ids: Vec<_> = (0..BROKERS).map(broker).collect();
        let partition = PartitionImage {
            replicas: ids.iter().map(|id| Replica { broker: *id, directory: volume(id.0) }).collect(),
            isr: ids.clone(),
            adding: Vec::new(),
            removing: Vec::new(),
            leader: Some(ids[0]),
            recovery_state: LeaderRecoveryState::Recovered,
            leader_epoch: LeaderEpoch(0),
            partition_epoch: PartitionEpoch(0),
            eligible_leader_replicas: Vec::new(),
            last_known_elr: Vec::new(),
        };
        let active = ActiveBrokers(ids.iter().map(|id| (*id, BrokerEpoch(i64::from(id.0)))).collect());
        let node = |id: &BrokerId| Node {
            id: *id,
            down: false,
            hangs_until: 0,
            log: Vec::new(),
            high_watermark: 0,
            compared: 0,
            role: Role::Follower(FollowerState::new(None, LeaderEpoch(-1))),
            broker_epoch: BrokerEpoch(i64::from(id.0)),
            metadata: 0,
            pending: Vec::new(),
            fetching: false,
        };
        Self {
            seed,
            random: seed.wrapping_mul(2).wrapping_add(1),
            now: 0,
            nodes: ids.iter().map(node).collect(),
            history: vec![Metadata { partition, active }],
            messages: Vec::new(),
            next_value: 1,
            next_broker_epoch: 100,
            acknowledged: BTreeMap::new(),
            committed: BTreeMap::new(),
            heals: false,
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % bound
    }

    fn some_node(&mut self) -> usize {
        usize::try_from(self.below(BROKERS as u64)).unwrap()
    }

    fn time(&self) -> Duration {
        Duration::from_millis(self.now)
    }

    fn works(&self, node: usize) -> bool {
        !self.nodes[node].down && self.nodes[node].hangs_until <= self.now
    }

    fn current(&self) -> &Metadata {
        self.history.last().unwrap()
    }

    fn send(&mut self, message: Message) {
        if !self.heals && self.below(20) == 0 {
            // Lost. Who asked for it finds out.
            return self.lost(&message);
        }
        let slow = if matches!(message, Message::Propose { .. }) { 3 } else { 10 };
        let delay = if !self.heals && self.below(slow) == 0 { self.below(300) } else { self.below(8) };
        self.messages.push((self.now + delay, message));
    }

    fn run(&mut self) {
        let mut checked = LeaderEpoch(-1);
        for step in 0..STEPS + HEALING_STEPS {
            self.heals = STEPS <= step;
            self.now += 1 + self.below(4);
            if self.heals {
                self.nodes.iter_mut().for_each(|node| node.hangs_until = 0);
                (0..BROKERS).for_each(|node| self.restart(node));
            } else {
                self.disturb();
            }
            self.deliver();
            for node in (0..BROKERS).filter(|node| self.works(*node)).collect::<Vec<_>>() {
                self.act(node);
            }
            let epoch = self.current().partition.leader_epoch;
            if std::mem::replace(&mut checked, epoch) != epoch || step % 50 == 0 {
                self.check();
            }
        }
        self.check_healed();
    }

    fn disturb(&mut self) {
        let node = self.some_node();
        match self.below(400) {
            0..3 => self.crash(node, false),
            3 => self.crash(node, true),
            4..6 => self.nodes[node].hangs_until = self.now + 20 + self.below(500),
            // Rightly or not: the controller hears nothing of it.
            6..9 => self.fence(node),
            9..40 => self.restart(node),
            40..48 => self.unfence(node),
            _ => {}
        }
    }

    fn deliver(&mut self) {
        let now = self.now;
        let due: Vec<_> = self.messages.extract_if(.., |(at, _)| *at <= now).map(|(_, message)| message).collect();
        for message in due {
            match message {
                Message::Fetch { to, from, fetch, .. } if !self.works(to) => {
                    self.nodes[from].fetching &= self.nodes[from].broker_epoch != fetch.broker_epoch;
                }
                Message::Fetch { from, to, epoch, last_epoch, fetch } => {
                    self.answer_fetch(from, to, epoch, last_epoch, &fetch);
                }
                Message::Answer { to, process, .. } if self.nodes[to].broker_epoch != process => {}
                Message::Answer { to, .. } if !self.works(to) => self.nodes[to].fetching = false,
                Message::Answer { to, epoch, fetched_at, answer, log, high_watermark, process: _ } => {
                    self.take_answer(to, epoch, fetched_at, answer, log, high_watermark);
                }
                Message::Propose { from, broker_epoch, proposal } => self.decide(from, broker_epoch, proposal),
                Message::Outcome { to, proposal, outcome } => {
                    if let Role::Leader(leader) = &mut self.nodes[to].role {
                        leader.resolve(&proposal, outcome);
                    }
                }
            }
        }
    }

    fn answer_fetch(
        &mut self,
        from: usize,
        to: usize,
        epoch: LeaderEpoch,
        last_epoch: Option<LeaderEpoch>,
        fetch: &FollowerFetch,
    ) {
        let now = self.time();
        let node = &mut self.nodes[to];
        let (end, epochs) = (node.end(), node.epochs());
        let fetched_at = index(fetch.offset);
        let (mut answer, mut log) = (LeaderAnswer::Failed, Vec::new());
        if let Role::Leader(leader) = &mut node.role
            && leader.epoch == epoch
        {
            let begun = epochs.entries().iter().map(|entry| (entry.epoch, entry.start_offset));
            let epochs: LeaderEpochs = begun.chain([(epoch, end)]).collect();
            let diverged = last_epoch.and_then(|last| {
                let (found, ends) = epochs.end_offset_for_epoch(last, end)?;
                (found < last || ends < fetch.offset).then_some((found, ends))
            });
            if let Some((epoch, end)) = diverged {
                answer = LeaderAnswer::Diverged { epoch, end };
            } else if end < fetch.offset {
                answer = LeaderAnswer::OutOfRange { leader_start: Offset(0) };
            } else if leader.fetched(fetch, end, now).is_ok() {
                answer = LeaderAnswer::Agreed;
                log = node.log[fetched_at..].iter().take(9).cloned().collect();
            }
        }
        let high_watermark = node.high_watermark;
        self.send(Message::Answer {
            to: from,
            process: fetch.broker_epoch,
            epoch,
            fetched_at,
            answer,
            log,
            high_watermark,
        });
    }

    fn take_answer(
        &mut self,
        to: usize,
        epoch: LeaderEpoch,
        fetched_at: usize,
        answer: LeaderAnswer,
        log: Vec<Entry>,
        high_watermark: usize,
    ) {
        let seed = self.seed;
        let node = &mut self.nodes[to];
        node.fetching = false;
        let Role::Follower(follower) = &node.role else { return };
        if follower.epoch != epoch || fetched_at != node.log.len() {
            return;
        }
        match answer.step(&LocalLog { end: node.end(), epochs: &node.epochs() }) {
            Step::Append => {
                node.log.extend(log);
                node.high_watermark = node.high_watermark.max(high_watermark.min(node.log.len()));
            }
            Step::Truncate(to) => {
                assert!(node.high_watermark <= index(to), "seed {seed}: {} takes back what is committed", node.id);
                node.log.truncate(index(to));
            }
            Step::Restart(_) => {
                node.log.clear();
                node.high_watermark = 0;
            }
            Step::Pause => {}
        }
    }

    fn act(&mut self, node: usize) {
        if self.heals || self.below(6) == 0 {
            self.follow_metadata(node);
        }
        match &self.nodes[node].role {
            Role::Leader(_) => self.lead(node),
            Role::Follower(follower) => {
                let (leader, epoch) = (follower.leader, follower.epoch);
                if let Some(leader) = leader {
                    self.fetch(node, node_of(leader), epoch);
                }
            }
        }
    }

    fn follow_metadata(&mut self, node: usize) {
        let now = self.time();
        let seen = self.nodes[node].metadata;
        let steps = if self.heals { self.history.len() } else { usize::try_from(1 + self.below(3)).unwrap() };
        let next = (seen + steps).min(self.history.len() - 1);
        let Metadata { partition, active } = self.history[next].clone();
        let node = &mut self.nodes[node];
        node.metadata = next;
        // A registration of an earlier life is not this one's.
        if active.0.get(&node.id).is_some_and(|epoch| *epoch != node.broker_epoch) {
            return;
        }
        let end = node.end();
        match &mut node.role {
            Role::Leader(leader) if partition.leader == Some(node.id) && leader.epoch == partition.leader_epoch => {
                leader.follow(&partition);
            }
            Role::Follower(follower)
                if follower.leader == partition.leader && follower.epoch == partition.leader_epoch => {}
            _ if partition.leader == Some(node.id) => {
                node.pending.clear();
                node.compared = 0;
                node.role = Role::Leader(LeaderState::new(&partition, node.id, end, now));
            }
            _ => {
                node.pending.clear();
                node.role = Role::Follower(FollowerState::new(partition.leader, partition.leader_epoch));
            }
        }
    }

    fn lead(&mut self, node: usize) {
        let writes = !self.heals && self.below(8) == 0;
        let value = self.next_value;
        let active = self.history[self.nodes[node].metadata].active.clone();
        let judgement = Judgement { active: &active, lag_max: LAG_MAX, now: self.time() };
        let leading = &mut self.nodes[node];
        let Role::Leader(leader) = &mut leading.role else { return };
        if writes {
            self.next_value += 1;
            leading.log.push(Entry { epoch: leader.epoch, value });
            if leader.isr_count_min(MIN_INSYNC_REPLICAS) <= leader.isr().len() {
                leading.pending.push((leading.log.len(), value, leader.epoch));
            }
        }
        let end = offset(leading.log.len());
        if let Some(committed) = leader.committed_end((end, end), MIN_INSYNC_REPLICAS, &judgement) {
            leading.high_watermark = leading.high_watermark.max(index(committed));
        }
        let high_watermark = leading.high_watermark;
        let epoch = leader.epoch;
        let done = leading.pending.extract_if(.., |(end, _, of)| *of == epoch && *end <= high_watermark);
        for (end, value, _) in done.collect::<Vec<_>>() {
            self.acknowledged.insert(end - 1, value);
        }
        for at in leading.compared..high_watermark {
            let entry = &leading.log[at];
            let known = *self.committed.entry(at).or_insert(entry.value);
            assert_eq!(known, entry.value, "seed {}: {} shows another record at {at}", self.seed, leading.id);
        }
        leading.compared = high_watermark;
        if let Some(proposal) = leader.propose(offset(high_watermark), end, &judgement) {
            let broker_epoch = leading.broker_epoch;
            self.send(Message::Propose { from: node, broker_epoch, proposal });
        }
    }

    fn fetch(&mut self, node: usize, leader: usize, epoch: LeaderEpoch) {
        let follower = &mut self.nodes[node];
        if std::mem::replace(&mut follower.fetching, true) {
            return;
        }
        let fetch = FollowerFetch {
            broker: follower.id,
            broker_epoch: follower.broker_epoch,
            directory: Some(volume(follower.id.0)),
            offset: follower.end(),
            log_start: Offset(0),
        };
        let last_epoch = follower.epochs().latest();
        self.send(Message::Fetch { from: node, to: leader, epoch, last_epoch, fetch });
    }

    /// Whoever leads by the controller's word has all that was acknowledged.
    fn check(&self) {
        let Some(leader) = self.current().partition.leader else { return };
        let log = &self.nodes[node_of(leader)].log;
        for (at, value) in &self.acknowledged {
            assert_eq!(
                log.get(*at).map(|entry| entry.value),
                Some(*value),
                "seed {}: acknowledged at {at}, not with leader {leader}",
                self.seed
            );
        }
    }

    fn check_healed(&self) {
        let values = |node: &Node| node.log.iter().map(|entry| entry.value).collect::<Vec<_>>();
        let leader = self.current().partition.leader.expect("all are up, so somebody leads");
        let expected = values(&self.nodes[node_of(leader)]);
        for node in &self.nodes {
            assert!(values(node) == expected, "seed {}: replica {} is not the leader's", self.seed, node.id);
            assert_eq!(node.high_watermark, expected.len(), "seed {}: {}", self.seed, node.id);
        }
        assert_eq!(self.current().partition.isr.len(), BROKERS, "seed {}", self.seed);
    }
}

#[test]
fn nothing_acknowledged_is_lost_and_replicas_agree() {
    let mut acknowledged = 0;
    for seed in 0..SEEDS {
        let mut simulation = Simulation::new(seed);
        simulation.run();
        acknowledged += simulation.acknowledged.len();
    }
    assert!(SEEDS * 10 < acknowledged as u64, "{acknowledged} records in {SEEDS} runs: the clusters were hardly up");
}
