//! The state of the metadata quorum, as `DescribeQuorum` tells it (KIP-595, KIP-836).

use moldau_model::{BrokerId, LeaderEpoch, Offset, TimestampMs, Uuid};

use crate::BrokerListener;

/// How far one replica of the metadata log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumReplica {
    /// The replica's `node.id`.
    pub node_id: BrokerId,
    /// The id of the directory its metadata log lives in; zero if the asked node does not know it.
    pub directory_id: Uuid,
    /// The end of its log, exclusive; `Offset::NONE` if the asked node does not lead and so does not know.
    pub log_end_offset: Offset,
    /// When it last fetched, by the leader's clock; `TimestampMs::NONE` if unknown.
    pub last_fetch_timestamp_ms: TimestampMs,
    /// When it last had all of the leader's log; `TimestampMs::NONE` if unknown.
    pub last_caught_up_timestamp_ms: TimestampMs,
}

/// A controller and where it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumNode {
    /// The controller's `node.id`.
    pub node_id: BrokerId,
    /// Its CONTROLLER listeners; empty if the quorum was never told an address.
    pub listeners: Vec<BrokerListener>,
}

/// The metadata quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumDescription {
    /// The active controller; `BrokerId::NONE` during an election.
    pub leader_id: BrokerId,
    /// Its Raft term, Kafka's leader epoch of `__cluster_metadata`.
    pub leader_epoch: LeaderEpoch,
    /// The end of what is committed, exclusive.
    pub high_watermark: Offset,
    /// Who votes.
    pub voters: Vec<QuorumReplica>,
    /// Who reads along: registered brokers that are no voters.
    pub observers: Vec<QuorumReplica>,
    /// The controllers' addresses.
    pub nodes: Vec<QuorumNode>,
}
