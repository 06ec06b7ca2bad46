//! Compressed batches that must be decompressed: for the keys of a compacted topic, for a limit on timestamps, for a
//! topic with its own codec, and to find a record by time. A few kilobytes may decompress to any size, so:
//!
//! 1. Up to [`OPENED_BYTES_MAX`] a batch is decompressed at once, on the thread that handles the request, and up to
//!    [`RECOMPRESSED_BYTES_MAX`] it is recompressed there, which takes longer.
//! 2. A larger one waits for its turn, in the order of arrival. Each turn may use [`LARGE_BYTES_MAX`]; there are
//!    [`TURNS`] in the whole process.
//! 3. A batch that exceeds this is refused.

use std::sync::Arc;

use tokio::sync::Semaphore;

pub(super) const OPENED_BYTES_MAX: usize = 4 << 20;
pub(super) const RECOMPRESSED_BYTES_MAX: usize = 64 << 10;
pub(super) const LARGE_BYTES_MAX: usize = 128 << 20;
const TURNS: usize = 2;

#[derive(Debug)]
pub(crate) struct LargeBatches {
    turns: Arc<Semaphore>,
}

impl LargeBatches {
    pub(crate) fn new() -> Self {
        Self { turns: Arc::new(Semaphore::new(TURNS)) }
    }

    /// Runs `work` on a blocking thread when its turn has come. `None`: it panicked.
    pub(super) async fn open<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let turn = self.turns.clone().acquire_owned().await.ok()?;
        // The turn ends with the work, even if the client no longer waits for it.
        let task = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        task.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn no_more_than_the_turns_are_taken_at_a_time_even_by_those_who_left() {
        let batches = Arc::new(LargeBatches::new());
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let tasks: Vec<_> = (0..20)
            .map(|number| {
                let (batches, running, most) = (batches.clone(), running.clone(), most.clone());
                let task = tokio::spawn(async move {
                    let work = move || {
                        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        running.fetch_sub(1, Ordering::SeqCst);
                    };
                    batches.open(work).await
                });
                if number % 3 == 0 {
                    task.abort();
                }
                task
            })
            .collect();
        for task in tasks {
            assert!(task.await.map_or_else(|error| error.is_cancelled(), |done| done.is_some()));
        }
        assert!(most.load(Ordering::SeqCst) <= TURNS);
    }
}
