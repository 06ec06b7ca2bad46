//! The walk itself. Its depth is that of the table: no message of Kafka is recursive.

use bytes::Bytes;

use super::reader::Reader;
use super::{ELEMENT_BYTES_MIN, Fault, GuardError, TEXT_LENGTH_MAX};
use crate::schema::{Field, Kind};

/// Entries of a node of the standard library's B-tree: the most, and the least except in the root.
const NODE_ENTRIES_MAX: usize = 11;
const NODE_ENTRIES_MIN: usize = 5;

/// An inner node of `BTreeMap<i32, Bytes>`, in which the decoder keeps unknown tagged fields: parent, keys, values,
/// two lengths, children.
const TAG_NODE_BYTES: usize = size_of::<(
    usize,
    [i32; NODE_ENTRIES_MAX],
    [Bytes; NODE_ENTRIES_MAX],
    [u16; 2],
    [usize; NODE_ENTRIES_MAX.saturating_add(1)],
)>();

pub(super) struct Walk<'a> {
    reader: Reader<'a>,
    version: i16,
    flexible: bool,
    reserved: usize,
    budget: usize,
}

impl<'a> Walk<'a> {
    pub(super) const fn new(body: &'a [u8], version: i16, flexible: bool, budget: usize) -> Self {
        Self { reader: Reader::new(body), version, flexible, reserved: 0, budget }
    }

    pub(super) const fn version(&self) -> i16 {
        self.version
    }

    pub(super) const fn reserved(&self) -> usize {
        self.reserved
    }

    pub(super) fn fields(&mut self, fields: &[Field]) -> Result<(), GuardError> {
        for field in fields {
            if field.tag.is_none() && field.versions.contains(self.version) {
                self.field(field)?;
            }
        }
        if self.flexible { self.tagged_fields(fields) } else { Ok(()) }
    }

    fn field(&mut self, field: &Field) -> Result<(), GuardError> {
        let position = self.reader.position();
        let present = match (field.element_bytes, field.kind) {
            (Some(element_bytes), kind) => self.array(field.name, kind, element_bytes)?,
            (None, Kind::Struct(fields)) => self.structure(field, fields)?,
            (None, kind) => self.value(kind).map_err(|fault| fault.at(field.name, position))?,
        };
        if !present && !field.nullable.contains(self.version) {
            return Err(Fault::Null { version: self.version }.at(field.name, position));
        }
        Ok(())
    }

    /// False: it is null.
    fn array(&mut self, name: &'static str, kind: Kind, element_bytes: usize) -> Result<bool, GuardError> {
        let position = self.reader.position();
        let count = self.count(element_bytes).map_err(|fault| fault.at(name, position))?;
        let Some(count) = count else { return Ok(false) };
        if let Some(width) = kind.width() {
            let elements = self.reader.bytes(count.saturating_mul(width));
            return elements.map(|_| true).map_err(|fault| fault.at(name, position));
        }
        for _ in 0..count {
            self.element(name, kind)?;
        }
        Ok(true)
    }

    /// The number of elements of an array, after checking that they can be there and may be reserved.
    fn count(&mut self, element_bytes: usize) -> Result<Option<usize>, Fault> {
        let length = if self.flexible { self.reader.compact_length() } else { self.reader.int32_length() };
        let Some(claimed) = length? else { return Ok(None) };
        let remaining = self.reader.remaining();
        if remaining < claimed {
            return Err(Fault::TooMany { claimed, remaining });
        }
        self.reserve(claimed.saturating_mul(element_bytes.max(ELEMENT_BYTES_MIN)))?;
        Ok(Some(claimed))
    }

    fn element(&mut self, name: &'static str, kind: Kind) -> Result<(), GuardError> {
        if let Kind::Struct(fields) = kind {
            return self.fields(fields);
        }
        let position = self.reader.position();
        match self.value(kind) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Fault::Null { version: self.version }.at(name, position)),
            Err(fault) => Err(fault.at(name, position)),
        }
    }

    /// False: it is null. Only a nullable struct has a presence byte.
    fn structure(&mut self, field: &Field, fields: &[Field]) -> Result<bool, GuardError> {
        if field.nullable.contains(self.version) {
            let position = self.reader.position();
            let [presence] = self.reader.array().map_err(|fault| fault.at(field.name, position))?;
            match i8::from_be_bytes([presence]) {
                1 => {}
                -1 => return Ok(false),
                other => return Err(Fault::Presence(other).at(field.name, position)),
            }
        }
        self.fields(fields).map(|()| true)
    }

    /// A field without parts. False: it is null.
    fn value(&mut self, kind: Kind) -> Result<bool, Fault> {
        let length = match kind.width() {
            Some(width) => Some(width),
            None if self.flexible => self.reader.compact_length()?,
            None if matches!(kind, Kind::String) => self.reader.int16_length()?,
            None => self.reader.int32_length()?,
        };
        let Some(length) = length else { return Ok(false) };
        if matches!(kind, Kind::String) && TEXT_LENGTH_MAX < length {
            return Err(Fault::TextTooLong(length));
        }
        self.reader.bytes(length).map(|_| true)
    }

    fn tagged_fields(&mut self, fields: &[Field]) -> Result<(), GuardError> {
        let position = self.reader.position();
        let count = self.tag_count().map_err(|fault| fault.at("tagged fields", position))?;
        let mut unknown: usize = 0;
        for _ in 0..count {
            let position = self.reader.position();
            let known = self.tagged_field(fields, position)?;
            // One node for the first, and another each time as many more have come as fill a node at least.
            if !known && unknown.is_multiple_of(NODE_ENTRIES_MIN) {
                self.reserve(TAG_NODE_BYTES).map_err(|fault| fault.at("tagged fields", position))?;
            }
            unknown = unknown.saturating_add(usize::from(!known));
        }
        Ok(())
    }

    fn tag_count(&mut self) -> Result<usize, Fault> {
        let claimed = self.reader.varint_length()?;
        let remaining = self.reader.remaining();
        if remaining < claimed { Err(Fault::TooMany { claimed, remaining }) } else { Ok(claimed) }
    }

    /// True: it is in the table.
    fn tagged_field(&mut self, fields: &[Field], position: usize) -> Result<bool, GuardError> {
        let (tag, claimed) = self.tag().map_err(|fault| fault.at("tagged field", position))?;
        let Some(field) = fields.iter().find(|field| field.tag == Some(tag)) else {
            let value = self.reader.bytes(claimed);
            return value.map(|_| false).map_err(|fault| fault.at("tagged field", position));
        };
        if !field.versions.contains(self.version) {
            return Err(Fault::TagNotInVersion { version: self.version }.at(field.name, position));
        }
        let before = self.reader.position();
        self.field(field)?;
        let taken = self.reader.position().saturating_sub(before);
        if taken != claimed {
            return Err(Fault::TagLength { claimed, taken }.at(field.name, position));
        }
        Ok(true)
    }

    fn tag(&mut self) -> Result<(u32, usize), Fault> {
        Ok((self.reader.unsigned_varint()?, self.reader.varint_length()?))
    }

    fn reserve(&mut self, bytes: usize) -> Result<(), Fault> {
        self.reserved = self.reserved.saturating_add(bytes);
        if self.budget < self.reserved {
            return Err(Fault::OverBudget { reserved: self.reserved, budget: self.budget });
        }
        Ok(())
    }
}
