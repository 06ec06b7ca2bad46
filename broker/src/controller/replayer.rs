//! The committed metadata on this node: what the quorum has committed is replayed here, on the leader and everywhere
//! else, and then told to the rest of the broker.

use std::ops::Range;
use std::sync::Arc;

use arc_swap::ArcSwap;
use protocol::metadata_records::MetadataRecord;
use protocol::types::{Offset, Timestamp, TopicId};

use super::batches::{BadBatch, Batches, replay_batch};
use super::group::{configured_by, topic_of};
use super::publisher::Publisher;
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

    /// Each once.
    pub(super) fn distinct(mut self) -> Self {
        self.topics.sort_unstable();
        self.topics.dedup();
        self.configured.sort_unstable();
        self.configured.dedup();
        self
    }
}

#[derive(Debug)]
pub(super) struct Replayer {
    image: Image,
    high_watermark: Option<Offset>,
    /// Bytes of records since the start or the last snapshot.
    bytes: u64,
    last_timestamp: Timestamp,
    /// What is handed over to nobody yet.
    delta: Delta,
    /// End of what is published, or about to be.
    handed_over: Offset,
    published: Arc<ArcSwap<Image>>,
    /// The partitions that follow the metadata, once they are loaded. Until then what is published stays as it is: it
    /// is what they are being loaded from.
    followers: Option<(Arc<ReplicaManager>, Publisher)>,
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
            handed_over: published.load().end_offset,
            published,
            followers: None,
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
    pub(super) fn attach(&mut self, replicas: Arc<ReplicaManager>) -> std::io::Result<()> {
        let publisher = Publisher::spawn(replicas.clone(), self.published.clone())?;
        self.followers = Some((replicas, publisher));
        Ok(())
    }

    pub(super) fn replicas(&self) -> Option<&Arc<ReplicaManager>> {
        self.followers.as_ref().map(|(replicas, _)| replicas)
    }

    /// Nothing that ends before it has still to be followed here.
    pub(super) fn followed(&self) -> Offset {
        self.followers.as_ref().map_or(self.image.end_offset, |(_, publisher)| publisher.end())
    }

    /// Returns when more is published than at the last call.
    pub(super) async fn moved(&mut self) {
        match &mut self.followers {
            Some((_, publisher)) => publisher.published().await,
            None => std::future::pending().await,
        }
    }

    /// Lets the broker follow. Whether it is the first time that anything is published.
    pub(super) fn publish(&mut self) -> bool {
        if self.image.end_offset <= self.handed_over {
            return false;
        }
        match &self.followers {
            Some((_, publisher)) => {
                publisher.follow(self.image.clone(), std::mem::take(&mut self.delta));
                self.handed_over = self.image.end_offset;
                false
            }
            None if self.is_caught_up() && !self.has_published => {
                self.delta = Delta::default();
                self.published.store(Arc::new(self.image.clone()));
                self.handed_over = self.image.end_offset;
                self.has_published = true;
                true
            }
            None => false,
        }
    }
}
