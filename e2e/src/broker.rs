//! One broker as a separate process, on free ports of the loopback address: for tests, figures and soak.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::command;

/// For a start or a stop; far more than either takes.
const PATIENCE: Duration = Duration::from_mins(1);
const CONNECT_PAUSE: Duration = Duration::from_micros(200);
const LOG_LINES_SHOWN: usize = 20;

/// A program, a directory, ports and settings, which outlive the processes that use them.
#[derive(Debug)]
pub struct Site {
    program: PathBuf,
    directory: TempDir,
    port: u16,
    management_port: u16,
    settings: Vec<String>,
}

/// The process ends when this is dropped.
#[derive(Debug)]
pub struct Broker {
    child: Child,
    log: PathBuf,
    pub spawned: Instant,
}

impl Site {
    /// One node with `--dev` and these settings in addition, in an empty directory below `parent`.
    pub fn new(program: &Path, parent: &Path, settings: &[&str]) -> Result<Self> {
        let directory = tempfile::tempdir_in(parent).with_context(|| format!("cannot use {}", parent.display()))?;
        let [port, controller, management] = free_ports()?;
        let mut all = vec![
            format!("log.dirs={}", directory.path().join("data").display()),
            format!("listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}"),
            format!("advertised.listeners=PLAINTEXT://127.0.0.1:{port}"),
            format!("controller.quorum.voters=1@127.0.0.1:{controller}"),
            format!("millrace.management.listener=127.0.0.1:{management}"),
        ];
        all.extend(settings.iter().map(ToString::to_string));
        Ok(Self { program: program.to_owned(), directory, port, management_port: management, settings: all })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    pub(crate) fn management(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.management_port).into()
    }

    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A path in the data directory.
    pub fn data(&self, name: &str) -> PathBuf {
        self.directory.path().join("data").join(name)
    }

    /// Runs the program. Its output is appended to that of earlier processes.
    pub fn spawn(&self) -> Result<Broker> {
        let mut command = Command::new(&self.program);
        command.arg("--dev").args(self.settings.iter().flat_map(|setting| ["--set", setting]));
        command.current_dir(self.directory.path());
        Broker::spawn(command, self.directory.path().join("broker.log"))
    }

    /// Runs the program until it listens.
    pub fn start(&self) -> Result<Broker> {
        let mut broker = self.spawn()?;
        broker.reach(|| Ok(TcpStream::connect(("127.0.0.1", self.port))?))?;
        Ok(broker)
    }
}

impl Broker {
    /// Runs any broker, Millrace or not.
    pub(crate) fn spawn(mut command: Command, log: PathBuf) -> Result<Self> {
        let output = File::options().create(true).append(true).open(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let spawned = Instant::now();
        let child = command.spawn().with_context(|| format!("cannot run {}", command.get_program().display()))?;
        Ok(Self { child, log, spawned })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Retries without a pause until the broker accepts.
    pub fn reach<T>(&mut self, attempt: impl FnMut() -> Result<T>) -> Result<T> {
        self.reach_within(PATIENCE, attempt)
    }

    pub(crate) fn reach_within<T>(&mut self, patience: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
        let deadline = Instant::now() + patience;
        loop {
            match attempt() {
                Ok(reached) => return Ok(reached),
                Err(error) if deadline <= Instant::now() => return Err(error).with_context(|| self.last_words()),
                Err(_) => thread::sleep(CONNECT_PAUSE),
            }
            self.check()?;
        }
    }

    /// SIGTERM; the exit must be successful.
    pub fn stop(mut self) -> Result<()> {
        self.end_well()
    }

    pub(crate) fn end_well(&mut self) -> Result<()> {
        let status = self.terminate(PATIENCE)?;
        ensure!(status.success(), "the broker ended with {status}; {}", self.last_words());
        Ok(())
    }

    /// SIGTERM, and the exit status: a JVM that heeds the signal does not exit successfully.
    pub(crate) fn terminate(&mut self, patience: Duration) -> Result<ExitStatus> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        command::wait_for("the broker ends", patience, || Ok(self.child.try_wait()?))
    }

    /// SIGKILL. Fails if the broker had ended by itself.
    pub fn kill(mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the broker ended with {status} before it was killed; {}", self.last_words());
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGSTOP.
    pub(crate) fn pause(&self) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::STOP)?)
    }

    /// SIGCONT.
    pub(crate) fn resume(&self) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::CONT)?)
    }

    /// Fails if the broker has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the broker ended with {status}; {}", self.last_words()),
        }
    }

    pub fn last_words(&self) -> String {
        end_of(&self.log)
    }
}

pub(crate) fn end_of(log: &Path) -> String {
    let log = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = log.lines().collect();
    let last = lines.get(lines.len().saturating_sub(LOG_LINES_SHOWN)..).unwrap_or_default();
    format!("the end of the broker's log:\n{}\n", last.join("\n"))
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Fails only if the process has already ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Different ones: all are taken before the first is released.
pub(crate) fn free_ports() -> Result<[u16; 3]> {
    let bind = || TcpListener::bind("127.0.0.1:0");
    let listeners = [bind()?, bind()?, bind()?];
    let [first, second, third] = listeners.each_ref().map(TcpListener::local_addr);
    Ok([first?.port(), second?.port(), third?.port()])
}
