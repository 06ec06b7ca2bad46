//! `millrace-broker`: the command line.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use broker::{FormatOptions, Launch, Settings};
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

/// A Kafka-compatible broker.
///
/// Exit codes: 0 stopped or done; 1 could not start; 2 wrong command line or configuration; 3 the data directory is
/// not formatted, of another node or cluster, or in use; 4 the data directory failed while running; 5 a part of the
/// broker panicked, which is a defect: the log says where.
#[derive(Debug, Parser)]
#[command(version, about, verbatim_doc_comment, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Check the configuration and exit. Also refuses unknown options, of which a start only warns
    #[arg(long)]
    check_config: bool,
    /// Print every option with its effective value, and exit
    #[arg(long)]
    print_config: bool,
    /// Format of log lines. RUST_LOG filters them
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("source").required(true).multiple(true)))]
struct SettingsArgs {
    /// Run a single broker on this machine, formatted on first start in ./millrace-data
    #[arg(long, group = "source")]
    dev: bool,
    /// A properties file, like Kafka's config/server.properties
    #[arg(long, value_name = "FILE", group = "source")]
    config: Option<PathBuf>,
    /// An option that overrides the file; may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prepare an empty data directory for a node of a cluster
    Format(FormatArgs),
    /// Print a new cluster id
    RandomUuid,
    /// Write the reference pages as Markdown: APIs, configuration and metrics
    Reference {
        /// The directory to write to
        #[arg(long, value_name = "DIR")]
        output: PathBuf,
    },
}

#[derive(Debug, Args)]
struct FormatArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// The cluster that the node belongs to
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    cluster_id: String,
    /// This node is the only controller of a new cluster
    #[arg(long, conflicts_with = "initial_controllers")]
    standalone: bool,
    /// The controllers of a new cluster: ID@HOST:PORT:DIRECTORY-ID, separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    initial_controllers: Vec<String>,
    /// The node joins an existing cluster and learns its controllers there
    #[arg(long, conflicts_with_all = ["standalone", "initial_controllers"])]
    no_initial_controllers: bool,
    /// Leave a directory that is already formatted as it is
    #[arg(long)]
    ignore_formatted: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Some(Command::Format(args)) => {
            start_logging(LogFormat::Text);
            broker::format(&settings(&args.settings), &format_options(&args))
        }
        Some(Command::RandomUuid) => {
            say(&broker::random_cluster_id());
            Ok(())
        }
        Some(Command::Reference { output }) => broker::write_reference(&output),
        None => run(&cli.run),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(args: &RunArgs) -> Result<(), broker::BrokerError> {
    let launch = Launch::prepare(&settings(&args.settings))?;
    if args.print_config {
        say(launch.describe().trim_end());
        return Ok(());
    }
    if args.check_config {
        return launch.check().map(|()| say("the configuration is valid"));
    }
    start_logging(args.log_format);
    launch.run()
}

fn settings(args: &SettingsArgs) -> Settings {
    Settings { dev: args.dev, file: args.config.clone(), assignments: args.set.clone() }
}

fn format_options(args: &FormatArgs) -> FormatOptions {
    FormatOptions {
        cluster_id: args.cluster_id.clone(),
        standalone: args.standalone,
        initial_controllers: args.initial_controllers.clone(),
        no_initial_controllers: args.no_initial_controllers,
        ignore_formatted: args.ignore_formatted,
    }
}

fn start_logging(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
fn say(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "the last word of a process that fails, also without a log")]
fn complain(text: &str) {
    eprintln!("millrace-broker: {text}");
}
