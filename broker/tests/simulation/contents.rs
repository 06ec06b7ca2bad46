//! The content of the metadata log. The simulation of the quorum identifies a record only by a value for it and all
//! before it; here are the record's content and the image after it, which are the same on every node that has it.

use std::collections::HashMap;

use protocol::metadata_records::MetadataRecord;
use raft_simulation::volume::{Volume, position};

use crate::metadata::{Image, replay};

pub(super) struct Contents {
    records: HashMap<u64, MetadataRecord>,
    images: HashMap<u64, Image>,
}

impl Contents {
    /// For a log without records.
    pub(super) fn new() -> Self {
        Self { records: HashMap::new(), images: HashMap::from([(0, Image::empty())]) }
    }

    pub(super) fn add(&mut self, chain: u64, record: MetadataRecord) {
        self.records.insert(chain, record);
    }

    /// The image after the records before `end`.
    pub(super) fn image(&mut self, volume: &Volume, end: usize) -> Image {
        let chain = |at| volume.log.chain_before(at).unwrap();
        let known = (volume.log.start..=end).rev().find(|at| self.images.contains_key(&chain(*at)));
        let known = known.expect("what a log begins with was replayed once");
        let mut image = self.images[&chain(known)].clone();
        for at in known..end {
            let entry = volume.log.get(at).unwrap();
            if let Some(record) = self.records.get(&entry.chain) {
                let replayed = replay(&mut image, record);
                assert_eq!(replayed, Ok(()), "the log is one that a controller wrote");
            }
            (image.end_offset, image.epoch) = (position(at + 1), entry.epoch);
            self.images.insert(entry.chain, image.clone());
        }
        image
    }
}
