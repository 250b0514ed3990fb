//! How far partitions go that share groups read: the high watermark, which their leaders know.

use std::sync::Arc;

use moldau_model::{BrokerId, ErrorCode, LeaderEpoch, TopicIdPartition};
use tokio::time::Instant;

use super::link::Links;
use super::persister::{ANSWER_LIMIT, RETRY_PAUSE_MAX, RETRY_PAUSE_MIN};
use crate::api::end_offset_request;
use crate::control::ControlPlane;
use crate::replica_manager::{Isolation, OffsetQuery, ReplicaManager};

/// Asks leaders where their partitions end.
pub struct EndOffsets {
    control: Arc<ControlPlane>,
    replicas: Arc<ReplicaManager>,
    links: Arc<Links>,
}

impl EndOffsets {
    pub(super) fn new(control: Arc<ControlPlane>, replicas: Arc<ReplicaManager>, links: Arc<Links>) -> Self {
        Self { control, replicas, links }
    }

    /// The offset behind the last record that a consumer can read.
    ///
    /// # Errors
    /// LEADER_NOT_AVAILABLE where nobody leads the partition, and what its leader says, where that does not change within a bound.
    pub async fn of(&self, at: TopicIdPartition) -> Result<i64, ErrorCode> {
        let deadline = Instant::now() + ANSWER_LIMIT;
        let mut pause = RETRY_PAUSE_MIN;
        loop {
            match self.ask_once(at).await {
                Err(error) if is_worth_a_retry(error) && Instant::now() < deadline => {}
                result => return result,
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(RETRY_PAUSE_MAX);
        }
    }

    /// The same, asked once.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub(crate) async fn ask_once(&self, at: TopicIdPartition) -> Result<i64, ErrorCode> {
        let (name, leader) = {
            let image = self.control.image();
            let topic = image.topics().by_id(at.topic_id).ok_or(ErrorCode::UnknownTopicOrPartition)?;
            let partition = topic.partition(at.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
            (Arc::clone(topic.name()), partition.leader)
        };
        if leader == BrokerId::NONE {
            return Err(ErrorCode::LeaderNotAvailable);
        }
        if leader == self.control.node_id {
            return self.here(at);
        }
        let frame = self.links.ask(leader, end_offset_request::exchange(name, at.partition)).await;
        end_offset_request::response(frame.ok_or(ErrorCode::NetworkException)?)
    }

    fn here(&self, at: TopicIdPartition) -> Result<i64, ErrorCode> {
        let partition = self.replicas.get(at)?;
        let isolation = Isolation::ReadUncommitted;
        let found = partition.find_offset(OffsetQuery::Latest, isolation, LeaderEpoch::NONE)?;
        Ok(found.offset.0)
    }
}

/// Whether it is soon otherwise: a leader that is new, or was.
fn is_worth_a_retry(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::NotLeaderOrFollower | ErrorCode::OffsetNotAvailable | ErrorCode::NetworkException
    )
}
