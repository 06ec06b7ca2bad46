//! Variable-length integers: seven bits a byte, lowest first, the high bit set on all but the last. Signed ones are
//! zig-zag coded. Readers accept padded encodings, as Kafka does, but no value that does not fit.

/// Longest encoding of 32 bits.
const LENGTH_MAX_32: u32 = 5;
/// Longest encoding of 64 bits.
const LENGTH_MAX_64: u32 = 10;

pub(crate) fn put_unsigned_varint(out: &mut Vec<u8>, value: u32) {
    put_unsigned(out, u64::from(value));
}

pub(crate) fn put_varint(out: &mut Vec<u8>, value: i32) {
    put_unsigned(out, u64::from(zigzag_32(value)));
}

/// Bytes that [`put_varint`] writes.
pub(crate) fn varint_length(value: i32) -> usize {
    match zigzag_32(value) {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        0x20_0000..0x1000_0000 => 4,
        _ => 5,
    }
}

pub(crate) fn put_varlong(out: &mut Vec<u8>, value: i64) {
    put_unsigned(out, zigzag_64(value));
}

/// Bytes that [`put_varlong`] writes.
pub(crate) fn varlong_length(value: i64) -> usize {
    let bits = u64::BITS.saturating_sub((zigzag_64(value) | 1).leading_zeros());
    usize::try_from(bits.div_ceil(7)).unwrap_or(0)
}

/// `None` if the bytes end early or the value needs more than 32 bits.
#[inline]
pub(crate) fn take_unsigned_varint(rest: &mut &[u8]) -> Option<u32> {
    u32::try_from(take_unsigned(rest, LENGTH_MAX_32)?).ok()
}

#[inline]
pub(crate) fn take_varint(rest: &mut &[u8]) -> Option<i32> {
    let coded = take_unsigned_varint(rest)?;
    Some((coded >> 1).cast_signed() ^ (coded & 1).cast_signed().wrapping_neg())
}

#[inline]
pub(crate) fn take_varlong(rest: &mut &[u8]) -> Option<i64> {
    let coded = take_unsigned(rest, LENGTH_MAX_64)?;
    Some((coded >> 1).cast_signed() ^ (coded & 1).cast_signed().wrapping_neg())
}

fn zigzag_32(value: i32) -> u32 {
    (value.wrapping_shl(1) ^ (value >> 31)).cast_unsigned()
}

fn zigzag_64(value: i64) -> u64 {
    (value.wrapping_shl(1) ^ (value >> 63)).cast_unsigned()
}

fn put_unsigned(out: &mut Vec<u8>, mut value: u64) {
    while 0x80 <= value {
        out.push(u8::try_from(value & 0x7F).unwrap_or_default() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or_default());
}

#[inline]
fn take_unsigned(rest: &mut &[u8], length_max: u32) -> Option<u64> {
    let (&first, tail) = rest.split_first()?;
    *rest = tail;
    if first < 0x80 {
        return Some(u64::from(first));
    }
    let mut value = u64::from(first & 0x7F);
    for index in 1..length_max {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        let bits = u64::from(byte & 0x7F);
        let shift = index.wrapping_mul(7);
        if bits << shift >> shift != bits {
            return None;
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn varint(value: i32) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, value);
        out
    }

    #[test]
    fn zigzag_keeps_small_numbers_short() {
        let table: [(i32, &[u8]); 8] = [
            (0, &[0]),
            (-1, &[1]),
            (63, &[0x7E]),
            (-64, &[0x7F]),
            (64, &[0x80, 1]),
            (-65, &[0x81, 1]),
            (i32::MAX, &[0xFE, 0xFF, 0xFF, 0xFF, 0x0F]),
            (i32::MIN, &[0xFF, 0xFF, 0xFF, 0xFF, 0x0F]),
        ];
        for (value, bytes) in table {
            assert_eq!(varint(value), bytes, "{value}");
        }
    }

    #[test]
    fn refuses_what_ends_early_or_does_not_fit() {
        let table: [&[u8]; 5] = [
            &[],
            &[0x80],
            &[0xFF, 0xFF, 0xFF, 0xFF],
            &[0xFF, 0xFF, 0xFF, 0xFF, 0x1F],
            &[0x80, 0x80, 0x80, 0x80, 0x80, 0],
        ];
        for bytes in table {
            assert_eq!(take_unsigned_varint(&mut &bytes[..]), None, "{bytes:?}");
        }
        let tenth_byte_too_large = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x02];
        assert_eq!(take_varlong(&mut &tenth_byte_too_large[..]), None);
        let smallest = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01];
        assert_eq!(take_varlong(&mut &smallest[..]), Some(i64::MIN));
        assert_eq!(take_varint(&mut &[0x82, 0x00][..]), Some(1), "padded");
    }

    proptest! {
        #[test]
        fn every_value_survives(value: i32, unsigned: u32, long: i64, shift in 0..64_u32) {
            let mut bytes = Vec::new();
            put_varlong(&mut bytes, long >> shift);
            prop_assert_eq!(bytes.len(), varlong_length(long >> shift));
            prop_assert_eq!(take_varlong(&mut &bytes[..]), Some(long >> shift));

            let bytes = varint(value);
            prop_assert_eq!(bytes.len(), varint_length(value));
            let mut rest = &bytes[..];
            prop_assert_eq!(take_varint(&mut rest), Some(value));
            prop_assert!(rest.is_empty());
            prop_assert_eq!(take_varlong(&mut &bytes[..]), Some(i64::from(value)));

            let mut bytes = Vec::new();
            put_unsigned_varint(&mut bytes, unsigned);
            prop_assert_eq!(take_unsigned_varint(&mut &bytes[..]), Some(unsigned));
        }
    }
}
