//! The follower's side of a fetch session (KIP-227): what the leader has been told, so that a request names only
//! changes. Pure.

use std::collections::BTreeMap;

use protocol::types::Offset;

use crate::peer::{FetchChanges, FetchSessionId, ReplicaKey, ReplicaPosition};

/// The session with one leader, over one connection. A leader that keeps no session is told everything each time.
#[derive(Debug, Default)]
pub(super) struct FetcherSession {
    id: FetchSessionId,
    /// The epoch of the next request; 0 begins a session.
    epoch: i32,
    told: BTreeMap<ReplicaKey, ReplicaPosition>,
}

impl FetcherSession {
    /// What to send so that the leader reads at these positions, and at no others. Nothing else may be sent until it
    /// is answered or [`Self::restart`]ed.
    pub(super) fn changes(&mut self, wanted: Vec<ReplicaPosition>) -> FetchChanges {
        let session = (self.id, self.epoch);
        let before = std::mem::take(&mut self.told);
        self.told = wanted.iter().map(|position| (position.key, *position)).collect();
        if self.epoch == 0 {
            return FetchChanges { session, positions: wanted, forgotten: Vec::new() };
        }
        let is_new = |position: &ReplicaPosition| before.get(&position.key).is_none_or(|told| differs(told, position));
        let positions = wanted.into_iter().filter(is_new).collect();
        let forgotten = before.into_keys().filter(|key| !self.told.contains_key(key)).collect();
        FetchChanges { session, positions, forgotten }
    }

    /// Takes the leader's session from its answer.
    pub(super) fn answered(&mut self, id: FetchSessionId) {
        let goes_on = id != FetchSessionId::NONE;
        let epoch = if goes_on { self.epoch.checked_add(1).unwrap_or(1) } else { 0 };
        (self.id, self.epoch) = (id, epoch);
    }

    /// No answer came, or the leader does not know the session: a new one is begun.
    pub(super) fn restart(&mut self) {
        self.epoch = 0;
    }
}

/// The high watermark is not compared: the leader knows what it has told this follower.
fn differs(told: &ReplicaPosition, now: &ReplicaPosition) -> bool {
    let high_watermark = Offset(0);
    ReplicaPosition { high_watermark, ..*told } != ReplicaPosition { high_watermark, ..*now }
}

#[cfg(test)]
mod tests {
    use protocol::types::{LeaderEpoch, PartitionId, TopicId};
    use uuid::Uuid;

    use super::*;

    fn position(partition: i32, offset: i64, high_watermark: i64) -> ReplicaPosition {
        ReplicaPosition {
            key: (TopicId(Uuid::from_u128(1)), PartitionId(partition)),
            leader_epoch: LeaderEpoch(0),
            offset: Offset(offset),
            last_epoch: None,
            log_start: Offset(0),
            high_watermark: Offset(high_watermark),
        }
    }

    fn sent(session: &mut FetcherSession, wanted: &[(i32, i64, i64)]) -> (i32, Vec<i32>, Vec<i32>) {
        let wanted = wanted.iter().map(|(partition, offset, known)| position(*partition, *offset, *known));
        let FetchChanges { session: (_, epoch), positions, forgotten } = session.changes(wanted.collect());
        let named = positions.iter().map(|position| position.key.1.0).collect();
        (epoch, named, forgotten.iter().map(|key| key.1.0).collect())
    }

    #[test]
    fn only_what_has_changed_is_named() {
        let mut session = FetcherSession::default();
        assert_eq!(sent(&mut session, &[(1, 0, 0), (2, 0, 0), (3, 0, 0)]), (0, vec![1, 2, 3], vec![]));
        session.answered(FetchSessionId(7));
        assert_eq!(
            sent(&mut session, &[(1, 0, 0), (2, 5, 0), (3, 0, 9)]),
            (1, vec![2], vec![]),
            "told of 3 by the leader"
        );
        session.answered(FetchSessionId(7));
        assert_eq!(sent(&mut session, &[(2, 5, 0), (4, 0, 0)]), (2, vec![4], vec![1, 3]));
        session.answered(FetchSessionId(7));
        assert_eq!(sent(&mut session, &[(1, 0, 0), (2, 5, 0), (4, 0, 0)]), (3, vec![1], vec![]), "forgotten before");
    }

    #[test]
    fn without_an_answer_everything_is_named_again() {
        let mut session = FetcherSession::default();
        sent(&mut session, &[(1, 0, 0)]);
        session.answered(FetchSessionId(7));
        sent(&mut session, &[(1, 3, 0)]);
        session.restart();
        let all = session.changes(vec![position(1, 3, 0)]);
        assert_eq!((all.session, all.positions.len()), ((FetchSessionId(7), 0), 1), "in place of the former");
        session.answered(FetchSessionId::NONE);
        assert_eq!(sent(&mut session, &[(1, 3, 0)]), (0, vec![1], vec![]), "a leader that has no room for a session");
        session.answered(FetchSessionId::NONE);
        assert_eq!(session.id, FetchSessionId::NONE);
    }
}
