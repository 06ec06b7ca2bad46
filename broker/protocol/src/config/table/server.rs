//! The process as a whole.

use super::super::option::{ConfigOption, Kind, bool, int, list, long, string, unset};

const NO_CLASSES: &str = "Millrace loads no Java classes";

pub(super) const OPTIONS: &[ConfigOption] = &[
    list("process.roles", "", "What this process does: `broker`, `controller` or both.")
        .one_of(&["broker", "controller"]),
    unset("node.id", Kind::Int, "Number of this process in the cluster, unique among brokers and controllers.").min(0),
    int("broker.id", "-1", "Older name of `node.id`. Where both are set they must agree.").min(-1),
    unset(
        "broker.rack",
        Kind::String,
        "Rack or zone of this broker. Replicas are spread over racks, and consumers may read from \
         the nearest replica.",
    ),
    list("log.dirs", "", "The data directory. Kafka allows several, Millrace one. Unset: `log.dir`."),
    string("log.dir", "/tmp/kafka-logs", "The data directory where `log.dirs` is not set."),
    list("cordoned.log.dirs", "", "Directories that get no new replicas; `*` for all. Written by a decommission.")
        .with_controller(),
    int("num.io.threads", "8", "Kafka's request handler threads. Here requests run on the network threads.")
        .min(1)
        .cluster_wide()
        .ignored(),
    int("background.threads", "10", "Kafka's pool for background work.").min(1).cluster_wide().ignored(),
    bool(
        "auto.create.topics.enable",
        "true",
        "Whether asking for the metadata of an unknown topic, or producing to it, creates it.",
    ),
    bool("delete.topic.enable", "true", "Whether topics may be deleted."),
    int("num.partitions", "1", "Partitions of a topic whose creation says nothing about them.").min(1),
    bool(
        "controlled.shutdown.enable",
        "true",
        "Whether a stopping broker hands over its partitions first. Millrace always does.",
    )
    .ignored(),
    int("request.timeout.ms", "30000", "How long a request to another node may take.").min(1),
    long("socket.connection.setup.timeout.ms", "10000", "How long connecting to another node may take.").min(1).later(),
    long("socket.connection.setup.timeout.max.ms", "30000", "Upper end of Kafka's growing connection timeout.")
        .ignored(),
    int("max.request.partition.size.limit", "2000", "Most partitions that one DescribeTopicPartitions answer lists.")
        .min(1),
    int(
        "initial.broker.registration.timeout.ms",
        "60000",
        "How long a starting broker tries to register before it gives up and exits.",
    )
    .min(1),
    long("server.max.startup.time.ms", "9223372036854775807", "Longest time for the whole start.").min(0).ignored(),
    string("security.inter.broker.protocol", "PLAINTEXT", "Security of the connections between brokers.")
        .refused("only PLAINTEXT is implemented"),
    string("authorizer.class.name", "", "Kafka's authorizer class.")
        .refused("access control is not implemented, so every client could do everything"),
    bool("allow.everyone.if.no.acl.found", "false", "Of Kafka's authorizer.").ignored(),
    unset("principal.builder.class", Kind::Class, "Java class that names a connection's user.")
        .refused(NO_CLASSES)
        .restart(),
    unset("early.start.listeners", Kind::List, "Listeners that open before the authorizer is ready.").ignored(),
    unset("create.topic.policy.class.name", Kind::Class, "Java class that may refuse new topics.").refused(NO_CLASSES),
    unset("alter.config.policy.class.name", Kind::Class, "Java class that may refuse configuration changes.")
        .refused(NO_CLASSES),
    list(
        "config.providers",
        "",
        "Sources for `${provider:key}` in values. Only `env`, the environment, exists; it needs \
         no declaration.",
    )
    .one_of(&["env"])
    .ignored()
    .restart(),
    unset("config.providers.env.class", Kind::Class, "Java class of the provider `env`.").ignored(),
    list(
        "metric.reporters",
        "",
        "Java classes that export metrics. Millrace has `/metrics` on the management listener.",
    )
    .cluster_wide()
    .ignored(),
    int("metrics.num.samples", "2", "Samples kept per metric.").min(1).ignored(),
    long("metrics.sample.window.ms", "30000", "Length of a metric's sample.").min(1).ignored(),
    string("metrics.recording.level", "INFO", "Detail of the metrics.").ignored(),
    list("kafka.metrics.reporters", "", "Java classes that export Yammer metrics.").ignored(),
    int("kafka.metrics.polling.interval.secs", "10", "How often those are asked.").min(1).ignored(),
    bool("unstable.api.versions.enable", "false", "Whether API versions under development are offered.").ignored(),
    bool("unstable.feature.versions.enable", "false", "Whether feature levels under development are offered.")
        .ignored(),
    bool("remote.log.storage.system.enable", "false", "Tiered storage.").refused("tiered storage is not implemented"),
    string(
        "millrace.management.listener",
        "",
        "`host:port` of the management API: probes, metrics, `/v1`. Empty: closed.",
    ),
    string(
        "millrace.management.tokens.file",
        "",
        "File with the bearer tokens that `/v1` of the management API accepts, one a line. Read at every \
         call, so that a token can be replaced while the broker runs. Empty: `/v1` is closed.",
    ),
    long(
        "millrace.disk.reserve.soft.bytes",
        "-1",
        "Free bytes of the volume below which producers are told to try again (KAFKA_STORAGE_ERROR), while \
         everything else goes on. -1: 5 % of the volume, at most 1 GiB.",
    )
    .min(-1),
    long(
        "millrace.disk.reserve.hard.bytes",
        "-1",
        "Free bytes of the volume below which no topic is created, either. -1: 2 % of the volume, at most \
         256 MiB.",
    )
    .min(-1),
    long(
        "millrace.disk.reserve.file.bytes",
        "-1",
        "Size of the file `.millrace-reserve`. What it takes is given up on a full volume to the metadata log and \
         the checkpoints, so that the broker can start and topics can be deleted. -1: 1 % of the volume, at most \
         16 MiB; 0: none.",
    )
    .min(-1),
    int(
        "millrace.broker.partitions.max",
        "50000",
        "Replicas that a broker may have: what would give one of them more is refused (POLICY_VIOLATION) when topics \
         or partitions are created. Reassignments may go beyond. The active controller's value counts.",
    )
    .min(1),
    list(
        "millrace.discarded.log.dirs",
        "",
        "Directory ids of volumes that never register again. Written when a volume is discarded \
         (`/v1/discards`).",
    )
    .by_controller(),
    string(
        "millrace.rack.file",
        "",
        "File whose first line is the rack, where `broker.rack` is unset. It may be written a little later than the \
         broker starts, which waits up to 10 s for the line to be whole. Empty: none.",
    ),
    string(
        "millrace.format",
        "",
        "`await`: an unformatted broker waits to be formatted through the management API instead \
         of exiting.",
    )
    .one_of(&["", "await"]),
];

/// Options of a subscription to client metrics (KIP-714).
pub(super) const CLIENT_METRICS: &[ConfigOption] = &[
    list("metrics", "", "Prefixes of the names of metrics that clients are asked for.").ignored(),
    int("interval.ms", "300000", "How often they are asked to send them.").min(100).max(3_600_000).ignored(),
    list("match", "", "Which clients: `client_id=regex`, `client_software_name=regex` and the like.").ignored(),
];
