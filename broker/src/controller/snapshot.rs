//! Snapshots of the metadata, `<end offset>-<epoch>.checkpoint` in the metadata log's directory (KIP-630): batches
//! with their own offsets from 0 on, between a header and a footer. A file without a footer, or with a batch whose
//! checksum is wrong, is invalid.
//!
//! ```text
//! control   SnapshotHeader, KRaftVersion, KRaftVoters
//! metadata  the image's records, in batches
//! control   SnapshotFooter
//! ```

use std::io;
use std::path::{Path, PathBuf};

use protocol::batch::{BatchHeader, HEADER_LENGTH};
use protocol::batch_builder::BatchBuilder;
use protocol::metadata_records::control::ControlRecord;
use protocol::produce::CheckedBatch;
use protocol::types::{LeaderEpoch, Offset, Timestamp};
use raft::SnapshotId;
use storage::Disk;

use super::batches::{BadBatch, Batches, Record, replay_control};
use super::features;
use super::metadata_log::{EncodeError, encode_control};
use crate::metadata::{Image, ReplayError, replay};

const EXTENSION: &str = ".checkpoint";
/// Digits of the offset and of the epoch in a name.
const OFFSET_DIGITS: usize = 20;
const EPOCH_DIGITS: usize = 10;
/// Size of one batch in a snapshot.
const BATCH_BYTES: usize = 512 * 1024;
/// A longer file is not taken for a snapshot.
pub(super) const SNAPSHOT_BYTES_MAX: u64 = 1 << 30;

#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotFault {
    #[error(transparent)]
    Batch(#[from] BadBatch),
    #[error("it has no header")]
    NoHeader,
    #[error("it has no footer: it is incomplete")]
    NoFooter,
    #[error("{bytes} bytes follow its footer")]
    Trailing { bytes: usize },
}

pub(super) fn path(directory: &Path, id: SnapshotId) -> PathBuf {
    directory.join(file_name(id))
}

fn file_name(id: SnapshotId) -> String {
    format!("{:0OFFSET_DIGITS$}-{:0EPOCH_DIGITS$}{EXTENSION}", id.end_offset.0, id.epoch.0)
}

fn parse_file_name(name: &str) -> Option<SnapshotId> {
    let (offset, epoch) = name.strip_suffix(EXTENSION)?.split_once('-')?;
    let is_number = |digits: &str, length| digits.len() == length && digits.bytes().all(|b| b.is_ascii_digit());
    if !(is_number(offset, OFFSET_DIGITS) && is_number(epoch, EPOCH_DIGITS)) {
        return None;
    }
    Some(SnapshotId { end_offset: Offset(offset.parse().ok()?), epoch: LeaderEpoch(epoch.parse().ok()?) })
}

/// The snapshots in a directory by their names, oldest first, with their sizes.
pub(super) fn list(disk: &dyn Disk, directory: &Path) -> io::Result<Vec<(SnapshotId, u64)>> {
    let entries = disk.list(directory)?;
    let named = entries.iter().filter_map(|entry| Some((parse_file_name(entry.name.to_str()?)?, entry.length)));
    let mut found: Vec<_> = named.collect();
    found.sort_unstable();
    Ok(found)
}

/// `last_timestamp`: that of the last record in the image.
pub(super) fn encode(image: &Image, last_timestamp: Timestamp, now: Timestamp) -> Result<Vec<u8>, EncodeError> {
    let mut control = Vec::new();
    if let Some(level) = image.features.get(features::KRAFT_VERSION) {
        control.extend([ControlRecord::KRaftVersion(*level), ControlRecord::KRaftVoters(image.voters.to_vec())]);
    }
    let mut writer = SnapshotWriter::begin(image.epoch, last_timestamp, control, now)?;
    let mut builder = BatchBuilder::new(now);
    for record in image.records() {
        builder.push(None, Some(&record.encode()?));
        if BATCH_BYTES <= builder.length() {
            writer.push(&std::mem::replace(&mut builder, BatchBuilder::new(now)).build()?);
        }
    }
    if 0 < builder.count() {
        writer.push(&builder.build()?);
    }
    writer.finish(now)
}

/// Numbers the batches of a snapshot.
pub(super) struct SnapshotWriter {
    epoch: LeaderEpoch,
    next_offset: Offset,
    bytes: Vec<u8>,
}

impl SnapshotWriter {
    /// Starts with the header and the quorum's own records.
    pub(super) fn begin(
        epoch: LeaderEpoch,
        last_timestamp: Timestamp,
        control: Vec<ControlRecord>,
        now: Timestamp,
    ) -> Result<Self, EncodeError> {
        let mut records = vec![ControlRecord::SnapshotHeader { last_contained_log_timestamp: last_timestamp }];
        records.extend(control);
        let mut writer = Self { epoch, next_offset: Offset(0), bytes: Vec::new() };
        writer.push(&encode_control(&records, now)?);
        Ok(writer)
    }

    pub(super) fn push(&mut self, batch: &CheckedBatch) {
        let header = BatchHeader { base_offset: self.next_offset, leader_epoch: self.epoch, ..batch.header };
        self.next_offset = header.next_offset();
        self.bytes.extend_from_slice(&header.encode());
        self.bytes.extend_from_slice(batch.bytes.get(HEADER_LENGTH..).unwrap_or_default());
    }

    pub(super) fn finish(mut self, now: Timestamp) -> Result<Vec<u8>, EncodeError> {
        self.push(&encode_control(&[ControlRecord::SnapshotFooter], now)?);
        Ok(self.bytes)
    }
}

/// The image that a snapshot holds.
pub(super) fn decode(bytes: &[u8], id: SnapshotId) -> Result<Image, SnapshotFault> {
    let mut image = Image::empty();
    visit(bytes, |record| match record {
        Record::Control(record) => {
            replay_control(&mut image, &record);
            Ok(())
        }
        Record::Metadata(record) => replay(&mut image, &record),
    })?;
    (image.end_offset, image.epoch) = (id.end_offset, id.epoch);
    Ok(image)
}

/// The timestamp of the last record in the snapshot that starts with these bytes; `None`: it has none.
pub(super) fn last_timestamp(head: &[u8]) -> Option<Timestamp> {
    let first = Batches::new(head).next()?.ok()?;
    let timestamp = first.control_records().ok()?.into_iter().find_map(|record| match record {
        ControlRecord::SnapshotHeader { last_contained_log_timestamp } => Some(last_contained_log_timestamp),
        _ => None,
    });
    timestamp.filter(|timestamp| *timestamp != Timestamp::NONE)
}

/// Visits the records between header and footer in order.
pub(super) fn visit(
    bytes: &[u8],
    mut visit: impl FnMut(Record) -> Result<(), ReplayError>,
) -> Result<(), SnapshotFault> {
    let (mut has_header, mut has_footer) = (false, false);
    let mut batches = Batches::new(bytes);
    for batch in batches.by_ref() {
        let batch = batch?;
        if has_footer {
            return Err(SnapshotFault::Trailing { bytes: batch.bytes.len() });
        }
        batch.visit(|record| {
            match record {
                Record::Control(ControlRecord::SnapshotHeader { .. }) => has_header = true,
                Record::Control(ControlRecord::SnapshotFooter) => has_footer = true,
                record => visit(record)?,
            }
            Ok(())
        })?;
        if !has_header {
            return Err(SnapshotFault::NoHeader);
        }
    }
    match batches.rest().len() {
        _ if !has_footer => Err(SnapshotFault::NoFooter),
        0 => Ok(()),
        bytes => Err(SnapshotFault::Trailing { bytes }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::testing::{add_topic, cluster};

    const ID: SnapshotId = SnapshotId { end_offset: Offset(1234), epoch: LeaderEpoch(5) };

    fn image() -> Image {
        let mut image = cluster(3);
        for topic in 0..3000 {
            add_topic(&mut image, &format!("{topic:0200}"), &[0, 1, 2]);
        }
        image.features.insert(features::KRAFT_VERSION.to_owned(), 1);
        (image.end_offset, image.epoch) = (ID.end_offset, ID.epoch);
        image
    }

    #[test]
    fn is_named_as_kafka_names_it() {
        assert_eq!(file_name(ID), "00000000000000001234-0000000005.checkpoint");
        assert_eq!(parse_file_name(&file_name(ID)), Some(ID));
        for other in ["bootstrap.checkpoint", "1234-5.checkpoint", "00000000000000001234-0000000005.checkpoint.tmp"] {
            assert_eq!(parse_file_name(other), None, "{other}");
        }
    }

    #[test]
    fn gives_the_image_back() {
        let image = image();
        let bytes = encode(&image, Timestamp(7), Timestamp(8)).unwrap();
        let again = decode(&bytes, ID).unwrap();
        assert_eq!((again.end_offset, again.epoch), (ID.end_offset, ID.epoch));
        assert_eq!((&again.features, &again.voters, &again.brokers), (&image.features, &image.voters, &image.brokers));
        assert_eq!((&again.topics, &again.topic_ids), (&image.topics, &image.topic_ids));
        let headers: Vec<_> = Batches::new(&bytes).map(|batch| batch.unwrap().header).collect();
        assert!(3 < headers.len(), "large images take several batches");
        assert!(headers.windows(2).all(|pair| pair[0].next_offset() == pair[1].base_offset));
        assert_eq!(last_timestamp(&bytes[..1024]), Some(Timestamp(7)));
        assert_eq!(last_timestamp(&bytes[..10]), None);
    }

    #[test]
    fn one_that_is_not_whole_is_none() {
        let bytes = encode(&image(), Timestamp(7), Timestamp(8)).unwrap();
        let footer = Batches::new(&bytes).last().unwrap().unwrap().bytes.len();
        let header = Batches::new(&bytes).next().unwrap().unwrap().bytes.len();
        assert!(matches!(decode(&bytes[..bytes.len() - footer], ID), Err(SnapshotFault::NoFooter)));
        assert!(matches!(decode(&bytes[..bytes.len() - 1], ID), Err(SnapshotFault::NoFooter)));
        assert!(matches!(decode(&bytes[header..], ID), Err(SnapshotFault::NoHeader)));
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(matches!(decode(&longer, ID), Err(SnapshotFault::Trailing { bytes: 1 })));
        let mut flipped = bytes;
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        assert!(matches!(decode(&flipped, ID), Err(SnapshotFault::Batch(_))));
    }
}
