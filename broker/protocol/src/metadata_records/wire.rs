//! Kafka's flexible encoding, in memory, and from the older one strings and bytes with fixed-width lengths. Decoding
//! checks every count and length against the remaining bytes before anything is allocated.

use uuid::Uuid;

use super::{DecodeError, StringTooLong};
use crate::records::varint::{put_unsigned_varint, take_unsigned_varint};

/// Kafka's limit for strings in records.
pub(crate) const STRING_LENGTH_MAX: usize = 0x7FFF;

/// Encoding continues after a string that is too long; `finish` reports the first one.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    out: Vec<u8>,
    too_long: Option<StringTooLong>,
}

/// Tagged fields that are present, in ascending order of their tags.
#[derive(Debug, Default)]
pub(crate) struct Tags {
    count: u32,
    fields: Writer,
}

#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl Writer {
    pub(crate) fn finish(self) -> Result<Vec<u8>, StringTooLong> {
        self.too_long.map_or(Ok(self.out), Err)
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.out.push(u8::from(value));
    }

    pub(crate) fn i8(&mut self, value: i8) {
        self.out.extend(value.to_be_bytes());
    }

    pub(crate) fn i16(&mut self, value: i16) {
        self.out.extend(value.to_be_bytes());
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.out.extend(value.to_be_bytes());
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.out.extend(value.to_be_bytes());
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.out.extend(value.to_be_bytes());
    }

    pub(crate) fn uuid(&mut self, value: Uuid) {
        self.out.extend(value.as_bytes());
    }

    pub(crate) fn unsigned_varint(&mut self, value: u32) {
        put_unsigned_varint(&mut self.out, value);
    }

    pub(crate) fn string(&mut self, value: &str) {
        let length = value.len();
        if STRING_LENGTH_MAX < length {
            self.too_long.get_or_insert(StringTooLong { length });
        }
        self.compact_length(length);
        self.out.extend(value.as_bytes());
    }

    pub(crate) fn nullable_string(&mut self, value: Option<&str>) {
        match value {
            Some(value) => self.string(value),
            None => self.unsigned_varint(0),
        }
    }

    /// With a length of 16 bits.
    pub(crate) fn fixed_string(&mut self, value: &str) {
        let length = i16::try_from(value.len()).unwrap_or_else(|_| {
            self.too_long.get_or_insert(StringTooLong { length: value.len() });
            i16::MAX
        });
        self.i16(length);
        self.out.extend(value.as_bytes());
    }

    pub(crate) fn fixed_nullable_string(&mut self, value: Option<&str>) {
        match value {
            Some(value) => self.fixed_string(value),
            None => self.i16(-1),
        }
    }

    /// With a length of 32 bits.
    pub(crate) fn fixed_bytes(&mut self, value: &[u8]) {
        self.fixed_length(value.len());
        self.out.extend(value);
    }

    pub(crate) fn fixed_length(&mut self, length: usize) {
        self.i32(i32::try_from(length).unwrap_or(i32::MAX));
    }

    pub(crate) fn array<T>(&mut self, elements: &[T], mut put: impl FnMut(&mut Self, &T)) {
        self.compact_length(elements.len());
        for element in elements {
            put(self, element);
        }
    }

    pub(crate) fn no_tags(&mut self) {
        self.unsigned_varint(0);
    }

    pub(crate) fn tags(&mut self, tags: Tags) {
        self.unsigned_varint(tags.count);
        self.append(tags.fields);
    }

    /// Length plus one: 0 is null.
    fn compact_length(&mut self, length: usize) {
        self.unsigned_varint(u32::try_from(length).unwrap_or(u32::MAX).saturating_add(1));
    }

    fn append(&mut self, other: Self) {
        self.out.extend(other.out);
        self.too_long = self.too_long.or(other.too_long);
    }
}

impl Tags {
    pub(crate) fn put(&mut self, tag: u32, write: impl FnOnce(&mut Writer)) {
        let mut field = Writer::default();
        write(&mut field);
        self.count = self.count.saturating_add(1);
        self.fields.unsigned_varint(tag);
        self.fields.unsigned_varint(u32::try_from(field.out.len()).unwrap_or(u32::MAX));
        self.fields.append(field);
    }
}

impl<'a> Reader<'a> {
    pub(crate) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(crate) fn end(&self, field: &'static str) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            bytes => Err(DecodeError::Trailing { field, bytes }),
        }
    }

    pub(crate) fn bool(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.i8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(DecodeError::BadValue { field, found: other.into() }),
        }
    }

    pub(crate) fn i8(&mut self, field: &'static str) -> Result<i8, DecodeError> {
        self.take(field).map(i8::from_be_bytes)
    }

    pub(crate) fn i16(&mut self, field: &'static str) -> Result<i16, DecodeError> {
        self.take(field).map(i16::from_be_bytes)
    }

    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.take(field).map(u16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self, field: &'static str) -> Result<i32, DecodeError> {
        self.take(field).map(i32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        self.take(field).map(i64::from_be_bytes)
    }

    pub(crate) fn uuid(&mut self, field: &'static str) -> Result<Uuid, DecodeError> {
        self.take(field).map(Uuid::from_bytes)
    }

    pub(crate) fn unsigned_varint(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        take_unsigned_varint(&mut self.rest).ok_or(DecodeError::Truncated { field, remaining: self.rest.len() })
    }

    pub(crate) fn string(&mut self, field: &'static str) -> Result<String, DecodeError> {
        self.nullable_string(field)?.ok_or(DecodeError::Null { field })
    }

    pub(crate) fn nullable_string(&mut self, field: &'static str) -> Result<Option<String>, DecodeError> {
        let Some(length) = self.unsigned_varint(field)?.checked_sub(1) else { return Ok(None) };
        let bytes = self.split(field, length)?;
        let text = str::from_utf8(bytes).map_err(|_| DecodeError::NotUtf8 { field })?;
        Ok(Some(text.to_owned()))
    }

    pub(crate) fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = self.unsigned_varint(field)?.checked_sub(1).ok_or(DecodeError::Null { field })?;
        self.split(field, length)
    }

    pub(crate) fn fixed_nullable_string(&mut self, field: &'static str) -> Result<Option<String>, DecodeError> {
        let length = self.i16(field)?;
        if length == -1 {
            return Ok(None);
        }
        let found = length.into();
        let length = u32::try_from(length).map_err(|_| DecodeError::BadValue { field, found })?;
        let text = str::from_utf8(self.split(field, length)?).map_err(|_| DecodeError::NotUtf8 { field })?;
        Ok(Some(text.to_owned()))
    }

    pub(crate) fn fixed_bytes(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = self.i32(field)?;
        let found = length.into();
        let length = u32::try_from(length).map_err(|_| DecodeError::BadValue { field, found })?;
        self.split(field, length)
    }

    /// Bytes that are not read yet.
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// `length_min` is the fewest bytes that an element can take.
    pub(crate) fn array<T>(
        &mut self,
        field: &'static str,
        length_min: usize,
        read: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        self.nullable_array(field, length_min, read)?.ok_or(DecodeError::Null { field })
    }

    pub(crate) fn nullable_array<T>(
        &mut self,
        field: &'static str,
        length_min: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        let Some(count) = self.unsigned_varint(field)?.checked_sub(1) else { return Ok(None) };
        let remaining = self.rest.len();
        let needed = usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(length_min);
        if remaining < needed {
            return Err(DecodeError::TooMany { field, count, remaining });
        }
        (0..count).map(|_| read(self)).collect::<Result<_, _>>().map(Some)
    }

    /// Passes every tagged field to `read`, which returns [`Tag::Unknown`] to have it skipped.
    pub(crate) fn tags(
        &mut self,
        mut read: impl FnMut(u32, &mut Self) -> Result<Tag, DecodeError>,
    ) -> Result<(), DecodeError> {
        let field = "tagged field";
        for _ in 0..self.unsigned_varint(field)? {
            let tag = self.unsigned_varint(field)?;
            let length = self.unsigned_varint(field)?;
            let mut value = Reader::new(self.split(field, length)?);
            if read(tag, &mut value)? == Tag::Known {
                value.end(field)?;
            }
        }
        Ok(())
    }

    pub(crate) fn skip_tags(&mut self) -> Result<(), DecodeError> {
        self.tags(|_, _| Ok(Tag::Unknown))
    }

    fn split(&mut self, field: &'static str, length: u32) -> Result<&'a [u8], DecodeError> {
        let remaining = self.rest.len();
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let (head, tail) = self.rest.split_at_checked(length).ok_or(DecodeError::Truncated { field, remaining })?;
        self.rest = tail;
        Ok(head)
    }

    fn take<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let remaining = self.rest.len();
        let (head, tail) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated { field, remaining })?;
        self.rest = tail;
        Ok(*head)
    }
}

/// Whether a tagged field has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tag {
    Known,
    Unknown,
}
