//! One connection: requests are read ahead up to a bound, take their effect in order, and are answered in order.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

use super::frame_reader::{FrameReader, ReadError};
use super::limits::{ConnectionPlace, RequestMemory};
use super::output::Output;
use crate::api::dispatch::{Dispatcher, Refused};
use crate::api::{Principal, Reply};
use crate::broker::Broker;
use crate::response::ResponseFrame;

/// Requests served without looking at the socket in between, so that one busy client does not starve a worker's others.
const REQUESTS_PER_TURN: usize = 32;

/// Requests of one connection that are read and not yet answered; clients keep at most a handful.
const IN_FLIGHT_MAX: usize = 64;
/// What `connections.max.idle.ms` of -1, "for ever", becomes.
const IDLE_FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a connection is made with.
pub(super) struct ConnectionContext {
    pub broker: Arc<Broker>,
    pub listener: Arc<str>,
    pub client_address: SocketAddr,
    pub memory: RequestMemory,
    /// Held, not read: dropping it gives the place back.
    pub place: ConnectionPlace,
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("cannot write: {0}")]
    Write(io::Error),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("{0}")]
    Closed(&'static str),
    #[error("idle for too long")]
    Idle,
    #[error("the broker stops")]
    Stopping,
}

/// An answer's place in the order of requests.
enum Slot {
    Ready(ResponseFrame),
    Pending(BoxFuture<'static, ResponseFrame>),
    /// Nothing behind it is dispatched before it is done.
    Deferred(BoxFuture<'static, Reply>),
}

struct Connection {
    stream: TcpStream,
    reader: FrameReader,
    dispatcher: Dispatcher,
    slots: VecDeque<Slot>,
    /// The request at the end of `slots` is Deferred.
    is_blocked: bool,
    output: Output,
    is_stopping: bool,
}

/// Serves a connection until either side ends it.
pub(super) async fn serve(stream: TcpStream, context: ConnectionContext, stop: watch::Receiver<bool>) {
    let peer = context.client_address;
    let config = &context.broker.options.config;
    let idle_max = idle_max(config.connection_idle_ms_max);
    let request_bytes_max = usize::try_from(config.request_bytes_max).unwrap_or(0);
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
    }
    let connection = Connection {
        stream,
        reader: FrameReader::new(request_bytes_max, context.memory),
        slots: VecDeque::new(),
        is_blocked: false,
        output: Output::default(),
        is_stopping: false,
        dispatcher: Dispatcher::new(context.broker, context.listener, peer, Principal::anonymous()),
    };
    let ended = connection.run(idle_max, stop).await;
    drop(context.place);
    match ended {
        Ended::Read(ReadError::Closed) | Ended::Stopping | Ended::Idle => {
            tracing::trace!(%peer, reason = %ended, "connection ended");
        }
        ended => tracing::debug!(%peer, reason = %ended, "connection ended"),
    }
}

fn idle_max(ms: i64) -> Duration {
    u64::try_from(ms).map_or(IDLE_FOREVER, Duration::from_millis)
}

impl Connection {
    async fn run(mut self, idle_max: Duration, mut stop: watch::Receiver<bool>) -> Ended {
        let mut last_activity = Instant::now();
        let idle = tokio::time::sleep(idle_max);
        tokio::pin!(idle);
        loop {
            let more = match self.turn() {
                Ok(more) => more,
                Err(ended) => return ended,
            };
            if self.is_stopping && self.slots.is_empty() && self.output.is_empty() {
                return Ended::Stopping;
            }
            let wants_frame = !more && self.accepts_requests();
            let has_pending = !matches!(self.slots.front(), None | Some(Slot::Ready(_)));
            tokio::select! {
                biased;
                result = resolve_first(&mut self.slots), if has_pending => {
                    if let Err(ended) = self.take_deferred(result) {
                        return ended;
                    }
                }
                result = self.stream.writable(), if !self.output.is_empty() => {
                    if let Err(error) = result {
                        return Ended::Write(error);
                    }
                }
                () = tokio::task::yield_now(), if more => {}
                result = self.reader.fill(&self.stream), if wants_frame => {
                    if let Err(error) = result {
                        return error.into();
                    }
                    last_activity = Instant::now();
                }
                // The timer is moved only when it fires, not with each request.
                () = &mut idle => {
                    let deadline = last_activity + idle_max;
                    if deadline <= Instant::now() {
                        return Ended::Idle;
                    }
                    idle.as_mut().reset(deadline);
                }
                () = super::stopped(&mut stop), if !self.is_stopping => self.is_stopping = true,
            }
        }
    }

    fn accepts_requests(&self) -> bool {
        !self.is_stopping && !self.is_blocked && self.slots.len() < IN_FLIGHT_MAX
    }

    /// Serves the frames that have arrived, and writes what is answered. Whether frames may be left in the buffer.
    fn turn(&mut self) -> Result<bool, Ended> {
        let mut served = 0;
        let mut is_drained = false;
        while served < REQUESTS_PER_TURN && self.accepts_requests() {
            let Some(frame) = self.reader.next_frame()? else {
                is_drained = true;
                break;
            };
            served += 1;
            let reply = self.dispatcher.dispatch(frame.bytes, frame.memory)?;
            self.take_reply(reply)?;
        }
        while matches!(self.slots.front(), Some(Slot::Ready(_))) {
            if let Some(Slot::Ready(frame)) = self.slots.pop_front()
                && !self.output.push(frame)
            {
                return Err(Ended::Closed("a response could not be made"));
            }
        }
        if !self.output.is_empty() {
            self.output.write(&self.stream).map_err(Ended::Write)?;
        }
        Ok(!is_drained && self.accepts_requests())
    }

    fn take_reply(&mut self, reply: Reply) -> Result<(), Ended> {
        match reply {
            Reply::Ready(frame) => self.slots.push_back(Slot::Ready(frame)),
            Reply::Pending(future) => self.slots.push_back(Slot::Pending(future)),
            Reply::Deferred(future) => {
                self.slots.push_back(Slot::Deferred(future));
                self.is_blocked = true;
            }
            Reply::NoResponse => {}
            Reply::Close(reason) => return Err(Ended::Closed(reason)),
        }
        Ok(())
    }

    /// The first slot has its outcome: `None` where the answer was put in place already.
    fn take_deferred(&mut self, reply: Option<Reply>) -> Result<(), Ended> {
        let Some(reply) = reply else { return Ok(()) };
        // Nothing was dispatched behind a deferred request, so its slot was the only one.
        self.is_blocked = false;
        self.take_reply(reply)
    }
}

/// Waits for the first answer. A deferred request's reply is handed out, and its slot is gone.
async fn resolve_first(slots: &mut VecDeque<Slot>) -> Option<Reply> {
    match slots.front_mut() {
        Some(Slot::Pending(future)) => {
            let frame = future.await;
            slots.pop_front();
            slots.push_front(Slot::Ready(frame));
            None
        }
        Some(Slot::Deferred(future)) => {
            let reply = future.await;
            slots.pop_front();
            Some(reply)
        }
        Some(Slot::Ready(_)) | None => None,
    }
}
