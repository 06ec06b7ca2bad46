//! The machine of a measurement: cores to pin to, memory touched beforehand, and disturbances.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Space left free on the file system, whatever is written.
const FREE_BYTES_MIN: u64 = 4 << 30;
const BLOCK_BYTES: u32 = 1 << 20;
const STOLEN_SHARE_MAX: f64 = 0.04;
const FOREIGN_SHARE_MAX: f64 = 0.05;
/// Less than this may be rounding: every account is kept in whole ticks.
const TICKS_TOLD_APART: u32 = 3;
/// PF_KTHREAD. What the kernel writes back is the broker's work.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// One core for the broker and another for the client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cores {
    pub(super) broker: CpuSet,
    pub(super) client: CpuSet,
}

impl Cores {
    pub(super) fn choose() -> Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).map(|core| {
            let mut set = CpuSet::new();
            set.set(core);
            set
        });
        let (broker, client) = cores.next().zip(cores.next()).context("two cores are needed: one for the client")?;
        Ok(Self { broker, client })
    }
}

/// Does the work on these cores. Processes and threads that it starts stay on them.
pub(super) fn on_cores<T>(cores: &CpuSet, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = sched_getaffinity(None)?;
    sched_setaffinity(None, cores)?;
    let outcome = work();
    sched_setaffinity(None, &before)?;
    outcome
}

/// For many connections. Returns how many descriptors this process, and each that it starts, may have.
pub(super) fn raise_descriptor_limit() -> Result<u32> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .context("the limit of open files cannot be raised")?;
    Ok(limit.maximum.and_then(|maximum| u32::try_from(maximum).ok()).unwrap_or(u32::MAX))
}

/// Writes and deletes that much: on a virtual machine the first use of a page costs several times as much as later
/// ones.
pub(super) fn touch_pages(directory: &Path, bytes: u64) -> Result<()> {
    let space = rustix::fs::statvfs(directory)?;
    let free = space.f_bavail * space.f_frsize;
    ensure!(
        bytes + FREE_BYTES_MIN <= free,
        "{} has {free} bytes free; {bytes} and a reserve of {FREE_BYTES_MIN} are needed",
        directory.display()
    );
    let mut file = tempfile::tempfile_in(directory)?;
    let block = vec![1; usize::try_from(BLOCK_BYTES)?];
    for _ in 0..bytes / u64::from(BLOCK_BYTES) {
        file.write_all(&block)?;
    }
    Ok(())
}

/// CPU ticks of one process or kernel thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ProcessTicks {
    own: u64,
    /// Ticks of children that were waited for.
    children: u64,
    is_kernel_thread: bool,
}

impl ProcessTicks {
    fn of(process: &str) -> Result<Self> {
        let path = format!("/proc/{process}/stat");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        Self::parse(&text).with_context(|| format!("{path} is not as expected: {text}"))
    }

    /// The second field is the program's name, and may contain anything.
    fn parse(stat: &str) -> Option<Self> {
        let (_, rest) = stat.rsplit_once(") ")?;
        let fields: Vec<_> = rest.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Self {
            own: number(11)? + number(12)?,
            children: number(13)? + number(14)?,
            is_kernel_thread: number(6)? & KERNEL_THREAD != 0,
        })
    }
}

/// User and system time of processes so far.
pub(super) fn cpu_time(processes: &[u32]) -> Result<Duration> {
    let ticks = processes.iter().map(|process| ProcessTicks::of(&process.to_string()).map(|ticks| ticks.own));
    Ok(tick() * u32::try_from(ticks.sum::<Result<u64>>()?)?)
}

fn tick() -> Duration {
    let per_second = u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100);
    Duration::from_secs(1) / per_second
}

/// All cores' accounts at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Snapshot {
    taken: Instant,
    total_ticks: i64,
    stolen_ticks: i64,
    /// Ticks of processes other than this one, its children, and the broker.
    foreign_ticks: i64,
    /// How long any process had to wait for a core, in microseconds.
    pressure: u64,
}

impl Snapshot {
    /// `brokers`: those that are running. One that was waited for counts as a child.
    pub(super) fn take(brokers: &[u32]) -> Result<Self> {
        let cores = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        let accounts = accounts_of_all_cores(&cores).context("/proc/stat does not begin with the sum of all cores")?;
        let [user, nice, system, .., stolen] = accounts;
        let this = ProcessTicks::of("self")?;
        let ticks = brokers.iter().map(|process| ProcessTicks::of(&process.to_string()).map(|ticks| ticks.own));
        let of_brokers = ticks.sum::<Result<u64>>()?;
        let accounted = this.own + this.children + of_brokers + kernel_threads()?;
        Ok(Self {
            taken: Instant::now(),
            total_ticks: accounts.iter().sum(),
            stolen_ticks: stolen,
            foreign_ticks: user + nice + system - i64::try_from(accounted)?,
            pressure: pressure(),
        })
    }

    pub(super) fn noise_until(&self, later: &Self) -> Noise {
        let total = share_of(later.total_ticks - self.total_ticks);
        let waited = Duration::from_micros(later.pressure.saturating_sub(self.pressure));
        Noise {
            stolen: total(later.stolen_ticks - self.stolen_ticks),
            foreign: total(later.foreign_ticks - self.foreign_ticks),
            pressure: waited.as_secs_f64() / later.taken.duration_since(self.taken).as_secs_f64(),
        }
    }
}

/// Zero as long as it may be rounding.
fn share_of(total: i64) -> impl Fn(i64) -> f64 {
    let float = |ticks: i64| f64::from(i32::try_from(ticks).unwrap_or(i32::MAX));
    move |ticks| if ticks < i64::from(TICKS_TOLD_APART) { 0.0 } else { float(ticks) / float(total.max(1)) }
}

/// user, nice, system, idle, iowait, irq, softirq, steal.
fn accounts_of_all_cores(stat: &str) -> Option<[i64; 8]> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let fields = line.split_whitespace().take(8).map(str::parse).collect::<Result<Vec<i64>, _>>().ok()?;
    fields.try_into().ok()
}

fn kernel_threads() -> Result<u64> {
    let mut ticks = 0;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(process) = name.to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) else {
            continue;
        };
        // A process may end while it is being read.
        ticks += ProcessTicks::of(process).ok().filter(|found| found.is_kernel_thread).map_or(0, |found| found.own);
    }
    Ok(ticks)
}

/// Zero if the kernel does not keep that account.
fn pressure() -> u64 {
    let text = fs::read_to_string("/proc/pressure/cpu").unwrap_or_default();
    let total = text.lines().next().and_then(|some| some.rsplit_once("total=")?.1.parse().ok());
    total.unwrap_or_default()
}

/// Disturbances during a sample, as shares of the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Noise {
    pub(super) stolen: f64,
    pub(super) foreign: f64,
    pub(super) pressure: f64,
}

impl Noise {
    pub(super) fn disturbs(&self) -> bool {
        STOLEN_SHARE_MAX < self.stolen || FOREIGN_SHARE_MAX < self.foreign
    }

    /// By which the better of two disturbed samples is chosen.
    pub(super) fn severity(&self) -> f64 {
        self.stolen + self.foreign
    }

    /// The larger of each.
    #[must_use]
    pub(super) fn max(self, other: Self) -> Self {
        Self {
            stolen: self.stolen.max(other.stolen),
            foreign: self.foreign.max(other.foreign),
            pressure: self.pressure.max(other.pressure),
        }
    }
}

impl std::fmt::Display for Noise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [stolen, foreign, pressure] = [self.stolen, self.foreign, self.pressure].map(|share| share * 100.0);
        write!(f, "steal {stolen:.0} %, other work {foreign:.0} %, CPU pressure {pressure:.0} %")
    }
}

#[cfg(test)]
pub(super) const fn foreign_work(share: f64) -> Noise {
    Noise { stolen: 0.0, foreign: share, pressure: 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_be_called_anything() {
        let stat = "7 (a) b) S 2 0 0 0 -1 2129984 0 0 0 0 3 4 5 6 20 0";
        let expected = ProcessTicks { own: 7, children: 11, is_kernel_thread: true };
        assert_eq!(ProcessTicks::parse(stat), Some(expected));
        assert_eq!(ProcessTicks::parse("7 (a) S 2"), None);
    }

    #[test]
    fn a_sample_is_void_by_steal_or_foreign_work() {
        let before =
            Snapshot { taken: Instant::now(), total_ticks: 1_000, stolen_ticks: 10, foreign_ticks: -50, pressure: 0 };
        for (total_ticks, stolen_ticks, foreign_ticks, disturbs) in [
            (1_200, 10, -50, false),
            (1_200, 18, -40, false),
            (1_200, 19, -50, true),
            (1_200, 10, -39, true),
            (1_010, 12, -48, false), // two ticks are not told apart from none
            (1_010, 10, -60, false),
        ] {
            let after =
                Snapshot { taken: before.taken + tick(), total_ticks, stolen_ticks, foreign_ticks, pressure: 0 };
            assert_eq!(before.noise_until(&after).disturbs(), disturbs, "{after:?}");
        }
    }
}
