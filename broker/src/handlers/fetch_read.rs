//! One look at one partition, for a consumer or a follower: locates its records without reading them.

use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::FetchPartition;
use protocol::types::{BrokerEpoch, BrokerId, DirectoryId, Offset};
use storage::{Located, LogSlice, OutOfRange, ReadMode, ResolveError};

use super::Broker;
use super::errors::KafkaError as _;
use super::fetch_response::{FetchedPartition, NextLook};
use super::topics::known_epoch;
use crate::clock;
use crate::metadata::TopicImage;
use crate::replica::{
    FetchError, FetchPosition, FollowerFetch, FollowerRead, Partition, Readable, ServedBy, Tag, Waiter,
};

/// First version in which a consumer sends its rack, and may be sent to a follower (KIP-392).
const VERSION_WITH_RACKS: i16 = 11;
/// First version in which a follower sends its broker epoch (KIP-903).
const VERSION_WITH_REPLICA_STATE: i16 = 15;
/// The rack-aware value of `replica.selector.class`.
const RACK_AWARE: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";
/// The broker epoch of a consumer.
const NO_EPOCH: BrokerEpoch = BrokerEpoch(-1);

/// The sender of a fetch.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reader<'a> {
    Consumer {
        served_by: ServedBy,
        /// Its rack, if replicas are selected by rack.
        rack: Option<&'a str>,
    },
    Follower {
        broker: BrokerId,
        epoch: BrokerEpoch,
    },
}

impl Reader<'_> {
    pub(super) fn is_follower(self) -> bool {
        matches!(self, Self::Follower { .. })
    }

    pub(super) fn epoch(self) -> BrokerEpoch {
        match self {
            Self::Consumer { .. } => NO_EPOCH,
            Self::Follower { epoch, .. } => epoch,
        }
    }
}

/// The fetching replica and, if sent, its broker epoch; −1 for a consumer.
pub(super) fn replica(body: &FetchRequest, version: i16) -> (i32, BrokerEpoch) {
    if version < VERSION_WITH_REPLICA_STATE {
        (body.replica_id.0, NO_EPOCH)
    } else {
        (body.replica_state.replica_id.0, BrokerEpoch(body.replica_state.replica_epoch))
    }
}

/// The room that a response has left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) bytes: u32,
    /// Nothing is in the response yet, so one batch is returned however large it is.
    pub(super) at_least_one_batch: bool,
}

impl Broker {
    /// The rack is ignored unless replicas are selected by rack.
    pub(super) fn reader<'a>(&self, body: &'a FetchRequest, version: i16) -> Reader<'a> {
        let (id, epoch) = replica(body, version);
        if 0 <= id {
            return Reader::Follower { broker: BrokerId(id), epoch };
        }
        let served_by = if version < VERSION_WITH_RACKS { ServedBy::Leader } else { ServedBy::AnyReplica };
        let by_rack = self.replicas.broker_values().get_string("replica.selector.class") == Some(RACK_AWARE);
        let rack = Some(body.rack_id.as_str()).filter(|rack| by_rack && !rack.is_empty());
        Reader::Consumer { served_by, rack }
    }

    pub(super) async fn fetch_partition(
        &self,
        topic: Result<&TopicImage, ResponseError>,
        wanted: &FetchPartition,
        reader: Reader<'_>,
        room: Room,
        waiter: Option<(Tag, &Arc<Waiter>)>,
    ) -> FetchedPartition {
        let index = wanted.partition;
        let partition = match topic.and_then(|topic| self.hosted(topic, index)) {
            Ok(partition) => partition,
            Err(error) => return FetchedPartition::failed(index, error.code()),
        };
        match (waiter, reader) {
            (Some((tag, waiter)), Reader::Consumer { .. }) => partition.register_reader(tag, waiter),
            (Some((tag, waiter)), Reader::Follower { .. }) => partition.register_follower(tag, waiter),
            (None, _) => {}
        }
        let mut offset = Offset(wanted.fetch_offset);
        loop {
            let readable = match read(&partition, wanted, reader, offset, room.bytes) {
                Ok(FollowerRead::Readable(readable)) => readable,
                Ok(FollowerRead::Diverging(epoch, end)) => return FetchedPartition::diverging(index, (epoch, end)),
                // What is beyond the end here may be there at the leader (KIP-392), or at a new one.
                Err(FetchError::OutOfRange(range))
                    if !reader.is_follower()
                        && range.log_end < range.from
                        && (!partition.leads() || topic.is_ok_and(|topic| self.may_be_superseded(topic, index))) =>
                {
                    return FetchedPartition::failed(index, ResponseError::NotLeaderOrFollower.code());
                }
                Err(error) => return refused(index, &error),
            };
            let Readable { located, high_watermark, end, log_start, is_settled, is_throttled } = readable;
            let found =
                |records| FetchedPartition::read(index, (high_watermark, end), log_start, records, &partition.metrics);
            if let Some(nearer) = self.nearer_replica(&partition, reader, offset) {
                return FetchedPartition { preferred: Some(nearer), ..found(None) };
            }
            let throttle = self.replicas.leader_throttle();
            let resumes_at = is_throttled.then(|| throttle.resumes_at(clock::monotonic())).flatten();
            if let Some(at) = resumes_at {
                return FetchedPartition { next_look: NextLook::At(at), ..found(None) };
            }
            let resolved = self.resolve(located, room.at_least_one_batch).await;
            if let Err(error) = partition.check_in_service() {
                return FetchedPartition::failed(index, error.code());
            }
            let records = match resolved {
                Ok(records) => records,
                // Compaction may have left nothing between an offset and the end of its segment.
                Err(ResolveError::Gap { next }) if offset < next => {
                    offset = next;
                    continue;
                }
                Err(error) => return unresolved(&partition, offset, &error),
            };
            // A new leader may have more: the client should look for it rather than wait here.
            if records.is_none()
                && !reader.is_follower()
                && partition.leads()
                && topic.is_ok_and(|topic| self.may_be_superseded(topic, index))
            {
                return FetchedPartition::failed(index, ResponseError::NotLeaderOrFollower.code());
            }
            if let Some(slice) = records.as_ref().filter(|_| is_throttled) {
                throttle.taken(slice.length.into(), clock::monotonic());
            }
            let next_look = if is_settled && records.is_none() { NextLook::WhenTold } else { NextLook::AnyTime };
            return FetchedPartition { next_look, ..found(records) };
        }
    }

    /// A follower in the consumer's rack, unless the leader is in it: of several the one with the highest log end.
    fn nearer_replica(&self, partition: &Partition, reader: Reader<'_>, offset: Offset) -> Option<BrokerId> {
        let Reader::Consumer { rack: Some(rack), .. } = reader else { return None };
        if self.config.rack.as_deref() == Some(rack) || !partition.leads() {
            return None;
        }
        let image = self.image.load();
        let is_near = |(broker, _): &(BrokerId, Offset)| {
            let registered = image.brokers.get(broker).filter(|registered| !registered.fenced);
            registered.is_some_and(|registered| registered.rack.as_deref() == Some(rack))
        };
        let near = partition.readable_followers(offset).into_iter().filter(is_near);
        near.max_by_key(|(_, end)| *end).map(|(broker, _)| broker)
    }

    /// Finds the batches. What is not in the page cache is read on the blocking pool, so that neither this search nor
    /// the `sendfile` that follows makes the other connections of the reactor wait for the disk.
    async fn resolve(&self, located: Located, at_least_one: bool) -> Result<Option<LogSlice>, ResolveError> {
        match located.resolve(ReadMode::NoWait, at_least_one) {
            Ok(Some(slice)) if !slice.is_cached() => {}
            Err(ResolveError::WouldBlock) => {}
            resolved => return resolved,
        }
        self.metrics.cold_fetch();
        let blocking = tokio::task::spawn_blocking(move || {
            let slice = located.resolve(ReadMode::Blocking, at_least_one)?;
            if let Some(slice) = &slice {
                slice.read_ahead();
            }
            Ok(slice)
        });
        blocking.await.unwrap_or(Err(ResolveError::WouldBlock))
    }
}

/// With the log start, at which a follower restarts whose offset is out of range.
fn refused(index: i32, error: &FetchError) -> FetchedPartition {
    let log_start = match error {
        FetchError::OutOfRange(OutOfRange { log_start, .. }) => *log_start,
        _ => Offset(-1),
    };
    FetchedPartition { log_start, ..FetchedPartition::failed(index, error.code()) }
}

/// The segment may have been deleted meanwhile: then the log start is beyond the offset by now.
fn unresolved(partition: &Partition, offset: Offset, error: &ResolveError) -> FetchedPartition {
    let code = match partition.check_range(offset) {
        Err(moved) => moved.code(),
        Ok(()) => error.code(),
    };
    tracing::warn!(partition = %partition.name, %offset, %error, code, "fetch failed");
    FetchedPartition::failed(partition.name.partition.0, code)
}

fn read(
    partition: &Arc<Partition>,
    wanted: &FetchPartition,
    reader: Reader<'_>,
    offset: Offset,
    bytes_left: u32,
) -> Result<FollowerRead, FetchError> {
    let served_by = match reader {
        Reader::Consumer { served_by, .. } => served_by,
        Reader::Follower { .. } => ServedBy::Leader,
    };
    let position = FetchPosition {
        served_by,
        offset,
        leader_epoch: known_epoch(wanted.current_leader_epoch),
        bytes_max: u32::try_from(wanted.partition_max_bytes).unwrap_or(0).min(bytes_left),
    };
    // What the reader has ends there, though compaction may have left nothing up to `offset`.
    let asked_for = Offset(wanted.fetch_offset);
    let last_epoch = known_epoch(wanted.last_fetched_epoch);
    if let Reader::Follower { broker, epoch } = reader {
        let directory = Some(DirectoryId(wanted.replica_directory_id)).filter(|directory| !directory.0.is_nil());
        let log_start = Offset(wanted.log_start_offset);
        let fetch = FollowerFetch { broker, broker_epoch: epoch, directory, offset: asked_for, log_start };
        return partition.fetch_as_follower(&fetch, position, last_epoch);
    }
    if let Some(last_epoch) = last_epoch
        && let Some((epoch, end)) = partition.divergence(last_epoch, FetchPosition { offset: asked_for, ..position })?
    {
        return Ok(FollowerRead::Diverging(epoch, end));
    }
    partition.locate(position).map(FollowerRead::Readable)
}
