//! Probes brokers that seem gone, for the controller: an answer, or a refused connection, tells more than silence.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::controller::{ControllerHandle, Probe, ProbeOutcome};
use crate::failure::Failures;
use crate::peer::{Connection, PeerFailure};

/// For the whole probe: a busy process takes longer to answer than to refuse.
const PROBE_MAX: Duration = Duration::from_millis(300);
/// A process that is just being replaced refuses once.
const SECOND_LOOK: Duration = Duration::from_millis(25);

/// Runs until the controller ends.
pub(super) async fn make_probes(controller: ControllerHandle, inter_broker_listener: String, failures: Failures) {
    while let Ok(probe) = controller.next_probe().await {
        let (controller, inter_broker_listener) = (controller.clone(), inter_broker_listener.clone());
        // A suspect that is never probed would stay suspected.
        tokio::spawn(failures.watched("probe", async move {
            let outcome = make(&probe, &inter_broker_listener).await;
            info!(broker = %probe.broker, epoch = %probe.epoch, ?outcome, "probed broker");
            if let Err(error) = controller.probed(probe.broker, probe.epoch, outcome).await {
                warn!(%error, "probe outcome not delivered");
            }
        }));
    }
}

async fn make(probe: &Probe, inter_broker_listener: &str) -> ProbeOutcome {
    let named = probe.endpoints.iter().find(|endpoint| endpoint.name == inter_broker_listener);
    let Some(endpoint) = named.or_else(|| probe.endpoints.first()) else { return ProbeOutcome::Silent };
    let deadline = Instant::now() + PROBE_MAX;
    let dial = || Connection::connect(&endpoint.host, endpoint.port, "controller", deadline);
    let mut answer = dial().await;
    if answer.as_ref().is_err_and(|error| is_absence(&error.failure)) {
        sleep(SECOND_LOOK).await;
        answer = dial().await;
    }
    match answer {
        Ok(connection) => match connection.incarnation() {
            Some(incarnation) if incarnation == probe.incarnation => ProbeOutcome::Alive,
            Some(_) => ProbeOutcome::OtherIncarnation,
            None => ProbeOutcome::Silent,
        },
        Err(error) if error.failure == PeerFailure::Refused => ProbeOutcome::Refused,
        Err(_) => ProbeOutcome::Silent,
    }
}

/// Whether nothing listens, or the process that did is just ending.
fn is_absence(failure: &PeerFailure) -> bool {
    matches!(failure, PeerFailure::Refused | PeerFailure::Reset)
}
