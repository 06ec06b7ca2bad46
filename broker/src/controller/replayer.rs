//! The committed metadata on this node: what the quorum has committed is replayed here, on the leader and everywhere
//! else, and then handed to the rest of the broker.

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

/// The differences between two images.
#[derive(Debug, Default)]
pub(super) struct Delta {
    /// Created, changed or deleted topics.
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

    /// Without duplicates.
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
    /// Changes that are not handed over yet.
    delta: Delta,
    /// End offset of the image that is published, or about to be.
    handed_over: Offset,
    published: Arc<ArcSwap<Image>>,
    /// The partitions that follow the metadata, once they are loaded. Until then the published image does not change:
    /// they are being loaded from it.
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

    /// The committed image, as far as it is replayed here.
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

    /// The committed part of the log that is not in the image yet.
    pub(super) fn missing(&self, log_end: Offset) -> Range<Offset> {
        let end = self.high_watermark.map_or(self.image.end_offset, |committed| committed.min(log_end));
        self.image.end_offset..end.max(self.image.end_offset)
    }

    pub(super) fn is_caught_up(&self) -> bool {
        self.high_watermark.is_some_and(|committed| committed <= self.image.end_offset)
    }

    /// Replays batches of the log, from the image's end offset or before it.
    pub(super) fn replay(&mut self, bytes: &[u8]) -> Result<(), BadBatch> {
        let (image, delta) = (&mut self.image, &mut self.delta);
        for batch in Batches::new(bytes) {
            let batch = batch?;
            // Read before the log was restarted at a snapshot.
            if batch.header.base_offset < image.end_offset {
                continue;
            }
            replay_batch(image, &batch, |record| delta.add(record))?;
            self.bytes += u64::try_from(batch.bytes.len()).unwrap_or(u64::MAX);
            self.last_timestamp = self.last_timestamp.max(batch.header.max_timestamp);
        }
        Ok(())
    }

    /// Takes over what the active controller has already replayed when it decided it.
    pub(super) fn take_over(&mut self, image: Image, delta: Delta, bytes: u64, timestamp: Timestamp) {
        assert!(self.image.end_offset < image.end_offset, "an image moves on");
        self.image = image;
        self.delta.append(delta);
        self.bytes += bytes;
        self.last_timestamp = self.last_timestamp.max(timestamp);
    }

    /// Continues from a snapshot of the leader: everything may have changed.
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

    /// From now on partitions follow the metadata.
    pub(super) fn attach(&mut self, replicas: Arc<ReplicaManager>) -> std::io::Result<()> {
        let publisher = Publisher::spawn(replicas.clone(), self.published.clone())?;
        self.followers = Some((replicas, publisher));
        Ok(())
    }

    pub(super) fn replicas(&self) -> Option<&Arc<ReplicaManager>> {
        self.followers.as_ref().map(|(replicas, _)| replicas)
    }

    /// The offset up to which everything is applied on this broker.
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

    /// Hands the image over. Returns whether it is the first to be published.
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
