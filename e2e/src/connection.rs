//! A client connection that adds as little as possible to the broker's own work.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, MetadataRequest, ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, Request, StrBytes};
use protocol::batch_builder::BatchBuilder;
use protocol::types::Timestamp;

/// For any single answer; far more than it takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The last version with names and without tagged fields, so that a request ends with its records.
pub(crate) const PRODUCE_VERSION: i16 = 8;
const METADATA_VERSION: i16 = 8;
const RETRY_PAUSE: Duration = Duration::from_micros(500);
/// In a frame with its length: key and version come before it.
const CORRELATION_ID: usize = 8;

#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    sent: i32,
    received: i32,
}

impl Connection {
    pub(crate) fn open(address: impl Into<SocketAddr>) -> Result<Self> {
        Self::open_within(address, PATIENCE)
    }

    /// Limits connecting and every answer.
    pub(crate) fn open_within(address: impl Into<SocketAddr>, patience: Duration) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address.into(), patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Self { stream: BufReader::new(stream), sent: 0, received: 0 })
    }

    pub(crate) fn call<R: Request>(&mut self, version: i16, request: &R) -> Result<R::Response> {
        self.send(&mut encode(version, request)?)?;
        self.receive::<R>(version)
    }

    /// Sends a frame that `encode` made, under the next correlation id.
    pub(crate) fn send(&mut self, frame: &mut [u8]) -> Result<()> {
        let length = frame.len();
        self.send_all(frame, length)
    }

    /// Sends frames of that length at once, each under its own correlation id.
    pub(crate) fn send_all(&mut self, frames: &mut [u8], length: usize) -> Result<()> {
        for frame in frames.chunks_exact_mut(length) {
            self.sent += 1;
            let id = frame.get_mut(CORRELATION_ID..CORRELATION_ID + 4).context("a frame without a header")?;
            id.copy_from_slice(&self.sent.to_be_bytes());
        }
        self.stream.get_mut().write_all(frames).context("the broker does not take a request")
    }

    /// Whether an answer begins to arrive in that time. Fails if the connection has ended.
    pub(crate) fn is_answered_within(&mut self, time: Duration) -> Result<bool> {
        let before = self.stream.get_ref().read_timeout()?;
        self.stream.get_ref().set_read_timeout(Some(time))?;
        let filled = self.stream.fill_buf().map(|bytes| !bytes.is_empty());
        self.stream.get_ref().set_read_timeout(before)?;
        match filled {
            Ok(true) => Ok(true),
            Ok(false) => bail!("the broker has closed the connection"),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The answer to the oldest unanswered request.
    pub(crate) fn receive<R: Request>(&mut self, version: i16) -> Result<R::Response> {
        self.received += 1;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).context("the broker does not answer")?;
        let mut body = vec![0; usize::try_from(i32::from_be_bytes(length))?];
        self.stream.read_exact(&mut body).context("the broker does not finish an answer")?;
        let mut body = Bytes::from(body);
        let key = ApiKey::try_from(R::KEY).map_err(|()| anyhow::anyhow!("no API has the key {}", R::KEY))?;
        let header = ResponseHeader::decode(&mut body, key.response_header_version(version))?;
        let (id, expected) = (header.correlation_id, self.received);
        ensure!(id == expected, "the answer to request {expected} claims to be that to {id}");
        let response = R::Response::decode(&mut body, version)?;
        ensure!(body.is_empty(), "{key:?} version {version}: {} bytes are left over", body.len());
        Ok(response)
    }

    /// Returns when the topic, which is created automatically, has a leader.
    pub(crate) fn create_topic(&mut self, topic: &TopicName) -> Result<()> {
        let asked = MetadataRequestTopic::default().with_name(Some(topic.clone()));
        let request = MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(true);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let response = self.call(METADATA_VERSION, &request)?;
            let mut partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
            if partitions.any(|partition| partition.error_code == 0 && 0 <= partition.leader_id.0) {
                return Ok(());
            }
            thread::sleep(RETRY_PAUSE);
        }
        bail!("{} has no leader after {} s", topic.0, PATIENCE.as_secs());
    }

    /// The answer to the oldest unanswered Produce request: the offset of its first record.
    pub(crate) fn receive_base_offset(&mut self) -> Result<i64> {
        let response: ProduceResponse = self.receive::<ProduceRequest>(PRODUCE_VERSION)?;
        let mut partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
        let partition = partitions.next().context("a Produce response without a partition")?;
        ensure!(partition.error_code == 0, "Produce failed with error {}", partition.error_code);
        Ok(partition.base_offset)
    }
}

/// Appends a record to partition 0, which this broker must lead, with acks=1. Asks no other broker.
pub fn append_once(broker: SocketAddr, topic: &str, value: &[u8], within: Duration) -> Result<()> {
    let mut batch = BatchBuilder::new(Timestamp(i64::try_from(SystemTime::UNIX_EPOCH.elapsed()?.as_millis())?));
    batch.push(None, Some(value));
    let topic = TopicName(StrBytes::from_string(topic.into()));
    let mut connection = Connection::open_within(broker, within)?;
    connection.send(&mut encode(PRODUCE_VERSION, &produce_request(&topic, 1, batch.build()?.bytes))?)?;
    connection.receive_base_offset().map(drop)
}

pub(crate) fn produce_request(topic: &TopicName, acks: i16, batch: Bytes) -> ProduceRequest {
    let partition = PartitionProduceData::default().with_index(0).with_records(Some(batch));
    let topic = TopicProduceData::default().with_name(topic.clone()).with_partition_data(vec![partition]);
    ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(i32::try_from(PATIENCE.as_millis()).unwrap_or(i32::MAX))
        .with_topic_data(vec![topic])
}

/// A whole frame, its length included.
pub(crate) fn encode<R: Request>(version: i16, request: &R) -> Result<BytesMut> {
    let key = ApiKey::try_from(R::KEY).map_err(|()| anyhow::anyhow!("no API has the key {}", R::KEY))?;
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_client_id(Some(StrBytes::from_static_str("figures")));
    let mut frame = BytesMut::zeroed(4);
    header.encode(&mut frame, key.request_header_version(version))?;
    request.encode(&mut frame, version)?;
    let length = i32::try_from(frame.len() - 4)?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}
