//! Compares the guard's tables with the message schemas of Apache Kafka, as found in kafka-python's source archive:
//! the same fields in the same order with the same types, nulls and tags, in every version described.
//!
//! What the archive lacks is compared with kafka-protocol's codec only, in `broker/fuzz`. If the archive is not
//! available, offline, the comparison is skipped with a message.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may panic as tests do")]

#[path = "left_out/mod.rs"]
mod left_out;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use e2e::kafka_python;
use e2e::progress::{Progress, show_progress};
use libtest_mimic::Arguments;
use protocol::schema::{self, Kind, REQUESTS, RESPONSES, Request, Response, Versions};
use serde::Deserialize;

use left_out::trial;

/// Fewer would mean that the layout of the archive has changed.
const REQUESTS_COMPARED_MIN: usize = 48;
const RESPONSES_COMPARED_MIN: usize = 6;

/// A request, or an answer to one, as described in the tables.
struct Described {
    key: i16,
    name: String,
    versions: Versions,
    flexible: Versions,
    fields: &'static [schema::Field],
}

impl Described {
    fn request(request: &'static Request) -> Self {
        let Request { key, versions, flexible, fields } = *request;
        Self { key: key as i16, name: format!("{key:?}"), versions, flexible, fields }
    }

    fn response(response: &'static Response) -> Self {
        let Response { key, versions, flexible, fields } = *response;
        Self { key: key as i16, name: format!("{key:?}"), versions, flexible, fields }
    }
}

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

/// One line for each field of a version, nested ones indented; tagged fields come last, by tag.
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

/// Kafka's schemas are JSON with comments on separate lines.
fn read(path: &PathBuf) -> Message {
    let text = fs::read_to_string(path).unwrap();
    let json: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    serde_json::from_str(&json).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn compare(here: &Described, message: &Message) -> Vec<String> {
    let mut differences = Vec::new();
    for version in here.versions.first..=here.versions.last {
        let named = format!("{} version {version}", here.name);
        if !versions(&message.valid_versions).contains(version) {
            differences.push(format!("{named}: Kafka has only {}", message.valid_versions));
            continue;
        }
        if here.flexible.contains(version) != versions(&message.flexible_versions).contains(version) {
            differences.push(format!("{named}: flexible are {}", message.flexible_versions));
        }
        let (ours, theirs) = (described(here.fields, version), message.lines(&message.fields, version));
        if ours != theirs {
            differences.push(format!("{named}:\nhere {ours:#?}\nin Kafka {theirs:#?}"));
        }
    }
    differences
}

/// `of`: the suffix of the file names.
fn the_table_is_kafkas(directory: &PathBuf, of: &str, table: impl Iterator<Item = Described>, compared_min: usize) {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.to_string_lossy().ends_with(of));
    let messages: Vec<_> = files.map(|path| read(&path)).collect();
    let (mut compared, mut differences) = (0, Vec::new());
    for here in table {
        if let Some(message) = messages.iter().find(|message| message.api_key == here.key) {
            compared += 1;
            differences.extend(compare(&here, message));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(compared_min <= compared, "only {compared} were found in {}", directory.display());
}

fn main() -> ExitCode {
    show_progress();
    let fetched = kafka_python::fetch(&Progress::start());
    let left_out = fetched.as_ref().err().map(|error| format!("kafka-python's archive cannot be had: {error:#}"));
    let schemas = fetched.unwrap_or_default().join("kafka/protocol/schemas/resources");
    let directory = schemas.clone();
    let requests = trial("the_requests_are_kafkas", left_out.clone(), move || {
        let table = REQUESTS.iter().map(|request| Described::request(request));
        the_table_is_kafkas(&directory, "Request.json", table, REQUESTS_COMPARED_MIN);
        Ok(())
    });
    let responses = trial("the_answers_are_kafkas", left_out, move || {
        let table = RESPONSES.iter().map(|response| Described::response(response));
        the_table_is_kafkas(&schemas, "Response.json", table, RESPONSES_COMPARED_MIN);
        Ok(())
    });
    libtest_mimic::run(&Arguments::from_args(), vec![requests, responses]).exit_code()
}
