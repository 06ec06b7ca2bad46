//! Names of the files in a partition directory.

use std::path::{Path, PathBuf};

use protocol::types::Offset;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    Log,
    OffsetIndex,
    TimeIndex,
    TransactionIndex,
    Snapshot,
}

impl FileKind {
    fn extension(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::OffsetIndex => "index",
            Self::TimeIndex => "timeindex",
            Self::TransactionIndex => "txnindex",
            Self::Snapshot => "snapshot",
        }
    }
}

pub(crate) fn segment_path(directory: &Path, base: Offset, kind: FileKind) -> PathBuf {
    directory.join(format!("{:020}.{}", base.0, kind.extension()))
}

/// Suffix of a file that was deleted and is not removed yet.
pub(crate) const DELETED: &str = ".deleted";
/// Suffix of a file that compaction is writing.
pub(crate) const CLEANED: &str = ".cleaned";
/// Suffix of a complete file that replaces others.
pub(crate) const SWAP: &str = ".swap";

/// The name of a deleted file.
pub(crate) fn deleted(path: &Path) -> PathBuf {
    with_suffix(path, DELETED)
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The offset and kind of `name`, or `None` if it is not the name of a segment's file.
pub(crate) fn parse_name(name: &str) -> Option<(Offset, FileKind)> {
    let (offset, extension) = name.split_once('.')?;
    if offset.len() != 20 || !offset.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let kinds =
        [FileKind::Log, FileKind::OffsetIndex, FileKind::TimeIndex, FileKind::TransactionIndex, FileKind::Snapshot];
    let kind = kinds.into_iter().find(|kind| kind.extension() == extension)?;
    Some((Offset(offset.parse().ok()?), kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_round_trip() {
        let path = segment_path(Path::new("/d/t-0"), Offset(1234), FileKind::TimeIndex);
        assert_eq!(path, Path::new("/d/t-0/00000000000000001234.timeindex"));
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(parse_name(name), Some((Offset(1234), FileKind::TimeIndex)));
        for other in
            ["1.log", "0000000000000000000x.log", "00000000000000000000.log.swap", "99999999999999999999.log", "x"]
        {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }
}
