//! ListOffsets: offsets by time, and the special offsets that negative timestamps stand for.

use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use protocol::types::{LeaderEpoch, Offset, Timestamp};
use storage::{BatchDefect, Log, ResolveError, TimestampLookup, TimestampOffset, UpTo};

use super::errors::KafkaError as _;
use super::large_batches::{LARGE_BYTES_MAX, OPENED_BYTES_MAX};
use super::topics::{known_epoch, repeated};
use super::{Broker, Request, RequestError};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// KIP-734.
const MAX_TIMESTAMP: i64 = -3;
/// KIP-405: without tiered storage the same as earliest.
const EARLIEST_LOCAL: i64 = -4;
/// KIP-1005: without tiered storage there is no such offset.
const LATEST_TIERED: i64 = -5;

/// First version that carries leader epochs (KIP-320).
const VERSION_WITH_EPOCHS: i16 = 4;

/// First version with the error OFFSET_NOT_AVAILABLE (KIP-207).
const VERSION_WITH_OFFSET_NOT_AVAILABLE: i16 = 5;

const CONSUMER: i32 = -1;

/// The offset of a record, or none if no record matches.
type Found = Option<(Timestamp, Offset, Option<LeaderEpoch>)>;

impl Broker {
    pub(super) async fn list_offsets(&self, request: &mut Request<'_>) -> Result<ListOffsetsResponse, RequestError> {
        let body: ListOffsetsRequest = request.decode()?;
        let repeated = repeated(body.topics.iter().flat_map(|topic| {
            let name = topic.name.as_str();
            topic.partitions.iter().map(move |wanted| (name, wanted.partition_index))
        }));
        let up_to = if body.replica_id.0 == CONSUMER { UpTo::HighWatermark } else { UpTo::LogEnd };
        let mut responses = Vec::with_capacity(body.topics.len());
        for topic in &body.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for wanted in &topic.partitions {
                let answer = if repeated.contains(&(topic.name.as_str(), wanted.partition_index)) {
                    Err(ResponseError::InvalidRequest.code())
                } else {
                    self.list_offset(&topic.name, wanted, up_to, request.version).await
                };
                partitions.push(partition_response(wanted, answer, request.version));
            }
            let name = topic.name.clone();
            responses.push(ListOffsetsTopicResponse::default().with_name(name).with_partitions(partitions));
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
        let found = partition.with_leading_log(claimed, |log, leader| {
            (position(log, leader, special), End::of(log, leader, up_to, superseded))
        });
        let (position, end) = found.map_err(|error| error.code())?;
        let search = match position {
            Position::Known(found) => return Ok(found),
            Position::End(leader) if end.is_certain => return Ok(Some((Timestamp::NONE, end.offset, Some(leader)))),
            Position::End(_) => return Err(not_available(version).code()),
            Position::Search(search) => search,
        };
        let searched = self.search(search).await;
        partition.check_in_service().map_err(|error| error.code())?;
        let found = searched.map_err(|error| {
            tracing::warn!(partition = %partition.name, timestamp = wanted.timestamp, %error, "lookup by timestamp failed");
            error.code()
        })?;
        // Uncommitted records do not count yet.
        let found = found.filter(|found| found.offset < end.offset);
        if found.is_none() && !end.is_certain {
            return Err(not_available(version).code());
        }
        Ok(found.map(|found| (found.timestamp, found.offset, Some(found.leader_epoch))))
    }

    /// Decompresses batches, so it is not done on the network thread.
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

/// The meaning of a timestamp in the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Special {
    Latest,
    Earliest,
    MaxTimestamp,
    LatestTiered,
    /// An ordinary timestamp.
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
    /// The end of what the client may read, in the current leader epoch.
    End(LeaderEpoch),
    /// Only records before the end count.
    Search(TimestampLookup),
}

/// The end of what the client may read.
struct End {
    offset: Offset,
    /// No other leader, earlier or later, can have reported a later end.
    is_certain: bool,
}

impl End {
    fn of(log: &Log, leader: LeaderEpoch, up_to: UpTo, superseded: bool) -> Self {
        match up_to {
            // Before the start of the epoch it may be lower than the high watermark of the former leader (KIP-207).
            UpTo::HighWatermark => {
                Self { offset: log.high_watermark().offset, is_certain: !superseded && !is_before_epoch(log, leader) }
            }
            UpTo::LogEnd => Self { offset: log.log_end().offset, is_certain: true },
        }
    }
}

fn position(log: &Log, leader: LeaderEpoch, special: Special) -> Position {
    match special {
        Special::Latest => Position::End(leader),
        Special::Earliest => {
            let epoch = log.leader_epochs().epoch_for_offset(log.log_start());
            Position::Known(Some((Timestamp::NONE, log.log_start(), epoch)))
        }
        Special::MaxTimestamp => Position::Search(log.locate_max_timestamp()),
        Special::LatestTiered => Position::Known(None),
        Special::None(timestamp) => Position::Search(log.locate_timestamp(timestamp)),
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
