//! What a disk may return for a segment after a crash. An input is a byte of flags, a recovery point, a length and
//! that many bytes of another file of the partition, and the `.log`.
//!
//! Recovery keeps the longest prefix of valid batches, cuts off the rest, and changes nothing that was synced; a
//! second recovery finds nothing to do.

use std::path::Path;
use std::sync::Arc;

use protocol::batch::{BatchHeader, CRC_START, crc32c};
use protocol::types::{LeaderEpoch, Offset, Timestamp};
use storage::faulty::FaultyDisk;
use storage::{Disk as _, FilePool, LoadError, LoadOptions, Log, LogConfig, PoolLimits};

/// The checksums of all batches are corrected first: mutations would not get past them otherwise.
pub const SEAL: u8 = 1;
/// The file that gets the bytes before the log.
pub const OTHER_FILE: u8 = 6;
const OTHER_FILES: [&str; 4] =
    ["00000000000000000000.index", "00000000000000000000.timeindex", "00000000000000000001.snapshot", EPOCHS];
const EPOCHS: &str = "leader-epoch-checkpoint";

const DIRECTORY: &str = "/data/topic-0";
const LOG: &str = "00000000000000000000.log";
const NOW: Timestamp = Timestamp(1_700_000_000_000);
/// So small that even short segments have entries.
const INDEX_INTERVAL_BYTES: u64 = 100;

pub fn run(input: &[u8]) {
    let [flags, recovery_point, other_length, rest @ ..] = input else { return };
    let Some((other, segment)) = rest.split_at_checked(usize::from(*other_length)) else { return };
    let recovery_point = Offset(i64::from(*recovery_point));
    let mut segment = segment.to_vec();
    if flags & SEAL != 0 {
        seal(&mut segment);
    }
    let bench = Bench::new(&segment);
    if !other.is_empty() {
        bench.disk.put(&path(OTHER_FILES[usize::from((flags & OTHER_FILE) >> 1)]), other.to_vec());
    }
    let first = bench.load(recovery_point);
    let kept = bench.log();
    let Ok(log) = first else {
        assert_eq!(kept, segment, "a log that is refused stays as it is");
        let nothing_synced = recovery_point == Offset(0) && other.is_empty();
        assert!(!nothing_synced, "nothing was synced, so nothing is a reason to refuse: {first:?}");
        return;
    };
    assert!(recovery_point <= log.log_end().offset, "what was synced is there");
    assert!(segment.starts_with(&kept), "recovery only cuts off");
    let sound = Sound::of(&segment, recovery_point);
    if other.is_empty() {
        assert_eq!((kept.len(), log.log_end().offset), (sound.length, sound.end), "the longest sound beginning");
        assert_eq!(epochs(&log), sound.epochs);
    } else {
        assert!(kept.len() <= sound.length || recovery_point != Offset(0), "no batch that was not there");
    }
    let (end, of_first) = (log.log_end(), epochs(&log));
    drop(log);
    let again = bench.load(recovery_point).expect("what was recovered can be loaded");
    assert_eq!((again.log_end(), epochs(&again), bench.log()), (end, of_first, kept), "recovery is idempotent");
}

fn epochs(log: &Log) -> Vec<(LeaderEpoch, Offset)> {
    log.leader_epochs().entries().iter().map(|entry| (entry.epoch, entry.start_offset)).collect()
}

fn path(name: &str) -> std::path::PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// A disk with one partition.
struct Bench {
    disk: Arc<FaultyDisk>,
    pool: Arc<FilePool>,
    config: LogConfig,
}

impl Bench {
    fn new(segment: &[u8]) -> Self {
        let disk = Arc::new(FaultyDisk::new());
        disk.create_directory(Path::new("/data")).unwrap();
        let pool = FilePool::new(disk.clone(), PoolLimits::default());
        let config = LogConfig { index_interval_bytes: INDEX_INTERVAL_BYTES, ..LogConfig::default() };
        let topic_id = "MkU3OEVBNTcwNTJENDM2Qg".parse().unwrap();
        let log = Log::create(&pool, Path::new(DIRECTORY), topic_id, config.clone(), Offset(0), NOW).unwrap();
        drop(log);
        disk.put(&path(LOG), segment.to_vec());
        Self { disk, pool, config }
    }

    fn load(&self, recovery_point: Offset) -> Result<Log, LoadError> {
        let options = LoadOptions { recovery_point, now: NOW, ..LoadOptions::default() };
        Log::load(&self.pool, Path::new(DIRECTORY), self.config.clone(), &options, &mut |_| {})
    }

    fn log(&self) -> Vec<u8> {
        self.disk.contents(&path(LOG)).expect("the segment is not removed")
    }
}

/// The longest prefix of a segment that a broker may have written, found by a simple scan.
struct Sound {
    length: usize,
    end: Offset,
    epochs: Vec<(LeaderEpoch, Offset)>,
}

impl Sound {
    /// There may be gaps in what was synced: compaction leaves them.
    fn of(segment: &[u8], recovery_point: Offset) -> Self {
        let mut sound = Self { length: 0, end: Offset(0), epochs: Vec::new() };
        while let Some((header, batch)) = batch_at(segment, sound.length) {
            let (base, delta) = (header.base_offset.0, i64::from(header.last_offset_delta));
            // Entries of an index are 32 bits, relative to the segment.
            let fits = base.checked_add(delta).is_some_and(|last| i32::try_from(last).is_ok());
            if header.magic != 2
                || base < sound.end.0
                || (recovery_point <= sound.end && base != sound.end.0)
                || delta < 0
                || !fits
                || crc32c(&batch[CRC_START..]) != header.crc
            {
                break;
            }
            if 0 <= header.leader_epoch.0 && sound.epochs.last().is_none_or(|(epoch, _)| *epoch < header.leader_epoch) {
                // What lay in a gap may have been of this epoch.
                sound.epochs.push((header.leader_epoch, sound.end));
            }
            sound.length += batch.len();
            sound.end = Offset(base + delta + 1);
        }
        sound
    }
}

fn batch_at(segment: &[u8], position: usize) -> Option<(BatchHeader, &[u8])> {
    let rest = &segment[position..];
    let header = BatchHeader::decode(rest.first_chunk()?);
    rest.get(..header.length()?).map(|batch| (header, batch))
}

/// Corrects the checksum of each batch, as far as their lengths lead.
pub fn seal(segment: &mut [u8]) {
    let mut position = 0;
    while let Some((_, batch)) = batch_at(segment, position) {
        let (length, crc) = (batch.len(), crc32c(&batch[CRC_START..]));
        segment[position + CRC_START - 4..][..4].copy_from_slice(&crc.to_be_bytes());
        position += length;
    }
}
