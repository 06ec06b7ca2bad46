//! Transactions and idempotent producers.

use super::super::option::{ConfigOption, bool, int, short};

pub(super) const OPTIONS: &[ConfigOption] = &[
    int(
        "transaction.state.log.num.partitions",
        "50",
        "Partitions of `__transaction_state`. Not to be changed once it exists.",
    )
    .min(1)
    .later(),
    short("transaction.state.log.replication.factor", "3", "Replicas of `__transaction_state`.").min(1).later(),
    int("transaction.state.log.min.isr", "2", "min.insync.replicas of `__transaction_state`.").min(1).later(),
    int("transaction.state.log.segment.bytes", "104857600", "Segment size of `__transaction_state`.").min(1).later(),
    int("transaction.state.log.load.buffer.size", "5242880", "Bytes read at a time when a coordinator loads.")
        .min(1)
        .ignored(),
    int("transaction.max.timeout.ms", "900000", "Longest transaction timeout that a producer may ask for.")
        .min(1)
        .later(),
    int("transactional.id.expiration.ms", "604800000", "How long an unused transactional id is remembered.")
        .min(1)
        .later(),
    int(
        "transaction.abort.timed.out.transaction.cleanup.interval.ms",
        "10000",
        "How often transactions that ran out of time are looked for.",
    )
    .min(1)
    .later(),
    int(
        "transaction.remove.expired.transaction.cleanup.interval.ms",
        "3600000",
        "How often expired transactional ids are looked for.",
    )
    .min(1)
    .later(),
    bool(
        "transaction.partition.verification.enable",
        "true",
        "Whether a partition asks the coordinator before the first record of a transaction.",
    )
    .cluster_wide()
    .ignored(),
    int(
        "add.partitions.to.txn.retry.backoff.ms",
        "20",
        "First pause before a partition is added to a transaction again.",
    )
    .min(1)
    .ignored(),
    int("add.partitions.to.txn.retry.backoff.max.ms", "100", "Longest pause of that kind.").min(0).ignored(),
    bool(
        "transaction.two.phase.commit.enable",
        "false",
        "Transactions whose end an outside coordinator decides (KIP-939).",
    )
    .refused("two-phase commit is not implemented"),
    int("producer.id.expiration.ms", "86400000", "How long a partition remembers a producer that writes no more.")
        .min(1)
        .cluster_wide(),
    int("producer.id.expiration.check.interval.ms", "600000", "How often forgotten producers are looked for.").min(1),
];
