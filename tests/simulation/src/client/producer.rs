//! An idempotent producer, or one that is content with acks=1.
//!
//! The first batch under a producer id is sent alone. A partition takes any sequence from a producer that it does not know,
//! here as in Kafka, for it may have forgotten it: were the first batch refused by a broker that comes to lead before the
//! second arrives, the second would be taken without it.

use std::collections::VecDeque;

use moldau_model::ErrorCode;

use super::{KnownLeader, send};
use crate::core::Core;
use crate::log::{NewBatch, Sequenced};
use crate::message::{Correlation, FromBroker, Part, ToBroker};

/// `max.in.flight.requests.per.connection`: as many as a partition remembers.
const IN_FLIGHT_MAX: usize = 5;
const REQUEST_MS: i64 = 500;
/// Batches after the faults are over.
const LAST_BATCHES: u32 = 5;
/// So many refusals of its oldest batch tell a producer of an uncleanly led partition that its history is gone.
const GAPS_MAX: u32 = 8;

#[derive(Debug)]
struct InFlight {
    batch: NewBatch,
    /// Of the last time it was sent; `None` if it is to be sent again.
    sent: Option<(Correlation, i64)>,
    is_acked: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Producer {
    client: usize,
    part: Part,
    is_idempotent: bool,
    leader: KnownLeader,
    producer_id: Option<i64>,
    asked_for_id: Option<(Correlation, i64)>,
    next_sequence: i32,
    in_flight: VecDeque<InFlight>,
    send_at: i64,
    gaps: u32,
    /// Whether the partition knows the producer id.
    is_known: bool,
    /// How many more there will be; `None` while the faults last.
    remaining: Option<u32>,
}

impl Producer {
    pub(crate) fn new(client: usize, part: Part, is_idempotent: bool) -> Self {
        Self {
            client,
            part,
            is_idempotent,
            leader: KnownLeader::new(),
            producer_id: None,
            asked_for_id: None,
            next_sequence: 0,
            in_flight: VecDeque::new(),
            send_at: 0,
            gaps: 0,
            is_known: false,
            remaining: None,
        }
    }

    pub(super) fn tick(&mut self, core: &mut Core) {
        if self.is_idempotent && self.producer_id.is_none() {
            return self.ask_for_id(core);
        }
        let expired = |in_flight: &InFlight| in_flight.sent.is_some_and(|(_, deadline)| core.now > deadline);
        if let Some(first) = self.in_flight.iter().position(|f| !f.is_acked && expired(f)) {
            self.send_again_from(first);
            self.leader.look_elsewhere(core, None);
        }
        let window = if self.is_idempotent && self.is_known { IN_FLIGHT_MAX } else { 1 };
        if self.in_flight.len() < window && self.remaining != Some(0) && core.random.per_mille(400) {
            self.make_batch(core);
        }
        if core.now >= self.send_at {
            self.send_unsent(core);
        }
        if self.in_flight.is_empty() && self.is_idempotent && core.random.per_mille(15) {
            // A restarted producer has another id.
            self.forget_id();
        }
    }

    fn ask_for_id(&mut self, core: &mut Core) {
        if self.asked_for_id.is_none_or(|(_, deadline)| core.now > deadline) {
            self.leader.look_elsewhere(core, None);
            let correlation = send(core, self.client, self.leader.broker, ToBroker::InitProducerId);
            self.asked_for_id = Some((correlation, core.now + REQUEST_MS));
        }
    }

    fn forget_id(&mut self) {
        self.producer_id = None;
        self.asked_for_id = None;
        self.next_sequence = 0;
        self.is_known = false;
    }

    fn make_batch(&mut self, core: &mut Core) {
        let count = core.random.between(1, 3) as i32;
        let id = core.unique();
        let batch = NewBatch { id, count, sequenced: self.sequence(count), ..NewBatch::default() };
        self.in_flight.push_back(InFlight { batch, sent: None, is_acked: false });
        if let Some(remaining) = &mut self.remaining {
            *remaining -= 1;
        }
    }

    fn sequence(&mut self, count: i32) -> Option<Sequenced> {
        let producer_id = self.producer_id?;
        let base_sequence = self.next_sequence;
        self.next_sequence += count;
        Some(Sequenced { producer_id, producer_epoch: 0, base_sequence })
    }

    fn send_unsent(&mut self, core: &mut Core) {
        let deadline = core.now + REQUEST_MS;
        let window = if self.is_known { self.in_flight.len() } else { 1 };
        for at in 0..window.min(self.in_flight.len()) {
            let in_flight = &self.in_flight[at];
            if in_flight.sent.is_some() || in_flight.is_acked {
                continue;
            }
            let batch = in_flight.batch.clone();
            let request =
                ToBroker::Produce { part: self.part, batch, is_acks_all: self.is_idempotent, of: None };
            let correlation = send(core, self.client, self.leader.broker, request);
            self.in_flight[at].sent = Some((correlation, deadline));
        }
    }

    fn send_again_from(&mut self, first: usize) {
        for in_flight in self.in_flight.iter_mut().skip(first) {
            in_flight.sent = None;
        }
    }

    pub(super) fn handle(&mut self, core: &mut Core, correlation: Correlation, answer: FromBroker) {
        if self.asked_for_id.is_some_and(|(asked, _)| asked == correlation) {
            self.asked_for_id = None;
            if let FromBroker::ProducerId(id) = answer {
                self.producer_id = Some(id);
                self.renumber();
            }
            return;
        }
        let is_asked = |in_flight: &InFlight| in_flight.sent.is_some_and(|(sent, _)| sent == correlation);
        let Some(at) = self.in_flight.iter().position(is_asked) else { return };
        match answer {
            FromBroker::Produced => {
                self.in_flight[at].is_acked = true;
                self.gaps = 0;
                self.is_known = true;
                while self.in_flight.front().is_some_and(|front| front.is_acked) {
                    self.in_flight.pop_front();
                }
            }
            FromBroker::Error { code, hint } => {
                self.send_again_from(at);
                self.send_at = core.now + core.random.between(10, 60);
                if code == ErrorCode::OutOfOrderSequenceNumber {
                    self.note_gap(at);
                }
                // Of a leader that has too few replicas none is a better one.
                if code != ErrorCode::NotEnoughReplicas && code != ErrorCode::NotEnoughReplicasAfterAppend {
                    self.leader.look_elsewhere(core, Some(hint));
                }
            }
            answer => unreachable!("a produce is answered {answer:?}"),
        }
    }

    /// Later batches may overtake earlier ones, and an old leader may lack some. Only where elections are unclean can what
    /// was acknowledged be gone; then the producer begins anew.
    fn note_gap(&mut self, at: usize) {
        self.gaps += u32::from(at == 0);
        if self.gaps > GAPS_MAX && !self.part.elects_cleanly() {
            self.gaps = 0;
            self.forget_id();
        }
    }

    /// Under a new id all that is not acknowledged is numbered anew.
    fn renumber(&mut self) {
        self.in_flight.retain(|in_flight| !in_flight.is_acked);
        let counts: Vec<i32> = self.in_flight.iter().map(|in_flight| in_flight.batch.count).collect();
        for (at, count) in counts.into_iter().enumerate() {
            let sequenced = self.sequence(count);
            self.in_flight[at].batch.sequenced = sequenced;
        }
        self.send_again_from(0);
    }

    pub(super) fn finish(&mut self) {
        self.remaining = Some(LAST_BATCHES);
    }

    pub(super) fn unfinished(&self) -> Option<String> {
        let is_done = self.remaining == Some(0) && self.in_flight.is_empty();
        (!is_done).then(|| {
            format!(
                "a producer to {:?} waits with {} batches, {:?} to come",
                self.part,
                self.in_flight.len(),
                self.remaining
            )
        })
    }
}
