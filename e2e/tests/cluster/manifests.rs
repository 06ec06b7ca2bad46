//! A mistake in a manifest is answered with the field and what would be right, and has no other effect.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::command;
use e2e::harness::Kubernetes;

use crate::survival::{MANIFEST, READY_AT_MOST, SELECTOR, check_data, cluster_with_data};
use crate::world::World;

const NAMESPACE: &str = "e2e-bad-manifest";

struct Mistake {
    change: fn(&str) -> String,
    /// What the answer must contain.
    names: &'static [&'static str],
}

const MISTAKES: [Mistake; 6] = [
    Mistake { change: |manifest| manifest.replace("1Gi", "a lot"), names: &["spec.storage.size"] },
    Mistake { change: |manifest| manifest.replace("1Gi", "500Mi"), names: &["spec.storage.size", "1Gi"] },
    Mistake { change: |manifest| manifest.replace("spec:\n", "spec:\n  replicas: 2\n"), names: &["spec.replicas"] },
    Mistake {
        change: |manifest| manifest.replace("spec:\n", "spec:\n  replicas: 3\n"),
        names: &["spec.replicas", "created with 1", "set it back to 1"],
    },
    Mistake {
        change: |manifest| format!("{manifest}  config:\n    log.retention.hour: 48\n"),
        names: &["log.retention.hour", "did you mean log.retention.hours?"],
    },
    Mistake { change: |manifest| manifest.replace("port: 9094", "port: 9091"), names: &["spec.listeners", "9091"] },
];

pub(crate) fn bad_manifest_changes_nothing(world: &World) -> Result<()> {
    world.in_namespace(NAMESPACE, |kubernetes| {
        let (address, before) = cluster_with_data(kubernetes, NAMESPACE)?;
        for mistake in MISTAKES {
            let manifest = (mistake.change)(MANIFEST);
            let answer = answer_to(kubernetes, &manifest).with_context(|| manifest.clone())?;
            for name in mistake.names {
                ensure!(answer.contains(name), "the answer does not say {name:?}: {answer}");
            }
            ensure!(kubernetes.pod(NAMESPACE, SELECTOR)? == before, "the broker was touched by\n{manifest}");
            check_data(&address)?;
            kubernetes.apply(NAMESPACE, MANIFEST)?;
            kubernetes.wait_ready(NAMESPACE, "demo", READY_AT_MOST)?;
        }
        Ok(())
    })
}

/// Either the API server refuses the manifest, or the operator says why it does not apply it.
fn answer_to(kubernetes: &Kubernetes, manifest: &str) -> Result<String> {
    if let Err(refusal) = kubernetes.apply(NAMESPACE, manifest) {
        return Ok(format!("{refusal:#}"));
    }
    let condition = |kind: &str, truth: &str| -> Result<Option<String>> {
        let found = kubernetes.condition(NAMESPACE, "demo", kind)?;
        Ok(found.filter(|(status, _)| status == truth).map(|(_, message)| message))
    };
    let limit = Duration::from_secs(30);
    let answer = command::wait_for("the condition Stalled=True", limit, || condition("Stalled", "True"))?;
    ensure!(condition("Ready", "True")?.is_some(), "a mistake in the manifest hides that the broker serves");
    Ok(answer)
}
