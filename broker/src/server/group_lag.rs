//! Lag of groups, for partitions with a replica on this broker: of others it does not know the end.

use std::fmt;

use protocol::types::Offset;

use crate::coordinator::Position;
use crate::handlers::Broker;
use crate::metadata::Image;
use crate::metrics::{Exposition, Number, catalogue as m};

/// Committed offsets beyond this many have no series.
const SERIES_MAX: usize = 20_000;

/// The lags of groups that this broker coordinates.
pub(super) fn tell(out: &mut Exposition<'_>, broker: &Broker, image: &Image) -> fmt::Result {
    let mut positions = broker.groups.positions(SERIES_MAX);
    let place = |position: &Position| (position.group.clone(), position.topic.clone(), position.partition);
    positions.found.sort_by_cached_key(place);
    let end = |position: &Position| {
        let topic = image.topic(&position.topic)?;
        let partition = broker.replicas.partition(topic.id, position.partition)?;
        let is_same = position.topic_id.0.is_nil() || position.topic_id == topic.id;
        is_same.then(|| partition.with_log(|log| log.high_watermark().offset).ok()).flatten()
    };
    let lags = positions.found.iter().filter_map(|position| Some((position, lag(end(position)?, position.offset))));
    let lags: Vec<_> = lags.map(|(position, lag)| (position, position.partition.to_string(), lag)).collect();
    let samples = lags.iter().map(|(position, partition, lag)| {
        ([&*position.group.0, position.topic.as_str(), partition.as_str()], Number::Whole(*lag))
    });
    out.numbers(&m::GROUP_LAG, samples)?;
    out.number(&m::GROUP_LAGS_LEFT_OUT, positions.left_out)
}

/// The high watermark known here may be behind what a consumer has read elsewhere.
fn lag(end: Offset, committed: Offset) -> i64 {
    end.0.saturating_sub(committed.0).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_ahead() {
        for (end, committed, expected) in [(7, 3, 4), (3, 3, 0), (3, 7, 0), (7, -1, 8)] {
            assert_eq!(lag(Offset(end), Offset(committed)), expected);
        }
    }
}
