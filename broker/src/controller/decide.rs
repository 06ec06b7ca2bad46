//! What each command means: the records that it leaves and the answer that it gets. Nothing is written here.

use std::sync::Arc;

use protocol::metadata_records::MetadataRecord;
use protocol::types::{BrokerEpoch, TopicId};
use tracing::{debug, info};
use uuid::Uuid;

use super::brokers::{Registration, RegistrationError};
use super::group::Group;
use super::handle::{Command, ControllerError, Reply};
use super::producer_ids::ProducerIdBlock;
use super::runtime::ControllerContext;
use super::topics::{CreateTopicError, CreatedTopic, TopicSpec};
use super::{
    brokers, configs, elections, features, min_insync_replicas, partitions, producer_ids, reassignments,
    topic_deletion, topics,
};
use crate::metadata::{Image, TopicImage};
use crate::replica::ReplicaManager;

/// The active controller's judgement.
#[derive(Debug)]
pub(super) struct Decider {
    pub(super) context: ControllerContext,
    pub(super) replicas: Arc<ReplicaManager>,
}

impl Decider {
    pub(super) fn decide(&self, group: &mut Group, command: Command) {
        match command {
            Command::CreateTopics { specs, validate_only, reply } => {
                let mut left = topics::PARTITIONS_MAX;
                let create = |spec| self.create_topic(group, spec, validate_only, &mut left);
                let results = specs.into_iter().map(create).collect();
                group.answer(reply, Ok(results));
            }
            Command::AlterConfigs { changes, validate_only, reply } => {
                let ControllerContext { id, file_values, .. } = &self.context;
                let (mut records, results) = configs::alter_configs(&group.image, file_values, &changes);
                records.extend(min_insync_replicas::follow(&group.image, &records, *id, file_values));
                group.answer_after(reply, unless(validate_only, (records, results)));
            }
            Command::DeleteTopics { topics, reply } => {
                let decided = topic_deletion::delete_topics(&group.image, &topics);
                group.answer_after(reply, decided);
            }
            Command::CreatePartitions { specs, validate_only, reply } => {
                let decided = partitions::create_partitions(&group.image, &specs, random_start());
                group.answer_after(reply, unless(validate_only, decided));
            }
            Command::ElectLeaders { election, wanted, reply } => {
                let min_insync_replicas = self.min_insync_replicas(&group.image);
                let decided = elections::elect_leaders(&group.image, election, wanted, min_insync_replicas);
                group.answer_after(reply, decided);
            }
            Command::AlterReassignments { wanted, factor_change, reply } => {
                let minimum = self.min_insync_replicas(&group.image);
                let decided = reassignments::alter_reassignments(&group.image, wanted, factor_change, minimum);
                group.answer_after(reply, decided);
            }
            Command::UpdateFeatures { updates, validate_only, reply } => {
                let decided = features::update_features(&group.image, &updates);
                group.answer_after(reply, unless(validate_only, decided));
            }
            Command::AllocateProducerIds { reply } => self.allocate_producer_ids(group, reply),
            Command::Register { registration, reply } => self.register(group, registration, reply),
            Command::Unfence { epoch, reply } => self.unfence(group, epoch, reply),
            Command::Stop => {}
        }
    }

    fn allocate_producer_ids(&self, group: &mut Group, reply: Reply<ProducerIdBlock>) {
        let allocated = producer_ids::allocate(&group.image, self.context.id);
        let block = allocated.ok_or(ControllerError::NoProducerIds);
        let result = block.and_then(|(record, block)| group.add(&[record]).map(|()| block));
        group.answer(reply, result);
    }

    fn register(&self, group: &mut Group, registration: Registration, reply: Reply<BrokerEpoch>) {
        let departure = brokers::departure(&group.image, &registration);
        let min_insync_replicas = self.min_insync_replicas(&group.image);
        let (records, epoch) = brokers::register(&group.image, registration, min_insync_replicas);
        info!(%epoch, ?departure, partitions_changed = records.len() - 1, "broker registered");
        group.answer_after(reply, (records, epoch));
    }

    fn unfence(&self, group: &mut Group, epoch: BrokerEpoch, reply: Reply<Result<(), RegistrationError>>) {
        let min_insync_replicas = self.min_insync_replicas(&group.image);
        let decided = match brokers::unfence(&group.image, self.context.id, epoch, min_insync_replicas) {
            Ok(records) => (records, Ok(())),
            Err(error) => (Vec::new(), Err(error)),
        };
        group.answer_after(reply, decided);
    }

    fn min_insync_replicas(&self, image: &Image) -> impl Fn(&TopicImage) -> usize {
        let ControllerContext { id, file_values, .. } = &self.context;
        min_insync_replicas::min_insync_replicas(image, *id, file_values)
    }

    fn create_topic(
        &self,
        group: &mut Group,
        spec: TopicSpec,
        validate_only: bool,
        partitions_left: &mut usize,
    ) -> Result<CreatedTopic, CreateTopicError> {
        if self.replicas.space().is_exhausted() {
            return Err(CreateTopicError::DiskFull);
        }
        let id = TopicId(Uuid::new_v4());
        let (records, created) = topics::create_topic(
            &group.image,
            spec,
            self.context.topic_defaults,
            id,
            (random_start(), *partitions_left),
        )?;
        *partitions_left = partitions_left.saturating_sub(usize::try_from(created.partitions).unwrap_or(0));
        if !validate_only {
            group.add(&records).map_err(|error| CreateTopicError::NotWritable(error.to_string()))?;
            debug!(topic = %created.id, partitions = created.partitions, "topic created");
        }
        Ok(created)
    }
}

/// Where placement begins.
fn random_start() -> usize {
    let (start, _) = Uuid::new_v4().as_u64_pair();
    usize::try_from(start).unwrap_or(0)
}

/// What is only to be validated leaves no records.
fn unless<T>(validate_only: bool, (records, results): (Vec<MetadataRecord>, T)) -> (Vec<MetadataRecord>, T) {
    (if validate_only { Vec::new() } else { records }, results)
}
