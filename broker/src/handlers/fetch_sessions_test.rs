use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::types::BrokerEpoch;

use super::*;

const CONSUMER: SessionKind = SessionKind { is_follower: false, by_id: true };
const FOLLOWER: SessionKind = SessionKind { is_follower: true, by_id: true };
const SECOND: Duration = Duration::from_secs(1);

fn session(partitions: i32) -> Box<Session> {
    let mut session = Box::new(Session::new(Duration::ZERO, BrokerEpoch(-1)));
    let partitions = (0..partitions).map(|index| FetchPartition::default().with_partition(index)).collect();
    session.update(vec![FetchTopic::default().with_partitions(partitions)], &[], false);
    session
}

/// A session whose first request has ended.
fn begin(sessions: &FetchSessions, kind: SessionKind, partitions: i32, now: Duration, random: u32) -> SessionId {
    let place = sessions.begin(kind, usize::try_from(partitions).unwrap(), now, random);
    place.map_or(SessionId::NONE, |place| sessions.keep(place, session(partitions)))
}

fn refusal(sessions: &FetchSessions, id: SessionId, epoch: i32, kind: SessionKind) -> SessionError {
    sessions.take((id, epoch), kind, SECOND).map(drop).unwrap_err()
}

#[test]
fn requests_of_a_session_come_in_order_and_one_at_a_time() {
    let sessions = FetchSessions::new(2);
    let id = begin(&sessions, CONSUMER, 3, SECOND, 24);
    assert_eq!(id, SessionId(12));
    for epoch in [1, 2] {
        let (place, session) = sessions.take((id, epoch), CONSUMER, SECOND).unwrap();
        assert_eq!(refusal(&sessions, id, epoch, CONSUMER), SessionError::OtherEpoch { id, epoch });
        let next = epoch + 1;
        assert_eq!(refusal(&sessions, id, next, CONSUMER), SessionError::OtherEpoch { id, epoch: next }, "at work");
        assert_eq!(sessions.keep(place, session), id);
    }
    assert_eq!(refusal(&sessions, SessionId(5), 3, CONSUMER), SessionError::Unknown(SessionId(5)));
    let by_name = SessionKind { by_id: false, ..CONSUMER };
    assert_eq!(refusal(&sessions, id, 3, by_name), SessionError::OtherTopicKeys(id));
    sessions.end(id);
    assert_eq!(refusal(&sessions, id, 3, CONSUMER), SessionError::Unknown(id));
    assert_eq!(sessions.counts(), SessionCounts { sessions: 0, partitions: 0, evicted: 0 });
}

#[test]
fn a_request_that_ends_without_an_answer_takes_its_session_with_it() {
    let sessions = FetchSessions::new(2);
    let id = begin(&sessions, CONSUMER, 3, SECOND, 24);
    drop(sessions.take((id, 1), CONSUMER, SECOND).unwrap());
    assert_eq!(sessions.counts().sessions, 0);
    let place = sessions.begin(CONSUMER, 1, SECOND, 24).unwrap();
    let former = sessions.begin(CONSUMER, 1, SECOND, 24).unwrap();
    assert_eq!((place.id, former.id), (SessionId(12), SessionId(13)), "ids are not given twice");
    sessions.end(former.id);
    assert_eq!(sessions.keep(former, session(1)), SessionId::NONE, "ended while its request was at work");
    assert_eq!(sessions.counts(), SessionCounts { sessions: 1, partitions: 1, evicted: 0 });
}

#[test]
fn a_new_session_takes_the_place_of_one_that_is_worth_less() {
    // Existing sessions with the times they began and were last used; the new one at 200 s, and which one it
    // replaces.
    let table = [
        (vec![(CONSUMER, 5, 100, 150), (CONSUMER, 9, 100, 150)], (CONSUMER, 50), None),
        (vec![(CONSUMER, 5, 10, 150), (CONSUMER, 9, 10, 150)], (CONSUMER, 8), Some(0)),
        (vec![(CONSUMER, 5, 10, 150), (CONSUMER, 9, 10, 150)], (CONSUMER, 5), None),
        (vec![(CONSUMER, 5, 10, 150), (CONSUMER, 9, 10, 70)], (CONSUMER, 1), Some(1)),
        (vec![(CONSUMER, 9, 199, 199), (CONSUMER, 5, 199, 199)], (FOLLOWER, 1), Some(1)),
        (vec![(FOLLOWER, 1, 10, 150), (CONSUMER, 9, 199, 199)], (FOLLOWER, 2), Some(1)),
        (vec![(FOLLOWER, 1, 10, 150), (FOLLOWER, 9, 10, 150)], (CONSUMER, 50), None),
        (vec![(FOLLOWER, 1, 10, 150), (FOLLOWER, 9, 10, 150)], (FOLLOWER, 2), Some(0)),
        (vec![(FOLLOWER, 1, 10, 70), (FOLLOWER, 9, 10, 150)], (CONSUMER, 1), Some(0)),
    ];
    for (present, (kind, partitions), gives_way) in table {
        let sessions = FetchSessions::new(2);
        let begun = present.iter().zip([2, 4]).map(|((kind, partitions, began, used), random)| {
            let id = begin(&sessions, *kind, *partitions, SECOND * *began, random);
            let (place, session) = sessions.take((id, 1), *kind, SECOND * *used).unwrap();
            sessions.keep(place, session)
        });
        let begun: Vec<_> = begun.collect();
        let new = begin(&sessions, kind, partitions, SECOND * 200, 6);
        let case = format!("{present:?} {kind:?} {partitions}");
        assert_eq!(new != SessionId::NONE, gives_way.is_some(), "{case}");
        for (index, (id, (kind, ..))) in begun.into_iter().zip(&present).enumerate() {
            let is_there = sessions.take((id, 2), *kind, SECOND * 200).is_ok();
            assert_eq!(is_there, gives_way != Some(index), "{case}: {index}");
        }
    }
}

#[test]
fn sessions_are_of_so_many_partitions_in_all() {
    let sessions = FetchSessions::new(2);
    assert_eq!(begin(&sessions, FOLLOWER, 401, SECOND, 2), SessionId::NONE);
    let id = begin(&sessions, FOLLOWER, 300, SECOND, 2);
    assert_eq!(begin(&sessions, FOLLOWER, 101, SECOND, 4), SessionId::NONE);
    assert_ne!(begin(&sessions, FOLLOWER, 100, SECOND, 4), SessionId::NONE);
    let (place, _) = sessions.take((id, 1), FOLLOWER, SECOND).unwrap();
    assert_eq!(sessions.keep(place, session(301)), SessionId::NONE, "grown too large");
    assert_eq!(sessions.counts(), SessionCounts { sessions: 1, partitions: 100, evicted: 0 });
    assert!(FetchSessions::new(0).begin(CONSUMER, 0, SECOND, 2).is_none());
}
