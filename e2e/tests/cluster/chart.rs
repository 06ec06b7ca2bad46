//! The chart by itself: helm's lint, and what it renders.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::command;
use e2e::harness::Kubernetes;
use serde_json::Value;

use crate::world::World;

const PLAIN: &str = "--set crds.install=false,rbac.userRoles=false";

/// Values, and what the chart renders with them in addition to what it renders with `PLAIN`.
const VALUES: [(&str, &str); 23] = [
    ("image.repository=example/operator", "image: \"example/operator:"),
    ("image.tag=9.9.9", "millrace-operator:9.9.9\""),
    ("image.pullPolicy=Always", "imagePullPolicy: Always"),
    ("brokerImage.repository=example/broker", "value: \"example/broker\""),
    ("brokerImage.tag=9.9.9", "millrace-broker:9.9.9\""),
    ("imagePullSecrets[0].name=registry", "- name: registry"),
    ("watchNamespaces={one,two}", "value: \"one,two\""),
    ("rbac.clusterScoped=false", "value: \"false\""),
    ("rbac.userRoles=true", "rbac.authorization.k8s.io/aggregate-to-view"),
    ("replicas=2", "kind: PodDisruptionBudget"),
    ("crds.install=true", "kind: CustomResourceDefinition"),
    ("metrics.podMonitors=true", "kind: PodMonitor"),
    ("metrics.alerts=true", "kind: PrometheusRule"),
    ("metrics.labels.team=streams,metrics.podMonitors=true", "team: streams"),
    ("log.format=json", "value: \"json\""),
    ("log.level=debug", "value: \"debug\""),
    ("resources.limits.memory=1Gi", "memory: 1Gi"),
    ("podAnnotations.team=streams", "team: streams"),
    ("podLabels.team=streams", "team: streams"),
    ("nodeSelector.disk=fast", "disk: fast"),
    ("tolerations[0].key=spot", "key: spot"),
    ("affinity.nodeAffinity.team=streams", "team: streams"),
    ("priorityClassName=important", "priorityClassName: important"),
];

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

/// Each value has an effect, and values without an effect are refused.
pub(crate) fn renders_every_value(world: &World) -> Result<()> {
    let chart = Kubernetes::chart();
    let render = |values: &str| {
        let template = format!("template millrace {} --namespace anywhere", chart.display());
        world.kubernetes.helm(&format!("{template} {PLAIN} {values}"))
    };
    let plain = render("")?;
    for (values, expected) in VALUES {
        let rendered = render(&format!("--set {values}"))?;
        ensure!(rendered.contains(expected) && !plain.contains(expected), "{values} does not bring {expected:?}");
    }
    ensure!(render("--set replica=2").is_err(), "a value that the chart does not have is taken");
    let schema: Value = serde_json::from_str(&fs::read_to_string(chart.join("values.schema.json"))?)?;
    for name in names(&schema, "").iter().filter(|name| *name != "global") {
        ensure!(VALUES.iter().any(|(values, _)| values.starts_with(name)), "nothing is known of {name}");
    }
    Ok(())
}

fn names(schema: &Value, prefix: &str) -> Vec<String> {
    let Some(properties) = schema["properties"].as_object() else { return vec![prefix.to_owned()] };
    let nested = |(name, schema): (&String, &Value)| names(schema, format!("{prefix}.{name}").trim_start_matches('.'));
    properties.iter().flat_map(nested).collect()
}

/// Without separate roles: the chart extends those that Kubernetes has.
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
