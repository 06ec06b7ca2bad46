//! The guard's table against the message schemas of Apache Kafka, as kafka-python's source archive holds them: the
//! same fields in the same order with the same types, nulls and tags, in every version described.
//!
//! What the archive lacks is compared with kafka-protocol's codec alone, in `broker/fuzz`. Where the archive cannot be
//! had, offline, the comparison is left out aloud.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may panic as tests do")]

#[path = "left_out/mod.rs"]
mod left_out;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use e2e::kafka_python;
use e2e::progress::{Progress, show_progress};
use libtest_mimic::Arguments;
use protocol::schema::{self, Kind, REQUESTS, Request, Versions};
use serde::Deserialize;

use left_out::trial;

/// Fewer would mean that the archive has changed its shape.
const REQUESTS_COMPARED_MIN: usize = 48;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    api_key: i16,
    valid_versions: String,
    flexible_versions: String,
    fields: Vec<Field>,
    #[serde(default)]
    common_structs: Vec<Struct>,
}

#[derive(Debug, Deserialize)]
struct Struct {
    name: String,
    fields: Vec<Field>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Field {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    versions: String,
    nullable_versions: Option<String>,
    tagged_versions: Option<String>,
    tag: Option<u32>,
    #[serde(default)]
    fields: Vec<Self>,
}

/// `3`, `0-12`, `4+` or `none`.
fn versions(text: &str) -> Versions {
    let number = |digits: &str| digits.parse().unwrap_or_else(|error| panic!("versions {text:?}: {error}"));
    match (text, text.strip_suffix('+'), text.split_once('-')) {
        ("none", ..) => Versions::NONE,
        (_, Some(first), _) => Versions::since(number(first)),
        (_, _, Some((first, last))) => Versions::between(number(first), number(last)),
        _ => Versions::between(number(text), number(text)),
    }
}

fn among(text: Option<&String>, version: i16) -> bool {
    text.is_some_and(|text| versions(text).contains(version))
}

/// One line for each field of a version, parts indented; tagged fields come last, by their tags.
#[derive(Debug, Default)]
struct Lines {
    plain: Vec<String>,
    tagged: Vec<(u32, Vec<String>)>,
}

impl Lines {
    fn add(&mut self, line: &str, nullable: bool, tag: Option<u32>, parts: Vec<String>) {
        let null = if nullable { " or null" } else { "" };
        let tagged = tag.map(|tag| format!(", tag {tag}")).unwrap_or_default();
        let lines = std::iter::once(format!("{line}{null}{tagged}"));
        let lines = lines.chain(parts.into_iter().map(|part| format!("  {part}")));
        match tag {
            Some(tag) => self.tagged.push((tag, lines.collect())),
            None => self.plain.extend(lines),
        }
    }

    fn all(mut self) -> Vec<String> {
        self.tagged.sort();
        self.plain.into_iter().chain(self.tagged.into_iter().flat_map(|(_, lines)| lines)).collect()
    }
}

impl Message {
    fn lines(&self, fields: &[Field], version: i16) -> Vec<String> {
        let mut lines = Lines::default();
        for field in fields.iter().filter(|field| versions(&field.versions).contains(version)) {
            let element = field.kind.trim_start_matches("[]");
            let array = if element == field.kind { "" } else { "[]" };
            let common = self.common_structs.iter().find(|common| common.name == element);
            let parts = common.map_or(&field.fields, |common| &common.fields);
            let kind = if parts.is_empty() { element } else { "struct" };
            let nullable = among(field.nullable_versions.as_ref(), version);
            let tag = field.tag.filter(|_| among(field.tagged_versions.as_ref(), version));
            lines.add(&format!("{}: {array}{kind}", field.name), nullable, tag, self.lines(parts, version));
        }
        lines.all()
    }
}

fn described(fields: &[schema::Field], version: i16) -> Vec<String> {
    let mut lines = Lines::default();
    for field in fields.iter().filter(|field| field.versions.contains(version)) {
        let array = if field.element_bytes.is_some() { "[]" } else { "" };
        let parts = if let Kind::Struct(parts) = field.kind { described(parts, version) } else { Vec::new() };
        let kind = if matches!(field.kind, Kind::Struct(_)) {
            "struct".to_owned()
        } else {
            format!("{:?}", field.kind).to_lowercase()
        };
        let nullable = field.nullable.contains(version);
        lines.add(&format!("{}: {array}{kind}", field.name), nullable, field.tag, parts);
    }
    lines.all()
}

/// Kafka's schemas are JSON with comments in lines of their own.
fn read(path: &PathBuf) -> Message {
    let text = fs::read_to_string(path).unwrap();
    let json: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    serde_json::from_str(&json).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn compare(request: &Request, message: &Message) -> Vec<String> {
    let mut differences = Vec::new();
    for version in request.versions.first..=request.versions.last {
        let named = format!("{:?} version {version}", request.key);
        if !versions(&message.valid_versions).contains(version) {
            differences.push(format!("{named}: Kafka has only {}", message.valid_versions));
            continue;
        }
        if request.flexible.contains(version) != versions(&message.flexible_versions).contains(version) {
            differences.push(format!("{named}: flexible are {}", message.flexible_versions));
        }
        let (ours, theirs) = (described(request.fields, version), message.lines(&message.fields, version));
        if ours != theirs {
            differences.push(format!("{named}:\nhere {ours:#?}\nin Kafka {theirs:#?}"));
        }
    }
    differences
}

fn the_table_is_kafkas(directory: &PathBuf) {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let requests = files.filter(|path| path.to_string_lossy().ends_with("Request.json"));
    let messages: Vec<_> = requests.map(|path| read(&path)).collect();
    let (mut compared, mut differences) = (0, Vec::new());
    for request in REQUESTS {
        if let Some(message) = messages.iter().find(|message| message.api_key == request.key as i16) {
            compared += 1;
            differences.extend(compare(request, message));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(REQUESTS_COMPARED_MIN <= compared, "only {compared} requests were found in {}", directory.display());
}

fn main() -> ExitCode {
    show_progress();
    let fetched = kafka_python::fetch(&Progress::start());
    let left_out = fetched.as_ref().err().map(|error| format!("kafka-python's archive cannot be had: {error:#}"));
    let schemas = fetched.unwrap_or_default().join("kafka/protocol/schemas/resources");
    let trial = trial("the_table_is_kafkas", left_out, move || {
        the_table_is_kafkas(&schemas);
        Ok(())
    });
    libtest_mimic::run(&Arguments::from_args(), vec![trial]).exit_code()
}
