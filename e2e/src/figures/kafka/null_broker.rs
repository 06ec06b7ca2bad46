//! A broker that accepts and answers, but stores nothing: it shows the most that a client can do.
//!
//! Every topic has one partition. Its end is the number of records produced to it, and it is read as the numbered
//! records of `librdkafka::Payload`.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result, bail};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, BrokerId, FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse,
    MetadataRequest, MetadataResponse, ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use protocol::batch::{BatchHeader, HEADER_LENGTH};
use protocol::batch_builder::BatchBuilder;
use protocol::types::Timestamp;
use rustix::thread::CpuSet;

use crate::figures::librdkafka::Payload;
use crate::figures::machine::on_cores;

/// The APIs served, without tagged fields.
const SERVED: [(ApiKey, i16, i16); 5] = [
    (ApiKey::Produce, 0, 8),
    (ApiKey::Fetch, 4, 11),
    (ApiKey::ListOffsets, 1, 5),
    (ApiKey::Metadata, 0, 8),
    (ApiKey::ApiVersions, 0, 2),
];
const UNSUPPORTED_VERSION: i16 = 35;
const NODE: BrokerId = BrokerId(1);
const RECORDS_PER_BATCH: u32 = 1_000;
const BATCHES_PER_FETCH: u32 = 4;
const EARLIEST: i64 = -2;

#[derive(Debug)]
struct NullBroker {
    port: u16,
    ends: Mutex<HashMap<TopicName, i64>>,
}

/// Runs it on these cores while the work is done.
pub(in crate::figures) fn with_null_broker<T>(cores: &CpuSet, work: impl FnOnce(u16) -> Result<T>) -> Result<T> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let (broker, finished) = (NullBroker { port, ends: Mutex::default() }, AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            on_cores(cores, || {
                for stream in listener.incoming() {
                    if finished.load(Ordering::Relaxed) {
                        break;
                    }
                    let stream = stream?;
                    scope.spawn(|| broker.serve(stream));
                }
                Ok(())
            })
        });
        let outcome = work(port);
        finished.store(true, Ordering::Relaxed);
        // Wakes up the listener, so that it ends.
        TcpStream::connect(("127.0.0.1", port))?;
        outcome
    })
}

impl NullBroker {
    /// Serves until the client closes.
    fn serve(&self, mut stream: TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        loop {
            let mut length = [0; 4];
            stream.read_exact(&mut length)?;
            let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length))?];
            stream.read_exact(&mut frame)?;
            stream.write_all(&self.answer(Bytes::from(frame))?)?;
        }
    }

    fn answer(&self, mut frame: Bytes) -> Result<BytesMut> {
        let [key, version] = [frame.first_chunk().copied(), frame.get(2..4).and_then(|bytes| bytes.try_into().ok())]
            .map(|bytes| bytes.map(i16::from_be_bytes));
        let (key, version) = key.zip(version).context("a frame without a header")?;
        let key = ApiKey::try_from(key).map_err(|()| anyhow::anyhow!("no API has the key {key}"))?;
        let header = RequestHeader::decode(&mut frame, key.request_header_version(version))?;
        match key {
            ApiKey::ApiVersions => {
                let served =
                    SERVED.iter().any(|(served, least, most)| *served == key && (*least..=*most).contains(&version));
                respond(&header, key, if served { version } else { 0 }, &api_versions(served))
            }
            ApiKey::Metadata => {
                respond(&header, key, version, &self.metadata(MetadataRequest::decode(&mut frame, version)?))
            }
            ApiKey::Produce => {
                respond(&header, key, version, &self.produce(ProduceRequest::decode(&mut frame, version)?)?)
            }
            ApiKey::ListOffsets => {
                respond(&header, key, version, &self.list_offsets(ListOffsetsRequest::decode(&mut frame, version)?))
            }
            ApiKey::Fetch => respond(&header, key, version, &self.fetch(FetchRequest::decode(&mut frame, version)?)?),
            other => bail!("{other:?} is not served"),
        }
    }

    fn metadata(&self, request: MetadataRequest) -> MetadataResponse {
        let node = MetadataResponseBroker::default().with_node_id(NODE).with_port(self.port.into());
        let partition = MetadataResponsePartition::default().with_leader_id(NODE);
        let partition = partition.with_replica_nodes(vec![NODE]).with_isr_nodes(vec![NODE]);
        let names = request.topics.unwrap_or_default().into_iter().map(|topic| topic.name);
        let topics =
            names.map(|name| MetadataResponseTopic::default().with_name(name).with_partitions(vec![partition.clone()]));
        MetadataResponse::default()
            .with_brokers(vec![node.with_host(StrBytes::from_static_str("127.0.0.1"))])
            .with_controller_id(NODE)
            .with_topics(topics.collect())
    }

    fn produce(&self, request: ProduceRequest) -> Result<ProduceResponse> {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let mut responses = Vec::new();
        for topic in request.topic_data {
            let end = ends.entry(topic.name.clone()).or_default();
            let mut partitions = Vec::new();
            for partition in topic.partition_data {
                let records = partition.records.unwrap_or_default();
                let header = records.first_chunk::<HEADER_LENGTH>().context("a batch without a header")?;
                let answer = PartitionProduceResponse::default().with_index(partition.index).with_base_offset(*end);
                partitions.push(answer);
                *end += i64::from(BatchHeader::decode(header).records_count);
            }
            responses.push(TopicProduceResponse::default().with_name(topic.name).with_partition_responses(partitions));
        }
        Ok(ProduceResponse::default().with_responses(responses))
    }

    fn list_offsets(&self, request: ListOffsetsRequest) -> ListOffsetsResponse {
        let topics = request.topics.into_iter().map(|topic| {
            let end = self.end(&topic.name);
            let partitions = topic.partitions.into_iter().map(|partition| {
                let offset = if partition.timestamp == EARLIEST { 0 } else { end };
                let answer = ListOffsetsPartitionResponse::default().with_offset(offset);
                answer.with_partition_index(partition.partition_index)
            });
            ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions.collect())
        });
        ListOffsetsResponse::default().with_topics(topics.collect())
    }

    fn fetch(&self, request: FetchRequest) -> Result<FetchResponse> {
        let mut responses = Vec::new();
        for topic in request.topics {
            let end = self.end(&topic.topic);
            let mut partitions = Vec::new();
            for partition in topic.partitions {
                let answer = PartitionData::default().with_partition_index(partition.partition);
                let answer = answer.with_high_watermark(end).with_last_stable_offset(end);
                partitions.push(answer.with_records(Some(records(partition.fetch_offset, end)?)));
            }
            responses.push(FetchableTopicResponse::default().with_topic(topic.topic).with_partitions(partitions));
        }
        Ok(FetchResponse::default().with_responses(responses))
    }

    fn end(&self, topic: &TopicName) -> i64 {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).get(topic).copied().unwrap_or_default()
    }
}

fn api_versions(served: bool) -> ApiVersionsResponse {
    let keys = SERVED.map(|(key, least, most)| {
        ApiVersion::default().with_api_key(key as i16).with_min_version(least).with_max_version(most)
    });
    let error = if served { 0 } else { UNSUPPORTED_VERSION };
    ApiVersionsResponse::default().with_error_code(error).with_api_keys(keys.to_vec())
}

/// Some batches from this offset on.
fn records(from: i64, end: i64) -> Result<Bytes> {
    let (mut payload, mut bytes) = (Payload::new(), BytesMut::new());
    let mut next = u32::try_from(from)?;
    let end = u32::try_from(end)?.min(next.saturating_add(RECORDS_PER_BATCH * BATCHES_PER_FETCH));
    while next < end {
        let mut builder = BatchBuilder::new(Timestamp(0));
        let behind = end.min(next + RECORDS_PER_BATCH);
        for number in next..behind {
            builder.push(None, Some(payload.of(number)));
        }
        let start = bytes.len();
        bytes.extend_from_slice(&builder.build()?.bytes);
        bytes[start..][..8].copy_from_slice(&i64::from(next).to_be_bytes());
        next = behind;
    }
    Ok(bytes.freeze())
}

/// A whole frame, its length included.
fn respond<R: Encodable>(request: &RequestHeader, key: ApiKey, version: i16, response: &R) -> Result<BytesMut> {
    let mut frame = BytesMut::zeroed(4);
    let header = ResponseHeader::default().with_correlation_id(request.correlation_id);
    header.encode(&mut frame, key.response_header_version(version))?;
    response.encode(&mut frame, version)?;
    let length = i32::try_from(frame.len() - 4)?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}
