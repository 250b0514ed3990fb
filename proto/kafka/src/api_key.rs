//! Every API of Kafka 4.3: its number, its name, its versions, its headers.
//!
//! kafka-protocol's own ranges are those of Kafka 4.1 with unstable versions in them, so they are no source of what we
//! serve: a row below holds both what Kafka 4.3 serves and what the library can decode *and* encode of that.

use std::fmt;

/// An inclusive range of versions; empty if `max < min`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VersionRange {
    pub min: i16,
    pub max: i16,
}

impl VersionRange {
    #[must_use]
    pub const fn new(min: i16, max: i16) -> Self {
        Self { min, max }
    }

    #[must_use]
    pub const fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }

    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.max < self.min
    }

    /// The versions in both.
    #[must_use]
    pub const fn intersect(self, other: Self) -> Self {
        Self {
            min: if self.min > other.min { self.min } else { other.min },
            max: if self.max < other.max { self.max } else { other.max },
        }
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.min, self.max)
    }
}

/// Where an API is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiScope {
    Broker,
    Controller,
    /// By brokers to clients and by controllers to tools (KIP-919).
    Both,
}

/// What Produce says its lowest version is, though 3 is the lowest one served: librdkafka takes a higher number for
/// "no record batches of version 2" (KAFKA-18659).
pub const PRODUCE_ADVERTISED_MIN: i16 = 0;

macro_rules! api_keys {
    ($($name:ident = $code:literal, [$min:literal, $max:literal], [$lib_min:literal, $lib_max:literal], $flexible:literal, $scope:ident;)*) => {
        /// The API keys of Kafka 4.3. The keys of ZooKeeper's days, 4 to 7, are gone there too.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ApiKey { $($name = $code,)* }

        impl ApiKey {
            /// All keys, by rising number.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// `None` for a number that Kafka 4.3 does not know.
            #[must_use]
            pub const fn from_code(code: i16) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }

            /// As in the protocol guide and in the output of `kafka-broker-api-versions.sh`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            const fn facts(self) -> Facts {
                match self {
                    $(Self::$name => Facts {
                        kafka: VersionRange::new($min, $max),
                        library: VersionRange::new($lib_min, $lib_max),
                        flexible_since: $flexible,
                        scope: ApiScope::$scope,
                    },)*
                }
            }
        }
    };
}

struct Facts {
    kafka: VersionRange,
    library: VersionRange,
    /// -1 where no version is flexible.
    flexible_since: i16,
    scope: ApiScope,
}

impl ApiKey {
    #[must_use]
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The versions that Kafka 4.3 serves: its stable ones.
    #[must_use]
    pub const fn kafka_versions(self) -> VersionRange {
        self.facts().kafka
    }

    /// Of [`Self::kafka_versions`], those whose request and response kafka-protocol 0.18 knows. Empty for an API that it
    /// does not know at all. A served range is never wider than this, unless its codec is ours.
    #[must_use]
    pub const fn library_versions(self) -> VersionRange {
        self.facts().library
    }

    /// The first version with compact lengths and tagged fields (KIP-482).
    #[must_use]
    pub const fn flexible_since(self) -> Option<i16> {
        let since = self.facts().flexible_since;
        if since < 0 { None } else { Some(since) }
    }

    #[must_use]
    pub const fn is_flexible(self, version: i16) -> bool {
        match self.flexible_since() {
            Some(since) => version >= since,
            None => false,
        }
    }

    #[must_use]
    pub const fn scope(self) -> ApiScope {
        self.facts().scope
    }

    /// 2 for flexible versions, 1 for all others. (0 was ControlledShutdown version 0 alone, which is gone.)
    #[must_use]
    pub const fn request_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// 1 for flexible versions, 0 for all others; and always 0 for ApiVersions, for a client that does not know yet what
    /// this broker speaks must be able to read its answer (KIP-511).
    #[must_use]
    pub const fn response_header_version(self, version: i16) -> i16 {
        match self {
            Self::ApiVersions => 0,
            _ if self.is_flexible(version) => 1,
            _ => 0,
        }
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

// name = code, [Kafka 4.3], [of it, kafka-protocol 0.18], flexible since, where served
api_keys! {
    Produce = 0, [3, 13], [3, 13], 9, Broker;
    Fetch = 1, [4, 18], [4, 18], 12, Both;
    ListOffsets = 2, [1, 11], [1, 10], 6, Broker;
    Metadata = 3, [0, 13], [0, 13], 9, Broker;
    OffsetCommit = 8, [2, 10], [2, 9], 8, Broker;
    OffsetFetch = 9, [1, 10], [1, 9], 6, Broker;
    FindCoordinator = 10, [0, 6], [0, 6], 3, Broker;
    JoinGroup = 11, [0, 9], [0, 9], 6, Broker;
    Heartbeat = 12, [0, 4], [0, 4], 4, Broker;
    LeaveGroup = 13, [0, 5], [0, 5], 4, Broker;
    SyncGroup = 14, [0, 5], [0, 5], 4, Broker;
    DescribeGroups = 15, [0, 6], [0, 6], 5, Broker;
    ListGroups = 16, [0, 5], [0, 5], 3, Broker;
    SaslHandshake = 17, [0, 1], [0, 1], -1, Both;
    ApiVersions = 18, [0, 4], [0, 4], 3, Both;
    CreateTopics = 19, [2, 7], [2, 7], 5, Both;
    DeleteTopics = 20, [1, 6], [1, 6], 4, Both;
    DeleteRecords = 21, [0, 2], [0, 2], 2, Broker;
    InitProducerId = 22, [0, 5], [0, 5], 2, Broker;
    OffsetForLeaderEpoch = 23, [2, 4], [2, 4], 4, Broker;
    AddPartitionsToTxn = 24, [0, 5], [0, 5], 3, Broker;
    AddOffsetsToTxn = 25, [0, 4], [0, 4], 3, Broker;
    EndTxn = 26, [0, 5], [0, 5], 3, Broker;
    WriteTxnMarkers = 27, [1, 2], [1, 1], 1, Broker;
    TxnOffsetCommit = 28, [0, 5], [0, 5], 3, Broker;
    DescribeAcls = 29, [1, 3], [1, 3], 2, Both;
    CreateAcls = 30, [1, 3], [1, 3], 2, Both;
    DeleteAcls = 31, [1, 3], [1, 3], 2, Both;
    DescribeConfigs = 32, [1, 4], [1, 4], 4, Both;
    AlterConfigs = 33, [0, 2], [0, 2], 2, Both;
    AlterReplicaLogDirs = 34, [1, 2], [1, 2], 2, Broker;
    DescribeLogDirs = 35, [1, 5], [1, 4], 2, Broker;
    SaslAuthenticate = 36, [0, 2], [0, 2], 2, Both;
    CreatePartitions = 37, [0, 3], [0, 3], 2, Both;
    CreateDelegationToken = 38, [1, 3], [1, 3], 2, Both;
    RenewDelegationToken = 39, [1, 2], [1, 2], 2, Both;
    ExpireDelegationToken = 40, [1, 2], [1, 2], 2, Both;
    DescribeDelegationToken = 41, [1, 3], [1, 3], 2, Both;
    DeleteGroups = 42, [0, 2], [0, 2], 2, Broker;
    ElectLeaders = 43, [0, 2], [0, 2], 2, Both;
    IncrementalAlterConfigs = 44, [0, 1], [0, 1], 1, Both;
    AlterPartitionReassignments = 45, [0, 1], [0, 1], 0, Both;
    ListPartitionReassignments = 46, [0, 0], [0, 0], 0, Both;
    OffsetDelete = 47, [0, 0], [0, 0], -1, Broker;
    DescribeClientQuotas = 48, [0, 1], [0, 1], 1, Broker;
    AlterClientQuotas = 49, [0, 1], [0, 1], 1, Both;
    DescribeUserScramCredentials = 50, [0, 0], [0, 0], 0, Both;
    AlterUserScramCredentials = 51, [0, 0], [0, 0], 0, Both;
    Vote = 52, [0, 2], [0, 2], 0, Controller;
    BeginQuorumEpoch = 53, [0, 1], [0, 1], 1, Controller;
    EndQuorumEpoch = 54, [0, 1], [0, 1], 1, Controller;
    DescribeQuorum = 55, [0, 2], [0, 2], 0, Both;
    AlterPartition = 56, [2, 3], [2, 3], 0, Controller;
    UpdateFeatures = 57, [0, 2], [0, 2], 0, Both;
    Envelope = 58, [0, 0], [0, 0], 0, Controller;
    FetchSnapshot = 59, [0, 1], [0, 1], 0, Controller;
    DescribeCluster = 60, [0, 2], [0, 2], 0, Both;
    DescribeProducers = 61, [0, 0], [0, 0], 0, Broker;
    BrokerRegistration = 62, [0, 4], [0, 4], 0, Controller;
    BrokerHeartbeat = 63, [0, 2], [0, 1], 0, Controller;
    UnregisterBroker = 64, [0, 0], [0, 0], 0, Both;
    DescribeTransactions = 65, [0, 0], [0, 0], 0, Broker;
    ListTransactions = 66, [0, 2], [0, 2], 0, Broker;
    AllocateProducerIds = 67, [0, 0], [0, 0], 0, Controller;
    ConsumerGroupHeartbeat = 68, [0, 1], [0, 1], 0, Broker;
    ConsumerGroupDescribe = 69, [0, 1], [0, 1], 0, Broker;
    ControllerRegistration = 70, [0, 0], [0, 0], 0, Controller;
    GetTelemetrySubscriptions = 71, [0, 0], [0, 0], 0, Broker;
    PushTelemetry = 72, [0, 0], [0, 0], 0, Broker;
    AssignReplicasToDirs = 73, [0, 0], [0, 0], 0, Controller;
    ListConfigResources = 74, [0, 1], [0, 1], 0, Broker;
    DescribeTopicPartitions = 75, [0, 0], [0, 0], 0, Broker;
    ShareGroupHeartbeat = 76, [1, 1], [1, 1], 0, Broker;
    ShareGroupDescribe = 77, [1, 1], [1, 1], 0, Broker;
    ShareFetch = 78, [1, 2], [1, 1], 0, Broker;
    ShareAcknowledge = 79, [1, 2], [1, 1], 0, Broker;
    AddRaftVoter = 80, [0, 1], [0, 0], 0, Both;
    RemoveRaftVoter = 81, [0, 0], [0, 0], 0, Both;
    UpdateRaftVoter = 82, [0, 0], [0, 0], 0, Controller;
    InitializeShareGroupState = 83, [0, 0], [0, 0], 0, Broker;
    ReadShareGroupState = 84, [0, 0], [0, 0], 0, Broker;
    WriteShareGroupState = 85, [0, 1], [0, 0], 0, Broker;
    DeleteShareGroupState = 86, [0, 0], [0, 0], 0, Broker;
    ReadShareGroupStateSummary = 87, [0, 1], [0, 0], 0, Broker;
    StreamsGroupHeartbeat = 88, [0, 0], [0, -1], 0, Broker;
    StreamsGroupDescribe = 89, [0, 0], [0, -1], 0, Broker;
    DescribeShareGroupOffsets = 90, [0, 1], [0, 0], 0, Broker;
    AlterShareGroupOffsets = 91, [0, 0], [0, 0], 0, Broker;
    DeleteShareGroupOffsets = 92, [0, 0], [0, 0], 0, Broker;
}
