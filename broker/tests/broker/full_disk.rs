//! A volume that fills up: a small separate file system, which needs root and loop devices.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{CreatePartitionsRequest, CreateTopicsRequest, ListOffsetsRequest};
use tempfile::TempDir;

use crate::damage::{partitions, produce_request, produce_to, topic};
use crate::harness::calls::name;
use crate::harness::http::get;
use crate::harness::wire::Wire;
use crate::harness::{Site, eventually};

const VOLUME_BYTES: u64 = 192 << 20;
const RECORD_BYTES: usize = 100_000;
/// Longer than the interval of checkpoints.
const IDLE_AFTER: Duration = Duration::from_secs(3);

/// Mounted as long as it lives.
struct Volume {
    image: TempDir,
    mount_point: TempDir,
}

impl Volume {
    /// `None`: not possible on this machine.
    fn new() -> Option<Self> {
        let volume = Self { image: TempDir::new().unwrap(), mount_point: TempDir::new().unwrap() };
        let image = volume.image.path().join("image");
        File::create(&image).unwrap().set_len(VOLUME_BYTES).unwrap();
        let run = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
        let mounted = run(Command::new("mkfs.ext4").arg("-q").arg(&image))
            && run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(volume.mount_point.path()));
        mounted.then_some(volume)
    }

    fn path(&self) -> &Path {
        self.mount_point.path()
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("--lazy").arg(self.mount_point.path()).output();
    }
}

/// Takes this much space, or all there is.
fn fill(path: &Path, bytes_max: usize) {
    let mut file = File::create(path).unwrap();
    let mut left = bytes_max;
    for length in [1 << 20, 1 << 12, 1] {
        while length <= left && file.write_all(&vec![b'x'; length]).is_ok() {
            left -= length;
        }
    }
    file.sync_all().unwrap();
}

fn produce(site: &Site, value: &[u8]) -> Result<i64, i16> {
    produce_to(site, topic(), value)
}

fn end_offset(site: &Site) -> i64 {
    let partition = ListOffsetsPartition::default().with_timestamp(-1);
    let topic = ListOffsetsTopic::default().with_name(topic()).with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default().with_topics(vec![topic]);
    Wire::connect(site.port).call(5, &request).topics[0].partitions[0].offset
}

/// The error codes for a new topic, and for a second partition.
fn create(site: &Site) -> [i16; 2] {
    let mut wire = Wire::connect(site.port);
    let topic = CreatableTopic::default().with_name(name("u")).with_num_partitions(1).with_replication_factor(1);
    let created = wire.call(7, &CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000));
    let topic = CreatePartitionsTopic::default().with_name(name("t")).with_count(2).with_assignments(None);
    let added = wire.call(3, &CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000));
    [created.topics[0].error_code, added.results[0].error_code]
}

#[test]
fn a_volume_that_can_no_longer_be_written_ends_an_idle_broker() {
    let Some(volume) = Volume::new() else {
        return eprintln!("NOT TESTED: a read-only volume: needs root, loop devices and mkfs.ext4");
    };
    let site = Site::new(&[&format!("log.dirs={}", volume.path().join("data").display())]);
    let broker = site.start();
    assert_eq!((partitions(&site), produce(&site, b"x")), (1, Ok(0)));
    assert!(broker.stop().success());
    let mut broker = site.start();
    let checkpoint = volume.path().join("data/recovery-point-offset-checkpoint");
    eventually("nothing is to be written", || {
        let written = fs::metadata(&checkpoint).ok()?.modified().ok()?;
        (IDLE_AFTER < written.elapsed().ok()?).then_some(())
    });
    let aborted = Command::new("mount").args(["-o", "remount,abort"]).arg(volume.path()).output().unwrap();
    assert!(aborted.status.success(), "{aborted:?}");
    assert!(broker.is_running());
    let mut wire = Wire::connect(site.port);
    let frame = wire.encode(9, &produce_request(topic(), b"x"));
    // The broker may end before it answers.
    wire.send(&frame);
    assert_eq!(broker.wait().code(), Some(4), "{}", broker.log());
}

#[test]
fn a_full_volume_refuses_producers_loses_nothing_and_can_be_started_on() {
    let Some(volume) = Volume::new() else {
        return eprintln!("NOT TESTED: a full volume: needs root, loop devices and mkfs.ext4");
    };
    let directory = format!("log.dirs={}", volume.path().join("data").display());
    let site = Site::new(&[&directory]).with_token("token");
    let broker = site.start();
    assert_eq!(partitions(&site), 1);

    let ballast = [volume.path().join("some"), volume.path().join("the rest")];
    fill(&ballast[0], 100 << 20);
    let retriable = Err(ResponseError::KafkaStorageError.code());
    let mut written = 0;
    let value = vec![b'v'; RECORD_BYTES];
    let refused = loop {
        match produce(&site, &value) {
            Ok(offset) => {
                assert_eq!(offset, written);
                written += 1;
            }
            refused => break refused,
        }
    };
    assert_eq!(refused, retriable);
    assert!(100 < written, "{written} records of 100 kB in some 60 MiB");
    let status = get(site.management_port, "/v1/broker", Some("token")).json();
    assert_eq!(status["disk"]["isLow"], true, "{status}");
    let metrics = get(site.management_port, "/metrics", None).body;
    assert!(metrics.lines().any(|line| line == "millrace_volume_is_low 1"), "{metrics}");

    fill(&ballast[1], usize::MAX);
    assert_eq!(produce(&site, b"x"), retriable);
    assert_eq!(create(&site), [ResponseError::KafkaStorageError.code(); 2], "nothing new is made");
    broker.kill();
    let broker = site.start();
    assert_eq!((end_offset(&site), produce(&site, b"x")), (written, retriable), "nothing is lost");
    assert!(broker.stop().success());
    let broker = site.start();
    assert_eq!((end_offset(&site), produce(&site, b"x")), (written, retriable), "nor by a clean stop");
    for path in &ballast {
        fs::remove_file(path).unwrap();
    }
    assert_eq!(eventually("there is room", || produce(&site, b"x").ok()), written);
    assert_eq!(create(&site), [0, 0]);
    assert_eq!(get(site.management_port, "/v1/broker", Some("token")).json()["disk"]["isLow"], false);
    assert!(broker.stop().success());
}
