//! The broker as a process of its own: in an empty directory, on free ports of the loopback address.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::connection::{Connection, PATIENCE};
use super::machine::cpu_time;

const CONNECT_PAUSE: Duration = Duration::from_micros(200);
const SETTLE_INTERVAL: Duration = Duration::from_millis(500);
/// Of a broker that does nothing but turn its loops.
const SETTLED_CPU_MAX: Duration = Duration::from_millis(10);
const SETTLE_ATTEMPTS: usize = 20;
const LOG_LINES_SHOWN: usize = 20;

/// Ends with this value, as does its directory.
#[derive(Debug)]
pub(super) struct Broker {
    child: Child,
    directory: TempDir,
    port: u16,
    pub(super) spawned: Instant,
}

impl Broker {
    pub(super) fn spawn(program: &Path, parent: &Path) -> Result<Self> {
        let directory = tempfile::tempdir_in(parent)?;
        let [port, controller, management] = free_ports()?;
        let data = directory.path().join("data");
        let log = File::create(log_file(&directory))?;
        let mut command = Command::new(program);
        command.arg("--dev").current_dir(directory.path()).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        for setting in [
            format!("log.dirs={}", data.display()),
            format!("listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}"),
            format!("controller.quorum.voters=1@127.0.0.1:{controller}"),
            format!("millrace.management.listener=127.0.0.1:{management}"),
        ] {
            command.arg("--set").arg(setting);
        }
        let spawned = Instant::now();
        let child = command.spawn().with_context(|| format!("cannot run {}", program.display()))?;
        Ok(Self { child, directory, port, spawned })
    }

    /// Runs work with the broker, whose last words are told if it fails.
    pub(super) fn explained<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        work(self).with_context(|| self.last_words())
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Tries again at once until the broker listens.
    pub(super) fn connect(&mut self) -> Result<Connection> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Connection::open(self.port) {
                Ok(connection) => return Ok(connection),
                Err(error) if deadline <= Instant::now() => return Err(error),
                Err(_) => thread::sleep(CONNECT_PAUSE),
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the broker ended with {status}");
            }
        }
    }

    pub(super) fn cpu_time(&self) -> Result<Duration> {
        cpu_time(self.id())
    }

    /// CPU time once the broker rests: what it puts off belongs to the work that caused it.
    pub(super) fn settled_cpu_time(&self) -> Result<Duration> {
        let mut before = self.cpu_time()?;
        for _ in 0..SETTLE_ATTEMPTS {
            thread::sleep(SETTLE_INTERVAL);
            let now = self.cpu_time()?;
            if now <= before + SETTLED_CPU_MAX {
                return Ok(now);
            }
            before = now;
        }
        bail!("the broker does not come to rest");
    }

    pub(super) fn resident_bytes(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.id());
        let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
        let kibibytes: u64 = resident.with_context(|| format!("{path} has no VmRSS"))?.parse()?;
        Ok(kibibytes << 10)
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(log_file(&self.directory)).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LOG_LINES_SHOWN)..).unwrap_or_default();
        format!("the end of the broker's log:\n{}\n", last.join("\n"))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Fails only for a process that is gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn log_file(directory: &TempDir) -> PathBuf {
    directory.path().join("broker.log")
}

/// Different ones: all are taken before the first is given back.
fn free_ports() -> Result<[u16; 3]> {
    let bind = || TcpListener::bind("127.0.0.1:0");
    let listeners = [bind()?, bind()?, bind()?];
    let [first, second, third] = listeners.each_ref().map(TcpListener::local_addr);
    Ok([first?.port(), second?.port(), third?.port()])
}
