//! The partitions of one reader: for one request, or for many in a fetch session (KIP-227). Pure.
//!
//! Every partition has a slot. Those are *due* at which the next look at the log may find something: partitions the
//! client has just named, those for which an earlier look found more than it could return, and those that have
//! notified since. So a request of a session costs as much as has happened, not as much as the session has
//! partitions. Partitions for which the answer had no room come first in the next one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use protocol::types::{BrokerEpoch, Offset};
use uuid::Uuid;

use super::fetch_response::FetchedPartition;
use crate::metadata::TOPIC_NAME_LENGTH_MAX;
use crate::replica::Waiter;

/// By name, or in newer versions by id, with an empty name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct TopicKey {
    pub(super) name: Arc<str>,
    pub(super) id: Uuid,
}

/// A partition that is read.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) topic: TopicKey,
    pub(super) wanted: FetchPartition,
    /// As the reader was told, or has reported itself.
    known: Known,
    is_due: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    high_watermark: Offset,
    log_start: Offset,
}

impl Known {
    const NOTHING: Self = Self { high_watermark: Offset(-1), log_start: Offset(-1) };
}

pub(super) type Slot = u32;

#[derive(Debug)]
pub(super) struct Session {
    entries: Vec<Option<Entry>>,
    free: Vec<Slot>,
    slots: HashMap<(TopicKey, i32), Slot>,
    due: Vec<Slot>,
    /// Notified by every partition that was looked at without finding anything.
    pub(super) waiter: Arc<Waiter>,
    /// When all were last made due, and the reader's broker epoch then.
    all_due: (Duration, BrokerEpoch),
    /// False if it names a topic that cannot exist, whose name may be as long as a request.
    pub(super) is_worth_keeping: bool,
}

impl Session {
    pub(super) fn new(now: Duration, reader: BrokerEpoch) -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            slots: HashMap::new(),
            due: Vec::new(),
            waiter: Arc::default(),
            all_due: (now, reader),
            is_worth_keeping: true,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn entry(&self, slot: Slot) -> Option<&Entry> {
        self.entries.get(slot as usize)?.as_ref()
    }

    /// Adds or updates the named partitions. `is_follower`: its request tells what it already knows.
    pub(super) fn update(&mut self, named: Vec<FetchTopic>, forgotten: &[ForgottenTopic], is_follower: bool) {
        for topic in forgotten {
            let key = TopicKey { name: topic.topic.as_str().into(), id: topic.topic_id };
            topic.partitions.iter().for_each(|index| self.forget(&key, *index));
        }
        for topic in named {
            self.is_worth_keeping &= topic.topic.len() <= TOPIC_NAME_LENGTH_MAX;
            let key = TopicKey { name: topic.topic.as_str().into(), id: topic.topic_id };
            for wanted in topic.partitions {
                self.name(&key, wanted, is_follower);
            }
        }
    }

    /// Makes partitions due that have notified since the last call.
    pub(super) fn hear(&mut self) {
        for slot in self.waiter.take_told() {
            self.make_due(slot);
        }
    }

    /// Makes everything due periodically, and when another process of the reader asks: a follower must be seen to
    /// keep up, and under its current epoch.
    pub(super) fn refresh(&mut self, now: Duration, reader: BrokerEpoch, interval: Duration) {
        let (at, known_reader) = self.all_due;
        if reader != known_reader || interval <= now.saturating_sub(at) {
            self.all_due = (now, reader);
            (0..).take(self.entries.len()).for_each(|slot| self.make_due(slot));
        }
    }

    pub(super) fn is_due(&self, slot: Slot) -> bool {
        self.entry(slot).is_some_and(|entry| entry.is_due)
    }

    /// The slots to look at now, in this order. Each stays due until [`Self::settle`].
    pub(super) fn take_due(&mut self) -> Vec<Slot> {
        std::mem::take(&mut self.due)
    }

    /// It has been looked at, and will notify of the next change.
    pub(super) fn settle(&mut self, slot: Slot) {
        if let Some(entry) = self.entry_mut(slot) {
            entry.is_due = false;
        }
    }

    /// They have been looked at, and the next look may find more.
    pub(super) fn look_again(&mut self, slots: impl IntoIterator<Item = Slot>) {
        self.due.extend(slots);
    }

    /// Whether this is news for the reader, which is then taken to know it.
    pub(super) fn tell(&mut self, slot: Slot, found: &FetchedPartition) -> bool {
        let Some(entry) = self.entry_mut(slot) else { return false };
        let now_known = match found.error_code {
            0 if found.diverging.is_none() => {
                Known { high_watermark: found.high_watermark, log_start: found.log_start }
            }
            _ => Known::NOTHING,
        };
        let is_news = found.is_urgent() || found.records.is_some() || entry.known != now_known;
        entry.known = now_known;
        is_news
    }

    fn name(&mut self, topic: &TopicKey, mut wanted: FetchPartition, is_follower: bool) {
        // Other fields of the request are not kept.
        wanted.unknown_tagged_fields.clear();
        let key = (topic.clone(), wanted.partition);
        let slot = match self.slots.get(&key) {
            Some(slot) => *slot,
            None => self.occupy(key),
        };
        let before = self.entry(slot).map(|entry| (entry.known, entry.is_due));
        let (mut known, is_due) = before.unwrap_or((Known::NOTHING, false));
        if is_follower {
            known = Known { high_watermark: Offset(wanted.high_watermark), log_start: Offset(wanted.log_start_offset) };
        }
        if let Some(place) = self.entries.get_mut(slot as usize) {
            *place = Some(Entry { topic: topic.clone(), wanted, known, is_due });
        }
        self.make_due(slot);
    }

    fn occupy(&mut self, key: (TopicKey, i32)) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            Slot::try_from(self.entries.len().saturating_sub(1)).unwrap_or(Slot::MAX)
        });
        self.slots.insert(key, slot);
        slot
    }

    fn forget(&mut self, topic: &TopicKey, index: i32) {
        if let Some(slot) = self.slots.remove(&(topic.clone(), index))
            && let Some(place) = self.entries.get_mut(slot as usize)
        {
            *place = None;
            self.due.retain(|due| *due != slot);
            self.free.push(slot);
        }
    }

    fn make_due(&mut self, slot: Slot) {
        if let Some(entry) = self.entry_mut(slot)
            && !std::mem::replace(&mut entry.is_due, true)
        {
            self.due.push(slot);
        }
    }

    fn entry_mut(&mut self, slot: Slot) -> Option<&mut Entry> {
        self.entries.get_mut(slot as usize)?.as_mut()
    }
}

impl Entry {
    /// Whether a follower should learn at once of a new high watermark or log start.
    pub(super) fn has_advanced(&self, found: &FetchedPartition) -> bool {
        let Known { high_watermark, log_start } = self.known;
        // It cannot take over a log start beyond the high watermark that it knows.
        let begins_later = log_start < found.log_start && found.log_start <= high_watermark;
        high_watermark < found.high_watermark || begins_later
    }
}

#[cfg(test)]
#[path = "fetch_session_test.rs"]
mod tests;
