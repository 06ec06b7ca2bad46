//! A reconcile of one cluster: observe, validate, plan, apply.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::api::PartialObjectMeta;
use kube::runtime::controller::Action;
use kube::{Client, ResourceExt as _};
use protocol::types::undashed;
use uuid::Uuid;

use crate::admin::{BrokerAdmin, ManagementToken};
use crate::apply::{Executor, StatusError, apply};
use crate::crd::KafkaCluster;
use crate::metrics::Metrics;
use crate::names::Names;
use crate::observe::{ObserveError, Reach, find_cluster, find_status, observe};
use crate::plan::{Fresh, plan, refuse};
use crate::validate::{Release, validate};

const LOOK_AFTER_ERROR: Duration = Duration::from_secs(2);
/// The pause doubles with each further error, at most this often.
const DOUBLINGS_MAX: i64 = 4;
/// The client has no timeout of its own.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    #[error(transparent)]
    Observe(#[from] ObserveError),
    #[error(transparent)]
    Status(#[from] StatusError),
    #[error("could not {what} within {} s", PATIENCE.as_secs())]
    TimedOut { what: &'static str },
}

/// All that is known of a cluster before it is read.
pub type ClusterMeta = PartialObjectMeta<KafkaCluster>;

/// Shared by all reconciles.
pub struct Context {
    pub client: Client,
    pub admin: Box<dyn BrokerAdmin>,
    pub release: Release,
    pub reach: Reach,
    /// Name of this instance of the operator, for events.
    pub instance: String,
    pub metrics: Metrics,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("release", &self.release).finish_non_exhaustive()
    }
}

pub async fn reconcile(cluster: Arc<ClusterMeta>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let (meta, now) = (cluster, Timestamp::now());
    let names = Names { cluster: meta.name_any(), namespace: meta.namespace().unwrap_or_default() };
    let executor = Executor {
        client: &context.client,
        admin: context.admin.as_ref(),
        namespace: &names.namespace,
        instance: &context.instance,
        metrics: &context.metrics,
    };
    let cluster = match in_time("read the cluster", find_cluster(&context.client, &names)).await? {
        Ok(Some(cluster)) if cluster.metadata.deletion_timestamp.is_none() => cluster,
        // Gone, or about to be: with foreground deletion the object outlives everything that belongs to it.
        Ok(_) => {
            context.metrics.forget(&names.namespace, &names.cluster);
            return Ok(Action::await_change());
        }
        Err(error) => return Err(tell(&executor, &meta, error, now).await),
    };
    let observing = observe(&context.client, context.admin.as_ref(), context.reach, cluster.clone());
    let observed = match in_time("read what belongs to the cluster", observing).await? {
        Ok(observed) => observed,
        Err(error) => return Err(tell(&executor, &meta, error, now).await),
    };
    let plan = match validate(&observed, &context.release) {
        Ok(validated) => plan(&validated, &observed, &fresh(), now),
        Err(problems) => refuse(&observed, &problems, now),
    };
    let action = in_time("change the cluster", apply(&executor, &observed, plan, now)).await??;
    context.metrics.reconciled(&names.namespace, &names.cluster, now);
    Ok(action)
}

/// In the status too, where it is not over by itself.
async fn tell(executor: &Executor<'_>, cluster: &ClusterMeta, error: ObserveError, now: Timestamp) -> ReconcileError {
    let Some(refusal) = error.refusal() else { return error.into() };
    let told = in_time("tell of a refusal", async {
        let names = Names { cluster: cluster.name_any(), namespace: executor.namespace.to_owned() };
        let Some(before) = find_status(executor.client, &names).await? else { return Ok(()) };
        executor.tell_unseen(cluster, before, &refusal, now).await?;
        Ok::<(), ReconcileError>(())
    });
    match told.await {
        Ok(Ok(())) => error.into(),
        Ok(Err(failure)) | Err(failure) => failure,
    }
}

async fn in_time<T>(what: &'static str, work: impl Future<Output = T>) -> Result<T, ReconcileError> {
    tokio::time::timeout(PATIENCE, Box::pin(work)).await.map_err(|_| ReconcileError::TimedOut { what })
}

/// Errors that are not in the status, because the API server does not answer; or are there already.
#[expect(clippy::needless_pass_by_value, reason = "the signature kube asks for")]
pub fn on_error(cluster: Arc<ClusterMeta>, error: &ReconcileError, context: Arc<Context>) -> Action {
    let failures = context.metrics.failed(&cluster.namespace().unwrap_or_default(), &cluster.name_any());
    let pause = pause_after(failures);
    tracing::warn!(namespace = cluster.namespace(), cluster = cluster.name_any(), %error, ?pause, "reconcile failed; retrying");
    Action::requeue(pause)
}

fn pause_after(failures: i64) -> Duration {
    LOOK_AFTER_ERROR.saturating_mul(1 << (failures - 1).clamp(0, DOUBLINGS_MAX))
}

fn fresh() -> Fresh {
    let token = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    Fresh { cluster_id: undashed(Uuid::new_v4()), token: ManagementToken(token) }
}

#[cfg(test)]
#[path = "reconcile_test.rs"]
mod reconcile_test;
