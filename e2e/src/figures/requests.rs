//! Many small produce requests: several connections, each with as many requests in flight as a Kafka producer allows
//! by default. The requests of a connection are sent in one write and their answers are read together, so that the
//! client has less to do than the broker. Each connection has its own topic, where the order can be checked.

use anyhow::{Result, ensure};
use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::StrBytes;

use super::load::{self, ONE_RECORD, ProduceFrame, Sent};
use crate::connection::Connection;

pub(super) const CONNECTIONS: u32 = 16;
pub(super) const IN_FLIGHT: u32 = 5;

#[derive(Debug)]
pub(super) struct Clients(Vec<Client>);

impl Clients {
    pub(super) fn open(mut connect: impl FnMut() -> Result<Connection>) -> Result<Self> {
        let clients = (0..CONNECTIONS).map(|number| Client::new(connect()?, number));
        Ok(Self(clients.collect::<Result<_>>()?))
    }

    /// Sends at least so many requests, in turn over the connections. Returns how many.
    pub(super) fn produce(&mut self, requests: u32) -> Result<u32> {
        let rounds = requests.div_ceil(CONNECTIONS * IN_FLIGHT);
        self.0.iter_mut().try_for_each(Client::send)?;
        for round in 1..=rounds {
            for client in &mut self.0 {
                client.receive()?;
                if round < rounds {
                    client.send()?;
                }
            }
        }
        Ok(rounds * CONNECTIONS * IN_FLIGHT)
    }

    /// Reads everything.
    pub(super) fn check(self) -> Result<()> {
        self.0.into_iter().try_for_each(Client::check)
    }
}

#[derive(Debug)]
struct Client {
    connection: Connection,
    topic: TopicName,
    request: ProduceFrame,
    /// Checksums of the requests, in order.
    checksums: Vec<u32>,
    acknowledged: i64,
    /// What is sent at once.
    frames: Vec<u8>,
}

impl Client {
    fn new(mut connection: Connection, number: u32) -> Result<Self> {
        let topic = TopicName(StrBytes::from_string(format!("requests-{number}")));
        connection.create_topic(&topic)?;
        let request = ProduceFrame::new(&topic, ONE_RECORD)?;
        Ok(Self { connection, topic, request, checksums: Vec::new(), acknowledged: 0, frames: Vec::new() })
    }

    fn send(&mut self) -> Result<()> {
        self.frames.clear();
        for _ in 0..IN_FLIGHT {
            self.checksums.push(self.request.mark(u32::try_from(self.checksums.len())?));
            self.frames.extend_from_slice(&self.request.bytes);
        }
        self.connection.send_all(&mut self.frames, self.request.bytes.len())
    }

    fn receive(&mut self) -> Result<()> {
        for _ in 0..IN_FLIGHT {
            let (found, expected) = (self.connection.receive_base_offset()?, self.acknowledged);
            ensure!(found == expected, "a record was written at offset {found} instead of {expected}");
            self.acknowledged += 1;
        }
        Ok(())
    }

    fn check(mut self) -> Result<()> {
        load::consume(&mut self.connection, &self.topic, &Sent::new(ONE_RECORD, self.checksums))
    }
}
