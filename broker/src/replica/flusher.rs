//! The background flusher: a log is synced after so many bytes or so much time, whichever comes first, and then its
//! recovery point moves. It bounds what a start after a crash has to scan; it is no promise to producers.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use protocol::types::Offset;
use storage::{CheckpointError, is_no_space};
use tokio::sync::watch;
use tracing::{error, warn};

use super::manager::ReplicaManager;
use super::partition::{AccessError, Partition};

const UNFLUSHED_BYTES_MAX: u64 = 32 * 1024 * 1024;
const UNFLUSHED_BYTES_MAX_ALL: u64 = 256 * 1024 * 1024;
const UNFLUSHED_TIME_MAX: Duration = Duration::from_secs(5);
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Recovery points are of use only in their file, so it follows the flushes closely.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct Flusher {
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Flusher {
    pub(crate) fn spawn(replicas: Arc<ReplicaManager>) -> std::io::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let thread = std::thread::Builder::new().name("flusher".to_owned()).spawn(move || run(&replicas, &stopped))?;
        Ok(Self { stop, thread })
    }

    /// Waits until the flush in progress is over.
    pub(crate) fn stop(self) {
        self.stop.send_replace(true);
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            error!("the flusher panicked");
        }
    }
}

fn run(replicas: &ReplicaManager, stopped: &watch::Receiver<bool>) {
    let mut last_flush_all = Instant::now();
    let mut last_checkpoint = Instant::now();
    let mut checkpoint_due = false;
    let mut metadata_at = Offset(0);
    while !*stopped.borrow() {
        std::thread::park_timeout(LOOK_INTERVAL);
        let dirty: Vec<_> = replicas.all().into_iter().filter(|partition| 0 < partition.unflushed_bytes()).collect();
        let total: u64 = dirty.iter().map(|partition| partition.unflushed_bytes()).sum();
        let all = UNFLUSHED_TIME_MAX <= last_flush_all.elapsed() || UNFLUSHED_BYTES_MAX_ALL <= total;
        for partition in dirty.iter().filter(|partition| all || UNFLUSHED_BYTES_MAX <= partition.unflushed_bytes()) {
            flush(replicas, partition);
            checkpoint_due = true;
        }
        if all {
            last_flush_all = Instant::now();
        }
        checkpoint_due |= replicas.checkpoints_are_stale();
        checkpoint_due |= metadata_at != replicas.metadata_recovery_point();
        metadata_at = replicas.metadata_recovery_point();
        if checkpoint_due && CHECKPOINT_INTERVAL <= last_checkpoint.elapsed() {
            last_checkpoint = Instant::now();
            checkpoint_due = match replicas.write_checkpoints() {
                Ok(()) => false,
                Err(CheckpointError::Io { source, .. }) if is_no_space(&source) => {
                    warn!("no space for the checkpoints: the old ones hold until there is");
                    true
                }
                Err(error) => {
                    replicas.directory_failed(&error.to_string());
                    false
                }
            };
        }
    }
}

fn flush(replicas: &ReplicaManager, partition: &Arc<Partition>) {
    let job = match partition.start_flush() {
        Ok(job) => job,
        Err(AccessError::Deleted(_)) => return,
        Err(error) => return warn!(partition = %partition.name, %error, "not flushed"),
    };
    // A failed sync says nothing of what reached the disk, so it is never tried again.
    let began = Instant::now();
    match job.run() {
        Ok(flushed) => {
            replicas.flush_time.observe(began.elapsed());
            match partition.finish_flush(flushed) {
                Ok(()) | Err(AccessError::Deleted(_)) => {}
                Err(error) => warn!(partition = %partition.name, %error, "flushed in vain"),
            }
        }
        Err(error) => replicas.directory_failed(&error.to_string()),
    }
}
