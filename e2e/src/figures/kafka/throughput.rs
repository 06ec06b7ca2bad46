//! CPU time and speed of large batches, written and read through librdkafka.

use anyhow::Result;

use super::contender::Contender;
use super::lab::{Lab, gigabytes};
use super::null_broker::with_null_broker;
use super::pairs::Reading;
use super::probe;
use super::table::Measure;
use crate::figures::librdkafka::{self, Stream};
use crate::figures::machine::{Noise, on_cores};
use crate::figures::phase::{Phase, phase};

const MEGABYTES: f64 = 1e3;
/// Each with a topic of its own, and what it calls its acknowledgements.
const ACKS_ONE: [&str; 2] = ["acks-one", "1"];
const ACKS_ALL: [&str; 2] = ["acks-all", "all"];

pub(super) fn measures() -> Vec<Measure> {
    let cpu = |what| Measure::less(format!("{what}: broker CPU per GB"), "s", 2);
    let speed = |what| Measure::more(format!("{what}: speed"), "MB/s", 0);
    let [one, all, read] =
        ["produce, 1 KiB records, acks=1", "produce, 1 KiB records, acks=all", "consume from page cache"];
    vec![cpu(one).times(3.0), speed(one), cpu(all).times(3.0), speed(all), cpu(read), speed(read)]
}

pub(super) fn sample(lab: &Lab<'_>, contender: Contender) -> Result<(Vec<Reading>, Noise)> {
    lab.pinned(contender, |site, broker| {
        let bootstrap = site.bootstrap();
        let mut connection = site.connect(broker)?;
        for [topic, _] in [ACKS_ONE, ACKS_ALL] {
            probe::create(&mut connection, topic, 1)?;
        }
        lab.warm_up(&bootstrap)?;
        let produce = |[topic, acks]: [&str; 2]| {
            lab.touch_pages(lab.sizes.records)?;
            phase(broker.id(), || librdkafka::produce(&stream(lab, &bootstrap, topic), acks))
        };
        let consume =
            |[topic, _]: [&str; 2]| phase(broker.id(), || librdkafka::consume(&stream(lab, &bootstrap, topic), 0));
        let ((), one) = produce(ACKS_ONE)?;
        let ((), read) = consume(ACKS_ONE)?;
        let ((), all) = produce(ACKS_ALL)?;
        consume(ACKS_ALL)?;
        let readings = [one, all, read].into_iter().flat_map(|phase| readings(lab, phase));
        Ok((readings.collect(), one.noise.max(all.noise).max(read.noise)))
    })
}

fn readings(lab: &Lab<'_>, phase: Phase) -> [Reading; 2] {
    let gigabytes = gigabytes(lab.sizes.records);
    [phase.cpu_per_gigabyte(gigabytes).into(), (phase.gigabytes_per_second(gigabytes) * MEGABYTES).into()]
}

fn stream<'a>(lab: &Lab<'_>, bootstrap: &'a str, topic: &'a str) -> Stream<'a> {
    Stream { bootstrap, topic, partitions: 1, records: lab.sizes.records }
}

/// What the client does without a broker's work, in the order of the measures; nothing for CPU time.
pub(super) fn ceilings(lab: &Lab<'_>) -> Result<Vec<Option<f64>>> {
    with_null_broker(&lab.cores.broker, |port| {
        on_cores(&lab.cores.client, || {
            let bootstrap = format!("127.0.0.1:{port}");
            let speed = |work: &dyn Fn() -> Result<()>| {
                let ((), phase) = phase(std::process::id(), work)?;
                anyhow::Ok(Some(phase.gigabytes_per_second(gigabytes(lab.sizes.records)) * MEGABYTES))
            };
            let [one, all] = [ACKS_ONE, ACKS_ALL]
                .map(|[topic, acks]| speed(&|| librdkafka::produce(&stream(lab, &bootstrap, topic), acks)));
            let read = speed(&|| librdkafka::consume(&stream(lab, &bootstrap, ACKS_ONE[0]), 0));
            Ok(vec![None, one?, None, all?, None, read?])
        })
    })
}
