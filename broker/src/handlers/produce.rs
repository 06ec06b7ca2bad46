//! Produce (KIP-98 batches only).

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};
use kafka_protocol::protocol::StrBytes;
use protocol::produce::{self, BatchError, BatchRules, CheckedBatch, RefusedRecord};
use protocol::records::RecordError;

use super::errors::KafkaError as _;
use super::large_batches::{LARGE_BYTES_MAX, OPENED_BYTES_MAX};
use super::{Broker, Outcome, Request, RequestError, topics};
use crate::clock;
use crate::metadata::Image;
use crate::replica::{Partition, ProduceError, RequiredAcks};

/// First version that carries topic ids instead of names (KIP-516).
const VERSION_WITH_TOPIC_IDS: i16 = 13;
/// First version that may carry zstd (KIP-110).
const VERSION_WITH_ZSTD: i16 = 7;

/// Why one partition of the request was not written.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{0}")]
    Kafka(ResponseError),
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error(transparent)]
    Produce(#[from] ProduceError),
}

impl Refusal {
    fn code(&self) -> i16 {
        match self {
            Self::Kafka(error) => error.code(),
            Self::Batch(error) => error.code(),
            Self::Produce(error) => error.code(),
        }
    }

    /// The records to blame, where it is not the whole batch.
    fn records(&self) -> &[RefusedRecord] {
        match self {
            Self::Batch(BatchError::Records { refused }) => refused,
            _ => &[],
        }
    }
}

impl Broker {
    pub(super) async fn produce(&self, mut request: Request<'_>) -> Result<Outcome, RequestError> {
        let body: ProduceRequest = request.decode()?;
        let acks = match body.acks {
            0 => Ok(RequiredAcks::None),
            1 => Ok(RequiredAcks::Leader),
            -1 => Ok(RequiredAcks::All),
            _ => Err(ResponseError::InvalidRequiredAcks),
        };
        let acks = if body.transactional_id.is_some() { Err(ResponseError::InvalidTxnState) } else { acks };
        let image = self.image.load_full();
        let mut responses = Vec::with_capacity(body.topic_data.len());
        for topic in body.topic_data {
            responses.push(self.produce_topic(&image, topic, acks, &request).await);
        }
        if acks != Ok(RequiredAcks::None) {
            return request.respond(&ProduceResponse::default().with_responses(responses));
        }
        // Closing the connection is the only way to tell the client that something went wrong.
        let partitions = responses.iter().flat_map(|topic| &topic.partition_responses);
        match partitions.map(|partition| partition.error_code).find(|code| *code != 0) {
            Some(code) => Ok(Outcome::Close(format!("produce with acks=0 failed with error {code}"))),
            None => Ok(Outcome::Silent),
        }
    }

    async fn produce_topic(
        &self,
        image: &Image,
        topic: TopicProduceData,
        acks: Result<RequiredAcks, ResponseError>,
        request: &Request<'_>,
    ) -> TopicProduceResponse {
        let found = topics::find(image, &topic.name, topic.topic_id, VERSION_WITH_TOPIC_IDS <= request.version);
        let mut responses = Vec::with_capacity(topic.partition_data.len());
        for data in topic.partition_data {
            let index = data.index;
            let partition = found.and_then(|topic| self.hosted(topic, index)).and_then(|found| Ok((found, acks?)));
            let written = match partition {
                Ok((partition, acks)) => self.produce_partition(&partition, data, acks, request).await,
                Err(error) => Err(Refusal::Kafka(error)),
            };
            let response = written.unwrap_or_else(|refusal| {
                self.metrics.error(request.api, refusal.code());
                refused(&refusal)
            });
            responses.push(response.with_index(index));
        }
        TopicProduceResponse::default()
            .with_partition_responses(responses)
            .with_name(topic.name)
            .with_topic_id(topic.topic_id)
    }

    async fn produce_partition(
        &self,
        partition: &Partition,
        data: PartitionProduceData,
        acks: RequiredAcks,
        request: &Request<'_>,
    ) -> Result<PartitionProduceResponse, Refusal> {
        let records = data.records.ok_or(Refusal::Kafka(ResponseError::InvalidRecord))?;
        let rules = BatchRules { zstd_allowed: VERSION_WITH_ZSTD <= request.version, ..partition.settings().rules };
        let batch = self.check(records, rules).await?;
        if batch.header.attributes.is_transactional() {
            return Err(Refusal::Kafka(ResponseError::InvalidTxnState));
        }
        let written = partition.append_as_leader(&batch, acks, clock::wall())?;
        let records_count = u64::try_from(batch.header.records_count).unwrap_or(0);
        request.context.requests.produced(&partition.metrics, records_count, batch.bytes.len() as u64);
        Ok(PartitionProduceResponse::default()
            .with_base_offset(written.appended.base_offset.0)
            .with_log_append_time_ms(written.appended.log_append_time.0)
            .with_log_start_offset(written.log_start.0))
    }

    /// See [`super::large_batches`].
    async fn check(&self, records: Bytes, rules: BatchRules) -> Result<CheckedBatch, Refusal> {
        let small = BatchRules { decompressed_bytes_max: OPENED_BYTES_MAX, ..rules };
        match produce::check(records.clone(), &small, clock::wall()) {
            Err(BatchError::Record(RecordError::TooLarge { .. })) => {}
            checked => return Ok(checked?),
        }
        let large = BatchRules { decompressed_bytes_max: LARGE_BYTES_MAX, ..rules };
        let checked = self.large_batches.open(move || produce::check(records, &large, clock::wall())).await;
        Ok(checked.ok_or(Refusal::Kafka(ResponseError::UnknownServerError))??)
    }
}

fn refused(refusal: &Refusal) -> PartitionProduceResponse {
    PartitionProduceResponse::default()
        .with_error_code(refusal.code())
        .with_error_message(Some(StrBytes::from_string(refusal.to_string())))
        .with_record_errors(refusal.records().iter().map(record_error).collect())
        .with_base_offset(-1)
        .with_log_append_time_ms(-1)
        .with_log_start_offset(-1)
}

fn record_error(refused: &RefusedRecord) -> BatchIndexAndErrorMessage {
    BatchIndexAndErrorMessage::default()
        .with_batch_index(refused.index)
        .with_batch_index_error_message(Some(StrBytes::from_string(refused.reason.to_string())))
}
