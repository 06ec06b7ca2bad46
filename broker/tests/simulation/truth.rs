//! What each partition has committed, as leaders report it. If the metadata shows that a leader was elected although
//! records may be lost, what that leader lacks is no longer part of it: that is a reported loss.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use protocol::metadata_records::LeaderRecoveryState;
use protocol::types::LeaderEpoch;

use super::facts::Fact;
use super::machine::{Copied, Machine, Slot, index};
use crate::replica::simulated::{Key, Record};

#[derive(Default)]
pub(super) struct Truths(BTreeMap<Key, Truth>);

#[derive(Debug, Default)]
pub(super) struct Truth {
    /// None if the first leader that showed it had already compacted it.
    pub(super) records: Vec<Slot>,
    /// The leader epoch that committed each of them.
    committed_in: Vec<LeaderEpoch>,
    /// Everything before it was deleted on purpose.
    pub(super) start: usize,
    /// Epochs that began with a loss.
    pub(super) unclean: Vec<LeaderEpoch>,
}

impl Truths {
    pub(super) fn of(&self, key: Key) -> Option<&Truth> {
        self.0.get(&key)
    }

    /// An epoch begins with a loss.
    pub(super) fn lose(&mut self, fact: &Fact, machines: &[Machine]) {
        let Fact::Leads { node, key, epoch, recovery: LeaderRecoveryState::Recovering } = fact else { return };
        let truth = self.0.entry(*key).or_default();
        if truth.unclean.iter().all(|earlier| earlier < epoch) {
            truth.unclean.push(*epoch);
            if let Some(copy) = copy_on(machines, *node, *key) {
                let common = truth.common(copy);
                let lost = truth.records.split_off(common);
                truth.committed_in.truncate(common);
                truth.start = copy.start();
                truth.forget_keys_of(&lost);
            }
        }
    }

    /// A leader commits. What contradicts the truth is not added.
    pub(super) fn extend(&mut self, fact: &Fact, machines: &[Machine]) {
        let Fact::Committed { node, key, epoch } = fact else { return };
        let truth = self.0.entry(*key).or_default();
        let Some(copy) = copy_on(machines, *node, *key).filter(|_| truth.counts(*epoch)) else { return };
        truth.start = truth.start.max(copy.start());
        while truth.records.len() < index(copy.positions.high_watermark) {
            let at = truth.records.len();
            if !(copy.start()..copy.end()).contains(&at) {
                break;
            }
            truth.records.push(copy.get(at));
            truth.committed_in.push(*epoch);
        }
    }
}

impl Truth {
    /// What a leader of an earlier epoch shows is from before a loss.
    pub(super) fn counts(&self, epoch: LeaderEpoch) -> bool {
        self.unclean.last().is_none_or(|last| *last <= epoch)
    }

    /// The number of losses before an epoch.
    pub(super) fn generation(&self, epoch: LeaderEpoch) -> usize {
        self.unclean.iter().filter(|unclean| **unclean <= epoch).count()
    }

    /// The end up to which a log agrees with what is committed. Deleted records agree, and those superseded by later
    /// ones in it.
    pub(super) fn common(&self, copy: &Copied) -> usize {
        let end = self.records.len().min(copy.end());
        let is_other = |at: &usize| match (self.records[*at], copy.get(*at)) {
            (None, _) => false,
            (Some((_, record)), None) => !self.is_superseded(record, *at + 1..end),
            (expected, found) => expected != found,
        };
        (copy.start()..end).find(is_other).unwrap_or(end)
    }

    /// Each replica may have compacted away what these have superseded, or have received a log without it: which
    /// records of their keys are left is unknown.
    fn forget_keys_of(&mut self, lost: &[Slot]) {
        let keys: BTreeSet<_> = lost.iter().flatten().filter_map(|(_, record)| record.key).collect();
        let is_forgotten =
            |slot: &&mut Slot| slot.is_some_and(|(_, record)| record.key.is_some_and(|key| keys.contains(&key)));
        self.records.iter_mut().filter(is_forgotten).for_each(|slot| *slot = None);
    }

    pub(super) fn is_superseded(&self, record: Record, by: Range<usize>) -> bool {
        record.key.is_some() && self.records[by].iter().flatten().any(|(_, later)| later.key == record.key)
    }

    /// What a leader of the epoch must have at its start: everything committed before.
    pub(super) fn needed_by(&self, epoch: LeaderEpoch) -> usize {
        self.committed_in.iter().rposition(|earlier| *earlier < epoch).map_or(0, |last| last + 1)
    }

    pub(super) fn is_all_in(&self, copy: Option<&Copied>) -> bool {
        copy.map_or(0, |copy| self.common(copy)) == self.records.len()
    }
}

pub(super) fn copy_on(machines: &[Machine], node: usize, key: Key) -> Option<&Copied> {
    machines[node].process.as_ref()?.copies.get(&key)
}
