//! `nonmonotonic-poll` and `poll-skip`: a consumer gets the records one after the other, each once.

use super::super::history::History;

pub(in super::super) fn check(history: &History) -> Result<(), String> {
    for poll in &history.polls {
        let mut expected = poll.from;
        for (offset, _) in &poll.records {
            if *offset != expected {
                return Err(format!("client {} got {offset} of {:?} instead of {expected}", poll.client, poll.key));
            }
            expected = expected.advance(1);
        }
    }
    Ok(())
}
