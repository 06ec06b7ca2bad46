//! Batches of the metadata log and of its snapshots, one after the other. The checksum of each is verified before
//! anything in it is used: neither a disk nor another node is trusted.

use protocol::batch::{BatchHeader, CRC_START, HEADER_LENGTH, crc32c};
use protocol::metadata_records::control::ControlRecord;
use protocol::metadata_records::{DecodeError, MetadataRecord};
use protocol::records::{self, RecordError};
use protocol::types::Offset;

use super::features;
use crate::metadata::{Image, ReplayError, replay};

/// What is wrong with a batch.
#[derive(Debug, thiserror::Error)]
#[error("batch at offset {offset}: {fault}")]
pub(crate) struct BadBatch {
    pub(crate) offset: Offset,
    #[source]
    pub(crate) fault: BatchFault,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum BatchFault {
    #[error("it is cut off")]
    Truncated,
    #[error("its checksum is wrong")]
    Checksum,
    #[error("it begins where offset {expected} was to come")]
    NotNext { expected: Offset },
    #[error(transparent)]
    Records(#[from] RecordError),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Replay(#[from] ReplayError),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    Control(ControlRecord),
    Metadata(MetadataRecord),
}

/// A batch with a valid checksum.
#[derive(Debug, Clone, Copy)]
pub(super) struct Batch<'a> {
    pub(super) header: BatchHeader,
    pub(super) bytes: &'a [u8],
}

/// Iterates over whole batches; an incomplete last one is left in `rest`. After an error the iteration ends.
#[derive(Debug, Clone)]
pub(super) struct Batches<'a> {
    rest: &'a [u8],
}

impl<'a> Batches<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn take(&mut self) -> Option<Result<Batch<'a>, BadBatch>> {
        let header = BatchHeader::decode(self.rest.first_chunk::<HEADER_LENGTH>()?);
        let at = |fault| BadBatch { offset: header.base_offset, fault };
        let Some(length) = header.length() else { return Some(Err(at(BatchFault::Truncated))) };
        let (bytes, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        if crc32c(bytes.get(CRC_START..).unwrap_or_default()) != header.crc {
            return Some(Err(at(BatchFault::Checksum)));
        }
        Some(Ok(Batch { header, bytes }))
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<Batch<'a>, BadBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let taken = self.take();
        if taken.as_ref().is_some_and(Result::is_err) {
            self.rest = &[];
        }
        taken
    }
}

impl Batch<'_> {
    /// Visits its records in order, up to the first that `visit` refuses.
    pub(super) fn visit(&self, mut visit: impl FnMut(Record) -> Result<(), BatchFault>) -> Result<(), BadBatch> {
        self.try_visit(&mut visit).map_err(|fault| BadBatch { offset: self.header.base_offset, fault })
    }

    fn try_visit(&self, visit: &mut dyn FnMut(Record) -> Result<(), BatchFault>) -> Result<(), BatchFault> {
        let opened = records::walk(self.bytes, 0)?;
        for record in &opened {
            let record = record?;
            let (key, value) = (record.key.unwrap_or_default(), record.value.unwrap_or_default());
            visit(if self.header.attributes.is_control() {
                Record::Control(ControlRecord::decode(key, value)?)
            } else {
                Record::Metadata(MetadataRecord::decode(value)?)
            })?;
        }
        Ok(())
    }

    /// Its control records; none in a batch of metadata.
    pub(super) fn control_records(&self) -> Result<Vec<ControlRecord>, BadBatch> {
        let mut found = Vec::new();
        if self.header.attributes.is_control() {
            self.visit(|record| {
                if let Record::Control(record) = record {
                    found.push(record);
                }
                Ok(())
            })?;
        }
        Ok(found)
    }
}

/// Replays the next batch of the log: the only way in which an image advances. `each` sees every record replayed.
pub(super) fn replay_batch(
    image: &mut Image,
    batch: &Batch<'_>,
    mut each: impl FnMut(&MetadataRecord),
) -> Result<(), BadBatch> {
    if batch.header.base_offset != image.end_offset {
        let fault = BatchFault::NotNext { expected: image.end_offset };
        return Err(BadBatch { offset: batch.header.base_offset, fault });
    }
    batch.visit(|record| {
        match record {
            Record::Control(record) => replay_control(image, &record),
            Record::Metadata(record) => {
                replay(image, &record)?;
                each(&record);
            }
        }
        Ok(())
    })?;
    image.end_offset = batch.header.next_offset();
    image.epoch = batch.header.leader_epoch;
    Ok(())
}

/// Replays a control record: of the quorum's own state, the feature level and the voters are part of the metadata.
pub(super) fn replay_control(image: &mut Image, record: &ControlRecord) {
    match record {
        ControlRecord::KRaftVersion(level) => {
            image.features.insert(features::KRAFT_VERSION.to_owned(), *level);
        }
        ControlRecord::KRaftVoters(voters) => image.voters = voters.as_slice().into(),
        ControlRecord::LeaderChange { .. } | ControlRecord::SnapshotHeader { .. } | ControlRecord::SnapshotFooter => {}
    }
}

#[cfg(test)]
mod tests {
    use protocol::types::{LeaderEpoch, Timestamp};

    use super::super::metadata_log::encode_records;
    use super::*;

    fn batch(offset: i64, name: &str) -> Vec<u8> {
        let record = MetadataRecord::FeatureLevel { name: name.to_owned(), level: 1 };
        let batch = encode_records(&[record], Timestamp(1)).unwrap();
        let header = BatchHeader { base_offset: Offset(offset), leader_epoch: LeaderEpoch(3), ..batch.header };
        [&header.encode(), &batch.bytes[HEADER_LENGTH..]].concat()
    }

    #[test]
    fn whole_batches_are_replayed_and_a_cut_off_one_is_left() {
        let bytes = [batch(0, "a"), batch(1, "b")].concat();
        let mut batches = Batches::new(&bytes[..bytes.len() - 1]);
        let (mut image, mut seen) = (Image::empty(), 0);
        for batch in batches.by_ref() {
            replay_batch(&mut image, &batch.unwrap(), |_| seen += 1).unwrap();
        }
        assert_eq!((image.end_offset, image.epoch, seen), (Offset(1), LeaderEpoch(3), 1));
        assert_eq!(batches.rest().len(), batch(1, "b").len() - 1);
    }

    #[test]
    fn a_flipped_bit_or_a_gap_is_refused() {
        let mut bytes = batch(0, "a");
        *bytes.last_mut().unwrap() ^= 1;
        let mut batches = Batches::new(&bytes);
        assert!(matches!(batches.next(), Some(Err(BadBatch { fault: BatchFault::Checksum, .. }))));
        assert!(batches.next().is_none());
        let later = batch(5, "a");
        let later = Batches::new(&later).next().unwrap().unwrap();
        let refused = replay_batch(&mut Image::empty(), &later, |_| ()).unwrap_err();
        assert!(matches!(refused.fault, BatchFault::NotNext { expected: Offset(0) }));
    }
}
