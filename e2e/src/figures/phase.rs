//! One phase of a measurement: what a broker's process used while work was done with it, and what else went on.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::machine::{Noise, Snapshot, cpu_time};

const SETTLE_INTERVAL: Duration = Duration::from_millis(500);
/// Of a broker that does nothing but turn its loops; Apache Kafka's take the most.
const SETTLED_CPU_MAX: Duration = Duration::from_millis(20);
const SETTLE_ATTEMPTS: usize = 10;

/// CPU of the broker, and time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Phase {
    pub(super) cpu: Duration,
    pub(super) elapsed: Duration,
    pub(super) noise: Noise,
}

impl Phase {
    /// A gigabyte is 10⁹ bytes.
    pub(super) fn cpu_per_gigabyte(self, gigabytes: f64) -> f64 {
        self.cpu.as_secs_f64() / gigabytes
    }

    pub(super) fn gigabytes_per_second(self, gigabytes: f64) -> f64 {
        gigabytes / self.elapsed.as_secs_f64()
    }
}

/// Does the work between two moments at which the process rests.
pub(super) fn phase<T>(process: u32, work: impl FnOnce() -> Result<T>) -> Result<(T, Phase)> {
    let quiet = settled_cpu_time(process)?;
    let before = Snapshot::take(Some(process))?;
    let began = Instant::now();
    let done = work()?;
    let elapsed = began.elapsed();
    let after = Snapshot::take(Some(process))?;
    let cpu = settled_cpu_time(process)?.saturating_sub(quiet);
    Ok((done, Phase { cpu, elapsed, noise: before.noise_until(&after) }))
}

/// CPU time once the process rests: what it puts off belongs to the work that caused it. One that never rests is not
/// waited for.
fn settled_cpu_time(process: u32) -> Result<Duration> {
    let mut before = cpu_time(process)?;
    for _ in 0..SETTLE_ATTEMPTS {
        thread::sleep(SETTLE_INTERVAL);
        let now = cpu_time(process)?;
        if now <= before + SETTLED_CPU_MAX {
            return Ok(now);
        }
        before = now;
    }
    Ok(before)
}

pub(super) fn resident_mebibytes(process: u32) -> Result<f64> {
    let path = format!("/proc/{process}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
    let kibibytes: u32 = resident.with_context(|| format!("{path} has no VmRSS"))?.parse()?;
    Ok(f64::from(kibibytes) / 1024.0)
}
