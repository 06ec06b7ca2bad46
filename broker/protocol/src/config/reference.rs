//! The reference page of the configuration.

use std::fmt::Write as _;

use super::{ConfigOption, Dynamic, Effect, Scope, options};

/// Every option as Markdown.
pub fn reference_page() -> String {
    let mut page = String::from("# Configuration\n\nGenerated from the table in `protocol::config`.\n");
    for (title, scope) in [("Broker", Scope::Broker), ("Topic", Scope::Topic)] {
        let head = "| option | type | default | values | change | meaning |\n|---|---|---|---|---|---|\n";
        let rows: String = options(scope).map(|option| row(scope, option)).collect();
        // Writing to a String cannot fail.
        let _infallible = write!(page, "\n## {title} options\n\n{head}{rows}");
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
        (Scope::Topic, _) => "at any time",
        (Scope::Broker, Dynamic::ReadOnly) => "restart",
        (Scope::Broker, Dynamic::PerBroker) => "at any time, per broker or for all",
        (Scope::Broker, Dynamic::ClusterWide) => "at any time, for all brokers",
    };
    let effect = match option.effect {
        Effect::Active => String::new(),
        Effect::AcceptedIgnored => " Accepted, without effect.".to_owned(),
        Effect::Refused(reason) => format!(" Only the default is accepted: {reason}."),
    };
    let synonyms: Vec<String> = option.synonyms.iter().map(|synonym| format!("`{}`", synonym.name)).collect();
    let from = if synonyms.is_empty() { String::new() } else { format!(" Otherwise from {}.", synonyms.join(", ")) };
    let (name, kind, values, doc) = (option.name, option.kind.name(), values(option), option.doc);
    format!("| `{name}` | {kind} | {default} | {values} | {change} | {doc}{from}{effect} |\n")
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
