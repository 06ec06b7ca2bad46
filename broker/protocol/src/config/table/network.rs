//! Listeners, connections and requests.

use super::super::option::{ConfigOption, Kind, int, list, long, string, unset};

pub(super) const OPTIONS: &[ConfigOption] = &[
    list(
        "listeners",
        "PLAINTEXT://:9092",
        "Where this process listens: `NAME://host:port`, an empty host being every address.",
    )
    .restart(),
    unset(
        "advertised.listeners",
        Kind::List,
        "What clients and other nodes are told to connect to. Unset: `listeners`.",
    ),
    unset(
        "inter.broker.listener.name",
        Kind::String,
        "The listener that brokers use among themselves. Unset: the one named PLAINTEXT.",
    ),
    list(
        "controller.listener.names",
        "",
        "The listeners of the controllers. On a broker the first one says which name to look for.",
    ),
    list(
        "listener.security.protocol.map",
        "PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL",
        "Security protocol per listener name. Every listener that is opened must map to \
         PLAINTEXT.",
    )
    .restart(),
    unset(
        "num.network.threads",
        Kind::Int,
        "Threads that serve clients, connections and requests alike. Unset: one per core. Kafka's \
         default is 3.",
    )
    .min(1)
    .max(1024)
    .restart(),
    int("socket.send.buffer.bytes", "102400", "Send buffer of each connection; -1: the system's own.").min(-1),
    int(
        "socket.receive.buffer.bytes",
        "-1",
        "Receive buffer of each connection; -1: the system's own, which grows with the load. Kafka's default of 102400 \
         doubles the CPU time of large batches.",
    )
    .min(-1),
    int("socket.request.max.bytes", "104857600", "Largest request. A longer one closes the connection.").min(1),
    int("socket.listen.backlog.size", "50", "Connections that may wait to be accepted.").min(1),
    long("connections.max.idle.ms", "600000", "A connection without traffic for this long is closed; negative: never."),
    int(
        "max.connections",
        "2147483647",
        "Most connections of clients. A further one is closed at once. Descriptors and memory are a limit too.",
    )
    .min(0)
    .restart(),
    int("max.connections.per.ip", "2147483647", "Most connections from one address. A further one is closed at once.")
        .min(0)
        .restart(),
    string("max.connections.per.ip.overrides", "", "Exceptions to that: `host:count,…`.").restart(),
    int("max.connection.creation.rate", "2147483647", "Most new connections a second.").min(0).restart(),
    int(
        "connection.failed.authentication.delay.ms",
        "100",
        "How long a failed authentication is left without an answer.",
    )
    .min(0)
    .ignored(),
    int(
        "queued.max.requests",
        "500",
        "Kafka's queue between network and handler threads, which Millrace does not have.",
    )
    .min(1)
    .ignored(),
    long(
        "queued.max.request.bytes",
        "-1",
        "Bytes of requests in flight before connections are read no further. Not positive: a \
         quarter of the memory limit.",
    ),
    int("fetch.max.bytes", "57671680", "Most bytes of one answer to a Fetch, whatever the client asks for.").min(1024),
    int(
        "max.incremental.fetch.session.cache.slots",
        "1000",
        "Fetch sessions (KIP-227) that are kept. All together they are of at most 200 times as many partitions; 0: none.",
    )
    .min(0),
    int("fetch.purgatory.purge.interval.requests", "1000", "Kafka's clean-up of waiting fetches.").ignored(),
    int("share.fetch.purgatory.purge.interval.requests", "1000", "Kafka's clean-up of waiting share fetches.")
        .ignored(),
    int("producer.purgatory.purge.interval.requests", "1000", "Kafka's clean-up of waiting produce requests.")
        .ignored(),
    int("delete.records.purgatory.purge.interval.requests", "1", "Kafka's clean-up of waiting DeleteRecords requests.")
        .ignored(),
];
