//! DescribeLogDirs: the one data directory, its volume, and the space that partitions take.

use std::collections::{BTreeMap, HashSet};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use storage::Log;

use super::{Broker, Request, RequestError};
use crate::replica::ReplicaManager;

impl Broker {
    pub(super) async fn describe_log_dirs(
        &self,
        request: &mut Request<'_>,
    ) -> Result<DescribeLogDirsResponse, RequestError> {
        let body: DescribeLogDirsRequest = request.decode()?;
        let directory = StrBytes::from_string(self.config.log_directory.display().to_string());
        let replicas = self.replicas.clone();
        // Asks the file system, which may be slow.
        let described = tokio::task::spawn_blocking(move || describe(&replicas, body.topics.as_deref())).await;
        let result = described.ok().flatten().unwrap_or_else(|| {
            DescribeLogDirsResult::default().with_error_code(ResponseError::KafkaStorageError.code())
        });
        Ok(DescribeLogDirsResponse::default().with_results(vec![result.with_log_dir(directory)]))
    }
}

/// `wanted`: only these partitions, if they are hosted here. `None` if the directory has failed.
fn describe(replicas: &ReplicaManager, wanted: Option<&[DescribableLogDirTopic]>) -> Option<DescribeLogDirsResult> {
    let space = replicas.disk_space()?.ok()?;
    let wanted: Option<HashSet<(&str, i32)>> = wanted.map(|topics| {
        let pairs = topics.iter().flat_map(|topic| topic.partitions.iter().map(|index| (topic.topic.as_str(), *index)));
        pairs.collect()
    });
    let mut topics: BTreeMap<String, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for partition in replicas.all() {
        let (topic, index) = (partition.name.topic.as_str(), partition.name.partition.0);
        if wanted.as_ref().is_some_and(|wanted| !wanted.contains(&(topic, index))) {
            continue;
        }
        let Ok((size, lag)) = partition.with_log(|log| (log.size(), offset_lag(log))) else { continue };
        let described = DescribeLogDirsPartition::default()
            .with_partition_index(index)
            .with_partition_size(wire(size))
            .with_offset_lag(lag);
        topics.entry(topic.to_owned()).or_default().push(described);
    }
    let topics = topics.into_iter().map(|(name, mut partitions)| {
        partitions.sort_unstable_by_key(|partition| partition.partition_index);
        let name = TopicName(StrBytes::from_string(name));
        DescribeLogDirsTopic::default().with_name(name).with_partitions(partitions)
    });
    let result = DescribeLogDirsResult::default().with_topics(topics.collect());
    Some(result.with_total_bytes(wire(space.total_bytes)).with_usable_bytes(wire(space.usable_bytes)))
}

/// How far the log lags behind the high watermark; 0 on a leader.
fn offset_lag(log: &Log) -> i64 {
    log.high_watermark().offset.0.saturating_sub(log.log_end().offset.0).max(0)
}

fn wire(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
