//! Many small produce requests: several connections, each with as many requests in flight as a Kafka producer allows
//! by default. All requests of a connection go out in one write and their answers are read together, so that the client
//! has less to do than the broker.

use anyhow::{Result, ensure};
use bytes::BytesMut;
use kafka_protocol::messages::TopicName;
use protocol::batch_builder::BatchBuilder;
use protocol::types::Timestamp;

use super::process::Broker;
use crate::figures::connection::{Connection, PRODUCE_VERSION, encode};
use crate::figures::load::{self, ONE_RECORD, value};

const CONNECTIONS: u32 = 16;
const IN_FLIGHT: u32 = 5;
const ROUNDS: u32 = 2_500;
/// So that no first time is measured.
const ROUNDS_BEFORE: u32 = 100;

#[derive(Debug)]
pub(super) struct Clients {
    connections: Vec<Connection>,
    topic: TopicName,
    /// The requests that one connection sends at once.
    frames: BytesMut,
    frame_bytes: usize,
    acknowledged: i64,
}

impl Clients {
    pub(super) fn open(broker: &mut Broker, topic: &TopicName) -> Result<Self> {
        let mut builder = BatchBuilder::new(Timestamp(1_700_000_000_000));
        builder.push(None, Some(&value(0, ONE_RECORD.record_bytes)));
        let frame = encode(PRODUCE_VERSION, &load::produce_request(topic, ONE_RECORD.acks, builder.build()?.bytes))?;
        let mut connections = (0..CONNECTIONS).map(|_| broker.connect()).collect::<Result<Vec<_>>>()?;
        for connection in &mut connections {
            connection.create_topic(topic)?;
        }
        let frames = BytesMut::from(frame.repeat(usize::try_from(IN_FLIGHT)?).as_slice());
        let mut clients = Self { connections, topic: topic.clone(), frames, frame_bytes: frame.len(), acknowledged: 0 };
        clients.rounds(ROUNDS_BEFORE)?;
        Ok(clients)
    }

    /// Requests that [`Self::produce`] makes.
    pub(super) fn requests(&self) -> u32 {
        CONNECTIONS * IN_FLIGHT * ROUNDS
    }

    pub(super) fn produce(&mut self) -> Result<()> {
        self.rounds(ROUNDS)
    }

    fn rounds(&mut self, rounds: u32) -> Result<()> {
        for connection in &mut self.connections {
            connection.send_all(&mut self.frames, self.frame_bytes)?;
        }
        for round in 1..=rounds {
            for connection in &mut self.connections {
                for _ in 0..IN_FLIGHT {
                    connection.receive_base_offset()?;
                    self.acknowledged += 1;
                }
                if round < rounds {
                    connection.send_all(&mut self.frames, self.frame_bytes)?;
                }
            }
        }
        Ok(())
    }

    /// As many records are there as were acknowledged.
    pub(super) fn check(&mut self) -> Result<()> {
        let (acknowledged, topic) = (self.acknowledged, self.topic.clone());
        let Some(connection) = self.connections.first_mut() else { return Ok(()) };
        ensure!(!load::fetch(connection, &topic, acknowledged - 1)?.is_empty(), "the last record is not there");
        ensure!(
            load::fetch(connection, &topic, acknowledged)?.is_empty(),
            "more than {acknowledged} records are there"
        );
        Ok(())
    }
}
