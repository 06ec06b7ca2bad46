//! Taking samples until enough were undisturbed.

use anyhow::Result;

use super::machine::Noise;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Samples<T> {
    pub(super) taken: Vec<T>,
    /// How many of them were disturbed by the host or other work, for lack of better ones.
    pub(super) disturbed: usize,
}

impl<T> Samples<T> {
    /// Takes `wanted` samples, and at most as many again in place of disturbed ones; the least disturbed of these
    /// fill up what is still missing.
    pub(super) fn collect(wanted: usize, mut sample: impl FnMut() -> Result<(T, Noise)>) -> Result<Self> {
        let (mut taken, mut disturbed) = (Vec::new(), Vec::new());
        for _ in 0..2 * wanted {
            let (value, noise) = sample()?;
            if noise.disturbs() {
                disturbed.push((noise.severity(), value));
            } else {
                taken.push(value);
            }
            if taken.len() == wanted {
                break;
            }
        }
        let missing = wanted - taken.len();
        disturbed.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        taken.extend(disturbed.into_iter().take(missing).map(|(_, value)| value));
        Ok(Self { taken, disturbed: missing })
    }

    /// For a value that is the same each time.
    pub(super) fn one(value: T) -> Self {
        Self { taken: vec![value], disturbed: 0 }
    }

    /// For what could not be measured.
    pub(super) fn none() -> Self {
        Self { taken: Vec::new(), disturbed: 0 }
    }

    pub(super) fn map<U>(&self, of: impl Fn(&T) -> U) -> Samples<U> {
        Samples { taken: self.taken.iter().map(of).collect(), disturbed: self.disturbed }
    }
}

impl Samples<f64> {
    pub(super) fn least(&self) -> f64 {
        self.taken.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub(super) fn most(&self) -> f64 {
        self.taken.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// The mean of the middle two for an even number; NaN if there are none, which meets no limit.
    pub(super) fn median(&self) -> f64 {
        let mut sorted = self.taken.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        f64::midpoint(middle(sorted.len().saturating_sub(1) / 2), middle(sorted.len() / 2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::machine::foreign_work;

    #[test]
    fn disturbed_samples_are_replaced_as_long_as_the_attempts_last() {
        for (shares, taken, disturbed) in [
            (vec![0.0, 0.01], vec![0, 1], 0),
            (vec![0.9, 0.0, 0.9, 0.0], vec![1, 3], 0),
            (vec![0.9, 0.2, 0.0, 0.9], vec![2, 1], 1),
            (vec![0.9, 0.2, 0.8, 0.3], vec![1, 3], 2),
        ] {
            let mut upcoming = shares.into_iter().map(foreign_work).enumerate();
            let samples = Samples::collect(2, || Ok(upcoming.next().unwrap())).unwrap();
            assert_eq!(samples, Samples { taken, disturbed });
            assert!(upcoming.next().is_none());
        }
    }

    #[test]
    fn the_median_is_the_middle() {
        for (taken, median) in [(vec![5.0], 5.0), (vec![9.0, 1.0, 2.0], 2.0), (vec![4.0, 1.0, 2.0, 9.0], 3.0)] {
            assert!((Samples { taken, disturbed: 0 }.median() - median).abs() < 1e-9);
        }
        assert!(Samples { taken: Vec::new(), disturbed: 0 }.median().is_nan());
    }
}
