//! A connection's answers on their way out, in the order of its requests.
//!
//! Its task puts them here and writes them. An answer that waits for an operation is also written by the thread that
//! completes the operation, which would else have to wake the task, often on another processor, for a few bytes. The lock
//! is held for a look, and for a write that does not wait; whoever completes something and finds it taken leaves the
//! rest to the task.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::connection::Ended;
use super::output::Output;
use super::transport::Transport;
use crate::api::{Acknowledgement, Reply};
use crate::metrics::{Metrics, RequestMetrics, RequestTiming, Waiting};
use crate::purgatory::Answering;
use crate::response::ResponseFrame;

/// Requests of one connection that are read and not yet answered; clients keep at most a handful.
const IN_FLIGHT_MAX: usize = 64;
/// Memory that answers which the client has not taken, and requests that wait, may hold before the next request is read:
/// a client that does not read its answers fills its own socket, and nothing else.
const HELD_BYTES_MAX: usize = 1024 * 1024;

/// An answer's place in the order of requests, and the memory it holds meanwhile.
pub(super) struct Slot {
    state: SlotState,
    pub(super) timing: RequestTiming,
    pub(super) waited: Waiting,
    pub(super) held_bytes: usize,
}

enum SlotState {
    Ready(ResponseFrame),
    Pending(BoxFuture<'static, ResponseFrame>),
    Acknowledged(Acknowledgement),
    /// Nothing behind it is dispatched before it is done.
    Deferred(BoxFuture<'static, Reply>),
}

impl Slot {
    fn ready(frame: ResponseFrame, timing: RequestTiming, waited: Waiting) -> Self {
        Self { held_bytes: frame.memory_bytes(), state: SlotState::Ready(frame), timing, waited }
    }

    /// Whether the answer can be made without waiting.
    fn is_ready(&self) -> bool {
        match &self.state {
            SlotState::Ready(_) => true,
            SlotState::Acknowledged(acknowledgement) => acknowledgement.operation.is_done(),
            SlotState::Pending(_) | SlotState::Deferred(_) => false,
        }
    }

    /// Whether it was counted as waiting when it was put here.
    fn counts_as_waiting(&self) -> bool {
        !matches!(self.state, SlotState::Ready(_))
    }
}

/// How the answers stand after what is ready was written.
pub(super) struct Standing {
    pub(super) has_written: bool,
    /// Something is left that the socket did not take.
    pub(super) has_output: bool,
    /// Nothing waits, and nothing is left.
    pub(super) is_empty: bool,
    /// Another request may be read.
    pub(super) has_room: bool,
    /// The first of those that wait has to be polled.
    pub(super) is_polled: bool,
    /// When the first of the operations that are waited for has timed out.
    pub(super) deadline: Option<Instant>,
    /// The client took more than its quotas allow: nothing is read before.
    pub(super) muted_until: Option<Instant>,
}

/// See the module.
pub(super) struct Answers {
    transport: Transport,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
    task: Notify,
}

struct State {
    slots: VecDeque<Slot>,
    output: Output,
    muted_until: Option<Instant>,
    /// The task waits for answers, and not for its client's next request alone.
    is_watched: bool,
    /// When an answer left by another thread's hand.
    written_at: Option<Instant>,
    /// The task ends the connection for this.
    failed: Option<Ended>,
}

impl Default for State {
    fn default() -> Self {
        // Room for one: many connections never have more requests under way, and a queue that grows begins with four.
        let (slots, output) = (VecDeque::with_capacity(1), Output::default());
        Self { slots, output, muted_until: None, is_watched: false, written_at: None, failed: None }
    }
}

impl Answers {
    pub(super) fn new(metrics: Arc<Metrics>, transport: Transport) -> Arc<Self> {
        Arc::new(Self { transport, metrics, state: Mutex::default(), task: Notify::new() })
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Puts an answer at the end that is there already.
    pub(super) fn push_ready(&self, frame: ResponseFrame, timing: RequestTiming, waited: Waiting) {
        self.state.lock().slots.push_back(Slot::ready(frame, timing, waited));
    }

    pub(super) fn push_pending(
        &self,
        future: BoxFuture<'static, ResponseFrame>,
        timing: RequestTiming,
        held_bytes: usize,
    ) {
        self.push_waiting(SlotState::Pending(future), timing, held_bytes);
    }

    pub(super) fn push_deferred(
        &self,
        future: BoxFuture<'static, Reply>,
        timing: RequestTiming,
        held_bytes: usize,
    ) {
        self.push_waiting(SlotState::Deferred(future), timing, held_bytes);
    }

    /// The operation is answered from now on; by [`Self::settle`], if it is done already.
    pub(super) fn push_acknowledged(
        self: &Arc<Self>,
        acknowledgement: Acknowledgement,
        timing: RequestTiming,
        held_bytes: usize,
    ) {
        let operation = Arc::clone(&acknowledgement.operation);
        self.push_waiting(SlotState::Acknowledged(acknowledgement), timing, held_bytes);
        let answering: Arc<dyn Answering> = Arc::<Self>::clone(self);
        operation.answer_by(&answering);
    }

    fn push_waiting(&self, state: SlotState, timing: RequestTiming, held_bytes: usize) {
        self.metrics.requests.wait(timing.api_key, 1);
        self.state.lock().slots.push_back(Slot { state, timing, waited: Waiting::Waited, held_bytes });
    }

    /// Whether another request may be read.
    pub(super) fn has_room(&self) -> bool {
        self.state.lock().has_room()
    }

    /// Requests that are not answered yet.
    pub(super) fn count(&self) -> usize {
        self.state.lock().slots.len()
    }

    /// Writes what is ready, as far as the socket takes it. The task then waits: for its client's next request if it
    /// `may_read` one and there is room, and is not woken for answers that others write meanwhile.
    ///
    /// # Errors
    /// The connection has to end.
    pub(super) fn settle(&self, may_read: bool) -> Result<Standing, Ended> {
        let state = &mut *self.state.lock();
        state.take_ready(&self.metrics.requests);
        let has_unsent = self.transport.has_unsent();
        let mut has_written = false;
        if !state.output.is_empty() || has_unsent {
            has_written = state.output.write(&self.transport).map_err(Ended::Write)?;
        }
        if let Some(failed) = state.failed.take() {
            return Err(failed);
        }
        let has_output = !state.output.is_empty() || (has_unsent && self.transport.has_unsent());
        let has_room = state.has_room();
        state.is_watched = !may_read || !has_room || has_output;
        let front = state.slots.front();
        Ok(Standing {
            has_written,
            has_output,
            is_empty: front.is_none() && !has_output,
            has_room,
            is_polled: front.is_some_and(|slot| !matches!(slot.state, SlotState::Acknowledged(_))),
            deadline: state.deadline(),
            muted_until: state.muted_until,
        })
    }

    /// When an answer left that [`Self::settle`] has not written.
    pub(super) fn written_at(&self) -> Option<Instant> {
        self.state.lock().written_at
    }

    /// The time for which nothing was to be read is over.
    pub(super) fn unmute(&self) {
        self.state.lock().muted_until = None;
    }

    /// Reads nothing more for a while. What is under way is answered.
    pub(super) fn mute(&self, throttle_ms: i32) {
        self.state.lock().mute(throttle_ms);
    }

    /// Those that have waited as long as their requests want are told so.
    pub(super) fn time_out(&self, now: Instant) {
        // Not under the lock: it would be taken again for each of them.
        let late: Vec<_> = {
            let state = self.state.lock();
            let operations = state.acknowledgements().filter(|it| it.deadline <= now);
            operations.map(|it| Arc::clone(&it.operation)).collect()
        };
        for operation in late {
            operation.time_out();
        }
    }

    /// Nobody waits for the answers any more.
    pub(super) fn abandon(&self) {
        let slots = std::mem::take(&mut self.state.lock().slots);
        for slot in slots.iter().filter(|slot| slot.counts_as_waiting()) {
            self.metrics.requests.wait(slot.timing.api_key, -1);
        }
    }

    /// Waits until the task has to look at the answers again.
    pub(super) fn changed(&self) -> impl Future<Output = ()> {
        self.task.notified()
    }

    /// Waits for the first answer, and takes those behind it that are there too: they leave by one write. A deferred
    /// request's reply is handed out, and its slot is gone.
    pub(super) fn resolve_first(&self) -> impl Future<Output = Option<(Reply, Slot)>> {
        std::future::poll_fn(|context| self.state.lock().poll(context, &self.metrics.requests))
    }
}

impl State {
    fn has_room(&self) -> bool {
        let held_bytes: usize = self.slots.iter().map(|slot| slot.held_bytes).sum();
        self.muted_until.is_none()
            && self.slots.len() < IN_FLIGHT_MAX
            && held_bytes + self.output.memory_bytes() < HELD_BYTES_MAX
            && !self.output.has_many_chunks()
    }

    fn acknowledgements(&self) -> impl Iterator<Item = &Acknowledgement> {
        self.slots.iter().filter_map(|slot| match &slot.state {
            SlotState::Acknowledged(acknowledgement) => Some(acknowledgement),
            SlotState::Ready(_) | SlotState::Pending(_) | SlotState::Deferred(_) => None,
        })
    }

    fn deadline(&self) -> Option<Instant> {
        self.acknowledgements().map(|acknowledgement| acknowledgement.deadline).min()
    }

    fn mute(&mut self, throttle_ms: i32) {
        if throttle_ms > 0 {
            let until = Instant::now() + Duration::from_millis(u64::from(throttle_ms.unsigned_abs()));
            self.muted_until = self.muted_until.max(Some(until));
        }
    }

    /// Moves to the output what is ready; when that was, if anything is.
    fn take_ready(&mut self, requests: &RequestMetrics) -> Option<std::time::Instant> {
        let mut now = None;
        while self.slots.front().is_some_and(Slot::is_ready) {
            let Some(slot) = self.slots.pop_front() else { break };
            let frame = match slot.state {
                SlotState::Ready(frame) => frame,
                SlotState::Acknowledged(Acknowledgement { operation, answer, .. }) => {
                    requests.wait(slot.timing.api_key, -1);
                    answer(&operation)
                }
                SlotState::Pending(_) | SlotState::Deferred(_) => break,
            };
            // One look at the clock for all answers that leave together.
            let now = *now.get_or_insert_with(std::time::Instant::now);
            requests.answered(slot.timing, slot.waited, now);
            self.mute(frame.throttle_ms());
            if !self.output.push(frame) {
                self.failed.get_or_insert(Ended::Closed("a response could not be made"));
                break;
            }
        }
        now
    }

    fn poll(
        &mut self,
        context: &mut std::task::Context<'_>,
        requests: &RequestMetrics,
    ) -> Poll<Option<(Reply, Slot)>> {
        let mut has_resolved = false;
        for slot in &mut self.slots {
            match &mut slot.state {
                SlotState::Ready(_) => {}
                SlotState::Acknowledged(acknowledgement) if acknowledgement.operation.is_done() => {}
                // Whoever completes it has the task look at those behind it.
                SlotState::Acknowledged(_) => break,
                SlotState::Pending(future) => match future.as_mut().poll(context) {
                    Poll::Ready(frame) => {
                        requests.wait(slot.timing.api_key, -1);
                        *slot = Slot::ready(frame, slot.timing, slot.waited);
                        has_resolved = true;
                    }
                    Poll::Pending => break,
                },
                // Its turn comes when it is the first; nothing was dispatched behind it.
                SlotState::Deferred(future) => {
                    if has_resolved {
                        break;
                    }
                    let Poll::Ready(reply) = future.as_mut().poll(context) else { break };
                    requests.wait(slot.timing.api_key, -1);
                    return Poll::Ready(self.slots.pop_front().map(|slot| (reply, slot)));
                }
            }
        }
        if has_resolved { Poll::Ready(None) } else { Poll::Pending }
    }
}

impl Answering for Answers {
    fn answer(&self) {
        let Transport::Plain(_) = self.transport else { return self.wake() };
        let Some(mut guard) = self.state.try_lock() else { return self.wake() };
        let state = &mut *guard;
        if let Some(now) = state.take_ready(&self.metrics.requests) {
            state.written_at = Some(Instant::from_std(now));
            if let Err(error) = state.output.write(&self.transport) {
                state.failed.get_or_insert(Ended::Write(error));
            }
        }
        let is_task_due = state.is_watched
            || state.failed.is_some()
            || state.muted_until.is_some()
            || !state.output.is_empty()
            || state.slots.front().is_some_and(|slot| !matches!(slot.state, SlotState::Acknowledged(_)));
        drop(guard);
        if is_task_due {
            self.wake();
        }
    }

    fn wake(&self) {
        self.task.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use moldau_model::ErrorCode;
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::purgatory::DelayedOperation;

    const PRODUCE: i16 = 0;

    async fn pair() -> (TcpStream, Arc<Answers>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let transport = Transport::Plain(listener.accept().await.unwrap().0);
        transport.writable().await.unwrap();
        (client, Answers::new(Arc::default(), transport))
    }

    fn timing() -> RequestTiming {
        RequestTiming::begun(PRODUCE, std::time::Instant::now())
    }

    /// Puts an answer there that waits for an operation, which answers by its outcome's code.
    fn wait_for_operation(answers: &Arc<Answers>, wait: Duration, throttle_ms: i32) -> Arc<DelayedOperation> {
        let operation = Arc::new(DelayedOperation::new(1));
        operation.wait_for(0);
        assert!(!operation.seal());
        let answer = move |operation: &DelayedOperation| {
            let code = operation.outcome(0).code().to_be_bytes();
            ResponseFrame::new(Bytes::copy_from_slice(&code)).telling_throttle(throttle_ms)
        };
        let acknowledgement = Acknowledgement {
            operation: Arc::clone(&operation),
            deadline: Instant::now() + wait,
            answer: Box::new(answer),
        };
        answers.push_acknowledged(acknowledgement, timing(), 0);
        operation
    }

    fn complete(operation: &DelayedOperation, outcome: ErrorCode) {
        if operation.complete(0, outcome) {
            operation.wake();
        }
    }

    async fn received(client: &mut TcpStream) -> i16 {
        client.read_i16().await.unwrap()
    }

    /// Whether the task was woken since it was last asked.
    async fn was_woken(answers: &Answers) -> bool {
        tokio::time::timeout(Duration::from_millis(1), answers.changed()).await.is_ok()
    }

    fn waiting(answers: &Answers) -> i64 {
        answers.metrics.requests.snapshots().find(|of| of.api_key == PRODUCE).map_or(0, |of| of.waiting)
    }

    #[tokio::test]
    async fn whoever_completes_an_operation_answers_and_wakes_nobody() {
        let (mut client, answers) = pair().await;
        let operation = wait_for_operation(&answers, Duration::MAX / 4, 0);
        assert!(answers.settle(true).unwrap().deadline.is_some());
        std::thread::spawn(move || complete(&operation, ErrorCode::None)).join().unwrap();
        assert_eq!(received(&mut client).await, 0);
        assert!(!was_woken(&answers).await);
        assert!(answers.written_at().is_some());
        assert!(answers.settle(true).unwrap().is_empty);
        assert_eq!(waiting(&answers), 0);
    }

    #[tokio::test]
    async fn answers_leave_in_the_order_of_requests_whichever_operation_is_done_first() {
        let (mut client, answers) = pair().await;
        let [first, second] = [(); 2].map(|()| wait_for_operation(&answers, Duration::MAX / 4, 0));
        answers.settle(true).unwrap();
        complete(&second, ErrorCode::NotLeaderOrFollower);
        assert!(answers.written_at().is_none());
        complete(&first, ErrorCode::None);
        assert_eq!(received(&mut client).await, 0);
        assert_eq!(received(&mut client).await, ErrorCode::NotLeaderOrFollower.code());
        assert!(!was_woken(&answers).await);
    }

    #[tokio::test]
    async fn a_task_that_waits_for_answers_is_woken_when_they_have_left() {
        let (mut client, answers) = pair().await;
        let operation = wait_for_operation(&answers, Duration::MAX / 4, 0);
        answers.settle(false).unwrap();
        complete(&operation, ErrorCode::None);
        assert_eq!(received(&mut client).await, 0);
        assert!(was_woken(&answers).await, "the connection is to end behind it, perhaps");
    }

    #[tokio::test]
    async fn what_is_behind_an_operation_and_has_to_be_polled_wakes_the_task() {
        let (mut client, answers) = pair().await;
        let operation = wait_for_operation(&answers, Duration::MAX / 4, 0);
        let later = async { ResponseFrame::new(Bytes::from_static(&[0, 9])) };
        answers.push_pending(Box::pin(later), timing(), 0);
        assert!(!answers.settle(true).unwrap().is_polled);
        complete(&operation, ErrorCode::None);
        assert!(was_woken(&answers).await);
        assert!(answers.settle(true).unwrap().is_polled);
        assert!(answers.resolve_first().await.is_none());
        answers.settle(true).unwrap();
        assert_eq!((received(&mut client).await, received(&mut client).await), (0, 9));
        assert_eq!(waiting(&answers), 0);
    }

    #[tokio::test]
    async fn a_client_that_took_too_much_is_muted_by_whoever_answers() {
        let (_client, answers) = pair().await;
        let operation = wait_for_operation(&answers, Duration::MAX / 4, 500);
        assert!(answers.settle(true).unwrap().has_room);
        complete(&operation, ErrorCode::None);
        assert!(was_woken(&answers).await);
        let standing = answers.settle(true).unwrap();
        assert!(standing.muted_until.is_some() && !standing.has_room);
        answers.unmute();
        assert!(answers.settle(true).unwrap().has_room);
    }

    #[tokio::test(start_paused = true)]
    async fn only_operations_whose_time_is_over_are_timed_out() {
        let (mut client, answers) = pair().await;
        let begun = Instant::now();
        for seconds in [10, 20] {
            wait_for_operation(&answers, Duration::from_secs(seconds), 0);
        }
        assert_eq!(answers.settle(true).unwrap().deadline, Some(begun + Duration::from_secs(10)));
        answers.time_out(begun + Duration::from_secs(10));
        assert_eq!(answers.settle(true).unwrap().deadline, Some(begun + Duration::from_secs(20)));
        assert_eq!(received(&mut client).await, ErrorCode::RequestTimedOut.code());
    }

    #[tokio::test]
    async fn an_operation_that_is_done_before_its_answer_is_put_here_is_answered_by_the_task() {
        let (mut client, answers) = pair().await;
        let operation = wait_for_operation(&answers, Duration::MAX / 4, 0);
        let _ = operation.complete(0, ErrorCode::None);
        assert!(answers.settle(true).unwrap().has_written);
        assert_eq!(received(&mut client).await, 0);
    }

    #[tokio::test]
    async fn whoever_is_gone_is_answered_by_nobody() {
        let (mut client, answers) = pair().await;
        let operation = wait_for_operation(&answers, Duration::MAX / 4, 0);
        assert_eq!(waiting(&answers), 1);
        answers.abandon();
        assert_eq!(waiting(&answers), 0);
        drop(answers);
        complete(&operation, ErrorCode::None);
        assert_eq!(client.read(&mut [0; 2]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn requests_are_read_ahead_up_to_a_bound() {
        let (_client, answers) = pair().await;
        let operations: Vec<_> =
            (0..IN_FLIGHT_MAX).map(|_| wait_for_operation(&answers, Duration::MAX / 4, 0)).collect();
        assert!(!answers.settle(true).unwrap().has_room);
        complete(&operations[0], ErrorCode::None);
        assert!(was_woken(&answers).await, "there is room");
        assert!(answers.settle(true).unwrap().has_room);
    }
}
