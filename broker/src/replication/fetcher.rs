//! One fetcher: follows its share of one leader's partitions over one connection.
//!
//! It has one fetch of its session under way, which waits at the leader for records. A second one goes out before the
//! first is answered only where partitions came or went: the leader then answers the first at once. Behind it go reports
//! of what became durable. Answers come in the order of the requests.

use std::collections::VecDeque;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use moldau_kafka::{FetchedPartition, ReplicaFetchRequest, ReplicaFetchResponse};
use moldau_model::{BrokerEpoch, BrokerId, ErrorCode, LeaderEpoch, Offset, TopicIdPartition};
use tokio::sync::watch;
use tokio::time::Instant;

use super::FetcherSettings;
use super::connection::LeaderConnection;
use super::inbox::{Endpoint, Inbox};
use super::positions::{Positions, backoff};
use crate::departures::Departures;
use crate::replica_manager::{FollowError, Followed, Partition};
use crate::sync::{plug_syncs, sync_held_by_follower};

/// Reports whose answers have not come: they come behind that of the fetch under way. With one more, the fetch is asked
/// anew, which answers them all. A leader takes 64 requests of a connection.
const REPORTS_MAX: usize = 32;
/// What a leader's frame may be larger than what was asked for: one batch that comes whole, and all that is not records.
const FRAME_BYTES_OVER: usize = 128 * 1024 * 1024;

/// So much of an answer is synced by the fetcher itself. For more the next fetch is not to wait.
const SYNCED_HERE_BYTES_MAX: usize = 64 * 1024;

/// What a request that has no answer yet was.
struct Sent {
    correlation_id: i32,
    kind: Kind,
    at: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The first fetch of a session, which names every partition.
    Full,
    /// Another one of the session that began at this number.
    Incremental(u64),
    Report,
}

/// This side of the leader's session.
#[derive(Default)]
struct Session {
    /// Counts the sessions of this fetcher.
    number: u64,
    /// 0 where the leader has given none.
    id: i32,
    /// Of the next fetch; 0 begins a session.
    epoch: i32,
    /// The leader had no room for a session: every fetch is a full one, and waits as others do.
    is_refused: bool,
}

/// Why a connection is not used any more.
enum Ended {
    Closed,
    EndpointChanged,
    Failed(String),
}

/// One partition's part of an answer, with what it is for.
struct Work {
    id: TopicIdPartition,
    partition: Arc<Partition>,
    leader_epoch: LeaderEpoch,
    asked_at: Option<Offset>,
    fetched: FetchedPartition,
}

type Outcome = (TopicIdPartition, LeaderEpoch, Result<Followed, FollowError>);

pub(super) struct Fetcher {
    leader: BrokerId,
    settings: Arc<FetcherSettings>,
    inbox: Arc<Inbox>,
    broker_epoch: watch::Receiver<BrokerEpoch>,
    departures: Arc<Departures>,
    positions: Positions,
    session: Session,
    next_correlation_id: i32,
    endpoint: Option<Endpoint>,
    is_closed: bool,
    may_block: bool,
    /// Of connections, in a row.
    failures: u32,
}

impl Fetcher {
    pub(super) fn new(
        leader: BrokerId,
        settings: Arc<FetcherSettings>,
        inbox: Arc<Inbox>,
        broker_epoch: watch::Receiver<BrokerEpoch>,
        departures: Arc<Departures>,
    ) -> Self {
        Self {
            leader,
            settings,
            inbox,
            broker_epoch,
            departures,
            positions: Positions::default(),
            session: Session::default(),
            next_correlation_id: 0,
            endpoint: None,
            is_closed: false,
            may_block: false,
            failures: 0,
        }
    }

    /// Runs until the inbox is closed. It syncs nothing itself unless it `may_block` its thread.
    pub(super) async fn run(mut self, may_block: bool) {
        self.may_block = may_block;
        // Before this broker is registered no leader would know whom it speaks for.
        if self.broker_epoch.wait_for(|epoch| epoch.0 >= 0).await.is_err() {
            return;
        }
        loop {
            self.take_mail();
            if self.is_closed {
                return;
            }
            let Some(endpoint) = self.endpoint.clone() else {
                self.inbox.arrived().await;
                continue;
            };
            let frame_bytes_max = self.settings.response_bytes_max.saturating_add(FRAME_BYTES_OVER);
            let ended = match LeaderConnection::open(&endpoint, frame_bytes_max).await {
                Ok(connection) => {
                    if let Ok(stream) = connection.watched() {
                        self.departures.watch(self.leader, endpoint.broker_epoch, stream);
                    }
                    self.serve(connection, &endpoint).await
                }
                Err(error) => Ended::Failed(error.to_string()),
            };
            if matches!(ended, Ended::Failed(_)) {
                self.departures.suspect(self.leader, endpoint.broker_epoch, std::time::Instant::now());
            }
            match ended {
                Ended::Closed => {
                    self.departures.unwatch(self.leader);
                    return;
                }
                Ended::EndpointChanged => {
                    self.departures.unwatch(self.leader);
                    self.failures = 0;
                }
                Ended::Failed(error) => self.rest(&error).await,
            }
        }
    }

    /// Pauses after a connection that failed, unless something arrives that may change that.
    async fn rest(&mut self, error: &str) {
        self.failures += 1;
        if self.failures == 1 {
            tracing::warn!(leader = %self.leader, error, "fetching from a leader failed, trying again");
        } else {
            tracing::debug!(leader = %self.leader, error, failures = self.failures, "fetching failed again");
        }
        let until = Instant::now() + backoff(self.failures, self.settings.backoff_max);
        loop {
            let has_arrived = tokio::time::timeout_at(until, self.inbox.arrived()).await.is_ok();
            let endpoint = self.endpoint.clone();
            self.take_mail();
            if !has_arrived || self.is_closed || self.endpoint != endpoint {
                return;
            }
        }
    }

    fn take_mail(&mut self) {
        let mail = self.inbox.take();
        for (id, assignment) in mail.assignments {
            self.positions.assign(id, assignment);
        }
        for id in mail.synced {
            self.positions.note_synced(id);
        }
        self.endpoint = mail.endpoint;
        self.is_closed |= mail.is_closed;
    }

    fn begin_session(&mut self) {
        self.session = Session {
            number: self.session.number + 1,
            // Named by the full fetch, so that the leader gives up the one it may still have.
            id: self.session.id,
            epoch: 0,
            is_refused: false,
        };
        self.positions.begin_session();
    }

    async fn serve(&mut self, connection: LeaderConnection, endpoint: &Endpoint) -> Ended {
        self.session.id = 0;
        self.begin_session();
        let mut link = Link { connection, in_flight: VecDeque::new(), round_trip: Duration::MAX };
        loop {
            self.take_mail();
            if self.is_closed {
                return Ended::Closed;
            }
            if self.endpoint.as_ref() != Some(endpoint) {
                return Ended::EndpointChanged;
            }
            let is_throttled = self.settings.throttles.follower.is_exceeded();
            self.positions.return_delayed(Instant::now(), is_throttled);
            if let Err(error) = self.send_due(&mut link).await {
                return Ended::Failed(error);
            }
            let response_limit = link.in_flight.front().map(|sent| sent.at + self.settings.response_limit);
            let next_return = self.positions.next_return();
            tokio::select! {
                () = self.inbox.arrived() => {}
                frame = link.connection.receive(), if !link.in_flight.is_empty() => {
                    let frame = frame.map_err(|error| error.to_string());
                    let work = frame.and_then(|frame| self.take_answer(&mut link, frame));
                    if let Err(error) = work.and_then(|work| self.apply(&mut link, work)) {
                        return Ended::Failed(error);
                    }
                }
                () = sleep_until(response_limit) => return Ended::Failed("no answer in time".to_owned()),
                () = sleep_until(next_return), if next_return.is_some() => {}
            }
        }
    }

    /// Sends what there is to send.
    async fn send_due(&mut self, link: &mut Link) -> Result<(), String> {
        let fetches = link.in_flight.iter().filter(|sent| sent.kind != Kind::Report).count();
        let reports = link.in_flight.len() - fetches;
        if reports >= REPORTS_MAX && self.positions.has_synced() {
            self.positions.make_urgent();
        }
        let may_fetch = self.positions.has_fetchable();
        let may_supersede = fetches == 1 && self.session.epoch > 0 && self.positions.is_urgent();
        if may_fetch && (fetches == 0 || may_supersede) {
            if fetches == 0 && self.settings.throttles.follower.is_exceeded() {
                self.positions.rest_throttled(Instant::now());
            }
            return self.send_fetch(link).await;
        }
        if self.positions.has_synced() && fetches + reports > 0 && reports < REPORTS_MAX {
            return self.send_report(link).await;
        }
        Ok(())
    }

    async fn send_fetch(&mut self, link: &mut Link) -> Result<(), String> {
        let is_full = self.session.epoch == 0;
        let named = self.positions.take_for_fetch(self.settings.bytes_max);
        if is_full && named.partitions.is_empty() {
            return Ok(());
        }
        // With its last partition the leader's session is over.
        let is_last = !is_full && !self.positions.has_fetchable();
        // A session's id is wanted at once: until it is known nothing can be added.
        let is_answered_at_once = is_last || (is_full && !self.session.is_refused);
        let request = ReplicaFetchRequest {
            wait_max_ms: if is_answered_at_once { 0 } else { self.settings.wait_max_ms },
            session_id: self.session.id,
            session_epoch: self.session.epoch,
            bytes_max: i32::try_from(self.settings.response_bytes_max).unwrap_or(i32::MAX),
            partitions: named.partitions,
            forgotten: named.forgotten,
            ..self.request()
        };
        let kind = if is_full { Kind::Full } else { Kind::Incremental(self.session.number) };
        if !is_full {
            self.session.epoch = if self.session.epoch == i32::MAX { 1 } else { self.session.epoch + 1 };
        }
        self.send(link, kind, &request).await?;
        if is_last {
            self.begin_session();
            self.session.id = 0;
        }
        Ok(())
    }

    async fn send_report(&mut self, link: &mut Link) -> Result<(), String> {
        let partitions = self.positions.take_for_report();
        if partitions.is_empty() {
            return Ok(());
        }
        let request = ReplicaFetchRequest {
            wait_max_ms: 0,
            session_id: 0,
            session_epoch: -1,
            bytes_max: 0,
            partitions,
            ..self.request()
        };
        self.send(link, Kind::Report, &request).await
    }

    fn request(&self) -> ReplicaFetchRequest {
        ReplicaFetchRequest {
            replica_id: self.settings.broker_id,
            broker_epoch: *self.broker_epoch.borrow(),
            wait_max_ms: 0,
            bytes_min: self.settings.bytes_min,
            bytes_max: 0,
            session_id: 0,
            session_epoch: -1,
            partitions: Vec::new(),
            forgotten: Vec::new(),
        }
    }

    async fn send(
        &mut self,
        link: &mut Link,
        kind: Kind,
        request: &ReplicaFetchRequest,
    ) -> Result<(), String> {
        self.next_correlation_id = self.next_correlation_id.wrapping_add(1);
        let correlation_id = self.next_correlation_id;
        let frame = request.encode(correlation_id).map_err(|error| error.to_string())?;
        link.in_flight.push_back(Sent { correlation_id, kind, at: Instant::now() });
        link.connection.send(&frame).await.map_err(|error| error.to_string())
    }

    /// Takes a frame for what was asked first. Returns what it has for the partitions.
    fn take_answer(&mut self, link: &mut Link, mut frame: Bytes) -> Result<Vec<Work>, String> {
        let (correlation_id, response) =
            ReplicaFetchResponse::decode(&mut frame).map_err(|error| error.to_string())?;
        let Some(sent) = link.in_flight.pop_front().filter(|sent| sent.correlation_id == correlation_id)
        else {
            return Err(format!("answer {correlation_id} to no question"));
        };
        link.round_trip = link.round_trip.min(sent.at.elapsed());
        if sent.kind != Kind::Report && !self.note_session(sent.kind, &response)? {
            return Ok(Vec::new());
        }
        if std::mem::take(&mut self.failures) > 0 {
            self.departures.trust(self.leader);
        }
        let mut work = Vec::with_capacity(response.partitions.len());
        for fetched in response.partitions {
            let Some((partition, leader_epoch, asked_at)) = self.positions.get(fetched.id) else { continue };
            // What is wrong the session's own fetch tells as well.
            if sent.kind == Kind::Report
                && (!fetched.error_code.is_none() || fetched.diverging_epoch.is_some())
            {
                continue;
            }
            partition.count_fetched(fetched.records.len());
            let (id, partition) = (fetched.id, Arc::clone(partition));
            work.push(Work { id, partition, leader_epoch, asked_at, fetched });
        }
        Ok(work)
    }

    /// Whether the answer is one of the session as it is.
    fn note_session(&mut self, kind: Kind, response: &ReplicaFetchResponse) -> Result<bool, String> {
        if matches!(kind, Kind::Incremental(number) if number != self.session.number) {
            return Ok(false);
        }
        match response.error_code {
            ErrorCode::None => {}
            ErrorCode::FetchSessionIdNotFound
            | ErrorCode::InvalidFetchSessionEpoch
            | ErrorCode::FetchSessionTopicIdError => {
                tracing::debug!(leader = %self.leader, code = %response.error_code, "a fetch session is over");
                self.begin_session();
                self.session.id = 0;
                return Ok(false);
            }
            code => return Err(format!("the leader refused a fetch: {code}")),
        }
        if kind == Kind::Full {
            self.session.id = response.session_id;
            self.session.is_refused = response.session_id == 0;
            if self.session.is_refused {
                self.positions.begin_session();
            } else {
                self.session.epoch = 1;
            }
        }
        Ok(true)
    }

    /// Takes in what was fetched. Blocks on the disk where a log is cut, and where what was appended is better synced at once.
    fn apply(&mut self, link: &mut Link, work: Vec<Work>) -> Result<(), String> {
        let begun = Instant::now();
        let bytes: usize = work.iter().map(|work| work.fetched.records.len()).sum();
        let syncs_itself = self.may_block && self.settings.syncs_itself && bytes <= SYNCED_HERE_BYTES_MAX;
        let round_trip = if syncs_itself { link.round_trip } else { Duration::MAX };
        // The fetcher has to outlive what may be wrong with one answer.
        let outcomes = panic::catch_unwind(AssertUnwindSafe(|| follow_all(work, round_trip)))
            .map_err(|_| "taking in an answer panicked".to_owned())?;
        // Nobody looked at the socket meanwhile: that is not the leader's time.
        let took = begun.elapsed();
        link.in_flight.iter_mut().for_each(|sent| sent.at += took);
        self.note_outcomes(link, outcomes);
        Ok(())
    }

    fn note_outcomes(&mut self, link: &Link, outcomes: Vec<Outcome>) {
        let now = Instant::now();
        for (id, leader_epoch, outcome) in outcomes {
            let error = match outcome {
                Ok(Followed::Nothing) => continue,
                Ok(Followed::Grown | Followed::StartMoved | Followed::Truncated | Followed::Outdated) => {
                    self.positions.note_progress(id, leader_epoch);
                    // The fetch that went out behind the answered one does not look where that one had records.
                    if link.in_flight.iter().any(|sent| sent.kind != Kind::Report) {
                        self.positions.make_urgent();
                    }
                    continue;
                }
                Err(error) => error,
            };
            let failures = self.positions.delay(id, leader_epoch, self.settings.backoff_max, now);
            let is_expected = matches!(
                error,
                FollowError::NotFollower
                    | FollowError::Refused(
                        ErrorCode::NotLeaderOrFollower
                            | ErrorCode::FencedLeaderEpoch
                            | ErrorCode::UnknownLeaderEpoch
                            | ErrorCode::UnknownTopicId
                            | ErrorCode::UnknownTopicOrPartition
                    )
            );
            if is_expected || failures > 1 {
                tracing::debug!(leader = %self.leader, ?id, %error, failures, "cannot follow a partition");
            } else {
                tracing::warn!(leader = %self.leader, ?id, %error, "cannot follow a partition, trying again");
            }
        }
    }
}

/// A connection with what is asked over it.
struct Link {
    connection: LeaderConnection,
    in_flight: VecDeque<Sent>,
    /// The shortest that an answer took.
    round_trip: Duration,
}

/// What one answer brought to its partitions. Their syncs start together, at the end; here, where one takes no less than the
/// leader's answer to the next fetch, which then tells at once what is durable. Log starts that moved are written
/// down before the leader hears of them: deletions are answered for it.
fn follow_all(work: Vec<Work>, round_trip: Duration) -> Vec<Outcome> {
    let mut started: Vec<Arc<Partition>> = Vec::new();
    let outcomes = {
        let _plug = plug_syncs();
        let follow = |work: Work| {
            let Work { id, partition, leader_epoch, asked_at, fetched } = work;
            let outcome = partition.follow(leader_epoch, asked_at, &fetched);
            if matches!(outcome, Ok(Followed::StartMoved)) {
                started.push(partition);
            }
            (id, leader_epoch, outcome)
        };
        let outcomes = work.into_iter().map(follow).collect();
        sync_held_by_follower(|sync| round_trip <= sync);
        outcomes
    };
    started.sort_by_key(|partition| partition.dir().id);
    for of_dir in started.chunk_by(|a, b| a.dir().id == b.dir().id) {
        write_log_starts(of_dir);
    }
    outcomes
}

fn write_log_starts(of_dir: &[Arc<Partition>]) {
    let Some(first) = of_dir.first() else { return };
    let log_start = |partition: &Arc<Partition>| {
        let (log_start, _) = partition.log_bounds().ok()?;
        Some((partition.topic_partition().clone(), log_start))
    };
    let log_starts: Vec<_> = of_dir.iter().filter_map(log_start).collect();
    let dir = first.dir();
    if let Err(error) = dir.log.raise_log_starts(&log_starts) {
        tracing::error!(path = %dir.log.path().display(), %error, "cannot write down log starts");
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending::<()>().await,
    }
}

impl FetcherSettings {
    /// How long an answer may take: the wait that is asked for, and `replica.socket.timeout.ms`.
    pub(super) fn response_limit(wait_max_ms: i32, socket_timeout_ms: i32) -> Duration {
        let ms = |ms: i32| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
        ms(wait_max_ms) + ms(socket_timeout_ms)
    }
}
