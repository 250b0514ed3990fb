//! One connection: requests are read ahead up to a bound, take their effect in order, and are answered in order. One that is alone
//! has a turn's records with their followers before it reads on (ADR 49).

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use moldau_kafka::ApiKey;
use moldau_model::Principal;
use moldau_security::sasl::Refusal;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};

use super::answers::{Answers, Slot};
use super::authentication::{Authentication, Taken};
use super::frame_reader::{FrameReader, ReadError};
use super::limits::ConnectionPlace;
use super::pipeline::{Pipeline, ROUND_WAITED_MAX};
use super::protection::{Accepted, Protection};
use super::transport::Transport;
use crate::api::Reply;
use crate::api::dispatch::{Dispatcher, Refused};
use crate::broker::Broker;
use crate::metrics::{ConnectionMetrics, OpenConnection, RequestTiming, Waiting};
use crate::purgatory::plug_fetches;
use crate::request_memory::RequestMemory;
use crate::response::ResponseFrame;
use crate::sync::{HeldFor, held_for, plug_syncs, sync_held};

/// Requests served without looking at the socket in between, so that one busy client does not starve a worker's others.
const REQUESTS_PER_TURN: usize = 32;

/// A turn looks at the socket again, before what it appended is synced, up to so many bytes of requests: a client sends small
/// requests one by one, and one sync is to cover those that came meanwhile. For larger ones the disk should begin at once.
const GATHERED_BYTES_MAX: usize = 32 * 1024;
/// The same of a connection that syncs what it appended itself: for it the disk stands still until then in any case.
const GATHERED_ALONE_BYTES_MAX: usize = 448 * 1024;
/// Larger requests are synced by a thread of the directory's: meanwhile the connection takes what comes, for which the disk would
/// otherwise have to wait longer than two threads cost.
const SYNCED_HERE_BYTES_MAX: usize = 128 * 1024;

/// What `connections.max.idle.ms` of -1, "for ever", becomes.
const IDLE_FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a connection is made with.
pub(super) struct ConnectionContext {
    pub broker: Arc<Broker>,
    pub listener: Arc<str>,
    /// What is asked of it before it is served; `None` for nothing.
    pub protection: Option<Arc<Protection>>,
    pub client_address: SocketAddr,
    pub memory: RequestMemory,
    /// Held, not read: dropping it gives the place back.
    pub place: ConnectionPlace,
    /// Dropped at the end: it is counted as long.
    pub counted: Option<OpenConnection>,
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("cannot write: {0}")]
    Write(io::Error),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Authentication(#[from] Refusal),
    #[error("{0}")]
    Closed(&'static str),
    #[error("idle for too long")]
    Idle,
    #[error("the broker stops")]
    Stopping,
}

/// The requests that are served in a row, with one sync for what they append.
#[derive(Default)]
struct Turn {
    requests: usize,
    bytes: usize,
    /// No other client's connection has had one for a while, and this one's requests take less time than their sync.
    is_alone: bool,
    /// What serving them took, but the first.
    took: Duration,
    /// When it was first waited for another one.
    gathering_since: Option<std::time::Instant>,
}

impl Turn {
    fn is_synced_here(&self) -> bool {
        self.bytes <= self.requests * SYNCED_HERE_BYTES_MAX
    }
}

struct Connection {
    broker: Arc<Broker>,
    answers: Arc<Answers>,
    reader: FrameReader,
    dispatcher: Dispatcher,
    /// Where clients authenticate by SASL.
    authentication: Option<Box<Authentication>>,
    listener_metrics: Option<Arc<ConnectionMetrics>>,
    /// The last request is Deferred.
    is_blocked: bool,
    is_stopping: bool,
    /// Among the broker's turns.
    number: u32,
    /// Of this turn's requests, some have answers that wait for nothing.
    has_answered: bool,
    pipeline: Pipeline,
    /// Since when what the last turn appended is with its followers: nothing is served before that is answered.
    round_since: Option<Instant>,
    /// `socket.request.max.bytes`, for who is authenticated.
    request_bytes_max: usize,
    /// Nothing is read any more: the connection ends for this reason once everything before it is answered.
    ending: Option<Ended>,
}

/// A connection that was let in, and what it holds until it ends.
struct Served {
    connection: Connection,
    peer: SocketAddr,
    listener: Arc<str>,
    protection: Option<Arc<Protection>>,
    place: ConnectionPlace,
    counted: Option<OpenConnection>,
}

/// Serves a connection until either side ends it.
///
/// Most connections rest most of the time, and their tasks are what they take of memory. So what a connection begins with is
/// gone by then, and what rarely has to wait does so in a future of its own: a future is as large as all that may ever be in it,
/// and has what is moved into it twice.
pub(super) fn serve(
    stream: TcpStream,
    context: ConnectionContext,
    mut stop: watch::Receiver<bool>,
) -> impl Future<Output = ()> + Send {
    let beginning = Box::pin(begin(stream, context, stop.clone()));
    async move {
        let Some(mut served) = beginning.await else { return };
        let ended = served.connection.run(&mut stop).await;
        served.end(&ended);
    }
}

/// `None` where the connection is not let in.
async fn begin(
    stream: TcpStream,
    context: ConnectionContext,
    mut stop: watch::Receiver<bool>,
) -> Option<Box<Served>> {
    let peer = context.client_address;
    let config = &context.broker.options.config;
    let request_bytes_max = usize::try_from(config.request_bytes_max).unwrap_or(0);
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
    }
    let listener_metrics = context.counted.as_ref().map(OpenConnection::listener);
    let accepted = accept(stream, &context, listener_metrics.as_deref(), &mut stop).await?;
    let frame_bytes_max = match (&accepted.authentication, &context.protection) {
        (Some(_), Some(protection)) => protection.limits.frame_bytes_max.min(request_bytes_max),
        _ => request_bytes_max,
    };
    let connection = Connection {
        broker: Arc::clone(&context.broker),
        answers: Answers::new(Arc::clone(&context.broker.metrics), accepted.transport),
        reader: FrameReader::new(frame_bytes_max, context.memory),
        authentication: accepted.authentication,
        listener_metrics,
        is_blocked: false,
        is_stopping: false,
        number: context.broker.turns.number(),
        has_answered: false,
        pipeline: Pipeline::default(),
        round_since: None,
        request_bytes_max,
        ending: None,
        dispatcher: Dispatcher::new(context.broker, Arc::clone(&context.listener), peer, accepted.principal),
    };
    let ConnectionContext { listener, protection, place, counted, .. } = context;
    Some(Box::new(Served { connection, peer, listener, protection, place, counted }))
}

impl Served {
    fn end(self, ended: &Ended) {
        let Self { connection, peer, listener, protection, place, counted, .. } = self;
        drop((connection, place, counted));
        match ended {
            Ended::Read(ReadError::Closed) | Ended::Stopping | Ended::Idle => {
                tracing::trace!(%peer, reason = %ended, "connection ended");
            }
            Ended::Authentication(refusal) => {
                if let Some(protection) = &protection {
                    protection.tell_refused(&listener, peer, refusal);
                }
            }
            ended => tracing::debug!(%peer, reason = %ended, "connection ended"),
        }
    }
}

/// Shakes hands with a connection of a listener that is protected. `None` where nothing comes of it.
async fn accept(
    stream: TcpStream,
    context: &ConnectionContext,
    metrics: Option<&ConnectionMetrics>,
    stop: &mut watch::Receiver<bool>,
) -> Option<Accepted> {
    let has_authenticated = || {
        if let Some(metrics) = metrics {
            metrics.authenticated(false);
        }
    };
    let Some(protection) = &context.protection else {
        has_authenticated();
        let transport = Transport::Plain(stream);
        return Some(Accepted { transport, principal: Principal::anonymous(), authentication: None });
    };
    // Boxed: a handshake's state would be part of every connection's task.
    let accepted = tokio::select! {
        accepted = Box::pin(protection.accept(stream, context.client_address)) => accepted,
        () = super::stopped(stop) => return None,
    };
    match accepted {
        Ok(accepted) => {
            if accepted.authentication.is_none() {
                has_authenticated();
            }
            Some(accepted)
        }
        Err(error) => {
            if let Some(metrics) = metrics {
                metrics.refused(false);
            }
            protection.tell_refused(&context.listener, context.client_address, &error);
            None
        }
    }
}

fn idle_max(ms: i64) -> Duration {
    u64::try_from(ms).map_or(IDLE_FOREVER, Duration::from_millis)
}

impl Connection {
    async fn run(&mut self, stop: &mut watch::Receiver<bool>) -> Ended {
        let idle_max = idle_max(self.broker.options.config.connection_idle_ms_max);
        let answers = Arc::clone(&self.answers);
        let mut last_activity = Instant::now();
        let idle = tokio::time::sleep(idle_max);
        tokio::pin!(idle);
        // One for all operations that are waited for, made with the first: it is moved when one is due earlier.
        let mut late: Option<Pin<Box<Sleep>>> = None;
        loop {
            let more = self.serve_requests();
            let may_read = !more && self.may_read();
            let standing = match answers.settle(may_read) {
                Ok(standing) => standing,
                Err(ended) => return ended,
            };
            if standing.has_written {
                last_activity = Instant::now();
            }
            if standing.is_empty {
                if let Some(ended) = self.ending.take() {
                    return ended;
                }
                if self.is_stopping {
                    return Ended::Stopping;
                }
                if let Some(since) = self.round_since.take() {
                    self.pipeline.note_round(since.elapsed());
                    continue;
                }
            }
            let more = more && standing.has_room && self.may_read();
            let wants_frame = may_read && standing.has_room;
            let authentication = self.authentication.as_deref();
            let refused_until = authentication.and_then(Authentication::refused_until);
            let deadline = authentication.and_then(Authentication::deadline);
            let muted_until = standing.muted_until;
            let due = [muted_until, refused_until, deadline, self.round_until()].into_iter().flatten().min();
            if let Some(deadline) = standing.deadline {
                match &mut late {
                    Some(late) if late.deadline() <= deadline => {}
                    Some(late) => late.as_mut().reset(deadline),
                    None => late = Some(Box::pin(tokio::time::sleep_until(deadline))),
                }
            }
            tokio::select! {
                biased;
                result = answers.resolve_first(), if standing.is_polled => self.take_deferred(result),
                () = answers.changed() => {}
                result = writable(answers.transport()), if standing.has_output => {
                    if let Err(error) = result {
                        return Ended::Write(error);
                    }
                }
                () = waited_until(due), if due.is_some() => {
                    let now = Instant::now();
                    let is_due = |until: Option<Instant>| until.is_some_and(|until| until <= now);
                    if is_due(self.round_until()) {
                        self.round_since = None;
                        self.pipeline.note_round(ROUND_WAITED_MAX);
                    } else if is_due(muted_until) {
                        answers.unmute();
                    } else if is_due(refused_until) {
                        self.end_refused();
                    } else if is_due(deadline) {
                        self.count_authentication(false, false);
                        return Ended::Closed("authentication took too long");
                    }
                }
                () = tokio::task::yield_now(), if more => {}
                result = self.reader.fill(answers.transport()), if wants_frame => {
                    if let Err(error) = result {
                        return error.into();
                    }
                    last_activity = Instant::now();
                }
                () = fired(&mut late), if standing.deadline.is_some() => {
                    answers.time_out(Instant::now());
                    late = None;
                }
                // The timer is moved only when it fires, not with each request.
                () = &mut idle => {
                    let deadline = answers.written_at().map_or(last_activity, |at| at.max(last_activity)) + idle_max;
                    if deadline <= Instant::now() {
                        return Ended::Idle;
                    }
                    idle.as_mut().reset(deadline);
                }
                () = super::stopped(stop), if !self.is_stopping => self.is_stopping = true,
            }
        }
    }

    fn round_until(&self) -> Option<Instant> {
        self.round_since.map(|since| since + ROUND_WAITED_MAX)
    }

    /// Whether another request may be read, as far as the answers have room.
    fn may_read(&self) -> bool {
        !self.is_stopping
            && self.ending.is_none()
            && self.authentication.as_ref().is_none_or(|it| it.refused_until().is_none())
            && !self.is_blocked
            && self.round_since.is_none()
    }

    /// Serves the frames that have arrived. Whether frames may be left in the buffer.
    fn serve_requests(&mut self) -> bool {
        // Syncs begin behind fetches that are answered meanwhile.
        let _syncs = plug_syncs();
        let _fetches = plug_fetches();
        self.has_answered = false;
        let mut turn = Turn::default();
        let more = loop {
            if turn.requests == REQUESTS_PER_TURN || !self.may_read() || !self.answers.has_room() {
                break true;
            }
            let begun = turn.is_alone.then(std::time::Instant::now);
            match self.serve_one() {
                Ok(Some(frame_bytes)) => {
                    turn.took += begun.map_or(Duration::ZERO, |begun| begun.elapsed());
                    if turn.requests == 0 {
                        turn.is_alone = self.is_alone();
                    }
                    turn.requests += 1;
                    turn.bytes += frame_bytes;
                }
                Ok(None) if self.gather(&mut turn) => {}
                Ok(None) => break false,
                // What was asked before is answered, as it is in Kafka, which reads a request after the other.
                Err(ended) => self.ending = Some(ended),
            }
        };
        if turn.is_alone {
            self.end_turn_alone(&turn);
        }
        more
    }

    /// Whether no other client has spoken for a while; followers speak for this one's records. Asked once a turn.
    fn is_alone(&mut self) -> bool {
        !self.dispatcher.is_follower()
            && self.broker.turns.note(self.number)
            && !self.pipeline.is_overlapped()
    }

    fn end_turn_alone(&mut self, turn: &Turn) {
        self.pipeline.note(turn.requests);
        if self.has_answered {
            return;
        }
        match held_for() {
            HeldFor::Nobody => {}
            HeldFor::Itself => {
                if turn.is_synced_here() && !sync_held(&self.broker.turns, turn.took) {
                    self.pipeline.overlap();
                }
            }
            HeldFor::Followers => {
                // What waits in front of this turn, or does not come in one, would be waited for as well.
                let is_whole = turn.bytes <= GATHERED_BYTES_MAX && turn.requests < REQUESTS_PER_TURN;
                if is_whole && self.answers.count() <= turn.requests {
                    self.round_since = Some(Instant::now());
                }
            }
        }
    }

    /// Looks at the socket again in a turn that has served something; whether more has come.
    fn gather(&mut self, turn: &mut Turn) -> bool {
        let transport = self.answers.transport();
        if turn.requests == 0 {
            return false;
        }
        let is_little = turn.bytes <= GATHERED_BYTES_MAX;
        if is_little && self.reader.fill_at_once(transport) {
            return true;
        }
        let may_wait = turn.is_alone
            && !self.has_answered
            && match held_for() {
                HeldFor::Nobody => false,
                // What comes during the sync makes the next one; for more the disk would have to wait.
                HeldFor::Itself => {
                    !is_little && turn.bytes <= GATHERED_ALONE_BYTES_MAX && turn.is_synced_here()
                }
                HeldFor::Followers => is_little,
            };
        if !may_wait {
            return false;
        }
        let since = turn.gathering_since.get_or_insert_with(std::time::Instant::now);
        let patience = self.pipeline.patience(turn.requests, since.elapsed());
        // Without patience the look above was it.
        let patience = patience.filter(|patience| !(is_little && patience.is_zero()));
        patience.is_some_and(|patience| self.reader.fill_within(transport, patience))
    }

    /// Serves one request, and returns how long it was; `None` if none has arrived whole.
    fn serve_one(&mut self) -> Result<Option<usize>, Ended> {
        let Some(frame) = self.reader.next_frame()? else { return Ok(None) };
        let frame_bytes = frame.bytes.len();
        if let Some(authentication) = &mut self.authentication {
            let is_handshake = frame.bytes.starts_with(&ApiKey::SaslHandshake.code().to_be_bytes());
            let api_key = if is_handshake { ApiKey::SaslHandshake } else { ApiKey::SaslAuthenticate };
            let was_authenticated = authentication.is_authenticated();
            match authentication.take(&frame.bytes, &self.broker) {
                Taken::Request => {}
                Taken::Answer(answer) => {
                    self.answer(api_key, answer);
                    return Ok(Some(frame_bytes));
                }
                Taken::Authenticated { principal, by_token, answer } => {
                    self.count_authentication(true, was_authenticated);
                    self.dispatcher.set_principal(principal, !by_token);
                    self.reader.set_frame_bytes_max(self.request_bytes_max);
                    if let Some(answer) = answer {
                        self.answer(api_key, answer);
                    }
                    return Ok(Some(frame_bytes));
                }
                Taken::Refused { is_expired } => {
                    // Whose session has ended did not try.
                    if !is_expired {
                        self.count_authentication(false, was_authenticated);
                    }
                    return Ok(Some(frame_bytes));
                }
            }
        }
        let keeps_frame = !frame.bytes.starts_with(&ApiKey::Produce.code().to_be_bytes());
        let (reply, timing) = self.dispatcher.dispatch(frame.bytes, frame.memory)?;
        // A produce that waits has given its frame back.
        self.take_reply(reply, timing, Waiting::None, if keeps_frame { frame_bytes } else { 0 })?;
        Ok(Some(frame_bytes))
    }

    fn count_authentication(&self, is_success: bool, again: bool) {
        match &self.listener_metrics {
            Some(metrics) if is_success => metrics.authenticated(again),
            Some(metrics) => metrics.refused(again),
            None => {}
        }
    }

    /// An answer that authentication gave.
    fn answer(&mut self, api_key: ApiKey, answer: ResponseFrame) {
        self.has_answered = true;
        let timing = RequestTiming::begun(api_key.code(), std::time::Instant::now());
        self.answers.push_ready(answer, timing, Waiting::None);
    }

    /// A client that is not let in has waited for its verdict.
    fn end_refused(&mut self) {
        let refused = self.authentication.as_mut().and_then(|authentication| authentication.take_refusal());
        if let Some((refusal, answer)) = refused {
            if let Some(answer) = answer {
                self.answer(ApiKey::SaslAuthenticate, answer);
            }
            self.ending = Some(refusal.into());
        }
    }

    fn take_reply(
        &mut self,
        reply: Reply,
        timing: RequestTiming,
        waited: Waiting,
        request_bytes: usize,
    ) -> Result<(), Ended> {
        let requests = &self.broker.metrics.requests;
        self.has_answered |= matches!(reply, Reply::Ready(_) | Reply::NoResponse { .. });
        match reply {
            Reply::Ready(frame) => self.answers.push_ready(frame, timing, waited),
            Reply::Pending(future) => self.answers.push_pending(future, timing, request_bytes),
            Reply::Acknowledged(acknowledgement) => {
                self.answers.push_acknowledged(acknowledgement, timing, request_bytes);
            }
            Reply::Deferred(future) => {
                self.is_blocked = true;
                self.answers.push_deferred(future, timing, request_bytes);
            }
            Reply::NoResponse { throttle_ms } => {
                requests.answered(timing, waited, std::time::Instant::now());
                self.answers.mute(throttle_ms);
            }
            Reply::Close(reason) => {
                requests.refused(timing.api_key);
                return Err(Ended::Closed(reason));
            }
        }
        Ok(())
    }

    /// The first slot has its outcome: `None` where the answer was put in place already.
    fn take_deferred(&mut self, resolved: Option<(Reply, Slot)>) {
        let Some((reply, slot)) = resolved else { return };
        // Nothing was dispatched behind a deferred request, so its slot was the only one.
        self.is_blocked = false;
        if let Err(ended) = self.take_reply(reply, slot.timing, slot.waited, slot.held_bytes) {
            self.ending = Some(ended);
        }
    }
}

/// Nobody waits for the answers any more.
impl Drop for Connection {
    fn drop(&mut self) {
        self.answers.abandon();
    }
}

async fn waited_until(until: Option<Instant>) {
    if let Some(until) = until {
        Box::pin(tokio::time::sleep_until(until)).await;
    }
}

async fn writable(transport: &Transport) -> io::Result<()> {
    Box::pin(transport.writable()).await
}

async fn fired(timer: &mut Option<Pin<Box<Sleep>>>) {
    match timer {
        Some(timer) => timer.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn future_bytes<A, B, C, F: Future>(_: impl FnOnce(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    /// With what the runtime has beside it, the task is a kilobyte. Any more would cost a quarter of that at once.
    #[test]
    fn the_task_of_a_connection_holds_little() {
        assert!(future_bytes(serve) <= 912, "{}", future_bytes(serve));
        assert!(size_of::<Served>() <= 512, "{}", size_of::<Served>());
    }
}
