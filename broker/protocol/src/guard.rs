//! Walks the body of a message before kafka-protocol decodes it, because that decoder reserves memory for whatever
//! count it reads: 20 bytes would abort the process.
//!
//! A body that passes has these properties:
//!
//! 1. every count and length fits in the remaining bytes, and a text has at most 32,767, as in Kafka
//! 2. what the decoder will reserve (array elements, nodes of the maps of unknown tagged fields) stays within
//!    [`budget`]
//! 3. the decoder accepts it, unless some text is not UTF-8
//!
//! It is stricter than the decoder about nulls in versions that have none, varints of more than 32 bits, and tagged
//! fields whose length is wrong. Bytes after the last field are ignored, as by the decoder and Kafka.

mod reader;
mod walk;

pub(crate) use self::reader::Reader;
use self::walk::Walk;
use crate::schema::{Field, Request, Response};

/// The decoder may reserve this much for every body, however short.
const BUDGET_FLOOR_BYTES: usize = 64 * 1024;
/// And this many times the body's length.
const BUDGET_FACTOR: usize = 8;
/// But for a request never more than this, which is some 100,000 names or 70,000 partitions: handlers use several
/// times as much for each.
const BUDGET_MAX_BYTES: usize = 8 * 1024 * 1024;
/// Least size that an element counts as, because handlers need more for a number than its four bytes. Not more than
/// [`BUDGET_FACTOR`] allows an array of numbers.
const ELEMENT_BYTES_MIN: usize = 32;
/// Longest text, in bytes.
const TEXT_LENGTH_MAX: usize = 32_767;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field} at byte {position}: {fault}")]
pub struct GuardError {
    pub field: &'static str,
    /// The position of the field in what was walked.
    pub position: usize,
    pub fault: Fault,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("needs {needed} bytes, {remaining} are left")]
    TooShort { needed: usize, remaining: usize },
    #[error("claims {claimed} elements, {remaining} bytes are left")]
    TooMany { claimed: usize, remaining: usize },
    #[error("is a text of {0} bytes, more than {TEXT_LENGTH_MAX}")]
    TextTooLong(usize),
    #[error("is null, which version {version} does not allow")]
    Null { version: i16 },
    #[error("has length {0}, less than -1")]
    Negative(i32),
    #[error("has a varint of more than 32 bits")]
    VarintTooLong,
    #[error("is marked with {0}, neither present (1) nor null (-1)")]
    Presence(i8),
    #[error("is no tagged field of version {version}")]
    TagNotInVersion { version: i16 },
    #[error("claims {claimed} bytes and takes {taken}")]
    TagLength { claimed: usize, taken: usize },
    #[error("makes the decoder reserve {reserved} bytes, {budget} are allowed")]
    OverBudget { reserved: usize, budget: usize },
    #[error("is {version}, which no table describes")]
    Version { version: i16 },
}

impl Fault {
    pub(crate) const fn at(self, field: &'static str, position: usize) -> GuardError {
        GuardError { field, position, fault: self }
    }
}

/// Bytes that decoding a request's body of this length may reserve.
pub const fn budget(body_bytes: usize) -> usize {
    let budget = answer_budget(body_bytes);
    if budget < BUDGET_MAX_BYTES { budget } else { BUDGET_MAX_BYTES }
}

const fn answer_budget(body_bytes: usize) -> usize {
    body_bytes.saturating_mul(BUDGET_FACTOR).saturating_add(BUDGET_FLOOR_BYTES)
}

/// Whether `body` may be given to the decoder.
pub fn check(request: &Request, version: i16, body: &[u8]) -> Result<(), GuardError> {
    measure(request, version, body).map(|_reserved| ())
}

/// As [`check`]; returns how many bytes the decoder reserves at most.
pub fn measure(request: &Request, version: i16, body: &[u8]) -> Result<usize, GuardError> {
    let walk = Walk::new(body, version, request.flexible.contains(version), budget(body.len()));
    measured(walk, request.fields, request.versions.contains(version))
}

/// Whether the body of an answer may be given to the decoder.
pub fn check_response(response: &Response, version: i16, body: &[u8]) -> Result<(), GuardError> {
    measure_response(response, version, body).map(|_reserved| ())
}

pub fn measure_response(response: &Response, version: i16, body: &[u8]) -> Result<usize, GuardError> {
    let walk = Walk::new(body, version, response.flexible.contains(version), answer_budget(body.len()));
    measured(walk, response.fields, response.versions.contains(version))
}

fn measured(mut walk: Walk<'_>, fields: &[Field], is_described: bool) -> Result<usize, GuardError> {
    if !is_described {
        return Err(Fault::Version { version: walk.version() }.at("ApiVersion", 0));
    }
    walk.fields(fields)?;
    Ok(walk.reserved())
}

#[cfg(test)]
#[path = "guard_test.rs"]
mod tests;
