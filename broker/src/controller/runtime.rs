//! The controller's thread: it owns the metadata log and the image. Commands that wait together are decided one
//! after the other on a speculative image, appended, synced once, published, and only then answered.
//!
//! With a single voter a record is committed when it is on this disk.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use protocol::config::Values;
use protocol::metadata_records::MetadataRecord;
use protocol::metadata_records::control::ControlRecord;
use protocol::produce::CheckedBatch;
use protocol::types::{BrokerId, DirectoryId, LeaderEpoch, Offset, TopicId};
use storage::directory::LogDirectory;
use storage::{AppendError, Disk, FilePool};
use tokio::sync::mpsc;
use tracing::{debug, error, info};
use uuid::Uuid;

use super::brokers;
use super::configs;
use super::features;
use super::format::{Bootstrap, read_bootstrap};
use super::handle::{Command, ControllerError, ControllerHandle, Reply};
use super::metadata_log::{MetadataLog, MetadataLogError, encode_control, encode_records, replay_control};
use super::producer_ids;
use super::quorum_state::{QuorumState, QuorumStateError, QuorumStateFile};
use super::topics::{self, CreateTopicError, CreatedTopic, TopicDefaults, TopicSpec};
use crate::clock;
use crate::metadata::{ConfigResource, Image, METADATA_DIRECTORY, TopicImage, replay};
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

/// An answer that waits for the sync, and is told whether what it says came to be.
type Answer = Box<dyn FnOnce(Result<(), ControllerError>) + Send>;

/// What the controller decides with.
#[derive(Debug, Clone)]
pub(crate) struct ControllerContext {
    pub(crate) id: BrokerId,
    pub(crate) directory_id: DirectoryId,
    pub(crate) topic_defaults: TopicDefaults,
    /// What the broker was started with.
    pub(crate) file_values: Values,
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
        metadata.extend(configs::missing_cluster_values(&self.image, &self.context.file_values));
        self.commit(&metadata)
    }

    /// Appends, syncs and replays records before the thread runs.
    fn commit(&mut self, records: &[MetadataRecord]) -> Result<(), ControllerStartError> {
        let mut group = Group::new(&self.image);
        group.add(records)?;
        if self.append(&group)? < group.batches.len() { Err(ControllerError::NoSpace.into()) } else { Ok(()) }
    }

    /// How many batches of the group are committed: all, or as many as there was space for. The image follows them.
    fn append(&mut self, group: &Group) -> Result<usize, MetadataLogError> {
        let now = clock::wall();
        let mut committed = 0;
        for (batch, after) in &group.batches {
            match self.log.append(batch, now) {
                Ok(_) => self.image = after.clone(),
                Err(MetadataLogError::Append(AppendError::NoSpace { .. })) => break,
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
        let (handle, receiver) = ControllerHandle::new();
        replicas.set_metadata_recovery_point(self.log.end_offset());
        let thread = std::thread::Builder::new()
            .name("controller".to_owned())
            .spawn(move || {
                let _watch = PanicWatch(replicas.clone());
                Runtime { controller: self, replicas, published }.run(receiver)
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

/// Commands decided together, not yet written.
struct Group {
    image: Image,
    /// Each with the image that follows it.
    batches: Vec<(CheckedBatch, Image)>,
    /// Each with the number of batches that it relies on.
    answers: Vec<(usize, Answer)>,
    /// Topics whose partitions changed, created ones included.
    topics: Vec<TopicId>,
    /// What was configured.
    configured: Vec<ConfigResource>,
}

impl Group {
    fn new(image: &Image) -> Self {
        Self {
            image: image.clone(),
            batches: Vec::new(),
            answers: Vec::new(),
            topics: Vec::new(),
            configured: Vec::new(),
        }
    }

    /// One batch: all of the records or none of them.
    fn add(&mut self, records: &[MetadataRecord]) -> Result<(), ControllerError> {
        if records.is_empty() {
            return Ok(());
        }
        let batch = encode_records(records, clock::wall())?;
        for record in records {
            let replayed = replay(&mut self.image, record);
            assert!(replayed.is_ok(), "the controller decided on what its image cannot replay: {replayed:?}");
            if let MetadataRecord::Partition(partition) = record {
                self.touch(partition.topic_id);
            }
            if let MetadataRecord::PartitionChange(change) = record {
                self.touch(change.topic_id);
            }
            if let MetadataRecord::Config { resource_type, resource_name, .. } = record {
                self.configured.push(ConfigResource { kind: *resource_type, name: resource_name.clone() });
            }
        }
        self.image.end_offset = self.image.end_offset.advance(batch.header.records_count.into());
        self.batches.push((batch, self.image.clone()));
        Ok(())
    }

    fn touch(&mut self, topic: TopicId) {
        if self.topics.last() != Some(&topic) {
            self.topics.push(topic);
        }
    }
}

struct Runtime {
    controller: Controller,
    replicas: Arc<ReplicaManager>,
    published: Arc<ArcSwap<Image>>,
}

impl Runtime {
    fn run(mut self, mut commands: mpsc::Receiver<Command>) -> bool {
        let mut waiting = Vec::with_capacity(COMMANDS_PER_SYNC_MAX);
        let mut stopping = false;
        while !stopping && 0 < commands.blocking_recv_many(&mut waiting, COMMANDS_PER_SYNC_MAX) {
            let mut group = Group::new(&self.controller.image);
            for command in waiting.drain(..) {
                stopping |= matches!(command, Command::Stop);
                self.decide(&mut group, command);
            }
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
        let mut committed = 0;
        if !group.batches.is_empty() {
            committed = self.controller.append(&group)?;
            let image = self.controller.image.clone();
            self.replicas.set_metadata_recovery_point(image.end_offset);
            self.replicas.configure(&image, &group.configured);
            self.replicas.apply(&image, &group.topics);
            self.published.store(Arc::new(image));
        }
        for (relies_on, answer) in group.answers {
            answer(if relies_on <= committed { Ok(()) } else { Err(ControllerError::NoSpace) });
        }
        Ok(())
    }

    fn decide(&self, group: &mut Group, command: Command) {
        match command {
            Command::CreateTopics { specs, validate_only, reply } => {
                let mut left = topics::PARTITIONS_MAX;
                let create = |spec| self.create_topic(group, spec, validate_only, &mut left);
                let results = specs.into_iter().map(create).collect();
                answer(group, reply, Ok(results));
            }
            Command::AlterConfigs { changes, validate_only, reply } => {
                let file = &self.controller.context.file_values;
                let (records, results) = configs::alter_configs(&group.image, file, &changes);
                let written = if validate_only { Ok(()) } else { group.add(&records) };
                answer(group, reply, written.map(|()| results));
            }
            Command::AllocateProducerIds { reply } => {
                let allocated = producer_ids::allocate(&group.image, self.controller.context.id);
                let block = allocated.ok_or(ControllerError::NoProducerIds);
                let result = block.and_then(|(record, block)| group.add(&[record]).map(|()| block));
                answer(group, reply, result);
            }
            Command::Register { registration, reply } => {
                let min_insync_replicas = |topic: &TopicImage| self.min_insync_replicas(&group.image, topic);
                let departure = brokers::departure(&group.image, &registration);
                let (records, epoch) = brokers::register(&group.image, registration, min_insync_replicas);
                info!(%epoch, ?departure, partitions_changed = records.len() - 1, "broker registered");
                let result = group.add(&records).map(|()| epoch);
                answer(group, reply, result);
            }
            Command::Unfence { epoch, reply } => {
                let min_insync_replicas = |topic: &TopicImage| self.min_insync_replicas(&group.image, topic);
                let unfenced = brokers::unfence(&group.image, self.controller.context.id, epoch, min_insync_replicas);
                let result = match unfenced {
                    Ok(records) => group.add(&records).map(Ok),
                    Err(error) => Ok(Err(error)),
                };
                answer(group, reply, result);
            }
            Command::Stop => {}
        }
    }

    fn min_insync_replicas(&self, image: &Image, topic: &TopicImage) -> usize {
        self.replicas.settings(image, &topic.name).min_insync_replicas
    }

    fn create_topic(
        &self,
        group: &mut Group,
        spec: TopicSpec,
        validate_only: bool,
        partitions_left: &mut usize,
    ) -> Result<CreatedTopic, CreateTopicError> {
        let id = TopicId(Uuid::new_v4());
        let (start, _) = id.0.as_u64_pair();
        let start = usize::try_from(start).unwrap_or(0);
        let (records, created) = topics::create_topic(
            &group.image,
            spec,
            self.controller.context.topic_defaults,
            id,
            (start, *partitions_left),
        )?;
        *partitions_left = partitions_left.saturating_sub(usize::try_from(created.partitions).unwrap_or(0));
        if !validate_only {
            group.add(&records).map_err(|error| CreateTopicError::NotWritable(error.to_string()))?;
            debug!(topic = %created.id, partitions = created.partitions, "topic created");
        }
        Ok(created)
    }
}

/// Sent after the sync. Who asked may be gone: that is no concern of the log's.
fn answer<T: Send + 'static>(group: &mut Group, reply: Reply<T>, result: Result<T, ControllerError>) {
    let send = move |committed: Result<(), ControllerError>| {
        let _gone = reply.send(committed.and(result));
    };
    group.answers.push((group.batches.len(), Box::new(send)));
}
