//! The walk over all segments by [`Log::load`](crate::Log::load).

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use protocol::types::{Offset, Timestamp};

use crate::active_segment::ActiveSegment;
use crate::closed_segment::ClosedSegment;
use crate::config::LogConfig;
use crate::disk::{Disk, OpenMode, length_u64, read_at_most};
use crate::files::{FileKind, segment_path};
use crate::flush::FlushState;
use crate::leader_epochs::LeaderEpochs;
use crate::leftovers::{remove_indexes, remove_segment};
use crate::load::{LoadError, LoadOptions, RecoveryProgress, StartPoint};
use crate::log::is_shortage;
use crate::pool::FilePool;
use crate::producers::Producers;
use crate::scanner::ScanError;
use crate::segment_walk::SegmentWalk;
use crate::{offset_index, producer_snapshot, time_index};

/// No larger than the log to be scanned: most of ten thousand logs are small.
const SCAN_BUFFER_BYTES_MIN: usize = 4 << 10;
const SCAN_BUFFER_BYTES_MAX: usize = 1 << 20;
/// Progress is reported after this many bytes.
const PROGRESS_BYTES: u64 = 8 << 20;

pub(crate) struct Recovery<'a> {
    pool: &'a Arc<FilePool>,
    directory: Arc<Path>,
    config: &'a LogConfig,
    now: Timestamp,
    log_start: Offset,
    /// A bad batch below it is not a torn tail.
    synced: Offset,
    clean: bool,
    /// Compaction leaves gaps between offsets, but only in closed segments that are synced, and in what followers of
    /// a compacted log receive.
    contiguous_from: Offset,
    compacted_end: Offset,
    /// Batches before it need not be read.
    start: Offset,
    buffer: Vec<u8>,
    progress: RecoveryProgress,
    closed: Vec<Arc<ClosedSegment>>,
    epochs: LeaderEpochs,
    producers: Producers,
    flushing: FlushState,
}

pub(crate) struct Recovered {
    pub(crate) closed: Vec<Arc<ClosedSegment>>,
    pub(crate) active: ActiveSegment,
    pub(crate) log_end: Offset,
    pub(crate) epochs: LeaderEpochs,
    pub(crate) producers: Producers,
    pub(crate) flushing: FlushState,
    /// Whether segments after the log end were removed.
    pub(crate) removed: bool,
}

impl<'a> Recovery<'a> {
    pub(crate) fn new(
        pool: &'a Arc<FilePool>,
        directory: &Path,
        config: &'a LogConfig,
        options: &LoadOptions,
        start: StartPoint,
        epochs: &LeaderEpochs,
    ) -> Self {
        let synced = options.recovery_point.max(start.offset);
        // A first segment beyond it tells what was deleted, not that the directory is durable.
        let mut flushing = FlushState::new(options.recovery_point);
        flushing.snapshots = start.snapshots;
        Self {
            pool,
            directory: directory.into(),
            config,
            now: options.now,
            log_start: options.log_start,
            synced,
            clean: options.clean,
            contiguous_from: synced,
            compacted_end: options.compacted_end,
            start: start.offset,
            buffer: Vec::new(),
            progress: RecoveryProgress { scanned_bytes: 0, total_bytes: 0 },
            closed: Vec::new(),
            // Beyond what is synced the epochs come from the batches: the file may be older than a truncation. Before
            // that compaction may have removed the first batches of an epoch.
            epochs: epochs.before(synced),
            producers: start.producers,
            flushing,
        }
    }

    /// `logs`: base offset and length of each.
    pub(crate) fn run(
        mut self,
        logs: &BTreeMap<Offset, u64>,
        progress: &mut dyn FnMut(RecoveryProgress),
    ) -> Result<Recovered, LoadError> {
        let ends = logs.keys().skip(1).map(|base| Some(*base)).chain([None]);
        let segments: Vec<_> = logs.iter().zip(ends).map(|((base, length), end)| (*base, *length, end)).collect();
        let to_scan = segments.iter().filter(|(.., end)| end.is_none_or(|end| self.start < end));
        self.progress.total_bytes = to_scan.map(|(_, length, _)| *length).fold(0, u64::saturating_add);

        if self.config.compacted {
            self.contiguous_from = Offset(i64::MAX);
        } else if self.contiguous_from == Offset(0) {
            // It is unknown what was synced.
            self.contiguous_from = logs.keys().next_back().copied().unwrap_or_default();
        }
        // It may have been compacted once.
        self.contiguous_from = self.contiguous_from.max(self.compacted_end);
        let buffer_bytes = usize::try_from(self.progress.total_bytes).unwrap_or(usize::MAX);
        self.buffer = vec![0; buffer_bytes.clamp(SCAN_BUFFER_BYTES_MIN, SCAN_BUFFER_BYTES_MAX)];
        for (base, length, end) in segments {
            if let Some(end) = end.filter(|end| *end <= self.start)
                && let Some(closed) = self.open_closed(base, length, end).map_err(|source| self.io_error(source))?
            {
                self.closed.push(Arc::new(closed));
                continue;
            }
            let (walk, is_sound) = self.walk(base, length, progress)?;
            // Compaction leaves gaps, but only in what is synced; elsewhere a gap is a lost tail.
            let followed =
                end.filter(|end| is_sound && (walk.next_offset == *end || *end <= self.synced || self.clean));
            let Some(end) = followed else {
                let removed = self.remove_after(base, logs)?;
                return Ok(Recovered { removed, ..self.finish(walk)? });
            };
            self.close(walk, end).map_err(|source| self.io_error(source))?;
        }
        self.begin()
    }

    /// Opens a segment that needs no recovery, if its indexes are there and their last entries are plausible.
    fn open_closed(&self, base: Offset, size: u64, end: Offset) -> io::Result<Option<ClosedSegment>> {
        let offsets = self.last_entry::<{ offset_index::ENTRY_LENGTH }>(base, FileKind::OffsetIndex)?;
        let times = self.last_entry::<{ time_index::ENTRY_LENGTH }>(base, FileKind::TimeIndex)?;
        let (Some(offsets), Some(times)) = (offsets, times) else { return Ok(None) };
        if offset_index::sound_length(&offsets, base, end, size) != offsets.len()
            || time_index::sound_length(&times, base, end) != times.len()
        {
            return Ok(None);
        }
        Ok(Some(ClosedSegment {
            files: Arc::new(self.pool.new_segment()),
            directory: self.directory.clone(),
            base,
            end,
            size,
            largest_timestamp: time_index::last(&times, base).timestamp,
        }))
    }

    /// The last entry of an index, empty if it has none. `None`: no file, or half an entry at its end.
    fn last_entry<const N: usize>(&self, base: Offset, kind: FileKind) -> io::Result<Option<Vec<u8>>> {
        let path = segment_path(&self.directory, base, kind);
        let file = match self.disk().open(&path, OpenMode::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let length = file.length()?;
        if !length.is_multiple_of(length_u64(N)) {
            return Ok(None);
        }
        let Some(position) = length.checked_sub(length_u64(N)) else { return Ok(Some(Vec::new())) };
        let mut entry = vec![0; N];
        let read = read_at_most(&*file, &mut entry, position)?;
        Ok((read == N).then_some(entry))
    }

    /// Walks a segment to its end or its first bad batch. `false`: there was one.
    fn walk(
        &mut self,
        base: Offset,
        length: u64,
        progress: &mut dyn FnMut(RecoveryProgress),
    ) -> Result<(SegmentWalk, bool), LoadError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let walk = SegmentWalk::open(self.disk(), &self.directory, (base, length), self.start, &mut buffer);
        let mut walk = walk.map_err(|source| self.io_error(source))?;
        let skipped = walk.position;
        self.advance(skipped, progress);
        let interval_bytes = self.config.index_interval_bytes;
        let mut previous_end = walk.next_offset;
        let outcome = walk.run(interval_bytes, self.contiguous_from, &mut buffer, |header, length| {
            // As when it was appended: an epoch begins where the one before it has no more records.
            if self.epochs.epoch_for_offset(header.base_offset).is_none_or(|known| known < header.leader_epoch) {
                self.epochs.assign(header.leader_epoch, previous_end);
            }
            previous_end = header.next_offset();
            if self.start <= header.base_offset {
                self.producers.record(header);
            }
            self.advance(length, progress);
        });
        self.buffer = buffer;
        self.flushing.appended(walk.position.saturating_sub(skipped), self.now);
        progress(self.progress);
        match outcome {
            Ok(()) => Ok((walk, true)),
            Err(ScanError::Defect { position, defect }) if !self.clean && self.synced <= walk.next_offset => {
                let path = walk.path.display();
                tracing::warn!(%path, position, %defect, log_end = %walk.next_offset, "truncated log at its first invalid batch");
                Ok((walk, false))
            }
            Err(error) => Err(LoadError::scan(&walk.path, error, self.synced)),
        }
    }

    fn advance(&mut self, bytes: u64, progress: &mut dyn FnMut(RecoveryProgress)) {
        let before = self.progress.scanned_bytes;
        self.progress.scanned_bytes = before.saturating_add(bytes);
        if before / PROGRESS_BYTES != self.progress.scanned_bytes / PROGRESS_BYTES {
            progress(self.progress);
        }
    }

    /// Closes a walked segment that others follow. Synced at once, so that a long recovery keeps no files open. On a
    /// full disk the segment has no index files.
    fn close(&mut self, walk: SegmentWalk, end: Offset) -> io::Result<()> {
        let mut segment = walk.into_segment(self.pool, self.now, &mut self.buffer)?;
        match segment.finish(&self.directory) {
            Ok(files) => files.iter().try_for_each(|file| file.sync_data())?,
            Err(error) if is_shortage(&error) => {
                tracing::warn!(path = %segment.path(&self.directory).display(), %error, "indexes not written");
                remove_indexes(self.disk(), &self.directory, segment.base)?;
                segment.open(&self.directory)?.sync_data()?;
            }
            Err(error) => return Err(error),
        }
        if self.start < end {
            let snapshot = producer_snapshot::encode(&self.producers);
            if producer_snapshot::write(self.disk(), &self.directory, end, &snapshot)? {
                self.flushing.snapshots.insert(end);
            }
        }
        self.disk().sync_directory(&self.directory)?;
        self.synced = self.synced.max(end);
        self.closed.push(Arc::new(segment.into_closed(&self.directory, end)));
        Ok(())
    }

    /// Takes the last walked segment as the active one.
    fn finish(mut self, walk: SegmentWalk) -> Result<Recovered, LoadError> {
        let log_end = walk.next_offset;
        self.check_length(log_end)?;
        // Otherwise it advances with the next flush, which also writes the recovered epochs.
        if self.clean {
            self.flushing.recovery_point = log_end;
        }
        let active =
            walk.into_segment(self.pool, self.now, &mut self.buffer).map_err(|source| self.io_error(source))?;
        let Self { closed, epochs, producers, flushing, .. } = self;
        Ok(Recovered { closed, active, log_end, epochs, producers, flushing, removed: false })
    }

    /// Starts a log that has no segments at all.
    fn begin(self) -> Result<Recovered, LoadError> {
        let log_end = self.log_start;
        self.check_length(log_end)?;
        let active = match log_end {
            Offset(0) => ActiveSegment::new(self.pool, log_end, self.now),
            _ => ActiveSegment::create(self.pool, &self.directory, log_end, self.now)
                .map_err(|source| self.io_error(source))?,
        };
        let (epochs, producers) = (LeaderEpochs::default(), Producers::default());
        let flushing = FlushState::new(self.flushing.recovery_point);
        Ok(Recovered { closed: Vec::new(), active, log_end, epochs, producers, flushing, removed: false })
    }

    fn check_length(&self, log_end: Offset) -> Result<(), LoadError> {
        if log_end < self.synced {
            let directory = self.directory.to_path_buf();
            return Err(LoadError::TooShort { directory, log_end, recovery_point: self.synced });
        }
        Ok(())
    }

    /// Returns whether there were any.
    fn remove_after(&self, last: Offset, logs: &BTreeMap<Offset, u64>) -> Result<bool, LoadError> {
        let mut after = logs.keys().filter(|base| last < **base).peekable();
        let removed = after.peek().is_some();
        for base in after {
            tracing::warn!(directory = %self.directory.display(), %base, "removed segment after the log end");
            self.remove(*base).map_err(|source| self.io_error(source))?;
        }
        Ok(removed)
    }

    /// Emptied first: until the directory is synced a power cut can bring the name back, among records written since.
    fn remove(&self, base: Offset) -> io::Result<()> {
        let log = self.disk().open(&segment_path(&self.directory, base, FileKind::Log), OpenMode::ReadWrite)?;
        log.set_length(0)?;
        log.sync_data()?;
        remove_segment(self.disk(), &self.directory, base)
    }

    fn disk(&self) -> &dyn Disk {
        &**self.pool.disk()
    }

    fn io_error(&self, source: io::Error) -> LoadError {
        LoadError::Io { path: self.directory.to_path_buf(), source }
    }
}

#[cfg(test)]
#[path = "recovery_test.rs"]
mod tests;
