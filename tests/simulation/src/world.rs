//! One run: all nodes, and the three phases they go through.

use std::collections::BTreeMap;

use crate::broker::{Broker, Exit, refuse_connection};
use crate::bug::Bug;
use crate::client::{Admin, Client, CommittedReader, Consumer, Member, Producer, Transactor};
use crate::controller::Controller;
use crate::core::{Core, Plan};
use crate::coverage::{Coverage, Happened};
use crate::event::{Event, Timer};
use crate::invariants::Violation;
use crate::message::{Message, Node};
use crate::nemesis::Fault;
use crate::random::Random;
use crate::topology::{BROKERS, CONTROLLERS, DATA_PARTS, LOOSE_PART, PARTS};
use crate::trace::Trace;

/// A cluster without faults has its topics by then.
const BOOTSTRAP_MS_MAX: i64 = 20_000;
const FAULTS_MS: i64 = 12_000;
/// Fewer acknowledged batches than that under faults show nothing.
pub(crate) const ACKED_MIN: u64 = 40;
/// A healed cluster is whole again by then: every timeout there is has passed several times.
const LIVENESS_MS_MAX: i64 = 20_000;
/// Events between two looks at whether all is well.
const SETTLED_EVERY: u64 = 64;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Until the topics are there.
    Bootstrap,
    /// Faults, and nothing may be lost.
    Safety,
    /// No faults: all must be well in the end.
    Liveness,
    Over,
}

/// See the module.
pub(crate) struct World {
    pub(crate) core: Core,
    pub(crate) controllers: Vec<Controller>,
    pub(crate) brokers: Vec<Broker>,
    clients: Vec<Client>,
    pub(crate) paused_until: BTreeMap<Node, i64>,
    pub(crate) cuts_next_voter: bool,
    pub(crate) mutes_winners_until: i64,
    phase: Phase,
    phase_ends_at: i64,
    faults_end_max: i64,
    steps: u64,
}

impl Plan {
    fn draw(random: &mut Random, bug: Option<Bug>) -> Self {
        let has_elr = random.per_mille(700);
        let min_isr = if random.per_mille(800) { 2 } else { 1 };
        let is_interval = random.per_mille(150) || bug == Some(Bug::UncleanStopCalledClean);
        Self {
            has_elr,
            min_isr,
            counts_page_cache: is_interval && has_elr && min_isr == 2,
            fetches_ahead: random.per_mille(500),
            faults_ms: FAULTS_MS,
            has_transactions: true,
            group_size: 2,
            strikes: if random.per_mille(400) { u32::MAX } else { random.bits() as u32 },
            aimed_at: random.pick(&PARTS),
            strike_ms_max: random.pick(&[200, 700, 700, 1_500]),
            down_ms_max: random.pick(&[400, 2_600, 2_600]),
        }
    }
}

impl World {
    pub(crate) fn new(seed: u64, bug: Option<Bug>, is_traced: bool) -> Self {
        let mut random = Random::new(seed);
        // Every other run has none: with their load what befalls the rest is rarer.
        let plan = Plan { has_transactions: seed.is_multiple_of(2), ..Plan::draw(&mut random, bug) };
        let core = Core::new(random, plan, bug, Trace::new(is_traced));
        let mut world = Self {
            controllers: (0..CONTROLLERS).map(|id| Controller::new(id, &plan)).collect(),
            brokers: (1..=BROKERS).map(Broker::new).collect(),
            clients: Vec::new(),
            paused_until: BTreeMap::new(),
            cuts_next_voter: false,
            mutes_winners_until: 0,
            phase: Phase::Bootstrap,
            phase_ends_at: core.now + BOOTSTRAP_MS_MAX,
            faults_end_max: 0,
            steps: 0,
            core,
        };
        world.core.trace.line(world.core.now, || format!("seed {seed} {plan:?}"));
        world.start();
        world
    }

    fn start(&mut self) {
        let Self { core, controllers, brokers, clients, .. } = self;
        controllers.iter_mut().for_each(|controller| controller.start(core));
        brokers.iter_mut().for_each(|broker| broker.start(core));
        clients.push(Client::Admin(Admin::new(0)));
        for part in DATA_PARTS.into_iter().chain([LOOSE_PART]) {
            clients.push(Client::Producer(Producer::new(clients.len(), part, true)));
            clients.push(Client::Consumer(Consumer::new(clients.len(), part)));
        }
        clients.push(Client::Producer(Producer::new(clients.len(), DATA_PARTS[0], true)));
        clients.push(Client::Producer(Producer::new(clients.len(), DATA_PARTS[1], false)));
        for _ in 0..core.plan.group_size {
            clients.push(Client::Member(Member::new(clients.len(), "members", false)));
        }
        clients.push(Client::Member(Member::new(clients.len(), "simple", true)));
        // Two that fence each other, and one that knows the older transactions.
        let transactors = [("contended", 2), ("contended", 2), ("old", 0)];
        for (transactional_id, version) in transactors.into_iter().filter(|_| core.plan.has_transactions) {
            clients.push(Client::Transactor(Transactor::new(clients.len(), transactional_id, version)));
        }
        for part in DATA_PARTS {
            clients.push(Client::CommittedReader(CommittedReader::new(clients.len(), part)));
        }
        for (index, client) in clients.iter().enumerate() {
            client.start(core, index);
        }
    }

    /// Runs to the end, or to the first violation.
    pub(crate) fn run(&mut self) {
        while self.phase != Phase::Over && self.core.invariants.violation.is_none() {
            let Some(event) = self.core.next() else { return };
            self.steps += 1;
            self.step(event);
            self.look_at_suspects();
            self.turn_phase();
        }
    }

    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    pub(crate) fn now(&self) -> i64 {
        self.core.now
    }

    /// What was found, what happened, and the last events.
    pub(crate) fn finish(self) -> (Option<Violation>, Coverage, Vec<String>) {
        (self.core.invariants.violation, self.core.coverage, self.core.trace.into_lines())
    }

    fn step(&mut self, event: Event) {
        let node = match &event {
            Event::Deliver { to, .. } => Some(*to),
            Event::Timer { node, .. } => Some(*node),
            Event::Fault(_) | Event::Nemesis => None,
        };
        if let Some(until) = node.and_then(|node| self.paused_until.get(&node))
            && self.core.now < *until
        {
            // It sleeps: what comes waits in its queues.
            return self.core.schedule(*until, event);
        }
        match event {
            Event::Deliver { from, to, message } => self.deliver(from, to, *message),
            Event::Timer { node, life, timer } => self.wake(node, life, timer),
            Event::Fault(Fault::QuickDisk(broker)) => self.core.slow_disk_ms[broker as usize] = 0,
            Event::Fault(Fault::ForgetVoter) => self.cuts_next_voter = false,
            Event::Nemesis if self.phase == Phase::Safety => self.strike(),
            Event::Nemesis => {}
        }
        self.end_processes();
    }

    fn deliver(&mut self, from: Node, to: Node, message: Message) {
        let Self { core, controllers, brokers, clients, .. } = self;
        core.trace.line(core.now, || format!("{from:?} -> {to:?} {}", message.name()));
        match to {
            Node::Controller(id) => {
                if controllers[id].is_up {
                    controllers[id].handle(core, from, message);
                }
            }
            Node::Broker(id) => {
                if let (Node::Client(client), Message::ToBroker(_, request)) = (from, &message)
                    && request
                        .connection()
                        .is_some_and(|connection| !clients[client].has_connection(connection))
                {
                    return;
                }
                // A marker of version 1 has its producer's epoch, and would end the next transaction if it came late: it goes by
                // a connection, which the coordinator closes when it asks again.
                if let (Node::Broker(coordinator), Message::ToBroker(correlation, request)) = (from, &message)
                    && request.is_marker_of_version_1()
                    && !brokers[coordinator as usize - 1].waits_for(*correlation)
                {
                    return;
                }
                let broker = &mut brokers[id as usize - 1];
                if broker.is_up {
                    broker.handle(core, from, message);
                } else {
                    refuse_connection(core, id, from, message);
                }
            }
            Node::Client(index) => clients[index].handle(core, message),
        }
    }

    fn wake(&mut self, node: Node, life: u32, timer: Timer) {
        let Self { core, controllers, brokers, clients, .. } = self;
        match node {
            Node::Controller(id) if controllers[id].life == life => match timer {
                Timer::Start => {
                    core.trace.line(core.now, || format!("{node:?} starts"));
                    controllers[id].start(core);
                }
                timer => controllers[id].handle_timer(core, timer),
            },
            Node::Broker(id) if brokers[id as usize - 1].life == life => {
                let broker = &mut brokers[id as usize - 1];
                match timer {
                    Timer::Start => {
                        core.trace.line(core.now, || format!("{node:?} starts"));
                        broker.start(core);
                    }
                    timer => broker.handle_timer(core, timer),
                }
            }
            Node::Client(index) => clients[index].tick(core, index),
            Node::Controller(_) | Node::Broker(_) => {}
        }
    }

    /// Processes that end by themselves, and a voter whose power is to go.
    fn end_processes(&mut self) {
        for broker in &mut self.brokers {
            let Some(exit) = broker.exit.take() else { continue };
            self.core.trace.line(self.core.now, || format!("broker {} ends: {exit:?}", broker.id));
            broker.stop(Some(exit));
            let delay = if exit == Exit::Clean { self.core.random.between(20, 400) } else { 20 };
            self.core.timer(delay, Node::Broker(broker.id), broker.life, Timer::Start);
        }
        for id in 0..CONTROLLERS {
            let Some(candidate) = self.controllers[id].has_voted_for.take() else { continue };
            if self.cuts_next_voter {
                self.cuts_next_voter = false;
                self.stop_controller(id, 60, true);
            }
            if self.core.now < self.mutes_winners_until {
                self.mute_controller(candidate);
            }
        }
    }

    /// Whoever may be elected has to have all that is committed.
    fn look_at_suspects(&mut self) {
        let suspects = self.core.invariants.take_suspects();
        if !suspects.contains(&true) {
            return;
        }
        for part in PARTS.into_iter().filter(|part| suspects[part.0]) {
            let image = self.core.invariants.image().clone();
            let Some((_, partition)) = part.find(&image) else { continue };
            for member in partition.isr.iter().chain(&partition.elr) {
                let log = &mut self.brokers[member.0 as usize - 1].disk.logs[part.0];
                self.core.invariants.member(member.0, part, log, self.core.plan.counts_page_cache);
            }
        }
    }

    // ---- phases ----

    fn turn_phase(&mut self) {
        let is_time = self.core.now >= self.phase_ends_at;
        match self.phase {
            Phase::Bootstrap => {
                let image = self.core.invariants.image();
                if PARTS.iter().all(|part| part.find(image).is_some()) {
                    self.phase = Phase::Safety;
                    self.phase_ends_at = self.core.now + self.core.plan.faults_ms;
                    self.faults_end_max = self.core.now + 4 * self.core.plan.faults_ms;
                    self.core.schedule(self.core.now, Event::Nemesis);
                } else if is_time {
                    self.violate("liveness", "no topics without any fault".to_owned());
                }
            }
            // A run that was hit too hard to do anything goes on a while: it has shown nothing yet.
            Phase::Safety if is_time && self.is_idle() => self.phase_ends_at += FAULTS_MS / 4,
            Phase::Safety if is_time => self.heal(),
            Phase::Liveness if self.steps.is_multiple_of(SETTLED_EVERY) || is_time => {
                match self.unsettled() {
                    None => {
                        self.compare_replicas();
                        let verdict = self.core.invariants.transactions.check_end();
                        self.core.invariants.judge("transactions_are_whole", verdict);
                        self.phase = Phase::Over;
                    }
                    Some(text) if is_time => self.violate("liveness", text),
                    Some(_) => {}
                }
            }
            Phase::Safety | Phase::Liveness | Phase::Over => {}
        }
    }

    /// Whether the faults last longer than they were to.
    pub(crate) fn is_overdue(&self) -> bool {
        self.core.now > self.faults_end_max - 3 * self.core.plan.faults_ms
    }

    fn is_idle(&self) -> bool {
        self.core.coverage.count(Happened::AckedAll) < ACKED_MIN && self.core.now < self.faults_end_max
    }

    fn violate(&mut self, name: &str, text: String) {
        self.core.invariants.judge(name, Err(text));
    }

    /// All faults end. Who is down comes back by itself.
    fn heal(&mut self) {
        self.core.trace.line(self.core.now, || "** heal".to_owned());
        self.phase = Phase::Liveness;
        self.phase_ends_at = self.core.now + LIVENESS_MS_MAX;
        self.core.network.heal();
        self.core.slow_disk_ms = Default::default();
        self.cuts_next_voter = false;
        self.mutes_winners_until = 0;
        self.clients.iter_mut().for_each(Client::finish);
    }

    /// What is not well yet.
    fn unsettled(&self) -> Option<String> {
        if let Some(text) = self.clients.iter().find_map(|client| client.unfinished(&self.core)) {
            return Some(text);
        }
        let (image, length) = (self.core.invariants.image(), self.core.invariants.images.len());
        if let Some(late) = self.controllers.iter().find(|controller| controller.applied < length) {
            return Some(format!("controller {} applied {} of {length}", late.id, late.applied));
        }
        let unsettled = self.brokers.iter().find(|broker| !broker.is_settled(image));
        unsettled.map(|broker| format!("broker {} is not settled: {}", broker.id, broker.describe()))
    }

    /// In the end all replicas of a partition have the same records, and all of them are committed.
    fn compare_replicas(&mut self) {
        let image = self.core.invariants.image().clone();
        for part in PARTS {
            let Some((_, partition)) = part.find(&image) else { continue };
            let logs: Vec<_> = partition
                .replicas
                .iter()
                .map(|replica| &self.brokers[replica.0 as usize - 1].disk.logs[part.0])
                .collect();
            let first = logs[0].from(0);
            let is_same = |one: &[crate::log::Batch], other: &[crate::log::Batch]| {
                one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.is_same(other))
            };
            let all_same = logs.iter().all(|log| is_same(log.from(0), first));
            let committed = self.core.invariants.committed(part);
            let all_committed = committed.is_given_up() || is_same(committed.batches(), first);
            if !all_same || !all_committed {
                self.violate("replicas_agree", format!("in the end the replicas of {part:?} differ"));
            }
        }
    }
}
