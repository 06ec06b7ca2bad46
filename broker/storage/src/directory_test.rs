use std::collections::BTreeMap;

use protocol::types::{Offset, PartitionId};

use super::*;
use crate::SystemDisk;
use crate::faulty::FaultyDisk;

fn properties() -> MetaProperties {
    MetaProperties {
        cluster_id: "4L6g3nShT-eMCtK--X86sw".parse().unwrap(),
        node_id: BrokerId(3),
        directory_id: "MkU3OEVBNTcwNTJENDM2Qg".parse().unwrap(),
    }
}

fn owner() -> ExpectedOwner {
    ExpectedOwner { cluster_id: Some(properties().cluster_id), node_id: BrokerId(3) }
}

fn formatted() -> (Arc<dyn Disk>, PathBuf) {
    let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new());
    let path = PathBuf::from("/volume/data");
    Formatting::begin(&disk, &path).unwrap().finish(&properties()).unwrap();
    (disk, path)
}

#[test]
fn a_directory_is_formatted_once_and_says_whose_it_is() {
    let (disk, path) = formatted();
    assert!(matches!(Formatting::begin(&disk, &path), Err(FormatError::AlreadyFormatted { .. })));
    let directory = LogDirectory::open(&disk, &path, &owner()).unwrap();
    assert_eq!(*directory.properties(), properties());
    assert_eq!(directory.clean_shutdown(), None);
}

#[test]
fn refusals_say_what_to_do() {
    let (disk, path) = formatted();
    let check = |path: &Path, expected: &ExpectedOwner, said: &str| {
        let error = LogDirectory::open(&disk, path, expected).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    };
    check(Path::new("/empty"), &owner(), "millrace-broker format --standalone --cluster-id");
    check(&path, &ExpectedOwner { node_id: BrokerId(4), ..owner() }, "belongs to node 3, this is node 4");
    let other = ExpectedOwner { cluster_id: Some("other".parse().unwrap()), ..owner() };
    check(&path, &other, "belongs to cluster 4L6g3nShT-eMCtK--X86sw, this broker to cluster other");
    let open = LogDirectory::open(&disk, &path, &ExpectedOwner { cluster_id: None, ..owner() }).unwrap();
    check(&path, &owner(), "in use by another process");
    drop(open);
    replace_file(&*disk, &path.join("meta.properties"), b"version=1\n").unwrap();
    check(&path, &owner(), "node.id is missing");
}

#[test]
fn a_clean_stop_counts_once() {
    let (disk, path) = formatted();
    let directory = LogDirectory::open(&disk, &path, &owner()).unwrap();
    directory.write_clean_shutdown(BrokerEpoch(77)).unwrap();
    let file = read_file(&*disk, &path.join(".kafka_cleanshutdown"), 100).unwrap();
    assert_eq!(file, br#"{"version":0,"brokerEpoch":77}"#);
    drop(directory);
    let directory = LogDirectory::open(&disk, &path, &owner()).unwrap();
    assert_eq!(directory.clean_shutdown(), Some(CleanShutdown { broker_epoch: Some(BrokerEpoch(77)) }));
    drop(directory);
    assert_eq!(LogDirectory::open(&disk, &path, &owner()).unwrap().clean_shutdown(), None);
    replace_file(&*disk, &path.join(".kafka_cleanshutdown"), b"").unwrap();
    let directory = LogDirectory::open(&disk, &path, &owner()).unwrap();
    assert_eq!(directory.clean_shutdown(), Some(CleanShutdown { broker_epoch: None }), "older brokers leave it empty");
}

/// On the real file system.
#[test]
fn partitions_are_listed_set_aside_and_removed() {
    let root = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(SystemDisk);
    let path = root.path().join("data");
    Formatting::begin(&disk, &path).unwrap().finish(&properties()).unwrap();
    let directory = LogDirectory::open(&disk, &path, &owner()).unwrap();
    assert!(matches!(LogDirectory::open(&disk, &path, &owner()), Err(OpenError::Locked { .. })));
    let partition = |topic: &str| TopicPartition { topic: topic.into(), partition: PartitionId(0) };
    for topic in ["a", "b"] {
        disk.create_directory(&directory.partition_path(&partition(topic))).unwrap();
    }
    disk.create_directory(&path.join("lost+found")).unwrap();
    let aside = directory.set_aside(&partition("b"), DirectoryState::Deleted, Uuid::from_u128(1)).unwrap();
    let states = || -> BTreeMap<_, _> {
        let partitions = directory.partitions().unwrap().into_iter();
        partitions.map(|(name, _)| (name.partition.topic, name.state)).collect()
    };
    let expected = [("a".to_owned(), DirectoryState::Live), ("b".to_owned(), DirectoryState::Deleted)];
    assert_eq!(states(), expected.into());
    directory.remove(&aside).unwrap();
    assert_eq!(states().len(), 1);
    directory.recovery_points().write(&[(partition("a"), Offset(5))].into()).unwrap();
    assert!(path.join("recovery-point-offset-checkpoint").exists());
    directory.note_alive(Timestamp(1_234_567)).unwrap();
    drop(directory);
    assert_eq!(LogDirectory::open(&disk, &path, &owner()).unwrap().last_alive(), Some(Timestamp(1_234_567)));
}
