//! The data plane: one thread with a single-threaded runtime per reactor. A connection stays on its reactor, so its
//! state needs no lock.

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::BytesMut;
use tokio::runtime::{self, LocalOptions, LocalRuntime};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, interval, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::activity::{Activity, Look, Patience, Phase};
use super::budget::{InFlightBudget, Share};
use super::buffers::Buffers;
use super::connection::Connection;
use super::quotas::Place;
use crate::clock::Pulse;
use crate::config::Listener;
use crate::handlers::{Broker, RequestContext};
use crate::metrics::RequestMetrics;

/// Connections accepted but not yet taken by their reactor; the acceptor waits when a reactor is that far behind.
const ACCEPTED_QUEUED_MAX: usize = 1024;
/// A loop that has been silent for this long is dead. It beats at every check of its connections, at least once a
/// second.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Time that requests in progress get to finish at shutdown.
const DRAIN_MAX: Duration = Duration::from_secs(2);
const DRAIN_INTERVAL: Duration = Duration::from_millis(5);
const BLOCKING_THREADS_MAX: usize = 4;

/// A connection on its way from the acceptor to a reactor.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) listener: Arc<Listener>,
    pub(super) place: Place,
}

/// Settings that are the same for all connections.
#[derive(Debug, Clone)]
pub(super) struct ConnectionLimits {
    pub(super) frame_bytes_max: usize,
    pub(super) idle_max: Duration,
    pub(super) budget: Arc<InFlightBudget>,
}

/// The acceptor's end of a reactor.
#[derive(Debug, Clone)]
pub(super) struct Inlet {
    sender: mpsc::Sender<(Accepted, Seat)>,
    connections: Arc<AtomicUsize>,
}

/// A connection in the load count of its reactor.
#[derive(Debug)]
struct Seat(Arc<AtomicUsize>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Inlet {
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// False if the reactor has ended.
    pub(super) async fn hand_over(&self, accepted: Accepted) -> bool {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let seat = Seat(self.connections.clone());
        self.sender.send((accepted, seat)).await.is_ok()
    }
}

/// Shared by the connections of one reactor.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) broker: Arc<Broker>,
    pub(super) limits: ConnectionLimits,
    pub(super) buffers: Buffers,
    /// Separate, so that buffers grown for large requests are not used for answers, which are small.
    pub(super) answer_buffers: Buffers,
    /// This reactor's own counters, so that counting a request touches no memory of another core.
    pub(super) requests: Arc<RequestMetrics>,
    looks: Cell<Look>,
    stopping: Cell<bool>,
}

impl Shared {
    pub(super) fn now(&self) -> Look {
        self.looks.get()
    }

    /// Whether no further request shall be read.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.get()
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
    let inlet = Inlet { sender, connections: Arc::new(AtomicUsize::new(0)) };
    let failures = broker.replicas.failures().clone();
    let (unbuilt, refused) = sync_channel(1);
    let thread = failures.spawn(format!("reactor-{index}"), move || {
        let runtime = match local_runtime(index) {
            Ok(runtime) => runtime,
            Err(error) => return drop(unbuilt.send(error)),
        };
        drop(unbuilt);
        let shared = Shared {
            requests: broker.metrics.of_reactor(index),
            broker,
            limits,
            buffers: Buffers::default(),
            answer_buffers: Buffers::default(),
            looks: Cell::new(0),
            stopping: Cell::new(false),
        };
        let reactor = Reactor { shared: Rc::new(shared), connections: Vec::new() };
        runtime.block_on(reactor.run(receiver, &pulse, &shutdown));
    })?;
    // Its panic is a failure of the process, not of this.
    refused.recv().map_or(Ok((inlet, thread)), Err)
}

/// Cannot leave the thread that builds it.
fn local_runtime(index: usize) -> io::Result<LocalRuntime> {
    runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name(format!("blocking-{index}"))
        .build_local(LocalOptions::default())
}

struct Reactor {
    shared: Rc<Shared>,
    /// Ended ones are removed at the next check.
    connections: Vec<Entry>,
}

struct Entry {
    peer: SocketAddr,
    activity: Rc<Activity>,
    context: Rc<RequestContext>,
    task: AbortHandle,
}

impl Reactor {
    async fn run(
        mut self,
        mut accepted: mpsc::Receiver<(Accepted, Seat)>,
        pulse: &Pulse,
        shutdown: &CancellationToken,
    ) {
        let patience = Patience::new(self.shared.limits.idle_max);
        let mut look = interval(patience.interval);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = look.tick() => {
                    pulse.beat();
                    self.look(patience);
                }
                next = accepted.recv() => match next {
                    Some((connection, seat)) => self.serve(connection, seat),
                    None => break,
                },
            }
        }
        self.drain().await;
    }

    fn serve(&mut self, accepted: Accepted, seat: Seat) {
        let Accepted { stream, peer, listener, place } = accepted;
        let stream = match tokio::net::TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => return debug!(%peer, %error, "connection could not be set up"),
        };
        let activity = Rc::new(Activity::new(self.shared.now()));
        let requests = self.shared.requests.clone();
        let context = Rc::new(RequestContext::new(listener, peer.ip(), requests));
        let connection = Connection {
            stream,
            context: context.clone(),
            shared: self.shared.clone(),
            activity: activity.clone(),
            share: Share::none_of(self.shared.limits.budget.clone()),
            received: BytesMut::new(),
            answers: BytesMut::new(),
        };
        let (shared, ended) = (self.shared.clone(), context.clone());
        let task = tokio::task::spawn_local(async move {
            let _counted = (place, seat);
            if let Err(error) = connection.serve().await {
                debug!(%peer, %error, "connection closed");
            }
            if !shared.is_stopping() {
                shared.broker.disconnected(&ended).await;
            }
        });
        self.connections.push(Entry { peer, activity, context, task: task.abort_handle() });
    }

    /// Closes overdue connections.
    fn look(&mut self, patience: Patience) {
        let now = self.shared.now().wrapping_add(1);
        self.shared.looks.set(now);
        let is_short = self.shared.limits.budget.is_short();
        self.connections.retain(|entry| {
            if entry.task.is_finished() {
                return false;
            }
            let overdue = entry.activity.overdue(now, patience, is_short);
            if let Some(reason) = overdue {
                debug!(peer = %entry.peer, reason, "connection closed");
                entry.task.abort();
            }
            overdue.is_none()
        });
    }

    /// Incomplete requests are dropped; requests in progress are answered, those that wait at once. What takes longer
    /// is cut off with the runtime.
    async fn drain(&mut self) {
        self.shared.stopping.set(true);
        let deadline = Instant::now() + DRAIN_MAX;
        let mut tick = interval(DRAIN_INTERVAL);
        let all_gone = async {
            loop {
                tick.tick().await;
                self.connections.retain(|entry| !entry.task.is_finished());
                if self.connections.is_empty() {
                    return;
                }
                for entry in &self.connections {
                    match entry.activity.phase() {
                        Phase::Idle | Phase::Receiving | Phase::Waiting => entry.task.abort(),
                        Phase::Handling => entry.context.hurry.notify_one(),
                        Phase::Sending => {}
                    }
                }
            }
        };
        if timeout_at(deadline, all_gone).await.is_err() {
            debug!("requests still in progress were cut off");
        }
    }
}
