//! Consumer groups and their offsets: the classic protocol (KIP-62, 345, 394, 814).
//!
//! A group lives in the partition of `__consumer_offsets` that its id hashes to; the leader of that partition is its
//! coordinator. Each partition is a [`shard::Shard`]: pure, time and ids are arguments, the log is a trait.
//!
//! ```text
//! handlers ─► CoordinatorHandle ─► Coordinators ─► lock ─► Shard ─► Group decides: records, answers
//!                                    ▲                       │  append ─► replay ─► answers when committed
//!              runtime, one thread ──┘ what is due without a request, loads and unloads shards as leadership moves
//! ```
//!
//! What is in the log changes by replay only, live and at load: committed offsets, and each generation with its
//! assignments. Members that are joining, and the ends of sessions, are in memory only, as in Kafka: after a failover
//! members find their generation again, and their sessions start anew.
//!
//! An answer, to a read or a write, is sent once everything written to its group before is committed. So no answer
//! contains what may yet be lost, and there is one state, not a committed and an uncommitted one.

mod alarm;
mod answer;
mod config;
mod coordinators;
mod counts;
mod error;
mod group;
mod handle;
mod load;
mod log;
mod member;
mod offsets;
mod place;
mod request;
mod runtime;
mod shard;

pub(crate) use config::GroupConfig;
pub(crate) use counts::GroupCounts;
pub(crate) use error::{GroupError, Unavailable};
pub(crate) use group::GroupState;
pub(crate) use handle::{CoordinatorHandle, coordinator_partition};
pub(crate) use log::{GroupLogs, LogError, LogRead, Notice, Term};
pub(crate) use member::{Client, MemberId, Protocol};
pub(crate) use request::{
    CommitRequest, GroupDescription, HeartbeatRequest, JoinRequest, Joined, LeaveRequest, MemberClaim,
    MemberDescription, OffsetToCommit, Position, SyncRequest, TopicOffsets,
};
pub(crate) use runtime::CoordinatorThread;

#[cfg(test)]
mod limits_test;
#[cfg(test)]
mod membership_test;
#[cfg(test)]
mod offsets_test;
#[cfg(test)]
pub(crate) mod simulated;
#[cfg(test)]
mod simulation_test;
#[cfg(test)]
mod testing;

/// The topic of groups and their offsets.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";
