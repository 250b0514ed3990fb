//! What every API needs, and a request that needs it.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{self as m, ApiKey, BrokerId, ProducerId, RequestKind};
use moldau_model::{Operation, ResourceType};

use super::requests::*;

use Operation::*;
use ResourceType::*;

/// There before the first question: a topic, a group with an offset, a transactional id.
pub(crate) const TOPIC: &str = "rivers";
pub(crate) const GROUP: &str = "readers";
pub(crate) const TRANSACTION: &str = "payments";
/// Never there.
pub(crate) const NO_TOPIC: &str = "rivulets";
pub(crate) const NO_GROUP: &str = "readerless";

/// What a request stands on.
pub(crate) struct Ground {
    pub(crate) topic_id: uuid::Uuid,
}

pub(crate) enum Ask {
    Kind(ApiKey, i16, fn(&Ground) -> RequestKind),
    /// An API that kafka-protocol does not know: the frame, and its answer in words.
    Frame(i16, fn(i32) -> BytesMut, fn(Bytes) -> String),
}

/// One thing that an API needs.
pub(crate) struct Row {
    /// Which of its questions.
    pub(crate) about: &'static str,
    /// The first one is varied; what else the request needs is allowed throughout.
    pub(crate) needs: &'static [(Operation, ResourceType)],
    /// Where nothing is refused and something is left out: what is told to who may see it.
    pub(crate) shows: Option<&'static str>,
    pub(crate) ask: Ask,
}

impl Row {
    pub(crate) fn key(&self) -> i16 {
        match &self.ask {
            Ask::Kind(key, ..) => *key as i16,
            Ask::Frame(key, ..) => *key,
        }
    }
}

/// The name of the resource that a request of these rows is about.
pub(crate) fn name(resource_type: ResourceType, about: &str) -> &'static str {
    match resource_type {
        Topic if about.contains("no topic") => NO_TOPIC,
        Topic => TOPIC,
        Group if about.contains("no group") => NO_GROUP,
        Group => GROUP,
        Cluster => moldau_model::CLUSTER_RESOURCE_NAME,
        TransactionalId => TRANSACTION,
        DelegationToken | User => "",
    }
}

const fn row(
    about: &'static str,
    needs: &'static [(Operation, ResourceType)],
    key: ApiKey,
    version: i16,
    build: fn(&Ground) -> RequestKind,
) -> Row {
    Row { about, needs, shows: None, ask: Ask::Kind(key, version, build) }
}

const fn hiding(
    about: &'static str,
    shows: &'static str,
    needs: &'static [(Operation, ResourceType)],
    key: ApiKey,
    version: i16,
    build: fn(&Ground) -> RequestKind,
) -> Row {
    Row { about, needs, shows: Some(shows), ask: Ask::Kind(key, version, build) }
}

type K = RequestKind;

/// Records and metadata.
pub(crate) const RECORDS: &[Row] = &[
    row("", &[(Write, Topic)], ApiKey::Produce, 9, |_| produce(false)),
    row("in a transaction: the id", &[(Write, TransactionalId), (Write, Topic)], ApiKey::Produce, 9, |_| {
        produce(true)
    }),
    row(
        "in a transaction: the topic",
        &[(Write, Topic), (Write, TransactionalId)],
        ApiKey::Produce,
        9,
        |_| produce(true),
    ),
    row("", &[(Read, Topic)], ApiKey::Fetch, 11, |_| fetch()),
    row("", &[(Describe, Topic)], ApiKey::ListOffsets, 7, |_| {
        let partition = m::list_offsets_request::ListOffsetsPartition::default().with_timestamp(-1);
        let wanted = m::list_offsets_request::ListOffsetsTopic::default()
            .with_name(topic(TOPIC))
            .with_partitions(vec![partition]);
        K::ListOffsets(
            m::ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![wanted]),
        )
    }),
    row("a topic by name", &[(Describe, Topic)], ApiKey::Metadata, 12, |_| metadata(Some(TOPIC), false)),
    row("no topic of the name", &[(Describe, Topic)], ApiKey::Metadata, 12, |_| {
        metadata(Some(NO_TOPIC), false)
    }),
    row("a topic by id", &[(Describe, Topic)], ApiKey::Metadata, 12, |ground| {
        let wanted = m::metadata_request::MetadataRequestTopic::default()
            .with_name(None)
            .with_topic_id(ground.topic_id);
        K::Metadata(m::MetadataRequest::default().with_topics(Some(vec![wanted])))
    }),
    hiding("all topics", TOPIC, &[(Describe, Topic)], ApiKey::Metadata, 12, |_| metadata(None, false)),
    row("", &[(Delete, Topic)], ApiKey::DeleteRecords, 2, |_| {
        let partition = m::delete_records_request::DeleteRecordsPartition::default();
        let wanted = m::delete_records_request::DeleteRecordsTopic::default()
            .with_name(topic(TOPIC))
            .with_partitions(vec![partition]);
        K::DeleteRecords(m::DeleteRecordsRequest::default().with_topics(vec![wanted]).with_timeout_ms(5_000))
    }),
    row("by a topic", &[(Describe, Topic)], ApiKey::OffsetForLeaderEpoch, 4, |_| epoch_end()),
    row("by the cluster", &[(ClusterAction, Cluster)], ApiKey::OffsetForLeaderEpoch, 4, |_| epoch_end()),
    row("", &[(Read, Topic)], ApiKey::DescribeProducers, 0, |_| {
        let wanted = m::describe_producers_request::TopicRequest::default()
            .with_name(topic(TOPIC))
            .with_partition_indexes(vec![0]);
        K::DescribeProducers(m::DescribeProducersRequest::default().with_topics(vec![wanted]))
    }),
    row("a topic by name", &[(Describe, Topic)], ApiKey::DescribeTopicPartitions, 0, |_| {
        let wanted = m::describe_topic_partitions_request::TopicRequest::default().with_name(topic(TOPIC));
        K::DescribeTopicPartitions(
            m::DescribeTopicPartitionsRequest::default()
                .with_topics(vec![wanted])
                .with_response_partition_limit(10),
        )
    }),
    hiding("all topics", TOPIC, &[(Describe, Topic)], ApiKey::DescribeTopicPartitions, 0, |_| {
        K::DescribeTopicPartitions(
            m::DescribeTopicPartitionsRequest::default().with_response_partition_limit(10),
        )
    }),
];

/// Groups of all kinds.
pub(crate) const GROUPS: &[Row] = &[
    row("the group", &[(Read, Group), (Read, Topic)], ApiKey::OffsetCommit, 8, |_| commit()),
    row("the topic", &[(Read, Topic), (Read, Group)], ApiKey::OffsetCommit, 8, |_| commit()),
    row("the group", &[(Describe, Group), (Describe, Topic)], ApiKey::OffsetFetch, 8, |_| committed()),
    row("the topic", &[(Describe, Topic), (Describe, Group)], ApiKey::OffsetFetch, 8, |_| committed()),
    row("of a group", &[(Describe, Group)], ApiKey::FindCoordinator, 4, |_| coordinator(0, GROUP)),
    row("of a transactional id", &[(Describe, TransactionalId)], ApiKey::FindCoordinator, 4, |_| {
        coordinator(1, TRANSACTION)
    }),
    row("of a share partition", &[(ClusterAction, Cluster)], ApiKey::FindCoordinator, 6, share_key),
    row("no group of the name", &[(Read, Group)], ApiKey::JoinGroup, 6, |_| {
        K::JoinGroup(
            m::JoinGroupRequest::default()
                .with_group_id(group(NO_GROUP))
                .with_session_timeout_ms(10_000)
                .with_rebalance_timeout_ms(10_000)
                .with_protocol_type(text("consumer")),
        )
    }),
    row("no group of the name", &[(Read, Group)], ApiKey::Heartbeat, 4, |_| {
        K::Heartbeat(m::HeartbeatRequest::default().with_group_id(group(NO_GROUP)).with_member_id(text("m")))
    }),
    row("no group of the name", &[(Read, Group)], ApiKey::LeaveGroup, 4, |_| {
        K::LeaveGroup(m::LeaveGroupRequest::default().with_group_id(group(NO_GROUP)))
    }),
    row("no group of the name", &[(Read, Group)], ApiKey::SyncGroup, 4, |_| {
        K::SyncGroup(m::SyncGroupRequest::default().with_group_id(group(NO_GROUP)).with_member_id(text("m")))
    }),
    row("", &[(Describe, Group)], ApiKey::DescribeGroups, 5, |_| {
        K::DescribeGroups(m::DescribeGroupsRequest::default().with_groups(vec![group(GROUP)]))
    }),
    hiding("by a group", GROUP, &[(Describe, Group)], ApiKey::ListGroups, 4, |_| {
        K::ListGroups(m::ListGroupsRequest::default())
    }),
    hiding("by the cluster", GROUP, &[(Describe, Cluster)], ApiKey::ListGroups, 4, |_| {
        K::ListGroups(m::ListGroupsRequest::default())
    }),
    row("no group of the name", &[(Delete, Group)], ApiKey::DeleteGroups, 2, |_| {
        K::DeleteGroups(m::DeleteGroupsRequest::default().with_groups_names(vec![group(NO_GROUP)]))
    }),
    row("the group", &[(Delete, Group), (Read, Topic)], ApiKey::OffsetDelete, 0, |_| forgotten()),
    row("the topic", &[(Read, Topic), (Delete, Group)], ApiKey::OffsetDelete, 0, |_| forgotten()),
    row("no group of the name", &[(Read, Group)], ApiKey::ConsumerGroupHeartbeat, 0, |_| {
        consumer_beat(NO_GROUP, None)
    }),
    row("the topic", &[(Describe, Topic), (Read, Group)], ApiKey::ConsumerGroupHeartbeat, 0, |_| {
        consumer_beat(GROUP, Some(TOPIC))
    }),
    row("", &[(Describe, Group)], ApiKey::ConsumerGroupDescribe, 0, |_| {
        K::ConsumerGroupDescribe(
            m::ConsumerGroupDescribeRequest::default().with_group_ids(vec![group(GROUP)]),
        )
    }),
    row("no group of the name", &[(Read, Group)], ApiKey::ShareGroupHeartbeat, 1, |_| {
        share_beat(NO_GROUP, None)
    }),
    row("the topic", &[(Describe, Topic), (Read, Group)], ApiKey::ShareGroupHeartbeat, 1, |_| {
        share_beat(GROUP, Some(TOPIC))
    }),
    row("", &[(Describe, Group)], ApiKey::ShareGroupDescribe, 1, |_| {
        K::ShareGroupDescribe(m::ShareGroupDescribeRequest::default().with_group_ids(vec![group(GROUP)]))
    }),
    row("the group", &[(Read, Group), (Read, Topic)], ApiKey::ShareFetch, 1, share_fetch),
    row("", &[(Read, Group)], ApiKey::ShareAcknowledge, 1, |_| {
        K::ShareAcknowledge(
            m::ShareAcknowledgeRequest::default()
                .with_group_id(Some(group(GROUP)))
                .with_member_id(Some(text("AAAAAAAAAAAAAAAAAAAAAQ")))
                .with_share_session_epoch(1),
        )
    }),
    row("", &[(Describe, Group)], ApiKey::DescribeShareGroupOffsets, 0, |_| {
        let wanted =
            m::describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestGroup::default()
                .with_group_id(group(GROUP))
                .with_topics(None);
        K::DescribeShareGroupOffsets(m::DescribeShareGroupOffsetsRequest::default().with_groups(vec![wanted]))
    }),
    row("", &[(Read, Group)], ApiKey::AlterShareGroupOffsets, 0, |_| {
        K::AlterShareGroupOffsets(m::AlterShareGroupOffsetsRequest::default().with_group_id(group(GROUP)))
    }),
    row("", &[(Delete, Group)], ApiKey::DeleteShareGroupOffsets, 0, |_| {
        K::DeleteShareGroupOffsets(m::DeleteShareGroupOffsetsRequest::default().with_group_id(group(GROUP)))
    }),
    Row {
        about: "no group of the name",
        needs: &[(Read, Group)],
        shows: None,
        ask: Ask::Frame(88, streams_beat, |mut answer| {
            format!("{:?}", moldau_kafka::StreamsHeartbeatResponse::decode(&mut answer).unwrap())
        }),
    },
    Row {
        about: "no group of the name",
        needs: &[(Describe, Group)],
        shows: None,
        ask: Ask::Frame(89, streams_description, |mut answer| {
            format!("{:?}", moldau_kafka::StreamsDescribeResponse::decode(&mut answer).unwrap())
        }),
    },
];

/// Transactions.
pub(crate) const TRANSACTIONS: &[Row] = &[
    row("with a transactional id", &[(Write, TransactionalId)], ApiKey::InitProducerId, 4, |_| {
        K::InitProducerId(
            m::InitProducerIdRequest::default()
                .with_transactional_id(Some(transaction()))
                .with_transaction_timeout_ms(60_000)
                .with_producer_id(ProducerId(-1))
                .with_producer_epoch(-1),
        )
    }),
    row("by the cluster", &[(IdempotentWrite, Cluster)], ApiKey::InitProducerId, 4, |_| idempotent()),
    row("by some topic", &[(Write, Topic)], ApiKey::InitProducerId, 4, |_| idempotent()),
    row("the id", &[(Write, TransactionalId), (Write, Topic)], ApiKey::AddPartitionsToTxn, 3, |_| added(3)),
    row("the topic", &[(Write, Topic), (Write, TransactionalId)], ApiKey::AddPartitionsToTxn, 3, |_| {
        added(3)
    }),
    row("as a broker", &[(ClusterAction, Cluster)], ApiKey::AddPartitionsToTxn, 4, |_| added(4)),
    row("the id", &[(Write, TransactionalId), (Read, Group)], ApiKey::AddOffsetsToTxn, 3, |_| {
        offsets_added()
    }),
    row("the group", &[(Read, Group), (Write, TransactionalId)], ApiKey::AddOffsetsToTxn, 3, |_| {
        offsets_added()
    }),
    row("", &[(Write, TransactionalId)], ApiKey::EndTxn, 3, |_| {
        K::EndTxn(
            m::EndTxnRequest::default()
                .with_transactional_id(transaction())
                .with_producer_id(ProducerId(1 << 40)),
        )
    }),
    row("by an action", &[(ClusterAction, Cluster)], ApiKey::WriteTxnMarkers, 1, |_| markers()),
    row("by an alteration", &[(Alter, Cluster)], ApiKey::WriteTxnMarkers, 1, |_| markers()),
    row(
        "the id",
        &[(Write, TransactionalId), (Read, Group), (Read, Topic)],
        ApiKey::TxnOffsetCommit,
        3,
        |_| transactional_offsets(),
    ),
    row(
        "the group",
        &[(Read, Group), (Write, TransactionalId), (Read, Topic)],
        ApiKey::TxnOffsetCommit,
        3,
        |_| transactional_offsets(),
    ),
    row(
        "the topic",
        &[(Read, Topic), (Write, TransactionalId), (Read, Group)],
        ApiKey::TxnOffsetCommit,
        3,
        |_| transactional_offsets(),
    ),
    row("", &[(Describe, TransactionalId)], ApiKey::DescribeTransactions, 0, |_| {
        K::DescribeTransactions(
            m::DescribeTransactionsRequest::default().with_transactional_ids(vec![transaction()]),
        )
    }),
    hiding("", TRANSACTION, &[(Describe, TransactionalId)], ApiKey::ListTransactions, 0, |_| {
        K::ListTransactions(m::ListTransactionsRequest::default())
    }),
];

/// Administration.
pub(crate) const ADMINISTRATION: &[Row] = &[
    row("by the topic", &[(Create, Topic)], ApiKey::CreateTopics, 7, |_| create_topics(TOPIC)),
    row("by the cluster", &[(Create, Cluster)], ApiKey::CreateTopics, 7, |_| create_topics(TOPIC)),
    row("no topic of the name", &[(Delete, Topic)], ApiKey::DeleteTopics, 5, |_| {
        K::DeleteTopics(
            m::DeleteTopicsRequest::default().with_topic_names(vec![topic(NO_TOPIC)]).with_timeout_ms(5_000),
        )
    }),
    row("", &[(Alter, Topic)], ApiKey::CreatePartitions, 3, |_| {
        let wanted = m::create_partitions_request::CreatePartitionsTopic::default()
            .with_name(topic(TOPIC))
            .with_count(2)
            .with_assignments(None);
        K::CreatePartitions(
            m::CreatePartitionsRequest::default()
                .with_topics(vec![wanted])
                .with_timeout_ms(5_000)
                .with_validate_only(true),
        )
    }),
    row("", &[(Describe, Cluster)], ApiKey::DescribeAcls, 3, |_| {
        K::DescribeAcls(
            m::DescribeAclsRequest::default()
                .with_resource_type_filter(2)
                .with_resource_name_filter(Some(text("nothing-else")))
                .with_pattern_type_filter(3)
                .with_principal_filter(None)
                .with_host_filter(None)
                .with_operation(1)
                .with_permission_type(1),
        )
    }),
    row("", &[(Alter, Cluster)], ApiKey::CreateAcls, 3, |_| {
        K::CreateAcls(m::CreateAclsRequest::default().with_creations(vec![acl_creation()]))
    }),
    row("", &[(Alter, Cluster)], ApiKey::DeleteAcls, 3, |_| {
        K::DeleteAcls(m::DeleteAclsRequest::default().with_filters(vec![acl_filter()]))
    }),
    row("of a topic", &[(DescribeConfigs, Topic)], ApiKey::DescribeConfigs, 4, |_| described(2, TOPIC)),
    row("of a broker", &[(DescribeConfigs, Cluster)], ApiKey::DescribeConfigs, 4, |_| described(4, "1")),
    row("of a group", &[(DescribeConfigs, Group)], ApiKey::DescribeConfigs, 4, |_| described(32, GROUP)),
    row("of a topic", &[(AlterConfigs, Topic)], ApiKey::AlterConfigs, 2, |_| replaced(2, TOPIC)),
    row("of a broker", &[(AlterConfigs, Cluster)], ApiKey::AlterConfigs, 2, |_| replaced(4, "1")),
    row("of a topic", &[(AlterConfigs, Topic)], ApiKey::IncrementalAlterConfigs, 1, |_| altered(2, TOPIC)),
    row("of a broker", &[(AlterConfigs, Cluster)], ApiKey::IncrementalAlterConfigs, 1, |_| altered(4, "1")),
    row("of a group", &[(AlterConfigs, Group)], ApiKey::IncrementalAlterConfigs, 1, |_| altered(32, GROUP)),
    row("", &[(Alter, Cluster)], ApiKey::AlterReplicaLogDirs, 2, |_| {
        let wanted = m::alter_replica_log_dirs_request::AlterReplicaLogDirTopic::default()
            .with_name(topic(NO_TOPIC))
            .with_partitions(vec![0]);
        let dir = m::alter_replica_log_dirs_request::AlterReplicaLogDir::default()
            .with_path(text("/nowhere"))
            .with_topics(vec![wanted]);
        K::AlterReplicaLogDirs(m::AlterReplicaLogDirsRequest::default().with_dirs(vec![dir]))
    }),
    row("", &[(Describe, Cluster)], ApiKey::DescribeLogDirs, 4, |_| {
        K::DescribeLogDirs(m::DescribeLogDirsRequest::default().with_topics(None))
    }),
    row("", &[(Alter, Cluster)], ApiKey::ElectLeaders, 2, |_| {
        K::ElectLeaders(
            m::ElectLeadersRequest::default().with_topic_partitions(Some(Vec::new())).with_timeout_ms(5_000),
        )
    }),
    row("", &[(Alter, Cluster)], ApiKey::AlterPartitionReassignments, 0, |_| {
        K::AlterPartitionReassignments(
            m::AlterPartitionReassignmentsRequest::default().with_timeout_ms(5_000),
        )
    }),
    row("", &[(Describe, Cluster)], ApiKey::ListPartitionReassignments, 0, |_| {
        K::ListPartitionReassignments(
            m::ListPartitionReassignmentsRequest::default().with_topics(None).with_timeout_ms(5_000),
        )
    }),
    row("", &[(DescribeConfigs, Cluster)], ApiKey::DescribeClientQuotas, 1, |_| {
        K::DescribeClientQuotas(m::DescribeClientQuotasRequest::default())
    }),
    row("", &[(AlterConfigs, Cluster)], ApiKey::AlterClientQuotas, 1, |_| {
        let entity = m::alter_client_quotas_request::EntityData::default()
            .with_entity_type(text("user"))
            .with_entity_name(Some(text("nobody")));
        let entry = m::alter_client_quotas_request::EntryData::default().with_entity(vec![entity]);
        K::AlterClientQuotas(
            m::AlterClientQuotasRequest::default().with_entries(vec![entry]).with_validate_only(true),
        )
    }),
    row("", &[(Describe, Cluster)], ApiKey::DescribeUserScramCredentials, 0, |_| {
        K::DescribeUserScramCredentials(
            m::DescribeUserScramCredentialsRequest::default().with_users(Some(vec![nobody()])),
        )
    }),
    row("", &[(Alter, Cluster)], ApiKey::AlterUserScramCredentials, 0, |_| {
        let deletion = m::alter_user_scram_credentials_request::ScramCredentialDeletion::default()
            .with_name(text("nobody"))
            .with_mechanism(1);
        K::AlterUserScramCredentials(
            m::AlterUserScramCredentialsRequest::default().with_deletions(vec![deletion]),
        )
    }),
    row("", &[(Describe, Cluster)], ApiKey::DescribeQuorum, 1, |_| {
        let partition = m::describe_quorum_request::PartitionData::default();
        let wanted = m::describe_quorum_request::TopicData::default()
            .with_topic_name(topic("__cluster_metadata"))
            .with_partitions(vec![partition]);
        K::DescribeQuorum(m::DescribeQuorumRequest::default().with_topics(vec![wanted]))
    }),
    row("", &[(Alter, Cluster)], ApiKey::UpdateFeatures, 1, |_| {
        K::UpdateFeatures(m::UpdateFeaturesRequest::default().with_timeout_ms(5_000).with_validate_only(true))
    }),
    hiding(
        "its operations",
        "cluster_authorized_operations: 256",
        &[(Describe, Cluster)],
        ApiKey::DescribeCluster,
        1,
        |_| {
            K::DescribeCluster(
                m::DescribeClusterRequest::default().with_include_cluster_authorized_operations(true),
            )
        },
    ),
    row("", &[(Alter, Cluster)], ApiKey::UnregisterBroker, 0, |_| {
        K::UnregisterBroker(m::UnregisterBrokerRequest::default().with_broker_id(BrokerId(99)))
    }),
    row("", &[(DescribeConfigs, Cluster)], ApiKey::ListConfigResources, 0, |_| {
        K::ListConfigResources(m::ListConfigResourcesRequest::default())
    }),
    row("", &[(Alter, Cluster)], ApiKey::AddRaftVoter, 0, |_| {
        K::AddRaftVoter(
            m::AddRaftVoterRequest::default()
                .with_cluster_id(Some(text("another-cluster")))
                .with_voter_id(9)
                .with_timeout_ms(1_000),
        )
    }),
    row("", &[(Alter, Cluster)], ApiKey::RemoveRaftVoter, 0, |_| {
        K::RemoveRaftVoter(
            m::RemoveRaftVoterRequest::default()
                .with_cluster_id(Some(text("another-cluster")))
                .with_voter_id(9),
        )
    }),
];

/// What brokers say to one another about share groups.
pub(crate) const SHARE_STATE: &[Row] = &[
    row("", &[(ClusterAction, Cluster)], ApiKey::InitializeShareGroupState, 0, |ground| {
        use m::initialize_share_group_state_request as r;
        let topics = vec![
            r::InitializeStateData::default()
                .with_topic_id(ground.topic_id)
                .with_partitions(vec![r::PartitionData::default().with_partition(7)]),
        ];
        K::InitializeShareGroupState(
            m::InitializeShareGroupStateRequest::default().with_group_id(text(GROUP)).with_topics(topics),
        )
    }),
    row("", &[(ClusterAction, Cluster)], ApiKey::ReadShareGroupState, 0, |ground| {
        use m::read_share_group_state_request as r;
        let topics = vec![
            r::ReadStateData::default()
                .with_topic_id(ground.topic_id)
                .with_partitions(vec![r::PartitionData::default().with_partition(7)]),
        ];
        K::ReadShareGroupState(
            m::ReadShareGroupStateRequest::default().with_group_id(text(GROUP)).with_topics(topics),
        )
    }),
    row("", &[(ClusterAction, Cluster)], ApiKey::WriteShareGroupState, 0, |ground| {
        use m::write_share_group_state_request as r;
        let topics = vec![
            r::WriteStateData::default()
                .with_topic_id(ground.topic_id)
                .with_partitions(vec![r::PartitionData::default().with_partition(7)]),
        ];
        K::WriteShareGroupState(
            m::WriteShareGroupStateRequest::default().with_group_id(text(GROUP)).with_topics(topics),
        )
    }),
    row("", &[(ClusterAction, Cluster)], ApiKey::DeleteShareGroupState, 0, |ground| {
        use m::delete_share_group_state_request as r;
        let topics = vec![
            r::DeleteStateData::default()
                .with_topic_id(ground.topic_id)
                .with_partitions(vec![r::PartitionData::default().with_partition(7)]),
        ];
        K::DeleteShareGroupState(
            m::DeleteShareGroupStateRequest::default().with_group_id(text(GROUP)).with_topics(topics),
        )
    }),
    row("", &[(ClusterAction, Cluster)], ApiKey::ReadShareGroupStateSummary, 0, |ground| {
        use m::read_share_group_state_summary_request as r;
        let topics = vec![
            r::ReadStateSummaryData::default()
                .with_topic_id(ground.topic_id)
                .with_partitions(vec![r::PartitionData::default().with_partition(7)]),
        ];
        K::ReadShareGroupStateSummary(
            m::ReadShareGroupStateSummaryRequest::default().with_group_id(text(GROUP)).with_topics(topics),
        )
    }),
];

/// What everybody may ask: what is served, who they are, what a client's own metrics are wanted for, and delegation tokens of one's
/// own. Who may have tokens of others has to be asked where clients authenticate: by tests/clients/test_delegation_tokens.py, and by
/// the controller's own tests.
pub(crate) const OPEN: &[i16] = &[17, 18, 36, 38, 39, 40, 41, 71, 72];

pub(crate) fn all() -> impl Iterator<Item = &'static Row> {
    [RECORDS, GROUPS, TRANSACTIONS, ADMINISTRATION, SHARE_STATE].into_iter().flatten()
}
