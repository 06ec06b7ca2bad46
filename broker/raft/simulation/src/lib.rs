//! The quorum under a seeded scheduler: messages late, lost, duplicated; partitions; crashes; disks that lose what
//! was not synced; volumes emptied and brought back; voters coming and going. After each schedule all faults end.
//!
//! ```text
//! world      nodes, links, and the queue of what happens next
//! node, runtime, volume
//!            a machine, what its process does for the engine, and its disk
//! network, faults, schedule
//!            what goes wrong, and how much of it
//! invariants what holds at every moment; liveness: that it works again in the end
//! ```
//!
//! The broker's tests simulate the whole cluster on top of it: its machines are these nodes, and its events are in
//! the same queue ([`world::Happening::Outside`]).
#![expect(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a simulation panics as tests do")]
#![expect(clippy::print_stdout, reason = "a schedule is printed when it is asked for")]

pub mod facts;
pub mod faults;
pub mod invariants;
pub mod liveness;
pub mod network;
pub mod node;
pub mod random;
pub mod runtime;
pub mod schedule;
pub mod volume;
pub mod world;
