//! A running broker: the order of start and stop, the sockets of the data plane, the management API.

mod acceptor;
mod buffers;
mod connection;
mod loading;
mod management;
mod reactor;
mod startup;
mod status;

pub(crate) use startup::{ServerError, run};
