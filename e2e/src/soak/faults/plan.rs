//! Chooses the next fault and its victim. Pure: the same choices for the same seed.

use std::time::Duration;

use crate::fleet::Cut;
use crate::soak::random::Random;

/// Longer than a broker's session.
const PAUSED: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(8)];
const CUT_OFF: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(10)];
const FULL: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(8)];

/// Shortest and longest times.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    undisturbed: [Duration; 2],
    /// How long a process is down.
    down: [Duration; 2],
}

/// Long enough for everything that brokers do when another one is gone.
pub(super) const LEISURELY: Pace = Pace {
    undisturbed: [Duration::from_millis(300), Duration::from_secs(4)],
    down: [Duration::ZERO, Duration::from_secs(3)],
};
/// Long enough for something to be written.
pub(super) const BRISK: Pace = Pace {
    undisturbed: [Duration::from_millis(300), Duration::from_millis(1500)],
    down: [Duration::ZERO, Duration::from_secs(1)],
};

/// A fault of a node, by its number from 1.
pub(super) type Kind = fn(u8, &mut Random) -> Fault;

pub(super) const WHATEVER: &[Kind] = &[
    |node, _| Fault::Kill(node),
    |_, _| Fault::KillAll,
    |node, _| Fault::Terminate(node),
    |node, _| Fault::Pause(node),
    |node, random| Fault::Cut(cut(random, node)),
    |node, _| Fault::FillVolume(node),
    |node, _| Fault::LosePower(node),
    |node, _| Fault::RollBack(node),
    |node, _| Fault::ReplaceVolume(node),
];
pub(super) const POWER_OF_ONE: &[Kind] = &[|node, _| Fault::LosePower(node)];
pub(super) const POWER_OF_ALL: &[Kind] = &[|_, _| Fault::LosePowerOfAll];

/// Nodes by their numbers, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Kill(u8),
    /// All at once.
    KillAll,
    Terminate(u8),
    Pause(u8),
    Cut(Cut),
    FillVolume(u8),
    /// Loses what only this node has: all replicas must be in sync before.
    LosePower(u8),
    /// All at once: loses everything that is synced nowhere.
    LosePowerOfAll,
    /// Like a power cut, but the volume comes back as an older copy of itself.
    RollBack(u8),
    /// The volume comes back empty.
    ReplaceVolume(u8),
}

/// One fault, its precondition, and how long it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) undisturbed: Duration,
    pub(super) fault: Fault,
    pub(super) lasts: Duration,
}

/// Deals faults like cards: every kind comes before any of them comes again.
#[derive(Debug)]
pub(super) struct Deck {
    random: Random,
    nodes: u8,
    kinds: &'static [Kind],
    pace: Pace,
    left: Vec<Kind>,
    dealt: usize,
}

impl Fault {
    /// Whether acknowledged records would be lost if no other node had all of them.
    pub(super) fn is_destructive(self) -> bool {
        matches!(self, Self::LosePower(_) | Self::RollBack(_) | Self::ReplaceVolume(_))
    }

    fn lasts(self, pace: Pace) -> [Duration; 2] {
        match self {
            Self::Pause(_) => PAUSED,
            Self::Cut(_) => CUT_OFF,
            Self::FillVolume(_) => FULL,
            Self::Kill(_)
            | Self::KillAll
            | Self::Terminate(_)
            | Self::LosePower(_)
            | Self::LosePowerOfAll
            | Self::RollBack(_)
            | Self::ReplaceVolume(_) => pace.down,
        }
    }
}

impl Deck {
    pub(super) fn new(kinds: &'static [Kind], pace: Pace, nodes: u8, random: Random) -> Self {
        Self { random, nodes, kinds, pace, left: Vec::new(), dealt: 0 }
    }

    pub(super) fn next(&mut self) -> Step {
        if self.left.is_empty() {
            self.left = self.kinds.to_vec();
        }
        let card = usize::try_from(self.random.below(self.left.len() as u64)).unwrap_or_default();
        let kind = self.left.swap_remove(card);
        self.dealt += 1;
        let node = u8::try_from(self.random.below(self.nodes.into())).unwrap_or_default() + 1;
        let (fault, pace) = (kind(node, &mut self.random), self.pace);
        let mut between = |[least, most]: [Duration; 2]| self.random.between(least, most);
        Step { undisturbed: between(pace.undisturbed), fault, lasts: between(fault.lasts(pace)) }
    }

    pub(super) fn dealt(&self) -> usize {
        self.dealt
    }

    /// Whether every kind has come once.
    pub(super) fn has_dealt_all(&self) -> bool {
        self.kinds.len() <= self.dealt
    }
}

fn cut(random: &mut Random, node: u8) -> Cut {
    match random.below(6) {
        0 => Cut::FromNodes(node),
        1 => Cut::FromAll(node),
        2 => Cut::Sending(node),
        3 => Cut::Receiving(node),
        4 => Cut::Ring,
        _ => Cut::Bridge(node),
    }
}

#[cfg(test)]
mod tests {
    use std::mem::discriminant;

    use super::*;

    #[test]
    fn every_fault_happens_to_every_node_and_a_seed_repeats_them() {
        let steps = |seed| {
            let mut deck = Deck::new(WHATEVER, LEISURELY, 3, Random(seed));
            (0..400).map(|_| deck.next()).collect::<Vec<_>>()
        };
        assert_eq!(steps(7), steps(7));
        assert_ne!(steps(7), steps(8));
        for round in steps(7).chunks_exact(WHATEVER.len()) {
            let kinds: Vec<_> = round.iter().map(|step| discriminant(&step.fault)).collect();
            assert!((1..kinds.len()).all(|index| !kinds[..index].contains(&kinds[index])), "{round:?}");
        }
        for step in steps(7) {
            let [least, most] = step.fault.lasts(LEISURELY);
            assert!((least..=most).contains(&step.lasts));
        }
        for node in 1..=3 {
            assert!(steps(7).iter().any(|step| step.fault == Fault::Kill(node)));
        }
    }

    #[test]
    fn a_round_is_over_when_every_kind_has_come() {
        let mut deck = Deck::new(WHATEVER, LEISURELY, 3, Random(1));
        for dealt in 0..WHATEVER.len() {
            assert_eq!((deck.dealt(), deck.has_dealt_all()), (dealt, false));
            deck.next();
        }
        assert!(deck.has_dealt_all());
    }
}
