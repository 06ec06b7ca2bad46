use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::StrBytes;
use protocol::types::LeaderEpoch;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const READER: BrokerEpoch = BrokerEpoch(4);

fn wanted(index: i32, offset: i64) -> FetchPartition {
    FetchPartition::default().with_partition(index).with_fetch_offset(offset).with_high_watermark(0)
}

fn named(partitions: &[(i32, i64)]) -> Vec<FetchTopic> {
    let partitions = partitions.iter().map(|(index, offset)| wanted(*index, *offset)).collect();
    vec![FetchTopic::default().with_topic_id(Uuid::from_u128(1)).with_partitions(partitions)]
}

fn session(partitions: &[(i32, i64)]) -> Session {
    let mut session = Session::new(SECOND, READER);
    session.update(named(partitions), &[], true);
    session
}

fn found(index: i32, high_watermark: i64) -> FetchedPartition {
    FetchedPartition {
        high_watermark: Offset(high_watermark),
        log_start: Offset(0),
        ..FetchedPartition::failed(index, 0)
    }
}

/// Looks at the due partitions, of which those in `settled` have nothing.
fn look(session: &mut Session, settled: &[i32]) -> Vec<i32> {
    session.hear();
    let due = session.take_due();
    let mut again = Vec::new();
    let looked = due.into_iter().map(|slot| {
        let index = session.entry(slot).unwrap().wanted.partition;
        if settled.contains(&index) {
            session.settle(slot);
        } else {
            again.push(slot);
        }
        index
    });
    let looked = looked.collect();
    session.look_again(again);
    looked
}

#[test]
fn names_that_no_topic_can_have_are_not_kept() {
    let mut session = session(&[(1, 0)]);
    for (length, is_worth_keeping) in [(249, true), (250, false), (1, false)] {
        let name = TopicName(StrBytes::from_string("t".repeat(length)));
        session.update(vec![FetchTopic::default().with_topic(name)], &[], false);
        assert_eq!(session.is_worth_keeping, is_worth_keeping, "{length}");
    }
}

#[test]
fn only_what_something_has_happened_to_is_looked_at() {
    let mut session = session(&[(1, 0), (2, 0), (3, 0)]);
    assert_eq!(look(&mut session, &[1, 2]), [1, 2, 3]);
    assert_eq!(look(&mut session, &[3]), [3], "there was more of it");
    assert_eq!(look(&mut session, &[]), [0; 0]);
    session.update(named(&[(2, 5)]), &[], true);
    session.update(named(&[(2, 6)]), &[], true);
    assert_eq!(look(&mut session, &[2]), [2], "once, and where it was named last");
    assert_eq!(session.entry(1).unwrap().wanted.fetch_offset, 6);
}

#[test]
fn what_is_forgotten_gives_its_slot_to_another() {
    let mut session = session(&[(1, 0), (2, 0)]);
    let forgotten = ForgottenTopic::default().with_topic_id(Uuid::from_u128(1)).with_partitions(vec![1, 9]);
    session.update(named(&[(3, 0)]), &[forgotten], true);
    assert_eq!((session.len(), look(&mut session, &[])), (2, vec![2, 3]));
    assert_eq!(session.entry(0).unwrap().wanted.partition, 3);
    let by_name = ForgottenTopic::default().with_topic(TopicName(StrBytes::from_static_str("t")));
    session.update(Vec::new(), &[by_name.with_partitions(vec![2])], true);
    assert_eq!(session.len(), 2, "a topic of another name");
}

#[test]
fn everything_is_looked_at_from_time_to_time_and_for_another_life_of_the_reader() {
    let mut session = session(&[(1, 0), (2, 0)]);
    look(&mut session, &[1, 2]);
    let mut refreshed = |at: u32, reader: BrokerEpoch| {
        session.refresh(SECOND * at, reader, SECOND * 5);
        look(&mut session, &[1, 2]).len()
    };
    assert_eq!([refreshed(5, READER), refreshed(6, READER), refreshed(7, READER)], [0, 2, 0]);
    assert_eq!([refreshed(8, BrokerEpoch(5)), refreshed(12, BrokerEpoch(5)), refreshed(13, BrokerEpoch(5))], [2, 0, 2]);
}

#[test]
fn an_answer_has_what_the_reader_does_not_know() {
    let mut session = session(&[(1, 0)]);
    let failed = FetchedPartition::failed(1, 6);
    let diverging = FetchedPartition::diverging(1, (LeaderEpoch(1), Offset(3)));
    let moved = FetchedPartition { log_start: Offset(2), ..found(1, 5) };
    let steps = [
        (found(1, 0), true, "the log start is news"),
        (found(1, 0), false, "nothing"),
        (found(1, 5), true, "more is committed"),
        (found(1, 5), false, "it has been told"),
        (moved, true, "the log begins later"),
        (failed, true, "an error"),
        (FetchedPartition::failed(1, 6), true, "each time"),
        (found(1, 5), true, "it is over"),
        (diverging, true, "the logs have parted"),
        (found(1, 5), true, "told again after that"),
    ];
    for (found, is_news, why) in steps {
        assert_eq!(session.tell(0, &found), is_news, "{why}");
    }
}

#[test]
fn a_follower_says_what_it_knows_and_a_consumer_does_not() {
    for (is_follower, advanced) in [(true, true), (false, false)] {
        let mut session = session(&[(1, 0)]);
        session.tell(0, &found(1, 5));
        session.update(named(&[(1, 4)]), &[], is_follower);
        assert_eq!(session.entry(0).unwrap().has_advanced(&found(1, 5)), advanced, "it says 0, and was told 5");
    }
}
