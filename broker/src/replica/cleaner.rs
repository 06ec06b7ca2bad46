//! The threads that compact logs, `log.cleaner.threads` in number, which may change while they run. One more thread
//! supervises them.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle, ScopedJoinHandle};
use std::time::{Duration, Instant};

use tracing::error;

use super::cleaning::Cleaning;
use super::manager::ReplicaManager;
use super::partition::lock;

#[derive(Debug)]
pub(crate) struct Cleaner {
    stop: Arc<Stop>,
    thread: JoinHandle<()>,
}

/// A stop signal for all threads.
#[derive(Debug, Default)]
pub(super) struct Stop {
    is_told: Mutex<bool>,
    told: Condvar,
}

impl Stop {
    pub(super) fn tell(&self) {
        *lock(&self.is_told) = true;
        self.told.notify_all();
    }

    pub(super) fn is_told(&self) -> bool {
        *lock(&self.is_told)
    }

    /// Waits for so long, or for the signal. Returns whether it was given.
    pub(super) fn is_told_within(&self, time: Duration) -> bool {
        let is_told = lock(&self.is_told);
        let waited = self.told.wait_timeout_while(is_told, time, |is_told| !*is_told);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Cleaner {
    pub(crate) fn spawn(replicas: &Arc<ReplicaManager>) -> io::Result<Self> {
        let stop = Arc::new(Stop::default());
        let (told, of_thread) = (stop.clone(), replicas.clone());
        let thread = replicas.failures().spawn("cleaners", move || look_after(&of_thread, &told))?;
        Ok(Self { stop, thread })
    }

    /// Waits until the passes in progress have ended, which they do soon.
    pub(crate) fn stop(self) {
        self.stop.tell();
        // A panic has been reported as a failure already.
        let _told = self.thread.join();
    }
}

fn look_after(replicas: &ReplicaManager, stop: &Stop) {
    let cleaning = Cleaning::new(replicas, stop);
    thread::scope(|scope| {
        let mut workers = BTreeMap::<usize, ScopedJoinHandle<'_, ()>>::new();
        loop {
            for number in 0..cleaning.threads() {
                if workers.get(&number).is_none_or(ScopedJoinHandle::is_finished) {
                    let (name, cleaning) = (format!("cleaner-{number}"), &cleaning);
                    let watched =
                        move || replicas.failures().watch(&format!("cleaner-{number}"), || work(cleaning, number));
                    match thread::Builder::new().name(name).spawn_scoped(scope, watched) {
                        Ok(worker) => drop(workers.insert(number, worker)),
                        Err(error) => error!(%error, "cannot start a cleaner thread; retrying"),
                    }
                }
            }
            if stop.is_told_within(pause(replicas)) {
                return;
            }
        }
    });
}

/// Works as long as so many threads are wanted.
fn work(cleaning: &Cleaning<'_>, number: usize) {
    while number < cleaning.threads() && !cleaning.stop.is_told() {
        if !cleaning.clean_one(Instant::now()) {
            let _is_told = cleaning.stop.is_told_within(pause(cleaning.replicas));
        }
    }
}

fn pause(replicas: &ReplicaManager) -> Duration {
    replicas.interval("log.cleaner.backoff.ms")
}
