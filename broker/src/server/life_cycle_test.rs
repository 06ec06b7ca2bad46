use uuid::Uuid;

use super::*;

const INTERVAL: Duration = Duration::from_millis(500);
const SESSION: Duration = Duration::from_secs(3);
const CONFIG: LifeCycleConfig = LifeCycleConfig {
    heartbeat_interval: INTERVAL,
    session_timeout: SESSION,
    registration_max: Duration::from_mins(1),
};
const OWN: IncarnationId = IncarnationId(Uuid::from_u128(1));
const EPOCH: BrokerEpoch = BrokerEpoch(10);
const SERVING: HeartbeatAnswer = HeartbeatAnswer { is_caught_up: true, is_fenced: false, should_shut_down: false };
const FENCED: HeartbeatAnswer = HeartbeatAnswer { is_caught_up: true, is_fenced: true, should_shut_down: false };

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn observed(registered: Option<(BrokerEpoch, IncarnationId)>, end: i64, controller: i32) -> Observed {
    let controller = Some((BrokerId(controller), LeaderEpoch(controller)));
    Observed { registered, metadata_end: Offset(end), controller, departing: 0 }
}

fn heartbeat(metadata_offset: i64, wants_fence: bool, wants_shutdown: bool) -> Step {
    let metadata_offset = Offset(metadata_offset);
    Step::Heartbeat(Heartbeat { epoch: EPOCH, metadata_offset, wants_fence, wants_shutdown })
}

fn unreachable() -> Refusal {
    Refusal::Other(8)
}

/// Registered and unfenced at 2 ms, with controller 7; the next heartbeat is due at 502 ms.
fn serving() -> LifeCycle {
    let mut life = LifeCycle::new(CONFIG, OWN, None, ms(0));
    life.observe(observed(None, 5, 7), ms(0));
    life.registered(Ok(EPOCH), ms(1));
    life.observe(observed(Some((EPOCH, OWN)), 11, 7), ms(2));
    assert_eq!(life.next(ms(2)), heartbeat(10, false, false));
    life.answered(&Ok(SERVING), ms(2));
    life
}

#[test]
fn registers_waits_for_its_own_registration_and_asks_to_be_unfenced_at_once() {
    let mut life = LifeCycle::new(CONFIG, OWN, Some(BrokerEpoch(4)), ms(0));
    life.observe(observed(Some((BrokerEpoch(4), IncarnationId(Uuid::from_u128(9)))), 8, 7), ms(0));
    assert_eq!(life.next(ms(0)), Step::Register { previous_epoch: Some(BrokerEpoch(4)) });
    life.registered(Ok(EPOCH), ms(1));
    assert_eq!(life.next(ms(1)), Step::WaitUntil(ms(501)), "the former registration is not its own");
    life.observe(observed(Some((EPOCH, OWN)), 11, 7), ms(3));
    assert_eq!(life.next(ms(3)), heartbeat(10, false, false));
    life.answered(&Ok(FENCED), ms(4));
    assert_eq!(life.next(ms(4)), Step::WaitUntil(ms(54)), "asks again soon while it is still fenced");
    life.answered(&Ok(HeartbeatAnswer { is_caught_up: false, ..SERVING }), ms(55));
    assert_eq!(life.next(ms(55)), Step::WaitUntil(ms(105)), "and while it is behind");
    life.answered(&Ok(SERVING), ms(105));
    assert_eq!(life.next(ms(105)), Step::WaitUntil(ms(605)));
}

#[test]
fn keeps_its_session_while_the_registration_is_not_replayed() {
    let mut life = LifeCycle::new(CONFIG, OWN, None, ms(0));
    life.observe(observed(None, 5, 7), ms(0));
    life.registered(Ok(EPOCH), ms(1));
    assert_eq!(life.next(ms(501)), heartbeat(4, true, false));
}

#[test]
fn another_controller_hears_of_it_at_once() {
    let mut life = serving();
    assert_eq!(life.next(ms(100)), Step::WaitUntil(ms(502)));
    life.observe(Observed { controller: None, ..observed(Some((EPOCH, OWN)), 11, 7) }, ms(100));
    assert_eq!(life.next(ms(100)), Step::WaitUntil(ms(502)), "nobody leads");
    life.observe(observed(Some((EPOCH, OWN)), 12, 8), ms(120));
    assert_eq!(life.next(ms(120)), heartbeat(11, false, false));
}

#[test]
fn who_stops_does_not_wait_for_the_next_heartbeat_of_others() {
    let mut life = serving();
    let departing = |departing, end| Observed { departing, ..observed(Some((EPOCH, OWN)), end, 7) };
    life.observe(departing(1, 14), ms(100));
    assert_eq!(life.next(ms(100)), heartbeat(13, false, false));
    life.answered(&Ok(SERVING), ms(101));
    life.observe(departing(1, 15), ms(110));
    life.observe(departing(0, 16), ms(120));
    assert_eq!(life.next(ms(120)), Step::WaitUntil(ms(601)));
}

#[test]
fn a_forgotten_epoch_is_not_used_again() {
    let mut life = serving();
    life.answered(&Err(Refusal::NotRegistered), ms(502));
    assert_eq!(life.next(ms(552)), Step::Register { previous_epoch: None });
    life.registered(Ok(BrokerEpoch(20)), ms(553));
    let Step::Heartbeat(next) = life.next(ms(1053)) else { panic!("a heartbeat is due") };
    assert_eq!((next.epoch, next.wants_fence), (BrokerEpoch(20), true));
}

#[test]
fn the_epoch_of_a_clean_stop_is_told_only_where_there_was_one() {
    for previous_epoch in [None, Some(EPOCH)] {
        let mut life = LifeCycle::new(CONFIG, OWN, previous_epoch, ms(0));
        assert_eq!(life.next(ms(0)), Step::Register { previous_epoch });
        life.registered(Err(unreachable()), ms(1));
        assert_eq!(life.next(ms(51)), Step::Register { previous_epoch }, "also when it is asked again");
    }
}

#[test]
fn a_second_process_with_its_id_is_fatal_after_the_session_of_a_dead_one_would_have_ended() {
    let mut life = LifeCycle::new(CONFIG, OWN, None, ms(0));
    life.registered(Err(Refusal::Duplicate), ms(100));
    assert_eq!(life.next(ms(150)), Step::Register { previous_epoch: None });
    life.registered(Err(Refusal::Duplicate), ms(6099));
    assert!(matches!(life.next(ms(6149)), Step::Register { .. }));
    life.registered(Err(Refusal::Duplicate), ms(6100));
    assert_eq!(life.next(ms(6100)), Step::Leave(Departure::Failed(LifeCycleError::Duplicate)));
}

#[test]
fn gives_up_registering_when_it_cannot_succeed_or_takes_too_long() {
    let invalid = Refusal::Invalid("of another cluster");
    let mut life = LifeCycle::new(CONFIG, OWN, None, ms(0));
    life.registered(Err(invalid.clone()), ms(1));
    assert_eq!(life.next(ms(1)), Step::Leave(Departure::Failed(LifeCycleError::Refused(invalid))));

    let mut life = LifeCycle::new(CONFIG, OWN, None, ms(0));
    life.registered(Err(unreachable()), ms(59_999));
    assert!(matches!(life.next(ms(60_049)), Step::Register { .. }));
    life.registered(Err(unreachable()), ms(60_050));
    assert_eq!(life.next(ms(60_050)), Step::Leave(Departure::Failed(LifeCycleError::TooLate(unreachable()))));

    let mut life = serving();
    life.answered(&Err(Refusal::NotRegistered), ms(502));
    life.registered(Err(unreachable()), ms(100_000));
    assert!(matches!(life.next(ms(100_050)), Step::Register { .. }), "who has served goes on trying");
}

#[test]
fn serves_until_the_controller_lets_it_go() {
    let mut life = serving();
    life.leave(ms(100));
    assert_eq!(life.next(ms(100)), heartbeat(10, false, true));
    life.answered(&Ok(SERVING), ms(101));
    assert_eq!(life.next(ms(101)), Step::WaitUntil(ms(151)), "asks more often");
    life.answered(&Ok(HeartbeatAnswer { should_shut_down: true, ..SERVING }), ms(152));
    assert_eq!(life.next(ms(152)), Step::Leave(Departure::Granted));
    assert_eq!(life.epoch(), Some(EPOCH), "for the mark of a clean stop");
}

#[test]
fn leaves_without_consent_when_none_can_be_had() {
    let mut life = serving();
    life.leave(ms(1000));
    life.answered(&Err(unreachable()), ms(3999));
    assert!(matches!(life.next(ms(3999)), Step::WaitUntil(_)));
    assert_eq!(life.next(ms(4000)), Step::Leave(Departure::NotGranted("no controller answers")));

    let mut life = serving();
    life.leave(ms(1000));
    life.answered(&Ok(SERVING), ms(60_999));
    assert!(matches!(life.next(ms(60_999)), Step::WaitUntil(_)));
    let late = "the controller has not moved its leaders away in time";
    assert_eq!(life.next(ms(61_000)), Step::Leave(Departure::NotGranted(late)));

    let mut life = LifeCycle::new(CONFIG, OWN, None, ms(0));
    life.leave(ms(1));
    assert_eq!(life.next(ms(1)), Step::Leave(Departure::NotGranted("it is not registered")));
}

#[test]
fn an_unexpected_error_is_no_reason_to_hurry_or_to_register_again() {
    let mut life = serving();
    life.answered(&Err(Refusal::Other(-1)), ms(502));
    assert_eq!(life.next(ms(502)), Step::WaitUntil(ms(552)));
    assert_eq!(life.next(ms(552)), heartbeat(10, false, false));
}
