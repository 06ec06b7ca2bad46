//! Group members as raw connections, so that almost none of a client's own work is measured.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    FindCoordinatorRequest, GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, OffsetCommitRequest,
    OffsetFetchRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;

use crate::admin::topic_name;
use crate::connection::{Connection, PATIENCE, encode};

/// The last versions whose members join at once, and that have no tagged fields.
const JOIN_VERSION: i16 = 3;
const SYNC_VERSION: i16 = 2;
const HEARTBEAT_VERSION: i16 = 2;
const COMMIT_VERSION: i16 = 7;
const FETCH_VERSION: i16 = 5;
const RETRY_PAUSE: Duration = Duration::from_millis(5);
/// Kafka's default for consumers.
const SESSION_MS: i32 = 45_000;
const REBALANCE_MS: i32 = 300_000;
/// About the size of a consumer's subscription to one topic, and of its assignment.
const SUBSCRIPTION_BYTES: usize = 60;
const ASSIGNMENT_BYTES: usize = 60;
/// Marks the place of the offset in an encoded request.
const PLACEHOLDER: i64 = 0x0123_4567_89AB_CDEF;

pub(super) fn group_id(name: &str) -> GroupId {
    GroupId(StrBytes::from_string(name.to_owned()))
}

/// Returns when the group has a coordinator that has loaded its log.
pub(super) fn wait_for_coordinator(connection: &mut Connection, group: &str) -> Result<()> {
    let find = FindCoordinatorRequest::default().with_key(StrBytes::from_string(group.to_owned()));
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if connection.call(0, &find)?.error_code == 0 && committed(connection, group).is_ok() {
            return Ok(());
        }
        thread::sleep(RETRY_PAUSE);
    }
    bail!("nobody coordinates {group}")
}

/// All offsets of a group.
pub(super) fn committed(connection: &mut Connection, group: &str) -> Result<Vec<i64>> {
    let request = OffsetFetchRequest::default().with_group_id(group_id(group)).with_topics(None);
    let fetched = connection.call(FETCH_VERSION, &request)?;
    ensure!(fetched.error_code == 0, "OffsetFetch failed with error {}", fetched.error_code);
    let partitions = fetched.topics.iter().flat_map(|topic| &topic.partitions);
    Ok(partitions.map(|partition| partition.committed_offset).collect())
}

/// An OffsetCommit request of a consumer that assigns its partitions itself, with another offset each time.
pub(super) struct CommitFrame {
    bytes: BytesMut,
    /// The places of the offsets.
    places: Vec<usize>,
}

impl CommitFrame {
    /// For partitions 0 to `partitions`.
    pub(super) fn new(group: &str, topic: &str, partitions: i32) -> Result<Self> {
        let offset = |index| {
            OffsetCommitRequestPartition::default().with_partition_index(index).with_committed_offset(PLACEHOLDER)
        };
        let topic = OffsetCommitRequestTopic::default()
            .with_name(topic_name(topic))
            .with_partitions((0..partitions).map(offset).collect());
        let request = OffsetCommitRequest::default().with_group_id(group_id(group)).with_topics(vec![topic]);
        let bytes = encode(COMMIT_VERSION, &request)?;
        let placeholder = PLACEHOLDER.to_be_bytes();
        let found = bytes.windows(placeholder.len()).enumerate().filter(|(_, window)| *window == placeholder);
        let places = found.map(|(place, _)| place).collect();
        Ok(Self { bytes, places })
    }

    /// Returns when it is committed.
    pub(super) fn commit(&mut self, connection: &mut Connection, offset: i64) -> Result<()> {
        for place in &self.places {
            self.bytes[*place..*place + 8].copy_from_slice(&offset.to_be_bytes());
        }
        connection.send(&mut self.bytes)?;
        let answer = connection.receive::<OffsetCommitRequest>(COMMIT_VERSION)?;
        let codes =
            answer.topics.iter().flat_map(|topic| topic.partitions.iter().map(|partition| partition.error_code));
        let failed = codes.filter(|code| *code != 0).count();
        ensure!(failed == 0, "{failed} offsets were not committed");
        Ok(())
    }
}

/// A member on its own connection, in groups that consist of such members.
pub(super) struct Member {
    connection: Connection,
    group: GroupId,
    id: StrBytes,
    generation: i32,
    heartbeat: BytesMut,
}

impl Member {
    pub(super) fn open(address: SocketAddr, group: &str) -> Result<Self> {
        Ok(Self {
            connection: Connection::open(address)?,
            group: group_id(group),
            id: StrBytes::default(),
            generation: -1,
            heartbeat: BytesMut::new(),
        })
    }

    fn send_join(&mut self) -> Result<()> {
        // Consumers send what they owned so far: in no generation is it the same as in the last.
        let subscription = [&vec![0; SUBSCRIPTION_BYTES][..], &self.generation.to_be_bytes()].concat();
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(StrBytes::from_static_str("range"))
            .with_metadata(Bytes::from(subscription));
        let request = JoinGroupRequest::default()
            .with_group_id(self.group.clone())
            .with_session_timeout_ms(SESSION_MS)
            .with_rebalance_timeout_ms(REBALANCE_MS)
            .with_member_id(self.id.clone())
            .with_protocol_type(StrBytes::from_static_str("consumer"))
            .with_protocols(vec![protocol]);
        self.connection.send(&mut encode(JOIN_VERSION, &request)?)
    }

    fn receive_join(&mut self) -> Result<JoinGroupResponse> {
        let joined = self.connection.receive::<JoinGroupRequest>(JOIN_VERSION)?;
        ensure!(joined.error_code == 0, "JoinGroup failed with error {}", joined.error_code);
        self.id = joined.member_id.clone();
        self.generation = joined.generation_id;
        let heartbeat = HeartbeatRequest::default()
            .with_group_id(self.group.clone())
            .with_generation_id(self.generation)
            .with_member_id(self.id.clone());
        self.heartbeat = encode(HEARTBEAT_VERSION, &heartbeat)?;
        Ok(joined)
    }

    fn send_sync(&mut self, joined: &JoinGroupResponse) -> Result<()> {
        let assigned = joined.members.iter().map(|member| {
            SyncGroupRequestAssignment::default()
                .with_member_id(member.member_id.clone())
                .with_assignment(Bytes::from(vec![7; ASSIGNMENT_BYTES]))
        });
        let request = SyncGroupRequest::default()
            .with_group_id(self.group.clone())
            .with_generation_id(self.generation)
            .with_member_id(self.id.clone())
            .with_assignments(assigned.collect());
        self.connection.send(&mut encode(SYNC_VERSION, &request)?)
    }

    fn receive_sync(&mut self) -> Result<()> {
        let synced = self.connection.receive::<SyncGroupRequest>(SYNC_VERSION)?;
        let (code, bytes) = (synced.error_code, synced.assignment.len());
        ensure!((code, bytes) == (0, ASSIGNMENT_BYTES), "SyncGroup: error {code}, {bytes} bytes assigned");
        Ok(())
    }

    pub(super) fn heartbeat(&mut self) -> Result<()> {
        self.connection.send(&mut self.heartbeat)?;
        let answer = self.connection.receive::<HeartbeatRequest>(HEARTBEAT_VERSION)?;
        ensure!(answer.error_code == 0, "Heartbeat failed with error {}", answer.error_code);
        Ok(())
    }
}

/// All members of a group join, for the first time or again, and get their assignments.
pub(super) fn rebalance(members: &mut [Member]) -> Result<()> {
    members.iter_mut().try_for_each(Member::send_join)?;
    assign(members)
}

/// The same for many groups, which wait for more members at the same time.
pub(super) fn rebalance_all(groups: &mut [Vec<Member>]) -> Result<()> {
    groups.iter_mut().flatten().try_for_each(Member::send_join)?;
    groups.iter_mut().try_for_each(|members| assign(members))
}

fn assign(members: &mut [Member]) -> Result<()> {
    let joined = members.iter_mut().map(Member::receive_join).collect::<Result<Vec<_>>>()?;
    let generation = joined.first().context("a group without members")?.generation_id;
    ensure!(joined.iter().all(|joined| joined.generation_id == generation), "its members are in different generations");
    for (member, joined) in members.iter_mut().zip(&joined) {
        member.send_sync(joined)?;
    }
    members.iter_mut().try_for_each(Member::receive_sync)
}
