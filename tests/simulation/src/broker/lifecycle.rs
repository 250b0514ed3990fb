//! A broker's life as the controllers see it: it registers, sends heartbeats, asks before it stops.

use moldau_cluster::{AllocateProducerIds, BrokerListener, FeatureRange, Heartbeat, RegisterBroker};
use moldau_model::{BrokerEpoch, ErrorCode, Uuid};

use super::{Asked, Broker, BrokerDisk, CHECKPOINT_MS, Exit, POLL_ISR_MS, Process, REQUEST_MS, Waiter};
use crate::bug::Bug;
use crate::controller::SESSION_MS;
use crate::core::Core;
use crate::coverage::Happened;
use crate::event::Timer;
use crate::message::{Correlation, FromBroker, FromController, Message, Node, ToController};
use crate::topology::{CLUSTER_ID, CONTROLLERS, OFFSETS_PART};

const HEARTBEAT_MS: i64 = 300;
/// While there is something to wait for.
const HEARTBEAT_SOON_MS: i64 = 30;
const RETRY_MS: i64 = 50;
/// How long a controlled shutdown may take.
const SHUTDOWN_MS_MAX: i64 = 4_000;
/// Ids that are used of a block, so that blocks are asked for often.
const IDS_USED_MAX: i64 = 2;
/// Producers that wait for an id; the others are told to come again.
const WAITING_FOR_IDS_MAX: usize = 16;

impl Broker {
    /// A new process on the same disk.
    pub(crate) fn start(&mut self, core: &mut Core) {
        self.life += 1;
        self.is_up = true;
        self.exit = None;
        let BrokerDisk { logs, clean_epoch, last_epoch, .. } = &mut self.disk;
        // The marker goes before anything is written.
        let mut previous_epoch = clean_epoch.take();
        if core.has(Bug::UncleanStopCalledClean) {
            previous_epoch = *last_epoch;
        }
        for log in logs {
            log.recover();
        }
        let number = (u128::from(core.random.bits()) << 64) | u128::from(core.random.bits());
        let incarnation = Uuid::from_random_bytes(number.to_be_bytes());
        core.invariants.started(self.id, incarnation);
        let controller = core.random.below(CONTROLLERS);
        self.process = Process::new(incarnation, previous_epoch.unwrap_or(BrokerEpoch(-1)), controller);
        self.watch(core);
        self.register(core, incarnation);
        self.timer(core, POLL_ISR_MS, Timer::PollIsr);
        self.timer(core, CHECKPOINT_MS, Timer::Checkpoint);
    }

    /// The process is gone; the disk stays as it is.
    pub(crate) fn stop(&mut self, exit: Option<Exit>) {
        if exit == Some(Exit::Clean) {
            for log in &mut self.disk.logs {
                log.sync_now();
            }
            self.write_checkpoints();
            self.disk.clean_epoch = self.process.epoch;
        }
        self.disk.last_epoch = self.process.epoch.or(self.disk.last_epoch);
        self.exit = None;
        self.is_up = false;
        self.life += 1;
    }

    pub(crate) fn begin_shutdown(&mut self, core: &mut Core) -> bool {
        if !self.process.is_serving || self.process.wants_shutdown {
            return false;
        }
        self.process.wants_shutdown = true;
        self.timer(core, SHUTDOWN_MS_MAX, Timer::GiveUpShutdown);
        self.timer(core, 0, Timer::Heartbeat);
        true
    }

    pub(super) fn write_checkpoints(&mut self) {
        for (part, hosted) in &self.process.hosted {
            self.disk.checkpoints[part.0] = hosted.replica.high_watermark().0;
        }
    }

    pub(super) fn ask(&mut self, core: &mut Core, asked: Asked, request: ToController) {
        let correlation = core.correlation();
        self.process.asked.insert(correlation, asked);
        let to = Node::Controller(self.process.controller);
        self.send(core, to, Message::ToController(correlation, request));
        self.timer(core, REQUEST_MS, Timer::RequestTimeout(correlation));
    }

    pub(super) fn register(&mut self, core: &mut Core, incarnation: Uuid) {
        if self.process.incarnation != incarnation || self.process.epoch.is_some() {
            return;
        }
        let request = RegisterBroker {
            broker_id: self.broker_id(),
            cluster_id: CLUSTER_ID.to_owned(),
            incarnation_id: incarnation,
            listeners: vec![BrokerListener {
                name: "PLAINTEXT".to_owned(),
                host: format!("broker-{}", self.id),
                port: 9092,
                security_protocol: 0,
            }],
            features: FeatureRange::supported(),
            rack: None,
            log_dirs: vec![self.disk.directory],
            previous_broker_epoch: self.process.previous_epoch,
            waited_ms: 0,
        };
        self.ask(core, Asked::Register, ToController::Register(request));
    }

    pub(super) fn heartbeat_due(&mut self, core: &mut Core) {
        let is_under_way = self.process.asked.values().any(|asked| matches!(asked, Asked::Heartbeat { .. }));
        let Some(broker_epoch) = self.process.epoch.filter(|_| !is_under_way) else { return };
        let request = Heartbeat {
            broker_id: self.broker_id(),
            broker_epoch,
            metadata_offset: self.process.image.position().offset,
            want_fence: false,
            want_shutdown: self.process.wants_shutdown,
            offline_log_dirs: Vec::new(),
            full_log_dirs: Vec::new(),
            cordoned_log_dirs: Vec::new(),
            replica_directories: Vec::new(),
        };
        self.ask(core, Asked::Heartbeat { sent_at: core.now }, ToController::Heartbeat(request));
    }

    fn ask_another_controller(&mut self, core: &mut Core, leader: Option<usize>) {
        self.process.controller = leader.unwrap_or_else(|| core.random.below(CONTROLLERS));
    }

    pub(super) fn request_timed_out(&mut self, core: &mut Core, correlation: Correlation) {
        let Some(asked) = self.process.asked.remove(&correlation) else { return };
        self.ask_another_controller(core, None);
        self.ask_again(core, asked, 0);
    }

    /// The outcome of a request is not known.
    fn ask_again(&mut self, core: &mut Core, asked: Asked, delay_ms: i64) {
        match asked {
            Asked::Register => {
                let incarnation = self.process.incarnation;
                self.timer(core, delay_ms, Timer::Register { incarnation });
            }
            Asked::Heartbeat { .. } => self.timer(core, delay_ms, Timer::Heartbeat),
            Asked::AlterPartition { part, leader_epoch } => {
                self.alter_partition_unknown(core, part, leader_epoch);
            }
            Asked::ProducerIds => {
                for waiter in std::mem::take(&mut self.process.waiting_for_ids) {
                    self.refuse_producer_id(core, waiter);
                }
            }
        }
    }

    pub(super) fn controller_answered(
        &mut self,
        core: &mut Core,
        correlation: Correlation,
        answer: FromController,
    ) {
        let Some(asked) = self.process.asked.remove(&correlation) else { return };
        match (asked, answer) {
            (Asked::Register, FromController::Registered(epoch)) => {
                self.process.epoch = Some(epoch);
                self.timer(core, 0, Timer::Heartbeat);
            }
            (Asked::Heartbeat { sent_at }, FromController::Heartbeat(reply)) => {
                if !reply.is_fenced {
                    self.process.answered.get_or_insert((sent_at, reply.metadata_offset));
                    self.take_answered();
                }
                self.process.is_fenced = reply.is_fenced;
                self.process.is_serving |= !reply.is_fenced;
                if self.process.wants_shutdown && reply.should_shut_down {
                    self.exit = Some(Exit::Clean);
                    return;
                }
                let is_soon = reply.is_fenced || self.process.wants_shutdown;
                let delay = if is_soon { HEARTBEAT_SOON_MS } else { HEARTBEAT_MS };
                self.timer(core, delay, Timer::Heartbeat);
            }
            (Asked::AlterPartition { part, leader_epoch }, FromController::Altered(result)) => {
                self.alter_partition_answered(core, part, leader_epoch, result);
            }
            (Asked::ProducerIds, FromController::ProducerIds(block)) => {
                core.coverage.note(Happened::ProducerIdBlock);
                core.invariants.producer_block(block.first.0, block.count);
                self.process.producer_ids = block.first.0..block.first.0 + IDS_USED_MAX;
                self.give_producer_ids(core);
            }
            (Asked::Heartbeat { .. }, FromController::Refused(ErrorCode::StaleBrokerEpoch)) => {
                self.exit = Some(Exit::Unclean);
            }
            (asked, FromController::NotController { leader }) => {
                self.ask_another_controller(core, leader);
                self.ask_again(core, asked, RETRY_MS);
            }
            // Refused as a whole: a stale epoch, which the next heartbeat finds out, or a session that is still to end.
            (asked, FromController::Refused(_)) => self.ask_again(core, asked, RETRY_MS),
            (asked, answer) => unreachable!("asked {asked:?}, was answered {answer:?}"),
        }
    }

    /// An answered heartbeat counts when the metadata is here up to where it was then.
    pub(super) fn take_answered(&mut self) {
        let known = self.process.image.position().offset;
        if let Some((sent_at, _)) = self.process.answered.take_if(|(_, after)| *after <= known) {
            self.process.counted_in_at = self.process.counted_in_at.max(Some(sent_at));
        }
    }

    /// Whether the controllers may have given to others what this broker coordinates, as `ControlPlane::may_be_replaced`.
    pub(super) fn may_be_replaced(&self, now: i64) -> bool {
        self.process.counted_in_at.is_none_or(|sent_at| now - sent_at >= SESSION_MS)
    }

    fn refuse_producer_id(&mut self, core: &mut Core, waiter: Waiter) {
        let code = ErrorCode::CoordinatorNotAvailable;
        match waiter {
            Waiter::Client(to, correlation) => self.answer_error(core, to, correlation, OFFSETS_PART, code),
            Waiter::Coordinator(allocation_id) => self.producer_id_allocated(allocation_id, Err(code)),
        }
    }

    pub(super) fn want_producer_id(&mut self, core: &mut Core, waiter: Waiter) {
        self.process.waiting_for_ids.push_back(waiter);
        if self.process.waiting_for_ids.len() > WAITING_FOR_IDS_MAX
            && let Some(waiter) = self.process.waiting_for_ids.pop_front()
        {
            self.refuse_producer_id(core, waiter);
        }
        self.give_producer_ids(core);
        let is_under_way = self.process.asked.values().any(|asked| matches!(asked, Asked::ProducerIds));
        if let Some(broker_epoch) = self.process.epoch
            && !self.process.waiting_for_ids.is_empty()
            && !is_under_way
        {
            let request = AllocateProducerIds { broker_id: self.broker_id(), broker_epoch };
            self.ask(core, Asked::ProducerIds, ToController::AllocateProducerIds(request));
        }
    }

    fn give_producer_ids(&mut self, core: &mut Core) {
        while let Some(waiter) = self.process.waiting_for_ids.front().copied() {
            let Some(id) = self.process.producer_ids.next() else { return };
            self.process.waiting_for_ids.pop_front();
            core.invariants.producer_id(id);
            match waiter {
                Waiter::Client(to, correlation) => {
                    self.answer(core, to, correlation, FromBroker::ProducerId(id));
                }
                Waiter::Coordinator(allocation_id) => self.producer_id_allocated(allocation_id, Ok(id)),
            }
        }
    }
}
