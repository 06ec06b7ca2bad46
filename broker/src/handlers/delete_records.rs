//! DeleteRecords: advances the log start of partitions, on every replica that is up.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_records_request::DeleteRecordsPartition;
use kafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use protocol::types::Offset;
use tokio::time::Instant;

use super::errors::KafkaError as _;
use super::{Broker, Request, RequestError};
use crate::controller::is_internal_topic;
use crate::replica::{DeleteRecordsError, NewLogStart, Partition};

const HIGH_WATERMARK: i64 = -1;
const NO_LOW_WATERMARK: i64 = -1;
/// Longer waits are cut to this; the client then gets a timeout.
const WAIT_MAX: Duration = Duration::from_mins(5);

/// Partition and offset, or why there is none.
type Wanted = Result<(Arc<Partition>, NewLogStart), ResponseError>;

impl Broker {
    pub(super) async fn delete_records(
        &self,
        request: &mut Request<'_>,
    ) -> Result<DeleteRecordsResponse, RequestError> {
        let body: DeleteRecordsRequest = request.decode()?;
        let wanted = body
            .topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|partition| self.wanted(&topic.name, partition)));
        let wait = Duration::from_millis(u64::try_from(body.timeout_ms).unwrap_or(0)).min(WAIT_MAX);
        let mut results = self.delete(wanted.collect(), Instant::now() + wait).await.into_iter();
        let topics = body.topics.into_iter().map(|topic| {
            let answers = topic.partitions.iter().zip(results.by_ref());
            let partitions = answers.map(|(partition, result)| answer(partition.partition_index, result)).collect();
            DeleteRecordsTopicResult::default().with_name(topic.name).with_partitions(partitions)
        });
        Ok(DeleteRecordsResponse::default().with_topics(topics.collect()))
    }

    fn wanted(&self, topic: &str, wanted: &DeleteRecordsPartition) -> Wanted {
        let partition = self.named_partition(topic, wanted.partition_index)?;
        if is_internal_topic(topic) {
            return Err(ResponseError::InvalidTopicException);
        }
        let start = match wanted.offset {
            HIGH_WATERMARK => NewLogStart::AtHighWatermark,
            offset => NewLogStart::At(Offset(offset)),
        };
        Ok((partition, start))
    }

    /// Low watermarks in the order of `wanted`.
    async fn delete(&self, wanted: Vec<Wanted>, deadline: Instant) -> Vec<Result<Offset, ResponseError>> {
        let found = wanted.iter().filter_map(|wanted| wanted.as_ref().ok().cloned()).collect();
        let replicas = self.replicas.clone();
        let deleted = tokio::task::spawn_blocking(move || replicas.delete_records(found)).await.unwrap_or_default();
        let (mut deleted, mut results) = (deleted.into_iter(), Vec::with_capacity(wanted.len()));
        for wanted in wanted {
            let result = match wanted.map(|(partition, _)| (partition, deleted.next())) {
                Ok((partition, Some(Ok(start)))) => {
                    partition.deleted(start, deadline).await.map_err(|error| code(&error))
                }
                Ok((_, Some(Err(error)))) => Err(code(&error)),
                Ok((_, None)) => Err(ResponseError::UnknownServerError),
                Err(error) => Err(error),
            };
            results.push(result);
        }
        results
    }
}

fn code(error: &DeleteRecordsError) -> ResponseError {
    tracing::debug!(%error, "records not deleted");
    error.kafka_error()
}

fn answer(index: i32, result: Result<Offset, ResponseError>) -> DeleteRecordsPartitionResult {
    let answer = DeleteRecordsPartitionResult::default().with_partition_index(index);
    match result {
        Ok(low_watermark) => answer.with_low_watermark(low_watermark.0),
        Err(error) => answer.with_low_watermark(NO_LOW_WATERMARK).with_error_code(error.code()),
    }
}
