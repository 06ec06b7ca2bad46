//! The chart by itself: what helm thinks of it, and what it renders.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::command;
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
    let confined = "--set rbac.clusterScoped=false --set watchNamespaces={anywhere} --set crds.install=false";
    let rendered = world.kubernetes.helm(&format!("template millrace {chart} --namespace anywhere {confined}"))?;
    let kinds = rendered.lines().filter_map(|line| line.strip_prefix("kind: "));
    let clusterwide = kinds.filter(|kind| kind.starts_with("Cluster")).count();
    ensure!(clusterwide == 0, "an operator of one namespace makes objects that belong to none");
    Ok(())
}

/// Without a role of their own: the chart adds to those that Kubernetes has.
pub(crate) fn who_edits_a_namespace_edits_its_clusters(world: &World) -> Result<()> {
    const NAMESPACE: &str = "e2e-roles";
    const GRANTED_AT_MOST: Duration = Duration::from_secs(30);
    world.in_namespace(NAMESPACE, |kubernetes| {
        for (role, may, may_not) in [("view", "list", Some("create")), ("edit", "create", None)] {
            let bind = format!("create rolebinding {role} --clusterrole={role} --user={role}er");
            kubernetes.kubectl(&format!("{bind} --namespace {NAMESPACE}"))?;
            let can = |verb: &str| {
                let asked = format!("auth can-i {verb} kafkaclusters.millrace.dev --as={role}er");
                kubernetes.kubectl(&format!("{asked} --namespace {NAMESPACE}"))
            };
            command::retry(GRANTED_AT_MOST, || can(may))?;
            ensure!(may_not.is_none_or(|verb| can(verb).is_err()), "who may view may change");
        }
        Ok(())
    })
}
