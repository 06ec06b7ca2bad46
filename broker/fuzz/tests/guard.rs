//! The guard and its table against kafka-protocol itself, for every request and version described.

use bytes::Bytes;
use fuzz::body::{SHARED_FRAME_BYTES, agree};
use fuzz::codecs::{CODECS, Outcome, codec, decode, each_version};
use fuzz::random::{self, Random};
use kafka_protocol::messages::{
    AddRaftVoterRequest, AllocateProducerIdsRequest, AlterPartitionRequest, ApiKey, ApiVersionsRequest,
    BeginQuorumEpochRequest, BrokerHeartbeatRequest, BrokerRegistrationRequest, ControllerRegistrationRequest,
    CreateTopicsRequest, DescribeConfigsRequest, DescribeLogDirsRequest, EndQuorumEpochRequest, EnvelopeRequest,
    FetchRequest, FetchSnapshotRequest, IncrementalAlterConfigsRequest, RemoveRaftVoterRequest, UpdateRaftVoterRequest,
    VoteRequest,
};
use kafka_protocol::protocol::{HeaderVersion, Message, Request};
use proptest::prelude::*;
use protocol::guard;
use protocol::schema::{self, REQUESTS, RESPONSES, Versions};

const CASES: u32 = 60;
const MUTANTS_PER_BODY: u64 = 10;

#[test]
fn the_table_has_the_codecs_versions() {
    assert_eq!(CODECS.len(), REQUESTS.len());
    for codec in CODECS.iter() {
        assert_eq!(codec.request.versions, codec.versions, "{:?}", codec.request.key);
    }
    for (codec, version) in each_version() {
        let flexible = (codec.header_version)(version) == 2;
        assert_eq!(codec.request.flexible.contains(version), flexible, "{:?} {version}", codec.request.key);
    }
}

#[test]
fn what_the_codec_allocates_is_counted() {
    let metadata = codec(3).unwrap();
    let decoded = (metadata.decode)(Bytes::from_static(&[0, 0, 0, 2, 0, 1, b'a', 0, 1, b'b']), 1);
    let topics = guard::measure(metadata.request, 1, &[0, 0, 0, 2, 0, 1, b'a', 0, 1, b'b']).unwrap();
    assert!(0 < topics && topics <= decoded.allocated, "{topics} and {}", decoded.allocated);
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

/// Versions, fields and what the codec reserves, for the answers to one request.
fn answers_agree<R: Request>(random: &mut Random) {
    let described = schema::response(R::KEY).expect("a table for every answer");
    let versions = <R::Response as Message>::VERSIONS;
    assert_eq!(described.versions, Versions::between(versions.min, versions.max), "{:?}", described.key);
    for version in versions.min..=versions.max {
        let flexible = <R::Response as HeaderVersion>::header_version(version) == 1;
        // The header of this one is never flexible.
        assert!(described.key == ApiKey::ApiVersions || described.flexible.contains(version) == flexible);
        let body = random::response_body(random, described, version);
        let case = || format!("{:?} {version}: {body:02x?}", described.key);
        let decoded = decode::<R::Response>(Bytes::from(body.clone()), version);
        assert_eq!(decoded.outcome, Outcome::Message { left: 0, encoded: Ok(body.clone()) }, "{}", case());
        let reserved = guard::measure_response(described, version, &body);
        assert!(reserved.is_ok(), "{reserved:?}: {}", case());
        let reserved = reserved.unwrap_or_default();
        assert!(decoded.allocated <= reserved + SHARED_FRAME_BYTES, "{} > {reserved}: {}", decoded.allocated, case());
    }
}

const ANSWERS: [fn(&mut Random); 19] = [
    answers_agree::<FetchRequest>,
    answers_agree::<ApiVersionsRequest>,
    answers_agree::<CreateTopicsRequest>,
    answers_agree::<VoteRequest>,
    answers_agree::<BeginQuorumEpochRequest>,
    answers_agree::<EndQuorumEpochRequest>,
    answers_agree::<AlterPartitionRequest>,
    answers_agree::<EnvelopeRequest>,
    answers_agree::<FetchSnapshotRequest>,
    answers_agree::<BrokerRegistrationRequest>,
    answers_agree::<BrokerHeartbeatRequest>,
    answers_agree::<AllocateProducerIdsRequest>,
    answers_agree::<ControllerRegistrationRequest>,
    answers_agree::<UpdateRaftVoterRequest>,
    answers_agree::<AddRaftVoterRequest>,
    answers_agree::<RemoveRaftVoterRequest>,
    answers_agree::<DescribeConfigsRequest>,
    answers_agree::<DescribeLogDirsRequest>,
    answers_agree::<IncrementalAlterConfigsRequest>,
];

#[test]
fn every_table_of_an_answer_is_compared() {
    assert_eq!(ANSWERS.len(), RESPONSES.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, max_shrink_iters: 0, ..ProptestConfig::default() })]

    /// A body made by the table must be read to its end by the codec, written again as it was, and pass the guard with
    /// at least what the codec reserved: so no field is missing, superfluous, of another type, or in another version.
    #[test]
    fn what_the_codec_encodes_passes(seed: u64) {
        for (codec, version) in each_version() {
            let body = random::body(&mut Random(seed), codec.request, version);
            let case = || format!("{:?} {version} seed {seed}: {body:02x?}", codec.request.key);
            let decoded = (codec.decode)(Bytes::from(body.clone()), version);
            assert_eq!(decoded.outcome, Outcome::Message { left: 0, encoded: Ok(body.clone()) }, "{}", case());
            let reserved = guard::measure(codec.request, version, &body);
            assert!(reserved.is_ok(), "{reserved:?}: {}", case());
        let reserved = reserved.unwrap_or_default();
            assert!(decoded.allocated <= reserved + SHARED_FRAME_BYTES, "{} > {reserved}: {}", decoded.allocated, case());
        }
    }

    #[test]
    fn what_the_codec_answers_passes(seed: u64) {
        for answers_agree in ANSWERS {
            answers_agree(&mut Random(seed));
        }
    }

    #[test]
    fn guard_and_codec_agree_on_mutants(seed: u64) {
        let (mut accepted, mut refused) = (0, 0);
        let random = &mut Random(seed);
        for (codec, version) in each_version() {
            for _ in 0..MUTANTS_PER_BODY {
                let mut body = random::body(random, codec.request, version);
                random::mutate(random, &mut body);
                *if agree(codec, version, &body) { &mut accepted } else { &mut refused } += 1;
            }
        }
        assert!(300 < accepted && 300 < refused, "{accepted} accepted, {refused} refused");
    }
}
