//! Requests given to the dispatch of one connection: the header, the handler, and the answer's frame.

use std::task::{Context, Waker};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ApiVersionsRequest, ConsumerGroupHeartbeatRequest, FindCoordinatorRequest, GroupId, HeartbeatRequest,
    InitProducerIdRequest, JoinGroupRequest, MetadataRequest, OffsetCommitRequest, SyncGroupRequest,
    TopicName,
};
use kafka_protocol::protocol::Request;
use moldau_broker::api::Reply;
use moldau_record::BatchBuilder;

use crate::Result;
use crate::frames::{
    FETCH_VERSION, PRODUCE_VERSION, Topic, batch, error_codes, fetch, idempotent, lz4, produce,
    produce_request, text, topic,
};
use crate::measured::{self, Measured, TIMES, WARM_UP, count};
use crate::node::{Node, frame};

const GROUP: &str = "a-group";
const SESSION_MS: i32 = 1_500_000;

/// Topics of one, six and a hundred partitions, and what clients ask about them.
pub(crate) fn topics(node: &mut Node) -> Result<()> {
    let one = topic(node, "one", 1)?;
    let six = topic(node, "six", 6)?;
    let hundred = topic(node, "hundred", 100)?;
    metadata(node, &one, &hundred)?;
    produces(node, &six)?;
    fetches(node, &one, &hundred)
}

/// The same request again and again, each answered at once.
fn repeat(node: &mut Node, name: &str, measured: Measured, frames: Vec<BytesMut>) -> Result<()> {
    let mut frames = frames.into_iter();
    let mut failed = 0;
    count(name, measured, &mut || {
        let reply = frames.next().and_then(|frame| node.dispatch(frame).ok());
        failed += usize::from(!matches!(reply, Some(Reply::Ready(_))));
    });
    if failed > 0 {
        return Err(format!("{name}: {failed} requests were not answered at once").into());
    }
    Ok(())
}

fn repeated<T: Request>(version: i16, request: &T) -> Result<Vec<BytesMut>> {
    (0..WARM_UP + TIMES).map(|_| frame(version, request)).collect()
}

fn metadata(node: &mut Node, one: &Topic, hundred: &Topic) -> Result<()> {
    let request = ApiVersionsRequest::default()
        .with_client_software_name(text("instructions"))
        .with_client_software_version(text("1"));
    repeat(node, "api_versions", measured::api_versions, repeated(3, &request)?)?;
    for (name, measured, topic) in [
        ("metadata_one_topic", measured::metadata_one_topic as Measured, one),
        ("metadata_100_partitions", measured::metadata_100_partitions, hundred),
    ] {
        let wanted = MetadataRequestTopic::default().with_name(Some(topic.name.clone()));
        let request = MetadataRequest::default().with_topics(Some(vec![wanted]));
        let response = node.call(12, &request)?;
        if response.topics.iter().any(|topic| topic.error_code != 0) {
            return Err(format!("{response:?}").into());
        }
        repeat(node, name, measured, repeated(12, &request)?)?;
    }
    Ok(())
}

fn produces(node: &mut Node, topic: &Topic) -> Result<()> {
    let tiny = batch(BatchBuilder::new(), 1, 100)?;
    let ten = batch(BatchBuilder::new(), 10, 100)?;
    let large = batch(BatchBuilder::new(), 1000, 100)?;
    let compressed = batch(lz4(), 1000, 100)?;
    let all = [0, 1, 2, 3, 4, 5];
    for (name, measured, partitions, records) in [
        ("produce_tiny", measured::produce_tiny as Measured, &all[..1], &tiny),
        ("produce_batched", measured::produce_batched, &all[1..2], &large),
        ("produce_lz4", measured::produce_lz4, &all[2..3], &compressed),
        ("produce_6_partitions", measured::produce_6_partitions, &all[..], &ten),
    ] {
        let request = produce_request(topic, partitions, 1, records);
        let response = node.call(PRODUCE_VERSION, &request)?;
        if error_codes(&response).any(|code| code != 0) {
            return Err(format!("{name}: {response:?}").into());
        }
        repeat(node, name, measured, repeated(PRODUCE_VERSION, &request)?)?;
    }
    let producer = node.call(4, &InitProducerIdRequest::default().with_transaction_timeout_ms(60_000))?;
    let frames = (0..WARM_UP + TIMES).map(|n| {
        let builder = idempotent(producer.producer_id.0, producer.producer_epoch, i32::try_from(n)?);
        produce(topic, &[3], 1, &batch(builder, 1, 100)?)
    });
    let frames = frames.collect::<Result<Vec<_>>>()?;
    repeat(node, "produce_idempotent", measured::produce_idempotent, frames)?;
    produce_acks_all(node, topic, &tiny)?;
    let expected = 1 + 10 * (WARM_UP + TIMES + 1) + WARM_UP + TIMES;
    node.until("all that was produced is there", |node| {
        node.high_watermark(topic.id, 3) == i64::try_from(expected).unwrap_or(-1)
    })
}

/// What is counted is the append and the wait's begin; the sync is another thread's.
fn produce_acks_all(node: &mut Node, topic: &Topic, records: &Bytes) -> Result<()> {
    let mut frames = repeated(PRODUCE_VERSION, &produce_request(topic, &[4], -1, records))?.into_iter();
    let mut waiting = Vec::with_capacity(WARM_UP + TIMES);
    count("produce_acks_all", measured::produce_acks_all, &mut || {
        waiting.extend(frames.next().and_then(|frame| node.dispatch(frame).ok()));
    });
    if waiting.len() != WARM_UP + TIMES {
        return Err("produces with acks=all failed".into());
    }
    waiting.into_iter().try_for_each(|reply| node.resolve(reply).map(drop))
}

fn fetches(node: &mut Node, one: &Topic, hundred: &Topic) -> Result<()> {
    let request = fetch(one, &[0], 0, 0);
    repeat(node, "fetch_tiny", measured::fetch_tiny, repeated(FETCH_VERSION, &request)?)?;

    let all: Vec<i32> = (0..100).collect();
    let opening = fetch(hundred, &all, 1, 0).with_session_epoch(0);
    let opened = node.call(FETCH_VERSION, &opening)?;
    if opened.error_code != 0 || opened.session_id == 0 {
        return Err(format!("no fetch session: {opened:?}").into());
    }
    let frames = (1..=WARM_UP + TIMES).map(|epoch| {
        let request = fetch(hundred, &[], 1, 0).with_topics(Vec::new());
        let epoch = i32::try_from(epoch)?;
        frame(FETCH_VERSION, &request.with_session_id(opened.session_id).with_session_epoch(epoch))
    });
    let frames = frames.collect::<Result<Vec<_>>>()?;
    repeat(node, "fetch_session_of_100", measured::fetch_session_of_100, frames)?;

    // At the end, so that it waits: what is counted is that it parks, and goes.
    let mut frames = repeated(FETCH_VERSION, &fetch(one, &[0], 1, 60_000))?.into_iter();
    let mut parked = 0;
    count("fetch_parked", measured::fetch_parked, &mut || {
        let reply = frames.next().and_then(|frame| node.dispatch(frame).ok());
        let _entered = node.data.enter();
        if let Some(Reply::Pending(mut answer)) = reply {
            let is_waiting = answer.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending();
            parked += usize::from(is_waiting);
        }
    });
    if parked != WARM_UP + TIMES {
        return Err(format!("{parked} fetches parked").into());
    }
    Ok(())
}

/// Requests that the group's shard answers.
fn ask_shard(node: &mut Node, name: &str, measured: Measured, frames: Vec<BytesMut>) -> Result<()> {
    let mut frames = frames.into_iter();
    let mut failed = 0;
    count(name, measured, &mut || {
        let reply = frames.next().and_then(|frame| node.dispatch(frame).ok());
        failed += usize::from(reply.and_then(|reply| node.resolve(reply).ok()).is_none());
    });
    if failed > 0 {
        return Err(format!("{name}: {failed} requests failed").into());
    }
    Ok(())
}

pub(crate) fn classic_group(node: &mut Node) -> Result<()> {
    let group = GroupId(text(GROUP));
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(Bytes::from_static(&[0, 1, 0, 0, 0, 0, 0, 0, 0, 0]));
    let mut join = JoinGroupRequest::default()
        .with_group_id(group.clone())
        .with_session_timeout_ms(SESSION_MS)
        .with_rebalance_timeout_ms(SESSION_MS)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol]);
    let mut generation = -1;
    let find = FindCoordinatorRequest::default().with_key(text(GROUP));
    // The first answers make __consumer_offsets, and say which id the member has.
    node.until("the member has joined", |node| {
        if node.call(3, &find).is_err() {
            return false;
        }
        let Ok(joined) = node.call(5, &join) else { return false };
        join.member_id = joined.member_id;
        generation = joined.generation_id;
        joined.error_code == 0
    })?;
    let member = join.member_id.clone();
    let assignment = SyncGroupRequestAssignment::default().with_member_id(member.clone());
    let sync = SyncGroupRequest::default()
        .with_group_id(group.clone())
        .with_generation_id(generation)
        .with_member_id(member.clone())
        .with_assignments(vec![assignment]);
    let synced = node.call(3, &sync)?;
    let beat = HeartbeatRequest::default()
        .with_group_id(group.clone())
        .with_generation_id(generation)
        .with_member_id(member.clone());
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(1);
    let of_topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(text("one")))
        .with_partitions(vec![partition]);
    let commit = OffsetCommitRequest::default()
        .with_group_id(group)
        .with_generation_id_or_member_epoch(generation)
        .with_member_id(member)
        .with_topics(vec![of_topic]);
    let committed = node.call(8, &commit)?;
    let is_committed =
        committed.topics.iter().flat_map(|topic| &topic.partitions).all(|answer| answer.error_code == 0);
    if synced.error_code != 0 || node.call(4, &beat)?.error_code != 0 || !is_committed {
        return Err(format!("{synced:?} {committed:?}").into());
    }
    ask_shard(node, "heartbeat", measured::heartbeat, repeated(4, &beat)?)?;
    ask_shard(node, "offset_commit", measured::offset_commit, repeated(8, &commit)?)?;
    if node.call(4, &beat)?.error_code != 0 {
        return Err("the member was lost".into());
    }
    Ok(())
}

pub(crate) fn consumer_group(node: &mut Node) -> Result<()> {
    let join = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(text("another-group")))
        .with_member_id(text("a-member"))
        .with_rebalance_timeout_ms(SESSION_MS)
        .with_subscribed_topic_names(Some(vec![TopicName(text("six"))]))
        .with_topic_partitions(Some(Vec::new()));
    let mut epoch = 0;
    node.until("the member has joined", |node| {
        let Ok(joined) = node.call(1, &join) else { return false };
        epoch = joined.member_epoch;
        joined.error_code == 0 && epoch > 0
    })?;
    let beat = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(text("another-group")))
        .with_member_id(text("a-member"))
        .with_member_epoch(epoch)
        .with_rebalance_timeout_ms(-1)
        .with_subscribed_topic_names(None)
        .with_topic_partitions(None);
    let answer = node.call(1, &beat)?;
    if answer.error_code != 0 {
        return Err(format!("{answer:?}").into());
    }
    ask_shard(node, "consumer_heartbeat", measured::consumer_heartbeat, repeated(1, &beat)?)
}
