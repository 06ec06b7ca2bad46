use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use protocol::types::{BrokerId, LeaderEpoch};
use tokio::net::TcpListener;

use super::*;
use crate::peer::testing::{CLUSTER, HEARTBEAT, Server, far_off, listen};

/// The answer to an envelope: no tagged fields; two bytes of response; no error; no tagged fields.
const ANSWERED: [u8; 7] = [0, 3, b'o', b'k', 0, 0, 0];
/// The same, and the answer to a heartbeat, with NOT_CONTROLLER.
const ENVELOPE_NOT_CONTROLLER: [u8; 5] = [0, 0, 0, 41, 0];
const HEARTBEAT_NOT_CONTROLLER: [u8; 11] = [0, 0, 0, 0, 0, 0, 41, 0, 1, 0, 0];

fn led_by(id: i32, port: u16) -> QuorumView {
    let leader = QuorumLeader { id: BrokerId(id), host: "127.0.0.1".to_owned(), port };
    QuorumView { epoch: LeaderEpoch(id), leader: Some(leader), ..QuorumView::default() }
}

fn channel(view: QuorumView) -> (watch::Sender<QuorumView>, ControllerChannel) {
    let (sender, quorum) = watch::channel(view);
    let (client_id, cluster) = ("test".to_owned(), CLUSTER.parse().unwrap());
    let route = ControllerRoute { quorum, own: None, client_id, cluster, runtime: Handle::current() };
    (sender, ControllerChannel::new(route))
}

fn envelope() -> EnvelopeRequest {
    EnvelopeRequest::default().with_request_data(Bytes::from_static(b"request"))
}

/// Gives every request the same answer, and counts them.
async fn answering(node: i32, answer: &'static [u8]) -> (u16, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let port = listen(move |_, mut server: Server| {
        let count = count.clone();
        async move {
            server.introduce(BrokerId(node)).await;
            while let Some(id) = server.next_request().await {
                count.fetch_add(1, Ordering::Relaxed);
                server.answer(id, answer).await;
            }
        }
    });
    (port.await, asked)
}

/// Takes one request on each connection and closes.
async fn dropping() -> (u16, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let port = listen(move |_, mut server: Server| {
        let count = count.clone();
        async move {
            server.agree_on_versions().await;
            server.request().await;
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    (port.await, asked)
}

#[tokio::test]
async fn a_request_follows_the_leadership() {
    let ((old, asked), (new, _)) = (answering(1, &HEARTBEAT_NOT_CONTROLLER).await, answering(2, &HEARTBEAT).await);
    let (quorum, channel) = channel(led_by(1, old));
    let overtake = async {
        while asked.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        quorum.send(led_by(2, new)).unwrap();
    };
    let request = BrokerHeartbeatRequest::default();
    let (answer, ()) = tokio::join!(channel.call(1, &request, far_off()), overtake);
    assert_eq!(answer.unwrap().error_code, 0);
}

#[tokio::test]
async fn who_leads_is_waited_for() {
    let (port, _) = answering(1, &HEARTBEAT).await;
    let (quorum, channel) = channel(QuorumView::default());
    let request = BrokerHeartbeatRequest::default();
    let (answer, ()) = tokio::join!(channel.call(1, &request, far_off()), async {
        tokio::task::yield_now().await;
        quorum.send(led_by(1, port)).unwrap();
    });
    assert_eq!(answer.unwrap().error_code, 0);

    quorum.send(QuorumView::default()).unwrap();
    let late = channel.call(1, &request, Instant::now()).await;
    assert_eq!(late, Err(ChannelError::NotReached(None)));
}

#[tokio::test]
async fn nobody_is_asked_in_the_place_of_who_leads() {
    let (reached, asked) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = (reached.clone(), asked.clone());
    let other = listen(move |_, mut server: Server| {
        let (reached, asked) = counts.clone();
        async move {
            server.introduce(BrokerId(7)).await;
            reached.fetch_add(1, Ordering::Relaxed);
            while server.next_request().await.is_some() {
                asked.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let (other, (new, _)) = (other.await, answering(2, &HEARTBEAT).await);
    let (quorum, channel) = channel(led_by(1, other));
    let overtake = async {
        while reached.load(Ordering::Relaxed) < 2 {
            tokio::task::yield_now().await;
        }
        quorum.send(led_by(2, new)).unwrap();
    };
    let request = BrokerHeartbeatRequest::default();
    let (answer, ()) = tokio::join!(channel.call(1, &request, far_off()), overtake);
    assert_eq!((answer.unwrap().error_code, asked.load(Ordering::Relaxed)), (0, 0));
}

#[tokio::test]
async fn what_may_be_repeated_goes_again_when_its_answer_is_lost() {
    let ((silent, asked), (new, _)) = (dropping().await, answering(2, &HEARTBEAT).await);
    let (quorum, channel) = channel(led_by(1, silent));
    let overtake = async {
        while asked.load(Ordering::Relaxed) < 2 {
            tokio::task::yield_now().await;
        }
        quorum.send(led_by(2, new)).unwrap();
    };
    let request = BrokerHeartbeatRequest::default();
    let (answer, ()) = tokio::join!(channel.call(1, &request, far_off()), overtake);
    assert_eq!(answer.unwrap().error_code, 0);
}

#[tokio::test]
async fn a_clients_request_is_sent_once() {
    let (port, asked) = dropping().await;
    let (_quorum, channel) = channel(led_by(1, port));
    let outcome = channel.call(0, &envelope(), far_off()).await;
    assert!(matches!(outcome, Err(ChannelError::NotAnswered(_))), "{outcome:?}");
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_clients_request_goes_again_as_long_as_nobody_has_carried_it_out() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let ((other, asked), (new, _)) = (answering(2, &ENVELOPE_NOT_CONTROLLER).await, answering(3, &ANSWERED).await);
    let (quorum, channel) = channel(led_by(1, closed));
    let overtake = async {
        tokio::task::yield_now().await;
        quorum.send(led_by(2, other)).unwrap();
        while asked.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        quorum.send(led_by(3, new)).unwrap();
    };
    let request = envelope();
    let (answer, ()) = tokio::join!(channel.call(0, &request, far_off()), overtake);
    assert_eq!(answer.unwrap().response_data.as_deref(), Some(&b"ok"[..]));
}
