//! AlterReplicaLogDirs (KIP-113). A broker has one data directory, so a replica is always in the requested one.

use std::path::Path;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::alter_replica_log_dirs_request::AlterReplicaLogDir;
use kafka_protocol::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use kafka_protocol::messages::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse};

use super::{Broker, Request, RequestError};

impl Broker {
    pub(super) fn alter_replica_log_dirs(
        &self,
        request: &mut Request<'_>,
    ) -> Result<AlterReplicaLogDirsResponse, RequestError> {
        let body: AlterReplicaLogDirsRequest = request.decode()?;
        let moved = body.dirs.into_iter().flat_map(|directory| self.move_to(directory));
        Ok(AlterReplicaLogDirsResponse::default().with_results(moved.collect()))
    }

    fn move_to(&self, directory: AlterReplicaLogDir) -> Vec<AlterReplicaLogDirTopicResult> {
        let is_ours = Path::new(&*directory.path) == self.config.log_directory;
        let results = directory.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|index| {
                let error = match self.named_partition(&topic.name, *index) {
                    _ if !is_ours => Some(ResponseError::LogDirNotFound),
                    Ok(partition) => partition.check_in_service().err().map(|_| ResponseError::KafkaStorageError),
                    Err(_) => Some(ResponseError::ReplicaNotAvailable),
                };
                AlterReplicaLogDirPartitionResult::default()
                    .with_partition_index(*index)
                    .with_error_code(error.map_or(0, |error| error.code()))
            });
            let partitions = partitions.collect();
            AlterReplicaLogDirTopicResult::default().with_topic_name(topic.name).with_partitions(partitions)
        });
        results.collect()
    }
}
