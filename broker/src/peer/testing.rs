//! The other side of a connection, as a test wants it to behave.

use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsResponse};
use kafka_protocol::protocol::Encodable as _;
use protocol::types::BrokerId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::Introduction;

pub(crate) const CLUSTER: &str = "4L6g3nShT-eMCtK--X86sw";

/// An answer to a heartbeat, after the correlation id: no tagged fields; throttle time, no error, caught up, not
/// fenced, stay; no tagged fields.
pub(crate) const HEARTBEAT: [u8; 11] = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];

/// The APIs that every node serves here, in versions 0 and 1.
const SERVED: [ApiKey; 2] = [ApiKey::BrokerHeartbeat, ApiKey::Envelope];

pub(crate) struct Server {
    pub(crate) stream: TcpStream,
}

impl Server {
    /// The correlation id of the next request; `None`: the other side has closed.
    pub(crate) async fn next_request(&mut self) -> Option<i32> {
        let length = self.stream.read_i32().await.ok()?;
        let mut frame = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut frame).await.unwrap();
        Some(i32::from_be_bytes(frame[4..8].try_into().unwrap()))
    }

    pub(crate) async fn request(&mut self) -> i32 {
        self.next_request().await.expect("a request")
    }

    pub(crate) async fn answer(&mut self, correlation_id: i32, rest: &[u8]) {
        let mut frame = BytesMut::new();
        frame.put_i32(i32::try_from(4 + rest.len()).unwrap());
        frame.put_i32(correlation_id);
        frame.put_slice(rest);
        self.stream.write_all(&frame).await.unwrap();
    }

    /// Answers ApiVersions as node 1.
    pub(crate) async fn agree_on_versions(&mut self) {
        self.introduce(BrokerId(1)).await;
    }

    pub(crate) async fn introduce(&mut self, node: BrokerId) {
        let id = self.request().await;
        let rows = SERVED.map(|key| ApiVersion::default().with_api_key(key as i16).with_max_version(1));
        let mut body = BytesMut::new();
        let mut response = ApiVersionsResponse::default().with_api_keys(rows.to_vec());
        let own = Introduction { cluster: Some(CLUSTER.parse().unwrap()), node: Some(node), incarnation: None };
        own.write(&mut response.unknown_tagged_fields);
        response.encode(&mut body, 3).unwrap();
        self.answer(id, &body).await;
    }
}

/// Serves its connections one after the other; the script gets the number of each, from 0. Returns the port.
pub(crate) async fn listen<Script, Done>(mut script: Script) -> u16
where
    Script: FnMut(usize, Server) -> Done + Send + 'static,
    Done: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            script(number, Server { stream }).await;
        }
    });
    port
}

pub(crate) fn far_off() -> Instant {
    Instant::now() + Duration::from_mins(1)
}
