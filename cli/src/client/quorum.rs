//! The metadata quorum: who leads, who follows, how far behind.

use kafka_protocol::messages::DescribeQuorumRequest;
use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::describe_quorum_response::ReplicaState as WireReplica;
use moldau_model::Uuid;

use super::metadata::topic_name;
use super::{Client, ClientError};

/// A voter that the leader has not heard for longer is away.
const VOTER_SILENT_MAX_MS: i64 = 5_000;

/// One voter or observer. Times are -1 where nobody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QuorumReplica {
    pub(crate) id: i32,
    pub(crate) directory_id: Uuid,
    pub(crate) log_end_offset: i64,
    pub(crate) last_fetch_ms: i64,
    pub(crate) last_caught_up_ms: i64,
}

/// The quorum as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Quorum {
    pub(crate) leader_id: i32,
    pub(crate) leader_epoch: i32,
    pub(crate) high_watermark: i64,
    pub(crate) voters: Vec<QuorumReplica>,
    pub(crate) observers: Vec<QuorumReplica>,
    /// Per node its controller's listeners, as `NAME://host:port`.
    pub(crate) endpoints: Vec<(i32, Vec<String>)>,
}

impl Quorum {
    /// Leader, followers, observers, each with what it is.
    pub(crate) fn replicas(&self) -> impl Iterator<Item = (&QuorumReplica, &'static str)> {
        let leads = |replica: &&QuorumReplica| replica.id == self.leader_id;
        let leader = self.voters.iter().filter(leads).map(|replica| (replica, "Leader"));
        let followers = self.voters.iter().filter(move |r| !leads(r)).map(|replica| (replica, "Follower"));
        leader.chain(followers).chain(self.observers.iter().map(|replica| (replica, "Observer")))
    }

    pub(crate) fn leader(&self) -> Option<&QuorumReplica> {
        self.voters.iter().find(|replica| replica.id == self.leader_id)
    }

    /// The voters that the leader has not heard for a while: their votes cannot replace another's.
    pub(crate) fn silent_voters(&self) -> impl Iterator<Item = i32> {
        let now_ms = self.leader().map_or(0, |leader| leader.last_fetch_ms);
        let is_silent = move |voter: &&QuorumReplica| {
            voter.id != self.leader_id && now_ms - voter.last_fetch_ms > VOTER_SILENT_MAX_MS
        };
        self.voters.iter().filter(is_silent).map(|voter| voter.id)
    }

    /// How many of the voters nothing can be changed without.
    pub(crate) fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    /// How many entries a replica is behind the leader.
    pub(crate) fn lag(&self, replica: &QuorumReplica) -> i64 {
        self.leader().map_or(0, |leader| leader.log_end_offset - replica.log_end_offset)
    }
}

impl Client {
    pub(crate) fn describe_quorum(&mut self) -> Result<Quorum, ClientError> {
        let topic = TopicData::default()
            .with_topic_name(topic_name("__cluster_metadata"))
            .with_partitions(vec![PartitionData::default().with_partition_index(0)]);
        let response = self.call(&DescribeQuorumRequest::default().with_topics(vec![topic]))?;
        ClientError::check(response.error_code, response.error_message.as_deref())?;
        let endpoints = response.nodes.iter().map(|node| {
            let listeners = node.listeners.iter();
            let listeners =
                listeners.map(|l| format!("{}://{}:{}", l.name.as_str(), l.host.as_str(), l.port));
            (node.node_id.0, listeners.collect())
        });
        let endpoints = endpoints.collect();
        let partition =
            response.topics.into_iter().next().and_then(|topic| topic.partitions.into_iter().next());
        let partition =
            partition.ok_or_else(|| ClientError::broker(-1, Some("the answer names no quorum")))?;
        ClientError::check(partition.error_code, partition.error_message.as_deref())?;
        Ok(Quorum {
            leader_id: partition.leader_id.0,
            leader_epoch: partition.leader_epoch,
            high_watermark: partition.high_watermark,
            voters: partition.current_voters.iter().map(replica).collect(),
            observers: partition.observers.iter().map(replica).collect(),
            endpoints,
        })
    }
}

fn replica(state: &WireReplica) -> QuorumReplica {
    QuorumReplica {
        id: state.replica_id.0,
        directory_id: Uuid::from_bytes(*state.replica_directory_id.as_bytes()),
        log_end_offset: state.log_end_offset,
        last_fetch_ms: state.last_fetch_timestamp,
        last_caught_up_ms: state.last_caught_up_timestamp,
    }
}
