//! Everything around the broker and the operator: a real Kubernetes on one machine, images without a registry, the
//! demo, the figures, and the tests from outside.
//!
//! ```text
//! progress, command      how a step is shown, how a program is run
//! host                   what the machine must have, and installing what it lacks
//! cache                  where what takes long to make is kept
//! binaries               Kubernetes, compiled once from its Go modules
//! kafka_tools            Apache Kafka's own tools, from Maven
//! kafka_python           kafka-python's sources, from PyPI
//! foreign                suites that other projects wrote
//! cluster                nodes as namespaces, control plane as processes, volumes as files
//! programs               broker and operator, compiled by cargo
//! broker                 one broker as a process
//! connection, admin      one connection of a client; what an administrator asks
//! fleet                  several brokers as processes, and what happens to machines
//! images                 them as images
//! clients                Kafka clients as users have them
//! harness                what demo, figures and tests do with a cluster
//! figures                one measurement per module
//! soak                   what looks for faults for a long time
//! ```

pub mod admin;
pub mod binaries;
pub mod broker;
mod cache;
pub mod clients;
pub mod cluster;
pub mod command;
pub mod connection;
pub mod figures;
pub mod fleet;
pub mod foreign;
pub mod harness;
mod hash;
pub mod host;
pub mod images;
pub mod kafka_python;
pub mod kafka_tools;
pub mod programs;
pub mod progress;
pub mod soak;
