//! Matches answers to requests: the pure part of a connection.

use bytes::Bytes;
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use protocol::client::{self, DecodeError};
use protocol::frame::ResponseHeader;

use super::error::AnswerFault;

/// Checks that the frame answers the oldest unanswered request.
pub(super) fn check_correlation(frame: &[u8], expected: Option<i32>) -> Result<(), AnswerFault> {
    let found = ResponseHeader::decode(frame, 0).map_err(DecodeError::Header)?.correlation_id;
    match expected {
        Some(expected) if expected == found => Ok(()),
        Some(expected) => Err(AnswerFault::Correlation { found, expected }),
        None => Err(AnswerFault::Unasked { found }),
    }
}

/// A node that does not know the version answers with version 0 of the body and an error.
pub(super) fn decode_api_versions(frame: &Bytes, version: i16) -> Result<ApiVersionsResponse, AnswerFault> {
    let header = ResponseHeader::decode(frame, 0).map_err(DecodeError::Header)?;
    let error_code =
        frame.get(header.body_offset..).and_then(<[u8]>::first_chunk).map_or(0, |code| i16::from_be_bytes(*code));
    if error_code != 0 {
        return Err(AnswerFault::ApiVersions { version, error_code });
    }
    Ok(client::decode::<ApiVersionsRequest>(frame, version)?)
}
