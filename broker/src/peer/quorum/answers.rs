//! Decodes Kafka's answers for the quorum.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{
    BeginQuorumEpochResponse, EndQuorumEpochResponse, FetchResponse, FetchSnapshotResponse, UpdateRaftVoterResponse,
    VoteResponse,
};
use protocol::types::{BrokerId, LeaderEpoch, Offset};
use raft::{Address, FetchContent, LeaderInfo, QuorumResponse, Refusal, SnapshotId, VoterChangeError};

use super::{QuorumAnswer, UnusableAnswer};

pub(super) fn vote(answer: &VoteResponse) -> Result<QuorumAnswer, UnusableAnswer> {
    whole(answer.error_code)?;
    let partition = only(&answer.topics, |topic| &topic.partitions)?;
    let endpoints = answer.node_endpoints.iter();
    let endpoints = endpoints.map(|endpoint| (endpoint.node_id.0, endpoint.host.as_str(), i32::from(endpoint.port)));
    Ok(QuorumAnswer::Vote(raft::VoteResponse {
        error: refusal(partition.error_code)?,
        leader: leader(partition.leader_id.0, partition.leader_epoch, endpoints),
        granted: partition.vote_granted,
    }))
}

pub(super) fn begin_quorum_epoch(answer: &BeginQuorumEpochResponse) -> Result<QuorumAnswer, UnusableAnswer> {
    whole(answer.error_code)?;
    let partition = only(&answer.topics, |topic| &topic.partitions)?;
    let endpoints = answer.node_endpoints.iter();
    let endpoints = endpoints.map(|endpoint| (endpoint.node_id.0, endpoint.host.as_str(), i32::from(endpoint.port)));
    Ok(QuorumAnswer::BeginQuorumEpoch(QuorumResponse {
        error: refusal(partition.error_code)?,
        leader: leader(partition.leader_id.0, partition.leader_epoch, endpoints),
    }))
}

pub(super) fn end_quorum_epoch(answer: &EndQuorumEpochResponse) -> Result<QuorumAnswer, UnusableAnswer> {
    whole(answer.error_code)?;
    let partition = only(&answer.topics, |topic| &topic.partitions)?;
    let endpoints = answer.node_endpoints.iter();
    let endpoints = endpoints.map(|endpoint| (endpoint.node_id.0, endpoint.host.as_str(), i32::from(endpoint.port)));
    Ok(QuorumAnswer::EndQuorumEpoch(QuorumResponse {
        error: refusal(partition.error_code)?,
        leader: leader(partition.leader_id.0, partition.leader_epoch, endpoints),
    }))
}

pub(super) fn fetch(answer: &FetchResponse) -> Result<QuorumAnswer, UnusableAnswer> {
    whole(answer.error_code)?;
    let partition = only(&answer.responses, |topic| &topic.partitions)?;
    let endpoints = answer.node_endpoints.iter();
    let endpoints = endpoints.map(|endpoint| (endpoint.node_id.0, endpoint.host.as_str(), endpoint.port));
    let (diverging, snapshot) = (&partition.diverging_epoch, &partition.snapshot_id);
    let content = if 0 <= diverging.end_offset {
        FetchContent::Diverging { epoch: LeaderEpoch(diverging.epoch), end_offset: Offset(diverging.end_offset) }
    } else if 0 <= snapshot.end_offset {
        FetchContent::Snapshot(snapshot_id(snapshot.end_offset, snapshot.epoch))
    } else {
        FetchContent::Records
    };
    let current = &partition.current_leader;
    let response = raft::FetchResponse {
        error: refusal(partition.error_code)?,
        leader: leader(current.leader_id.0, current.leader_epoch, endpoints),
        high_watermark: (0 <= partition.high_watermark).then_some(Offset(partition.high_watermark)),
        log_start: Offset(partition.log_start_offset.max(0)),
        content,
    };
    Ok(QuorumAnswer::Fetch { response, records: partition.records.clone().unwrap_or_default() })
}

pub(super) fn fetch_snapshot(answer: &FetchSnapshotResponse) -> Result<QuorumAnswer, UnusableAnswer> {
    whole(answer.error_code)?;
    let partition = only(&answer.topics, |topic| &topic.partitions)?;
    let endpoints = answer.node_endpoints.iter();
    let endpoints = endpoints.map(|endpoint| (endpoint.node_id.0, endpoint.host.as_str(), i32::from(endpoint.port)));
    let current = &partition.current_leader;
    let response = raft::FetchSnapshotResponse {
        error: refusal(partition.error_code)?,
        leader: leader(current.leader_id.0, current.leader_epoch, endpoints),
        id: snapshot_id(partition.snapshot_id.end_offset, partition.snapshot_id.epoch),
        position: partition.position,
    };
    let (size, bytes) = (partition.size, partition.unaligned_records.clone());
    Ok(QuorumAnswer::FetchSnapshot { response, size, bytes })
}

pub(super) fn update_voter(answer: &UpdateRaftVoterResponse) -> Result<QuorumAnswer, UnusableAnswer> {
    let current = &answer.current_leader;
    let endpoint = (current.leader_id.0, current.host.as_str(), current.port);
    Ok(QuorumAnswer::VoterChange(raft::VoterChangeResponse {
        error: voter_change_error(answer.error_code)?,
        leader: leader(current.leader_id.0, current.leader_epoch, std::iter::once(endpoint)),
    }))
}

/// Checks that the request as a whole was not refused.
fn whole(code: i16) -> Result<(), UnusableAnswer> {
    if code == 0 { Ok(()) } else { Err(UnusableAnswer::Code(code)) }
}

fn only<Topic, Partition>(
    topics: &[Topic],
    partitions: impl Fn(&Topic) -> &Vec<Partition>,
) -> Result<&Partition, UnusableAnswer> {
    let [topic] = topics else { return Err(UnusableAnswer::NotMetadata) };
    let [partition] = partitions(topic).as_slice() else { return Err(UnusableAnswer::NotMetadata) };
    Ok(partition)
}

fn leader<'a>(id: i32, epoch: i32, mut endpoints: impl Iterator<Item = (i32, &'a str, i32)>) -> LeaderInfo {
    let leader = (0 <= id).then_some(BrokerId(id));
    let found = endpoints.find(|(node, host, _)| leader == Some(BrokerId(*node)) && !host.is_empty());
    let address =
        |(_, host, port): (i32, &str, i32)| Some(Address { host: host.to_owned(), port: u16::try_from(port).ok()? });
    LeaderInfo { epoch: LeaderEpoch(epoch), leader, address: found.and_then(address) }
}

fn snapshot_id(end_offset: i64, epoch: i32) -> SnapshotId {
    SnapshotId { end_offset: Offset(end_offset), epoch: LeaderEpoch(epoch) }
}

fn refusal(code: i16) -> Result<Option<Refusal>, UnusableAnswer> {
    let Some(error) = ResponseError::try_from_code(code) else { return Ok(None) };
    Ok(Some(match error {
        ResponseError::FencedLeaderEpoch => Refusal::FencedLeaderEpoch,
        ResponseError::UnknownLeaderEpoch => Refusal::UnknownLeaderEpoch,
        ResponseError::NotLeaderOrFollower => Refusal::NotLeader,
        ResponseError::InvalidVoterKey => Refusal::InvalidVoterKey,
        ResponseError::InvalidRequest => Refusal::InvalidRequest("so the other node says"),
        ResponseError::SnapshotNotFound => Refusal::SnapshotNotFound,
        ResponseError::PositionOutOfRange => Refusal::PositionOutOfRange,
        ResponseError::KafkaStorageError => Refusal::VolumeWentBack,
        _ => return Err(UnusableAnswer::Code(code)),
    }))
}

fn voter_change_error(code: i16) -> Result<Option<VoterChangeError>, UnusableAnswer> {
    let Some(error) = ResponseError::try_from_code(code) else { return Ok(None) };
    Ok(Some(match error {
        ResponseError::NotLeaderOrFollower => VoterChangeError::NotLeader,
        ResponseError::FencedLeaderEpoch => VoterChangeError::FencedLeaderEpoch,
        ResponseError::UnknownLeaderEpoch => VoterChangeError::UnknownLeaderEpoch,
        ResponseError::UnsupportedVersion => VoterChangeError::UnsupportedVersion,
        ResponseError::VoterNotFound => VoterChangeError::VoterNotFound,
        ResponseError::InvalidRequest => VoterChangeError::InvalidRequest("so the leader says"),
        // The leader also answers this while it cannot take a change: to be retried.
        ResponseError::RequestTimedOut => VoterChangeError::TimedOut,
        _ => return Err(UnusableAnswer::Code(code)),
    }))
}
