//! The content of `/metrics`: counters, and the state of process, network, partitions and cluster, read at the
//! scrape. Series per partition come from one pass over the partitions.

use std::fmt;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};
use storage::Log;

use super::group_lag;
use super::management::{Management, Stage};
use super::quotas::ListenerCounts;
use crate::clock;
use crate::coordinator::GroupCounts;
use crate::handlers::Broker;
use crate::metadata::Image;
use crate::metrics::{Exposition, GroupNumbers, Number, Traffic, catalogue as m};
use crate::replica::{CleanerMetrics, CleanerNumbers, DiskSpace, IsrCounts, LoadProgress, Partition};

/// Topics and partitions beyond this many have no series.
const TOPIC_SERIES_MAX: usize = 5_000;
const PARTITION_SERIES_MAX: usize = 20_000;

pub(super) fn render(management: Arc<Management>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape { management }));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Scrape {
    management: Arc<Management>,
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Exposition::new(encoder);
        process(&mut out, &self.management)?;
        network(&mut out, &self.management)?;
        match &**self.management.stage.load() {
            Stage::Recovering(progress) => recovery(&mut out, progress),
            stage => stage.broker().map_or(Ok(()), |broker| running(&mut out, broker)),
        }
    }
}

fn process(out: &mut Exposition<'_>, management: &Management) -> fmt::Result {
    let began = management.began.duration_since(UNIX_EPOCH).unwrap_or_default();
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let cpu = Duration::try_from(cpu).unwrap_or_default();
    out.numbers(&m::BUILD_INFO, [([env!("CARGO_PKG_VERSION")], Number::Whole(1))])?;
    out.number(&m::START_TIME, began.as_secs_f64())?;
    out.number(&m::UPTIME, management.began.elapsed().unwrap_or_default().as_secs_f64())?;
    out.number(&m::CPU, cpu.as_secs_f64())?;
    out.number(&m::RESIDENT, resident_bytes().unwrap_or(0))?;
    out.number(&m::OPEN_DESCRIPTORS, fs::read_dir("/proc/self/fd").map_or(0, Iterator::count))?;
    out.number(&m::DESCRIPTORS_MAX, getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))?;
    out.number(&m::BROKER_STATE, management.stage.load().number())
}

/// Resident pages are the second number of `statm`.
fn resident_bytes() -> Option<u64> {
    let pages: u64 = fs::read_to_string("/proc/self/statm").ok()?.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

fn network(out: &mut Exposition<'_>, management: &Management) -> fmt::Result {
    let network = &management.network;
    let listeners = network.quotas.listeners();
    let by_listener = |value: fn(&ListenerCounts) -> Number| {
        listeners.iter().map(move |listener| ([listener.name.as_str()], value(listener)))
    };
    out.numbers(&m::CONNECTIONS, by_listener(|listener| listener.open.into()))?;
    out.numbers(&m::CONNECTIONS_ACCEPTED, by_listener(|listener| listener.accepted.into()))?;
    out.numbers(&m::CONNECTIONS_REFUSED, by_listener(|listener| listener.refused.into()))?;
    out.number(&m::IN_FLIGHT, network.budget.bytes_used())?;
    out.number(&m::IN_FLIGHT_MAX, network.budget.bytes_max())
}

fn recovery(out: &mut Exposition<'_>, progress: &LoadProgress) -> fmt::Result {
    out.number(&m::LOGS_TOTAL, progress.logs_total())?;
    out.number(&m::LOGS_TO_LOAD, progress.logs_total().saturating_sub(progress.logs_done()))
}

fn running(out: &mut Exposition<'_>, broker: &Broker) -> fmt::Result {
    let image = broker.image.load();
    requests(out, broker)?;
    let mut partitions = broker.replicas.all();
    partitions.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    topics(out, &partitions)?;
    replicas(out, broker, &image, &partitions)?;
    let sessions = broker.fetch_sessions.counts();
    out.number(&m::FETCH_SESSIONS, sessions.sessions)?;
    out.number(&m::FETCH_SESSION_PARTITIONS, sessions.partitions)?;
    out.number(&m::FETCH_SESSION_EVICTIONS, sessions.evicted)?;
    logs(out, &partitions)?;
    volume(out, broker.replicas.space())?;
    out.latencies(&m::FLUSH_TIME, &broker.replicas.flush_time.read())?;
    cleaner(out, &broker.replicas.cleaning)?;
    groups(out, broker)?;
    group_lag::tell(out, broker, &image)?;
    controller(out, &image, broker.is_active_controller())
}

fn volume(out: &mut Exposition<'_>, space: &DiskSpace) -> fmt::Result {
    out.number(&m::VOLUME_SIZE, space.total_bytes())?;
    out.number(&m::VOLUME_AVAILABLE, space.available_bytes())?;
    out.number(&m::VOLUME_IS_LOW, u64::from(space.is_low()))
}

fn requests(out: &mut Exposition<'_>, broker: &Broker) -> fmt::Result {
    let apis = broker.metrics.apis();
    out.histograms(&m::REQUEST_TIME, apis.iter().map(|(name, counts)| ([*name], &counts.total)))?;
    let waited = apis.iter().filter(|(_, counts)| 0 < counts.waited.count());
    out.histograms(&m::REQUEST_WAIT, waited.map(|(name, counts)| ([*name], &counts.waited)))?;
    out.numbers(&m::REQUEST_BYTES, apis.iter().map(|(name, counts)| ([*name], counts.request_bytes.into())))?;
    out.numbers(&m::RESPONSE_BYTES, apis.iter().map(|(name, counts)| ([*name], counts.response_bytes.into())))?;
    let errors = broker.metrics.errors();
    let errors: Vec<_> = errors.iter().map(|((api, code), count)| (*api, code.to_string(), *count)).collect();
    out.numbers(&m::REQUEST_ERRORS, errors.iter().map(|(api, code, count)| ([*api, code.as_str()], (*count).into())))?;
    out.number(&m::REQUESTS_UNANSWERED, broker.metrics.unanswered_count())?;
    out.number(&m::COLD_FETCHES, broker.metrics.cold_fetch_count())?;
    let queued =
        [(["controller"], broker.controller.queued().into()), (["flush"], broker.replicas.flushes_queued().into())];
    out.numbers(&m::QUEUED, queued)?;
    let Traffic { messages_in, bytes_in, bytes_out } = broker.metrics.traffic();
    out.number(&m::MESSAGES_IN, messages_in)?;
    out.number(&m::BYTES_IN, bytes_in)?;
    out.number(&m::BYTES_OUT, bytes_out)
}

/// `partitions` are sorted by name, so those of a topic are adjacent.
fn topics(out: &mut Exposition<'_>, partitions: &[Arc<Partition>]) -> fmt::Result {
    let topics: Vec<_> = partitions.chunk_by(|one, other| one.topic_id == other.topic_id).collect();
    let shown = topics.iter().filter_map(|of_topic| of_topic.first()).take(TOPIC_SERIES_MAX);
    let shown: Vec<_> = shown.map(|first| (first.name.topic.as_str(), first.metrics.traffic())).collect();
    let of = |value: fn(&Traffic) -> u64| shown.iter().map(move |(name, traffic)| ([*name], value(traffic).into()));
    out.numbers(&m::TOPIC_MESSAGES_IN, of(|traffic| traffic.messages_in))?;
    out.numbers(&m::TOPIC_BYTES_IN, of(|traffic| traffic.bytes_in))?;
    out.numbers(&m::TOPIC_BYTES_OUT, of(|traffic| traffic.bytes_out))?;
    let left_out = [
        (["topic"], topics.len().saturating_sub(TOPIC_SERIES_MAX).into()),
        (["partition"], partitions.len().saturating_sub(PARTITION_SERIES_MAX).into()),
    ];
    out.numbers(&m::SERIES_LEFT_OUT, left_out)
}

#[derive(Default)]
struct ReplicaCounts {
    leaders: usize,
    offline: usize,
    under_replicated: usize,
    under_min_isr: usize,
    at_min_isr: usize,
    lag_max: i64,
}

fn replicas(out: &mut Exposition<'_>, broker: &Broker, image: &Image, partitions: &[Arc<Partition>]) -> fmt::Result {
    let mut counts = ReplicaCounts::default();
    for partition in partitions {
        let topic = image.topics.get(&partition.topic_id);
        let Some(state) = topic.and_then(|topic| topic.partition(partition.name.partition)) else { continue };
        counts.lag_max = counts.lag_max.max(partition.follower_lag().unwrap_or(0));
        counts.offline += usize::from(!partition.with_log(Log::is_offline).is_ok_and(|offline| !offline));
        if state.leader != Some(broker.config.broker_id) {
            continue;
        }
        let min_insync_replicas = partition.settings().min_insync_replicas.min(state.replicas.len());
        counts.leaders += 1;
        counts.under_replicated += usize::from(state.isr.len() < state.replicas.len());
        counts.under_min_isr += usize::from(state.isr.len() < min_insync_replicas);
        counts.at_min_isr += usize::from(state.isr.len() == min_insync_replicas);
    }
    out.number(&m::PARTITIONS, partitions.len())?;
    out.number(&m::LEADERS, counts.leaders)?;
    out.number(&m::OFFLINE_LOGS, counts.offline)?;
    out.number(&m::UNDER_REPLICATED, counts.under_replicated)?;
    out.number(&m::UNDER_MIN_ISR, counts.under_min_isr)?;
    out.number(&m::AT_MIN_ISR, counts.at_min_isr)?;
    let IsrCounts { expands, shrinks } = &broker.replicas.isr_counts;
    out.number(&m::ISR_SHRINKS, shrinks.load(Ordering::Relaxed))?;
    out.number(&m::ISR_EXPANDS, expands.load(Ordering::Relaxed))?;
    out.number(&m::FETCHER_LAG, Number::Whole(counts.lag_max))
}

/// A log at the time of the scrape.
struct LogSample<'a> {
    topic: &'a str,
    partition: String,
    size: u64,
    start: i64,
    end: i64,
    segments: usize,
}

fn logs(out: &mut Exposition<'_>, partitions: &[Arc<Partition>]) -> fmt::Result {
    let sample = |partition: &'_ Arc<Partition>| {
        let found =
            partition.with_log(|log| (log.size(), log.log_start().0, log.log_end().offset.0, log.segment_count()));
        found.ok()
    };
    let samples: Vec<_> = partitions
        .iter()
        .take(PARTITION_SERIES_MAX)
        .filter_map(|partition| {
            let (size, start, end, segments) = sample(partition)?;
            let number = partition.name.partition.0.to_string();
            Some(LogSample { topic: &partition.name.topic, partition: number, size, start, end, segments })
        })
        .collect();
    let of = |value: fn(&LogSample<'_>) -> Number| {
        samples.iter().map(move |sample| ([sample.topic, sample.partition.as_str()], value(sample)))
    };
    out.numbers(&m::LOG_SIZE, of(|sample| sample.size.into()))?;
    out.numbers(&m::LOG_START, of(|sample| Number::Whole(sample.start)))?;
    out.numbers(&m::LOG_END, of(|sample| Number::Whole(sample.end)))?;
    out.numbers(&m::LOG_SEGMENTS, of(|sample| sample.segments.into()))
}

fn cleaner(out: &mut Exposition<'_>, metrics: &CleanerMetrics) -> fmt::Result {
    let CleanerNumbers {
        max_dirty_percent,
        max_delay_s,
        uncleanable_partitions,
        uncleanable_bytes,
        since_look_ms,
        recopy_percent,
        passes,
        bytes_read,
        bytes_written,
    } = metrics.read(u64::try_from(clock::monotonic().as_millis()).unwrap_or(u64::MAX));
    out.number(&m::CLEANER_DIRTY, max_dirty_percent)?;
    out.number(&m::CLEANER_DELAY, max_delay_s)?;
    out.number(&m::UNCLEANABLE, uncleanable_partitions)?;
    out.number(&m::UNCLEANABLE_BYTES, uncleanable_bytes)?;
    out.number(&m::CLEANER_LOOKED, since_look_ms)?;
    out.number(&m::CLEANER_RECOPIED, recopy_percent)?;
    out.number(&m::CLEANER_PASSES, passes)?;
    out.number(&m::CLEANER_READ, bytes_read)?;
    out.number(&m::CLEANER_WRITTEN, bytes_written)
}

fn groups(out: &mut Exposition<'_>, broker: &Broker) -> fmt::Result {
    let metrics = &broker.metrics.groups;
    let GroupCounts { groups, members, offsets } = broker.groups.counts();
    let GroupNumbers { rebalances, offset_commits, offset_deletions, records_skipped } = metrics.read();
    let states = ["empty", "preparing_rebalance", "completing_rebalance", "stable"];
    out.numbers(&m::GROUPS, states.into_iter().zip(groups).map(|(state, count)| ([state], count.into())))?;
    out.number(&m::GROUP_MEMBERS, members)?;
    out.number(&m::GROUP_OFFSETS, offsets)?;
    out.number(&m::REBALANCES, rebalances)?;
    out.number(&m::OFFSET_COMMITS, offset_commits)?;
    out.number(&m::OFFSET_DELETIONS, offset_deletions)?;
    out.number(&m::GROUP_RECORDS_SKIPPED, records_skipped)?;
    out.latencies(&m::GROUP_LOAD_TIME, &metrics.load_time.read())
}

fn controller(out: &mut Exposition<'_>, image: &Image, is_active: bool) -> fmt::Result {
    let active = image.active_brokers().count();
    let (mut partitions, mut offline) = (0_usize, 0_usize);
    for (_, partition) in image.topics.values().flat_map(|topic| topic.partitions()) {
        partitions += 1;
        offline += usize::from(partition.leader.is_none());
    }
    out.number(&m::ACTIVE_CONTROLLER, usize::from(is_active))?;
    out.number(&m::ACTIVE_BROKERS, active)?;
    out.number(&m::FENCED_BROKERS, image.brokers.len().saturating_sub(active))?;
    out.number(&m::GLOBAL_TOPICS, image.topics.len())?;
    out.number(&m::GLOBAL_PARTITIONS, partitions)?;
    out.number(&m::OFFLINE_PARTITIONS, offline)?;
    out.number(&m::METADATA_END, Number::Whole(image.end_offset.0))
}

#[cfg(test)]
#[path = "scrape_test.rs"]
mod tests;
