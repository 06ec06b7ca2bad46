//! Applies committed metadata to the broker, on its own thread: creating or removing thousands of logs holds up
//! neither the quorum nor a heartbeat. Images that arrive meanwhile are merged into one, and do not wait for the logs
//! of new replicas either: those are created a few at a time.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use protocol::metadata_records::MetadataRecord;
use protocol::types::Offset;
use tokio::sync::watch;

use super::replayer::Delta;
use crate::metadata::{Image, replay};
use crate::replica::{ReplicaManager, Unmade};

/// Pause between attempts to create replicas for which there was no room.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Publisher {
    inlet: Arc<Inlet>,
    /// The offset up to which everything is applied. Also notified when more is published.
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
    /// The latest image, with all changes since the last that was taken.
    waiting: Option<(Image, Delta)>,
    stopped: bool,
}

/// What the thread does next.
#[derive(Debug)]
enum Next {
    Follow(Box<Image>, Delta),
    /// Continue to create replicas.
    GoOn,
    Stop,
}

/// The state of the thread.
struct Follower {
    replicas: Arc<ReplicaManager>,
    published: Arc<ArcSwap<Image>>,
    /// The offset up to which everything is applied.
    ends: watch::Sender<Offset>,
    image: Image,
    unmade: Unmade,
}

impl Publisher {
    pub(super) fn spawn(replicas: Arc<ReplicaManager>, published: Arc<ArcSwap<Image>>) -> std::io::Result<Self> {
        let inlet = Arc::new(Inlet::default());
        let image = Image::clone(&published.load());
        let (sender, ends) = watch::channel(image.end_offset);
        let follower = Follower { replicas, published, ends: sender, image, unmade: Unmade::default() };
        let taken = inlet.clone();
        let failures = follower.replicas.failures().clone();
        let thread = failures.spawn("metadata", move || follower.run(&taken))?;
        Ok(Self { inlet, ends, thread: Some(thread) })
    }

    /// Applies a committed image; `delta` is how it differs from the one before.
    pub(super) fn follow(&self, image: Image, delta: Delta) {
        let mut state = self.inlet.state();
        let mut all = state.waiting.take().map_or_else(Delta::default, |(_, earlier)| earlier);
        all.append(delta);
        state.waiting = Some((image, all));
        self.inlet.changed.notify_one();
    }

    /// The offset up to which everything is applied.
    pub(super) fn end(&self) -> Offset {
        *self.ends.borrow()
    }

    /// Returns when more is published than at the last call.
    pub(super) async fn published(&mut self) {
        if self.ends.changed().await.is_err() {
            // The thread has panicked, and the process is ending.
            std::future::pending::<()>().await;
        }
    }
}

/// What is not applied yet is applied at the next start.
impl Drop for Publisher {
    fn drop(&mut self) {
        self.inlet.state().stopped = true;
        self.inlet.changed.notify_one();
        // A panic has been reported as a failure already.
        let _told = self.thread.take().map(JoinHandle::join);
    }
}

impl Inlet {
    /// Waits for the next image, at most for `go_on_after`.
    fn next(&self, go_on_after: Option<Duration>) -> Next {
        let mut state = self.state();
        loop {
            if state.stopped {
                return Next::Stop;
            }
            if let Some((image, delta)) = state.waiting.take() {
                return Next::Follow(Box::new(image), delta);
            }
            let Some(pause) = go_on_after else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let (woken, waited) = self.changed.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner);
            if waited.timed_out() {
                return Next::GoOn;
            }
            state = woken;
        }
    }

    /// The state is consistent after every call, so that a poisoned lock can be used.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follower {
    fn run(mut self, inlet: &Inlet) {
        loop {
            let go_on_after = if self.unmade.is_empty() {
                self.replicas.lacks_replicas().then_some(RETRY_INTERVAL)
            } else {
                Some(Duration::ZERO)
            };
            match inlet.next(go_on_after) {
                Next::Follow(image, delta) => self.follow(*image, delta),
                Next::GoOn if self.unmade.is_empty() => self.replicas.make_missing(&self.image),
                Next::GoOn => self.go_on(),
                Next::Stop => return,
            }
        }
    }

    fn follow(&mut self, image: Image, delta: Delta) {
        let Delta { topics, configured } = delta.distinct();
        self.replicas.configure(&image, &configured);
        self.replicas.follow_present(&image, &topics, &mut self.unmade);
        self.replicas.make_some(&image, &mut self.unmade);
        self.image = image;
        self.publish();
    }

    fn go_on(&mut self) {
        self.replicas.make_some(&self.image, &mut self.unmade);
        if self.unmade.is_empty() {
            self.publish();
        }
    }

    /// New topics become visible once they serve.
    fn publish(&self) {
        let mut seen = self.image.clone();
        let before = self.published.load();
        for topic_id in self.unmade.topics().into_iter().filter(|id| !before.topics.contains_key(id)) {
            // A topic that was deleted again is unknown, which is fine.
            let _unknown = replay(&mut seen, &MetadataRecord::RemoveTopic { topic_id });
        }
        self.replicas.note_departed(&before, &seen);
        self.published.store(Arc::new(seen));
        self.replicas.published();
        self.ends.send_modify(|end| {
            if self.unmade.is_empty() {
                *end = self.image.end_offset;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use protocol::metadata_records::{LeaderUpdate, PartitionChangeRecord};
    use protocol::types::{BrokerId, PartitionId, TopicId};

    use super::*;
    use crate::metadata::testing::{add_partition, add_topic, apply, cluster};
    use crate::replica::testing::{NO_LIMITS, formatted, manager};

    /// A follower of broker 0.
    fn follower() -> (Follower, watch::Receiver<Offset>) {
        let (sender, ends) = watch::channel(Offset(0));
        let replicas = Arc::new(manager(&formatted(), NO_LIMITS));
        let published = Arc::new(ArcSwap::from_pointee(Image::empty()));
        let unmade = Unmade::default();
        (Follower { replicas, published, ends: sender, image: Image::empty(), unmade }, ends)
    }

    #[test]
    fn an_election_waits_for_no_thousand_logs() {
        let (mut follower, ends) = follower();
        let changed = |topic: TopicId| Delta { topics: vec![topic], configured: Vec::new() };
        let mut image = cluster(2);
        let elected = add_topic(&mut image, "elected", &[1, 0]);
        follower.follow(image.clone(), changed(elected));
        assert_eq!((follower.replicas.leader_count(), *ends.borrow()), (0, image.end_offset));
        let before = image.end_offset;
        let many = add_topic(&mut image, "many", &[0]);
        (1..1000).for_each(|_| add_partition(&mut image, many, &[0]));
        follower.follow(image.clone(), changed(many));

        let leader = LeaderUpdate::Broker(BrokerId(0));
        let change = PartitionChangeRecord { leader, ..PartitionChangeRecord::new(elected, PartitionId(0)) };
        apply(&mut image, &[MetadataRecord::PartitionChange(change)]);
        follower.follow(image.clone(), changed(elected));
        assert!(follower.replicas.partition(elected, PartitionId(0)).unwrap().leads());
        let seen = follower.published.load_full();
        assert_eq!(seen.topics[&elected].partitions[0].leader, Some(BrokerId(0)));
        assert!(!seen.topics.contains_key(&many) && !seen.topic_ids.contains_key("many"), "it does not serve yet");
        assert_eq!(*ends.borrow(), before, "who has created it waits");

        while !follower.unmade.is_empty() {
            follower.go_on();
        }
        assert_eq!((follower.replicas.leader_count(), *ends.borrow()), (1001, image.end_offset));
        assert_eq!(follower.published.load().topics[&many].partitions.len(), 1000);
    }
}
