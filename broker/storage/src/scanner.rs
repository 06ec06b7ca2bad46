//! Walks a `.log` file batch by batch, by headers alone or checking every byte, with the caller's buffer.

use std::io;

use crc_fast::{CrcAlgorithm, Digest};
use protocol::batch::{BatchHeader, CRC_START, HEADER_LENGTH, MAGIC};
use protocol::types::Offset;

use crate::disk::{DiskFile, length_u64};
use crate::offset_index::OffsetEntry;

/// Whether a read may wait for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadMode {
    NoWait,
    Blocking,
}

/// Why the bytes at a position are not a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchDefect {
    #[error("it ends before the file says it should")]
    Torn,
    #[error("magic {0}, expected {MAGIC}")]
    Magic(i8),
    #[error("its offsets do not follow the ones before it, or do not fit the segment")]
    Offsets,
    #[error("its leader epoch is older than that of the batch before it")]
    Epoch,
    #[error("its checksum is wrong")]
    Checksum,
    #[error("its records cannot be read")]
    Records,
    #[error("its records decompress to more than {0} bytes")]
    Oversized(usize),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ScanError {
    #[error("the bytes are not in memory")]
    WouldBlock,
    #[error("the file ends at byte {position}")]
    Shrunk { position: u64 },
    #[error("no batch at byte {position}: {defect}")]
    Defect { position: u64, defect: BatchDefect },
    #[error(transparent)]
    Io(io::Error),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct ScannedBatch {
    pub(crate) header: BatchHeader,
    pub(crate) position: u64,
    pub(crate) length: u64,
}

impl ScannedBatch {
    pub(crate) fn end(&self) -> u64 {
        self.position.saturating_add(self.length)
    }

    pub(crate) fn defect(&self, defect: BatchDefect) -> ScanError {
        ScanError::Defect { position: self.position, defect }
    }
}

#[derive(Debug)]
pub(crate) struct BatchScanner<'a> {
    file: &'a dyn DiskFile,
    mode: ReadMode,
    /// Position of the next batch.
    position: u64,
    /// The end of the batches; what the file holds beyond it is not read.
    end: u64,
    /// The lowest base offset that the next batch may have.
    next_offset: Offset,
    buffer: &'a mut [u8],
    buffer_position: u64,
    buffered: usize,
}

impl<'a> BatchScanner<'a> {
    /// Starts at byte `start`, at a batch without offsets below `first_offset`. `buffer` must have room for a header.
    pub(crate) fn new(
        file: &'a dyn DiskFile,
        mode: ReadMode,
        (start, first_offset): (u64, Offset),
        end: u64,
        buffer: &'a mut [u8],
    ) -> Self {
        assert!(HEADER_LENGTH <= buffer.len(), "the buffer holds a header");
        let next_offset = first_offset;
        Self { file, mode, position: start, end, next_offset, buffer, buffer_position: start, buffered: 0 }
    }

    /// Position of the next batch.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The next header; its checksum is not verified. `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<ScannedBatch>, ScanError> {
        let position = self.position;
        let remaining = self.end.saturating_sub(position);
        if remaining == 0 {
            return Ok(None);
        }
        let defect = |defect| ScanError::Defect { position, defect };
        if remaining < length_u64(HEADER_LENGTH) {
            return Err(defect(BatchDefect::Torn));
        }
        let bytes = self.bytes_at(position, HEADER_LENGTH)?;
        let header = BatchHeader::decode(bytes.first_chunk().ok_or(ScanError::Shrunk { position })?);
        if header.magic != MAGIC {
            return Err(defect(BatchDefect::Magic(header.magic)));
        }
        let length = header.length().map(length_u64).filter(|length| *length <= remaining);
        let length = length.ok_or_else(|| defect(BatchDefect::Torn))?;
        if header.base_offset < self.next_offset || header.last_offset_delta < 0 || header.next_offset().0 == i64::MAX {
            return Err(defect(BatchDefect::Offsets));
        }
        self.position = position.saturating_add(length);
        self.next_offset = header.next_offset();
        Ok(Some(ScannedBatch { header, position, length }))
    }

    /// The whole batch. `None`: the buffer is too small for it.
    pub(crate) fn bytes_of(&mut self, batch: &ScannedBatch) -> Result<Option<&[u8]>, ScanError> {
        let length = usize::try_from(batch.length).unwrap_or(usize::MAX);
        if self.buffer.len() < length {
            return Ok(None);
        }
        Ok(self.bytes_at(batch.position, length)?.get(..length))
    }

    /// Goes to the batch of an index entry. Stays where it is if another batch is there, or none.
    pub(crate) fn seek(&mut self, entry: OffsetEntry) -> Result<bool, ScanError> {
        let (position, next_offset) = (self.position, self.next_offset);
        self.position = u64::from(entry.position);
        let found = match self.next() {
            Ok(batch) => batch.is_some_and(|batch| batch.header.last_offset() == entry.offset),
            Err(ScanError::Defect { .. }) => false,
            Err(error) => return Err(error),
        };
        self.position = if found { u64::from(entry.position) } else { position };
        self.next_offset = next_offset;
        Ok(found)
    }

    /// Reads the whole batch and verifies its checksum.
    pub(crate) fn verify(&mut self, batch: &ScannedBatch) -> Result<(), ScanError> {
        let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
        let mut position = batch.position.saturating_add(length_u64(CRC_START));
        while position < batch.end() {
            let remaining = usize::try_from(batch.end().saturating_sub(position)).unwrap_or(usize::MAX);
            let bytes = self.bytes_at(position, 1)?;
            let bytes = bytes.get(..remaining).unwrap_or(bytes);
            digest.update(bytes);
            position = position.saturating_add(length_u64(bytes.len()));
        }
        if digest.finalize() == u64::from(batch.header.crc) {
            return Ok(());
        }
        Err(batch.defect(BatchDefect::Checksum))
    }

    /// The buffered bytes from `position` on, at least `needed` of them.
    fn bytes_at(&mut self, position: u64, needed: usize) -> Result<&[u8], ScanError> {
        let available = |scanner: &Self| {
            let start = usize::try_from(position.checked_sub(scanner.buffer_position)?).ok()?;
            (start.checked_add(needed)? <= scanner.buffered).then_some(start)
        };
        let start = match available(self) {
            Some(start) => start,
            None => self.fill(position, needed)?,
        };
        Ok(self.buffer.get(start..self.buffered).unwrap_or_default())
    }

    fn fill(&mut self, position: u64, needed: usize) -> Result<usize, ScanError> {
        self.buffer_position = position;
        self.buffered = 0;
        let wanted = usize::try_from(self.end.saturating_sub(position)).unwrap_or(usize::MAX).min(self.buffer.len());
        while self.buffered < needed {
            let at = position.saturating_add(length_u64(self.buffered));
            let rest = self.buffer.get_mut(self.buffered..wanted).unwrap_or_default();
            let read = match self.mode {
                ReadMode::NoWait => self.file.read_at_nowait(rest, at),
                ReadMode::Blocking => self.file.read_at(rest, at),
            };
            match read {
                Ok(0) => return Err(ScanError::Shrunk { position: at }),
                Ok(read) => self.buffered = self.buffered.saturating_add(read),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(ScanError::WouldBlock),
                Err(error) => return Err(ScanError::Io(error)),
            }
        }
        Ok(0)
    }
}
