//! The content of a partition's directory while no broker runs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use protocol::batch::{BatchHeader, HEADER_LENGTH};
use protocol::records;

use super::random::Random;

/// Most bytes of a decompressed batch.
const OPENED_BYTES_MAX: usize = 1 << 20;

/// An epoch, and the offset of its first record.
type Epochs = Vec<(i32, i64)>;

/// The leader epoch checkpoint must agree with the batches; it may have one more epoch that has no records yet.
pub(super) fn check_epochs(directory: &Path) -> Result<()> {
    let (written, end) = of_batches(directory)?;
    let checkpoint = fs::read_to_string(directory.join("leader-epoch-checkpoint"))?;
    let mut noted = parse(&checkpoint).with_context(|| format!("{}: {checkpoint:?}", directory.display()))?;
    noted.pop_if(|(_, start)| *start == end);
    ensure!(noted == written, "{}: epochs {noted:?} are noted, {written:?} written", directory.display());
    Ok(())
}

fn parse(checkpoint: &str) -> Option<Epochs> {
    let entries = checkpoint.lines().skip(2).map(|line| line.split_once(' '));
    entries.map(|entry| entry.and_then(|(epoch, start)| Some((epoch.parse().ok()?, start.parse().ok()?)))).collect()
}

/// The epochs in the segments, and the log end.
fn of_batches(directory: &Path) -> Result<(Epochs, i64)> {
    let (mut epochs, mut end) = (Epochs::new(), 0);
    for segment in segments(directory)? {
        let bytes = fs::read(&segment)?;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (header, batch) = first_batch(rest).with_context(|| format!("{}: a torn end", segment.display()))?;
            let (epoch, base) = (header.leader_epoch.0, header.base_offset.0);
            ensure!(base == end, "{}: offset {base} follows {end}", segment.display());
            let latest = epochs.last().map(|(epoch, _)| *epoch);
            ensure!(latest <= Some(epoch), "{}: epoch {epoch} at {base} follows {latest:?}", segment.display());
            if latest != Some(epoch) {
                epochs.push((epoch, base));
            }
            end = header.next_offset().0;
            rest = &rest[batch.len()..];
        }
    }
    Ok((epochs, end))
}

/// Replicas of a log must have the same bytes up to this offset, from the largest of their log starts on; segment
/// boundaries may differ.
pub(super) fn compare(replicas: &[PathBuf], end: i64) -> Result<()> {
    let logs = replicas.iter().map(|replica| Ok((replica, read(replica)?))).collect::<Result<Vec<_>>>()?;
    let begins = logs.iter().filter_map(|(_, bytes)| Some(first_batch(bytes)?.0.base_offset.0));
    let begin = begins.max().unwrap_or_default();
    let mut first: Option<(&PathBuf, &[u8])> = None;
    for (replica, bytes) in &logs {
        let bytes = between(bytes, begin, end).with_context(|| replica.display().to_string())?;
        let Some((one, expected)) = first else {
            first = Some((replica, bytes));
            continue;
        };
        let differs = expected.iter().zip(bytes).position(|(one, other)| one != other);
        let shorter = expected.len().min(bytes.len());
        let differs = if expected.len() == bytes.len() { differs } else { differs.or(Some(shorter)) };
        if let Some(position) = differs {
            let batch = offset_at(expected, position);
            let (one, other) = (one.display(), replica.display());
            bail!("{one} and {other} differ below {end}, in the batch from offset {batch} on");
        }
    }
    Ok(())
}

/// The content of a compacted log: the last record of each key, and its end.
#[derive(Debug, Default)]
struct Compacted {
    last: BTreeMap<Vec<u8>, (i64, Option<Vec<u8>>)>,
    end: i64,
}

/// Replicas of a compacted log must have the same last record of each key, except for what some of them lack yet.
pub(super) fn compare_last_of_keys(replicas: &[PathBuf]) -> Result<()> {
    let logs = replicas.iter().map(|replica| Ok((replica, last_of_keys(replica)?))).collect::<Result<Vec<_>>>()?;
    for ((one, here), (other, there)) in logs.iter().zip(logs.iter().skip(1)) {
        let common = here.end.min(there.end);
        for key in here.last.keys().chain(there.last.keys()) {
            let (mine, theirs) = (here.last.get(key), there.last.get(key));
            let latest = [mine, theirs].into_iter().flatten().map(|(offset, _)| *offset).max();
            let agree = mine == theirs || latest.is_some_and(|latest| common <= latest);
            ensure!(
                agree,
                "{} and {} differ in the last record of a key: at {:?} and at {:?}",
                one.display(),
                other.display(),
                mine.map(|(offset, _)| offset),
                theirs.map(|(offset, _)| offset),
            );
        }
    }
    Ok(())
}

fn last_of_keys(directory: &Path) -> Result<Compacted> {
    let (bytes, mut found) = (read(directory)?, Compacted::default());
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let torn = || format!("{}: a torn end", directory.display());
        let (header, batch) = first_batch(rest).with_context(torn)?;
        let (base, end) = (header.base_offset.0, found.end);
        ensure!(end <= base, "{}: offset {base} follows {end}", directory.display());
        for record in &records::walk(batch, OPENED_BYTES_MAX)? {
            let record = record?;
            let offset = base + i64::from(record.offset_delta);
            let key = record.key.with_context(|| format!("{}: no key at {offset}", directory.display()))?;
            found.last.insert(key.to_vec(), (offset, record.value.map(<[u8]>::to_vec)));
        }
        found.end = header.next_offset().0;
        rest = &rest[batch.len()..];
    }
    Ok(found)
}

fn read(directory: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for segment in segments(directory)? {
        bytes.extend(fs::read(&segment)?);
    }
    Ok(bytes)
}

/// The batches between two offsets, both of which are batch boundaries.
fn between(bytes: &[u8], begin: i64, end: i64) -> Result<&[u8]> {
    let (mut from, mut to, mut next) = (0, 0, begin);
    while next < end {
        let (header, batch) = first_batch(&bytes[to..]).with_context(|| format!("it ends at {next}, not at {end}"))?;
        to += batch.len();
        if header.base_offset.0 < begin {
            from = to;
        } else {
            next = header.next_offset().0;
        }
    }
    Ok(&bytes[from..to])
}

/// The base offset of the batch at this byte.
fn offset_at(mut bytes: &[u8], position: usize) -> i64 {
    let (mut begin, mut offset) = (0, 0);
    while let Some((header, batch)) = first_batch(bytes).filter(|_| begin <= position) {
        offset = header.base_offset.0;
        begin += batch.len();
        bytes = &bytes[batch.len()..];
    }
    offset
}

/// Leaves at the log end what a power cut may and SIGKILL does not: an unacknowledged batch, cut off somewhere or
/// with a wrong byte.
pub(super) fn tear(directory: &Path, random: &mut Random) -> Result<()> {
    let Some(segment) = segments(directory)?.pop() else { return Ok(()) };
    let bytes = fs::read(&segment)?;
    let (mut last, mut rest) = (None, &bytes[..]);
    while let Some((header, batch)) = first_batch(rest) {
        (last, rest) = (Some((header, batch)), &rest[batch.len()..]);
    }
    // An end that is already torn is left alone.
    let Some((header, batch)) = last.filter(|_| rest.is_empty()) else { return Ok(()) };
    let next = BatchHeader { base_offset: header.next_offset(), ..header };
    let mut torn = [&next.encode(), &batch[HEADER_LENGTH..]].concat();
    match random.below(2) {
        0 => torn.truncate(usize::try_from(random.below(torn.len() as u64))?),
        _ => torn.iter_mut().last().into_iter().for_each(|byte| *byte ^= 1),
    }
    Ok(File::options().append(true).open(&segment)?.write_all(&torn)?)
}

fn segments(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let mut segments = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    segments.sort();
    Ok(segments)
}

/// `None`: it is incomplete.
fn first_batch(bytes: &[u8]) -> Option<(BatchHeader, &[u8])> {
    let header = BatchHeader::decode(bytes.first_chunk()?);
    Some((header, bytes.get(..header.length()?)?))
}

#[cfg(test)]
mod tests {
    use protocol::batch::{CRC_START, crc32c};
    use protocol::batch_builder::BatchBuilder;
    use protocol::types::{LeaderEpoch, Offset, Timestamp};

    use super::*;

    fn batch(base: i64, epoch: i32) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Timestamp(1));
        builder.push(None, Some(b"value"));
        let batch = builder.build().unwrap();
        let header = BatchHeader { base_offset: Offset(base), leader_epoch: LeaderEpoch(epoch), ..batch.header };
        [&header.encode(), &batch.bytes[HEADER_LENGTH..]].concat()
    }

    #[test]
    fn epochs_that_were_lost_or_made_up_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let log = [batch(0, 0), batch(1, 0), batch(2, 3)].concat();
        fs::write(directory.path().join("00000000000000000000.log"), log).unwrap();
        for (checkpoint, sound) in [
            ("0\n2\n0 0\n3 2\n", true),
            ("0\n3\n0 0\n3 2\n4 3\n", true),
            ("0\n1\n0 0\n", false),
            ("0\n1\n3 2\n", false),
            ("0\n3\n0 0\n1 1\n3 2\n", false),
            ("0\n2\n0 0\n3 1\n", false),
        ] {
            fs::write(directory.path().join("leader-epoch-checkpoint"), checkpoint).unwrap();
            assert_eq!(check_epochs(directory.path()).is_ok(), sound, "{checkpoint:?}");
        }
    }

    #[test]
    fn replicas_that_differ_below_the_end_are_found() {
        let batches: Vec<_> = (0..3).map(|offset| batch(offset, 0)).collect();
        let mut other = batches[1].clone();
        *other.last_mut().unwrap() ^= 1;
        let replica = |segments: &[&[&[u8]]]| {
            let directory = tempfile::tempdir().unwrap();
            for (number, batches) in segments.iter().enumerate() {
                fs::write(directory.path().join(format!("{number:020}.log")), batches.concat()).unwrap();
            }
            directory
        };
        let [a, b, c] = [&batches[0][..], &batches[1], &batches[2]];
        for (segments, end, same) in [
            (&[&[a, b, c][..]][..], 3, true),
            (&[&[a, b], &[c]], 3, true), // rolled elsewhere
            (&[&[a, b]], 2, true),       // behind, but not below the end
            (&[&[a, b]], 3, false),
            (&[&[a, &other, c]], 3, false),
            (&[&[a, &other, c]], 1, true),
            (&[&[b, c]], 3, true), // begins later
            (&[&[&other, c]], 3, false),
        ] {
            let (one, two) = (replica(&[&[a], &[b, c]]), replica(segments));
            let compared = compare(&[one.path().to_owned(), two.path().to_owned()], end);
            assert_eq!(compared.is_ok(), same, "{segments:?} below {end}: {compared:?}");
        }
    }

    #[test]
    fn replicas_that_differ_in_the_last_record_of_a_key_are_found() {
        let said = |base: i64, key: &str, value: Option<&str>| {
            let mut builder = BatchBuilder::new(Timestamp(1));
            builder.push(Some(key.as_bytes()), value.map(str::as_bytes));
            let batch = builder.build().unwrap();
            let header = BatchHeader { base_offset: Offset(base), ..batch.header };
            [&header.encode(), &batch.bytes[HEADER_LENGTH..]].concat()
        };
        let [old, new, deletion] = [said(0, "a", Some("old")), said(1, "a", Some("new")), said(2, "b", None)];
        let replica = |batches: &[&Vec<u8>]| {
            let directory = tempfile::tempdir().unwrap();
            let log = batches.iter().flat_map(|batch| batch.iter().copied()).collect::<Vec<_>>();
            fs::write(directory.path().join("00000000000000000000.log"), log).unwrap();
            directory
        };
        let other = said(1, "a", Some("other"));
        for (batches, same) in [
            (&[&new, &deletion][..], true),
            (&[&old, &new], true), // behind
            (&[&old], true),
            (&[&old, &deletion], false),
            (&[&other, &deletion], false),
            (&[&deletion], false),
        ] {
            let (one, two) = (replica(&[&old, &new, &deletion]), replica(batches));
            let compared = compare_last_of_keys(&[one.path().to_owned(), two.path().to_owned()]);
            assert_eq!(compared.is_ok(), same, "{batches:?}: {compared:?}");
        }
    }

    #[test]
    fn what_is_torn_follows_the_log_and_is_never_a_sound_batch() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("00000000000000000000.log");
        let log = [batch(0, 0), batch(1, 0)].concat();
        let mut random = Random(1);
        let mut whole = 0;
        for _ in 0..50 {
            fs::write(&path, &log).unwrap();
            tear(directory.path(), &mut random).unwrap();
            let bytes = fs::read(&path).unwrap();
            assert!(bytes.starts_with(&log));
            if let Some((header, batch)) = first_batch(&bytes[log.len()..]) {
                assert_eq!(header.base_offset, Offset(2));
                assert_ne!(header.crc, crc32c(&batch[CRC_START..]));
                whole += 1;
            }
        }
        assert!((10..40).contains(&whole), "{whole} of 50 have a wrong byte");
    }
}
