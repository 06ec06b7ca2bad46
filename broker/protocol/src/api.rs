//! The APIs that Millrace serves: one row each. Dispatch, ApiVersions, the guard, authorization and the reference
//! page read this table; nothing else says which versions exist. A version that is not completely implemented is not
//! in it.

pub mod reference;

use kafka_protocol::messages::ApiKey;

use crate::schema::{self, Request, Versions};

/// The kind of listener on which a request arrives.
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

/// The operation that the sender must be authorized for, on each resource of that type that the request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Right {
    pub operation: Operation,
    pub resource: Resource,
}

#[derive(Debug)]
pub struct Api {
    pub name: &'static str,
    /// The schema of the body. Has more versions than are served if a handler does not support them yet.
    pub request: &'static Request,
    pub versions: Versions,
    /// The first version that ApiVersions announces: lower than the first served if a client takes the announcement
    /// for a feature test.
    pub first_version_advertised: i16,
    pub listeners: &'static [Listener],
    pub before_authentication: bool,
    /// Decided by the active controller, wherever it arrives.
    pub forwarded: bool,
    /// Which of them is needed depends on the request: a consumer's Fetch needs Read, a follower's ClusterAction.
    /// Empty: none is needed.
    pub rights: &'static [Right],
}

const BROKERS: &[Listener] = &[Listener::Client, Listener::Broker];
const CONTROLLERS: &[Listener] = &[Listener::Controller];
const EVERYWHERE: &[Listener] = &[Listener::Client, Listener::Broker, Listener::Controller];

/// By key.
pub static APIS: &[Api] = &[
    // librdkafka fails to produce compressed batches where 3 is announced.
    api("Produce", &schema::PRODUCE, Versions::between(3, 13), BROKERS)
        .announced_from(0)
        .needs(&[right(Operation::Write, Resource::Topic)]),
    // On a controller: the metadata log.
    api("Fetch", &schema::FETCH, Versions::between(4, 18), EVERYWHERE)
        .needs(&[right(Operation::Read, Resource::Topic), right(Operation::ClusterAction, Resource::Cluster)]),
    api("ListOffsets", &schema::LIST_OFFSETS, Versions::between(1, 10), BROKERS)
        .needs(&[right(Operation::Describe, Resource::Topic)]),
    api("Metadata", &schema::METADATA, Versions::between(0, 13), BROKERS)
        .needs(&[right(Operation::Describe, Resource::Topic)]),
    api("OffsetCommit", &schema::OFFSET_COMMIT, Versions::between(2, 9), BROKERS)
        .needs(&[right(Operation::Read, Resource::Group), right(Operation::Read, Resource::Topic)]),
    api("OffsetFetch", &schema::OFFSET_FETCH, Versions::between(1, 9), BROKERS)
        .needs(&[right(Operation::Describe, Resource::Group), right(Operation::Describe, Resource::Topic)]),
    api("FindCoordinator", &schema::FIND_COORDINATOR, Versions::between(0, 6), BROKERS)
        .needs(&[right(Operation::Describe, Resource::Group), right(Operation::Describe, Resource::TransactionalId)]),
    api("JoinGroup", &schema::JOIN_GROUP, Versions::between(0, 9), BROKERS)
        .needs(&[right(Operation::Read, Resource::Group)]),
    api("Heartbeat", &schema::HEARTBEAT, Versions::between(0, 4), BROKERS)
        .needs(&[right(Operation::Read, Resource::Group)]),
    api("LeaveGroup", &schema::LEAVE_GROUP, Versions::between(0, 5), BROKERS)
        .needs(&[right(Operation::Read, Resource::Group)]),
    api("SyncGroup", &schema::SYNC_GROUP, Versions::between(0, 5), BROKERS)
        .needs(&[right(Operation::Read, Resource::Group)]),
    api("DescribeGroups", &schema::DESCRIBE_GROUPS, Versions::between(0, 6), BROKERS)
        .needs(&[right(Operation::Describe, Resource::Group)]),
    api("ListGroups", &schema::LIST_GROUPS, Versions::between(0, 5), BROKERS)
        .needs(&[right(Operation::Describe, Resource::Cluster), right(Operation::Describe, Resource::Group)]),
    api("ApiVersions", &schema::API_VERSIONS, Versions::between(0, 4), EVERYWHERE).before_authentication(),
    api("CreateTopics", &schema::CREATE_TOPICS, Versions::between(2, 7), BROKERS)
        .forwarded()
        .needs(&[right(Operation::Create, Resource::Cluster), right(Operation::Create, Resource::Topic)]),
    api("DeleteTopics", &schema::DELETE_TOPICS, Versions::between(1, 6), BROKERS)
        .forwarded()
        .needs(&[right(Operation::Delete, Resource::Topic)]),
    api("DeleteRecords", &schema::DELETE_RECORDS, Versions::between(0, 2), BROKERS)
        .needs(&[right(Operation::Delete, Resource::Topic)]),
    api("InitProducerId", &schema::INIT_PRODUCER_ID, Versions::between(0, 5), BROKERS).needs(&[
        right(Operation::Write, Resource::TransactionalId),
        right(Operation::IdempotentWrite, Resource::Cluster),
        right(Operation::Write, Resource::Topic),
    ]),
    api("OffsetForLeaderEpoch", &schema::OFFSET_FOR_LEADER_EPOCH, Versions::between(2, 4), BROKERS)
        .needs(&[right(Operation::Describe, Resource::Topic), right(Operation::ClusterAction, Resource::Cluster)]),
    api("DescribeConfigs", &schema::DESCRIBE_CONFIGS, Versions::between(1, 4), BROKERS).needs(&[
        right(Operation::DescribeConfigs, Resource::Cluster),
        right(Operation::DescribeConfigs, Resource::Topic),
        right(Operation::DescribeConfigs, Resource::Group),
    ]),
    api("AlterConfigs", &schema::ALTER_CONFIGS, Versions::between(0, 2), BROKERS).forwarded().needs(&[
        right(Operation::AlterConfigs, Resource::Cluster),
        right(Operation::AlterConfigs, Resource::Topic),
        right(Operation::AlterConfigs, Resource::Group),
    ]),
    api("AlterReplicaLogDirs", &schema::ALTER_REPLICA_LOG_DIRS, Versions::between(1, 2), BROKERS)
        .needs(&[right(Operation::Alter, Resource::Cluster)]),
    api("DescribeLogDirs", &schema::DESCRIBE_LOG_DIRS, Versions::between(1, 4), BROKERS)
        .needs(&[right(Operation::Describe, Resource::Cluster)]),
    api("CreatePartitions", &schema::CREATE_PARTITIONS, Versions::between(0, 3), BROKERS)
        .forwarded()
        .needs(&[right(Operation::Alter, Resource::Topic)]),
    api("DeleteGroups", &schema::DELETE_GROUPS, Versions::between(0, 2), BROKERS)
        .needs(&[right(Operation::Delete, Resource::Group)]),
    api("ElectLeaders", &schema::ELECT_LEADERS, Versions::between(0, 2), BROKERS)
        .forwarded()
        .needs(&[right(Operation::Alter, Resource::Cluster)]),
    api("IncrementalAlterConfigs", &schema::INCREMENTAL_ALTER_CONFIGS, Versions::between(0, 1), BROKERS)
        .forwarded()
        .needs(&[
            right(Operation::AlterConfigs, Resource::Cluster),
            right(Operation::AlterConfigs, Resource::Topic),
            right(Operation::AlterConfigs, Resource::Group),
        ]),
    api("AlterPartitionReassignments", &schema::ALTER_PARTITION_REASSIGNMENTS, Versions::between(0, 1), BROKERS)
        .forwarded()
        .needs(&[right(Operation::Alter, Resource::Cluster)]),
    api("ListPartitionReassignments", &schema::LIST_PARTITION_REASSIGNMENTS, Versions::between(0, 0), BROKERS)
        .forwarded()
        .needs(&[right(Operation::Describe, Resource::Cluster)]),
    api("OffsetDelete", &schema::OFFSET_DELETE, Versions::between(0, 0), BROKERS)
        .needs(&[right(Operation::Delete, Resource::Group), right(Operation::Read, Resource::Topic)]),
    api("Vote", &schema::VOTE, Versions::between(0, 2), CONTROLLERS)
        .needs(&[right(Operation::ClusterAction, Resource::Cluster)]),
    api("BeginQuorumEpoch", &schema::BEGIN_QUORUM_EPOCH, Versions::between(0, 1), CONTROLLERS)
        .needs(&[right(Operation::ClusterAction, Resource::Cluster)]),
    api("EndQuorumEpoch", &schema::END_QUORUM_EPOCH, Versions::between(0, 1), CONTROLLERS)
        .needs(&[right(Operation::ClusterAction, Resource::Cluster)]),
    api("DescribeQuorum", &schema::DESCRIBE_QUORUM, Versions::between(0, 2), EVERYWHERE)
        .forwarded()
        .needs(&[right(Operation::Describe, Resource::Cluster)]),
    // Without the epochs of version 3 a process that has lost records could join the ISR.
    api("AlterPartition", &schema::ALTER_PARTITION, Versions::between(3, 3), CONTROLLERS)
        .needs(&[right(Operation::ClusterAction, Resource::Cluster)]),
    api("UpdateFeatures", &schema::UPDATE_FEATURES, Versions::between(0, 2), EVERYWHERE)
        .forwarded()
        .needs(&[right(Operation::Alter, Resource::Cluster)]),
    api("Envelope", &schema::ENVELOPE, Versions::between(0, 0), CONTROLLERS)
        .needs(&[right(Operation::ClusterAction, Resource::Cluster)]),
    api("FetchSnapshot", &schema::FETCH_SNAPSHOT, Versions::between(0, 1), CONTROLLERS)
        .needs(&[right(Operation::ClusterAction, Resource::Cluster)]),
    api("DescribeCluster", &schema::DESCRIBE_CLUSTER, Versions::between(0, 2), EVERYWHERE)
        .needs(&[right(Operation::Describe, Resource::Cluster)]),
    api("DescribeProducers", &schema::DESCRIBE_PRODUCERS, Versions::between(0, 0), BROKERS)
        .needs(&[right(Operation::Read, Resource::Topic)]),
    // Before version 2 a broker does not send its directory id, which identifies a replica.
    api("BrokerRegistration", &schema::BROKER_REGISTRATION, Versions::between(2, 4), CONTROLLERS)
        .needs(&[right(Operation::ClusterAction, Resource::Cluster)]),
    api("BrokerHeartbeat", &schema::BROKER_HEARTBEAT, Versions::between(0, 1), CONTROLLERS)
        .needs(&[right(Operation::ClusterAction, Resource::Cluster)]),
    api("UnregisterBroker", &schema::UNREGISTER_BROKER, Versions::between(0, 0), EVERYWHERE)
        .forwarded()
        .needs(&[right(Operation::Alter, Resource::Cluster)]),
    api("AllocateProducerIds", &schema::ALLOCATE_PRODUCER_IDS, Versions::between(0, 0), CONTROLLERS)
        .needs(&[right(Operation::ClusterAction, Resource::Cluster)]),
    api("ControllerRegistration", &schema::CONTROLLER_REGISTRATION, Versions::between(0, 0), CONTROLLERS)
        .needs(&[right(Operation::ClusterAction, Resource::Cluster)]),
    api("ListConfigResources", &schema::LIST_CONFIG_RESOURCES, Versions::between(0, 1), BROKERS)
        .needs(&[right(Operation::DescribeConfigs, Resource::Cluster)]),
    api("DescribeTopicPartitions", &schema::DESCRIBE_TOPIC_PARTITIONS, Versions::between(0, 0), BROKERS)
        .needs(&[right(Operation::Describe, Resource::Topic)]),
    api("AddRaftVoter", &schema::ADD_RAFT_VOTER, Versions::between(0, 0), EVERYWHERE)
        .forwarded()
        .needs(&[right(Operation::Alter, Resource::Cluster)]),
    api("RemoveRaftVoter", &schema::REMOVE_RAFT_VOTER, Versions::between(0, 0), EVERYWHERE)
        .forwarded()
        .needs(&[right(Operation::Alter, Resource::Cluster)]),
    api("UpdateRaftVoter", &schema::UPDATE_RAFT_VOTER, Versions::between(0, 0), CONTROLLERS)
        .needs(&[right(Operation::ClusterAction, Resource::Cluster)]),
];

const fn api(name: &'static str, request: &'static Request, versions: Versions, listeners: &'static [Listener]) -> Api {
    Api {
        name,
        request,
        versions,
        first_version_advertised: versions.first,
        listeners,
        before_authentication: false,
        forwarded: false,
        rights: &[],
    }
}

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
    const fn announced_from(mut self, version: i16) -> Self {
        self.first_version_advertised = version;
        self
    }

    const fn before_authentication(mut self) -> Self {
        self.before_authentication = true;
        self
    }

    const fn forwarded(mut self) -> Self {
        self.forwarded = true;
        self
    }

    const fn needs(mut self, rights: &'static [Right]) -> Self {
        self.rights = rights;
        self
    }

    pub const fn key(&self) -> ApiKey {
        self.request.key
    }

    /// The key as in headers and in ApiVersions.
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
