//! The Fetch response, written by hand around the record bytes, which go from the page cache to the socket without
//! passing through the process.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use protocol::types::{BrokerId, LeaderEpoch, Offset};
use storage::{LogPosition, LogSlice};
use uuid::Uuid;

use super::errors::KafkaError;
use super::fetch::VERSION_WITH_TOPIC_IDS;
use super::fetch_sessions::{SessionError, SessionId};
use super::leader_hints::NodeAddress;
use super::{Outcome, Part, Request};
use crate::metrics::TopicMetrics;

/// First version with compact lengths and tagged fields (KIP-482).
const FLEXIBLE: i16 = 12;
/// First version that may carry the leaders' endpoints (KIP-951).
const NODE_ENDPOINTS: i16 = 16;
const NO_PREFERRED_READ_REPLICA: i32 = -1;

pub(super) struct FetchedTopic {
    pub(super) name: String,
    pub(super) id: Uuid,
    pub(super) partitions: Vec<FetchedPartition>,
}

pub(super) struct FetchedPartition {
    pub(super) index: i32,
    pub(super) error_code: i16,
    pub(super) high_watermark: Offset,
    pub(super) log_start: Offset,
    pub(super) records: Option<LogSlice>,
    /// The topic's counters, if there are records.
    pub(super) metrics: Option<Arc<TopicMetrics>>,
    /// The records end with their segment, and more follow in the next one.
    pub(super) continues: bool,
    pub(super) next_look: NextLook,
    /// From version 12 on (KIP-595): the last common epoch, and its end offset.
    pub(super) diverging: Option<(LeaderEpoch, Offset)>,
    /// From version 11 on: a replica nearer to the consumer (KIP-392).
    pub(super) preferred: Option<BrokerId>,
    /// From version 12 on: the current leader (KIP-951).
    pub(super) leader: Option<(BrokerId, LeaderEpoch)>,
}

/// When another look at a partition may find more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NextLook {
    AnyTime,
    /// Once the partition has woken the reader.
    WhenTold,
    /// When the throttle admits it, on [`crate::clock::monotonic`].
    At(Duration),
}

impl FetchedPartition {
    pub(super) fn failed(index: i32, error_code: i16) -> Self {
        let none = Offset(-1);
        Self {
            index,
            error_code,
            high_watermark: none,
            log_start: none,
            records: None,
            metrics: None,
            continues: false,
            next_look: NextLook::AnyTime,
            diverging: None,
            preferred: None,
            leader: None,
        }
    }

    pub(super) fn read(
        index: i32,
        (high_watermark, end): (Offset, LogPosition),
        log_start: Offset,
        records: Option<LogSlice>,
        metrics: &Arc<TopicMetrics>,
    ) -> Self {
        let segment_base = records.as_ref().map(|slice| slice.start.segment_base);
        let continues = segment_base.is_some_and(|base| base != end.segment_base);
        let metrics = records.is_some().then(|| metrics.clone());
        Self { high_watermark, log_start, records, metrics, continues, ..Self::failed(index, 0) }
    }

    /// Whether the client shall come back at once.
    pub(super) fn is_urgent(&self) -> bool {
        self.error_code != 0 || self.diverging.is_some() || self.continues || self.preferred.is_some()
    }

    pub(super) fn diverging(index: i32, diverging: (LeaderEpoch, Offset)) -> Self {
        Self { diverging: Some(diverging), ..Self::failed(index, 0) }
    }
}

pub(super) fn encode(
    request: &Request<'_>,
    session: Result<SessionId, SessionError>,
    read_committed: bool,
    topics: Vec<FetchedTopic>,
    nodes: &[NodeAddress],
) -> Outcome {
    let mut writer = Writer { version: request.version, parts: Vec::new(), tail: BytesMut::new(), length: 0 };
    writer.response(session, read_committed, topics, nodes);
    let body_length = writer.length + writer.tail.len();
    let mut parts = writer.finish();
    parts.insert(0, Part::Bytes(request.begin_response(body_length, 0).freeze()));
    Outcome::Respond(merge_first_two(parts))
}

/// The frame's head and the first fields are one write.
fn merge_first_two(mut parts: Vec<Part>) -> Vec<Part> {
    if let [Part::Bytes(head), Part::Bytes(fields), ..] = parts.as_slice() {
        let mut merged = BytesMut::with_capacity(head.len() + fields.len());
        merged.extend_from_slice(head);
        merged.extend_from_slice(fields);
        parts.splice(..2, [Part::Bytes(merged.freeze())]);
    }
    parts
}

struct Writer {
    version: i16,
    parts: Vec<Part>,
    /// Fields since the last file part.
    tail: BytesMut,
    /// Bytes in `parts`.
    length: usize,
}

impl Writer {
    fn response(
        &mut self,
        session: Result<SessionId, SessionError>,
        read_committed: bool,
        topics: Vec<FetchedTopic>,
        nodes: &[NodeAddress],
    ) {
        self.tail.put_i32(0); // throttle time
        if 7 <= self.version {
            self.tail.put_i16(session.as_ref().err().map_or(0, KafkaError::code));
            self.tail.put_i32(session.unwrap_or(SessionId::NONE).0);
        }
        self.array_length(topics.len());
        for topic in topics {
            self.topic(topic, read_committed);
        }
        if NODE_ENDPOINTS <= self.version && !nodes.is_empty() {
            self.node_endpoints(nodes);
        } else {
            self.no_tags();
        }
    }

    /// The one tagged field of the response, 0.
    fn node_endpoints(&mut self, nodes: &[NodeAddress]) {
        let mut field = Self { version: self.version, parts: Vec::new(), tail: BytesMut::new(), length: 0 };
        field.array_length(nodes.len());
        for node in nodes {
            field.tail.put_i32(node.id.0);
            field.string(&node.host);
            field.tail.put_i32(i32::from(node.port));
            match &node.rack {
                Some(rack) => field.string(rack),
                None => field.tail.put_u8(0),
            }
            field.no_tags();
        }
        self.tail.put_slice(&[1, 0]);
        self.unsigned_varint(u32::try_from(field.tail.len()).unwrap_or(u32::MAX));
        self.tail.put_slice(&field.tail);
    }

    fn topic(&mut self, topic: FetchedTopic, read_committed: bool) {
        if VERSION_WITH_TOPIC_IDS <= self.version {
            self.tail.put_slice(topic.id.as_bytes());
        } else {
            self.string(&topic.name);
        }
        self.array_length(topic.partitions.len());
        for partition in topic.partitions {
            self.partition(partition, read_committed);
        }
        self.no_tags();
    }

    fn partition(&mut self, partition: FetchedPartition, read_committed: bool) {
        self.tail.put_i32(partition.index);
        self.tail.put_i16(partition.error_code);
        self.tail.put_i64(partition.high_watermark.0);
        self.tail.put_i64(partition.high_watermark.0); // last stable offset: there are no open transactions
        if 5 <= self.version {
            self.tail.put_i64(partition.log_start.0);
        }
        if read_committed {
            self.array_length(0);
        } else {
            self.null_array();
        }
        if 11 <= self.version {
            self.tail.put_i32(partition.preferred.map_or(NO_PREFERRED_READ_REPLICA, |broker| broker.0));
        }
        self.records(partition.records);
        if FLEXIBLE <= self.version {
            self.partition_tags(partition.diverging, partition.leader);
        }
    }

    /// Tag 0 is the diverging epoch: a struct of 12 bytes without tags. Tag 1 is the leader: 8 bytes, likewise.
    fn partition_tags(&mut self, diverging: Option<(LeaderEpoch, Offset)>, leader: Option<(BrokerId, LeaderEpoch)>) {
        self.tail.put_u8(u8::from(diverging.is_some()) + u8::from(leader.is_some()));
        if let Some((epoch, end_offset)) = diverging {
            self.tail.put_slice(&[0, 13]);
            self.tail.put_i32(epoch.0);
            self.tail.put_i64(end_offset.0);
            self.tail.put_u8(0);
        }
        if let Some((leader, epoch)) = leader {
            self.tail.put_slice(&[1, 9]);
            self.tail.put_i32(leader.0);
            self.tail.put_i32(epoch.0);
            self.tail.put_u8(0);
        }
    }

    fn records(&mut self, records: Option<LogSlice>) {
        let length = records.as_ref().map_or(0, |slice| slice.length);
        if FLEXIBLE <= self.version {
            self.unsigned_varint(length.saturating_add(1));
        } else {
            self.tail.put_u32(length);
        }
        let Some(slice) = records else { return };
        self.length += self.tail.len() + length as usize;
        self.parts.push(Part::Bytes(self.tail.split().freeze()));
        self.parts.push(Part::File(slice));
    }

    fn array_length(&mut self, length: usize) {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        if FLEXIBLE <= self.version {
            self.unsigned_varint(length.saturating_add(1));
        } else {
            self.tail.put_u32(length);
        }
    }

    fn null_array(&mut self) {
        if FLEXIBLE <= self.version {
            self.tail.put_u8(0);
        } else {
            self.tail.put_i32(-1);
        }
    }

    /// Names come from a request of the same version, so their lengths fit.
    fn string(&mut self, text: &str) {
        if FLEXIBLE <= self.version {
            self.array_length(text.len());
        } else {
            self.tail.put_u16(u16::try_from(text.len()).unwrap_or(u16::MAX));
        }
        self.tail.put_slice(text.as_bytes());
    }

    fn no_tags(&mut self) {
        if FLEXIBLE <= self.version {
            self.tail.put_u8(0);
        }
    }

    fn unsigned_varint(&mut self, mut value: u32) {
        while 0x80 <= value {
            self.tail.put_u8(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.tail.put_u8(value.to_le_bytes()[0]);
    }

    fn finish(mut self) -> Vec<Part> {
        self.parts.push(Part::Bytes(self.tail.freeze()));
        self.parts
    }
}

#[cfg(test)]
#[path = "fetch_response_test.rs"]
mod tests;
