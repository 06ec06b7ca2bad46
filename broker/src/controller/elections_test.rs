use protocol::metadata_records::{LeaderRecoveryState, PartitionChangeRecord};
use protocol::types::{DirectoryId, TopicId};

use super::super::brokers;
use super::super::configs::record;
use super::super::partition_change::Departure;
use super::super::policy::with_minimum;
use super::Election::{Preferred, Unclean};
use super::*;
use crate::metadata::ConfigResource;
use crate::metadata::testing::{add_partition, add_topic, apply, cluster, fence};

fn ids(brokers: &[i32]) -> Vec<BrokerId> {
    brokers.iter().copied().map(BrokerId).collect()
}

/// With `min.insync.replicas` 2.
fn elect_all(
    image: &Image,
    election: Election,
    wanted: Option<Vec<(String, Vec<PartitionId>)>>,
) -> (Vec<MetadataRecord>, ElectionResults) {
    elect_leaders(&with_minimum(image, 2), election, wanted)
}

/// A topic on brokers 0, 1 and 2 in this state.
fn image(isr: &[i32], eligible: &[i32], leader: Option<i32>, fenced: &[i32]) -> (Image, TopicId) {
    let mut image = cluster(3);
    let topic = add_topic(&mut image, "t", &[0, 1, 2]);
    let change = PartitionChangeRecord {
        isr: Some(ids(isr)),
        eligible_leader_replicas: Some(ids(eligible)),
        leader: leader.map_or(LeaderUpdate::Nobody, |id| LeaderUpdate::Broker(BrokerId(id))),
        ..PartitionChangeRecord::new(topic, PartitionId(0))
    };
    apply(&mut image, &[MetadataRecord::PartitionChange(change)]);
    for broker in fenced {
        fence(&mut image, *broker);
    }
    (image, topic)
}

fn elect(image: &mut Image, election: Election) -> Result<(), ElectionError> {
    let wanted = vec![("t".to_owned(), vec![PartitionId(0)])];
    let (records, mut results) = elect_all(image, election, Some(wanted));
    apply(image, &records);
    results.remove(0).1.remove(0).1
}

/// ISR, ELR, leader, fenced brokers.
type State<'a> = (&'a [i32], &'a [i32], Option<i32>, &'a [i32]);
/// The result of the election; then leader, ISR and ELR.
type Outcome<'a> = (Result<(), ElectionError>, Option<i32>, &'a [i32], &'a [i32]);

#[test]
fn leaders_are_elected_as_kafka_elects_them() {
    let unavailable = || Err(ElectionError::PreferredNotAvailable { preferred: Some(BrokerId(0)) });
    let not_needed = || Err(ElectionError::NotNeeded);
    let table: [(State<'_>, Election, Outcome<'_>); 9] = [
        ((&[0, 1, 2], &[], Some(1), &[]), Preferred, (Ok(()), Some(0), &[0, 1, 2], &[])),
        ((&[0, 1], &[], Some(0), &[]), Preferred, (not_needed(), Some(0), &[0, 1], &[])),
        ((&[1, 2], &[], Some(1), &[]), Preferred, (unavailable(), Some(1), &[1, 2], &[])),
        ((&[0, 1], &[], Some(1), &[0]), Preferred, (unavailable(), Some(1), &[0, 1], &[])),
        ((&[2], &[], None, &[]), Preferred, (Ok(()), Some(2), &[2], &[])),
        ((&[], &[2, 0], None, &[0]), Preferred, (Ok(()), Some(2), &[2], &[0])),
        ((&[0, 1], &[], Some(1), &[]), Unclean, (not_needed(), Some(1), &[0, 1], &[])),
        ((&[0], &[], None, &[0]), Unclean, (Ok(()), Some(1), &[1], &[])),
        ((&[0], &[], None, &[0, 1, 2]), Unclean, (Err(ElectionError::NoneAvailable), None, &[0], &[])),
    ];
    for (row, election, (result, leader, isr, eligible)) in table {
        let (mut image, topic) = image(row.0, row.1, row.2, row.3);
        assert_eq!(elect(&mut image, election), result, "{row:?}");
        let partition = &image.topics[&topic].partitions[0];
        assert_eq!(partition.leader, leader.map(BrokerId), "{row:?}");
        assert_eq!((&partition.isr, &partition.eligible_leader_replicas), (&ids(isr), &ids(eligible)), "{row:?}");
        let unclean = result.is_ok() && election == Unclean;
        assert_eq!(partition.recovery_state == LeaderRecoveryState::Recovering, unclean, "{row:?}");
    }
}

#[test]
fn a_copy_on_a_volume_that_is_gone_leads_not_even_uncleanly() {
    let (mut image, _) = image(&[0], &[], None, &[1, 2]);
    let broker = image.brokers.get_mut(&BrokerId(0)).unwrap();
    broker.directories = vec![DirectoryId::default()];
    assert_eq!(elect(&mut image, Unclean), Err(ElectionError::NoneAvailable));
}

#[test]
fn an_election_everywhere_tells_only_of_what_it_did() {
    let (mut image, _) = image(&[0, 1], &[], Some(1), &[]);
    add_topic(&mut image, "settled", &[2]);
    let (records, results) = elect_all(&image, Preferred, None);
    assert_eq!(records.len(), 1);
    assert_eq!(results, [("settled".to_owned(), vec![]), ("t".to_owned(), vec![(PartitionId(0), Ok(()))])]);
}

#[test]
fn what_does_not_exist_has_no_leader() {
    let (image, _) = image(&[0], &[], Some(0), &[]);
    let wanted = vec![("x".to_owned(), vec![PartitionId(0)]), ("t".to_owned(), vec![PartitionId(1), PartitionId(-1)])];
    let (records, results) = elect_all(&image, Preferred, Some(wanted));
    assert!(records.is_empty());
    let partition =
        |id| ElectionError::Unknown(UnknownPartition::Partition { topic: "t".to_owned(), partition: PartitionId(id) });
    assert_eq!(results[0].1[0].1, Err(ElectionError::Unknown(UnknownPartition::Topic { topic: "x".to_owned() })));
    assert_eq!(
        results[1].1.iter().map(|(_, result)| result.clone().unwrap_err()).collect::<Vec<_>>(),
        [partition(1), partition(-1)]
    );
}

#[test]
fn leadership_returns_to_preferred_leaders_that_are_in_sync() {
    /// ISR, leader, fenced, about to be restarted; the leader after the election.
    type Row<'a> = (&'a [i32], i32, &'a [i32], &'a [i32], i32);
    let table: [Row<'_>; 5] = [
        (&[0, 1, 2], 1, &[], &[], 0),
        (&[0, 1, 2], 0, &[], &[], 0),
        (&[1, 2], 1, &[], &[], 1),
        (&[0, 1], 1, &[0], &[], 1),
        (&[0, 1, 2], 1, &[], &[0], 1),
    ];
    for (isr, leader, fenced, spared, after) in table {
        let (mut image, topic) = image(isr, &[], Some(leader), fenced);
        let records = balance(&with_minimum(&image, 2).sparing(ids(spared)));
        apply(&mut image, &records);
        assert_eq!(image.topics[&topic].partitions[0].leader, Some(BrokerId(after)), "{isr:?} {leader} {spared:?}");
    }
}

#[test]
fn a_pass_has_an_end_and_the_next_goes_on() {
    let mut image = cluster(2);
    let topic = add_topic(&mut image, "t", &[0, 1]);
    (1..1500).for_each(|_| add_partition(&mut image, topic, &[0, 1]));
    let led_by_other =
        |image: &Image| image.partitions().filter(|(_, _, state)| state.leader == Some(BrokerId(1))).count();
    let moved = brokers::withdraw(&with_minimum(&image, 1), BrokerId(0), |_| Departure::Clean);
    apply(&mut image, &moved);
    for (topic, id, _) in image.clone().partitions() {
        let back = PartitionChangeRecord { isr: Some(ids(&[0, 1])), ..PartitionChangeRecord::new(topic.id, id) };
        apply(&mut image, &[MetadataRecord::PartitionChange(back)]);
    }
    for left in [1500, 500, 0] {
        assert_eq!(led_by_other(&image), left);
        let records = balance(&with_minimum(&image, 1));
        apply(&mut image, &records);
    }
}

#[test]
fn records_are_given_up_only_where_that_is_enabled() {
    let (mut image, topic) = image(&[0], &[], None, &[0]);
    assert_eq!(elect_uncleanly(&with_minimum(&image, 1)), []);
    let enabled = record(&ConfigResource::topic("t"), "unclean.leader.election.enable", Some("true".to_owned()));
    apply(&mut image, &[enabled]);
    let records = elect_uncleanly(&with_minimum(&image, 1));
    apply(&mut image, &records);
    let partition = &image.topics[&topic].partitions[0];
    assert_eq!((partition.leader, partition.recovery_state), (Some(BrokerId(1)), LeaderRecoveryState::Recovering));
    assert_eq!(elect_uncleanly(&with_minimum(&image, 1)), [], "it has a leader");
}
