//! A running broker: the order of start and stop, the sockets of the data plane, the management API.

mod acceptor;
mod activity;
mod budget;
mod buffers;
mod connection;
#[cfg_attr(not(test), expect(dead_code, reason = "sessions with the controller follow"))]
mod life_cycle;
mod listen;
mod loading;
mod management;
mod memory;
mod network;
mod quotas;
mod reactor;
mod scrape;
mod startup;
mod status;

pub(crate) use startup::{ServerError, run};
