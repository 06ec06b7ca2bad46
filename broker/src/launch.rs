//! From settings to a running broker, or to a formatted directory: what the command line calls.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::config::{ConfigError, Scope, options};
use protocol::types::{ClusterId, DirectoryId, InvalidClusterId, undashed};
use storage::{Disk, SystemDisk};
use uuid::Uuid;

use crate::config::{BrokerConfig, ConfigurationError, ListenerKind, SettingsError, dev_settings, load};
use crate::controller::{FormatError, FormatPlan, Voter, format_directory};
use crate::failure::Failure;
use crate::metrics;
use crate::server::{self, ServerError};

/// Where the configuration comes from.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Start from the settings of a single broker on this machine, and format its directory on first start.
    pub dev: bool,
    /// A properties file.
    pub file: Option<PathBuf>,
    /// `name=value`, overrides the file.
    pub assignments: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct FormatOptions {
    pub cluster_id: String,
    pub standalone: bool,
    pub initial_controllers: Vec<String>,
    pub no_initial_controllers: bool,
    pub ignore_formatted: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error(transparent)]
    Settings(Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Directory(Box<dyn std::error::Error + Send + Sync>),
    #[error("{0}")]
    Start(String),
    #[error("{0}")]
    DirectoryFailed(String),
    #[error("{0}")]
    Panicked(String),
}

impl BrokerError {
    /// 1 could not start; 2 wrong configuration; 3 data directory unusable; 4 data directory failed; 5 panicked.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Start(_) => 1,
            Self::Settings(_) => 2,
            Self::Directory(_) => 3,
            Self::DirectoryFailed(_) => 4,
            Self::Panicked(_) => 5,
        }
    }
}

impl From<SettingsError> for BrokerError {
    fn from(error: SettingsError) -> Self {
        Self::Settings(error.into())
    }
}

impl From<ConfigurationError> for BrokerError {
    fn from(error: ConfigurationError) -> Self {
        Self::Settings(error.into())
    }
}

impl From<InvalidClusterId> for BrokerError {
    fn from(error: InvalidClusterId) -> Self {
        Self::Settings(error.into())
    }
}

impl From<FormatError> for BrokerError {
    fn from(error: FormatError) -> Self {
        match error {
            FormatError::Voters(_) => Self::Settings(error.into()),
            _ => Self::Directory(error.into()),
        }
    }
}

impl From<ServerError> for BrokerError {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Directory(error) => Self::Directory(error),
            ServerError::Failed(failure @ Failure::Directory(_)) => Self::DirectoryFailed(failure.to_string()),
            ServerError::Failed(failure @ Failure::Panic(_)) => Self::Panicked(failure.to_string()),
            ServerError::Start(reason) => Self::Start(reason),
        }
    }
}

/// A checked configuration, ready to run.
#[derive(Debug)]
pub struct Launch {
    config: BrokerConfig,
    /// Unknown names in the file.
    warnings: Vec<ConfigError>,
    dev: bool,
}

impl Launch {
    pub fn prepare(settings: &Settings) -> Result<Self, BrokerError> {
        let base = if settings.dev { dev_settings() } else { Vec::new() };
        let loaded = load(base, settings.file.as_deref(), &settings.assignments)?;
        let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let config = BrokerConfig::from_values(loaded.values, &hostname)?;
        Ok(Self { config, warnings: loaded.warnings, dev: settings.dev })
    }

    /// Unlike a start, which only warns of unknown names, this refuses them: they are probably mistyped.
    pub fn check(self) -> Result<(), BrokerError> {
        if self.warnings.is_empty() { Ok(()) } else { Err(SettingsError::Invalid(self.warnings).into()) }
    }

    /// Every option that has a value, as a properties file.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        for option in options(Scope::Broker) {
            if let Some(raw) = self.config.values.raw(option.name) {
                let note = if self.config.values.is_set(option.name) { "" } else { "# default: " };
                // Writing to a string cannot fail.
                writeln!(text, "{note}{}={raw}", option.name).unwrap_or_default();
            }
        }
        text
    }

    /// Serves until SIGTERM or SIGINT.
    pub fn run(mut self) -> Result<(), BrokerError> {
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
        let disk: Arc<dyn Disk> = Arc::new(SystemDisk);
        if self.dev {
            let directory_id = DirectoryId(undashed(Uuid::new_v4()));
            let cluster_id = ClusterId::from_uuid(undashed(Uuid::new_v4()));
            let plan = FormatPlan { cluster_id, directory_id, voters: vec![own_voter(&self.config, directory_id)] };
            match format_directory(&disk, &self.config, &plan) {
                Ok(()) | Err(FormatError::AlreadyFormatted { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.config.settle_rack();
        Ok(server::run(self.config, disk)?)
    }
}

/// Prepares the data directory that the settings name.
pub fn format(settings: &Settings, options: &FormatOptions) -> Result<(), BrokerError> {
    let launch = Launch::prepare(settings)?;
    let directory_id = DirectoryId(undashed(Uuid::new_v4()));
    let voters = initial_voters(&launch.config, options, directory_id)?;
    let own = voters.iter().find(|voter| voter.id == launch.config.broker_id);
    let directory_id = own.map_or(directory_id, |voter| voter.directory_id);
    let plan = FormatPlan { cluster_id: options.cluster_id.parse()?, directory_id, voters };
    let disk: Arc<dyn Disk> = Arc::new(SystemDisk);
    match format_directory(&disk, &launch.config, &plan) {
        Err(FormatError::AlreadyFormatted { .. }) if options.ignore_formatted => {}
        outcome => outcome?,
    }
    tracing::info!(directory = %launch.config.log_directory.display(), cluster = %plan.cluster_id, "formatted data directory");
    Ok(())
}

/// A new cluster id, as `kafka-storage random-uuid` prints one.
pub fn random_cluster_id() -> String {
    ClusterId::from_uuid(undashed(Uuid::new_v4())).to_string()
}

/// Writes one page per reference to the directory, which is created if needed.
pub fn write_reference(directory: &Path) -> Result<(), BrokerError> {
    let pages = [
        ("apis.md", protocol::api::reference::reference_page()),
        ("configuration.md", protocol::config::reference::reference_page()),
        ("metrics.md", metrics::catalogue::reference_page()),
    ];
    let failed = |error: std::io::Error| BrokerError::Start(format!("{}: {error}", directory.display()));
    std::fs::create_dir_all(directory).map_err(failed)?;
    pages.iter().try_for_each(|(name, page)| std::fs::write(directory.join(name), page)).map_err(failed)
}

/// Empty on a node that joins a cluster.
fn initial_voters(
    config: &BrokerConfig,
    options: &FormatOptions,
    directory_id: DirectoryId,
) -> Result<Vec<Voter>, BrokerError> {
    if options.no_initial_controllers {
        return Ok(Vec::new());
    }
    if !options.initial_controllers.is_empty() {
        let parsed = options.initial_controllers.iter().map(|text| text.parse::<Voter>());
        return Ok(parsed.collect::<Result<_, _>>().map_err(FormatError::from)?);
    }
    let listed = config.values.get_list("controller.quorum.voters").len();
    if options.standalone || listed == 1 {
        return Ok(vec![own_voter(config, directory_id)]);
    }
    let reason = "add --standalone for the only controller of a new cluster, --initial-controllers where there are \
                  several, or --no-initial-controllers for a node that joins a cluster";
    Err(FormatError::Voters(reason.to_owned()).into())
}

/// This node, at its controller listener or, if it has none, at its first listener.
fn own_voter(config: &BrokerConfig, directory_id: DirectoryId) -> Voter {
    let controller = config.listeners.iter().find(|listener| listener.kind == ListenerKind::Controller);
    let endpoint = controller.or_else(|| config.listeners.first()).map(|listener| &listener.advertised);
    let (host, port) = endpoint.map_or((String::new(), 0), |endpoint| (endpoint.host.clone(), endpoint.port));
    Voter { id: config.broker_id, directory_id, host, port }
}
