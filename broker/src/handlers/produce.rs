//! Produce (KIP-98 batches only).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{BrokerId as WireBrokerId, ProduceRequest, ProduceResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use protocol::produce::{self, BatchError, BatchRules, CheckLimits, CheckedBatch, RefusedRecord};
use protocol::records::RecordError;
use protocol::types::Offset;
use tokio::time::Instant;

use super::errors::KafkaError as _;
use super::large_batches::{LARGE_BYTES_MAX, OPENED_BYTES_MAX, RECOMPRESSED_BYTES_MAX};
use super::leader_hints::{LeaderHints, NodeAddress};
use super::{Broker, Outcome, Request, RequestError, topics};
use crate::clock;
use crate::controller::is_internal_topic;
use crate::metadata::{Image, TopicImage};
use crate::replica::{CommitDue, Partition, ProduceError, RequiredAcks, Written};

/// First version that carries topic ids instead of names (KIP-516).
const VERSION_WITH_TOPIC_IDS: i16 = 13;
/// First version that may carry zstd (KIP-110).
const VERSION_WITH_ZSTD: i16 = 7;

/// Longer waits are cut to this; the client then gets a timeout.
const WAIT_MAX: Duration = Duration::from_mins(5);

/// First version that may name the leader if the client came to another broker (KIP-951).
const VERSION_WITH_LEADERS: i16 = 10;

/// Written, but not to be acknowledged before it is committed and synced as requested.
struct Unsettled {
    /// The index in the topic's answer.
    place: usize,
    partition: Arc<Partition>,
    commit_due: Option<CommitDue>,
    sync_due: Option<Offset>,
}

/// Why a partition of the request was not written.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{0}")]
    Kafka(ResponseError),
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error(transparent)]
    Produce(#[from] ProduceError),
}

impl Unsettled {
    async fn wait(self, deadline: Instant) -> Result<(), ProduceError> {
        if let Some(due) = self.commit_due {
            self.partition.committed(due, deadline).await?;
        }
        if let Some(end) = self.sync_due {
            self.partition.synced(end, deadline).await?;
        }
        Ok(())
    }
}

impl Refusal {
    fn code(&self) -> i16 {
        match self {
            Self::Kafka(error) => error.code(),
            Self::Batch(error) => error.code(),
            Self::Produce(error) => error.code(),
        }
    }

    /// The records at fault, unless it is the whole batch.
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
        let is_answered = acks != Ok(RequiredAcks::None);
        let acks = if body.transactional_id.is_some() { Err(ResponseError::InvalidTxnState) } else { acks };
        let wait = Duration::from_millis(u64::try_from(body.timeout_ms).unwrap_or(0)).min(WAIT_MAX);
        let image = self.image.load_full();
        let mut written = Vec::with_capacity(body.topic_data.len());
        for topic in body.topic_data {
            written.push(self.produce_topic(&image, topic, acks, &request).await);
        }
        let (mut responses, unsettled): (Vec<_>, Vec<_>) = written.into_iter().unzip();
        let deadline = Instant::now() + wait;
        if is_answered {
            if unsettled.iter().any(|topic| !topic.is_empty()) {
                // A decoded name is a slice of the frame.
                for response in &mut responses {
                    response.name = TopicName(StrBytes::from_string(response.name.to_string()));
                }
                request.give_frame_back();
            }
            for (response, unsettled) in responses.iter_mut().zip(unsettled) {
                wait_until_settled(response, unsettled, deadline).await;
            }
            let response = ProduceResponse::default().with_responses(responses);
            return request.respond(&self.with_leaders(response, &request));
        }
        // Closing the connection is the only way to tell the client of an error.
        let partitions = responses.iter().flat_map(|topic| &topic.partition_responses);
        match partitions.map(|partition| partition.error_code).find(|code| *code != 0) {
            Some(code) => {
                let reason = format!("produce with acks=0 failed with error {code}");
                Ok(Outcome::Close(reason))
            }
            None => Ok(Outcome::Silent),
        }
    }

    async fn produce_topic(
        &self,
        image: &Image,
        topic: TopicProduceData,
        acks: Result<RequiredAcks, ResponseError>,
        request: &Request<'_>,
    ) -> (TopicProduceResponse, Vec<Unsettled>) {
        let found = topics::find(image, &topic.name, topic.topic_id, VERSION_WITH_TOPIC_IDS <= request.version);
        let waits_for_nobody = acks != Ok(RequiredAcks::All);
        let mut responses = Vec::with_capacity(topic.partition_data.len());
        let mut unsettled = Vec::new();
        for data in topic.partition_data {
            let index = data.index;
            let partition = found.and_then(writable);
            let partition = partition.and_then(|topic| Ok((self.hosted_for(topic, index, acks?)?, acks?)));
            let written = match &partition {
                Ok((partition, acks)) => self.produce_partition(partition, data, *acks, request).await,
                Err(error) => Err(Refusal::Kafka(*error)),
            };
            let response = match written {
                Ok(_) if waits_for_nobody && found.is_ok_and(|topic| self.may_be_superseded(topic, index)) => {
                    refused(&Refusal::Kafka(ResponseError::NotLeaderOrFollower))
                }
                Ok((response, Written { commit_due, sync_due, .. })) => {
                    if let Ok((partition, _)) = partition
                        && (commit_due.is_some() || sync_due.is_some())
                    {
                        unsettled.push(Unsettled { place: responses.len(), partition, commit_due, sync_due });
                    }
                    response
                }
                Err(refusal) => {
                    self.metrics.error(request.api, refusal.code());
                    refused(&refusal)
                }
            };
            responses.push(response.with_index(index));
        }
        let response = TopicProduceResponse::default()
            .with_partition_responses(responses)
            .with_name(topic.name)
            .with_topic_id(topic.topic_id);
        (response, unsettled)
    }

    /// Adds the current leaders of the partitions that this broker does not lead.
    fn with_leaders(&self, mut response: ProduceResponse, request: &Request<'_>) -> ProduceResponse {
        if request.version < VERSION_WITH_LEADERS {
            return response;
        }
        let mut hints = LeaderHints::new(self.image.load_full(), &request.context.listener.name);
        let image = hints.image();
        for topic in &mut response.responses {
            let by_id = VERSION_WITH_TOPIC_IDS <= request.version;
            let Ok(found) = topics::find(&image, &topic.name, topic.topic_id, by_id) else { continue };
            for partition in &mut topic.partition_responses {
                if let Some((leader, epoch)) = hints.leader(found, partition.index, partition.error_code) {
                    partition.current_leader =
                        LeaderIdAndEpoch::default().with_leader_id(WireBrokerId(leader.0)).with_leader_epoch(epoch.0);
                }
            }
        }
        response.with_node_endpoints(hints.addresses().into_iter().map(node_endpoint).collect())
    }

    async fn produce_partition(
        &self,
        partition: &Arc<Partition>,
        data: PartitionProduceData,
        acks: RequiredAcks,
        request: &Request<'_>,
    ) -> Result<(PartitionProduceResponse, Written), Refusal> {
        let records = data.records.ok_or(Refusal::Kafka(ResponseError::InvalidRecord))?;
        let rules = partition.settings().rules;
        let batch = self.check(records, rules, request.version).await?;
        if batch.header.attributes.is_transactional() {
            return Err(Refusal::Kafka(ResponseError::InvalidTxnState));
        }
        let written = partition.append_as_leader(&batch, acks, clock::wall())?;
        let records_count = u64::try_from(batch.header.records_count).unwrap_or(0);
        request.context.requests.produced(&partition.metrics, records_count, batch.bytes.len() as u64);
        let response = PartitionProduceResponse::default()
            .with_base_offset(written.appended.base_offset.0)
            .with_log_append_time_ms(written.appended.log_append_time.0)
            .with_log_start_offset(written.log_start.0);
        Ok((response, written))
    }

    /// Checks a batch, see [`super::large_batches`].
    async fn check(&self, records: Bytes, rules: BatchRules, version: i16) -> Result<CheckedBatch, Refusal> {
        let decompressed_bytes_max = if rules.codec.is_none() { OPENED_BYTES_MAX } else { RECOMPRESSED_BYTES_MAX };
        let small = CheckLimits { zstd_allowed: VERSION_WITH_ZSTD <= version, decompressed_bytes_max };
        match produce::check(records.clone(), &rules, small, clock::wall()) {
            Err(BatchError::Record(RecordError::TooLarge { .. })) => {}
            checked => return Ok(checked?),
        }
        let large = CheckLimits { decompressed_bytes_max: LARGE_BYTES_MAX, ..small };
        let checked = self.large_batches.open(move || produce::check(records, &rules, large, clock::wall())).await;
        Ok(checked.ok_or(Refusal::Kafka(ResponseError::UnknownServerError))??)
    }
}

/// The topics of coordinators are not open to clients.
fn writable(topic: &TopicImage) -> Result<&TopicImage, ResponseError> {
    if is_internal_topic(&topic.name) { Err(ResponseError::InvalidTopicException) } else { Ok(topic) }
}

/// Waits without holding up the reactor; all waiting requests share the syncs.
async fn wait_until_settled(topic: &mut TopicProduceResponse, unsettled: Vec<Unsettled>, deadline: Instant) {
    for unsettled in unsettled {
        let place = unsettled.place;
        if let Err(error) = unsettled.wait(deadline).await
            && let Some(response) = topic.partition_responses.get_mut(place)
        {
            *response = refused(&error.into()).with_index(response.index);
        }
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

fn node_endpoint(node: NodeAddress) -> NodeEndpoint {
    NodeEndpoint::default()
        .with_node_id(WireBrokerId(node.id.0))
        .with_host(StrBytes::from_string(node.host))
        .with_port(i32::from(node.port))
        .with_rack(node.rack.map(StrBytes::from_string))
}

fn record_error(refused: &RefusedRecord) -> BatchIndexAndErrorMessage {
    BatchIndexAndErrorMessage::default()
        .with_batch_index(refused.index)
        .with_batch_index_error_message(Some(StrBytes::from_string(refused.reason.to_string())))
}
