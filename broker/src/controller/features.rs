//! Feature levels (KIP-584): the ones this broker supports, the ones a new cluster starts with, and changes. Pure.

use protocol::metadata_records::{FeatureRange, MetadataRecord};

use crate::metadata::Image;

/// A feature and its supported levels.
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

/// The levels that the records of a new cluster set. Level 0 needs no record, and `kraft.version` is a control
/// record.
pub(crate) const INITIAL: [(&str, i16); 2] =
    [(METADATA_VERSION, METADATA_VERSION_LEVEL), ("eligible.leader.replicas.version", 1)];

/// A level to be set; 0 removes the feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FeatureUpdate {
    pub(crate) name: String,
    pub(crate) level: i16,
    pub(crate) direction: Direction,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Upgrade,
    /// Safe and unsafe downgrades are treated alike: none that could lose metadata is supported.
    Downgrade,
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid update version {level} for feature {name}: {reason}")]
pub(crate) struct InvalidFeatureUpdate {
    name: String,
    level: i16,
    reason: FeatureFault,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum FeatureFault {
    #[error("the upgrade type is not known")]
    UnknownDirection,
    #[error("the feature is not supported")]
    UnknownFeature,
    #[error("levels {min} to {max} are supported")]
    UnsupportedLevel { min: i16, max: i16 },
    #[error("level {current} can be lowered only by a downgrade")]
    NotADowngrade { current: i16 },
    #[error("a downgrade cannot raise level {current}")]
    NotAnUpgrade { current: i16 },
    #[error("level {current} of the quorum's log format cannot be changed")]
    Fixed { current: i16 },
}

/// As in a broker's registration.
pub(crate) fn supported_features() -> Vec<FeatureRange> {
    let range = |feature: &Feature| FeatureRange {
        name: feature.name.to_owned(),
        min: feature.level_min,
        max: feature.level_max,
    };
    SUPPORTED.iter().map(range).collect()
}

/// All of them or none.
pub(super) fn update_features(
    image: &Image,
    updates: &[FeatureUpdate],
) -> (Vec<MetadataRecord>, Result<(), InvalidFeatureUpdate>) {
    let records: Result<Vec<_>, _> = updates.iter().map(|update| update_feature(image, update)).collect();
    match records {
        Ok(records) => (records.into_iter().flatten().collect(), Ok(())),
        Err(error) => (Vec::new(), Err(error)),
    }
}

/// `None`: the feature has the level already.
fn update_feature(image: &Image, update: &FeatureUpdate) -> Result<Option<MetadataRecord>, InvalidFeatureUpdate> {
    let FeatureUpdate { name, level, direction } = update.clone();
    let current = image.features.get(&name).copied().unwrap_or(0);
    match check(&name, current, level, direction) {
        Ok(()) if level == current => Ok(None),
        Ok(()) => Ok(Some(MetadataRecord::FeatureLevel { name, level })),
        Err(reason) => Err(InvalidFeatureUpdate { name, level, reason }),
    }
}

fn check(name: &str, current: i16, level: i16, direction: Direction) -> Result<(), FeatureFault> {
    let supported = SUPPORTED.iter().find(|feature| feature.name == name).ok_or(FeatureFault::UnknownFeature)?;
    let Feature { level_min: min, level_max: max, .. } = *supported;
    if level < min || max < level {
        return Err(FeatureFault::UnsupportedLevel { min, max });
    }
    match direction {
        Direction::Unknown => Err(FeatureFault::UnknownDirection),
        Direction::Upgrade if level < current => Err(FeatureFault::NotADowngrade { current }),
        Direction::Downgrade if current < level => Err(FeatureFault::NotAnUpgrade { current }),
        _ if level != current && name == KRAFT_VERSION => Err(FeatureFault::Fixed { current }),
        Direction::Upgrade | Direction::Downgrade => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::testing::apply;

    const ELR: &str = "eligible.leader.replicas.version";

    /// With the levels of a new cluster.
    fn image() -> Image {
        let mut image = Image::empty();
        image.features.insert(KRAFT_VERSION.to_owned(), KRAFT_VERSION_LEVEL);
        let levels = INITIAL.map(|(name, level)| MetadataRecord::FeatureLevel { name: name.to_owned(), level });
        apply(&mut image, &levels);
        image
    }

    fn update(name: &str, level: i16, direction: Direction) -> FeatureUpdate {
        FeatureUpdate { name: name.to_owned(), level, direction }
    }

    #[test]
    fn a_level_is_raised_to_what_is_supported_and_the_same_again_is_nothing_to_do() {
        let mut image = image();
        for (name, level) in [(METADATA_VERSION, 27), (KRAFT_VERSION, 1), (ELR, 1), ("group.version", 0)] {
            assert_eq!(update_features(&image, &[update(name, level, Direction::Upgrade)]), (vec![], Ok(())), "{name}");
            assert_eq!(
                update_features(&image, &[update(name, level, Direction::Downgrade)]),
                (vec![], Ok(())),
                "{name}"
            );
        }
        image.features.remove(ELR);
        let (records, updated) = update_features(&image, &[update(ELR, 1, Direction::Upgrade)]);
        assert_eq!(updated, Ok(()));
        apply(&mut image, &records);
        assert_eq!(image.features.get(ELR), Some(&1));
    }

    #[test]
    fn one_level_that_cannot_be_set_refuses_them_all() {
        use Direction::{Downgrade, Unknown, Upgrade};
        let mut image = image();
        image.features.remove(ELR);
        let table = [
            (update(METADATA_VERSION, 26, Downgrade), "levels 27 to 27 are supported"),
            (update(METADATA_VERSION, 28, Upgrade), "levels 27 to 27 are supported"),
            (update("group.version", 1, Upgrade), "levels 0 to 0 are supported"),
            (update("transaction.version", 2, Upgrade), "levels 0 to 0 are supported"),
            (update(ELR, 0, Downgrade), "levels 1 to 1 are supported"),
            (update(ELR, 1, Downgrade), "cannot raise level 0"),
            (update(ELR, 1, Unknown), "upgrade type is not known"),
            (update(KRAFT_VERSION, -1, Downgrade), "levels 0 to 1 are supported"),
            (update(KRAFT_VERSION, 0, Upgrade), "only by a downgrade"),
            (update(KRAFT_VERSION, 0, Downgrade), "cannot be changed"),
            (update("share.version", 1, Upgrade), "not supported"),
        ];
        for (refused, reason) in table {
            let (records, updated) = update_features(&image, &[update(ELR, 1, Upgrade), refused]);
            let error = updated.unwrap_err().to_string();
            assert!(error.contains(reason) && records.is_empty(), "{error:?} does not say {reason:?}");
        }
    }
}
