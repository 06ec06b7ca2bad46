//! A replica leads only on the volume that it is recorded on: an empty one under an old broker id is another replica.

use super::super::facts::{Fact, Scene};

pub(in super::super) fn check(fact: &Fact, scene: Scene<'_>) -> Result<(), String> {
    let Fact::Leads { node, key, epoch, .. } = fact else { return Ok(()) };
    let machine = &scene.machines[*node];
    let image = machine.process.as_ref().map(|process| &process.image);
    let state = image.and_then(|image| image.topics.get(&key.0)).and_then(|topic| topic.partition(key.1));
    let recorded = state.and_then(|state| state.replica_on(machine.id)).map(|replica| replica.directory);
    if recorded == Some(machine.directory) {
        return Ok(());
    }
    Err(format!("node {node} leads {key:?} in epoch {epoch} on {}, not on {recorded:?}", machine.directory))
}
