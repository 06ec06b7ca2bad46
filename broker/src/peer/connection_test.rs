use kafka_protocol::messages::{BrokerHeartbeatRequest, VoteRequest};
use protocol::frame::FrameError;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::*;
use crate::peer::testing::{CLUSTER, HEARTBEAT, Server, far_off, listen};

/// Connects to a server that follows the script.
async fn connect_to<Script, Done>(script: Script) -> Result<Connection, PeerError>
where
    Script: FnOnce(Server) -> Done + Send + 'static,
    Done: Future<Output = ()> + Send + 'static,
{
    let mut script = Some(script);
    let port = listen(move |_, server| script.take().expect("one connection")(server)).await;
    Connection::connect("127.0.0.1", port, "test", far_off()).await
}

fn heartbeat(broker_epoch: i64) -> BrokerHeartbeatRequest {
    BrokerHeartbeatRequest::default().with_broker_epoch(broker_epoch)
}

#[tokio::test]
async fn calls_overlap_and_each_gets_its_answer() {
    let connection = connect_to(|mut server| async move {
        server.agree_on_versions().await;
        let (first, second) = (server.request().await, server.request().await);
        server.answer(first, &HEARTBEAT).await;
        let fenced = [0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0];
        server.answer(second, &fenced).await;
    });
    let connection = connection.await.unwrap();
    let (first, second) = (heartbeat(1), heartbeat(2));
    let (first, second) = tokio::join!(connection.call(1, &first, far_off()), connection.call(1, &second, far_off()));
    assert_eq!((first.unwrap().is_fenced, second.unwrap().is_fenced), (false, true));
}

#[tokio::test]
async fn answers_that_cannot_be_trusted_close_the_connection() {
    type Answering = fn(i32) -> Vec<u8>;
    let cases: [(&str, Answering); 6] = [
        ("frame of 1073741824 bytes, at most 134217728 are accepted", |_| vec![0x40, 0, 0, 0]),
        ("frame of -1 bytes", |_| vec![0xFF; 4]),
        ("correlation id 77, 1 is the next to be answered", |_| vec![0, 0, 0, 5, 0, 0, 0, 77, 0]),
        ("correlation id at byte 0: needs 4 bytes, 1 are left", |_| vec![0, 0, 0, 1, 0]),
        ("BrokerHeartbeatRequest version 1: ThrottleTimeMs at byte 0: needs 4 bytes, 2 are left", |id| {
            [&[0, 0, 0, 7], &id.to_be_bytes()[..], &[0, 0, 0]].concat()
        }),
        ("header: tagged fields at byte 4: has a varint of more than 32 bits", |id| {
            [&[0, 0, 0, 9], &id.to_be_bytes()[..], &[0xFF; 5]].concat()
        }),
    ];
    for (expected, answer) in cases {
        let (told, rest) = oneshot::channel();
        let connection = connect_to(move |mut server| async move {
            server.agree_on_versions().await;
            let id = server.request().await;
            server.stream.write_all(&answer(id)).await.unwrap();
            told.send(server.stream.read(&mut [0]).await.ok()).unwrap();
        });
        let connection = connection.await.unwrap();
        let error = connection.call(1, &heartbeat(1), far_off()).await.unwrap_err();
        assert!(matches!(error.failure, PeerFailure::Malformed(_)), "{error}");
        assert!(error.to_string().contains(expected), "{error}, expected {expected}");
        let again = connection.call(1, &heartbeat(1), far_off()).await;
        assert_eq!(again.unwrap_err(), error, "no further call is made on it");
        assert!(matches!(rest.await.unwrap(), None | Some(0)), "the connection is closed");
    }
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_ends_the_connection() {
    let connection = connect_to(|mut server| async move {
        server.agree_on_versions().await;
        server.answer(5, &[0]).await;
        let _amount = server.stream.read(&mut [0]).await.unwrap();
    });
    let connection = connection.await.unwrap();
    connection.end.token.cancelled().await;
    assert_eq!(connection.why_ended().failure, PeerFailure::Malformed(AnswerFault::Unasked { found: 5 }));
}

#[tokio::test]
async fn a_node_without_our_version_of_the_handshake_is_named() {
    let connection = connect_to(|mut server| async move {
        let id = server.request().await;
        server.answer(id, &[0, 35, 0, 0, 0, 0]).await;
        let _amount = server.stream.read(&mut [0]).await.unwrap();
    });
    let fault = AnswerFault::ApiVersions { version: API_VERSIONS_VERSION, error_code: 35 };
    assert_eq!(connection.await.unwrap_err().failure, PeerFailure::Malformed(fault));
}

#[tokio::test]
async fn who_is_not_meant_is_told_nothing() {
    let cluster: ClusterId = CLUSTER.parse().unwrap();
    let other_cluster = ClusterId::from_uuid(Uuid::from_u128(1));
    let table = [
        (&cluster, Some(BrokerId(1)), true),
        (&cluster, None, true),
        (&cluster, Some(BrokerId(2)), false),
        (&other_cluster, Some(BrokerId(1)), false),
    ];
    for (cluster, node, is_meant) in table {
        let (told, rest) = oneshot::channel();
        let connection = connect_to(move |mut server| async move {
            server.agree_on_versions().await;
            told.send(server.next_request().await).unwrap();
        });
        let checked = connection.await.unwrap().to(cluster, node);
        assert_eq!(checked.is_ok(), is_meant, "{checked:?}");
        let error = checked.err().map(|error| error.to_string());
        let expected = format!("node 1 of cluster {CLUSTER} answers there, ");
        assert!(error.is_none_or(|error| error.contains(&expected)));
        assert_eq!(rest.await.unwrap(), None, "it is closed");
    }
}

#[tokio::test]
async fn what_is_not_served_is_not_sent() {
    let connection = connect_to(|mut server| async move {
        server.agree_on_versions().await;
        let id = server.request().await;
        server.answer(id, &HEARTBEAT).await;
    });
    let connection = connection.await.unwrap();
    let error = connection.call(0, &VoteRequest::default(), far_off()).await.unwrap_err();
    assert!(matches!(error.failure, PeerFailure::NotServed { served: Versions::NONE, .. }), "{error}");
    connection.call(1, &heartbeat(1), far_off()).await.expect("the next request is the heartbeat");
}

#[tokio::test]
async fn the_kinds_of_failure_are_told_apart() {
    let silent = connect_to(|mut server| async move {
        server.agree_on_versions().await;
        server.request().await;
        let _amount = server.stream.read(&mut [0]).await.unwrap();
    });
    let silent = silent.await.unwrap();
    let late = silent.call(1, &heartbeat(1), Instant::now()).await.unwrap_err();
    assert_eq!(late.failure, PeerFailure::TimedOut);

    let closing = connect_to(|mut server| async move {
        server.agree_on_versions().await;
        server.request().await;
    });
    let closed = closing.await.unwrap().call(1, &heartbeat(1), far_off()).await.unwrap_err();
    assert_eq!(closed.failure, PeerFailure::Reset);

    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let refused = Connection::connect("127.0.0.1", port, "test", far_off()).await.unwrap_err();
    assert_eq!(refused.failure, PeerFailure::Refused);
    assert_eq!(refused.to_string(), format!("127.0.0.1:{port}: the connection is refused"));
}

#[test]
fn a_length_is_refused_before_there_is_room_for_it() {
    let mut received = BytesMut::from(&[0x7F, 0xFF, 0xFF, 0xFF][..]);
    let fault = next_frame(&mut received).unwrap_err();
    assert!(matches!(fault, AnswerFault::Frame(FrameError::TooLong { .. })), "{fault}");
    assert!(received.capacity() < ANSWER_BYTES_MAX);
}
