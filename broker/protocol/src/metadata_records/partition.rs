//! The state of a partition and its changes.

use super::DecodeError;
use super::broker::{put_directories, take_directories};
use super::wire::{Reader, Tag, Tags, Writer};
use crate::types::{BrokerId, DirectoryId, LeaderEpoch, PartitionEpoch, PartitionId, TopicId};

const NO_LEADER: i32 = -1;
const LEADER_UNCHANGED: i32 = -2;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionRecord {
    pub partition_id: PartitionId,
    pub topic_id: TopicId,
    /// The preferred leader first.
    pub replicas: Vec<BrokerId>,
    pub isr: Vec<BrokerId>,
    pub removing_replicas: Vec<BrokerId>,
    pub adding_replicas: Vec<BrokerId>,
    pub leader: Option<BrokerId>,
    pub leader_recovery_state: LeaderRecoveryState,
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: PartitionEpoch,
    /// One for each of `replicas`, in the same order.
    pub directories: Vec<DirectoryId>,
    pub eligible_leader_replicas: Vec<BrokerId>,
    pub last_known_elr: Vec<BrokerId>,
}

/// `None`: unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionChangeRecord {
    pub partition_id: PartitionId,
    pub topic_id: TopicId,
    pub isr: Option<Vec<BrokerId>>,
    pub leader: LeaderUpdate,
    pub replicas: Option<Vec<BrokerId>>,
    pub removing_replicas: Option<Vec<BrokerId>>,
    pub adding_replicas: Option<Vec<BrokerId>>,
    pub leader_recovery_state: Option<LeaderRecoveryState>,
    pub directories: Option<Vec<DirectoryId>>,
    pub eligible_leader_replicas: Option<Vec<BrokerId>>,
    pub last_known_elr: Option<Vec<BrokerId>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LeaderUpdate {
    #[default]
    Unchanged,
    Nobody,
    Broker(BrokerId),
}

/// Whether the leader was elected uncleanly and has not yet recovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LeaderRecoveryState {
    #[default]
    Recovered = 0,
    Recovering = 1,
}

impl PartitionRecord {
    pub(super) fn encode(&self, w: &mut Writer) {
        w.i32(self.partition_id.0);
        w.uuid(self.topic_id.0);
        put_brokers(w, &self.replicas);
        put_brokers(w, &self.isr);
        put_brokers(w, &self.removing_replicas);
        put_brokers(w, &self.adding_replicas);
        w.i32(self.leader.map_or(NO_LEADER, |leader| leader.0));
        w.i32(self.leader_epoch.0);
        w.i32(self.partition_epoch.0);
        put_directories(w, &self.directories);
        let mut tags = Tags::default();
        if self.leader_recovery_state != LeaderRecoveryState::Recovered {
            tags.put(0, |w| w.i8(self.leader_recovery_state as i8));
        }
        // As in Kafka, an empty list is left out.
        for (tag, brokers) in [(1, &self.eligible_leader_replicas), (2, &self.last_known_elr)] {
            if !brokers.is_empty() {
                tags.put(tag, |w| put_brokers(w, brokers));
            }
        }
        w.tags(tags);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut record = Self {
            partition_id: PartitionId(r.i32("partition id")?),
            topic_id: TopicId(r.uuid("topic id")?),
            replicas: take_brokers(r, "replicas")?,
            isr: take_brokers(r, "isr")?,
            removing_replicas: take_brokers(r, "removing replicas")?,
            adding_replicas: take_brokers(r, "adding replicas")?,
            leader: match r.i32("leader")? {
                NO_LEADER => None,
                id => Some(BrokerId(id)),
            },
            leader_recovery_state: LeaderRecoveryState::Recovered,
            leader_epoch: LeaderEpoch(r.i32("leader epoch")?),
            partition_epoch: PartitionEpoch(r.i32("partition epoch")?),
            directories: take_directories(r)?,
            eligible_leader_replicas: Vec::new(),
            last_known_elr: Vec::new(),
        };
        r.tags(|tag, r| {
            match tag {
                0 => record.leader_recovery_state = LeaderRecoveryState::decode(r)?.unwrap_or_default(),
                1 => {
                    record.eligible_leader_replicas = take_nullable_brokers(r, "eligible leaders")?.unwrap_or_default();
                }
                2 => record.last_known_elr = take_nullable_brokers(r, "last known elr")?.unwrap_or_default(),
                _ => return Ok(Tag::Unknown),
            }
            Ok(Tag::Known)
        })?;
        Ok(record)
    }
}

impl PartitionChangeRecord {
    /// A change of nothing.
    pub fn new(topic_id: TopicId, partition_id: PartitionId) -> Self {
        Self {
            partition_id,
            topic_id,
            isr: None,
            leader: LeaderUpdate::Unchanged,
            replicas: None,
            removing_replicas: None,
            adding_replicas: None,
            leader_recovery_state: None,
            directories: None,
            eligible_leader_replicas: None,
            last_known_elr: None,
        }
    }

    pub(super) fn encode(&self, w: &mut Writer) {
        w.i32(self.partition_id.0);
        w.uuid(self.topic_id.0);
        let mut tags = Tags::default();
        put_tag(&mut tags, 0, self.isr.as_deref());
        match self.leader {
            LeaderUpdate::Unchanged => {}
            LeaderUpdate::Nobody => tags.put(1, |w| w.i32(NO_LEADER)),
            LeaderUpdate::Broker(leader) => tags.put(1, |w| w.i32(leader.0)),
        }
        put_tag(&mut tags, 2, self.replicas.as_deref());
        put_tag(&mut tags, 3, self.removing_replicas.as_deref());
        put_tag(&mut tags, 4, self.adding_replicas.as_deref());
        if let Some(state) = self.leader_recovery_state {
            tags.put(5, |w| w.i8(state as i8));
        }
        put_tag(&mut tags, 6, self.eligible_leader_replicas.as_deref());
        put_tag(&mut tags, 7, self.last_known_elr.as_deref());
        if let Some(directories) = &self.directories {
            tags.put(8, |w| put_directories(w, directories));
        }
        w.tags(tags);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let partition_id = PartitionId(r.i32("partition id")?);
        let mut record = Self::new(TopicId(r.uuid("topic id")?), partition_id);
        r.tags(|tag, r| {
            match tag {
                0 => record.isr = take_nullable_brokers(r, "isr")?,
                1 => {
                    record.leader = match r.i32("leader")? {
                        LEADER_UNCHANGED => LeaderUpdate::Unchanged,
                        NO_LEADER => LeaderUpdate::Nobody,
                        id => LeaderUpdate::Broker(BrokerId(id)),
                    }
                }
                2 => record.replicas = take_nullable_brokers(r, "replicas")?,
                3 => record.removing_replicas = take_nullable_brokers(r, "removing replicas")?,
                4 => record.adding_replicas = take_nullable_brokers(r, "adding replicas")?,
                5 => record.leader_recovery_state = LeaderRecoveryState::decode(r)?,
                6 => record.eligible_leader_replicas = take_nullable_brokers(r, "eligible leaders")?,
                7 => record.last_known_elr = take_nullable_brokers(r, "last known elr")?,
                8 => {
                    record.directories =
                        r.nullable_array("directories", 16, |r| r.uuid("directory").map(DirectoryId))?;
                }
                _ => return Ok(Tag::Unknown),
            }
            Ok(Tag::Known)
        })?;
        Ok(record)
    }
}

impl LeaderRecoveryState {
    /// `None`: −1, unchanged.
    fn decode(r: &mut Reader<'_>) -> Result<Option<Self>, DecodeError> {
        let field = "leader recovery state";
        match r.i8(field)? {
            -1 => Ok(None),
            0 => Ok(Some(Self::Recovered)),
            1 => Ok(Some(Self::Recovering)),
            other => Err(DecodeError::BadValue { field, found: other.into() }),
        }
    }
}

fn put_tag(tags: &mut Tags, tag: u32, brokers: Option<&[BrokerId]>) {
    if let Some(brokers) = brokers {
        tags.put(tag, |w| put_brokers(w, brokers));
    }
}

fn put_brokers(w: &mut Writer, brokers: &[BrokerId]) {
    w.array(brokers, |w, broker| w.i32(broker.0));
}

fn take_brokers(r: &mut Reader<'_>, field: &'static str) -> Result<Vec<BrokerId>, DecodeError> {
    r.array(field, 4, |r| r.i32(field).map(BrokerId))
}

fn take_nullable_brokers(r: &mut Reader<'_>, field: &'static str) -> Result<Option<Vec<BrokerId>>, DecodeError> {
    r.nullable_array(field, 4, |r| r.i32(field).map(BrokerId))
}
