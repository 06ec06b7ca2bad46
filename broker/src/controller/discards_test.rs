use protocol::metadata_records::PartitionChangeRecord;
use protocol::types::{IncarnationId, PartitionId};

use super::super::policy::with_minimum;
use super::*;
use crate::metadata::testing::{add_topic, apply, cluster, volume};

fn ids(brokers: &[i32]) -> Vec<BrokerId> {
    brokers.iter().copied().map(BrokerId).collect()
}

fn discard_from(image: &mut Image, broker: i32, directory: DirectoryId) -> Result<(), DiscardError> {
    let records = discard(&with_minimum(image, 2), BrokerId(broker), directory)?;
    apply(image, &records);
    Ok(())
}

/// A topic on brokers 0, 1 and 2 with this ISR and ELR.
fn image(isr: &[i32], eligible: &[i32]) -> Image {
    let mut image = cluster(3);
    let topic = add_topic(&mut image, "t", &[0, 1, 2]);
    let change = PartitionChangeRecord {
        isr: Some(ids(isr)),
        eligible_leader_replicas: Some(ids(eligible)),
        ..PartitionChangeRecord::new(topic, PartitionId(0))
    };
    apply(&mut image, &[MetadataRecord::PartitionChange(change)]);
    image
}

#[test]
fn a_discarded_volume_counts_for_nothing_and_never_comes_back() {
    let mut image = image(&[0], &[1]);
    discard_from(&mut image, 1, volume(1)).unwrap();
    let partition = image.topic("t").unwrap().partitions[0].clone();
    assert_eq!((partition.isr, partition.eligible_leader_replicas), (ids(&[0]), vec![]));
    assert!(image.brokers[&BrokerId(1)].fenced);
    assert!(is_discarded(&image, volume(1)) && !is_discarded(&image, volume(0)));
    let end = image.end_offset;
    discard_from(&mut image, 1, volume(1)).unwrap();
    assert_eq!(image.end_offset, end, "repeating it changes nothing");
    discard_from(&mut image, 2, volume(2)).unwrap();
    assert!(is_discarded(&image, volume(1)) && is_discarded(&image, volume(2)));
}

#[test]
fn the_last_good_copy_of_something_is_kept() {
    // ISR, ELR; the broker whose volume is to be discarded; whether that is allowed.
    let table: [(&[i32], &[i32], i32, bool); 6] = [
        (&[0, 1], &[], 0, true),
        (&[0], &[1], 0, true),
        (&[0], &[], 0, false),
        (&[0], &[], 1, true),
        (&[], &[2], 2, false),
        (&[], &[1, 2], 2, true),
    ];
    for (isr, eligible, broker, allowed) in table {
        let mut image = image(isr, eligible);
        let result = discard_from(&mut image, broker, volume(broker));
        assert_eq!(result.is_ok(), allowed, "{isr:?} {eligible:?} {broker}: {result:?}");
        if let Err(error) = result {
            assert_eq!(error.to_string(), "the last good copy is there of t-0");
            assert!(!is_discarded(&image, volume(broker)));
        }
    }
}

#[test]
fn a_copy_on_a_volume_that_is_gone_is_no_other_copy() {
    let mut image = image(&[0], &[1]);
    let broker = image.brokers.get_mut(&BrokerId(1)).unwrap();
    (broker.directories, broker.incarnation) = (vec![volume(9)], IncarnationId::default());
    assert!(matches!(discard_from(&mut image, 0, volume(0)), Err(DiscardError::LastCopies(_))));
}

#[test]
fn only_a_volume_that_is_known_under_its_broker_is_discarded() {
    let mut image = image(&[0, 1], &[]);
    let (directory, owner, broker) = (volume(0), BrokerId(0), BrokerId(1));
    let refused = DiscardError::OwnedByOther { directory, owner, broker };
    assert_eq!(discard_from(&mut image, 1, volume(0)), Err(refused));
    assert_eq!(discard_from(&mut image, 1, volume(7)), Err(DiscardError::Unknown { directory: volume(7) }));
}
