//! Shared by the requests about groups.

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;

use super::Request;
use crate::coordinator::{GroupError, GroupState, MemberClaim, MemberId, Unavailable};

/// −1 in a response: no generation.
pub(super) const NO_GENERATION: i32 = -1;

pub(super) fn claim(member: &StrBytes, instance: Option<&StrBytes>) -> MemberClaim {
    MemberClaim { id: MemberId(member.as_str().to_owned()), instance: instance.map(|id| id.as_str().to_owned()) }
}

pub(super) fn text(text: String) -> StrBytes {
    StrBytes::from_string(text)
}

/// Copied, so that keeping it does not keep the memory of the whole request.
pub(super) fn copied(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

pub(super) fn state_name(state: GroupState) -> &'static str {
    match state {
        GroupState::Empty => "Empty",
        GroupState::PreparingRebalance => "PreparingRebalance",
        GroupState::CompletingRebalance => "CompletingRebalance",
        GroupState::Stable => "Stable",
    }
}

impl Request<'_> {
    /// Waits for the answer until the client is gone or the broker stops; the client then looks for the coordinator
    /// again.
    pub(super) async fn answer_of<T>(
        &self,
        answer: impl Future<Output = Result<T, GroupError>>,
    ) -> Result<T, GroupError> {
        tokio::select! {
            biased;
            answer = answer => answer,
            () = self.context.hurry.notified() => Err(GroupError::Unavailable(Unavailable::NotCoordinator)),
        }
    }
}
