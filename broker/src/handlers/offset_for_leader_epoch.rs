//! OffsetForLeaderEpoch (KIP-320): the end offset of an epoch, by which a consumer detects that what it has read was
//! truncated.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use protocol::types::LeaderEpoch;

use super::errors::KafkaError as _;
use super::topics::known_epoch;
use super::{Broker, Request, RequestError};

impl Broker {
    /// Consumers (replica id −1), followers and tools (−2) get the same answers, and only from the leader.
    pub(super) fn offset_for_leader_epoch(
        &self,
        request: &mut Request<'_>,
    ) -> Result<OffsetForLeaderEpochResponse, RequestError> {
        let body: OffsetForLeaderEpochRequest = request.decode()?;
        let topics = body.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|wanted| self.end_of_epoch(&topic.topic, wanted)).collect();
            OffsetForLeaderTopicResult::default().with_topic(topic.topic).with_partitions(partitions)
        });
        Ok(OffsetForLeaderEpochResponse::default().with_topics(topics.collect()))
    }

    fn end_of_epoch(&self, topic: &str, wanted: &OffsetForLeaderPartition) -> EpochEndOffset {
        let answer = EpochEndOffset::default().with_partition(wanted.partition);
        let leader = self.leader_of(topic, wanted.partition).map_err(|error| error.code());
        let found = leader.and_then(|(partition, superseded)| {
            // Its end is not that of the epoch if there is a new leader.
            if superseded {
                return Err(ResponseError::NotLeaderOrFollower.code());
            }
            // An undefined epoch has no end offset.
            let Some(epoch) = known_epoch(wanted.leader_epoch) else { return Ok(None) };
            let claimed = known_epoch(wanted.current_leader_epoch);
            partition.end_offset_for_epoch(epoch, claimed).map_err(|error| error.code())
        });
        match found {
            Ok(Some((LeaderEpoch(epoch), end))) => answer.with_leader_epoch(epoch).with_end_offset(end.0),
            Ok(None) => answer,
            Err(code) => answer.with_error_code(code),
        }
    }
}
