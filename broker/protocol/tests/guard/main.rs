//! The guard and its table against kafka-protocol itself, for every request and version described.

mod codecs;
mod counting;
mod random;

use bytes::Bytes;
use protocol::guard::{self, Fault};
use protocol::schema::REQUESTS;

use codecs::{Codec, Outcome, codecs};
use random::Random;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

const BODIES_PER_VERSION: u64 = 60;
const MUTANTS_PER_VERSION: u64 = 600;
/// `Bytes` counts the references to a frame in a block of its own.
const SHARED_FRAME_BYTES: usize = 64;

fn each_version() -> impl Iterator<Item = (Codec, i16)> {
    codecs()
        .into_iter()
        .flat_map(|codec| (codec.versions.first..=codec.versions.last).map(move |version| (codec, version)))
}

#[test]
fn the_table_has_the_codecs_versions() {
    assert_eq!(codecs().len(), REQUESTS.len());
    for codec in codecs() {
        assert_eq!(codec.request.versions, codec.versions, "{:?}", codec.request.key);
    }
    for (codec, version) in each_version() {
        let flexible = (codec.header_version)(version) == 2;
        assert_eq!(codec.request.flexible.contains(version), flexible, "{:?} {version}", codec.request.key);
    }
}

/// A body made by the table must be read to its end by the codec, written again as it was, and pass the guard with at
/// least what the codec reserved: so no field is missing, superfluous, of another type, or in another version.
#[test]
fn what_the_codec_encodes_passes() {
    for (codec, version) in each_version() {
        for seed in 0..BODIES_PER_VERSION {
            let body = random::body(&mut Random(seed), codec.request, version);
            let case = format!("{:?} {version} seed {seed}: {body:02x?}", codec.request.key);
            let decoded = (codec.decode)(Bytes::from(body.clone()), version);
            assert_eq!(decoded.outcome, Outcome::Message { left: 0, encoded: Ok(body.clone()) }, "{case}");
            let reserved = guard::measure(codec.request, version, &body);
            let reserved = reserved.unwrap_or_else(|error| panic!("{error}: {case}"));
            assert!(decoded.allocated <= reserved + SHARED_FRAME_BYTES, "{} > {reserved}: {case}", decoded.allocated);
        }
    }
}

#[test]
fn empty_messages_pass() {
    let mut passed = 0;
    for (codec, version) in each_version() {
        if let Some(body) = (codec.encode_default)(version) {
            assert_eq!(guard::check(codec.request, version, &body), Ok(()), "{:?} {version}", codec.request.key);
            passed += 1;
        }
    }
    assert!(150 < passed, "most versions can encode an empty message: {passed}");
}

#[test]
fn guard_and_codec_agree_on_mutants() {
    let mut accepted = 0;
    let mut refused = 0;
    for (codec, version) in each_version() {
        for seed in 0..MUTANTS_PER_VERSION {
            let random = &mut Random(!seed);
            let mut body = random::body(random, codec.request, version);
            random::mutate(random, &mut body);
            *if agree(codec, version, &body) { &mut accepted } else { &mut refused } += 1;
        }
    }
    assert!(10_000 < accepted && 10_000 < refused, "{accepted} accepted, {refused} refused");
}

/// Whether the guard accepts.
fn agree(codec: Codec, version: i16, body: &[u8]) -> bool {
    let case = format!("{:?} {version}: {body:02x?}", codec.request.key);
    let measured = guard::measure(codec.request, version, body);
    let budget = guard::budget(body.len());
    let decode = || (codec.decode)(Bytes::copy_from_slice(body), version);
    match measured.map_err(|error| error.fault) {
        Ok(reserved) => {
            let decoded = decode();
            assert!(decoded.allocated <= budget, "{} > {budget}: {case}", decoded.allocated);
            match decoded.outcome {
                Outcome::Message { .. } => {
                    let allocated = decoded.allocated;
                    assert!(allocated <= reserved + SHARED_FRAME_BYTES, "{allocated} > {reserved}: {case}");
                }
                outcome => assert_eq!(outcome, Outcome::NotUtf8, "{case}"),
            }
        }
        // The codec may abort the process, here or at one of the elements.
        Err(Fault::TooMany { claimed, remaining }) => assert!(remaining < claimed, "{case}"),
        // The guard is stricter.
        Err(Fault::Null { .. } | Fault::VarintTooLong | Fault::Presence(_) | Fault::TagLength { .. }) => {}
        Err(Fault::OverBudget { reserved, .. }) => assert!(budget < reserved, "{case}"),
        Err(fault) => {
            let outcome = decode().outcome;
            assert!(matches!(outcome, Outcome::Malformed(_) | Outcome::NotUtf8), "{fault}, {outcome:?}: {case}");
        }
    }
    measured.is_ok()
}
