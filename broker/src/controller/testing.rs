//! The controller without a log: everything it decides is committed at once.

use std::sync::Arc;
use std::time::Duration;

use protocol::config::{Scope, Values};
use protocol::types::{BrokerId, DirectoryId, IncarnationId};
use tokio::sync::{mpsc, oneshot};

use super::command::{Command, Reply};
use super::decide::Decider;
use super::group::Group;
use super::handle::Outside;
use super::heard::Heard;
use super::runtime::ControllerContext;
use super::suspicion::Probe;
use super::topics::TopicDefaults;
use crate::metadata::Image;

pub(super) const CLUSTER: &str = "4L6g3nShT-eMCtK--X86sw";
pub(super) const MIN_INSYNC_REPLICAS: usize = 2;

pub(super) struct Bench {
    pub(super) now: Duration,
    pub(super) decider: Decider,
    pub(super) probes: mpsc::Receiver<Probe>,
    pub(super) image: Image,
    /// The image after each batch.
    pub(super) images: Vec<Image>,
}

/// A node that is not one of the brokers.
fn context() -> ControllerContext {
    let minimum = MIN_INSYNC_REPLICAS.to_string();
    let (file_values, errors) = Values::parse(Scope::Broker, [("min.insync.replicas", minimum.as_str())]);
    assert!(errors.is_empty(), "{errors:?}");
    ControllerContext {
        id: BrokerId(100),
        directory_id: DirectoryId::default(),
        cluster_id: CLUSTER.parse().unwrap(),
        incarnation: IncarnationId::default(),
        topic_defaults: TopicDefaults { partitions: 1, replication_factor: 3 },
        broker_replicas_max: 100_000,
        session_timeout: file_values.get_millis("broker.session.timeout.ms"),
        file_values,
    }
}

impl Bench {
    /// Active since the first second.
    pub(super) fn new(image: Image) -> Self {
        let (sender, probes) = mpsc::channel(64);
        let outside = Outside { heard: Arc::new(Heard::default()), probes: sender };
        let (decider, now) = (Decider::new(context(), outside), Duration::from_secs(1));
        let mut bench = Self { now, decider, probes, image, images: Vec::new() };
        bench.decider.activated(&bench.image, now);
        bench
    }

    /// The controller's answer.
    pub(super) fn ask<T>(&mut self, command: impl FnOnce(Reply<T>) -> Command) -> T {
        let (reply, mut answer) = oneshot::channel();
        self.tell(command(reply));
        answer.try_recv().unwrap().unwrap()
    }

    pub(super) fn tell(&mut self, command: Command) {
        let mut next = Some(command);
        while let Some(command) = next {
            let mut group = Group::new(&self.image);
            next = self.decider.decide(&mut group, command, self.now);
            self.commit(group);
        }
    }

    /// Returns when it wants to be called again.
    pub(super) fn tick(&mut self) -> Duration {
        let mut group = Group::new(&self.image);
        let deadline = self.decider.tick(&mut group, self.now);
        self.commit(group);
        deadline
    }

    fn commit(&mut self, group: Group) {
        self.images.extend(group.batches.into_iter().map(|batch| batch.image));
        if let Some(last) = self.images.last() {
            self.image = last.clone();
        }
        group.answers.into_iter().for_each(|pending| (pending.answer)(Ok(())));
    }
}
