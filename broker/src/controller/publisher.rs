//! Lets the broker follow what is committed, on a thread of its own: thousands of logs that are made or removed hold up
//! neither the quorum nor a heartbeat. What is committed meanwhile is followed in one go.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use protocol::types::Offset;
use tokio::sync::watch;
use tracing::error;

use super::replayer::Delta;
use super::runtime::PanicWatch;
use crate::metadata::Image;
use crate::replica::ReplicaManager;

/// Between two attempts to make what there was no room for.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Publisher {
    inlet: Arc<Inlet>,
    /// How far it is.
    ends: watch::Receiver<Offset>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Inlet {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// With what has changed since the last that was taken.
    waiting: Option<(Image, Delta)>,
    stopped: bool,
}

/// What the thread does next.
#[derive(Debug)]
enum Next {
    Follow(Box<Image>, Delta),
    /// Makes what there was no room for.
    Retry,
    Stop,
}

impl Publisher {
    pub(super) fn spawn(replicas: Arc<ReplicaManager>, published: Arc<ArcSwap<Image>>) -> std::io::Result<Self> {
        let inlet = Arc::new(Inlet::default());
        let (sender, ends) = watch::channel(published.load().end_offset);
        let taken = inlet.clone();
        let thread = std::thread::Builder::new().name("metadata".to_owned()).spawn(move || {
            let _watch = PanicWatch::new(replicas.clone(), "the thread that follows the metadata");
            loop {
                match taken.next(replicas.lacks_replicas().then_some(RETRY_INTERVAL)) {
                    Next::Follow(image, delta) => {
                        publish(&replicas, &published, &image, delta);
                        sender.send_replace(image.end_offset);
                    }
                    Next::Retry => replicas.make_missing(&published.load()),
                    Next::Stop => return,
                }
            }
        })?;
        Ok(Self { inlet, ends, thread: Some(thread) })
    }

    /// The image is committed; it differs by so much from the one before.
    pub(super) fn follow(&self, image: Image, delta: Delta) {
        let mut state = self.inlet.state();
        let mut all = state.waiting.take().map_or_else(Delta::default, |(_, earlier)| earlier);
        all.append(delta);
        state.waiting = Some((image, all));
        self.inlet.changed.notify_one();
    }

    /// All before it is followed.
    pub(super) fn end(&self) -> Offset {
        *self.ends.borrow()
    }

    /// Returns when more is published than at the last call.
    pub(super) async fn published(&mut self) {
        if self.ends.changed().await.is_err() {
            // The thread has panicked, and the process ends.
            std::future::pending::<()>().await;
        }
    }
}

/// What was not followed yet is at the next start.
impl Drop for Publisher {
    fn drop(&mut self) {
        self.inlet.state().stopped = true;
        self.inlet.changed.notify_one();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            error!("the thread that follows the metadata panicked");
        }
    }
}

impl Inlet {
    /// Waits until something is committed, and if that takes longer than `retry_after`, no longer.
    fn next(&self, retry_after: Option<Duration>) -> Next {
        let mut state = self.state();
        loop {
            if state.stopped {
                return Next::Stop;
            }
            if let Some((image, delta)) = state.waiting.take() {
                return Next::Follow(Box::new(image), delta);
            }
            let Some(pause) = retry_after else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let (woken, waited) = self.changed.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner);
            if waited.timed_out() {
                return Next::Retry;
            }
            state = woken;
        }
    }

    /// Whole after every call.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn publish(replicas: &ReplicaManager, published: &ArcSwap<Image>, image: &Image, delta: Delta) {
    let Delta { topics, configured } = delta.distinct();
    replicas.configure(image, &configured);
    // New partitions serve before they are seen.
    replicas.follow(image, &topics);
    replicas.note_departed(&published.load(), image);
    published.store(Arc::new(image.clone()));
    replicas.published();
}
