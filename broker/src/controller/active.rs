//! What the active controller has decided but the quorum has not committed yet. Dropped on resignation: the next
//! leader knows what became of it.

use std::collections::VecDeque;

use protocol::metadata_records::control::ControlRecord;
use protocol::types::{LeaderEpoch, Offset, Timestamp};

use super::batches::replay_control;
use super::command::Awaits;
use super::group::{Answer, Batch, Group, Pending};
use super::handle::ControllerError;
use super::replayer::{Delta, Replayer};
use crate::metadata::Image;

/// Most batches that wait to be committed; further commands wait.
const BATCHES_WAITING_MAX: usize = 1024;

pub(super) struct Active {
    pub(super) epoch: LeaderEpoch,
    /// The image once everything decided is committed.
    image: Image,
    written: VecDeque<Written>,
    committing: Answers,
    publishing: Answers,
}

/// Pending answers in order, each with the end offset of the batches that it relies on.
#[derive(Default)]
struct Answers(VecDeque<(Offset, Answer)>);

/// A batch in the log that is not committed yet.
struct Written {
    /// The image after this batch.
    image: Image,
    delta: Delta,
    bytes: u64,
    timestamp: Timestamp,
}

impl Active {
    /// `image`: everything in the log, all of it committed.
    pub(super) fn new(epoch: LeaderEpoch, image: Image) -> Self {
        let image = Image { epoch, ..image };
        let (committing, publishing) = (Answers::default(), Answers::default());
        Self { epoch, image, written: VecDeque::new(), committing, publishing }
    }

    pub(super) fn image(&self) -> &Image {
        &self.image
    }

    pub(super) fn has_room(&self) -> bool {
        self.written.len() < BATCHES_WAITING_MAX
    }

    /// Takes over a group that was appended to the log.
    pub(super) fn appended(&mut self, group: Group) {
        let Group { image, batches, answers, .. } = group;
        let first = self.image.end_offset;
        let ends: Vec<_> = batches.iter().map(|batch| batch.image.end_offset).collect();
        for Batch { records, image, delta } in batches {
            let bytes = u64::try_from(records.bytes.len()).unwrap_or(u64::MAX);
            self.written.push_back(Written { image, delta, bytes, timestamp: records.header.max_timestamp });
        }
        for Pending { relies_on, awaits, answer } in answers {
            let end = relies_on.checked_sub(1).and_then(|last| ends.get(last)).copied().unwrap_or(first);
            self.waiting_for(awaits).0.push_back((end, answer));
        }
        self.image = image;
    }

    /// Takes over records that the quorum itself has appended.
    pub(super) fn control_appended(&mut self, records: &[ControlRecord], end_offset: Offset, timestamp: Timestamp) {
        for record in records {
            replay_control(&mut self.image, record);
        }
        self.image.end_offset = end_offset;
        let (image, delta) = (self.image.clone(), Delta::default());
        self.written.push_back(Written { image, delta, bytes: 0, timestamp });
    }

    pub(super) fn committed(&mut self, end_offset: Offset, replayer: &mut Replayer) {
        while let Some(first) = self.written.pop_front_if(|first| first.image.end_offset <= end_offset) {
            let Written { image, delta, bytes, timestamp } = first;
            replayer.take_over(image, delta, bytes, timestamp);
        }
    }

    /// Sends the answers that rely on nothing beyond `end_offset`, up to which all is committed, or published.
    pub(super) fn answer(&mut self, awaits: Awaits, end_offset: Offset) {
        let Answers(waiting) = self.waiting_for(awaits);
        while let Some((_, answer)) = waiting.pop_front_if(|(relies_on, _)| *relies_on <= end_offset) {
            answer(Ok(()));
        }
    }

    /// Answers with an error because it is unknown when the records will be committed. They stay in the log and may
    /// still be.
    pub(super) fn give_up_waiting(&mut self, error: &ControllerError) {
        let waiting = self.committing.0.drain(..).chain(self.publishing.0.drain(..));
        waiting.for_each(|(_, answer)| answer(Err(error.clone())));
    }

    fn waiting_for(&mut self, awaits: Awaits) -> &mut Answers {
        match awaits {
            Awaits::Commit => &mut self.committing,
            Awaits::Publication => &mut self.publishing,
        }
    }
}
