//! What triggers a reconcile: a changed KafkaCluster, or a change of anything with a cluster's label.
//!
//! Only metadata is watched: a reconcile reads what it needs. So a KafkaCluster that this operator cannot parse,
//! because it was written for a newer one, does not hide all others.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::{join_all, pending};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use kube::api::{Api, PartialObjectMeta};
use kube::runtime::controller::{Config, Controller, Error};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::utils::Backoff;
use kube::runtime::{PredicateConfig, WatchStreamExt as _, predicates, watcher};
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::health::Ready;
use crate::metrics::Metrics;
use crate::names::LABEL_CLUSTER;
use crate::reconcile::{ClusterMeta, Context, ReconcileError, on_error, reconcile};

/// Concurrent reconciles, in all namespaces or in each of the given ones.
const CONCURRENT_MAX: u16 = 16;

const AFTER_WATCH_ERROR: Duration = Duration::from_millis(500);

/// kube pauses all watches after an error of any one. When the API server was away each of them has several errors,
/// and growing pauses would leave the operator without events for minutes.
#[derive(Debug)]
struct SamePause(Duration);

impl Iterator for SamePause {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.0)
    }
}

impl Backoff for SamePause {
    fn reset(&mut self) {}
}

/// Which namespaces are watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    All,
    Namespace(String),
}

/// Runs until told to stop; a reconcile in progress is finished.
pub async fn run(scopes: &[Scope], context: &Arc<Context>, ready: &Ready, stop: &CancellationToken) {
    let controllers: Vec<_> = scopes.iter().map(|scope| controller(scope, &context.client, stop.clone())).collect();
    let stores: Vec<_> = controllers.iter().map(Controller::store).collect();
    let running = controllers.into_iter().map(|controller| drive(controller, context.clone()));
    tokio::select! {
        _ = join_all(running) => {}
        () = announce(&stores, ready) => {}
    }
}

/// Ready once every scope has been listed. Never ends.
async fn announce(stores: &[Store<ClusterMeta>], ready: &Ready) {
    let listed = join_all(stores.iter().map(Store::wait_until_ready)).await;
    if listed.iter().all(Result::is_ok) {
        ready.set(true);
    }
    pending::<()>().await;
}

async fn drive(controller: Controller<ClusterMeta>, context: Arc<Context>) {
    let metrics = context.metrics.clone();
    let reconciled = controller.run(reconcile, on_error, context);
    reconciled
        .for_each(async |outcome| {
            if let Err(error) = outcome {
                note(&error, &metrics);
            }
        })
        .await;
}

/// A failed watch is retried by itself, but without a log line. The objects left by a deleted cluster still trigger
/// reconciles, which then find that it is deleted.
fn note(error: &Error<ReconcileError, watcher::Error>, metrics: &Metrics) {
    match error {
        Error::QueueError(_) | Error::RunnerError(_) => tracing::warn!(%error, "watch failed; retrying"),
        Error::ObjectNotFound(gone) => metrics.forget(gone.namespace.as_deref().unwrap_or_default(), &gone.name),
        Error::ReconcilerFailed(..) => {}
    }
}

/// Not triggered by the status, which the operator itself writes.
fn controller(scope: &Scope, client: &Client, stop: CancellationToken) -> Controller<ClusterMeta> {
    let (clusters, writer) = reflector::store();
    let manifests = watcher(api::<ClusterMeta>(client, scope), watcher::Config::default())
        .reflect(writer)
        .applied_objects()
        .predicate_filter(predicates::generation, PredicateConfig::default());
    let controller = Controller::for_stream(manifests, clusters)
        .with_config(Config::default().concurrency(CONCURRENT_MAX))
        .trigger_backoff(SamePause(AFTER_WATCH_ERROR))
        .graceful_shutdown_on(stop.cancelled_owned());
    let controller = wake_on::<StatefulSet>(controller, client, scope);
    let controller = wake_on::<Pod>(controller, client, scope);
    let controller = wake_on::<Service>(controller, client, scope);
    wake_on::<PersistentVolumeClaim>(controller, client, scope)
}

fn wake_on<K>(controller: Controller<ClusterMeta>, client: &Client, scope: &Scope) -> Controller<ClusterMeta>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + Debug + Send + 'static,
{
    let labelled = watcher::Config::default().labels(LABEL_CLUSTER);
    controller.watches(api::<PartialObjectMeta<K>>(client, scope), labelled, |object| {
        let cluster = object.labels().get(LABEL_CLUSTER)?.clone();
        Some(ObjectRef::new(&cluster).within(&object.namespace()?))
    })
}

fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(client: &Client, scope: &Scope) -> Api<K> {
    match scope {
        Scope::All => Api::all(client.clone()),
        Scope::Namespace(namespace) => Api::namespaced(client.clone(), namespace),
    }
}

#[cfg(test)]
mod tests {
    use kube::api::DynamicObject;
    use serde_json::json;

    use super::*;
    use crate::crd::KafkaCluster;
    use crate::testing::{plan_of, running};

    #[test]
    fn a_deleted_cluster_is_forgotten_by_the_metrics() {
        let metrics = Metrics::default();
        metrics.tell("shop", "demo", &plan_of(&running(json!({}))).status);
        let gone: ObjectRef<DynamicObject> = ObjectRef::<KafkaCluster>::new("demo").within("shop").erase();
        note(&Error::ObjectNotFound(Box::new(gone)), &metrics);
        assert!(!metrics.encode().unwrap().contains("demo"));
    }
}
