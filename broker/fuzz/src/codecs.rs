//! kafka-protocol's codecs, by request.

use std::sync::LazyLock;

use allocation_counter::measure;
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, AddRaftVoterRequest, AllocateProducerIdsRequest,
    AlterClientQuotasRequest, AlterConfigsRequest, AlterPartitionReassignmentsRequest, AlterPartitionRequest,
    AlterReplicaLogDirsRequest, AlterUserScramCredentialsRequest, ApiVersionsRequest, BeginQuorumEpochRequest,
    BrokerHeartbeatRequest, BrokerRegistrationRequest, ControllerRegistrationRequest, CreateAclsRequest,
    CreatePartitionsRequest, CreateTopicsRequest, DeleteAclsRequest, DeleteGroupsRequest, DeleteRecordsRequest,
    DeleteTopicsRequest, DescribeAclsRequest, DescribeClientQuotasRequest, DescribeClusterRequest,
    DescribeConfigsRequest, DescribeGroupsRequest, DescribeLogDirsRequest, DescribeProducersRequest,
    DescribeQuorumRequest, DescribeTopicPartitionsRequest, DescribeTransactionsRequest,
    DescribeUserScramCredentialsRequest, ElectLeadersRequest, EndQuorumEpochRequest, EndTxnRequest, EnvelopeRequest,
    FetchRequest, FetchSnapshotRequest, FindCoordinatorRequest, HeartbeatRequest, IncrementalAlterConfigsRequest,
    InitProducerIdRequest, JoinGroupRequest, LeaveGroupRequest, ListConfigResourcesRequest, ListGroupsRequest,
    ListOffsetsRequest, ListPartitionReassignmentsRequest, ListTransactionsRequest, MetadataRequest,
    OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, OffsetForLeaderEpochRequest, ProduceRequest,
    RemoveRaftVoterRequest, SaslAuthenticateRequest, SaslHandshakeRequest, SyncGroupRequest, TxnOffsetCommitRequest,
    UnregisterBrokerRequest, UpdateFeaturesRequest, UpdateRaftVoterRequest, VoteRequest, WriteTxnMarkersRequest,
};
use kafka_protocol::protocol::{Decodable, Encodable, Request};
use protocol::schema::{self, Versions};

#[derive(Debug, Clone, Copy)]
pub struct Codec {
    pub request: &'static schema::Request,
    pub versions: Versions,
    pub header_version: fn(i16) -> i16,
    pub decode: fn(Bytes, i16) -> Decoded,
    pub encode_default: fn(i16) -> Option<Vec<u8>>,
}

/// The result of decoding a body, and the bytes allocated for it.
#[derive(Debug)]
pub struct Decoded {
    pub outcome: Outcome,
    pub allocated: usize,
}

#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// Remaining bytes, and the message encoded again.
    Message {
        left: usize,
        encoded: Result<Vec<u8>, String>,
    },
    NotUtf8,
    Malformed(String),
}

/// By key.
pub static CODECS: LazyLock<Vec<Codec>> = LazyLock::new(|| {
    vec![
        codec_of::<ProduceRequest>(),
        codec_of::<FetchRequest>(),
        codec_of::<ListOffsetsRequest>(),
        codec_of::<MetadataRequest>(),
        codec_of::<OffsetCommitRequest>(),
        codec_of::<OffsetFetchRequest>(),
        codec_of::<FindCoordinatorRequest>(),
        codec_of::<JoinGroupRequest>(),
        codec_of::<HeartbeatRequest>(),
        codec_of::<LeaveGroupRequest>(),
        codec_of::<SyncGroupRequest>(),
        codec_of::<DescribeGroupsRequest>(),
        codec_of::<ListGroupsRequest>(),
        codec_of::<SaslHandshakeRequest>(),
        codec_of::<ApiVersionsRequest>(),
        codec_of::<CreateTopicsRequest>(),
        codec_of::<DeleteTopicsRequest>(),
        codec_of::<DeleteRecordsRequest>(),
        codec_of::<InitProducerIdRequest>(),
        codec_of::<OffsetForLeaderEpochRequest>(),
        codec_of::<AddPartitionsToTxnRequest>(),
        codec_of::<AddOffsetsToTxnRequest>(),
        codec_of::<EndTxnRequest>(),
        codec_of::<WriteTxnMarkersRequest>(),
        codec_of::<TxnOffsetCommitRequest>(),
        codec_of::<DescribeAclsRequest>(),
        codec_of::<CreateAclsRequest>(),
        codec_of::<DeleteAclsRequest>(),
        codec_of::<DescribeConfigsRequest>(),
        codec_of::<AlterConfigsRequest>(),
        codec_of::<AlterReplicaLogDirsRequest>(),
        codec_of::<DescribeLogDirsRequest>(),
        codec_of::<SaslAuthenticateRequest>(),
        codec_of::<CreatePartitionsRequest>(),
        codec_of::<DeleteGroupsRequest>(),
        codec_of::<ElectLeadersRequest>(),
        codec_of::<IncrementalAlterConfigsRequest>(),
        codec_of::<AlterPartitionReassignmentsRequest>(),
        codec_of::<ListPartitionReassignmentsRequest>(),
        codec_of::<OffsetDeleteRequest>(),
        codec_of::<DescribeClientQuotasRequest>(),
        codec_of::<AlterClientQuotasRequest>(),
        codec_of::<DescribeUserScramCredentialsRequest>(),
        codec_of::<AlterUserScramCredentialsRequest>(),
        codec_of::<VoteRequest>(),
        codec_of::<BeginQuorumEpochRequest>(),
        codec_of::<EndQuorumEpochRequest>(),
        codec_of::<DescribeQuorumRequest>(),
        codec_of::<AlterPartitionRequest>(),
        codec_of::<UpdateFeaturesRequest>(),
        codec_of::<EnvelopeRequest>(),
        codec_of::<FetchSnapshotRequest>(),
        codec_of::<DescribeClusterRequest>(),
        codec_of::<DescribeProducersRequest>(),
        codec_of::<BrokerRegistrationRequest>(),
        codec_of::<BrokerHeartbeatRequest>(),
        codec_of::<UnregisterBrokerRequest>(),
        codec_of::<DescribeTransactionsRequest>(),
        codec_of::<ListTransactionsRequest>(),
        codec_of::<AllocateProducerIdsRequest>(),
        codec_of::<ControllerRegistrationRequest>(),
        codec_of::<ListConfigResourcesRequest>(),
        codec_of::<DescribeTopicPartitionsRequest>(),
        codec_of::<AddRaftVoterRequest>(),
        codec_of::<RemoveRaftVoterRequest>(),
        codec_of::<UpdateRaftVoterRequest>(),
    ]
});

pub fn codec(key: i16) -> Option<&'static Codec> {
    CODECS.iter().find(|codec| codec.request.key as i16 == key)
}

/// Each codec in each version.
pub fn each_version() -> impl Iterator<Item = (&'static Codec, i16)> {
    CODECS.iter().flat_map(|codec| (codec.versions.first..=codec.versions.last).map(move |version| (codec, version)))
}

fn codec_of<R: Request + Default>() -> Codec {
    let described = schema::REQUESTS.iter().find(|request| request.key as i16 == R::KEY);
    Codec {
        request: described.expect("the table describes every request that has a codec here"),
        versions: Versions::between(R::VERSIONS.min, R::VERSIONS.max),
        header_version: R::header_version,
        decode: decode::<R>,
        encode_default: |version| encode(&R::default(), version).ok(),
    }
}

pub fn decode<M: Decodable + Encodable>(mut body: Bytes, version: i16) -> Decoded {
    let mut result = Err(anyhow::Error::msg("not decoded"));
    let allocated = measure(|| result = M::decode(&mut body, version)).bytes_total;
    let allocated = usize::try_from(allocated).unwrap_or(usize::MAX);
    let outcome = match result {
        Ok(message) => Outcome::Message { left: body.len(), encoded: encode(&message, version) },
        Err(error) if error.is::<std::str::Utf8Error>() => Outcome::NotUtf8,
        Err(error) => Outcome::Malformed(error.to_string()),
    };
    Decoded { outcome, allocated }
}

fn encode<M: Encodable>(message: &M, version: i16) -> Result<Vec<u8>, String> {
    let mut encoded = BytesMut::new();
    message.encode(&mut encoded, version).map_err(|error| error.to_string())?;
    Ok(encoded.to_vec())
}
