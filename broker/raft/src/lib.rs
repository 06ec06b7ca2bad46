//! The quorum of the metadata log, as KRaft defines it (KIP-595, 630, 853, 996), without clock, dice, files and
//! sockets: events in, actions out. The same events give the same actions.
//!
//! ```text
//! runtime ── Event, Moment ──▶ Raft::step ──▶ Vec<Action> ──▶ runtime
//! ```
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::arithmetic_side_effects))]
#![warn(clippy::wildcard_enum_match_arm)]

mod action;
mod config;
mod control;
mod event;
mod identity;
mod log_view;
mod requests;
mod voters;

pub use action::{Action, Answer, Report};
pub use config::{Config, Restored, Timing};
pub use control::{ControlRecord, KRaftVersion, Quorum};
pub use event::{Event, LogGeneration, Moment, RequestId, SendFailure, Token};
pub use identity::{Address, Destination, ElectionState, Endpoint, LeaderInfo, ReplicaKey, SnapshotId};
pub use log_view::LogSummary;
pub use requests::{
    AddVoterRequest, BatchSummary, BeginQuorumEpochRequest, EndQuorumEpochRequest, FetchContent, FetchRequest,
    FetchResponse, FetchSnapshotRequest, FetchSnapshotResponse, QuorumResponse, Refusal, RemoveVoterRequest, Request,
    Response, UpdateVoterRequest, VoteRequest, VoteResponse, VoterChangeError, VoterChangeResponse,
};
pub use voters::{Voter, VoterSet};
