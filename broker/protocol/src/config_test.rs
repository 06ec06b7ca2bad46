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
    for scope in [BROKER, TOPIC] {
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
fn a_topic_option_and_its_broker_synonyms_have_one_default_and_one_range() {
    let (topic, broker) = (Values::defaults(TOPIC), Values::defaults(BROKER));
    for option in options(TOPIC) {
        let Some(synonym) = option.synonyms.last() else { continue };
        let expected = match broker.get(synonym.name).unwrap() {
            Value::Number(number) => Value::Number(number.saturating_mul(synonym.factor)),
            other => other.clone(),
        };
        assert_eq!(topic.get(option.name), Some(&expected), "{}", option.name);
        for synonym in option.synonyms.iter().filter(|synonym| synonym.factor == 1) {
            let same = lookup(BROKER, synonym.name).unwrap();
            assert_eq!((same.max, same.choices), (option.max, option.choices), "{}", option.name);
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

#[test]
fn a_topic_without_its_own_value_takes_the_brokers() {
    let table = [
        ("", "", 604_800_000, Source::Default),
        ("", "log.retention.hours=2", 7_200_000, Source::Broker("log.retention.hours")),
        ("", "log.retention.hours=-1", -1, Source::Broker("log.retention.hours")),
        ("", "log.retention.hours=2\nlog.retention.minutes=3", 180_000, Source::Broker("log.retention.minutes")),
        ("", "log.retention.minutes=3\nlog.retention.ms=4", 4, Source::Broker("log.retention.ms")),
        ("5", "log.retention.ms=4", 5, Source::Topic),
    ];
    for (own, text, value, source) in table {
        let mut topic = Values::defaults(TOPIC);
        if !own.is_empty() {
            topic.set("retention.ms", own).unwrap();
        }
        let found = effective_topic_value(&topic, &broker(text).0, "retention.ms").unwrap();
        assert_eq!((found.value, found.source), (Value::Number(value), source), "{own:?} {text:?}");
        assert_eq!(found.raw, value.to_string());
    }
    assert_eq!(effective_topic_value(&Values::defaults(TOPIC), &Values::defaults(BROKER), "nope"), None);
}

#[test]
fn the_reference_page_has_every_option() {
    let page = reference::reference_page();
    for option in options(BROKER).chain(options(TOPIC)) {
        assert!(page.contains(&format!("| `{}` | {} |", option.name, option.kind.name())), "{}", option.name);
    }
}
