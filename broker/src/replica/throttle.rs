//! The replication throttle (KIP-73): limits the bytes per second that reassigned replicas take of a broker, so that
//! there is room for clients. It holds back only replicas that are named in the topic's options and not in sync:
//! producers wait for the ISR.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use protocol::types::{BrokerId, PartitionId};

use super::partition::lock;

/// A shorter wait is not worth another fetch.
const WAIT_MIN: Duration = Duration::from_millis(20);
/// The rate may have been changed meanwhile.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// The partitions of a topic that are throttled on this broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ThrottledPartitions {
    All,
    These(Arc<BTreeSet<PartitionId>>),
}

impl ThrottledPartitions {
    /// `*`, or `partition:broker` for each throttled replica.
    pub(super) fn parse(replicas: &[String], broker: BrokerId) -> Self {
        if replicas.iter().any(|replica| replica == "*") {
            return Self::All;
        }
        let of_broker = |replica: &String| {
            let (partition, id) = replica.split_once(':')?;
            (id.parse() == Ok(broker.0)).then(|| partition.parse().ok().map(PartitionId))?
        };
        Self::These(Arc::new(replicas.iter().filter_map(of_broker).collect()))
    }

    pub(super) fn contains(&self, partition: PartitionId) -> bool {
        match self {
            Self::All => true,
            Self::These(partitions) => partitions.contains(&partition),
        }
    }
}

/// The throttles as a leader, and as a follower.
#[derive(Debug, Default)]
pub(crate) struct Throttles {
    pub(crate) leader: Throttle,
    pub(crate) follower: Throttle,
}

/// Bytes per second. A second's worth may be taken at once; what is taken beyond that is waited for afterwards, so
/// that one large batch gets through.
#[derive(Debug)]
pub(crate) struct Throttle {
    /// `i64::MAX`: unlimited.
    rate: AtomicI64,
    account: Mutex<Account>,
}

#[derive(Debug, Default)]
struct Account {
    /// Bytes; a negative balance is a debt.
    balance: i64,
    at: Duration,
}

impl Default for Throttle {
    fn default() -> Self {
        Self { rate: AtomicI64::new(i64::MAX), account: Mutex::default() }
    }
}

impl Throttle {
    pub(super) fn set_rate(&self, bytes_per_second: i64) {
        self.rate.store(bytes_per_second, Ordering::Relaxed);
    }

    /// When more may be taken; `None`: now.
    pub(crate) fn resumes_at(&self, now: Duration) -> Option<Duration> {
        let rate = self.limit()?;
        let mut account = lock(&self.account);
        account.fill(rate, now);
        if 0 < account.balance {
            return None;
        }
        let missing = u64::try_from(account.balance.saturating_neg().saturating_add(1)).unwrap_or(u64::MAX);
        // With a rate of 0 nothing may be taken until it changes, which is checked periodically.
        let wait =
            missing.saturating_mul(1000).checked_div(rate.unsigned_abs()).map_or(WAIT_MAX, Duration::from_millis);
        Some(now.saturating_add(wait.clamp(WAIT_MIN, WAIT_MAX)))
    }

    pub(crate) fn taken(&self, bytes: u64, now: Duration) {
        let Some(rate) = self.limit() else { return };
        let mut account = lock(&self.account);
        account.fill(rate, now);
        account.balance = account.balance.saturating_sub_unsigned(bytes);
    }

    fn limit(&self) -> Option<i64> {
        Some(self.rate.load(Ordering::Relaxed)).filter(|rate| *rate != i64::MAX)
    }
}

impl Account {
    fn fill(&mut self, rate: i64, now: Duration) {
        let elapsed = i64::try_from(now.saturating_sub(self.at).as_millis()).unwrap_or(i64::MAX);
        let earned = rate.saturating_mul(elapsed) / 1000;
        // A span too short to earn anything is added to the next.
        if 0 < earned || rate == 0 {
            self.at = now;
        }
        self.balance = self.balance.saturating_add(earned).min(rate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn what_is_taken_beyond_the_rate_is_waited_for() {
        let throttle = Throttle::default();
        throttle.taken(u64::MAX, ms(0));
        assert_eq!(throttle.resumes_at(ms(0)), None, "no limit");
        throttle.set_rate(1000);
        assert_eq!(throttle.resumes_at(ms(10_000)), None);
        throttle.taken(1500, ms(10_000));
        assert_eq!(throttle.resumes_at(ms(10_000)), Some(ms(10_501)), "a second's worth was saved up, no more");
        assert_eq!(throttle.resumes_at(ms(10_400)), Some(ms(10_501)));
        assert_eq!(throttle.resumes_at(ms(10_501)), None);
        throttle.taken(1_000_000, ms(10_501));
        assert_eq!(throttle.resumes_at(ms(10_501)), Some(ms(11_501)), "it is looked again");
        throttle.set_rate(i64::MAX);
        assert_eq!(throttle.resumes_at(ms(10_501)), None, "the throttle is taken away");
        throttle.set_rate(0);
        throttle.taken(1, ms(20_000));
        assert_eq!(throttle.resumes_at(ms(20_000)), Some(ms(21_000)));
    }

    #[test]
    fn slow_rates_earn_bytes_in_short_spans_too() {
        let throttle = Throttle::default();
        throttle.set_rate(10);
        throttle.taken(10, ms(1_000));
        for now in (1_000..1_100).step_by(3) {
            assert!(throttle.resumes_at(ms(now)).is_some(), "{now}");
        }
        assert_eq!(throttle.resumes_at(ms(1_101)), None);
    }

    #[test]
    fn replicas_are_named_one_by_one_or_all_of_them() {
        let parse = |text: &[&str]| {
            let replicas: Vec<_> = text.iter().map(|replica| (*replica).to_owned()).collect();
            let parsed = ThrottledPartitions::parse(&replicas, BrokerId(2));
            (0..4).filter(|partition| parsed.contains(PartitionId(*partition))).collect::<Vec<_>>()
        };
        assert_eq!(parse(&["*"]), [0, 1, 2, 3]);
        assert_eq!(parse(&["0:1", "0:2", "3:2", "2:12"]), [0, 3]);
        assert_eq!(parse(&[]), [0; 0]);
    }
}
