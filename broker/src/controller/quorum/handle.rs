//! How the rest of the broker reaches the quorum.

use std::sync::Arc;

use protocol::types::{LeaderEpoch, Offset};
use raft::{ReplicaProgress, Request, VoterSet};
use tokio::sync::{mpsc, oneshot, watch};

use super::node::Call;
use crate::metadata::QuorumView;
use crate::peer::QuorumAnswer;
use crate::replica::ReplicaManager;

/// Requests that wait for the control thread; further senders wait.
const MESSAGES_QUEUED_MAX: usize = 1024;

#[derive(Debug)]
pub(in crate::controller) enum Message {
    Call(Call),
    Describe(oneshot::Sender<Option<QuorumDescription>>),
    /// From now on these partitions follow the metadata.
    Attach(Arc<ReplicaManager>),
    Stop,
}

/// What DescribeQuorum needs; only the leader knows it.
#[derive(Debug, Clone)]
pub(crate) struct QuorumDescription {
    pub(crate) epoch: LeaderEpoch,
    pub(crate) high_watermark: Offset,
    pub(crate) replicas: Vec<ReplicaProgress>,
    pub(crate) voters: VoterSet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the quorum on this node has stopped")]
pub(crate) struct QuorumStopped;

#[derive(Debug, Clone)]
pub(crate) struct QuorumHandle {
    messages: mpsc::Sender<Message>,
    view: watch::Receiver<QuorumView>,
}

impl QuorumHandle {
    /// Returns also the receiver from which the control thread takes messages.
    pub(in crate::controller) fn new(view: watch::Receiver<QuorumView>) -> (Self, mpsc::Receiver<Message>) {
        let (messages, receiver) = mpsc::channel(MESSAGES_QUEUED_MAX);
        (Self { messages, view }, receiver)
    }

    pub(crate) fn view(&self) -> watch::Receiver<QuorumView> {
        self.view.clone()
    }

    /// Passes on a request of another node or an administrator. `bytes_max`: of records or a snapshot in the answer.
    pub(crate) async fn call(&self, request: Request, bytes_max: usize) -> Result<QuorumAnswer, QuorumStopped> {
        self.ask(|reply| Message::Call(Call { request, bytes_max, reply })).await
    }

    /// `None`: this node does not lead.
    pub(crate) async fn describe(&self) -> Result<Option<QuorumDescription>, QuorumStopped> {
        self.ask(Message::Describe).await
    }

    /// From now on the partitions follow the committed metadata. They were loaded from the published image.
    pub(crate) fn attach(&self, replicas: Arc<ReplicaManager>) -> Result<(), QuorumStopped> {
        self.messages.blocking_send(Message::Attach(replicas)).map_err(|_| QuorumStopped)
    }

    pub(in crate::controller) async fn stop(&self) {
        // The thread may have ended by itself.
        let _ended = self.messages.send(Message::Stop).await;
    }

    async fn ask<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> Result<T, QuorumStopped> {
        let (reply, answer) = oneshot::channel();
        self.messages.send(message(reply)).await.map_err(|_| QuorumStopped)?;
        answer.await.map_err(|_| QuorumStopped)
    }
}
