//! How callers get their answers.

use protocol::coordinator_records::CoordinatorRecord;
use tokio::sync::oneshot;

use super::error::{GroupError, Unavailable};

pub(crate) type Reply<T> = oneshot::Sender<Result<T, GroupError>>;

/// Records to write, and what to answer once they are committed.
pub(super) type Decision<T> = Result<(Vec<CoordinatorRecord>, T), GroupError>;

/// An answer that waits for the log, and is told whether the records were committed.
pub(super) type Answer = Box<dyn FnOnce(Result<(), Unavailable>) + Send>;

/// The result of one event. The answers rely on the records, and on what was written to the group before.
#[derive(Default)]
pub(super) struct Turn {
    pub(super) records: Vec<CoordinatorRecord>,
    pub(super) answers: Vec<Answer>,
}

impl Turn {
    pub(super) fn answer<T: Send + 'static>(&mut self, reply: Reply<T>, value: T) {
        self.answers.push(Box::new(move |committed| tell(reply, committed.map(|()| value).map_err(GroupError::from))));
    }
}

/// Sends an answer that needs no commit at once. The caller may be gone.
pub(super) fn tell<T>(reply: Reply<T>, result: Result<T, GroupError>) {
    let _gone = reply.send(result);
}
