//! A leader's side: followers' progress, the high watermark, and which ISR to ask for.

use std::collections::BTreeMap;

use moldau_model::{BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionEpoch, TimestampMs};

use crate::follower_progress::{FollowerFetch, FollowerProgress};
use crate::isr::{AlterPartition, Isr, IsrMember};
use crate::registration::{LogEnds, PartitionRegistration};

/// What the shell has to do after an input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderOutput {
    /// The high watermark moved, to here.
    pub high_watermark: Option<Offset>,
    /// To be sent to the controller; its fate goes to `handle_alter_partition_result`.
    pub alter_partition: Option<AlterPartition>,
}

/// The verdict of `min.insync.replicas` on an acks=all append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinIsr {
    Enough,
    /// Before the append: NOT_ENOUGH_REPLICAS(19). After it: NOT_ENOUGH_REPLICAS_AFTER_APPEND(20).
    TooFew {
        isr: usize,
        min: usize,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Leader {
    local: BrokerId,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) partition_epoch: PartitionEpoch,
    /// Where this leadership's own records start.
    pub(crate) epoch_start_offset: Offset,
    pub(crate) isr: Isr,
    /// Every other replica.
    followers: BTreeMap<BrokerId, FollowerProgress>,
}

impl Leader {
    pub(crate) fn new(
        local: BrokerId,
        registration: &PartitionRegistration,
        log_end: Offset,
        now: TimestampMs,
    ) -> Self {
        let mut leader = Self {
            local,
            leader_epoch: registration.leader_epoch,
            partition_epoch: registration.partition_epoch,
            epoch_start_offset: log_end,
            isr: Isr::committed(registration.isr.clone()),
            followers: BTreeMap::new(),
        };
        leader.set_followers(registration, now);
        leader
    }

    /// The same leadership under newer metadata: whatever was pending is resolved by it.
    pub(crate) fn update(&mut self, registration: &PartitionRegistration, now: TimestampMs) {
        assert!(registration.leader_epoch == self.leader_epoch, "update of another leadership");
        self.partition_epoch = registration.partition_epoch;
        self.isr.commit(registration.isr.clone());
        self.set_followers(registration, now);
        for (_, progress) in self.followers.iter_mut().filter(|(id, _)| !registration.isr.contains(id)) {
            // The controller may have put it out because it is gone: only its next fetch shows that it is not.
            progress.set_may_join(false);
        }
    }

    fn set_followers(&mut self, registration: &PartitionRegistration, now: TimestampMs) {
        self.followers.retain(|id, _| registration.replicas.contains(id));
        for &id in registration.replicas.iter().filter(|&&id| id != self.local) {
            let in_isr = registration.isr.contains(&id);
            let progress = self.followers.entry(id);
            let progress = progress.or_insert_with(|| FollowerProgress::unknown(in_isr, now));
            progress.is_absent = registration.absent.contains(&id);
        }
    }

    pub(crate) fn replica_count(&self) -> usize {
        self.followers.len() + 1
    }

    /// `min.insync.replicas`, capped by the number of replicas there are.
    pub(crate) fn min_isr(&self, min_insync_replicas: usize) -> MinIsr {
        let min = min_insync_replicas.min(self.replica_count());
        let isr = self.isr.committed.len();
        if isr < min { MinIsr::TooFew { isr, min } } else { MinIsr::Enough }
    }

    /// Whether the fetch is of a replica and of its newest known registration.
    pub(crate) fn accepts(&self, follower: BrokerId, broker_epoch: BrokerEpoch) -> bool {
        self.followers
            .get(&follower)
            .is_some_and(|progress| broker_epoch.0 < 0 || broker_epoch >= progress.broker_epoch)
    }

    pub(crate) fn update_follower(
        &mut self,
        follower: BrokerId,
        fetch: &FollowerFetch,
        log_end: Offset,
        now: TimestampMs,
    ) {
        if let Some(progress) = self.followers.get_mut(&follower) {
            progress.update(fetch, log_end, now);
        }
    }

    /// Whether what is known of the follower is of this registration.
    pub(crate) fn note_seen(
        &mut self,
        follower: BrokerId,
        broker_epoch: BrokerEpoch,
        may_join: bool,
    ) -> bool {
        let progress = self.followers.get_mut(&follower);
        let Some(progress) = progress.filter(|progress| progress.broker_epoch == broker_epoch) else {
            return false;
        };
        progress.set_may_join(may_join);
        true
    }

    /// Metadata says that a broker went or came. One that comes has to show by a fetch that it is there.
    pub(crate) fn set_absent(&mut self, broker: BrokerId, is_absent: bool) {
        if let Some(progress) = self.followers.get_mut(&broker) {
            progress.is_absent = is_absent;
        }
    }

    /// Where the high watermark may stand: the smallest durable end over the maximal ISR, and over those replicas that
    /// are about to join it (else a steady load keeps them out for ever). Below min ISR it stays where it is (KIP-966).
    pub(crate) fn high_watermark(
        &self,
        log: LogEnds,
        min_insync_replicas: usize,
        lag_ms_max: i64,
        now: TimestampMs,
    ) -> Option<Offset> {
        if self.min_isr(min_insync_replicas) != MinIsr::Enough {
            return None;
        }
        let counted = self.followers.iter().filter(|(id, progress)| {
            self.isr.maximal_contains(**id)
                || (progress.may_join()
                    && progress.durable_end >= self.epoch_start_offset
                    && progress.is_caught_up(log.log_end, now, lag_ms_max))
        });
        let end = counted.map(|(_, progress)| progress.durable_end).fold(log.durable_end, Offset::min);
        (end >= Offset::ZERO).then_some(end)
    }

    /// The followers in the ISR whose logs hold `offset`, each with its end.
    pub(crate) fn followers_with(&self, offset: Offset) -> impl Iterator<Item = (BrokerId, Offset)> {
        self.followers
            .iter()
            .filter(|(id, _)| self.isr.committed.contains(id))
            .filter(move |(_, progress)| progress.log_start <= offset && offset <= progress.log_end)
            .map(|(id, progress)| (*id, progress.log_end))
    }

    /// Every follower with its durable end, and for how long it has been behind `log_end`.
    pub(crate) fn follower_lags(
        &self,
        log_end: Offset,
        now: TimestampMs,
    ) -> impl Iterator<Item = (BrokerId, Offset, i64)> {
        self.followers
            .iter()
            .map(move |(id, progress)| (*id, progress.durable_end, progress.lag_ms(log_end, now)))
    }

    /// The smallest log start over the replicas in the ISR: DeleteRecords answers when it is reached.
    pub(crate) fn low_watermark(&self, log_start: Offset) -> Offset {
        self.followers
            .iter()
            .filter(|(id, _)| self.isr.maximal_contains(**id))
            .map(|(_, progress)| progress.log_start)
            .fold(log_start, Offset::min)
    }

    /// The follower joins once all it has on stable storage reaches the high watermark, and this leadership's start:
    /// before that it could miss records that an earlier leader had acknowledged.
    pub(crate) fn expansion_by(
        &mut self,
        follower: BrokerId,
        high_watermark: Offset,
    ) -> Option<AlterPartition> {
        if self.isr.is_pending() || self.isr.committed.contains(&follower) {
            return None;
        }
        let progress = self.followers.get(&follower).filter(|progress| progress.may_join())?;
        if progress.durable_end < high_watermark || progress.durable_end < self.epoch_start_offset {
            return None;
        }
        let mut isr = self.isr.committed.clone();
        isr.push(follower);
        Some(self.propose(&isr))
    }

    /// Drops the members that have not been caught up for longer than `lag_ms_max`.
    pub(crate) fn shrink(
        &mut self,
        log_end: Offset,
        lag_ms_max: i64,
        now: TimestampMs,
    ) -> Option<AlterPartition> {
        if let Some(isr) = self.isr.retry() {
            return Some(self.alter_partition(isr));
        }
        if self.isr.is_in_flight() {
            return None;
        }
        let stays = |id: &BrokerId| {
            *id == self.local
                || self
                    .followers
                    .get(id)
                    .is_some_and(|progress| progress.is_caught_up(log_end, now, lag_ms_max))
        };
        let isr: Vec<BrokerId> = self.isr.committed.iter().copied().filter(stays).collect();
        (isr.len() < self.isr.committed.len()).then(|| self.propose(&isr))
    }

    fn propose(&mut self, isr: &[BrokerId]) -> AlterPartition {
        let member = |&broker_id: &BrokerId| IsrMember {
            broker_id,
            broker_epoch: self
                .followers
                .get(&broker_id)
                .map_or(BrokerEpoch(-1), |progress| progress.broker_epoch),
        };
        let new_isr: Vec<IsrMember> = isr.iter().map(member).collect();
        self.isr.propose(new_isr.clone());
        self.alter_partition(new_isr)
    }

    fn alter_partition(&self, new_isr: Vec<IsrMember>) -> AlterPartition {
        AlterPartition { leader_epoch: self.leader_epoch, partition_epoch: self.partition_epoch, new_isr }
    }
}
