//! Maps this crate's errors to Kafka's error codes. The only file that does.

use kafka_protocol::ResponseError;
use protocol::config::ConfigError;
use protocol::produce::{BatchError, RecordRefusal};
use protocol::records::RecordError;
use raft::{Refusal, VoterChangeError};
use storage::{AppendError, BatchDefect, ProducerError, ResolveError};

use super::fetch_sessions::SessionError;
use crate::controller::{
    AllocateError, AlterConfigError, AlterPartitionError, AssignmentError, BrokerEpochError, ControllerError,
    CreatePartitionsError, CreateTopicError, DeleteTopicError, ElectionError, InvalidFeatureUpdate, NoRoom,
    ReassignmentError, RegistrationError,
};
use crate::coordinator::{GroupError, LogError, Unavailable};
use crate::peer::ProducerIdError;
use crate::replica::{AccessError, DeleteRecordsError, FetchError, ProduceError};

/// The Kafka error code of an error.
pub(super) trait KafkaError {
    fn kafka_error(&self) -> ResponseError;

    fn code(&self) -> i16 {
        self.kafka_error().code()
    }
}

impl KafkaError for AccessError {
    fn kafka_error(&self) -> ResponseError {
        match self {
            Self::NotLeader(_) => ResponseError::NotLeaderOrFollower,
            Self::FencedLeaderEpoch { .. } => ResponseError::FencedLeaderEpoch,
            Self::UnknownLeaderEpoch { .. } => ResponseError::UnknownLeaderEpoch,
            Self::Deleted(_) => ResponseError::UnknownTopicOrPartition,
            Self::Offline(_) => ResponseError::KafkaStorageError,
        }
    }
}

impl KafkaError for ProduceError {
    fn kafka_error(&self) -> ResponseError {
        match self {
            Self::Access(error) => error.kafka_error(),
            Self::NotEnoughReplicas { .. } => ResponseError::NotEnoughReplicas,
            Self::NotEnoughReplicasAfterAppend { .. } => ResponseError::NotEnoughReplicasAfterAppend,
            // Clients retry.
            Self::DiskFull { .. } => ResponseError::KafkaStorageError,
            Self::NotSyncedInTime | Self::NotCommittedInTime => ResponseError::RequestTimedOut,
            Self::Append(error) => error.kafka_error(),
        }
    }
}

impl KafkaError for AppendError {
    fn kafka_error(&self) -> ResponseError {
        match self {
            Self::BatchTooLarge { .. } => ResponseError::RecordListTooLarge,
            Self::StaleLeaderEpoch { .. } => ResponseError::NotLeaderOrFollower,
            Self::Producer(error) => error.kafka_error(),
            Self::Offline | Self::NoSpace { .. } | Self::NoDescriptors { .. } | Self::Io { .. } => {
                ResponseError::KafkaStorageError
            }
        }
    }
}

impl KafkaError for FetchError {
    fn kafka_error(&self) -> ResponseError {
        match self {
            Self::Access(error) => error.kafka_error(),
            Self::OutOfRange(_) | Self::UnknownLastEpoch { .. } => ResponseError::OffsetOutOfRange,
            Self::UnknownFollower(_) => ResponseError::NotLeaderOrFollower,
        }
    }
}

impl KafkaError for SessionError {
    fn kafka_error(&self) -> ResponseError {
        match self {
            Self::Unknown(_) => ResponseError::FetchSessionIdNotFound,
            Self::OtherEpoch { .. } => ResponseError::InvalidFetchSessionEpoch,
            Self::OtherTopicKeys(_) => ResponseError::FetchSessionTopicIdError,
        }
    }
}

impl KafkaError for DeleteRecordsError {
    fn kafka_error(&self) -> ResponseError {
        match self {
            Self::Access(error) => error.kafka_error(),
            Self::Policy(_) => ResponseError::PolicyViolation,
            Self::LogStart(_) => ResponseError::OffsetOutOfRange,
            Self::Segments(error) => error.kafka_error(),
            Self::NotDurable(_) => ResponseError::KafkaStorageError,
            Self::NotDeletedInTime { .. } => ResponseError::RequestTimedOut,
        }
    }
}

impl KafkaError for ProducerError {
    fn kafka_error(&self) -> ResponseError {
        match self {
            Self::Fenced { .. } => ResponseError::InvalidProducerEpoch,
            Self::OutOfOrderSequence { .. } => ResponseError::OutOfOrderSequenceNumber,
        }
    }
}

impl KafkaError for ResolveError {
    fn kafka_error(&self) -> ResponseError {
        match self {
            // The same as for such a produced batch: retrying does not help.
            Self::Corrupt { defect: BatchDefect::Oversized(_), .. } => ResponseError::MessageTooLarge,
            Self::Corrupt { .. } => ResponseError::CorruptMessage,
            Self::WouldBlock | Self::Gap { .. } | Self::Shrunk { .. } | Self::Io { .. } => {
                ResponseError::KafkaStorageError
            }
        }
    }
}

impl KafkaError for BatchError {
    fn kafka_error(&self) -> ResponseError {
        match self {
            Self::WrongChecksum { .. } | Self::UnknownMagic { .. } => ResponseError::CorruptMessage,
            // Clients split such a batch and retry.
            Self::TooLarge { .. } | Self::Record(RecordError::TooLarge { .. }) => ResponseError::MessageTooLarge,
            Self::ZstdNotAllowed => ResponseError::UnsupportedCompressionType,
            Self::TimestampType | Self::Timestamp(_) => ResponseError::InvalidTimestamp,
            Self::Records { refused } if refused.iter().any(|record| record.reason != RecordRefusal::NullKey) => {
                ResponseError::InvalidTimestamp
            }
            Self::TooShort { .. }
            | Self::OldMagic { .. }
            | Self::NotOneBatch { .. }
            | Self::UnknownCodec { .. }
            | Self::BaseOffset { .. }
            | Self::Count { .. }
            | Self::Control
            | Self::DeleteHorizon
            | Self::Producer { .. }
            | Self::OffsetDelta { .. }
            | Self::Records { .. }
            | Self::NotCompressed { .. }
            | Self::Record(_) => ResponseError::InvalidRecord,
        }
    }
}

impl KafkaError for CreateTopicError {
    fn kafka_error(&self) -> ResponseError {
        match self {
            Self::InvalidName { .. } | Self::Reserved { .. } | Self::NameCollides { .. } => {
                ResponseError::InvalidTopicException
            }
            Self::AlreadyExists { .. } => ResponseError::TopicAlreadyExists,
            Self::InvalidPartitions { .. } => ResponseError::InvalidPartitions,
            Self::InvalidReplicationFactor { .. } => ResponseError::InvalidReplicationFactor,
            Self::InvalidAssignment { .. } => ResponseError::InvalidReplicaAssignment,
            Self::InvalidConfig(_) | Self::NotWritable(_) => ResponseError::InvalidConfig,
            Self::CountsAndAssignment => ResponseError::InvalidRequest,
            Self::TooManyPartitions { .. } => ResponseError::PolicyViolation,
            Self::NoRoom(error) => error.kafka_error(),
        }
    }
}

impl KafkaError for AlterConfigError {
    fn kafka_error(&self) -> ResponseError {
        match self {
            Self::UnknownTopic { .. } => ResponseError::UnknownTopicOrPartition,
            Self::IllegalTopicName { .. } => ResponseError::InvalidTopicException,
            Self::UnknownBroker { .. } => ResponseError::BrokerIdNotRegistered,
            Self::TooMany => ResponseError::PolicyViolation,
            Self::NotAList { .. }
            | Self::TooLong { .. }
            | Self::Invalid(_)
            | Self::NeededByAll { .. }
            | Self::ByController { .. }
            | Self::InvalidForBroker(ConfigError::ClusterOnly { .. }) => ResponseError::InvalidConfig,
            // As in Kafka, an invalid broker option is an invalid request.
            Self::NoName(_) | Self::NotABrokerId { .. } | Self::BrokerLogger | Self::InvalidForBroker(_) => {
                ResponseError::InvalidRequest
            }
        }
    }
}

impl KafkaError for DeleteTopicError {
    fn kafka_error(&self) -> ResponseError {
        match self {
            Self::UnknownName => ResponseError::UnknownTopicOrPartition,
            Self::UnknownId => ResponseError::UnknownTopicId,
            Self::Repeated => ResponseError::InvalidRequest,
        }
    }
}

impl KafkaError for CreatePartitionsError {
    fn kafka_error(&self) -> ResponseError {
        match self {
            Self::Repeated => ResponseError::InvalidRequest,
            Self::UnknownTopic { .. } => ResponseError::UnknownTopicOrPartition,
            Self::NotAnIncrease { .. } => ResponseError::InvalidPartitions,
            Self::TooMany { .. } => ResponseError::PolicyViolation,
            Self::AssignmentCount { .. } | Self::AssignmentFactor { .. } | Self::AllFenced { .. } => {
                ResponseError::InvalidReplicaAssignment
            }
            Self::Assignment { error, .. } => error.kafka_error(),
            Self::TooFewBrokers { .. } => ResponseError::InvalidReplicationFactor,
            Self::NoRoom(error) => error.kafka_error(),
        }
    }
}

impl KafkaError for NoRoom {
    fn kafka_error(&self) -> ResponseError {
        match self {
            Self::Broker { .. } => ResponseError::PolicyViolation,
            // Clients retry.
            Self::Volume => ResponseError::KafkaStorageError,
        }
    }
}

impl KafkaError for AssignmentError {
    fn kafka_error(&self) -> ResponseError {
        ResponseError::InvalidReplicaAssignment
    }
}

impl KafkaError for ElectionError {
    fn kafka_error(&self) -> ResponseError {
        match self {
            Self::Unknown(_) => ResponseError::UnknownTopicOrPartition,
            Self::NotNeeded => ResponseError::ElectionNotNeeded,
            Self::PreferredNotAvailable { .. } => ResponseError::PreferredLeaderNotAvailable,
            Self::NoneAvailable => ResponseError::EligibleLeadersNotAvailable,
        }
    }
}

impl KafkaError for ReassignmentError {
    fn kafka_error(&self) -> ResponseError {
        match self {
            Self::Unknown(_) => ResponseError::UnknownTopicOrPartition,
            Self::Repeated => ResponseError::InvalidRequest,
            Self::NoneInProgress => ResponseError::NoReassignmentInProgress,
            Self::CannotRevert => ResponseError::InvalidReplicaAssignment,
            Self::Assignment(error) => error.kafka_error(),
            Self::FactorChanged { .. } => ResponseError::InvalidReplicationFactor,
        }
    }
}

impl KafkaError for InvalidFeatureUpdate {
    fn kafka_error(&self) -> ResponseError {
        ResponseError::InvalidUpdateVersion
    }
}

impl KafkaError for BrokerEpochError {
    fn kafka_error(&self) -> ResponseError {
        match self {
            Self::NotRegistered { .. } => ResponseError::BrokerIdNotRegistered,
            Self::Stale { .. } => ResponseError::StaleBrokerEpoch,
        }
    }
}

impl KafkaError for Refusal {
    fn kafka_error(&self) -> ResponseError {
        match self {
            Self::FencedLeaderEpoch => ResponseError::FencedLeaderEpoch,
            Self::UnknownLeaderEpoch => ResponseError::UnknownLeaderEpoch,
            Self::NotLeader => ResponseError::NotLeaderOrFollower,
            Self::InvalidVoterKey => ResponseError::InvalidVoterKey,
            Self::InvalidRequest(_) => ResponseError::InvalidRequest,
            Self::SnapshotNotFound => ResponseError::SnapshotNotFound,
            Self::PositionOutOfRange => ResponseError::PositionOutOfRange,
            Self::VolumeWentBack => ResponseError::KafkaStorageError,
        }
    }
}

impl KafkaError for RegistrationError {
    fn kafka_error(&self) -> ResponseError {
        match self {
            Self::WrongCluster { .. } => ResponseError::InconsistentClusterId,
            Self::Duplicate { .. } => ResponseError::DuplicateBrokerRegistration,
            Self::UnsupportedFeature { .. } => ResponseError::UnsupportedVersion,
            Self::InvalidId { .. }
            | Self::DirectoryOwned { .. }
            | Self::DirectoryDiscarded { .. }
            | Self::DirectoryChanged { .. } => ResponseError::InvalidRegistration,
        }
    }
}

impl KafkaError for AlterPartitionError {
    fn kafka_error(&self) -> ResponseError {
        match self {
            Self::UnknownTopic { .. } => ResponseError::UnknownTopicId,
            Self::UnknownPartition { .. } => ResponseError::UnknownTopicOrPartition,
            Self::Ahead { .. } => ResponseError::NotController,
            Self::FencedLeaderEpoch { .. } => ResponseError::FencedLeaderEpoch,
            Self::NotLeader { .. } | Self::InvalidIsr { .. } | Self::InvalidRecoveryState => {
                ResponseError::InvalidRequest
            }
            Self::StalePartitionEpoch { .. } => ResponseError::InvalidUpdateVersion,
            Self::Ineligible { .. } => ResponseError::IneligibleReplica,
            Self::NewLeaderElected => ResponseError::NewLeaderElected,
        }
    }
}

impl KafkaError for AllocateError {
    fn kafka_error(&self) -> ResponseError {
        match self {
            Self::Epoch(error) => error.kafka_error(),
            Self::UsedUp => ResponseError::UnknownServerError,
        }
    }
}

impl KafkaError for ProducerIdError {
    fn kafka_error(&self) -> ResponseError {
        match self {
            // As in Kafka: clients retry.
            Self::Channel(_) | Self::Refused(_) => ResponseError::CoordinatorLoadInProgress,
        }
    }
}

impl KafkaError for VoterChangeError {
    fn kafka_error(&self) -> ResponseError {
        match self {
            Self::NotLeader => ResponseError::NotLeaderOrFollower,
            Self::FencedLeaderEpoch => ResponseError::FencedLeaderEpoch,
            Self::UnknownLeaderEpoch => ResponseError::UnknownLeaderEpoch,
            // Clients retry.
            Self::NotActivated | Self::ChangePending | Self::TimedOut => ResponseError::RequestTimedOut,
            Self::UnsupportedVersion => ResponseError::UnsupportedVersion,
            Self::DuplicateVoter => ResponseError::DuplicateVoter,
            Self::VoterNotFound => ResponseError::VoterNotFound,
            Self::LastVoter | Self::InvalidRequest(_) => ResponseError::InvalidRequest,
        }
    }
}

impl KafkaError for ControllerError {
    fn kafka_error(&self) -> ResponseError {
        match self {
            Self::Stopped | Self::NotController { .. } => ResponseError::NotController,
            Self::Encode(_) => ResponseError::InvalidRequest,
            // Clients retry.
            Self::NoSpace => ResponseError::KafkaStorageError,
        }
    }
}

impl KafkaError for GroupError {
    fn kafka_error(&self) -> ResponseError {
        match self {
            Self::InvalidGroupId => ResponseError::InvalidGroupId,
            Self::GroupNotFound => ResponseError::GroupIdNotFound,
            Self::UnknownMember(_) | Self::UnknownInstance(_) => ResponseError::UnknownMemberId,
            Self::FencedInstance { .. } => ResponseError::FencedInstanceId,
            Self::IllegalGeneration { .. } => ResponseError::IllegalGeneration,
            Self::RebalanceInProgress => ResponseError::RebalanceInProgress,
            Self::MemberIdRequired(_) => ResponseError::MemberIdRequired,
            Self::InconsistentProtocol => ResponseError::InconsistentGroupProtocol,
            Self::InvalidSessionTimeout { .. } => ResponseError::InvalidSessionTimeout,
            Self::GroupFull { .. } | Self::GroupTooLarge { .. } => ResponseError::GroupMaxSizeReached,
            // Clients retry.
            Self::TooManyUnusedIds { .. } => ResponseError::CoordinatorNotAvailable,
            Self::NotEmpty => ResponseError::NonEmptyGroup,
            Self::Subscribed(_) => ResponseError::GroupSubscribedToTopic,
            Self::MetadataTooLarge { .. } => ResponseError::OffsetMetadataTooLarge,
            Self::CommitTooLarge { .. } => ResponseError::InvalidCommitOffsetSize,
            Self::Unavailable(reason) => reason.kafka_error(),
        }
    }
}

impl KafkaError for Unavailable {
    fn kafka_error(&self) -> ResponseError {
        match self {
            Self::Loading => ResponseError::CoordinatorLoadInProgress,
            // Clients look for the coordinator again.
            Self::NotCoordinator | Self::Log(LogError::NotLeader | LogError::Storage(_)) => {
                ResponseError::NotCoordinator
            }
            Self::NotCommittedInTime | Self::Log(LogError::NotEnoughReplicas) => ResponseError::CoordinatorNotAvailable,
            Self::Log(LogError::TooLarge { .. }) => ResponseError::InvalidCommitOffsetSize,
        }
    }
}

/// A generation too large for the log, in a request that commits no offset.
pub(super) fn of_generation(error: &GroupError) -> ResponseError {
    match error {
        GroupError::Unavailable(Unavailable::Log(LogError::TooLarge { .. })) => ResponseError::UnknownServerError,
        error => error.kafka_error(),
    }
}

/// Old clients give up fetching an offset on any error except that the coordinator has moved or is loading.
pub(super) fn of_offset_fetch(error: &GroupError) -> ResponseError {
    match error.kafka_error() {
        ResponseError::CoordinatorNotAvailable => ResponseError::NotCoordinator,
        other => other,
    }
}

/// Before version 9 an unknown group is reported as an illegal generation.
pub(super) fn of_commit(error: &GroupError, version: i16) -> ResponseError {
    match error {
        GroupError::GroupNotFound if version < 9 => ResponseError::IllegalGeneration,
        error => error.kafka_error(),
    }
}
