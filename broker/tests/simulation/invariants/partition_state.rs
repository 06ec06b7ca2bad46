//! The partition invariants of the controller's own simulation, here under a quorum that loses its leader.

use super::super::facts::{Fact, Scene};
use crate::controller::simulation_test::invariants;
use crate::controller::testing::MIN_INSYNC_REPLICAS;

/// They are assertions; this adds the place to their message.
#[expect(clippy::unnecessary_wraps, reason = "one of many that may find something wrong")]
pub(in super::super) fn check(fact: &Fact, scene: Scene<'_>) -> Result<(), String> {
    if let Fact::Metadata { before } = fact {
        invariants::check(before, scene.committed, MIN_INSYNC_REPLICAS);
    }
    Ok(())
}
