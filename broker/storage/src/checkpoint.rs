//! Kafka's checkpoint files: lines of text, `0` (the version), the number of entries, one entry per line. They are
//! replaced as a whole, so a crash leaves the old one or the new one.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::types::{Offset, PartitionId, TopicPartition};

use crate::disk::{Disk, read_file, replace_file};

const VERSION: &str = "0";
/// A longer checkpoint is not read.
const LENGTH_MAX: u64 = 64 << 20;

#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: not a checkpoint file: {reason}", path.display())]
    Invalid { path: PathBuf, reason: String },
}

impl From<CheckpointError> for io::Error {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::Io { source, .. } => source,
            invalid @ CheckpointError::Invalid { .. } => Self::new(io::ErrorKind::InvalidData, invalid),
        }
    }
}

/// An offset per partition: the recovery points, the log starts, or the high watermarks of a directory.
#[derive(Debug)]
pub struct OffsetCheckpoint {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl OffsetCheckpoint {
    pub fn new(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        Self { disk, path }
    }

    /// A missing file has no entries.
    pub fn read(&self) -> Result<BTreeMap<TopicPartition, Offset>, CheckpointError> {
        let entries = read_entries(&*self.disk, &self.path, |line| {
            let [topic, partition, offset] = fields(line)?;
            let partition = PartitionId(partition.parse().ok().filter(|partition| 0 <= *partition)?);
            let offset = Offset(offset.parse().ok().filter(|offset| 0 <= *offset)?);
            Some((TopicPartition { topic: topic.to_owned(), partition }, offset))
        })?;
        Ok(entries.unwrap_or_default().into_iter().collect())
    }

    /// Durable once it returns.
    pub fn write(&self, offsets: &BTreeMap<TopicPartition, Offset>) -> Result<(), CheckpointError> {
        let entries = offsets.iter().map(|(partition, offset)| {
            let TopicPartition { topic, partition } = partition;
            format!("{topic} {partition} {offset}")
        });
        write_entries(&*self.disk, &self.path, entries)
    }
}

/// The entries of a checkpoint file, `None` if there is no file. `parse` returns `None` for a malformed line.
pub(crate) fn read_entries<T>(
    disk: &dyn Disk,
    path: &Path,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<Vec<T>>, CheckpointError> {
    let bytes = match read_file(disk, path, LENGTH_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(CheckpointError::Io { path: path.to_owned(), source }),
    };
    parse_entries(&bytes, parse).map(Some).map_err(|reason| CheckpointError::Invalid { path: path.to_owned(), reason })
}

pub(crate) fn write_entries<T: Display>(
    disk: &dyn Disk,
    path: &Path,
    entries: impl ExactSizeIterator<Item = T>,
) -> Result<(), CheckpointError> {
    replace_file(disk, path, encode_entries(entries).as_bytes())
        .map_err(|source| CheckpointError::Io { path: path.to_owned(), source })
}

/// Splits the line if it has exactly `N` fields.
pub(crate) fn fields<const N: usize>(line: &str) -> Option<[&str; N]> {
    let fields: Vec<_> = line.split(' ').collect();
    fields.try_into().ok()
}

fn encode_entries<T: Display>(entries: impl ExactSizeIterator<Item = T>) -> String {
    let mut text = format!("{VERSION}\n{}\n", entries.len());
    for entry in entries {
        // Writing to a String cannot fail.
        writeln!(text, "{entry}").unwrap_or_default();
    }
    text
}

fn parse_entries<T>(bytes: &[u8], parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
    let mut lines = text.lines();
    let version = lines.next().unwrap_or_default();
    if version != VERSION {
        return Err(format!("version {version:?}, expected {VERSION:?}"));
    }
    let count = lines.next().unwrap_or_default();
    let count: usize = count.parse().map_err(|_| format!("{count:?} is no number of entries"))?;
    let entries: Vec<T> =
        lines.map(|line| parse(line).ok_or_else(|| format!("{line:?} is no entry"))).collect::<Result<_, _>>()?;
    if entries.len() != count {
        return Err(format!("{} entries, {count} announced", entries.len()));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faulty::FaultyDisk;

    #[test]
    fn offsets_are_written_as_kafka_writes_them_and_read_back() {
        let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new());
        disk.create_directory(Path::new("/data")).unwrap();
        let checkpoint = OffsetCheckpoint::new(disk.clone(), "/data/recovery-point-offset-checkpoint".into());
        assert!(checkpoint.read().unwrap().is_empty(), "no file, no entries");
        let partition =
            |topic: &str, partition| TopicPartition { topic: topic.into(), partition: PartitionId(partition) };
        let offsets = BTreeMap::from([(partition("a", 0), Offset(5)), (partition("b.c-d", 12), Offset(0))]);
        checkpoint.write(&offsets).unwrap();
        assert_eq!(checkpoint.read().unwrap(), offsets);
        let text = read_file(&*disk, &checkpoint.path, 100).unwrap();
        assert_eq!(text, b"0\n2\na 0 5\nb.c-d 12 0\n");
    }

    #[test]
    fn what_is_no_checkpoint_is_refused() {
        let parse = |line: &str| fields::<2>(line).map(|_| ());
        for bad in [
            "",
            "1\n0\n",
            "0\n",
            "0\n-1\n",
            "0\n2\na b\n",
            "0\n1\na b\nc d\n",
            "0\n1\na b c\n",
            "0\n1\na\n",
            "0\n1\n\n",
        ] {
            assert!(parse_entries(bad.as_bytes(), parse).is_err(), "{bad:?}");
        }
        assert!(parse_entries(b"\xFF\n0\n", parse).is_err());
        assert_eq!(parse_entries(b"0\n1\na b\n", parse).map(|entries| entries.len()), Ok(1));
    }
}
