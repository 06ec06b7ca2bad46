//! Single records to any partition, repeated until they are acknowledged: to tell whether, since when and at which
//! offset a partition serves.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{CreateTopicsRequest, FetchRequest, ListOffsetsRequest, ProduceRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use protocol::batch_builder::BatchBuilder;

use crate::connection::{Connection, PATIENCE};
use crate::figures::load::TIMESTAMP;

const CREATE_TOPICS_VERSION: i16 = 4;
const PRODUCE_VERSION: i16 = 8;
const FETCH_VERSION: i16 = 11;
const LIST_OFFSETS_VERSION: i16 = 4;
/// The beginning of a batch, to which the broker writes base offset and leader epoch.
const LEFT_TO_BROKER: usize = 16;
const LATEST: i64 = -1;
const ACKS_ALL: i16 = -1;
const RETRY_PAUSE: Duration = Duration::from_millis(1);
const FETCH_BYTES_MAX: i32 = 8 << 20;
/// UNKNOWN_TOPIC_OR_PARTITION, LEADER_NOT_AVAILABLE, NOT_LEADER_OR_FOLLOWER: it serves soon.
const SOON: [i16; 3] = [3, 5, 6];

pub(super) fn topic(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// Creates a topic of so many partitions, through the admin API.
pub(super) fn create(connection: &mut Connection, name: &str, partitions: i32) -> Result<()> {
    let creation = CreatableTopic::default().with_name(topic(name)).with_num_partitions(partitions);
    let request = CreateTopicsRequest::default()
        .with_topics(vec![creation.with_replication_factor(1)])
        .with_timeout_ms(i32::try_from(PATIENCE.as_millis())?);
    let response = connection.call(CREATE_TOPICS_VERSION, &request)?;
    let created = response.topics.first().context("a CreateTopics response without a topic")?;
    ensure!(created.error_code == 0, "{name} was not created: error {}", created.error_code);
    Ok(())
}

/// Waits until every one of these partitions has a leader that serves it and knows its end.
pub(super) fn served(
    connection: &mut Connection,
    name: &str,
    partitions: i32,
    end: i64,
    deadline: Instant,
) -> Result<bool> {
    loop {
        match ends(connection, name, partitions)? {
            Some(ends) => {
                let other = ends.iter().find(|found| **found != end);
                ensure!(other.is_none(), "a partition of {name} ends at {other:?} instead of {end}");
                return Ok(true);
            }
            None if deadline <= Instant::now() => return Ok(false),
            None => thread::sleep(RETRY_PAUSE),
        }
    }
}

/// None if one of them is not served.
fn ends(connection: &mut Connection, name: &str, partitions: i32) -> Result<Option<Vec<i64>>> {
    let ask = |index| ListOffsetsPartition::default().with_partition_index(index).with_timestamp(LATEST);
    let asked = ListOffsetsTopic::default().with_name(topic(name)).with_partitions((0..partitions).map(ask).collect());
    let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![asked]);
    let response = connection.call(LIST_OFFSETS_VERSION, &request)?;
    let answers: Vec<_> = response.topics.into_iter().flat_map(|topic| topic.partitions).collect();
    ensure!(answers.len() == usize::try_from(partitions)?, "ListOffsets answers {} of {partitions}", answers.len());
    if answers.iter().any(|answer| SOON.contains(&answer.error_code)) {
        return Ok(None);
    }
    let failed = answers.iter().find(|answer| answer.error_code != 0);
    ensure!(failed.is_none(), "ListOffsets of {name}: {failed:?}");
    Ok(Some(answers.into_iter().map(|answer| answer.offset).collect()))
}

/// Returns when one record is acknowledged with acks=all, at that offset.
pub(super) fn acknowledged(connection: &mut Connection, name: &str, partition: i32, offset: i64) -> Result<()> {
    let request = produce_request(name, [partition])?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let response = connection.call(PRODUCE_VERSION, &request)?;
        let answer = response.responses.iter().flat_map(|topic| &topic.partition_responses).next();
        let answer = answer.context("a Produce response without a partition")?;
        match answer.error_code {
            0 => {
                let found = answer.base_offset;
                ensure!(found == offset, "{name}-{partition}: acknowledged at {found} instead of {offset}");
                return Ok(());
            }
            error if SOON.contains(&error) && Instant::now() < deadline => thread::sleep(RETRY_PAUSE),
            error => bail!("{name}-{partition}: Produce failed with error {error}"),
        }
    }
}

/// Produces one record to each of these partitions, which are empty and served.
pub(super) fn produce_to_all(connection: &mut Connection, name: &str, partitions: i32) -> Result<()> {
    let response = connection.call(PRODUCE_VERSION, &produce_request(name, 0..partitions)?)?;
    let answers: Vec<_> = response.responses.iter().flat_map(|topic| &topic.partition_responses).collect();
    ensure!(answers.len() == usize::try_from(partitions)?, "Produce answers {} of {partitions}", answers.len());
    let failed = answers.iter().find(|answer| answer.error_code != 0 || answer.base_offset != 0);
    ensure!(failed.is_none(), "{name}: {failed:?}");
    Ok(())
}

fn produce_request(name: &str, partitions: impl IntoIterator<Item = i32>) -> Result<ProduceRequest> {
    let data = partitions
        .into_iter()
        .map(|index| Ok(PartitionProduceData::default().with_index(index).with_records(Some(batch(name, index)?))));
    let data = TopicProduceData::default().with_name(topic(name)).with_partition_data(data.collect::<Result<_>>()?);
    let timeout = i32::try_from(PATIENCE.as_millis())?;
    Ok(ProduceRequest::default().with_acks(ACKS_ALL).with_timeout_ms(timeout).with_topic_data(vec![data]))
}

/// A record that names its partition.
fn batch(name: &str, partition: i32) -> Result<Bytes> {
    let mut builder = BatchBuilder::new(*TIMESTAMP);
    builder.push(None, Some(format!("{name}-{partition}").as_bytes()));
    Ok(builder.build()?.bytes)
}

/// Reads these partitions: each must have so many of its own records, one per batch, and nothing else.
pub(super) fn check(connection: &mut Connection, name: &str, partitions: &[i32], records: usize) -> Result<()> {
    let ask = |index: &i32| {
        FetchPartition::default().with_partition(*index).with_fetch_offset(0).with_partition_max_bytes(FETCH_BYTES_MAX)
    };
    let asked = FetchTopic::default().with_topic(topic(name)).with_partitions(partitions.iter().map(ask).collect());
    let request = FetchRequest::default().with_max_bytes(FETCH_BYTES_MAX).with_min_bytes(1).with_topics(vec![asked]);
    let response = connection.call(FETCH_VERSION, &request)?;
    let answers: Vec<_> = response.responses.into_iter().flat_map(|topic| topic.partitions).collect();
    ensure!(answers.len() == partitions.len(), "Fetch answers {} of {}", answers.len(), partitions.len());
    for answer in answers {
        let (index, error) = (answer.partition_index, answer.error_code);
        ensure!(error == 0, "{name}-{index}: Fetch failed with error {error}");
        let (found, sent) = (answer.records.unwrap_or_default(), batch(name, index)?);
        ensure!(found.len() == sent.len() * records, "{name}-{index}: {} bytes were read", found.len());
        let same = found.chunks(sent.len()).all(|batch| batch[LEFT_TO_BROKER..] == sent[LEFT_TO_BROKER..]);
        ensure!(same, "{name}-{index}: other bytes than were sent");
    }
    Ok(())
}
