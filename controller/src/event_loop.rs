//! The active controller's one thread of decisions.
//!
//! A request is decided on the newest *speculative* image: what is committed, plus what this controller has proposed and
//! expects to be committed. Its records are replayed into that image at once and proposed to Raft, and the next request
//! is decided without waiting. Answers go out once everything they stand on is committed and applied, also those that
//! change nothing. When a proposal fails, all that stood on it fails with it, and the speculation is dropped.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use moldau_cluster::{ControllerError, KRAFT_VERSION, RECORDS_VERSION, SUPPORTED_FEATURES};
use moldau_metadata::{MetadataBatch, MetadataImage, MetadataRecord, encode_batch};
use moldau_model::{Offset, TimestampMs};
use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior};

use crate::applied::Applied;
use crate::audit::AuditLog;
use crate::manage::{
    Access, ApiError, Asker, Audit, BrokerSessions, Decision, ELIGIBLE_LEADER_REPLICAS, Inputs,
    MutationQuota, MutationQuotas, Mutator, Random, Settings, balance_leaders, bootstrap_records,
    eligible_leader_records, fence_broker, remove_expired_tokens,
};
use crate::raft::{Leadership, ProposeError, RaftNode, Role};
use crate::service::wall_clock;

/// How many proposals may be under way; requests wait in their queue beyond.
const IN_FLIGHT_MAX: usize = 1024;
/// Pause before the sessions of brokers are looked at again: until the next one ends, within these bounds. The lower one lets
/// a fencing be committed before it is wanted again; the upper one comes back to a session that was ended early.
const SESSION_CHECK_PAUSE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(1);

/// How often a leader looks whether it has applied what was committed before it led.
const ACTIVATION_PAUSE: Duration = Duration::from_millis(5);

/// How many partitions at most go back to their preferred leaders at once; Kafka's bound.
const BALANCED_AT_ONCE_MAX: usize = 1000;

/// What a decision sees.
pub(crate) struct Deciding<'a> {
    /// The newest speculative image.
    pub(crate) image: &'a MetadataImage,
    pub(crate) sessions: &'a mut BrokerSessions,
    pub(crate) mutation_quotas: &'a mut MutationQuotas,
    pub(crate) inputs: Inputs<'a>,
    pub(crate) audit: &'a dyn Audit,
    /// Milliseconds since this controller started: a clock that nobody sets.
    pub(crate) now: TimestampMs,
}

impl Deciding<'_> {
    /// What the asker may do, by the newest entries.
    pub(crate) fn access<'b>(&'b self, asker: &'b Asker) -> Access<'b> {
        Access::new(self.inputs.settings.authorizer(), self.image.acls(), asker, self.audit)
    }

    /// Whether the cluster may have records that need this level, for `what` the message says.
    ///
    /// # Errors
    /// `UNSUPPORTED_VERSION`, with the level to be raised.
    pub(crate) fn check_records_level(&self, level: i16, what: &str) -> Result<(), ApiError> {
        let (feature, _) = RECORDS_VERSION;
        let current = self.image.feature_level(feature);
        if current >= level {
            return Ok(());
        }
        let text = format!(
            "The cluster's {feature} is {current}, and {what} need {level}: raise it once all nodes are upgraded."
        );
        Err(ApiError::new(moldau_model::ErrorCode::UnsupportedVersion, text))
    }

    /// Decides what creates or deletes partitions, within what the client may have changed. The answer comes with how many
    /// milliseconds the client is to wait.
    pub(crate) fn within_quota<R>(
        &mut self,
        mutator: &Mutator,
        decide: impl FnOnce(&MetadataImage, &mut Inputs<'_>) -> Result<Decision<R>, ApiError>,
    ) -> Result<Decision<(R, i32)>, ApiError> {
        self.inputs.mutation_quota =
            self.mutation_quotas.take(self.image, self.inputs.settings, mutator, self.now);
        let decided = decide(self.image, &mut self.inputs);
        let quota = std::mem::take(&mut self.inputs.mutation_quota);
        let throttle_time_ms = self.mutation_quotas.put_back(quota, self.now);
        decided.map(|Decision { records, response }| Decision {
            records,
            response: (response, throttle_time_ms),
        })
    }
}

/// What is told when a decision's fate is known: the offset from which it is visible, or why it is not.
pub(crate) type Reply =
    Box<dyn FnOnce(Result<Offset, ControllerError>, &mut BrokerSessions, TimestampMs) + Send>;

/// What was decided.
pub(crate) struct Decided {
    pub(crate) records: Vec<MetadataRecord>,
    pub(crate) reply: Reply,
}

/// A request, with its decision.
pub(crate) enum Work {
    /// Decides, unless this node is not the active controller.
    Decide { decide: Box<dyn FnOnce(&mut Deciding<'_>) -> Decided + Send>, refuse: Refuse },
}

/// Tells the asker that nothing was decided.
pub(crate) type Refuse = Box<dyn FnOnce(ControllerError) + Send>;

/// What a new cluster begins with, if this node founds it.
pub(crate) struct Founding {
    pub(crate) cluster_id: String,
    /// Behind the records that every cluster begins with.
    pub(crate) records: Vec<MetadataRecord>,
}

/// What this controller expects to be committed.
struct Speculation {
    image: MetadataImage,
    leadership: Leadership,
}

struct InFlight {
    offset: Offset,
    replies: Vec<Reply>,
}

/// See the module.
pub(crate) struct EventLoop {
    node: Arc<RaftNode>,
    applied: Arc<Applied>,
    settings: Settings,
    audit: Arc<AuditLog>,
    sessions: BrokerSessions,
    mutation_quotas: MutationQuotas,
    start: Instant,
    founding: Founding,
    role: Role,
    /// Whether this controller is the active one, and has written what an active one begins with.
    active: Arc<watch::Sender<bool>>,
    speculation: Option<Speculation>,
    /// Oldest first, as `outcomes`.
    in_flight: VecDeque<InFlight>,
    outcomes: FuturesOrdered<BoxFuture<'static, Result<Offset, ProposeError>>>,
}

impl EventLoop {
    pub(crate) fn new(
        node: Arc<RaftNode>,
        applied: Arc<Applied>,
        settings: Settings,
        audit: Arc<AuditLog>,
        session_timeout: Duration,
        founding: Founding,
        active: Arc<watch::Sender<bool>>,
    ) -> Self {
        let timeout_ms = i64::try_from(session_timeout.as_millis()).unwrap_or(i64::MAX);
        Self {
            node,
            applied,
            settings,
            audit,
            sessions: BrokerSessions::new(timeout_ms),
            mutation_quotas: MutationQuotas::default(),
            start: Instant::now(),
            founding,
            role: Role::default(),
            active,
            speculation: None,
            in_flight: VecDeque::new(),
            outcomes: FuturesOrdered::new(),
        }
    }

    /// Works until `stop` says so or nobody can ask any more. What is under way then is answered by the drop of its
    /// reply.
    pub(crate) async fn run(mut self, mut requests: mpsc::Receiver<Work>, mut stop: watch::Receiver<bool>) {
        let mut role = self.node.watch_role();
        let first = *role.borrow_and_update();
        self.follow(first).await;
        let session_check = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(session_check);
        let mut balance = self.settings.leader_balance_interval().map(periodic);
        let mut token_check = self.settings.token_check_interval().map(periodic);
        loop {
            tokio::select! {
                biased;
                () = until_true(&mut stop) => return,
                Some(outcome) = self.outcomes.next() => self.complete(outcome),
                Ok(()) = role.changed() => {
                    let role = *role.borrow_and_update();
                    self.follow(role).await;
                }
                () = tokio::time::sleep(ACTIVATION_PAUSE), if self.is_becoming_active() => {
                    self.speculate().await;
                }
                // Before the requests, which could keep it from ever being looked at.
                () = &mut session_check, if self.role.is_leader => {
                    // After a stall, heartbeats wait in the queue. Nobody is silent whose word has not been read.
                    for _ in 0..requests.len() {
                        if self.in_flight.len() < IN_FLIGHT_MAX
                            && let Ok(work) = requests.try_recv()
                        {
                            self.work(work).await;
                        }
                    }
                    self.fence_expired().await;
                    session_check.as_mut().reset(tokio::time::Instant::now() + self.session_check_pause());
                }
                () = tick(&mut balance) => self.balance_leaders().await,
                () = tick(&mut token_check) => self.remove_expired_tokens().await,
                work = requests.recv(), if self.in_flight.len() < IN_FLIGHT_MAX => match work {
                    Some(work) => self.work(work).await,
                    None => return,
                },
            }
        }
    }

    fn now(&self) -> TimestampMs {
        TimestampMs(i64::try_from(self.start.elapsed().as_millis()).unwrap_or(i64::MAX))
    }

    /// Whether this node leads, and has not yet caught up with those who led before.
    fn is_becoming_active(&self) -> bool {
        self.role.is_leader && self.speculation.is_none()
    }

    /// What was expected in a leadership that is over is not to be expected any more.
    async fn follow(&mut self, role: Role) {
        self.role = role;
        let is_over =
            self.speculation.as_ref().is_some_and(|s| !role.is_leader || role.term != s.leadership.term);
        if is_over {
            tracing::info!("this node is not the active controller any more");
            self.speculation = None;
            self.active.send_replace(false);
        }
        self.speculate().await;
    }

    /// Sees to it that there is a speculation if this node leads. Between leaderships nothing may be under way.
    async fn speculate(&mut self) -> bool {
        if self.speculation.is_none()
            && self.in_flight.is_empty()
            && self.node.has_quorum()
            && let Some(leadership) = self.node.leadership()
        {
            let image = self.applied.image();
            tracing::info!(
                epoch = leadership.epoch().0,
                next_offset = leadership.next_offset.0,
                "this node is the active controller"
            );
            // Who is alive is not known yet: everybody gets a fresh session.
            self.sessions.adopt(&image, self.now());
            let records = self.first_records(&image);
            self.speculation = Some(Speculation { image, leadership });
            let active = self.active.clone();
            let reply: Reply = Box::new(move |fate, _, _| {
                if fate.is_ok() {
                    active.send_replace(true);
                }
            });
            self.propose(Decided { records, reply }, self.now()).await;
        }
        self.speculation.is_some()
    }

    /// What an active controller begins with: the first batch of a new cluster, and what changed settings ask for.
    fn first_records(&self, image: &MetadataImage) -> Vec<MetadataRecord> {
        let is_new = image.cluster_id().is_none();
        let mut records = Vec::new();
        if is_new {
            let features = SUPPORTED_FEATURES.iter().filter(|(name, _, _)| *name != KRAFT_VERSION.0);
            let levels: Vec<(&str, i16)> = features.map(|(name, _, max)| (*name, *max)).collect();
            records = bootstrap_records(&self.founding.cluster_id, &levels);
            records.extend(self.founding.records.iter().cloned());
        }
        if is_new || image.feature_level(ELIGIBLE_LEADER_REPLICAS) > 0 {
            records.extend(eligible_leader_records(image, &self.settings));
        }
        records
    }

    async fn work(&mut self, work: Work) {
        let Work::Decide { decide, refuse } = work;
        // One that was cut off from the others may have a successor already, which decides otherwise.
        if !self.speculate().await || !self.node.has_quorum() {
            refuse(ControllerError::NotController { leader: self.node.leader_hint() });
            return;
        }
        let now = self.now();
        let mut seed = [0; 32];
        if let Err(error) = getrandom::fill(&mut seed) {
            tracing::error!(%error, "the operating system gives no randomness");
            refuse(ControllerError::Kafka(moldau_model::ErrorCode::UnknownServerError));
            return;
        }
        let Some(speculation) = &self.speculation else { return };
        let decided = decide(&mut Deciding {
            image: &speculation.image,
            sessions: &mut self.sessions,
            mutation_quotas: &mut self.mutation_quotas,
            inputs: Inputs {
                next_offset: speculation.leadership.next_offset,
                random: &mut Random::from_seed(seed),
                settings: &self.settings,
                mutation_quota: MutationQuota::default(),
            },
            audit: &*self.audit,
            now,
        });
        self.propose(decided, now).await;
    }

    async fn propose(&mut self, decided: Decided, now: TimestampMs) {
        let Decided { records, reply } = decided;
        let Some(speculation) = &mut self.speculation else { return };
        if records.is_empty() {
            // It may stand on what is not committed yet, and then waits for that.
            match self.in_flight.back_mut() {
                Some(last) => last.replies.push(reply),
                None => reply(Ok(speculation.image.position().offset), &mut self.sessions, now),
            }
            return;
        }
        let Leadership { term, next_offset } = speculation.leadership;
        let batch = MetadataBatch::from(records);
        let image = match speculation.image.replay_image(&batch, next_offset, speculation.leadership.epoch())
        {
            Ok(image) => image,
            Err(error) => {
                // A decision that contradicts the image is a fault of ours. Proposed, it would stop every node.
                tracing::error!(%error, "a decision does not replay; it is refused");
                let error = ControllerError::Kafka(moldau_model::ErrorCode::UnknownServerError);
                reply(Err(error), &mut self.sessions, now);
                return;
            }
        };
        let level = image.feature_level(RECORDS_VERSION.0);
        if let Some(record) = batch.records.iter().find(|record| record.records_level() > level) {
            // A decision has to refuse this itself, in words. Written, it would stop the nodes that do not know it.
            tracing::error!(kind = record.name(), level, "a record of a later level is not written");
            let error = ControllerError::Kafka(moldau_model::ErrorCode::UnknownServerError);
            reply(Err(error), &mut self.sessions, now);
            return;
        }
        match self.node.propose(term, encode_batch(&batch)).await {
            Ok(proposal) => {
                speculation.image = image;
                speculation.leadership.next_offset = next_offset.plus(1);
                self.in_flight.push_back(InFlight { offset: next_offset, replies: vec![reply] });
                self.outcomes.push_back(Box::pin(proposal.applied()));
            }
            Err(error) => {
                let error = self.channel_error(error);
                reply(Err(error), &mut self.sessions, now);
            }
        }
    }

    fn channel_error(&self, error: ProposeError) -> ControllerError {
        match error {
            ProposeError::NotLeader(leader) => ControllerError::NotController { leader },
            ProposeError::TooLarge { .. } => ControllerError::Kafka(moldau_model::ErrorCode::PolicyViolation),
            ProposeError::Stopped(reason) => {
                tracing::error!(%reason, "the metadata quorum does not take proposals");
                ControllerError::Stopping
            }
        }
    }

    /// The oldest proposal's fate is known.
    fn complete(&mut self, outcome: Result<Offset, ProposeError>) {
        let now = self.now();
        let Some(InFlight { offset: expected, replies }) = self.in_flight.pop_front() else { return };
        let outcome = match outcome {
            // What stood on a failed proposal is not what was decided, whatever became of it.
            Ok(_) if self.speculation.is_none() => {
                Err(ControllerError::NotController { leader: self.node.leader_hint() })
            }
            Ok(offset) => {
                self.note_offset(expected, offset);
                Ok(offset)
            }
            Err(error) => {
                tracing::warn!(%error, offset = expected.0, "a decision was not committed");
                self.speculation = None;
                self.active.send_replace(false);
                Err(self.channel_error(error))
            }
        };
        for reply in replies {
            reply(outcome.clone(), &mut self.sessions, now);
        }
    }

    /// Raft may have put an entry of its own before ours. Offsets still grow, which is all that decisions rely on.
    fn note_offset(&mut self, expected: Offset, offset: Offset) {
        let Some(speculation) = &mut self.speculation else { return };
        assert!(offset >= expected, "a proposal for offset {expected} was committed at {offset}");
        if offset > expected {
            let next = &mut speculation.leadership.next_offset;
            *next = (*next).max(offset.plus(1 + self.in_flight.len() as i64));
        }
        if self.in_flight.is_empty() {
            // Both were replayed from the same batches. The applied one has the true position.
            let applied = self.applied.image();
            debug_assert!(applied == speculation.image, "what was speculated is not what was applied");
            // Entries of Raft's own may have been applied behind ours.
            let next = &mut speculation.leadership.next_offset;
            *next = (*next).max(applied.position().offset.plus(1));
            speculation.image = applied;
        }
    }

    /// Gives leadership back to the preferred replicas that can take it. What is left over waits for the next time.
    async fn balance_leaders(&mut self) {
        if !self.speculate().await {
            return;
        }
        let Some(speculation) = &self.speculation else { return };
        let records = balance_leaders(&speculation.image, &self.settings, BALANCED_AT_ONCE_MAX);
        if records.is_empty() {
            return;
        }
        tracing::info!(partitions = records.len(), "giving leadership back to preferred replicas");
        let now = self.now();
        self.propose(Decided { records, reply: Box::new(|_, _, _| {}) }, now).await;
    }

    /// Removes the delegation tokens that nobody has renewed in time. Nobody waits for it, and none of them lets anybody in meanwhile.
    async fn remove_expired_tokens(&mut self) {
        if !self.speculate().await {
            return;
        }
        let Some(speculation) = &self.speculation else { return };
        let records = remove_expired_tokens(&speculation.image, wall_clock());
        if records.is_empty() {
            return;
        }
        tracing::info!(tokens = records.len(), "removing delegation tokens that have expired");
        let now = self.now();
        self.propose(Decided { records, reply: Box::new(|_, _, _| {}) }, now).await;
    }

    /// Fences the brokers that were silent for too long. Nobody waits for it: it is asked for again until it holds.
    async fn fence_expired(&mut self) {
        if !self.speculate().await {
            return;
        }
        let now = self.now();
        let Some(speculation) = &self.speculation else { return };
        for expired in self.sessions.expired(&speculation.image, now) {
            let Some(speculation) = &self.speculation else { return };
            let records = fence_broker(&speculation.image, &self.settings, expired.broker_id);
            tracing::info!(
                broker = expired.broker_id.0,
                epoch = expired.broker_epoch.0,
                "fencing a broker that was silent for too long"
            );
            self.propose(Decided { records, reply: Box::new(|_, _, _| {}) }, now).await;
        }
    }

    fn session_check_pause(&self) -> Duration {
        let next = self.speculation.as_ref().and_then(|s| self.sessions.next_expiry(&s.image));
        session_check_pause(next, self.now())
    }
}

/// See [`SESSION_CHECK_PAUSE`].
fn session_check_pause(next_expiry: Option<TimestampMs>, now: TimestampMs) -> Duration {
    let left = next_expiry.map_or(i64::MAX, |expiry| expiry.0.saturating_sub(now.0));
    let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
    left.clamp(*SESSION_CHECK_PAUSE.start(), *SESSION_CHECK_PAUSE.end())
}

fn periodic(period: Duration) -> Interval {
    let mut interval = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Waits for the next tick; for ever where there is no interval.
async fn tick(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}

async fn until_true(stop: &mut watch::Receiver<bool>) {
    // An error says that the controller's handle is gone, and with it everybody who could ask.
    drop(stop.wait_for(|stop| *stop).await);
}

#[cfg(test)]
mod tests;
