//! Tells a client that came to the wrong broker who the leader is (KIP-951), so that it need not ask for metadata
//! first.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use protocol::types::{BrokerId, LeaderEpoch, PartitionId};

use crate::metadata::{Image, TopicImage};

/// Leaders named by one response, with their endpoints on the client's listener.
pub(super) struct LeaderHints<'a> {
    image: Arc<Image>,
    listener: &'a str,
    named: BTreeSet<BrokerId>,
}

/// A node of the cluster as the client reaches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NodeAddress {
    pub(super) id: BrokerId,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) rack: Option<String>,
}

impl<'a> LeaderHints<'a> {
    pub(super) fn new(image: Arc<Image>, listener: &'a str) -> Self {
        Self { image, listener, named: BTreeSet::new() }
    }

    pub(super) fn image(&self) -> Arc<Image> {
        self.image.clone()
    }

    /// The leader to name for a partition with this error code. `None`: the error is not about the leader, or there
    /// is none.
    pub(super) fn leader(
        &mut self,
        topic: &TopicImage,
        index: i32,
        error_code: i16,
    ) -> Option<(BrokerId, LeaderEpoch)> {
        let misdirected = [ResponseError::NotLeaderOrFollower, ResponseError::FencedLeaderEpoch];
        if !misdirected.iter().any(|error| error.code() == error_code) {
            return None;
        }
        let partition = topic.partition(PartitionId(index))?;
        let leader = partition.leader?;
        self.address(leader)?;
        self.named.insert(leader);
        Some((leader, partition.leader_epoch))
    }

    pub(super) fn addresses(&self) -> Vec<NodeAddress> {
        self.named.iter().filter_map(|id| self.address(*id)).collect()
    }

    fn address(&self, id: BrokerId) -> Option<NodeAddress> {
        let broker = self.image.brokers.get(&id)?;
        let endpoint = broker.endpoints.iter().find(|endpoint| endpoint.name == self.listener)?;
        Some(NodeAddress { id, host: endpoint.host.clone(), port: endpoint.port, rack: broker.rack.clone() })
    }
}
