//! Accepts on every listener, refuses connections over a limit, and hands the others to the reactor with the fewest.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::quotas::ConnectionQuotas;
use super::reactor::{Accepted, Inlet};
use crate::config::Listener;

/// Pause after an accept that failed for lack of descriptors or memory: the kernel keeps the connection queued.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);
/// Least interval between warnings of the same kind.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// One socket of a listener.
pub(super) struct Acceptor {
    pub(super) socket: TcpListener,
    pub(super) listener: Arc<Listener>,
    /// The listener's index in the configuration.
    pub(super) index: usize,
    pub(super) quotas: Arc<ConnectionQuotas>,
    pub(super) inlets: Vec<Inlet>,
    pub(super) shutdown: CancellationToken,
}

impl Acceptor {
    /// Ends at shutdown, or when the reactors have ended.
    pub(super) async fn run(self) -> io::Result<()> {
        let Self { socket, listener, index, quotas, inlets, shutdown } = self;
        let socket = tokio::net::TcpListener::from_std(socket)?;
        let (mut refusals, mut failures) = (Seldom::default(), Seldom::default());
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                () = shutdown.cancelled() => return Ok(()),
            };
            let pause = match accepted.and_then(|(stream, peer)| Ok((stream.into_std()?, peer))) {
                Ok((stream, peer)) => {
                    match quotas.admit(peer.ip(), index, listener.kind) {
                        Ok(place) => {
                            let accepted = Accepted { stream, peer, listener: listener.clone(), place };
                            let Some(inlet) = inlets.iter().min_by_key(|inlet| inlet.connections()) else {
                                return Ok(());
                            };
                            if !inlet.hand_over(accepted).await {
                                return Ok(());
                            }
                        }
                        Err(refusal) if refusals.is_due() => {
                            warn!(listener = %listener.name, %peer, %refusal, "connection refused");
                        }
                        Err(refusal) => debug!(listener = %listener.name, %peer, %refusal, "connection refused"),
                    }
                    quotas.pause(Instant::now())
                }
                Err(error) => {
                    if failures.is_due() {
                        warn!(listener = %listener.name, %error, "accept failed; trying again");
                    }
                    PAUSE_AFTER_FAILURE
                }
            };
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// Keeps a lasting problem from filling the log.
#[derive(Debug, Default)]
struct Seldom {
    last: Option<Instant>,
}

impl Seldom {
    fn is_due(&mut self) -> bool {
        let due = self.last.is_none_or(|last| WARNING_INTERVAL <= last.elapsed());
        if due {
            self.last = Some(Instant::now());
        }
        due
    }
}
