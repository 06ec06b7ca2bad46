//! A node that serves, from its first open socket to the last closed file.
//!
//! Start, in this order:
//!
//! 1. controller sockets bound, listening and accepting: the quorum needs them
//! 2. committed metadata replayed, then the logs of the partitions opened
//! 3. client sockets bound; the broker registers
//! 4. registration replayed here: client sockets listen
//! 5. broker unfenced: clients are accepted
//!
//! Stop: not ready; leaders moved away while it serves; client sockets; controller; files.

use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::types::BrokerEpoch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::budget::InFlightBudget;
use super::life_cycle::Departure;
use super::loading::{self, Opened};
use super::management::{Management, Stage};
use super::plane::{self, Plane};
use super::probes::make_probes;
use super::reactor::ConnectionLimits;
use super::session::Ended;
use super::startup::ServerError;
use crate::config::{BrokerConfig, ListenerKind};
use crate::controller::{ControllerThread, Starting};
use crate::coordinator::CoordinatorThread;
use crate::failure::Failure;
use crate::handlers::Broker;
use crate::peer::ControllerChannel;
use crate::replica::{Checkpoints, Cleaner, Deleter, FetcherConfig, Fetchers, Flusher, LoadProgress};

/// Time for clients to learn from this broker where its leaders went: a client that loses its only connection cannot
/// ask any other, and librdkafka looks for one only once a second.
const FAREWELL: Duration = Duration::from_millis(300);
/// The value for "not registered".
const NO_EPOCH: BrokerEpoch = BrokerEpoch(-1);

#[derive(Debug)]
pub(super) struct Running {
    broker: Arc<Broker>,
    controller: ControllerThread,
    coordinator: CoordinatorThread,
    /// None on a node that is only a controller.
    session: Option<JoinHandle<Ended>>,
    leave: CancellationToken,
    controllers: Plane,
    clients: Plane,
    fetchers: Fetchers,
    flusher: Flusher,
    deleter: Deleter,
    cleaner: Cleaner,
}

/// Why a node stops.
#[derive(Debug)]
pub(super) enum Reason {
    Told,
    Failed(Failure),
    /// The broker's session has ended by itself.
    Session(Ended),
}

impl Running {
    /// Serves controllers at once, clients as soon as the broker is unfenced. Returns the reason if it must stop
    /// before that. `None`: told to stop before there was anything to close.
    pub(super) async fn start(
        config: &BrokerConfig,
        management: &Management,
        opened: Opened,
        stop: &CancellationToken,
    ) -> Result<Option<(Self, Option<Reason>)>, ServerError> {
        let Opened { broker, starting, checkpoints, coordinator, session, announcement, isr_channel } = opened;
        let network = &management.network;
        let limits = |budget: &Arc<InFlightBudget>| ConnectionLimits {
            frame_bytes_max: config.request_bytes_max,
            idle_max: config.connection_idle_max,
            budget: budget.clone(),
        };
        let (clients_end, end) = (config.client_reactors(), config.client_reactors() + config.controller_reactors());
        let pulses = &management.pulses;
        let controllers = Plane::spawn(clients_end..end, &broker, &limits(&network.controllers_budget), pulses)?;
        let controller_sockets = plane::bind(config, |kind| kind == ListenerKind::Controller)?;
        plane::listen(&controller_sockets, config)?;
        controllers.accept(controller_sockets, &network.quotas);
        let failures = broker.replicas.failures().clone();
        let controller = tokio::select! {
            biased;
            failure = failures.failed() => return Err(failure.into()),
            loaded = load(&broker, starting, checkpoints, management) => loaded?,
            () = stop.cancelled() => return Ok(None),
        };
        let client_sockets = plane::bind(config, |kind| kind != ListenerKind::Controller)?;
        let leave = CancellationToken::new();
        let session = session.map(|session| tokio::spawn(failures.watched("session", session.run(leave.clone()))));
        if let Some(announcement) = announcement {
            tokio::spawn(failures.watched("announcement", announcement.run()));
        }
        let probes = make_probes(broker.controller.clone(), config.inter_broker_listener.clone(), failures.clone());
        tokio::spawn(failures.watched("probes", probes));
        let clients = Plane::spawn(0..clients_end, &broker, &limits(&network.budget), pulses)?;
        let flusher = Flusher::spawn(broker.replicas.clone()).map_err(|error| ServerError::start("flusher", error))?;
        let deleter = Deleter::spawn(broker.replicas.clone()).map_err(|error| ServerError::start("deleter", error))?;
        let cleaner = Cleaner::spawn(&broker.replicas).map_err(|error| ServerError::start("cleaner", error))?;
        let fetchers = fetchers(config, &broker, isr_channel)?;
        management.stage.store(Arc::new(Stage::Registering(broker.clone())));
        let mut running = Self {
            broker,
            controller,
            coordinator,
            session,
            leave,
            controllers,
            clients,
            fetchers,
            flusher,
            deleter,
            cleaner,
        };
        // Earlier connections are refused, which tells clients that the former process is gone.
        let mut reason = running.until_replayed(Broker::is_registered, stop).await;
        if reason.is_none() {
            plane::listen(&client_sockets, config)?;
            reason = running.until_replayed(Broker::is_unfenced, stop).await;
        }
        if reason.is_none() {
            running.clients.accept(client_sockets, &network.quotas);
            management.stage.store(Arc::new(Stage::Running(running.broker.clone())));
        }
        Ok(Some((running, reason)))
    }

    /// Waits until the replayed metadata says so of this broker, or there is a reason to stop.
    async fn until_replayed(&mut self, is_so: fn(&Broker) -> bool, stop: &CancellationToken) -> Option<Reason> {
        self.session.as_ref()?;
        let (broker, mut quorum) = (self.broker.clone(), self.broker.raft.view());
        tokio::select! {
            _replayed = quorum.wait_for(|_| is_so(&broker)) => None,
            reason = self.until(stop) => Some(reason),
        }
    }

    pub(super) async fn until(&mut self, stop: &CancellationToken) -> Reason {
        tokio::select! {
            () = stop.cancelled() => Reason::Told,
            failure = self.broker.replicas.failures().failed() => Reason::Failed(failure),
            ended = ended(&mut self.session) => Reason::Session(ended),
        }
    }

    /// After a failure nothing is closed: recovery will judge what is on disk.
    pub(super) async fn stop(mut self, management: &Management, reason: Reason) -> Result<(), ServerError> {
        let began = Instant::now();
        let ended = match reason {
            Reason::Failed(failure) => return Err(failure.into()),
            Reason::Session(ended) => Some(ended),
            Reason::Told => {
                info!("broker stopping");
                management.stage.store(Arc::new(Stage::Leaving(self.broker.clone())));
                self.leave().await?
            }
        };
        let (mut failure, mut epoch) = (None, None);
        if let Some(ended) = ended {
            epoch = ended.epoch;
            match ended.departure {
                Departure::Granted => {
                    info!(took_ms = began.elapsed().as_millis(), "controlled shutdown granted");
                    self.say_farewell().await;
                }
                Departure::NotGranted(reason) => warn!(reason, "controlled shutdown not granted: stopping anyway"),
                Departure::Failed(error) => failure = Some(ServerError::start("registration", error)),
            }
        }
        management.stage.store(Arc::new(Stage::Stopping));
        self.close(epoch.unwrap_or(NO_EPOCH)).await?;
        info!(took_ms = began.elapsed().as_millis(), "broker stopped");
        failure.map_or(Ok(()), Err)
    }

    /// Serves on until the controller lets the broker go.
    async fn leave(&mut self) -> Result<Option<Ended>, ServerError> {
        self.leave.cancel();
        if self.session.is_none() {
            return Ok(None);
        }
        tokio::select! {
            ended = ended(&mut self.session) => Ok(Some(ended)),
            failure = self.broker.replicas.failures().failed() => Err(failure.into()),
        }
    }

    async fn say_farewell(&self) {
        let others = self.broker.image.load().active_brokers().any(|(id, _)| id != self.broker.config.broker_id);
        if others {
            sleep(FAREWELL).await;
        }
    }

    async fn close(self, epoch: BrokerEpoch) -> Result<(), ServerError> {
        self.clients.stop().await;
        self.coordinator.stop();
        self.fetchers.stop();
        self.cleaner.stop();
        self.flusher.stop();
        self.deleter.stop();
        let metadata_closed = self.controller.stop().await;
        self.controllers.stop().await;
        let is_clean = metadata_closed && self.broker.replicas.close();
        if let Some(failure) = self.broker.replicas.failures().first() {
            return Err(failure.into());
        }
        if is_clean {
            let directory = self.broker.replicas.directory();
            directory.write_clean_shutdown(epoch).map_err(|error| ServerError::start("clean shutdown", error))?;
        }
        Ok(())
    }
}

fn fetchers(config: &BrokerConfig, broker: &Broker, isr_channel: ControllerChannel) -> Result<Fetchers, ServerError> {
    let incarnation = broker.identity.incarnation_id;
    let config = FetcherConfig::from_config(config);
    Fetchers::spawn(broker.replicas.clone(), broker.image.clone(), incarnation, config, isr_channel)
        .map_err(|error| ServerError::start("replica fetcher", error))
}

/// Waits for the quorum, and opens the logs. On blocking threads, so that the management API can tell the progress.
async fn load(
    broker: &Arc<Broker>,
    starting: Starting,
    checkpoints: Checkpoints,
    management: &Management,
) -> Result<ControllerThread, ServerError> {
    let ended = |error| ServerError::start("loading", error);
    let (_, _, controller) = spawn_blocking(|| starting.wait()).await.map_err(ended)??;
    let progress = Arc::new(LoadProgress::new());
    management.stage.store(Arc::new(Stage::Recovering(progress.clone())));
    let broker = broker.clone();
    spawn_blocking(move || loading::load(&broker, &checkpoints, &progress)).await.map_err(ended)??;
    Ok(controller)
}

/// Never returns if there is no session, or it has panicked: that is reported as a failure.
async fn ended(session: &mut Option<JoinHandle<Ended>>) -> Ended {
    let Some(running) = session else { return std::future::pending().await };
    let outcome = running.await;
    *session = None;
    match outcome {
        Ok(ended) => ended,
        Err(_) => std::future::pending().await,
    }
}
