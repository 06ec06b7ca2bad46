//! Clients that send one record every 10 ms with acks=all: one without any back-off, which finds a new leader as soon
//! as there is one, and librdkafka with its defaults.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kafka_protocol::messages::TopicName;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};

use super::outage::Timeline;
use crate::admin::{Admin, topic_name};
use crate::connection::Connection;
use crate::figures::load::{ONE_RECORD, ProduceFrame, Shape};

const EVERY: Duration = Duration::from_millis(10);
const SHAPE: Shape = Shape { acks: -1, ..ONE_RECORD };
/// Without an acknowledgement for this long, another broker is asked whether the leader has changed.
const IMPATIENCE: Duration = Duration::from_millis(20);
/// A broker that takes longer to accept a connection, or to name the leader, is left for another.
const ANSWER_AT_MOST: Duration = Duration::from_millis(100);
/// Retrying without a pause would take a core from the brokers.
const RETRY_PAUSE: Duration = Duration::from_millis(1);
/// After this time a record has failed; Kafka's default for a delivery.
const DELIVERY_TIMEOUT: Duration = Duration::from_mins(2);

/// The brokers by their ids, and a topic whose only partition is written to.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) brokers: Vec<(i32, SocketAddr)>,
    pub(super) topic: String,
}

/// Runs until told to stop.
pub(super) fn produce_without_back_off(target: &Target, timeline: &Timeline) -> Result<()> {
    let topic: TopicName = topic_name(&target.topic);
    let mut client = Client { target, frame: ProduceFrame::new(&topic, SHAPE)?, leader: None, asked: 0 };
    let (mut due, mut number) = (Instant::now(), 0);
    while !timeline.is_enough() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        client.frame.mark(number);
        client.deliver(timeline);
        // Records that became due meanwhile are not made up for.
        due = (due + EVERY).max(Instant::now());
        number += 1;
    }
    Ok(())
}

struct Client<'a> {
    target: &'a Target,
    frame: ProduceFrame,
    leader: Option<(i32, Connection)>,
    /// How often a broker was asked for the leader.
    asked: usize,
}

impl Client<'_> {
    /// Retries until the record is acknowledged, or is no longer waited for.
    fn deliver(&mut self, timeline: &Timeline) {
        let deadline = Instant::now() + DELIVERY_TIMEOUT;
        while let Err(_error) = self.attempt() {
            if deadline <= Instant::now() {
                return timeline.fail(1);
            }
            if timeline.is_enough() {
                return;
            }
            thread::sleep(RETRY_PAUSE);
        }
        timeline.acknowledge(Instant::now());
    }

    /// The connection is kept only after an acknowledgement.
    fn attempt(&mut self) -> Result<()> {
        let (leader, mut connection) = match self.leader.take() {
            Some(open) => open,
            None => self.connect()?,
        };
        connection.send(&mut self.frame.bytes)?;
        while !connection.is_answered_within(IMPATIENCE)? {
            let current = self.find_leader(Some(leader));
            if current.is_ok_and(|current| current != leader) {
                bail!("the leader has changed");
            }
        }
        connection.receive_base_offset()?;
        self.leader = Some((leader, connection));
        Ok(())
    }

    fn connect(&mut self) -> Result<(i32, Connection)> {
        let leader = self.find_leader(None)?;
        let known = self.target.brokers.iter().find(|(id, _)| *id == leader);
        let (_, address) = known.context("the leader is none of the brokers")?;
        Ok((leader, Connection::open_within(*address, ANSWER_AT_MOST)?))
    }

    /// As known by the next broker in turn, but not this one.
    fn find_leader(&mut self, except: Option<i32>) -> Result<i32> {
        self.asked += 1;
        let others: Vec<_> = self.target.brokers.iter().filter(|(id, _)| Some(*id) != except).collect();
        let (_, address) = others.get(self.asked % others.len().max(1)).context("nobody to ask")?;
        let partitions = Admin::open(*address, ANSWER_AT_MOST)?.partitions(&self.target.topic)?;
        partitions.first().and_then(|partition| partition.leader).context("no leader")
    }
}

/// Runs until told to stop, with these settings in addition to its own.
pub(super) fn produce_by_librdkafka(
    target: &Target,
    timeline: &Arc<Timeline>,
    settings: &[(&str, &str)],
) -> Result<()> {
    let bootstrap: Vec<_> = target.brokers.iter().map(|(_, address)| address.to_string()).collect();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap.join(",")).set("acks", "all").set("linger.ms", "0");
    config.set("message.timeout.ms", DELIVERY_TIMEOUT.as_millis().to_string());
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config.set_log_level(RDKafkaLogLevel::Emerg);
    let producer: ThreadedProducer<Deliveries> = config.create_with_context(Deliveries(timeline.clone()))?;
    let value = vec![7; ONE_RECORD.record_bytes as usize];
    let mut due = Instant::now();
    while !timeline.is_enough() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let record: BaseRecord<'_, (), [u8]> = BaseRecord::to(&target.topic).partition(0).payload(&value);
        producer.send(record).map_err(|(error, _)| error).context("librdkafka does not take a record")?;
        due += EVERY;
    }
    producer.flush(DELIVERY_TIMEOUT).context("librdkafka did not get every record acknowledged")
}

struct Deliveries(Arc<Timeline>);

impl ClientContext for Deliveries {
    /// Errors of killed brokers are expected.
    fn error(&self, _error: KafkaError, _reason: &str) {}
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => self.0.acknowledge(Instant::now()),
            Err(_) => self.0.fail(1),
        }
    }
}
