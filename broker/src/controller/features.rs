//! Feature levels (KIP-584): what this broker supports, and what a new cluster begins with.

/// A feature and the levels of it that are supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Feature {
    pub(crate) name: &'static str,
    pub(crate) level_min: i16,
    pub(crate) level_max: i16,
}

const fn feature(name: &'static str, level_min: i16, level_max: i16) -> Feature {
    Feature { name, level_min, level_max }
}

pub(crate) const METADATA_VERSION: &str = "metadata.version";
pub(crate) const KRAFT_VERSION: &str = "kraft.version";

/// 27 is Kafka 4.1 (`4.1-IV1`).
pub(crate) const METADATA_VERSION_LEVEL: i16 = 27;
pub(crate) const KRAFT_VERSION_LEVEL: i16 = 1;

pub(crate) const SUPPORTED: [Feature; 5] = [
    feature(METADATA_VERSION, METADATA_VERSION_LEVEL, METADATA_VERSION_LEVEL),
    feature(KRAFT_VERSION, 0, KRAFT_VERSION_LEVEL),
    feature("eligible.leader.replicas.version", 1, 1),
    feature("group.version", 0, 0),
    feature("transaction.version", 0, 0),
];

/// The levels that the records of a new cluster set; level 0 is what no record means, and `kraft.version` is a
/// control record.
pub(crate) const INITIAL: [(&str, i16); 2] =
    [(METADATA_VERSION, METADATA_VERSION_LEVEL), ("eligible.leader.replicas.version", 1)];
