//! The StatefulSet. It creates and re-creates pods, also while the operator is down; it never replaces a running one
//! by itself (`OnDelete`), and starts them all at once (`Parallel`).

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetUpdateStrategy};
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapProjection, Container, ContainerPort, DownwardAPIProjection, DownwardAPIVolumeFile, EnvVar,
    EnvVarSource, HTTPGetAction, KeyToPath, ObjectFieldSelector, PersistentVolumeClaim, PersistentVolumeClaimSpec,
    PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ProjectedVolumeSource, SeccompProfile, SecretProjection,
    SecurityContext, Toleration, TopologySpreadConstraint, Volume, VolumeMount, VolumeProjection,
    VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use protocol::types::ClusterId;

use super::properties::{CONFIG_DIRECTORY, TOKENS_FILE, VOLUME_DIRECTORY, ZONE_FILE};
use super::{RenderedConfig, hash, metadata, stamped};
use crate::manifest::Manifest;
use crate::names::{
    ANNOTATION_CLUSTER_ID, ANNOTATION_CONFIG, ANNOTATION_IMAGE, ANNOTATION_PLACEMENT, ANNOTATION_RESOURCES,
    ANNOTATION_TEMPLATE, ANNOTATION_ZONE, CONTAINER, PORT_BROKERS, PORT_CONTROLLERS, PORT_MANAGEMENT,
};
use crate::observe::SECRET_KEY_TOKENS;
use crate::validate::ValidatedCluster;

const USER: i64 = 65532;
const GRACE_SECONDS: i64 = 120;
const VOLUME_DATA: &str = "data";
const VOLUME_CONFIG: &str = "config";

/// What cannot be changed in a StatefulSet: it stays as created while the claims grow.
#[derive(Debug, Clone, PartialEq)]
pub struct StatefulSetTemplate {
    pub claim_size: Quantity,
}

impl StatefulSetTemplate {
    pub fn of(standing: Option<&StatefulSet>, cluster: &ValidatedCluster) -> Self {
        let templates = standing.and_then(|set| set.spec.as_ref()?.volume_claim_templates.as_ref());
        let requests =
            templates.and_then(|templates| templates.first()?.spec.as_ref()?.resources.as_ref()?.requests.as_ref());
        let born = requests.and_then(|requests| requests.get("storage")).cloned();
        Self { claim_size: born.unwrap_or_else(|| cluster.storage.size.clone()) }
    }
}

/// What a pod is started with, as annotations, by which restarts are decided. Another placement is told and is no
/// reason to restart.
pub fn pod_facts(cluster: &ValidatedCluster, config: &RenderedConfig) -> BTreeMap<String, String> {
    let resources = serde_json::to_string(&cluster.resources).unwrap_or_default();
    let placement = serde_json::to_string(&cluster.pod).unwrap_or_default();
    let hashes = cluster.brokers.iter().filter_map(|id| Some(format!("{id}:{}", config.hash_of(*id)?)));
    let hashes: Vec<_> = hashes.collect();
    BTreeMap::from([
        (ANNOTATION_IMAGE.to_owned(), cluster.image.clone()),
        (ANNOTATION_RESOURCES.to_owned(), hash(&resources)),
        (ANNOTATION_CONFIG.to_owned(), hashes.join(",")),
        (ANNOTATION_PLACEMENT.to_owned(), hash(&placement)),
    ])
}

pub fn statefulset(
    cluster: &ValidatedCluster,
    cluster_id: &ClusterId,
    config: &RenderedConfig,
    born: &StatefulSetTemplate,
) -> Manifest {
    let names = &cluster.names;
    let spec = StatefulSetSpec {
        replicas: i32::try_from(cluster.brokers.len()).ok(),
        service_name: Some(names.brokers_service()),
        pod_management_policy: Some("Parallel".to_owned()),
        update_strategy: Some(StatefulSetUpdateStrategy { type_: Some("OnDelete".to_owned()), rolling_update: None }),
        selector: LabelSelector { match_labels: Some(names.selector()), ..LabelSelector::default() },
        template: stamped_template(cluster, config),
        volume_claim_templates: Some(vec![claim_template(cluster, cluster_id, born)]),
        ..StatefulSetSpec::default()
    };
    let metadata = metadata(cluster, names.statefulset());
    stamped(Manifest::new(&StatefulSet { metadata, spec: Some(spec), status: None }))
}

fn claim_template(
    cluster: &ValidatedCluster,
    cluster_id: &ClusterId,
    born: &StatefulSetTemplate,
) -> PersistentVolumeClaim {
    let requests = BTreeMap::from([("storage".to_owned(), born.claim_size.clone())]);
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(VOLUME_DATA.to_owned()),
            labels: Some(cluster.names.labels()),
            annotations: Some(BTreeMap::from([(ANNOTATION_CLUSTER_ID.to_owned(), cluster_id.to_string())])),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: cluster.storage.class.clone(),
            resources: Some(VolumeResourceRequirements { requests: Some(requests), limits: None }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

/// The hash of everything a pod is made from, including what is no reason to restart a running broker.
pub fn template_hash(cluster: &ValidatedCluster, config: &RenderedConfig) -> String {
    hash(&serde_json::to_string(&template(cluster, config)).unwrap_or_default())
}

fn stamped_template(cluster: &ValidatedCluster, config: &RenderedConfig) -> PodTemplateSpec {
    let mut template = template(cluster, config);
    let annotations = template.metadata.get_or_insert_default().annotations.get_or_insert_default();
    annotations.insert(ANNOTATION_TEMPLATE.to_owned(), template_hash(cluster, config));
    template
}

fn template(cluster: &ValidatedCluster, config: &RenderedConfig) -> PodTemplateSpec {
    let placement = &cluster.pod;
    let mut labels = placement.labels.clone();
    labels.extend(cluster.names.labels());
    let mut annotations = placement.annotations.clone();
    annotations.extend(pod_facts(cluster, config));
    let spec = PodSpec {
        service_account_name: Some(cluster.names.cluster.clone()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        security_context: Some(pod_security()),
        containers: vec![container(cluster)],
        volumes: Some(vec![config_volume(cluster, config)]),
        topology_spread_constraints: Some(spread(cluster)),
        tolerations: Some(tolerations(&placement.tolerations)),
        affinity: placement.affinity.clone(),
        node_selector: Some(placement.node_selector.clone()).filter(|map| !map.is_empty()),
        priority_class_name: placement.priority_class_name.clone(),
        image_pull_secrets: Some(placement.image_pull_secrets.clone()).filter(|list| !list.is_empty()),
        ..PodSpec::default()
    };
    let metadata = ObjectMeta { labels: Some(labels), annotations: Some(annotations), ..ObjectMeta::default() };
    PodTemplateSpec { metadata: Some(metadata), spec: Some(spec) }
}

fn container(cluster: &ValidatedCluster) -> Container {
    let own = [("brokers", PORT_BROKERS), ("controllers", PORT_CONTROLLERS), ("management", PORT_MANAGEMENT)];
    let clients = cluster.listeners.iter().map(|listener| (listener.name.as_str(), listener.port));
    Container {
        name: CONTAINER.to_owned(),
        image: Some(cluster.image.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        args: Some(vec!["--config".to_owned(), format!("{CONFIG_DIRECTORY}/server-$(ORDINAL).properties")]),
        env: Some(vec![
            field_env("HOST_IP", "status.hostIP"),
            field_env("POD_IP", "status.podIP"),
            field_env("POD_NAME", "metadata.name"),
            field_env("ORDINAL", "metadata.labels['apps.kubernetes.io/pod-index']"),
        ]),
        ports: Some(own.into_iter().chain(clients).map(|(name, port)| container_port(name, port)).collect()),
        resources: Some(cluster.resources.clone()),
        volume_mounts: Some(vec![
            VolumeMount {
                name: VOLUME_DATA.to_owned(),
                mount_path: VOLUME_DIRECTORY.to_owned(),
                ..VolumeMount::default()
            },
            VolumeMount {
                name: VOLUME_CONFIG.to_owned(),
                mount_path: CONFIG_DIRECTORY.to_owned(),
                read_only: Some(true),
                ..VolumeMount::default()
            },
        ]),
        startup_probe: Some(probe("/livez", 1, 120)),
        liveness_probe: Some(probe("/livez", 10, 3)),
        readiness_probe: Some(probe("/readyz", 1, 3)),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            read_only_root_filesystem: Some(true),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

fn field(path: &str) -> ObjectFieldSelector {
    ObjectFieldSelector { field_path: path.to_owned(), api_version: None }
}

fn field_env(name: &str, path: &str) -> EnvVar {
    let source = EnvVarSource { field_ref: Some(field(path)), ..EnvVarSource::default() };
    EnvVar { name: name.to_owned(), value_from: Some(source), ..EnvVar::default() }
}

fn container_port(name: &str, port: u16) -> ContainerPort {
    let protocol = Some("TCP".to_owned());
    ContainerPort { name: Some(name.to_owned()), container_port: i32::from(port), protocol, ..ContainerPort::default() }
}

fn probe(path: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    let port = IntOrString::String("management".to_owned());
    Probe {
        http_get: Some(HTTPGetAction { path: Some(path.to_owned()), port, ..HTTPGetAction::default() }),
        period_seconds: Some(period_seconds),
        failure_threshold: Some(failure_threshold),
        timeout_seconds: Some(5),
        ..Probe::default()
    }
}

fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group: Some(USER),
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..PodSecurityContext::default()
    }
}

/// Options, management tokens and zone in one directory: a volume in another one would need a mount point there. The
/// zone is a file and not a variable, because the container starts before the operator has seen its node.
fn config_volume(cluster: &ValidatedCluster, config: &RenderedConfig) -> Volume {
    let tokens = KeyToPath { key: SECRET_KEY_TOKENS.to_owned(), path: TOKENS_FILE.to_owned(), mode: None };
    let secret =
        SecretProjection { name: cluster.names.management_secret(), items: Some(vec![tokens]), optional: None };
    let files = ConfigMapProjection { name: config.name.clone(), ..ConfigMapProjection::default() };
    let mut sources = vec![
        VolumeProjection { config_map: Some(files), ..VolumeProjection::default() },
        VolumeProjection { secret: Some(secret), ..VolumeProjection::default() },
    ];
    if cluster.zones {
        let field = field(&format!("metadata.annotations['{ANNOTATION_ZONE}']"));
        let file = DownwardAPIVolumeFile { path: ZONE_FILE.to_owned(), field_ref: Some(field), ..Default::default() };
        let downward_api = Some(DownwardAPIProjection { items: Some(vec![file]) });
        sources.push(VolumeProjection { downward_api, ..VolumeProjection::default() });
    }
    let projected = ProjectedVolumeSource { default_mode: Some(0o440), sources: Some(sources) };
    Volume { name: VOLUME_CONFIG.to_owned(), projected: Some(projected), ..Volume::default() }
}

fn spread(cluster: &ValidatedCluster) -> Vec<TopologySpreadConstraint> {
    let over = |key: &str, when_unsatisfiable: &str| TopologySpreadConstraint {
        topology_key: key.to_owned(),
        max_skew: 1,
        when_unsatisfiable: when_unsatisfiable.to_owned(),
        node_taints_policy: Some("Honor".to_owned()),
        label_selector: Some(LabelSelector {
            match_labels: Some(cluster.names.selector()),
            ..LabelSelector::default()
        }),
        ..TopologySpreadConstraint::default()
    };
    vec![over("kubernetes.io/hostname", "DoNotSchedule"), over("topology.kubernetes.io/zone", "ScheduleAnyway")]
}

/// Without end: Kubernetes must not delete a broker because its node does not answer. Only a person can know that the
/// machine is off.
fn tolerations(given: &[Toleration]) -> Vec<Toleration> {
    let lost = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"].map(|key| Toleration {
        key: Some(key.to_owned()),
        operator: Some("Exists".to_owned()),
        effect: Some("NoExecute".to_owned()),
        ..Toleration::default()
    });
    lost.into_iter().chain(given.iter().cloned()).collect()
}
