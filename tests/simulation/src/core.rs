//! What all nodes of a run share: time, the events to come, chance, the network, and the judges.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use moldau_model::TimestampMs;

use crate::bug::Bug;
use crate::coverage::Coverage;
use crate::event::{Event, Timer};
use crate::invariants::Invariants;
use crate::message::{Correlation, Message, Node, Part};
use crate::network::Network;
use crate::random::Random;
use crate::trace::Trace;

/// What a seed decides once for the whole run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) has_elr: bool,
    pub(crate) min_isr: i32,
    /// Acknowledge from the page cache (`flush.policy=interval`): then no two replicas may lose power.
    pub(crate) counts_page_cache: bool,
    /// Followers fetch on before what they have is durable.
    pub(crate) fetches_ahead: bool,
    /// How long the faults last.
    pub(crate) faults_ms: i64,
    /// Whether producers write in transactions, and readers of committed records follow them.
    pub(crate) has_transactions: bool,
    pub(crate) group_size: usize,
    /// Which kinds of faults there are, one bit each: a run of few kinds goes deeper than one of all.
    pub(crate) strikes: u32,
    /// The partition whose leader is hit more often than other brokers.
    pub(crate) aimed_at: Part,
    /// The longest pause between two of them.
    pub(crate) strike_ms_max: i64,
    /// The longest that a node stays down or asleep, and a link cut.
    pub(crate) down_ms_max: i64,
}

struct Scheduled {
    at: i64,
    number: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// In the order of time, and of scheduling where times are equal.
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// See the module.
pub(crate) struct Core {
    pub(crate) now: i64,
    pub(crate) random: Random,
    pub(crate) network: Network,
    pub(crate) invariants: Invariants,
    pub(crate) coverage: Coverage,
    pub(crate) trace: Trace,
    pub(crate) plan: Plan,
    pub(crate) bug: Option<Bug>,
    /// Extra milliseconds that a sync takes, by broker.
    pub(crate) slow_disk_ms: [i64; 6],
    queue: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    ids: u64,
}

impl Core {
    pub(crate) fn new(random: Random, plan: Plan, bug: Option<Bug>, trace: Trace) -> Self {
        Self {
            // A clock that begins at zero would hide the mistake of taking zero for "never".
            now: 1_000_000,
            random,
            network: Network::default(),
            invariants: Invariants::default(),
            coverage: Coverage::default(),
            trace,
            plan,
            bug,
            slow_disk_ms: [0; 6],
            queue: BinaryHeap::new(),
            scheduled: 0,
            ids: 0,
        }
    }

    pub(crate) fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    pub(crate) fn timestamp(&self) -> TimestampMs {
        TimestampMs(self.now)
    }

    /// A number that is used once in a run.
    pub(crate) fn unique(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    pub(crate) fn correlation(&mut self) -> Correlation {
        Correlation(self.unique())
    }

    pub(crate) fn schedule(&mut self, at: i64, event: Event) {
        self.scheduled += 1;
        self.queue.push(Reverse(Scheduled { at, number: self.scheduled, event }));
    }

    pub(crate) fn timer(&mut self, delay_ms: i64, node: Node, life: u32, timer: Timer) {
        self.schedule(self.now + delay_ms, Event::Timer { node, life, timer });
    }

    pub(crate) fn send(&mut self, from: Node, to: Node, message: Message) {
        self.send_by(from, to, message, false);
    }

    /// Over a connection nothing comes twice.
    pub(crate) fn send_by(&mut self, from: Node, to: Node, message: Message, is_connection: bool) {
        let delays =
            self.network.delays((from, to), is_connection, self.now, &mut self.random, &mut self.coverage);
        for delay in delays {
            let event = Event::Deliver { from, to, message: Box::new(message.clone()) };
            self.schedule(self.now + delay, event);
        }
    }

    /// The next event, to whose time the clock is set.
    pub(crate) fn next(&mut self) -> Option<Event> {
        let Reverse(scheduled) = self.queue.pop()?;
        assert!(scheduled.at >= self.now, "time went back");
        self.now = scheduled.at;
        Some(scheduled.event)
    }

    /// Milliseconds that a sync of this broker takes now.
    pub(crate) fn sync_ms(&mut self, broker: i32) -> i64 {
        let usual = if self.random.per_mille(150) { 80 } else { 6 };
        self.random.between(1, usual) + self.slow_disk_ms[broker as usize]
    }
}
