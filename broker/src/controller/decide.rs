//! What each command does: the records and the answer that it leads to. Nothing is written here.

use std::time::Duration;

use protocol::metadata_records::{MetadataRecord, RegisterControllerRecord};
use protocol::types::{BrokerId, TopicId, undashed};
use tracing::{debug, info};
use uuid::Uuid;

use super::alter_partition::{self, AlterPartition, AlteredPartitions};
use super::brokers::{self, BrokerEpochError};
use super::command::{Command, Reply, RestartWish, TopicResults};
use super::configs::{AlterConfigResults, ConfigChange};
use super::decommission::{self, Decommission, DecommissionError, decommission_progress};
use super::discards;
use super::grants::{self, GrantError, GrantStatus, Grants};
use super::group::Group;
use super::handle::Outside;
use super::placement::Limits;
use super::policy::Policy;
use super::runtime::ControllerContext;
use super::sessions::Sessions;
use super::suspicion::Suspicion;
use super::topics::{CreateTopicError, CreatedTopic, CreationRules, TopicSpec};
use super::upkeep::Upkeep;
use super::{
    configs, elections, features, min_insync_replicas, partitions, producer_ids, reassignments, topic_deletion, topics,
};
use crate::metadata::Image;

/// The active controller's decisions, with the soft state they need. `now` is always monotonic.
#[derive(Debug)]
pub(super) struct Decider {
    pub(super) context: ControllerContext,
    /// The controller's own volume has no space for new topics and partitions.
    pub(super) volume_is_full: bool,
    pub(super) outside: Outside,
    pub(super) sessions: Sessions,
    pub(super) suspicion: Suspicion,
    pub(super) grants: Grants,
    pub(super) upkeep: Upkeep,
}

impl Decider {
    pub(super) fn new(context: ControllerContext, outside: Outside) -> Self {
        Self {
            volume_is_full: false,
            outside,
            sessions: Sessions::new(context.session_timeout),
            suspicion: Suspicion::default(),
            grants: Grants::default(),
            upkeep: Upkeep::new(&context.file_values),
            context,
        }
    }

    /// This node is the active controller from now on. `image` is all that is committed.
    pub(super) fn activated(&mut self, image: &Image, now: Duration) {
        self.resigned();
        self.sessions.restart(image, now);
        // The previous process of this node has ended: this one holds the lock on the directory.
        let own = self.context.id;
        if image.brokers.get(&own).is_some_and(|broker| broker.incarnation != self.context.incarnation) {
            self.sessions.expire(own, now);
        }
        self.upkeep.begin(now);
    }

    /// No longer the active controller: the soft state would be stale when it becomes active again.
    pub(super) fn resigned(&mut self) {
        self.grants.clear();
        self.suspicion.forget();
    }

    /// Returns the rest of a command that is too large for the group.
    pub(super) fn decide(&mut self, group: &mut Group, command: Command, now: Duration) -> Option<Command> {
        match command {
            Command::CreateTopics { specs, created, validate_only, reply } => {
                return self.create_topics(group, (specs, created), validate_only, reply);
            }
            Command::AlterConfigs { changes, validate_only, reply } => {
                group.answer_after(reply, unless(validate_only, self.alter_configs(&group.image, &changes)));
            }
            Command::DeleteTopics { topics, reply } => {
                group.answer_after(reply, topic_deletion::delete_topics(&group.image, &topics));
            }
            Command::CreatePartitions { specs, validate_only, reply } => {
                let start = random_start();
                let decided = partitions::create_partitions(&group.image, &specs, start, self.limits());
                group.answer_after(reply, unless(validate_only, decided));
            }
            Command::ElectLeaders { election, wanted, reply } => {
                group.answer_after(reply, elections::elect_leaders(&self.policy(&group.image), election, wanted));
            }
            Command::AlterReassignments { wanted, factor_change, reply } => {
                let policy = self.policy(&group.image);
                group.answer_after(reply, reassignments::alter_reassignments(&policy, &wanted, factor_change));
            }
            Command::UpdateFeatures { updates, validate_only, reply } => {
                group.answer_after(reply, unless(validate_only, features::update_features(&group.image, &updates)));
            }
            Command::AllocateProducerIds { broker, epoch, reply } => {
                let allocated = producer_ids::allocate(&group.image, broker, epoch);
                group.answer_after(reply, fallible(allocated.map(|(record, block)| (vec![record], block))));
            }
            Command::AlterPartition { request, reply } => self.alter_partition(group, &request, reply),
            Command::RegisterBroker { registration, reply } => self.register_broker(group, registration, reply, now),
            Command::RegisterController { record, reply } => {
                let record = is_news(&group.image, &record).then_some(MetadataRecord::RegisterController(record));
                group.answer_after(reply, (record.into_iter().collect(), ()));
            }
            Command::UnregisterBroker { broker, reply } => self.unregister_broker(group, broker, reply),
            Command::Heartbeat { heartbeat, reply } => self.heartbeat(group, heartbeat, reply, now),
            Command::ConnectionLost { broker, epoch } => self.ask_for_probe(&group.image, broker, epoch, now),
            Command::Probed { broker, epoch, outcome } => self.probed(group, (broker, epoch), outcome, now),
            Command::FenceHint { broker, epoch, reply } => {
                group.answer(reply, Ok(self.fence_hint(&group.image, broker, epoch, now)));
            }
            Command::GrantRestart { wish, reply } => self.grant_restart(group, &wish, reply, now),
            Command::RestartGrant { broker, voters_caught_up, reply } => {
                let status = self.grants.status(&self.policy(&group.image), broker, &voters_caught_up, now);
                group.answer(reply, Ok(status));
            }
            Command::CancelGrant { broker, reply } => group.answer(reply, Ok(self.grants.end(broker))),
            Command::Decommission { broker, reply } => self.decommission(group, broker, reply),
            Command::CancelDecommission { broker, reply } => {
                group.answer_after(reply, done(decommission::cancel(&self.policy(&group.image), broker)));
            }
            Command::Discard { broker, directory, reply } => {
                let discarded = discards::discard(&self.policy(&group.image), broker, directory);
                info!(%broker, %directory, refused = discarded.is_err(), "volume discard requested");
                group.answer_after(reply, done(discarded));
            }
        }
        None
    }

    pub(super) fn policy<'a>(&self, image: &'a Image) -> Policy<'a> {
        let ControllerContext { id, file_values, .. } = &self.context;
        Policy::new(image, *id, file_values).sparing(self.grants.brokers())
    }

    fn limits(&self) -> Limits {
        Limits { broker_replicas_max: self.context.broker_replicas_max, volume_is_full: self.volume_is_full }
    }

    fn alter_partition(
        &self,
        group: &mut Group,
        request: &AlterPartition,
        reply: Reply<Result<AlteredPartitions, BrokerEpochError>>,
    ) {
        let altered = match alter_partition::alter_partitions(&self.policy(&group.image), request) {
            Err(error) => Ok(Err(error)),
            Ok((records, refusals)) => {
                let added = group.add(&records);
                added.map(|()| Ok(alter_partition::answers(&group.image, request, &refusals)))
            }
        };
        group.answer(reply, altered);
    }

    fn unregister_broker(&mut self, group: &mut Group, broker: BrokerId, reply: Reply<Result<(), BrokerEpochError>>) {
        let records = brokers::unregister(&self.policy(&group.image), broker);
        if records.is_ok() {
            info!(%broker, "broker unregistered");
            self.sessions.end(broker);
            self.grants.end(broker);
        }
        group.answer_after(reply, done(records));
    }

    fn grant_restart(
        &mut self,
        group: &mut Group,
        wish: &RestartWish,
        reply: Reply<Result<GrantStatus, GrantError>>,
        now: Duration,
    ) {
        let unheard = self.sessions.unheard(&group.image);
        let policy = self.policy(&group.image);
        let granted = self.grants.grant(&policy, wish, unheard, now);
        info!(broker = %wish.broker, reason = wish.reason, ?granted, "restart grant requested");
        if let Err(error) = granted {
            return group.answer(reply, Ok(Err(error)));
        }
        let moved = grants::hand_over(&self.policy(&group.image), wish.broker);
        let added = group.add(&moved);
        let status = self.grants.status(&self.policy(&group.image), wish.broker, &wish.voters_caught_up, now);
        let not_registered = || GrantError::Epoch(BrokerEpochError::NotRegistered { id: wish.broker });
        group.answer(reply, added.map(|()| status.ok_or_else(not_registered)));
    }

    fn decommission(&self, group: &mut Group, broker: BrokerId, reply: Reply<Result<Decommission, DecommissionError>>) {
        let begun = match decommission::decommission(&self.policy(&group.image), broker) {
            Err(error) => Ok(Err(error)),
            Ok(records) => {
                let added = group.add(&records);
                let progress = decommission_progress(&group.image, broker);
                added.map(|()| progress.ok_or(DecommissionError::NotBegun { broker }))
            }
        };
        group.answer(reply, begun);
    }

    fn alter_configs(&self, image: &Image, changes: &[ConfigChange]) -> (Vec<MetadataRecord>, AlterConfigResults) {
        let ControllerContext { id, file_values, .. } = &self.context;
        let (mut records, results) = configs::alter_configs(image, file_values, changes);
        records.extend(min_insync_replicas::follow(image, &records, *id, file_values));
        (records, results)
    }

    /// Creates as many topics as the group has room for.
    fn create_topics(
        &self,
        group: &mut Group,
        (specs, mut created): (Vec<TopicSpec>, TopicResults),
        validate_only: bool,
        reply: Reply<TopicResults>,
    ) -> Option<Command> {
        let partitions = |topic: &CreatedTopic| usize::try_from(topic.partitions).unwrap_or(0);
        let before: usize = created.iter().flatten().map(partitions).sum();
        let mut left = topics::PARTITIONS_MAX.saturating_sub(before);
        let mut specs = specs.into_iter();
        while !group.is_full()
            && let Some(spec) = specs.next()
        {
            created.push(self.create_topic(group, spec, validate_only, &mut left));
        }
        let specs: Vec<_> = specs.collect();
        if !specs.is_empty() {
            return Some(Command::CreateTopics { specs, created, validate_only, reply });
        }
        group.answer(reply, Ok(created));
        None
    }

    fn create_topic(
        &self,
        group: &mut Group,
        spec: TopicSpec,
        validate_only: bool,
        partitions_left: &mut usize,
    ) -> Result<CreatedTopic, CreateTopicError> {
        let id = TopicId(undashed(Uuid::new_v4()));
        let rules = CreationRules {
            defaults: self.context.topic_defaults,
            limits: self.limits(),
            partitions_max: *partitions_left,
            start: random_start(),
        };
        let (records, created) = topics::create_topic(&group.image, spec, id, rules)?;
        *partitions_left = partitions_left.saturating_sub(usize::try_from(created.partitions).unwrap_or(0));
        if !validate_only {
            group.add(&records).map_err(|error| CreateTopicError::NotWritable(error.to_string()))?;
            debug!(topic = %created.id, partitions = created.partitions, "topic created");
        }
        Ok(created)
    }
}

/// The position at which placement begins.
fn random_start() -> usize {
    let (start, _) = Uuid::new_v4().as_u64_pair();
    usize::try_from(start).unwrap_or(0)
}

fn is_news(image: &Image, record: &RegisterControllerRecord) -> bool {
    image.controllers.get(&record.controller_id) != Some(record)
}

/// A request that is only to be validated leaves no records.
fn unless<T>(validate_only: bool, (records, results): (Vec<MetadataRecord>, T)) -> (Vec<MetadataRecord>, T) {
    (if validate_only { Vec::new() } else { records }, results)
}

/// A refused request leaves no records.
pub(super) fn fallible<T, E>(decided: Result<(Vec<MetadataRecord>, T), E>) -> (Vec<MetadataRecord>, Result<T, E>) {
    match decided {
        Ok((records, result)) => (records, Ok(result)),
        Err(error) => (Vec::new(), Err(error)),
    }
}

fn done<E>(decided: Result<Vec<MetadataRecord>, E>) -> (Vec<MetadataRecord>, Result<(), E>) {
    fallible(decided.map(|records| (records, ())))
}

#[cfg(test)]
#[path = "decide_test.rs"]
mod tests;
