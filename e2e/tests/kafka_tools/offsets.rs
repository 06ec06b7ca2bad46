//! Offsets of a partition: by number, by time, on disk.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use crate::site::Site;

pub(crate) fn kafka_get_offsets_answers_by_position_and_by_time() {
    let site = Site::shared();
    site.run("kafka-topics --create --topic timed --partitions 1");
    for lines in ["a\nb\n", "c\n"] {
        site.produce("--topic timed", lines);
    }
    let consumed = site.run(
        "kafka-console-consumer --topic timed --partition 0 --offset earliest --max-messages 3 \
         --formatter-property print.timestamp=true",
    );
    let time = |line: &str| line.split(['\t', ':']).nth(1).unwrap().to_owned();
    let times: Vec<_> = consumed.lines().map(time).collect();
    let offsets = |when: &str| site.run(&format!("kafka-get-offsets --topic timed --time {when}"));
    let expected = [
        ("latest", "timed:0:3\n"),
        ("earliest", "timed:0:0\n"),
        ("earliest-local", "timed:0:0\n"),
        // The last record was produced by a separate run.
        ("max-timestamp", "timed:0:2\n"),
        (&times[0], "timed:0:0\n"),
        (&times[2], "timed:0:2\n"),
        ("99999999999999", ""),
    ];
    for (when, offset) in expected {
        assert_eq!(offsets(when), offset, "{when}: {consumed}");
    }
    let unknown = site.refused("kafka-get-offsets --topic untimed");
    assert!(unknown.contains("Could not match any topic-partitions"), "{unknown}");
}

pub(crate) fn kafka_delete_records_moves_the_start_of_the_log() {
    let site = Site::shared();
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("offsets.json");
    let delete_before = |offset: i64| {
        let partition = format!(r#"{{"topic":"shortened","partition":0,"offset":{offset}}}"#);
        fs::write(&file, format!(r#"{{"partitions":[{partition}],"version":1}}"#)).unwrap();
        let said = site.run(&format!("kafka-delete-records --offset-json-file {}", file.display()));
        said.lines().last().unwrap().to_owned()
    };
    site.run("kafka-topics --create --topic shortened --partitions 1");
    site.produce("--topic shortened", "a\nb\nc\n");
    assert_eq!(delete_before(2), "partition: shortened-0\tlow_watermark: 2");
    let beyond = delete_before(4);
    assert!(beyond.starts_with("partition: shortened-0\terror: ") && beyond.contains("OffsetOutOfRange"), "{beyond}");
    assert_eq!(site.run("kafka-get-offsets --topic shortened --time earliest"), "shortened:0:2\n");
    let left = site.run(
        "kafka-console-consumer --topic shortened --partition 0 --offset earliest --max-messages 1 --timeout-ms 30000",
    );
    assert_eq!(left, "c\n");
    assert_eq!(delete_before(-1), "partition: shortened-0\tlow_watermark: 3");
}

pub(crate) fn kafka_log_dirs_tells_the_sizes_on_disk() {
    let site = Site::shared();
    site.run("kafka-topics --create --topic measured --partitions 2");
    site.produce("--topic measured", "a\nb\nc\n");
    let said = site.run("kafka-log-dirs --describe --topic-list measured");
    let answer: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    let directory = &answer["brokers"][0]["logDirs"][0];
    assert_eq!((&answer["brokers"][0]["broker"], &directory["error"]), (&Value::from(1), &Value::Null), "{said}");
    assert_eq!(directory["logDir"], site.data("").to_str().unwrap().trim_end_matches('/'));
    let mut partitions = directory["partitions"].as_array().unwrap().clone();
    partitions.sort_by_key(|partition| partition["partition"].to_string());
    let expected = ["measured-0", "measured-1"].map(|name| {
        let log = fs::metadata(site.data(name).join("00000000000000000000.log"));
        let bytes = log.map_or(0, |file| file.len());
        serde_json::json!({ "partition": name, "size": bytes, "offsetLag": 0, "isFuture": false })
    });
    assert_eq!(partitions, expected);
    let unknown = site.refused("kafka-log-dirs --describe --broker-list 7");
    assert!(unknown.contains("7. Current existent brokers: 1"), "{unknown}");
}
