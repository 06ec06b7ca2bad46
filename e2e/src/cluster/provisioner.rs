//! The dynamic provisioner of the StorageClass `standard`. After every event, and every two seconds for nodes that
//! came back, it checks all claims and volumes and does what is missing for each:
//!
//! - a claim whose pod was given a node gets an image there and a local PersistentVolume bound to it;
//! - a claim that asks for more than it has is grown in place;
//! - a volume is mounted in its node whenever that node runs;
//! - a released volume is deleted, unless its policy says to retain it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{
    LocalVolumeSource, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, ObjectReference, PersistentVolume,
    PersistentVolumeClaim, PersistentVolumeSpec, VolumeNodeAffinity,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use tokio::task::block_in_place;
use tracing::{info, warn};

use super::addresses::NodeId;
use super::layout::Layout;
use super::quantity;
use super::volumes::{SIZE_MIN, Volume};

pub(super) const NAME: &str = "volumes.millrace.dev";

const LOOK_AGAIN: Duration = Duration::from_secs(2);
const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const HOSTNAME: &str = "kubernetes.io/hostname";

#[derive(Debug, Args)]
pub struct Provision {
    #[arg(long)]
    directory: PathBuf,
}

impl Provision {
    pub async fn run(&self) -> Result<()> {
        let layout = Layout::new(&self.directory)?;
        let kubeconfig = Kubeconfig::read_from(layout.kubeconfig("admin"))?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let client = Client::try_from(config)?;
        let provisioner =
            Provisioner { claims: Api::all(client.clone()), volumes: Api::all(client.clone()), client, layout };
        provisioner.run().await
    }
}

struct Provisioner {
    layout: Layout,
    client: Client,
    claims: Api<PersistentVolumeClaim>,
    volumes: Api<PersistentVolume>,
}

impl Provisioner {
    async fn run(&self) -> Result<()> {
        let claims = watcher(self.claims.clone(), watcher::Config::default()).default_backoff().map(drop);
        let volumes = watcher(self.volumes.clone(), watcher::Config::default()).default_backoff().map(drop);
        let mut events = futures::stream::select(claims.boxed(), volumes.boxed());
        loop {
            if let Err(error) = self.look_at_everything().await {
                warn!("cannot list claims and volumes: {error:#}");
            }
            // Reaching the time limit is the regular second look.
            drop(tokio::time::timeout(LOOK_AGAIN, events.next()).await);
        }
    }

    async fn look_at_everything(&self) -> Result<()> {
        let volumes = self.volumes.list(&ListParams::default()).await?;
        for volume in
            volumes.iter().filter(|volume| volume.annotations().get(PROVISIONED_BY).is_some_and(|by| by == NAME))
        {
            if let Err(error) = self.keep(volume).await {
                warn!("volume {}: {error:#}", volume.name_any());
            }
        }
        let claims = self.claims.list(&ListParams::default()).await?;
        for claim in claims.iter().filter(|claim| claim.annotations().get(PROVISIONER).is_some_and(|by| by == NAME)) {
            if let Err(error) = self.serve(claim, &volumes.items).await {
                warn!("claim {}/{}: {error:#}", claim.namespace().unwrap_or_default(), claim.name_any());
            }
        }
        Ok(())
    }

    async fn keep(&self, object: &PersistentVolume) -> Result<()> {
        let volume = self.volume_of(object)?;
        let released = object.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Released");
        let policy = object.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
        if released && policy == Some("Delete") {
            block_in_place(|| volume.remove())?;
            self.volumes.delete(&volume.name, &DeleteParams::default()).await?;
            info!("{} deleted", volume.name);
        } else if volume.exists() {
            block_in_place(|| volume.ensure_mounted())?;
        }
        Ok(())
    }

    async fn serve(&self, claim: &PersistentVolumeClaim, volumes: &[PersistentVolume]) -> Result<()> {
        let name = format!("pvc-{}", claim.uid().context("a claim without uid")?);
        let size = quantity::bytes(&requested(claim)?)?.max(SIZE_MIN);
        match volumes.iter().find(|volume| volume.name_any() == name) {
            None => {
                let node = claim.annotations().get(SELECTED_NODE).and_then(|node| NodeId::named(node));
                // The scheduler chooses a node when a pod uses the claim. Before that nothing is created: the volume
                // is local.
                let Some(node) = node else { return Ok(()) };
                self.provision(claim, &Volume::new(&self.layout, node, name), size).await
            }
            Some(object) if capacity(claim)?.is_some_and(|capacity| capacity < size) => {
                self.grow(claim, &self.volume_of(object)?, size).await
            }
            Some(_) => Ok(()),
        }
    }

    async fn provision(&self, claim: &PersistentVolumeClaim, volume: &Volume, size: u64) -> Result<()> {
        block_in_place(|| volume.create(size).and_then(|()| volume.ensure_mounted()))?;
        self.volumes.create(&PostParams::default(), &persistent_volume(claim, volume, size)).await?;
        info!("{} of {size} bytes made on {}", volume.name, volume.node);
        Ok(())
    }

    async fn grow(&self, claim: &PersistentVolumeClaim, volume: &Volume, size: u64) -> Result<()> {
        block_in_place(|| volume.grow(size))?;
        let capacity = json!({"storage": quantity::text(size)});
        let params = PatchParams::default();
        self.volumes.patch(&volume.name, &params, &Patch::Merge(json!({"spec": {"capacity": capacity}}))).await?;
        let claims: Api<PersistentVolumeClaim> =
            Api::namespaced(self.client.clone(), &claim.namespace().unwrap_or_default());
        let status = json!({"status": {"capacity": capacity, "conditions": null}});
        claims.patch_status(&claim.name_any(), &params, &Patch::Merge(status)).await?;
        info!("{} grown to {size} bytes", volume.name);
        Ok(())
    }

    fn volume_of(&self, object: &PersistentVolume) -> Result<Volume> {
        let node =
            object.labels().get(HOSTNAME).and_then(|node| NodeId::named(node)).context("on no node of this cluster")?;
        Ok(Volume::new(&self.layout, node, object.name_any()))
    }
}

fn requested(claim: &PersistentVolumeClaim) -> Result<String> {
    let requests =
        claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()).and_then(|resources| resources.requests.as_ref());
    Ok(requests.and_then(|requests| requests.get("storage")).context("asks for no storage")?.0.clone())
}

/// The capacity of a bound claim; an unbound one has none yet.
fn capacity(claim: &PersistentVolumeClaim) -> Result<Option<u64>> {
    let capacity = claim.status.as_ref().and_then(|status| status.capacity.as_ref());
    capacity.and_then(|capacity| capacity.get("storage")).map(|storage| quantity::bytes(&storage.0)).transpose()
}

fn persistent_volume(claim: &PersistentVolumeClaim, volume: &Volume, size: u64) -> PersistentVolume {
    let node = volume.node.to_string();
    let here =
        NodeSelectorRequirement { key: HOSTNAME.into(), operator: "In".into(), values: Some(vec![node.clone()]) };
    let spec = claim.spec.clone().unwrap_or_default();
    PersistentVolume {
        metadata: ObjectMeta {
            name: Some(volume.name.clone()),
            annotations: Some(BTreeMap::from([(PROVISIONED_BY.into(), NAME.into())])),
            labels: Some(BTreeMap::from([(HOSTNAME.into(), node)])),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeSpec {
            capacity: Some(BTreeMap::from([("storage".into(), Quantity(quantity::text(size)))])),
            access_modes: spec.access_modes,
            storage_class_name: spec.storage_class_name,
            persistent_volume_reclaim_policy: Some("Delete".into()),
            volume_mode: Some("Filesystem".into()),
            local: Some(LocalVolumeSource { path: volume.mount_point(), ..LocalVolumeSource::default() }),
            claim_ref: Some(ObjectReference {
                api_version: Some("v1".into()),
                kind: Some("PersistentVolumeClaim".into()),
                name: claim.metadata.name.clone(),
                namespace: claim.metadata.namespace.clone(),
                uid: claim.metadata.uid.clone(),
                ..ObjectReference::default()
            }),
            node_affinity: Some(VolumeNodeAffinity {
                required: Some(NodeSelector {
                    node_selector_terms: vec![NodeSelectorTerm {
                        match_expressions: Some(vec![here]),
                        ..NodeSelectorTerm::default()
                    }],
                }),
            }),
            ..PersistentVolumeSpec::default()
        }),
        status: None,
    }
}
