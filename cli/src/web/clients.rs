//! Clients of the cluster for the calls: a few that block, on threads that may.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moldau_broker::BoundAddress;
use moldau_metadata::config::BrokerConfig;
use moldau_security::link::Dialer;
use tokio::sync::Semaphore;

use axum::http::StatusCode;

use super::answer::Failure;
use crate::client::budget::Budget;
use crate::client::{Client, ClientError, ClientOptions, HostPort, WhenUnreachable};

/// Operations at a time: each has a thread.
const OPERATIONS_MAX: usize = 8;
/// Clients that are kept for the next call: their connections are there already.
const IDLE_CLIENTS_MAX: usize = 4;
/// How long a call waits for its turn.
const TURN_MAX: Duration = Duration::from_secs(5);

/// What one operation may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Each of its requests, with its repetitions.
    pub(super) each: Duration,
    /// All of them.
    pub(super) whole: Duration,
    pub(super) answer_bytes: u64,
    pub(super) requests: u64,
    /// Whether it ends when whoever asked has left.
    pub(super) ends_with_its_caller: bool,
}

/// What a question may take: a broker that died is known to be dead sooner than one request's time.
pub(super) const QUESTION: Limits = Limits {
    each: Duration::from_secs(3),
    whole: Duration::from_secs(10),
    answer_bytes: 64 << 20,
    requests: 4000,
    ends_with_its_caller: true,
};
/// What a change may take. One that has begun goes on to its end.
pub(super) const CHANGE: Limits = Limits {
    each: Duration::from_secs(15),
    whole: Duration::from_secs(20),
    answer_bytes: 64 << 20,
    requests: 1000,
    ends_with_its_caller: false,
};

impl Limits {
    fn budget(&self) -> Arc<Budget> {
        Arc::new(Budget::new(Instant::now() + self.whole, self.answer_bytes, self.requests))
    }
}

/// Clients of the cluster that this node belongs to.
pub(super) struct Clients {
    bootstrap: HostPort,
    dialer: Arc<Dialer>,
    turns: Arc<Semaphore>,
    idle: parking_lot::Mutex<Vec<Client>>,
}

impl Clients {
    /// Clients that come in by this node's own listener between brokers: the addresses that it tells are those by which brokers
    /// reach one another.
    pub(super) fn new(config: &BrokerConfig, addresses: &[BoundAddress], dialer: Arc<Dialer>) -> Self {
        let between_brokers = addresses.iter().find(|bound| bound.name == config.inter_broker_listener_name);
        let bootstrap = between_brokers.or(addresses.first()).map_or_else(
            || HostPort { host: "127.0.0.1".to_owned(), port: 9092 },
            |bound| {
                // A certificate names the host that is told, and not the loopback.
                if !dialer.is_plain() {
                    let host = bound.advertised_host.clone();
                    return HostPort { host, port: bound.advertised_port };
                }
                let ip = bound.address.ip();
                let host = match (ip.is_unspecified(), ip.is_ipv4()) {
                    (true, true) => "127.0.0.1".to_owned(),
                    (true, false) => "::1".to_owned(),
                    (false, _) => ip.to_string(),
                };
                HostPort { host, port: bound.address.port() }
            },
        );
        Self {
            bootstrap,
            dialer,
            turns: Arc::new(Semaphore::new(OPERATIONS_MAX)),
            idle: parking_lot::Mutex::default(),
        }
    }

    /// A client for one operation, which has that much for all it does.
    pub(super) fn one(&self, limits: &Limits) -> (Client, Arc<Budget>) {
        let idle = self.idle.lock().pop();
        let mut client = idle.unwrap_or_else(|| {
            let client = Client::new(ClientOptions {
                bootstrap: vec![self.bootstrap.clone()],
                client_id: "moldau-console".to_owned(),
                api_timeout: limits.each,
                when_unreachable: WhenUnreachable::Fail,
            });
            client.dialing(Arc::clone(&self.dialer))
        });
        client.set_api_timeout(limits.each);
        let budget = limits.budget();
        client.set_budget(&budget);
        (client, budget)
    }

    /// Keeps a client whose connections are sound.
    pub(super) fn keep(&self, client: Client) {
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_CLIENTS_MAX {
            idle.push(client);
        }
    }

    /// Runs one operation within these limits.
    pub(super) async fn run<T, E>(
        &self,
        limits: &Limits,
        operation: impl FnOnce(&mut Client) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Failure>
    where
        T: Send + 'static,
        E: Into<Failure> + Send + 'static,
    {
        let operation = move |mut client: Client| {
            let result = operation(&mut client);
            (Some(client), result)
        };
        self.run_owning(limits, operation).await
    }

    /// As `run`, for an operation that needs the client for itself, and may give it back.
    pub(super) async fn run_owning<T, E>(
        &self,
        limits: &Limits,
        operation: impl FnOnce(Client) -> (Option<Client>, Result<T, E>) + Send + 'static,
    ) -> Result<T, Failure>
    where
        T: Send + 'static,
        E: Into<Failure> + Send + 'static,
    {
        let busy = || {
            let message = "too many questions are asked of the cluster at this time";
            Failure::new(StatusCode::SERVICE_UNAVAILABLE, "BUSY", message)
        };
        let turn = tokio::time::timeout(TURN_MAX, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn.map_err(|_| busy())?.map_err(|_| busy())?;
        let (client, budget) = self.one(limits);
        let _caller = limits.ends_with_its_caller.then(|| Caller(budget));
        let done = tokio::task::spawn_blocking(move || {
            // The thread has the turn, not whoever waits for it and may leave.
            let _turn = turn;
            operation(client)
        });
        let (client, result) = done.await.map_err(|error| {
            tracing::error!(%error, "a call of the console failed");
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", "the call failed within this node")
        })?;
        // After an error there may be half an answer in a connection.
        if let (Some(client), Ok(_)) = (client, &result) {
            self.keep(client);
        }
        result.map_err(Into::into)
    }

    /// As `run`, for what only asks.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Client) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, Failure> {
        self.run(&QUESTION, question).await
    }
}

/// Whoever waits for an operation: it is cancelled where this goes before its answer comes.
struct Caller(Arc<Budget>);

impl Drop for Caller {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::mpsc;

    use super::*;

    fn clients_of(listener: &TcpListener) -> Clients {
        let port = listener.local_addr().unwrap().port();
        Clients {
            dialer: Arc::new(Dialer::plain()),
            bootstrap: HostPort { host: "127.0.0.1".to_owned(), port },
            turns: Arc::new(Semaphore::new(OPERATIONS_MAX)),
            idle: parking_lot::Mutex::default(),
        }
    }

    #[tokio::test]
    async fn an_operation_keeps_its_turn_until_it_ends_whoever_has_left() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let clients = clients_of(&listener);
        let (begun, has_begun) = mpsc::channel();
        let (end, may_end) = mpsc::channel::<()>();
        let operation = move |client: &mut Client| -> Result<bool, ClientError> {
            begun.send(()).unwrap();
            may_end.recv().unwrap();
            begun.send(()).unwrap();
            Ok(client.is_spent())
        };
        let left = tokio::time::timeout(Duration::from_millis(50), clients.run(&QUESTION, operation)).await;
        assert!(left.is_err());
        has_begun.recv().unwrap();
        assert_eq!(clients.turns.available_permits(), OPERATIONS_MAX - 1);
        end.send(()).unwrap();
        has_begun.recv().unwrap();
        // The permit comes back a moment after.
        for _ in 0..1000 {
            if clients.turns.available_permits() == OPERATIONS_MAX {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the turn was not given back");
    }

    #[tokio::test]
    async fn a_question_of_many_requests_has_one_deadline() {
        // Takes connections and never says a word.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let clients = clients_of(&listener);
        let limits =
            Limits { each: Duration::from_millis(200), whole: Duration::from_millis(300), ..QUESTION };
        let asked = clients.run(&limits, |client| -> Result<u32, ClientError> {
            let mut tries = 0;
            while !client.is_spent() && tries < 1000 {
                tries += 1;
                let _ = client.list_all_groups();
            }
            Ok(tries)
        });
        let tries = asked.await.unwrap();
        assert!((1..10).contains(&tries), "{tries} questions of 200 ms in 300 ms");
    }

    #[tokio::test]
    async fn a_question_that_nobody_waits_for_any_more_asks_nothing_more() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let clients = clients_of(&listener);
        let (tell, told) = mpsc::channel();
        let question = move |client: &mut Client| -> Result<(), ClientError> {
            for _ in 0..1000 {
                if client.is_spent() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            tell.send(client.list_all_groups().unwrap_err().to_string()).unwrap();
            Ok(())
        };
        drop(tokio::time::timeout(Duration::from_millis(50), clients.run(&QUESTION, question)).await);
        let error = told.recv().unwrap();
        assert!(error.contains("whoever asked has left"), "{error}");
    }
}
