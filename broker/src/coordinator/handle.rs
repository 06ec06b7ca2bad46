//! How the rest of the broker talks to the coordinators.

use std::fmt;
use std::sync::Arc;

use protocol::types::PartitionId;
use tokio::sync::oneshot;

use super::answer::Reply;
use super::coordinators::Coordinators;
use super::counts::GroupCounts;
use super::error::{GroupError, Unavailable};
use super::member::GroupId;
use super::request::{
    CommitRequest, FetchedOffsets, GroupDescription, GroupRequest, HeartbeatRequest, JoinRequest, Joined, LeaveRequest,
    ListedGroup, Positions, Results, SyncRequest, Synced, TopicOffsets,
};

#[derive(Clone)]
pub(crate) struct CoordinatorHandle {
    pub(super) coordinators: Arc<Coordinators>,
}

impl fmt::Debug for CoordinatorHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoordinatorHandle").finish_non_exhaustive()
    }
}

impl CoordinatorHandle {
    pub(crate) async fn join(&self, group: &str, request: JoinRequest) -> Result<Joined, GroupError> {
        self.ask(named(group)?, |reply| GroupRequest::Join(request, reply)).await
    }

    pub(crate) async fn sync(&self, group: &str, request: SyncRequest) -> Result<Synced, GroupError> {
        self.ask(named(group)?, |reply| GroupRequest::Sync(request, reply)).await
    }

    /// Needs no commit, so it is answered at once.
    pub(crate) fn heartbeat(&self, group: &str, request: HeartbeatRequest) -> Result<(), GroupError> {
        let mut answer = self.begin(&named(group)?, |reply| GroupRequest::Heartbeat(request, reply));
        answer.try_recv().unwrap_or(Err(GroupError::Unavailable(Unavailable::NotCoordinator)))
    }

    /// The result for each member that leaves.
    pub(crate) async fn leave(&self, group: &str, request: LeaveRequest) -> Result<Results, GroupError> {
        self.ask(named(group)?, |reply| GroupRequest::Leave(request, reply)).await
    }

    /// The result for each offset. The group without a name is valid for commits only, as in Kafka.
    pub(crate) async fn commit_offsets(&self, group: &str, request: CommitRequest) -> Result<Results, GroupError> {
        self.ask(GroupId(group.into()), |reply| GroupRequest::CommitOffsets(request, reply)).await
    }

    /// `None`: all committed offsets.
    pub(crate) async fn fetch_offsets(
        &self,
        group: &str,
        wanted: Option<Vec<TopicOffsets<PartitionId>>>,
    ) -> Result<FetchedOffsets, GroupError> {
        self.ask(GroupId(group.into()), |reply| GroupRequest::FetchOffsets(wanted, reply)).await
    }

    pub(crate) async fn delete_offsets(
        &self,
        group: &str,
        wanted: Vec<(String, PartitionId)>,
    ) -> Result<Results, GroupError> {
        self.ask(named(group)?, |reply| GroupRequest::DeleteOffsets(wanted, reply)).await
    }

    pub(crate) async fn describe(&self, group: &str) -> Result<GroupDescription, GroupError> {
        self.ask(GroupId(group.into()), GroupRequest::Describe).await
    }

    pub(crate) async fn delete(&self, group: &str) -> Result<(), GroupError> {
        self.ask(GroupId(group.into()), GroupRequest::Delete).await
    }

    /// The groups that this broker coordinates.
    pub(crate) async fn list(&self) -> Result<Vec<ListedGroup>, GroupError> {
        let mut listed = Vec::new();
        for listing in self.coordinators.list() {
            match listing.await {
                Ok(Ok(groups)) => listed.extend(groups),
                // The group is another broker's by now.
                Err(_) | Ok(Err(GroupError::Unavailable(Unavailable::NotCoordinator))) => {}
                Ok(Err(error)) => return Err(error),
            }
        }
        Ok(listed)
    }

    /// The positions of groups that this broker coordinates, in at most so many partitions. Does not wait for them to
    /// be committed.
    pub(crate) fn positions(&self, at_most: usize) -> Positions {
        self.coordinators.positions(at_most)
    }

    pub(crate) fn counts(&self) -> GroupCounts {
        self.coordinators.counts()
    }

    /// A dropped reply means that the group is another broker's by now.
    async fn ask<T>(&self, id: GroupId, request: impl FnOnce(Reply<T>) -> GroupRequest) -> Result<T, GroupError> {
        self.begin(&id, request).await.unwrap_or(Err(GroupError::Unavailable(Unavailable::NotCoordinator)))
    }

    fn begin<T>(
        &self,
        id: &GroupId,
        request: impl FnOnce(Reply<T>) -> GroupRequest,
    ) -> oneshot::Receiver<Result<T, GroupError>> {
        let (reply, answer) = oneshot::channel();
        self.coordinators.ask(id, request(reply));
        answer
    }
}

fn named(group: &str) -> Result<GroupId, GroupError> {
    if group.is_empty() { Err(GroupError::InvalidGroupId) } else { Ok(GroupId(group.into())) }
}

/// The partition of `__consumer_offsets` that a group belongs to, by Java's hash of its id. `None`: there are none.
pub(crate) fn coordinator_partition(group: &str, partitions: usize) -> Option<PartitionId> {
    let partitions = i32::try_from(partitions).ok().filter(|count| 0 < *count)?;
    let hash = group.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(unit.into()));
    Some(PartitionId(hash.checked_abs().unwrap_or(0) % partitions))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Utils.abs("…".hashCode()) % n`
    #[test]
    fn groups_are_spread_as_kafka_spreads_them() {
        let table = [
            ("", 50, 0),
            ("a", 50, 47),
            ("group", 50, 47),
            ("console-consumer-12345", 50, 6),
            // Its hash is the smallest `int`, which has no absolute value.
            ("polygenelubricants", 50, 0),
            ("Ω🦀", 7, 1),
        ];
        for (group, partitions, expected) in table {
            assert_eq!(coordinator_partition(group, partitions), Some(PartitionId(expected)), "{group:?}");
        }
        assert_eq!(coordinator_partition("group", 0), None);
    }
}
