use super::*;
use crate::metadata::testing::volume;

const LAG_MAX: Duration = Duration::from_secs(30);

fn at(seconds: u64) -> Duration {
    Duration::from_secs(1000 + seconds)
}

fn ids(brokers: &[i32]) -> Vec<BrokerId> {
    brokers.iter().copied().map(BrokerId).collect()
}

/// Replicas on 0, 1 and 2, led by broker 0.
fn partition(partition_epoch: i32, isr: &[i32]) -> PartitionImage {
    let replica = |broker| Replica { broker: BrokerId(broker), directory: volume(broker) };
    PartitionImage {
        replicas: (0..3).map(replica).collect(),
        isr: ids(isr),
        adding: Vec::new(),
        removing: Vec::new(),
        leader: Some(BrokerId(0)),
        recovery_state: LeaderRecoveryState::Recovered,
        leader_epoch: LeaderEpoch(5),
        partition_epoch: PartitionEpoch(partition_epoch),
        eligible_leader_replicas: Vec::new(),
        last_known_elr: Vec::new(),
    }
}

/// All three are active, registered with epochs 100, 101 and 102.
fn all_active() -> RegisteredBrokers {
    let broker = |id| RegisteredBroker { epoch: BrokerEpoch(100 + i64::from(id)), is_active: true };
    RegisteredBrokers((0..3).map(|id| (BrokerId(id), broker(id))).collect())
}

struct Leader {
    state: LeaderState,
    brokers: RegisteredBrokers,
    log_end: i64,
    high_watermark: i64,
}

impl Leader {
    /// Begins to lead at log end 10, high watermark 8, second 0.
    fn new(isr: &[i32]) -> Self {
        let state = LeaderState::new(&partition(1, isr), BrokerId(0), Offset(10), at(0));
        Self { state, brokers: all_active(), log_end: 10, high_watermark: 8 }
    }

    fn fetch(&mut self, broker: i32, offset: i64, second: u64) {
        self.fetch_as(broker, 100 + i64::from(broker), offset, second).unwrap();
    }

    fn fetch_as(&mut self, broker: i32, epoch: i64, offset: i64, second: u64) -> Result<(), UnknownFollower> {
        let fetch = FollowerFetch {
            broker: BrokerId(broker),
            broker_epoch: BrokerEpoch(epoch),
            directory: Some(volume(broker)),
            offset: Offset(offset),
            log_start: Offset(0),
        };
        self.state.fetched(&fetch, Offset(self.log_end), &self.brokers, at(second))
    }

    fn fence(&mut self, broker: i32) {
        self.brokers.0.get_mut(&BrokerId(broker)).unwrap().is_active = false;
    }

    /// The broker has registered again.
    fn restart(&mut self, broker: i32) {
        self.brokers.0.get_mut(&BrokerId(broker)).unwrap().epoch.0 += 100;
    }

    fn committed(&mut self, min_insync_replicas: usize, second: u64) -> Option<i64> {
        let judgement = Judgement { brokers: &self.brokers, lag_max: LAG_MAX, now: at(second) };
        let end = Offset(self.log_end);
        let committed = self.state.committed_end((end, end), min_insync_replicas, &judgement).map(|end| end.0);
        self.high_watermark = self.high_watermark.max(committed.unwrap_or(0));
        committed
    }

    /// The members that are proposed.
    fn propose(&mut self, second: u64) -> Option<IsrProposal> {
        let judgement = Judgement { brokers: &self.brokers, lag_max: LAG_MAX, now: at(second) };
        self.state.propose(Offset(self.high_watermark), Offset(self.log_end), &judgement)
    }

    fn proposed(&mut self, second: u64) -> Option<Vec<BrokerId>> {
        Some(self.propose(second)?.isr.into_iter().map(|(broker, _)| broker).collect())
    }
}

fn committed(partition_epoch: i32, isr: &[i32]) -> ProposalOutcome {
    let (leader_epoch, partition_epoch) = (LeaderEpoch(5), PartitionEpoch(partition_epoch));
    ProposalOutcome::Committed { leader_epoch, partition_epoch, isr: ids(isr) }
}

#[test]
fn a_record_is_committed_when_all_in_sync_have_it() {
    let mut leader = Leader::new(&[0, 1, 2]);
    assert_eq!(leader.committed(2, 0), None, "nobody has said what it has");
    leader.fetch(1, 10, 1);
    assert_eq!(leader.committed(2, 1), None);
    leader.fetch(2, 9, 1);
    assert_eq!(leader.committed(2, 1), Some(9));
    leader.fetch(2, 10, 2);
    leader.log_end = 20;
    assert_eq!(leader.committed(2, 2), Some(10), "what this broker alone has");
}

#[test]
fn nothing_is_committed_with_fewer_in_sync_than_asked_for() {
    let mut leader = Leader::new(&[0, 1]);
    leader.fetch(1, 10, 1);
    assert_eq!((leader.committed(3, 1), leader.committed(2, 1)), (None, Some(10)));
    // If more are required than there are replicas, all of them are enough.
    let mut leader = Leader::new(&[0, 1, 2]);
    leader.fetch(1, 10, 1);
    leader.fetch(2, 10, 1);
    assert_eq!(leader.committed(5, 1), Some(10));
    let mut one = partition(1, &[0]);
    one.replicas.truncate(1);
    leader.state = LeaderState::new(&one, BrokerId(0), Offset(10), at(0));
    assert_eq!(leader.committed(2, 1), Some(10));
}

#[test]
fn who_may_be_in_sync_by_now_counts_until_it_is_known() {
    let mut leader = Leader::new(&[0, 1]);
    leader.fetch(1, 10, 1);
    leader.fetch(2, 10, 1);
    let proposal = leader.propose(1).unwrap();
    leader.log_end = 20;
    leader.fetch(1, 20, 2);
    // Long after, and no longer active: the controller may have it in the ISR all the same.
    leader.fence(2);
    assert_eq!(leader.committed(2, 99), Some(10));
    assert_eq!(leader.propose(99), None, "one proposal at a time");
    let mut superseded = Leader { state: leader.state.clone(), brokers: leader.brokers.clone(), ..leader };
    assert_eq!(superseded.state.resolve(&proposal, ProposalOutcome::Superseded), None);
    assert_eq!(superseded.committed(2, 99), Some(10), "until the metadata tells");
    superseded.state.follow(&partition(2, &[0, 1]));
    assert_eq!(superseded.committed(2, 99), Some(20));
    assert_eq!(leader.state.resolve(&proposal, ProposalOutcome::Refused), Some(IsrChange::default()));
    assert_eq!(leader.committed(2, 99), Some(20));
    let late = committed(2, &[0, 1, 2]);
    assert_eq!(leader.state.resolve(&proposal, late), None, "it is none any more");
    assert_eq!(leader.state.isr(), ids(&[0, 1]));
}

#[test]
fn who_leaves_counts_until_the_metadata_tells_it_with_what_the_controller_went_by() {
    let mut leader = Leader::new(&[0, 1, 2]);
    leader.log_end = 20;
    leader.fetch(1, 20, 29);
    leader.fetch(2, 10, 29);
    assert_eq!(leader.propose(30), None);
    let proposal = leader.propose(31).unwrap();
    assert_eq!(proposal.isr, [(BrokerId(0), Some(BrokerEpoch(100))), (BrokerId(1), Some(BrokerEpoch(101)))]);
    assert_eq!(leader.committed(2, 31), Some(10));
    let change = leader.state.resolve(&proposal, committed(2, &[0, 1]));
    assert_eq!(change, Some(IsrChange { joined: 0, left: 1 }));
    assert_eq!(leader.committed(2, 31), Some(10), "the controller may ask for 3 by now, and elect who leaves");
    leader.state.follow(&partition(2, &[0, 1]));
    assert_eq!((leader.committed(3, 31), leader.committed(2, 31)), (None, Some(20)));
}

#[test]
fn a_follower_stays_that_was_caught_up_when_it_last_fetched() {
    let mut leader = Leader::new(&[0, 1]);
    for second in 1..100 {
        // Always one fetch behind a growing log.
        leader.log_end += 10;
        leader.fetch(1, leader.log_end - 10, second);
        assert_eq!(leader.propose(second), None, "second {second}");
    }
    leader.log_end += 10;
    assert_eq!(leader.propose(128), None, "it was caught up when it fetched in second 98");
    assert_eq!(leader.proposed(129), Some(ids(&[0])));
}

#[test]
fn a_follower_of_an_idle_log_is_in_sync_however_long_it_is_silent() {
    let mut leader = Leader::new(&[0, 1]);
    leader.fetch(1, 10, 1);
    assert_eq!(leader.propose(500), None);
}

#[test]
fn a_follower_joins_when_it_has_all_that_is_committed_and_is_the_one_that_is_up() {
    let fetches: [(i64, Option<&[i32]>); 4] = [
        (10, Some(&[0, 1, 2])),
        (9, None), // less than the log end when this leadership began
        (12, Some(&[0, 1, 2])),
        (11, None), // less than is committed
    ];
    for (offset, expected) in fetches {
        let mut leader = Leader::new(&[0, 1]);
        if 10 < offset {
            (leader.log_end, leader.high_watermark) = (20, 12);
        }
        leader.fetch(1, leader.log_end, 1);
        leader.fetch(2, offset, 1);
        assert_eq!(leader.proposed(1), expected.map(ids), "offset {offset}");
    }
    let mut leader = Leader::new(&[0, 1]);
    leader.fetch(2, 10, 1);
    leader.restart(2);
    assert_eq!(leader.propose(1), None, "it was another life of that broker");
    leader.brokers = all_active();
    leader.fence(2);
    assert_eq!(leader.propose(1), None, "fenced, or about to stop");
    leader.brokers = all_active();
    let state = LeaderState::new(&partition(1, &[0, 1]), BrokerId(0), Offset(10), at(2));
    let mut reelected = Leader { state, ..leader };
    assert_eq!(reelected.propose(2), None, "it has not fetched in this leadership");
}

#[test]
fn under_load_the_high_watermark_waits_for_who_is_about_to_join() {
    let mut leader = Leader::new(&[0]);
    leader.fetch(2, 10, 1);
    leader.log_end = 20;
    assert_eq!(leader.committed(1, 2), Some(10));
    leader.fence(2);
    assert_eq!(leader.committed(1, 2), Some(20), "it is no longer up");
    leader.brokers = all_active();
    assert_eq!(leader.committed(1, 32), Some(20), "it is no longer in time");
}

#[test]
fn fetches_of_strangers_count_for_nothing() {
    let mut leader = Leader::new(&[0, 1]);
    assert_eq!(leader.fetch_as(7, 107, 10, 1), Err(UnknownFollower::NotAReplica(BrokerId(7))));
    // Made up, of a version without an epoch, and one that is not replayed here yet.
    for epoch in [i64::MAX, -1, 100, 201] {
        let refused = leader.fetch_as(1, epoch, 10, 1);
        let (broker, registered) = (BrokerId(1), Some(BrokerEpoch(101)));
        assert_eq!(refused, Err(UnknownFollower::OtherEpoch { broker, epoch: BrokerEpoch(epoch), registered }));
        assert_eq!(leader.committed(2, 1), None, "epoch {epoch}");
    }
    leader.fetch(1, 9, 1);
    assert_eq!(leader.committed(2, 1), Some(9), "what others claimed is not kept");
    leader.restart(1);
    assert!(leader.fetch_as(1, 101, 10, 2).is_err());
    leader.fetch_as(1, 201, 9, 2).unwrap();
    let mut moved = partition(2, &[0, 1]);
    moved.replicas[1].directory = volume(9);
    leader.state.follow(&moved);
    assert!(matches!(leader.fetch_as(1, 201, 10, 3), Err(UnknownFollower::OtherDirectory { .. })));
    assert_eq!(leader.committed(2, 3), None, "an empty disk under the same id has nothing");
}

#[test]
fn an_unclean_leader_says_that_it_has_recovered() {
    let mut recovering = partition(1, &[0]);
    recovering.recovery_state = LeaderRecoveryState::Recovering;
    let state = LeaderState::new(&recovering, BrokerId(0), Offset(10), at(0));
    let mut leader = Leader { state, brokers: all_active(), log_end: 10, high_watermark: 8 };
    let proposal = leader.propose(1).unwrap();
    assert_eq!((proposal.isr.len(), proposal.recovery_state), (1, LeaderRecoveryState::Recovered));
    leader.state.resolve(&proposal, committed(2, &[0]));
    assert_eq!(leader.propose(1), None);
    leader.state.follow(&partition(2, &[0]));
    assert_eq!(leader.propose(1), None);
}

#[test]
fn what_was_so_already_is_settled_by_the_answer() {
    let mut leader = Leader::new(&[0, 1]);
    leader.fetch(2, 10, 1);
    let proposal = leader.propose(1).unwrap();
    assert_eq!(leader.state.resolve(&proposal, committed(1, &[0, 1])), Some(IsrChange::default()));
    assert_eq!(leader.propose(1), Some(proposal), "no metadata comes that would settle it");
}

#[test]
fn metadata_that_is_late_changes_nothing() {
    let mut leader = Leader::new(&[0, 1]);
    leader.fetch(2, 10, 1);
    let proposal = leader.propose(1).unwrap();
    leader.state.follow(&partition(1, &[0, 1]));
    assert_eq!(leader.state.proposal(), Some(&proposal));
    leader.state.follow(&partition(3, &[0]));
    leader.state.follow(&partition(2, &[0, 1, 2]));
    assert_eq!((leader.state.isr(), leader.state.proposal()), (&ids(&[0])[..], None));
}

#[test]
fn consumers_may_read_from_followers_that_have_what_they_ask_for() {
    let mut leader = Leader::new(&[0, 1, 2]);
    leader.fetch(1, 5, 1);
    leader.fetch(2, 9, 1);
    let readable = |offset| leader.state.readable_followers(Offset(offset)).map(|(broker, _)| broker.0).collect();
    let (at_5, at_7, at_10): (Vec<_>, Vec<_>, Vec<_>) = (readable(5), readable(7), readable(10));
    assert_eq!((at_5, at_7, at_10), (vec![1, 2], vec![2], vec![]));
}

#[test]
fn who_joins_under_load_does_not_leave_at_once() {
    let mut leader = Leader::new(&[0, 1]);
    leader.log_end = 20;
    leader.fetch(1, 20, 1);
    leader.fetch(2, 12, 1);
    let proposal = leader.propose(1).unwrap();
    assert_eq!(leader.state.resolve(&proposal, committed(2, &[0, 1, 2])).map(|change| change.joined), Some(1));
    leader.state.follow(&partition(2, &[0, 1, 2]));
    assert_eq!(leader.proposed(31), None, "it has the whole time to get to the end");
    assert_eq!(leader.proposed(32), Some(ids(&[0, 1])));
}
