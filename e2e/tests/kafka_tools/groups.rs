//! Groups: consuming in one, and `kafka-consumer-groups`.

use std::fs;
use std::process::{Child, Stdio};
use std::time::Instant;

use crate::dump;
use crate::site::{DEADLINE, Site};

/// A console consumer that stays in its group until it is dropped.
struct Member(Child);

impl Member {
    fn of(site: &Site, topic: &str, group: &str) -> Self {
        let command = format!("kafka-console-consumer --topic {topic} --group {group} --from-beginning");
        let child = site.tool(&command).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self(child.unwrap())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// The columns of the lines that begin with `first`.
fn rows(said: &str, first: &str) -> Vec<Vec<String>> {
    let rows = said.lines().map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    rows.filter(|columns| columns.first().is_some_and(|column| column == first)).collect()
}

/// Repeats the command until its output matches.
fn until(site: &Site, command: &str, is_so: impl Fn(&str) -> bool) -> String {
    let began = Instant::now();
    loop {
        let said = site.run(command);
        if is_so(&said) {
            return said;
        }
        assert!(began.elapsed() < DEADLINE, "{command}: {said}");
    }
}

pub(crate) fn kafka_console_consumer_goes_on_in_its_group() {
    let site = Site::shared();
    site.run("kafka-topics --create --topic resumed --partitions 1");
    site.produce("--topic resumed", "a\nb\nc\n");
    let consume = |count: usize| {
        site.run(&format!(
            "kafka-console-consumer --topic resumed --group resuming --from-beginning --max-messages {count} \
             --timeout-ms 30000"
        ))
    };
    assert_eq!(consume(2), "a\nb\n");
    assert_eq!(consume(1), "c\n");
    let described = site.run("kafka-consumer-groups --describe --group resuming");
    assert_eq!(rows(&described, "resuming")[0][..6], ["resuming", "resumed", "0", "3", "3", "0"], "{described}");
}

pub(crate) fn kafka_consumer_groups_describes_a_group_that_is_consumed_in() {
    let site = Site::shared();
    site.run("kafka-topics --create --topic watched --partitions 3");
    site.produce("--topic watched", "a\nb\nc\n");
    let members = [Member::of(site, "watched", "watching"), Member::of(site, "watched", "watching")];
    let state = "kafka-consumer-groups --describe --group watching --state";
    let stable =
        until(site, state, |said| said.contains("Stable") && rows(said, "watching")[0].ends_with(&["2".into()]));
    assert!(stable.contains("range"), "{stable}");
    let described = site.run("kafka-consumer-groups --describe --group watching --members --verbose");
    let mut partitions: Vec<_> = rows(&described, "watching").iter().map(|row| row[4].clone()).collect();
    partitions.sort();
    assert_eq!(partitions, ["1", "2"], "{described}");
    assert!(described.contains("/127.0.0.1") && described.contains("watched:"), "{described}");
    let listed = site.run("kafka-consumer-groups --list --state Stable --type classic");
    assert_eq!(rows(&listed, "watching"), [["watching", "Classic", "Stable"]], "{listed}");
    let described = site.run("kafka-consumer-groups --describe --group watching --offsets --verbose");
    assert_eq!(rows(&described, "watching").len(), 3, "{described}");
    let refused =
        site.told("kafka-consumer-groups --reset-offsets --group watching --topic watched --to-earliest --execute");
    assert!(refused.contains("inactive"), "{refused}");
    let refused = site.told("kafka-consumer-groups --delete --group watching");
    assert!(refused.contains("GroupNotEmptyException"), "{refused}");
    let refused = site.told("kafka-consumer-groups --delete-offsets --group watching --topic watched");
    assert!(refused.contains("subscribed to"), "{refused}");
    drop(members);
}

pub(crate) fn kafka_consumer_groups_resets_and_deletes() {
    let site = Site::shared();
    site.run("kafka-topics --create --topic reset --partitions 1");
    site.produce("--topic reset", "a\nb\nc\n");
    let set = |to: &str| {
        let said = site.run(&format!("kafka-consumer-groups --reset-offsets --group set --topic reset {to}"));
        rows(&said, "set").first().map(|row| row[3].clone())
    };
    for (to, expected) in [
        ("--to-latest --dry-run", "3"),
        ("--to-offset 1 --execute", "1"),
        ("--shift-by 1 --execute", "2"),
        ("--to-current --execute", "2"),
        ("--by-duration PT1H --execute", "0"),
        ("--to-datetime 2099-01-01T00:00:00.000 --execute", "3"),
        ("--shift-by -1 --execute", "2"),
    ] {
        assert_eq!(set(to).as_deref(), Some(expected), "{to}");
    }
    let described = site.run("kafka-consumer-groups --describe --group set --offsets");
    assert_eq!(rows(&described, "set")[0][..6], ["set", "reset", "0", "2", "3", "1"], "{described}");
    let plan = tempfile::NamedTempFile::new().unwrap();
    let exported = site.run("kafka-consumer-groups --reset-offsets --group set --all-topics --to-current --export");
    assert_eq!(exported.trim(), "reset,0,2");
    fs::write(plan.path(), exported.replace(",2", ",1")).unwrap();
    let from_file = format!("--reset-offsets --group set --from-file {} --execute", plan.path().display());
    let said = site.run(&format!("kafka-consumer-groups {from_file}"));
    assert_eq!(rows(&said, "set")[0][3], "1", "{said}");
    let deleted = site.run("kafka-consumer-groups --delete-offsets --group set --topic reset");
    assert_eq!(rows(&deleted, "reset"), [["reset", "0", "Successful"]], "{deleted}");
    assert_eq!(set("--to-earliest --execute").as_deref(), Some("0"));
    let all = site.run("kafka-consumer-groups --describe --all-groups --state");
    assert_eq!(rows(&all, "set")[0].last().map(String::as_str), Some("0"), "{all}");
    let deleted = site.run("kafka-consumer-groups --delete --group set");
    assert!(deleted.contains("Deletion of requested consumer groups ('set') was successful"), "{deleted}");
    let gone = site.told("kafka-consumer-groups --describe --group set");
    assert!(gone.contains("GroupIdNotFoundException"), "{gone}");
}

pub(crate) fn kafka_consumer_perf_test_reads_all_there_is() {
    const RECORDS: usize = 2000;
    let site = Site::shared();
    crate::site::assert_sent(&site.load("perf", RECORDS, -1, "none").output().unwrap(), RECORDS);
    let said = site
        .run(&format!("kafka-consumer-perf-test --topic perf --group perf --num-records {RECORDS} --timeout 30000"));
    let columns: Vec<_> = said.lines().last().unwrap().split(", ").collect();
    assert_eq!(columns[4].parse::<usize>().unwrap(), RECORDS, "{said}");
}

pub(crate) fn groups_are_in_their_log_as_kafka_writes_them() {
    let site = Site::new(&["offsets.topic.num.partitions=1"]);
    let broker = site.start();
    site.produce("--topic kept", "a\nb\n");
    site.run(
        "kafka-console-consumer --topic kept --group keeping --from-beginning --max-messages 2 --timeout-ms 30000",
    );
    let formatted = |formatter: &str| {
        let read = "--topic __consumer_offsets --partition 0 --offset earliest --max-messages 3 --timeout-ms 30000";
        site.run(&format!("kafka-console-consumer {read} --formatter org.apache.kafka.tools.consumer.{formatter}"))
    };
    let commits = formatted("OffsetsMessageFormatter");
    assert!(commits.contains("\"group\":\"keeping\"") && commits.contains("\"offset\":2"), "{commits}");
    let generations = formatted("GroupMetadataMessageFormatter");
    assert!(generations.contains("\"protocolType\":\"consumer\""), "{generations}");
    broker.stop().unwrap();
    let directory = site.data("__consumer_offsets-0");
    assert!(fs::exists(&directory).unwrap());
    let lines = dump::offsets(&directory);
    let commit = lines.iter().find(|line| line.contains("\"type\":\"1\"")).unwrap();
    for part in ["\"group\":\"keeping\"", "\"partition\":0", "\"offset\":2", "\"version\":\"4\""] {
        assert!(commit.contains(part), "{part} is not in {commit}");
    }
    let generation = lines.iter().find(|line| line.contains("\"protocolType\":\"consumer\"")).unwrap();
    for part in ["\"generation\":1", "\"protocol\":\"range\"", "\"clientHost\":\"/127.0.0.1\"", "\"version\":\"3\""] {
        assert!(generation.contains(part), "{part} is not in {generation}");
    }
    let empty = lines.iter().rfind(|line| line.contains("\"generation\":")).unwrap();
    assert!(empty.contains("\"generation\":2") && empty.contains("\"members\":[]"), "{empty}");
}
