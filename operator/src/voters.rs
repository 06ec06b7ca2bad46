//! The initial voters of a quorum. Two brokers formatted with different ones could each be elected by their own, so
//! the set is determined once, from the claims of all controllers, and written on every claim before the first broker
//! is formatted. Each formatted voter has it on its own claim: as long as one of them exists, the set is known.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt as _;
use protocol::types::{BrokerId, DirectoryId};

use crate::brokers::directory;
use crate::names::{ANNOTATION_FORMATTED, ANNOTATION_VOTERS};
use crate::observe::Observed;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitialVoters(BTreeMap<BrokerId, DirectoryId>);

/// Claims of one cluster that name different voters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disagreement {
    pub first: InitialVoters,
    pub second: InitialVoters,
}

impl InitialVoters {
    /// The set that the claims agree on, if they have one yet.
    pub fn noted(observed: &Observed) -> Result<Option<Self>, Box<Disagreement>> {
        let mut noted = observed.claims.values().filter_map(Self::on);
        let Some(first) = noted.next() else { return Ok(Self::of_a_single_broker(observed)) };
        match noted.find(|voters| *voters != first) {
            Some(second) => Err(Box::new(Disagreement { first, second })),
            None => Ok(Some(first)),
        }
    }

    /// The controllers with their current claims. `None` while one has no claim yet.
    pub fn choose(controllers: &[BrokerId], observed: &Observed) -> Option<Self> {
        let voter = |id: &BrokerId| Some((*id, directory(observed.claims.get(id)?)?));
        controllers.iter().map(voter).collect::<Option<_>>().map(Self)
    }

    /// The voters written on a claim.
    pub fn on(claim: &PersistentVolumeClaim) -> Option<Self> {
        claim.annotations().get(ANNOTATION_VOTERS)?.parse().ok()
    }

    pub fn contains(&self, id: BrokerId, directory: DirectoryId) -> bool {
        self.0.get(&id) == Some(&directory)
    }

    pub fn iter(&self) -> impl Iterator<Item = (BrokerId, DirectoryId)> {
        self.0.iter().map(|(id, directory)| (*id, *directory))
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Earlier versions with a single broker did not write the voters: it is the only one.
    fn of_a_single_broker(observed: &Observed) -> Option<Self> {
        let claim = observed.claims.get(&BrokerId(0))?;
        let formatted = claim.annotations().contains_key(ANNOTATION_FORMATTED);
        formatted.then(|| Self::choose(&[BrokerId(0)], observed)).flatten()
    }
}

impl fmt::Display for InitialVoters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (id, directory)) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{id}@{directory}")?;
        }
        Ok(())
    }
}

/// The text is not a list of voters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoVoters;

impl FromStr for InitialVoters {
    type Err = NoVoters;

    fn from_str(text: &str) -> Result<Self, NoVoters> {
        let voter = |entry: &str| {
            let (id, directory) = entry.split_once('@')?;
            Some((BrokerId(id.parse().ok()?), directory.parse().ok()?))
        };
        text.split(',').map(voter).collect::<Option<_>>().map(Self).ok_or(NoVoters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let id = |number| DirectoryId(uuid::Uuid::from_u128(number));
        let voters = InitialVoters(BTreeMap::from([(BrokerId(0), id(1)), (BrokerId(2), id(u128::MAX))]));
        assert_eq!(voters.to_string().parse(), Ok(voters));
        for text in ["", "0", "0@", "x@AAAAAAAAAAAAAAAAAAAAAQ", "0@AAAAAAAAAAAAAAAAAAAAAQ,"] {
            assert_eq!(text.parse::<InitialVoters>(), Err(NoVoters), "{text}");
        }
    }
}
