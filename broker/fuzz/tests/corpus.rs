//! Runs every seed, and every input of the committed corpus.

use fuzz::{TARGETS, corpus};

#[test]
fn every_target_stands_its_seeds_and_its_corpus() {
    for target in &TARGETS {
        assert!(20 < (target.seeds)().len(), "{} has few seeds", target.name);
        assert!(20 < corpus::read(target).unwrap().len(), "{} has a small corpus", target.name);
        for input in corpus::with_seeds(target).unwrap() {
            (target.run)(&input);
        }
    }
}
