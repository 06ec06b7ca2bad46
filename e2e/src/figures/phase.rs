//! One phase of a measurement: CPU time of the brokers' processes during some work, and disturbances.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::machine::{Noise, Snapshot, cpu_time};

const SETTLE_INTERVAL: Duration = Duration::from_millis(500);
/// CPU time of an idle broker; Apache Kafka uses the most.
const SETTLED_CPU_MAX: Duration = Duration::from_millis(20);
const SETTLE_ATTEMPTS: usize = 10;

/// CPU of the brokers, and time.
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

/// Does the work between two moments at which the processes rest.
pub(super) fn phase<T>(processes: &[u32], work: impl FnOnce() -> Result<T>) -> Result<(T, Phase)> {
    let quiet = settled_cpu_time(processes)?;
    let before = Snapshot::take(processes)?;
    let began = Instant::now();
    let done = work()?;
    let elapsed = began.elapsed();
    let after = Snapshot::take(processes)?;
    let cpu = settled_cpu_time(processes)?.saturating_sub(quiet);
    Ok((done, Phase { cpu, elapsed, noise: before.noise_until(&after) }))
}

/// CPU time once the processes are idle: deferred work belongs to what caused it. Processes that never become idle
/// are not waited for.
fn settled_cpu_time(processes: &[u32]) -> Result<Duration> {
    let settled_cpu_max = SETTLED_CPU_MAX * u32::try_from(processes.len())?;
    let mut before = cpu_time(processes)?;
    for _ in 0..SETTLE_ATTEMPTS {
        thread::sleep(SETTLE_INTERVAL);
        let now = cpu_time(processes)?;
        if now <= before + settled_cpu_max {
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
