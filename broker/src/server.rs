//! A running broker: the order of start and stop, the sockets of the data plane, the management API.

mod acceptor;
mod activity;
mod budget;
mod buffers;
mod connection;
mod decisions;
mod descriptors;
mod group_lag;
mod life_cycle;
mod listen;
mod loading;
mod management;
mod memory;
mod network;
mod plane;
mod probes;
mod quotas;
mod reactor;
mod running;
mod scrape;
mod session;
mod startup;
mod status;

pub(crate) use startup::{ServerError, run};
