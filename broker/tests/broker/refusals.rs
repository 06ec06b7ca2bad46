//! Well-formed requests that cannot be granted: each gets Kafka's error code.

use std::io::Write as _;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiVersionsRequest, CreateTopicsRequest, InitProducerIdRequest, MetadataRequest, ProduceRequest, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use protocol::types::Timestamp;
use uuid::Uuid;

use crate::harness::Site;
use crate::harness::calls::name;
use crate::harness::wire::{Wire, batch, create};

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

#[test]
fn software_is_named_in_letters_and_digits() {
    let site = Site::new(&[]);
    let _broker = site.start();
    let mut wire = Wire::connect(site.port);
    let refused = ResponseError::InvalidRequest.code();
    let table = [
        ("librdkafka", "2.8.0", 0),
        ("", "1", refused),
        ("a", "", refused),
        ("-a", "1", refused),
        ("a b", "1", refused),
    ];
    for (software, version, expected) in table {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(text(software))
            .with_client_software_version(text(version));
        for api_version in [3, 4] {
            assert_eq!(wire.call(api_version, &request).error_code, expected, "{software:?} {version:?}");
        }
    }
}

#[test]
fn names_that_no_topic_can_have_are_told_from_topics_that_are_not_there() {
    for creates in ["false", "true"] {
        let site = Site::new(&[&format!("auto.create.topics.enable={creates}")]);
        let _broker = site.start();
        let mut wire = Wire::connect(site.port);
        let unknown = if creates == "true" { 0 } else { ResponseError::UnknownTopicOrPartition.code() };
        let invalid = ResponseError::InvalidTopicException.code();
        let long: &'static str = "x".repeat(250).leak();
        for (topic, expected) in [("t", unknown), ("a b", invalid), ("", invalid), ("..", invalid), (long, invalid)] {
            let wanted = MetadataRequestTopic::default().with_name(Some(name(topic)));
            let request = MetadataRequest::default().with_topics(Some(vec![wanted]));
            let answer = wire.call(9, &request.with_allow_auto_topic_creation(true)).topics.remove(0);
            assert_eq!(
                (answer.error_code, answer.name),
                (expected, Some(name(topic))),
                "{topic:?}, created: {creates}"
            );
        }
        let wanted = MetadataRequestTopic::default().with_name(None).with_topic_id(Uuid::from_u128(1));
        let answer = wire.call(12, &MetadataRequest::default().with_topics(Some(vec![wanted])));
        assert_eq!(answer.topics[0].error_code, ResponseError::UnknownTopicId.code());
    }
}

#[test]
fn an_option_of_a_new_topic_needs_a_value() {
    let site = Site::new(&[]);
    let _broker = site.start();
    let topic = |topic, value: Option<&'static str>| {
        let config = CreatableTopicConfig::default().with_name(text("retention.ms")).with_value(value.map(text));
        CreatableTopic::default()
            .with_name(name(topic))
            .with_num_partitions(1)
            .with_replication_factor(1)
            .with_configs(vec![config])
    };
    let request = CreateTopicsRequest::default().with_topics(vec![topic("unset", None), topic("set", Some("1"))]);
    let answer = Wire::connect(site.port).call(7, &request);
    let code = |wanted: &str| answer.topics.iter().find(|topic| topic.name.as_str() == wanted).unwrap().error_code;
    assert_eq!((code("unset"), code("set")), (ResponseError::InvalidConfig.code(), 0));
    let topics = Wire::connect(site.port).call(9, &MetadataRequest::default().with_topics(None)).topics;
    assert_eq!(topics.iter().map(|topic| topic.name.clone()).collect::<Vec<_>>(), [Some(name("set"))]);
}

#[test]
fn transactions_are_refused_and_without_acknowledgement_the_connection_ends() {
    let site = Site::new(&[]);
    let _broker = site.start();
    let mut wire = Wire::connect(site.port);
    create(&mut wire, "t", &[]);
    let transactional = Some(TransactionalId(text("tx")));
    let init = InitProducerIdRequest::default().with_transactional_id(transactional.clone());
    assert_eq!(wire.call(4, &init).error_code, ResponseError::InvalidRequest.code());
    let data = PartitionProduceData::default().with_records(Some(batch(&[b"v"], Timestamp(1))));
    let topic = TopicProduceData::default().with_name(name("t")).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_transactional_id(transactional).with_topic_data(vec![topic]);
    let answer = wire.call(9, &request.clone().with_acks(1));
    assert_eq!(answer.responses[0].partition_responses[0].error_code, ResponseError::InvalidTxnState.code());
    let frame = wire.encode(9, &request.with_acks(0));
    wire.stream.write_all(&frame).unwrap();
    assert!(wire.receive().is_none(), "the client expects no answer");
}
