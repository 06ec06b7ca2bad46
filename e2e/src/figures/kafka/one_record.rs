//! The cost of a request with one small record, without batching.

use anyhow::Result;

use super::contender::Contender;
use super::lab::Lab;
use super::null_broker::with_null_broker;
use super::pairs::Reading;
use super::table::Measure;
use crate::connection::Connection;
use crate::figures::machine::{Noise, on_cores};
use crate::figures::phase::{Phase, phase};
use crate::figures::requests::{CONNECTIONS, Clients, IN_FLIGHT};

pub(super) fn measures() -> Vec<Measure> {
    let what = format!("one-record requests, 100 B, acks=1, {CONNECTIONS} connections × {IN_FLIGHT} in flight");
    vec![
        Measure::less(format!("{what}: broker CPU per request"), "µs", 1).at_most(12.0),
        Measure::more(format!("{what}: requests per second"), "1/s", 0),
    ]
}

pub(super) fn sample(lab: &Lab<'_>, contender: Contender) -> Result<(Vec<Reading>, Noise)> {
    lab.pinned(contender, |site, broker| {
        let mut clients = Clients::open(|| site.connect(broker))?;
        lab.warm_up(&site.bootstrap())?;
        clients.produce(lab.sizes.warm_up_requests)?;
        let (requests, phase) = phase(&[broker.id()], || clients.produce(lab.sizes.requests))?;
        clients.check()?;
        let cpu = phase.cpu.as_secs_f64() * 1e6 / f64::from(requests);
        Ok((vec![cpu.into(), per_second(phase, requests).into()], phase.noise))
    })
}

/// In the order of the measures.
pub(super) fn ceilings(lab: &Lab<'_>) -> Result<Vec<Option<f64>>> {
    with_null_broker(&lab.cores.broker, |port| {
        on_cores(&lab.cores.client, || {
            let mut clients = Clients::open(|| Connection::open(([127, 0, 0, 1], port)))?;
            let (requests, phase) = phase(&[std::process::id()], || clients.produce(lab.sizes.requests))?;
            Ok(vec![None, Some(per_second(phase, requests))])
        })
    })
}

fn per_second(phase: Phase, requests: u32) -> f64 {
    f64::from(requests) / phase.elapsed.as_secs_f64()
}
