//! Metrics in OpenMetrics form. Names follow Kafka's MBeans: `kafka.server:type=BrokerTopicMetrics` becomes
//! `kafka_server_brokertopicmetrics_…`.
//!
//! Counting costs a request a few additions to memory that no other core touches: every reactor has its own counters,
//! in an array by API key, and a scrape adds them up. What the state of the broker shows anyway, such as the size of
//! a log, is not counted but read at the scrape.

pub(crate) mod catalogue;
mod exposition;
mod groups;
mod histogram;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use protocol::api::{APIS, Api};

pub(crate) use catalogue::Metric;
pub(crate) use exposition::{Exposition, Number};
pub(crate) use groups::{GroupMetrics, GroupNumbers};
pub(crate) use histogram::{Latencies, LatencyHistogram};

/// Counters of one reactor.
#[derive(Debug)]
pub(crate) struct RequestMetrics {
    /// By API key.
    apis: Vec<ApiMetrics>,
    messages_in: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

#[derive(Debug, Default)]
struct ApiMetrics {
    total: LatencyHistogram,
    /// The latency of requests that had to wait for something other than this thread.
    waited: LatencyHistogram,
    request_bytes: AtomicU64,
    response_bytes: AtomicU64,
}

/// Counts for one API, on all reactors.
#[derive(Debug, Default)]
pub(crate) struct ApiCounts {
    pub(crate) total: Latencies,
    pub(crate) waited: Latencies,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
}

/// Traffic of this broker's partitions of one topic, or of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) messages_in: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

/// The counters of one topic, shared by its partitions on this broker and dropped with the last of them.
#[derive(Debug, Default)]
pub(crate) struct TopicMetrics {
    messages_in: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct Metrics {
    reactors: Vec<Arc<RequestMetrics>>,
    /// Errors are rare, and not all of the APIs have them.
    errors: Mutex<BTreeMap<(&'static str, i16), u64>>,
    unanswered: AtomicU64,
    cold_fetches: AtomicU64,
    pub(crate) groups: Arc<GroupMetrics>,
}

impl Metrics {
    pub(crate) fn new(reactors: usize) -> Self {
        Self {
            reactors: (0..reactors).map(|_| Arc::new(RequestMetrics::new())).collect(),
            errors: Mutex::default(),
            unanswered: AtomicU64::new(0),
            cold_fetches: AtomicU64::new(0),
            groups: Arc::default(),
        }
    }

    /// The counters of that reactor; counters that nobody reads if the index is unknown.
    pub(crate) fn of_reactor(&self, index: usize) -> Arc<RequestMetrics> {
        self.reactors.get(index).cloned().unwrap_or_else(|| Arc::new(RequestMetrics::new()))
    }

    /// Counts a request, or one item of it, that was answered with this Kafka error code.
    pub(crate) fn error(&self, api: &Api, code: i16) {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        *errors.entry((api.name, code)).or_default() += 1;
    }

    /// Counts a request that closed its connection.
    pub(crate) fn unanswered(&self) {
        add(&self.unanswered, 1);
    }

    /// Counts a fetch whose records were not in the page cache.
    pub(crate) fn cold_fetch(&self) {
        add(&self.cold_fetches, 1);
    }

    pub(crate) fn cold_fetch_count(&self) -> u64 {
        get(&self.cold_fetches)
    }

    pub(crate) fn errors(&self) -> BTreeMap<(&'static str, i16), u64> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn unanswered_count(&self) -> u64 {
        get(&self.unanswered)
    }

    /// The APIs that were requested at least once.
    pub(crate) fn apis(&self) -> Vec<(&'static str, ApiCounts)> {
        let counts = APIS.iter().map(|api| {
            let mut counts = ApiCounts::default();
            for metrics in self.reactors.iter().filter_map(|reactor| reactor.of(api)) {
                metrics.total.add_to(&mut counts.total);
                metrics.waited.add_to(&mut counts.waited);
                counts.request_bytes += get(&metrics.request_bytes);
                counts.response_bytes += get(&metrics.response_bytes);
            }
            (api.name, counts)
        });
        counts.filter(|(_, counts)| 0 < counts.total.count()).collect()
    }

    /// The traffic of all topics, including deleted ones.
    pub(crate) fn traffic(&self) -> Traffic {
        self.reactors.iter().fold(Traffic::default(), |sum, reactor| Traffic {
            messages_in: sum.messages_in + get(&reactor.messages_in),
            bytes_in: sum.bytes_in + get(&reactor.bytes_in),
            bytes_out: sum.bytes_out + get(&reactor.bytes_out),
        })
    }
}

impl RequestMetrics {
    fn new() -> Self {
        let keys = APIS.iter().filter_map(|api| usize::try_from(api.key_number()).ok());
        let length = keys.max().map_or(0, |last| last + 1);
        Self {
            apis: std::iter::repeat_with(ApiMetrics::default).take(length).collect(),
            messages_in: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
        }
    }

    fn of(&self, api: &Api) -> Option<&ApiMetrics> {
        self.apis.get(usize::try_from(api.key_number()).ok()?)
    }

    /// `waited`: the part of `took` in which the thread had other things to do.
    pub(crate) fn observe(
        &self,
        api: &Api,
        took: Duration,
        waited: Option<Duration>,
        request_bytes: usize,
        response_bytes: usize,
    ) {
        let Some(metrics) = self.of(api) else { return };
        metrics.total.observe(took);
        if let Some(waited) = waited {
            metrics.waited.observe(waited);
        }
        add(&metrics.request_bytes, request_bytes as u64);
        add(&metrics.response_bytes, response_bytes as u64);
    }

    pub(crate) fn produced(&self, topic: &TopicMetrics, messages: u64, bytes: u64) {
        add(&self.messages_in, messages);
        add(&self.bytes_in, bytes);
        add(&topic.messages_in, messages);
        add(&topic.bytes_in, bytes);
    }

    pub(crate) fn fetched(&self, topic: &TopicMetrics, bytes: u64) {
        add(&self.bytes_out, bytes);
        add(&topic.bytes_out, bytes);
    }
}

impl TopicMetrics {
    pub(crate) fn traffic(&self) -> Traffic {
        Traffic { messages_in: get(&self.messages_in), bytes_in: get(&self.bytes_in), bytes_out: get(&self.bytes_out) }
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use protocol::api::lookup;

    use super::*;

    #[test]
    fn a_scrape_adds_up_the_reactors() {
        let metrics = Metrics::new(2);
        let (produce, topic) = (lookup(0).unwrap(), TopicMetrics::default());
        for index in 0..2 {
            let reactor = metrics.of_reactor(index);
            reactor.observe(produce, Duration::from_micros(300), None, 100, 40);
            reactor.produced(&topic, 3, 70);
        }
        metrics.of_reactor(0).observe(produce, Duration::from_secs(9), Some(Duration::from_secs(8)), 1, 1);
        metrics.error(produce, 6);
        let [(name, counts)] = &metrics.apis()[..] else { panic!("APIs that nobody asked for") };
        assert_eq!((*name, counts.request_bytes, counts.response_bytes), ("Produce", 201, 81));
        assert_eq!((counts.total.count(), counts.waited.count()), (3, 1));
        assert_eq!(metrics.traffic(), Traffic { messages_in: 6, bytes_in: 140, bytes_out: 0 });
        assert_eq!(topic.traffic(), metrics.traffic());
        assert_eq!(metrics.errors(), BTreeMap::from([(("Produce", 6), 1)]));
    }
}
