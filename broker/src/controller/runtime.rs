//! The control thread. It wakes at whatever comes first: reports of the disk, replies and requests of other nodes,
//! timers, and commands to the controller, which are decided only if this node is the active one.
//!
//! ```text
//! commands ─ decide on a speculative image ─ append ─┐                      ┌─ answer nodes
//! other nodes ─ raft ─ append, answer, …             ├─ committed ─ replay ─┤
//! disk ─ persisted ──────────────────────────────────┘                      └─ publish (own thread) ─ answer others
//! ```

use std::time::Duration;

use protocol::config::Values;
use protocol::metadata_records::MetadataRecord;
use protocol::types::{BrokerId, ClusterId, DirectoryId, IncarnationId, LeaderEpoch};
use raft::Event;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use super::active::Active;
use super::command::{Awaits, Command};
use super::decide::Decider;
use super::group::Group;
use super::handle::ControllerError;
use super::quorum::{Happening, Message, Node, QuorumDescription, Reply, Report};
use super::replayer::Replayer;
use super::snapshots::Snapshots;
use super::topics::TopicDefaults;
use super::{features, min_insync_replicas};
use crate::clock;
use crate::failure::Failure;
use crate::metadata::{QuorumLeader, QuorumView, VoterProgress};

/// A leader that stops waits at most this long for a successor.
const FAREWELL_MAX: Duration = Duration::from_secs(1);
/// Pause when nothing is due: short enough to show that the loop still turns.
const IDLE_MAX: Duration = Duration::from_secs(1);
/// Interval between checks for metadata that is too old. A new snapshot triggers one, too.
const CLEAN_INTERVAL: Duration = Duration::from_mins(1);

/// What the controller decides with.
#[derive(Debug, Clone)]
pub(crate) struct ControllerContext {
    pub(crate) id: BrokerId,
    pub(crate) directory_id: DirectoryId,
    pub(crate) cluster_id: ClusterId,
    /// The incarnation of this process.
    pub(crate) incarnation: IncarnationId,
    pub(crate) topic_defaults: TopicDefaults,
    /// `millrace.broker.partitions.max`
    pub(crate) broker_replicas_max: usize,
    /// A broker that is silent for this long is fenced.
    pub(crate) session_timeout: Duration,
    /// The options that the broker was started with.
    pub(crate) file_values: Values,
}

pub(super) struct Runtime {
    pub(super) context: ControllerContext,
    pub(super) node: Node,
    pub(super) replayer: Replayer,
    pub(super) decider: Decider,
    pub(super) snapshots: Snapshots,
    pub(super) view: watch::Sender<QuorumView>,
    /// The first records of a new cluster's metadata.
    pub(super) bootstrap: Vec<MetadataRecord>,
    pub(super) active: Option<Active>,
    /// This node leads, and becomes the active controller once it has replayed everything that is committed.
    pub(super) activating: Option<LeaderEpoch>,
    /// The rest of a command that is decided in several steps.
    pub(super) unfinished: Option<Command>,
    pub(super) is_reading: bool,
    /// The disk has no room for the metadata log.
    pub(super) is_short: bool,
    /// Notified when what is committed has been replayed for the first time.
    pub(super) caught_up: Option<oneshot::Sender<()>>,
    pub(super) stop: Option<Farewell>,
    /// When the active controller looks at what is due.
    pub(super) tick_at: Duration,
    /// When to check for metadata that is too old.
    pub(super) clean_at: Duration,
    /// `controller.quorum.fetch.timeout.ms`
    pub(super) fetch_timeout: Duration,
}

/// Told to stop. A leader stays until it hears of a new leader: meanwhile its vote counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Farewell {
    by: Duration,
    has_led: bool,
}

/// The inputs of the thread.
pub(super) struct Inlets {
    /// Commands that keep nodes alive and in sync.
    pub(super) urgent: mpsc::Receiver<Command>,
    pub(super) wishes: mpsc::Receiver<Command>,
    pub(super) messages: mpsc::Receiver<Message>,
    pub(super) reports: mpsc::Receiver<Report>,
    pub(super) replies: mpsc::Receiver<Reply>,
}

/// What was written cannot be read back.
fn fatal(error: impl std::fmt::Display) -> Failure {
    Failure::Directory(error.to_string())
}

impl Runtime {
    /// Runs until it is told to stop, or cannot go on.
    pub(super) async fn run(&mut self, inlets: &mut Inlets) -> Result<(), Failure> {
        // Work that is due at the start is done with the first event.
        let happenings = self.node.step(Event::Timer).await;
        self.settle(happenings).await?;
        while !self.is_done() {
            let now = clock::monotonic();
            if self.node.next_timer().is_some_and(|due| due <= now) {
                let happenings = self.node.step(Event::Timer).await;
                self.settle(happenings).await?;
            }
            if self.tick_at <= now {
                self.tick(now).await?;
            }
            if self.clean_at <= now {
                self.clean_at = now + CLEAN_INTERVAL;
                self.node.clean().await;
            }
            let pause = self.next_due().saturating_sub(now);
            let takes_commands = self.active.as_ref().is_none_or(Active::has_room);
            let happenings = tokio::select! {
                biased;
                report = inlets.reports.recv() => match report {
                    Some(report) => self.node.reported(report).await,
                    None => return Err(Failure::Panic("thread metadata-io".to_owned())),
                },
                Some(reply) = inlets.replies.recv() => self.node.replied(reply).await,
                Some(message) = inlets.messages.recv() => self.take(message).await,
                taken = self.snapshots.taken() => match taken {
                    Ok(taken) => self.node.snapshot_written(taken.id, taken.length).await,
                    Err(error) if self.snapshots.postpone(&error, now) => Vec::new(),
                    Err(error) => return Err(error.into()),
                },
                Some(first) = inlets.urgent.recv(), if takes_commands => self.decide(first, &mut inlets.urgent).await,
                Some(first) = next_wish(&mut self.unfinished, &mut inlets.wishes), if takes_commands => {
                    self.decide(first, &mut inlets.wishes).await
                }
                () = self.replayer.moved() => Vec::new(),
                () = tokio::time::sleep(pause) => Vec::new(),
            };
            self.settle(happenings).await?;
        }
        if let Some(leader) = self.node.raft().leader().leader
            && self.stop.is_some_and(|farewell| farewell.has_led)
        {
            info!(%leader, "handed over quorum leadership");
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        let Some(Farewell { by, has_led }) = self.stop else { return false };
        let is_succeeded = !has_led || self.node.raft().leader().leader.is_some();
        (self.node.is_quiet() && is_succeeded) || by <= clock::monotonic()
    }

    fn next_due(&self) -> Duration {
        let idle = clock::monotonic() + IDLE_MAX;
        let stop_by = self.stop.map(|farewell| farewell.by);
        let due = [self.node.next_timer(), stop_by, self.snapshots.next_at(self.replayer.image())];
        due.into_iter().flatten().chain([idle, self.tick_at, self.clean_at]).min().unwrap_or(idle)
    }

    async fn take(&mut self, message: Message) -> Vec<Happening> {
        match message {
            Message::Call(call) => self.node.call(call).await,
            Message::Describe(reply) => {
                // The caller may be gone.
                let _gone = reply.send(self.describe());
                Vec::new()
            }
            Message::Attach(replicas) => {
                let attached = self.replayer.attach(replicas);
                attached.err().map(|error| Happening::Failed(error.to_string())).into_iter().collect()
            }
            Message::Stop => {
                let raft = self.node.raft();
                let has_led = raft.leading().is_some() && 1 < raft.voters().len();
                self.stop = Some(Farewell { by: clock::monotonic() + FAREWELL_MAX, has_led });
                self.node.step(Event::Resign).await
            }
        }
    }

    /// If this node is not the active controller the command is dropped, and [`super::ControllerHandle`] says why.
    async fn decide(&mut self, first: Command, more: &mut mpsc::Receiver<Command>) -> Vec<Happening> {
        let Some(active) = self.active.as_ref().filter(|_| !self.is_short) else { return Vec::new() };
        let mut group = Group::new(active.image());
        let now = clock::monotonic();
        self.decider.volume_is_full = self.replayer.replicas().is_some_and(|replicas| replicas.space().is_exhausted());
        let mut next = Some(first);
        while let Some(command) = next {
            group.awaits = command.awaits();
            let left = self.decider.decide(&mut group, command, now);
            next = if left.is_none() && !group.is_full() { more.try_recv().ok() } else { None };
            if left.is_some() {
                self.unfinished = left;
            }
        }
        self.tick_at = self.tick_at.min(self.decider.deadline(now));
        self.append(group).await
    }

    async fn tick(&mut self, now: Duration) -> Result<(), Failure> {
        let Some(active) = &self.active else {
            self.tick_at = now + IDLE_MAX;
            return Ok(());
        };
        let mut group = Group::new(active.image());
        self.tick_at = self.decider.tick(&mut group, now);
        let happenings = self.append(group).await;
        self.settle(happenings).await
    }

    async fn append(&mut self, group: Group) -> Vec<Happening> {
        let Some(active) = &mut self.active else { return Vec::new() };
        if group.batches.is_empty() {
            active.appended(group);
            return Vec::new();
        }
        let batches: Vec<_> = group.batches.iter().map(|batch| batch.records.clone()).collect();
        match self.node.append(active.epoch, &batches).await {
            Ok((end_offset, happenings)) => {
                assert_eq!(group.image.end_offset, end_offset, "every record has one offset");
                active.appended(group);
                happenings
            }
            // The node has resigned, and will be told so: what was decided is dropped.
            Err(_) => Vec::new(),
        }
    }

    /// Handles everything that has happened, until nothing more follows from it.
    async fn settle(&mut self, happenings: Vec<Happening>) -> Result<(), Failure> {
        for happening in happenings {
            self.happened(happening)?;
        }
        self.replay().await?;
        if let Some(group) = self.activate() {
            let happenings = self.append(group).await;
            return Box::pin(self.settle(happenings)).await;
        }
        self.publish();
        let image = self.replayer.image();
        let now = clock::monotonic();
        if self.snapshots.is_due(image, self.replayer.bytes(), now) {
            self.snapshots.begin(image.clone(), self.replayer.last_timestamp(), now);
            self.replayer.snapshot_taken();
        }
        Ok(())
    }

    fn happened(&mut self, happening: Happening) -> Result<(), Failure> {
        match happening {
            Happening::HighWatermark(offset) => self.replayer.committed(offset),
            Happening::ControlAppended { records, end_offset } => {
                if let Some(active) = &mut self.active {
                    active.control_appended(&records, end_offset, clock::wall());
                }
            }
            Happening::ReadForReplay(bytes) => {
                self.is_reading = false;
                if self.active.is_none() {
                    self.replayer.replay(&bytes).map_err(fatal)?;
                }
            }
            Happening::Restarted(image) => self.replayer.restart(*image),
            Happening::Activated(epoch) => self.activating = Some(epoch),
            Happening::Resigned => self.resign(),
            Happening::LeaderChanged => {}
            Happening::Short(is_short) => self.is_short = is_short,
            Happening::Failed(reason) => return Err(Failure::Directory(reason)),
        }
        Ok(())
    }

    /// Callers that wait for an answer learn that this node is no longer the controller.
    fn resign(&mut self) {
        (self.activating, self.unfinished) = (None, None);
        if let Some(active) = self.active.take() {
            info!(epoch = %active.epoch, "resigned as active controller");
            self.decider.resigned();
        }
    }

    /// Replays what is committed, as far as it has been read.
    async fn replay(&mut self) -> Result<(), Failure> {
        if let Some(active) = &mut self.active {
            let committed = self.replayer.missing(self.node.raft().log_end()).end;
            active.committed(committed, &mut self.replayer);
            return Ok(());
        }
        while !self.is_reading {
            let missing = self.replayer.missing(self.node.raft().log_end());
            if missing.is_empty() {
                break;
            }
            match self.node.read(missing).await {
                Some(bytes) => self.replayer.replay(&bytes).map_err(fatal)?,
                None => self.is_reading = true,
            }
        }
        Ok(())
    }

    /// Becomes active, once everything in the log is replayed. Returns the first records, if any, of a new cluster.
    fn activate(&mut self) -> Option<Group> {
        let image = self.replayer.image();
        let epoch = self.activating.filter(|_| image.end_offset == self.node.raft().log_end())?;
        self.activating = None;
        info!(%epoch, end_offset = %image.end_offset, "became active controller");
        let active = Active::new(epoch, image.clone());
        self.decider.activated(active.image(), clock::monotonic());
        self.tick_at = Duration::ZERO;
        let mut group = Group::new(active.image());
        let file_values = &self.context.file_values;
        if let Some((file, cluster)) = min_insync_replicas::overruled(active.image(), file_values) {
            warn!(
                file,
                cluster,
                "min.insync.replicas of the file has no effect: the cluster-wide value is changed by kafka-configs --entity-default"
            );
        }
        let is_new = !active.image().features.contains_key(features::METADATA_VERSION);
        let mut records = if is_new { self.bootstrap.clone() } else { Vec::new() };
        records.extend(min_insync_replicas::missing_cluster_values(active.image(), file_values));
        self.active = Some(active);
        if let Err(error) = group.add(&records) {
            warn!(%error, "first records of the cluster not written");
        }
        Some(group)
    }

    /// Hands the image to the broker, updates the view of the quorum, and answers.
    fn publish(&mut self) {
        let is_first = self.replayer.publish();
        let end_offset = self.replayer.image().end_offset;
        if let Some(replicas) = self.replayer.replicas() {
            // Committed records are never truncated.
            replicas.set_metadata_recovery_point(end_offset.min(self.node.persisted()));
        }
        let view = self.quorum_view();
        self.view.send_if_modified(|current| {
            // The progress of voters changes all the time: that alone notifies nobody.
            let is_new = QuorumView { voters: Vec::new(), ..view.clone() }
                != QuorumView { voters: Vec::new(), ..current.clone() };
            *current = view;
            is_new
        });
        if let Some(active) = &mut self.active {
            active.answer(Awaits::Commit, end_offset);
            active.answer(Awaits::Publication, self.replayer.followed());
            if self.is_short {
                active.give_up_waiting(&ControllerError::NoSpace);
            }
        }
        if is_first && let Some(caught_up) = self.caught_up.take() {
            // The starter of the thread may have given up.
            let _gone = caught_up.send(());
        }
    }

    fn quorum_view(&self) -> QuorumView {
        let raft = self.node.raft();
        let leader = raft.leader();
        let address = leader.leader.zip(leader.address);
        let now = clock::monotonic();
        let is_recent = |at: Duration| now.saturating_sub(at) <= self.fetch_timeout;
        let voters = raft.replicas().into_iter().filter(|replica| replica.is_voter).map(|replica| VoterProgress {
            id: replica.key.id,
            directory: replica.key.directory_id,
            log_end: replica.log_end_offset,
            is_caught_up: replica.key.id == self.context.id || replica.last_caught_up.is_some_and(is_recent),
        });
        QuorumView {
            epoch: leader.epoch,
            leader: address.map(|(id, address)| QuorumLeader { id, host: address.host, port: address.port }),
            is_active: self.active.is_some(),
            high_watermark: raft.high_watermark(),
            published: self.replayer.published(),
            voters: voters.collect(),
            granted: self.active.iter().flat_map(|_| self.decider.grants.brokers()).collect(),
        }
    }

    fn describe(&self) -> Option<QuorumDescription> {
        let raft = self.node.raft();
        let leading = raft.leading()?;
        Some(QuorumDescription {
            epoch: leading.epoch,
            high_watermark: raft.high_watermark(),
            replicas: raft.replicas(),
            voters: raft.voters().clone(),
        })
    }
}

/// The rest of the previous command comes first.
async fn next_wish(unfinished: &mut Option<Command>, wishes: &mut mpsc::Receiver<Command>) -> Option<Command> {
    match unfinished.take() {
        Some(left) => Some(left),
        None => wishes.recv().await,
    }
}

#[cfg(test)]
#[path = "runtime_test.rs"]
mod tests;
