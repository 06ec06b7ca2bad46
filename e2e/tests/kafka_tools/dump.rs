//! What `kafka-dump-log` prints about the files of a partition and of the metadata log.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::site::{RECORD_BYTES, tool};

/// The output of `kafka-dump-log` for each file in a directory with one of these extensions, in order.
fn dump(directory: &Path, extensions: &[&str], options: &[&str]) -> BTreeMap<String, Vec<String>> {
    let (files, complaints) = dump_anyway(directory, extensions, options);
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    files
}

/// The same, together with the tool's complaints.
fn dump_anyway(
    directory: &Path,
    extensions: &[&str],
    options: &[&str],
) -> (BTreeMap<String, Vec<String>>, Vec<String>) {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| extensions.iter().any(|wanted| name.ends_with(wanted))).collect();
    names.sort();
    let mut tool = tool("kafka-dump-log");
    tool.current_dir(directory).args(options).args(["--files", &names.join(",")]);
    let output = tool.output().unwrap();
    let complaints = complaints(&output, &names);
    assert!(output.status.success(), "{}:\n{}", output.status, complaints.join("\n"));
    let stdout = String::from_utf8(output.stdout).unwrap();
    let files = stdout.split("Dumping ").skip(1).map(|said| said.split_once('\n').unwrap());
    let files: BTreeMap<_, Vec<_>> =
        files.map(|(name, lines)| (name.to_owned(), lines.lines().map(str::to_owned).collect())).collect();
    assert!(files.keys().eq(&names), "asked for {names:?}, got {:?}", files.keys());
    (files, complaints)
}

/// Standard error without a mistake of the tool: it expects every segment to begin at offset 0.
fn complaints(output: &Output, names: &[String]) -> Vec<String> {
    let mistakes: Vec<_> = names.iter().map(|name| format!("  -1 is followed by {}", base_offset(name))).collect();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let lines = stderr.lines().filter(|line| !line.starts_with("Non-consecutive offsets in "));
    lines.filter(|line| !mistakes.iter().any(|mistake| mistake == line)).map(str::to_owned).collect()
}

fn base_offset(name: &str) -> usize {
    name.split('.').next().and_then(|digits| digits.parse().ok()).unwrap_or_default()
}

/// `offset: 7` and the like. A line has a name only once.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let mut words = line.split(' ').skip_while(|word| word.strip_suffix(':') != Some(name));
    words.nth(1).unwrap_or_else(|| panic!("no {name} in {line:?}"))
}

fn number(line: &str, name: &str) -> usize {
    field(line, name).parse().unwrap()
}

/// The content of a partition's segments: the codecs in order, a sequence number for each record.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) codecs: Vec<String>,
    pub(crate) sequences: Vec<usize>,
}

/// Checks all segments of a cleanly closed partition, with their indexes and producer snapshots.
pub(crate) fn check_partition(directory: &Path) -> Contents {
    let files = dump(directory, &[".log", "index", ".snapshot"], &["--deep-iteration", "--print-data-log"]);
    let mut contents = Contents::default();
    for (name, lines) in &files {
        let (base, extension) = (base_offset(name), name.rsplit('.').next().unwrap());
        match extension {
            "log" => {
                assert_eq!(base, contents.sequences.len(), "{name} begins where the last segment ended");
                read_segment(lines, &mut contents);
                let times =
                    lines.iter().filter(|line| line.starts_with("baseOffset")).map(|line| number(line, "CreateTime"));
                let index = &files[&name.replace(".log", ".timeindex")];
                let indexed = index.iter().map(|line| number(line, "timestamp")).max();
                assert_eq!(indexed, times.max(), "{name}: retention relies on the last entry of the time index");
            }
            "index" => assert!(lines.iter().any(|line| line.starts_with("offset: ")), "{name} is empty"),
            "timeindex" => assert!(lines.iter().any(|line| line.starts_with("timestamp: ")), "{name} is empty"),
            "snapshot" => {
                let last = lines.iter().map(|line| number(line, "lastOffset")).max();
                assert_eq!(last, base.checked_sub(1), "{name} knows of all producers before its offset");
            }
            _ => panic!("{name} was not asked for"),
        }
    }
    check_indexes(directory);
    contents
}

/// The keys in the segments of a compacted partition, by offset, and the number of batches that have lost all
/// records. The only complaints allowed are gaps between offsets, and batches without records that have no timestamp,
/// as with Kafka's own logs: the tool expects the records' timestamps.
pub(crate) fn check_compacted(directory: &Path) -> (BTreeMap<usize, String>, usize) {
    let (files, complaints) = dump_anyway(directory, &[".log", "index"], &["--deep-iteration", "--print-data-log"]);
    let is_gap = |line: &String| {
        let ends = line.trim().split_once(" is followed by ");
        ends.and_then(|(end, next)| Some(end.parse::<i64>().ok()? < next.parse().ok()?)).unwrap_or(false)
    };
    let is_bare =
        |line: &String| line.starts_with("Found timestamp mismatch in ") || line.ends_with(", log timestamp: -1");
    assert!(complaints.iter().all(|line| is_gap(line) || is_bare(line)), "{}", complaints.join("\n"));
    let (mut keys, mut bare) = (BTreeMap::new(), 0);
    for (_, lines) in files.iter().filter(|(name, _)| Path::new(name).extension() == Some("log".as_ref())) {
        for line in &lines[1..] {
            if line.starts_with("baseOffset: ") {
                assert_eq!(field(line, "isvalid"), "true", "{line}");
                bare += usize::from(number(line, "count") == 0);
            } else {
                assert!(line.starts_with("| offset: "), "kafka-dump-log says: {line}");
                keys.insert(number(line, "offset"), field(line, "key").to_owned());
            }
        }
    }
    check_sanity(directory);
    (keys, bare)
}

fn read_segment(lines: &[String], contents: &mut Contents) {
    let (first, lines) = lines.split_first().unwrap();
    assert_eq!(first, &format!("Log starting offset: {}", contents.sequences.len()));
    for line in lines {
        if line.starts_with("baseOffset: ") {
            assert_eq!(field(line, "isvalid"), "true", "{line}");
            contents.codecs.push(field(line, "compresscodec").to_owned());
            contents.codecs.dedup();
        } else if line.starts_with("| offset: ") {
            assert_eq!(number(line, "offset"), contents.sequences.len(), "no gap, nothing twice");
            assert_eq!(field(line, "payload").len(), RECORD_BYTES);
            contents.sequences.push(number(line, "sequence"));
        } else {
            panic!("kafka-dump-log says: {line}");
        }
    }
}

/// Indexes must pass the check that Kafka makes at a start, and all entries must lead to their batches.
fn check_indexes(directory: &Path) {
    check_sanity(directory);
    for (name, lines) in dump(directory, &["index"], &["--verify-index-only"]) {
        assert_eq!(lines, Vec::<String>::new(), "{name}");
    }
}

/// A small segment may need no entry.
fn check_sanity(directory: &Path) {
    for (name, lines) in dump(directory, &["index"], &["--index-sanity-check"]) {
        assert!(
            [format!("{name} passed sanity check."), format!("{name} is empty.")].contains(&lines.concat()),
            "{lines:?}"
        );
    }
}

/// The records in each metadata file below the data directory: control records under the tool's names, others by
/// type, with their data.
pub(crate) fn metadata(directory: &Path) -> BTreeMap<String, Vec<(String, Value)>> {
    let files = dump(directory, &[".log", ".checkpoint"], &["--cluster-metadata-decoder"]);
    let records = |lines: Vec<String>| {
        let batches = lines.iter().filter(|line| line.starts_with("baseOffset: "));
        assert!(batches.clone().all(|line| field(line, "isvalid") == "true"), "{lines:#?}");
        lines.iter().filter(|line| line.starts_with("| offset: ")).map(|line| metadata_record(line)).collect()
    };
    files.into_iter().map(|(name, lines)| (name, records(lines))).collect()
}

fn metadata_record(line: &str) -> (String, Value) {
    let (_, record) = line.split_once("headerKeys: [] ").unwrap();
    let (kind, json) = record.split_once(' ').unwrap();
    let mut value: Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {line}"));
    match kind {
        "payload:" => (value["type"].as_str().unwrap().to_owned(), value["data"].take()),
        control => (control.trim_end_matches(':').to_owned(), value),
    }
}

/// The records of a partition of `__consumer_offsets`, keys and values decoded.
pub(crate) fn offsets(directory: &Path) -> Vec<String> {
    let lines = dump(directory, &[".log"], &["--offsets-decoder"]).into_values().flatten();
    lines.filter(|line| line.starts_with("| offset: ")).collect()
}

/// Without repetitions.
pub(crate) fn kinds(records: &[(String, Value)]) -> Vec<&str> {
    let mut kinds: Vec<_> = records.iter().map(|(kind, _)| kind.as_str()).collect();
    kinds.dedup();
    kinds
}
