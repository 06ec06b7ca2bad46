//! All coordinators of this broker. A request for a group takes the lock of its shard and does the work there; the
//! coordinator thread does what is due without a request, and decides which shards there are.
//!
//! That thread once owned the shards, and requests were sent to it: two thread wake-ups for each, which cost several
//! times the work in a shard. A lock is held for as long as a write to the page cache takes, like the partition's
//! own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use protocol::types::{PartitionId, TopicId};
use tokio::sync::oneshot;

use super::alarm::Alarm;
use super::answer::{Reply, tell};
use super::counts::GroupCounts;
use super::error::{GroupError, Unavailable};
use super::handle::coordinator_partition;
use super::log::GroupLogs;
use super::member::GroupId;
use super::place::{Place, TermLog};
use super::request::{GroupRequest, ListedGroup, Moment, Positions};
use super::shard::Shard;
use crate::clock;

/// The partitions of `__consumer_offsets`.
#[derive(Default)]
pub(super) struct Places {
    /// How many there are in the cluster.
    pub(super) partitions: usize,
    /// Those that this broker leads.
    pub(super) led: BTreeMap<PartitionId, Arc<Place>>,
}

pub(super) type Listing = oneshot::Receiver<Result<Vec<ListedGroup>, GroupError>>;

pub(super) struct Coordinators {
    pub(super) logs: Arc<dyn GroupLogs>,
    /// Changed by the thread only.
    places: ArcSwap<Places>,
    pub(super) alarm: Alarm,
}

impl Coordinators {
    pub(super) fn new(logs: Arc<dyn GroupLogs>) -> Self {
        Self { logs, places: ArcSwap::default(), alarm: Alarm::default() }
    }

    pub(super) fn places(&self) -> Arc<Places> {
        self.places.load_full()
    }

    /// Replaces the places; those that are not kept are given up.
    pub(super) fn replace(&self, places: Places) {
        let places = Arc::new(places);
        let former = self.places.swap(places.clone());
        let is_kept =
            |place: &Arc<Place>| places.led.get(&place.term.partition).is_some_and(|kept| Arc::ptr_eq(kept, place));
        former.led.values().filter(|place| !is_kept(place)).for_each(|place| place.give_up());
    }

    /// The answer is sent as soon as everything written to the group is committed.
    pub(super) fn ask(&self, id: &GroupId, request: GroupRequest) {
        let places = self.places.load();
        let partition = coordinator_partition(&id.0, places.partitions);
        let place = partition.and_then(|partition| places.led.get(&partition));
        let Some(place) = place else { return request.refuse(Unavailable::NotCoordinator) };
        self.with_shard(place, |found, now, log| match found {
            Ok(shard) => shard.handle(id, request, now, log),
            Err(unavailable) => request.refuse(unavailable.clone()),
        });
    }

    /// One answer for each partition.
    pub(super) fn list(&self) -> Vec<Listing> {
        let list = |place: &Arc<Place>| {
            let (reply, listing): (Reply<_>, _) = oneshot::channel();
            self.with_shard(place, |found, now, _| match found {
                Ok(shard) => shard.list(reply, now),
                Err(unavailable) => tell(reply, Err(unavailable.clone().into())),
            });
            listing
        };
        self.places.load().led.values().map(list).collect()
    }

    /// Positions of at most so many partitions. Does not wait for them to be committed.
    pub(super) fn positions(&self, at_most: usize) -> Positions {
        let mut positions = Positions::default();
        for place in self.places.load().led.values() {
            if let Ok(shard) = &*place.shard() {
                shard.add_positions(&mut positions, at_most);
            }
        }
        positions
    }

    pub(super) fn counts(&self) -> GroupCounts {
        let places = self.places.load();
        let counts = places
            .led
            .values()
            .map(|place| place.shard().as_ref().map_or_else(|_| GroupCounts::default(), Shard::counts));
        counts.fold(GroupCounts::default(), GroupCounts::plus)
    }

    /// Deletes offsets of a deleted topic. A shard that is being loaded is told later.
    pub(super) fn topic_deleted(&self, topic: (&str, TopicId)) {
        for place in self.places.load().led.values() {
            self.with_shard(place, |found, now, log| {
                if let Ok(shard) = found {
                    shard.topic_deleted(topic, now, log);
                }
            });
        }
    }

    /// Does what is due in all shards, and answers what is committed. Returns the next deadline.
    pub(super) fn wake(&self) -> Option<Duration> {
        let began = clock::monotonic();
        let wake = |place: &Arc<Place>| {
            let mut found = place.shard();
            let shard = found.as_mut().ok()?;
            let mut log = TermLog { logs: &*self.logs, term: place.term };
            if shard.next_deadline() <= began {
                shard.wake(now(), &mut log);
            }
            log.answer_committed(shard);
            Some(shard.next_deadline())
        };
        self.places.load().led.values().filter_map(wake).min()
    }

    /// Handles one event, and then sends the answers that are committed by now.
    fn with_shard(&self, place: &Place, act: impl FnOnce(Result<&mut Shard, &Unavailable>, Moment, &mut TermLog<'_>)) {
        let mut found = place.shard();
        let mut log = TermLog { logs: &*self.logs, term: place.term };
        act(found.as_mut().map_err(|unavailable| &*unavailable), now(), &mut log);
        let Ok(shard) = &mut *found else {
            if place.is_spoilt() {
                self.alarm.bring_forward(Duration::ZERO);
            }
            return;
        };
        log.answer_committed(shard);
        let due = shard.next_deadline();
        drop(found);
        self.alarm.bring_forward(due);
    }
}

pub(super) fn now() -> Moment {
    Moment { elapsed: clock::monotonic(), wall: clock::wall() }
}
