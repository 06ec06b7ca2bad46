//! Apache Kafka's command-line tools against one broker, and `kafka-dump-log` on the files that the broker leaves.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may panic as tests do")]

mod packages;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use e2e::broker::Broker;
use e2e::command;
use e2e::kafka_tools::KafkaTools;
use e2e::programs::{Profile, Programs};
use e2e::progress::{Progress, show_progress};
use serde_json::Value;

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
/// The smallest that Kafka allows.
const SEGMENT_BYTES: &str = "log.segment.bytes=1048576";
const RECORD_BYTES: usize = 1000;
/// Far more than anything here takes.
const DEADLINE: Duration = Duration::from_mins(1);

struct World {
    tools: KafkaTools,
    broker: PathBuf,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    show_progress();
    let progress = Progress::start();
    let programs = Programs::compile(Profile::Dev, &progress).unwrap();
    let broker = programs.path("millrace-broker").unwrap().to_owned();
    World { tools: KafkaTools::fetch(&progress).unwrap(), broker }
});

/// One node with `--dev` and some settings on top.
struct Site(e2e::broker::Site);

impl Site {
    fn new(settings: &[&str]) -> Self {
        Self(e2e::broker::Site::new(&WORLD.broker, &std::env::temp_dir(), settings).unwrap())
    }

    fn start(&self) -> Broker {
        self.0.start().unwrap()
    }

    fn data(&self, name: &str) -> PathBuf {
        self.0.data(name)
    }

    /// The tool that goes by this class of `org.apache.kafka.tools`, pointed at the broker.
    fn tool(&self, class: &str) -> Command {
        let mut command = WORLD.tools.tool(&format!("org.apache.kafka.tools.{class}"));
        command.args(["--bootstrap-server", &self.0.bootstrap()]);
        command
    }

    /// The load generator; its producer is idempotent, as Kafka's are unless told otherwise.
    fn load(&self, topic: &str, records: usize, records_per_second: i32, codec: &str) -> Command {
        let mut command = self.tool("ProducerPerformance");
        command.args(["--topic", topic, "--command-property", &format!("compression.type={codec}")]);
        command.args(["--num-records", &records.to_string(), "--record-size", &RECORD_BYTES.to_string()]);
        command.args(["--throughput", &records_per_second.to_string()]);
        command
    }
}

/// The load generator counts what was acknowledged in its last line, and in between when it takes longer.
fn assert_sent(output: &Output, records: usize) {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let total = stdout.lines().last().unwrap_or_default();
    assert!(total.starts_with(&format!("{records} records sent, ")), "{output:?}");
}

/// What `kafka-dump-log` says of each of the files of a directory that have one of these extensions, in their order.
fn dump(directory: &Path, extensions: &[&str], options: &[&str]) -> BTreeMap<String, Vec<String>> {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| extensions.iter().any(|wanted| name.ends_with(wanted))).collect();
    names.sort();
    let mut tool = WORLD.tools.tool("org.apache.kafka.tools.DumpLogSegments");
    tool.current_dir(directory).args(options).args(["--files", &names.join(",")]);
    let output = tool.output().unwrap();
    let complaints = complaints(&output, &names);
    assert!(output.status.success() && complaints.is_empty(), "{}:\n{complaints}", output.status);
    let stdout = String::from_utf8(output.stdout).unwrap();
    let files = stdout.split("Dumping ").skip(1).map(|said| said.split_once('\n').unwrap());
    let files: BTreeMap<_, Vec<_>> =
        files.map(|(name, lines)| (name.to_owned(), lines.lines().map(str::to_owned).collect())).collect();
    assert!(files.keys().eq(&names), "asked for {names:?}, got {:?}", files.keys());
    files
}

/// Standard error without a mistake of the tool: it expects every segment to begin at offset 0.
fn complaints(output: &Output, names: &[String]) -> String {
    let mistakes: Vec<_> = names.iter().map(|name| format!("  -1 is followed by {}", base_offset(name))).collect();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let lines = stderr.lines().filter(|line| !line.starts_with("Non-consecutive offsets in "));
    lines.filter(|line| !mistakes.iter().any(|mistake| mistake == line)).collect::<Vec<_>>().join("\n")
}

fn base_offset(name: &str) -> usize {
    name.split('.').next().and_then(|digits| digits.parse().ok()).unwrap_or_default()
}

/// `offset: 7` and the like. A line has only one of a name.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let mut words = line.split(' ').skip_while(|word| word.strip_suffix(':') != Some(name));
    words.nth(1).unwrap_or_else(|| panic!("no {name} in {line:?}"))
}

fn number(line: &str, name: &str) -> usize {
    field(line, name).parse().unwrap()
}

/// What the segments of a partition hold: codecs as they follow each other, a sequence number for each record.
#[derive(Debug, Default, PartialEq, Eq)]
struct Contents {
    codecs: Vec<String>,
    sequences: Vec<usize>,
}

/// Checks all segments of a partition that was closed cleanly, with their indexes and producer snapshots.
fn check_partition(directory: &Path) -> Contents {
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

/// Indexes hold up to the check that a start of Kafka makes, and all entries lead to their batches.
fn check_indexes(directory: &Path) {
    for (name, lines) in dump(directory, &["index"], &["--index-sanity-check"]) {
        assert_eq!(lines, [format!("{name} passed sanity check.")]);
    }
    for (name, lines) in dump(directory, &["index"], &["--verify-index-only"]) {
        assert_eq!(lines, Vec::<String>::new(), "{name}");
    }
}

/// The records in each file of metadata below the data directory: control records as the tool names them, others by
/// their types, with their data.
fn metadata(directory: &Path) -> BTreeMap<String, Vec<(String, Value)>> {
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

/// Without repetitions.
fn kinds(records: &[(String, Value)]) -> Vec<&str> {
    let mut kinds: Vec<_> = records.iter().map(|(kind, _)| kind.as_str()).collect();
    kinds.dedup();
    kinds
}

fn console_clients_pass_on_records_of_every_codec() {
    let site = Site::new(&[]);
    let broker = site.start();
    let versions = command::output(&mut site.tool("BrokerApiVersionsCommand")).unwrap();
    for api in ["Produce(0)", "Fetch(1)", "ListOffsets(2)", "Metadata(3)", "ApiVersions(18)", "InitProducerId(22)"] {
        assert!(versions.lines().any(|line| line.contains(api) && line.contains("usable: ")), "{api}: {versions}");
    }
    for codec in CODECS {
        let mut producer = site.tool("ConsoleProducer");
        producer.args(["--topic", "lines", "--compression-codec", codec]);
        producer.args(["--reader-property", "parse.key=true", "--reader-property", "key.separator=:"]);
        let lines = format!("{codec}:first\n{codec}:\n{codec}:third\n");
        command::output_with_input(&mut producer, &lines).unwrap();
    }
    let mut consumer = site.tool("consumer.ConsoleConsumer");
    consumer.args([
        "--topic",
        "lines",
        "--partition",
        "0",
        "--offset",
        "earliest",
        "--isolation-level",
        "read_committed",
    ]);
    consumer.args(["--max-messages", "15", "--timeout-ms", "30000"]);
    consumer.args(["--formatter-property", "print.key=true", "--formatter-property", "print.offset=true"]);
    let records = CODECS.iter().flat_map(|codec| ["first", "", "third"].map(|value| format!("{codec}\t{value}")));
    let expected: Vec<_> = (0..).zip(records).map(|(offset, record)| format!("Offset:{offset}\t{record}")).collect();
    let said = command::output(&mut consumer).unwrap();
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    assert_eq!(command::output(&mut site.tool("GetOffsetShell")).unwrap(), "lines:0:15\n");
    broker.stop().unwrap();
}

fn segments_of_every_codec_are_as_kafka_writes_them() {
    const RECORDS: usize = 1500;
    let site = Site::new(&[SEGMENT_BYTES]);
    let broker = site.start();
    for codec in CODECS {
        assert_sent(&site.load("rolled", RECORDS, -1, codec).output().unwrap(), RECORDS);
    }
    broker.stop().unwrap();
    let contents = check_partition(&site.data("rolled-0"));
    assert_eq!(contents.codecs, CODECS, "batches stay as the producer compressed them");
    assert_eq!(contents.sequences, CODECS.iter().flat_map(|_| 0..RECORDS).collect::<Vec<_>>());
}

fn sigkill_under_load_leaves_files_that_kafka_reads() {
    const RECORDS: usize = 12_000;
    let site = Site::new(&[SEGMENT_BYTES]);
    let broker = site.start();
    let mut load = site.load("killed", RECORDS, 3000, "lz4");
    let mut load = load.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let third_segment = || {
        let files = fs::read_dir(site.data("killed-0")).into_iter().flatten().map(|file| file.unwrap().path());
        Ok((3 <= files.filter(|file| file.extension().is_some_and(|name| name == "log")).count()).then_some(()))
    };
    command::wait_for("the third segment", DEADLINE, third_segment).unwrap();
    broker.kill().unwrap();
    assert!(load.try_wait().unwrap().is_none(), "the load should have outlived the broker");
    let broker = site.start();
    assert_sent(&load.wait_with_output().unwrap(), RECORDS);
    broker.stop().unwrap();
    let contents = check_partition(&site.data("killed-0"));
    assert_eq!(contents.sequences, (0..RECORDS).collect::<Vec<_>>(), "an idempotent producer: each exactly once");
    let files = metadata(&site.data("__cluster_metadata-0"));
    let leaders = files["00000000000000000000.log"].iter().filter(|(kind, _)| kind == "LeaderChange");
    assert_eq!(leaders.count(), 2, "one for each start: {files:#?}");
}

fn topics_are_in_the_metadata_log_as_kafka_writes_it() {
    let site = Site::new(&[]);
    let broker = site.start();
    let topics = |arguments: &str| site.tool("TopicCommand").args(arguments.split(' ')).output().unwrap();
    let creation = "--create --topic orders --partitions 2 --replication-factor 1 --config segment.bytes=2097152";
    assert_eq!(String::from_utf8_lossy(&topics(creation).stdout), "Created topic orders.\n");
    assert_eq!(String::from_utf8_lossy(&topics("--list").stdout), "orders\n");
    let again = topics(creation);
    assert!(String::from_utf8_lossy(&again.stdout).contains("already exists") && !again.status.success(), "{again:?}");
    broker.stop().unwrap();

    let files = metadata(&site.data("__cluster_metadata-0"));
    let checkpoint = &files["00000000000000000000-0000000000.checkpoint"];
    assert_eq!(kinds(checkpoint), ["SnapshotHeader", "KRaftVersion", "KRaftVoters", "SnapshotFooter"]);
    let log = &files["00000000000000000000.log"];
    let expected = [
        "LeaderChange",
        "KRaftVersion",
        "KRaftVoters",
        "FEATURE_LEVEL_RECORD",
        "CONFIG_RECORD",
        "REGISTER_BROKER_RECORD",
        "BROKER_REGISTRATION_CHANGE_RECORD",
    ];
    let (start, topic) = log.split_at(log.iter().position(|(kind, _)| kind == "TOPIC_RECORD").unwrap());
    assert_eq!(kinds(start), expected);
    assert_eq!(kinds(topic), ["TOPIC_RECORD", "PARTITION_RECORD", "CONFIG_RECORD"]);
    let partitions = topic.iter().filter(|(kind, _)| kind == "PARTITION_RECORD");
    assert!(partitions.map(|(_, record)| &record["partitionId"]).eq([0, 1]));
    assert_eq!(topic[0].1["name"], "orders");
    let in_directory = fs::read_to_string(site.data("orders-1/partition.metadata")).unwrap();
    assert_eq!(
        in_directory.lines().nth(1),
        Some(format!("topic_id: {}", topic[0].1["topicId"].as_str().unwrap()).as_str())
    );
    let bootstrap = metadata(&site.data(""));
    assert_eq!(kinds(&bootstrap["bootstrap.checkpoint"]), ["SnapshotHeader", "FEATURE_LEVEL_RECORD", "SnapshotFooter"]);
}

fn main() -> ExitCode {
    let tests: [(_, fn()); 4] = [
        ("console_clients_pass_on_records_of_every_codec", console_clients_pass_on_records_of_every_codec),
        ("segments_of_every_codec_are_as_kafka_writes_them", segments_of_every_codec_are_as_kafka_writes_them),
        ("sigkill_under_load_leaves_files_that_kafka_reads", sigkill_under_load_leaves_files_that_kafka_reads),
        ("topics_are_in_the_metadata_log_as_kafka_writes_it", topics_are_in_the_metadata_log_as_kafka_writes_it),
    ];
    packages::run(KafkaTools::needs().unwrap(), &tests)
}
