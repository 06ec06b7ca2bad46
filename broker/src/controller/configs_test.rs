use super::super::decommission::CORDONED;
use super::super::discards::DISCARDED;
use super::*;
use crate::metadata::testing::{add_topic, apply, cluster};

fn file() -> Values {
    Values::defaults(Scope::Broker)
}

fn image() -> Image {
    let mut image = cluster(2);
    add_topic(&mut image, "t", &[0]);
    let min_insync_replicas = record(&ConfigResource::all_brokers(), "min.insync.replicas", Some("1".to_owned()));
    apply(&mut image, &[min_insync_replicas]);
    image
}

fn topic(name: &str) -> ConfigResource {
    ConfigResource::topic(name)
}

fn of_kind(kind: ConfigResourceType, name: &str) -> ConfigResource {
    ConfigResource { kind, name: name.to_owned() }
}

fn set(value: &str) -> ConfigEdit {
    ConfigEdit::Set(value.to_owned())
}

fn append(value: &str) -> ConfigEdit {
    ConfigEdit::Append(value.to_owned())
}

fn subtract(value: &str) -> ConfigEdit {
    ConfigEdit::Subtract(value.to_owned())
}

fn change(resource: ConfigResource, edits: &[(&str, ConfigEdit)]) -> ConfigChange {
    let edits = edits.iter().map(|(name, edit)| ((*name).to_owned(), edit.clone())).collect();
    ConfigChange { resource, edits, others: Others::Kept }
}

/// Makes the change and returns what is then stored for the resource.
fn made(image: &mut Image, change: &ConfigChange) -> Vec<String> {
    let (records, results) = alter_configs(image, &file(), std::slice::from_ref(change));
    assert_eq!(results, [Ok(())]);
    apply(image, &records);
    let stored = image.configs.get(&change.resource).cloned().unwrap_or_default();
    stored.iter().map(|(name, value)| format!("{name}={value}")).collect()
}

#[test]
fn edits_change_what_they_name_and_nothing_else() {
    let mut image = image();
    let resource = topic("t");
    let steps = [
        (vec![("retention.ms", set("5")), ("segment.ms", set("6"))], vec!["retention.ms=5", "segment.ms=6"]),
        (vec![("retention.ms", ConfigEdit::Delete), ("retention.bytes", ConfigEdit::Delete)], vec!["segment.ms=6"]),
        (vec![("cleanup.policy", append("compact"))], vec!["cleanup.policy=delete,compact", "segment.ms=6"]),
        (vec![("cleanup.policy", append(" delete , compact"))], vec!["cleanup.policy=delete,compact", "segment.ms=6"]),
        (vec![("cleanup.policy", subtract("delete,nothing"))], vec!["cleanup.policy=compact", "segment.ms=6"]),
        (vec![("cleanup.policy", ConfigEdit::Delete), ("segment.ms", ConfigEdit::Delete)], vec![]),
    ];
    for (edits, stored) in steps {
        assert_eq!(made(&mut image, &change(resource.clone(), &edits)), stored, "{edits:?}");
    }
}

#[test]
fn what_replaces_all_deletes_the_rest() {
    let mut image = image();
    made(&mut image, &change(topic("t"), &[("retention.ms", set("5")), ("segment.ms", set("6"))]));
    let replacement = ConfigChange { others: Others::Deleted, ..change(topic("t"), &[("segment.ms", set("7"))]) };
    assert_eq!(made(&mut image, &replacement), ["segment.ms=7"]);
}

#[test]
fn what_the_controller_has_written_goes_by_no_omission() {
    let mut image = image();
    let broker = ConfigResource::broker(BrokerId(1));
    let own = [(CORDONED, "*"), (DISCARDED, "AAAAAAAAAAAAAAAAAAAAAQ")];
    apply(&mut image, &own.map(|(name, value)| record(&broker, name, Some(value.to_owned()))));
    let [cordoned, discarded] = own.map(|(name, value)| format!("{name}={value}"));
    let others = change(broker.clone(), &[("log.cleaner.threads", set("2"))]);
    let replacement = ConfigChange { others: Others::Deleted, ..others };
    let stored = made(&mut image, &replacement);
    assert_eq!(stored, [cordoned, "log.cleaner.threads=2".to_owned(), discarded]);

    assert_eq!(made(&mut image, &change(broker.clone(), &[(CORDONED, ConfigEdit::Delete)])).len(), 2);
    for edit in [ConfigEdit::Delete, set(""), append("AAAAAAAAAAAAAAAAAAAAAg")] {
        let (records, results) = alter_configs(&image, &file(), &[change(broker.clone(), &[(DISCARDED, edit)])]);
        assert!(matches!(results.as_slice(), [Err(AlterConfigError::ByController { name: DISCARDED, .. })]));
        assert_eq!(records, []);
    }
}

#[test]
fn nothing_is_written_for_what_is_so_already() {
    let mut image = image();
    let same = change(topic("t"), &[("retention.ms", set("5"))]);
    made(&mut image, &same);
    assert_eq!(alter_configs(&image, &file(), &[same]), (vec![], vec![Ok(())]));
}

#[test]
fn one_resource_fails_by_itself_and_as_a_whole() {
    let image = image();
    let half_wrong = change(topic("t"), &[("retention.ms", set("5")), ("segment.ms", set("x"))]);
    let right = change(ConfigResource::broker(BrokerId(1)), &[("message.max.bytes", set("5"))]);
    let (records, results) = alter_configs(&image, &file(), &[half_wrong, right.clone()]);
    assert!(matches!(results.as_slice(), [Err(AlterConfigError::Invalid(_)), Ok(())]), "{results:?}");
    assert_eq!(records, [record(&right.resource, "message.max.bytes", Some("5".to_owned()))]);
}

#[test]
fn refusals_name_the_reason() {
    use ConfigResourceType::{Broker, BrokerLogger, ClientMetrics, Group, Topic};
    let long = "1:1,".repeat(10_000);
    let retention = |value: &str| ("retention.ms", set(value));
    let table = [
        (topic("t"), retention("x"), "not a 64-bit integer"),
        (topic("t"), ("retention.m", set("1")), "did you mean retention.ms?"),
        (topic("t"), ("retention.ms", append("1")), "retention.ms is not a list"),
        (topic("t"), ("nonsense", append("1")), "nonsense is not a list"),
        (topic("t"), ("cleanup.policy", append("both")), "\"both\" is none of compact, delete"),
        (topic("t"), ("min.compaction.lag.ms", set(&i64::MAX.to_string())), ""),
        (topic("t"), ("max.compaction.lag.ms", set("1")), ""),
        (topic("t"), ("leader.replication.throttled.replicas", set(&long)), "40000 bytes, at most 32767"),
        (
            topic("t"),
            ("follower.replication.throttled.replicas", set("0:1,1")),
            "\"1\" is not `partition:broker` or `*`",
        ),
        (topic("u"), retention("1"), "the topic \"u\" does not exist"),
        (topic("u"), retention("x"), "not a 64-bit integer"),
        (topic("a b"), retention("1"), "\"a b\" is not legal"),
        (topic(""), retention("1"), "a topic needs a name"),
        (of_kind(Topic, ".."), retention("1"), "is not legal"),
        (of_kind(Broker, "x"), ("message.max.bytes", set("1")), "not the number of a broker"),
        (of_kind(Broker, "-1"), ("message.max.bytes", set("1")), "not the number of a broker"),
        (of_kind(Broker, "7"), ("message.max.bytes", set("1")), "no broker with the id 7"),
        (of_kind(Broker, "1"), ("node.id", set("1")), "node.id cannot be changed while the broker runs"),
        (of_kind(Broker, ""), ("listeners", set("A://:1")), "listeners cannot be changed while the broker runs"),
        (of_kind(Broker, "1"), ("min.insync.replicas", set("2")), "one value for all brokers"),
        (of_kind(Broker, ""), ("min.insync.replicas", ConfigEdit::Delete), "must have a value for all brokers"),
        (of_kind(Broker, ""), ("message.max.bytes", set("x")), "not a 32-bit integer"),
        (of_kind(BrokerLogger, "1"), ("root", set("DEBUG")), "RUST_LOG"),
        (of_kind(Group, ""), ("consumer.session.timeout.ms", set("1")), "a group needs a name"),
        (of_kind(Group, "g"), ("consumer.session.timeout.ms", set("1")), "group.consumer.min.session.timeout.ms=45000"),
        (of_kind(ClientMetrics, ""), ("interval.ms", set("1000")), "subscription needs a name"),
        (of_kind(ClientMetrics, "s"), ("interval.ms", set("1")), "less than 100"),
    ];
    for (resource, edit, reason) in table {
        let asked = change(resource, &[edit]);
        let (records, results) = alter_configs(&image(), &file(), std::slice::from_ref(&asked));
        let Some(Err(error)) = results.first() else {
            assert!(reason.is_empty(), "{asked:?} was not refused");
            continue;
        };
        assert!(!reason.is_empty() && error.to_string().contains(reason), "{error} does not say {reason:?}");
        assert_eq!(records, []);
    }
}

#[test]
fn the_topic_as_it_would_be_is_checked() {
    let mut image = image();
    made(&mut image, &change(topic("t"), &[("max.compaction.lag.ms", set("5"))]));
    let (_, results) = alter_configs(&image, &file(), &[change(topic("t"), &[("min.compaction.lag.ms", set("6"))])]);
    assert!(matches!(results.as_slice(), [Err(AlterConfigError::Invalid(ConfigError::Contradiction { .. }))]));
}

#[test]
fn a_request_has_a_bound() {
    let image = image();
    let groups = (0..=RECORDS_MAX).map(|number| of_kind(ConfigResourceType::Group, &number.to_string()));
    let changes: Vec<_> = groups.map(|group| change(group, &[("streams.num.standby.replicas", set("1"))])).collect();
    let (records, results) = alter_configs(&image, &file(), &changes);
    assert_eq!((records.len(), results.last()), (RECORDS_MAX, Some(&Err(AlterConfigError::TooMany))));
}

#[test]
fn what_cannot_be_in_force_is_left_out_and_told() {
    let mut image = cluster(1);
    let stored = [("node.id", "7"), ("message.max.bytes", "x"), ("log.segment.bytes", "2000000")];
    let records =
        stored.map(|(name, value)| record(&ConfigResource::broker(BrokerId(0)), name, Some(value.to_owned())));
    apply(&mut image, &records);
    let (values, errors) = image.broker_values(BrokerId(0), &file());
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert_eq!(values.get_int("log.segment.bytes"), 2_000_000);
    assert_eq!(image.broker_values(BrokerId(1), &file()).0.get_int("log.segment.bytes"), 1 << 30);
}
