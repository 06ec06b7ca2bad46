//! The broker's files have Kafka's formats.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use e2e::command;

use crate::dump::{check_compacted, check_partition, kinds, metadata};
use crate::site::{CODECS, DEADLINE, Site, assert_sent};

/// The smallest that Kafka allows.
const SEGMENT_BYTES: &str = "log.segment.bytes=1048576";

pub(crate) fn segments_of_every_codec_are_as_kafka_writes_them() {
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

pub(crate) fn compacted_logs_are_as_kafka_writes_them() {
    const KEYS: usize = 7;
    let site = Site::new(&["log.cleaner.backoff.ms=50", "log.flush.interval.ms=10"]);
    let broker = site.start();
    let settings =
        ["cleanup.policy=compact", "segment.bytes=1048576", "min.cleanable.dirty.ratio=0.01", "file.delete.delay.ms=0"];
    let settings = settings.map(|setting| format!("--config {setting}")).join(" ");
    for codec in CODECS {
        site.run(&format!("kafka-topics --create --topic compacted-{codec} {settings}"));
        // Without a pattern, so that compressed batches fill segments, too.
        let mut state = 1_u64;
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            format!("{state:016x}")
        };
        let line = |number: usize| format!("key-{}:{}\n", number % KEYS, (0..500).map(|_| noise()).collect::<String>());
        let lines: String = (0..800).map(line).collect();
        let options = format!(
            "--topic compacted-{codec} --compression-codec {codec} --reader-property parse.key=true \
             --reader-property key.separator=:"
        );
        site.produce(&options, &lines);
    }
    // The last one is the active segment.
    let segments = |codec: &str| {
        let files = fs::read_dir(site.data(&format!("compacted-{codec}-0"))).unwrap().map(|file| file.unwrap());
        let logs = files.map(|file| (file.file_name().into_string().unwrap(), file.metadata().unwrap().len()));
        let mut logs: Vec<_> = logs.filter(|(name, _)| Path::new(name).extension() == Some("log".as_ref())).collect();
        logs.sort();
        logs
    };
    for codec in CODECS {
        let is_small = || {
            let closed = segments(codec).iter().rev().skip(1).map(|(_, length)| length).sum::<u64>();
            Ok((0 < closed && closed < 200_000).then_some(()))
        };
        command::wait_for("closed segments hold little", DEADLINE, is_small).unwrap();
    }
    broker.stop().unwrap();
    for codec in CODECS {
        let active = segments(codec).pop().unwrap().0;
        let active: usize = active.trim_end_matches(".log").parse().unwrap();
        let (keys, _) = check_compacted(&site.data(&format!("compacted-{codec}-0")));
        let closed = keys.range(..active);
        assert_eq!(closed.clone().count(), KEYS, "{codec}: one record of each key");
        assert!(
            closed.clone().all(|(offset, key)| active <= offset + KEYS && *key == format!("key-{}", offset % KEYS))
        );
        assert_eq!(keys.len() - KEYS, 800 - active, "{codec}: the active segment is left alone");
    }
}

pub(crate) fn sigkill_under_load_leaves_files_that_kafka_reads() {
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

pub(crate) fn topics_are_in_the_metadata_log_as_kafka_writes_it() {
    let site = Site::new(&[]);
    let broker = site.start();
    site.run("kafka-topics --create --topic orders --partitions 2 --config segment.bytes=2097152");
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
    // The node registers as a broker and as a controller, in either order.
    let (controllers, log): (Vec<_>, Vec<_>) =
        log.iter().cloned().partition(|(kind, _)| kind == "REGISTER_CONTROLLER_RECORD");
    assert_eq!(controllers.len(), 1);
    let (start, topic) = log.split_at(log.iter().position(|(kind, _)| kind == "TOPIC_RECORD").unwrap());
    assert_eq!(kinds(start), expected);
    let (topic, stop) = topic.split_at(topic.iter().position(|(kind, _)| kind == "PARTITION_CHANGE_RECORD").unwrap());
    assert_eq!(kinds(topic), ["TOPIC_RECORD", "PARTITION_RECORD", "CONFIG_RECORD"]);
    assert_eq!(kinds(stop), ["PARTITION_CHANGE_RECORD", "BROKER_REGISTRATION_CHANGE_RECORD"]);
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

pub(crate) fn snapshots_of_the_metadata_are_as_kafka_writes_them() {
    let site = Site::new(&["metadata.log.max.record.bytes.between.snapshots=500"]);
    let broker = site.start();
    site.run("kafka-topics --create --topic orders --partitions 2 --config segment.bytes=2097152");
    let latest = || {
        let files = fs::read_dir(site.data("__cluster_metadata-0")).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".checkpoint")).max().unwrap()
    };
    let has_topic = || {
        let files = metadata(&site.data("__cluster_metadata-0"));
        let snapshot = files[&latest()].clone();
        Ok(snapshot.iter().any(|(kind, _)| kind == "PARTITION_RECORD").then_some(snapshot))
    };
    // A snapshot is taken once there is enough since the last one.
    let mut segment_bytes = (4_194_304..).step_by(1024);
    let snapshot = command::wait_for("a snapshot with the topic", DEADLINE, || {
        let bytes = segment_bytes.next().unwrap();
        site.run(&format!("kafka-configs --alter --topic orders --add-config segment.bytes={bytes}"));
        has_topic()
    });
    broker.stop().unwrap();
    let expected = [
        "SnapshotHeader",
        "KRaftVersion",
        "KRaftVoters",
        "FEATURE_LEVEL_RECORD",
        "REGISTER_BROKER_RECORD",
        "REGISTER_CONTROLLER_RECORD",
        "TOPIC_RECORD",
        "PARTITION_RECORD",
        "CONFIG_RECORD",
        "SnapshotFooter",
    ];
    assert_eq!(kinds(&snapshot.unwrap()), expected);
    site.start().stop().unwrap();
}
