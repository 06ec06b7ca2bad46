//! The metadata on this node: the quorum that agrees on it, and the controller that decides changes while this node
//! is the leader.

mod active;
mod alter_partition;
mod batches;
mod brokers;
// Here because it looks inside the controller; it is a test of the whole broker.
#[cfg(test)]
#[path = "../tests/simulation/mod.rs"]
mod cluster_simulation;
mod command;
mod configs;
mod counts;
mod decide;
mod decommission;
mod discards;
mod elections;
pub(crate) mod features;
mod format;
mod grants;
mod group;
mod handle;
mod heard;
mod heartbeats;
mod liveness;
mod metadata_log;
mod min_insync_replicas;
mod partition_change;
mod partitions;
mod placement;
mod policy;
mod producer_ids;
mod publisher;
mod quorum;
mod quorum_state;
mod reassignments;
mod registration;
mod replayer;
mod runtime;
mod sessions;
#[cfg(test)]
mod simulation_test;
mod snapshot;
mod snapshot_files;
mod snapshots;
mod start;
mod suspicion;
#[cfg(test)]
mod testing;
mod topic_deletion;
mod topics;
mod upkeep;
mod voter;

pub(crate) use alter_partition::{AlterPartition, AlterPartitionError, AlteredPartition, ProposedIsr};
pub(crate) use brokers::BrokerEpochError;
pub(crate) use command::RestartWish;
pub(crate) use configs::{AlterConfigError, ConfigChange, ConfigEdit, Others, check_existence, scope_of};
pub(crate) use decommission::{Decommission, DecommissionError, decommission_progress};
pub(crate) use discards::DiscardError;
pub(crate) use elections::ElectionError;
pub(crate) use features::{Direction, FeatureUpdate, InvalidFeatureUpdate, supported_features};
pub(crate) use format::{FormatError, FormatPlan, format_directory};
pub(crate) use grants::{GrantError, GrantStatus};
pub(crate) use handle::{ControllerError, ControllerHandle};
pub(crate) use heartbeats::Heartbeat;
pub(crate) use partition_change::Election;
pub(crate) use partitions::{CreatePartitionsError, PartitionsSpec};
pub(crate) use placement::{AssignmentError, NoRoom};
pub(crate) use producer_ids::AllocateError;
pub(crate) use quorum::{QuorumDescription, QuorumHandle};
pub(crate) use reassignments::{FactorChange, ReassignmentError};
pub(crate) use registration::{Registration, RegistrationError};
pub(crate) use runtime::ControllerContext;
pub(crate) use start::{ControllerSite, ControllerStartError, ControllerThread, Starting, start};
pub(crate) use suspicion::{Probe, ProbeOutcome};
pub(crate) use topic_deletion::{DeleteTopicError, DeletedTopic, TopicDeletion, TopicSelector};
pub(crate) use topics::{
    CreateTopicError, CreatedTopic, TopicDefaults, TopicSpec, is_internal_topic, is_legal_topic_name,
};
pub(crate) use voter::Voter;
