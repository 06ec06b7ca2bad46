//! The chart by itself: what helm thinks of it, and what it renders.

use anyhow::{Result, ensure};
use e2e::harness::Kubernetes;

use crate::world::World;

pub(crate) fn is_sound(world: &World) -> Result<()> {
    let chart = Kubernetes::chart().display();
    world.kubernetes.helm(&format!("lint --strict {chart}"))?;
    let rendered = world.kubernetes.helm(&format!("template millrace {chart} --namespace anywhere"))?;
    let kinds: Vec<_> = rendered.lines().filter_map(|line| line.strip_prefix("kind: ")).collect();
    for kind in ["CustomResourceDefinition", "Deployment", "ServiceAccount"] {
        ensure!(kinds.contains(&kind), "the chart renders no {kind}: {kinds:?}");
    }
    let wildcard = rendered.lines().find(|line| line.contains("\"*\"") || line.contains("'*'") || line.trim() == "- *");
    ensure!(wildcard.is_none(), "the chart asks for everything: {wildcard:?}");
    Ok(())
}
