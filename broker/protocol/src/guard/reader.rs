//! Steps over untrusted bytes, checking every length against what is left.

use super::Fault;

#[derive(Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    length: usize,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, length: bytes.len() }
    }

    /// Bytes stepped over.
    pub(crate) const fn position(&self) -> usize {
        self.length.saturating_sub(self.rest.len())
    }

    pub(crate) const fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let short = Fault::TooShort { needed: count, remaining: self.rest.len() };
        let (head, tail) = self.rest.split_at_checked(count).ok_or(short)?;
        self.rest = tail;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let short = Fault::TooShort { needed: N, remaining: self.rest.len() };
        let (head, tail) = self.rest.split_first_chunk().ok_or(short)?;
        self.rest = tail;
        Ok(*head)
    }

    pub(crate) fn int16(&mut self) -> Result<i16, Fault> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn int32(&mut self) -> Result<i32, Fault> {
        self.array().map(i32::from_be_bytes)
    }

    /// At most five bytes, the fifth at most 15: anything beyond 32 bits is refused.
    pub(crate) fn unsigned_varint(&mut self) -> Result<u32, Fault> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            if shift == 28 && 0x0F < byte {
                return Err(Fault::VarintTooLong);
            }
            value |= u32::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                break;
            }
        }
        Ok(value)
    }

    /// A count of tagged fields, or the length of one. Beyond 32 bits it is a length that no buffer has.
    pub(crate) fn varint_length(&mut self) -> Result<usize, Fault> {
        Ok(usize::try_from(self.unsigned_varint()?).unwrap_or(usize::MAX))
    }

    /// The length of a compact string, bytes or array, encoded plus one, 0 for null.
    pub(crate) fn compact_length(&mut self) -> Result<Option<usize>, Fault> {
        Ok(self.varint_length()?.checked_sub(1))
    }

    /// A length in 16 bits: −1 for null.
    pub(crate) fn int16_length(&mut self) -> Result<Option<usize>, Fault> {
        let length = self.int16()?;
        non_negative(i32::from(length))
    }

    /// A length in 32 bits: −1 for null.
    pub(crate) fn int32_length(&mut self) -> Result<Option<usize>, Fault> {
        let length = self.int32()?;
        non_negative(length)
    }
}

fn non_negative(length: i32) -> Result<Option<usize>, Fault> {
    match usize::try_from(length) {
        Ok(length) => Ok(Some(length)),
        Err(_) if length == -1 => Ok(None),
        Err(_) => Err(Fault::Negative(length)),
    }
}
