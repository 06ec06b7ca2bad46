//! From a data directory to a running control thread.
//!
//! At the start it is unknown which records at the log's end are committed: so the partitions wait until the quorum
//! has told, and follow the metadata from then on.

use std::convert::Infallible;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use protocol::types::Offset;
use raft::{LogSummary, Restored};
use storage::FilePool;
use storage::directory::LogDirectory;
use tokio::sync::{oneshot, watch};
use tracing::info;

use super::decide::Decider;
use super::features::METADATA_VERSION;
use super::format::{BootstrapError, read_bootstrap};
use super::handle::{ControllerHandle, Inbox};
use super::metadata_log::{MetadataLog, MetadataLogError, Opened};
use super::quorum::{self, InvalidController, Io, IoThread, Links, Node, QuorumHandle};
use super::quorum_state::{QuorumStateError, QuorumStateFile};
use super::replayer::Replayer;
use super::runtime::{ControllerContext, Inlets, Runtime};
use super::snapshots::Snapshots;
use crate::clock::{self, Pulse};
use crate::config::BrokerConfig;
use crate::failure::{Failure, Failures};
use crate::metadata::{Image, METADATA_DIRECTORY, QuorumView};

const BEAT_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub(crate) enum ControllerStartError {
    #[error(transparent)]
    Log(#[from] MetadataLogError),
    #[error(transparent)]
    QuorumState(#[from] QuorumStateError),
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    #[error(transparent)]
    Config(#[from] InvalidController),
    #[error("a thread of the controller cannot start: {0}")]
    Thread(std::io::Error),
    #[error("the control thread has ended: {0}")]
    Ended(String),
}

/// What the control thread is started with.
#[derive(Debug)]
pub(crate) struct ControllerSite<'a> {
    pub(crate) context: ControllerContext,
    pub(crate) config: &'a BrokerConfig,
    pub(crate) pool: &'a Arc<FilePool>,
    pub(crate) directory: &'a LogDirectory,
    /// The log must hold everything before it.
    pub(crate) recovery_point: Offset,
    /// Will always hold committed metadata.
    pub(crate) published: Arc<ArcSwap<Image>>,
    /// Beats as long as the thread turns.
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) failures: Failures,
}

/// The running thread, to be stopped.
#[derive(Debug)]
pub(crate) struct ControllerThread {
    quorum: QuorumHandle,
    thread: JoinHandle<Result<(), Failure>>,
}

/// A control thread that does not know yet what is committed.
#[derive(Debug)]
pub(crate) struct Starting {
    pub(crate) handle: ControllerHandle,
    pub(crate) quorum: QuorumHandle,
    caught_up: oneshot::Receiver<()>,
    thread: JoinHandle<Result<(), Failure>>,
}

impl Starting {
    /// Blocks until this node has replayed what is committed. The sole voter of a quorum need not ask others.
    pub(crate) fn wait(self) -> Result<(ControllerHandle, QuorumHandle, ControllerThread), ControllerStartError> {
        let Self { handle, quorum, caught_up, thread } = self;
        if caught_up.blocking_recv().is_err() {
            return Err(ControllerStartError::Ended(match thread.join() {
                Ok(Ok(())) => "it was told to stop".to_owned(),
                Ok(Err(failure)) => failure.to_string(),
                Err(_) => "it panicked".to_owned(),
            }));
        }
        {
            let view = quorum.view();
            let view = view.borrow();
            info!(epoch = %view.epoch, end_offset = %view.published, "metadata replayed");
        }
        Ok((handle, quorum.clone(), ControllerThread { quorum, thread }))
    }
}

impl ControllerThread {
    /// Hands over leadership, and closes the metadata log. False: that failed.
    pub(crate) async fn stop(self) -> bool {
        self.quorum.stop().await;
        let joined = tokio::task::spawn_blocking(move || self.thread.join().is_ok_and(|ended| ended.is_ok()));
        joined.await.unwrap_or(false)
    }
}

pub(crate) fn start(site: ControllerSite<'_>) -> Result<Starting, ControllerStartError> {
    let (root, disk) = (site.directory.path(), site.pool.disk());
    let raft_config = quorum::raft_config(site.config, site.context.directory_id)?;
    let fetch_timeout = raft_config.timing.fetch_timeout;
    let values = &site.config.values;
    let state_file = QuorumStateFile::new(disk.clone(), &root.join(METADATA_DIRECTORY));
    let opened = MetadataLog::open(site.pool, root, values, site.recovery_point, clock::wall())?;
    let election = state_file.read()?.unwrap_or_default();
    let restored = Restored { election, log: summary(&opened) };
    let Opened { log, image, .. } = opened;
    // Any leader of a cluster without records writes these. A leader may be gone before they are committed: then the
    // next does it, whose log already holds the quorum's own records.
    let is_new = !image.features.contains_key(METADATA_VERSION);
    let bootstrap = if is_new { read_bootstrap(&**disk, root)? } else { Vec::new() };
    info!(log_start = %log.start_offset(), log_end = %log.end_offset(), snapshot = %image.end_offset, "opened metadata log");

    let snapshots = Snapshots::new(disk.clone(), log.directory().to_owned(), values, image.end_offset);
    let io = IoThread::spawn(log, state_file, &site.failures).map_err(ControllerStartError::Thread)?;
    let (view, views) = watch::channel(QuorumView::default());
    let (quorum, messages) = QuorumHandle::new(views.clone());
    let (handle, inbox) = ControllerHandle::new(views);
    let Inbox { urgent, wishes, outside } = inbox;
    let (caught_up_sender, caught_up) = oneshot::channel();
    let client_id = format!("quorum-{}", site.context.id);
    let cluster = site.context.cluster_id.clone();
    let (links, replies) = Links::new(cluster, client_id, quorum::request_timeout(values), site.failures.clone());
    let Io { tasks, reports, thread: io_thread } = io;
    let inlets = Inlets { urgent, wishes, messages, reports, replies };
    let runtime = Runtime {
        decider: Decider::new(site.context.clone(), outside),
        context: site.context,
        node: Node::new(raft_config, restored, tasks, links),
        replayer: Replayer::new(image, site.published),
        snapshots,
        view,
        bootstrap,
        active: None,
        activating: None,
        unfinished: None,
        is_reading: false,
        is_short: false,
        caught_up: Some(caught_up_sender),
        stop: None,
        tick_at: Duration::ZERO,
        clean_at: Duration::ZERO,
        fetch_timeout,
    };
    let thread = site.failures.spawn("controller", move || run(runtime, inlets, io_thread, &site.pulse));
    let thread = thread.map_err(ControllerStartError::Thread)?;
    Ok(Starting { handle, quorum, caught_up, thread })
}

/// The control thread, from its first action until the log is closed.
fn run(mut runtime: Runtime, mut inlets: Inlets, io_thread: JoinHandle<bool>, pulse: &Pulse) -> Result<(), Failure> {
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build();
    let executor = executor.map_err(|error| Failure::Directory(error.to_string()))?;
    let ended = executor.block_on(async {
        tokio::select! {
            ended = runtime.run(&mut inlets) => ended,
            never = beat(pulse) => match never {},
        }
    });
    if let (Err(failure), Some(replicas)) = (&ended, runtime.replayer.replicas()) {
        replicas.failures().fail(failure.clone());
    }
    drop((runtime, inlets));
    executor.shutdown_background();
    let closed = io_thread.join().unwrap_or(false);
    ended?;
    if closed { Ok(()) } else { Err(Failure::Directory("the metadata log was not closed".to_owned())) }
}

/// Independent of what the thread does: waiting for a slow disk is not being stuck.
async fn beat(pulse: &Pulse) -> Infallible {
    loop {
        pulse.beat();
        tokio::time::sleep(BEAT_INTERVAL).await;
    }
}

fn summary(opened: &Opened) -> LogSummary {
    let Opened { log, image, snapshot, control } = opened;
    LogSummary {
        start_offset: log.start_offset(),
        end_offset: log.end_offset(),
        epochs: log.epochs(),
        snapshot: *snapshot,
        snapshot_quorum: quorum::quorum_of(image),
        control: control.iter().filter_map(|(offset, record)| Some((*offset, quorum::from_log(record)?))).collect(),
    }
}
