//! A broker's work on its partitions, besides serving clients: following leaders, answering followers, proposing
//! ISRs, and syncing its logs.

use protocol::types::{BrokerEpoch, BrokerId};

use super::cluster::Cluster;
use super::facts::Fact;
use super::machine::{Copied, Proposing, node_of, offset};
use super::messages::{Answer, Caller, Event, Party, ToController};
use super::topics;
use crate::controller::alter_partition::{AlterPartition, AlterPartitionError, AlteredPartitions, ProposedIsr};
use crate::replica::simulated::{Asked, Key, Told};
use crate::replica::{IsrProposal, ProposalOutcome};

/// How long a leader lets a follower wait for news, and how often it looks.
const WAIT_MAX: u64 = 60_000;
const WAIT_STEP: u64 = 4000;
const FETCH_MAX: u64 = 200_000;
const PROPOSAL_MAX: u64 = 250_000;

impl Cluster {
    pub(super) fn follow_leaders(&mut self, node: usize) {
        let (now, id) = (self.now(), self.machines[node].id);
        let Some(process) = self.process(node) else { return };
        let Some(epoch) = process.broker_epoch(id) else { return };
        process.fetching.retain(|_, (_, until)| now < *until);
        let plans = process.replicas.plan_fetches().into_iter();
        let plans: Vec<_> = plans.filter(|(_, asked)| !process.fetching.contains_key(&asked.key)).collect();
        for (leader, asked) in plans {
            let (request, to) = (self.number(), node_of(leader));
            let process = self.process(node).unwrap();
            process.fetching.insert(asked.key, (request, now + FETCH_MAX));
            let caller = Caller { party: self.party(node), request };
            self.send_loosely(node, to, Event::Fetch { to, caller, epoch, asked, waits_until: now + WAIT_MAX });
        }
    }

    pub(super) fn fetch(&mut self, to: usize, caller: Caller, epoch: BrokerEpoch, asked: Asked, waits_until: u64) {
        let (now, id) = (self.now(), self.machines[to].id);
        let follower = self.machines[caller.party.node].id;
        let Some(process) = self.process(to) else { return };
        if !process.begins_to_serve(id) {
            return;
        }
        let (told, is_news) = process.replicas.answer(&asked, (follower, epoch));
        self.look(to);
        self.propose(to);
        if is_news || waits_until <= now {
            self.send_loosely(to, caller.party.node, Event::Fetched { to: caller, asked, told });
        } else {
            self.after(WAIT_STEP, Event::Fetch { to, caller, epoch, asked, waits_until });
        }
    }

    pub(super) fn fetched(&mut self, to: Caller, asked: &Asked, told: Told) {
        let node = to.party.node;
        let process = self.process(node).unwrap();
        if process.fetching.get(&asked.key).is_none_or(|(request, _)| *request != to.request) {
            return;
        }
        process.fetching.remove(&asked.key);
        process.replicas.follow(asked, told);
        self.look(node);
        self.follow_leaders(node);
    }

    /// One request at a time, with all that wait.
    pub(super) fn propose(&mut self, node: usize) {
        let (now, id) = (self.now(), self.machines[node].id);
        let Some(process) = self.process(node) else { return };
        let taken = process.replicas.take_proposals();
        process.proposals.extend(taken);
        if process.proposing.as_ref().is_some_and(|proposing| now < proposing.until) {
            return;
        }
        // Unanswered proposals are sent again.
        let asked = process.proposing.take().map(|proposing| proposing.asked).unwrap_or_default();
        process.proposals.extend(asked);
        let replicas = &process.replicas;
        process.proposals.retain(|(key, proposal)| replicas.still_proposes(*key, proposal));
        let Some(epoch) = process.broker_epoch(id).filter(|_| !process.proposals.is_empty()) else { return };
        let asked = std::mem::take(&mut process.proposals);
        let topics = asked.iter().map(|(key, proposal)| (key.0, vec![proposed(*key, proposal)])).collect();
        let joining = asked.iter().filter_map(|(_, proposal)| proposal.isr.last()).find(|(last, _)| *last != id);
        let joiner = joining.map(|(last, _)| node_of(*last));
        let request = self.number();
        self.process(node).unwrap().proposing = Some(Proposing { request, until: now + PROPOSAL_MAX, asked });
        let permille = self.options.bounce_permille;
        if let Some(joiner) = joiner.filter(|_| self.world.random.chance(permille)) {
            self.bounce(joiner, node);
        }
        self.command(node, request, ToController::AlterPartition(AlterPartition { broker: id, epoch, topics }));
    }

    pub(super) fn altered(&mut self, node: usize, asked: Vec<(Key, IsrProposal)>, answer: Answer) {
        let answers = if let Answer::Altered(Ok(answers)) = answer { answers } else { Vec::new() };
        let process = self.process(node).unwrap();
        for (key, proposal) in asked {
            match outcome(&answers, key) {
                Some(outcome) => process.replicas.resolve(key, &proposal, outcome),
                None => process.proposals.push((key, proposal)),
            }
        }
        self.look(node);
    }

    /// Periodically flushes a log or writes the checkpoints.
    pub(super) fn flush(&mut self, party: Party) {
        let wait = self.random().between(5000, 200_000);
        self.after(wait, Event::Flush(party));
        let draw = self.random().below(1000);
        let Some(process) = self.process(party.node).filter(|process| process.is_loaded) else { return };
        let keys = process.replicas.keys();
        match keys.get(usize::try_from(draw).unwrap() % (keys.len() + 1)) {
            Some(key) => process.replicas.flush(*key),
            None => process.replicas.write_checkpoints(),
        }
        self.write_passing(party.node);
        self.look(party.node);
    }

    /// Writes to the passing topic where it is led.
    fn write_passing(&mut self, node: usize) {
        let value = self.number();
        let Some(process) = self.process(node).filter(|process| process.serves) else { return };
        for key in process.replicas.keys().into_iter().filter(|key| topics::is_passing(*key)) {
            // Refused by a broker that does not lead.
            let _refused = process.replicas.produce(key, &topics::batch(value));
        }
    }

    /// Syncs what must be on disk before it counts.
    pub(super) fn sync(&mut self, node: usize, key: Key) {
        let process = self.process(node).unwrap();
        process.syncing.remove(&key);
        process.replicas.flush(key);
        self.look(node);
        self.follow_leaders(node);
    }

    /// Compares the replicas on a machine with their last state, and reports the changes.
    pub(super) fn look(&mut self, node: usize) {
        let Some(process) = self.process(node).filter(|process| process.is_loaded) else { return };
        let (mut facts, mut unsynced) = (Vec::new(), Vec::new());
        let keys = process.replicas.keys();
        process.copies.retain(|key, _| keys.contains(key));
        for key in keys {
            let Some(positions) = process.replicas.positions(key) else { continue };
            if topics::is_synced(key) && positions.recovery_point < positions.log_end && process.syncing.insert(key) {
                unsynced.push(key);
            }
            let copy = process.copies.entry(key).or_insert_with(|| Copied::new(positions));
            let was = std::mem::replace(&mut copy.positions, positions);
            if was == positions {
                continue;
            }
            let behind = copy.cut(&positions);
            if !behind.is_empty() {
                facts.push(Fact::Shortened { node, key, was, behind });
            }
            copy.extend(process.replicas.read_log(key, offset(copy.end())), topics::is_compacted(key));
            if let Some(epoch) = positions.leads {
                let partition = process.image.topics.get(&key.0).and_then(|topic| topic.partition(key.1));
                if was.leads != positions.leads {
                    let recovery = partition.map_or_else(Default::default, |partition| partition.recovery_state);
                    facts.push(Fact::Leads { node, key, epoch, recovery });
                }
                if was.leads != positions.leads || was.high_watermark < positions.high_watermark {
                    facts.push(Fact::Committed { node, key, epoch });
                }
            }
        }
        for key in unsynced {
            let (wait, party) = (self.random().between(200, 3000), self.party(node));
            self.after(wait, Event::Sync(party, key));
        }
        for fact in &facts {
            self.see(fact);
        }
        self.settle(node);
    }
}

fn proposed(key: Key, proposal: &IsrProposal) -> ProposedIsr {
    let unknown = BrokerEpoch(-1);
    ProposedIsr {
        partition: key.1,
        leader_epoch: proposal.leader_epoch,
        partition_epoch: proposal.partition_epoch,
        recovery_state: proposal.recovery_state,
        isr: proposal.isr.iter().map(|(id, epoch): &(BrokerId, _)| (*id, epoch.unwrap_or(unknown))).collect(),
    }
}

/// As production code decodes it. None: it is unknown.
fn outcome(answers: &AlteredPartitions, key: Key) -> Option<ProposalOutcome> {
    let of_topic = answers.iter().filter(|(topic, _)| *topic == key.0).flat_map(|(_, partitions)| partitions);
    let (_, altered) = of_topic.into_iter().find(|(partition, _)| *partition == key.1)?;
    match altered {
        Ok(altered) => Some(ProposalOutcome::Committed {
            leader_epoch: altered.leader_epoch,
            partition_epoch: altered.partition_epoch,
            isr: altered.isr.clone(),
        }),
        Err(AlterPartitionError::Ahead { .. }) => None,
        Err(
            AlterPartitionError::Ineligible { .. }
            | AlterPartitionError::InvalidIsr { .. }
            | AlterPartitionError::InvalidRecoveryState
            | AlterPartitionError::NotLeader { .. },
        ) => Some(ProposalOutcome::Refused),
        Err(
            AlterPartitionError::UnknownTopic { .. }
            | AlterPartitionError::UnknownPartition { .. }
            | AlterPartitionError::FencedLeaderEpoch { .. }
            | AlterPartitionError::StalePartitionEpoch { .. }
            | AlterPartitionError::NewLeaderElected,
        ) => Some(ProposalOutcome::Superseded),
    }
}
