//! Draws the faults of a run and applies them.

use moldau_model::{BrokerId, Uuid};

use crate::broker::BrokerDisk;
use crate::core::{Core, Plan};
use crate::coverage::Happened;
use crate::event::{Event, Timer};
use crate::message::Node;
use crate::network::Weather;
use crate::topology::{BROKERS, CONTROLLERS, PARTS};
use crate::world::World;

const PAUSE_MS_MIN: i64 = 60;
const LEISURE_MS_MAX: i64 = 12_000;

/// A fault whose end is an event of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// The disk of this broker is as quick as before.
    QuickDisk(i32),
    /// The next controller that votes loses its power.
    ForgetVoter,
}

#[derive(Clone, Copy, Debug)]
enum Strike {
    KillBroker,
    BrokerPower,
    AllBrokersPower,
    PauseBroker,
    ShutDownBroker,
    WipeBroker,
    SlowDisk,
    KillController,
    ControllerPower,
    PauseController,
    VoterPower,
    MuteWinners,
    CutLink,
    Isolate,
    Weather,
}

/// With their weights.
const STRIKES: &[(Strike, usize)] = &[
    (Strike::KillBroker, 14),
    (Strike::BrokerPower, 16),
    (Strike::AllBrokersPower, 2),
    (Strike::PauseBroker, 12),
    (Strike::ShutDownBroker, 8),
    (Strike::WipeBroker, 5),
    (Strike::SlowDisk, 6),
    (Strike::KillController, 5),
    (Strike::ControllerPower, 6),
    (Strike::PauseController, 5),
    (Strike::VoterPower, 5),
    (Strike::MuteWinners, 5),
    (Strike::CutLink, 16),
    (Strike::Isolate, 10),
    (Strike::Weather, 10),
];

impl World {
    /// One fault, and the time of the next.
    pub(crate) fn strike(&mut self) {
        let plan = self.core.plan;
        let is_drawn = |number: usize| plan.strikes & (1 << number) != 0;
        let drawn =
            || STRIKES.iter().enumerate().filter(|(number, _)| is_drawn(*number)).map(|(_, strike)| strike);
        let total: usize = drawn().map(|(_, weight)| weight).sum();
        let mut dice = self.core.random.below(total.max(1));
        let mut chosen = Strike::Weather;
        for (strike, weight) in drawn() {
            if dice < *weight {
                chosen = *strike;
                break;
            }
            dice -= weight;
        }
        self.core.trace.line(self.core.now, || format!("** {chosen:?}"));
        self.apply_strike(chosen);
        // Where nothing gets done for faults, they come more slowly after a while.
        let pause_ms_max = if self.is_overdue() { LEISURE_MS_MAX } else { plan.strike_ms_max };
        let pause = self.core.random.between(PAUSE_MS_MIN, pause_ms_max);
        self.core.schedule(self.core.now + pause, Event::Nemesis);
    }

    fn apply_strike(&mut self, strike: Strike) {
        let broker = self.any_broker();
        let controller = self.any_controller();
        let down_ms_max = self.core.plan.down_ms_max;
        let duration = self.core.random.between(50, down_ms_max);
        match strike {
            // One disk at a time is lost, and no other restarts before that is known.
            Strike::KillBroker
            | Strike::BrokerPower
            | Strike::AllBrokersPower
            | Strike::ShutDownBroker
            | Strike::WipeBroker
                if self.is_disk_lost() => {}
            Strike::KillBroker => self.kill_broker(broker, duration),
            Strike::BrokerPower => self.cut_broker_power(broker, duration),
            Strike::AllBrokersPower => {
                if !self.core.plan.counts_page_cache {
                    self.core.coverage.note(Happened::AllBrokersLostPower);
                    for broker in 1..=BROKERS {
                        let duration = self.core.random.between(50, down_ms_max);
                        self.cut_broker_power(broker, duration);
                    }
                }
            }
            Strike::PauseBroker => {
                self.core.coverage.note(Happened::BrokerPaused);
                self.pause(Node::Broker(broker), duration);
            }
            Strike::ShutDownBroker => {
                let core = &mut self.core;
                if self.brokers[broker as usize - 1].begin_shutdown(core) {
                    core.coverage.note(Happened::BrokerShutDownCleanly);
                }
            }
            Strike::WipeBroker => self.wipe_broker(broker, duration),
            Strike::SlowDisk => {
                self.core.coverage.note(Happened::SlowDisk);
                self.core.slow_disk_ms[broker as usize] = self.core.random.between(20, 900);
                self.core.schedule(self.core.now + duration, Event::Fault(Fault::QuickDisk(broker)));
            }
            Strike::KillController => self.stop_controller(controller, duration, false),
            Strike::ControllerPower => self.stop_controller(controller, duration, true),
            Strike::PauseController => {
                self.core.coverage.note(Happened::ControllerPaused);
                self.pause(Node::Controller(controller), duration);
            }
            Strike::VoterPower => {
                self.cuts_next_voter = true;
                self.core.schedule(self.core.now + duration, Event::Fault(Fault::ForgetVoter));
                let other = (controller + 1) % CONTROLLERS;
                self.cut((Node::Controller(controller), Node::Controller(other)), true, duration);
            }
            Strike::MuteWinners => self.mutes_winners_until = self.core.now + 2 * duration,
            Strike::CutLink => {
                let from = self.any_node();
                let to = self.any_node();
                let is_both_ways = self.core.random.per_mille(400);
                if from != to {
                    self.cut((from, to), is_both_ways, duration);
                }
            }
            Strike::Isolate => {
                let node = self.any_node();
                // Clients may still reach it, and so may one side only.
                let is_both_ways = self.core.random.per_mille(600);
                for other in self.servers() {
                    if other != node {
                        self.cut((node, other), is_both_ways, duration);
                    }
                }
            }
            Strike::Weather => {
                let random = &mut self.core.random;
                self.core.network.weather = Weather {
                    lost: random.pick(&[0, 0, 20, 100]),
                    duplicated: random.pick(&[0, 10, 100]),
                    late: random.pick(&[0, 10, 60, 250]),
                };
            }
        }
    }

    /// Rather one that leads something.
    fn any_broker(&mut self) -> i32 {
        let random = &mut self.core.random;
        let leader = self
            .core
            .plan
            .aimed_at
            .find(self.core.invariants.image())
            .map(|(_, partition)| partition.leader.0);
        match leader {
            Some(leader) if leader > 0 && random.per_mille(400) => leader,
            _ => random.between(1, i64::from(BROKERS)) as i32,
        }
    }

    /// Rather one that leads, or believes to.
    fn any_controller(&mut self) -> usize {
        let leader = self.controllers.iter().filter(|c| c.is_up && c.is_leader()).max_by_key(|c| c.disk.term);
        match leader {
            Some(leader) if self.core.random.per_mille(400) => leader.id,
            _ => self.core.random.below(CONTROLLERS),
        }
    }

    fn servers(&self) -> Vec<Node> {
        (0..CONTROLLERS).map(Node::Controller).chain((1..=BROKERS).map(Node::Broker)).collect()
    }

    fn any_node(&mut self) -> Node {
        let servers = self.servers();
        self.core.random.pick(&servers)
    }

    fn cut(&mut self, (from, to): (Node, Node), is_both_ways: bool, duration: i64) {
        let Core { network, now, coverage, .. } = &mut self.core;
        network.cut(from, to, *now + duration);
        if is_both_ways {
            network.cut(to, from, *now + duration);
            coverage.note(Happened::TwoWayPartition);
        } else {
            coverage.note(Happened::OneWayPartition);
        }
    }

    /// A controller that is about to win an election is heard by nobody for a while: what it proposes stays with it.
    pub(crate) fn mute_controller(&mut self, id: usize) {
        self.core.coverage.note(Happened::WinnerMuted);
        let duration = self.core.random.between(20, 1_200);
        for other in (0..CONTROLLERS).filter(|other| *other != id) {
            self.cut((Node::Controller(id), Node::Controller(other)), false, duration);
        }
    }

    fn pause(&mut self, node: Node, duration: i64) {
        let until = self.core.now + duration;
        let paused = self.paused_until.entry(node).or_default();
        *paused = (*paused).max(until);
    }

    /// Whether some disk was lost and the controllers do not know it yet. Of replicas that all restart uncleanly they keep
    /// the last in the ISR, and would keep the one that has nothing.
    fn is_disk_lost(&self) -> bool {
        self.core.invariants.is_any_lacking()
    }

    /// kill -9: the page cache stays.
    fn kill_broker(&mut self, id: i32, duration: i64) {
        let broker = &mut self.brokers[id as usize - 1];
        if !broker.is_up {
            return;
        }
        self.core.coverage.note(Happened::BrokerKilled);
        broker.stop(None);
        self.paused_until.remove(&Node::Broker(id));
        self.core.timer(duration, Node::Broker(id), self.brokers[id as usize - 1].life, Timer::Start);
    }

    fn cut_broker_power(&mut self, id: i32, duration: i64) {
        // From the page cache, records are safe on one machine only as long as they are on another.
        if self.core.plan.counts_page_cache && !self.others_hold_all(id) {
            return;
        }
        if !self.brokers[id as usize - 1].is_up {
            return;
        }
        self.core.coverage.note(Happened::BrokerLostPower);
        self.kill_broker(id, duration);
        let mut has_lost = false;
        for log in &mut self.brokers[id as usize - 1].disk.logs {
            let kept = self.core.random.between(log.synced_end(), log.end());
            has_lost |= log.lose_power(kept);
        }
        if has_lost {
            self.core.coverage.note(Happened::UnsyncedRecordsLost);
            if self.core.plan.counts_page_cache {
                self.core.invariants.lost_records(id);
            }
        }
    }

    /// Whether of every partition that the broker holds somebody else in the ISR has everything, and nobody else who may be
    /// elected is about to restart. Eligible leader replicas survive the loss of one of two copies, not of both; and the end
    /// of a reassignment may leave one copy alone, in Kafka as here.
    fn others_hold_all(&self, id: i32) -> bool {
        let image = self.core.invariants.image();
        let holds = |other: &BrokerId| {
            self.brokers[other.0 as usize - 1].is_well() && !self.core.invariants.is_lacking(other.0)
        };
        PARTS.iter().filter_map(|part| part.find(image)).all(|(_, partition)| {
            let is_other = |other: &&BrokerId| other.0 != id;
            !partition.replicas.contains(&BrokerId(id))
                || (!partition.is_reassigning()
                    && partition.isr.iter().any(|other| other.0 != id)
                    && partition.isr.iter().chain(&partition.elr).filter(is_other).all(holds))
        })
    }

    /// A follower comes back with an empty disk. Without eligible leader replicas, or with a smallest ISR of one, it could
    /// be the last one of its ISR (KIP-966), so there it is not done.
    fn wipe_broker(&mut self, id: i32, duration: i64) {
        let image = self.core.invariants.image();
        let leads = PARTS
            .iter()
            .filter_map(|part| part.find(image))
            .any(|(_, partition)| partition.leader == BrokerId(id));
        let Plan { has_elr, min_isr, .. } = self.core.plan;
        if leads || !has_elr || min_isr < 2 || !self.others_hold_all(id) {
            return;
        }
        self.core.coverage.note(Happened::BrokerWiped);
        self.kill_broker(id, duration);
        let number = (u128::from(self.core.random.bits()) << 64) | u128::from(self.core.random.bits());
        let directory = Uuid::from_random_bytes(number.to_be_bytes());
        self.brokers[id as usize - 1].disk = BrokerDisk::new(directory);
        self.core.invariants.lost_records(id);
    }

    pub(crate) fn stop_controller(&mut self, id: usize, duration: i64, loses_power: bool) {
        let controller = &mut self.controllers[id];
        if !controller.is_up {
            return;
        }
        controller.stop();
        self.core.coverage.note(Happened::ControllerKilled);
        if loses_power {
            self.core.coverage.note(Happened::ControllerLostPower);
            let kept = self.core.random.below(controller.disk.unsynced() + 1);
            if controller.disk.lose_power(kept) {
                self.core.coverage.note(Happened::UnsyncedMetadataLost);
            }
        }
        let life = controller.life;
        self.paused_until.remove(&Node::Controller(id));
        self.core.timer(duration, Node::Controller(id), life, Timer::Start);
    }
}
