//! Carries out a plan: the steps in order with events of what was done, then the status with events of its changes.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use kube::core::Status;
use kube::runtime::controller::Action;
use kube::{Client, Resource, ResourceExt as _};
use serde_json::json;

use crate::admin::{AdminError, BrokerAdmin};
use crate::crd::{KafkaCluster, KafkaClusterStatus};
use crate::grant::{self, NotYet};
use crate::manifest::Manifest;
use crate::metrics::Metrics;
use crate::names::MANAGER;
use crate::notice::{Notice, transitions};
use crate::observe::{Observed, Refusal};
use crate::plan::{Plan, Step, look_again};
use crate::status::{self, Persistence};

/// Kubernetes limits notes to 1024 bytes.
const EVENT_BYTES_MAX: usize = 1000;
const LOOK_AFTER_FAILURE: Duration = Duration::from_secs(2);
/// Leaders move in moments.
const LOOK_WHILE_HANDED_OVER: Duration = Duration::from_millis(500);
/// Unless something else changes it will be refused again.
const LOOK_AFTER_REFUSAL: Duration = Duration::from_secs(30);

/// A failed step. Of the API server's answer only the message is useful to people.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error("{what}: {}", .answer.message)]
    Refused { what: String, answer: Box<Status> },
    #[error("{what}: {source}")]
    Kubernetes { what: String, source: Box<kube::Error> },
    #[error("{what}: {source}")]
    Broker { what: String, source: AdminError },
}

impl StepError {
    fn kubernetes(what: &impl ToString, source: kube::Error) -> Self {
        let what = what.to_string();
        match source {
            kube::Error::Api(answer) => Self::Refused { what, answer },
            source => Self::Kubernetes { what, source: Box::new(source) },
        }
    }

    /// Whether only another manifest, or other rights, can help. Not for an expired login, a conflict, an object that
    /// has been deleted since it was observed, or an API server that is busy.
    fn is_lasting(&self) -> bool {
        let lasts = |code: u16| matches!(code, 400 | 402 | 403 | 405..=407 | 410..=428 | 430..=499);
        matches!(self, Self::Refused { answer, .. } if lasts(answer.code))
    }
}

/// The outcome of a step that did not fail.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    /// Not yet. Later steps do not depend on it.
    Waits(Wait),
}

#[derive(Debug, PartialEq, Eq)]
struct Wait {
    reason: String,
    is_short: bool,
}

/// The outcome of all steps.
#[derive(Debug, Default)]
struct Taken<'a> {
    done: Vec<&'a Step>,
    wait: Option<Wait>,
    failure: Option<StepError>,
}

#[derive(Debug, thiserror::Error)]
#[error("could not write the status of KafkaCluster {name}: {source}")]
pub struct StatusError {
    name: String,
    source: Box<kube::Error>,
}

/// The targets of effects.
#[expect(missing_debug_implementations, reason = "kube's client has none")]
pub struct Executor<'a> {
    pub client: &'a Client,
    pub admin: &'a dyn BrokerAdmin,
    pub namespace: &'a str,
    /// The name with which events are signed.
    pub instance: &'a str,
    pub metrics: &'a Metrics,
}

pub async fn apply(
    executor: &Executor<'_>,
    observed: &Observed,
    plan: Plan,
    now: Timestamp,
) -> Result<Action, StatusError> {
    let cluster = &observed.cluster;
    let taken = executor.take_all(&plan.steps).await;
    let before = cluster.status.clone().unwrap_or_default();
    let (status, look_again) = match (taken.failure, taken.wait) {
        (None, None) => (plan.status, plan.look_again),
        (None, Some(wait)) => {
            let status = status::with_wait(plan.status, &before, &wait.reason, now);
            let pause = if wait.is_short { LOOK_WHILE_HANDED_OVER } else { look_again(&status, false, now) };
            (status, pause)
        }
        (Some(failure), _) => {
            tracing::warn!(namespace = executor.namespace, cluster = cluster.name_any(), %failure, "step refused");
            let (persistence, pause) = if failure.is_lasting() {
                (Persistence::Lasting, LOOK_AFTER_REFUSAL)
            } else {
                (Persistence::Passing, LOOK_AFTER_FAILURE)
            };
            (status::with_failure(plan.status, &before, &failure.to_string(), persistence, now), pause)
        }
    };
    // Whether or not the status can be written.
    for notice in taken.done.into_iter().filter_map(Notice::of) {
        executor.publish(cluster, notice, now).await;
    }
    executor.tell(cluster, &before, &status, now).await?;
    Ok(Action::requeue(look_again))
}

impl Executor<'_> {
    /// The operator cannot read what it needs: nothing is decided, and the status keeps what was known.
    pub async fn tell_unseen<K: Resource<DynamicType = ()>>(
        &self,
        cluster: &K,
        before: KafkaClusterStatus,
        refusal: &Refusal,
        now: Timestamp,
    ) -> Result<(), StatusError> {
        let status = status::unseen(before.clone(), refusal, cluster.meta().generation, now);
        self.tell(cluster, &before, &status, now).await
    }

    async fn tell<K: Resource<DynamicType = ()>>(
        &self,
        cluster: &K,
        before: &KafkaClusterStatus,
        status: &KafkaClusterStatus,
        now: Timestamp,
    ) -> Result<(), StatusError> {
        self.metrics.tell(self.namespace, &cluster.name_any(), status);
        if before != status {
            self.write_status(cluster, status).await?;
        }
        for notice in transitions(before, status) {
            self.publish(cluster, notice, now).await;
        }
        Ok(())
    }

    /// Stops at the first failed step on which later ones may depend.
    async fn take_all<'s>(&self, steps: &'s [Step]) -> Taken<'s> {
        let mut taken = Taken::default();
        for step in steps {
            match self.take(step).await {
                Ok(Outcome::Done) => {
                    tracing::info!(namespace = self.namespace, %step, "step applied");
                    taken.done.push(step);
                }
                Ok(Outcome::Waits(wait)) => taken.wait = Some(wait),
                Err(error) => {
                    taken.failure = taken.failure.take().or(Some(error));
                    if step.comes_first() {
                        break;
                    }
                }
            }
        }
        taken
    }

    async fn take(&self, step: &Step) -> Result<Outcome, StepError> {
        let done = match step {
            Step::Create(manifest) => self.create(manifest).await,
            Step::Apply(manifest) => self.apply(manifest).await,
            Step::Merge { change, .. } => self.merge(change).await,
            Step::Delete(manifest) => self.delete(manifest).await,
            Step::SetOptions { target, changes } => {
                let set = self.admin.set_options(target.clone(), changes.clone()).await;
                set.map_err(|source| StepError::Broker { what: step.to_string(), source })
            }
            Step::ChangeVoters { target, change } => {
                match self.admin.change_voters(target.clone(), change.clone()).await {
                    Err(AdminError::Kafka { reason, .. }) => {
                        let reason = format!("could not {step} yet: {reason}");
                        return Ok(Outcome::Waits(Wait { reason, is_short: false }));
                    }
                    changed => changed.map_err(|source| StepError::Broker { what: step.to_string(), source }),
                }
            }
            Step::Restart { broker, pod, uid, grant, .. } => {
                if let Some(call) = grant {
                    let asked = grant::ask(self.admin, call).await;
                    let what = || format!("ask whether broker {broker} may restart");
                    let granted = asked.map_err(|source| StepError::Broker { what: what(), source })?;
                    if let Err(not_yet) = granted {
                        let reason = format!("broker {broker} is not restarted yet: {not_yet}");
                        let is_short = matches!(not_yet, NotYet::HandsOver { .. });
                        return Ok(Outcome::Waits(Wait { reason, is_short }));
                    }
                }
                self.delete_pod(pod, uid).await
            }
            Step::Format { broker, target, request } => {
                let formatted = self.admin.format(target.clone(), request.clone()).await;
                formatted.map_err(|source| StepError::Broker { what: format!("format broker {broker}"), source })
            }
        };
        done.map(|()| Outcome::Done)
    }

    async fn create(&self, manifest: &Manifest) -> Result<(), StepError> {
        let object: DynamicObject = parse(manifest)?;
        let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let created = self.api(manifest).create(&parameters, &object).await;
        created.map(drop).map_err(|source| StepError::kubernetes(&manifest.key(), source))
    }

    /// The operator's fields override other writers': it only ever sends objects that are its own.
    async fn apply(&self, manifest: &Manifest) -> Result<(), StepError> {
        let parameters = PatchParams::apply(MANAGER).force();
        let applied = self.api(manifest).patch(&manifest.name, &parameters, &Patch::Apply(&manifest.body)).await;
        applied.map(drop).map_err(|source| StepError::kubernetes(&manifest.key(), source))
    }

    async fn merge(&self, manifest: &Manifest) -> Result<(), StepError> {
        let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let merged = self.api(manifest).patch(&manifest.name, &parameters, &Patch::Merge(&manifest.body)).await;
        merged.map(drop).map_err(|source| StepError::kubernetes(&manifest.key(), source))
    }

    async fn delete(&self, manifest: &Manifest) -> Result<(), StepError> {
        match self.api(manifest).delete(&manifest.name, &DeleteParams::background()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            deleted => deleted.map(drop).map_err(|source| StepError::kubernetes(&manifest.key(), source)),
        }
    }

    /// In the background, otherwise network plugins cut the pod off before the broker has shut down.
    async fn delete_pod(&self, name: &str, uid: &str) -> Result<(), StepError> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), self.namespace);
        let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
        api.delete(name, &parameters)
            .await
            .map(drop)
            .map_err(|source| StepError::kubernetes(&format!("Pod {name}"), source))
    }

    /// Of a cluster whose spec may be one that this operator cannot read.
    async fn write_status<K: Resource<DynamicType = ()>>(
        &self,
        cluster: &K,
        status: &KafkaClusterStatus,
    ) -> Result<(), StatusError> {
        let resource = ApiResource::erase::<KafkaCluster>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), self.namespace, &resource);
        let name = cluster.name_any();
        let body = json!({
            "apiVersion": KafkaCluster::api_version(&()),
            "kind": KafkaCluster::kind(&()),
            "metadata": { "name": name, "uid": cluster.meta().uid },
            "status": status,
        });
        let written = api.patch_status(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&body)).await;
        written.map(drop).map_err(|source| StatusError { name, source: Box::new(source) })
    }

    /// Events are for people: one that cannot be written must not hold up the cluster. Each is about one transition,
    /// so they are not aggregated: two refusals with different messages are two events.
    async fn publish<K: Resource<DynamicType = ()>>(&self, cluster: &K, notice: Notice, now: Timestamp) {
        let event = Event {
            metadata: ObjectMeta {
                generate_name: Some(format!("{}-", cluster.name_any())),
                namespace: Some(self.namespace.to_owned()),
                ..ObjectMeta::default()
            },
            type_: Some(notice.severity.to_string()),
            reason: Some(notice.reason.to_owned()),
            action: Some(notice.reason.to_owned()),
            note: Some(notice.note[..notice.note.floor_char_boundary(EVENT_BYTES_MAX)].to_owned()),
            regarding: Some(cluster.object_ref(&())),
            event_time: Some(MicroTime(now)),
            reporting_controller: Some(MANAGER.to_owned()),
            reporting_instance: Some(self.instance.to_owned()),
            ..Event::default()
        };
        let api: Api<Event> = Api::namespaced(self.client.clone(), self.namespace);
        if let Err(error) = api.create(&PostParams::default(), &event).await {
            let error = StepError::kubernetes(&"Event", error);
            tracing::warn!(namespace = self.namespace, cluster = cluster.name_any(), %error, "event not published");
        }
    }

    fn api(&self, manifest: &Manifest) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), self.namespace, &manifest.resource)
    }
}

fn parse(manifest: &Manifest) -> Result<DynamicObject, StepError> {
    serde_json::from_value(manifest.body.clone())
        .map_err(|error| StepError::kubernetes(&manifest.key(), kube::Error::SerdeError(error)))
}

#[cfg(test)]
#[path = "apply_test.rs"]
mod apply_test;
