//! The metadata quorum on this node: `raft` decides, this module carries it out.
//!
//! ```text
//! node       raft and its actions, in order        control thread
//!   links      requests to other nodes             its tasks
//!   io_thread  log, quorum-state, snapshots        a thread of its own
//!   tail       the last batches in memory
//! ```

mod config;
mod control_records;
mod fetched;
mod handle;
mod io_thread;
mod links;
mod node;
mod tail;

pub(crate) use config::InvalidController;
pub(super) use config::{raft_config, request_timeout};
pub(super) use control_records::{from_log, quorum_of};
pub(super) use handle::Message;
pub(crate) use handle::{QuorumDescription, QuorumHandle};
pub(super) use io_thread::{Io, IoThread, Report};
pub(super) use links::{Links, Reply};
pub(super) use node::{Happening, Node};
