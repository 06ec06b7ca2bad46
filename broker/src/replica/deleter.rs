//! The thread that deletes renamed files after `file.delete.delay.ms`, and periodically what [`super::retention`]
//! finds. What is left at a stop is removed by the next start.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::{error, info};

use super::manager::ReplicaManager;

/// A longer delay is cut to this.
const DELAY_MAX: Duration = Duration::from_hours(24 * 365);

/// A renamed file or directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Renamed {
    /// A partition's directory.
    Directory(PathBuf),
    /// A segment's file.
    File(PathBuf),
}

/// Files that wait to be removed.
#[derive(Debug, Default)]
pub(super) struct Removals {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: BTreeSet<(Instant, Renamed)>,
    /// Directories were renamed since the last sync.
    unsynced: bool,
    stopped: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Work {
    /// Make renames of directories durable.
    Sync,
    Remove(Renamed),
    /// Do the periodic work.
    Regular,
    Stop,
}

impl Removals {
    pub(super) fn add_directory(&self, directory: PathBuf, delay: Duration) {
        let mut state = self.state();
        state.waiting.insert((due(delay), Renamed::Directory(directory)));
        state.unsynced = true;
        self.changed.notify_one();
    }

    pub(super) fn add_files(&self, files: Vec<PathBuf>, delay: Duration) {
        let due = due(delay);
        self.state().waiting.extend(files.into_iter().map(|file| (due, Renamed::File(file))));
        self.changed.notify_one();
    }

    fn stop(&self) {
        self.state().stopped = true;
        self.changed.notify_one();
    }

    /// Waits until there is something to do.
    fn next(&self, regular: Instant) -> Work {
        let mut state = self.state();
        loop {
            match state.next(regular, Instant::now()) {
                Ok(work) => return work,
                Err(wait) => state = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0,
            }
        }
    }

    /// The state is consistent after every call, so that a poisoned lock can be used.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn due(delay: Duration) -> Instant {
    Instant::now() + delay.min(DELAY_MAX)
}

impl State {
    /// `Err`: how long there will be nothing to do.
    fn next(&mut self, regular: Instant, now: Instant) -> Result<Work, Duration> {
        if self.stopped {
            return Ok(Work::Stop);
        }
        if std::mem::take(&mut self.unsynced) {
            return Ok(Work::Sync);
        }
        let first = self.waiting.first().map(|(due, _)| *due);
        if first.is_some_and(|due| due <= now)
            && let Some((_, renamed)) = self.waiting.pop_first()
        {
            return Ok(Work::Remove(renamed));
        }
        if regular <= now {
            return Ok(Work::Regular);
        }
        Err(first.map_or(regular, |due| due.min(regular)).duration_since(now))
    }
}

#[derive(Debug)]
pub(crate) struct Deleter {
    replicas: Arc<ReplicaManager>,
    thread: JoinHandle<()>,
}

impl Deleter {
    pub(crate) fn spawn(replicas: Arc<ReplicaManager>) -> io::Result<Self> {
        let of_thread = replicas.clone();
        let thread = replicas.failures().spawn("deleter", move || run(&of_thread))?;
        Ok(Self { replicas, thread })
    }

    /// Waits until the work in progress is done.
    pub(crate) fn stop(self) {
        self.replicas.removals.stop();
        // A panic has been reported as a failure already.
        let _told = self.thread.join();
    }
}

fn run(replicas: &ReplicaManager) {
    let mut schedule = replicas.retention_schedule(Instant::now());
    loop {
        match replicas.removals.next(schedule.next()) {
            Work::Sync => {
                if let Err(error) = replicas.directory.sync() {
                    replicas.directory_failed(&format!("sync of the data directory: {error}"));
                }
            }
            Work::Remove(Renamed::Directory(directory)) => match replicas.directory.remove(&directory) {
                Ok(()) => info!(directory = %directory.display(), "removed deleted partition directory"),
                Err(error) => {
                    error!(directory = %directory.display(), %error, "partition directory not removed: the next start retries");
                }
            },
            Work::Remove(Renamed::File(file)) => match replicas.pool.disk().remove_file(&file) {
                // The whole partition may have been deleted meanwhile.
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    error!(file = %file.display(), %error, "file not removed: the next start retries");
                }
                _ => {}
            },
            Work::Regular => replicas.run_due(&mut schedule, Instant::now()),
            Work::Stop => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renames_are_durable_first_and_then_everything_goes_when_it_is_due() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let (early, late) = (Renamed::File("early".into()), Renamed::Directory("late".into()));
        let mut state = State { unsynced: true, ..State::default() };
        let regular = now + 3 * second;
        assert_eq!(state.next(regular, now), Ok(Work::Sync));
        assert_eq!(state.next(regular, now), Err(3 * second));
        state.waiting.extend([(now + 2 * second, late.clone()), (now + second, early.clone())]);
        assert_eq!(state.next(regular, now), Err(second));
        assert_eq!(state.next(regular, now + second), Ok(Work::Remove(early)));
        assert_eq!(state.next(regular, now + second), Err(second));
        assert_eq!(state.next(regular, now + 3 * second), Ok(Work::Remove(late)));
        assert_eq!(state.next(regular, now + 3 * second), Ok(Work::Regular));
        state.stopped = true;
        assert_eq!(state.next(regular, now), Ok(Work::Stop));
    }
}
