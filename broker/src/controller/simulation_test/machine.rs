//! A machine: its volume, its logs, and the process that leads and follows by the rules of replication.
//!
//! 1. A leader learns a follower's position from the offset at which it fetches, in the leader's epoch.
//! 2. Committed is what the whole ISR has, including members that are proposed, while the ISR is large enough.
//! 3. A follower joins the ISR when it has everything that is committed and everything from before the leader's
//!    epoch.

use std::collections::BTreeMap;

use fuzz::random::Random;
use protocol::metadata_records::LeaderRecoveryState;
use protocol::types::{BrokerEpoch, BrokerId, DirectoryId, IncarnationId, LeaderEpoch, PartitionEpoch};

use super::super::alter_partition::{AlterPartition, AlterPartitionError, AlteredPartition, ProposedIsr};
use super::super::testing::MIN_INSYNC_REPLICAS;
use super::{Key, Sent};
use crate::metadata::Image;

type Entry = (LeaderEpoch, u32);

pub(super) struct Machine {
    pub(super) id: BrokerId,
    pub(super) volume: DirectoryId,
    /// The epoch in `.kafka_cleanshutdown`.
    pub(super) clean: Option<BrokerEpoch>,
    pub(super) logs: BTreeMap<Key, Vec<Entry>>,
    pub(super) process: Option<Process>,
}

pub(super) struct Process {
    pub(super) incarnation: IncarnationId,
    pub(super) previous: Option<BrokerEpoch>,
    pub(super) epoch: Option<BrokerEpoch>,
    /// The metadata that the process knows.
    pub(super) image: Image,
    pub(super) stopping: bool,
    leads: BTreeMap<Key, Leading>,
}

struct Leading {
    epoch: LeaderEpoch,
    partition_epoch: PartitionEpoch,
    recovery_state: LeaderRecoveryState,
    replicas: Vec<BrokerId>,
    isr: Vec<BrokerId>,
    /// Proposed for the ISR and not decided yet.
    proposed: Vec<BrokerId>,
    /// Where each follower fetched last.
    fetched: BTreeMap<BrokerId, (BrokerEpoch, usize)>,
    start: usize,
    high_watermark: usize,
}

/// What a client was told is committed.
#[derive(Default)]
pub(super) struct Committed {
    pub(super) records: Vec<Entry>,
    /// Unclean elections, and the epoch that the last of them began.
    pub(super) unclean: usize,
    since: LeaderEpoch,
}

impl Process {
    pub(super) fn new(incarnation: IncarnationId, previous: Option<BrokerEpoch>, image: Image) -> Self {
        Self { incarnation, previous, epoch: None, image, stopping: false, leads: BTreeMap::new() }
    }
}

impl Machine {
    pub(super) fn new(id: BrokerId, volume: DirectoryId) -> Self {
        Self { id, volume, clean: None, logs: BTreeMap::new(), process: None }
    }

    /// The process replays the committed metadata, and leads what it is the leader of.
    pub(super) fn catch_up(&mut self, image: &Image, committed: &mut BTreeMap<Key, Committed>) {
        let Some(process) = &mut self.process else { return };
        process.image = image.clone();
        let is_registered = image.brokers.get(&self.id).map(|broker| broker.epoch) == process.epoch;
        let leads = &mut process.leads;
        leads.retain(|key, _| {
            let state = image.topics.get(&key.0).and_then(|topic| topic.partition(key.1));
            is_registered && state.is_some_and(|state| state.leader == Some(self.id))
        });
        for (topic, id, state) in image.partitions() {
            if !is_registered || state.leader != Some(self.id) {
                continue;
            }
            let key = (topic.id, id);
            let log = self.logs.entry(key).or_default();
            if leads.get(&key).is_none_or(|leading| leading.epoch != state.leader_epoch) {
                let committed = committed.entry(key).or_default();
                committed.led_by(self.id, log, state.leader_epoch, state.recovery_state);
                leads.insert(
                    key,
                    Leading {
                        epoch: state.leader_epoch,
                        partition_epoch: PartitionEpoch(-1),
                        recovery_state: state.recovery_state,
                        replicas: Vec::new(),
                        isr: Vec::new(),
                        proposed: Vec::new(),
                        fetched: BTreeMap::new(),
                        start: log.len(),
                        high_watermark: 0,
                    },
                );
            }
            let leading = leads.get_mut(&key).unwrap();
            leading.replicas = state.brokers().collect();
            leading.learn(&state.isr, state.partition_epoch, state.recovery_state);
            leading.commit(self.id, log, committed.entry(key).or_default());
        }
    }

    /// The leader as the process knows it.
    pub(super) fn leader_of(&self, key: Key) -> Option<BrokerId> {
        let process = self.process.as_ref()?;
        let state = process.image.topics.get(&key.0)?.partition(key.1)?;
        state.leader.filter(|_| process.epoch.is_some() && state.replica_on(self.id).is_some())
    }

    pub(super) fn produce(&mut self, key: Key, value: u32) {
        if let Some(leading) = self.process.as_mut().and_then(|process| process.leads.get_mut(&key)) {
            self.logs.entry(key).or_default().push((leading.epoch, value));
        }
    }

    /// Fetches from where the logs diverge, if both are in the same epoch.
    pub(super) fn follow(
        &mut self,
        leader: &mut Self,
        key: Key,
        records: usize,
        committed: &mut BTreeMap<Key, Committed>,
    ) {
        let Some(process) = &mut self.process else { return };
        let Some(state) = process.image.topics.get(&key.0).and_then(|topic| topic.partition(key.1)) else { return };
        let Some(leading) = leader.process.as_mut().and_then(|process| process.leads.get_mut(&key)) else { return };
        if leading.epoch != state.leader_epoch || !leading.replicas.contains(&self.id) {
            return;
        }
        process.leads.remove(&key);
        let (own, theirs) = (self.logs.entry(key).or_default(), leader.logs.entry(key).or_default());
        own.truncate(common(own, theirs));
        leading.fetched.insert(self.id, (process.epoch.unwrap(), own.len()));
        own.extend(theirs[own.len()..].iter().copied().take(records).collect::<Vec<_>>());
        leading.commit(leader.id, theirs, committed.entry(key).or_default());
    }

    /// Proposes another ISR, for a reason or by chance.
    pub(super) fn propose(
        &mut self,
        key: Key,
        random: &mut Random,
        committed: &mut BTreeMap<Key, Committed>,
    ) -> Option<Sent> {
        let process = self.process.as_mut()?;
        let (epoch, incarnation) = (process.epoch?, process.incarnation);
        let leading = process.leads.get_mut(&key).filter(|leading| leading.proposed.is_empty())?;
        let epoch_of = |id: BrokerId| match leading.fetched.get(&id) {
            _ if id == self.id => epoch,
            Some((epoch, _)) => *epoch,
            None => process.image.brokers.get(&id).map_or(BrokerEpoch(-1), |broker| broker.epoch),
        };
        let mut isr = leading.isr.clone();
        if leading.recovery_state == LeaderRecoveryState::Recovered {
            let joins = |id: &BrokerId| {
                let (seen, offset) = *leading.fetched.get(id)?;
                let registered = process.image.brokers.get(id)?;
                let is_there = registered.epoch == seen && process.image.is_active(*id);
                (is_there && leading.start.max(leading.high_watermark) <= offset && !isr.contains(id)).then_some(*id)
            };
            match leading.replicas.iter().find_map(joins) {
                Some(id) => isr.push(id),
                None if random.below(8) == 0 => {
                    let leaver = isr[random.below(isr.len())];
                    isr.retain(|id| *id == self.id || *id != leaver);
                }
                None => return None,
            }
        } else {
            isr = vec![self.id];
        }
        if isr == leading.isr && leading.recovery_state == LeaderRecoveryState::Recovered {
            return None;
        }
        let proposed = ProposedIsr {
            partition: key.1,
            leader_epoch: leading.epoch,
            partition_epoch: leading.partition_epoch,
            recovery_state: LeaderRecoveryState::Recovered,
            isr: isr.iter().map(|id| (*id, epoch_of(*id))).collect(),
        };
        leading.proposed = isr;
        leading.commit(self.id, self.logs.entry(key).or_default(), committed.entry(key).or_default());
        let request = AlterPartition { broker: self.id, epoch, topics: vec![(key.0, vec![proposed])] };
        Some(Sent { incarnation, request })
    }

    pub(super) fn answered(
        &mut self,
        key: Key,
        incarnation: IncarnationId,
        altered: Result<AlteredPartition, AlterPartitionError>,
        committed: &mut BTreeMap<Key, Committed>,
    ) {
        let process = self.process.as_mut().filter(|process| process.incarnation == incarnation);
        let Some(leading) = process.and_then(|process| process.leads.get_mut(&key)) else { return };
        match altered {
            Ok(altered) if altered.leader_epoch == leading.epoch => {
                leading.learn(&altered.isr, altered.partition_epoch, altered.recovery_state);
                leading.commit(self.id, self.logs.entry(key).or_default(), committed.entry(key).or_default());
            }
            // The change was refused, and would be later, too.
            Err(AlterPartitionError::Ineligible { .. }) => leading.proposed.clear(),
            Ok(_) | Err(_) => {}
        }
    }
}

impl Leading {
    fn learn(&mut self, isr: &[BrokerId], partition_epoch: PartitionEpoch, recovery_state: LeaderRecoveryState) {
        if self.partition_epoch < partition_epoch {
            (self.partition_epoch, self.recovery_state) = (partition_epoch, recovery_state);
            self.isr = isr.to_vec();
            self.proposed.clear();
        }
    }

    fn commit(&mut self, own: BrokerId, log: &[Entry], committed: &mut Committed) {
        if self.isr.len() < MIN_INSYNC_REPLICAS.min(self.replicas.len()) {
            return;
        }
        let has = |id: &BrokerId| match self.fetched.get(id) {
            _ if *id == own => log.len(),
            Some((_, offset)) => *offset,
            None => 0,
        };
        let all = self.isr.iter().chain(&self.proposed).map(has).min().unwrap_or(0);
        self.high_watermark = self.high_watermark.max(all);
        if committed.since <= self.epoch {
            committed.advance(own, &log[..self.high_watermark.min(log.len())]);
        }
    }
}

impl Committed {
    /// A cleanly elected leader has everything that is committed.
    fn led_by(&mut self, leader: BrokerId, log: &[Entry], epoch: LeaderEpoch, recovery_state: LeaderRecoveryState) {
        let common = common(&self.records, log);
        if recovery_state == LeaderRecoveryState::Recovering && self.since < epoch {
            (self.since, self.unclean) = (epoch, self.unclean + 1);
            self.records.truncate(common);
        }
        if self.since <= epoch {
            assert_eq!(common, self.records.len(), "{leader:?} leads in {epoch:?} without what was committed");
        }
    }

    fn advance(&mut self, leader: BrokerId, log: &[Entry]) {
        let common = common(&self.records, log);
        assert_eq!(common, self.records.len().min(log.len()), "{leader:?} commits something else");
        self.records.extend(&log[common..]);
    }
}

fn common(a: &[Entry], b: &[Entry]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
