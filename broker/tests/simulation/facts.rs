//! The facts that invariants are given, and the list of them.

use protocol::metadata_records::LeaderRecoveryState;
use protocol::types::LeaderEpoch;

use super::invariants::{
    committed_prefix, compaction, in_sync_replicas, leader_completeness, on_disk, partition_state, taking_back, volumes,
};
use super::machine::{Copied, Machine, Slot};
use super::truth::Truths;
use crate::metadata::Image;
use crate::replica::simulated::{Key, Positions};

#[derive(Debug)]
pub(super) enum Fact {
    /// A batch of metadata is committed: the committed image is the current state.
    Metadata {
        before: Box<Image>,
    },
    Leads {
        node: usize,
        key: Key,
        epoch: LeaderEpoch,
        recovery: LeaderRecoveryState,
    },
    /// A leader's high watermark, new or advanced.
    Committed {
        node: usize,
        key: Key,
        epoch: LeaderEpoch,
    },
    Shortened {
        node: usize,
        key: Key,
        was: Positions,
        /// From the end of what is left.
        behind: Vec<Slot>,
    },
    Compacted {
        node: usize,
        key: Key,
        before: Box<Copied>,
    },
}

/// What an invariant can inspect.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) machines: &'a [Machine],
    pub(super) truths: &'a Truths,
    pub(super) committed: &'a Image,
}

type Check = fn(&Fact, Scene<'_>) -> Result<(), String>;

/// Invariants of every moment of every run.
const INVARIANTS: [(&str, Check); 8] = [
    ("leader completeness", leader_completeness::check),
    ("committed prefix", committed_prefix::check),
    ("compaction", compaction::check),
    ("in-sync replicas", in_sync_replicas::check),
    ("on disk", on_disk::check),
    ("partition state", partition_state::check),
    ("taking back", taking_back::check),
    ("volumes", volumes::check),
];

pub(super) fn check(fact: &Fact, scene: Scene<'_>) -> Result<(), String> {
    for (name, check) in INVARIANTS {
        check(fact, scene).map_err(|what| format!("{name}: {what}"))?;
    }
    Ok(())
}
