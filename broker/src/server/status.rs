//! Status of the broker and of its cluster for the management API.

use protocol::metadata_records::control::Voter;
use serde::Serialize;

use crate::handlers::Broker;
use crate::metadata::QuorumView;
use crate::replica::{LoadProgress, OfflineReplica};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RecoveryStatus {
    logs_total: usize,
    logs_done: usize,
    /// Bytes beyond the recovery points.
    bytes_total: u64,
    bytes_done: u64,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BrokerStatus {
    pub(super) state: &'static str,
    pub(super) broker_id: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) recovery: Option<RecoveryStatus>,
    #[serde(flatten)]
    pub(super) running: Option<RunningStatus>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RunningStatus {
    cluster_id: String,
    directory_id: String,
    incarnation_id: String,
    broker_epoch: i64,
    bytes_used: u64,
    leaders: usize,
    replicas: usize,
    disk: DiskStatus,
    /// Logs that could not be opened. Clients get KAFKA_STORAGE_ERROR.
    offline_replicas: Vec<OfflineStatus>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DiskStatus {
    total_bytes: u64,
    available_bytes: u64,
    /// Producers are told to retry.
    is_low: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OfflineStatus {
    partition: String,
    reason: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClusterStatus {
    cluster_id: String,
    /// −1: the controller is not known.
    controller_id: i32,
    controller_epoch: i32,
    voters: Vec<VoterStatus>,
    brokers: Vec<ClusterBrokerStatus>,
    /// Brokers that may restart; empty unless this node is the controller.
    grants: Vec<i32>,
    partitions: PartitionCounts,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct VoterStatus {
    id: i32,
    directory_id: String,
    /// Committed records that it lacks; −1: unknown, on a node that is not the controller, or not known yet.
    lag: i64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ClusterBrokerStatus {
    id: i32,
    epoch: i64,
    state: &'static str,
    directories: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rack: Option<String>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct PartitionCounts {
    under_replicated: usize,
    at_min_isr: usize,
    offline: usize,
}

impl RecoveryStatus {
    pub(super) fn of(progress: &LoadProgress) -> Self {
        Self {
            logs_total: progress.logs_total(),
            logs_done: progress.logs_done(),
            bytes_total: progress.bytes_total(),
            bytes_done: progress.bytes_done(),
        }
    }
}

pub(super) fn running_status(broker: &Broker) -> RunningStatus {
    let image = broker.image.load();
    let registered = image.brokers.get(&broker.config.broker_id);
    RunningStatus {
        cluster_id: broker.identity.cluster_id.to_string(),
        directory_id: broker.identity.directory_id.to_string(),
        incarnation_id: broker.identity.incarnation_id.to_string(),
        broker_epoch: registered.map_or(-1, |registered| registered.epoch.0),
        bytes_used: broker.replicas.bytes_used(),
        leaders: broker.replicas.leader_count(),
        replicas: broker.replicas.partition_count(),
        disk: DiskStatus {
            total_bytes: broker.replicas.space().total_bytes(),
            available_bytes: broker.replicas.space().available_bytes(),
            is_low: broker.replicas.space().is_low(),
        },
        offline_replicas: broker.replicas.offline().into_iter().map(OfflineStatus::of).collect(),
    }
}

impl OfflineStatus {
    fn of(replica: OfflineReplica) -> Self {
        Self { partition: replica.partition.to_string(), reason: replica.reason }
    }
}

pub(super) fn cluster_status(broker: &Broker) -> ClusterStatus {
    let image = broker.image.load();
    let brokers = image.brokers.iter().map(|(id, registered)| ClusterBrokerStatus {
        id: id.0,
        epoch: registered.epoch.0,
        state: match (registered.fenced, registered.in_controlled_shutdown) {
            (_, true) => "ControlledShutdown",
            (true, false) => "Fenced",
            (false, false) => "Unfenced",
        },
        directories: registered.directories.iter().map(ToString::to_string).collect(),
        rack: registered.rack.clone(),
    });
    let mut partitions = PartitionCounts::default();
    for topic in image.topics.values() {
        let min_insync_replicas = broker.replicas.settings(&image, &topic.name).min_insync_replicas;
        for (_, partition) in topic.partitions() {
            partitions.under_replicated += usize::from(partition.isr.len() < partition.replicas.len());
            partitions.at_min_isr += usize::from(partition.isr.len() == min_insync_replicas);
            partitions.offline += usize::from(partition.leader.is_none());
        }
    }
    let view = broker.raft.view().borrow().clone();
    ClusterStatus {
        cluster_id: broker.identity.cluster_id.to_string(),
        controller_id: view.leader.as_ref().map_or(-1, |leader| leader.id.0),
        controller_epoch: view.epoch.0,
        voters: image.voters.iter().map(|voter| VoterStatus::of(voter, &view)).collect(),
        brokers: brokers.collect(),
        grants: view.granted.iter().map(|broker| broker.0).collect(),
        partitions,
    }
}

impl VoterStatus {
    fn of(voter: &Voter, view: &QuorumView) -> Self {
        let progress = view.voters.iter().find(|progress| progress.directory == voter.directory_id);
        let log_end = progress.and_then(|progress| progress.log_end);
        Self {
            id: voter.voter_id.0,
            directory_id: voter.directory_id.to_string(),
            lag: log_end.map_or(-1, |log_end| (view.high_watermark.0 - log_end.0).max(0)),
        }
    }
}
