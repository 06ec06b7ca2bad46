//! Leaders whose connections broke, before the controller has said what became of them. A client that asks in that
//! moment who leads is better told that nobody does, and asks again soon, than sent to the dead: librdkafka, which is,
//! asks again after a second.
//!
//! Such a client has lost its own connection in the same moment: the sockets are asked, too, of which nobody here may
//! have heard yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use protocol::types::BrokerId;

use super::partition::lock;
use crate::peer::Socket;

/// The controller knows by then. If not, only this broker has lost the leader.
const AT_MOST: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct LostLeaders(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Since when, on the monotonic clock.
    lost: BTreeMap<BrokerId, Duration>,
    /// The last connection to each.
    sockets: BTreeMap<BrokerId, Weak<Socket>>,
}

impl LostLeaders {
    pub(super) fn lose(&self, leader: BrokerId, now: Duration) {
        lock(&self.0).lost.entry(leader).or_insert(now);
    }

    pub(super) fn find(&self, leader: BrokerId, socket: &Arc<Socket>) {
        let mut state = lock(&self.0);
        state.lost.remove(&leader);
        state.sockets.insert(leader, Arc::downgrade(socket));
    }

    pub(super) fn at(&self, now: Duration) -> BTreeSet<BrokerId> {
        let state = lock(&self.0);
        let lately = state.lost.iter().filter(|(_, since)| now.saturating_sub(**since) < AT_MOST);
        let has_ended = |socket: &Weak<Socket>| socket.upgrade().is_some_and(|socket| socket.has_ended());
        let just_now = state.sockets.iter().filter(|(_, socket)| has_ended(socket));
        lately.map(|(leader, _)| *leader).chain(just_now.map(|(leader, _)| *leader)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::time::Instant;

    use super::*;

    const DEADLINE: Duration = Duration::from_mins(1);

    fn lost_at(lost: &LostLeaders, milliseconds: u64) -> Vec<i32> {
        lost.at(Duration::from_millis(milliseconds)).into_iter().map(|leader| leader.0).collect()
    }

    /// Both ends.
    fn connected() -> (Arc<Socket>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_nonblocking(true).unwrap();
        (Arc::new(Socket::new(stream)), listener.accept().unwrap().0)
    }

    #[test]
    fn who_is_lost_is_not_named_until_found_or_for_too_long() {
        let lost = LostLeaders::default();
        let at = Duration::from_millis;
        lost.lose(BrokerId(1), at(0));
        lost.lose(BrokerId(1), at(900));
        lost.lose(BrokerId(2), at(950));
        assert_eq!(lost_at(&lost, 999), [1, 2]);
        assert_eq!(lost_at(&lost, 1_000), [2], "lost since the first time");
        let (socket, _open) = connected();
        lost.find(BrokerId(1), &socket);
        lost.find(BrokerId(2), &socket);
        lost.lose(BrokerId(1), at(1_000));
        assert_eq!(lost_at(&lost, 1_001), [1]);
    }

    #[test]
    fn a_socket_that_has_ended_is_enough() {
        let lost = LostLeaders::default();
        let (socket, other_end) = connected();
        lost.find(BrokerId(1), &socket);
        assert_eq!(lost_at(&lost, 0), [0; 0]);
        drop(other_end);
        let began = Instant::now();
        while lost_at(&lost, 0) != [1] {
            assert!(began.elapsed() < DEADLINE, "nobody asks the socket");
            std::thread::yield_now();
        }
        drop(socket);
        assert_eq!(lost_at(&lost, 0), [0; 0], "the next connection tells, or that there is none");
    }
}
