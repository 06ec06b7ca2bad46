//! One file per invariant: of the cluster at every moment, and of what clients saw in the end.

pub(super) mod committed_prefix;
pub(super) mod compaction;
pub(super) mod in_sync_replicas;
pub(super) mod leader_completeness;
pub(super) mod on_disk;
pub(super) mod partition_state;
pub(super) mod taking_back;
pub(super) mod volumes;

pub(super) mod duplicates;
pub(super) mod inconsistent_offsets;
pub(super) mod lost_writes;
pub(super) mod order_of_sends;
pub(super) mod polls;
pub(super) mod producers;
pub(super) mod replicas_agree;
