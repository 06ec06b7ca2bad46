//! Statistics of interleaved rounds: in each, every contender was measured once, one right after the other.

use crate::figures::samples::Samples;

/// One value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Reading {
    pub(super) value: f64,
    /// The wait was given up at this value: the true one is larger.
    pub(super) given_up: bool,
}

impl From<f64> for Reading {
    fn from(value: f64) -> Self {
        Self { value, given_up: false }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Better {
    Less,
    More,
}

/// For each round one value of each contender, Millrace's first.
pub(super) type Rounds = Samples<Vec<Reading>>;

/// The values of one contender in all rounds.
pub(super) fn values(rounds: &Rounds, contender: usize) -> Samples<f64> {
    rounds.map(|round| round.get(contender).map_or(f64::NAN, |reading| reading.value))
}

/// How many times better Millrace is than a rival, in each round.
pub(super) fn ratios(rounds: &Rounds, rival: usize, better: Better) -> Samples<f64> {
    let [ours, theirs] = [values(rounds, 0), values(rounds, rival)];
    let ratios = ours.taken.iter().zip(&theirs.taken).map(|(ours, theirs)| match better {
        Better::Less => theirs / ours,
        Better::More => ours / theirs,
    });
    Samples { taken: ratios.collect(), disturbed: rounds.disturbed }
}

pub(super) fn any_given_up(rounds: &Rounds, contender: usize) -> bool {
    rounds.taken.iter().any(|round| round.get(contender).is_some_and(|reading| reading.given_up))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(values: &[[f64; 2]]) -> Rounds {
        Samples { taken: values.iter().map(|round| round.map(Reading::from).to_vec()).collect(), disturbed: 0 }
    }

    #[test]
    fn the_median_is_of_the_ratios_of_pairs() {
        // The ratio of the medians would be 4 / 2.
        let measured = rounds(&[[1.0, 4.0], [2.0, 3.0], [4.0, 40.0]]);
        for (better, expected) in [(Better::Less, [1.5, 4.0, 10.0]), (Better::More, [0.1, 0.25, 2.0 / 3.0])] {
            let ratios = ratios(&measured, 1, better);
            let found = [ratios.least(), ratios.median(), ratios.most()];
            assert!(found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-9), "{found:?}");
        }
    }

    #[test]
    fn one_wait_that_was_given_up_marks_its_contender() {
        let mut measured = rounds(&[[1.0, 4.0], [2.0, 3.0]]);
        measured.taken[1][1].given_up = true;
        assert!(any_given_up(&measured, 1));
        assert!(!any_given_up(&measured, 0));
    }
}
