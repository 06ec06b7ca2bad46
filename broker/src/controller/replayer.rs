//! The committed metadata on this node: what the quorum has committed is replayed here, on the leader and everywhere
//! else, and then told to the rest of the broker.

use std::ops::Range;
use std::sync::Arc;

use arc_swap::ArcSwap;
use protocol::metadata_records::MetadataRecord;
use protocol::types::{Offset, Timestamp, TopicId};

use super::batches::{BadBatch, Batches, replay_batch};
use super::group::{configured_by, topic_of};
use crate::metadata::{ConfigResource, Image};
use crate::replica::ReplicaManager;

/// What changed between two images.
#[derive(Debug, Default)]
pub(super) struct Delta {
    /// Created, changed or deleted.
    pub(super) topics: Vec<TopicId>,
    pub(super) configured: Vec<ConfigResource>,
}

impl Delta {
    pub(super) fn add(&mut self, record: &MetadataRecord) {
        let topic = topic_of(record).filter(|topic| self.topics.last() != Some(topic));
        self.topics.extend(topic);
        self.configured.extend(configured_by(record));
    }

    pub(super) fn append(&mut self, mut later: Self) {
        self.topics.append(&mut later.topics);
        self.configured.append(&mut later.configured);
    }
}

#[derive(Debug)]
pub(super) struct Replayer {
    image: Image,
    high_watermark: Option<Offset>,
    /// Bytes of records since the start or the last snapshot.
    bytes: u64,
    last_timestamp: Timestamp,
    /// What is not published yet.
    delta: Delta,
    published: Arc<ArcSwap<Image>>,
    /// The partitions that follow the metadata, once they are loaded. Until then what is published stays as it is: it
    /// is what they are being loaded from.
    replicas: Option<Arc<ReplicaManager>>,
    has_published: bool,
}

impl Replayer {
    pub(super) fn new(image: Image, published: Arc<ArcSwap<Image>>) -> Self {
        Self {
            image,
            high_watermark: None,
            bytes: 0,
            last_timestamp: Timestamp::NONE,
            delta: Delta::default(),
            published,
            replicas: None,
            has_published: false,
        }
    }

    /// Committed, and replayed here.
    pub(super) fn image(&self) -> &Image {
        &self.image
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn last_timestamp(&self) -> Timestamp {
        self.last_timestamp
    }

    pub(super) fn published(&self) -> Offset {
        self.published.load().end_offset
    }

    pub(super) fn committed(&mut self, high_watermark: Offset) {
        self.high_watermark = self.high_watermark.max(Some(high_watermark));
    }

    /// What is committed and in the log, but not in the image.
    pub(super) fn missing(&self, log_end: Offset) -> Range<Offset> {
        let end = self.high_watermark.map_or(self.image.end_offset, |committed| committed.min(log_end));
        self.image.end_offset..end.max(self.image.end_offset)
    }

    pub(super) fn is_caught_up(&self) -> bool {
        self.high_watermark.is_some_and(|committed| committed <= self.image.end_offset)
    }

    /// Batches of the log, from where the image ends or before it.
    pub(super) fn replay(&mut self, bytes: &[u8]) -> Result<(), BadBatch> {
        let (image, delta) = (&mut self.image, &mut self.delta);
        for batch in Batches::new(bytes) {
            let batch = batch?;
            // Read before the log was begun anew.
            if batch.header.base_offset < image.end_offset {
                continue;
            }
            replay_batch(image, &batch, |record| delta.add(record))?;
            self.bytes += u64::try_from(batch.bytes.len()).unwrap_or(u64::MAX);
            self.last_timestamp = self.last_timestamp.max(batch.header.max_timestamp);
        }
        Ok(())
    }

    /// What the active controller has replayed already, when it decided on it.
    pub(super) fn take_over(&mut self, image: Image, delta: Delta, bytes: u64, timestamp: Timestamp) {
        assert!(self.image.end_offset < image.end_offset, "an image moves on");
        self.image = image;
        self.delta.append(delta);
        self.bytes += bytes;
        self.last_timestamp = self.last_timestamp.max(timestamp);
    }

    /// From a snapshot of the leader's: everything may have changed.
    pub(super) fn restart(&mut self, image: Image) {
        let topics = self.image.topics.keys().chain(image.topics.keys()).copied();
        self.delta.topics.extend(topics);
        let configured = self.image.configs.keys().chain(image.configs.keys()).cloned();
        self.delta.configured.extend(configured);
        self.image = image;
        self.snapshot_taken();
    }

    pub(super) fn snapshot_taken(&mut self) {
        self.bytes = 0;
    }

    /// Partitions follow from now on.
    pub(super) fn attach(&mut self, replicas: Arc<ReplicaManager>) {
        self.replicas = Some(replicas);
    }

    pub(super) fn replicas(&self) -> Option<&Arc<ReplicaManager>> {
        self.replicas.as_ref()
    }

    /// Lets the broker follow. Whether there was anything to follow.
    pub(super) fn publish(&mut self) -> bool {
        let is_due = self.published() < self.image.end_offset && self.is_caught_up();
        match &self.replicas {
            None if is_due && !self.has_published => {
                self.delta = Delta::default();
                self.published.store(Arc::new(self.image.clone()));
                self.has_published = true;
                true
            }
            Some(replicas) if self.published() < self.image.end_offset => {
                let Delta { topics, configured } = std::mem::take(&mut self.delta);
                replicas.configure(&self.image, &configured);
                // New partitions serve before they are seen; deleted ones are not seen any more when they stop.
                replicas.apply(&self.image, &topics);
                self.published.store(Arc::new(self.image.clone()));
                replicas.drop_deleted(&self.image, &topics);
                true
            }
            _ => false,
        }
    }
}
