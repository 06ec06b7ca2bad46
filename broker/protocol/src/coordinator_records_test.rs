use bytes::Bytes;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn committed(offset: i64) -> CommittedOffset {
    CommittedOffset {
        offset: Offset(offset),
        leader_epoch: Some(LeaderEpoch(3)),
        metadata: "m".to_owned(),
        commit_timestamp: Timestamp(0x0102),
        expire_timestamp: None,
        topic_id: TopicId(Uuid::from_bytes([7; 16])),
    }
}

fn commit(value: Option<CommittedOffset>) -> CoordinatorRecord {
    CoordinatorRecord::OffsetCommit { group: "g".to_owned(), topic: "to".to_owned(), partition: PartitionId(5), value }
}

fn member(id: &str) -> RecordedMember {
    RecordedMember {
        member_id: id.to_owned(),
        instance_id: None,
        client_id: "c".to_owned(),
        client_host: "/h".to_owned(),
        rebalance_timeout_ms: 300,
        session_timeout_ms: 45,
        subscription: Bytes::from_static(b"sub"),
        assignment: Bytes::from_static(b"as"),
    }
}

fn generation(members: Vec<RecordedMember>) -> GroupMetadata {
    GroupMetadata {
        protocol_type: "consumer".to_owned(),
        generation: GenerationId(2),
        protocol: Some("range".to_owned()),
        leader: Some("a".to_owned()),
        state_timestamp: Timestamp(9),
        members,
    }
}

const KEY: &[u8] = &[0, 1, 0, 1, b'g', 0, 2, b't', b'o', 0, 0, 0, 5];

#[test]
fn offsets_lie_byte_for_byte_as_kafka_writes_them() {
    let (key, value) = commit(Some(committed(258))).encode().unwrap();
    assert_eq!(key, KEY);
    let mut expected = vec![0, 4, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 3, 2, b'm', 0, 0, 0, 0, 0, 0, 1, 2, 1, 0, 16];
    expected.extend([7; 16]);
    assert_eq!(value.unwrap(), expected);

    let expiring = CommittedOffset {
        leader_epoch: None,
        expire_timestamp: Some(Timestamp(1)),
        topic_id: TopicId::default(),
        ..committed(258)
    };
    let (_, value) = commit(Some(expiring)).encode().unwrap();
    let expected = [0, 1, 0, 0, 0, 0, 0, 0, 1, 2, 0, 1, b'm', 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 1];
    assert_eq!(value.unwrap(), expected);
    assert_eq!(commit(None).encode().unwrap(), (KEY.to_vec(), None));
}

#[test]
fn a_group_lies_byte_for_byte_as_kafka_writes_it() {
    let record = CoordinatorRecord::GroupMetadata { group: "g".to_owned(), value: Some(generation(vec![member("a")])) };
    let (key, value) = record.encode().unwrap();
    assert_eq!(key, [0, 2, 0, 1, b'g']);
    let mut expected = vec![0, 3, 0, 8];
    expected.extend(b"consumer");
    expected.extend([0, 0, 0, 2, 0, 5]);
    expected.extend(b"range");
    expected.extend([0, 1, b'a', 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1, 0, 1, b'a', 0xFF, 0xFF, 0, 1, b'c', 0, 2]);
    expected.extend([b'/', b'h', 0, 0, 1, 44, 0, 0, 0, 45, 0, 0, 0, 3, b's', b'u', b'b', 0, 0, 0, 2, b'a', b's']);
    assert_eq!(value.unwrap(), expected);
}

/// As written by earlier and later brokers.
#[test]
fn values_of_every_version_are_read() {
    let time = [0, 0, 0, 0, 0, 0, 1, 2];
    let offset = [0, 0, 0, 0, 0, 0, 0, 6];
    let legacy = [&offset[..], &[0, 1, b'm'], &time].concat();
    let with_epoch = [&offset[..], &[0, 0, 0, 3, 0, 1, b'm'], &time].concat();
    let flexible = [&offset[..], &[0, 0, 0, 3, 2, b'm'], &time, &[0]].concat();
    let no_epoch = CommittedOffset { leader_epoch: None, topic_id: TopicId::default(), ..committed(6) };
    let with_epoch_read = CommittedOffset { topic_id: TopicId::default(), ..committed(6) };
    let expiring = CommittedOffset { expire_timestamp: Some(Timestamp(258)), ..no_epoch.clone() };
    let table = [
        ([&[0, 0][..], &legacy].concat(), no_epoch.clone()),
        ([&[0, 1][..], &legacy, &time].concat(), expiring),
        ([&[0, 1][..], &legacy, &[0xFF; 8]].concat(), no_epoch.clone()),
        ([&[0, 2][..], &legacy].concat(), no_epoch),
        ([&[0, 3][..], &with_epoch].concat(), with_epoch_read.clone()),
        ([&[0, 4][..], &flexible].concat(), with_epoch_read),
    ];
    for (value, expected) in table {
        assert_eq!(CoordinatorRecord::decode(Some(KEY), Some(&value)), Ok(commit(Some(expected))), "{value:?}");
    }

    let group_key = [0, 2, 0, 1, b'g'];
    let head = [&[0, 0][..], &[0, 0, 0, 2, 0xFF, 0xFF, 0xFF, 0xFF]].concat();
    let ids = [0, 1, b'a', 0, 1, b'c', 0, 2, b'/', b'h'];
    let blobs = [0, 0, 0, 3, b's', b'u', b'b', 0, 0, 0, 2, b'a', b's'];
    let empty = GroupMetadata {
        protocol_type: String::new(),
        protocol: None,
        leader: None,
        state_timestamp: Timestamp(-1),
        ..generation(vec![RecordedMember { rebalance_timeout_ms: 45, ..member("a") }])
    };
    let with_timeout = GroupMetadata { members: vec![member("a")], ..empty.clone() };
    let timed = GroupMetadata { state_timestamp: Timestamp(258), ..with_timeout.clone() };
    let flexible = [
        &[0, 4, 1, 0, 0, 0, 2, 0, 0][..],
        &time,
        &[2, 2, b'a', 0, 2, b'c', 3, b'/', b'h', 0, 0, 1, 44, 0, 0, 0, 45, 4, b's', b'u', b'b', 3, b'a', b's', 0, 0],
    ];
    let (one, rebalance, session) = ([0, 0, 0, 1], [0, 0, 1, 44], [0, 0, 0, 45]);
    let table = [
        ([&[0, 0][..], &head, &one, &ids, &session, &blobs].concat(), empty),
        ([&[0, 1][..], &head, &one, &ids, &rebalance, &session, &blobs].concat(), with_timeout),
        ([&[0, 2][..], &head, &time, &one, &ids, &rebalance, &session, &blobs].concat(), timed.clone()),
        (flexible.concat(), timed),
    ];
    for (value, expected) in table {
        let expected = CoordinatorRecord::GroupMetadata { group: "g".to_owned(), value: Some(expected) };
        assert_eq!(CoordinatorRecord::decode(Some(&group_key), Some(&value)), Ok(expected), "{value:?}");
    }
}

#[test]
fn what_is_not_understood_is_told() {
    type Case<'a> = (&'a [u8], Option<&'a [u8]>, &'a str);
    let table: [Case<'_>; 7] = [
        (&[0], None, "key version ends early: 1 bytes remain"),
        (&[0, 3, 0, 0], None, "keys of version 3 are records of a type that is not known"),
        (&[0, 2, 0, 1, b'g', 0], None, "1 bytes follow the end of key"),
        (&[0, 2, 0xFF, 0xFE], None, "group is -2"),
        (KEY, Some(&[0, 5]), "an offset commit has version 5, the last known is 4"),
        (KEY, Some(&[0, 0, 0]), "offset ends early: 1 bytes remain"),
        (
            &[0, 2, 0, 0],
            Some(&[0, 0, 0, 0, 0, 0, 0, 2, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF]),
            "members claims 2147483647 elements, but 0 bytes remain",
        ),
    ];
    for (key, value, expected) in table {
        let error = CoordinatorRecord::decode(Some(key), value).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    assert_eq!(CoordinatorRecord::decode(None, None), Err(CoordinatorRecordError::NoKey));
    let long = CoordinatorRecord::GroupMetadata { group: "g".repeat(0x8000), value: None };
    assert_eq!(long.encode(), Err(StringTooLong { length: 0x8000 }));
}

#[test]
fn topics_are_read_out_of_subscriptions() {
    let subscription = [&[0, 3, 0, 0, 0, 2, 0, 1, b'a', 0, 2, b'b', b'c'][..], &[0xFF; 9]].concat();
    assert_eq!(subscribed_topics(&subscription), Ok(vec!["a".to_owned(), "bc".to_owned()]));
    for broken in [&[][..], &[0xFF, 0xFF, 0, 0, 0, 0], &[0, 0, 0x7F, 0xFF, 0xFF, 0xFF], &[0, 0, 0, 0, 0, 1, 0, 2]] {
        assert!(subscribed_topics(broken).is_err(), "{broken:?}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        names in ("[a-z]{0,9}", "\\PC{0,9}", any::<Option<String>>()),
        numbers in (any::<i64>(), 0..i32::MAX, any::<u128>(), prop::option::of(0..i64::MAX)),
        blob in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let (group, metadata, instance_id) = names;
        let (offset, epoch, topic_id, expiry) = numbers;
        let value = CommittedOffset {
            offset: Offset(offset),
            metadata,
            leader_epoch: expiry.is_none().then_some(LeaderEpoch(epoch)),
            expire_timestamp: expiry.map(Timestamp),
            topic_id: if expiry.is_none() { TopicId(Uuid::from_u128(topic_id)) } else { TopicId::default() },
            ..committed(0)
        };
        let blob = Bytes::from(blob);
        let members = vec![member("a"), RecordedMember { instance_id, subscription: blob.clone(), assignment: blob, ..member("b") }];
        let records = [commit(Some(value)), CoordinatorRecord::GroupMetadata { group, value: Some(generation(members)) }];
        for record in records {
            let (key, value) = record.encode().unwrap();
            prop_assert_eq!(CoordinatorRecord::decode(Some(&key), value.as_deref()), Ok(record));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(
        version in 0_u8..4, key in prop::collection::vec(any::<u8>(), 0..40),
        value_version in 0_u8..5, value in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let key = [&[0, version][..], &key].concat();
        let _any = CoordinatorRecord::decode(Some(&key), Some(&[&[0, value_version][..], &value].concat()));
        let _any = subscribed_topics(&value);
    }
}
