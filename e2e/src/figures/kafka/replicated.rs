//! Three brokers each, three replicas, acks=all: the cost of produce, and how long clients wait when one broker is
//! killed or stops.

use anyhow::{Context as _, Result};

use super::contender::Contender;
use super::lab::{Lab, gigabytes};
use super::pairs::Reading;
use super::table::Measure;
use crate::figures::librdkafka::{self, Batches, Stream};
use crate::figures::machine::Noise;
use crate::figures::phase::phase;
use crate::figures::replicated::failover::{Client, Fault, Ground, create_topics};
use crate::fleet::{Fleet, Node, Plan};

const BROKERS: u8 = 3;
const TOPIC: &str = "replicated";
const PARTITIONS: u32 = 3;
const MEGABYTES: f64 = 1e3;

/// In the order of the measures.
const FAULTS: [(Fault, Client); 5] = [
    (Fault::KillLeader, Client::WithoutBackOff),
    (Fault::KillLeader, Client::Librdkafka),
    (Fault::KillLeaderAndController, Client::WithoutBackOff),
    (Fault::KillFollower, Client::WithoutBackOff),
    (Fault::TerminateLeader, Client::WithoutBackOff),
];

pub(super) fn measures() -> Vec<Measure> {
    let what = "produce, 1 KiB records, acks=all, three replicas";
    vec![
        Measure::less(format!("{what}: CPU of all brokers per GB"), "s", 2),
        Measure::more(format!("{what}: speed"), "MB/s", 0),
    ]
}

pub(super) fn sample(lab: &Lab<'_>, contender: Contender) -> Result<(Vec<Reading>, Noise)> {
    let mut fleet = start(lab, contender)?;
    create_topics(&mut fleet, &[TOPIC], i32::try_from(PARTITIONS)?)?;
    let bootstrap = fleet.bootstrap();
    lab.warm_up(&bootstrap)?;
    lab.touch_pages(u32::from(BROKERS) * lab.sizes.records)?;
    let stream = Stream { bootstrap: &bootstrap, topic: TOPIC, partitions: PARTITIONS, records: lab.sizes.records };
    let processes = fleet.nodes().iter().map(Node::process_id).collect::<Result<Vec<_>>>()?;
    let produced = phase(&processes, || librdkafka::produce(&stream, "all", Batches::Default));
    let ((), produced) = produced.with_context(|| fleet.last_words())?;
    librdkafka::consume(&stream, 0)?;
    let gigabytes = gigabytes(lab.sizes.records);
    let speed = produced.gigabytes_per_second(gigabytes) * MEGABYTES;
    Ok((vec![produced.cpu_per_gigabyte(gigabytes).into(), speed.into()], produced.noise))
}

pub(super) fn outages() -> Vec<Measure> {
    [
        "SIGKILL of a leader to the next acknowledgement",
        "the same through librdkafka",
        "SIGKILL of leader and controller to the next acknowledgement",
        "SIGKILL of a follower: longest gap",
        "SIGTERM of a leader: longest gap",
    ]
    .map(|what| Measure::less(what, "ms", 0))
    .to_vec()
}

pub(super) fn sample_outages(lab: &Lab<'_>, contender: Contender) -> Result<(Vec<Reading>, Noise)> {
    let mut ground = Ground::new(start(lab, contender)?);
    let (mut readings, mut noise) = (Vec::new(), Noise::default());
    for (fault, client) in FAULTS {
        let (outage, disturbance) = ground.outage(fault, client)?;
        let time = match fault {
            Fault::KillFollower | Fault::TerminateLeader => outage.longest_gap,
            _ => outage.recovered_after,
        };
        readings.push((time.as_secs_f64() * 1e3).into());
        noise = noise.max(disturbance);
    }
    Ok((readings, noise))
}

fn start(lab: &Lab<'_>, contender: Contender) -> Result<Fleet> {
    Fleet::start(Plan::new(contender.program(&lab.programs), BROKERS).with_settings(contender.settings()))
}
