//! OffsetCommit.

use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use protocol::coordinator_records::GenerationId;
use protocol::types::{Offset, PartitionId};

use super::errors::KafkaError as _;
use super::groups::claim;
use super::topics::known_epoch;
use super::{Broker, Request, RequestError, errors};
use crate::coordinator::{CommitRequest, GroupError, OffsetToCommit};
use crate::metadata::{Image, TopicImage};

/// Most bytes of all records of one request.
const RECORDS_BYTES_MAX: usize = 64 << 20;
/// Bytes of a record besides names and metadata.
const RECORD_BYTES: usize = 80;

impl Broker {
    /// Offsets of unknown partitions are refused one by one, the others are committed.
    pub(super) async fn offset_commit(&self, request: &mut Request<'_>) -> Result<OffsetCommitResponse, RequestError> {
        let body: OffsetCommitRequest = request.decode()?;
        if let Err(error) = check_size(&body) {
            let code = error.code();
            return Ok(response(body, || code));
        }
        let image = self.image.load_full();
        let (offsets, known) = offsets(&image, &body);
        let commit = CommitRequest {
            member: claim(&body.member_id, body.group_instance_id.as_ref()),
            generation: GenerationId(body.generation_id_or_member_epoch),
            offsets,
            // −1, and every version without the field: the broker's retention.
            retention: u64::try_from(body.retention_time_ms).ok().map(Duration::from_millis),
        };
        let committed = request.answer_of(self.groups.commit_offsets(&body.group_id, commit)).await;
        let refused = committed.as_ref().err().map(|error| errors::of_commit(error, request.version).code());
        let mut results = committed.unwrap_or_default().into_iter();
        let mut known = known.into_iter();
        Ok(response(body, || match (known.next(), refused) {
            (Some(true), Some(refused)) => refused,
            (Some(true), None) => results.next().and_then(Result::err).map_or(0, |error| error.code()),
            _ => ResponseError::UnknownTopicOrPartition.code(),
        }))
    }
}

/// Checked before decoding further: every record repeats the group id, which may be long.
fn check_size(body: &OffsetCommitRequest) -> Result<(), GroupError> {
    let length = |partition: &OffsetCommitRequestPartition| {
        let metadata = partition.committed_metadata.as_ref().map_or(0, |metadata| metadata.len());
        body.group_id.len() + metadata + RECORD_BYTES
    };
    let of_topic = |topic: &OffsetCommitRequestTopic| {
        topic.partitions.iter().map(|partition| topic.name.len() + length(partition)).sum::<usize>()
    };
    let (bytes, bytes_max) = (body.topics.iter().map(of_topic).sum::<usize>(), RECORDS_BYTES_MAX);
    if bytes_max < bytes { Err(GroupError::CommitTooLarge { bytes, bytes_max }) } else { Ok(()) }
}

/// The response with a code for each partition, in order.
fn response(body: OffsetCommitRequest, mut code: impl FnMut() -> i16) -> OffsetCommitResponse {
    let topics = body.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code())
        });
        let partitions = partitions.collect();
        OffsetCommitResponseTopic::default().with_partitions(partitions).with_name(topic.name)
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

/// The offsets to commit, and for every partition of the request whether it exists.
fn offsets(image: &Image, body: &OffsetCommitRequest) -> (Vec<OffsetToCommit>, Vec<bool>) {
    let (mut offsets, mut known) = (Vec::new(), Vec::new());
    for topic in &body.topics {
        let found = image.topic(&topic.name);
        for partition in &topic.partitions {
            let found = found.filter(|topic| topic.partition(PartitionId(partition.partition_index)).is_some());
            known.push(found.is_some());
            offsets.extend(found.map(|topic| offset(topic, partition)));
        }
    }
    (offsets, known)
}

fn offset(topic: &TopicImage, wanted: &OffsetCommitRequestPartition) -> OffsetToCommit {
    OffsetToCommit {
        topic: topic.name.clone(),
        topic_id: topic.id,
        partition: PartitionId(wanted.partition_index),
        offset: Offset(wanted.committed_offset),
        leader_epoch: known_epoch(wanted.committed_leader_epoch),
        metadata: wanted.committed_metadata.as_deref().unwrap_or_default().to_owned(),
    }
}
