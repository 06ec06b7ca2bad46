//! One look at one cluster: observe, validate, plan, apply.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::{Client, ResourceExt as _};
use protocol::types::undashed;
use uuid::Uuid;

use crate::admin::{BrokerAdmin, ManagementToken};
use crate::apply::{Executor, StatusError, apply};
use crate::crd::KafkaCluster;
use crate::metrics::Metrics;
use crate::observe::{ObserveError, Reach, observe};
use crate::plan::{Fresh, plan, refuse};
use crate::validate::{Release, validate};

const LOOK_AFTER_ERROR: Duration = Duration::from_secs(2);
/// The client itself waits for an answer without end.
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

/// What every reconcile uses.
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

pub async fn reconcile(cluster: Arc<KafkaCluster>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let observing = observe(&context.client, context.admin.as_ref(), context.reach, &cluster);
    let Some(observed) = in_time("read the cluster", observing).await?? else {
        context.metrics.forget(&cluster.namespace().unwrap_or_default(), &cluster.name_any());
        return Ok(Action::await_change());
    };
    if observed.cluster.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let now = Timestamp::now();
    let plan = match validate(&observed, &context.release) {
        Ok(validated) => plan(&validated, &observed, &fresh(), now),
        Err(problems) => refuse(&observed, &problems, now),
    };
    let executor = Executor {
        client: &context.client,
        admin: context.admin.as_ref(),
        namespace: &observed.names.namespace,
        instance: &context.instance,
        metrics: &context.metrics,
    };
    let action = in_time("change the cluster", apply(&executor, &observed, plan, now)).await??;
    context.metrics.reconciled(now);
    Ok(action)
}

async fn in_time<T>(what: &'static str, work: impl Future<Output = T>) -> Result<T, ReconcileError> {
    tokio::time::timeout(PATIENCE, Box::pin(work)).await.map_err(|_| ReconcileError::TimedOut { what })
}

/// What cannot be told to the user in the status, as the API server does not answer.
#[expect(clippy::needless_pass_by_value, reason = "the signature kube asks for")]
pub fn on_error(cluster: Arc<KafkaCluster>, error: &ReconcileError, context: Arc<Context>) -> Action {
    context.metrics.failed();
    tracing::warn!(namespace = cluster.namespace(), cluster = cluster.name_any(), %error, "will try again");
    Action::requeue(LOOK_AFTER_ERROR)
}

fn fresh() -> Fresh {
    let token = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    Fresh { cluster_id: undashed(Uuid::new_v4()), token: ManagementToken(token) }
}

#[cfg(test)]
#[path = "reconcile_test.rs"]
mod reconcile_test;
