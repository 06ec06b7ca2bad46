//! What happens next, and to whom. Pure: the same choices for the same seed.

use std::time::Duration;

use crate::fleet::Cut;
use crate::soak::random::Random;

/// Beyond the sessions that end by silence.
const PAUSED: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(8)];
const CUT_OFF: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(10)];
const FULL: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(8)];
const DOWN: [Duration; 2] = [Duration::ZERO, Duration::from_secs(3)];
const UNDISTURBED: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(4)];

/// Nodes by their numbers, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Kill(u8),
    /// Everybody at once.
    KillAll,
    Terminate(u8),
    Pause(u8),
    Cut(Cut),
    FillVolume(u8),
    /// Takes with it what only this node has: everybody must be in sync before.
    LosePower(u8),
    /// The same, of everything since a copy of its volume was made, with which it comes back.
    RollBack(u8),
    /// The same, of everything that it ever had.
    ReplaceVolume(u8),
}

/// One fault, what comes before it, and how long it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) undisturbed: Duration,
    pub(super) fault: Fault,
    pub(super) lasts: Duration,
}

impl Fault {
    /// Whether acknowledged records would be lost if another node had not all of them.
    pub(super) fn is_destructive(self) -> bool {
        matches!(self, Self::LosePower(_) | Self::RollBack(_) | Self::ReplaceVolume(_))
    }

    fn lasts(self) -> [Duration; 2] {
        match self {
            Self::Pause(_) => PAUSED,
            Self::Cut(_) => CUT_OFF,
            Self::FillVolume(_) => FULL,
            Self::Kill(_)
            | Self::KillAll
            | Self::Terminate(_)
            | Self::LosePower(_)
            | Self::RollBack(_)
            | Self::ReplaceVolume(_) => DOWN,
        }
    }
}

/// To one of so many nodes.
pub(super) fn next(random: &mut Random, nodes: u8) -> Step {
    let node = u8::try_from(random.below(nodes.into())).unwrap_or_default() + 1;
    let fault = match random.below(17) {
        0..4 => Fault::Kill(node),
        4 => Fault::KillAll,
        5 => Fault::Terminate(node),
        6..8 => Fault::Pause(node),
        8..12 => Fault::Cut(cut(random, node)),
        12 => Fault::FillVolume(node),
        13..15 => Fault::LosePower(node),
        15 => Fault::RollBack(node),
        _ => Fault::ReplaceVolume(node),
    };
    step(random, fault)
}

/// To one of so many nodes.
pub(super) fn next_power_cut(random: &mut Random, nodes: u8) -> Step {
    let node = u8::try_from(random.below(nodes.into())).unwrap_or_default() + 1;
    step(random, Fault::LosePower(node))
}

fn step(random: &mut Random, fault: Fault) -> Step {
    let mut between = |[least, most]: [Duration; 2]| random.between(least, most);
    Step { undisturbed: between(UNDISTURBED), fault, lasts: between(fault.lasts()) }
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
    use std::mem::{Discriminant, discriminant};

    use super::*;

    #[test]
    fn every_fault_happens_to_every_node_and_a_seed_repeats_them() {
        let steps = |seed| {
            let mut random = Random(seed);
            (0..400).map(|_| next(&mut random, 3)).collect::<Vec<_>>()
        };
        assert_eq!(steps(7), steps(7));
        assert_ne!(steps(7), steps(8));
        let mut kinds: Vec<Discriminant<Fault>> = Vec::new();
        for step in steps(7) {
            let kind = discriminant(&step.fault);
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
            let [least, most] = step.fault.lasts();
            assert!((least..=most).contains(&step.lasts));
        }
        assert_eq!(kinds.len(), 9);
        for node in 1..=3 {
            assert!(steps(7).iter().any(|step| step.fault == Fault::Kill(node)));
        }
    }
}
