use std::path::Path;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_response::{
    EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use kafka_protocol::messages::{BrokerId as WireBrokerId, FetchResponse, TopicName};
use kafka_protocol::protocol::{Encodable, StrBytes};
use storage::faulty::FaultyDisk;
use storage::{Disk, LogPosition, OpenMode};

use super::*;

const RECORDS: &[u8] = b"what lies in the segment";

/// Bytes 2 to 10 of a file.
fn slice() -> LogSlice {
    let disk = FaultyDisk::new();
    let path = Path::new("/segment.log");
    disk.put(path, RECORDS.to_vec());
    let start = LogPosition { offset: Offset(0), segment_base: Offset(0), position: 2 };
    LogSlice { file: disk.open(path, OpenMode::Read).unwrap(), start, length: 8 }
}

fn topics(version: i16) -> Vec<FetchedTopic> {
    let full = FetchedPartition {
        index: 3,
        error_code: 0,
        high_watermark: Offset(77),
        log_start: Offset(5),
        records: Some(slice()),
        metrics: None,
        continues: false,
        next_look: NextLook::AnyTime,
        diverging: None,
        preferred: (11 <= version).then_some(BrokerId(8)),
        leader: None,
    };
    let leader = (FLEXIBLE <= version).then_some((BrokerId(2), LeaderEpoch(9)));
    let empty = FetchedPartition { index: 4, records: None, leader, ..FetchedPartition::failed(4, 1) };
    let diverging = if version < FLEXIBLE {
        FetchedPartition::failed(5, 0)
    } else {
        FetchedPartition::diverging(5, (LeaderEpoch(6), Offset(41)))
    };
    vec![
        FetchedTopic { name: "topic".to_owned(), id: Uuid::from_u128(9), partitions: vec![full, empty, diverging] },
        FetchedTopic { name: "x".repeat(200), id: Uuid::nil(), partitions: Vec::new() },
    ]
}

fn nodes(version: i16) -> Vec<NodeAddress> {
    let host = |id: i32| format!("broker-{id}.example");
    let node = |id, rack: Option<&str>| NodeAddress {
        id: BrokerId(id),
        host: host(id),
        port: 9092,
        rack: rack.map(str::to_owned),
    };
    if version < NODE_ENDPOINTS { Vec::new() } else { vec![node(2, None), node(3, Some("zone"))] }
}

fn endpoint(node: NodeAddress) -> NodeEndpoint {
    NodeEndpoint::default()
        .with_node_id(WireBrokerId(node.id.0))
        .with_host(StrBytes::from_string(node.host))
        .with_port(i32::from(node.port))
        .with_rack(node.rack.map(StrBytes::from_string))
}

/// The same answer, encoded by the `kafka-protocol` crate.
fn oracle(version: i16, session: Result<SessionId, SessionError>, read_committed: bool) -> Vec<u8> {
    let partition = |fetched: FetchedPartition| {
        let records = fetched.records.map(|_| Bytes::from_static(&RECORDS[2..10]));
        let data = PartitionData::default()
            .with_partition_index(fetched.index)
            .with_error_code(fetched.error_code)
            .with_high_watermark(fetched.high_watermark.0)
            .with_last_stable_offset(fetched.high_watermark.0)
            .with_log_start_offset(if version < 5 { -1 } else { fetched.log_start.0 })
            .with_aborted_transactions(read_committed.then(Vec::new))
            .with_preferred_read_replica(WireBrokerId(fetched.preferred.map_or(-1, |broker| broker.0)))
            .with_records(Some(records.unwrap_or_default()));
        let data = match fetched.leader {
            None => data,
            Some((leader, epoch)) => {
                let leader = LeaderIdAndEpoch::default().with_leader_id(WireBrokerId(leader.0));
                data.with_current_leader(leader.with_leader_epoch(epoch.0))
            }
        };
        match fetched.diverging {
            None => data,
            Some((epoch, end)) => {
                data.with_diverging_epoch(EpochEndOffset::default().with_epoch(epoch.0).with_end_offset(end.0))
            }
        }
    };
    let topic = |fetched: FetchedTopic| {
        let topic =
            FetchableTopicResponse::default().with_partitions(fetched.partitions.into_iter().map(partition).collect());
        if version < VERSION_WITH_TOPIC_IDS {
            topic.with_topic(TopicName(StrBytes::from_string(fetched.name)))
        } else {
            topic.with_topic_id(fetched.id)
        }
    };
    let response = FetchResponse::default()
        .with_error_code(if session.is_err() && 7 <= version { 70 } else { 0 })
        .with_session_id(session.map_or(0, |id| if version < 7 { 0 } else { id.0 }))
        .with_responses(topics(version).into_iter().map(topic).collect())
        .with_node_endpoints(nodes(version).into_iter().map(endpoint).collect());
    let mut bytes = BytesMut::new();
    response.encode(&mut bytes, version).unwrap();
    bytes.to_vec()
}

#[test]
fn every_version_reads_as_the_crate_writes_it() {
    for version in 4..=18 {
        for (session, read_committed) in
            [(Err(SessionError::Unknown(SessionId(3))), false), (Ok(SessionId(1_234)), true)]
        {
            let mut writer = Writer { version, parts: Vec::new(), tail: BytesMut::new(), length: 0 };
            writer.response(session, read_committed, topics(version), &nodes(version));
            let announced = writer.length + writer.tail.len();
            let mut bytes = Vec::new();
            for part in writer.finish() {
                match part {
                    Part::Bytes(part) => bytes.extend_from_slice(&part),
                    Part::File(slice) => bytes.extend(slice.read().unwrap()),
                }
            }
            assert_eq!(bytes, oracle(version, session, read_committed), "version {version}, {session:?}");
            assert_eq!(bytes.len(), announced, "the length before the frame is right");
        }
    }
}
