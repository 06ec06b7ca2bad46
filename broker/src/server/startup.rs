//! Start and stop, in this order:
//!
//! 1. management API, so that probes can observe the rest
//! 2. data directory: lock, identity, or wait to be formatted
//! 3. metadata log opened, quorum started
//! 4. the steps of [`Running`], until clients are served
//! 5. at SIGTERM: not ready, leaders moved away, requests in progress finished, logs synced and closed,
//!    clean-shutdown file, exit 0

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;
use protocol::types::{InvalidClusterId, InvalidUuid};
use storage::directory::{ExpectedOwner, LogDirectory, OpenError};
use storage::{Disk, PoolLimits};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::descriptors::OpenLimits;
use super::loading::open;
use super::management::{self, FormatCall, FormatRefusal, FormatRequest, Management, Stage};
use super::memory;
use super::network::Network;
use super::reactor;
use super::running::Running;
use crate::clock::Pulse;
use crate::config::BrokerConfig;
use crate::controller::{FormatError, FormatPlan, Voter, format_directory};
use crate::failure::{Failure, Failures};

#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    #[error(transparent)]
    Directory(Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Failed(#[from] Failure),
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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .build()
        .map_err(|error| ServerError::start("runtime", error))?;
    let outcome = runtime.block_on(async {
        let stop = stop_signal().map_err(|error| ServerError::start("signals", error))?;
        Startup::new(config, disk, Failures::default()).run(stop).await
    });
    // A recovery that was told to stop may still be reading: it changes nothing that the next start relies on.
    runtime.shutdown_background();
    outcome
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
    pool_limits: PoolLimits,
    failures: Failures,
    began: Instant,
}

impl Startup {
    fn new(config: BrokerConfig, disk: Arc<dyn Disk>, failures: Failures) -> Self {
        let memory_bytes = memory::limit_bytes();
        let limits = OpenLimits::raise(memory_bytes);
        let reactors = config.client_reactors() + config.controller_reactors();
        let pulses = (0..reactors).map(|_| Arc::new(Pulse::new(reactor::SILENCE_MAX))).collect();
        let management = Arc::new(Management {
            broker_id: config.broker_id,
            began: SystemTime::now(),
            stage: ArcSwap::from_pointee(Stage::Starting),
            tokens_file: config.management_tokens.clone(),
            control: Arc::new(Pulse::new(reactor::SILENCE_MAX)),
            pulses,
            network: Arc::new(Network::new(&config, memory_bytes, limits.connections_max)),
        });
        let pool_limits = PoolLimits { open_logs_max: limits.logs_max, ..PoolLimits::default() };
        Self { config: Arc::new(config), disk, management, pool_limits, failures, began: Instant::now() }
    }

    async fn run(self, stop: CancellationToken) -> Result<(), ServerError> {
        if let Some(address) = &self.config.management_address {
            serve_management(address, self.management.clone(), &self.failures).await?;
        }
        let Some(directory) = self.open_directory(&stop).await? else { return Ok(()) };
        let (config, disk) = (self.config.clone(), self.disk.clone());
        let control = self.management.control.clone();
        let (limits, failures) = (self.pool_limits, self.failures.clone());
        let opened = spawn_blocking(move || open(config, disk, directory, limits, control, failures)).await;
        let opened = opened.map_err(|error| ServerError::start("opening", error))??;
        let started = Running::start(&self.config, &self.management, opened, &stop).await?;
        let Some((mut running, reason)) = started else { return Ok(()) };
        let reason = if let Some(reason) = reason {
            reason
        } else {
            info!(took_ms = self.began.elapsed().as_millis(), "broker serving");
            running.until(&stop).await
        };
        running.stop(&self.management, reason).await
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
            // It may have been formatted by hand meanwhile.
            let is_formatted = matches!(outcome, Ok(()) | Err(FormatRefusal::AlreadyFormatted));
            let opened = is_formatted.then(|| self.try_open());
            if call.reply.send(outcome).is_err() {
                warn!("caller of POST /v1/format did not wait for the answer");
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
        info!(cluster = %plan.cluster_id, directory = %plan.directory_id, "formatted data directory");
        Ok(())
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

async fn serve_management(address: &str, management: Arc<Management>, failures: &Failures) -> Result<(), ServerError> {
    let socket = tokio::net::TcpListener::bind(address).await;
    let socket =
        socket.map_err(|error| ServerError::start(&format!("millrace.management.listener {address}"), error))?;
    info!(address, "management API listening");
    tokio::spawn(failures.watched("management", async move {
        if let Err(error) = axum::serve(socket, management::router(management)).await {
            error!(%error, "the management API has ended");
        }
    }));
    Ok(())
}

#[cfg(test)]
#[path = "startup_test.rs"]
mod tests;
