//! Control records of the metadata log that concern the quorum. The runtime encodes them.

use protocol::types::BrokerId;

use crate::voters::VoterSet;

/// Level of the feature `kraft.version`. 1: the voters are in the log (KIP-853).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct KRaftVersion(pub i16);

impl KRaftVersion {
    /// Voters are identified by directory id and can be changed.
    pub const DYNAMIC_VOTERS: Self = Self(1);
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlRecord {
    /// The first record of every epoch.
    LeaderChange {
        leader: BrokerId,
        voters: Vec<BrokerId>,
        granting_voters: Vec<BrokerId>,
    },
    KRaftVersion(KRaftVersion),
    KRaftVoters(VoterSet),
}

/// The state that the control records up to some offset add up to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Quorum {
    pub kraft_version: KRaftVersion,
    pub voters: VoterSet,
}
