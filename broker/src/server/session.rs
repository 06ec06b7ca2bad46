//! A node's duties to the controller: a broker runs its [`LifeCycle`], a controller is registered once.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use protocol::types::BrokerEpoch;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::life_cycle::{Departure, LifeCycle, LifeCycleConfig, Observed, Step};
use crate::clock::Pulse;
use crate::metadata::{Image, QuorumView};
use crate::peer::{ControllerChannel, NodeDescription, Refusal, register_broker, register_controller, send_heartbeat};

/// Pause before a controller is registered again.
const CONTROLLER_PAUSE: Duration = Duration::from_secs(1);

/// A broker's session with the active controller.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) node: NodeDescription,
    pub(super) channel: ControllerChannel,
    pub(super) config: LifeCycleConfig,
    /// The epoch left by a clean stop.
    pub(super) previous_epoch: Option<BrokerEpoch>,
    pub(super) image: Arc<ArcSwap<Image>>,
    pub(super) quorum: watch::Receiver<QuorumView>,
    /// Beats whenever a controller renews the session.
    pub(super) contact: Arc<Pulse>,
}

/// How a session ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) departure: Departure,
    /// For the clean-shutdown file.
    pub(super) epoch: Option<BrokerEpoch>,
}

impl Session {
    /// Runs until the controller lets the broker go, after `leave`, or the broker cannot go on.
    pub(super) async fn run(mut self, leave: CancellationToken) -> Ended {
        let origin = Instant::now();
        let mut life = LifeCycle::new(self.config, self.node.incarnation, self.previous_epoch, Duration::ZERO);
        loop {
            life.observe(self.observed(), origin.elapsed());
            let is_leaving = life.is_leaving();
            match life.next(origin.elapsed()) {
                Step::Leave(departure) => return Ended { departure, epoch: life.epoch() },
                step => tokio::select! {
                    () = self.take(step, &mut life, origin) => {}
                    // The interrupted step may be repeated.
                    () = leave.cancelled(), if !is_leaving => {}
                },
            }
            if leave.is_cancelled() {
                life.leave(origin.elapsed());
            }
        }
    }

    async fn take(&mut self, step: Step, life: &mut LifeCycle, origin: Instant) {
        let deadline = Instant::now() + self.config.session_timeout / 2;
        match step {
            Step::Register { previous_epoch } => {
                let outcome = register_broker(&self.channel, &self.node, previous_epoch, deadline).await;
                match &outcome {
                    Ok(epoch) => info!(%epoch, "registered with the controller"),
                    Err(refusal) => info!(%refusal, "registration failed; retrying"),
                }
                life.registered(outcome, origin.elapsed());
            }
            Step::Heartbeat(heartbeat) => {
                // If the process was paused meanwhile the answer is old: what counts is when it was asked.
                let asked = std::time::Instant::now();
                let outcome = send_heartbeat(&self.channel, self.node.id, heartbeat, deadline).await;
                match &outcome {
                    Ok(answer) if answer.renews_session(self.contact.is_alive()) => self.contact.beat_at(asked),
                    Ok(_) => debug!("fenced, or behind the metadata: others may lead what this broker leads"),
                    Err(Refusal::NotRegistered) => warn!("the controller does not know this broker; registering again"),
                    Err(refusal) => debug!(%refusal, "heartbeat failed"),
                }
                life.answered(&outcome, origin.elapsed());
            }
            Step::WaitUntil(due) => tokio::select! {
                () = sleep_until(origin + due) => {}
                changed = self.quorum.changed() => if changed.is_err() {
                    // The control thread has ended, and the process will soon.
                    sleep_until(origin + due).await;
                },
            },
            Step::Leave(_) => {}
        }
    }

    fn observed(&mut self) -> Observed {
        let view = self.quorum.borrow_and_update();
        let controller = view.leader.as_ref().map(|leader| (leader.id, view.epoch));
        let image = self.image.load();
        let registered = image.brokers.get(&self.node.id);
        Observed {
            registered: registered.map(|registered| (registered.epoch, registered.incarnation)),
            metadata_end: image.end_offset,
            controller,
            departing: image.brokers.values().filter(|broker| broker.in_controlled_shutdown).count(),
        }
    }
}

/// A controller as it is announced to others.
#[derive(Debug)]
pub(super) struct Announcement {
    pub(super) node: NodeDescription,
    pub(super) channel: ControllerChannel,
    pub(super) image: Arc<ArcSwap<Image>>,
    pub(super) quorum: watch::Receiver<QuorumView>,
    pub(super) patience: Duration,
}

impl Announcement {
    /// Registers this controller whenever the metadata does not have this process. Nothing waits for it: it tells
    /// others which features this node's controller supports.
    pub(super) async fn run(self) {
        let Self { node, channel, image, mut quorum, patience } = self;
        let is_known = |_: &QuorumView| {
            let image = image.load();
            let registered = image.controllers.get(&node.id);
            registered.is_some_and(|registered| registered.incarnation_id == node.incarnation)
        };
        // Ends with the node.
        while quorum.wait_for(|view| !is_known(view)).await.is_ok() {
            if let Err(refusal) = register_controller(&channel, &node, Instant::now() + patience).await {
                debug!(%refusal, "controller registration failed; retrying");
            }
            // Replayed here soon, or requested again.
            let _late = timeout(CONTROLLER_PAUSE, quorum.wait_for(is_known)).await.is_err();
        }
    }
}
