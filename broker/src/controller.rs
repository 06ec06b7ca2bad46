//! The metadata quorum's leader on this node: decides on changes of the cluster, writes them down, tells the broker.

mod brokers;
mod configs;
mod decide;
mod elections;
pub(crate) mod features;
mod format;
mod group;
mod handle;
mod metadata_log;
mod min_insync_replicas;
mod partition_change;
mod partitions;
mod placement;
mod producer_ids;
mod quorum_state;
mod reassignments;
mod runtime;
mod topic_deletion;
mod topics;
mod voter;

pub(crate) use brokers::Registration;
pub(crate) use configs::{AlterConfigError, ConfigChange, ConfigEdit, Others, check_existence, scope_of};
pub(crate) use elections::ElectionError;
pub(crate) use features::{Direction, FeatureUpdate, InvalidFeatureUpdate};
pub(crate) use format::{FormatError, FormatPlan, format_directory};
pub(crate) use handle::{ControllerError, ControllerHandle};
pub(crate) use partition_change::Election;
pub(crate) use partitions::{CreatePartitionsError, PartitionsSpec};
pub(crate) use placement::AssignmentError;
pub(crate) use producer_ids::ProducerIdAllocator;
pub(crate) use reassignments::{FactorChange, ReassignmentError};
pub(crate) use runtime::{Controller, ControllerContext, ControllerStartError, ControllerThread};
pub(crate) use topic_deletion::{DeleteTopicError, DeletedTopic, TopicDeletion, TopicSelector};
pub(crate) use topics::{
    CreateTopicError, CreatedTopic, TopicDefaults, TopicSpec, is_internal_topic, is_legal_topic_name,
};
pub(crate) use voter::Voter;
