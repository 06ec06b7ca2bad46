//! The members in a group's record, and the only part of their metadata that a coordinator reads.

use bytes::Bytes;

use super::{FLEXIBLE, nullable_string, string};
use crate::metadata_records::DecodeError;
use crate::metadata_records::wire::{Reader, Writer};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedMember {
    pub member_id: String,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    /// The member's metadata for the chosen protocol.
    pub subscription: Bytes,
    pub assignment: Bytes,
}

impl RecordedMember {
    pub(super) fn encode(&self, w: &mut Writer) {
        w.fixed_string(&self.member_id);
        w.fixed_nullable_string(self.instance_id.as_deref());
        w.fixed_string(&self.client_id);
        w.fixed_string(&self.client_host);
        w.i32(self.rebalance_timeout_ms);
        w.i32(self.session_timeout_ms);
        w.fixed_bytes(&self.subscription);
        w.fixed_bytes(&self.assignment);
    }

    fn decode(r: &mut Reader<'_>, version: i16) -> Result<Self, DecodeError> {
        let flexible = FLEXIBLE <= version;
        let member_id = string(r, "member id", flexible)?;
        let instance_id = if 3 <= version { nullable_string(r, "group instance id", flexible)? } else { None };
        let client_id = string(r, "client id", flexible)?;
        let client_host = string(r, "client host", flexible)?;
        let rebalance_timeout = if 1 <= version { Some(r.i32("rebalance timeout")?) } else { None };
        let session_timeout_ms = r.i32("session timeout")?;
        let member = Self {
            member_id,
            instance_id,
            client_id,
            client_host,
            // Old versions lack the field; the session timeout was used then.
            rebalance_timeout_ms: rebalance_timeout.unwrap_or(session_timeout_ms),
            session_timeout_ms,
            subscription: bytes(r, "subscription", flexible)?,
            assignment: bytes(r, "assignment", flexible)?,
        };
        if flexible {
            r.skip_tags()?;
        }
        Ok(member)
    }
}

pub(super) fn decode(r: &mut Reader<'_>, version: i16) -> Result<Vec<RecordedMember>, DecodeError> {
    let field = "members";
    if FLEXIBLE <= version {
        return r.array(field, 1, |r| RecordedMember::decode(r, version));
    }
    let found = r.i32(field)?;
    let count = u32::try_from(found).map_err(|_| DecodeError::BadValue { field, found: found.into() })?;
    let remaining = r.remaining();
    if remaining < usize::try_from(count).unwrap_or(usize::MAX) {
        return Err(DecodeError::TooMany { field, count, remaining });
    }
    (0..count).map(|_| RecordedMember::decode(r, version)).collect()
}

fn bytes(r: &mut Reader<'_>, field: &'static str, flexible: bool) -> Result<Bytes, DecodeError> {
    let bytes = if flexible { r.bytes(field)? } else { r.fixed_bytes(field)? };
    Ok(Bytes::copy_from_slice(bytes))
}

/// The topics in the subscription of a member with protocol type `consumer`. They come first in every version.
pub fn subscribed_topics(subscription: &[u8]) -> Result<Vec<String>, DecodeError> {
    let field = "subscribed topics";
    let mut r = Reader::new(subscription);
    let version = r.i16("version of the subscription")?;
    if version < 0 {
        return Err(DecodeError::BadValue { field: "version of the subscription", found: version.into() });
    }
    let found = r.i32(field)?;
    let count = u32::try_from(found).map_err(|_| DecodeError::BadValue { field, found: found.into() })?;
    let remaining = r.remaining();
    if remaining / 2 < usize::try_from(count).unwrap_or(usize::MAX) {
        return Err(DecodeError::TooMany { field, count, remaining });
    }
    (0..count).map(|_| string(&mut r, field, false)).collect()
}
