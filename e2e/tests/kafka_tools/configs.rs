//! Configurations of topics, of a broker and of all brokers.

use crate::site::Site;

/// The line of an option, including the source of its value.
fn line<'a>(described: &'a str, option: &str) -> Option<&'a str> {
    described.lines().map(str::trim).find(|line| line.starts_with(&format!("{option}=")))
}

pub(crate) fn kafka_configs_changes_and_describes_topics() {
    let site = Site::shared();
    site.run("kafka-topics --create --topic settled --partitions 1");
    let configs =
        |action: &str| site.run(&format!("kafka-configs --entity-type topics --entity-name settled {action}"));
    let changed = configs("--alter --add-config max.message.bytes=2000000,cleanup.policy=compact");
    assert_eq!(changed, "Completed updating config for topic settled.\n");
    let limit = "  max.message.bytes=2000000 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:max.message.bytes=2000000, \
                DEFAULT_CONFIG:message.max.bytes=1048588}\n";
    let policy = "  cleanup.policy=compact sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:cleanup.policy=compact, \
                  DEFAULT_CONFIG:log.cleanup.policy=delete}\n";
    let title = "Dynamic configs for topic settled are:\n";
    assert_eq!(configs("--describe"), format!("{title}{policy}{limit}"));
    configs("--alter --delete-config cleanup.policy");
    assert_eq!(configs("--describe"), format!("{title}{limit}"));
    let all = configs("--describe --all");
    let inherited = "cleanup.policy=delete sensitive=false synonyms={DEFAULT_CONFIG:log.cleanup.policy=delete}";
    assert_eq!(line(&all, "cleanup.policy"), Some(inherited));
}

pub(crate) fn kafka_configs_refuses_what_a_topic_cannot_have() {
    let site = Site::shared();
    site.run("kafka-topics --create --topic strict --partitions 1");
    for (change, named) in [("retention.msx=1", "retention.msx"), ("retention.ms=soon", "retention.ms")] {
        let said = site
            .refused(&format!("kafka-configs --entity-type topics --entity-name strict --alter --add-config {change}"));
        let reason = said.lines().find(|line| line.starts_with("Caused by: ")).unwrap_or(&said);
        assert!(reason.contains("InvalidConfigurationException") && reason.contains(named), "{said}");
    }
    let described = site.run("kafka-configs --entity-type topics --entity-name strict --describe");
    assert_eq!(described, "Dynamic configs for topic strict are:\n");
}

pub(crate) fn kafka_configs_changes_and_describes_a_broker() {
    let site = Site::shared();
    let configs = |action: &str| site.run(&format!("kafka-configs --entity-type brokers --entity-name 1 {action}"));
    assert_eq!(configs("--alter --add-config log.cleaner.threads=2"), "Completed updating config for broker 1.\n");
    let threads = "log.cleaner.threads=2 sensitive=false synonyms={DYNAMIC_BROKER_CONFIG:log.cleaner.threads=2, \
                   DEFAULT_CONFIG:log.cleaner.threads=1}";
    assert_eq!(configs("--describe"), format!("Dynamic configs for broker 1 are:\n  {threads}\n"));
    configs("--alter --delete-config log.cleaner.threads");
    assert_eq!(configs("--describe"), "Dynamic configs for broker 1 are:\n");
    let read_only =
        site.refused("kafka-configs --entity-type brokers --entity-name 1 --alter --add-config process.roles=broker");
    assert!(read_only.contains("InvalidRequestException") && read_only.contains("process.roles"), "{read_only}");
    let all = configs("--describe --all");
    let own_setting = line(&all, "node.id").unwrap_or_default();
    assert_eq!(own_setting, "node.id=1 sensitive=false synonyms={STATIC_BROKER_CONFIG:node.id=1}");
}

pub(crate) fn kafka_configs_changes_the_default_of_all_brokers() {
    let site = Site::shared();
    let configs = |action: &str| site.run(&format!("kafka-configs --entity-type brokers --entity-default {action}"));
    let topic = || site.run("kafka-configs --entity-type topics --entity-name inheriting --describe --all");
    site.run("kafka-topics --create --topic inheriting --partitions 1");
    let changed = configs("--alter --add-config log.segment.bytes=2097152");
    assert_eq!(changed, "Completed updating default config for brokers in the cluster.\n");
    let source = "DYNAMIC_DEFAULT_BROKER_CONFIG:log.segment.bytes=2097152";
    let described = configs("--describe");
    assert!(line(&described, "log.segment.bytes").is_some_and(|line| line.contains(source)), "{described}");
    let inherited = topic();
    let segment = line(&inherited, "segment.bytes").unwrap();
    assert!(segment.starts_with(&format!("segment.bytes=2097152 sensitive=false synonyms={{{source}, ")), "{segment}");
    configs("--alter --delete-config log.segment.bytes");
    assert!(line(&topic(), "segment.bytes").unwrap().starts_with("segment.bytes=1073741824 "));
}
