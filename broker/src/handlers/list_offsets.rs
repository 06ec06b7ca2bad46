//! ListOffsets: positions by time, and the special positions that negative timestamps name.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use protocol::types::{LeaderEpoch, Offset, PartitionId, Timestamp, TopicId};
use storage::{Log, TimestampLookup};
use uuid::Uuid;

use super::errors::KafkaError as _;
use super::{Broker, Request, RequestError, topics};

const UNKNOWN: i16 = ResponseError::UnknownTopicOrPartition.code();
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// KIP-734.
const MAX_TIMESTAMP: i64 = -3;
/// KIP-405: without tiered storage the same as earliest.
const EARLIEST_LOCAL: i64 = -4;
/// KIP-1005: without tiered storage there is none.
const LATEST_TIERED: i64 = -5;

/// First version that carries leader epochs (KIP-320).
const VERSION_WITH_EPOCHS: i16 = 4;

/// A record's position, or nothing where no record fits.
type Found = Option<(Timestamp, Offset, Option<LeaderEpoch>)>;

impl Broker {
    pub(super) async fn list_offsets(&self, request: &mut Request<'_>) -> Result<ListOffsetsResponse, RequestError> {
        let body: ListOffsetsRequest = request.decode()?;
        let image = self.image.load_full();
        let mut responses = Vec::with_capacity(body.topics.len());
        for topic in body.topics {
            let id = topics::find(&image, &topic.name, Uuid::nil(), false).map(|topic| topic.id);
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for wanted in topic.partitions {
                let answer = match id {
                    Ok(id) => self.list_offset(id, &wanted, request.version).await,
                    Err(error) => Err(error.code()),
                };
                partitions.push(partition_response(&wanted, answer, request.version));
            }
            responses.push(ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions));
        }
        Ok(ListOffsetsResponse::default().with_topics(responses))
    }

    async fn list_offset(&self, topic: TopicId, wanted: &ListOffsetsPartition, version: i16) -> Result<Found, i16> {
        let partition = self.replicas.partition(topic, PartitionId(wanted.partition_index)).ok_or(UNKNOWN)?;
        let epoch = (0 <= wanted.current_leader_epoch).then_some(LeaderEpoch(wanted.current_leader_epoch));
        let answer = partition.with_leading_log(epoch, |log| position(log, wanted.timestamp, version));
        match answer.map_err(|error| error.code())? {
            Ok(Position::Known(found)) => Ok(found),
            // Looks into batches, so it is not done on the network thread.
            Ok(Position::Search(search)) => {
                let searched = tokio::task::spawn_blocking(move || search.resolve()).await;
                partition.check_in_service().map_err(|error| error.code())?;
                let found = searched.map_err(|_| ResponseError::UnknownServerError.code())?;
                let found = found.map_err(|error| error.code())?;
                Ok(found.map(|found| (found.timestamp, found.offset, Some(found.leader_epoch))))
            }
            Err(error) => Err(error.code()),
        }
    }
}

enum Position {
    Known(Found),
    Search(TimestampLookup),
}

fn position(log: &Log, timestamp: i64, version: i16) -> Result<Position, ResponseError> {
    let at =
        |offset: Offset| Position::Known(Some((Timestamp::NONE, offset, log.leader_epochs().epoch_for_offset(offset))));
    match timestamp {
        LATEST => Ok(at(log.high_watermark().offset)),
        EARLIEST => Ok(at(log.log_start())),
        MAX_TIMESTAMP if 7 <= version => Ok(Position::Search(log.locate_max_timestamp())),
        EARLIEST_LOCAL if 8 <= version => Ok(at(log.log_start())),
        LATEST_TIERED if 9 <= version => Ok(Position::Known(None)),
        0.. => Ok(Position::Search(log.locate_timestamp(Timestamp(timestamp)))),
        _ => Err(ResponseError::UnsupportedVersion),
    }
}

fn partition_response(
    wanted: &ListOffsetsPartition,
    answer: Result<Found, i16>,
    version: i16,
) -> ListOffsetsPartitionResponse {
    let response = ListOffsetsPartitionResponse::default().with_partition_index(wanted.partition_index);
    match answer {
        Ok(Some((timestamp, offset, epoch))) => response
            .with_timestamp(timestamp.0)
            .with_offset(offset.0)
            .with_leader_epoch(epoch.filter(|_| VERSION_WITH_EPOCHS <= version).map_or(-1, |epoch| epoch.0)),
        Ok(None) => response,
        Err(code) => response.with_error_code(code),
    }
}
