//! Producer ids and transactions.

use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};

use super::{Request, Versions, bool, int16, int32, int32s, int64, int64s, string, strings, structs};

pub static INIT_PRODUCER_ID: Request = Request {
    key: ApiKey::InitProducerId,
    versions: Versions::between(0, 5),
    flexible: Versions::since(2),
    fields: &[
        string("TransactionalId").nullable(),
        int32("TransactionTimeoutMs"),
        int64("ProducerId").since(3),
        int16("ProducerEpoch").since(3),
    ],
};

pub static ADD_PARTITIONS_TO_TXN: Request = Request {
    key: ApiKey::AddPartitionsToTxn,
    versions: Versions::between(0, 5),
    flexible: Versions::since(3),
    fields: &[
        structs::<AddPartitionsToTxnTransaction>("Transactions").since(4).of(&[
            string("TransactionalId"),
            int64("ProducerId"),
            int16("ProducerEpoch"),
            bool("VerifyOnly"),
            structs::<AddPartitionsToTxnTopic>("Topics").of(&[string("Name"), int32s("Partitions")]),
        ]),
        string("V3AndBelowTransactionalId").until(3),
        int64("V3AndBelowProducerId").until(3),
        int16("V3AndBelowProducerEpoch").until(3),
        structs::<AddPartitionsToTxnTopic>("V3AndBelowTopics").until(3).of(&[string("Name"), int32s("Partitions")]),
    ],
};

pub static ADD_OFFSETS_TO_TXN: Request = Request {
    key: ApiKey::AddOffsetsToTxn,
    versions: Versions::between(0, 4),
    flexible: Versions::since(3),
    fields: &[string("TransactionalId"), int64("ProducerId"), int16("ProducerEpoch"), string("GroupId")],
};

pub static TXN_OFFSET_COMMIT: Request = Request {
    key: ApiKey::TxnOffsetCommit,
    versions: Versions::between(0, 5),
    flexible: Versions::since(3),
    fields: &[
        string("TransactionalId"),
        string("GroupId"),
        int64("ProducerId"),
        int16("ProducerEpoch"),
        int32("GenerationId").since(3),
        string("MemberId").since(3),
        string("GroupInstanceId").since(3).nullable(),
        structs::<TxnOffsetCommitRequestTopic>("Topics").of(&[
            string("Name"),
            structs::<TxnOffsetCommitRequestPartition>("Partitions").of(&[
                int32("PartitionIndex"),
                int64("CommittedOffset"),
                int32("CommittedLeaderEpoch").since(2),
                string("CommittedMetadata").nullable(),
            ]),
        ]),
    ],
};

pub static END_TXN: Request = Request {
    key: ApiKey::EndTxn,
    versions: Versions::between(0, 5),
    flexible: Versions::since(3),
    fields: &[string("TransactionalId"), int64("ProducerId"), int16("ProducerEpoch"), bool("Committed")],
};

pub static WRITE_TXN_MARKERS: Request = Request {
    key: ApiKey::WriteTxnMarkers,
    versions: Versions::between(1, 1),
    flexible: Versions::since(1),
    fields: &[structs::<WritableTxnMarker>("Markers").of(&[
        int64("ProducerId"),
        int16("ProducerEpoch"),
        bool("TransactionResult"),
        structs::<WritableTxnMarkerTopic>("Topics").of(&[string("Name"), int32s("PartitionIndexes")]),
        int32("CoordinatorEpoch"),
    ])],
};

pub static DESCRIBE_TRANSACTIONS: Request = Request {
    key: ApiKey::DescribeTransactions,
    versions: Versions::between(0, 0),
    flexible: Versions::since(0),
    fields: &[strings("TransactionalIds")],
};

pub static LIST_TRANSACTIONS: Request = Request {
    key: ApiKey::ListTransactions,
    versions: Versions::between(0, 2),
    flexible: Versions::since(0),
    fields: &[
        strings("StateFilters"),
        int64s("ProducerIdFilters"),
        int64("DurationFilter").since(1),
        string("TransactionalIdPattern").since(2).nullable(),
    ],
};
