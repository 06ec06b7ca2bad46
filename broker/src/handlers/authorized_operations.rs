//! The operations that a client is authorized for: a bit for each operation's number in Kafka's protocol. Without an
//! authorizer those are all that the resource type has.

const READ: u8 = 3;
const WRITE: u8 = 4;
const CREATE: u8 = 5;
const DELETE: u8 = 6;
const ALTER: u8 = 7;
const DESCRIBE: u8 = 8;
const CLUSTER_ACTION: u8 = 9;
const DESCRIBE_CONFIGS: u8 = 10;
const ALTER_CONFIGS: u8 = 11;
const IDEMPOTENT_WRITE: u8 = 12;

pub(super) fn of_topic() -> i32 {
    bits(&[READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS])
}

pub(super) fn of_group() -> i32 {
    bits(&[READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS])
}

pub(super) fn of_cluster() -> i32 {
    bits(&[CREATE, ALTER, DESCRIBE, CLUSTER_ACTION, DESCRIBE_CONFIGS, ALTER_CONFIGS, IDEMPOTENT_WRITE])
}

fn bits(operations: &[u8]) -> i32 {
    operations.iter().fold(0, |bits, operation| bits | 1 << operation)
}
