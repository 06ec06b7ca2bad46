//! Steps of a long run, announced with their expected time and reported with the time they took.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tracing::info;

/// The interval at which a long step reports that it is still running.
pub const REMINDER_EVERY: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct Progress {
    started: Instant,
}

impl Progress {
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// Runs one step. A failure has the step's name as context.
    pub fn step<T>(&self, what: impl Display, expected: Duration, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.note(format_args!("{what} (about {})", spoken(expected)));
        let began = Instant::now();
        let outcome = work().with_context(|| format!("failed to {what}"))?;
        self.note(format_args!("  done in {}", spoken(began.elapsed())));
        Ok(outcome)
    }

    /// One line with the time since the run began.
    pub fn note(&self, text: impl Display) {
        let elapsed = self.started.elapsed().as_secs();
        info!("[{:>2}:{:02}] {text}", elapsed / 60, elapsed % 60);
    }
}

/// `3.2 s`, `45 s`, `9 min`.
pub fn spoken(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 9.95 {
        format!("{seconds:.1} s")
    } else if seconds < 119.5 {
        format!("{seconds:.0} s")
    } else {
        format!("{:.0} min", seconds / 60.0)
    }
}

/// Progress lines go to standard error; standard output is for what a command prints.
pub fn show_progress() {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .without_time()
        .with_level(false)
        .with_target(false)
        .with_env_filter("info,librdkafka=off,rdkafka=off")
        .init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_spoken_with_the_precision_that_matters() {
        for (ms, expected) in [(0, "0.0 s"), (3_240, "3.2 s"), (9_960, "10 s"), (118_000, "118 s"), (540_000, "9 min")]
        {
            assert_eq!(spoken(Duration::from_millis(ms)), expected);
        }
    }
}
