//! The first commands in README.md, run literally.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod packages;

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use e2e::command::wait_for;
use e2e::host::{CLIENT_TOOLS, install};
use e2e::progress::Progress;
use rustix::process::{Pid, Signal, kill_process};

const LISTENER: &str = "127.0.0.1:9092";
/// For a release build on two cores, with a margin.
const BUILD_AT_MOST: Duration = Duration::from_mins(30);
const STOP_AT_MOST: Duration = Duration::from_mins(1);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// The commands of the first section: the lines that are indented by four.
fn commands() -> Vec<String> {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let section = readme.split("\n## ").nth(1).unwrap();
    section.lines().filter_map(|line| line.strip_prefix("    ")).map(str::to_owned).collect()
}

fn shell(command: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).current_dir(root()).stdin(Stdio::null());
    shell
}

/// Removes what the broker left.
struct Data(PathBuf);

impl Data {
    /// Only if it is absent: the test would use existing data.
    fn absent() -> Self {
        let directory = root().join("millrace-data");
        assert!(!directory.exists(), "{} exists already: move it away for this test", directory.display());
        Self(directory)
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        if self.0.exists() {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }
}

struct Broker(Child);

impl Drop for Broker {
    fn drop(&mut self) {
        if self.0.try_wait().is_ok_and(|status| status.is_none()) {
            let _gone = self.0.kill();
            let _reaped = self.0.wait();
        }
    }
}

fn the_first_commands_do_what_the_readme_says() {
    assert!(TcpStream::connect(LISTENER).is_err(), "something listens on {LISTENER} already: stop it for this test");
    let _data = Data::absent();
    install(CLIENT_TOOLS, &Progress::start()).unwrap();
    let commands = commands();
    assert_eq!(commands[0], "cargo run --release -p broker -- --dev");
    // `exec`, so that the signal reaches cargo, which the broker replaces.
    let mut broker = Broker(shell(&format!("exec {}", commands[0])).spawn().unwrap());
    wait_for("the broker listens", BUILD_AT_MOST, || {
        assert!(broker.0.try_wait().unwrap().is_none(), "the first command has ended");
        Ok(TcpStream::connect(LISTENER).ok())
    })
    .unwrap();
    let produced = shell(&commands[1]).status().unwrap();
    assert!(produced.success(), "{}", commands[1]);
    let consumed = shell(&commands[2]).output().unwrap();
    assert!(String::from_utf8_lossy(&consumed.stdout).lines().any(|line| line == "hello"), "{consumed:?}");
    kill_process(Pid::from_child(&broker.0), Signal::INT).unwrap();
    let ended = wait_for("the broker stops", STOP_AT_MOST, || Ok(broker.0.try_wait().unwrap())).unwrap();
    assert!(ended.success(), "Ctrl-C is a clean stop: {ended}");
}

fn main() -> ExitCode {
    let tests: [(_, fn()); 1] =
        [("the_first_commands_do_what_the_readme_says", the_first_commands_do_what_the_readme_says)];
    packages::run(CLIENT_TOOLS, &tests)
}
