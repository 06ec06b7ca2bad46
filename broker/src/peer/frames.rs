//! Requests to frames, frames to answers: the pure part of a connection.

use bytes::{BufMut as _, Bytes, BytesMut};
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, RequestHeader};
use kafka_protocol::protocol::{Decodable as _, Encodable as _, HeaderVersion as _, Request, StrBytes};
use protocol::frame::{LENGTH_BYTES, ResponseHeader};
use protocol::guard;
use protocol::schema;

use super::error::{AnswerFault, PeerFailure};

/// A whole frame, its length included.
pub(super) fn encode<R: Request>(
    client_id: &StrBytes,
    correlation_id: i32,
    version: i16,
    request: &R,
) -> Result<Bytes, PeerFailure> {
    let failed = |reason: String| PeerFailure::Encode { request: name::<R>(), version, reason };
    let unencodable = |error: anyhow::Error| failed(error.to_string());
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(client_id.clone()));
    let header_version = R::header_version(version);
    let header_length = header.compute_size(header_version).map_err(unencodable)?;
    let length = header_length + request.compute_size(version).map_err(unencodable)?;
    let announced = i32::try_from(length).map_err(|_| failed(format!("it has {length} bytes")))?;
    let mut frame = BytesMut::with_capacity(LENGTH_BYTES + length);
    frame.put_i32(announced);
    header.encode(&mut frame, header_version).map_err(unencodable)?;
    request.encode(&mut frame, version).map_err(unencodable)?;
    Ok(frame.freeze())
}

/// Whether the frame answers the request that is the next to be answered.
pub(super) fn check_correlation(frame: &[u8], expected: Option<i32>) -> Result<(), AnswerFault> {
    let found = ResponseHeader::decode(frame, 0).map_err(AnswerFault::Header)?.correlation_id;
    match expected {
        Some(expected) if expected == found => Ok(()),
        Some(expected) => Err(AnswerFault::Correlation { found, expected }),
        None => Err(AnswerFault::Unasked { found }),
    }
}

/// Text and records of the answer are slices of the frame.
pub(super) fn decode<R: Request>(frame: &Bytes, version: i16) -> Result<R::Response, AnswerFault> {
    let request = name::<R>();
    let header = ResponseHeader::decode(frame, R::Response::header_version(version)).map_err(AnswerFault::Header)?;
    let mut body = frame.slice(header.body_offset..);
    let described = schema::response(R::KEY).ok_or(AnswerFault::NotDescribed { request })?;
    guard::check_response(described, version, &body).map_err(|fault| AnswerFault::Body { request, version, fault })?;
    R::Response::decode(&mut body, version).map_err(|error| AnswerFault::Decode {
        request,
        version,
        reason: error.to_string(),
    })
}

/// A node that does not know the version answers with version 0 of the body and an error.
pub(super) fn decode_api_versions(frame: &Bytes, version: i16) -> Result<ApiVersionsResponse, AnswerFault> {
    let header = ResponseHeader::decode(frame, 0).map_err(AnswerFault::Header)?;
    let error_code =
        frame.get(header.body_offset..).and_then(<[u8]>::first_chunk).map_or(0, |code| i16::from_be_bytes(*code));
    if error_code != 0 {
        return Err(AnswerFault::ApiVersions { version, error_code });
    }
    decode::<ApiVersionsRequest>(frame, version)
}

/// The name of the request, as messages tell it.
pub(super) fn name<R>() -> &'static str {
    let path = std::any::type_name::<R>();
    path.rsplit("::").next().unwrap_or(path)
}
