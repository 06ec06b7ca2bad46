use std::path::Path;
use std::time::Instant;

use protocol::config::{Scope, Values};
use protocol::types::{BrokerId, Offset, PartitionId, TopicId, TopicPartition};
use storage::faulty::FaultyDisk;
use storage::{Disk, FilePool, PoolLimits};
use uuid::Uuid;

use super::*;
use crate::clock;
use crate::metrics::TopicMetrics;
use crate::replica::{TopicSettings, testing};

const TOPICS: u32 = 100;
const PARTITIONS: i32 = 100;

#[derive(Debug)]
struct Partitions(Vec<Arc<Partition>>);

impl Collector for Partitions {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Exposition::new(encoder);
        topics(&mut out, &self.0)?;
        logs(&mut out, &self.0)
    }
}

fn partitions() -> Vec<Arc<Partition>> {
    let settings = TopicSettings::of(&Image::empty(), "t", BrokerId(0), &Values::defaults(Scope::Broker));
    let shared = testing::shared();
    let of_topic = |topic: u32| {
        let (id, metrics) = (TopicId(Uuid::from_u128(u128::from(topic))), Arc::new(TopicMetrics::default()));
        // A disk for each topic: a single one would take minutes with so many files.
        let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new());
        disk.create_directory(Path::new("/data")).unwrap();
        let (pool, settings, shared) = (FilePool::new(disk, PoolLimits::default()), &settings, &shared);
        (0..PARTITIONS).map(PartitionId).map(move |partition| {
            let name = TopicPartition { topic: format!("topic-{topic:03}"), partition };
            let path = Path::new("/data").join(name.to_string());
            let log = Log::create(&pool, &path, id, settings.log.clone(), Offset(7), clock::wall()).unwrap();
            Partition::new(name, id, log, settings.clone(), metrics.clone(), shared)
        })
    };
    (0..TOPICS).flat_map(of_topic).collect()
}

#[test]
fn ten_thousand_partitions_are_told_in_one_pass() {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Partitions(partitions())));
    let (began, mut text) = (Instant::now(), String::new());
    encode(&mut text, &registry).unwrap();
    println!("{} KiB in {:?}", text.len() / 1024, began.elapsed());
    for line in [
        "kafka_log_log_end_offset{topic=\"topic-042\",partition=\"99\"} 7",
        "kafka_log_log_segments{topic=\"topic-000\",partition=\"0\"} 1",
        "kafka_server_brokertopicmetrics_topic_bytes_in_total{topic=\"topic-099\"} 0",
        "millrace_metrics_series_left_out{kind=\"partition\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}");
    }
    let samples = text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(samples, 4 * 10_000 + 3 * 100 + 2);
}
