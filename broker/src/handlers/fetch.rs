//! Fetch by consumers, sessionless: the answer to a request for a session is id 0, which makes the client send full
//! requests (KIP-227).

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::FetchPartition;
use protocol::types::{LeaderEpoch, Offset};
use storage::{Located, LogSlice, ReadMode, ResolveError};
use tokio::time::{Instant, sleep_until};

use super::errors::KafkaError as _;
use super::fetch_response::{FetchedPartition, FetchedTopic};
use super::topics::known_epoch;
use super::{Broker, Outcome, Request, RequestError, fetch_response, topics};
use crate::metadata::TopicImage;
use crate::replica::{FetchError, FetchPosition, Partition, Readable, Waiter};

/// First version that carries topic ids instead of names (KIP-516).
const VERSION_WITH_TOPIC_IDS: i16 = 13;
const READ_COMMITTED: i8 = 1;
/// A client that asks to wait longer is answered with nothing, and asks again.
const WAIT_MAX: Duration = Duration::from_mins(5);

/// One pass over everything that the request asks for.
struct Fetched {
    topics: Vec<FetchedTopic>,
    bytes: u64,
    /// A partition failed, its log has diverged, or its records go on in another segment: the client is to come back
    /// at once.
    urgent: bool,
}

impl Broker {
    pub(super) async fn fetch(&self, mut request: Request<'_>) -> Result<Outcome, RequestError> {
        let body: FetchRequest = request.decode()?;
        if 0 < body.session_epoch {
            let error = ResponseError::FetchSessionIdNotFound.code();
            return Ok(fetch_response::encode(&request, error, body.isolation_level == READ_COMMITTED, Vec::new()));
        }
        let fetched = self.fetch_until_satisfied(&body, &request).await;
        self.count_fetched(&request, &fetched);
        Ok(fetch_response::encode(&request, 0, body.isolation_level == READ_COMMITTED, fetched.topics))
    }

    /// Waits until `min_bytes` can be read or `max_wait_ms` is over, and no longer than the client is there.
    async fn fetch_until_satisfied(&self, body: &FetchRequest, request: &Request<'_>) -> Fetched {
        let version = request.version;
        let bytes_min = u64::try_from(body.min_bytes).unwrap_or(0);
        let fetched = self.fetch_once(body, version, None).await;
        let wait = Duration::from_millis(u64::try_from(body.max_wait_ms).unwrap_or(0));
        if bytes_min <= fetched.bytes || fetched.urgent || wait.is_zero() || fetched.topics.is_empty() {
            return fetched;
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

    fn count_fetched(&self, request: &Request<'_>, fetched: &Fetched) {
        for partition in fetched.topics.iter().flat_map(|topic| &topic.partitions) {
            if let (Some(records), Some(metrics)) = (&partition.records, &partition.metrics) {
                request.context.requests.fetched(metrics, u64::from(records.length));
            }
            if partition.error_code != 0 {
                self.metrics.error(request.api, partition.error_code);
            }
        }
    }

    async fn fetch_once(&self, body: &FetchRequest, version: i16, waiter: Option<&Arc<Waiter>>) -> Fetched {
        let image = self.image.load_full();
        let bytes_max = body.max_bytes.min(self.config.fetch_bytes_max);
        let mut left = u32::try_from(bytes_max).unwrap_or(0);
        let mut fetched = Fetched { topics: Vec::with_capacity(body.topics.len()), bytes: 0, urgent: false };
        for topic in &body.topics {
            let by_id = VERSION_WITH_TOPIC_IDS <= version;
            let found = topics::find(&image, &topic.topic, topic.topic_id, by_id);
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for wanted in &topic.partitions {
                let first = fetched.bytes == 0;
                let read = self.fetch_partition(found, wanted, left, first, waiter).await;
                let length = read.records.as_ref().map_or(0, |slice| slice.length);
                left = left.saturating_sub(length);
                fetched.bytes += u64::from(length);
                fetched.urgent |= read.error_code != 0 || read.diverging.is_some() || read.continues;
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
        bytes_left: u32,
        first: bool,
        waiter: Option<&Arc<Waiter>>,
    ) -> FetchedPartition {
        let index = wanted.partition;
        let partition = match topic.and_then(|topic| self.hosted(topic, index)) {
            Ok(partition) => partition,
            Err(error) => return FetchedPartition::failed(index, error.code()),
        };
        if let Some(waiter) = waiter {
            partition.register(waiter);
        }
        let mut offset = Offset(wanted.fetch_offset);
        loop {
            let readable = match read(&partition, wanted, offset, bytes_left) {
                Ok(Read::Readable(readable)) => readable,
                Ok(Read::Diverging(diverging)) => return FetchedPartition::diverging(index, diverging),
                Err(error) => return FetchedPartition::failed(index, error.code()),
            };
            let (high_watermark, log_start) = (readable.high_watermark, readable.log_start);
            let resolved = resolve(readable.located, first).await;
            if let Err(error) = partition.check_in_service() {
                return FetchedPartition::failed(index, error.code());
            }
            match resolved {
                Ok(records) => {
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

enum Read {
    Readable(Readable),
    /// The last epoch that both have, and where it ends here.
    Diverging((LeaderEpoch, Offset)),
}

fn read(partition: &Partition, wanted: &FetchPartition, offset: Offset, bytes_left: u32) -> Result<Read, FetchError> {
    let position = FetchPosition {
        offset,
        leader_epoch: known_epoch(wanted.current_leader_epoch),
        bytes_max: u32::try_from(wanted.partition_max_bytes).unwrap_or(0).min(bytes_left),
    };
    if let Some(last_fetched) = known_epoch(wanted.last_fetched_epoch)
        && let Some(diverging) = partition.divergence(last_fetched, position)?
    {
        return Ok(Read::Diverging(diverging));
    }
    partition.locate(position).map(Read::Readable)
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
