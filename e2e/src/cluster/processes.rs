//! The processes of a cluster outlive the command that started them. Each is recorded in a file by pid and
//! start time, so that whoever takes the cluster down later never signals a process that got a recycled pid.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// How long a killed process may take to be gone. A node's init waits for everything inside the node.
const DEATH_SECONDS_MAX: i64 = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessRecord {
    pub pid: i32,
    /// In clock ticks since the machine's boot.
    started_ticks: u64,
}

impl ProcessRecord {
    pub(super) fn of(pid: i32) -> io::Result<Self> {
        Ok(Self { pid, started_ticks: start_time(pid)? })
    }

    pub(super) fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string(self)?;
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }

    /// The recorded process, or nothing if there is no such record.
    pub(super) fn read(file: &Path) -> Result<Option<Self>> {
        match fs::read(file) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            text => Ok(Some(
                serde_json::from_slice(&text?)
                    .with_context(|| format!("{} is not a process record", file.display()))?,
            )),
        }
    }

    pub(super) fn is_alive(&self) -> bool {
        start_time(self.pid).is_ok_and(|ticks| ticks == self.started_ticks)
    }

    /// Kills the process and waits until it is gone. Nothing happens if it is gone already.
    pub(super) fn kill(&self) -> Result<()> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(()) };
        // The descriptor pins the process before its start time is compared.
        let descriptor = match pidfd_open(pid, PidfdFlags::empty()) {
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            descriptor => descriptor.context("cannot open a process descriptor")?,
        };
        if !self.is_alive() {
            return Ok(());
        }
        match pidfd_send_signal(&descriptor, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot kill process {}", self.pid)),
        }
        let timeout = Timespec { tv_sec: DEATH_SECONDS_MAX, tv_nsec: 0 };
        if poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&timeout))? == 0 {
            bail!("process {} was killed but is not gone after {DEATH_SECONDS_MAX} s", self.pid);
        }
        Ok(())
    }
}

/// Field 22 of `/proc/PID/stat`, counted after the name, which may hold spaces and parentheses. A zombie
/// has one as well; it counts as gone.
fn start_time(pid: i32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<_> = after_name.split_whitespace().collect();
    match (fields.first(), fields.get(19).and_then(|ticks| ticks.parse().ok())) {
        (Some(state), Some(ticks)) if *state != "Z" => Ok(ticks),
        _ => Err(ErrorKind::NotFound.into()),
    }
}

/// Detaches a command from the terminal, with its output in `log`.
pub(super) fn detach<'a>(command: &'a mut Command, log: &Path) -> Result<&'a mut Command> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("cannot open {}", log.display()))?;
    Ok(command.current_dir("/").stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0))
}

/// Starts a command and records it. The record stands before anything depends on the process.
pub(super) fn start(command: &mut Command, record: &Path) -> Result<Child> {
    let child = command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let pid = i32::try_from(child.id()).context("a pid beyond 31 bits")?;
    ProcessRecord::of(pid)
        .with_context(|| format!("{} ended at once", command.get_program().display()))?
        .write(record)?;
    Ok(child)
}

/// Every recorded process in a directory, by file.
pub(super) fn recorded(directory: &Path) -> Result<Vec<(PathBuf, ProcessRecord)>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let file = entry?.path();
        if let Some(record) = ProcessRecord::read(&file)? {
            found.push((file, record));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recycled_pid_is_not_killed() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let truth = ProcessRecord::of(i32::try_from(child.id()).unwrap()).unwrap();
        let stale = ProcessRecord { started_ticks: truth.started_ticks - 1, ..truth };

        stale.kill().unwrap();
        assert!(truth.is_alive() && !stale.is_alive());

        truth.kill().unwrap();
        assert!(!truth.is_alive());
        truth.kill().unwrap();
        child.wait().unwrap();
    }
}
