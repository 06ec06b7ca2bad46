//! CPU time and speed of a stream of records, written and read through librdkafka.

use anyhow::Result;

use super::contender::Contender;
use super::lab::{Lab, gigabytes};
use super::null_broker::with_null_broker;
use super::pairs::Reading;
use super::probe;
use super::table::Measure;
use crate::figures::librdkafka::{self, Batches, Stream};
use crate::figures::machine::{Noise, on_cores};
use crate::figures::phase::{Phase, phase};

const MEGABYTES: f64 = 1e3;

/// One way to write the stream, to its own topic.
struct Writing {
    topic: &'static str,
    acks: &'static str,
    batches: Batches,
}

/// Reads are from the first one's topic.
const WRITINGS: [Writing; 4] = [
    Writing { topic: "acks-one", acks: "1", batches: Batches::Default },
    Writing { topic: "acks-all", acks: "all", batches: Batches::Default },
    Writing { topic: "acks-one-large", acks: "1", batches: Batches::Large },
    Writing { topic: "acks-all-large", acks: "all", batches: Batches::Large },
];

pub(super) fn measures() -> Vec<Measure> {
    let cpu = |what: &str| Measure::less(format!("{what}: broker CPU per GB"), "s", 2);
    let speed = |what: &str| Measure::more(format!("{what}: speed"), "MB/s", 0);
    let written = WRITINGS.iter().flat_map(|Writing { acks, batches, .. }| {
        let (size, ratio) = match batches {
            Batches::Default => ("16 KiB", Some(3.0)),
            Batches::Large => ("1 MB", None),
        };
        let what = format!("produce, 1 KiB records in batches of {size}, acks={acks}");
        [Measure { ratio_at_least: ratio, ..cpu(&what) }, speed(&what)]
    });
    let read = "consume from page cache";
    written.chain([cpu(read), speed(read)]).collect()
}

pub(super) fn sample(lab: &Lab<'_>, contender: Contender) -> Result<(Vec<Reading>, Noise)> {
    lab.pinned(contender, |site, broker| {
        let bootstrap = site.bootstrap();
        let mut connection = site.connect(broker)?;
        for writing in &WRITINGS {
            probe::create(&mut connection, writing.topic, 1)?;
        }
        lab.warm_up(&bootstrap)?;
        let mut phases = Vec::with_capacity(WRITINGS.len() + 1);
        let mut read = None;
        for Writing { topic, acks, batches } in &WRITINGS {
            let stream = stream(lab, &bootstrap, topic);
            lab.touch_pages(lab.sizes.records)?;
            let ((), written) = phase(&[broker.id()], || librdkafka::produce(&stream, acks, *batches))?;
            phases.push(written);
            let ((), consumed) = phase(&[broker.id()], || librdkafka::consume(&stream, 0))?;
            read.get_or_insert(consumed);
        }
        phases.extend(read);
        let noise = phases.iter().map(|phase| phase.noise).reduce(Noise::max).unwrap_or_default();
        Ok((phases.into_iter().flat_map(|phase| readings(lab, phase)).collect(), noise))
    })
}

fn readings(lab: &Lab<'_>, phase: Phase) -> [Reading; 2] {
    let gigabytes = gigabytes(lab.sizes.records);
    [phase.cpu_per_gigabyte(gigabytes).into(), (phase.gigabytes_per_second(gigabytes) * MEGABYTES).into()]
}

fn stream<'a>(lab: &Lab<'_>, bootstrap: &'a str, topic: &'a str) -> Stream<'a> {
    Stream { bootstrap, topic, partitions: 1, records: lab.sizes.records }
}

/// The client's values without a broker's work, in the order of the measures; none for CPU time.
pub(super) fn ceilings(lab: &Lab<'_>) -> Result<Vec<Option<f64>>> {
    with_null_broker(&lab.cores.broker, |port| {
        on_cores(&lab.cores.client, || {
            let bootstrap = format!("127.0.0.1:{port}");
            let speed = |work: &dyn Fn() -> Result<()>| {
                let ((), phase) = phase(&[std::process::id()], work)?;
                anyhow::Ok(Some(phase.gigabytes_per_second(gigabytes(lab.sizes.records)) * MEGABYTES))
            };
            let mut ceilings = Vec::new();
            for Writing { topic, acks, batches } in &WRITINGS {
                let produce = || librdkafka::produce(&stream(lab, &bootstrap, topic), acks, *batches);
                ceilings.extend([None, speed(&produce)?]);
            }
            let read = speed(&|| librdkafka::consume(&stream(lab, &bootstrap, WRITINGS[0].topic), 0))?;
            ceilings.extend([None, read]);
            Ok(ceilings)
        })
    })
}
