//! `nonmonotonic-poll` and `poll-skip`: a consumer reads the records in order, each once. From a compacted log it
//! reads those that are left.

use super::super::history::History;
use super::super::topics;

pub(in super::super) fn check(history: &History) -> Result<(), String> {
    for poll in &history.polls {
        let mut expected = poll.from;
        for (offset, _) in &poll.records {
            let is_next = *offset == expected || topics::is_compacted(poll.key) && expected < *offset;
            if !is_next {
                return Err(format!("client {} got {offset} of {:?} instead of {expected}", poll.client, poll.key));
            }
            expected = offset.advance(1);
        }
    }
    Ok(())
}
