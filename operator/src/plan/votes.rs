//! Corrects the voters: a broker on a new volume is another voter than on the old one.
//!
//! 1. The vote of the lost volume is removed first, because the quorum has a broker only once.
//! 2. Then the broker gets a vote for its current volume, once the controller finds that it has caught up.
//!
//! Until then no other voter can be spared. So this begins only while every broker serves, and the broker itself must
//! confirm its volume; meanwhile no broker is evicted, and only that broker may be restarted. What only the
//! controller can know, it checks itself.

use protocol::types::{BrokerId, ClusterId, DirectoryId};

use super::Step;
use crate::admin::{BrokerState, ClusterView, Vote, VoterChange, VoterView};
use crate::brokers::Broker;
use crate::crd::BrokerPhase;
use crate::observe::Observed;
use crate::validate::ValidatedCluster;

/// One change at a time.
pub(super) fn next(
    cluster: &ValidatedCluster,
    observed: &Observed,
    cluster_id: &ClusterId,
    brokers: &[Broker],
) -> Option<Step> {
    let (controller, view) = observed.controller()?;
    let all_serve = brokers.iter().all(|broker| broker.phase == BrokerPhase::Running);
    if !all_serve || !view.grants.is_empty() {
        return None;
    }
    let (broker, directory, vote) = due(cluster, view, brokers)?;
    let own = brokers.iter().find(|found| found.id == broker)?.directory;
    let change = VoterChange { cluster_id: cluster_id.clone(), broker, directory, vote };
    let target = observed.targets().remove(&controller)?;
    (own == told_by(observed, broker)).then_some(Step::ChangeVoters { target, change })
}

/// The volume on which a broker itself says it runs.
fn told_by(observed: &Observed, id: BrokerId) -> Option<DirectoryId> {
    let view = observed.brokers.get(&id)?.as_ref().ok()?;
    view.directory_id.as_ref().filter(|_| view.state == BrokerState::Running)?.parse().ok()
}

/// The first broker that should vote with its current volume, and does not.
pub(super) fn missing(controllers: &[BrokerId], view: &ClusterView, brokers: &[Broker]) -> Option<BrokerId> {
    lacking(controllers, view, brokers).map(|(id, ..)| id)
}

fn due(cluster: &ValidatedCluster, view: &ClusterView, brokers: &[Broker]) -> Option<(BrokerId, DirectoryId, Vote)> {
    let (id, own, former) = lacking(&cluster.controllers, view, brokers)?;
    let add = || (id, own, Vote::Add { host: cluster.names.pod_host(id) });
    former.map_or_else(|| Some(add()), |former| Some((id, former.directory_id.parse().ok()?, Vote::Remove)))
}

/// With its current volume, and its vote for another one, if any.
fn lacking<'a>(
    controllers: &[BrokerId],
    view: &'a ClusterView,
    brokers: &[Broker],
) -> Option<(BrokerId, DirectoryId, Option<&'a VoterView>)> {
    let mut voting = brokers.iter().filter(|broker| controllers.contains(&broker.id));
    voting.find_map(|broker| {
        let own = broker.directory.filter(|_| broker.formatted)?;
        let vote = view.voters.iter().find(|voter| voter.id == broker.id.0);
        let is_own = vote.is_some_and(|vote| vote.directory_id.parse() == Ok(own));
        (!is_own).then_some((broker.id, own, vote))
    })
}

#[cfg(test)]
#[path = "votes_test.rs"]
mod votes_test;
