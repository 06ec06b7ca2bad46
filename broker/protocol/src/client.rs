//! Encoding of requests and decoding of answers, without the connection.

use std::any::type_name;

use bytes::{BufMut as _, Bytes, BytesMut};
use kafka_protocol::messages::RequestHeader;
use kafka_protocol::protocol::{Decodable as _, Encodable as _, HeaderVersion as _, Request, StrBytes};

use crate::frame::{LENGTH_BYTES, ResponseHeader};
use crate::guard::{self, GuardError};
use crate::schema;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{request} version {version} cannot be encoded: {reason}")]
pub struct EncodeError {
    pub request: &'static str,
    pub version: i16,
    pub reason: String,
}

/// What is wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("header: {0}")]
    Header(GuardError),
    #[error("{request} version {version}: {fault}")]
    Body { request: &'static str, version: i16, fault: GuardError },
    #[error("{request} version {version}: {reason}")]
    Decode { request: &'static str, version: i16, reason: String },
    #[error("no table describes answers to {request}")]
    NotDescribed { request: &'static str },
}

/// A whole frame, its length included.
pub fn encode<R: Request>(
    client_id: &StrBytes,
    correlation_id: i32,
    version: i16,
    request: &R,
) -> Result<Bytes, EncodeError> {
    let failed = |reason: String| EncodeError { request: name::<R>(), version, reason };
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(client_id.clone()));
    let header_version = R::header_version(version);
    let sizes = header.compute_size(header_version).and_then(|header| Ok((header, request.compute_size(version)?)));
    let (header_length, body_length) = sizes.map_err(|error| failed(error.to_string()))?;
    let length = header_length.saturating_add(body_length);
    let announced = i32::try_from(length).map_err(|_| failed(format!("it has {length} bytes")))?;
    let mut frame = BytesMut::with_capacity(LENGTH_BYTES.saturating_add(length));
    frame.put_i32(announced);
    let encoded = header.encode(&mut frame, header_version).and_then(|()| request.encode(&mut frame, version));
    encoded.map_err(|error| failed(error.to_string()))?;
    Ok(frame.freeze())
}

/// Decodes a frame without its length. Guarded before it is decoded, as the decoder reserves memory for whatever
/// count it reads; text and records of the answer are slices of the frame.
pub fn decode<R: Request>(frame: &Bytes, version: i16) -> Result<R::Response, DecodeError> {
    let request = name::<R>();
    let header = ResponseHeader::decode(frame, R::Response::header_version(version)).map_err(DecodeError::Header)?;
    let mut body = frame.slice(header.body_offset..);
    let described = schema::response(R::KEY).ok_or(DecodeError::NotDescribed { request })?;
    guard::check_response(described, version, &body).map_err(|fault| DecodeError::Body { request, version, fault })?;
    R::Response::decode(&mut body, version).map_err(|error| DecodeError::Decode {
        request,
        version,
        reason: error.to_string(),
    })
}

/// The name of the request, for messages.
pub fn name<R>() -> &'static str {
    let path = type_name::<R>();
    path.rsplit("::").next().unwrap_or(path)
}
