//! Batches received by a follower: whole, as in the leader's log. Their offsets, epochs and checksums are kept.
//! [`FetchedBatches::check`] needs no log, so it runs without its lock.

use bytes::Bytes;
use protocol::batch::{BatchHeader, CRC_START, HEADER_LENGTH, MAGIC, crc32c};
use protocol::types::{LeaderEpoch, Offset, Timestamp};

use crate::disk::length_u64;
use crate::log::{AppendError, Appended, Log};
use crate::scanner::BatchDefect;

/// Intact batches in order.
#[derive(Debug, Clone)]
pub struct FetchedBatches {
    /// Exactly the batches of `headers`.
    bytes: Bytes,
    headers: Vec<BatchHeader>,
    gaps: Gaps,
}

/// Whether there may be gaps between offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gaps {
    No,
    /// The leader may have compacted its log.
    Compacted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the leader sent no batch at byte {position}, where {base_offset} may begin: {defect}")]
pub struct UnsoundBatch {
    pub position: usize,
    pub base_offset: Offset,
    pub defect: BatchDefect,
}

#[derive(Debug, thiserror::Error)]
pub enum ReplicateError {
    #[error("the leader sent offset {found}, the log goes on at {expected}")]
    NotContiguous { found: Offset, expected: Offset },
    #[error("the leader of epoch {leader} sent a batch of epoch {epoch}: it is no longer its leader")]
    EpochAhead { epoch: LeaderEpoch, leader: LeaderEpoch },
    #[error("the leader sent a batch of epoch {epoch}, the log has records of epoch {latest}")]
    EpochBehind { epoch: LeaderEpoch, latest: LeaderEpoch },
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl Gaps {
    fn allow(self, end: Offset, next: Offset) -> bool {
        match self {
            Self::No => end == next,
            Self::Compacted => end <= next,
        }
    }
}

impl FetchedBatches {
    /// Checks contiguous batches. An incomplete last batch is left out: the next fetch begins with it.
    pub fn check(bytes: Bytes) -> Result<Self, UnsoundBatch> {
        Self::check_all(bytes, Gaps::No)
    }

    /// Checks batches of a log that may be compacted: there may be gaps, also before the first batch.
    pub fn check_compacted(bytes: Bytes) -> Result<Self, UnsoundBatch> {
        Self::check_all(bytes, Gaps::Compacted)
    }

    fn check_all(mut bytes: Bytes, gaps: Gaps) -> Result<Self, UnsoundBatch> {
        let mut headers: Vec<BatchHeader> = Vec::new();
        let mut position: usize = 0;
        while let Some(rest) = bytes.get(position..)
            && let Some(head) = rest.first_chunk::<HEADER_LENGTH>()
        {
            let header = BatchHeader::decode(head);
            let unsound = |defect| UnsoundBatch { position, base_offset: header.base_offset, defect };
            if header.magic != MAGIC {
                return Err(unsound(BatchDefect::Magic(header.magic)));
            }
            let length = header.length().ok_or_else(|| unsound(BatchDefect::Torn))?;
            let Some(batch) = rest.get(..length) else { break };
            check_batch((headers.last(), gaps), &header, batch).map_err(unsound)?;
            headers.push(header);
            position = position.saturating_add(length);
        }
        bytes.truncate(position);
        Ok(Self { bytes, headers, gaps })
    }

    pub fn headers(&self) -> &[BatchHeader] {
        &self.headers
    }

    /// Each with all its bytes.
    pub fn batches(&self) -> impl Iterator<Item = (&BatchHeader, Bytes)> {
        let mut rest = self.bytes.clone();
        self.headers.iter().map(move |header| (header, rest.split_to(length_of(header).min(rest.len()))))
    }

    /// Total length in bytes.
    pub fn length(&self) -> usize {
        self.bytes.len()
    }
}

fn check_batch(
    (previous, gaps): (Option<&BatchHeader>, Gaps),
    header: &BatchHeader,
    batch: &[u8],
) -> Result<(), BatchDefect> {
    let follows = previous.is_none_or(|previous| gaps.allow(previous.next_offset(), header.base_offset));
    if !follows || header.base_offset < Offset(0) || header.last_offset_delta < 0 || header.next_offset().0 == i64::MAX
    {
        return Err(BatchDefect::Offsets);
    }
    if previous.is_some_and(|previous| header.leader_epoch < previous.leader_epoch) {
        return Err(BatchDefect::Epoch);
    }
    if crc32c(batch.get(CRC_START..).unwrap_or_default()) != header.crc {
        return Err(BatchDefect::Checksum);
    }
    Ok(())
}

impl Log {
    /// Appends what the leader of `leader_epoch` sent. `None`: there was no whole batch. After an error the log may
    /// have some of the batches; it continues at its end.
    pub fn append_as_follower(
        &mut self,
        fetched: &FetchedBatches,
        leader_epoch: LeaderEpoch,
        now: Timestamp,
    ) -> Result<Option<Appended>, ReplicateError> {
        let [first, .., last] = fetched.headers() else {
            let Some(only) = fetched.headers().first() else { return Ok(None) };
            return self.append_checked(fetched, (only, only), leader_epoch, now);
        };
        self.append_checked(fetched, (first, last), leader_epoch, now)
    }

    fn append_checked(
        &mut self,
        fetched: &FetchedBatches,
        (first, last): (&BatchHeader, &BatchHeader),
        leader: LeaderEpoch,
        now: Timestamp,
    ) -> Result<Option<Appended>, ReplicateError> {
        if self.is_offline() {
            return Err(AppendError::Offline.into());
        }
        if !fetched.gaps.allow(self.end_offset, first.base_offset) {
            return Err(ReplicateError::NotContiguous { found: first.base_offset, expected: self.end_offset });
        }
        if leader < last.leader_epoch {
            return Err(ReplicateError::EpochAhead { epoch: last.leader_epoch, leader });
        }
        if let Some(latest) = self.epochs.latest().filter(|latest| first.leader_epoch < *latest) {
            return Err(ReplicateError::EpochBehind { epoch: first.leader_epoch, latest });
        }
        let (mut headers, mut bytes) = (fetched.headers(), &*fetched.bytes);
        while let Some(first) = headers.first() {
            if let Some(reason) =
                self.active.roll_reason(first, (0, length_u64(length_of(first))), (&self.config, &self.directory), now)
            {
                self.roll_for(reason, now)?;
            }
            let (count, length) = self.fitting(headers, now);
            let (written, later) = bytes.split_at_checked(length).unwrap_or((bytes, &[]));
            let (head, records) = written.split_first_chunk().unwrap_or((&[0; HEADER_LENGTH], &[]));
            self.write(head, records)?;
            let (recorded, rest) = headers.split_at_checked(count).unwrap_or((headers, &[]));
            for header in recorded {
                self.begin_epoch(header.leader_epoch);
                self.record(header, length_u64(length_of(header)), now)?;
            }
            (headers, bytes) = (rest, later);
        }
        Ok(Some(Appended {
            base_offset: first.base_offset,
            last_offset: last.last_offset(),
            log_append_time: Timestamp::NONE,
            duplicate: false,
        }))
    }

    /// How many batches, and bytes of them, one write puts into the active segment: at least the first.
    fn fitting(&self, headers: &[BatchHeader], now: Timestamp) -> (usize, usize) {
        let (mut count, mut bytes): (usize, usize) = (0, 0);
        for header in headers {
            let length = length_of(header);
            let sizes = (length_u64(bytes), length_u64(length));
            if count != 0 && self.active.roll_reason(header, sizes, (&self.config, &self.directory), now).is_some() {
                break;
            }
            count = count.saturating_add(1);
            bytes = bytes.saturating_add(length);
        }
        (count, bytes)
    }
}

/// Checked to fit before.
fn length_of(header: &BatchHeader) -> usize {
    header.length().unwrap_or_default()
}

#[cfg(test)]
#[path = "fetched_batches_test.rs"]
mod tests;
