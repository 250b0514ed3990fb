//! Share groups (KIP-932): members, records, and what their coordinators keep. Versions that kafka-protocol does not know are
//! compared byte by byte.

use std::time::Duration;

use bytes::BytesMut;
use kafka_protocol::messages::{self as m, ApiKey, RequestKind, ResponseKind, ShareGroupHeartbeatRequest};
use kafka_protocol::protocol::{Encodable, StrBytes};

use super::admin::{text, topic};
use super::groups::{describe, group};
use super::{Case, Peer};

const GROUP: &str = "s";

fn beat(name: &str, member: &str, epoch: i32) -> ShareGroupHeartbeatRequest {
    ShareGroupHeartbeatRequest::default()
        .with_group_id(group(name))
        .with_member_id(text(member))
        .with_member_epoch(epoch)
        .with_rack_id(None)
        .with_subscribed_topic_names(None)
}

fn joining(name: &str, member: &str) -> ShareGroupHeartbeatRequest {
    beat(name, member, 0).with_subscribed_topic_names(Some(vec![topic("two"), topic("nope")]))
}

macro_rules! beats {
    ($name:expr, $request:expr) => {
        Case::new($name, ApiKey::ShareGroupHeartbeat, 1, 1, |_, _| RequestKind::ShareGroupHeartbeat($request))
    };
}

fn described(names: &[&str]) -> RequestKind {
    RequestKind::ShareGroupDescribe(
        m::ShareGroupDescribeRequest::default()
            .with_group_ids(names.iter().map(|name| group(name)).collect())
            .with_include_authorized_operations(true),
    )
}

fn fetch(peer: &Peer, member: Option<&str>, epoch: i32) -> m::ShareFetchRequest {
    use m::share_fetch_request::{FetchPartition, FetchTopic};
    let topics = ["two", "never"].map(|name| {
        let partition = FetchPartition::default().with_partition_index(0);
        FetchTopic::default().with_topic_id(peer.topic_id(name)).with_partitions(vec![partition])
    });
    m::ShareFetchRequest::default()
        .with_group_id(Some(group(GROUP)))
        .with_member_id(member.map(text))
        .with_share_session_epoch(epoch)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_max_records(10)
        .with_batch_size(10)
        .with_topics(topics.to_vec())
}

fn acknowledge(peer: &Peer, member: &str, epoch: i32, types: &[i8]) -> m::ShareAcknowledgeRequest {
    use m::share_acknowledge_request::{AcknowledgePartition, AcknowledgeTopic, AcknowledgementBatch};
    let batch = AcknowledgementBatch::default()
        .with_first_offset(5_000)
        .with_last_offset(5_001)
        .with_acknowledge_types(types.to_vec());
    let partition = AcknowledgePartition::default().with_acknowledgement_batches(vec![batch]);
    let topic =
        AcknowledgeTopic::default().with_topic_id(peer.topic_id("two")).with_partitions(vec![partition]);
    m::ShareAcknowledgeRequest::default()
        .with_group_id(Some(group(GROUP)))
        .with_member_id(Some(text(member)))
        .with_share_session_epoch(epoch)
        .with_topics(vec![topic])
}

/// The body of a request in the version that the library knows, with more bytes at a place.
fn body(request: &impl Encodable, version: i16, at: usize, more: &[u8]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    if request.encode(&mut bytes, version).is_err() {
        return Vec::new();
    }
    let mut bytes = bytes.to_vec();
    bytes.splice(at..at, more.iter().copied());
    bytes
}

/// Behind group and member, both of one byte, stand numbers.
const BEHIND_NAMES: usize = 4;

fn fetch_body(peer: &Peer, epoch: i32, more: [u8; 2]) -> Vec<u8> {
    body(&fetch(peer, Some("m"), epoch), 1, BEHIND_NAMES + 6 * 4, &more)
}

fn acknowledge_body(peer: &Peer, epoch: i32, is_renewal: u8, types: &[i8]) -> Vec<u8> {
    body(&acknowledge(peer, "m", epoch, types), 1, BEHIND_NAMES + 4, &[is_renewal])
}

fn write(peer: &Peer, name: &str, topic: &str, state_epoch: i32) -> m::WriteShareGroupStateRequest {
    use m::write_share_group_state_request::{PartitionData, StateBatch, WriteStateData};
    let batch = StateBatch::default()
        .with_first_offset(7)
        .with_last_offset(9)
        .with_delivery_state(2)
        .with_delivery_count(1);
    let data = PartitionData::default()
        .with_state_epoch(state_epoch)
        .with_start_offset(7)
        .with_state_batches(vec![batch]);
    let data = WriteStateData::default().with_topic_id(peer.topic_id(topic)).with_partitions(vec![data]);
    m::WriteShareGroupStateRequest::default().with_group_id(text(name)).with_topics(vec![data])
}

fn write_body(peer: &Peer, name: &str, state_epoch: i32) -> Vec<u8> {
    // Behind the group, two counts of one byte around the topic's id, and the partition's first four numbers.
    let at = 1 + name.len() + 1 + 16 + 1 + 4 + 4 + 4 + 8;
    body(&write(peer, name, "two", state_epoch), 0, at, &3i32.to_be_bytes())
}

fn initialize(peer: &Peer, topic: &str, partition: i32, state_epoch: i32, start_offset: i64) -> RequestKind {
    use m::initialize_share_group_state_request::{InitializeStateData, PartitionData};
    let data = PartitionData::default()
        .with_partition(partition)
        .with_state_epoch(state_epoch)
        .with_start_offset(start_offset);
    let data = InitializeStateData::default().with_topic_id(peer.topic_id(topic)).with_partitions(vec![data]);
    RequestKind::InitializeShareGroupState(
        m::InitializeShareGroupStateRequest::default().with_group_id(text("i")).with_topics(vec![data]),
    )
}

fn read(peer: &Peer, topic: &str, partition: i32, leader_epoch: i32) -> RequestKind {
    use m::read_share_group_state_request::{PartitionData, ReadStateData};
    let data = PartitionData::default().with_partition(partition).with_leader_epoch(leader_epoch);
    let data = ReadStateData::default().with_topic_id(peer.topic_id(topic)).with_partitions(vec![data]);
    RequestKind::ReadShareGroupState(
        m::ReadShareGroupStateRequest::default().with_group_id(text("i")).with_topics(vec![data]),
    )
}

fn summary(peer: &Peer, name: &str, topic: &str) -> m::ReadShareGroupStateSummaryRequest {
    use m::read_share_group_state_summary_request::{PartitionData, ReadStateSummaryData};
    let data = PartitionData::default().with_leader_epoch(0);
    let data =
        ReadStateSummaryData::default().with_topic_id(peer.topic_id(topic)).with_partitions(vec![data]);
    m::ReadShareGroupStateSummaryRequest::default().with_group_id(text(name)).with_topics(vec![data])
}

fn delete(peer: &Peer, topic: &str, partition: i32) -> RequestKind {
    use m::delete_share_group_state_request::{DeleteStateData, PartitionData};
    let data = PartitionData::default().with_partition(partition);
    let data = DeleteStateData::default().with_topic_id(peer.topic_id(topic)).with_partitions(vec![data]);
    RequestKind::DeleteShareGroupState(
        m::DeleteShareGroupStateRequest::default().with_group_id(text("i")).with_topics(vec![data]),
    )
}

fn describe_offsets(name: &str, topics: Option<&[(&str, i32)]>) -> m::DescribeShareGroupOffsetsRequest {
    use m::describe_share_group_offsets_request::{
        DescribeShareGroupOffsetsRequestGroup, DescribeShareGroupOffsetsRequestTopic,
    };
    let topics = topics.map(|topics| {
        let topics = topics.iter().map(|(name, partition)| {
            DescribeShareGroupOffsetsRequestTopic::default()
                .with_topic_name(topic(name))
                .with_partitions(vec![*partition])
        });
        topics.collect()
    });
    let asked =
        DescribeShareGroupOffsetsRequestGroup::default().with_group_id(group(name)).with_topics(topics);
    m::DescribeShareGroupOffsetsRequest::default().with_groups(vec![asked])
}

fn alter_offsets(name: &str, topics: &[(&str, i32)]) -> RequestKind {
    use m::alter_share_group_offsets_request::{
        AlterShareGroupOffsetsRequestPartition, AlterShareGroupOffsetsRequestTopic,
    };
    let topics = topics.iter().map(|(name, partition)| {
        let partition = AlterShareGroupOffsetsRequestPartition::default()
            .with_partition_index(*partition)
            .with_start_offset(0);
        AlterShareGroupOffsetsRequestTopic::default()
            .with_topic_name(topic(name))
            .with_partitions(vec![partition])
    });
    RequestKind::AlterShareGroupOffsets(
        m::AlterShareGroupOffsetsRequest::default().with_group_id(group(name)).with_topics(topics.collect()),
    )
}

fn delete_offsets(name: &str, topics: &[&str]) -> RequestKind {
    use m::delete_share_group_offsets_request::DeleteShareGroupOffsetsRequestTopic;
    let topics =
        topics.iter().map(|name| DeleteShareGroupOffsetsRequestTopic::default().with_topic_name(topic(name)));
    RequestKind::DeleteShareGroupOffsets(
        m::DeleteShareGroupOffsetsRequest::default().with_group_id(group(name)).with_topics(topics.collect()),
    )
}

/// Heartbeats until the member has what it subscribes to: the share coordinator's topic is made meanwhile.
fn settle(peer: &mut Peer) {
    let mut epoch = 2;
    for _ in 0..100 {
        // Longer than a target has to be old before the next one.
        std::thread::sleep(Duration::from_millis(1_100));
        let request = RequestKind::ShareGroupHeartbeat(beat(GROUP, "m", epoch));
        if let Ok(ResponseKind::ShareGroupHeartbeat(heard)) =
            peer.call(ApiKey::ShareGroupHeartbeat, 1, &request)
        {
            epoch = heard.member_epoch;
            if heard.assignment.is_some_and(|assignment| !assignment.topic_partitions.is_empty()) {
                return;
            }
        }
    }
}

fn member_cases() -> Vec<Case> {
    vec![
        beats!("a heartbeat of an unknown share group", beat(GROUP, "m", 1)),
        beats!("leave an unknown share group", beat(GROUP, "m", -1)),
        beats!("a share group heartbeat without a group", joining("", "m")),
        beats!("a share group heartbeat without a member id", joining(GROUP, "")),
        beats!("join a share group with an empty rack", joining(GROUP, "m").with_rack_id(Some(text(" ")))),
        beats!("join a share group without a subscription", beat(GROUP, "m", 0)),
        beats!("a share group heartbeat of an impossible epoch", beat(GROUP, "m", -2)),
        beats!("join a classic group as a share group", joining("g0", "m")),
        beats!("join a share group", joining(GROUP, "m")),
        Case::new("a share group heartbeat", ApiKey::ShareGroupHeartbeat, 1, 1, |peer, _| {
            settle(peer);
            RequestKind::ShareGroupHeartbeat(beat(GROUP, "m", 3))
        }),
        beats!("a share group heartbeat of a later epoch", beat(GROUP, "m", 9)),
        beats!("a share group heartbeat of an earlier epoch", beat(GROUP, "m", 1)),
        beats!("a share group heartbeat of an unknown member", beat(GROUP, "nobody", 2)),
        Case::new("describe share groups", ApiKey::ShareGroupDescribe, 1, 1, |_, _| {
            described(&[GROUP, "never", "g0", ""])
        }),
        Case::new("describe a share group alone", ApiKey::ShareGroupDescribe, 1, 1, |_, _| {
            described(&[GROUP])
        }),
        Case::new("describe a share group as a classic one", ApiKey::DescribeGroups, 0, 6, |_, v| {
            describe(&[GROUP], v)
        }),
        Case::new("list share groups", ApiKey::ListGroups, 5, 5, |_, _| {
            RequestKind::ListGroups(m::ListGroupsRequest::default().with_types_filter(vec![text("share")]))
        }),
        Case::new("delete a share group in use", ApiKey::DeleteGroups, 0, 2, |_, _| {
            RequestKind::DeleteGroups(m::DeleteGroupsRequest::default().with_groups_names(vec![group(GROUP)]))
        }),
    ]
}

/// By now both have the topic of share state, whose id is their own.
fn ground() -> Vec<Case> {
    vec![Case::new("ground: the topic of share state", ApiKey::Metadata, 12, 12, |peer, _| {
        wait_for_state_topic(peer);
        state_topic()
    })]
}

fn state_topic() -> RequestKind {
    let wanted =
        m::metadata_request::MetadataRequestTopic::default().with_name(Some(topic("__share_group_state")));
    RequestKind::Metadata(m::MetadataRequest::default().with_topics(Some(vec![wanted])))
}

/// Who asks for a coordinator has the topic made, and it comes a moment later.
fn wait_for_state_topic(peer: &mut Peer) {
    const TRIES: usize = 200;
    const SHARE: i8 = 2;
    for _ in 0..TRIES {
        let find = m::FindCoordinatorRequest::default()
            .with_key_type(SHARE)
            .with_coordinator_keys(vec![text("g:AAAAAAAAAAAAAAAAAAAAAQ:0")]);
        drop(peer.call(ApiKey::FindCoordinator, 6, &RequestKind::FindCoordinator(find)));
        let told = peer.call(ApiKey::Metadata, 12, &state_topic());
        let Ok(m::ResponseKind::Metadata(told)) = told else { return };
        if told.topics.iter().all(|topic| topic.error_code == 0) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

fn record_cases() -> Vec<Case> {
    use ApiKey::{ShareAcknowledge, ShareFetch};
    vec![
        Case::new("a share fetch of no session", ShareFetch, 1, 1, |peer, _| {
            RequestKind::ShareFetch(fetch(peer, Some("m"), 4))
        }),
        Case::new("a share fetch of nobody", ShareFetch, 1, 1, |peer, _| {
            RequestKind::ShareFetch(fetch(peer, None, 0))
        }),
        Case::new("the end of no share session", ShareFetch, 1, 1, |peer, _| {
            RequestKind::ShareFetch(fetch(peer, Some("m"), -1))
        }),
        Case::bytes("a strict share fetch of no session", ShareFetch, 2, |peer| fetch_body(peer, 4, [1, 0])),
        Case::bytes("a renewal of no session", ShareFetch, 2, |peer| fetch_body(peer, 4, [0, 1])),
        Case::new("an acknowledgement that opens a session", ShareAcknowledge, 1, 1, |peer, _| {
            RequestKind::ShareAcknowledge(acknowledge(peer, "m", 0, &[1]))
        }),
        Case::new("an acknowledgement of no session", ShareAcknowledge, 1, 1, |peer, _| {
            RequestKind::ShareAcknowledge(acknowledge(peer, "m", 4, &[1]))
        }),
        Case::bytes("an acknowledgement of no session, by bytes", ShareAcknowledge, 2, |peer| {
            acknowledge_body(peer, 4, 0, &[1])
        }),
        Case::bytes("an acknowledgement that opens a session, by bytes", ShareAcknowledge, 2, |peer| {
            acknowledge_body(peer, 0, 0, &[1])
        }),
    ]
}

fn state_cases() -> Vec<Case> {
    use ApiKey::{
        DeleteShareGroupState as Delete, InitializeShareGroupState as Initialize,
        ReadShareGroupState as Read, ReadShareGroupStateSummary as Summary, WriteShareGroupState as Write,
    };
    vec![
        Case::new("initialize share state", Initialize, 0, 0, |peer, _| initialize(peer, "two", 0, 3, 5)),
        Case::new("initialize share state of an unknown topic", Initialize, 0, 0, |peer, _| {
            initialize(peer, "never", 0, 3, 5)
        }),
        Case::new("initialize share state of no partition", Initialize, 0, 0, |peer, _| {
            initialize(peer, "two", -1, 3, 5)
        }),
        Case::new("initialize share state of an earlier epoch", Initialize, 0, 0, |peer, _| {
            initialize(peer, "two", 0, 2, 5)
        }),
        Case::new("write share state", Write, 0, 0, |peer, _| {
            RequestKind::WriteShareGroupState(write(peer, "i", "two", 3))
        }),
        Case::new("write share state of an earlier epoch", Write, 0, 0, |peer, _| {
            RequestKind::WriteShareGroupState(write(peer, "i", "two", 1))
        }),
        Case::new("write share state of an unknown topic", Write, 0, 0, |peer, _| {
            RequestKind::WriteShareGroupState(write(peer, "i", "never", 3))
        }),
        Case::bytes("write share state with a count", Write, 1, |peer| write_body(peer, "i", 3)),
        Case::bytes("write share state that was not initialized", Write, 1, |peer| write_body(peer, "u", 3)),
        Case::new("read share state", Read, 0, 0, |peer, _| read(peer, "two", 0, 0)),
        Case::new("read share state that was not initialized", Read, 0, 0, |peer, _| read(peer, "two", 1, 0)),
        Case::new("read share state of no partition", Read, 0, 0, |peer, _| read(peer, "two", 99, 0)),
        Case::new("the summary of share state", Summary, 0, 0, |peer, _| {
            RequestKind::ReadShareGroupStateSummary(summary(peer, "i", "two"))
        }),
        Case::new("the summary of share state of an unknown topic", Summary, 0, 0, |peer, _| {
            RequestKind::ReadShareGroupStateSummary(summary(peer, "i", "never"))
        }),
        Case::new("the summary of share state that was not initialized", Summary, 0, 0, |peer, _| {
            RequestKind::ReadShareGroupStateSummary(summary(peer, "u", "two"))
        }),
        Case::bytes("the summary of share state with a count", Summary, 1, |peer| {
            body(&summary(peer, "i", "two"), 0, 0, &[])
        }),
        Case::bytes("the summary of share state without a count", Summary, 1, |peer| {
            body(&summary(peer, "u", "two"), 0, 0, &[])
        }),
        Case::new("delete share state", Delete, 0, 0, |peer, _| delete(peer, "two", 0)),
        Case::new("delete share state again", Delete, 0, 0, |peer, _| delete(peer, "two", 0)),
        Case::new("delete share state of an unknown topic", Delete, 0, 0, |peer, _| delete(peer, "never", 0)),
    ]
}

fn offset_cases() -> Vec<Case> {
    use ApiKey::{
        AlterShareGroupOffsets as Alter, DeleteShareGroupOffsets as Delete,
        DescribeShareGroupOffsets as Describe,
    };
    vec![
        Case::new("alter offsets of a share group in use", Alter, 0, 0, |_, _| {
            alter_offsets(GROUP, &[("two", 0)])
        }),
        Case::new("delete offsets of a share group in use", Delete, 0, 0, |_, _| {
            delete_offsets(GROUP, &["two"])
        }),
        beats!("leave a share group", beat(GROUP, "m", -1)),
        Case::new("describe a share group's offsets before there are any", Describe, 0, 0, |_, _| {
            RequestKind::DescribeShareGroupOffsets(describe_offsets(GROUP, Some(&[("two", 0), ("never", 0)])))
        }),
        Case::new("alter a share group's offsets", Alter, 0, 0, |_, _| {
            alter_offsets(GROUP, &[("two", 0), ("two", 9), ("never", 0)])
        }),
        Case::new("alter offsets of an unknown share group", Alter, 0, 0, |_, _| {
            alter_offsets("never", &[("two", 0)])
        }),
        Case::new("alter offsets of no share group", Alter, 0, 0, |_, _| alter_offsets("", &[("two", 0)])),
        Case::new("describe a share group's offsets", Describe, 0, 0, |_, _| {
            RequestKind::DescribeShareGroupOffsets(describe_offsets(GROUP, Some(&[("two", 0)])))
        }),
        Case::new("describe offsets of a share group that was altered into being", Describe, 0, 0, |_, _| {
            RequestKind::DescribeShareGroupOffsets(describe_offsets("never", None))
        }),
        Case::new("describe an unknown share group's offsets", Describe, 0, 0, |_, _| {
            RequestKind::DescribeShareGroupOffsets(describe_offsets("nobody", None))
        }),
        Case::new("describe an unknown share group's offsets of a topic", Describe, 0, 0, |_, _| {
            RequestKind::DescribeShareGroupOffsets(describe_offsets("nobody", Some(&[("two", 0)])))
        }),
        Case::bytes("describe a share group's offsets with its lag", Describe, 1, |_| {
            body(&describe_offsets(GROUP, Some(&[("two", 0)])), 0, 0, &[])
        }),
        Case::bytes("describe an unknown share group's offsets with its lag", Describe, 1, |_| {
            body(&describe_offsets("never", None), 0, 0, &[])
        }),
        Case::new("delete a share group's offsets", Delete, 0, 0, |_, _| {
            delete_offsets(GROUP, &["two", "never"])
        }),
        Case::new("delete a share group's offsets again", Delete, 0, 0, |_, _| {
            delete_offsets(GROUP, &["two"])
        }),
        Case::new("delete offsets of an unknown share group", Delete, 0, 0, |_, _| {
            delete_offsets("nobody", &["two"])
        }),
        Case::new("delete offsets of a share group that was altered into being", Delete, 0, 0, |_, _| {
            delete_offsets("never", &["two"])
        }),
        Case::new("delete a share group", ApiKey::DeleteGroups, 2, 2, |_, _| {
            RequestKind::DeleteGroups(m::DeleteGroupsRequest::default().with_groups_names(vec![group(GROUP)]))
        }),
        Case::new(
            "find the coordinator of what is no share partition",
            ApiKey::FindCoordinator,
            4,
            6,
            |_, _| {
                let keys: Vec<StrBytes> = ["s", "s:two:0"].map(text).to_vec();
                RequestKind::FindCoordinator(
                    m::FindCoordinatorRequest::default().with_key_type(2).with_coordinator_keys(keys),
                )
            },
        ),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    [member_cases(), ground(), record_cases(), state_cases(), offset_cases()].concat()
}
