//! Many partitions on one broker: creating them, the memory they take, and how soon each has a serving leader again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::contender::{Contender, Site};
use super::lab::Lab;
use super::pairs::Reading;
use super::probe;
use super::table::Measure;
use crate::broker::Broker;
use crate::connection::Connection;
use crate::figures::machine::{Noise, Snapshot};
use crate::figures::phase::resident_mebibytes;

/// Apache Kafka does not accept many more in one request.
const PARTITIONS_PER_TOPIC: u32 = 100;
/// For creation, for a stop, and for a restart. A restart that takes longer counts as this much and more.
const PATIENCE: Duration = Duration::from_mins(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Partitions(pub(super) u32);

impl Partitions {
    pub(super) fn measures(self) -> Vec<Measure> {
        let name = |what: &str| format!("{} partitions: {what}", self.0);
        vec![
            Measure::less(name("created"), "s", 2),
            Measure::less(name("memory, one record in each"), "MiB", 1),
            Measure::less(name("restart after SIGTERM to all leaders"), "s", 2),
            Measure::less(name("restart after SIGKILL to all leaders"), "s", 2),
        ]
    }

    /// The limits for ten thousand.
    pub(super) fn measures_with_limits(self) -> Vec<Measure> {
        let limits = [60.0, 150.0, 5.0, 8.0];
        self.measures().into_iter().zip(limits).map(|(measure, limit)| measure.at_most(limit)).collect()
    }

    pub(super) fn sample(self, lab: &Lab<'_>, contender: Contender) -> Result<(Vec<Reading>, Noise)> {
        let site = lab.site(contender)?;
        let mut broker = site.spawn()?;
        let (created, memory, mut noise) = self.create(&site, &mut broker).with_context(|| broker.last_words())?;
        let mut readings = vec![created.as_secs_f64().into(), memory.into()];
        for signal in [Signal::Term, Signal::Kill] {
            match signal {
                Signal::Term => drop(broker.terminate(PATIENCE)?),
                Signal::Kill => broker.kill()?,
            }
            broker = site.spawn()?;
            let (reading, disturbance) = self.back(&site, &mut broker).with_context(|| broker.last_words())?;
            readings.push(reading);
            noise = noise.max(disturbance);
        }
        Ok((readings, noise))
    }

    fn topics(self) -> impl Iterator<Item = (String, i32)> {
        let names = (0..self.0.div_ceil(PARTITIONS_PER_TOPIC)).map(|number| format!("many-{number}"));
        let counts = (0..self.0).step_by(PARTITIONS_PER_TOPIC as usize).map(move |first| self.0 - first);
        names.zip(counts.map(|left| i32::try_from(left.min(PARTITIONS_PER_TOPIC)).unwrap_or(i32::MAX)))
    }

    /// How long until all are served, and the memory of the process when each has a record.
    fn create(self, site: &Site, broker: &mut Broker) -> Result<(Duration, f64, Noise)> {
        let mut connection = site.connect(broker)?;
        let before = Snapshot::take(&[broker.id()])?;
        let began = Instant::now();
        for (name, partitions) in self.topics() {
            probe::create(&mut connection, &name, partitions)?;
        }
        anyhow::ensure!(self.all_served(&mut connection, 0)?, "partitions are not served after {PATIENCE:?}");
        let created = began.elapsed();
        let noise = before.noise_until(&Snapshot::take(&[broker.id()])?);
        for (name, partitions) in self.topics() {
            probe::produce_to_all(&mut connection, &name, partitions)?;
        }
        Ok((created, resident_mebibytes(broker.id())?, noise))
    }

    /// From the start of the process until all are served; then reads what they contain.
    fn back(self, site: &Site, broker: &mut Broker) -> Result<(Reading, Noise)> {
        let before = Snapshot::take(&[broker.id()])?;
        let mut connection = site.connect(broker)?;
        let given_up = !self.all_served(&mut connection, 1)?;
        let reading = Reading { value: broker.spawned.elapsed().as_secs_f64(), given_up };
        let noise = before.noise_until(&Snapshot::take(&[broker.id()])?);
        for (name, partitions) in self.topics().filter(|_| !given_up) {
            let partitions: Vec<_> = (0..partitions).collect();
            probe::check(&mut connection, &name, &partitions, 1)?;
        }
        Ok((reading, noise))
    }

    fn all_served(self, connection: &mut Connection, end: i64) -> Result<bool> {
        let deadline = Instant::now() + PATIENCE;
        for (name, partitions) in self.topics() {
            if !probe::served(connection, &name, partitions, end, deadline)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signal {
    Term,
    Kill,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_have_all_partitions_between_them() {
        let counts = |all| Partitions(all).topics().map(|(_, count)| count).collect::<Vec<_>>();
        assert_eq!(counts(10), [10]);
        assert_eq!(counts(100), [100]);
        assert_eq!(counts(250), [100, 100, 50]);
    }
}
