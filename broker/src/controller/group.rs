//! Commands that are decided together and not yet written: their records, and the answers that wait for them.

use protocol::metadata_records::MetadataRecord;
use protocol::produce::CheckedBatch;
use protocol::types::{Offset, TopicId};

use super::command::{Awaits, Reply};
use super::handle::ControllerError;
use super::metadata_log::encode_records;
use super::replayer::Delta;
use crate::clock;
use crate::metadata::{ConfigResource, Image, replay};

/// A few milliseconds' worth.
const RECORDS_MAX: i64 = 1000;
const COMMANDS_MAX: usize = 256;

/// An answer that waits for the commit, and is told whether the records were committed.
pub(super) type Answer = Box<dyn FnOnce(Result<(), ControllerError>) + Send>;

pub(super) struct Group {
    begins: Offset,
    /// The image once everything is written.
    pub(super) image: Image,
    pub(super) batches: Vec<Batch>,
    pub(super) answers: Vec<Pending>,
    /// What the answer to the current command waits for.
    pub(super) awaits: Awaits,
}

/// An answer that is not sent yet.
pub(super) struct Pending {
    /// The number of batches that must be committed.
    pub(super) relies_on: usize,
    pub(super) awaits: Awaits,
    pub(super) answer: Answer,
}

/// Records that are committed as one.
pub(super) struct Batch {
    pub(super) records: CheckedBatch,
    /// The image after this batch.
    pub(super) image: Image,
    pub(super) delta: Delta,
}

impl Group {
    pub(super) fn new(image: &Image) -> Self {
        let (begins, image) = (image.end_offset, image.clone());
        Self { begins, image, batches: Vec::new(), answers: Vec::new(), awaits: Awaits::Commit }
    }

    /// Whether to write it before more is decided, so that urgent commands get their turn.
    pub(super) fn is_full(&self) -> bool {
        self.begins.advance(RECORDS_MAX) <= self.image.end_offset || COMMANDS_MAX <= self.answers.len()
    }

    /// Adds one batch: all of the records or none of them.
    pub(super) fn add(&mut self, records: &[MetadataRecord]) -> Result<(), ControllerError> {
        if records.is_empty() {
            return Ok(());
        }
        let batch = encode_records(records, clock::wall())?;
        for record in records {
            let replayed = replay(&mut self.image, record);
            assert!(replayed.is_ok(), "the controller decided on what its image cannot replay: {replayed:?}");
        }
        self.image.end_offset = self.image.end_offset.advance(batch.header.records_count.into());
        let mut delta = Delta::default();
        for record in records {
            delta.add(record);
        }
        self.batches.push(Batch { records: batch, image: self.image.clone(), delta });
        Ok(())
    }

    /// Sends the result once the records are committed, or also published, see [`Awaits`].
    pub(super) fn answer_after<T: Send + 'static>(&mut self, reply: Reply<T>, decided: (Vec<MetadataRecord>, T)) {
        let (records, result) = decided;
        let written = self.add(&records).map(|()| result);
        self.answer(reply, written);
    }

    /// Sent after the commit at the earliest. The caller may be gone; the records are written all the same.
    pub(super) fn answer<T: Send + 'static>(&mut self, reply: Reply<T>, result: Result<T, ControllerError>) {
        let send = move |committed: Result<(), ControllerError>| {
            let _gone = reply.send(committed.and(result));
        };
        let (relies_on, awaits) = (self.batches.len(), self.awaits);
        self.answers.push(Pending { relies_on, awaits, answer: Box::new(send) });
    }
}

/// The topic that a partition's record belongs to.
pub(super) fn topic_of(record: &MetadataRecord) -> Option<TopicId> {
    match record {
        MetadataRecord::Partition(partition) => Some(partition.topic_id),
        MetadataRecord::PartitionChange(change) => Some(change.topic_id),
        MetadataRecord::RemoveTopic { topic_id } => Some(*topic_id),
        _ => None,
    }
}

pub(super) fn configured_by(record: &MetadataRecord) -> Option<ConfigResource> {
    match record {
        MetadataRecord::Config { resource_type, resource_name, .. } => {
            Some(ConfigResource { kind: *resource_type, name: resource_name.clone() })
        }
        _ => None,
    }
}
