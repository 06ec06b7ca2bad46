//! What one request with one small record costs, when nothing is batched.

use anyhow::Result;

use super::contender::Contender;
use super::lab::Lab;
use super::null_broker::with_null_broker;
use super::pairs::Reading;
use super::probe::topic;
use super::table::Measure;
use crate::figures::connection::Connection;
use crate::figures::load::{self, ONE_RECORD, Sent};
use crate::figures::machine::{Noise, on_cores};
use crate::figures::phase::{Phase, phase};

const WARM_UP: &str = "first-requests";
const MEASURED: &str = "requests";

pub(super) fn measures() -> Vec<Measure> {
    let what = "one-record requests, 100 B, acks=1, one connection";
    vec![
        Measure::less(format!("{what}: broker CPU per request"), "µs", 1).at_most(12.0),
        Measure::more(format!("{what}: requests per second"), "1/s", 0),
    ]
}

pub(super) fn sample(lab: &Lab<'_>, contender: Contender) -> Result<(Vec<Reading>, Noise)> {
    lab.pinned(contender, |site, broker| {
        let mut connection = site.connect(broker)?;
        lab.warm_up(&site.bootstrap())?;
        requests(&mut connection, WARM_UP, lab.sizes.warm_up_requests)?;
        let (sent, phase) = measured(&mut connection, broker.id(), lab.sizes.requests)?;
        load::consume(&mut connection, &topic(MEASURED), &sent)?;
        let requests = f64::from(lab.sizes.requests);
        let cpu = phase.cpu.as_secs_f64() * 1e6 / requests;
        Ok((vec![cpu.into(), per_second(phase, requests).into()], phase.noise))
    })
}

fn requests(connection: &mut Connection, name: &str, count: u32) -> Result<Sent> {
    connection.create_topic(&topic(name))?;
    load::produce(connection, &topic(name), ONE_RECORD, count)
}

fn measured(connection: &mut Connection, process: u32, count: u32) -> Result<(Sent, Phase)> {
    connection.create_topic(&topic(MEASURED))?;
    phase(process, || load::produce(connection, &topic(MEASURED), ONE_RECORD, count))
}

fn per_second(phase: Phase, requests: f64) -> f64 {
    requests / phase.elapsed.as_secs_f64()
}

/// In the order of the measures.
pub(super) fn ceilings(lab: &Lab<'_>) -> Result<Vec<Option<f64>>> {
    with_null_broker(&lab.cores.broker, |port| {
        on_cores(&lab.cores.client, || {
            let mut connection = Connection::open(port)?;
            let (_, phase) = measured(&mut connection, std::process::id(), lab.sizes.requests)?;
            Ok(vec![None, Some(per_second(phase, f64::from(lab.sizes.requests)))])
        })
    })
}
