//! Frames and headers. A connection is a sequence of frames, both ways:
//!
//! ```text
//! length i32 | header | body
//! request header v1: key i16, version i16, correlation id i32, client id nullable string with a 16-bit length
//! request header v2: v1, tagged fields              (flexible versions of an API)
//! response header v0: correlation id i32
//! response header v1: v0, tagged fields             (flexible versions, save those of ApiVersions)
//! ```
//!
//! Request header v0 had no client id and went with ControlledShutdown v0.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;

use crate::api::{self, Api};
use crate::guard::{Fault, GuardError, Reader};
use crate::schema::Versions;

/// Bytes of the length before a frame.
pub const LENGTH_BYTES: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("frame of {announced} bytes: a length is not negative")]
    Negative { announced: i32 },
    #[error("frame of {announced} bytes, at most {frame_bytes_max} are accepted")]
    TooLong { announced: usize, frame_bytes_max: usize },
}

/// The length of the frame at the start of `received`, without the length field; `None` until that has arrived.
pub fn announced(received: &[u8], frame_bytes_max: usize) -> Result<Option<usize>, FrameError> {
    let Some(length) = received.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = i32::from_be_bytes(*length);
    let announced = usize::try_from(length).map_err(|_| FrameError::Negative { announced: length })?;
    if frame_bytes_max < announced {
        return Err(FrameError::TooLong { announced, frame_bytes_max });
    }
    Ok(Some(announced))
}

/// Takes the next whole frame, without its length, off the start of `received`. Shares the memory and reserves none.
pub fn split(received: &mut BytesMut, frame_bytes_max: usize) -> Result<Option<Bytes>, FrameError> {
    let Some(length) = announced(received, frame_bytes_max)? else { return Ok(None) };
    if received.len().saturating_sub(LENGTH_BYTES) < length {
        return Ok(None);
    }
    received.advance(LENGTH_BYTES);
    Ok(Some(received.split_to(length).freeze()))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("request header: {0}")]
    Malformed(#[from] GuardError),
    #[error("request header: client id at byte {position} is not UTF-8")]
    ClientIdNotUtf8 { position: usize },
    #[error("API key {api_key} (version {api_version}) is not served")]
    UnknownApi { api_key: i16, api_version: i16 },
    #[error("{name} version {api_version} is not served, {served} are")]
    UnsupportedVersion { name: &'static str, api_version: i16, served: Versions },
}

/// The header of a request, whose version is served unless it is ApiVersions.
#[derive(Debug, Clone, Copy)]
pub struct RequestHeader<'a> {
    pub api: &'static Api,
    /// Any number for ApiVersions: an unsupported version is answered with version 0 of its body and error 35,
    /// without reading the request's body.
    pub api_version: i16,
    pub correlation_id: i32,
    pub client_id: Option<&'a str>,
    /// The start of the body in the frame.
    pub body_offset: usize,
}

impl<'a> RequestHeader<'a> {
    /// On any error the connection must be closed: there is no answer that the peer would understand.
    pub fn decode(frame: &'a [u8]) -> Result<Self, HeaderError> {
        let mut reader = Reader::new(frame);
        let api_key = reader.int16().map_err(|fault| fault.at("api key", 0))?;
        let api_version = reader.int16().map_err(|fault| fault.at("api version", 2))?;
        let api = served(api_key, api_version)?;
        let correlation_id = reader.int32().map_err(|fault| fault.at("correlation id", 4))?;
        let position = reader.position();
        let client_id = client_id(&mut reader).map_err(|fault| fault.at("client id", position))?;
        let client_id = client_id.map(str::from_utf8).transpose();
        let client_id = client_id.map_err(|_| HeaderError::ClientIdNotUtf8 { position })?;
        if api.is_flexible(api_version) {
            let position = reader.position();
            skip_tagged_fields(&mut reader).map_err(|fault| fault.at("tagged fields", position))?;
        }
        Ok(Self { api, api_version, correlation_id, client_id, body_offset: reader.position() })
    }
}

fn served(api_key: i16, api_version: i16) -> Result<&'static Api, HeaderError> {
    let api = api::lookup(api_key).ok_or(HeaderError::UnknownApi { api_key, api_version })?;
    if !api.serves(api_version) && api.key() != ApiKey::ApiVersions {
        return Err(HeaderError::UnsupportedVersion { name: api.name, api_version, served: api.versions });
    }
    Ok(api)
}

fn client_id<'a>(reader: &mut Reader<'a>) -> Result<Option<&'a [u8]>, Fault> {
    reader.int16_length()?.map(|length| reader.bytes(length)).transpose()
}

fn skip_tagged_fields(reader: &mut Reader<'_>) -> Result<(), Fault> {
    for _ in 0..reader.unsigned_varint()? {
        let _tag = reader.unsigned_varint()?;
        let length = reader.varint_length()?;
        reader.bytes(length)?;
    }
    Ok(())
}

/// The header of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseHeader {
    pub correlation_id: i32,
    /// The start of the body in the frame.
    pub body_offset: usize,
}

impl ResponseHeader {
    /// `version` is that of the header: 0, or 1 with tagged fields.
    pub fn decode(frame: &[u8], version: i16) -> Result<Self, GuardError> {
        let mut reader = Reader::new(frame);
        let correlation_id = reader.int32().map_err(|fault| fault.at("correlation id", 0))?;
        if 0 < version {
            let position = reader.position();
            skip_tagged_fields(&mut reader).map_err(|fault| fault.at("tagged fields", position))?;
        }
        Ok(Self { correlation_id, body_offset: reader.position() })
    }
}

/// Writes the header of a response to a request of this API and version.
pub fn put_response_header(buffer: &mut impl BufMut, api: &Api, api_version: i16, correlation_id: i32) {
    buffer.put_i32(correlation_id);
    if response_header_is_flexible(api, api_version) {
        buffer.put_u8(0);
    }
}

pub fn response_header_bytes(api: &Api, api_version: i16) -> usize {
    if response_header_is_flexible(api, api_version) { 5 } else { 4 }
}

/// Never for ApiVersions: its answer must be readable before versions are agreed on.
fn response_header_is_flexible(api: &Api, api_version: i16) -> bool {
    api.is_flexible(api_version) && api.key() != ApiKey::ApiVersions
}

#[cfg(test)]
#[path = "frame_test.rs"]
mod tests;
