//! Checks of produced batches, with Kafka's error codes.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::protocol::StrBytes;
use protocol::batch::{BatchHeader, Compression, HEADER_LENGTH};
use protocol::batch_builder::BatchBuilder;
use protocol::types::{Offset, Timestamp};
use uuid::Uuid;

use crate::harness::batches::{CODECS, bomb, changed, compressed, produced, with_body};
use crate::harness::calls::{fetch_partition, name};
use crate::harness::wire::{Wire, batch, batch_headers, create};
use crate::harness::{Broker, Site, now_ms};

fn good() -> Bytes {
    batch(&[b"value"], Timestamp(1))
}

#[test]
fn bad_batches_get_kafkas_errors_and_leave_no_trace() {
    let site = Site::new(&[]);
    let _broker = site.start();
    let mut wire = Wire::connect(site.port);
    create(&mut wire, "bad", &[("max.message.bytes", "1000")]);
    let good = good();
    let corrupt = [&good[..70], b"XX", &good[72..]].concat();
    let two = [&good[..], &good[..]].concat();
    let with = |change: fn(&mut BatchHeader)| Some(changed(&good, change));
    let table: Vec<(&str, Option<Bytes>, ResponseError)> = vec![
        ("null records", None, ResponseError::InvalidRecord),
        ("empty records", Some(Bytes::new()), ResponseError::InvalidRecord),
        ("a torn batch", Some(good.slice(..good.len() - 3)), ResponseError::InvalidRecord),
        ("two batches", Some(two.into()), ResponseError::InvalidRecord),
        ("a wrong checksum", Some(corrupt.into()), ResponseError::CorruptMessage),
        ("a large batch", Some(batch(&[&[0; 2000]], Timestamp(1))), ResponseError::MessageTooLarge),
        ("magic 0", with(|h| h.magic = 0), ResponseError::InvalidRecord),
        ("magic 1", with(|h| h.magic = 1), ResponseError::InvalidRecord),
        ("magic 3", with(|h| h.magic = 3), ResponseError::CorruptMessage),
        ("base offset 5", with(|h| h.base_offset = Offset(5)), ResponseError::InvalidRecord),
        ("count 0", with(|h| h.records_count = 0), ResponseError::InvalidRecord),
        ("count i32::MAX", with(|h| h.records_count = i32::MAX), ResponseError::InvalidRecord),
        ("a last delta of 3", with(|h| h.last_offset_delta = 3), ResponseError::InvalidRecord),
        ("a control batch", with(|h| h.attributes = h.attributes.with_control()), ResponseError::InvalidRecord),
        ("a broker's timestamps", with(|h| h.attributes.0 |= 8), ResponseError::InvalidTimestamp),
        ("a time to come", Some(batch(&[b"v"], Timestamp(i64::MAX / 2))), ResponseError::InvalidTimestamp),
        ("a negative sequence", Some(produced(&good, 1, 0, -1)), ResponseError::InvalidRecord),
    ];
    for (what, records, error) in table {
        let answer = wire.produce(9, "bad", records);
        assert_eq!(answer.error_code, error.code(), "{what}: {:?}", answer.error_message);
        assert_eq!((answer.base_offset, answer.log_append_time_ms, answer.log_start_offset), (-1, -1, -1), "{what}");
        assert!(answer.error_message.is_some(), "{what}");
    }
    assert_eq!(wire.produce(9, "bad", Some(good)).base_offset, 0);
}

#[test]
fn requests_that_name_the_wrong_things_get_kafkas_errors() {
    let site = Site::new(&[]);
    let _broker = site.start();
    let mut wire = Wire::connect(site.port);
    create(&mut wire, "rules", &[]);
    let data = |index| PartitionProduceData::default().with_index(index).with_records(Some(good()));
    let table = [
        ("rules", 1, 0, None),
        ("rules", -1, 0, None),
        ("nowhere", 1, 0, Some(ResponseError::UnknownTopicOrPartition)),
        ("rules", 1, 7, Some(ResponseError::UnknownTopicOrPartition)),
        ("rules", 1, -1, Some(ResponseError::UnknownTopicOrPartition)),
        ("rules", 2, 0, Some(ResponseError::InvalidRequiredAcks)),
        ("rules", -2, 0, Some(ResponseError::InvalidRequiredAcks)),
    ];
    for (topic, acks, index, error) in table {
        let answer = wire.produce_data(9, name(topic), acks, data(index));
        assert_eq!((answer.index, answer.error_code), (index, error.map_or(0, |e| e.code())), "{topic} {acks} {index}");
    }
    let by_id = TopicProduceData::default().with_topic_id(Uuid::from_u128(7)).with_partition_data(vec![data(0)]);
    let answer = wire.call(13, &ProduceRequest::default().with_acks(1).with_topic_data(vec![by_id]));
    assert_eq!(answer.responses[0].partition_responses[0].error_code, ResponseError::UnknownTopicId.code());
    let transactional = ProduceRequest::default()
        .with_acks(-1)
        .with_transactional_id(Some(StrBytes::from_static_str("t").into()))
        .with_topic_data(vec![TopicProduceData::default().with_name(name("rules")).with_partition_data(vec![data(0)])]);
    let answer = wire.call(9, &transactional);
    assert_eq!(answer.responses[0].partition_responses[0].error_code, ResponseError::InvalidTxnState.code());
    let zstd = compressed(&good(), Compression::Zstd);
    let unsupported = ResponseError::UnsupportedCompressionType.code();
    for (version, error) in [(3, unsupported), (6, unsupported), (7, 0), (9, 0)] {
        assert_eq!(wire.produce(version, "rules", Some(zstd.clone())).error_code, error, "{version}");
    }
}

#[test]
fn sequences_of_idempotent_producers_are_checked_as_kafka_does() {
    let site = Site::new(&[]);
    let _broker = site.start();
    let mut wire = Wire::connect(site.port);
    create(&mut wire, "sequences", &[]);
    let (out_of_order, fenced) = (ResponseError::OutOfOrderSequenceNumber, ResponseError::InvalidProducerEpoch);
    // Epoch, sequence, and the base offset or the error. Kafka no longer answers DUPLICATE_SEQUENCE_NUMBER, nor
    // UNKNOWN_PRODUCER_ID.
    let table = [
        ("a producer nobody knows may begin anywhere", 1, 5, Ok(0)),
        ("the next", 1, 6, Ok(1)),
        ("a duplicate", 1, 5, Ok(0)),
        ("a gap", 1, 8, Err(out_of_order)),
        ("an epoch that is over", 0, 7, Err(fenced)),
        ("a new epoch begins at 0", 2, 7, Err(out_of_order)),
        ("a new epoch", 2, 0, Ok(2)),
        ("the old epoch after that", 1, 7, Err(fenced)),
        ("1", 2, 1, Ok(3)),
        ("2", 2, 2, Ok(4)),
        ("3", 2, 3, Ok(5)),
        ("4", 2, 4, Ok(6)),
        ("5", 2, 5, Ok(7)),
        ("a duplicate of the last five", 2, 1, Ok(3)),
        ("one of before them", 2, 0, Err(out_of_order)),
    ];
    for (what, epoch, sequence, expected) in table {
        let answer = wire.produce(9, "sequences", Some(produced(&good(), 9, epoch, sequence)));
        let expected = expected.map_or_else(|error| (error.code(), -1), |offset| (0, offset));
        assert_eq!((answer.error_code, answer.base_offset), expected, "{what}");
    }
}

#[test]
fn refused_records_are_named_from_version_8_on() {
    let site = Site::new(&[]);
    let _broker = site.start();
    let mut wire = Wire::connect(site.port);
    create(&mut wire, "compacted", &[("cleanup.policy", "compact")]);
    create(
        &mut wire,
        "window",
        &[("message.timestamp.before.max.ms", "10000"), ("message.timestamp.after.max.ms", "20000")],
    );
    let mut builder = BatchBuilder::new(Timestamp(1));
    for key in [Some(&b"key"[..]), None, Some(b"key"), None] {
        builder.push(key, Some(b"value"));
    }
    let keyless = builder.build().unwrap().bytes;
    let in_window = |offset_ms: i64| batch(&[b"v"], Timestamp(now_ms() + offset_ms));
    let table: Vec<(&str, Bytes, ResponseError, Vec<i32>)> = vec![
        ("compacted", keyless.clone(), ResponseError::InvalidRecord, vec![1, 3]),
        ("compacted", compressed(&keyless, Compression::Gzip), ResponseError::InvalidRecord, vec![1, 3]),
        ("window", in_window(-15_000), ResponseError::InvalidTimestamp, vec![0]),
        ("window", in_window(60_000), ResponseError::InvalidTimestamp, vec![0]),
        ("window", compressed(&in_window(60_000), Compression::Lz4), ResponseError::InvalidTimestamp, vec![0]),
        ("window", compressed(&in_window(-15_000), Compression::Snappy), ResponseError::InvalidTimestamp, vec![0]),
    ];
    for (topic, records, error, indexes) in table {
        for version in [3, 7, 8, 12] {
            let answer = wire.produce(version, topic, Some(records.clone()));
            assert_eq!(answer.error_code, error.code(), "{topic}, version {version}");
            let named: Vec<_> = answer.record_errors.iter().map(|record| record.batch_index).collect();
            assert_eq!(named, if version < 8 { Vec::new() } else { indexes.clone() }, "{topic}, version {version}");
            assert_eq!(answer.error_message.is_some(), 8 <= version);
        }
    }
    for accepted in [in_window(0), in_window(-5000), in_window(15_000), batch(&[b"v"], Timestamp(-1))] {
        assert_eq!(wire.produce(9, "window", Some(accepted)).error_code, 0);
    }
}

#[test]
fn log_append_time_is_the_brokers_clock_in_every_codec() {
    let site = Site::new(&[]);
    let _broker = site.start();
    let mut wire = Wire::connect(site.port);
    create(&mut wire, "stamped", &[("message.timestamp.type", "LogAppendTime")]);
    let begun = now_ms();
    for (number, codec) in (0..).zip([Compression::None].into_iter().chain(CODECS)) {
        let records = compressed(&batch(&[b"a", b"b"], Timestamp(i64::MAX / 2)), codec);
        let answer = wire.produce(9, "stamped", Some(records));
        assert_eq!((answer.error_code, answer.base_offset), (0, 2 * number), "{codec:?}");
        assert!((begun..=now_ms()).contains(&answer.log_append_time_ms), "{codec:?}");
        let fetched = wire.fetch("stamped", fetch_partition(2 * number));
        let header = batch_headers(&fetched.records.unwrap())[0];
        assert!(header.attributes.is_log_append_time());
        assert_eq!(header.max_timestamp.0, answer.log_append_time_ms);
        let found = wire.list_offset(7, "stamped", -3);
        assert!(found.offset % 2 == 0 && found.timestamp <= answer.log_append_time_ms, "the first of a batch");
    }
    let first = wire.list_offset(7, "stamped", begun);
    assert_eq!(first.offset, 0);
    assert_eq!(wire.list_offset(7, "stamped", now_ms() + 60_000).offset, -1);
}

/// Ten times what one batch may use, on all connections at once.
const PARALLEL: usize = 8;
const LIMIT_MEBIBYTES: usize = 128;
/// Two turns of 128 MiB each, and what the broker itself needs.
const PEAK_KIB_MAX: u64 = 500 << 10;

#[test]
fn bombs_are_refused_and_wait_for_their_turn() {
    let site = Site::new(&["message.max.bytes=20000000"]);
    let mut broker: Broker = site.start();
    let mut wire = Wire::connect(site.port);
    let bombs = CODECS.map(|codec| with_body(&good(), codec, &bomb(codec, LIMIT_MEBIBYTES + 2)));
    for codec in CODECS {
        create(&mut wire, &format!("stored-{codec:?}"), &[]);
        create(&mut wire, &format!("compacted-{codec:?}"), &[("cleanup.policy", "compact")]);
    }
    let too_large = ResponseError::MessageTooLarge.code();
    let attempt = |number: usize| {
        let (codec, bomb) = (CODECS[number % 4], bombs[number % 4].clone());
        let mut wire = Wire::connect(site.port);
        assert!(bomb.len() < 10_000_000, "{codec:?}: {}", bomb.len());
        let answer = wire.produce(9, &format!("compacted-{codec:?}"), Some(bomb.clone()));
        assert_eq!(answer.error_code, too_large, "{codec:?}: {:?}", answer.error_message);
        let stored = format!("stored-{codec:?}");
        assert_eq!(wire.produce(9, &stored, Some(bomb)).error_code, 0, "nothing there asks for its records");
        assert_eq!(wire.list_offset(7, &stored, 1).error_code, too_large, "{codec:?}");
        assert_eq!(wire.list_offset(7, &stored, 2).error_code, 0, "no batch is as young");
    };
    std::thread::scope(|scope| {
        let attempts: Vec<_> = (0..PARALLEL).map(|number| scope.spawn(move || attempt(number))).collect();
        for attempt in attempts {
            attempt.join().unwrap();
        }
    });
    assert!(broker.is_running());
    let peak = broker.peak_resident_kib();
    assert!(peak < PEAK_KIB_MAX, "{peak} KiB were resident");
}

#[test]
fn a_batch_that_is_large_but_not_too_large_is_opened() {
    let site = Site::new(&[]);
    let _broker = site.start();
    let mut wire = Wire::connect(site.port);
    create(&mut wire, "compacted", &[("cleanup.policy", "compact")]);
    let value = vec![0; 6 << 20];
    for key in [Some(&b"key"[..]), None] {
        let mut builder = BatchBuilder::new(Timestamp(5));
        builder.push(Some(b"first"), None);
        builder.push(key, Some(&value));
        let plain = builder.build().unwrap().bytes;
        assert!(plain.len() - HEADER_LENGTH > 4 << 20);
        let expected = if key.is_some() { 0 } else { ResponseError::InvalidRecord.code() };
        assert_eq!(wire.produce(9, "compacted", Some(compressed(&plain, Compression::Zstd))).error_code, expected);
    }
    assert_eq!(wire.list_offset(7, "compacted", 5).offset, 0);
}
