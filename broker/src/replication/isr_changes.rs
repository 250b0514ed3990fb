//! Carries the leaders' wishes for another ISR to the controller, and its answers back. A partition has one wish at a
//! time; those that come together go in one request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moldau_cluster::{
    AlterPartition, AlterPartitionRequest, AlteredPartition, ControllerChannel, IsrMember,
    LeaderRecoveryState,
};
use moldau_model::{BrokerEpoch, BrokerId, ErrorCode};
use moldau_replica::AlterPartitionOutcome;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::replica_manager::{Partition, ReplicaManager};

/// Partitions in one request.
const BATCH_MAX: usize = 1000;
/// The controller answers within this time, or the answer counts as lost.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// After a refusal, and before a wish whose answer was lost is repeated.
const PAUSE: Duration = Duration::from_millis(200);
/// How often lags are looked at where partitions are few: `replica.lag.time.max.ms` may be shorter.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Looking at lags rests so many times as long as it took: a broker of many idle partitions stays idle.
const REST_FACTOR: u32 = 1000;

/// Wishes that wait to be sent; at most one for each partition that this broker leads.
#[derive(Default)]
pub struct IsrChanges {
    waiting: Mutex<Vec<Wish>>,
    added: Notify,
    counts: Counts,
}

/// One partition's wish.
struct Wish {
    partition: Arc<Partition>,
    change: moldau_replica::AlterPartition,
    /// How many members the ISR has that is to change.
    isr_before: usize,
}

/// What became of the wishes, since the start.
#[derive(Debug, Default)]
struct Counts {
    shrinks: AtomicU64,
    expands: AtomicU64,
    failures: AtomicU64,
}

impl IsrChanges {
    pub(crate) fn push(
        &self,
        partition: Arc<Partition>,
        change: moldau_replica::AlterPartition,
        isr_before: usize,
    ) {
        self.waiting.lock().push(Wish { partition, change, isr_before });
        self.added.notify_one();
    }

    /// Changes that made an ISR smaller, larger, and those that the controller did not take.
    #[must_use]
    pub fn counts(&self) -> [u64; 3] {
        let Counts { shrinks, expands, failures } = &self.counts;
        [shrinks, expands, failures].map(|count| count.load(Ordering::Relaxed))
    }

    /// A change has its result: `before` and `after` are how many members the ISR had and has.
    fn count(&self, before: usize, after: Option<usize>) {
        let counter = match after.map(|after| after.cmp(&before)) {
            Some(std::cmp::Ordering::Less) => &self.counts.shrinks,
            Some(std::cmp::Ordering::Greater) => &self.counts.expands,
            Some(std::cmp::Ordering::Equal) => return,
            None => &self.counts.failures,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn take(&self) -> Vec<Wish> {
        let mut waiting = self.waiting.lock();
        let count = waiting.len().min(BATCH_MAX);
        let taken = waiting.drain(..count).collect();
        if !waiting.is_empty() {
            self.added.notify_one();
        }
        taken
    }
}

/// Sends wishes, and lets time pass for the partitions, for as long as the task lives.
pub(crate) async fn run(
    replicas: Arc<ReplicaManager>,
    channel: Arc<dyn ControllerChannel>,
    broker_id: BrokerId,
    broker_epoch: watch::Receiver<BrokerEpoch>,
    lag_ms_max: i64,
) {
    let lag = Duration::from_millis(u64::try_from(lag_ms_max).unwrap_or(0));
    let poll = tokio::time::sleep(poll_pause(lag, Duration::ZERO));
    tokio::pin!(poll);
    let changes = Arc::clone(replicas.isr_changes());
    loop {
        tokio::select! {
            () = changes.added.notified() => {
                let taken = changes.take();
                if !taken.is_empty() {
                    let epoch = *broker_epoch.borrow();
                    send(&*channel, broker_id, epoch, taken, &changes).await;
                }
            }
            () = &mut poll => {
                let began = Instant::now();
                for partition in replicas.partitions() {
                    partition.poll_isr();
                }
                poll.as_mut().reset(Instant::now() + poll_pause(lag, began.elapsed()));
            }
        }
    }
}

/// Until lags are looked at again, after a look that took so long. A quarter of the lag is half of what Kafka waits.
fn poll_pause(lag_max: Duration, took: Duration) -> Duration {
    let shortest = (lag_max / 2).clamp(Duration::from_millis(10), POLL_INTERVAL);
    took.saturating_mul(REST_FACTOR).clamp(shortest, (lag_max / 4).max(shortest))
}

async fn send(
    channel: &dyn ControllerChannel,
    broker_id: BrokerId,
    broker_epoch: BrokerEpoch,
    changes: Vec<Wish>,
    counts: &IsrChanges,
) {
    let partitions = changes.iter().map(|wish| request(&wish.partition, &wish.change)).collect();
    let request = AlterPartition { broker_id, broker_epoch, partitions };
    let results = match tokio::time::timeout(ANSWER_LIMIT, channel.alter_partition(request)).await {
        Ok(Ok(reply)) => reply.partitions,
        Ok(Err(error)) => {
            tracing::warn!(%error, "the controller did not take changes of ISRs");
            Vec::new()
        }
        Err(_) => {
            tracing::warn!("the controller did not answer changes of ISRs in time");
            Vec::new()
        }
    };
    let mut refused = Vec::new();
    let mut lost = Vec::new();
    let mut results = results.into_iter();
    for Wish { partition, change, isr_before } in changes {
        let leader_epoch = change.leader_epoch;
        let result = results.next();
        if !matches!(result, Some(Ok(_))) {
            tracing::debug!(partition = %partition.topic_partition(), ?change, ?result, "no other ISR");
        }
        let outcome = outcome(result);
        let after = match &outcome {
            AlterPartitionOutcome::Committed { isr, .. } => Some(isr.len()),
            AlterPartitionOutcome::Refused | AlterPartitionOutcome::Unknown => None,
        };
        counts.count(isr_before, after);
        match outcome {
            committed @ AlterPartitionOutcome::Committed { .. } => {
                tracing::info!(
                    partition = %partition.topic_partition(), isr = ?members(&change), "the ISR has changed"
                );
                partition.handle_alter_partition_result(leader_epoch, committed);
            }
            AlterPartitionOutcome::Refused => refused.push((partition, leader_epoch)),
            AlterPartitionOutcome::Unknown => {
                partition.handle_alter_partition_result(leader_epoch, AlterPartitionOutcome::Unknown);
                lost.push(partition);
            }
        }
    }
    if refused.is_empty() && lost.is_empty() {
        return;
    }
    // The next fetch of a refused follower would ask again at once. Bounded: a partition has one wish at a time.
    tokio::spawn(async move {
        tokio::time::sleep(PAUSE).await;
        for (partition, leader_epoch) in refused {
            partition.handle_alter_partition_result(leader_epoch, AlterPartitionOutcome::Refused);
        }
        for partition in lost {
            partition.poll_isr();
        }
    });
}

/// As numbers, for the log.
fn members(change: &moldau_replica::AlterPartition) -> Vec<i32> {
    change.new_isr.iter().map(|member| member.broker_id.0).collect()
}

fn request(partition: &Partition, change: &moldau_replica::AlterPartition) -> AlterPartitionRequest {
    let id = partition.id();
    let member = |member: &moldau_replica::IsrMember| IsrMember {
        broker_id: member.broker_id,
        broker_epoch: member.broker_epoch,
    };
    AlterPartitionRequest {
        topic_id: id.topic_id,
        partition: id.partition,
        leader_epoch: change.leader_epoch,
        partition_epoch: change.partition_epoch,
        new_isr: change.new_isr.iter().map(member).collect(),
        leader_recovery_state: LeaderRecoveryState::Recovered,
    }
}

/// Only what the controller says it did not do is known not to have happened.
fn outcome(result: Option<Result<AlteredPartition, ErrorCode>>) -> AlterPartitionOutcome {
    match result {
        Some(Ok(altered)) => AlterPartitionOutcome::Committed {
            isr: altered.isr,
            leader_epoch: altered.leader_epoch,
            partition_epoch: altered.partition_epoch,
        },
        Some(Err(ErrorCode::IneligibleReplica | ErrorCode::OperationNotAttempted)) => {
            AlterPartitionOutcome::Refused
        }
        // Of a leadership or a partition that is over metadata tells; what was sent against an older partition epoch may
        // be a repetition of what was committed.
        Some(Err(_)) | None => AlterPartitionOutcome::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lags_are_noticed_in_time_and_many_partitions_are_looked_at_less_often() {
        let pause_ms = |lag_ms, took_us| {
            poll_pause(Duration::from_millis(lag_ms), Duration::from_micros(took_us)).as_millis()
        };
        assert_eq!(pause_ms(30_000, 50), 1000);
        assert_eq!(pause_ms(30_000, 3_000), 3000);
        assert_eq!(pause_ms(30_000, 5_000_000), 7500);
        assert_eq!(pause_ms(1_000, 5_000_000), 500);
        assert_eq!(pause_ms(0, 5_000_000), 10);
    }
}
