use bytes::BytesMut;
use kafka_protocol::messages::{self, leader_change_message, voters_record};
use kafka_protocol::protocol::Encodable;
use proptest::prelude::*;
use uuid::Uuid;

use super::control::{ControlRecord, Voter, VoterEndpoint};
use super::*;
use crate::types::{DirectoryId, IncarnationId, LeaderEpoch, PartitionEpoch, PartitionId, Timestamp};

const TOPIC_ID: TopicId = TopicId(Uuid::from_u128(0x0102_0304_0506_0708_090A_0B0C_0D0E_0F10));
const TOPIC_ID_BYTES: [u8; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];

fn check_golden(record: &MetadataRecord, parts: &[&[u8]]) {
    let bytes = parts.concat();
    assert_eq!(record.encode().unwrap(), bytes, "{record:?}");
    assert_eq!(MetadataRecord::decode(&bytes).as_ref(), Ok(record));
    for length in 0..bytes.len() {
        assert!(MetadataRecord::decode(&bytes[..length]).is_err(), "{record:?} cut to {length} bytes");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(MetadataRecord::decode(&longer), Err(DecodeError::Trailing { field: "record", bytes: 1 }));
}

fn partition() -> PartitionRecord {
    PartitionRecord {
        partition_id: PartitionId(7),
        topic_id: TOPIC_ID,
        replicas: vec![BrokerId(1), BrokerId(2)],
        isr: vec![BrokerId(2)],
        removing_replicas: vec![],
        adding_replicas: vec![],
        leader: None,
        leader_recovery_state: LeaderRecoveryState::Recovering,
        leader_epoch: LeaderEpoch(3),
        partition_epoch: PartitionEpoch(4),
        directories: vec![DirectoryId(Uuid::from_u128(1))],
        eligible_leader_replicas: vec![BrokerId(1)],
        last_known_elr: vec![],
    }
}

#[test]
fn records_lie_byte_for_byte_as_kafkas_schema_says() {
    check_golden(&MetadataRecord::NoOp, &[&[1, 20, 0, 0]]);
    check_golden(
        &MetadataRecord::FeatureLevel { name: "metadata.version".to_owned(), level: 27 },
        &[&[1, 12, 0, 17], b"metadata.version", &[0, 27, 0]],
    );
    check_golden(
        &MetadataRecord::Topic { name: "t".to_owned(), topic_id: TOPIC_ID },
        &[&[1, 2, 0, 2], b"t", &TOPIC_ID_BYTES, &[0]],
    );
    check_golden(
        &MetadataRecord::Config {
            resource_type: ConfigResourceType::Topic,
            resource_name: "t".to_owned(),
            name: "k".to_owned(),
            value: None,
        },
        &[&[1, 4, 0, 2, 2], b"t", &[2], b"k", &[0, 0]],
    );
    check_golden(
        &MetadataRecord::Partition(partition()),
        &[
            &[1, 3, 2, 0, 0, 0, 7],
            &TOPIC_ID_BYTES,
            &[3, 0, 0, 0, 1, 0, 0, 0, 2, 2, 0, 0, 0, 2, 1, 1], // replicas, isr, removing, adding
            &[0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 3, 0, 0, 0, 4], // leader, leader epoch, partition epoch
            &[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], // directories
            &[2, 0, 1, 1, 1, 5, 2, 0, 0, 0, 1],                // tag 0: recovering; tag 1: one eligible leader
        ],
    );
    let mut change = PartitionChangeRecord::new(TOPIC_ID, PartitionId(7));
    change.leader = LeaderUpdate::Nobody;
    change.isr = Some(vec![]);
    change.directories = Some(vec![]);
    check_golden(
        &MetadataRecord::PartitionChange(change),
        &[
            &[1, 5, 2, 0, 0, 0, 7],
            &TOPIC_ID_BYTES,
            &[3, 0, 1, 1, 1, 4, 0xFF, 0xFF, 0xFF, 0xFF, 8, 1, 1], // tags 0, 1 and 8
        ],
    );
    check_golden(
        &MetadataRecord::BrokerRegistrationChange(BrokerRegistrationChangeRecord {
            broker_id: BrokerId(1),
            broker_epoch: BrokerEpoch(2),
            fenced: Some(false),
            enters_controlled_shutdown: true,
            log_dirs: vec![],
        }),
        &[&[1, 17, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 2, 0, 1, 0xFF, 1, 1, 1]],
    );
    check_golden(
        &MetadataRecord::RegisterBroker(RegisterBrokerRecord {
            broker_id: BrokerId(1),
            incarnation_id: IncarnationId(TOPIC_ID.0),
            broker_epoch: BrokerEpoch(2),
            endpoints: vec![Endpoint { name: "A".to_owned(), host: "h".to_owned(), port: 65535, security_protocol: 0 }],
            features: vec![FeatureRange { name: "f".to_owned(), min: 1, max: 27 }],
            rack: None,
            fenced: true,
            in_controlled_shutdown: false,
            log_dirs: vec![DirectoryId(TOPIC_ID.0)],
        }),
        &[
            &[1, 0, 3, 0, 0, 0, 1, 0],
            &TOPIC_ID_BYTES,
            &[0, 0, 0, 0, 0, 0, 0, 2],
            &[2, 2, b'A', 2, b'h', 0xFF, 0xFF, 0, 0, 0],
            &[2, 2, b'f', 0, 1, 0, 27, 0],
            &[0, 1, 0],
            &[1, 0, 17, 2],
            &TOPIC_ID_BYTES,
        ],
    );
}

#[test]
fn hostile_counts_are_refused_before_anything_is_reserved() {
    let huge = [0xFF, 0xFF, 0xFF, 0xFF, 0x0F];
    let replicas = [&[1, 3, 2, 0, 0, 0, 7], &TOPIC_ID_BYTES[..], &huge].concat();
    let error = DecodeError::TooMany { field: "replicas", count: u32::MAX - 1, remaining: 0 };
    assert_eq!(MetadataRecord::decode(&replicas), Err(error));
    let one_too_many = [&[1, 3, 2, 0, 0, 0, 7], &TOPIC_ID_BYTES[..], &[3, 0, 0, 0, 1, 0, 0, 0]].concat();
    let error = DecodeError::TooMany { field: "replicas", count: 2, remaining: 7 };
    assert_eq!(MetadataRecord::decode(&one_too_many), Err(error));
    let string = [&[1, 2, 0], &huge[..], b"t"].concat();
    assert_eq!(MetadataRecord::decode(&string), Err(DecodeError::Truncated { field: "topic name", remaining: 1 }));
    let tags = [&[1, 20, 0], &huge[..]].concat();
    assert!(matches!(MetadataRecord::decode(&tags), Err(DecodeError::Truncated { field: "tagged field", .. })));
}

#[test]
fn what_is_not_understood_is_named() {
    let table: [(&[u8], DecodeError); 8] = [
        (&[0, 20, 0, 0], DecodeError::FrameVersion { found: 0 }),
        (&[1, 21, 0, 0], DecodeError::UnknownType { api_key: 21 }),
        (&[1, 20, 1, 0], DecodeError::UnknownVersion { api_key: 20, found: 1, expected: 0 }),
        (&[1, 3, 1], DecodeError::UnknownVersion { api_key: 3, found: 1, expected: 2 }),
        (&[1, 4, 0, 3], DecodeError::BadValue { field: "resource type", found: 3 }),
        (&[1, 12, 0, 0], DecodeError::Null { field: "feature name" }),
        (&[1, 12, 0, 2, 0xFF], DecodeError::NotUtf8 { field: "feature name" }),
        // The tagged field "fenced" has two bytes, of which one is read.
        (
            &[1, 17, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 2, 1, 1],
            DecodeError::Trailing { field: "tagged field", bytes: 1 },
        ),
    ];
    for (bytes, error) in table {
        assert_eq!(MetadataRecord::decode(bytes), Err(error), "{bytes:?}");
    }
}

#[test]
fn unknown_tagged_fields_are_skipped() {
    assert_eq!(MetadataRecord::decode(&[1, 20, 0, 2, 0, 1, 99, 200, 1, 0]), Ok(MetadataRecord::NoOp));
    let change = [1, 17, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 2, 0, 1, 1, 9, 3, 7, 7, 7];
    let MetadataRecord::BrokerRegistrationChange(change) = MetadataRecord::decode(&change).unwrap() else { panic!() };
    assert_eq!(change.fenced, Some(true));
}

#[test]
fn a_string_that_kafka_could_not_read_is_not_written() {
    let topic = |length| MetadataRecord::Topic { name: "x".repeat(length), topic_id: TOPIC_ID };
    assert!(topic(0x7FFF).encode().is_ok());
    assert_eq!(topic(0x8000).encode(), Err(StringTooLong { length: 0x8000 }));
}

fn brokers() -> impl Strategy<Value = Vec<BrokerId>> {
    prop::collection::vec(any::<i32>().prop_map(BrokerId), 0..4)
}

fn directories() -> impl Strategy<Value = Vec<DirectoryId>> {
    prop::collection::vec(any::<u128>().prop_map(|id| DirectoryId(Uuid::from_u128(id))), 0..4)
}

fn changes() -> impl Strategy<Value = PartitionChangeRecord> {
    let lists = prop::array::uniform6(prop::option::of(brokers()));
    let leader = prop_oneof![
        Just(LeaderUpdate::Unchanged),
        Just(LeaderUpdate::Nobody),
        (0..i32::MAX).prop_map(|id| LeaderUpdate::Broker(BrokerId(id))),
    ];
    let state = prop_oneof![
        Just(None),
        Just(Some(LeaderRecoveryState::Recovered)),
        Just(Some(LeaderRecoveryState::Recovering))
    ];
    (lists, leader, state, prop::option::of(directories())).prop_map(|(lists, leader, leader_recovery_state, dirs)| {
        let [isr, replicas, removing_replicas, adding_replicas, eligible_leader_replicas, last_known_elr] = lists;
        PartitionChangeRecord {
            isr,
            leader,
            replicas,
            removing_replicas,
            adding_replicas,
            leader_recovery_state,
            directories: dirs,
            eligible_leader_replicas,
            last_known_elr,
            ..PartitionChangeRecord::new(TOPIC_ID, PartitionId(1))
        }
    })
}

proptest! {
    #[test]
    fn partition_changes_survive_the_round_trip(change in changes()) {
        let record = MetadataRecord::PartitionChange(change);
        prop_assert_eq!(MetadataRecord::decode(&record.encode().unwrap()), Ok(record));
    }

    #[test]
    fn configs_survive_the_round_trip(resource_name: String, name: String, value: Option<String>) {
        let resource_type = ConfigResourceType::Group;
        let record = MetadataRecord::Config { resource_type, resource_name, name, value };
        prop_assert_eq!(MetadataRecord::decode(&record.encode().unwrap()), Ok(record));
    }

    /// Whatever is accepted is the same record when encoded and decoded again.
    #[test]
    fn no_bytes_make_the_decoder_panic(index in 0..api::ALL.len(), body in prop::collection::vec(0..20_u8, 0..120)) {
        let (api_key, version) = api::ALL[index];
        let head = [1, u8::try_from(api_key).unwrap(), u8::try_from(version).unwrap()];
        if let Ok(record) = MetadataRecord::decode(&[&head[..], &body].concat()) {
            prop_assert_eq!(MetadataRecord::decode(&record.encode().unwrap()), Ok(record));
        }
    }

    #[test]
    fn no_bytes_make_the_control_decoder_panic(kind in 0..8_u8, body in prop::collection::vec(0..20_u8, 0..120)) {
        let value = [&[0, 0], &body[..]].concat();
        if let Ok(record) = ControlRecord::decode(&[0, 0, 0, kind], &value) {
            let (key, value) = record.encode().unwrap();
            prop_assert_eq!(ControlRecord::decode(&key, &value), Ok(record));
        }
    }
}

fn oracle(message: &impl Encodable) -> Vec<u8> {
    let mut out = BytesMut::new();
    message.encode(&mut out, 0).unwrap();
    out.to_vec()
}

#[test]
fn control_records_are_those_of_the_kafka_schema() {
    let ids = |ids: &[i32]| ids.iter().map(|id| BrokerId(*id)).collect::<Vec<_>>();
    let crate_ids = |ids: &[i32]| {
        ids.iter().map(|id| leader_change_message::Voter::default().with_voter_id(*id)).collect::<Vec<_>>()
    };
    let voter = Voter {
        voter_id: BrokerId(3),
        directory_id: DirectoryId(TOPIC_ID.0),
        endpoints: vec![VoterEndpoint { name: "CONTROLLER".to_owned(), host: "h".to_owned(), port: 9093 }],
        kraft_version_min: 0,
        kraft_version_max: 1,
    };
    let endpoint = voters_record::Endpoint::default()
        .with_name("CONTROLLER".to_owned().into())
        .with_host("h".to_owned().into())
        .with_port(9093);
    let levels = voters_record::KRaftVersionFeature::default().with_max_supported_version(1);
    let crate_voter = voters_record::Voter::default()
        .with_voter_id(3.into())
        .with_voter_directory_id(TOPIC_ID.0)
        .with_endpoints(vec![endpoint])
        .with_k_raft_version_feature(levels);
    let table = [
        (
            2,
            ControlRecord::LeaderChange { leader_id: BrokerId(1), voters: ids(&[1, 2]), granting_voters: ids(&[2]) },
            oracle(
                &messages::LeaderChangeMessage::default()
                    .with_leader_id(1.into())
                    .with_voters(crate_ids(&[1, 2]))
                    .with_granting_voters(crate_ids(&[2])),
            ),
        ),
        (
            3,
            ControlRecord::SnapshotHeader { last_contained_log_timestamp: Timestamp(5) },
            oracle(&messages::SnapshotHeaderRecord::default().with_last_contained_log_timestamp(5)),
        ),
        (4, ControlRecord::SnapshotFooter, oracle(&messages::SnapshotFooterRecord::default())),
        (5, ControlRecord::KRaftVersion(1), oracle(&messages::KRaftVersionRecord::default().with_k_raft_version(1))),
        (
            6,
            ControlRecord::KRaftVoters(vec![voter]),
            oracle(&messages::VotersRecord::default().with_voters(vec![crate_voter])),
        ),
    ];
    for (kind, record, expected) in table {
        let (key, value) = record.encode().unwrap();
        assert_eq!((key, &value), ([0, 0, 0, kind], &expected), "{record:?}");
        assert_eq!(ControlRecord::decode(&key, &value), Ok(record));
    }
    let commit_marker = ControlRecord::decode(&[0, 0, 0, 1], &[0, 0, 0, 0, 0, 0]);
    assert_eq!(commit_marker, Err(DecodeError::BadValue { field: "control type", found: 1 }));
}
