//! Clients of the cluster for the calls: a few that block, on threads that may.

use std::time::Duration;

use moldau_broker::BoundAddress;
use moldau_metadata::config::BrokerConfig;
use tokio::sync::Semaphore;

use axum::http::StatusCode;

use super::answer::Failure;
use crate::client::{Client, ClientError, ClientOptions, HostPort, WhenUnreachable};

/// Operations at a time: each has a thread.
const OPERATIONS_MAX: usize = 8;
/// Clients that are kept for the next call: their connections are there already.
const IDLE_CLIENTS_MAX: usize = 4;
/// How long a call waits for its turn.
const TURN_MAX: Duration = Duration::from_secs(5);
/// How long a question may take: a broker that died is known to be dead sooner than this.
pub(super) const QUESTION: Duration = Duration::from_secs(3);
/// How long a change may take.
pub(super) const CHANGE: Duration = Duration::from_secs(20);

/// Clients of the cluster that this node belongs to.
pub(super) struct Clients {
    bootstrap: HostPort,
    turns: Semaphore,
    idle: parking_lot::Mutex<Vec<Client>>,
}

impl Clients {
    /// Clients that come in by this node's own listener between brokers: the addresses that it tells are those by which brokers
    /// reach one another.
    pub(super) fn new(config: &BrokerConfig, addresses: &[BoundAddress]) -> Self {
        let between_brokers = addresses.iter().find(|bound| bound.name == config.inter_broker_listener_name);
        let bootstrap = between_brokers.or(addresses.first()).map_or_else(
            || HostPort { host: "127.0.0.1".to_owned(), port: 9092 },
            |bound| {
                let ip = bound.address.ip();
                let host = match (ip.is_unspecified(), ip.is_ipv4()) {
                    (true, true) => "127.0.0.1".to_owned(),
                    (true, false) => "::1".to_owned(),
                    (false, _) => ip.to_string(),
                };
                HostPort { host, port: bound.address.port() }
            },
        );
        Self { bootstrap, turns: Semaphore::new(OPERATIONS_MAX), idle: parking_lot::Mutex::default() }
    }

    /// A client of its own for work that is not one operation.
    pub(super) fn one(&self, api_timeout: Duration) -> Client {
        let idle = self.idle.lock().pop();
        let mut client = idle.unwrap_or_else(|| {
            Client::new(ClientOptions {
                bootstrap: vec![self.bootstrap.clone()],
                client_id: "moldau-console".to_owned(),
                api_timeout,
                when_unreachable: WhenUnreachable::Fail,
            })
        });
        client.set_api_timeout(api_timeout);
        client
    }

    /// Keeps a client whose connections are sound.
    pub(super) fn keep(&self, client: Client) {
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_CLIENTS_MAX {
            idle.push(client);
        }
    }

    /// Runs one operation, with so much time for each of its requests and their repetitions.
    pub(super) async fn run<T, E>(
        &self,
        api_timeout: Duration,
        operation: impl FnOnce(&mut Client) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Failure>
    where
        T: Send + 'static,
        E: Into<Failure> + Send + 'static,
    {
        let busy = || {
            let message = "too many questions are asked of the cluster at this time";
            Failure::new(StatusCode::SERVICE_UNAVAILABLE, "BUSY", message)
        };
        let turn = tokio::time::timeout(TURN_MAX, self.turns.acquire()).await;
        let _turn = turn.map_err(|_| busy())?.map_err(|_| busy())?;
        let mut client = self.one(api_timeout);
        let done = tokio::task::spawn_blocking(move || {
            let result = operation(&mut client);
            (client, result)
        });
        let (client, result) = done.await.map_err(|error| {
            tracing::error!(%error, "a call of the console failed");
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", "the call failed within this node")
        })?;
        // After an error there may be half an answer in a connection.
        if result.is_ok() {
            self.keep(client);
        }
        result.map_err(Into::into)
    }

    /// As `run`, for what only asks.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Client) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, Failure> {
        self.run(QUESTION, question).await
    }
}
