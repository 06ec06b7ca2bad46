//! A separate broker process for each test, on loopback and in a temporary directory.

pub(crate) mod batches;
pub(crate) mod calls;
pub(crate) mod http;
pub(crate) mod wire;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use wire::Wire;

/// Far more than anything here takes.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Retries until `attempt` returns something; fails the test at the deadline.
pub(crate) fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(begun.elapsed() < DEADLINE, "gave up waiting: {what}");
        std::thread::park_timeout(POLL_INTERVAL);
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// A data directory, ports and settings that outlive a process.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) directory: TempDir,
    pub(crate) port: u16,
    pub(crate) controller_port: u16,
    pub(crate) management_port: u16,
    settings: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Broker {
    child: Child,
    log: Arc<Mutex<String>>,
    pub(crate) port: u16,
}

pub(crate) fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_millrace-broker"))
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Site {
    /// One node with `--dev` and these settings in addition.
    pub(crate) fn new(settings: &[&str]) -> Self {
        let directory = TempDir::new().unwrap();
        let (port, controller_port, management_port) = (free_port(), free_port(), free_port());
        let mut all = vec![
            format!("log.dirs={}", directory.path().join("data").display()),
            format!("listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}"),
            format!("controller.quorum.voters=1@127.0.0.1:{controller_port}"),
            format!("millrace.management.listener=127.0.0.1:{management_port}"),
            // Records of 1970 must be kept.
            "log.initial.task.delay.ms=3600000".to_owned(),
        ];
        all.extend(settings.iter().map(ToString::to_string));
        Self { directory, port, controller_port, management_port, settings: all }
    }

    /// With these settings in addition.
    pub(crate) fn with(mut self, settings: &[&str]) -> Self {
        self.settings.extend(settings.iter().map(ToString::to_string));
        self
    }

    /// The management API's `/v1` is open to this token.
    pub(crate) fn with_token(self, token: &str) -> Self {
        let tokens = self.directory.path().join("tokens");
        fs::write(&tokens, token).unwrap();
        self.with(&[&format!("millrace.management.tokens.file={}", tokens.display())])
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub(crate) fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn arguments(&self) -> Vec<String> {
        let settings = self.settings.iter().flat_map(|setting| ["--set".to_owned(), setting.clone()]);
        std::iter::once("--dev".to_owned()).chain(settings).collect()
    }

    /// Returns when its listener accepts.
    pub(crate) fn start(&self) -> Broker {
        let mut broker = Broker::spawn(&self.arguments(), self.directory.path(), self.port);
        broker.wait_until_serving();
        broker
    }
}

impl Broker {
    pub(crate) fn spawn(arguments: &[String], directory: &Path, port: u16) -> Self {
        let mut child = command()
            .args(arguments)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (stderr, copy) = (child.stderr.take().unwrap(), log.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = copy.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        Self { child, log, port }
    }

    pub(crate) fn wait_until_serving(&mut self) {
        let port = self.port;
        eventually("the broker serves", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the broker ended with {status}:\n{}", self.log());
            }
            Wire::is_taken_up(port).then_some(())
        });
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Survives the process.
    pub(crate) fn log_of(&self) -> Arc<Mutex<String>> {
        self.log.clone()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM, and returns the exit status.
    pub(crate) fn stop(mut self) -> ExitStatus {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        self.wait()
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        eventually("the broker ends", || self.child.try_wait().unwrap())
    }

    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap().count()
    }

    /// KiB, from /proc.
    pub(crate) fn resident_kib(&self) -> u64 {
        self.status_kib("VmRSS:")
    }

    /// The most that was ever resident.
    pub(crate) fn peak_resident_kib(&self) -> u64 {
        self.status_kib("VmHWM:")
    }

    fn status_kib(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _gone = self.child.kill();
            let _reaped = self.child.wait();
        }
    }
}
