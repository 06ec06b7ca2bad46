//! The metadata quorum's leader on this node: decides on changes of the cluster, writes them down, tells the broker.

mod brokers;
mod configs;
pub(crate) mod features;
mod format;
mod handle;
mod metadata_log;
mod partition_change;
mod placement;
mod producer_ids;
mod quorum_state;
mod runtime;
mod topics;
mod voter;

pub(crate) use brokers::Registration;
pub(crate) use configs::{AlterConfigError, ConfigChange, ConfigEdit, Others, check_existence, scope_of};
pub(crate) use format::{FormatError, FormatPlan, format_directory};
pub(crate) use handle::{ControllerError, ControllerHandle};
pub(crate) use producer_ids::ProducerIdAllocator;
pub(crate) use runtime::{Controller, ControllerContext, ControllerStartError, ControllerThread};
pub(crate) use topics::{CreateTopicError, CreatedTopic, TopicDefaults, TopicSpec, is_internal_topic};
pub(crate) use voter::Voter;
