//! The guard against kafka-protocol itself. An input is an API key, a version and a body.

use bytes::Bytes;
use protocol::guard::{self, Fault};

use crate::codecs::{Codec, Outcome, codec};

/// `Bytes` counts the references to a frame in a separate allocation.
pub const SHARED_FRAME_BYTES: usize = 64;

pub fn run(input: &[u8]) {
    let [key, version, body @ ..] = input else { return };
    let Some(codec) = codec(i16::from(*key)) else { return };
    if codec.versions.contains(i16::from(*version)) {
        agree(codec, i16::from(*version), body);
    }
}

/// Checks that guard and codec agree on a body, and that what is decoded stays within what the guard has measured.
/// Returns whether the guard admits it.
pub fn agree(codec: &Codec, version: i16, body: &[u8]) -> bool {
    let case = || format!("{:?} {version}: {body:02x?}", codec.request.key);
    let measured = guard::measure(codec.request, version, body);
    let budget = guard::budget(body.len());
    let decode = || (codec.decode)(Bytes::copy_from_slice(body), version);
    match measured.map_err(|error| error.fault) {
        Ok(reserved) => {
            let decoded = decode();
            let allocated = decoded.allocated;
            assert!(allocated <= budget, "{allocated} > {budget}: {}", case());
            match decoded.outcome {
                Outcome::Message { .. } => {
                    assert!(allocated <= reserved + SHARED_FRAME_BYTES, "{allocated} > {reserved}: {}", case());
                }
                outcome => assert_eq!(outcome, Outcome::NotUtf8, "{}", case()),
            }
        }
        // The codec may abort the process, here or at one of the elements.
        Err(Fault::TooMany { claimed, remaining }) => assert!(remaining < claimed, "{}", case()),
        // The guard is stricter.
        Err(Fault::Null { .. } | Fault::VarintTooLong | Fault::Presence(_) | Fault::TagLength { .. }) => {}
        Err(Fault::OverBudget { reserved, .. }) => assert!(budget < reserved, "{}", case()),
        Err(fault) => {
            let outcome = decode().outcome;
            let refused = matches!(outcome, Outcome::Malformed(_) | Outcome::NotUtf8);
            assert!(refused, "{fault}, {outcome:?}: {}", case());
        }
    }
    measured.is_ok()
}
