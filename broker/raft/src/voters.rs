//! The voter set. It is a value in the log, and in force from the moment it is appended.

use std::collections::BTreeMap;

use protocol::types::BrokerId;

use crate::control::KRaftVersion;
use crate::identity::{Address, Endpoint, ReplicaKey};

/// A voter as control records describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voter {
    pub key: ReplicaKey,
    /// Its controller listeners, in the order of `controller.listener.names`.
    pub endpoints: Vec<Endpoint>,
    pub kraft_version_min: KRaftVersion,
    pub kraft_version_max: KRaftVersion,
}

/// At most one voter per node. Empty on a node formatted without initial voters, until it learns of some.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VoterSet {
    voters: BTreeMap<BrokerId, Voter>,
}

impl Voter {
    /// The address to call: its endpoint with that listener, otherwise its first.
    pub fn address(&self, listener: &str) -> Option<&Address> {
        let named = self.endpoints.iter().find(|endpoint| endpoint.name == listener);
        named.or_else(|| self.endpoints.first()).map(|endpoint| &endpoint.address)
    }
}

impl FromIterator<Voter> for VoterSet {
    /// Of two voters with the same id the later is kept.
    fn from_iter<I: IntoIterator<Item = Voter>>(voters: I) -> Self {
        Self { voters: voters.into_iter().map(|voter| (voter.key.id, voter)).collect() }
    }
}

impl VoterSet {
    /// In the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Voter> {
        self.voters.values()
    }

    pub fn keys(&self) -> impl Iterator<Item = ReplicaKey> {
        self.iter().map(|voter| voter.key)
    }

    pub fn get(&self, id: BrokerId) -> Option<&Voter> {
        self.voters.get(&id)
    }

    /// Whether the node with this very volume is a voter.
    pub fn contains(&self, key: ReplicaKey) -> bool {
        self.get(key.id).is_some_and(|voter| voter.key == key)
    }

    pub fn len(&self) -> usize {
        self.voters.len()
    }

    pub fn is_empty(&self) -> bool {
        self.voters.is_empty()
    }

    /// The smallest number that is more than half of the voters.
    pub fn majority(&self) -> usize {
        self.voters.len().div_euclid(2).saturating_add(1)
    }

    /// The only voter, if there is exactly one.
    pub(crate) fn sole(&self) -> Option<ReplicaKey> {
        if self.len() == 1 { self.keys().next() } else { None }
    }

    #[must_use]
    pub(crate) fn with(&self, voter: Voter) -> Self {
        let mut voters = self.voters.clone();
        voters.insert(voter.key.id, voter);
        Self { voters }
    }

    #[must_use]
    pub(crate) fn without(&self, id: BrokerId) -> Self {
        let mut voters = self.voters.clone();
        voters.remove(&id);
        Self { voters }
    }
}
