//! The reference page of the APIs.

use super::{APIS, Api, Right};

/// Every API as Markdown.
pub fn reference_page() -> String {
    let rows: String = APIS.iter().map(row).collect();
    format!(
        "# APIs\n\nWritten by `millrace-broker reference`; changes here are lost. Names, keys and versions are those \
         of Kafka's protocol. A version that is not listed is not served.\n\n\
         | key | API | versions | listeners | right, as Kafka's ACLs name it |\n|--:|---|---|---|---|\n{rows}"
    )
}

fn row(api: &Api) -> String {
    let (key, name, versions) = (api.key_number(), api.name, api.versions);
    let advertised = match api.advertised() {
        same if same == versions => String::new(),
        advertised => format!(" (announced: {advertised})"),
    };
    let listeners = joined(api.listeners.iter().map(|listener| format!("{listener:?}").to_lowercase()), ", ");
    let rights =
        joined(api.rights.iter().map(|Right { operation, resource }| format!("{operation:?} {resource:?}")), ", ");
    let rights = match (api.before_authentication, rights.as_str()) {
        (true, _) => "none, before authentication too",
        (false, "") => "none",
        (false, rights) => rights,
    };
    format!("| {key} | {name} | {versions}{advertised} | {listeners} | {rights} |\n")
}

fn joined(parts: impl Iterator<Item = String>, separator: &str) -> String {
    parts.collect::<Vec<_>>().join(separator)
}
