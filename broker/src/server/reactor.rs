//! The data plane: one thread and one single-threaded runtime per reactor. A connection stays on the reactor that it
//! was handed to, so nothing of it needs a lock.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::{Instant, interval, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::buffers::Buffers;
use super::connection::{Connection, InFlightBudget};
use crate::clock::Pulse;
use crate::config::Listener;
use crate::handlers::{Broker, RequestContext};

/// Connections accepted but not yet taken up by their reactor; the acceptor waits when a reactor is that far behind.
const ACCEPTED_QUEUED_MAX: usize = 1024;
/// How often a loop shows that it turns, and after what silence it is dead.
const PULSE_INTERVAL: Duration = Duration::from_secs(2);
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Time that requests in progress get to finish at shutdown.
const DRAIN_MAX: Duration = Duration::from_secs(2);
const BLOCKING_THREADS_MAX: usize = 4;

/// A connection on its way from the acceptor to a reactor.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) listener: Arc<Listener>,
}

/// Settings that are the same for all connections.
#[derive(Debug, Clone)]
pub(super) struct ConnectionLimits {
    pub(super) frame_bytes_max: usize,
    pub(super) idle_max: Duration,
    pub(super) budget: InFlightBudget,
}

/// Where the acceptor hands connections to.
#[derive(Debug, Clone)]
pub(super) struct Inlet {
    sender: mpsc::Sender<Accepted>,
    connections: Arc<AtomicUsize>,
}

impl Inlet {
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// False when the reactor has ended.
    pub(super) async fn hand_over(&self, accepted: Accepted) -> bool {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let handed = self.sender.send(accepted).await.is_ok();
        if !handed {
            self.connections.fetch_sub(1, Ordering::Relaxed);
        }
        handed
    }
}

pub(super) fn spawn(
    index: usize,
    broker: Arc<Broker>,
    limits: ConnectionLimits,
    pulse: Arc<Pulse>,
    shutdown: CancellationToken,
) -> io::Result<(Inlet, JoinHandle<()>)> {
    let (sender, receiver) = mpsc::channel(ACCEPTED_QUEUED_MAX);
    let connections = Arc::new(AtomicUsize::new(0));
    let inlet = Inlet { sender, connections: connections.clone() };
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name(format!("blocking-{index}"))
        .build()?;
    let thread = std::thread::Builder::new().name(format!("reactor-{index}")).spawn(move || {
        let reactor = Reactor { broker, limits, pulse, shutdown, connections, buffers: Buffers::default() };
        LocalSet::new().block_on(&runtime, reactor.run(receiver));
    })?;
    Ok((inlet, thread))
}

struct Reactor {
    broker: Arc<Broker>,
    limits: ConnectionLimits,
    pulse: Arc<Pulse>,
    shutdown: CancellationToken,
    connections: Arc<AtomicUsize>,
    buffers: Buffers,
}

impl Reactor {
    async fn run(self, mut accepted: mpsc::Receiver<Accepted>) {
        let mut tick = interval(PULSE_INTERVAL);
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => break,
                _ = tick.tick() => self.pulse.beat(),
                next = accepted.recv() => match next {
                    Some(connection) => self.serve(connection),
                    None => break,
                },
            }
        }
        self.drain().await;
    }

    fn serve(&self, accepted: Accepted) {
        let connections = self.connections.clone();
        let metrics = self.broker.metrics.clone();
        let peer = accepted.peer;
        let connection = match self.connection(accepted) {
            Ok(connection) => connection,
            Err(error) => {
                debug!(%peer, %error, "connection could not be set up");
                connections.fetch_sub(1, Ordering::Relaxed);
                return;
            }
        };
        metrics.connections.inc();
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.serve().await {
                debug!(%peer, %error, "connection closed");
            }
            metrics.connections.dec();
            connections.fetch_sub(1, Ordering::Relaxed);
        });
    }

    fn connection(&self, accepted: Accepted) -> io::Result<Connection> {
        accepted.stream.set_nodelay(true)?;
        accepted.stream.set_nonblocking(true)?;
        Ok(Connection {
            stream: tokio::net::TcpStream::from_std(accepted.stream)?,
            context: RequestContext { listener: accepted.listener },
            broker: self.broker.clone(),
            buffers: self.buffers.clone(),
            limits: self.limits.clone(),
            shutdown: self.shutdown.clone(),
        })
    }

    /// Connections end by themselves after the request in progress; what takes longer is cut off with the runtime.
    async fn drain(&self) {
        let deadline = Instant::now() + DRAIN_MAX;
        let mut tick = interval(Duration::from_millis(5));
        let all_gone = async {
            while 0 < self.connections.load(Ordering::Relaxed) {
                tick.tick().await;
            }
        };
        if timeout_at(deadline, all_gone).await.is_err() {
            debug!("requests still in progress were cut off");
        }
    }
}
