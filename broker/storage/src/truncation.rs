//! Truncation, and restarting a log at another offset: done by followers only, and only as their leader tells them.
//!
//! A crash at any moment leaves a prefix of the former log, with everything below the recovery point. So the recovery
//! point in the checkpoint must not lie beyond the cut:
//! 1. [`Log::prepare_truncation`] lowers it; if the checkpoints have a higher one the owner writes them, and calls
//!    [`Log::truncation_prepared`];
//! 2. [`Log::truncate_to`] removes later segments, the last one first, and shortens the one with the cut. That is
//!    durable before anything is appended: an old batch that came back behind a new one would look like its
//!    successor.
//!
//! Index files of closed segments may be mapped by a reader, so they are removed and rebuilt, never shortened. A
//! flush in progress writes nothing any more, and its result is ignored.

use std::io;
use std::path::Path;
use std::sync::PoisonError;

use protocol::types::{Offset, Timestamp};

use crate::active_segment::ActiveSegment;
use crate::closed_segment::ClosedSegment;
use crate::disk::{OpenMode, remove_if_present};
use crate::files::{FileKind, parse_name, segment_path};
use crate::flush::{FlushState, make_directory_durable};
use crate::leader_epochs::LeaderEpochs;
use crate::leftovers::undo_compaction;
use crate::log::{AppendError, Log};
use crate::pool::IndexKind;
use crate::producer_snapshot;
use crate::producers::Producers;
use crate::read::ResolveError;
use crate::scanner::{BatchScanner, ReadMode, ScanError};
use crate::segment_walk::Skipped;
use crate::tail_positions::TailPositions;

const SCAN_BUFFER_BYTES: usize = 64 << 10;

#[derive(Debug, thiserror::Error)]
pub enum TruncateError {
    #[error("the log is offline after a failed write or sync, or its directory was given up")]
    Offline,
    #[error("cannot truncate to {offset}: the checkpoints may vouch for what lies behind it. Prepare for that first")]
    NotPrepared { offset: Offset },
    #[error(transparent)]
    Read(#[from] ResolveError),
    /// Nothing was changed, or the log is offline, as the error tells.
    #[error(transparent)]
    Write(#[from] AppendError),
}

/// The segment and position of the cut.
struct Cut {
    base: Offset,
    kept: Skipped,
    first_timestamp: Option<Timestamp>,
    producers: Producers,
}

impl Log {
    /// Lowers the recovery point and the log start to `offset`. `true`: the checkpoints must be written, durably,
    /// before the log is truncated.
    #[must_use]
    pub fn prepare_truncation(&mut self, offset: Offset) -> bool {
        self.flushing.checkpoint_due |= !self.is_prepared_for(offset);
        self.flushing.recovery_point = self.flushing.recovery_point.min(offset);
        self.start_offset = self.start_offset.min(offset);
        self.flushing.checkpoint_due
    }

    /// The checkpoints were written with the state after [`Self::prepare_truncation`].
    pub fn truncation_prepared(&mut self) {
        self.flushing.checkpoint_due = false;
    }

    /// Removes every batch that ends after `offset`, durably, and every epoch that began there or later. Producers
    /// and epochs are restored to their state there, and the high watermark is lowered if it must be. If `offset` is
    /// within a batch, [`TruncateError::NotPrepared`] may name its start: prepare for that, and retry.
    pub fn truncate_to(&mut self, offset: Offset, now: Timestamp) -> Result<(), TruncateError> {
        self.check_writable()?;
        if self.end_offset <= offset {
            // A leadership without records leaves an epoch in this log, which may contradict the next leader's.
            self.epochs.truncate_from_end(self.end_offset);
            return Ok(());
        }
        self.check_prepared(offset)?;
        let removed = if offset < self.first_base() {
            self.stop_jobs();
            self.reset(offset, now)
        } else {
            let cut = self.find_cut(offset)?;
            self.check_prepared(cut.kept.next_offset)?;
            self.stop_jobs();
            self.cut(cut, now)
        };
        tracing::info!(directory = %self.directory.display(), %offset, log_end = %self.end_offset, "truncated log");
        removed.map_err(|error| self.take_offline(error).into())
    }

    /// Drops everything, and continues at `offset`. If that is not beyond the log end it must be prepared like a
    /// truncation.
    pub fn restart_at(&mut self, offset: Offset, now: Timestamp) -> Result<(), TruncateError> {
        self.truncate_to(offset, now)?;
        self.check_writable()?;
        self.stop_jobs();
        self.begin_at(offset, now).map_err(|error| self.write_failed(error))?;
        tracing::info!(directory = %self.directory.display(), %offset, "restarted log");
        Ok(())
    }

    /// Continues at `offset`, the log end or beyond it; nothing before it is kept. The new segment is created first:
    /// until the last old file is gone, a crash brings back what is left of the old ones.
    pub(crate) fn begin_at(&mut self, offset: Offset, now: Timestamp) -> io::Result<()> {
        assert!(self.end_offset <= offset, "{offset} lies before the log end {}", self.end_offset);
        if self.active.base != offset || self.active.size != 0 {
            self.active = ActiveSegment::create(&self.pool, &self.directory, offset, now)?;
            self.pool.disk().sync_directory(&self.directory)?;
        }
        let old = |(base, kind): &(Offset, FileKind)| *base != offset || *kind == FileKind::Snapshot;
        self.remove_files(self.files()?.into_iter().filter(old))?;
        self.begun(offset)
    }

    /// As [`Self::begin_at`], if something else must be removed first.
    fn reset(&mut self, offset: Offset, now: Timestamp) -> io::Result<()> {
        self.remove_files(self.files()?.into_iter().rev())?;
        self.active = ActiveSegment::create(&self.pool, &self.directory, offset, now)?;
        self.begun(offset)
    }

    /// The recovery point says that the log reaches `offset`: so the log must be there after a crash.
    fn begun(&mut self, offset: Offset) -> io::Result<()> {
        make_directory_durable(&**self.pool.disk(), &self.directory)?;
        self.closed.clear();
        self.start_offset = offset;
        self.end_offset = offset;
        self.first_dirty = self.first_dirty.min(offset);
        self.compacted_end = self.compacted_end.min(offset);
        self.high_watermark = self.log_end();
        self.epochs = LeaderEpochs::default();
        self.tail = TailPositions::default();
        self.producers = Producers::default();
        self.flushing = FlushState::begun_anew(offset);
        Ok(())
    }

    fn check_writable(&self) -> Result<(), TruncateError> {
        let abandoned = *self.abandoned.read().unwrap_or_else(PoisonError::into_inner);
        if self.is_offline() || abandoned { Err(TruncateError::Offline) } else { Ok(()) }
    }

    fn check_prepared(&self, offset: Offset) -> Result<(), TruncateError> {
        let is_prepared = self.is_prepared_for(offset) && !self.flushing.checkpoint_due;
        if is_prepared { Ok(()) } else { Err(TruncateError::NotPrepared { offset }) }
    }

    fn is_prepared_for(&self, offset: Offset) -> bool {
        self.flushing.recovery_point.max(self.start_offset) <= offset
    }

    fn first_base(&self) -> Offset {
        self.closed.first().map_or(self.active.base, |segment| segment.base)
    }

    /// From now on flushes and deletions in progress touch no file by name. Waits for one that is doing so.
    fn stop_jobs(&mut self) {
        *std::mem::take(&mut self.abandoned).write().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// Reads everything needed, and changes nothing.
    fn find_cut(&self, offset: Offset) -> Result<Cut, TruncateError> {
        let closed = self.closed.iter().find(|segment| offset < segment.end);
        let base = closed.map_or(self.active.base, |segment| segment.base);
        let path = segment_path(&self.directory, base, FileKind::Log);
        let found = if let Some(segment) = closed {
            self.find_in_closed(segment, &path, offset)
        } else {
            let indexes = (self.active.indexes.offsets().to_vec(), self.active.indexes.times().to_vec());
            self.find_in_segment(&path, (base, self.active.size), indexes, offset)
        };
        let (kept, first_timestamp) = found.map_err(|error| ResolveError::new(path, error))?;
        let producers = self.producers_at(kept.next_offset)?;
        Ok(Cut { base, kept, first_timestamp, producers })
    }

    fn find_in_closed(
        &self,
        segment: &ClosedSegment,
        path: &Path,
        offset: Offset,
    ) -> Result<(Skipped, Option<Timestamp>), ScanError> {
        let offsets = segment.index(IndexKind::Offset, ReadMode::Blocking)?.to_vec();
        let times = segment.index(IndexKind::Time, ReadMode::Blocking)?.to_vec();
        self.find_in_segment(path, (segment.base, segment.size), (offsets, times), offset)
    }

    fn find_in_segment(
        &self,
        path: &Path,
        (base, size): (Offset, u64),
        indexes: (Vec<u8>, Vec<u8>),
        offset: Offset,
    ) -> Result<(Skipped, Option<Timestamp>), ScanError> {
        let log = self.pool.disk().open(path, OpenMode::Read).map_err(ScanError::Io)?;
        let mut buffer = vec![0; SCAN_BUFFER_BYTES];
        let kept = match Skipped::before(offset, &*log, (base, size), indexes, &mut buffer)? {
            Some(kept) => kept,
            None => Skipped::by_batches(offset, &*log, (base, size), self.config.index_interval_bytes, &mut buffer)?,
        };
        let first = BatchScanner::new(&*log, ReadMode::Blocking, (0, base), kept.position, &mut buffer).next()?;
        Ok((kept, first.map(|first| first.header.max_timestamp)))
    }

    /// The producers as of the batches before `end`: from a snapshot and the batches since.
    fn producers_at(&self, end: Offset) -> Result<Producers, ResolveError> {
        let (from, mut producers) = self.snapshot_before(end);
        let mut buffer = vec![0; SCAN_BUFFER_BYTES];
        let closed = self.closed.iter().filter(|segment| from < segment.end && segment.base < end);
        let active = Some(&self.active).filter(|active| active.base < end);
        let segments = closed.map(|segment| (segment.base, segment.size));
        for (base, size) in segments.chain(active.map(|active| (active.base, active.size))) {
            let path = segment_path(&self.directory, base, FileKind::Log);
            let scanned = self.pool.disk().open(&path, OpenMode::Read).map_err(ScanError::Io).and_then(|log| {
                let mut scanner = BatchScanner::new(&*log, ReadMode::Blocking, (0, base), size, &mut buffer);
                while let Some(batch) = scanner.next()?
                    && batch.header.next_offset() <= end
                {
                    if from <= batch.header.base_offset {
                        producers.record(&batch.header);
                    }
                }
                Ok(())
            });
            scanned.map_err(|error| ResolveError::new(path, error))?;
        }
        Ok(producers)
    }

    /// The newest snapshot, in memory or on disk, that the log's batches continue.
    fn snapshot_before(&self, end: Offset) -> (Offset, Producers) {
        let (first, disk) = (self.first_base(), &**self.pool.disk());
        let rolled = self.flushing.rolled.iter().rfind(|segment| segment.end <= end);
        let in_memory = rolled.and_then(|rolled| Some((rolled.end, producer_snapshot::decode(&rolled.snapshot).ok()?)));
        let oldest = in_memory.as_ref().map_or(first, |(offset, _)| *offset).min(end);
        let on_disk = self.flushing.snapshots.range(oldest..=end).rev().find_map(|offset| {
            let snapshot = producer_snapshot::read(disk, &self.directory, *offset).ok()?;
            Some((*offset, snapshot.ok()?))
        });
        on_disk.or(in_memory).unwrap_or_else(|| (first, Producers::default()))
    }

    fn cut(&mut self, cut: Cut, now: Timestamp) -> io::Result<()> {
        let Cut { base, kept: Skipped { indexes, position, next_offset: end }, first_timestamp, producers } = cut;
        let disk = self.pool.disk();
        self.remove_let_go()?;
        let gone = |(offset, kind): &(Offset, FileKind)| match kind {
            FileKind::Snapshot => end < *offset,
            FileKind::Log => base < *offset,
            FileKind::OffsetIndex | FileKind::TimeIndex | FileKind::TransactionIndex => base <= *offset,
        };
        self.remove_files(self.files()?.into_iter().rev().filter(gone))?;
        let log = disk.open(&segment_path(&self.directory, base, FileKind::Log), OpenMode::ReadWrite)?;
        log.set_length(position)?;
        log.sync_data()?;

        self.closed.retain(|segment| segment.base < base);
        let indexes = indexes.for_new_files();
        self.active = ActiveSegment::resume(&self.pool, indexes, (base, position), (first_timestamp, now));
        self.producers = producers;
        self.end_offset = end;
        if end < self.high_watermark.offset {
            self.high_watermark = self.log_end();
        }
        self.first_dirty = self.first_dirty.min(end);
        self.epochs.truncate_from_end(end);
        self.tail.truncate(end);
        self.flushing.truncated(end);
        Ok(())
    }

    /// What a deletion has let go of and, now that it is stopped, will not remove. In the order in which it would have:
    /// snapshots first, then the oldest segments.
    fn remove_let_go(&self) -> io::Result<()> {
        let first = self.first_base();
        let mut files: Vec<_> = self.files()?.into_iter().filter(|(offset, _)| *offset < first).collect();
        files.sort_by_key(|(_, kind)| *kind != FileKind::Snapshot);
        if files.is_empty() { Ok(()) } else { self.remove_files(files.into_iter()) }
    }

    /// Segment files and snapshots in the directory, in the order of their offsets.
    fn files(&self) -> io::Result<Vec<(Offset, FileKind)>> {
        let entries = self.pool.disk().list(&self.directory)?;
        let mut files: Vec<_> = entries.iter().filter_map(|entry| parse_name(entry.name.to_str()?)).collect();
        files.sort_unstable_by_key(|(offset, _)| *offset);
        Ok(files)
    }

    /// Removes files in this order, durably. Pending files of compaction are removed first: they would bring the
    /// others back.
    fn remove_files(&self, files: impl Iterator<Item = (Offset, FileKind)>) -> io::Result<()> {
        let disk = &**self.pool.disk();
        undo_compaction(disk, &self.directory)?;
        for (offset, kind) in files {
            remove_if_present(disk, &segment_path(&self.directory, offset, kind))?;
        }
        disk.sync_directory(&self.directory)
    }
}

#[cfg(test)]
#[path = "truncation_test.rs"]
mod tests;
