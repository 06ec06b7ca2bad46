use std::collections::BTreeSet;

use protocol::types::PartitionId;

use super::super::policy::with_minimum;
use super::*;
use crate::metadata::testing::{add_partition, add_topic, apply, cluster, fence};

/// Twelve partitions of three replicas on brokers 0 to 4 in racks a, a, b, c, c.
fn image() -> Image {
    let mut image = cluster(5);
    for (id, rack) in (0..).zip(["a", "a", "b", "c", "c"]) {
        image.brokers.get_mut(&BrokerId(id)).unwrap().rack = Some(rack.to_owned());
    }
    let topic = add_topic(&mut image, "t", &[0, 2, 3]);
    (1..12).for_each(|_| add_partition(&mut image, topic, &[0, 2, 3]));
    image
}

fn decommission_from(image: &mut Image, broker: i32) -> Result<Decommission, DecommissionError> {
    let records = decommission(&with_minimum(image, 2), BrokerId(broker))?;
    apply(image, &records);
    Ok(decommission_progress(image, BrokerId(broker)).unwrap())
}

#[test]
fn replicas_move_to_others_of_the_same_rack_if_there_are_any() {
    let mut image = image();
    let begun = decommission_from(&mut image, 3).unwrap();
    assert_eq!(begun, Decommission { broker: BrokerId(3), replicas_left: 12, moving: 12 });
    assert!(is_cordoned(&image, BrokerId(3)));
    for (_, _, state) in image.partitions() {
        assert!(targets(state).eq([0, 2, 4].map(BrokerId)), "{state:?}");
        assert_eq!((&state.adding, &state.removing), (&vec![BrokerId(4)], &vec![BrokerId(3)]));
    }
    let again = decommission(&with_minimum(&image, 2), BrokerId(3));
    assert_eq!(again, Ok(Vec::new()), "repeating it changes nothing");
}

#[test]
fn the_others_share_what_moves() {
    let mut image = image();
    for id in 0..5 {
        image.brokers.get_mut(&BrokerId(id)).unwrap().rack = None;
    }
    decommission_from(&mut image, 2).unwrap();
    let takers: Vec<_> = image.partitions().map(|(_, _, state)| state.adding[0]).collect();
    assert_eq!(takers.iter().filter(|id| **id == BrokerId(1)).count(), 6, "{takers:?}");
    assert_eq!(takers.iter().collect::<BTreeSet<_>>(), BTreeSet::from([&BrokerId(1), &BrokerId(4)]));
}

#[test]
fn whoever_cannot_take_replicas_gets_none_and_what_has_no_place_is_named() {
    let mut image = image();
    fence(&mut image, 4);
    decommission_from(&mut image, 1).unwrap();
    let partition = TopicPartition { topic: "t".to_owned(), partition: PartitionId(0) };
    let refused = DecommissionError::TooFewBrokers { broker: BrokerId(0), partition, replicas: 3, available: 2 };
    assert_eq!(decommission_from(&mut image, 0), Err(refused));
    assert!(!is_cordoned(&image, BrokerId(0)), "nothing was changed");
    let unknown = DecommissionError::NotRegistered(BrokerEpochError::NotRegistered { id: BrokerId(9) });
    assert_eq!(decommission_from(&mut image, 9), Err(unknown));
}

#[test]
fn what_is_cancelled_is_as_it_was() {
    let mut image = image();
    let not_begun = Err(DecommissionError::NotBegun { broker: BrokerId(3) });
    assert_eq!(cancel(&with_minimum(&image, 2), BrokerId(3)), not_begun);
    let before: Vec<_> = image.partitions().map(|(_, _, state)| state.replicas.clone()).collect();
    decommission_from(&mut image, 3).unwrap();
    let records = cancel(&with_minimum(&image, 2), BrokerId(3)).unwrap();
    apply(&mut image, &records);
    assert_eq!(decommission_progress(&image, BrokerId(3)), None);
    assert!(image.partitions().all(|(_, _, state)| !state.is_reassigning()));
    let after: Vec<_> = image.partitions().map(|(_, _, state)| state.replicas.clone()).collect();
    let sorted = |mut all: Vec<Vec<crate::metadata::Replica>>| {
        for replicas in &mut all {
            replicas.sort_by_key(|replica| replica.broker);
        }
        all
    };
    assert_eq!(sorted(after), sorted(before));
}
