//! One replica of one partition: its role, and the high watermark that outlives roles.

use moldau_model::{BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionEpoch, TimestampMs};

use crate::follower_progress::FollowerFetch;
use crate::isr::AlterPartitionOutcome;
use crate::leader::{Leader, LeaderOutput, MinIsr};
use crate::registration::{LogEnds, PartitionRegistration};

/// What a replica is to its partition now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nothing was told yet, or the partition was taken away.
    None,
    Leader {
        leader_epoch: LeaderEpoch,
    },
    Follower {
        leader: Option<BrokerId>,
        leader_epoch: LeaderEpoch,
    },
}

/// What a piece of metadata did to the role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleChange {
    /// Older than what is known, or the same.
    Stale,
    /// This leadership goes on, with another ISR or other replicas.
    LeaderUpdated,
    /// A new leadership of this replica: whoever waits on the old one is told NOT_LEADER_OR_FOLLOWER.
    BecameLeader,
    /// Following somebody new, or somebody in a new epoch, or nobody.
    BecameFollower,
    FollowerUpdated,
}

/// The sender of a follower's fetch is no replica of the partition, or speaks for an old registration of its broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaleFetch;

/// Settings of a partition that its decisions depend on.
#[derive(Clone, Copy, Debug)]
struct Limits {
    min_insync_replicas: usize,
    lag_ms_max: i64,
}

/// The state of one replica; see the crate's documentation for how it is driven.
///
/// Holds `log_start <= high_watermark <= log_end` after every input, and never moves the high watermark back, except by
/// [`Replica::handle_truncated`].
#[derive(Clone, Debug)]
pub struct Replica {
    local: BrokerId,
    limits: Limits,
    log: LogEnds,
    high_watermark: Offset,
    partition_epoch: PartitionEpoch,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    None,
    Leader(Box<Leader>),
    Follower(Follower),
}

#[derive(Clone, Debug)]
struct Follower {
    leader: Option<BrokerId>,
    leader_epoch: LeaderEpoch,
    is_in_isr: bool,
    /// As this leadership told it last.
    leader_high_watermark: Option<Offset>,
}

impl Replica {
    /// A replica without a role. `checkpointed_high_watermark` is what was last written down; it is brought into the log's
    /// bounds, since the log may have lost its tail or moved its start after the checkpoint.
    #[must_use]
    pub fn new(
        local: BrokerId,
        log: LogEnds,
        checkpointed_high_watermark: Offset,
        min_insync_replicas: usize,
        lag_ms_max: i64,
    ) -> Self {
        log.check();
        Self {
            local,
            limits: Limits { min_insync_replicas, lag_ms_max },
            log,
            high_watermark: checkpointed_high_watermark.max(log.log_start).min(log.log_end),
            partition_epoch: PartitionEpoch(-1),
            state: State::None,
        }
    }

    // ---- what is known ----

    #[must_use]
    pub fn role(&self) -> Role {
        match &self.state {
            State::None => Role::None,
            State::Leader(leader) => Role::Leader { leader_epoch: leader.leader_epoch },
            State::Follower(Follower { leader, leader_epoch, .. }) => {
                Role::Follower { leader: *leader, leader_epoch: *leader_epoch }
            }
        }
    }

    /// The end, exclusive, of what consumers may read.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    #[must_use]
    pub fn log_ends(&self) -> LogEnds {
        self.log
    }

    /// The newest epoch told by metadata; `LeaderEpoch::NONE` without a role.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        match self.role() {
            Role::None => LeaderEpoch::NONE,
            Role::Leader { leader_epoch } | Role::Follower { leader_epoch, .. } => leader_epoch,
        }
    }

    /// Where the current leadership of this replica started; `None` unless it leads.
    #[must_use]
    pub fn epoch_start_offset(&self) -> Option<Offset> {
        self.leader().map(|leader| leader.epoch_start_offset)
    }

    /// Whether an acks=all append has enough members in the committed ISR. `None` unless this replica leads.
    #[must_use]
    pub fn min_isr(&self) -> Option<MinIsr> {
        self.leader().map(|leader| leader.min_isr(self.limits.min_insync_replicas))
    }

    /// The committed ISR, on a leader.
    #[must_use]
    pub fn isr(&self) -> Option<&[BrokerId]> {
        self.leader().map(|leader| leader.isr.committed.as_slice())
    }

    /// The smallest log start over the ISR; `None` unless this replica leads.
    #[must_use]
    pub fn low_watermark(&self) -> Option<Offset> {
        self.leader().map(|leader| leader.low_watermark(self.log.log_start))
    }

    /// The followers in the ISR that a consumer at `offset` could read from, each with its log's end (KIP-392). None unless
    /// this replica leads.
    pub fn followers_with(&self, offset: Offset) -> impl Iterator<Item = (BrokerId, Offset)> {
        self.leader().into_iter().flat_map(move |leader| leader.followers_with(offset))
    }

    /// The followers, each with the end of what it has durable and how many milliseconds ago it had all, where it has not now.
    /// [`Offset::NONE`] is the end of one that has not fetched yet. None unless this replica leads.
    pub fn follower_lags(&self, now: TimestampMs) -> impl Iterator<Item = (BrokerId, Offset, i64)> {
        let log_end = self.log.log_end;
        self.leader().into_iter().flat_map(move |leader| leader.follower_lags(log_end, now))
    }

    /// Whether this replica follows and is behind: out of the ISR, and with less than what its leader says is committed.
    /// Such a one may be held back without harm to anybody who waits for it.
    #[must_use]
    pub fn is_lagging(&self) -> bool {
        let State::Follower(follower) = &self.state else { return false };
        let is_behind = |high_watermark: Offset| self.log.log_end < high_watermark;
        !follower.is_in_isr && follower.leader_high_watermark.is_none_or(is_behind)
    }

    fn leader(&self) -> Option<&Leader> {
        match &self.state {
            State::Leader(leader) => Some(leader),
            State::None | State::Follower(_) => None,
        }
    }

    // ---- inputs ----

    /// Committed metadata of the partition. Only this changes the role. A replica keeps its state when it is told the
    /// same leader epoch again, and starts a new leadership, with all followers unknown, when the epoch rose.
    pub fn handle_registration(
        &mut self,
        registration: &PartitionRegistration,
        now: TimestampMs,
    ) -> (RoleChange, LeaderOutput) {
        if registration.partition_epoch <= self.partition_epoch {
            return (RoleChange::Stale, LeaderOutput::default());
        }
        assert!(
            registration.leader_epoch >= self.leader_epoch(),
            "metadata moved the leader epoch back from {} to {}",
            self.leader_epoch(),
            registration.leader_epoch
        );
        self.partition_epoch = registration.partition_epoch;
        let leads = registration.leader == Some(self.local);
        let change = match &mut self.state {
            State::Leader(leader) if leads && leader.leader_epoch == registration.leader_epoch => {
                leader.update(registration, now);
                RoleChange::LeaderUpdated
            }
            _ if leads => {
                let leader = Leader::new(self.local, registration, self.log.log_end, now);
                self.state = State::Leader(Box::new(leader));
                RoleChange::BecameLeader
            }
            State::Follower(follower)
                if follower.leader == registration.leader
                    && follower.leader_epoch == registration.leader_epoch =>
            {
                follower.is_in_isr = registration.isr.contains(&self.local);
                RoleChange::FollowerUpdated
            }
            _ => {
                self.state = State::Follower(Follower {
                    leader: registration.leader,
                    leader_epoch: registration.leader_epoch,
                    is_in_isr: registration.isr.contains(&self.local),
                    leader_high_watermark: None,
                });
                RoleChange::BecameFollower
            }
        };
        let output = LeaderOutput { high_watermark: self.advance_high_watermark(now), alter_partition: None };
        (change, output)
    }

    /// The partition's settings changed. Lowering `min.insync.replicas` may free the high watermark.
    pub fn handle_limits(
        &mut self,
        min_insync_replicas: usize,
        lag_ms_max: i64,
        now: TimestampMs,
    ) -> LeaderOutput {
        self.limits = Limits { min_insync_replicas, lag_ms_max };
        LeaderOutput { high_watermark: self.advance_high_watermark(now), alter_partition: None }
    }

    /// The local log grew, became durable up to a point, or moved its start.
    pub fn handle_log_ends(&mut self, log: LogEnds, now: TimestampMs) -> Option<Offset> {
        log.check();
        self.log = log;
        let before = self.high_watermark;
        // A follower's log start may be moved past its high watermark by its leader's.
        self.high_watermark = before.max(log.log_start);
        let advanced = self.advance_high_watermark(now);
        self.check();
        advanced.or((self.high_watermark > before).then_some(self.high_watermark))
    }

    /// A follower's fetch: its progress counts only if it is a replica, under its newest registration.
    pub fn handle_follower_fetch(
        &mut self,
        follower: BrokerId,
        fetch: &FollowerFetch,
        now: TimestampMs,
    ) -> Result<LeaderOutput, StaleFetch> {
        let (log, high_watermark) = (self.log, self.high_watermark);
        let State::Leader(leader) = &mut self.state else { return Err(StaleFetch) };
        if !leader.accepts(follower, fetch.broker_epoch) {
            return Err(StaleFetch);
        }
        leader.update_follower(follower, fetch, log.log_end, now);
        let alter_partition = leader.expansion_by(follower, high_watermark);
        Ok(LeaderOutput { high_watermark: self.advance_high_watermark(now), alter_partition })
    }

    /// A follower fetches on without saying anything new of this partition: it has what it had. It may have become eligible
    /// for the ISR meanwhile.
    pub fn handle_follower_seen(
        &mut self,
        follower: BrokerId,
        broker_epoch: BrokerEpoch,
        may_join: bool,
        now: TimestampMs,
    ) -> LeaderOutput {
        let high_watermark = self.high_watermark;
        let State::Leader(leader) = &mut self.state else { return LeaderOutput::default() };
        if !leader.note_seen(follower, broker_epoch, may_join) {
            return LeaderOutput::default();
        }
        let alter_partition = leader.expansion_by(follower, high_watermark);
        LeaderOutput { high_watermark: self.advance_high_watermark(now), alter_partition }
    }

    /// Metadata says that a broker was fenced or is on its way down, or that it is back. One that is gone is not waited for,
    /// however close it was to joining the ISR.
    pub fn handle_broker(&mut self, broker: BrokerId, is_absent: bool, now: TimestampMs) -> LeaderOutput {
        let State::Leader(leader) = &mut self.state else { return LeaderOutput::default() };
        leader.set_absent(broker, is_absent);
        LeaderOutput { high_watermark: self.advance_high_watermark(now), alter_partition: None }
    }

    /// Time passed: members that lag are to leave the ISR, and a proposal whose answer was lost is to be repeated.
    pub fn poll_isr(&mut self, now: TimestampMs) -> LeaderOutput {
        let (log_end, lag_ms_max) = (self.log.log_end, self.limits.lag_ms_max);
        let State::Leader(leader) = &mut self.state else { return LeaderOutput::default() };
        let alter_partition = leader.shrink(log_end, lag_ms_max, now);
        LeaderOutput { high_watermark: self.advance_high_watermark(now), alter_partition }
    }

    /// The fate of the proposal made under `leader_epoch`. One made under an older leadership is ignored.
    pub fn handle_alter_partition_result(
        &mut self,
        leader_epoch: LeaderEpoch,
        outcome: AlterPartitionOutcome,
        now: TimestampMs,
    ) -> LeaderOutput {
        let partition_epoch = &mut self.partition_epoch;
        let State::Leader(leader) = &mut self.state else { return LeaderOutput::default() };
        if leader.leader_epoch != leader_epoch {
            return LeaderOutput::default();
        }
        match outcome {
            AlterPartitionOutcome::Committed { isr, leader_epoch: epoch, partition_epoch: committed } => {
                // Metadata may have overtaken the answer, and it alone may move the leader epoch.
                if epoch == leader_epoch && committed > *partition_epoch {
                    *partition_epoch = committed;
                    leader.partition_epoch = committed;
                    leader.isr.commit(isr);
                }
            }
            AlterPartitionOutcome::Refused => leader.isr.refuse(),
            AlterPartitionOutcome::Unknown => leader.isr.lose_answer(),
        }
        LeaderOutput { high_watermark: self.advance_high_watermark(now), alter_partition: None }
    }

    /// The leader's high watermark as a fetch answer carried it, on a follower: never beyond the own log.
    pub fn handle_leader_high_watermark(&mut self, leader_high_watermark: Offset) -> Option<Offset> {
        let State::Follower(follower) = &mut self.state else { return None };
        follower.leader_high_watermark = Some(leader_high_watermark);
        let next = leader_high_watermark.min(self.log.log_end);
        let advanced = next > self.high_watermark;
        self.high_watermark = self.high_watermark.max(next);
        self.check();
        advanced.then_some(self.high_watermark)
    }

    /// A follower cut its log where it parted from the leader's. After an unclean election that may lie below the high
    /// watermark: the one case in which it moves back.
    pub fn handle_truncated(&mut self, log: LogEnds) {
        assert!(!matches!(self.state, State::Leader(_)), "a leader never truncates");
        log.check();
        self.log = log;
        self.high_watermark = self.high_watermark.min(log.log_end).max(log.log_start);
        self.check();
    }

    fn advance_high_watermark(&mut self, now: TimestampMs) -> Option<Offset> {
        let State::Leader(leader) = &self.state else { return None };
        let Limits { min_insync_replicas, lag_ms_max } = self.limits;
        let next = leader.high_watermark(self.log, min_insync_replicas, lag_ms_max, now)?;
        let advanced = next > self.high_watermark;
        self.high_watermark = self.high_watermark.max(next);
        self.check();
        advanced.then_some(self.high_watermark)
    }

    fn check(&self) {
        assert!(
            self.log.log_start <= self.high_watermark && self.high_watermark <= self.log.log_end,
            "high watermark {} outside of the log, {} to {}",
            self.high_watermark,
            self.log.log_start,
            self.log.log_end
        );
    }

    /// Whether a broker epoch seen in a fetch would be taken; for the shell's error code.
    #[must_use]
    pub fn accepts_follower(&self, follower: BrokerId, broker_epoch: BrokerEpoch) -> bool {
        self.leader().is_some_and(|leader| leader.accepts(follower, broker_epoch))
    }
}
