//! The quorum of the metadata log, as KRaft defines it (KIP-595, 630, 853, 996), without clock, random numbers, files
//! and sockets: events in, actions out. The same events give the same actions.
//!
//! ```text
//! runtime ── Event, Moment ──▶ Raft::step ──▶ Vec<Action> ──▶ runtime
//! ```
//!
//! ```text
//! raft                dispatch of events, passing of time
//! role                what a node is: unattached, follower, campaigning, leader
//! election, voting    getting a leader; answering candidates and leaders
//! follower, snapshot  fetching from a leader
//! leader, fetching, waiting, voter_change
//!                     leading: high watermark, check-quorum; answering followers; changing the voters
//! log_view, voters, control, identity
//!                     what the log says, and of whom
//! ```
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::arithmetic_side_effects))]
#![warn(clippy::wildcard_enum_match_arm)]

mod action;
mod bugs;
mod config;
mod control;
mod election;
mod event;
mod fetching;
mod follower;
mod identity;
mod leader;
mod log_view;
mod outbox;
mod raft;
mod requests;
mod role;
mod sending;
mod snapshot;
mod voter_change;
mod voters;
mod voting;
mod waiting;

pub use action::{Action, Answer, Failure, Report};
#[cfg(feature = "planted-bugs")]
pub use bugs::Bug;
pub use config::{Config, Restored, Timing};
pub use control::{ControlRecord, KRaftVersion, Quorum};
pub use event::{Event, LogGeneration, Moment, RequestId, SendFailure, Token};
pub use identity::{Address, Destination, ElectionState, Endpoint, LeaderInfo, ReplicaKey, SnapshotId};
pub use leader::ReplicaProgress;
pub use log_view::LogSummary;
pub use raft::Raft;
pub use requests::{
    AddVoterRequest, BatchSummary, BeginQuorumEpochRequest, EndQuorumEpochRequest, FetchContent, FetchRequest,
    FetchResponse, FetchSnapshotRequest, FetchSnapshotResponse, QuorumResponse, Refusal, RemoveVoterRequest, Request,
    Response, UpdateVoterRequest, VoteRequest, VoteResponse, VoterChangeError, VoterChangeResponse,
};
pub use role::Leading;
pub use voters::{Voter, VoterSet};
