//! Limits of open connections and logs: by the descriptor limit, which is raised as far as possible, and by memory.
//! Half of the descriptors are for connections, a quarter for logs that are kept open, and a quarter for logs with
//! unsynced records and whatever else is open briefly.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

const CONNECTIONS_SHARE: usize = 2;
const LOGS_SHARE: usize = 4;
/// Share of the memory limit for connections, and the size of an idle one: half here, half in the kernel.
const CONNECTIONS_MEMORY_SHARE: usize = 4;
const CONNECTION_BYTES: usize = 16 * 1024;
/// Share of the memory limit for open logs, and the size of one, nearly all of it in the kernel.
const LOGS_MEMORY_SHARE: usize = 64;
const LOG_BYTES: usize = 2 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OpenLimits {
    pub(super) connections_max: usize,
    /// Besides those with unsynced records.
    pub(super) logs_max: usize,
}

impl OpenLimits {
    /// Raises the limits of this process.
    pub(super) fn raise(memory_bytes: usize) -> Self {
        let descriptors = raise_descriptors();
        let limits = Self::of(descriptors, memory_bytes);
        info!(
            descriptors,
            connections = limits.connections_max,
            logs = limits.logs_max,
            "set limits of open files and connections"
        );
        limits
    }

    fn of(descriptors: usize, memory_bytes: usize) -> Self {
        let connections_by_memory = memory_bytes / CONNECTIONS_MEMORY_SHARE / CONNECTION_BYTES;
        let logs_by_memory = memory_bytes / LOGS_MEMORY_SHARE / LOG_BYTES;
        Self {
            connections_max: (descriptors / CONNECTIONS_SHARE).min(connections_by_memory).max(1),
            logs_max: (descriptors / LOGS_SHARE).min(logs_by_memory).max(1),
        }
    }
}

/// Service managers set a low soft limit for the sake of programs that cannot cope with more; it may be raised to the
/// hard limit.
fn raise_descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    if let Err(error) = raised {
        warn!(%error, limit = ?limit.current, "limit of open files not raised");
    }
    let descriptors = getrlimit(Resource::Nofile).current;
    descriptors.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_and_memory_are_shared_out() {
        let gibibyte = 1 << 30;
        let table = [
            ((1_024, gibibyte), (512, 256)),
            ((524_288, gibibyte), (16_384, 8_192)),
            ((524_288, gibibyte / 4), (4_096, 2_048)),
            ((usize::MAX, 64 * gibibyte), (1 << 20, 1 << 19)),
            ((3, gibibyte), (1, 1)),
            ((1_024, 0), (1, 1)),
        ];
        for ((descriptors, memory_bytes), (connections_max, logs_max)) in table {
            let expected = OpenLimits { connections_max, logs_max };
            assert_eq!(OpenLimits::of(descriptors, memory_bytes), expected, "{descriptors} and {memory_bytes} bytes");
        }
    }
}
