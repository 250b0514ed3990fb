//! Creates the topics, gives leadership back to preferred replicas now and then, and moves replicas about.

use moldau_metadata::PartitionRegistration;
use moldau_model::BrokerId;

use crate::core::Core;
use crate::message::{Correlation, FromController, Message, Node, ToController};
use crate::topology::{BROKERS, CONTROLLERS, LOOSE_PART, PARTS};

const REQUEST_MS: i64 = 600;
const ELECT_MS_MAX: i64 = 6_000;
const MOVE_MS_MAX: i64 = 5_000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Admin {
    client: usize,
    controller: usize,
    outstanding: Option<(Correlation, i64)>,
    elect_at: i64,
    move_at: i64,
    is_finishing: bool,
}

impl Admin {
    pub(crate) fn new(client: usize) -> Self {
        Self { client, controller: 0, outstanding: None, elect_at: 0, move_at: i64::MAX, is_finishing: false }
    }

    pub(super) fn tick(&mut self, core: &mut Core) {
        if self.outstanding.is_some_and(|(_, deadline)| core.now > deadline) {
            self.outstanding = None;
            self.controller = core.random.below(CONTROLLERS);
        }
        if self.outstanding.is_some() {
            return;
        }
        let image = core.invariants.image();
        let has_topics = PARTS.iter().all(|part| part.find(image).is_some());
        let active = image.brokers().filter(|broker| broker.is_active()).count();
        let request = if !has_topics {
            if active < BROKERS as usize {
                return;
            }
            self.move_at = core.now + core.random.between(500, MOVE_MS_MAX);
            ToController::CreateTopics
        } else if core.now >= self.elect_at {
            let pause = if self.is_finishing { 500 } else { core.random.between(1_000, ELECT_MS_MAX) };
            self.elect_at = core.now + pause;
            ToController::ElectPreferred
        } else if core.now >= self.move_at && !self.is_finishing && !core.invariants.is_any_lacking() {
            self.move_at = core.now + core.random.between(500, MOVE_MS_MAX);
            reassignment(core)
        } else {
            return;
        };
        let correlation = core.correlation();
        self.outstanding = Some((correlation, core.now + REQUEST_MS));
        let to = Node::Controller(self.controller);
        core.send(Node::Client(self.client), to, Message::ToController(correlation, request));
    }

    pub(super) fn handle(&mut self, core: &mut Core, correlation: Correlation, answer: &FromController) {
        if self.outstanding.is_none_or(|(outstanding, _)| outstanding != correlation) {
            return;
        }
        self.outstanding = None;
        if let FromController::NotController { leader } = answer {
            self.controller = leader.unwrap_or_else(|| core.random.below(CONTROLLERS));
            self.elect_at = core.now;
        }
    }

    pub(super) fn finish(&mut self) {
        self.is_finishing = true;
        self.elect_at = 0;
    }

    /// In the end every partition is led by its preferred replica, with all replicas in sync.
    pub(super) fn unfinished(&self, core: &Core) -> Option<String> {
        let image = core.invariants.image();
        let is_well = |partition: &PartitionRegistration| {
            partition.leader == partition.preferred_replica()
                && partition.isr.len() == partition.replicas.len()
                && !partition.is_reassigning()
        };
        PARTS.iter().find_map(|part| match part.find(image) {
            Some((_, partition)) if is_well(partition) => None,
            other => Some(format!("{part:?} is {other:?}")),
        })
    }
}

/// Other replicas for some partition, as many as it had; or the end of a move under way.
fn reassignment(core: &mut Core) -> ToController {
    let part = core.random.pick(&PARTS);
    let known = part.find(core.invariants.image()).map(|(_, partition)| partition.clone());
    let is_moving = known.as_ref().is_some_and(PartitionRegistration::is_reassigning);
    if is_moving && core.random.per_mille(300) {
        return ToController::Reassign { part, replicas: None };
    }
    let count = if part == LOOSE_PART { 2 } else { 3 };
    let mut replicas: Vec<BrokerId> = (1..=BROKERS).map(BrokerId).collect();
    while replicas.len() > count {
        replicas.remove(core.random.below(replicas.len()));
    }
    let first = core.random.below(count);
    replicas.swap(0, first);
    ToController::Reassign { part, replicas: Some(replicas) }
}
