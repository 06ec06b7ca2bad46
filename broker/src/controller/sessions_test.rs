use super::*;
use crate::metadata::testing::{cluster, fence};

const TIMEOUT: Duration = Duration::from_secs(3);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn heartbeat(image: &Image, id: i32, offset: i64) -> Heartbeat {
    Heartbeat {
        id: BrokerId(id),
        epoch: image.brokers[&BrokerId(id)].epoch,
        metadata_offset: Offset(offset),
        wants_fence: false,
        wants_shutdown: false,
        offline_directories: Vec::new(),
    }
}

fn sessions(image: &Image) -> Sessions {
    let mut sessions = Sessions::new(TIMEOUT);
    sessions.restart(image, ms(1000));
    sessions
}

/// Looks as often as the control thread does.
fn look_until(sessions: &mut Sessions, heard: &Heard, from: u64, until: u64) {
    (from..=until).step_by(500).for_each(|at| sessions.look(heard, ms(at)));
}

#[test]
fn a_broker_is_silent_after_the_timeout_and_the_longest_silent_comes_first() {
    let image = cluster(3);
    let mut sessions = sessions(&image);
    sessions.heard(&heartbeat(&image, 0, 9), image.end_offset, ms(2000));
    sessions.heard(&heartbeat(&image, 1, 9), image.end_offset, ms(1500));
    sessions.heard(&heartbeat(&image, 2, 9), image.end_offset, ms(1800));
    let mut silent = Vec::new();
    for at in [4499, 4500, 4799, 4800, 4999, 5000] {
        if let Some(id) = sessions.longest_silent(ms(at)) {
            silent.push((at, id.0));
            sessions.end(id);
        }
    }
    assert_eq!(silent, [(4500, 1), (4800, 2), (5000, 0)]);
}

#[test]
fn a_new_controller_gives_everybody_who_serves_the_whole_time() {
    let mut image = cluster(2);
    fence(&mut image, 1);
    let sessions = sessions(&image);
    assert!(sessions.is_live(BrokerId(0), ms(3999)) && !sessions.is_live(BrokerId(0), ms(4000)));
    assert!(!sessions.is_live(BrokerId(1), ms(1001)), "whoever is fenced and starts need not wait");
    assert_eq!(sessions.unheard(&image), [BrokerId(0)]);
}

#[test]
fn a_heartbeat_counts_when_it_arrives_though_its_turn_may_never_come() {
    let image = cluster(1);
    let (mut sessions, heard) = (sessions(&image), Heard::default());
    heard.note(BrokerId(0), image.brokers[&BrokerId(0)].epoch, ms(3500));
    look_until(&mut sessions, &heard, 1500, 4000);
    assert!(sessions.is_live(BrokerId(0), ms(6499)) && !sessions.is_live(BrokerId(0), ms(6500)));
    heard.note(BrokerId(0), BrokerEpoch(77), ms(6000));
    look_until(&mut sessions, &heard, 4500, 6500);
    assert!(!sessions.is_live(BrokerId(0), ms(6500)), "that was another process");
    assert_eq!(sessions.unheard(&image), [BrokerId(0)], "what it said is not known yet");
}

#[test]
fn a_session_that_is_over_is_not_begun_anew_by_what_was_said_before() {
    let image = cluster(1);
    let (mut sessions, heard) = (sessions(&image), Heard::default());
    let epoch = image.brokers[&BrokerId(0)].epoch;
    heard.note(BrokerId(0), epoch, ms(1200));
    sessions.expire(BrokerId(0), ms(1201));
    sessions.look(&heard, ms(1300));
    assert!(!sessions.is_live(BrokerId(0), ms(1300)));
    heard.note(BrokerId(0), epoch, ms(1400));
    sessions.look(&heard, ms(1500));
    assert!(sessions.is_live(BrokerId(0), ms(1500)), "it was called dead by mistake");
}

#[test]
fn a_controller_that_stood_still_calls_nobody_silent() {
    let image = cluster(1);
    let (mut sessions, heard) = (sessions(&image), Heard::default());
    sessions.look(&heard, ms(60_000));
    assert!(sessions.is_live(BrokerId(0), ms(62_999)));
}

#[test]
fn a_hint_leaves_little_time_until_the_broker_is_heard() {
    let image = cluster(1);
    let mut sessions = sessions(&image);
    sessions.silent(BrokerId(0));
    sessions.hint(BrokerId(0), ms(1200));
    assert!(sessions.is_live(BrokerId(0), ms(1500)), "it may answer");
    sessions.silent(BrokerId(0));
    assert!(sessions.is_live(BrokerId(0), ms(1499)) && !sessions.is_live(BrokerId(0), ms(1500)));
    sessions.answered(BrokerId(0), ms(1400));
    sessions.silent(BrokerId(0));
    assert!(sessions.is_live(BrokerId(0), ms(4399)), "it was heard since");
    sessions.hint(BrokerId(0), ms(4300));
    sessions.silent(BrokerId(0));
    assert!(!sessions.is_live(BrokerId(0), ms(4400)), "a hint gives no time");
}

#[test]
fn a_broker_is_caught_up_once_it_knows_what_happened_before_its_session() {
    let mut image = cluster(2);
    fence(&mut image, 1);
    let begun = image.end_offset;
    let mut sessions = sessions(&image);
    assert!(!sessions.is_caught_up(BrokerId(0)), "this controller has not heard it");
    let is_caught_up = |sessions: &mut Sessions, id, replayed: i64, end| {
        sessions.heard(&heartbeat(&image, id, replayed - 1), Offset(end), ms(1000));
        sessions.is_caught_up(BrokerId(id))
    };
    // One that serves, and one that is heard for the first time when there is more.
    for (id, began) in [(0, begun.0), (1, begun.0 + 10)] {
        assert!(!is_caught_up(&mut sessions, id, began - 1, began));
        assert!(is_caught_up(&mut sessions, id, began, began + 5), "{id}: later records do not count");
    }
    sessions.fenced(BrokerId(0), Offset(begun.0 + 20));
    assert!(!is_caught_up(&mut sessions, 0, begun.0 + 19, begun.0 + 21));
    assert!(is_caught_up(&mut sessions, 0, begun.0 + 20, begun.0 + 21));
}

#[test]
fn what_is_due_is_looked_at_in_time() {
    let image = cluster(1);
    let mut sessions = sessions(&image);
    assert_eq!(sessions.deadline(ms(1000)), ms(1750));
    assert_eq!(sessions.deadline(ms(3900)), ms(4000));
    sessions.expire(BrokerId(0), ms(1100));
    assert!(ms(1100) < sessions.deadline(ms(1100)), "not without a pause");
    let mut short = Sessions::new(ms(1));
    short.restart(&image, ms(1000));
    assert!(ms(1100) < short.deadline(ms(1100)), "however short sessions are");
}

#[test]
fn a_handover_is_known_when_everybody_who_serves_has_replayed_it() {
    let mut image = cluster(3);
    let mut sessions = sessions(&image);
    let end = image.end_offset;
    image.brokers.get_mut(&BrokerId(0)).unwrap().in_controlled_shutdown = true;
    assert!(!sessions.is_handover_known(&image, BrokerId(0)), "it has not begun");
    sessions.begin_shutdown(BrokerId(0), end);
    // Broker 2 has not been heard; it is behind; it is up to date; or it is fenced.
    sessions.heard(&heartbeat(&image, 1, end.0 - 1), image.end_offset, ms(1000));
    assert!(!sessions.is_handover_known(&image, BrokerId(0)));
    sessions.heard(&heartbeat(&image, 2, end.0 - 2), image.end_offset, ms(1000));
    assert!(!sessions.is_handover_known(&image, BrokerId(0)));
    let mut without = image.clone();
    fence(&mut without, 2);
    assert!(sessions.is_handover_known(&without, BrokerId(0)));
    sessions.heard(&heartbeat(&image, 2, end.0 - 1), image.end_offset, ms(1000));
    assert!(sessions.is_handover_known(&image, BrokerId(0)));
}
