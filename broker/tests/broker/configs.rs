//! Options that are described and changed at run time.

use crate::harness::Site;
use crate::harness::wire::{Wire, batch};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource as IncrementalResource, AlterableConfig as IncrementalConfig,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    AlterConfigsRequest, CreateTopicsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest,
    ListConfigResourcesRequest, ProduceRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use protocol::types::Timestamp;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;

/// Operation, option, value.
type Edit<'a> = (i8, &'a str, Option<&'a str>);

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn create(wire: &mut Wire, topic: &str) {
    let topic =
        CreatableTopic::default().with_name(TopicName(text(topic))).with_num_partitions(1).with_replication_factor(1);
    let response = wire.call(7, &CreateTopicsRequest::default().with_topics(vec![topic]));
    assert_eq!(response.topics[0].error_code, 0, "{:?}", response.topics[0].error_message);
}

fn incremental(kind: i8, name: &str, edits: &[Edit<'_>]) -> IncrementalResource {
    let configs = edits.iter().map(|(operation, option, value)| {
        IncrementalConfig::default()
            .with_name(text(option))
            .with_config_operation(*operation)
            .with_value(value.map(text))
    });
    IncrementalResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(configs.collect())
}

/// The error code for each resource.
fn alter(wire: &mut Wire, resources: Vec<IncrementalResource>) -> Vec<i16> {
    let request = IncrementalAlterConfigsRequest::default().with_resources(resources);
    wire.call(1, &request).responses.iter().map(|response| response.error_code).collect()
}

fn set(wire: &mut Wire, kind: i8, name: &str, option: &str, value: &str) {
    assert_eq!(alter(wire, vec![incremental(kind, name, &[(SET, option, Some(value))])]), [0], "{option}={value}");
}

fn delete(wire: &mut Wire, kind: i8, name: &str, option: &str) {
    assert_eq!(alter(wire, vec![incremental(kind, name, &[(DELETE, option, None)])]), [0], "{option}");
}

fn describe(wire: &mut Wire, resources: &[(i8, &str)], keys: Option<&[&str]>) -> Vec<DescribeConfigsResult> {
    let resources = resources.iter().map(|(kind, name)| {
        DescribeConfigsResource::default()
            .with_resource_type(*kind)
            .with_resource_name(text(name))
            .with_configuration_keys(keys.map(|keys| keys.iter().map(|key| text(key)).collect()))
    });
    let request = DescribeConfigsRequest::default()
        .with_resources(resources.collect())
        .with_include_synonyms(true)
        .with_include_documentation(true);
    wire.call(4, &request).results
}

/// One option of one resource.
fn described(wire: &mut Wire, kind: i8, name: &str, option: &str) -> DescribeConfigsResourceResult {
    let mut result = describe(wire, &[(kind, name)], Some(&[option])).remove(0);
    assert_eq!((result.error_code, result.configs.len()), (0, 1), "{option}: {:?}", result.error_message);
    result.configs.remove(0)
}

/// Value and source of each synonym of the option, the effective one first.
fn synonyms(wire: &mut Wire, kind: i8, name: &str, option: &str) -> Vec<(String, i8)> {
    let described = described(wire, kind, name, option);
    let synonyms: Vec<_> = described
        .synonyms
        .iter()
        .map(|synonym| (synonym.value.as_deref().unwrap_or_default().to_owned(), synonym.source))
        .collect();
    assert_eq!(described.value.as_deref(), Some(synonyms[0].0.as_str()));
    assert_eq!(described.config_source, synonyms[0].1);
    synonyms
}

fn produce(wire: &mut Wire, topic: &str, bytes: usize) -> i16 {
    let records = batch(&[&vec![b'x'; bytes]], Timestamp(5));
    let data = PartitionProduceData::default().with_index(0).with_records(Some(records));
    let topic = TopicProduceData::default().with_name(TopicName(text(topic))).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(1000).with_topic_data(vec![topic]);
    wire.call(12, &request).responses[0].partition_responses[0].error_code
}

#[test]
fn what_is_set_holds_at_once_with_the_strongest_layer_first() {
    let site = Site::new(&["message.max.bytes=3000"]);
    let _broker = site.start();
    let mut wire = Wire::connect(site.port);
    create(&mut wire, "t");
    let too_large = ResponseError::MessageTooLarge.code();
    let (option, inherited) = ("max.message.bytes", "message.max.bytes");
    let produced = |wire: &mut Wire| [800, 1800, 2800, 3800, 4800].map(|bytes| produce(wire, "t", bytes));
    let up_to = |count: usize| {
        let mut codes = [too_large; 5];
        codes[..count].fill(0);
        codes
    };
    assert_eq!(produced(&mut wire), up_to(3), "the file's");
    set(&mut wire, BROKER, "", inherited, "4000");
    assert_eq!(produced(&mut wire), up_to(4), "that of all brokers");
    set(&mut wire, BROKER, "1", inherited, "2000");
    assert_eq!(produced(&mut wire), up_to(2), "that of this broker");
    set(&mut wire, TOPIC, "t", option, "1000");
    assert_eq!(produced(&mut wire), up_to(1), "the topic's own");

    let all = [("1000", 1), ("2000", 2), ("4000", 3), ("3000", 4), ("1048588", 5)].map(|(v, s)| (v.to_owned(), s));
    assert_eq!(synonyms(&mut wire, TOPIC, "t", option), all);
    assert_eq!(synonyms(&mut wire, BROKER, "1", inherited), all[1..]);
    assert_eq!(synonyms(&mut wire, BROKER, "", inherited), all[2..3]);

    delete(&mut wire, TOPIC, "t", option);
    assert_eq!(produced(&mut wire), up_to(2));
    delete(&mut wire, BROKER, "1", inherited);
    assert_eq!(produced(&mut wire), up_to(4));
    delete(&mut wire, BROKER, "", inherited);
    assert_eq!(produced(&mut wire), up_to(3));
}

#[test]
fn what_is_set_survives_a_crash_and_counts_for_new_topics() {
    let site = Site::new(&["log.segment.bytes=2000000"]);
    let broker = site.start();
    let mut wire = Wire::connect(site.port);
    create(&mut wire, "old");
    set(&mut wire, BROKER, "", "message.max.bytes", "2000");
    set(&mut wire, TOPIC, "old", "max.message.bytes", "1000");
    set(&mut wire, GROUP, "g", "consumer.session.timeout.ms", "50000");
    broker.kill();
    let _broker = site.start();
    let mut wire = Wire::connect(site.port);
    create(&mut wire, "new");
    let too_large = ResponseError::MessageTooLarge.code();
    let codes = [("old", 800), ("old", 1800), ("new", 1800), ("new", 2800)];
    let codes = codes.map(|(topic, bytes)| produce(&mut wire, topic, bytes));
    assert_eq!(codes, [0, too_large, 0, too_large]);
    assert_eq!(described(&mut wire, GROUP, "g", "consumer.session.timeout.ms").config_source, 8);
    let segment = described(&mut wire, TOPIC, "new", "segment.bytes");
    assert_eq!((segment.value.as_deref(), segment.config_source), (Some("2000000"), 4));
}

#[test]
fn created_topics_are_told_what_describing_them_tells() {
    let site = Site::new(&["log.roll.hours=3"]);
    let _broker = site.start();
    let mut wire = Wire::connect(site.port);
    set(&mut wire, BROKER, "", "log.retention.bytes", "77");
    let topic =
        CreatableTopic::default().with_name(TopicName(text("t"))).with_num_partitions(1).with_replication_factor(1);
    let response = wire.call(7, &CreateTopicsRequest::default().with_topics(vec![topic]));
    let created = response.topics[0].configs.as_ref().unwrap();
    let told: Vec<_> = created.iter().map(|c| (c.name.clone(), c.value.clone(), c.config_source)).collect();
    let result = describe(&mut wire, &[(TOPIC, "t")], None).remove(0);
    let found: Vec<_> = result.configs.iter().map(|c| (c.name.clone(), c.value.clone(), c.config_source)).collect();
    assert_eq!(told, found);
    for expected in [("segment.ms", "10800000", 4), ("retention.bytes", "77", 3), ("cleanup.policy", "delete", 5)] {
        let (name, value, source) = expected;
        assert!(told.contains(&(text(name), Some(text(value)), source)), "{expected:?}");
    }
}

#[test]
fn descriptions_are_as_kafkas() {
    let site = Site::new(&["delete.topic.enable= TRUE "]);
    let _broker = site.start();
    let mut wire = Wire::connect(site.port);
    let node = described(&mut wire, BROKER, "1", "node.id");
    assert!(node.read_only && !node.is_sensitive);
    assert_eq!((node.value.as_deref(), node.config_source, node.config_type), (Some("1"), 4, 3));
    assert!(node.documentation.unwrap().starts_with("Number of this process"));
    let deletion = described(&mut wire, BROKER, "1", "delete.topic.enable");
    assert_eq!((deletion.value.as_deref(), deletion.config_type), (Some("true"), 1));
    let unset = described(&mut wire, BROKER, "1", "broker.rack");
    assert_eq!((unset.value, unset.config_source), (None, 5));
    assert!(!described(&mut wire, BROKER, "1", "message.max.bytes").read_only);
    // The cluster-wide value is in the metadata from the first start.
    let min_insync = described(&mut wire, BROKER, "", "min.insync.replicas");
    assert_eq!((min_insync.value.as_deref(), min_insync.config_source), (Some("1"), 3));
    let group = described(&mut wire, GROUP, "nobody", "consumer.heartbeat.interval.ms");
    assert_eq!((group.value.as_deref(), group.config_source), (Some("5000"), 5));
    let metrics = described(&mut wire, CLIENT_METRICS, "nothing", "interval.ms");
    assert_eq!((metrics.value.as_deref(), metrics.config_source), (Some("300000"), 5));

    let invalid = ResponseError::InvalidRequest.code();
    let table = [
        (vec![(TOPIC, "nope")], vec![ResponseError::UnknownTopicOrPartition.code()]),
        (vec![(TOPIC, "a b")], vec![ResponseError::InvalidTopicException.code()]),
        (vec![(BROKER, "2")], vec![invalid]),
        (vec![(BROKER, "x")], vec![invalid]),
        (vec![(BROKER_LOGGER, "1")], vec![invalid]),
        (vec![(GROUP, "")], vec![invalid]),
        (vec![(CLIENT_METRICS, "")], vec![invalid]),
        (vec![(BROKER, "1"), (TOPIC, "nope")], vec![0, ResponseError::UnknownTopicOrPartition.code()]),
        (vec![(BROKER, "1"), (99, "x")], vec![invalid, invalid]),
        (vec![(BROKER, "1"), (BROKER, "1")], vec![invalid, invalid]),
    ];
    for (resources, expected) in table {
        let results = describe(&mut wire, &resources, None);
        let codes: Vec<_> = results.iter().map(|result| result.error_code).collect();
        assert_eq!(codes, expected, "{resources:?}");
        assert!(results.iter().all(|result| result.error_code == 0 || result.configs.is_empty()));
    }
    assert!(describe(&mut wire, &[(BROKER, "1")], Some(&["nope"]))[0].configs.is_empty());
    assert!(100 < describe(&mut wire, &[(BROKER, "1")], Some(&[]))[0].configs.len());
}

#[test]
fn invalid_changes_get_kafkas_errors_and_change_nothing() {
    let site = Site::new(&[]);
    let _broker = site.start();
    let mut wire = Wire::connect(site.port);
    create(&mut wire, "t");
    let invalid_request = ResponseError::InvalidRequest.code();
    let invalid_config = ResponseError::InvalidConfig.code();
    let (unknown_topic, no_topic) =
        (ResponseError::UnknownTopicOrPartition.code(), ResponseError::InvalidTopicException.code());
    let no_broker = ResponseError::BrokerIdNotRegistered.code();
    let table: [(i8, &str, &[Edit<'_>], i16); 22] = [
        (TOPIC, "t", &[(SET, "retention.ms", Some("x"))], invalid_config),
        (TOPIC, "t", &[(SET, "nope", Some("x"))], invalid_config),
        (TOPIC, "t", &[(APPEND, "retention.ms", Some("1"))], invalid_config),
        (TOPIC, "t", &[(SET, "retention.ms", None)], invalid_request),
        (TOPIC, "t", &[(9, "retention.ms", Some("1"))], invalid_request),
        (TOPIC, "t", &[(SET, "retention.ms", Some("1")), (DELETE, "retention.ms", None)], invalid_request),
        (TOPIC, "t", &[(SET, "retention.ms", Some("1")), (SET, "segment.ms", Some("x"))], invalid_config),
        (TOPIC, "t", &[(SET, "remote.storage.enable", Some("true"))], invalid_config),
        (TOPIC, "", &[(SET, "retention.ms", Some("1"))], invalid_request),
        (TOPIC, "a b", &[(SET, "retention.ms", Some("1"))], no_topic),
        (TOPIC, "u", &[(SET, "retention.ms", Some("1"))], unknown_topic),
        (BROKER, "2", &[(SET, "message.max.bytes", Some("1"))], no_broker),
        (BROKER, "x", &[(SET, "message.max.bytes", Some("1"))], invalid_request),
        (BROKER, "1", &[(SET, "node.id", Some("1"))], invalid_request),
        (BROKER, "1", &[(SET, "message.max.bytes", Some("x"))], invalid_request),
        (BROKER, "1", &[(SET, "min.insync.replicas", Some("1"))], invalid_config),
        (BROKER, "", &[(DELETE, "min.insync.replicas", None)], invalid_config),
        (BROKER_LOGGER, "1", &[(SET, "root", Some("DEBUG"))], invalid_request),
        (GROUP, "g", &[(SET, "consumer.session.timeout.ms", Some("1"))], invalid_config),
        (GROUP, "", &[(SET, "consumer.session.timeout.ms", Some("45000"))], invalid_request),
        (CLIENT_METRICS, "s", &[(SET, "interval.ms", Some("1"))], invalid_config),
        (99, "x", &[(SET, "a", Some("b"))], invalid_request),
    ];
    for (kind, name, edits, expected) in table {
        let codes = alter(&mut wire, vec![incremental(kind, name, edits)]);
        assert_eq!(codes, [expected], "{kind} {name:?} {edits:?}");
    }
    let twice = vec![incremental(TOPIC, "t", &[(SET, "retention.ms", Some("1"))]); 2];
    assert_eq!(alter(&mut wire, twice), [invalid_request; 2]);
    let request = IncrementalAlterConfigsRequest::default()
        .with_resources(vec![incremental(TOPIC, "t", &[(SET, "retention.ms", Some("1"))])])
        .with_validate_only(true);
    assert_eq!(wire.call(1, &request).responses[0].error_code, 0);
    for option in ["retention.ms", "segment.ms"] {
        assert_eq!(described(&mut wire, TOPIC, "t", option).config_source, 5, "nothing was changed");
    }
}

#[test]
fn alter_configs_leaves_only_what_it_names() {
    let site = Site::new(&[]);
    let _broker = site.start();
    let mut wire = Wire::connect(site.port);
    create(&mut wire, "t");
    set(&mut wire, TOPIC, "t", "segment.ms", "1000");
    let config =
        |name: &str, value: Option<&str>| AlterableConfig::default().with_name(text(name)).with_value(value.map(text));
    let mut replace = |kind: i8, name: &str, configs: Vec<AlterableConfig>| {
        let resource = AlterConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(name))
            .with_configs(configs);
        wire.call(2, &AlterConfigsRequest::default().with_resources(vec![resource])).responses[0].error_code
    };
    assert_eq!(replace(TOPIC, "t", vec![config("retention.ms", Some("5"))]), 0);
    assert_eq!(replace(TOPIC, "t", vec![config("flush.ms", None)]), ResponseError::InvalidRequest.code());
    // min.insync.replicas would be deleted.
    assert_eq!(replace(BROKER, "", vec![config("message.max.bytes", Some("5"))]), ResponseError::InvalidConfig.code());
    assert_eq!(described(&mut wire, TOPIC, "t", "segment.ms").config_source, 5);
    assert_eq!(described(&mut wire, TOPIC, "t", "retention.ms").config_source, 1);
}

#[test]
fn resources_are_listed_by_type() {
    let site = Site::new(&[]);
    let _broker = site.start();
    let mut wire = Wire::connect(site.port);
    create(&mut wire, "t");
    set(&mut wire, GROUP, "g", "streams.num.standby.replicas", "1");
    set(&mut wire, CLIENT_METRICS, "s", "interval.ms", "1000");
    let mut list = |version: i16, types: &[i8]| {
        let response = wire.call(version, &ListConfigResourcesRequest::default().with_resource_types(types.to_vec()));
        let listed = response.config_resources.into_iter();
        let listed: Vec<_> = listed.map(|found| (found.resource_type, found.resource_name.to_string())).collect();
        (response.error_code, listed)
    };
    let all = [(TOPIC, "t"), (BROKER, "1"), (CLIENT_METRICS, "s"), (GROUP, "g")];
    let all = all.map(|(kind, name)| (kind, name.to_owned())).to_vec();
    assert_eq!(list(1, &[]), (0, all.clone()));
    assert_eq!(list(1, &[GROUP, TOPIC, GROUP]), (0, vec![all[0].clone(), all[3].clone()]));
    assert_eq!(list(0, &[]), (0, vec![all[2].clone()]));
    // Log levels are neither described nor changed.
    assert_eq!(list(1, &[BROKER_LOGGER]), (0, Vec::new()));
    assert_eq!(list(1, &[TOPIC, 99]), (ResponseError::UnsupportedVersion.code(), vec![]));
}
