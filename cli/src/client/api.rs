//! Kafka's API keys by name, with the versions that Apache Kafka 4.3's own client speaks: what the tool
//! `kafka-broker-api-versions` compares a broker's versions with. Source: the message definitions of 4.3.0.

/// One API: key, name, smallest and largest version of the stock client.
pub(crate) struct Api {
    pub(crate) key: i16,
    pub(crate) name: &'static str,
    pub(crate) min: i16,
    pub(crate) max: i16,
    /// Whether brokers serve it, and not controllers alone.
    pub(crate) broker: bool,
}

/// Every API that 4.3 still has, by key.
pub(crate) const APIS: &[Api] = &[
    Api { key: 0, name: "Produce", min: 3, max: 13, broker: true },
    Api { key: 1, name: "Fetch", min: 4, max: 18, broker: true },
    Api { key: 2, name: "ListOffsets", min: 1, max: 11, broker: true },
    Api { key: 3, name: "Metadata", min: 0, max: 13, broker: true },
    Api { key: 8, name: "OffsetCommit", min: 2, max: 10, broker: true },
    Api { key: 9, name: "OffsetFetch", min: 1, max: 10, broker: true },
    Api { key: 10, name: "FindCoordinator", min: 0, max: 6, broker: true },
    Api { key: 11, name: "JoinGroup", min: 0, max: 9, broker: true },
    Api { key: 12, name: "Heartbeat", min: 0, max: 4, broker: true },
    Api { key: 13, name: "LeaveGroup", min: 0, max: 5, broker: true },
    Api { key: 14, name: "SyncGroup", min: 0, max: 5, broker: true },
    Api { key: 15, name: "DescribeGroups", min: 0, max: 6, broker: true },
    Api { key: 16, name: "ListGroups", min: 0, max: 5, broker: true },
    Api { key: 17, name: "SaslHandshake", min: 0, max: 1, broker: true },
    Api { key: 18, name: "ApiVersions", min: 0, max: 4, broker: true },
    Api { key: 19, name: "CreateTopics", min: 2, max: 7, broker: true },
    Api { key: 20, name: "DeleteTopics", min: 1, max: 6, broker: true },
    Api { key: 21, name: "DeleteRecords", min: 0, max: 2, broker: true },
    Api { key: 22, name: "InitProducerId", min: 0, max: 5, broker: true },
    Api { key: 23, name: "OffsetForLeaderEpoch", min: 2, max: 4, broker: true },
    Api { key: 24, name: "AddPartitionsToTxn", min: 0, max: 5, broker: true },
    Api { key: 25, name: "AddOffsetsToTxn", min: 0, max: 4, broker: true },
    Api { key: 26, name: "EndTxn", min: 0, max: 5, broker: true },
    Api { key: 27, name: "WriteTxnMarkers", min: 1, max: 2, broker: true },
    Api { key: 28, name: "TxnOffsetCommit", min: 0, max: 5, broker: true },
    Api { key: 29, name: "DescribeAcls", min: 1, max: 3, broker: true },
    Api { key: 30, name: "CreateAcls", min: 1, max: 3, broker: true },
    Api { key: 31, name: "DeleteAcls", min: 1, max: 3, broker: true },
    Api { key: 32, name: "DescribeConfigs", min: 1, max: 4, broker: true },
    Api { key: 33, name: "AlterConfigs", min: 0, max: 2, broker: true },
    Api { key: 34, name: "AlterReplicaLogDirs", min: 1, max: 2, broker: true },
    Api { key: 35, name: "DescribeLogDirs", min: 1, max: 5, broker: true },
    Api { key: 36, name: "SaslAuthenticate", min: 0, max: 2, broker: true },
    Api { key: 37, name: "CreatePartitions", min: 0, max: 3, broker: true },
    Api { key: 38, name: "CreateDelegationToken", min: 1, max: 3, broker: true },
    Api { key: 39, name: "RenewDelegationToken", min: 1, max: 2, broker: true },
    Api { key: 40, name: "ExpireDelegationToken", min: 1, max: 2, broker: true },
    Api { key: 41, name: "DescribeDelegationToken", min: 1, max: 3, broker: true },
    Api { key: 42, name: "DeleteGroups", min: 0, max: 2, broker: true },
    Api { key: 43, name: "ElectLeaders", min: 0, max: 2, broker: true },
    Api { key: 44, name: "IncrementalAlterConfigs", min: 0, max: 1, broker: true },
    Api { key: 45, name: "AlterPartitionReassignments", min: 0, max: 1, broker: true },
    Api { key: 46, name: "ListPartitionReassignments", min: 0, max: 0, broker: true },
    Api { key: 47, name: "OffsetDelete", min: 0, max: 0, broker: true },
    Api { key: 48, name: "DescribeClientQuotas", min: 0, max: 1, broker: true },
    Api { key: 49, name: "AlterClientQuotas", min: 0, max: 1, broker: true },
    Api { key: 50, name: "DescribeUserScramCredentials", min: 0, max: 0, broker: true },
    Api { key: 51, name: "AlterUserScramCredentials", min: 0, max: 0, broker: true },
    Api { key: 52, name: "Vote", min: 0, max: 2, broker: false },
    Api { key: 53, name: "BeginQuorumEpoch", min: 0, max: 1, broker: false },
    Api { key: 54, name: "EndQuorumEpoch", min: 0, max: 1, broker: false },
    Api { key: 55, name: "DescribeQuorum", min: 0, max: 2, broker: true },
    Api { key: 56, name: "AlterPartition", min: 2, max: 3, broker: false },
    Api { key: 57, name: "UpdateFeatures", min: 0, max: 2, broker: true },
    Api { key: 58, name: "Envelope", min: 0, max: 0, broker: false },
    Api { key: 59, name: "FetchSnapshot", min: 0, max: 1, broker: false },
    Api { key: 60, name: "DescribeCluster", min: 0, max: 2, broker: true },
    Api { key: 61, name: "DescribeProducers", min: 0, max: 0, broker: true },
    Api { key: 62, name: "BrokerRegistration", min: 0, max: 4, broker: false },
    Api { key: 63, name: "BrokerHeartbeat", min: 0, max: 2, broker: false },
    Api { key: 64, name: "UnregisterBroker", min: 0, max: 0, broker: true },
    Api { key: 65, name: "DescribeTransactions", min: 0, max: 0, broker: true },
    Api { key: 66, name: "ListTransactions", min: 0, max: 2, broker: true },
    Api { key: 67, name: "AllocateProducerIds", min: 0, max: 0, broker: false },
    Api { key: 68, name: "ConsumerGroupHeartbeat", min: 0, max: 1, broker: true },
    Api { key: 69, name: "ConsumerGroupDescribe", min: 0, max: 1, broker: true },
    Api { key: 70, name: "ControllerRegistration", min: 0, max: 0, broker: false },
    Api { key: 71, name: "GetTelemetrySubscriptions", min: 0, max: 0, broker: true },
    Api { key: 72, name: "PushTelemetry", min: 0, max: 0, broker: true },
    Api { key: 73, name: "AssignReplicasToDirs", min: 0, max: 0, broker: false },
    Api { key: 74, name: "ListConfigResources", min: 0, max: 1, broker: true },
    Api { key: 75, name: "DescribeTopicPartitions", min: 0, max: 0, broker: true },
    Api { key: 76, name: "ShareGroupHeartbeat", min: 1, max: 1, broker: true },
    Api { key: 77, name: "ShareGroupDescribe", min: 1, max: 1, broker: true },
    Api { key: 78, name: "ShareFetch", min: 1, max: 2, broker: true },
    Api { key: 79, name: "ShareAcknowledge", min: 1, max: 2, broker: true },
    Api { key: 80, name: "AddRaftVoter", min: 0, max: 1, broker: true },
    Api { key: 81, name: "RemoveRaftVoter", min: 0, max: 0, broker: true },
    Api { key: 82, name: "UpdateRaftVoter", min: 0, max: 0, broker: false },
    Api { key: 83, name: "InitializeShareGroupState", min: 0, max: 0, broker: true },
    Api { key: 84, name: "ReadShareGroupState", min: 0, max: 0, broker: true },
    Api { key: 85, name: "WriteShareGroupState", min: 0, max: 1, broker: true },
    Api { key: 86, name: "DeleteShareGroupState", min: 0, max: 0, broker: true },
    Api { key: 87, name: "ReadShareGroupStateSummary", min: 0, max: 1, broker: true },
    Api { key: 88, name: "StreamsGroupHeartbeat", min: 0, max: 0, broker: true },
    Api { key: 89, name: "StreamsGroupDescribe", min: 0, max: 0, broker: true },
    Api { key: 90, name: "DescribeShareGroupOffsets", min: 0, max: 1, broker: true },
    Api { key: 91, name: "AlterShareGroupOffsets", min: 0, max: 0, broker: true },
    Api { key: 92, name: "DeleteShareGroupOffsets", min: 0, max: 0, broker: true },
];

/// The row of a key.
pub(crate) fn find(key: i16) -> Option<&'static Api> {
    APIS.binary_search_by_key(&key, |api| api.key).ok().map(|index| &APIS[index])
}

/// A key's name, or what to call a request without one.
pub(crate) fn name(key: i16) -> &'static str {
    find(key).map_or("this request", |api| api.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_it_can_be_searched() {
        assert!(APIS.windows(2).all(|pair| pair[0].key < pair[1].key));
        assert_eq!(name(19), "CreateTopics");
    }
}
