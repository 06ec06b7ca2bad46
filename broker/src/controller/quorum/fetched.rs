//! Converts another node's answer for raft: the bytes stay here, raft learns the offsets of each batch and its
//! control records.

use std::ops::Range;

use bytes::Bytes;
use protocol::types::Offset;
use raft::{BatchSummary, Response};

use super::control_records::from_log;
use crate::controller::batches::{BadBatch, Batches};
use crate::peer::QuorumAnswer;

/// The response, and the bytes that belong to it.
pub(super) fn response_of(answer: QuorumAnswer) -> Result<(Response, Bytes), BadBatch> {
    let none = Bytes::new();
    Ok(match answer {
        QuorumAnswer::Vote(response) => (Response::Vote(response), none),
        QuorumAnswer::BeginQuorumEpoch(response) => (Response::BeginQuorumEpoch(response), none),
        QuorumAnswer::EndQuorumEpoch(response) => (Response::EndQuorumEpoch(response), none),
        QuorumAnswer::VoterChange(response) => (Response::UpdateVoter(response), none),
        QuorumAnswer::Fetch { response, records } => {
            let batches = summarise(&records)?;
            (Response::Fetch { response, batches }, records)
        }
        QuorumAnswer::FetchSnapshot { response, size, bytes } => {
            let length = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
            (Response::FetchSnapshot { response, size, length }, bytes)
        }
    })
}

/// The batches of a fetch that lie within the offsets, each with its own offsets.
pub(super) fn appendable(bytes: &Bytes, offsets: &Range<Offset>) -> Vec<(Range<Offset>, Bytes)> {
    let within = |batch: &Range<Offset>| offsets.start <= batch.start && batch.end <= offsets.end;
    let batches = Batches::new(bytes).map_while(Result::ok);
    let sliced =
        batches.map(|batch| (batch.header.base_offset..batch.header.next_offset(), bytes.slice_ref(batch.bytes)));
    sliced.filter(|(batch, _)| within(batch)).collect()
}

/// An incomplete last batch is left out; it comes with the next fetch.
fn summarise(records: &[u8]) -> Result<Vec<BatchSummary>, BadBatch> {
    let summary = |batch: crate::controller::batches::Batch<'_>| {
        let records = batch.control_records()?;
        let offsets = (batch.header.base_offset.0..).map(Offset);
        let control = offsets.zip(&records).filter_map(|(offset, record)| Some((offset, from_log(record)?)));
        Ok(BatchSummary {
            base_offset: batch.header.base_offset,
            epoch: batch.header.leader_epoch,
            count: i64::from(batch.header.last_offset_delta) + 1,
            control: control.collect(),
        })
    };
    Batches::new(records).map(|batch| batch.and_then(summary)).collect()
}

#[cfg(test)]
mod tests {
    use protocol::batch::{BatchHeader, HEADER_LENGTH};
    use protocol::metadata_records::MetadataRecord;
    use protocol::metadata_records::control::ControlRecord;
    use protocol::produce::CheckedBatch;
    use protocol::types::{LeaderEpoch, Timestamp};

    use super::*;
    use crate::controller::metadata_log::{encode_control, encode_records};

    fn stamped(batch: &CheckedBatch, offset: i64) -> Vec<u8> {
        let header = BatchHeader { base_offset: Offset(offset), leader_epoch: LeaderEpoch(4), ..batch.header };
        [&header.encode(), &batch.bytes[HEADER_LENGTH..]].concat()
    }

    fn fetched() -> Vec<u8> {
        let level = |name: &str| MetadataRecord::FeatureLevel { name: name.to_owned(), level: 1 };
        let metadata = encode_records(&[level("a"), level("b")], Timestamp(1)).unwrap();
        let voters = ControlRecord::KRaftVoters(Vec::new());
        let control = encode_control(&[ControlRecord::KRaftVersion(1), voters], Timestamp(1)).unwrap();
        [stamped(&metadata, 10), stamped(&control, 12), stamped(&metadata, 14)].concat()
    }

    #[test]
    fn each_batch_is_summarised_with_what_it_says_of_the_quorum() {
        let bytes = fetched();
        let batches = summarise(&bytes[..bytes.len() - 1]).unwrap();
        let shape: Vec<_> = batches.iter().map(|b| (b.base_offset.0, b.count, b.control.len())).collect();
        assert_eq!(shape, [(10, 2, 0), (12, 2, 2)]);
        assert_eq!(batches[1].control[1].0, Offset(13));
        let mut damaged = bytes;
        damaged[HEADER_LENGTH] ^= 1;
        assert!(summarise(&damaged).is_err());
    }

    #[test]
    fn only_what_raft_takes_is_appended() {
        let bytes = Bytes::from(fetched());
        let taken = appendable(&bytes, &(Offset(10)..Offset(14)));
        let offsets: Vec<_> = taken.iter().map(|(offsets, _)| (offsets.start.0, offsets.end.0)).collect();
        assert_eq!(offsets, [(10, 12), (12, 14)]);
        assert_eq!(taken[1].1.as_ptr(), bytes[taken[0].1.len()..].as_ptr(), "nothing is copied");
    }
}
