//! The processes of a cluster outlive the command that started them. Each is recorded in a file by pid and start
//! time, so that a later `down`, perhaps after a reboot, never signals a process with a recycled pid.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::layout::write_whole;

/// How long a killed process may take to be gone. A node's init waits for everything inside the node.
const DEATH_SECONDS_MAX: i64 = 20;

/// Identifies one boot of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Boot(String);

impl Boot {
    pub(super) fn current() -> io::Result<Self> {
        Ok(Self(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned()))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessRecord {
    pub pid: i32,
    boot: Boot,
    /// In clock ticks since the boot.
    started_ticks: u64,
}

impl ProcessRecord {
    pub(crate) fn of(pid: i32) -> io::Result<Self> {
        Ok(Self { pid, boot: Boot::current()?, started_ticks: start_time(pid)? })
    }

    /// The record appears complete or not at all.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        write_whole(file, &serde_json::to_string(self)?)
    }

    /// The recorded process; none if there is no record, or it is invalid.
    pub(super) fn read(file: &Path) -> Result<Option<Self>> {
        match fs::read(file) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            text => Ok(serde_json::from_slice(&text?).ok()),
        }
    }

    pub(super) fn is_alive(&self) -> bool {
        Self::of(self.pid).is_ok_and(|now| now == *self)
    }

    /// Kills the process and waits until it is gone. Does nothing if it is gone already.
    pub(crate) fn kill(&self) -> Result<()> {
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

/// Starts a command and records it. The record is written before anything depends on the process, which is killed if
/// that fails.
pub(super) fn start(command: &mut Command, record: &Path) -> Result<Child> {
    let mut child = command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let pid = i32::try_from(child.id()).context("a pid beyond 31 bits")?;
    let recorded = ProcessRecord::of(pid)
        .with_context(|| format!("{} ended at once", command.get_program().display()))
        .and_then(|process| process.write(record));
    if recorded.is_err() {
        child.kill()?;
        child.wait()?;
    }
    recorded.map(|()| child)
}

/// Every recorded process in a directory, by file; none for a file that is not a record.
pub(crate) fn recorded(directory: &Path) -> Result<Vec<(PathBuf, Option<ProcessRecord>)>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let file = entry?.path();
        let record = ProcessRecord::read(&file)?;
        found.push((file, record));
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
        let stale = ProcessRecord { started_ticks: truth.started_ticks - 1, ..truth.clone() };
        let of_another_boot =
            ProcessRecord { boot: Boot("another".to_owned()), pid: truth.pid, started_ticks: truth.started_ticks };

        for other in [stale, of_another_boot] {
            other.kill().unwrap();
            assert!(truth.is_alive() && !other.is_alive());
        }

        truth.kill().unwrap();
        assert!(!truth.is_alive());
        truth.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_process_without_a_record_does_not_go_on() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("record");
        fs::create_dir(&file).unwrap();
        let pid = directory.path().join("pid");
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("echo $$ > {}; exec sleep 60", pid.display()));
        start(&mut shell, &file).unwrap_err();
        let pid = fs::read_to_string(&pid).ok().and_then(|pid| pid.trim().parse().ok());
        assert!(pid.is_none_or(|pid| ProcessRecord::of(pid).is_err()));
    }

    #[test]
    fn a_torn_record_is_of_no_process() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("etcd"), "{\"pid\":1").unwrap();
        let [(_, record)] = &recorded(directory.path()).unwrap()[..] else { panic!("one file") };
        assert_eq!(*record, None);
    }
}
