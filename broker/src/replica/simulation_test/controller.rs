//! Who is up, as far as the controller knows, and what it makes of that.

use protocol::types::{BrokerEpoch, BrokerId, LeaderEpoch};

use super::{Message, Metadata, Role, Simulation, broker};
use crate::replica::follower_state::FollowerState;
use crate::replica::leader_state::{IsrProposal, ProposalOutcome};

impl Simulation {
    /// Without `power` the page cache stays. What the last one in sync has, it does not lose.
    pub(super) fn crash(&mut self, node: usize, power: bool) {
        let in_sync = self.current().partition.isr.len();
        let dies = &mut self.nodes[node];
        if dies.down {
            return;
        }
        dies.down = true;
        dies.pending.clear();
        dies.fetching = false;
        let length = dies.log.len();
        if power && 1 < in_sync {
            let kept = self.below(length as u64 + 1);
            self.nodes[node].log.truncate(usize::try_from(kept).unwrap());
            self.fence(node);
        }
    }

    /// Registers anew: every stop like that was unclean.
    pub(super) fn restart(&mut self, node: usize) {
        if !self.nodes[node].down {
            return self.unfence(node);
        }
        self.next_broker_epoch += 1;
        let epoch = BrokerEpoch(self.next_broker_epoch);
        self.fence(node);
        let restarted = &mut self.nodes[node];
        restarted.down = false;
        restarted.broker_epoch = epoch;
        restarted.high_watermark = restarted.high_watermark.min(restarted.log.len()) / 2;
        restarted.role = Role::Follower(FollowerState::new(None, LeaderEpoch(-1)));
        self.unfence(node);
    }

    pub(super) fn fence(&mut self, node: usize) {
        let mut next = self.current().clone();
        next.active.0.remove(&broker(node));
        self.settle(next, Some(broker(node)));
    }

    pub(super) fn unfence(&mut self, node: usize) {
        if self.works(node) {
            let mut next = self.current().clone();
            next.active.0.insert(broker(node), self.nodes[node].broker_epoch);
            self.settle(next, None);
        }
    }

    /// The controller's part: who is gone leaves the ISR unless it is the last; a leader that is gone has a successor
    /// from the ISR, in a new epoch.
    fn settle(&mut self, mut next: Metadata, gone: Option<BrokerId>) {
        let partition = &mut next.partition;
        if let Some(gone) = gone.filter(|_| 1 < partition.isr.len()) {
            partition.isr.retain(|member| *member != gone);
        }
        let valid = |leader: &BrokerId| partition.isr.contains(leader) && next.active.0.contains_key(leader);
        if gone.is_some() && gone == partition.leader || !partition.leader.as_ref().is_some_and(valid) {
            let elected = partition.replicas.iter().map(|replica| replica.broker).find(|broker| valid(broker));
            if elected.is_some() || partition.leader.is_some() {
                partition.leader = elected;
                partition.leader_epoch.0 += 1;
            }
        }
        if next != *self.current() {
            next.partition.partition_epoch.0 += 1;
            self.history.push(next);
        }
    }

    /// AlterPartition, in the controller's order of checks.
    pub(super) fn decide(&mut self, from: usize, broker_epoch: BrokerEpoch, proposal: IsrProposal) {
        let current = self.current();
        let (partition, active) = (&current.partition, &current.active);
        let is_eligible = |(member, epoch): &(BrokerId, Option<BrokerEpoch>)| {
            active.0.get(member).is_some_and(|registered| epoch.is_none_or(|epoch| epoch == *registered))
        };
        let outcome = if partition.leader_epoch != proposal.leader_epoch
            || partition.leader != Some(broker(from))
            || partition.partition_epoch != proposal.partition_epoch
            || active.0.get(&broker(from)) != Some(&broker_epoch)
        {
            ProposalOutcome::Superseded
        } else if !proposal.isr.iter().all(is_eligible) {
            ProposalOutcome::Refused
        } else {
            let mut next = current.clone();
            next.partition.isr = proposal.isr.iter().map(|(member, _)| *member).collect();
            self.settle(next, None);
            let partition = &self.current().partition;
            let (leader_epoch, partition_epoch) = (partition.leader_epoch, partition.partition_epoch);
            ProposalOutcome::Committed { leader_epoch, partition_epoch, isr: partition.isr.clone() }
        };
        self.send(Message::Outcome { to: from, proposal, outcome });
    }

    /// Who sent it finds out, as by a connection that ends.
    pub(super) fn lost(&mut self, message: &Message) {
        match message {
            Message::Fetch { from, fetch, .. } => {
                self.nodes[*from].fetching &= self.nodes[*from].broker_epoch != fetch.broker_epoch;
            }
            Message::Answer { to, process, .. } => {
                self.nodes[*to].fetching &= self.nodes[*to].broker_epoch != *process;
            }
            // A proposal is sent until there is an outcome: the channel's part.
            Message::Propose { from, broker_epoch, proposal } => {
                let again = Message::Propose { from: *from, broker_epoch: *broker_epoch, proposal: proposal.clone() };
                self.messages.push((self.now + 50, again));
            }
            Message::Outcome { to, proposal, .. } => {
                let broker_epoch = self.nodes[*to].broker_epoch;
                let again = Message::Propose { from: *to, broker_epoch, proposal: proposal.clone() };
                self.messages.push((self.now + 50, again));
            }
        }
    }
}
