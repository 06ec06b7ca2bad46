//! What ends the process early: a failed data directory, or a panic in a thread or task that the rest relies on.
//!
//! A panic while serving a request ends its connection; one while loading a group partition or compacting a log leaves
//! that partition alone. Every other thread and task is watched: without it the process would go on and silently do
//! half of its work.

use std::io;
use std::thread::{self, JoinHandle};

use tokio::sync::watch;
use tracing::error;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// A write or sync failed: it is unknown what else did not reach the disk.
    #[error("the data directory failed: {0}")]
    Directory(String),
    #[error("{0} panicked, which is a defect of this software: see the log for where")]
    Panic(String),
}

/// Where failures are reported. The first one counts: others may follow from it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Failures {
    first: watch::Sender<Option<Failure>>,
    #[cfg(test)]
    planted: Option<&'static str>,
}

impl Failures {
    /// That thread or task panics as soon as it runs.
    #[cfg(test)]
    pub(crate) fn planted(who: &'static str) -> Self {
        Self { planted: Some(who), ..Self::default() }
    }

    pub(crate) fn fail(&self, failure: Failure) {
        match &failure {
            Failure::Directory(reason) => error!(%reason, "the data directory failed"),
            Failure::Panic(who) => error!(who, "panicked: the process ends"),
        }
        self.first.send_if_modified(|first| {
            let is_first = first.is_none();
            if is_first {
                *first = Some(failure);
            }
            is_first
        });
    }

    pub(crate) fn first(&self) -> Option<Failure> {
        self.first.borrow().clone()
    }

    /// Resolves when something has failed.
    pub(crate) async fn failed(&self) -> Failure {
        let mut first = self.first.subscribe();
        loop {
            if let Some(failure) = first.borrow_and_update().clone() {
                return failure;
            }
            if first.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Starts a thread whose panic is a failure of the process.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        name: impl Into<String>,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<T>> {
        let (failures, name) = (self.clone(), name.into());
        thread::Builder::new().name(name.clone()).spawn(move || failures.watch(&name, run))
    }

    /// Runs what a thread of that name does, if its panic is a failure of the process.
    pub(crate) fn watch<T>(&self, name: &str, run: impl FnOnce() -> T) -> T {
        let watch = PanicWatch { failures: self.clone(), who: format!("thread {name}") };
        assert!(!is_planted(&watch), "planted");
        run()
    }

    /// Wraps a task whose panic is a failure of the process.
    pub(crate) fn watched<F: Future>(&self, name: &str, task: F) -> impl Future<Output = F::Output> + use<F> {
        let watch = PanicWatch { failures: self.clone(), who: format!("task {name}") };
        async move {
            assert!(!is_planted(&watch), "planted");
            task.await
        }
    }
}

/// Held by the watched thread or task.
struct PanicWatch {
    failures: Failures,
    who: String,
}

impl Drop for PanicWatch {
    fn drop(&mut self) {
        if thread::panicking() {
            self.failures.fail(Failure::Panic(std::mem::take(&mut self.who)));
        }
    }
}

#[cfg(test)]
fn is_planted(watch: &PanicWatch) -> bool {
    watch.failures.planted == Some(&*watch.who)
}

#[cfg(not(test))]
const fn is_planted(_: &PanicWatch) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_ends_or_is_given_up_is_no_failure_and_the_first_panic_counts() {
        let failures = Failures::default();
        failures.spawn("ends", || ()).unwrap().join().unwrap();
        tokio::spawn(failures.watched("ends", async {})).await.unwrap();
        let given_up = tokio::spawn(failures.watched("given up", std::future::pending::<()>()));
        tokio::task::yield_now().await;
        given_up.abort();
        given_up.await.unwrap_err();
        assert_eq!(failures.first(), None);

        tokio::spawn(failures.watched("first", async { panic!("on purpose") })).await.unwrap_err();
        failures.spawn("second", || panic!("on purpose")).unwrap().join().unwrap_err();
        assert_eq!(failures.failed().await, Failure::Panic("task first".to_owned()));
    }
}
