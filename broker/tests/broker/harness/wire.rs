//! A client that sends exactly what a test wants.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use bytes::{BufMut as _, Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, CreateTopicsRequest, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, Request, StrBytes};
use protocol::batch::{BatchHeader, HEADER_LENGTH};
use protocol::batch_builder::BatchBuilder;
use protocol::types::Timestamp;

use super::DEADLINE;

pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    correlation_id: i32,
}

impl Wire {
    pub(crate) fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, correlation_id: 0 }
    }

    /// A socket may accept before connections are served: waits for an answer, or for the end of the connection.
    pub(crate) fn is_taken_up(port: u16) -> bool {
        let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut wire = Self { stream, correlation_id: 0 };
        let frame = wire.encode(0, &ApiVersionsRequest::default());
        let answer = wire.stream.write_all(&frame).map(|()| wire.receive());
        answer.is_ok()
    }

    /// Sends a request and decodes the response to it.
    pub(crate) fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let frame = self.encode(version, request);
        self.send(&frame);
        let mut response = self.receive().expect("the broker answers");
        let key = ApiKey::try_from(R::KEY).unwrap();
        let header = ResponseHeader::decode(&mut response, key.response_header_version(version)).unwrap();
        assert_eq!(header.correlation_id, self.correlation_id);
        let body = R::Response::decode(&mut response, version).unwrap();
        assert!(response.is_empty(), "{key:?} version {version}: {} bytes are left over", response.len());
        body
    }

    /// A whole frame, its length included.
    pub(crate) fn encode<R: Request>(&mut self, version: i16, request: &R) -> Vec<u8> {
        self.correlation_id += 1;
        Self::encode_alone(self.correlation_id, version, request)
    }

    pub(crate) fn encode_alone<R: Request>(correlation_id: i32, version: i16, request: &R) -> Vec<u8> {
        let key = ApiKey::try_from(R::KEY).unwrap();
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(correlation_id)
            .with_client_id(Some(StrBytes::from_static_str("test")));
        let mut body = BytesMut::new();
        header.encode(&mut body, key.request_header_version(version)).unwrap();
        request.encode(&mut body, version).unwrap();
        frame(&body)
    }

    /// The correlation id of the request encoded last.
    pub(crate) fn correlation_id(&self) -> i32 {
        self.correlation_id
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next frame without its length; `None` when the broker has closed the connection.
    pub(crate) fn receive(&mut self) -> Option<Bytes> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).ok()?;
        let mut body = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
        self.stream.read_exact(&mut body).ok()?;
        Some(body.into())
    }
}

/// A topic of one partition.
pub(crate) fn create(wire: &mut Wire, topic: &str, configs: &[(&'static str, &'static str)]) {
    let config = |(name, value): &(&'static str, &'static str)| {
        CreatableTopicConfig::default()
            .with_name(StrBytes::from_static_str(name))
            .with_value(Some(StrBytes::from_static_str(value)))
    };
    let topic = CreatableTopic::default()
        .with_name(TopicName(StrBytes::from_string(topic.to_owned())))
        .with_num_partitions(1)
        .with_replication_factor(1)
        .with_configs(configs.iter().map(config).collect());
    let response = wire.call(7, &CreateTopicsRequest::default().with_topics(vec![topic]));
    assert_eq!(response.topics[0].error_code, 0, "{:?}", response.topics[0].error_message);
}

/// Puts the length before a header and body.
pub(crate) fn frame(body: &[u8]) -> Vec<u8> {
    let mut frame = BytesMut::new();
    frame.put_i32(i32::try_from(body.len()).unwrap());
    frame.put_slice(body);
    frame.to_vec()
}

/// An uncompressed batch of these values.
pub(crate) fn batch(values: &[&[u8]], timestamp: Timestamp) -> Bytes {
    let mut builder = BatchBuilder::new(timestamp);
    for value in values {
        builder.push(None, Some(value));
    }
    builder.build().unwrap().bytes
}

/// The headers of the whole batches in fetched bytes.
pub(crate) fn batch_headers(mut bytes: &[u8]) -> Vec<BatchHeader> {
    let mut headers = Vec::new();
    while let Some(head) = bytes.first_chunk::<HEADER_LENGTH>() {
        let header = BatchHeader::decode(head);
        let Some(rest) = header.length().and_then(|length| bytes.get(length..)) else { break };
        headers.push(header);
        bytes = rest;
    }
    headers
}
