//! Fetch by consumers and followers, sessionless: the answer to a request for a session is id 0, which makes the
//! client send full requests (KIP-227).
//!
//! A follower's fetch says what it has, with its broker epoch (KIP-903), and is answered up to the log's end.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::FetchPartition;
use protocol::types::{BrokerEpoch, BrokerId, DirectoryId, Offset};
use storage::{Located, LogSlice, OutOfRange, ReadMode, ResolveError};
use tokio::time::{Instant, sleep_until};

use super::errors::KafkaError as _;
use super::fetch_response::{FetchedPartition, FetchedTopic};
use super::leader_hints::LeaderHints;
use super::topics::known_epoch;
use super::{Broker, Outcome, Request, RequestError, fetch_response, topics};
use crate::clock;
use crate::metadata::TopicImage;
use crate::replica::{FetchError, FetchPosition, FollowerFetch, FollowerRead, Partition, ServedBy, Waiter};

/// First version that carries topic ids instead of names (KIP-516).
const VERSION_WITH_TOPIC_IDS: i16 = 13;
/// First version in which a consumer says where it is, and may be sent to a follower (KIP-392).
const VERSION_WITH_RACKS: i16 = 11;
/// First version in which a follower tells its broker epoch (KIP-903).
const VERSION_WITH_REPLICA_STATE: i16 = 15;
const READ_COMMITTED: i8 = 1;
/// `replica.selector.class` by racks.
const RACK_AWARE: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";
/// A client that asks to wait longer is answered with nothing, and asks again.
const WAIT_MAX: Duration = Duration::from_mins(5);

/// Who asks.
#[derive(Debug, Clone, Copy)]
enum Reader<'a> {
    Consumer {
        served_by: ServedBy,
        /// Where it is, if that is to count.
        rack: Option<&'a str>,
    },
    Follower {
        broker: BrokerId,
        epoch: BrokerEpoch,
    },
}

impl<'a> Reader<'a> {
    fn of(body: &'a FetchRequest, version: i16) -> Self {
        let (id, epoch) = if version < VERSION_WITH_REPLICA_STATE {
            (body.replica_id.0, -1)
        } else {
            (body.replica_state.replica_id.0, body.replica_state.replica_epoch)
        };
        if 0 <= id {
            return Self::Follower { broker: BrokerId(id), epoch: BrokerEpoch(epoch) };
        }
        let served_by = if version < VERSION_WITH_RACKS { ServedBy::Leader } else { ServedBy::AnyReplica };
        Self::Consumer { served_by, rack: Some(body.rack_id.as_str()).filter(|rack| !rack.is_empty()) }
    }
}

/// One pass over everything that the request asks for.
struct Fetched {
    topics: Vec<FetchedTopic>,
    bytes: u64,
    /// A partition failed, its log has diverged, its records go on in another segment, or there is news without
    /// records: the client is to come back at once.
    urgent: bool,
}

impl Broker {
    pub(super) async fn fetch(&self, mut request: Request<'_>) -> Result<Outcome, RequestError> {
        let body: FetchRequest = request.decode()?;
        if 0 < body.session_epoch {
            let error = ResponseError::FetchSessionIdNotFound.code();
            return Ok(fetch_response::encode(
                &request,
                error,
                body.isolation_level == READ_COMMITTED,
                Vec::new(),
                &[],
            ));
        }
        let mut fetched = self.fetch_until_satisfied(&body, &request).await;
        self.count_fetched(&request, &fetched, &body);
        let mut hints = LeaderHints::new(self.image.load_full(), &request.context.listener.name);
        name_leaders(&mut hints, &mut fetched.topics, request.version);
        let read_committed = body.isolation_level == READ_COMMITTED;
        Ok(fetch_response::encode(&request, 0, read_committed, fetched.topics, &hints.addresses()))
    }

    /// Waits until `min_bytes` can be read or `max_wait_ms` is over, and no longer than the client is there.
    async fn fetch_until_satisfied(&self, body: &FetchRequest, request: &Request<'_>) -> Fetched {
        let version = request.version;
        let bytes_min = u64::try_from(body.min_bytes).unwrap_or(0);
        let wait = Duration::from_millis(u64::try_from(body.max_wait_ms).unwrap_or(0));
        // A follower that keeps up mostly waits: it is not looked at twice.
        let is_follower = matches!(Reader::of(body, version), Reader::Follower { .. });
        if !is_follower || wait.is_zero() || body.topics.is_empty() {
            let fetched = self.fetch_once(body, version, None).await;
            if bytes_min <= fetched.bytes || fetched.urgent || wait.is_zero() || fetched.topics.is_empty() {
                return fetched;
            }
        }
        let deadline = Instant::now() + wait.min(WAIT_MAX);
        loop {
            // A new one each time: what partitions remember of the last is forgotten with it.
            let waiter = Arc::new(Waiter::default());
            let fetched = self.fetch_once(body, version, Some(&waiter)).await;
            if bytes_min <= fetched.bytes || fetched.urgent {
                return fetched;
            }
            tokio::select! {
                biased;
                () = waiter.woken() => {}
                () = request.context.hurry.notified() => return fetched,
                () = sleep_until(deadline) => return fetched,
            }
        }
    }

    /// What followers read is not what the topic gives out.
    fn count_fetched(&self, request: &Request<'_>, fetched: &Fetched, body: &FetchRequest) {
        let is_consumer = matches!(Reader::of(body, request.version), Reader::Consumer { .. });
        for partition in fetched.topics.iter().flat_map(|topic| &topic.partitions) {
            if let (Some(records), Some(metrics)) = (&partition.records, &partition.metrics)
                && is_consumer
            {
                request.context.requests.fetched(metrics, u64::from(records.length));
            }
            if partition.error_code != 0 {
                self.metrics.error(request.api, partition.error_code);
            }
        }
    }

    async fn fetch_once(&self, body: &FetchRequest, version: i16, waiter: Option<&Arc<Waiter>>) -> Fetched {
        let image = self.image.load_full();
        let reader = self.reader(body, version);
        let bytes_max = body.max_bytes.min(self.config.fetch_bytes_max);
        let mut left = u32::try_from(bytes_max).unwrap_or(0);
        let mut fetched = Fetched { topics: Vec::with_capacity(body.topics.len()), bytes: 0, urgent: false };
        for topic in &body.topics {
            let by_id = VERSION_WITH_TOPIC_IDS <= version;
            let found = topics::find(&image, &topic.topic, topic.topic_id, by_id);
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for wanted in &topic.partitions {
                let first = fetched.bytes == 0;
                let read = self.fetch_partition(found, wanted, reader, (left, first), waiter).await;
                let length = read.records.as_ref().map_or(0, |slice| slice.length);
                left = left.saturating_sub(length);
                fetched.bytes += u64::from(length);
                fetched.urgent |= read.is_urgent() || is_news(wanted, reader, &read);
                partitions.push(read);
            }
            fetched.topics.push(FetchedTopic { name: topic.topic.to_string(), id: topic.topic_id, partitions });
        }
        fetched
    }

    /// `first`: nothing is in the response yet, so one batch must go in, however large.
    async fn fetch_partition(
        &self,
        topic: Result<&TopicImage, ResponseError>,
        wanted: &FetchPartition,
        reader: Reader<'_>,
        (bytes_left, first): (u32, bool),
        waiter: Option<&Arc<Waiter>>,
    ) -> FetchedPartition {
        let index = wanted.partition;
        let partition = match topic.and_then(|topic| self.hosted(topic, index)) {
            Ok(partition) => partition,
            Err(error) => return FetchedPartition::failed(index, error.code()),
        };
        match (waiter, reader) {
            (Some(waiter), Reader::Consumer { .. }) => partition.register(waiter),
            (Some(waiter), Reader::Follower { .. }) => partition.register_follower(waiter),
            (None, _) => {}
        }
        let mut offset = Offset(wanted.fetch_offset);
        loop {
            let readable = match read(&partition, wanted, reader, offset, bytes_left) {
                Ok(FollowerRead::Readable(readable)) => readable,
                Ok(FollowerRead::Diverging(epoch, end)) => return FetchedPartition::diverging(index, (epoch, end)),
                Err(error) => return refused(index, &error),
            };
            let (high_watermark, log_start) = ((readable.high_watermark, readable.end), readable.log_start);
            if let Some(nearer) = self.nearer_replica(&partition, reader, offset) {
                let read = FetchedPartition::read(index, high_watermark, log_start, None, &partition.metrics);
                return FetchedPartition { preferred: Some(nearer), ..read };
            }
            let throttle = self.replicas.leader_throttle();
            if readable.is_throttled && throttle.resumes_at(clock::monotonic()).is_some() {
                return FetchedPartition::read(index, high_watermark, log_start, None, &partition.metrics);
            }
            let resolved = resolve(readable.located, first).await;
            if let Err(error) = partition.check_in_service() {
                return FetchedPartition::failed(index, error.code());
            }
            match resolved {
                Ok(records) => {
                    if let Some(slice) = records.as_ref().filter(|_| readable.is_throttled) {
                        throttle.taken(slice.length.into(), clock::monotonic());
                    }
                    return FetchedPartition::read(index, high_watermark, log_start, records, &partition.metrics);
                }
                // Compaction can leave nothing between an offset and its segment's end.
                Err(ResolveError::Gap { next }) if offset < next => offset = next,
                Err(error) => {
                    // The segment may have been deleted meanwhile: then the log begins after it by now.
                    let code = match partition.check_range(offset) {
                        Err(moved) => moved.code(),
                        Ok(()) => error.code(),
                    };
                    tracing::warn!(partition = %partition.name, %offset, %error, code, "fetch failed");
                    return FetchedPartition::failed(index, code);
                }
            }
        }
    }
}

impl Broker {
    /// Racks count only where replicas are chosen by them.
    fn reader<'a>(&self, body: &'a FetchRequest, version: i16) -> Reader<'a> {
        let by_rack = self.replicas.broker_values().get_string("replica.selector.class") == Some(RACK_AWARE);
        match Reader::of(body, version) {
            Reader::Consumer { served_by, .. } if !by_rack => Reader::Consumer { served_by, rack: None },
            reader => reader,
        }
    }

    /// A follower in the consumer's rack, if this leader is not: of several the one that has most.
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
}

/// A follower is to learn at once how far the log is committed.
fn is_news(wanted: &FetchPartition, reader: Reader<'_>, read: &FetchedPartition) -> bool {
    matches!(reader, Reader::Follower { .. }) && wanted.high_watermark < read.high_watermark.0
}

/// A follower whose offset is not here any more begins again where the log does.
fn refused(index: i32, error: &FetchError) -> FetchedPartition {
    let log_start = match error {
        FetchError::OutOfRange(OutOfRange { log_start, .. }) => *log_start,
        _ => Offset(-1),
    };
    FetchedPartition { log_start, ..FetchedPartition::failed(index, error.code()) }
}

fn name_leaders(hints: &mut LeaderHints<'_>, fetched: &mut [FetchedTopic], version: i16) {
    let image = hints.image();
    for topic in fetched {
        let by_id = VERSION_WITH_TOPIC_IDS <= version;
        let Ok(found) = topics::find(&image, &topic.name, topic.id, by_id) else { continue };
        for partition in &mut topic.partitions {
            partition.leader = hints.leader(found, partition.index, partition.error_code);
        }
    }
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
    let last_epoch = known_epoch(wanted.last_fetched_epoch);
    if let Reader::Follower { broker, epoch } = reader {
        let directory = Some(DirectoryId(wanted.replica_directory_id)).filter(|directory| !directory.0.is_nil());
        let log_start = Offset(wanted.log_start_offset);
        let fetch = FollowerFetch { broker, broker_epoch: epoch, directory, offset, log_start };
        return partition.fetch_as_follower(&fetch, position, last_epoch);
    }
    if let Some(last_epoch) = last_epoch
        && let Some((epoch, end)) = partition.divergence(last_epoch, position)?
    {
        return Ok(FollowerRead::Diverging(epoch, end));
    }
    partition.locate(position).map(FollowerRead::Readable)
}

/// Finds the batches. What is not in the page cache is read on the blocking pool, so that neither this search nor the
/// `sendfile` that follows makes the other connections of the reactor wait for the disk.
async fn resolve(located: Located, at_least_one: bool) -> Result<Option<LogSlice>, ResolveError> {
    match located.resolve(ReadMode::NoWait, at_least_one) {
        Ok(Some(slice)) if !slice.is_cached() => {}
        Err(ResolveError::WouldBlock) => {}
        resolved => return resolved,
    }
    let blocking = tokio::task::spawn_blocking(move || {
        let slice = located.resolve(ReadMode::Blocking, at_least_one)?;
        if let Some(slice) = &slice {
            slice.read_ahead();
        }
        Ok(slice)
    });
    blocking.await.unwrap_or(Err(ResolveError::WouldBlock))
}
