//! The controller's thread: it owns the metadata log and the image. Commands that wait together are decided one
//! after the other on a speculative image, appended, synced once, published, and only then answered.
//!
//! With a single voter a record is committed when it is on this disk.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use protocol::config::Values;
use protocol::metadata_records::MetadataRecord;
use protocol::metadata_records::control::ControlRecord;
use protocol::types::{BrokerId, ClusterId, DirectoryId, IncarnationId, LeaderEpoch, Offset};
use storage::directory::LogDirectory;
use storage::{AppendError, Disk, FilePool};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::command::Command;
use super::decide::Decider;
use super::format::{Bootstrap, read_bootstrap};
use super::group::{Batch, Group};
use super::handle::{ControllerError, ControllerHandle, Inbox};
use super::metadata_log::{MetadataLog, MetadataLogError, encode_control, replay_control};
use super::quorum_state::{QuorumState, QuorumStateError, QuorumStateFile};
use super::topics::TopicDefaults;
use super::{features, min_insync_replicas};
use crate::clock;
use crate::metadata::{Image, METADATA_DIRECTORY};
use crate::replica::ReplicaManager;

/// Commands that share one sync.
const COMMANDS_PER_SYNC_MAX: usize = 256;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ControllerStartError {
    #[error(transparent)]
    Log(#[from] MetadataLogError),
    #[error(transparent)]
    QuorumState(#[from] QuorumStateError),
    #[error(transparent)]
    Bootstrap(#[from] super::format::BootstrapError),
    #[error("the thread of the controller cannot start: {0}")]
    Thread(std::io::Error),
    #[error(transparent)]
    Controller(#[from] ControllerError),
}

/// What the controller decides with.
#[derive(Debug, Clone)]
pub(crate) struct ControllerContext {
    pub(crate) id: BrokerId,
    pub(crate) directory_id: DirectoryId,
    pub(crate) cluster_id: ClusterId,
    /// Of this process.
    pub(crate) incarnation: IncarnationId,
    pub(crate) topic_defaults: TopicDefaults,
    /// What the broker was started with.
    pub(crate) file_values: Values,
}

impl ControllerContext {
    /// How long a broker may be silent.
    pub(super) fn session_timeout(&self) -> Duration {
        let timeout = self.file_values.get_int("broker.session.timeout.ms");
        Duration::from_millis(timeout.unsigned_abs().into())
    }
}

/// The metadata as the disk has it, before the node acts on it.
#[derive(Debug)]
pub(crate) struct Controller {
    context: ControllerContext,
    log: MetadataLog,
    image: Image,
}

impl Controller {
    /// Replays the log, of which everything before `recovery_point` must be there, and begins an epoch of its own: with one voter, every start is an election won.
    pub(crate) fn open(
        context: ControllerContext,
        pool: &Arc<FilePool>,
        directory: &LogDirectory,
        recovery_point: Offset,
    ) -> Result<Self, ControllerStartError> {
        let root = directory.path();
        let mut log = MetadataLog::open(pool, root, recovery_point, clock::wall())?;
        let image = log.replay()?;
        let state_file = QuorumStateFile::new(pool.disk().clone(), &root.join(METADATA_DIRECTORY));
        let former = state_file.read()?.map_or(LeaderEpoch(0), |state| state.leader_epoch);
        let epoch = LeaderEpoch(former.max(log.epoch()).0.saturating_add(1));
        let voted = Some((context.id, context.directory_id));
        state_file.write(&QuorumState { leader_epoch: epoch, leader: Some(context.id), voted })?;
        log.begin_epoch(epoch);
        let mut controller = Self { context, log, image };
        controller.lead(&**pool.disk(), root)?;
        info!(%epoch, end_offset = %controller.image.end_offset, "metadata replayed");
        Ok(controller)
    }

    pub(crate) fn image(&self) -> &Image {
        &self.image
    }

    /// The first records of the epoch: who leads it, and in a new log what formatting laid down.
    fn lead(&mut self, disk: &dyn Disk, root: &Path) -> Result<(), ControllerStartError> {
        let id = self.context.id;
        let leader = ControlRecord::LeaderChange { leader_id: id, voters: vec![id], granting_voters: vec![id] };
        let has = |feature| self.image.features.contains_key(feature);
        let (has_voters, has_features) = (has(features::KRAFT_VERSION), has(features::METADATA_VERSION));
        let bootstrap = if has_voters && has_features { Bootstrap::default() } else { read_bootstrap(disk, root)? };
        let mut records = vec![leader];
        if !has_voters {
            records.extend(bootstrap.control);
        }
        let now = clock::wall();
        self.log.append(&encode_control(&records, now).map_err(ControllerError::Encode)?, now)?;
        self.log.sync(now)?;
        for record in &records {
            replay_control(&mut self.image, record);
        }
        self.image.end_offset = self.log.end_offset();
        self.image.epoch = self.log.epoch();
        let mut metadata = if has_features { Vec::new() } else { bootstrap.metadata };
        metadata.extend(min_insync_replicas::missing_cluster_values(&self.image, &self.context.file_values));
        self.commit(&metadata)?;
        if let Some((file, cluster)) = min_insync_replicas::overruled(&self.image, &self.context.file_values) {
            warn!(file, cluster, "min.insync.replicas is the cluster's; kafka-configs --entity-default changes it");
        }
        Ok(())
    }

    /// Appends, syncs and replays records before the thread runs.
    fn commit(&mut self, records: &[MetadataRecord]) -> Result<(), ControllerStartError> {
        let mut group = Group::new(&self.image);
        group.add(records)?;
        if self.append(&group.batches)? < group.batches.len() { Err(ControllerError::NoSpace.into()) } else { Ok(()) }
    }

    /// How many batches of the group are committed: all, or as many as there was space for. The image follows them.
    fn append(&mut self, batches: &[Batch]) -> Result<usize, MetadataLogError> {
        let now = clock::wall();
        let mut committed = 0;
        for batch in batches {
            match self.log.append(&batch.records, now) {
                Ok(_) => self.image = batch.image.clone(),
                Err(MetadataLogError::Append(AppendError::NoSpace { .. } | AppendError::NoDescriptors { .. })) => break,
                Err(error) => return Err(error),
            }
            committed += 1;
        }
        self.log.sync(now)?;
        assert_eq!(self.log.end_offset(), self.image.end_offset, "every record has one offset");
        Ok(committed)
    }

    /// Takes commands from now on. `published` always holds the committed image.
    pub(crate) fn start(
        self,
        replicas: Arc<ReplicaManager>,
        published: Arc<ArcSwap<Image>>,
    ) -> Result<(ControllerHandle, ControllerThread), ControllerStartError> {
        let (handle, Inbox { commands, outside }) = ControllerHandle::new();
        let timer = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let timer = timer.map_err(ControllerStartError::Thread)?;
        replicas.set_metadata_recovery_point(self.log.end_offset());
        let thread = std::thread::Builder::new()
            .name("controller".to_owned())
            .spawn(move || {
                let _watch = PanicWatch(replicas.clone());
                let decider = Decider::new(self.context.clone(), outside);
                timer.block_on(Runtime { controller: self, decider, replicas, published }.run(commands))
            })
            .map_err(ControllerStartError::Thread)?;
        Ok((handle.clone(), ControllerThread { handle, thread }))
    }
}

/// Without its controller a broker is of no use: a panic of the thread ends the process.
struct PanicWatch(Arc<ReplicaManager>);

impl Drop for PanicWatch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.directory_failed("the controller panicked");
        }
    }
}

/// The running thread, for who stops it.
#[derive(Debug)]
pub(crate) struct ControllerThread {
    handle: ControllerHandle,
    thread: JoinHandle<bool>,
}

impl ControllerThread {
    /// Closes the metadata log. False: that did not succeed.
    pub(crate) async fn stop(self) -> bool {
        let stopping = self.handle.stop().await;
        self.thread.join().is_ok_and(|closed| closed && stopping)
    }
}

struct Runtime {
    controller: Controller,
    decider: Decider,
    replicas: Arc<ReplicaManager>,
    published: Arc<ArcSwap<Image>>,
}

impl Runtime {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) -> bool {
        let mut waiting = Vec::with_capacity(COMMANDS_PER_SYNC_MAX);
        self.decider.activated(&self.controller.image, clock::monotonic());
        let (mut stopping, mut deadline) = (false, Duration::ZERO);
        while !stopping {
            let pause = deadline.saturating_sub(clock::monotonic());
            let received = tokio::time::timeout(pause, commands.recv_many(&mut waiting, COMMANDS_PER_SYNC_MAX)).await;
            if received == Ok(0) {
                break;
            }
            self.decider.volume_is_full = self.replicas.space().is_exhausted();
            let now = clock::monotonic();
            let mut group = Group::new(&self.controller.image);
            for command in waiting.drain(..) {
                stopping |= matches!(command, Command::Stop);
                self.decider.decide(&mut group, command, now);
            }
            deadline = self.decider.tick(&mut group, now);
            if let Err(error) = self.finish(group) {
                self.replicas.directory_failed(&error.to_string());
                return false;
            }
        }
        let closed = self.controller.log.close_clean(clock::wall());
        if let Err(error) = &closed {
            error!(%error, "the metadata log could not be closed");
        }
        closed.is_ok()
    }

    /// Writes what was decided, lets the broker follow, answers.
    fn finish(&mut self, group: Group) -> Result<(), MetadataLogError> {
        let committed = if group.batches.is_empty() { 0 } else { self.controller.append(&group.batches)? };
        self.replicas.set_metadata_recovery_point(self.controller.image.end_offset);
        for Batch { image, topics, configured, .. } in group.batches.into_iter().take(committed) {
            self.replicas.configure(&image, &configured);
            // New partitions serve before they are seen; deleted ones are not seen any more when they stop.
            self.replicas.apply(&image, &topics);
            self.published.store(Arc::new(image.clone()));
            self.replicas.drop_deleted(&image, &topics);
        }
        for (relies_on, answer) in group.answers {
            answer(if relies_on <= committed { Ok(()) } else { Err(ControllerError::NoSpace) });
        }
        Ok(())
    }
}
