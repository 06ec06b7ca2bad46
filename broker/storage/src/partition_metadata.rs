//! `partition.metadata`: the topic id of a partition directory.

use std::io;
use std::path::{Path, PathBuf};

use protocol::types::TopicId;

use crate::disk::{Disk, OpenMode, read_file, write_beside};

const FILE_NAME: &str = "partition.metadata";
const LENGTH_MAX: u64 = 4096;

#[derive(Debug, thiserror::Error)]
pub enum PartitionMetadataError {
    #[error("{}: missing: it is not known to which topic id the directory belongs", path.display())]
    Missing { path: PathBuf },
    #[error("{}: expected \"version: 0\" and \"topic_id: ID\"", path.display())]
    Invalid { path: PathBuf },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Not durable before [`sync`]: a power cut may leave an empty file or none.
pub(crate) fn write(disk: &dyn Disk, directory: &Path, topic_id: TopicId) -> io::Result<()> {
    let path = directory.join(FILE_NAME);
    let (_, beside) = write_beside(disk, &path, encode(topic_id).as_bytes())?;
    disk.rename(&beside, &path)
}

/// Syncs the content. The name becomes durable with the directory.
pub(crate) fn sync(disk: &dyn Disk, directory: &Path) -> io::Result<()> {
    disk.open(&directory.join(FILE_NAME), OpenMode::ReadWrite)?.sync_data()
}

pub(crate) fn read(disk: &dyn Disk, directory: &Path) -> Result<TopicId, PartitionMetadataError> {
    let path = directory.join(FILE_NAME);
    match read_file(disk, &path, LENGTH_MAX) {
        Ok(bytes) => parse(&bytes).ok_or(PartitionMetadataError::Invalid { path }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(PartitionMetadataError::Missing { path }),
        Err(source) => Err(PartitionMetadataError::Io { path, source }),
    }
}

fn encode(topic_id: TopicId) -> String {
    format!("version: 0\ntopic_id: {topic_id}")
}

fn parse(bytes: &[u8]) -> Option<TopicId> {
    let mut lines = std::str::from_utf8(bytes).ok()?.lines();
    if lines.next()? != "version: 0" {
        return None;
    }
    let topic_id: TopicId = lines.next()?.strip_prefix("topic_id: ")?.parse().ok()?;
    (lines.next().is_none() && topic_id != TopicId::default()).then_some(topic_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lies_as_kafka_writes_it() {
        let topic_id: TopicId = "MkU3OEVBNTcwNTJENDM2Qg".parse().unwrap();
        assert_eq!(encode(topic_id), "version: 0\ntopic_id: MkU3OEVBNTcwNTJENDM2Qg");
        assert_eq!(parse(encode(topic_id).as_bytes()), Some(topic_id));
        let zero = encode(TopicId::default());
        for bad in ["", "version: 1\ntopic_id: MkU3OEVBNTcwNTJENDM2Qg", "version: 0\ntopic_id: x", "version: 0", &zero]
        {
            assert_eq!(parse(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
