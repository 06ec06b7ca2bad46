//! Limits of connections: in total, per address, and new ones per second.
//!
//! A connection over a limit is closed at once, so that its client notices and tries elsewhere or later. (Kafka
//! leaves it in the kernel's queue when `max.connections` is reached, where its client waits for an answer until it
//! gives up.) `max.connections` does not apply to the listeners of brokers and controllers, and a part of what the
//! machine allows is reserved for them: clients cannot lock them out. The limit per address does not apply to the
//! controllers' listener, which the node itself uses, too.

use std::collections::HashMap;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

use crate::config::{ConnectionConfig, Listener, ListenerKind};

/// New connections that may come at once before the rate limits them.
const BURST: Duration = Duration::from_secs(1);

/// The part of what the machine allows that is reserved for brokers and controllers: one in so many, bounded by what
/// they ever need.
const NODES_PART: usize = 8;
const NODES_MAX: usize = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("{0} connections are open already (max.connections, or what descriptors and memory allow)")]
    Total(usize),
    #[error("{0} connections of this address are open already (max.connections.per.ip)")]
    Address(usize),
}

/// Counts of one listener's connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListenerCounts {
    pub(super) name: String,
    pub(super) open: usize,
    pub(super) accepted: u64,
    pub(super) refused: u64,
}

#[derive(Debug)]
pub(super) struct ConnectionQuotas {
    clients_max: usize,
    total_max: usize,
    per_address_max: usize,
    overrides: HashMap<IpAddr, usize>,
    interval: Duration,
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    clients: usize,
    total: usize,
    addresses: HashMap<IpAddr, usize>,
    listeners: Vec<ListenerCounts>,
    /// When the next connection is due by the rate.
    next_due: Option<Instant>,
}

/// An open connection in the counts. Removed when dropped.
#[derive(Debug)]
pub(super) struct Place {
    quotas: Arc<ConnectionQuotas>,
    address: IpAddr,
    listener: usize,
    is_client: bool,
}

impl ConnectionQuotas {
    /// `machine_max`: what descriptors and memory allow.
    pub(super) fn new(config: &ConnectionConfig, listeners: &[Arc<Listener>], machine_max: usize) -> Self {
        let counts = listeners.iter().map(|listener| ListenerCounts {
            name: listener.name.clone(),
            open: 0,
            accepted: 0,
            refused: 0,
        });
        Self {
            clients_max: config.total_max.min(machine_max - (machine_max / NODES_PART).min(NODES_MAX)),
            total_max: machine_max,
            per_address_max: config.per_address_max,
            overrides: resolve(&config.per_address_overrides),
            interval: config.per_second_max.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate),
            counts: Mutex::new(Counts {
                clients: 0,
                total: 0,
                addresses: HashMap::new(),
                listeners: counts.collect(),
                next_due: None,
            }),
        }
    }

    /// Admits a connection on the listener of that index.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr, index: usize, kind: ListenerKind) -> Result<Place, Refusal> {
        // An IPv4 client on a dual-stack socket has an IPv4-mapped IPv6 address.
        let address = address.to_canonical();
        let is_client = kind == ListenerKind::Client;
        let mut counts = self.counts();
        let outcome = self.refusal(&counts, address, kind).map_or(Ok(()), Err);
        if let Some(listener) = counts.listeners.get_mut(index) {
            listener.open += usize::from(outcome.is_ok());
            listener.accepted += u64::from(outcome.is_ok());
            listener.refused += u64::from(outcome.is_err());
        }
        outcome?;
        counts.clients += usize::from(is_client);
        counts.total += 1;
        *counts.addresses.entry(address).or_default() += 1;
        Ok(Place { quotas: self.clone(), address, listener: index, is_client })
    }

    fn refusal(&self, counts: &Counts, address: IpAddr, kind: ListenerKind) -> Option<Refusal> {
        if (kind == ListenerKind::Client && self.clients_max <= counts.clients) || self.total_max <= counts.total {
            return Some(Refusal::Total(counts.total));
        }
        let of_address = counts.addresses.get(&address).copied().unwrap_or(0);
        let address_max = self.overrides.get(&address).copied().unwrap_or(self.per_address_max);
        (kind != ListenerKind::Controller && address_max <= of_address).then_some(Refusal::Address(of_address))
    }

    /// How long to wait before the next connection is accepted, after one at `now`.
    pub(super) fn pause(&self, now: Instant) -> Duration {
        if self.interval.is_zero() {
            return Duration::ZERO;
        }
        let mut counts = self.counts();
        let due = counts.next_due.map_or(now, |due| due.max(now)) + self.interval;
        counts.next_due = Some(due);
        due.saturating_duration_since(now).saturating_sub(BURST)
    }

    pub(super) fn listeners(&self) -> Vec<ListenerCounts> {
        self.counts().listeners.clone()
    }

    /// The counts are consistent after every call, so that a poisoned lock can be used.
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.quotas.counts();
        counts.clients -= usize::from(self.is_client);
        counts.total -= 1;
        if let Some(listener) = counts.listeners.get_mut(self.listener) {
            listener.open -= 1;
        }
        let left = counts.addresses.get(&self.address).map_or(0, |count| count - 1);
        if left == 0 {
            counts.addresses.remove(&self.address);
        } else {
            counts.addresses.insert(self.address, left);
        }
    }
}

/// A name stands for all of its addresses.
fn resolve(overrides: &[(String, usize)]) -> HashMap<IpAddr, usize> {
    let mut resolved = HashMap::new();
    for (host, count) in overrides {
        match (host.as_str(), 0).to_socket_addrs() {
            Ok(addresses) => resolved.extend(addresses.map(|address| (address.ip().to_canonical(), *count))),
            Err(error) => warn!(host, %error, "max.connections.per.ip.overrides: this host has no effect"),
        }
    }
    resolved
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn quotas(config: &ConnectionConfig, machine_max: usize) -> Arc<ConnectionQuotas> {
        Arc::new(ConnectionQuotas::new(config, &[], machine_max))
    }

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(127, 0, 0, last).into()
    }

    #[test]
    fn limits_hold_until_a_connection_ends() {
        let config = ConnectionConfig {
            total_max: 3,
            per_address_max: 2,
            per_address_overrides: vec![("127.0.0.9".to_owned(), 0)],
            per_second_max: None,
        };
        let quotas = quotas(&config, 4);
        let admit = |last, kind| quotas.admit(address(last), 0, kind);
        let first = admit(1, ListenerKind::Client).unwrap();
        let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
        let _second = quotas.admit(mapped.into(), 0, ListenerKind::Client).unwrap();
        assert_eq!(admit(1, ListenerKind::Client).unwrap_err(), Refusal::Address(2));
        assert_eq!(admit(9, ListenerKind::Client).unwrap_err(), Refusal::Address(0));
        let _third = admit(2, ListenerKind::Client).unwrap();
        assert_eq!(admit(3, ListenerKind::Client).unwrap_err(), Refusal::Total(3));
        let _broker = admit(3, ListenerKind::Broker).unwrap();
        assert_eq!(admit(4, ListenerKind::Broker).unwrap_err(), Refusal::Total(4), "the machine's limit is all's");
        drop(first);
        admit(1, ListenerKind::Client).unwrap();
        assert_eq!(quotas.counts().addresses.len(), 3, "addresses without connections are forgotten");
    }

    #[test]
    fn clients_leave_room_for_nodes() {
        let quotas = quotas(&ConnectionConfig::unlimited(), 16);
        let admit = |kind| quotas.admit(address(1), 0, kind);
        let _clients: Vec<_> = (0..14).map(|_| admit(ListenerKind::Client).unwrap()).collect();
        assert_eq!(admit(ListenerKind::Client).unwrap_err(), Refusal::Total(14));
        let _nodes = [ListenerKind::Broker, ListenerKind::Controller].map(|kind| admit(kind).unwrap());
    }

    #[test]
    fn connections_beyond_the_rate_wait() {
        let config = ConnectionConfig { per_second_max: Some(10), ..ConnectionConfig::unlimited() };
        let quotas = quotas(&config, 1);
        let now = Instant::now();
        let pauses: Vec<_> = (0..12).map(|_| quotas.pause(now).as_millis()).collect();
        assert_eq!(pauses, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 100, 200]);
        assert_eq!(quotas.pause(now + Duration::from_mins(1)), Duration::ZERO);
    }
}
