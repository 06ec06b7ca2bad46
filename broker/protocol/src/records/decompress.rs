//! Decompression of a batch's records, never beyond a given size. Memory grows with the actual output, not with what
//! the stream announces.

use std::io::Read;

use super::RecordError;
use crate::batch::Compression;

/// Largest window that a zstd stream may request: 128 MiB, that of the highest level. Beyond the size of the output
/// it is reserved, but not touched.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// Kafka reads no other LZ4 frames. The legacy ones would reserve 16 MiB for a block of a few bytes.
const LZ4_MARK: [u8; 4] = 0x184D_2204_u32.to_le_bytes();
/// No element of Snappy's format expands more than 3 bytes to 64.
const SNAPPY_EXPANSION_MAX: usize = 22;
/// Snappy as framed by Java's `SnappyOutputStream`: this mark, two versions of 4 bytes, then blocks.
pub(super) const XERIAL_MARK: [u8; 8] = *b"\x82SNAPPY\0";
const XERIAL_VERSIONS_LENGTH: usize = 8;

pub(crate) fn decompress(codec: Compression, input: &[u8], output_max: usize) -> Result<Vec<u8>, RecordError> {
    match codec {
        Compression::None if output_max < input.len() => Err(RecordError::TooLarge { codec, output_max }),
        Compression::None => Ok(input.to_vec()),
        Compression::Gzip => drain(codec, flate2::bufread::MultiGzDecoder::new(input), output_max),
        Compression::Lz4 if !input.starts_with(&LZ4_MARK) => Err(undecodable(codec, &"the frame's mark is missing")),
        Compression::Lz4 => drain(codec, lz4_flex::frame::FrameDecoder::new(input), output_max),
        Compression::Zstd => zstd(input, output_max),
        Compression::Snappy => snappy(input, output_max),
    }
}

fn drain(codec: Compression, reader: impl Read, output_max: usize) -> Result<Vec<u8>, RecordError> {
    let mut output = Vec::new();
    let limit = u64::try_from(output_max).unwrap_or(u64::MAX).saturating_add(1);
    reader.take(limit).read_to_end(&mut output).map_err(|e| undecodable(codec, &e))?;
    if output_max < output.len() {
        return Err(RecordError::TooLarge { codec, output_max });
    }
    Ok(output)
}

fn zstd(input: &[u8], output_max: usize) -> Result<Vec<u8>, RecordError> {
    let codec = Compression::Zstd;
    let mut decoder = zstd::stream::read::Decoder::with_buffer(input).map_err(|e| undecodable(codec, &e))?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|e| undecodable(codec, &e))?;
    drain(codec, decoder, output_max)
}

/// Xerial's framing if its mark is there, otherwise one bare block.
fn snappy(input: &[u8], output_max: usize) -> Result<Vec<u8>, RecordError> {
    let codec = Compression::Snappy;
    let mut output = Vec::new();
    let Some(framed) = input.strip_prefix(&XERIAL_MARK) else {
        snappy_block(input, output_max, &mut output)?;
        return Ok(output);
    };
    let mut rest = framed.get(XERIAL_VERSIONS_LENGTH..).ok_or_else(|| undecodable(codec, &"the header ends early"))?;
    while !rest.is_empty() {
        let short = || undecodable(codec, &"a block ends early");
        let (length, tail) = rest.split_first_chunk().ok_or_else(short)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| short())?;
        let (block, tail) = tail.split_at_checked(length).ok_or_else(short)?;
        snappy_block(block, output_max, &mut output)?;
        rest = tail;
    }
    Ok(output)
}

fn snappy_block(block: &[u8], output_max: usize, output: &mut Vec<u8>) -> Result<(), RecordError> {
    let codec = Compression::Snappy;
    let start = output.len();
    let length = snap::raw::decompress_len(block).map_err(|e| undecodable(codec, &e))?;
    let end = start.saturating_add(length);
    if output_max < end {
        return Err(RecordError::TooLarge { codec, output_max });
    }
    if block.len().saturating_mul(SNAPPY_EXPANSION_MAX) < length {
        return Err(undecodable(codec, &"a block announces more than it can hold"));
    }
    output.resize(end, 0);
    let target = output.get_mut(start..).unwrap_or_default();
    snap::raw::Decoder::new().decompress(block, target).map_err(|e| undecodable(codec, &e))?;
    Ok(())
}

fn undecodable(codec: Compression, reason: &impl ToString) -> RecordError {
    RecordError::Undecodable { codec, reason: reason.to_string() }
}
