use std::io::IoSlice;

use super::*;
use crate::testing::random;

fn disk_with(path: &Path, bytes: &[u8]) -> FaultyDisk {
    let disk = FaultyDisk::new();
    disk.create_directory(Path::new("/d")).unwrap();
    disk.sync_directory(Path::new("/")).unwrap();
    disk.open(path, OpenMode::Create).unwrap().write_vectored_at(&[IoSlice::new(bytes)], 0).unwrap();
    disk
}

/// Everything that can be left of a file after a crash.
fn left(prepare: impl Fn(&FaultyDisk)) -> std::collections::BTreeSet<Option<Vec<u8>>> {
    let path = Path::new("/d/file");
    let outcomes = (0..500).map(|seed| {
        let disk = disk_with(path, b"abcd");
        prepare(&disk);
        disk.crash(&mut random(seed));
        disk.contents(path)
    });
    outcomes.collect()
}

#[test]
fn a_crash_keeps_what_was_synced_and_anything_of_the_rest() {
    let sync = |disk: &FaultyDisk| {
        disk.open(Path::new("/d/file"), OpenMode::ReadWrite).unwrap().sync_data().unwrap();
        disk.sync_directory(Path::new("/d")).unwrap();
    };
    assert_eq!(left(sync), [Some(b"abcd".to_vec())].into());
    let lost = left(|_| {});
    for outcome in [None, Some(b"".to_vec()), Some(b"ab".to_vec()), Some(vec![0; 4]), Some(b"abcd".to_vec())] {
        assert!(lost.contains(&outcome), "{outcome:?} is possible");
    }
    let renamed = left(|disk| {
        sync(disk);
        disk.rename(Path::new("/d/file"), Path::new("/d/other")).unwrap();
    });
    assert_eq!(renamed, [None, Some(b"abcd".to_vec())].into());
}

#[test]
fn writes_are_cut_short_where_the_space_ends() {
    let disk = disk_with(Path::new("/d/file"), b"abcd");
    let file = disk.open(Path::new("/d/file"), OpenMode::ReadWrite).unwrap();
    disk.set_space_left(Some(3));
    assert_eq!(file.write_vectored_at(&[IoSlice::new(b"xy"), IoSlice::new(b"zzzz")], 2).unwrap(), 5);
    assert_eq!(disk.contents(Path::new("/d/file")).unwrap(), b"abxyzzz");
    let full = file.write_vectored_at(&[IoSlice::new(b"x")], 7).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.write_vectored_at(&[IoSlice::new(b"q")], 0).unwrap(), 1, "what is there can be overwritten");
}

#[test]
fn directories_move_with_what_they_hold() {
    let disk = disk_with(Path::new("/d/file"), b"abcd");
    disk.rename(Path::new("/d"), Path::new("/e")).unwrap();
    assert_eq!(disk.contents(Path::new("/e/file")).unwrap(), b"abcd");
    assert!(disk.list(Path::new("/d")).is_err());
    disk.remove_directory(Path::new("/e")).unwrap();
    assert_eq!(disk.contents(Path::new("/e/file")), None);
}

#[test]
fn a_directory_has_nothing_of_an_earlier_one_of_its_name() {
    let path = Path::new("/d");
    let leave: [fn(&FaultyDisk) -> io::Result<()>; 2] =
        [|disk| disk.rename(Path::new("/d"), Path::new("/e")), |disk| disk.remove_directory(Path::new("/d"))];
    for (leave, moved) in leave.into_iter().zip([1, 0]) {
        let disk = disk_with(Path::new("/d/file"), b"abcd");
        leave(&disk).unwrap();
        disk.create_directory(path).unwrap();
        for synced in ["/", "/d", "/e"] {
            disk.sync_directory(Path::new(synced)).unwrap();
        }
        disk.crash(&mut random(0));
        assert!(disk.list(path).unwrap().is_empty(), "it was never in this one");
        assert_eq!(disk.list(Path::new("/e")).unwrap_or_default().len(), moved);
    }
}
