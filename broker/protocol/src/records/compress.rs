//! Compression of records by the broker, in the form that Kafka's clients read.

use std::io::{self, Write as _};

use super::decompress::XERIAL_MARK;
use crate::batch::Compression;

/// Follows the mark: the version of the format, and the oldest version that can read it.
const XERIAL_VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
/// Bytes of a Snappy block, as Java's writer cuts them.
const XERIAL_BLOCK_BYTES: usize = 32 << 10;

/// With the codec's default level.
pub(crate) fn compress(codec: Compression, plain: &[u8]) -> io::Result<Vec<u8>> {
    match codec {
        Compression::None => Ok(plain.to_vec()),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(plain)?;
            encoder.finish()
        }
        Compression::Snappy => snappy(plain),
        Compression::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(plain)?;
            encoder.finish().map_err(io::Error::other)
        }
        Compression::Zstd => zstd::encode_all(plain, zstd::DEFAULT_COMPRESSION_LEVEL),
    }
}

fn snappy(plain: &[u8]) -> io::Result<Vec<u8>> {
    let mut framed = [XERIAL_MARK, XERIAL_VERSIONS].concat();
    let mut encoder = snap::raw::Encoder::new();
    for block in plain.chunks(XERIAL_BLOCK_BYTES) {
        let compressed = encoder.compress_vec(block).map_err(io::Error::other)?;
        let length = u32::try_from(compressed.len()).map_err(io::Error::other)?;
        framed.extend_from_slice(&length.to_be_bytes());
        framed.extend_from_slice(&compressed);
    }
    Ok(framed)
}
