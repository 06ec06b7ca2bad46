//! The rack, when it is read from a file that something else writes: in Kubernetes the zone is known only once the
//! pod is on its node, which may be a moment after this process has started.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// The writer of the file may itself be restarting. A broker without a rack still serves.
const AWAITED_MAX: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The first line of the file, once it is complete. `None`: it is empty, or did not appear in time.
pub(super) fn awaited(file: &Path) -> Option<String> {
    let deadline = Instant::now() + AWAITED_MAX;
    loop {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if let Some(line) = whole_line(&text) {
            return Some(line.to_owned()).filter(|line| !line.is_empty());
        }
        if deadline <= Instant::now() {
            tracing::warn!("{} has no whole line after {} s: no rack", file.display(), AWAITED_MAX.as_secs());
            return None;
        }
        thread::sleep(LOOK_AGAIN);
    }
}

fn whole_line(text: &str) -> Option<&str> {
    text.split_once('\n').map(|(line, _)| line.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_counts_from_its_end_on() {
        for (text, expected) in
            [("", None), ("zone", None), ("zone-a\n", Some("zone-a")), ("\n", Some("")), (" a \nb\n", Some("a"))]
        {
            assert_eq!(whole_line(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_file_may_come_later() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("zone");
        let later = file.clone();
        let writer = thread::spawn(move || std::fs::write(later, "zone-a\n").unwrap());
        assert_eq!(awaited(&file).as_deref(), Some("zone-a"));
        writer.join().unwrap();
        std::fs::write(&file, "\n").unwrap();
        assert_eq!(awaited(&file), None);
    }
}
