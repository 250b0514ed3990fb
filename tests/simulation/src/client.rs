//! The clients: producers, consumers, members of groups, an administrator.

mod admin;
mod committed_reader;
mod consumer;
mod member;
mod producer;
mod transactor;

use moldau_model::BrokerId;

use crate::core::Core;
use crate::event::Timer;
use crate::message::{Correlation, LeaderHint, Message, Node, ToBroker};
use crate::topology::BROKERS;

pub(crate) use admin::Admin;
pub(crate) use committed_reader::CommittedReader;
pub(crate) use consumer::Consumer;
pub(crate) use member::Member;
pub(crate) use producer::Producer;
pub(crate) use transactor::Transactor;

const TICK_MS: i64 = 20;

/// One client.
#[derive(Debug)]
pub(crate) enum Client {
    Producer(Producer),
    Consumer(Consumer),
    Member(Member),
    Admin(Admin),
    Transactor(Transactor),
    CommittedReader(CommittedReader),
}

/// What a client knows of where a partition is led.
#[derive(Clone, Copy, Debug)]
struct KnownLeader {
    broker: i32,
    epoch: i32,
}

impl KnownLeader {
    fn new() -> Self {
        Self { broker: 1, epoch: -1 }
    }

    /// An error came, or nothing did: the newest word of a leader counts, else somebody else is tried.
    fn look_elsewhere(&mut self, core: &mut Core, hint: Option<LeaderHint>) {
        if let Some(hint) = hint.filter(|hint| hint.leader_epoch > self.epoch) {
            self.epoch = hint.leader_epoch;
            if let Some(BrokerId(leader)) = hint.leader {
                self.broker = leader;
                return;
            }
        }
        self.broker = core.random.between(1, i64::from(BROKERS)) as i32;
    }
}

impl Client {
    pub(crate) fn start(&self, core: &mut Core, index: usize) {
        let delay = core.random.between(1, TICK_MS);
        core.timer(delay, Node::Client(index), 0, Timer::ClientTick);
    }

    pub(crate) fn tick(&mut self, core: &mut Core, index: usize) {
        core.timer(TICK_MS, Node::Client(index), 0, Timer::ClientTick);
        match self {
            Self::Producer(producer) => producer.tick(core),
            Self::Consumer(consumer) => consumer.tick(core),
            Self::Member(member) => member.tick(core),
            Self::Admin(admin) => admin.tick(core),
            Self::Transactor(transactor) => transactor.tick(core),
            Self::CommittedReader(reader) => reader.tick(core),
        }
    }

    pub(crate) fn handle(&mut self, core: &mut Core, message: Message) {
        match (self, message) {
            (Self::Producer(client), Message::FromBroker(correlation, answer)) => {
                client.handle(core, correlation, answer);
            }
            (Self::Consumer(client), Message::FromBroker(correlation, answer)) => {
                client.handle(core, correlation, answer);
            }
            (Self::Member(client), Message::FromBroker(correlation, answer)) => {
                client.handle(core, correlation, answer);
            }
            (Self::Transactor(client), Message::FromBroker(correlation, answer)) => {
                client.handle(core, correlation, answer);
            }
            (Self::CommittedReader(client), Message::FromBroker(correlation, answer)) => {
                client.handle(core, correlation, answer);
            }
            (Self::Admin(client), Message::FromController(correlation, answer)) => {
                client.handle(core, correlation, &answer);
            }
            (client, message) => unreachable!("{client:?} is told {message:?}"),
        }
    }

    /// Whether the client still has the connection that a request came by.
    pub(crate) fn has_connection(&self, connection: u64) -> bool {
        match self {
            Self::Member(member) => member.connection() == connection,
            Self::Transactor(transactor) => transactor.connection() == connection,
            _ => true,
        }
    }

    /// The faults are over: some more work, and then the rest has to be done.
    pub(crate) fn finish(&mut self) {
        match self {
            Self::Producer(producer) => producer.finish(),
            Self::Member(member) => member.finish(),
            Self::Admin(admin) => admin.finish(),
            Self::Transactor(transactor) => transactor.finish(),
            Self::Consumer(_) | Self::CommittedReader(_) => {}
        }
    }

    /// What the client still waits for, if it does.
    pub(crate) fn unfinished(&self, core: &Core) -> Option<String> {
        match self {
            Self::Producer(producer) => producer.unfinished(),
            Self::Consumer(consumer) => consumer.unfinished(core),
            Self::Member(member) => member.unfinished(),
            Self::Admin(admin) => admin.unfinished(core),
            Self::Transactor(transactor) => transactor.unfinished(),
            Self::CommittedReader(reader) => reader.unfinished(core),
        }
    }
}

fn send(core: &mut Core, client: usize, broker: i32, request: ToBroker) -> Correlation {
    let correlation = core.correlation();
    // A request by a connection may be late, and never comes twice.
    let is_connection = request.connection().is_some();
    let message = Message::ToBroker(correlation, request);
    core.send_by(Node::Client(client), Node::Broker(broker), message, is_connection);
    correlation
}
