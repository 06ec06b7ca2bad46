//! What is deleted over time: records deleted by clients, segments beyond `retention.ms` and `retention.bytes`,
//! producers that have been silent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::types::{Offset, Timestamp};
use storage::SegmentDeletion;
use tracing::{info, warn};

use super::access::{DeleteRecordsError, NewLogStart};
use super::manager::ReplicaManager;
use super::partition::Partition;
use crate::clock::{self, Age};

const PRODUCER_CHECK: &str = "producer.id.expiration.check.interval.ms";

/// When each task is due next. See [`ReplicaManager::run_due`].
#[derive(Debug, Clone, Copy)]
pub(super) struct RetentionSchedule {
    segments: Instant,
    producers: Instant,
}

impl RetentionSchedule {
    pub(super) fn next(&self) -> Instant {
        self.segments.min(self.producers)
    }
}

impl ReplicaManager {
    /// DeleteRecords: advances the log starts and returns the new ones. After that no crash brings the records back.
    /// Waits for the disk.
    pub(crate) fn delete_records(
        &self,
        wanted: Vec<(Arc<Partition>, NewLogStart)>,
    ) -> Vec<Result<Offset, DeleteRecordsError>> {
        let now = clock::wall();
        let mut deletions = Vec::new();
        let mut results: Vec<_> = wanted
            .into_iter()
            .map(|(partition, start)| {
                let (log_start, deletion) = partition.delete_records(start, now)?;
                deletions.extend(deletion.map(|deletion| (partition, deletion)));
                Ok(log_start)
            })
            .collect();
        // Even if no log start has moved: it may be a retry after the checkpoint could not be written.
        if results.iter().any(Result::is_ok)
            && let Err(error) = self.write_log_starts()
        {
            self.checkpoints_not_written(&error);
            let not_durable = |_| Err(DeleteRecordsError::NotDurable(error.to_string()));
            results = results.into_iter().map(|result| result.and_then(not_durable)).collect();
        }
        // Files are removed even if the checkpoint could not be written: a full disk needs the space.
        for (partition, deletion) in deletions {
            self.remove_segments(&partition, &deletion);
        }
        results
    }

    pub(super) fn retention_schedule(&self, now: Instant) -> RetentionSchedule {
        let delay = self.interval("log.initial.task.delay.ms");
        RetentionSchedule { segments: now + delay, producers: now + self.interval(PRODUCER_CHECK).min(delay) }
    }

    /// Does what is due, and sets in the schedule when it is due again.
    pub(super) fn run_due(&self, schedule: &mut RetentionSchedule, now: Instant) {
        if schedule.segments <= now {
            let age_now = self.age_now();
            // A doubted clock must be doubted by the next start, too.
            let wall = clock::wall();
            if self.age_clock.read(wall, clock::monotonic()).is_plausible() {
                self.note_alive(wall);
            }
            self.all().iter().for_each(|partition| self.delete_old_segments(partition, age_now));
            schedule.segments = now + self.interval("log.retention.check.interval.ms");
        }
        if schedule.producers <= now {
            let age_now = self.age_now();
            for partition in self.all() {
                // An offline partition has no producers to expire.
                partition.with_log_mut(|log| log.expire_producers(age_now)).unwrap_or_default();
            }
            schedule.producers = now + self.interval(PRODUCER_CHECK);
        }
    }

    /// The time by which the age of records is measured. A wall clock that was set forward is ignored, with a
    /// warning.
    pub(super) fn age_now(&self) -> Timestamp {
        let Age { now, ahead } = self.age_clock.read(clock::wall(), clock::monotonic());
        if self.age_clock.is_news(ahead) {
            warn!(
                ahead_s = ahead.as_secs(),
                "the wall clock is ahead of what this broker knows of the time: it was set while the broker ran, or \
                 long after the broker ran last. Nothing is deleted because of that. If the clock is right, restart \
                 the broker"
            );
        }
        now
    }

    pub(super) fn note_alive(&self, wall: Timestamp) {
        if let Err(error) = self.directory.note_alive(wall) {
            warn!(%error, "cannot record in the data directory that this broker is alive");
        }
    }

    fn delete_old_segments(&self, partition: &Partition, now: Timestamp) {
        let retention = partition.settings().retention;
        let deletion = partition.with_log_mut(|log| log.delete_old_segments(&retention, now));
        match deletion {
            Ok(Ok(Some(deletion))) => {
                partition.follower_waiters.wake_all();
                self.remove_segments(partition, &deletion);
            }
            Ok(Ok(None)) | Err(_) => {}
            Ok(Err(error)) => {
                warn!(partition = %partition.name, %error, "old segments not deleted");
                partition.write_failed(&error);
            }
        }
    }

    fn remove_segments(&self, partition: &Partition, deletion: &SegmentDeletion) {
        match deletion.run() {
            Ok(files) => {
                info!(partition = %partition.name, files = files.len(), "old segments deleted");
                self.removals.add_files(files, partition.settings().file_delete_delay);
            }
            Err(error) => self.directory_failed(&error.to_string()),
        }
    }

    pub(super) fn interval(&self, option: &'static str) -> Duration {
        self.broker_values().get_millis(option)
    }
}
