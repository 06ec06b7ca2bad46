//! kafka-protocol's codecs, by request.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, AlterClientQuotasRequest, AlterConfigsRequest,
    AlterPartitionReassignmentsRequest, AlterUserScramCredentialsRequest, ApiVersionsRequest, CreateAclsRequest,
    CreatePartitionsRequest, CreateTopicsRequest, DeleteAclsRequest, DeleteGroupsRequest, DeleteRecordsRequest,
    DeleteTopicsRequest, DescribeAclsRequest, DescribeClientQuotasRequest, DescribeClusterRequest,
    DescribeConfigsRequest, DescribeGroupsRequest, DescribeLogDirsRequest, DescribeProducersRequest,
    DescribeQuorumRequest, DescribeTopicPartitionsRequest, DescribeTransactionsRequest,
    DescribeUserScramCredentialsRequest, ElectLeadersRequest, EndTxnRequest, FetchRequest, FindCoordinatorRequest,
    HeartbeatRequest, IncrementalAlterConfigsRequest, InitProducerIdRequest, JoinGroupRequest, LeaveGroupRequest,
    ListConfigResourcesRequest, ListGroupsRequest, ListOffsetsRequest, ListPartitionReassignmentsRequest,
    ListTransactionsRequest, MetadataRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest,
    OffsetForLeaderEpochRequest, ProduceRequest, SaslAuthenticateRequest, SaslHandshakeRequest, SyncGroupRequest,
    TxnOffsetCommitRequest, UpdateFeaturesRequest, WriteTxnMarkersRequest,
};
use kafka_protocol::protocol::Request;
use protocol::schema::{self, Versions};

use crate::counting::count;

#[derive(Clone, Copy)]
pub(crate) struct Codec {
    pub request: &'static schema::Request,
    pub versions: Versions,
    pub header_version: fn(i16) -> i16,
    pub decode: fn(Bytes, i16) -> Decoded,
    pub encode_default: fn(i16) -> Option<Vec<u8>>,
}

/// What came of a body, and the bytes allocated on the way.
pub(crate) struct Decoded {
    pub outcome: Outcome,
    pub allocated: usize,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    /// Bytes left over, and the message encoded again.
    Message {
        left: usize,
        encoded: Result<Vec<u8>, String>,
    },
    NotUtf8,
    Malformed(String),
}

pub(crate) fn codecs() -> Vec<Codec> {
    vec![
        codec::<ProduceRequest>(),
        codec::<FetchRequest>(),
        codec::<ListOffsetsRequest>(),
        codec::<MetadataRequest>(),
        codec::<OffsetCommitRequest>(),
        codec::<OffsetFetchRequest>(),
        codec::<FindCoordinatorRequest>(),
        codec::<JoinGroupRequest>(),
        codec::<HeartbeatRequest>(),
        codec::<LeaveGroupRequest>(),
        codec::<SyncGroupRequest>(),
        codec::<DescribeGroupsRequest>(),
        codec::<ListGroupsRequest>(),
        codec::<SaslHandshakeRequest>(),
        codec::<ApiVersionsRequest>(),
        codec::<CreateTopicsRequest>(),
        codec::<DeleteTopicsRequest>(),
        codec::<DeleteRecordsRequest>(),
        codec::<InitProducerIdRequest>(),
        codec::<OffsetForLeaderEpochRequest>(),
        codec::<AddPartitionsToTxnRequest>(),
        codec::<AddOffsetsToTxnRequest>(),
        codec::<EndTxnRequest>(),
        codec::<WriteTxnMarkersRequest>(),
        codec::<TxnOffsetCommitRequest>(),
        codec::<DescribeAclsRequest>(),
        codec::<CreateAclsRequest>(),
        codec::<DeleteAclsRequest>(),
        codec::<DescribeConfigsRequest>(),
        codec::<AlterConfigsRequest>(),
        codec::<DescribeLogDirsRequest>(),
        codec::<SaslAuthenticateRequest>(),
        codec::<CreatePartitionsRequest>(),
        codec::<DeleteGroupsRequest>(),
        codec::<ElectLeadersRequest>(),
        codec::<IncrementalAlterConfigsRequest>(),
        codec::<AlterPartitionReassignmentsRequest>(),
        codec::<ListPartitionReassignmentsRequest>(),
        codec::<OffsetDeleteRequest>(),
        codec::<DescribeClientQuotasRequest>(),
        codec::<AlterClientQuotasRequest>(),
        codec::<DescribeUserScramCredentialsRequest>(),
        codec::<AlterUserScramCredentialsRequest>(),
        codec::<DescribeQuorumRequest>(),
        codec::<UpdateFeaturesRequest>(),
        codec::<DescribeClusterRequest>(),
        codec::<DescribeProducersRequest>(),
        codec::<DescribeTransactionsRequest>(),
        codec::<ListTransactionsRequest>(),
        codec::<ListConfigResourcesRequest>(),
        codec::<DescribeTopicPartitionsRequest>(),
    ]
}

fn codec<R: Request + Default>() -> Codec {
    let described = schema::REQUESTS.iter().find(|request| request.key as i16 == R::KEY);
    Codec {
        request: described.expect("the table describes every request that has a codec here"),
        versions: Versions::between(R::VERSIONS.min, R::VERSIONS.max),
        header_version: R::header_version,
        decode: decode::<R>,
        encode_default: |version| encode(&R::default(), version).ok(),
    }
}

fn decode<R: Request>(mut body: Bytes, version: i16) -> Decoded {
    let (result, allocated) = count(|| R::decode(&mut body, version));
    let outcome = match result {
        Ok(message) => Outcome::Message { left: body.len(), encoded: encode(&message, version) },
        Err(error) if error.is::<std::str::Utf8Error>() => Outcome::NotUtf8,
        Err(error) => Outcome::Malformed(error.to_string()),
    };
    Decoded { outcome, allocated }
}

fn encode<R: Request>(message: &R, version: i16) -> Result<Vec<u8>, String> {
    let mut encoded = BytesMut::new();
    message.encode(&mut encoded, version).map_err(|error| error.to_string())?;
    Ok(encoded.to_vec())
}
