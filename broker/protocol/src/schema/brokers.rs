//! Requests of brokers and controllers to the active controller.

use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::alter_partition_request::{BrokerState, PartitionData, TopicData};
use kafka_protocol::messages::{broker_registration_request, controller_registration_request};

use super::{Request, Versions, bool, int8, int16, int32, int32s, int64, string, structs, uint16, uuid, uuids};

pub static ALTER_PARTITION: Request = Request {
    key: ApiKey::AlterPartition,
    versions: Versions::between(2, 3),
    flexible: Versions::since(0),
    fields: &[
        int32("BrokerId"),
        int64("BrokerEpoch"),
        structs::<TopicData>("Topics").of(&[
            uuid("TopicId").since(2),
            structs::<PartitionData>("Partitions").of(&[
                int32("PartitionIndex"),
                int32("LeaderEpoch"),
                int32s("NewIsr").until(2),
                structs::<BrokerState>("NewIsrWithEpochs")
                    .since(3)
                    .of(&[int32("BrokerId").since(3), int64("BrokerEpoch").since(3)]),
                int8("LeaderRecoveryState").since(1),
                int32("PartitionEpoch"),
            ]),
        ]),
    ],
};

pub static BROKER_REGISTRATION: Request = Request {
    key: ApiKey::BrokerRegistration,
    versions: Versions::between(0, 4),
    flexible: Versions::since(0),
    fields: &[
        int32("BrokerId"),
        string("ClusterId"),
        uuid("IncarnationId"),
        structs::<broker_registration_request::Listener>("Listeners").of(&[
            string("Name"),
            string("Host"),
            uint16("Port"),
            int16("SecurityProtocol"),
        ]),
        structs::<broker_registration_request::Feature>("Features").of(&[
            string("Name"),
            int16("MinSupportedVersion"),
            int16("MaxSupportedVersion"),
        ]),
        string("Rack").nullable(),
        bool("IsMigratingZkBroker").since(1),
        uuids("LogDirs").since(2),
        int64("PreviousBrokerEpoch").since(3),
    ],
};

pub static BROKER_HEARTBEAT: Request = Request {
    key: ApiKey::BrokerHeartbeat,
    versions: Versions::between(0, 1),
    flexible: Versions::since(0),
    fields: &[
        int32("BrokerId"),
        int64("BrokerEpoch"),
        int64("CurrentMetadataOffset"),
        bool("WantFence"),
        bool("WantShutDown"),
        uuids("OfflineLogDirs").since(1).tagged(0),
    ],
};

pub static UNREGISTER_BROKER: Request = Request {
    key: ApiKey::UnregisterBroker,
    versions: Versions::between(0, 0),
    flexible: Versions::since(0),
    fields: &[int32("BrokerId")],
};

pub static ALLOCATE_PRODUCER_IDS: Request = Request {
    key: ApiKey::AllocateProducerIds,
    versions: Versions::between(0, 0),
    flexible: Versions::since(0),
    fields: &[int32("BrokerId"), int64("BrokerEpoch")],
};

pub static CONTROLLER_REGISTRATION: Request = Request {
    key: ApiKey::ControllerRegistration,
    versions: Versions::between(0, 0),
    flexible: Versions::since(0),
    fields: &[
        int32("ControllerId"),
        uuid("IncarnationId"),
        bool("ZkMigrationReady"),
        structs::<controller_registration_request::Listener>("Listeners").of(&[
            string("Name"),
            string("Host"),
            uint16("Port"),
            int16("SecurityProtocol"),
        ]),
        structs::<controller_registration_request::Feature>("Features").of(&[
            string("Name"),
            int16("MinSupportedVersion"),
            int16("MaxSupportedVersion"),
        ]),
    ],
};
