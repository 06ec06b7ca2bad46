//! The addresses of nodes, and deadlines.

use std::time::Duration;

use protocol::types::BrokerId;

use crate::action::Action;
use crate::event::RequestId;
use crate::identity::{Address, Destination, Endpoint, LeaderInfo, ReplicaKey};
use crate::outbox::Purpose;
use crate::raft::Raft;
use crate::requests::Request;
use crate::role::Role;

impl Raft {
    pub(crate) fn send(&mut self, to: Destination, purpose: Purpose, request: Request) -> RequestId {
        let id = self.outbox.add(purpose, self.moment.now.saturating_add(self.config.timing.request_timeout));
        self.actions.push(Action::Send { id, to, request });
        id
    }

    /// The address of a voter. None if its record names no endpoint.
    pub(crate) fn destination_of(&self, voter: ReplicaKey) -> Option<Destination> {
        let address = self.voters().get(voter.id)?.address(&self.config.listener)?.clone();
        Some(Destination { node: Some(voter.id), address })
    }

    /// A leader's address: as it says itself, otherwise from its voter record.
    pub(crate) fn address_of(&self, leader: BrokerId) -> Option<&Address> {
        if self.is_local(leader) {
            return self.address_in(&self.config.endpoints);
        }
        let told = match &self.role {
            Role::Follower(follower) if follower.leader == leader => follower.address.as_ref(),
            Role::Follower(_) | Role::Unattached(_) | Role::Campaigning(_) | Role::Leader(_) => None,
        };
        told.or_else(|| self.voters().get(leader)?.address(&self.config.listener))
    }

    pub(crate) fn address_in<'a>(&self, endpoints: &'a [Endpoint]) -> Option<&'a Address> {
        let named = endpoints.iter().find(|endpoint| endpoint.name == self.config.listener);
        named.or_else(|| endpoints.first()).map(|endpoint| &endpoint.address)
    }

    /// The nodes to ask for the leader: the other voters, and the configured addresses.
    pub(crate) fn informants(&self) -> Vec<Destination> {
        let others = self.voters().iter().filter(|voter| !self.is_local(voter.key.id));
        let voters = others.filter_map(|voter| self.destination_of(voter.key));
        let own = self.address_in(&self.config.endpoints);
        let configured = self.config.bootstrap.iter().filter(|address| own != Some(*address));
        let configured = configured.map(|address| Destination { node: None, address: address.clone() });
        let mut all: Vec<_> = voters.collect();
        for destination in configured {
            if all.iter().all(|known| known.address != destination.address) {
                all.push(destination);
            }
        }
        all
    }

    pub(crate) fn after(&self, wait: Duration) -> Duration {
        self.moment.now.saturating_add(wait)
    }

    pub(crate) fn is_due(&self, at: Duration) -> bool {
        at <= self.moment.now
    }

    /// The leadership as told to others. Only with a leader that answers: otherwise two nodes could keep each other
    /// believing in one that is gone.
    pub(crate) fn told_leader(&self) -> LeaderInfo {
        let known = self.leader();
        if self.has_live_leader() { known } else { LeaderInfo { leader: None, address: None, ..known } }
    }

    /// Takes what another node says of the leadership: its epoch may be over, or the leader unknown here.
    pub(crate) fn learn(&mut self, info: &LeaderInfo) {
        let LeaderInfo { epoch, leader, address } = info;
        if *epoch < self.election.epoch {
            return;
        }
        if self.election.epoch < *epoch {
            self.adopt_epoch(*epoch);
        }
        // Another node cannot know better whether this one leads: that was before a restart, or with another volume.
        if let Some(leader) = leader.filter(|leader| !self.is_local(*leader)) {
            self.recognise(leader, address.clone());
        }
    }
}
