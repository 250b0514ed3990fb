//! One connection to one leader: a request, its answer, the next request.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use moldau_model::{BrokerId, ErrorCode, TopicPartition};

use super::queue::Queue;
use super::{MarkerSender, Parcel};
use crate::api::marker_request::{self, Outcomes};
use crate::replication::LeaderConnection;

/// An answer lists the request's partitions, each with a code: a thousand transactions of a thousand partitions.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Transactions whose markers have an epoch of their own (KIP-890).
const EPOCH_PER_TRANSACTION: i16 = 2;
/// A leader answers within its own wait for the ISR, `request.timeout.ms`; after this it is taken for stuck.
const ANSWER_LIMIT: Duration = Duration::from_secs(40);

pub(super) struct Lane {
    leader: BrokerId,
    sender: Weak<MarkerSender>,
    queue: Arc<Queue>,
    connection: Option<LeaderConnection>,
    correlation_id: i32,
}

impl Lane {
    pub(super) fn new(leader: BrokerId, sender: Weak<MarkerSender>, queue: Arc<Queue>) -> Self {
        Self { leader, sender, queue, connection: None, correlation_id: 0 }
    }

    pub(super) async fn run(mut self) {
        loop {
            let mut parcels = self.queue.take().await;
            parcels.retain(Parcel::is_current);
            if parcels.is_empty() {
                continue;
            }
            let outcomes = match self.exchange(&parcels).await {
                Ok(outcomes) => outcomes,
                Err(error) => {
                    tracing::debug!(leader = %self.leader, %error, "markers of transactions not written yet");
                    self.connection = None;
                    Outcomes::new()
                }
            };
            let Some(sender) = self.sender.upgrade() else { return };
            for parcel in parcels {
                settle(&sender, &parcel, &outcomes);
            }
        }
    }

    async fn exchange(&mut self, parcels: &[Parcel]) -> io::Result<Outcomes> {
        let endpoint = self.sender.upgrade().and_then(|sender| sender.endpoint(self.leader));
        let endpoint = endpoint.ok_or(io::ErrorKind::NotFound)?;
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => LeaderConnection::open(&endpoint, ANSWER_BYTES_MAX).await?,
        };
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let markers = parcels.iter().map(|parcel| &parcel.markers);
        let frame = marker_request::encode(self.correlation_id, markers).map_err(io::Error::other)?;
        connection.send(&frame).await?;
        let answer = tokio::time::timeout(ANSWER_LIMIT, connection.receive()).await??;
        let (correlation_id, outcomes) = marker_request::decode(answer).map_err(io::Error::other)?;
        if correlation_id != self.correlation_id {
            return Err(io::Error::other("the answer is one to another request"));
        }
        self.connection = Some(connection);
        Ok(outcomes)
    }
}

/// What a code says of a marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Written,
    /// To be routed again.
    NotYet,
    /// A later coordinator, or a later producer, has been there: this coordinator is the old one, and learns it.
    Fenced,
}

fn fate(code: ErrorCode, transaction_version: i16) -> Fate {
    match code {
        // A partition of a format without transactions has taken no record of one.
        ErrorCode::None | ErrorCode::UnsupportedForMessageFormat => Fate::Written,
        // The epoch is this marker's alone until the transaction is complete: the partition has the marker, and an answer
        // was lost, or an earlier coordinator wrote it.
        ErrorCode::InvalidProducerEpoch if transaction_version >= EPOCH_PER_TRANSACTION => Fate::Written,
        ErrorCode::InvalidProducerEpoch | ErrorCode::TransactionCoordinatorFenced => Fate::Fenced,
        _ => Fate::NotYet,
    }
}

/// Tells the shard what is written, and sends the rest again.
fn settle(sender: &Arc<MarkerSender>, parcel: &Parcel, outcomes: &Outcomes) {
    let (mut written, mut again): (Vec<TopicPartition>, Vec<TopicPartition>) = (Vec::new(), Vec::new());
    for at in &parcel.markers.partitions {
        let code = outcomes.get(&(parcel.markers.producer_id, at.clone())).copied();
        match code.map_or(Fate::NotYet, |code| fate(code, parcel.markers.transaction_version)) {
            Fate::Written => written.push(at.clone()),
            Fate::NotYet => again.push(at.clone()),
            Fate::Fenced => tracing::warn!(
                partition = %at, ?code, transactional_id = %parcel.markers.transactional_id,
                "a marker is refused for good: another coordinator has ended the transaction"
            ),
        }
    }
    if !written.is_empty() {
        parcel.written(written);
    }
    if !again.is_empty() {
        sender.send_later(parcel.with_partitions(again));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_sent_again_unless_a_code_says_that_it_is_of_no_use() {
        for (code, expected) in [
            (ErrorCode::None, Fate::Written),
            (ErrorCode::UnsupportedForMessageFormat, Fate::Written),
            (ErrorCode::TransactionCoordinatorFenced, Fate::Fenced),
            (ErrorCode::NotLeaderOrFollower, Fate::NotYet),
            (ErrorCode::UnknownTopicOrPartition, Fate::NotYet),
            (ErrorCode::NotEnoughReplicas, Fate::NotYet),
            (ErrorCode::NotEnoughReplicasAfterAppend, Fate::NotYet),
            (ErrorCode::RequestTimedOut, Fate::NotYet),
            (ErrorCode::KafkaStorageError, Fate::NotYet),
            (ErrorCode::UnknownServerError, Fate::NotYet),
        ] {
            for version in [0, 2] {
                assert_eq!(fate(code, version), expected, "{code} {version}");
            }
        }
        assert_eq!(fate(ErrorCode::InvalidProducerEpoch, 0), Fate::Fenced);
        assert_eq!(fate(ErrorCode::InvalidProducerEpoch, 2), Fate::Written, "a marker that is there");
    }
}
