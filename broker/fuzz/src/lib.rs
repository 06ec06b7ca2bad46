//! Hostile input: what clients may send and disks may return, with the properties that must hold. A target panics if
//! they do not, so anything can drive it: libFuzzer under `cargo soak`, and the committed corpus in every test run.
//!
//! ```text
//! frame      a connection's bytes: length, header, body
//! body       one request's body, by key and version: the guard against kafka-protocol
//! batch      a produced batch: what is accepted, Kafka's rules accept
//! segment    a `.log` after a crash: recovery keeps the longest sound beginning and nothing else
//! ```
//!
//! `cargo run -p fuzz --bin corpus -- add TARGET DIRECTORY` keeps what an engine has found.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a target fails by panicking: that is what engines and tests look for"
)]

pub mod batch;
pub mod body;
pub mod codecs;
pub mod corpus;
pub mod frame;
pub mod hostile;
pub mod random;
mod seeds;
pub mod segment;

/// A fuzz target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    /// The initial inputs of its corpus.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

pub static TARGETS: [Target; 4] = [
    Target { name: "frame", run: frame::run, seeds: seeds::frames },
    Target { name: "body", run: body::run, seeds: seeds::bodies },
    Target { name: "batch", run: batch::run, seeds: seeds::batches },
    Target { name: "segment", run: segment::run, seeds: seeds::segments },
];

/// The target of that name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
