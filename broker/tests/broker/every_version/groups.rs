//! Groups, in every version of their requests.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, GroupId, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest,
    ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::{Client, versions};
use crate::harness::calls::name;
use crate::harness::eventually;

/// One of the topics that were created.
const TOPIC: &str = "every-version-7";
const ASSIGNMENT: Bytes = Bytes::from_static(b"all of it");

/// The group that this version of JoinGroup has formed.
fn group(version: i16) -> GroupId {
    GroupId(StrBytes::from_string(format!("group-{version}")))
}

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

impl Client {
    fn join(&mut self, version: i16, member: StrBytes) -> kafka_protocol::messages::JoinGroupResponse {
        let protocol = JoinGroupRequestProtocol::default().with_name(text("p")).with_metadata(ASSIGNMENT);
        let request = JoinGroupRequest::default()
            .with_group_id(group(version))
            .with_session_timeout_ms(60_000)
            .with_rebalance_timeout_ms(if version == 0 { -1 } else { 60_000 })
            .with_member_id(member)
            .with_protocol_type(text("test"))
            .with_protocols(vec![protocol]);
        // A coordinator that is new is still reading its log.
        eventually("the coordinator is there", || {
            let joined = self.wire.call(version, &request);
            let comes = [ResponseError::NotCoordinator.code(), ResponseError::CoordinatorLoadInProgress.code()];
            (!comes.contains(&joined.error_code)).then_some(joined)
        })
    }

    /// The only member of the group of that version.
    fn member(&mut self, version: i16) -> StrBytes {
        let described = self.wire.call(0, &DescribeGroupsRequest::default().with_groups(vec![group(version)]));
        described.groups[0].members[0].member_id.clone()
    }

    pub(super) fn join_and_sync(&mut self) {
        for (version, sync_version) in versions("JoinGroup").zip(versions("SyncGroup").cycle()) {
            let mut joined = self.join(version, StrBytes::default());
            if 4 <= version {
                assert_eq!(joined.error_code, ResponseError::MemberIdRequired.code());
                joined = self.join(version, joined.member_id);
            }
            let found = (joined.error_code, joined.generation_id, joined.protocol_name.as_deref());
            assert_eq!(found, (0, 1, Some("p")), "version {version}");
            assert_eq!((joined.leader, joined.members.len()), (joined.member_id.clone(), 1));
            let assigned = SyncGroupRequestAssignment::default()
                .with_member_id(joined.member_id.clone())
                .with_assignment(ASSIGNMENT);
            let request = SyncGroupRequest::default()
                .with_group_id(group(version))
                .with_generation_id(1)
                .with_member_id(joined.member_id)
                .with_assignments(vec![assigned]);
            let named = request.clone().with_protocol_type(Some(text("test"))).with_protocol_name(Some(text("p")));
            let request = if sync_version == 5 { named } else { request };
            let synced = self.wire.call(sync_version, &request);
            assert_eq!((synced.error_code, synced.assignment), (0, ASSIGNMENT), "version {sync_version}");
        }
        for version in versions("Heartbeat") {
            let member = self.member(version);
            let request = HeartbeatRequest::default().with_group_id(group(version)).with_generation_id(1);
            assert_eq!(self.wire.call(version, &request.clone().with_member_id(member.clone())).error_code, 0);
            let old = self.wire.call(version, &request.with_member_id(member).with_generation_id(0));
            assert_eq!(old.error_code, ResponseError::IllegalGeneration.code(), "version {version}");
        }
    }

    pub(super) fn offsets_of_groups(&mut self) {
        let member = self.member(9);
        for version in versions("OffsetCommit") {
            let partitions = [0, 99].map(|index| {
                OffsetCommitRequestPartition::default()
                    .with_partition_index(index)
                    .with_committed_offset(version.into())
                    .with_committed_leader_epoch(if 6 <= version { 0 } else { -1 })
                    .with_committed_metadata(Some(text("m")))
            });
            let topic = OffsetCommitRequestTopic::default().with_name(name(TOPIC)).with_partitions(partitions.into());
            let request = OffsetCommitRequest::default()
                .with_group_id(group(9))
                .with_generation_id_or_member_epoch(1)
                .with_member_id(member.clone())
                .with_topics(vec![topic]);
            let response = self.wire.call(version, &request);
            let codes: Vec<_> = response.topics[0].partitions.iter().map(|partition| partition.error_code).collect();
            assert_eq!(codes, [0, ResponseError::UnknownTopicOrPartition.code()], "version {version}");
        }
        for version in versions("OffsetFetch") {
            let found = if version < 8 {
                let topic =
                    OffsetFetchRequestTopic::default().with_name(name(TOPIC)).with_partition_indexes(vec![0, 1]);
                let request = OffsetFetchRequest::default().with_group_id(group(9)).with_topics(Some(vec![topic]));
                let response = self.wire.call(version, &request);
                let partitions = &response.topics[0].partitions;
                [0, 1].map(|index: usize| (partitions[index].committed_offset, partitions[index].error_code))
            } else {
                let topic =
                    OffsetFetchRequestTopics::default().with_name(name(TOPIC)).with_partition_indexes(vec![0, 1]);
                let all = OffsetFetchRequestGroup::default().with_group_id(group(9)).with_topics(None);
                let one = all.clone().with_topics(Some(vec![topic]));
                let [response, all] = [one, all]
                    .map(|asked| self.wire.call(version, &OffsetFetchRequest::default().with_groups(vec![asked])));
                assert_eq!(all.groups[0].topics[0].partitions.len(), 1);
                let partitions = &response.groups[0].topics[0].partitions;
                [0, 1].map(|index: usize| (partitions[index].committed_offset, partitions[index].error_code))
            };
            assert_eq!(found, [(9, 0), (-1, 0)], "version {version}");
        }
    }

    pub(super) fn administer_groups(&mut self) {
        for version in versions("DescribeGroups") {
            let nobody = GroupId(text("nobody"));
            let request = DescribeGroupsRequest::default().with_groups(vec![group(0), nobody]);
            let response = self.wire.call(version, &request.with_include_authorized_operations(3 <= version));
            let (one, none) = (&response.groups[0], &response.groups[1]);
            let found = (&*one.group_state, &*one.protocol_type, &*one.protocol_data, one.error_code);
            assert_eq!(found, ("Stable", "test", "p", 0), "version {version}");
            assert_eq!((&*one.members[0].client_host, &*one.members[0].client_id), ("/127.0.0.1", "test"));
            assert_eq!(one.members[0].member_assignment, ASSIGNMENT);
            let not_found = if 6 <= version { ResponseError::GroupIdNotFound.code() } else { 0 };
            assert_eq!((&*none.group_state, none.error_code), ("Dead", not_found), "version {version}");
        }
        for version in versions("ListGroups") {
            let all = self.wire.call(version, &ListGroupsRequest::default());
            assert_eq!((all.error_code, all.groups.len()), (0, 10), "version {version}");
            if 4 <= version {
                let empty =
                    self.wire.call(version, &ListGroupsRequest::default().with_states_filter(vec![text("Empty")]));
                assert_eq!((&*all.groups[0].group_state, empty.groups.len()), ("Stable", 0));
            }
            if 5 <= version {
                let types = ListGroupsRequest::default().with_types_filter(vec![text("consumer")]);
                assert_eq!((&*all.groups[0].group_type, self.wire.call(version, &types).groups.len()), ("classic", 0));
            }
        }
        for version in versions("LeaveGroup") {
            let member = self.member(version);
            let request = LeaveGroupRequest::default().with_group_id(group(version));
            let request = if version < 3 {
                request.with_member_id(member)
            } else {
                request.with_members(vec![MemberIdentity::default().with_member_id(member)])
            };
            let left = self.wire.call(version, &request);
            assert_eq!(left.error_code, 0, "version {version}");
            let again = self.wire.call(version, &request);
            let code = again.members.first().map_or(again.error_code, |member| member.error_code);
            assert_eq!(code, ResponseError::UnknownMemberId.code(), "version {version}");
        }
        for version in versions("OffsetDelete") {
            let partition = OffsetDeleteRequestPartition::default().with_partition_index(0);
            let topic = OffsetDeleteRequestTopic::default().with_name(name(TOPIC)).with_partitions(vec![partition]);
            let request = OffsetDeleteRequest::default().with_topics(vec![topic]);
            let used = self.wire.call(version, &request.clone().with_group_id(group(9)));
            assert_eq!(used.error_code, ResponseError::NonEmptyGroup.code());
            let empty = self.wire.call(version, &request.with_group_id(group(5)));
            assert_eq!((empty.error_code, empty.topics[0].partitions[0].error_code), (0, 0));
        }
        for version in versions("DeleteGroups") {
            let request =
                DeleteGroupsRequest::default().with_groups_names(vec![group(version), group(9), group(version)]);
            let response = self.wire.call(version, &request);
            let codes: Vec<_> = response.results.iter().map(|result| result.error_code).collect();
            let expected = [0, ResponseError::NonEmptyGroup.code(), ResponseError::GroupIdNotFound.code()];
            assert_eq!(codes, expected, "version {version}");
        }
    }
}
