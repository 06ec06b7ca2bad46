//! The metadata quorum and the brokers' registration with it.

use super::super::option::{ConfigOption, Kind, bool, int, list, long, string, unset};

pub(super) const OPTIONS: &[ConfigOption] = &[
    list(
        "controller.quorum.voters",
        "",
        "Controllers as `id@host:port,…`. The voters themselves stand in the metadata log; this \
         list only says where to look for them.",
    ),
    list("controller.quorum.bootstrap.servers", "", "Controllers as `host:port,…`, to find the quorum at the start."),
    int("controller.quorum.election.timeout.ms", "1000", "How long a candidate waits for votes before it tries again.")
        .min(1),
    int(
        "controller.quorum.fetch.timeout.ms",
        "2000",
        "How long a voter waits for the leader before it campaigns, and the leader for a majority \
         of voters before it resigns.",
    )
    .min(1),
    int("controller.quorum.election.backoff.max.ms", "1000", "Longest random pause before the next candidacy.").min(0),
    int(
        "controller.quorum.append.linger.ms",
        "25",
        "How long Kafka's leader collects records before it writes them. Here those that come while \
         others are being synced are synced together.",
    )
    .min(0)
    .ignored(),
    int("controller.quorum.request.timeout.ms", "2000", "How long a request to another voter may take.").min(1),
    int("controller.quorum.retry.backoff.ms", "20", "Pause before a leader that refuses connections is tried again.")
        .min(0),
    bool(
        "controller.quorum.auto.join.enable",
        "false",
        "Whether a controller that is no voter adds itself. The operator adds voters.",
    )
    .ignored(),
    int("controller.socket.timeout.ms", "30000", "Of the time before KRaft.").ignored(),
    int(
        "broker.heartbeat.interval.ms",
        "500",
        "How often a broker reports to the controller. Kafka's default is 2000.",
    )
    .min(1),
    int(
        "broker.session.timeout.ms",
        "3000",
        "How long the controller waits for a silent broker before it fences it. Kafka's default \
         is 9000.",
    )
    .min(1),
    unset("metadata.log.dir", Kind::String, "Another directory for the metadata log. Unset: the data directory.")
        .refused("the metadata log lies in the data directory"),
    int("metadata.log.segment.bytes", "1073741824", "Size at which a new segment of the metadata log begins.")
        .min(8_388_608),
    long("metadata.log.segment.ms", "604800000", "Age at which a new segment of the metadata log begins.").min(1),
    long(
        "metadata.max.retention.bytes",
        "104857600",
        "Metadata log and snapshots beyond this size are deleted, up to the latest snapshot; \
         negative: no limit.",
    ),
    long(
        "metadata.max.retention.ms",
        "604800000",
        "Metadata log and snapshots older than this are deleted, up to the latest snapshot; \
         negative: no limit.",
    ),
    int(
        "metadata.max.idle.interval.ms",
        "0",
        "How often the active controller writes an empty record when nothing else happens; 0: never. Kafka's \
         default is 500: its brokers learn with the next record how far the last one is committed, here at once.",
    )
    .min(0),
    long(
        "metadata.log.max.record.bytes.between.snapshots",
        "20971520",
        "Bytes of new records after which a snapshot is taken.",
    )
    .min(1),
    long(
        "metadata.log.max.snapshot.interval.ms",
        "3600000",
        "Time after which a snapshot is taken if there are new records; 0: no limit.",
    )
    .min(0),
    string("sasl.mechanism.controller.protocol", "GSSAPI", "SASL towards the controllers.")
        .refused("SASL is not implemented"),
];
