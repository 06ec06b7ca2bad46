//! ListOffsets: positions by time, and the special positions that negative timestamps name.

use std::collections::HashSet;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use protocol::types::{LeaderEpoch, Offset, Timestamp};
use storage::{BatchDefect, Log, ResolveError, TimestampLookup, TimestampOffset, UpTo};
use uuid::Uuid;

use super::errors::KafkaError as _;
use super::large_batches::{LARGE_BYTES_MAX, OPENED_BYTES_MAX};
use super::topics::{find, known_epoch};
use super::{Broker, Request, RequestError};
use crate::replica::Partition;

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

/// First version that knows the error (KIP-207).
const VERSION_WITH_OFFSET_NOT_AVAILABLE: i16 = 5;

const CONSUMER: i32 = -1;

/// A record's position, or nothing where no record fits.
type Found = Option<(Timestamp, Offset, Option<LeaderEpoch>)>;

impl Broker {
    pub(super) async fn list_offsets(&self, request: &mut Request<'_>) -> Result<ListOffsetsResponse, RequestError> {
        let body: ListOffsetsRequest = request.decode()?;
        let repeated = repeated(&body.topics);
        let up_to = if body.replica_id.0 == CONSUMER { UpTo::HighWatermark } else { UpTo::LogEnd };
        let mut responses = Vec::with_capacity(body.topics.len());
        for topic in body.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for wanted in topic.partitions {
                let answer = if repeated.contains(&(topic.name.to_string(), wanted.partition_index)) {
                    Err(ResponseError::InvalidRequest.code())
                } else {
                    self.list_offset(&topic.name, &wanted, up_to, request.version).await
                };
                partitions.push(partition_response(&wanted, answer, request.version));
            }
            responses.push(ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions));
        }
        Ok(ListOffsetsResponse::default().with_topics(responses))
    }

    async fn list_offset(
        &self,
        topic: &str,
        wanted: &ListOffsetsPartition,
        up_to: UpTo,
        version: i16,
    ) -> Result<Found, i16> {
        let special = Special::of(wanted.timestamp, version).map_err(|error| error.code())?;
        let (partition, superseded) = self.leader_of(topic, wanted.partition_index).map_err(|error| error.code())?;
        let claimed = known_epoch(wanted.current_leader_epoch);
        let found = partition.with_leading_log(claimed, |log, leader| position(log, leader, special, up_to));
        let (search, end) = match found.map_err(|error| error.code())? {
            Position::Known(found) if special == Special::Earliest => return Ok(found),
            _ if superseded => return Err(not_available(version).code()),
            Position::Known(found) => return Ok(found),
            Position::NotYetKnown => return Err(not_available(version).code()),
            Position::Search(search, end) => (search, end),
        };
        let searched = self.search(search).await;
        partition.check_in_service().map_err(|error| error.code())?;
        let found = searched.map_err(|error| {
            tracing::warn!(partition = %partition.name, timestamp = wanted.timestamp, %error, "time not looked up");
            error.code()
        })?;
        // What is not committed is not there yet.
        let found = found.filter(|found| found.offset < end);
        Ok(found.map(|found| (found.timestamp, found.offset, Some(found.leader_epoch))))
    }

    /// And whether another one may lead by now.
    fn leader_of(&self, topic: &str, index: i32) -> Result<(Arc<Partition>, bool), ResponseError> {
        let image = self.image.load();
        let topic = find(&image, topic, Uuid::nil(), false)?;
        Ok((self.hosted(topic, index)?, self.may_be_superseded(topic, index)))
    }

    /// Looks into batches, so it is not done on the network thread.
    async fn search(&self, search: TimestampLookup) -> Result<Option<TimestampOffset>, ResolveError> {
        let search = Arc::new(search);
        let small = search.clone();
        let resolved = tokio::task::spawn_blocking(move || small.resolve(OPENED_BYTES_MAX)).await;
        match resolved.unwrap_or(Err(ResolveError::WouldBlock)) {
            Err(ResolveError::Corrupt { defect: BatchDefect::Oversized(_), .. }) => {}
            resolved => return resolved,
        }
        let large = self.large_batches.open(move || search.resolve(LARGE_BYTES_MAX)).await;
        large.unwrap_or(Err(ResolveError::WouldBlock))
    }
}

/// What a timestamp of the request stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Special {
    Latest,
    Earliest,
    MaxTimestamp,
    LatestTiered,
    /// A real one.
    None(Timestamp),
}

impl Special {
    fn of(timestamp: i64, version: i16) -> Result<Self, ResponseError> {
        match timestamp {
            LATEST => Ok(Self::Latest),
            EARLIEST => Ok(Self::Earliest),
            MAX_TIMESTAMP if 7 <= version => Ok(Self::MaxTimestamp),
            EARLIEST_LOCAL if 8 <= version => Ok(Self::Earliest),
            LATEST_TIERED if 9 <= version => Ok(Self::LatestTiered),
            0.. => Ok(Self::None(Timestamp(timestamp))),
            _ => Err(ResponseError::UnsupportedVersion),
        }
    }
}

enum Position {
    Known(Found),
    /// The leader is new, and has not heard how much of what it took over is committed.
    NotYetKnown,
    /// Only what lies before the offset counts.
    Search(TimestampLookup, Offset),
}

fn position(log: &Log, leader: LeaderEpoch, special: Special, up_to: UpTo) -> Position {
    let end = match up_to {
        // An end below the beginning of the epoch may lie below what the former leader told (KIP-207).
        UpTo::HighWatermark if special != Special::Earliest && is_before_epoch(log, leader) => {
            return Position::NotYetKnown;
        }
        UpTo::HighWatermark => log.high_watermark().offset,
        UpTo::LogEnd => log.log_end().offset,
    };
    let at = |offset, epoch| Position::Known(Some((Timestamp::NONE, offset, epoch)));
    match special {
        Special::Latest => at(end, Some(leader)),
        Special::Earliest => at(log.log_start(), log.leader_epochs().epoch_for_offset(log.log_start())),
        Special::MaxTimestamp => Position::Search(log.locate_max_timestamp(), end),
        Special::LatestTiered => Position::Known(None),
        Special::None(timestamp) => Position::Search(log.locate_timestamp(timestamp), end),
    }
}

fn not_available(version: i16) -> ResponseError {
    if version < VERSION_WITH_OFFSET_NOT_AVAILABLE {
        ResponseError::LeaderNotAvailable
    } else {
        ResponseError::OffsetNotAvailable
    }
}

fn is_before_epoch(log: &Log, leader: LeaderEpoch) -> bool {
    let latest = log.leader_epochs().entries().last();
    latest.is_some_and(|latest| latest.epoch == leader && log.high_watermark().offset < latest.start_offset)
}

/// Partitions that the request names more than once.
fn repeated(topics: &[ListOffsetsTopic]) -> HashSet<(String, i32)> {
    let mut seen = HashSet::new();
    let named = topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|partition| (topic.name.to_string(), partition.partition_index)));
    named.filter(|name| !seen.insert(name.clone())).collect()
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
