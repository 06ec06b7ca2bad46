//! The APIs that Millrace serves: one row each. Dispatch, ApiVersions, the guard, authorization and the reference page
//! read this table; nothing else says which versions exist. A version that is not wholly implemented is not in it.

pub mod reference;

use kafka_protocol::messages::ApiKey;

use crate::schema::{self, Request, Versions};

/// Who calls: each listener is of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    Client,
    Broker,
    Controller,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Read,
    Write,
    Create,
    Delete,
    Alter,
    Describe,
    DescribeConfigs,
    AlterConfigs,
    ClusterAction,
    IdempotentWrite,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    Topic,
    Group,
    Cluster,
    TransactionalId,
}

/// What the sender must be allowed to do, to each resource of that type that the request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Right {
    pub operation: Operation,
    pub resource: Resource,
}

#[derive(Debug)]
pub struct Api {
    pub name: &'static str,
    /// What the body looks like. Describes more versions than are served, where a handler does not know them yet.
    pub request: &'static Request,
    pub versions: Versions,
    /// The first version that ApiVersions announces: lower than the first served where a client takes the
    /// announcement for a feature test.
    pub first_version_advertised: i16,
    pub listeners: &'static [Listener],
    pub before_authentication: bool,
    /// Decided by the active controller, wherever it arrives.
    pub forwarded: bool,
    /// Which of them is needed depends on the request: a consumer's Fetch asks for Read, a follower's for
    /// ClusterAction. Empty: everybody may.
    pub rights: &'static [Right],
}

const BROKERS: &[Listener] = &[Listener::Client, Listener::Broker];
const CONTROLLERS: &[Listener] = &[Listener::Controller];
const EVERYWHERE: &[Listener] = &[Listener::Client, Listener::Broker, Listener::Controller];

/// By key.
pub static APIS: &[Api] = &[
    Api {
        name: "Produce",
        request: &schema::PRODUCE,
        versions: Versions::between(3, 13),
        // librdkafka fails to produce compressed batches where 3 is announced.
        first_version_advertised: 0,
        listeners: BROKERS,
        before_authentication: false,
        forwarded: false,
        rights: &[right(Operation::Write, Resource::Topic)],
    },
    Api {
        name: "Fetch",
        request: &schema::FETCH,
        versions: Versions::between(4, 18),
        first_version_advertised: 4,
        // Of a controller: the metadata log.
        listeners: EVERYWHERE,
        before_authentication: false,
        forwarded: false,
        rights: &[right(Operation::Read, Resource::Topic), right(Operation::ClusterAction, Resource::Cluster)],
    },
    Api {
        name: "ListOffsets",
        request: &schema::LIST_OFFSETS,
        versions: Versions::between(1, 10),
        first_version_advertised: 1,
        listeners: BROKERS,
        before_authentication: false,
        forwarded: false,
        rights: &[right(Operation::Describe, Resource::Topic)],
    },
    Api {
        name: "Metadata",
        request: &schema::METADATA,
        versions: Versions::between(0, 13),
        first_version_advertised: 0,
        listeners: BROKERS,
        before_authentication: false,
        forwarded: false,
        rights: &[right(Operation::Describe, Resource::Topic)],
    },
    Api {
        name: "OffsetCommit",
        request: &schema::OFFSET_COMMIT,
        versions: Versions::between(2, 9),
        first_version_advertised: 2,
        listeners: BROKERS,
        before_authentication: false,
        forwarded: false,
        rights: &[right(Operation::Read, Resource::Group), right(Operation::Read, Resource::Topic)],
    },
    Api {
        name: "OffsetFetch",
        request: &schema::OFFSET_FETCH,
        versions: Versions::between(1, 9),
        first_version_advertised: 1,
        listeners: BROKERS,
        before_authentication: false,
        forwarded: false,
        rights: &[right(Operation::Describe, Resource::Group), right(Operation::Describe, Resource::Topic)],
    },
    Api {
        name: "FindCoordinator",
        request: &schema::FIND_COORDINATOR,
        versions: Versions::between(0, 6),
        first_version_advertised: 0,
        listeners: BROKERS,
        before_authentication: false,
        forwarded: false,
        rights: &[right(Operation::Describe, Resource::Group), right(Operation::Describe, Resource::TransactionalId)],
    },
    Api {
        name: "JoinGroup",
        request: &schema::JOIN_GROUP,
        versions: Versions::between(0, 9),
        first_version_advertised: 0,
        listeners: BROKERS,
        before_authentication: false,
        forwarded: false,
        rights: &[right(Operation::Read, Resource::Group)],
    },
    Api {
        name: "Heartbeat",
        request: &schema::HEARTBEAT,
        versions: Versions::between(0, 4),
        first_version_advertised: 0,
        listeners: BROKERS,
        before_authentication: false,
        forwarded: false,
        rights: &[right(Operation::Read, Resource::Group)],
    },
    Api {
        name: "LeaveGroup",
        request: &schema::LEAVE_GROUP,
        versions: Versions::between(0, 5),
        first_version_advertised: 0,
        listeners: BROKERS,
        before_authentication: false,
        forwarded: false,
        rights: &[right(Operation::Read, Resource::Group)],
    },
    Api {
        name: "SyncGroup",
        request: &schema::SYNC_GROUP,
        versions: Versions::between(0, 5),
        first_version_advertised: 0,
        listeners: BROKERS,
        before_authentication: false,
        forwarded: false,
        rights: &[right(Operation::Read, Resource::Group)],
    },
    Api {
        name: "DescribeGroups",
        request: &schema::DESCRIBE_GROUPS,
        versions: Versions::between(0, 6),
        first_version_advertised: 0,
        listeners: BROKERS,
        before_authentication: false,
        forwarded: false,
        rights: &[right(Operation::Describe, Resource::Group)],
    },
    Api {
        name: "ListGroups",
        request: &schema::LIST_GROUPS,
        versions: Versions::between(0, 5),
        first_version_advertised: 0,
        listeners: BROKERS,
        before_authentication: false,
        forwarded: false,
        rights: &[right(Operation::Describe, Resource::Cluster), right(Operation::Describe, Resource::Group)],
    },
    Api {
        name: "ApiVersions",
        request: &schema::API_VERSIONS,
        versions: Versions::between(0, 4),
        first_version_advertised: 0,
        listeners: EVERYWHERE,
        before_authentication: true,
        forwarded: false,
        rights: &[],
    },
    Api {
        name: "CreateTopics",
        request: &schema::CREATE_TOPICS,
        versions: Versions::between(2, 7),
        first_version_advertised: 2,
        listeners: BROKERS,
        before_authentication: false,
        forwarded: true,
        rights: &[right(Operation::Create, Resource::Cluster), right(Operation::Create, Resource::Topic)],
    },
    Api {
        name: "DeleteTopics",
        request: &schema::DELETE_TOPICS,
        versions: Versions::between(1, 6),
        first_version_advertised: 1,
        listeners: BROKERS,
        before_authentication: false,
        forwarded: true,
        rights: &[right(Operation::Delete, Resource::Topic)],
    },
    Api {
        name: "DeleteRecords",
        request: &schema::DELETE_RECORDS,
        versions: Versions::between(0, 2),
        first_version_advertised: 0,
        listeners: BROKERS,
        before_authentication: false,
        forwarded: false,
        rights: &[right(Operation::Delete, Resource::Topic)],
    },
    Api {
        name: "InitProducerId",
        request: &schema::INIT_PRODUCER_ID,
        versions: Versions::between(0, 5),
        first_version_advertised: 0,
        listeners: BROKERS,
        before_authentication: false,
        forwarded: false,
        rights: &[
            right(Operation::Write, Resource::TransactionalId),
            right(Operation::IdempotentWrite, Resource::Cluster),
            right(Operation::Write, Resource::Topic),
        ],
    },
    Api {
        name: "OffsetForLeaderEpoch",
        request: &schema::OFFSET_FOR_LEADER_EPOCH,
        versions: Versions::between(2, 4),
        first_version_advertised: 2,
        listeners: BROKERS,
        before_authentication: false,
        forwarded: false,
        rights: &[right(Operation::Describe, Resource::Topic), right(Operation::ClusterAction, Resource::Cluster)],
    },
    Api {
        name: "DescribeConfigs",
        request: &schema::DESCRIBE_CONFIGS,
        versions: Versions::between(1, 4),
        first_version_advertised: 1,
        listeners: BROKERS,
        before_authentication: false,
        forwarded: false,
        rights: &[
            right(Operation::DescribeConfigs, Resource::Cluster),
            right(Operation::DescribeConfigs, Resource::Topic),
            right(Operation::DescribeConfigs, Resource::Group),
        ],
    },
    Api {
        name: "AlterConfigs",
        request: &schema::ALTER_CONFIGS,
        versions: Versions::between(0, 2),
        first_version_advertised: 0,
        listeners: BROKERS,
        before_authentication: false,
        forwarded: true,
        rights: &[
            right(Operation::AlterConfigs, Resource::Cluster),
            right(Operation::AlterConfigs, Resource::Topic),
            right(Operation::AlterConfigs, Resource::Group),
        ],
    },
    Api {
        name: "AlterReplicaLogDirs",
        request: &schema::ALTER_REPLICA_LOG_DIRS,
        versions: Versions::between(1, 2),
        first_version_advertised: 1,
        listeners: BROKERS,
        before_authentication: false,
        forwarded: false,
        rights: &[right(Operation::Alter, Resource::Cluster)],
    },
    Api {
        name: "DescribeLogDirs",
        request: &schema::DESCRIBE_LOG_DIRS,
        versions: Versions::between(1, 4),
        first_version_advertised: 1,
        listeners: BROKERS,
        before_authentication: false,
        forwarded: false,
        rights: &[right(Operation::Describe, Resource::Cluster)],
    },
    Api {
        name: "CreatePartitions",
        request: &schema::CREATE_PARTITIONS,
        versions: Versions::between(0, 3),
        first_version_advertised: 0,
        listeners: BROKERS,
        before_authentication: false,
        forwarded: true,
        rights: &[right(Operation::Alter, Resource::Topic)],
    },
    Api {
        name: "DeleteGroups",
        request: &schema::DELETE_GROUPS,
        versions: Versions::between(0, 2),
        first_version_advertised: 0,
        listeners: BROKERS,
        before_authentication: false,
        forwarded: false,
        rights: &[right(Operation::Delete, Resource::Group)],
    },
    Api {
        name: "ElectLeaders",
        request: &schema::ELECT_LEADERS,
        versions: Versions::between(0, 2),
        first_version_advertised: 0,
        listeners: BROKERS,
        before_authentication: false,
        forwarded: true,
        rights: &[right(Operation::Alter, Resource::Cluster)],
    },
    Api {
        name: "IncrementalAlterConfigs",
        request: &schema::INCREMENTAL_ALTER_CONFIGS,
        versions: Versions::between(0, 1),
        first_version_advertised: 0,
        listeners: BROKERS,
        before_authentication: false,
        forwarded: true,
        rights: &[
            right(Operation::AlterConfigs, Resource::Cluster),
            right(Operation::AlterConfigs, Resource::Topic),
            right(Operation::AlterConfigs, Resource::Group),
        ],
    },
    Api {
        name: "AlterPartitionReassignments",
        request: &schema::ALTER_PARTITION_REASSIGNMENTS,
        versions: Versions::between(0, 1),
        first_version_advertised: 0,
        listeners: BROKERS,
        before_authentication: false,
        forwarded: true,
        rights: &[right(Operation::Alter, Resource::Cluster)],
    },
    Api {
        name: "ListPartitionReassignments",
        request: &schema::LIST_PARTITION_REASSIGNMENTS,
        versions: Versions::between(0, 0),
        first_version_advertised: 0,
        listeners: BROKERS,
        before_authentication: false,
        forwarded: true,
        rights: &[right(Operation::Describe, Resource::Cluster)],
    },
    Api {
        name: "OffsetDelete",
        request: &schema::OFFSET_DELETE,
        versions: Versions::between(0, 0),
        first_version_advertised: 0,
        listeners: BROKERS,
        before_authentication: false,
        forwarded: false,
        rights: &[right(Operation::Delete, Resource::Group), right(Operation::Read, Resource::Topic)],
    },
    Api {
        name: "Vote",
        request: &schema::VOTE,
        versions: Versions::between(0, 2),
        first_version_advertised: 0,
        listeners: CONTROLLERS,
        before_authentication: false,
        forwarded: false,
        rights: &[right(Operation::ClusterAction, Resource::Cluster)],
    },
    Api {
        name: "BeginQuorumEpoch",
        request: &schema::BEGIN_QUORUM_EPOCH,
        versions: Versions::between(0, 1),
        first_version_advertised: 0,
        listeners: CONTROLLERS,
        before_authentication: false,
        forwarded: false,
        rights: &[right(Operation::ClusterAction, Resource::Cluster)],
    },
    Api {
        name: "EndQuorumEpoch",
        request: &schema::END_QUORUM_EPOCH,
        versions: Versions::between(0, 1),
        first_version_advertised: 0,
        listeners: CONTROLLERS,
        before_authentication: false,
        forwarded: false,
        rights: &[right(Operation::ClusterAction, Resource::Cluster)],
    },
    Api {
        name: "DescribeQuorum",
        request: &schema::DESCRIBE_QUORUM,
        versions: Versions::between(0, 2),
        first_version_advertised: 0,
        listeners: EVERYWHERE,
        before_authentication: false,
        forwarded: true,
        rights: &[right(Operation::Describe, Resource::Cluster)],
    },
    Api {
        name: "AlterPartition",
        request: &schema::ALTER_PARTITION,
        // Without the epochs of version 3 a process that has lost records could come into the in-sync set.
        versions: Versions::between(3, 3),
        first_version_advertised: 3,
        listeners: CONTROLLERS,
        before_authentication: false,
        forwarded: false,
        rights: &[right(Operation::ClusterAction, Resource::Cluster)],
    },
    Api {
        name: "UpdateFeatures",
        request: &schema::UPDATE_FEATURES,
        versions: Versions::between(0, 2),
        first_version_advertised: 0,
        listeners: EVERYWHERE,
        before_authentication: false,
        forwarded: true,
        rights: &[right(Operation::Alter, Resource::Cluster)],
    },
    Api {
        name: "Envelope",
        request: &schema::ENVELOPE,
        versions: Versions::between(0, 0),
        first_version_advertised: 0,
        listeners: CONTROLLERS,
        before_authentication: false,
        forwarded: false,
        rights: &[right(Operation::ClusterAction, Resource::Cluster)],
    },
    Api {
        name: "FetchSnapshot",
        request: &schema::FETCH_SNAPSHOT,
        versions: Versions::between(0, 1),
        first_version_advertised: 0,
        listeners: CONTROLLERS,
        before_authentication: false,
        forwarded: false,
        rights: &[right(Operation::ClusterAction, Resource::Cluster)],
    },
    Api {
        name: "DescribeCluster",
        request: &schema::DESCRIBE_CLUSTER,
        versions: Versions::between(0, 2),
        first_version_advertised: 0,
        listeners: EVERYWHERE,
        before_authentication: false,
        forwarded: false,
        rights: &[right(Operation::Describe, Resource::Cluster)],
    },
    Api {
        name: "DescribeProducers",
        request: &schema::DESCRIBE_PRODUCERS,
        versions: Versions::between(0, 0),
        first_version_advertised: 0,
        listeners: BROKERS,
        before_authentication: false,
        forwarded: false,
        rights: &[right(Operation::Read, Resource::Topic)],
    },
    Api {
        name: "BrokerRegistration",
        request: &schema::BROKER_REGISTRATION,
        // Before version 2 a broker does not tell its volume, by which a replica is known.
        versions: Versions::between(2, 4),
        first_version_advertised: 2,
        listeners: CONTROLLERS,
        before_authentication: false,
        forwarded: false,
        rights: &[right(Operation::ClusterAction, Resource::Cluster)],
    },
    Api {
        name: "BrokerHeartbeat",
        request: &schema::BROKER_HEARTBEAT,
        versions: Versions::between(0, 1),
        first_version_advertised: 0,
        listeners: CONTROLLERS,
        before_authentication: false,
        forwarded: false,
        rights: &[right(Operation::ClusterAction, Resource::Cluster)],
    },
    Api {
        name: "UnregisterBroker",
        request: &schema::UNREGISTER_BROKER,
        versions: Versions::between(0, 0),
        first_version_advertised: 0,
        listeners: EVERYWHERE,
        before_authentication: false,
        forwarded: true,
        rights: &[right(Operation::Alter, Resource::Cluster)],
    },
    Api {
        name: "AllocateProducerIds",
        request: &schema::ALLOCATE_PRODUCER_IDS,
        versions: Versions::between(0, 0),
        first_version_advertised: 0,
        listeners: CONTROLLERS,
        before_authentication: false,
        forwarded: false,
        rights: &[right(Operation::ClusterAction, Resource::Cluster)],
    },
    Api {
        name: "ControllerRegistration",
        request: &schema::CONTROLLER_REGISTRATION,
        versions: Versions::between(0, 0),
        first_version_advertised: 0,
        listeners: CONTROLLERS,
        before_authentication: false,
        forwarded: false,
        rights: &[right(Operation::ClusterAction, Resource::Cluster)],
    },
    Api {
        name: "ListConfigResources",
        request: &schema::LIST_CONFIG_RESOURCES,
        versions: Versions::between(0, 1),
        first_version_advertised: 0,
        listeners: BROKERS,
        before_authentication: false,
        forwarded: false,
        rights: &[right(Operation::DescribeConfigs, Resource::Cluster)],
    },
    Api {
        name: "DescribeTopicPartitions",
        request: &schema::DESCRIBE_TOPIC_PARTITIONS,
        versions: Versions::between(0, 0),
        first_version_advertised: 0,
        listeners: BROKERS,
        before_authentication: false,
        forwarded: false,
        rights: &[right(Operation::Describe, Resource::Topic)],
    },
    Api {
        name: "AddRaftVoter",
        request: &schema::ADD_RAFT_VOTER,
        versions: Versions::between(0, 0),
        first_version_advertised: 0,
        listeners: EVERYWHERE,
        before_authentication: false,
        forwarded: true,
        rights: &[right(Operation::Alter, Resource::Cluster)],
    },
    Api {
        name: "RemoveRaftVoter",
        request: &schema::REMOVE_RAFT_VOTER,
        versions: Versions::between(0, 0),
        first_version_advertised: 0,
        listeners: EVERYWHERE,
        before_authentication: false,
        forwarded: true,
        rights: &[right(Operation::Alter, Resource::Cluster)],
    },
    Api {
        name: "UpdateRaftVoter",
        request: &schema::UPDATE_RAFT_VOTER,
        versions: Versions::between(0, 0),
        first_version_advertised: 0,
        listeners: CONTROLLERS,
        before_authentication: false,
        forwarded: false,
        rights: &[right(Operation::ClusterAction, Resource::Cluster)],
    },
];

const fn right(operation: Operation, resource: Resource) -> Right {
    Right { operation, resource }
}

pub fn lookup(key: i16) -> Option<&'static Api> {
    APIS.binary_search_by_key(&key, Api::key_number).ok().and_then(|index| APIS.get(index))
}

/// What ApiVersions announces on a listener of this kind.
pub fn on(listener: Listener) -> impl Iterator<Item = &'static Api> {
    APIS.iter().filter(move |api| api.listeners.contains(&listener))
}

impl Api {
    pub const fn key(&self) -> ApiKey {
        self.request.key
    }

    /// The key as it stands in headers and in ApiVersions.
    pub const fn key_number(&self) -> i16 {
        self.request.key as i16
    }

    pub const fn serves(&self, version: i16) -> bool {
        self.versions.contains(version)
    }

    pub const fn advertised(&self) -> Versions {
        Versions::between(self.first_version_advertised, self.versions.last)
    }

    /// Whether this version has compact lengths and tagged fields, in the body and in the request's header.
    pub const fn is_flexible(&self, version: i16) -> bool {
        self.request.flexible.contains(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_keys_and_found_by_them() {
        assert!(APIS.is_sorted_by(|a, b| a.key_number() < b.key_number()));
        for api in APIS {
            assert_eq!(lookup(api.key_number()).map(|found| found.name), Some(api.name));
            assert_eq!(format!("{:?}", api.key()), api.name);
        }
        for unknown in [-1, 4, 93, i16::MAX] {
            assert!(lookup(unknown).is_none(), "{unknown}");
        }
    }

    #[test]
    fn every_version_served_is_described_and_announced() {
        for api in APIS {
            assert!(api.versions.first <= api.versions.last, "{}", api.name);
            assert!(api.request.versions.contains(api.versions.first), "{}", api.name);
            assert!(api.request.versions.contains(api.versions.last), "{}", api.name);
            assert!(api.first_version_advertised <= api.versions.first, "{}", api.name);
            assert!(!api.listeners.is_empty(), "{}", api.name);
        }
    }

    #[test]
    fn produce_announces_versions_that_it_refuses() {
        let produce = lookup(0).unwrap();
        assert_eq!(produce.advertised(), Versions::between(0, 13));
        assert!(!produce.serves(2) && produce.serves(3) && produce.serves(13) && !produce.serves(14));
    }

    #[test]
    fn a_controller_listener_announces_only_what_it_serves() {
        let names: Vec<_> = on(Listener::Controller).map(|api| api.name).collect();
        let expected = [
            "Fetch",
            "ApiVersions",
            "Vote",
            "BeginQuorumEpoch",
            "EndQuorumEpoch",
            "DescribeQuorum",
            "AlterPartition",
            "UpdateFeatures",
            "Envelope",
            "FetchSnapshot",
            "DescribeCluster",
            "BrokerRegistration",
            "BrokerHeartbeat",
            "UnregisterBroker",
            "AllocateProducerIds",
            "ControllerRegistration",
            "AddRaftVoter",
            "RemoveRaftVoter",
            "UpdateRaftVoter",
        ];
        assert_eq!(names, expected);
        assert!(on(Listener::Client).all(|api| api.listeners.contains(&Listener::Broker)));
    }

    #[test]
    fn only_the_handshake_precedes_authentication() {
        let open: Vec<_> = APIS.iter().filter(|api| api.before_authentication).map(|api| api.name).collect();
        assert_eq!(open, ["ApiVersions"]);
    }
}
