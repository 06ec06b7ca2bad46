//! Accepts on every listener and hands each connection to the reactor that has the fewest.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::reactor::{Accepted, Inlet};
use crate::config::Listener;

/// Pause after an accept that failed for want of descriptors or memory: the kernel keeps the connection queued.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);

pub(super) async fn accept(
    socket: TcpListener,
    listener: Arc<Listener>,
    inlets: Vec<Inlet>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let socket = tokio::net::TcpListener::from_std(socket)?;
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = shutdown.cancelled() => return Ok(()),
        };
        let accepted = accepted.and_then(|(stream, peer)| Ok((stream.into_std()?, peer)));
        match accepted {
            Ok((stream, peer)) => {
                let accepted = Accepted { stream, peer, listener: listener.clone() };
                let Some(inlet) = inlets.iter().min_by_key(|inlet| inlet.connections()) else { return Ok(()) };
                if !inlet.hand_over(accepted).await {
                    return Ok(());
                }
            }
            Err(error) => {
                warn!(listener = %listener.name, %error, "accept failed; trying again");
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            }
        }
    }
}
