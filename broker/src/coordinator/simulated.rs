//! The coordinators of a broker without their thread, whose work a simulation of the cluster does step by step. And
//! members of a group to go with them.

mod client;
pub(super) mod members;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::oneshot;

use super::config::GroupConfig;
use super::coordinators::Coordinators;
use super::log::GroupLogs;
use super::member::GroupId;
use super::request::GroupRequest;
use super::runtime::{Load, Loaded, Runtime};
use crate::metadata::Image;

pub(crate) use members::{Asked, Checked, GROUP, Members, Patience, Surroundings, Violation};

/// Timeouts of the simulation, which runs many times as fast as the defaults.
const CONFIG: GroupConfig = GroupConfig {
    session_timeout_ms_min: 1,
    session_timeout_ms_max: 60_000,
    initial_rebalance_delay: Duration::from_millis(60),
    group_size_max: 100,
    offset_metadata_bytes_max: 64,
    offsets_retention: Duration::from_hours(24),
    retention_check_interval: Duration::from_hours(1),
    commit_timeout: Duration::from_millis(250),
};

/// Lives as long as a broker's process.
pub(crate) struct SimulatedCoordinators {
    coordinators: Arc<Coordinators>,
    runtime: Runtime,
    /// Loaded shards that are not taken over yet.
    loaded: Vec<Loaded>,
}

impl SimulatedCoordinators {
    pub(crate) fn new(logs: Arc<dyn GroupLogs>, image: Arc<ArcSwap<Image>>) -> Self {
        let coordinators = Arc::new(Coordinators::new(logs));
        let runtime = Runtime::new(coordinators.clone(), CONFIG, Arc::default(), image);
        Self { coordinators, runtime, loaded: Vec::new() }
    }

    /// The metadata has changed, and perhaps what this broker leads.
    pub(crate) fn follow_metadata(&mut self) {
        self.runtime.follow_metadata();
    }

    /// A turn of the thread. What is loaded in one turn is taken over in the next.
    pub(crate) fn wake(&mut self) {
        for loaded in std::mem::take(&mut self.loaded) {
            self.runtime.loaded(loaded);
        }
        self.runtime.wake();
        self.loaded.extend(self.runtime.take_loads().into_iter().map(Load::run));
    }

    /// Checks all committed offsets, if this is the coordinator.
    pub(crate) fn check(&self, members: &mut Members) -> Checked {
        let (reply, mut waiting) = oneshot::channel();
        self.ask(Asked(GroupRequest::FetchOffsets(None, reply)));
        match waiting.try_recv() {
            Ok(Ok(fetched)) => members.see_all(&fetched),
            _ => Ok(()),
        }
    }

    pub(crate) fn ask(&self, Asked(request): Asked) {
        self.coordinators.ask(&GroupId(GROUP.into()), request);
    }
}
