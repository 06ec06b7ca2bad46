//! Produce (KIP-98 batches only).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};
use kafka_protocol::protocol::StrBytes;
use protocol::produce::{self, BatchError, BatchRules};
use protocol::types::{PartitionId, Timestamp, TopicId};

use super::errors::KafkaError as _;
use super::{Broker, Outcome, Request, RequestError, topics};
use crate::clock;
use crate::metadata::Image;
use crate::replica::{ProduceError, RequiredAcks};

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
}

impl Broker {
    pub(super) fn produce(&self, mut request: Request<'_>) -> Result<Outcome, RequestError> {
        let body: ProduceRequest = request.decode()?;
        let acks = match body.acks {
            0 => Ok(RequiredAcks::None),
            1 => Ok(RequiredAcks::Leader),
            -1 => Ok(RequiredAcks::All),
            _ => Err(ResponseError::InvalidRequiredAcks),
        };
        let acks = if body.transactional_id.is_some() { Err(ResponseError::InvalidTxnState) } else { acks };
        let image = self.image.load();
        let now = clock::wall();
        let responses: Vec<_> =
            body.topic_data.into_iter().map(|topic| self.produce_topic(&image, topic, acks, &request, now)).collect();
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

    fn produce_topic(
        &self,
        image: &Image,
        topic: TopicProduceData,
        acks: Result<RequiredAcks, ResponseError>,
        request: &Request<'_>,
        now: Timestamp,
    ) -> TopicProduceResponse {
        let found = topics::find(image, &topic.name, topic.topic_id, VERSION_WITH_TOPIC_IDS <= request.version)
            .map(|topic| topic.id)
            .and_then(|id| acks.map(|acks| (id, acks)));
        let partition_responses = topic.partition_data.into_iter().map(|data| {
            let index = data.index;
            let written = found
                .map_err(Refusal::Kafka)
                .and_then(|(topic_id, acks)| self.produce_partition(topic_id, data, acks, request, now));
            let written = written.unwrap_or_else(|refusal| {
                self.metrics.error(request.api, refusal.code());
                refused(&refusal)
            });
            written.with_index(index)
        });
        TopicProduceResponse::default()
            .with_partition_responses(partition_responses.collect())
            .with_name(topic.name)
            .with_topic_id(topic.topic_id)
    }

    fn produce_partition(
        &self,
        topic_id: TopicId,
        data: PartitionProduceData,
        acks: RequiredAcks,
        request: &Request<'_>,
        now: Timestamp,
    ) -> Result<PartitionProduceResponse, Refusal> {
        let partition = self
            .replicas
            .partition(topic_id, PartitionId(data.index))
            .ok_or(Refusal::Kafka(ResponseError::UnknownTopicOrPartition))?;
        let records = data.records.ok_or(Refusal::Kafka(ResponseError::InvalidRecord))?;
        let settings = partition.settings();
        let rules = BatchRules { zstd_allowed: VERSION_WITH_ZSTD <= request.version, ..settings.rules };
        let batch = produce::check(records, &rules, now)?;
        if batch.header.attributes.is_transactional() {
            return Err(Refusal::Kafka(ResponseError::InvalidTxnState));
        }
        let written = partition.append_as_leader(&batch, acks, now)?;
        let records_count = u64::try_from(batch.header.records_count).unwrap_or(0);
        request.context.requests.produced(&partition.metrics, records_count, batch.bytes.len() as u64);
        Ok(PartitionProduceResponse::default()
            .with_base_offset(written.appended.base_offset.0)
            .with_log_append_time_ms(written.appended.log_append_time.0)
            .with_log_start_offset(written.log_start.0))
    }
}

fn refused(refusal: &Refusal) -> PartitionProduceResponse {
    PartitionProduceResponse::default()
        .with_error_code(refusal.code())
        .with_error_message(Some(StrBytes::from_string(refusal.to_string())))
        .with_base_offset(-1)
        .with_log_append_time_ms(-1)
        .with_log_start_offset(-1)
}
