//! Reads a partition of `__consumer_offsets` into a shard. Broken records are skipped and counted: one bad record
//! must not cost the other groups their offsets.

use protocol::batch::{BatchHeader, CRC_START, HEADER_LENGTH, MAGIC, crc32c};
use protocol::coordinator_records::CoordinatorRecord;
use protocol::records;
use protocol::types::Offset;
use tracing::{error, warn};

use super::log::{GroupLogs, LogError, LogRead, Term};
use super::shard::Shard;
use crate::bugs::{self, Bug};
use crate::metrics::GroupMetrics;

/// Bytes asked for at a time; a larger batch is returned all the same.
const READ_BYTES: u32 = 1024 * 1024;
/// Most bytes of a decompressed batch.
const OPENED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Returns the end of what was read. Later records are written by this coordinator.
pub(super) fn load(
    logs: &dyn GroupLogs,
    term: Term,
    shard: &mut Shard,
    metrics: &GroupMetrics,
) -> Result<Offset, LogError> {
    let (start, mut end) = logs.range(term)?;
    if bugs::is_planted(Bug::LoadedToHighWatermark) {
        end = logs.high_watermark(term)?;
    }
    let mut next = Next { asked: start, first: start };
    while next.asked < end {
        let before = next.asked;
        match logs.read(term, before, READ_BYTES)? {
            LogRead::Gap(_) if bugs::is_planted(Bug::LoadEndsAtGap) => break,
            LogRead::Gap(after) => next = Next { asked: after, first: after },
            LogRead::Batches(bytes) => {
                replay(&bytes, &mut next.first, end, shard, metrics);
                next.asked = next.first;
            }
            LogRead::Broken(reason) => {
                next = readable_after(logs, term, before, end)?;
                metrics.record_skipped();
                let (partition, until) = (term.partition, next.first);
                error!(%partition, from = %before, %until, reason, "groups and offsets are lost");
            }
        }
        if next.asked <= before {
            return Err(LogError::Storage(format!("nothing can be read at offset {before}, before the end {end}")));
        }
    }
    Ok(end)
}

/// Where to read next.
struct Next {
    asked: Offset,
    /// The first offset to replay: behind a broken place the log may only know the last offset of a batch.
    first: Offset,
}

/// The first offset behind a broken place at which the log finds a batch again, at the latest its end. It depends on
/// the log's index, which knows some of the batches: from the first of those on everything is readable.
fn readable_after(logs: &dyn GroupLogs, term: Term, broken: Offset, end: Offset) -> Result<Next, LogError> {
    let (mut unreadable, mut readable, mut step) = (broken, Next { asked: end, first: end }, 1);
    while unreadable.advance(1) < readable.asked {
        let between = unreadable.advance((readable.asked.0 - unreadable.0) / 2);
        let asked = between.min(unreadable.advance(step));
        step = step.saturating_mul(2);
        match logs.read(term, asked, 1)? {
            LogRead::Broken(_) => unreadable = asked,
            LogRead::Gap(_) => readable = Next { asked, first: asked },
            LogRead::Batches(bytes) => {
                let base = bytes.first_chunk::<HEADER_LENGTH>().map(|head| BatchHeader::decode(head).base_offset);
                readable = Next { asked, first: base.map_or(asked, |base| base.clamp(broken.advance(1), asked)) };
            }
        }
    }
    Ok(readable)
}

fn replay(mut bytes: &[u8], next: &mut Offset, end: Offset, shard: &mut Shard, metrics: &GroupMetrics) {
    while let Some(head) = bytes.first_chunk::<HEADER_LENGTH>() {
        let header = BatchHeader::decode(head);
        let Some((batch, rest)) = header.length().and_then(|length| bytes.split_at_checked(length)) else { return };
        // A batch with a wrong length hides what follows it; the log is then asked for the next readable batch.
        if header.magic != MAGIC || !(*next..end).contains(&header.last_offset()) {
            return;
        }
        bytes = rest;
        let first = std::mem::replace(next, header.next_offset());
        if let Err(reason) = replay_batch(batch, &header, first, shard, metrics) {
            metrics.record_skipped();
            warn!(offset = %header.base_offset, reason, "a batch of groups and offsets cannot be read: skipped");
        }
    }
}

fn replay_batch(
    batch: &[u8],
    header: &BatchHeader,
    first: Offset,
    shard: &mut Shard,
    metrics: &GroupMetrics,
) -> Result<(), String> {
    if crc32c(batch.get(CRC_START..).unwrap_or_default()) != header.crc {
        return Err("wrong checksum".to_owned());
    }
    // Markers of transactions, which are not supported, and records of transactions.
    if header.attributes.is_control() {
        return Ok(());
    }
    if header.attributes.is_transactional() {
        return Err("it belongs to a transaction".to_owned());
    }
    let records = records::walk(batch, OPENED_BYTES_MAX).map_err(|error| error.to_string())?;
    for record in &records {
        let record = record.map_err(|error| error.to_string())?;
        let offset = header.base_offset.advance(record.offset_delta.into());
        if offset < first {
            continue;
        }
        match CoordinatorRecord::decode(record.key, record.value) {
            Ok(record) => shard.replay(record),
            Err(error) => {
                metrics.record_skipped();
                warn!(%offset, %error, "a record of groups and offsets cannot be read: skipped");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "load_test.rs"]
mod tests;
