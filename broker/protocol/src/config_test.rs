use std::collections::BTreeSet;

use super::*;

const BROKER: Scope = Scope::Broker;
const TOPIC: Scope = Scope::Topic;

/// The settings that a release of Kafka ships for one node with both roles.
const RELEASED: &str = "
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=localhost:9093
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
inter.broker.listener.name=PLAINTEXT
advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
socket.request.max.bytes=104857600
log.dirs=/tmp/kraft-combined-logs
num.partitions=1
num.recovery.threads.per.data.dir=1
offsets.topic.replication.factor=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
log.retention.hours=168
log.segment.bytes=1073741824
log.retention.check.interval.ms=300000
";

fn broker(text: &str) -> (Values, Vec<ConfigError>) {
    let settings = properties::parse(text).unwrap();
    Values::parse(BROKER, settings.iter().map(|(name, raw)| (name.as_str(), raw.as_str())))
}

fn messages(text: &str) -> Vec<String> {
    let (values, errors) = broker(text);
    errors.iter().chain(&check_safety(&values)).map(ToString::to_string).collect()
}

#[test]
fn the_table_is_consistent() {
    for scope in [BROKER, TOPIC, Scope::Group, Scope::ClientMetrics] {
        let mut names = BTreeSet::new();
        for option in options(scope) {
            assert!(names.insert(option.name), "{} stands twice", option.name);
            assert!(option.doc.ends_with('.'), "{}", option.name);
            if let Some(default) = option.default {
                assert!(option.parse(default).is_ok(), "{}: default {default}", option.name);
            }
        }
    }
}

#[test]
fn an_option_and_its_broker_synonyms_have_one_default_and_one_range() {
    for scope in [TOPIC, Scope::Group] {
        let (own, broker) = (Values::defaults(scope), Values::defaults(BROKER));
        for option in options(scope).filter(|option| !option.synonyms.is_empty()) {
            let inherited = effective_value(&own, &broker, option.name).unwrap();
            assert_eq!(Some(&inherited.value), own.get(option.name), "{}", option.name);
            for synonym in option.synonyms.iter().filter(|synonym| synonym.factor == 1) {
                let same = lookup(BROKER, synonym.name).unwrap();
                assert_eq!((same.max, same.choices), (option.max, option.choices), "{}", option.name);
            }
        }
    }
}

#[test]
fn a_released_server_properties_is_accepted_unchanged() {
    assert_eq!(messages(RELEASED), Vec::<String>::new());
    let (values, _) = broker(RELEASED);
    assert_eq!(values.get_list("process.roles"), ["broker", "controller"]);
    assert_eq!(values.get_int("node.id"), 1);
    assert_eq!(values.get_long("log.retention.check.interval.ms"), 300_000);
    assert_eq!(values.get_string("broker.rack"), None);
    assert!(values.get_bool("auto.create.topics.enable"));
    assert!(values.is_set("num.partitions") && !values.is_set("delete.topic.enable"));
    assert_eq!(values.find_long("num.network.threads"), Some(3));
    assert_eq!(values.find_long("log.roll.ms"), None);
}

#[test]
fn errors_say_what_was_wrong_and_what_would_be_right() {
    let table = [
        ("log.retention.hours=x", "log.retention.hours: \"x\" is not a 32-bit integer"),
        ("log.retention.hours=2147483648", "log.retention.hours: \"2147483648\" is not a 32-bit integer"),
        ("log.retention.hour=1", "unknown option log.retention.hour; did you mean log.retention.hours?"),
        ("zebra=1", "unknown option zebra"),
        ("num.partitions=0", "num.partitions: 0 is less than 1"),
        ("compression.gzip.level=10", "compression.gzip.level: 10 is more than 9"),
        ("delete.topic.enable=yes", "delete.topic.enable: \"yes\" is not true or false"),
        ("log.cleaner.min.cleanable.ratio=1.5", "log.cleaner.min.cleanable.ratio: 1.5 is more than 1"),
        ("log.cleaner.min.cleanable.ratio=NaN", "log.cleaner.min.cleanable.ratio: \"NaN\" is not a number"),
        ("process.roles=broker,boss", "process.roles: \"boss\" is none of broker, controller"),
        ("millrace.format=now", "millrace.format: \"now\" is none of , await"),
        (
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer: \
             access control is not implemented, so every client could do everything",
        ),
        ("security.inter.broker.protocol=SSL", "security.inter.broker.protocol=SSL: only PLAINTEXT is implemented"),
        (
            "ssl.keystore.location=/k",
            "ssl.keystore.location=/k: only PLAINTEXT listeners are implemented, so this would leave the cluster open",
        ),
        ("log.dirs=/a,/b", "log.dirs=/a,/b: a broker has one data directory"),
        (
            "broker.heartbeat.interval.ms=3000",
            "broker.session.timeout.ms=3000 does not go with broker.heartbeat.interval.ms=3000: it must be more",
        ),
    ];
    for (text, message) in table {
        assert_eq!(messages(text), [message], "{text}");
    }
    assert!(messages("security.inter.broker.protocol=PLAINTEXT\nauthorizer.class.name=").is_empty());
}

#[test]
fn a_listener_that_is_opened_must_be_plaintext() {
    let table = [
        ("listeners=SSL://:9093", 1),
        ("listeners=SASL_SSL://:9093,PLAINTEXT://:9092", 1),
        ("listeners=A://:1,B://:2\nlistener.security.protocol.map=A:PLAINTEXT,B:SASL_PLAINTEXT", 1),
        ("listeners=A://:1\nlistener.security.protocol.map=B:PLAINTEXT", 1),
        ("listeners=A://:1,B://:2\nlistener.security.protocol.map=A:PLAINTEXT, B:plaintext", 0),
        ("listeners=PLAINTEXT://:1,C://:2\ncontroller.listener.names=C", 0),
        ("", 0),
    ];
    for (text, faults) in table {
        assert_eq!(messages(text).len(), faults, "{text}: {:?}", messages(text));
    }
}

#[test]
fn a_fault_leaves_the_former_value_and_later_settings_win() {
    let (values, errors) =
        broker("num.partitions=3\nnum.partitions=x\ndelete.topic.enable=true\ndelete.topic.enable=FALSE");
    assert_eq!(errors.len(), 1);
    assert_eq!(values.get_int("num.partitions"), 3);
    assert!(!values.get_bool("delete.topic.enable"));
}

/// Layer, name and value of each option set.
type Layers<'a> = &'a [(Layer, &'a str, &'a str)];

#[test]
fn a_topic_without_its_own_value_takes_the_brokers() {
    use Layer::{Default, DynamicBroker, DynamicDefault, Own, Static};
    let (hours, minutes, ms) = ("log.retention.hours", "log.retention.minutes", "log.retention.ms");
    let table: [(Layers<'_>, i64, Layer); 9] = [
        (&[], 604_800_000, Default),
        (&[(Static, hours, "2")], 7_200_000, Static),
        (&[(Static, hours, "-1")], -1, Static),
        (&[(Static, hours, "2"), (Static, minutes, "3")], 180_000, Static),
        (&[(Static, minutes, "3"), (Static, ms, "4")], 4, Static),
        (&[(Static, ms, "4"), (DynamicDefault, ms, "5")], 5, DynamicDefault),
        (&[(DynamicBroker, ms, "6"), (DynamicDefault, ms, "5")], 6, DynamicBroker),
        (&[(DynamicDefault, ms, "5"), (Static, ms, "4")], 5, DynamicDefault),
        (&[(Own, "retention.ms", "7"), (DynamicBroker, ms, "6")], 7, Own),
    ];
    for (layers, value, layer) in table {
        let (mut topic, mut broker) = (Values::defaults(TOPIC), Values::defaults(BROKER));
        for (layer, name, raw) in layers {
            match layer {
                Own => topic.set(name, raw).unwrap(),
                Static => broker.set(name, raw).unwrap(),
                _ => broker.set_dynamic(*layer, name, raw).unwrap(),
            }
        }
        let found = effective_value(&topic, &broker, "retention.ms").unwrap();
        assert_eq!((found.value, found.layer), (Value::Number(value), layer), "{layers:?}");
        assert_eq!(found.raw, value.to_string());
        let option = lookup(TOPIC, "retention.ms").unwrap();
        let order: Vec<_> = settings(&topic, &broker, option).iter().map(|setting| setting.layer).collect();
        assert!(order.is_sorted() && order.first() == Some(&layer), "{layers:?}: {order:?}");
    }
    assert_eq!(effective_value(&Values::defaults(TOPIC), &Values::defaults(BROKER), "nope"), None);
}

#[test]
fn a_brokers_option_is_told_with_those_that_say_the_same() {
    let mut values = broker("log.roll.hours=2\nnum.partitions=3").0;
    let told = |values: &Values, name: &str| {
        let settings = broker_settings(values, lookup(BROKER, name).unwrap());
        settings.iter().map(|setting| format!("{}={}", setting.name, setting.raw)).collect::<Vec<_>>()
    };
    assert_eq!(told(&values, "num.partitions"), ["num.partitions=3", "num.partitions=1"]);
    assert_eq!(told(&values, "log.roll.ms"), Vec::<String>::new());
    assert_eq!(told(&values, "log.roll.hours"), ["log.roll.hours=2", "log.roll.hours=168"]);
    values.set_dynamic(Layer::DynamicBroker, "log.roll.ms", " 5 ").unwrap();
    assert_eq!(told(&values, "log.roll.ms"), ["log.roll.ms=5", "log.roll.hours=2", "log.roll.hours=168"]);
    assert_eq!(told(&values, "log.roll.hours"), ["log.roll.hours=2", "log.roll.hours=168"]);
}

#[test]
fn what_may_change_while_the_broker_runs_is_told_by_name() {
    use Layer::{DynamicBroker, DynamicDefault};
    let table = [
        (DynamicBroker, "node.id", "node.id cannot be changed while the broker runs"),
        (DynamicDefault, "listeners", "listeners cannot be changed while the broker runs"),
        (DynamicDefault, "cordoned.log.dirs", "cordoned.log.dirs cannot be set for all brokers at once"),
        (DynamicBroker, "min.insync.replicas", "min.insync.replicas has one value for all brokers"),
        (DynamicBroker, "message.max.byte", "did you mean message.max.bytes?"),
        (DynamicBroker, "message.max.bytes", "message.max.bytes: \"x\" is not a 32-bit integer"),
    ];
    for (layer, name, message) in table {
        let error = validate_dynamic(layer, name, "x").unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    let allowed = [(DynamicDefault, "min.insync.replicas"), (DynamicBroker, "message.max.bytes")];
    for (layer, name) in allowed {
        assert_eq!(validate_dynamic(layer, name, "2"), Ok(Value::Number(2)));
    }
}

#[test]
fn settings_that_do_not_go_together_are_found() {
    let topic = |settings: &[(&str, &str)]| check_topic(&Values::parse(TOPIC, settings.iter().copied()).0);
    assert_eq!(topic(&[]), None);
    assert_eq!(topic(&[("max.compaction.lag.ms", "5"), ("min.compaction.lag.ms", "5")]), None);
    let error = topic(&[("max.compaction.lag.ms", "5"), ("min.compaction.lag.ms", "6")]).unwrap();
    assert_eq!(
        error.to_string(),
        "min.compaction.lag.ms=6 does not go with max.compaction.lag.ms=5: it must be at most as much"
    );

    let brokers = broker("group.consumer.min.session.timeout.ms=10\ngroup.consumer.max.session.timeout.ms=20").0;
    let table = [("9", Some("group.consumer.min.session.timeout.ms")), ("10", None), ("20", None)];
    let table = table.into_iter().chain([("21", Some("group.consumer.max.session.timeout.ms"))]);
    for (timeout, crossed) in table {
        let group = Values::parse(Scope::Group, [("consumer.session.timeout.ms", timeout)]).0;
        let found = match check_group(&group, &brokers) {
            Some(ConfigError::Contradiction { other, .. }) => Some(other),
            _ => None,
        };
        assert_eq!(found, crossed, "{timeout}");
    }
    assert_eq!(check_group(&Values::defaults(Scope::Group), &brokers), None, "what is inherited is the broker's");
}

#[test]
fn the_reference_page_has_every_option() {
    let page = reference::reference_page();
    let scopes = [BROKER, TOPIC, Scope::Group, Scope::ClientMetrics];
    for option in scopes.into_iter().flat_map(options) {
        assert!(page.contains(&format!("| `{}` | {} |", option.name, option.kind.name())), "{}", option.name);
    }
}
