//! Group requests that must be refused, and members that fall silent.

use bytes::Bytes;
use kafka_protocol::ResponseError::{
    self, FencedInstanceId, GroupIdNotFound, GroupMaxSizeReached, GroupSubscribedToTopic, IllegalGeneration,
    InconsistentGroupProtocol, InvalidCommitOffsetSize, InvalidGroupId, InvalidSessionTimeout, MemberIdRequired,
    NonEmptyGroup, OffsetMetadataTooLarge, UnknownMemberId, UnknownTopicOrPartition,
};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, GroupId, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, OffsetCommitRequest, OffsetDeleteRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;

use crate::harness::calls::name;
use crate::harness::wire::{Wire, create};
use crate::harness::{Site, eventually, http};

const TOPIC: &str = "topic";
const INSTANCE: &str = "instance";
/// A subscription to the topic.
const SUBSCRIPTION: Bytes =
    Bytes::from_static(&[0, 0, 0, 0, 0, 1, 0, 5, b't', b'o', b'p', b'i', b'c', 0xFF, 0xFF, 0xFF, 0xFF]);

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn group(name: &str) -> GroupId {
    GroupId(text(name))
}

fn join(group_name: &str) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(SUBSCRIPTION);
    JoinGroupRequest::default()
        .with_group_id(group(group_name))
        .with_session_timeout_ms(600_000)
        .with_rebalance_timeout_ms(60_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

/// A static member that has restarted: it has a stale id and its current one.
struct Group {
    wire: Wire,
    stale: StrBytes,
    member: StrBytes,
}

impl Group {
    fn form(port: u16) -> Self {
        let mut wire = Wire::connect(port);
        let found = FindCoordinatorRequest::default().with_key(text("g"));
        eventually("the coordinator is there", || {
            let found = wire.call(0, &found).error_code == 0;
            let asked = DescribeGroupsRequest::default().with_groups(vec![group("g")]);
            (found && wire.call(5, &asked).groups[0].error_code == 0).then_some(())
        });
        let started = join("g").with_group_instance_id(Some(text(INSTANCE)));
        let joined = wire.call(7, &started);
        assert_eq!((joined.error_code, joined.generation_id), (0, 1));
        let stale = joined.member_id;
        let assigned = SyncGroupRequestAssignment::default()
            .with_member_id(stale.clone())
            .with_assignment(Bytes::from_static(b"all"));
        let request = sync(&stale, 1).with_assignments(vec![assigned]);
        assert_eq!(wire.call(5, &request).error_code, 0);
        let again = wire.call(7, &started);
        assert_eq!((again.error_code, again.generation_id), (0, 1));
        Self { wire, stale, member: again.member_id }
    }

    fn join(&mut self, change: impl FnOnce(JoinGroupRequest) -> JoinGroupRequest) -> i16 {
        self.wire.call(7, &change(join("g"))).error_code
    }

    fn sync(&mut self, request: &SyncGroupRequest) -> i16 {
        self.wire.call(5, request).error_code
    }

    fn heartbeat(&mut self, member: &StrBytes, generation: i32) -> i16 {
        let request = HeartbeatRequest::default()
            .with_group_id(group("g"))
            .with_generation_id(generation)
            .with_member_id(member.clone())
            .with_group_instance_id(Some(text(INSTANCE)));
        self.wire.call(4, &request).error_code
    }

    fn leave(&mut self, member: &StrBytes, instance: Option<&str>) -> i16 {
        let member =
            MemberIdentity::default().with_member_id(member.clone()).with_group_instance_id(instance.map(text));
        let request = LeaveGroupRequest::default().with_group_id(group("g")).with_members(vec![member]);
        self.wire.call(4, &request).members[0].error_code
    }

    fn commit(&mut self, group_name: &str, member: &StrBytes, generation: i32, partition: i32, metadata: &str) -> i16 {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(partition)
            .with_committed_offset(5)
            .with_committed_metadata(Some(text(metadata)));
        let topic = OffsetCommitRequestTopic::default().with_name(name(TOPIC)).with_partitions(vec![partition]);
        let instance = (!member.is_empty()).then(|| text(INSTANCE));
        let request = OffsetCommitRequest::default()
            .with_group_id(group(group_name))
            .with_generation_id_or_member_epoch(generation)
            .with_member_id(member.clone())
            .with_group_instance_id(instance)
            .with_topics(vec![topic]);
        self.wire.call(8, &request).topics[0].partitions[0].error_code
    }

    /// Commits the same offset this often in one request.
    fn commit_repeated(&mut self, group_name: &str, times: usize) -> i16 {
        let partitions = vec![OffsetCommitRequestPartition::default(); times];
        let topic = OffsetCommitRequestTopic::default().with_name(name(TOPIC)).with_partitions(partitions);
        let request = OffsetCommitRequest::default().with_group_id(group(group_name)).with_topics(vec![topic]);
        self.wire.call(8, &request).topics[0].partitions[0].error_code
    }

    fn delete_offset(&mut self, group_name: &str) -> i16 {
        let partition = OffsetDeleteRequestPartition::default().with_partition_index(0);
        let topic = OffsetDeleteRequestTopic::default().with_name(name(TOPIC)).with_partitions(vec![partition]);
        let request = OffsetDeleteRequest::default().with_group_id(group(group_name)).with_topics(vec![topic]);
        let deleted = self.wire.call(0, &request);
        deleted.topics.first().map_or(deleted.error_code, |topic| topic.partitions[0].error_code)
    }

    fn delete(&mut self, group_name: &str) -> i16 {
        let request = DeleteGroupsRequest::default().with_groups_names(vec![group(group_name)]);
        self.wire.call(2, &request).results[0].error_code
    }
}

fn sync(member: &StrBytes, generation: i32) -> SyncGroupRequest {
    SyncGroupRequest::default()
        .with_group_id(group("g"))
        .with_generation_id(generation)
        .with_member_id(member.clone())
        .with_group_instance_id(Some(text(INSTANCE)))
        .with_protocol_type(Some(text("consumer")))
        .with_protocol_name(Some(text("range")))
}

fn check(table: &[(&str, i16, ResponseError)]) {
    for (what, found, expected) in table {
        assert_eq!(ResponseError::try_from_code(*found), Some(*expected), "{what}");
    }
}

#[test]
fn who_is_stale_unknown_or_fenced_gets_kafkas_codes_and_changes_nothing() {
    let site = Site::new(&["group.initial.rebalance.delay.ms=0"]);
    let _broker = site.start();
    create(&mut Wire::connect(site.port), TOPIC, &[]);
    let mut g = Group::form(site.port);
    let (stale, member, nobody) = (g.stale.clone(), g.member.clone(), text("nobody"));
    let huge = "x".repeat(32_000);
    let protocol = |name: &str, bytes: usize| {
        JoinGroupRequestProtocol::default().with_name(text(name)).with_metadata(Bytes::from(vec![0; bytes]))
    };
    let fenced =
        |request: JoinGroupRequest| request.with_member_id(stale.clone()).with_group_instance_id(Some(text(INSTANCE)));
    check(&[
        ("join without a group", g.join(|join| join.with_group_id(group(""))), InvalidGroupId),
        ("join with a short session", g.join(|join| join.with_session_timeout_ms(1)), InvalidSessionTimeout),
        ("join with an endless one", g.join(|join| join.with_session_timeout_ms(i32::MAX)), InvalidSessionTimeout),
        ("join as nobody", g.join(|join| join.with_member_id(nobody.clone())), UnknownMemberId),
        ("join for the first time", g.join(|join| join), MemberIdRequired),
        ("join as who was replaced", g.join(fenced), FencedInstanceId),
        ("join without protocols", g.join(|join| join.with_protocols(Vec::new())), InconsistentGroupProtocol),
        ("join of another type", g.join(|join| join.with_protocol_type(text("connect"))), InconsistentGroupProtocol),
        (
            "join with a protocol of its own",
            g.join(|join| join.with_protocols(vec![protocol("mine", 1)])),
            InconsistentGroupProtocol,
        ),
        (
            "join with more than a record holds",
            g.join(|join| join.with_protocols(vec![protocol("range", 5 << 20)])),
            GroupMaxSizeReached,
        ),
        ("sync as nobody", g.sync(&sync(&nobody, 1).with_group_instance_id(None)), UnknownMemberId),
        ("sync as who was replaced", g.sync(&sync(&stale, 1)), FencedInstanceId),
        ("sync of an earlier generation", g.sync(&sync(&member, 0)), IllegalGeneration),
        ("sync of a later generation", g.sync(&sync(&member, 2)), IllegalGeneration),
        (
            "sync of another protocol",
            g.sync(&sync(&member, 1).with_protocol_name(Some(text("sticky")))),
            InconsistentGroupProtocol,
        ),
        ("sync that does not say which", g.sync(&sync(&member, 1).with_protocol_name(None)), InconsistentGroupProtocol),
        ("heartbeat of who was replaced", g.heartbeat(&stale, 1), FencedInstanceId),
        ("heartbeat of an earlier generation", g.heartbeat(&member, 0), IllegalGeneration),
        ("leave of nobody", g.leave(&nobody, None), UnknownMemberId),
        ("leave of who was replaced", g.leave(&stale, Some(INSTANCE)), FencedInstanceId),
        ("leave of an instance that is not there", g.leave(&text(""), Some("other")), UnknownMemberId),
        ("commit of who was replaced", g.commit("g", &stale, 1, 0, ""), FencedInstanceId),
        ("commit of an earlier generation", g.commit("g", &member, 0, 0, ""), IllegalGeneration),
        ("commit from outside", g.commit("g", &text(""), -1, 0, ""), UnknownMemberId),
        ("commit to a group that is not there", g.commit("none", &nobody, 1, 0, ""), IllegalGeneration),
        ("commit in a partition that is not there", g.commit("g", &member, 1, 9, ""), UnknownTopicOrPartition),
        ("commit with long metadata", g.commit("g", &member, 1, 0, &"x".repeat(4097)), OffsetMetadataTooLarge),
        ("commit of what would be a hundred megabytes", g.commit_repeated(&huge, 3200), InvalidCommitOffsetSize),
        ("delete of offsets that are in use", g.delete_offset("g"), GroupSubscribedToTopic),
        ("delete of offsets of no group", g.delete_offset("none"), GroupIdNotFound),
        ("delete of a group with members", g.delete("g"), NonEmptyGroup),
        ("delete of no group", g.delete("none"), GroupIdNotFound),
    ]);
    assert_eq!(g.heartbeat(&member, 1), 0, "the generation is the same");
    assert_eq!(g.commit("g", &member, 1, 0, "m"), 0);
    let described = g.wire.call(0, &DescribeGroupsRequest::default().with_groups(vec![group("g")]));
    let described = &described.groups[0];
    assert_eq!((&*described.group_state, described.members.len()), ("Stable", 1));
    assert_eq!((&described.members[0].member_id, &*described.members[0].member_assignment), (&member, &b"all"[..]));
}

fn gauge(site: &Site, name: &str) -> u64 {
    let metrics = http::get(site.management_port, "/metrics", None).body;
    let values = metrics.lines().filter_map(|line| line.strip_prefix(name)?.rsplit(' ').next()?.parse::<u64>().ok());
    values.sum()
}

#[test]
fn members_that_join_and_vanish_leave_nothing_behind() {
    let site = Site::new(&[
        "group.initial.rebalance.delay.ms=200",
        "group.min.session.timeout.ms=100",
        "offsets.topic.num.partitions=1",
    ]);
    let _broker = site.start();
    let mut stable = Group::form(site.port);
    let before = gauge(&site, "kafka_server_group_coordinator_metrics_group_completed_rebalance_total");
    let brief = |group| join(group).with_session_timeout_ms(300).with_rebalance_timeout_ms(400);
    for number in 0..1000 {
        // Some wait for their first generation, others only have a member id.
        let version = if number % 2 == 0 { 3 } else { 7 };
        let mut wire = Wire::connect(site.port);
        let frame = wire.encode(version, &brief("vanishing"));
        wire.send(&frame);
        if number % 2 == 1 {
            assert_eq!(stable.join(|_| brief("g")), MemberIdRequired.code());
        }
    }
    let mut wire = Wire::connect(site.port);
    eventually("all are forgotten", || {
        let asked = DescribeGroupsRequest::default().with_groups(vec![group("vanishing")]);
        let state = wire.call(5, &asked).groups[0].group_state.to_string();
        (state == "Dead").then_some(())
    });
    let member = stable.member.clone();
    assert_eq!(stable.heartbeat(&member, 1), 0, "ids that nobody used are no members");
    assert_eq!(gauge(&site, "millrace_coordinator_group_members"), 1, "that of the other group");
    assert_eq!(gauge(&site, "kafka_coordinator_group_groupmetadatamanager_num_groups"), 1);
    println!(
        "{} rebalances",
        gauge(&site, "kafka_server_group_coordinator_metrics_group_completed_rebalance_total") - before
    );
    // A later member then waits for no other.
    let joined: JoinGroupResponse = wire.call(3, &join("vanishing"));
    assert_eq!((joined.error_code, joined.generation_id, joined.members.len()), (0, 1, 1));
}
