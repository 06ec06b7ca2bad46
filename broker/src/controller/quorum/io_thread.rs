//! The thread that writes. The control thread hands it what is to be done to the metadata log, the quorum-state file
//! and the snapshots; it does that in order and reports when it is on disk. So a slow disk delays acknowledgements
//! and votes, as it must, but neither heartbeats nor answers that need no disk.
//!
//! Appends that wait together share one sync. If space or descriptors run out the thread retries until there are
//! some; any other failed write or sync fails the data directory.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use protocol::types::Offset;
use raft::{ElectionState, FetchResponse, FetchSnapshotResponse, LogGeneration, SnapshotId, Token};
use tokio::sync::mpsc;
use tracing::{error, warn};

use crate::clock;
use crate::controller::metadata_log::{MetadataLog, MetadataLogError};
use crate::controller::quorum_state::{QuorumStateError, QuorumStateFile};
use crate::controller::snapshot::{self, SNAPSHOT_BYTES_MAX};
use crate::failure::Failures;
use crate::metadata::Image;

/// Tasks that wait to be done; further senders wait.
const TASKS_QUEUED_MAX: usize = 1024;
/// Each task reports at most twice, so reports never hold the thread up.
const REPORTS_QUEUED_MAX: usize = 4 * TASKS_QUEUED_MAX;
/// Tasks that may share one sync.
const TASKS_PER_SYNC_MAX: usize = 256;
/// Pause before an operation that failed for lack of space is retried.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(in crate::controller) enum Task {
    /// Batches as they are written to the log.
    Append(Bytes),
    Truncate {
        end_offset: Offset,
        generation: LogGeneration,
    },
    WriteState(ElectionState),
    Read {
        range: Range<Offset>,
        bytes_max: u32,
        purpose: Purpose,
    },
    ReadSnapshot {
        id: SnapshotId,
        position: i64,
        bytes_max: usize,
        token: Token,
        response: Box<FetchSnapshotResponse>,
    },
    /// A piece of a snapshot that the leader sends.
    CollectSnapshot {
        id: SnapshotId,
        position: i64,
        bytes: Bytes,
    },
    FinishSnapshot(SnapshotId),
    RestartLog {
        id: SnapshotId,
        generation: LogGeneration,
    },
    /// A snapshot that this node has taken is on disk.
    AddSnapshot {
        id: SnapshotId,
        length: u64,
    },
    /// Applies the retention of metadata, keeping everything from that offset on.
    Clean {
        log_start_max: Offset,
    },
}

/// Returned with what was read.
#[derive(Debug)]
pub(in crate::controller) enum Purpose {
    Replay,
    /// To be sent to the caller with this response.
    Answer {
        token: Token,
        response: Box<FetchResponse>,
    },
}

#[derive(Debug)]
pub(in crate::controller) enum Report {
    /// The log is on disk up to this offset.
    Persisted {
        end_offset: Offset,
        generation: LogGeneration,
    },
    StateWritten,
    /// Empty if the log has been truncated meanwhile.
    Read {
        bytes: Bytes,
        purpose: Purpose,
    },
    /// The piece, with the size of the whole; `None`: there is no such snapshot.
    SnapshotRead {
        piece: Option<(Bytes, u64)>,
        token: Token,
        response: Box<FetchSnapshotResponse>,
    },
    SnapshotFinished {
        id: SnapshotId,
        image: Box<Image>,
    },
    SnapshotDamaged(SnapshotId),
    /// The log start has advanced.
    LogStart(Offset),
    /// Whether writes are waiting for space.
    Short(bool),
    Failed(String),
}

#[derive(Debug, thiserror::Error)]
enum IoError {
    #[error(transparent)]
    Log(#[from] MetadataLogError),
    #[error(transparent)]
    State(#[from] QuorumStateError),
}

impl IoError {
    fn is_shortage(&self) -> bool {
        match self {
            Self::Log(error) => error.is_shortage(),
            Self::State(error) => error.is_shortage(),
        }
    }
}

/// Ends, with the log closed, when its task channel is closed.
#[derive(Debug)]
pub(in crate::controller) struct IoThread {
    log: MetadataLog,
    state: QuorumStateFile,
    reports: mpsc::Sender<Report>,
    generation: LogGeneration,
    has_unsynced: bool,
    /// The part of a snapshot that has arrived so far.
    collected: Option<(SnapshotId, Vec<u8>)>,
}

/// The control thread's ends of the channels.
#[derive(Debug)]
pub(in crate::controller) struct Io {
    pub(in crate::controller) tasks: mpsc::Sender<Task>,
    pub(in crate::controller) reports: mpsc::Receiver<Report>,
    /// Whether the log was closed cleanly.
    pub(in crate::controller) thread: std::thread::JoinHandle<bool>,
}

impl IoThread {
    pub(in crate::controller) fn spawn(
        log: MetadataLog,
        state: QuorumStateFile,
        failures: &Failures,
    ) -> std::io::Result<Io> {
        let (sender, tasks) = mpsc::channel(TASKS_QUEUED_MAX);
        let (reports, receiver) = mpsc::channel(REPORTS_QUEUED_MAX);
        let generation = LogGeneration::default();
        let this = Self { log, state, reports, generation, has_unsynced: false, collected: None };
        let thread = failures.spawn("metadata-io", move || this.run(tasks))?;
        Ok(Io { tasks: sender, reports: receiver, thread })
    }

    fn run(mut self, mut tasks: mpsc::Receiver<Task>) -> bool {
        let mut waiting = Vec::with_capacity(TASKS_PER_SYNC_MAX);
        while 0 < tasks.blocking_recv_many(&mut waiting, TASKS_PER_SYNC_MAX) {
            let done = waiting.drain(..).try_for_each(|task| self.carry_out(task)).and_then(|()| self.sync());
            if let Err(error) = done {
                self.report(Report::Failed(error.to_string()));
                return false;
            }
        }
        let closed = self.log.close_clean(clock::wall());
        if let Err(error) = &closed {
            error!(%error, "metadata log not closed");
        }
        closed.is_ok()
    }

    fn carry_out(&mut self, task: Task) -> Result<(), IoError> {
        let now = clock::wall();
        match task {
            Task::Append(batches) => {
                self.patiently(|this| Ok(this.log.append(&batches, now)?))?;
                self.has_unsynced = true;
            }
            Task::Truncate { end_offset, generation } => {
                self.patiently(|this| Ok(this.log.truncate_to(end_offset, now)?))?;
                self.begin(generation);
            }
            Task::WriteState(state) => {
                // In the order of the tasks, on disk too.
                self.sync()?;
                self.patiently(|this| Ok(this.state.write(&state)?))?;
                self.report(Report::StateWritten);
            }
            Task::Read { range, bytes_max, purpose } => {
                let bytes = self.patiently(|this| match this.log.read(&range, bytes_max) {
                    Err(MetadataLogError::OutOfRange(_)) => Ok(Bytes::new()),
                    read => Ok(read?),
                })?;
                self.report(Report::Read { bytes, purpose });
            }
            Task::ReadSnapshot { id, position, bytes_max, token, response } => {
                let piece = match u64::try_from(position) {
                    Ok(position) => self.patiently(|this| Ok(this.log.read_snapshot(id, position, bytes_max)?))?,
                    Err(_) => None,
                };
                self.report(Report::SnapshotRead { piece, token, response });
            }
            Task::CollectSnapshot { id, position, bytes } => self.collect(id, position, &bytes),
            Task::FinishSnapshot(id) => self.finish_snapshot(id)?,
            Task::RestartLog { id, generation } => {
                self.patiently(|this| Ok(this.log.restart_at(id.end_offset, now)?))?;
                self.begin(generation);
            }
            Task::AddSnapshot { id, length } => self.log.add_snapshot(id, length),
            Task::Clean { log_start_max } => {
                let before = self.log.start_offset();
                self.log.clean(log_start_max, now)?;
                if before < self.log.start_offset() {
                    self.report(Report::LogStart(self.log.start_offset()));
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, generation: LogGeneration) {
        self.generation = generation;
        self.has_unsynced = true;
    }

    /// Ignores a piece that does not continue what is there: the snapshot will then be found damaged.
    fn collect(&mut self, id: SnapshotId, position: i64, bytes: &[u8]) {
        let collected = match &mut self.collected {
            Some((known, collected)) if *known == id && position != 0 => collected,
            other => &mut other.insert((id, Vec::new())).1,
        };
        let fits = u64::try_from(collected.len() + bytes.len()).is_ok_and(|length| length <= SNAPSHOT_BYTES_MAX);
        if fits && i64::try_from(collected.len()) == Ok(position) {
            collected.extend_from_slice(bytes);
        }
    }

    fn finish_snapshot(&mut self, id: SnapshotId) -> Result<(), IoError> {
        let collected = self.collected.take().filter(|(known, _)| *known == id).map(|(_, bytes)| bytes);
        let bytes = collected.unwrap_or_default();
        match snapshot::decode(&bytes, id) {
            Ok(image) => {
                self.patiently(|this| Ok(this.log.write_snapshot(id, &bytes)?))?;
                self.report(Report::SnapshotFinished { id, image: Box::new(image) });
            }
            Err(error) => {
                warn!(%id, %error, "fetched metadata snapshot is damaged");
                self.report(Report::SnapshotDamaged(id));
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), IoError> {
        if std::mem::take(&mut self.has_unsynced) {
            self.patiently(|this| Ok(this.log.sync(clock::wall())?))?;
            self.report(Report::Persisted { end_offset: self.log.end_offset(), generation: self.generation });
        }
        Ok(())
    }

    /// Retries while resources are short, unless the control thread has ended.
    fn patiently<T>(&mut self, mut attempt: impl FnMut(&mut Self) -> Result<T, IoError>) -> Result<T, IoError> {
        let mut is_short = false;
        loop {
            let outcome = attempt(self);
            let again = outcome.as_ref().is_err_and(IoError::is_shortage) && !self.reports.is_closed();
            if again != is_short {
                self.report(Report::Short(again));
            }
            match &outcome {
                Err(error) if again && !is_short => warn!(%error, "metadata log waits for space or descriptors"),
                _ => {}
            }
            if !again {
                return outcome;
            }
            is_short = true;
            std::thread::park_timeout(SHORTAGE_PAUSE);
        }
    }

    /// The control thread may have ended: then there is no receiver.
    fn report(&self, report: Report) {
        let _gone = self.reports.blocking_send(report);
    }
}

#[cfg(test)]
#[path = "io_thread_test.rs"]
mod tests;
