//! Events beyond the quorum: messages that arrive, and deadlines.

use protocol::produce::CheckedBatch;
use protocol::types::{BrokerEpoch, BrokerId, IncarnationId, LeaderEpoch, Offset};

use crate::controller::alter_partition::{AlterPartition, AlteredPartitions};
use crate::controller::brokers::BrokerEpochError;
use crate::controller::heartbeats::{Heartbeat, HeartbeatAnswer};
use crate::controller::registration::{Registration, RegistrationError};
use crate::controller::suspicion::ProbeOutcome;
use crate::coordinator::simulated::Asked as AskedOfGroup;
use crate::replica::simulated::{Asked, Key, Portion, Told};

/// A client's number.
pub(super) type Client = usize;

/// A process of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Party {
    pub(super) node: usize,
    pub(super) life: u64,
}

/// The sender of a request, and the number by which it knows the answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    pub(super) party: Party,
    pub(super) request: u64,
}

#[derive(Debug)]
pub(super) enum Event {
    /// A broker checks what it has to do.
    Live(Party),
    /// An active controller checks what is due.
    Tick(Party, u64),
    Flush(Party),
    Sync(Party, Key),
    Command {
        to: usize,
        caller: Caller,
        command: ToController,
    },
    Answer {
        to: Caller,
        answer: Answer,
    },
    ConnectionLost {
        to: usize,
        broker: BrokerId,
        epoch: BrokerEpoch,
    },
    /// A broker is probed.
    Dial {
        from: Party,
        broker: BrokerId,
        epoch: BrokerEpoch,
        incarnation: IncarnationId,
    },
    Probed {
        to: Party,
        broker: BrokerId,
        epoch: BrokerEpoch,
        outcome: ProbeOutcome,
    },
    Fetch {
        to: usize,
        caller: Caller,
        epoch: BrokerEpoch,
        asked: Asked,
        waits_until: u64,
    },
    Fetched {
        to: Caller,
        asked: Asked,
        told: Told,
    },
    Produce {
        to: usize,
        client: Client,
        connection: (u64, u64),
        request: u64,
        key: Key,
        batch: CheckedBatch,
    },
    Produced {
        client: Client,
        request: u64,
        outcome: Produced,
    },
    Poll {
        to: usize,
        client: Client,
        request: u64,
        key: Key,
        offset: Offset,
        epoch: Option<LeaderEpoch>,
    },
    Polled {
        client: Client,
        request: u64,
        epoch: Option<LeaderEpoch>,
        outcome: Polled,
    },
    /// A client continues.
    Client(Client),
    /// A member of the group asks its coordinator.
    AskGroup {
        to: usize,
        asked: AskedOfGroup,
    },
    /// All members of the group continue.
    Members,
    /// The coordinators of a broker have a turn.
    Coordinate(Party),
    /// The cleaner of a broker looks at one of its logs.
    Clean(Party),
    /// A fault, or a request to the cluster.
    Disturb,
    /// All links are restored.
    LinksHeal,
}

#[derive(Debug, Clone)]
pub(super) enum ToController {
    Register(Registration),
    Heartbeat(Heartbeat),
    AlterPartition(AlterPartition),
}

#[derive(Debug)]
pub(super) enum Answer {
    Registered(Result<BrokerEpoch, RegistrationError>),
    Heartbeat(Result<HeartbeatAnswer, BrokerEpochError>),
    Altered(Result<AlteredPartitions, BrokerEpochError>),
    /// Its outcome is unknown.
    None,
}

/// The answer to a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Produced {
    Acknowledged {
        base: Offset,
        epoch: LeaderEpoch,
    },
    /// This leader has not seen the batches before this one.
    OutOfOrder {
        epoch: LeaderEpoch,
        /// Although this very batch is in its log.
        has_it: bool,
    },
    Refused,
}

#[derive(Debug, Clone)]
pub(super) enum Polled {
    /// The follower's records may be from before a loss that it does not know of.
    Read {
        portion: Portion,
        is_of_leader: bool,
    },
    OutOfRange {
        log_start: Offset,
        log_end: Offset,
    },
    Refused,
}

impl Event {
    /// The node of the event: a paused process notices nothing.
    pub(super) fn node(&self) -> Option<usize> {
        match self {
            Self::Live(party)
            | Self::Tick(party, _)
            | Self::Flush(party)
            | Self::Sync(party, _)
            | Self::Coordinate(party)
            | Self::Clean(party)
            | Self::Probed { to: party, .. } => Some(party.node),
            Self::Answer { to, .. } | Self::Fetched { to, .. } => Some(to.party.node),
            Self::Command { to, .. }
            | Self::ConnectionLost { to, .. }
            | Self::Fetch { to, .. }
            | Self::Produce { to, .. }
            | Self::AskGroup { to, .. }
            | Self::Poll { to, .. } => Some(*to),
            Self::Dial { .. }
            | Self::Produced { .. }
            | Self::Polled { .. }
            | Self::Client(_)
            | Self::Members
            | Self::Disturb
            | Self::LinksHeal => None,
        }
    }

    /// The only recipient.
    pub(super) fn party(&self) -> Option<Party> {
        match self {
            Self::Live(party)
            | Self::Tick(party, _)
            | Self::Flush(party)
            | Self::Sync(party, _)
            | Self::Coordinate(party)
            | Self::Clean(party)
            | Self::Probed { to: party, .. } => Some(*party),
            Self::Answer { to, .. } | Self::Fetched { to, .. } => Some(to.party),
            _ => None,
        }
    }
}
