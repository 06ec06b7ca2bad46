//! Start and stop, in this order:
//!
//! 1. management API, so that probes see what follows
//! 2. data directory: lock, identity, or wait to be formatted
//! 3. metadata log replayed, logs of the partitions loaded
//! 4. sockets bound, broker registered and unfenced, connections served
//! 5. at SIGTERM: not ready, requests in progress finished, logs synced and closed, clean-shutdown file, exit 0

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use protocol::metadata_records::Endpoint;
use protocol::types::{BrokerEpoch, InvalidClusterId, InvalidUuid};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use storage::Disk;
use storage::directory::{ExpectedOwner, LogDirectory, OpenError};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::acceptor::Acceptor;
use super::listen;
use super::loading::{Loaded, load};
use super::management::{self, FormatCall, FormatRefusal, FormatRequest, Management, Stage};
use super::network::Network;
use super::reactor::{self, ConnectionLimits};
use crate::clock::Pulse;
use crate::config::BrokerConfig;
use crate::controller::{ControllerThread, FormatError, FormatPlan, Heartbeat, Voter, format_directory};
use crate::coordinator::CoordinatorThread;
use crate::handlers::Broker;
use crate::replica::{Deleter, Flusher, LoadProgress};

#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    #[error(transparent)]
    Directory(Box<dyn std::error::Error + Send + Sync>),
    #[error("{0}")]
    DirectoryFailed(String),
    #[error("{0}")]
    Start(String),
}

impl ServerError {
    pub(super) fn start(what: &str, error: impl std::fmt::Display) -> Self {
        Self::Start(format!("{what}: {error}"))
    }

    fn directory(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Directory(error.into())
    }
}

/// Runs a broker until SIGTERM or SIGINT.
pub(crate) fn run(config: BrokerConfig, disk: Arc<dyn Disk>) -> Result<(), ServerError> {
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .build()
        .map_err(|error| ServerError::start("runtime", error))?;
    let outcome = runtime.block_on(async {
        let stop = stop_signal().map_err(|error| ServerError::start("signals", error))?;
        Startup::new(config, disk).run(stop).await
    });
    // A recovery that was told to stop may still be reading: it changes nothing that the next start relies on.
    runtime.shutdown_background();
    outcome
}

/// Every connection and every active segment holds descriptors: all that the process may have are its to use.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    if let Err(error) = raised {
        warn!(%error, limit = ?limit.current, "the limit of open files stays as it is");
    }
}

/// Cancelled by the first SIGTERM or SIGINT; further ones change nothing.
fn stop_signal() -> std::io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        token.cancel();
    });
    Ok(stop)
}

struct Startup {
    config: Arc<BrokerConfig>,
    disk: Arc<dyn Disk>,
    management: Arc<Management>,
    began: Instant,
}

impl Startup {
    fn new(config: BrokerConfig, disk: Arc<dyn Disk>) -> Self {
        let pulses = (0..config.network_threads).map(|_| Arc::new(Pulse::new(reactor::SILENCE_MAX))).collect();
        let management = Arc::new(Management {
            broker_id: config.broker_id,
            began: SystemTime::now(),
            stage: ArcSwap::from_pointee(Stage::Starting),
            tokens_file: config.management_tokens.clone(),
            pulses,
            network: Arc::new(Network::new(&config)),
        });
        Self { config: Arc::new(config), disk, management, began: Instant::now() }
    }

    async fn run(self, stop: CancellationToken) -> Result<(), ServerError> {
        if let Some(address) = &self.config.management_address {
            serve_management(address, self.management.clone()).await?;
        }
        let Some(directory) = self.open_directory(&stop).await? else { return Ok(()) };
        let loaded = tokio::select! {
            loaded = self.load(directory) => loaded?,
            () = stop.cancelled() => return Ok(()),
        };
        let running = self.serve(loaded).await?;
        info!(took_ms = self.began.elapsed().as_millis(), "serving");
        let failure = running.until(&stop).await;
        self.management.stage.store(Arc::new(Stage::Stopping));
        running.stop(failure).await
    }

    /// `None`: told to stop while waiting to be formatted.
    async fn open_directory(&self, stop: &CancellationToken) -> Result<Option<LogDirectory>, ServerError> {
        match self.try_open() {
            Err(OpenError::NotFormatted { path }) if self.config.format_awaited => {
                info!(directory = %path.display(), "not formatted; waiting for POST /v1/format");
            }
            opened => return opened.map(Some).map_err(ServerError::directory),
        }
        let (sender, mut calls) = mpsc::channel(1);
        self.management.stage.store(Arc::new(Stage::Unformatted(sender)));
        loop {
            let call = tokio::select! {
                () = stop.cancelled() => return Ok(None),
                call = calls.recv() => call,
            };
            let Some(call) = call else { return Ok(None) };
            let outcome = self.format(&call);
            // Perhaps formatted by hand meanwhile.
            let is_formatted = matches!(outcome, Ok(()) | Err(FormatRefusal::AlreadyFormatted));
            let opened = is_formatted.then(|| self.try_open());
            if call.reply.send(outcome).is_err() {
                warn!("who asked to format did not wait for the answer");
            }
            if let Some(opened) = opened {
                self.management.stage.store(Arc::new(Stage::Starting));
                return opened.map(Some).map_err(ServerError::directory);
            }
        }
    }

    fn try_open(&self) -> Result<LogDirectory, OpenError> {
        let owner = ExpectedOwner { cluster_id: None, node_id: self.config.broker_id };
        LogDirectory::open(&self.disk, &self.config.log_directory, &owner)
    }

    fn format(&self, call: &FormatCall) -> Result<(), FormatRefusal> {
        let plan = plan(&call.request, &self.config)?;
        format_directory(&self.disk, &self.config, &plan).map_err(|error| match error {
            FormatError::Voters(_) => FormatRefusal::Invalid(error.to_string()),
            FormatError::AlreadyFormatted { .. } => FormatRefusal::AlreadyFormatted,
            _ => FormatRefusal::Failed(error.to_string()),
        })?;
        info!(cluster = %plan.cluster_id, directory = %plan.directory_id, "formatted");
        Ok(())
    }

    /// On a blocking thread, so that the management API tells how far it is.
    async fn load(&self, directory: LogDirectory) -> Result<Loaded, ServerError> {
        let progress = Arc::new(LoadProgress::new());
        self.management.stage.store(Arc::new(Stage::Recovering(progress.clone())));
        let (config, disk) = (self.config.clone(), self.disk.clone());
        let loading = tokio::task::spawn_blocking(move || load(config, disk, directory, &progress));
        loading.await.map_err(|error| ServerError::start("loading", error))?
    }

    async fn serve(&self, loaded: Loaded) -> Result<Running, ServerError> {
        let bound = self.config.listeners.iter().map(|listener| listen::bind(listener, &self.config.network));
        let sockets = bound.collect::<Result<Vec<_>, _>>().map_err(|error| ServerError::Start(error.to_string()))?;
        let network = &self.management.network;
        let Loaded { broker, controller, coordinator, registration } = loaded;
        let registered = broker.controller.register_broker(registration).await;
        let registered = registered.map_err(|error| ServerError::start("registration", error))?;
        let epoch = registered.map_err(|error| ServerError::start("registration", error))?;
        let shutdown = CancellationToken::new();
        let limits = ConnectionLimits {
            frame_bytes_max: self.config.request_bytes_max,
            idle_max: self.config.connection_idle_max,
            budget: network.budget.clone(),
        };
        let (mut inlets, mut reactors) = (Vec::new(), Vec::new());
        for (index, pulse) in self.management.pulses.iter().enumerate() {
            let (inlet, thread) =
                reactor::spawn(index, broker.clone(), limits.clone(), pulse.clone(), shutdown.clone())
                    .map_err(|error| ServerError::start("reactor", error))?;
            inlets.push(inlet);
            reactors.push(thread);
        }
        let flusher = Flusher::spawn(broker.replicas.clone()).map_err(|error| ServerError::start("flusher", error))?;
        let deleter = Deleter::spawn(broker.replicas.clone()).map_err(|error| ServerError::start("deleter", error))?;
        let interval =
            Duration::from_millis(self.config.values.get_int("broker.heartbeat.interval.ms").unsigned_abs().into());
        heartbeat(&broker, epoch).await.map_err(|error| ServerError::start("unfencing", error))?;
        tokio::spawn(keep_alive(broker.clone(), epoch, interval, shutdown.clone()));
        for (index, (listener, sockets)) in self.config.listeners.iter().zip(sockets).enumerate() {
            let Endpoint { host, port, .. } = &listener.advertised;
            info!(%listener, advertised = format!("{host}:{port}"), "listening");
            for socket in sockets {
                let (listener, quotas, shutdown) = (listener.clone(), network.quotas.clone(), shutdown.clone());
                let acceptor = Acceptor { socket, listener, index, quotas, inlets: inlets.clone(), shutdown };
                tokio::spawn(acceptor.run());
            }
        }
        self.management.pulses.iter().for_each(|pulse| pulse.beat());
        self.management.stage.store(Arc::new(Stage::Running(broker.clone())));
        Ok(Running { broker, controller, coordinator, epoch, reactors, flusher, deleter, shutdown })
    }
}

async fn heartbeat(broker: &Broker, epoch: BrokerEpoch) -> Result<(), String> {
    let heartbeat = Heartbeat {
        id: broker.config.broker_id,
        epoch,
        metadata_offset: broker.image.load().end_offset.advance(-1),
        wants_fence: false,
        wants_shutdown: false,
        offline_directories: Vec::new(),
    };
    match broker.controller.heartbeat(heartbeat).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

async fn keep_alive(broker: Arc<Broker>, epoch: BrokerEpoch, interval: Duration, shutdown: CancellationToken) {
    while shutdown.run_until_cancelled(tokio::time::sleep(interval)).await.is_some() {
        if let Err(error) = heartbeat(&broker, epoch).await {
            warn!(error, "the controller does not hear this broker");
        }
    }
}

fn plan(request: &FormatRequest, config: &BrokerConfig) -> Result<FormatPlan, FormatRefusal> {
    let invalid = |reason: &dyn std::fmt::Display| FormatRefusal::Invalid(reason.to_string());
    if request.node_id != config.broker_id.0 {
        let reason = format!("nodeId is {}, this is node {}", request.node_id, config.broker_id);
        return Err(FormatRefusal::Invalid(reason));
    }
    let voters = request.initial_voters.iter();
    let voters = voters.map(|voter| Voter::new(voter.id, &voter.directory_id, &voter.endpoint));
    Ok(FormatPlan {
        cluster_id: request.cluster_id.parse().map_err(|error: InvalidClusterId| invalid(&error))?,
        directory_id: request.directory_id.parse().map_err(|error: InvalidUuid| invalid(&error))?,
        voters: voters.collect::<Result<_, _>>().map_err(|error| invalid(&error))?,
    })
}

async fn serve_management(address: &str, management: Arc<Management>) -> Result<(), ServerError> {
    let socket = tokio::net::TcpListener::bind(address).await;
    let socket =
        socket.map_err(|error| ServerError::start(&format!("millrace.management.listener {address}"), error))?;
    info!(address, "management API");
    tokio::spawn(async move {
        if let Err(error) = axum::serve(socket, management::router(management)).await {
            error!(%error, "the management API has ended");
        }
    });
    Ok(())
}

/// A broker that serves.
struct Running {
    broker: Arc<Broker>,
    controller: ControllerThread,
    coordinator: CoordinatorThread,
    epoch: BrokerEpoch,
    reactors: Vec<JoinHandle<()>>,
    flusher: Flusher,
    deleter: Deleter,
    shutdown: CancellationToken,
}

impl Running {
    /// Returns why the data directory failed, or nothing when told to stop.
    async fn until(&self, stop: &CancellationToken) -> Option<String> {
        tokio::select! {
            () = stop.cancelled() => None,
            reason = self.broker.replicas.failed() => Some(reason),
        }
    }

    /// After a failure nothing is closed: what is on disk is for recovery to judge.
    async fn stop(self, failure: Option<String>) -> Result<(), ServerError> {
        let began = Instant::now();
        if let Some(reason) = failure {
            return Err(ServerError::DirectoryFailed(reason));
        }
        info!("stopping");
        self.shutdown.cancel();
        let joined =
            tokio::task::spawn_blocking(move || self.reactors.into_iter().all(|reactor| reactor.join().is_ok()));
        if !joined.await.unwrap_or(false) {
            error!("a reactor panicked");
        }
        if !self.coordinator.stop() {
            error!("the coordinator of groups panicked");
        }
        self.flusher.stop();
        self.deleter.stop();
        let metadata_closed = self.controller.stop().await;
        if metadata_closed && self.broker.replicas.close() {
            let directory = self.broker.replicas.directory();
            directory.write_clean_shutdown(self.epoch).map_err(|error| ServerError::start("clean shutdown", error))?;
        }
        info!(took_ms = began.elapsed().as_millis(), "stopped");
        Ok(())
    }
}
