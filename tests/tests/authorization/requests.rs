//! The requests of the table.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{
    self as m, BrokerId, GroupId, ProducerId, RequestKind, TopicName, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use moldau_kafka::{StreamsDescribeRequest, StreamsHeartbeatRequest};
use moldau_model::{ProducerEpoch, ProducerId as Producer, TimestampMs};
use moldau_record::BatchBuilder;

use super::rows::{GROUP, Ground, NO_GROUP, NO_TOPIC, TOPIC, TRANSACTION};

pub(crate) fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

pub(crate) fn topic(name: &'static str) -> TopicName {
    TopicName(text(name))
}

pub(crate) fn group(name: &'static str) -> GroupId {
    GroupId(text(name))
}

pub(crate) fn transaction() -> TransactionalId {
    TransactionalId(text(TRANSACTION))
}

pub(crate) fn batch(is_transactional: bool) -> Bytes {
    let mut builder = BatchBuilder::new();
    if is_transactional {
        builder = builder.producer(Producer(1 << 40), ProducerEpoch(0), 0).transactional(true);
    }
    builder.append(TimestampMs(1_700_000_000_000), None, Some(b"value"), &[]).unwrap();
    builder.build().unwrap().into()
}

pub(crate) fn produce(is_transactional: bool) -> RequestKind {
    let partition =
        m::produce_request::PartitionProduceData::default().with_records(Some(batch(is_transactional)));
    let data = m::produce_request::TopicProduceData::default()
        .with_name(topic(TOPIC))
        .with_partition_data(vec![partition]);
    RequestKind::Produce(
        m::ProduceRequest::default()
            .with_acks(-1)
            .with_timeout_ms(1_000)
            .with_transactional_id(is_transactional.then(transaction))
            .with_topic_data(vec![data]),
    )
}

pub(crate) fn fetch() -> RequestKind {
    let partition = m::fetch_request::FetchPartition::default().with_partition_max_bytes(1);
    let wanted =
        m::fetch_request::FetchTopic::default().with_topic(topic(TOPIC)).with_partitions(vec![partition]);
    RequestKind::Fetch(
        m::FetchRequest::default().with_replica_id(BrokerId(-1)).with_max_bytes(1).with_topics(vec![wanted]),
    )
}

pub(crate) fn metadata(name: Option<&'static str>, creates: bool) -> RequestKind {
    let wanted = |name| m::metadata_request::MetadataRequestTopic::default().with_name(Some(topic(name)));
    RequestKind::Metadata(
        m::MetadataRequest::default()
            .with_topics(name.map(|name| vec![wanted(name)]))
            .with_allow_auto_topic_creation(creates),
    )
}

pub(crate) fn coordinator(key_type: i8, key: &'static str) -> RequestKind {
    RequestKind::FindCoordinator(
        m::FindCoordinatorRequest::default().with_key_type(key_type).with_coordinator_keys(vec![text(key)]),
    )
}

pub(crate) fn share_key(ground: &Ground) -> RequestKind {
    let key = StrBytes::from_string(format!("{GROUP}:{}:0", kafka_uuid(ground.topic_id)));
    RequestKind::FindCoordinator(
        m::FindCoordinatorRequest::default().with_key_type(2).with_coordinator_keys(vec![key]),
    )
}

pub(crate) fn kafka_uuid(id: uuid::Uuid) -> String {
    moldau_model::Uuid::from_bytes(*id.as_bytes()).to_string()
}

pub(crate) fn create_topics(name: &'static str) -> RequestKind {
    let wanted = m::create_topics_request::CreatableTopic::default()
        .with_name(topic(name))
        .with_num_partitions(1)
        .with_replication_factor(1);
    RequestKind::CreateTopics(
        m::CreateTopicsRequest::default()
            .with_topics(vec![wanted])
            .with_timeout_ms(5_000)
            .with_validate_only(true),
    )
}

pub(crate) fn described(resource_type: i8, name: &'static str) -> RequestKind {
    let resource = m::describe_configs_request::DescribeConfigsResource::default()
        .with_resource_type(resource_type)
        .with_resource_name(text(name))
        .with_configuration_keys(None);
    RequestKind::DescribeConfigs(m::DescribeConfigsRequest::default().with_resources(vec![resource]))
}

pub(crate) fn replaced(resource_type: i8, name: &'static str) -> RequestKind {
    let resource = m::alter_configs_request::AlterConfigsResource::default()
        .with_resource_type(resource_type)
        .with_resource_name(text(name));
    RequestKind::AlterConfigs(
        m::AlterConfigsRequest::default().with_resources(vec![resource]).with_validate_only(true),
    )
}

pub(crate) fn altered(resource_type: i8, name: &'static str) -> RequestKind {
    let resource = m::incremental_alter_configs_request::AlterConfigsResource::default()
        .with_resource_type(resource_type)
        .with_resource_name(text(name));
    RequestKind::IncrementalAlterConfigs(
        m::IncrementalAlterConfigsRequest::default().with_resources(vec![resource]).with_validate_only(true),
    )
}

pub(crate) fn added(version: i16) -> RequestKind {
    let wanted = m::add_partitions_to_txn_request::AddPartitionsToTxnTopic::default()
        .with_name(topic(TOPIC))
        .with_partitions(vec![0]);
    RequestKind::AddPartitionsToTxn(if version < 4 {
        m::AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(transaction())
            .with_v3_and_below_producer_id(ProducerId(1 << 40))
            .with_v3_and_below_topics(vec![wanted])
    } else {
        let one = m::add_partitions_to_txn_request::AddPartitionsToTxnTransaction::default()
            .with_transactional_id(transaction())
            .with_producer_id(ProducerId(1 << 40))
            .with_topics(vec![wanted]);
        m::AddPartitionsToTxnRequest::default().with_transactions(vec![one])
    })
}

pub(crate) fn transactional_offsets() -> RequestKind {
    let partition = m::txn_offset_commit_request::TxnOffsetCommitRequestPartition::default();
    let wanted = m::txn_offset_commit_request::TxnOffsetCommitRequestTopic::default()
        .with_name(topic(TOPIC))
        .with_partitions(vec![partition]);
    RequestKind::TxnOffsetCommit(
        m::TxnOffsetCommitRequest::default()
            .with_transactional_id(transaction())
            .with_group_id(group(GROUP))
            .with_producer_id(ProducerId(1 << 40))
            .with_topics(vec![wanted]),
    )
}

pub(crate) fn commit() -> RequestKind {
    let partition =
        m::offset_commit_request::OffsetCommitRequestPartition::default().with_committed_offset(0);
    let wanted = m::offset_commit_request::OffsetCommitRequestTopic::default()
        .with_name(topic(TOPIC))
        .with_partitions(vec![partition]);
    RequestKind::OffsetCommit(
        m::OffsetCommitRequest::default()
            .with_group_id(group(GROUP))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![wanted]),
    )
}

pub(crate) fn committed() -> RequestKind {
    let wanted = m::offset_fetch_request::OffsetFetchRequestTopics::default()
        .with_name(topic(TOPIC))
        .with_partition_indexes(vec![0]);
    let of_group = m::offset_fetch_request::OffsetFetchRequestGroup::default()
        .with_group_id(group(GROUP))
        .with_topics(Some(vec![wanted]));
    RequestKind::OffsetFetch(m::OffsetFetchRequest::default().with_groups(vec![of_group]))
}

pub(crate) fn forgotten() -> RequestKind {
    let partition = m::offset_delete_request::OffsetDeleteRequestPartition::default().with_partition_index(7);
    let wanted = m::offset_delete_request::OffsetDeleteRequestTopic::default()
        .with_name(topic(TOPIC))
        .with_partitions(vec![partition]);
    RequestKind::OffsetDelete(
        m::OffsetDeleteRequest::default().with_group_id(group(GROUP)).with_topics(vec![wanted]),
    )
}

pub(crate) fn share_fetch(ground: &Ground) -> RequestKind {
    let partition = m::share_fetch_request::FetchPartition::default();
    let wanted = m::share_fetch_request::FetchTopic::default()
        .with_topic_id(ground.topic_id)
        .with_partitions(vec![partition]);
    RequestKind::ShareFetch(
        m::ShareFetchRequest::default()
            .with_group_id(Some(group(GROUP)))
            .with_member_id(Some(text("AAAAAAAAAAAAAAAAAAAAAQ")))
            .with_max_bytes(1)
            .with_topics(vec![wanted]),
    )
}

pub(crate) fn streams_beat(correlation_id: i32) -> BytesMut {
    let request = StreamsHeartbeatRequest {
        group_id: NO_GROUP.to_owned(),
        member_id: "AAAAAAAAAAAAAAAAAAAAAQ".to_owned(),
        member_epoch: 3,
        rebalance_timeout_ms: -1,
        ..StreamsHeartbeatRequest::default()
    };
    request.encode(correlation_id, Some(&text("authorization"))).unwrap()
}

pub(crate) fn streams_description(correlation_id: i32) -> BytesMut {
    let request =
        StreamsDescribeRequest { group_ids: vec![NO_GROUP.to_owned()], include_authorized_operations: false };
    request.encode(correlation_id, Some(&text("authorization"))).unwrap()
}

pub(crate) fn acl_creation() -> m::create_acls_request::AclCreation {
    m::create_acls_request::AclCreation::default()
        .with_resource_type(2)
        .with_resource_name(text("nothing-else"))
        .with_resource_pattern_type(3)
        .with_principal(text("User:nobody"))
        .with_host(text("127.0.0.9"))
        .with_operation(3)
        .with_permission_type(3)
}

pub(crate) fn acl_filter() -> m::delete_acls_request::DeleteAclsFilter {
    m::delete_acls_request::DeleteAclsFilter::default()
        .with_resource_type_filter(2)
        .with_resource_name_filter(Some(text("nothing-else")))
        .with_pattern_type_filter(3)
        .with_principal_filter(Some(text("User:nobody")))
        .with_host_filter(Some(text("127.0.0.9")))
        .with_operation(1)
        .with_permission_type(1)
}

pub(crate) fn epoch_end() -> RequestKind {
    let partition =
        m::offset_for_leader_epoch_request::OffsetForLeaderPartition::default().with_current_leader_epoch(-1);
    let wanted = m::offset_for_leader_epoch_request::OffsetForLeaderTopic::default()
        .with_topic(topic(TOPIC))
        .with_partitions(vec![partition]);
    RequestKind::OffsetForLeaderEpoch(
        m::OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![wanted]),
    )
}

pub(crate) fn consumer_beat(name: &'static str, reads: Option<&'static str>) -> RequestKind {
    RequestKind::ConsumerGroupHeartbeat(
        m::ConsumerGroupHeartbeatRequest::default()
            .with_group_id(group(name))
            .with_member_id(text("AAAAAAAAAAAAAAAAAAAAAQ"))
            .with_member_epoch(3)
            .with_subscribed_topic_names(reads.map(|name| vec![topic(name)])),
    )
}

pub(crate) fn share_beat(name: &'static str, reads: Option<&'static str>) -> RequestKind {
    RequestKind::ShareGroupHeartbeat(
        m::ShareGroupHeartbeatRequest::default()
            .with_group_id(group(name))
            .with_member_id(text("AAAAAAAAAAAAAAAAAAAAAQ"))
            .with_member_epoch(3)
            .with_subscribed_topic_names(reads.map(|name| vec![topic(name)])),
    )
}

pub(crate) fn idempotent() -> RequestKind {
    RequestKind::InitProducerId(
        m::InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1),
    )
}

pub(crate) fn offsets_added() -> RequestKind {
    RequestKind::AddOffsetsToTxn(
        m::AddOffsetsToTxnRequest::default()
            .with_transactional_id(transaction())
            .with_producer_id(ProducerId(1 << 40))
            .with_group_id(group(GROUP)),
    )
}

pub(crate) fn markers() -> RequestKind {
    let wanted = m::write_txn_markers_request::WritableTxnMarkerTopic::default()
        .with_name(topic(NO_TOPIC))
        .with_partition_indexes(vec![0]);
    let marker = m::write_txn_markers_request::WritableTxnMarker::default()
        .with_producer_id(ProducerId(1 << 40))
        .with_topics(vec![wanted]);
    RequestKind::WriteTxnMarkers(m::WriteTxnMarkersRequest::default().with_markers(vec![marker]))
}

pub(crate) fn nobody() -> m::describe_user_scram_credentials_request::UserName {
    m::describe_user_scram_credentials_request::UserName::default().with_name(text("nobody"))
}
