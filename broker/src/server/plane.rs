//! Reactors and the listeners that feed them. Clients and brokers have one plane, controllers another, so that client
//! load does not hold up the quorum.

use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;

use protocol::metadata_records::Endpoint;
use socket2::Socket;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::acceptor::Acceptor;
use super::listen;
use super::quotas::ConnectionQuotas;
use super::reactor::{self, ConnectionLimits, Inlet};
use super::startup::ServerError;
use crate::clock::Pulse;
use crate::config::{BrokerConfig, Listener, ListenerKind};
use crate::failure::Failures;
use crate::handlers::Broker;

/// A listener whose sockets are bound.
#[derive(Debug)]
pub(super) struct Bound {
    listener: Arc<Listener>,
    /// The listener's index in the configuration.
    index: usize,
    sockets: Vec<Socket>,
}

/// Binds the listeners of these kinds. Clients that connect are refused, and try another node.
pub(super) fn bind(config: &BrokerConfig, is_wanted: impl Fn(ListenerKind) -> bool) -> Result<Vec<Bound>, ServerError> {
    let wanted = config.listeners.iter().enumerate().filter(|(_, listener)| is_wanted(listener.kind));
    let bound = wanted.map(|(index, listener)| {
        let sockets = listen::bind(listener, &config.network);
        let sockets = sockets.map_err(|error| ServerError::Start(error.to_string()))?;
        Ok(Bound { listener: listener.clone(), index, sockets })
    });
    bound.collect()
}

/// From now on connections wait until they are accepted.
pub(super) fn listen(bound: &[Bound], config: &BrokerConfig) -> Result<(), ServerError> {
    let mut sockets = bound.iter().flat_map(|bound| bound.sockets.iter().map(|socket| (&bound.listener, socket)));
    sockets.try_for_each(|(listener, socket)| {
        listen::listen(listener, socket, &config.network).map_err(|error| ServerError::Start(error.to_string()))
    })
}

#[derive(Debug)]
pub(super) struct Plane {
    inlets: Vec<Inlet>,
    reactors: Vec<JoinHandle<()>>,
    shutdown: CancellationToken,
    failures: Failures,
}

impl Plane {
    /// Starts the reactors with these numbers.
    pub(super) fn spawn(
        numbers: Range<usize>,
        broker: &Arc<Broker>,
        limits: &ConnectionLimits,
        pulses: &[Arc<Pulse>],
    ) -> Result<Self, ServerError> {
        let shutdown = CancellationToken::new();
        let (mut inlets, mut reactors) = (Vec::new(), Vec::new());
        for (index, pulse) in pulses.iter().enumerate().skip(numbers.start).take(numbers.len()) {
            let spawned = reactor::spawn(index, broker.clone(), limits.clone(), pulse.clone(), shutdown.clone());
            let (inlet, thread) = spawned.map_err(|error| ServerError::start("reactor", error))?;
            inlets.push(inlet);
            reactors.push(thread);
            pulse.beat();
        }
        Ok(Self { inlets, reactors, shutdown, failures: broker.replicas.failures().clone() })
    }

    /// The sockets must be listening already.
    pub(super) fn accept(&self, bound: Vec<Bound>, quotas: &Arc<ConnectionQuotas>) {
        for Bound { listener, index, sockets } in bound {
            let Endpoint { host, port, .. } = &listener.advertised;
            info!(%listener, advertised = format!("{host}:{port}"), "listening");
            for socket in sockets {
                let (listener, quotas, shutdown) = (listener.clone(), quotas.clone(), self.shutdown.clone());
                let acceptor =
                    Acceptor { socket: socket.into(), listener, index, quotas, inlets: self.inlets.clone(), shutdown };
                tokio::spawn(self.failures.watched("acceptor", acceptor.run()));
            }
        }
    }

    /// Stops accepting; requests in progress are finished.
    pub(super) async fn stop(self) {
        self.shutdown.cancel();
        let reactors = self.reactors;
        // Panics have been reported as failures already.
        let _told =
            tokio::task::spawn_blocking(move || reactors.into_iter().map(JoinHandle::join).collect::<Vec<_>>()).await;
    }
}
