//! What must hold in every step of every run, one file per promise. Nodes tell what they did; the judges compare it with
//! what they were told before. The first violation ends the run.

mod acked_never_lost;
mod clean_elections;
mod committed;
mod committed_offset_never_regresses;
mod epochs_never_regress;
mod high_watermark_never_regresses;
mod images_converge;
mod isr_holds_committed;
mod isr_well_formed;
mod log_matching;
mod no_read_past_high_watermark;
mod producer_ids_unique;
mod producer_order;
mod replaced_coordinators;
mod replicas_agree;
mod single_leader_per_epoch;
mod transactions_are_whole;

use std::collections::BTreeMap;
use std::rc::Rc;

use moldau_metadata::{MetadataBatch, MetadataImage};
use moldau_model::{BrokerId, Uuid};

use crate::coverage::{Coverage, Happened};
use crate::log::{Batch, SimulatedLog};
use crate::message::Part;
use crate::topology::{LOOSE_PART, OFFSETS_PART, PARTS};

pub(crate) use committed::CommittedLog;
pub(crate) use committed_offset_never_regresses::{CommittedOffsets, Required};

/// Why something must not be.
pub(crate) type Verdict = Result<(), String>;

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The file's name in `invariants`, `panic`, `liveness` or `coverage`.
    pub invariant: String,
    pub text: String,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Invariants {
    pub(crate) violation: Option<Violation>,
    pub(crate) images: images_converge::ImagesConverge,
    leaders: single_leader_per_epoch::SingleLeaderPerEpoch,
    matching: log_matching::LogMatching,
    high_watermarks: high_watermark_never_regresses::HighWatermarkNeverRegresses,
    producers: producer_order::ProducerOrder,
    producer_ids: producer_ids_unique::ProducerIdsUnique,
    pub(crate) offsets: CommittedOffsets,
    pub(crate) transactions: transactions_are_whole::Transactions,
    committed: [CommittedLog; PARTS.len()],
    /// Partitions of which somebody may lack what is committed, to be looked at when the step is done.
    suspects: [bool; PARTS.len()],
    coordinators: replaced_coordinators::ReplacedCoordinators,
    /// Brokers that lost records by a fault that takes them, until the controllers know of the next incarnation.
    lacking: BTreeMap<i32, Option<Uuid>>,
}

impl Default for Invariants {
    fn default() -> Self {
        Self {
            violation: None,
            images: images_converge::ImagesConverge::default(),
            leaders: single_leader_per_epoch::SingleLeaderPerEpoch::default(),
            matching: log_matching::LogMatching::default(),
            high_watermarks: high_watermark_never_regresses::HighWatermarkNeverRegresses::default(),
            producers: producer_order::ProducerOrder::default(),
            producer_ids: producer_ids_unique::ProducerIdsUnique::default(),
            offsets: CommittedOffsets::default(),
            transactions: transactions_are_whole::Transactions::default(),
            committed: std::array::from_fn(|_| CommittedLog::default()),
            suspects: [false; PARTS.len()],
            coordinators: replaced_coordinators::ReplacedCoordinators::default(),
            lacking: BTreeMap::new(),
        }
    }
}

impl Invariants {
    /// Keeps the first violation.
    pub(crate) fn judge(&mut self, invariant: &str, verdict: Verdict) {
        if let Err(text) = verdict {
            self.violation.get_or_insert(Violation { invariant: invariant.to_owned(), text });
        }
    }

    /// What the controllers have committed, as the quickest of them has applied it.
    pub(crate) fn image(&self) -> &MetadataImage {
        self.images.newest()
    }

    pub(crate) fn committed(&self, part: Part) -> &CommittedLog {
        &self.committed[part.0]
    }

    // ---- metadata ----

    pub(crate) fn controller_applied(
        &mut self,
        controller: usize,
        (offset, term): (i64, u64),
        batch: &Rc<MetadataBatch>,
        image: &MetadataImage,
        coverage: &mut Coverage,
    ) {
        let before = self.images.newest().clone();
        match self.images.applied_by_controller(controller, (offset, term), batch, image) {
            Ok(false) => {}
            Ok(true) => self.committed_image(&before, image, coverage),
            Err(text) => self.judge("images_converge", Err(text)),
        }
    }

    pub(crate) fn broker_applied(&mut self, broker: i32, image: &MetadataImage) {
        let verdict = self.images.applied_by_broker(broker, image);
        self.judge("images_converge", verdict);
    }

    /// A step of the metadata that nobody has seen before.
    fn committed_image(&mut self, before: &MetadataImage, after: &MetadataImage, coverage: &mut Coverage) {
        self.judge("epochs_never_regress", epochs_never_regress::check(before, after));
        self.judge("isr_well_formed", isr_well_formed::check(after));
        self.judge("clean_elections", clean_elections::check(before, after));
        self.lacking.retain(|broker, next| {
            let known = after.broker(BrokerId(*broker)).map(|known| known.incarnation_id);
            next.is_none() || known != *next
        });
        for broker in after.brokers() {
            let was_fenced = before.broker(broker.id).is_none_or(|earlier| earlier.fenced);
            if broker.fenced && !was_fenced {
                coverage.note(Happened::BrokerFenced);
            }
        }
        for part in PARTS {
            let (Some((_, now)), then) = (part.find(after), part.find(before)) else { continue };
            if then.is_some_and(|(_, then)| then == now) {
                continue;
            }
            self.suspects[part.0] = true;
            if clean_elections::is_unclean(now) {
                self.committed[part.0].give_up();
            }
            if let Some((_, then)) = then {
                clean_elections::note(then, now, coverage);
                if part == OFFSETS_PART {
                    self.coordinators.note(then, now, after);
                }
            }
        }
    }

    /// A coordinator shows an offset of a transaction to somebody who was told of the commit of another before it asked.
    pub(crate) fn shown_by_coordinator(&mut self, epoch: i32, offset: i64, told_before: i64) {
        let verdict = self.coordinators.shown(epoch, offset, told_before);
        self.judge("replaced_coordinators", verdict);
    }

    // ---- partitions ----

    /// A broker begins to lead.
    pub(crate) fn became_leader(&mut self, broker: i32, part: Part, epoch: i32, log: &mut SimulatedLog) {
        let verdict = self.leaders.check(broker, part, epoch);
        self.judge("single_leader_per_epoch", verdict);
        // Who learns late that it once was to lead does not have what later leaders committed, and cannot commit any more.
        let is_newest = part.find(self.image()).is_some_and(|(_, newest)| newest.leader_epoch.0 == epoch);
        if is_newest {
            let verdict = acked_never_lost::check_leader(&self.committed[part.0], broker, part, epoch, log);
            self.judge("acked_never_lost", verdict);
        }
    }

    /// A batch came to be in a log.
    pub(crate) fn appended(&mut self, broker: i32, part: Part, batch: &Batch) {
        let verdict = self.matching.check(broker, part, batch);
        self.judge("log_matching", verdict);
    }

    pub(crate) fn leader_high_watermark(
        &mut self,
        broker: i32,
        (part, epoch): (Part, i32),
        high_watermark: i64,
        log: &mut SimulatedLog,
    ) {
        let verdict = self.high_watermarks.check(part, epoch, high_watermark);
        self.judge("high_watermark_never_regresses", verdict);
        let committed = &mut self.committed[part.0];
        if committed.is_given_up() {
            return;
        }
        match committed.extend(log, high_watermark) {
            Ok(new) => {
                let from = committed.len() - new;
                let mut order = committed.batches()[from..].iter();
                let verdict = order.try_for_each(|batch| self.producers.check(part, batch));
                let mut ends = committed.batches()[from..].iter();
                let ends = ends.try_for_each(|batch| self.transactions.committed(part, batch));
                self.suspects[part.0] |= new > 0;
                self.judge("producer_order", verdict);
                self.judge("transactions_are_whole", ends);
            }
            Err(text) => {
                let text = format!("leader {broker} of epoch {epoch}, {part:?}: {text}");
                self.judge("acked_never_lost", Err(text));
            }
        }
    }

    /// A replica that does not lead counts everything below its high watermark as committed.
    pub(crate) fn follower_high_watermark(
        &mut self,
        broker: i32,
        part: Part,
        high_watermark: i64,
        log: &mut SimulatedLog,
    ) {
        let verdict = replicas_agree::check(&self.committed[part.0], broker, part, high_watermark, log);
        self.judge("replicas_agree", verdict);
    }

    /// A producer is told that its batch is safe.
    pub(crate) fn acked(&mut self, part: Part, id: u64, base: i64) {
        let verdict = acked_never_lost::check_ack(&self.committed[part.0], part, id, base);
        self.judge("acked_never_lost", verdict);
    }

    /// A leader gives batches to a consumer.
    pub(crate) fn served(&mut self, broker: i32, part: Part, batches: &[Batch], high_watermark: i64) {
        let committed = &self.committed[part.0];
        let verdict = no_read_past_high_watermark::check(committed, broker, part, batches, high_watermark);
        self.judge("no_read_past_high_watermark", verdict);
    }

    /// A reader of what is stable saw these batches between two offsets.
    pub(crate) fn read_committed(&mut self, part: Part, span: (i64, i64), seen: &[u64]) {
        let verdict = self.transactions.read(&self.committed[part.0], part, span, seen);
        self.judge("transactions_are_whole", verdict);
    }

    pub(crate) fn producer_block(&mut self, first: i64, count: i32) {
        let verdict = self.producer_ids.check_block(first, count);
        self.judge("producer_ids_unique", verdict);
    }

    pub(crate) fn producer_id(&mut self, id: i64) {
        let verdict = self.producer_ids.check_id(id);
        self.judge("producer_ids_unique", verdict);
    }

    // ---- what takes a look at all disks ----

    /// The broker's records are gone by a fault that replication is there to survive.
    pub(crate) fn lost_records(&mut self, broker: i32) {
        // One copy is enough to acknowledge there, and it may be this one.
        self.committed[LOOSE_PART.0].give_up();
        self.lacking.insert(broker, None);
    }

    /// A broker's process starts.
    pub(crate) fn started(&mut self, broker: i32, incarnation: Uuid) {
        if let Some(next) = self.lacking.get_mut(&broker) {
            *next = Some(incarnation);
        }
    }

    /// Whether the broker may lack records that were committed.
    pub(crate) fn is_lacking(&self, broker: i32) -> bool {
        self.lacking.contains_key(&broker)
    }

    pub(crate) fn is_any_lacking(&self) -> bool {
        !self.lacking.is_empty()
    }

    /// The partitions to look at now.
    pub(crate) fn take_suspects(&mut self) -> [bool; PARTS.len()] {
        std::mem::take(&mut self.suspects)
    }

    /// A member of ISR or ELR has this log.
    pub(crate) fn member(
        &mut self,
        broker: i32,
        part: Part,
        log: &mut SimulatedLog,
        counts_page_cache: bool,
    ) {
        if self.is_lacking(broker) {
            return;
        }
        let end = if counts_page_cache { log.end() } else { log.synced_end() };
        let verdict = isr_holds_committed::check(&self.committed[part.0], broker, part, end, log);
        self.judge("isr_holds_committed", verdict);
    }
}
