//! The reference page of the configuration.

use std::fmt::Write as _;

use super::{ConfigOption, Dynamic, Scope, options};

const TABLES: [(&str, Scope, &str); 4] = [
    (
        "Broker options",
        Scope::Broker,
        "In `server.properties`, with `--set`, or where the column *change* allows it by `kafka-configs --alter`.",
    ),
    ("Topic options", Scope::Topic, "When the topic is created, or at any time by `kafka-configs --alter`."),
    ("Group options", Scope::Group, "At any time by `kafka-configs --alter --entity-type groups`."),
    (
        "Client metrics subscriptions",
        Scope::ClientMetrics,
        "At any time by `kafka-configs --alter --entity-type client-metrics`.",
    ),
];

/// Every option as Markdown.
pub fn reference_page() -> String {
    let mut page = String::from(
        "# Configuration\n\nWritten by `millrace-broker reference`; changes here are lost. Names and meanings are \
         Kafka's, those that begin with `millrace.` are not.\n",
    );
    for (title, scope, how) in TABLES {
        let change = if scope == Scope::Broker { (" change |", "---|") } else { ("", "") };
        let rows: String = options(scope).map(|option| row(scope, option)).collect();
        // Writing to a String cannot fail.
        let _infallible = write!(
            page,
            "\n## {title}\n\n{how}\n\n| option | type | default | values |{} meaning |\n|---|---|---|---|{}---|\n{rows}",
            change.0, change.1
        );
    }
    page
}

fn row(scope: Scope, option: &ConfigOption) -> String {
    let default = match option.default {
        None => "unset".to_owned(),
        Some("") => "empty".to_owned(),
        Some(default) => format!("`{default}`"),
    };
    let change = match (scope, option.dynamic) {
        (Scope::Topic | Scope::Group | Scope::ClientMetrics, _) => "",
        (Scope::Broker, Dynamic::ReadOnly) => " restart |",
        (Scope::Broker, Dynamic::Restart) => " restart (Kafka: at any time) |",
        (Scope::Broker, Dynamic::WithController) => " at any time, per broker |",
        (Scope::Broker, Dynamic::ByController) => " by the controller alone |",
        (Scope::Broker, Dynamic::ClusterWide) => " at any time, for all brokers or one |",
        (Scope::Broker, Dynamic::ClusterOnly) => " at any time, for all brokers |",
    };
    let (name, kind, values, doc) = (option.name, option.kind.name(), values(option), option.documentation());
    format!("| `{name}` | {kind} | {default} | {values} |{change} {doc} |\n")
}

fn values(option: &ConfigOption) -> String {
    match (option.choices, option.min, option.max) {
        ([], i64::MIN, i64::MAX) => String::new(),
        ([], min, i64::MAX) => format!("at least {min}"),
        ([], i64::MIN, max) => format!("at most {max}"),
        ([], min, max) => format!("{min} to {max}"),
        (choices, ..) => choices.join(", "),
    }
}
