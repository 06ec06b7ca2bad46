//! A group that reads all topics while brokers fail. Its members come and go, one of them static. No member starts
//! before an offset that any of them was told to be committed, and after the last fault everything is committed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Scope;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::random::Random;
use super::world::World;
use crate::command::wait_for;

pub(super) const OFFSETS_TOPIC: &str = "__consumer_offsets";
const NAME: &str = "checked";
const MEMBERS: usize = 3;
/// The number of the static member.
const STATIC: usize = 0;
const LIFE: [Duration; 2] = [Duration::from_secs(4), Duration::from_secs(20)];
const COMMIT_EVERY: Duration = Duration::from_millis(50);
const POLL: Duration = Duration::from_millis(50);
const CALL_AT_MOST: Duration = Duration::from_secs(5);
/// Time for everything to be committed after the last fault.
const PATIENCE: Duration = Duration::from_mins(2);

type Positions = BTreeMap<(String, i32), i64>;

/// Offsets that its members were told to be committed.
#[derive(Debug, Default)]
pub(super) struct Group {
    committed: Mutex<Positions>,
}

impl Group {
    fn lock(&self) -> MutexGuard<'_, Positions> {
        self.committed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn acknowledge(&self, positions: Positions) {
        let mut committed = self.lock();
        for (partition, position) in positions {
            let known = committed.entry(partition).or_default();
            *known = (*known).max(position);
        }
    }

    /// A member is about to start with these partitions.
    fn check(&self, consumer: &BaseConsumer<Membership>, partitions: &TopicPartitionList) -> Result<()> {
        let before = self.lock().clone();
        // Without an answer it does not start either.
        let Ok(found) = consumer.committed_offsets(partitions.clone(), CALL_AT_MOST) else { return Ok(()) };
        for element in found.elements() {
            let (topic, partition) = (element.topic(), element.partition());
            let Some(told) = before.get(&(topic.to_owned(), partition)) else { continue };
            let offset = element.offset();
            let holds = matches!(offset, Offset::Offset(offset) if *told <= offset);
            ensure!(holds, "{topic}-{partition}: {told} was committed, and a member begins at {offset:?}");
        }
        Ok(())
    }
}

/// Up to where a member has read its partitions.
struct Membership {
    world: Arc<World>,
    group: Arc<Group>,
    positions: Mutex<Positions>,
}

impl Membership {
    fn positions(&self) -> MutexGuard<'_, Positions> {
        self.positions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Membership {
    /// Errors of killed brokers are expected.
    fn error(&self, _error: KafkaError, _reason: &str) {}
}

impl ConsumerContext for Membership {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        // Partitions that others owned in the meantime must not be committed any more.
        self.positions().clear();
        if let Rebalance::Assign(partitions) = rebalance {
            self.world.expect(self.group.check(consumer, partitions));
        }
    }
}

pub(super) fn start_members<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    bootstrap: &'env str,
    world: &'env Arc<World>,
    group: &'env Arc<Group>,
    random: &mut Random,
) {
    for number in 0..MEMBERS {
        let random = Random(random.next());
        scope.spawn(move || world.expect(take_part(bootstrap, world, group, number, random)));
    }
}

/// One membership after the other.
fn take_part(bootstrap: &str, world: &Arc<World>, group: &Arc<Group>, number: usize, mut random: Random) -> Result<()> {
    while !world.is_over() {
        let consumer = join(bootstrap, world, group, number)?;
        let end = Instant::now() + random.between(LIFE[0], LIFE[1]);
        let mut commit_due = Instant::now() + COMMIT_EVERY;
        while !world.is_over() && Instant::now() < end {
            // What fails now is read later.
            if let Some(Ok(message)) = consumer.poll(POLL) {
                let partition = (message.topic().to_owned(), message.partition());
                consumer.context().positions().insert(partition, message.offset() + 1);
            }
            if commit_due <= Instant::now() {
                commit(&consumer, group)?;
                commit_due = Instant::now() + COMMIT_EVERY;
            }
        }
        leave(&consumer)?;
    }
    Ok(())
}

/// Gives its partitions back before the consumer is closed: librdkafka waits for ever if a rebalance meets its end.
fn leave(consumer: &BaseConsumer<Membership>) -> Result<()> {
    consumer.unsubscribe();
    wait_for("a member has given its partitions back", PATIENCE, || {
        // What comes now is left to the next member.
        let _unread = consumer.poll(POLL);
        Ok((consumer.assignment()?.count() == 0).then_some(()))
    })
}

fn join(bootstrap: &str, world: &Arc<World>, group: &Arc<Group>, number: usize) -> Result<BaseConsumer<Membership>> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("group.id", NAME)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "500")
        .set("fetch.wait.max.ms", "50")
        // A broker that is cut off does not answer.
        .set("socket.timeout.ms", "5000")
        .set("reconnect.backoff.ms", "5")
        .set("reconnect.backoff.max.ms", "50")
        .set("retry.backoff.ms", "5")
        .set("retry.backoff.max.ms", "50")
        .set_log_level(RDKafkaLogLevel::Emerg);
    if number == STATIC {
        config.set("group.instance.id", "static");
    }
    let membership = Membership { world: world.clone(), group: group.clone(), positions: Mutex::default() };
    let consumer: BaseConsumer<Membership> = config.create_with_context(membership)?;
    let topics: Vec<_> = world.workload.topics.iter().map(|topic| topic.name).collect();
    consumer.subscribe(&topics)?;
    Ok(consumer)
}

/// Commits what it has read. What is not acknowledged comes with the next commit.
fn commit(consumer: &BaseConsumer<Membership>, group: &Group) -> Result<()> {
    let positions = consumer.context().positions().clone();
    let mut offsets = TopicPartitionList::new();
    for ((topic, partition), position) in &positions {
        offsets.add_partition_offset(topic, *partition, Offset::Offset(*position))?;
    }
    if !positions.is_empty() && consumer.commit(&offsets, CommitMode::Sync).is_ok() {
        group.acknowledge(positions);
    }
    Ok(())
}

/// After the last fault everything written is read and committed.
pub(super) fn wait_until_caught_up(bootstrap: &str, world: &World) -> Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", NAME).set_log_level(RDKafkaLogLevel::Emerg);
    let observer: BaseConsumer = config.create()?;
    let mut behind = "it was not asked yet".to_owned();
    let waited = wait_for("the group has committed everything", PATIENCE, || {
        behind = match lag(&observer, world) {
            Ok(None) => return Ok(Some(())),
            Ok(Some(behind)) => behind,
            Err(error) => format!("{error:#}"),
        };
        world.check()?;
        Ok(None)
    });
    waited.with_context(|| behind)
}

/// The first partition that the group has not read to its end.
fn lag(observer: &BaseConsumer, world: &World) -> Result<Option<String>> {
    let mut asked = TopicPartitionList::new();
    let mut ends = Vec::new();
    for (topic, partition, _) in world.workload.partitions() {
        asked.add_partition(world.topic(topic), partition);
        ends.push(world.with(topic, partition, |history| history.high_watermark())?);
    }
    let found = observer.committed_offsets(asked, CALL_AT_MOST)?;
    let behind = found.elements().into_iter().zip(ends).find(|(element, end)| match element.offset() {
        Offset::Offset(offset) => offset < *end,
        _ => 0 < *end,
    });
    Ok(behind.map(|(element, end)| {
        format!("{}-{} ends at {end}, committed is {:?}", element.topic(), element.partition(), element.offset())
    }))
}
