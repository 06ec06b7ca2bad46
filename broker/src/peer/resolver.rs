//! Resolves host names anew for every connection: in Kubernetes an address changes with every restart. A lookup
//! cannot be cancelled, and without a name server it takes many seconds. So there is at most one lookup at a time for
//! each name, on its own thread, shared by all callers: hanging lookups hold up no other name. While one hangs, the
//! last known addresses may still hold: the node that answers there identifies itself.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::error::PeerFailure;
use crate::bugs::{self, Bug};

/// A working name server answers sooner.
const HANGS_AFTER: Duration = Duration::from_millis(100);
/// More names than any cluster has nodes; beyond that known addresses are forgotten.
const NAMES_MAX: usize = 10_000;

pub(super) static RESOLVER: LazyLock<Resolver> = LazyLock::new(|| Resolver::new(look_up, HANGS_AFTER));

fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    (host, port).to_socket_addrs().map(Iterator::collect)
}

type Lookup = fn(&str, u16) -> io::Result<Vec<SocketAddr>>;
type Name = (String, u16);
type Found = Result<Arc<[SocketAddr]>, String>;

#[derive(Debug)]
pub(super) struct Resolver {
    lookup: Lookup,
    hangs_after: Duration,
    names: Arc<Mutex<HashMap<Name, Known>>>,
}

#[derive(Debug, Default)]
struct Known {
    last: Option<Arc<[SocketAddr]>>,
    running: Option<watch::Receiver<Option<Found>>>,
}

impl Resolver {
    fn new(lookup: Lookup, hangs_after: Duration) -> Self {
        Self { lookup, hangs_after, names: Arc::default() }
    }

    pub(super) async fn resolve(&self, host: &str, port: u16) -> Result<Arc<[SocketAddr]>, PeerFailure> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok([SocketAddr::new(address, port)].into());
        }
        let name = (host.to_owned(), port);
        let last = lock(&self.names).get(&name).and_then(|known| known.last.clone());
        if let Some(last) = last.clone().filter(|_| bugs::is_planted(Bug::NamesResolvedOnce)) {
            return Ok(last);
        }
        let mut running = self.join(name).map_err(|error| PeerFailure::Unresolved(error.to_string()))?;
        if let Some(last) = last
            && timeout(self.hangs_after, running.wait_for(Option::is_some)).await.is_err()
        {
            return Ok(last);
        }
        let found = running.wait_for(Option::is_some).await.map(|found| found.clone());
        let found = found.ok().flatten().unwrap_or_else(|| Err("the lookup has ended without an answer".to_owned()));
        found.map_err(PeerFailure::Unresolved)
    }

    /// Joins the lookup in progress, or begins one.
    fn join(&self, name: Name) -> io::Result<watch::Receiver<Option<Found>>> {
        let mut names = lock(&self.names);
        if NAMES_MAX <= names.len() {
            names.retain(|_, known| known.running.is_some());
        }
        let known = names.entry(name.clone()).or_default();
        if let Some(running) = &known.running {
            return Ok(running.clone());
        }
        let (sender, receiver) = watch::channel(None);
        let (lookup, shared) = (self.lookup, self.names.clone());
        std::thread::Builder::new().name("resolver".to_owned()).spawn(move || {
            let found = lookup(&name.0, name.1).map(Arc::from).map_err(|error| error.to_string());
            let mut names = lock(&shared);
            let known = names.entry(name).or_default();
            known.running = None;
            if let Ok(found) = &found {
                known.last = Some(Arc::clone(found));
            }
            drop(names);
            sender.send_replace(Some(found));
        })?;
        known.running = Some(receiver.clone());
        Ok(receiver)
    }
}

/// The state is consistent after every call, so that a poisoned lock can be used.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU16, Ordering};

    use super::*;

    /// Returns another address each time.
    #[expect(clippy::unnecessary_wraps, reason = "as the system's own look-up, whose place it takes")]
    fn moving(_: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        static PORT: AtomicU16 = AtomicU16::new(1);
        Ok(vec![([127, 0, 0, 1], PORT.fetch_add(1, Ordering::Relaxed)).into()])
    }

    async fn ports(resolver: &Resolver) -> [u16; 2] {
        [resolver.resolve("node", 9093).await, resolver.resolve("node", 9093).await]
            .map(|found| found.unwrap()[0].port())
    }

    #[tokio::test]
    async fn a_name_is_looked_up_anew_for_each_connection() {
        let resolver = Resolver::new(moving, Duration::from_mins(1));
        let [first, second] = ports(&resolver).await;
        assert_ne!(first, second);
        bugs::plant(Some(Bug::NamesResolvedOnce));
        let [first, second] = ports(&resolver).await;
        bugs::plant(None);
        assert_eq!(first, second, "that would be found");
        assert_eq!(
            resolver.resolve("::1", 7).await.unwrap()[..],
            ["[::1]:7".parse::<SocketAddr>().unwrap()],
            "that is no name"
        );
    }

    /// Hangs for some names.
    fn hanging(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        static ASKED: AtomicU16 = AtomicU16::new(0);
        match host {
            "gone" => Err(io::Error::other("no such name")),
            "hangs-later" if ASKED.fetch_add(1, Ordering::Relaxed) == 0 => Ok(vec![([127, 0, 0, 1], port).into()]),
            "hangs" | "hangs-later" => loop {
                std::thread::park();
            },
            _ => Ok(vec![([127, 0, 0, 2], port).into()]),
        }
    }

    #[tokio::test]
    async fn a_lookup_that_hangs_holds_up_no_other_name_and_the_last_answer_may_hold() {
        let resolver = Resolver::new(hanging, Duration::from_millis(1));
        let never = async {
            let (first, second) = (resolver.resolve("hangs", 1), resolver.resolve("hangs", 1));
            drop(tokio::join!(first, second));
        };
        let others = async {
            let first = resolver.resolve("hangs-later", 9).await.unwrap();
            let again = resolver.resolve("hangs-later", 9).await.unwrap();
            assert_eq!(first, again);
            assert_eq!(resolver.resolve("other", 3).await.unwrap()[0].port(), 3);
            let gone = resolver.resolve("gone", 4).await;
            assert_eq!(gone, Err(PeerFailure::Unresolved("no such name".to_owned())));
        };
        tokio::select! {
            () = never => panic!("it hangs"),
            () = others => {}
        }
        let running = lock(&resolver.names).values().filter(|known| known.running.is_some()).count();
        assert_eq!(running, 2, "one for each name");
    }
}
