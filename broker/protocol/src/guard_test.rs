use crate::guard::{Fault, GuardError, budget, check, measure, measure_response};
use crate::schema::{self, Request};

fn error(request: &Request, version: i16, body: &[u8]) -> GuardError {
    check(request, version, body).expect_err("a hostile body")
}

fn check_refused(request: &Request, version: i16, body: &[u8], field: &str, position: usize, fault: Fault) {
    let error = error(request, version, body);
    assert_eq!((error.field, error.position, error.fault), (field, position, fault), "{body:02x?}: {error}");
}

const I32_MAX: [u8; 4] = [0x7F, 0xFF, 0xFF, 0xFF];

#[test]
fn counts_that_cannot_be_there_are_refused() {
    let claimed = 0x7FFF_FFFF;
    let fault = Fault::TooMany { claimed, remaining: 0 };
    check_refused(&schema::METADATA, 1, &I32_MAX, "Topics", 0, fault);
    let fault = Fault::TooMany { claimed: 0xFFFF_FFFE, remaining: 0 };
    check_refused(&schema::METADATA, 9, &[0xFF, 0xFF, 0xFF, 0xFF, 0x0F], "Topics", 0, fault);

    let produce = [&[0xFF, 0xFF, 0, 1, 0, 0, 0, 9][..], &I32_MAX, &[0; 8]].concat();
    check_refused(&schema::PRODUCE, 3, &produce, "TopicData", 8, Fault::TooMany { claimed, remaining: 8 });
    let partitions = [&[0xFF, 0xFF, 0, 1, 0, 0, 0, 9, 0, 0, 0, 1, 0, 1, b't'][..], &I32_MAX].concat();
    check_refused(&schema::PRODUCE, 3, &partitions, "PartitionData", 15, Fault::TooMany { claimed, remaining: 0 });

    // As many elements as bytes, but four bytes each.
    let ids =
        [&[0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0][..], &[0, 0, 0, 6], &[0; 6]].concat();
    check_refused(&schema::CREATE_TOPICS, 2, &ids, "BrokerIds", 21, Fault::TooShort { needed: 24, remaining: 6 });
}

#[test]
fn lengths_that_cannot_be_there_are_refused() {
    let name = [0, 0, 0, 1, 0x7F, 0xFF];
    check_refused(&schema::METADATA, 0, &name, "Name", 4, Fault::TooShort { needed: 0x7FFF, remaining: 0 });
    check_refused(&schema::METADATA, 0, &[0, 0, 0, 1, 0xFF, 0xFE], "Name", 4, Fault::Negative(-2));
    check_refused(&schema::METADATA, 1, &[0xFF, 0xFF, 0xFF, 0xFE], "Topics", 0, Fault::Negative(-2));
    let records = [&[0, 0, 1, 0, 0, 0, 9, 2, 2, b't', 2, 0, 0, 0, 0][..], &[0xFF, 0xFF, 0xFF, 0x7F, 0]].concat();
    let fault = Fault::TooShort { needed: 0x0FFF_FFFE, remaining: 1 };
    check_refused(&schema::PRODUCE, 9, &records, "Records", 15, fault);
}

#[test]
fn texts_longer_than_kafkas_and_numbers_beyond_count_are_refused() {
    let name = |length: u32| {
        let varint = [(length + 1) & 0x7F | 0x80, (length + 1) >> 7 & 0x7F | 0x80, (length + 1) >> 14];
        let varint = varint.map(|byte| u8::try_from(byte).unwrap());
        [&[2][..], &varint, &vec![b't'; length as usize], &[0, 0, 0, 0, 0]].concat()
    };
    assert_eq!(check(&schema::METADATA, 9, &name(32_767)), Ok(()));
    check_refused(&schema::METADATA, 9, &name(32_768), "Name", 1, Fault::TextTooLong(32_768));

    let numbers = |count: u32| {
        let partitions = [&count.to_be_bytes()[..], &vec![0; 4 * count as usize]].concat();
        [&[0, 0, 0, 1, 0, 1, b't'][..], &partitions, &[0; 4]].concat()
    };
    assert_eq!(check(&schema::ELECT_LEADERS, 0, &numbers(200_000)), Ok(()));
    let fault = error(&schema::ELECT_LEADERS, 0, &numbers(300_000)).fault;
    assert!(matches!(fault, Fault::OverBudget { .. }), "{fault}");
}

#[test]
fn bodies_that_end_early_are_refused() {
    for (version, body) in [(0, &[][..]), (0, &[0, 0]), (9, &[]), (1, &[0, 0, 0, 1, 0])] {
        let fault = error(&schema::METADATA, version, body).fault;
        assert!(matches!(fault, Fault::TooShort { remaining: 0..=2, .. }), "version {version} {body:02x?}: {fault}");
    }
}

#[test]
fn varints_of_more_than_32_bits_are_refused() {
    for fifth in [0x10, 0x7F, 0x80, 0xFF] {
        let body = [0xFF, 0xFF, 0xFF, 0xFF, fifth, 0];
        check_refused(&schema::METADATA, 9, &body, "Topics", 0, Fault::VarintTooLong);
    }
}

#[test]
fn nulls_are_refused_where_the_version_has_none() {
    check_refused(&schema::METADATA, 0, &[0xFF; 4], "Topics", 0, Fault::Null { version: 0 });
    assert_eq!(check(&schema::METADATA, 1, &[0xFF; 4]), Ok(()));
    check_refused(&schema::FIND_COORDINATOR, 4, &[0, 2, 0], "CoordinatorKeys", 2, Fault::Null { version: 4 });
    check_refused(&schema::DESCRIBE_TOPIC_PARTITIONS, 0, &[1, 0, 0, 0, 9, 2, 0], "Cursor", 5, Fault::Presence(2));
    assert_eq!(check(&schema::DESCRIBE_TOPIC_PARTITIONS, 0, &[1, 0, 0, 0, 9, 0xFF, 0]), Ok(()));
}

/// Fetch without topics: the tagged fields follow.
fn fetch(version: i16, tags: &[u8]) -> Vec<u8> {
    let before_topics = if version <= 14 { 25 } else { 21 };
    [&vec![0; before_topics][..], &[1, 1, 1], tags].concat()
}

#[test]
fn tagged_fields_are_walked_by_their_own_type() {
    let cases: &[(i16, &[u8], Result<(), Fault>)] = &[
        (12, &[0], Ok(())),
        (12, &[1, 0, 3, 2, b'c'], Err(Fault::TagLength { claimed: 3, taken: 2 })),
        (12, &[1, 0, 2, 2, b'c'], Ok(())),
        (12, &[1, 0, 1, 0], Ok(())),
        (12, &[2, 0, 2, 2, b'c', 9, 3, 1, 2, 3], Ok(())),
        (12, &[1, 9, 3, 1, 2], Err(Fault::TooShort { needed: 3, remaining: 2 })),
        (12, &[1, 1, 13, 0], Err(Fault::TagNotInVersion { version: 12 })),
        (15, &[1, 1, 13, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0], Ok(())),
        (15, &[1, 1, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0], Err(Fault::TagLength { claimed: 12, taken: 13 })),
        (12, &[0xFF, 0xFF, 0xFF, 0xFF, 0x0F], Err(Fault::TooMany { claimed: 0xFFFF_FFFF, remaining: 0 })),
    ];
    for (version, tags, expected) in cases {
        let result = check(&schema::FETCH, *version, &fetch(*version, tags));
        assert_eq!(result.map_err(|error| error.fault), *expected, "version {version} {tags:02x?}");
    }
}

#[test]
fn bytes_after_the_last_field_are_ignored() {
    assert_eq!(check(&schema::METADATA, 0, &[0, 0, 0, 0, 1, 2, 3]), Ok(()));
}

/// Topics with one empty unknown tagged field each: four bytes, for each of which the decoder makes a tree.
fn metadata_with_tags(topics: u8) -> Vec<u8> {
    let topic = [2, b't', 1, 100, 0];
    [&[topics.saturating_add(1)][..], &topic.repeat(usize::from(topics)), &[0, 0, 0, 0]].concat()
}

#[test]
fn what_the_decoder_would_reserve_is_held_to_the_budget() {
    let few = metadata_with_tags(90);
    assert_eq!(check(&schema::METADATA, 9, &few), Ok(()));
    let many = metadata_with_tags(126);
    let error = error(&schema::METADATA, 9, &many);
    assert!(matches!(error.fault, Fault::OverBudget { reserved, budget: allowed }
        if allowed == budget(many.len()) && allowed < reserved));
}

#[test]
fn a_long_request_has_no_larger_budget_than_the_largest() {
    let name = [&[0, 7][..], b"a_topic"].concat();
    let names = |count: u32| [&count.to_be_bytes()[..], &name.repeat(count as usize)].concat();
    assert_eq!(check(&schema::METADATA, 1, &names(100_000)), Ok(()));
    let error = error(&schema::METADATA, 1, &names(300_000));
    assert!(matches!(error.fault, Fault::OverBudget { budget: 8_388_608, .. }), "{error}");
    // The sender of an answer is trusted more: here with many ranges of versions.
    let answer = [&[0, 0][..], &300_000_u32.to_be_bytes(), &[0; 6].repeat(300_000)].concat();
    let reserved = measure_response(schema::response(18).unwrap(), 0, &answer).unwrap();
    assert!(8_388_608 < reserved);
}

#[test]
fn requests_of_large_clusters_are_within_the_budget() {
    let topic = [&[0, 20][..], &[b't'; 20]].concat();
    let metadata = [&20_000_i32.to_be_bytes()[..], &topic.repeat(20_000)].concat();
    assert_eq!(check(&schema::METADATA, 1, &metadata), Ok(()));

    let count_50_000 = [0xD1, 0x86, 3];
    let partitions = [0; 33].repeat(50_000);
    let topics = [&[2, 2, b't'][..], &count_50_000, &partitions, &[0]].concat();
    let fetch = [&[0; 25][..], &topics, &[1, 1, 0]].concat();
    assert_eq!(check(&schema::FETCH, 12, &fetch), Ok(()));
}

#[test]
fn reserves_what_the_elements_take_in_memory() {
    let topic = size_of::<kafka_protocol::messages::metadata_request::MetadataRequestTopic>();
    assert_eq!(measure(&schema::METADATA, 0, &[0, 0, 0, 2, 0, 0, 0, 0]), Ok(2 * topic));
    assert_eq!(measure(&schema::METADATA, 0, &[0, 0, 0, 0]), Ok(0));
}

#[test]
fn versions_without_a_table_are_refused() {
    for version in [-1, 14, i16::MAX] {
        check_refused(&schema::METADATA, version, &[0; 64], "ApiVersion", 0, Fault::Version { version });
    }
}

#[test]
fn an_error_names_field_position_and_claim() {
    let error = error(&schema::METADATA, 1, &I32_MAX);
    assert_eq!(error.to_string(), "Topics at byte 0: claims 2147483647 elements, 0 bytes are left");
}

#[test]
fn tags_are_unique_and_only_in_flexible_versions() {
    fn walk(request: &Request, fields: &[schema::Field]) {
        for (index, field) in fields.iter().enumerate() {
            if let Some(tag) = field.tag {
                let again = fields.iter().skip(index + 1).any(|other| other.tag == Some(tag));
                assert!(!again && request.flexible.first <= field.versions.first, "{:?} {}", request.key, field.name);
            }
            if let schema::Kind::Struct(fields) = field.kind {
                assert!(!fields.is_empty(), "{:?} {}", request.key, field.name);
                walk(request, fields);
            }
        }
    }
    for request in schema::REQUESTS {
        walk(request, request.fields);
    }
    assert!(schema::REQUESTS.is_sorted_by(|a, b| (a.key as i16) < (b.key as i16)));
}
