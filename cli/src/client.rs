//! A small blocking Kafka client for the tools: no runtime, no threads, one connection a broker.
//!
//! `kafka-topics.sh --list` has 30 ms in all, so nothing here is done ahead of need: the first connection is the
//! first bootstrap server that answers, and only requests that must go to a certain broker dial another.

pub(crate) mod acls;
pub(crate) mod address;
pub(crate) mod api;
pub(crate) mod budget;
pub(crate) mod configs;
pub(crate) mod connection;
pub(crate) mod consumer;
pub(crate) mod delegation_tokens;
pub(crate) mod error;
pub(crate) mod features;
mod fenced;
pub(crate) mod groups;
pub(crate) mod log_dirs;
pub(crate) mod log_sizes;
pub(crate) mod membership;
pub(crate) mod metadata;
pub(crate) mod offsets;
pub(crate) mod partitioner;
pub(crate) mod patience;
pub(crate) mod producer;
pub(crate) mod quorum;
pub(crate) mod quotas;
pub(crate) mod regex;
pub(crate) mod replica_moves;
pub(crate) mod reset;
pub(crate) mod scram;
pub(crate) mod security;
pub(crate) mod share_consumer;
pub(crate) mod share_groups;
pub(crate) mod streams_groups;
pub(crate) mod topics;
pub(crate) mod transactions;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_protocol::messages::{FindCoordinatorRequest, MetadataRequest, MetadataResponse};
use kafka_protocol::protocol::{Request, StrBytes};

pub(crate) use address::HostPort;
use budget::Budget;
use connection::Connection;
pub(crate) use error::ClientError;
use moldau_model::ErrorCode;
use moldau_security::link::Dialer;

/// How long one request may take: the Java admin client's `request.timeout.ms`.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a whole operation may take, retries included: the Java clients' `default.api.timeout.ms`.
pub(crate) const API_TIMEOUT: Duration = Duration::from_secs(60);
/// The pause between attempts grows from the first to the second.
const RETRY_BACKOFF_MS: (u64, u64) = (50, 1000);

/// How a broker's address ends where it is the cluster that gave it, and nobody answers there.
pub(crate) const ADVERTISED: &str = ", as the cluster advertises it)";

/// What to do while no bootstrap server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhenUnreachable {
    /// Fail at once and name the reason: the native commands.
    Fail,
    /// Say so once on standard error and go on until the time is over: Kafka's tools, whose callers rely on it
    /// while a cluster starts.
    Retry,
}

/// How a client behaves.
#[derive(Clone, Debug)]
pub(crate) struct ClientOptions {
    pub(crate) bootstrap: Vec<HostPort>,
    pub(crate) client_id: String,
    /// The time for one operation, retries included.
    pub(crate) api_timeout: Duration,
    pub(crate) when_unreachable: WhenUnreachable,
}

/// A broker as the metadata shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BrokerNode {
    pub(crate) id: i32,
    pub(crate) address: HostPort,
    pub(crate) rack: Option<String>,
}

/// A client of one cluster.
pub(crate) struct Client {
    options: ClientOptions,
    budget: Arc<Budget>,
    dialer: Arc<Dialer>,
    /// The connection over which requests for "any broker" go.
    bootstrap: Option<Connection>,
    connections: HashMap<i32, Connection>,
    brokers: BTreeMap<i32, BrokerNode>,
}

impl Client {
    pub(crate) fn new(options: ClientOptions) -> Self {
        Self {
            options,
            budget: Arc::new(Budget::unbounded()),
            dialer: Arc::new(Dialer::plain()),
            bootstrap: None,
            connections: HashMap::new(),
            brokers: BTreeMap::new(),
        }
    }

    /// The same for servers that ask for TLS or SASL.
    pub(crate) fn dialing(self, dialer: Arc<Dialer>) -> Self {
        Self { dialer, ..self }
    }

    /// How the servers are dialled, for another client of theirs.
    pub(crate) fn dialer(&self) -> &Arc<Dialer> {
        &self.dialer
    }

    /// A connection of its own to some server. The error is the plain reason.
    pub(crate) fn dial(
        &self,
        address: &HostPort,
        client_id: &str,
        deadline: Instant,
    ) -> Result<Connection, String> {
        Connection::open_within(address, &self.dialer, client_id, deadline, &self.budget)
    }

    /// When the operation that starts now must be over.
    pub(crate) fn deadline(&self) -> Instant {
        self.budget.within(Instant::now() + self.options.api_timeout)
    }

    /// Gives all that is done from now on, together, so much.
    pub(crate) fn set_budget(&mut self, budget: &Arc<Budget>) {
        self.budget = Arc::clone(budget);
        for connection in self.bootstrap.iter_mut().chain(self.connections.values_mut()) {
            connection.set_budget(budget);
        }
    }

    /// Whether what all may take together is taken.
    pub(crate) fn is_spent(&self) -> bool {
        self.budget.is_over()
    }

    /// Gives the operations from now on this time each.
    pub(crate) fn set_api_timeout(&mut self, api_timeout: Duration) {
        self.options.api_timeout = api_timeout;
    }

    /// The bootstrap servers as the user would write them.
    pub(crate) fn servers(&self) -> String {
        self.options.bootstrap.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    pub(crate) fn bootstrap_servers(&self) -> &[HostPort] {
        &self.options.bootstrap
    }

    /// The connection for requests that any broker answers; dials the bootstrap servers in turn.
    pub(crate) fn any(&mut self, deadline: Instant) -> Result<&mut Connection, ClientError> {
        if self.bootstrap.is_none() {
            self.bootstrap = Some(self.connect(deadline)?);
        }
        Ok(self.bootstrap.as_mut().expect("it was just set"))
    }

    fn connect(&self, deadline: Instant) -> Result<Connection, ClientError> {
        let mut backoff = Backoff::new();
        let mut told = false;
        loop {
            let mut reason = String::new();
            for address in &self.options.bootstrap {
                let (client_id, deadline) = (&self.options.client_id, request_deadline(deadline));
                match Connection::open_within(address, &self.dialer, client_id, deadline, &self.budget) {
                    Ok(connection) => return Ok(connection),
                    Err(why) => reason = why,
                }
            }
            let unreachable = ClientError::Unreachable { servers: self.servers(), reason };
            let is_final = unreachable.is_refusal() || self.options.when_unreachable == WhenUnreachable::Fail;
            if is_final || !backoff.wait(deadline) {
                return Err(unreachable);
            }
            if !told {
                told = true;
                crate::console::note(&format!("{unreachable}; trying on until the time is over"));
            }
        }
    }

    /// Sends a request to any broker, again where the connection or the cluster is not ready.
    pub(crate) fn call<R: Request>(&mut self, request: &R) -> Result<R::Response, ClientError> {
        let deadline = self.deadline();
        self.retry(deadline, |client| {
            client.any(deadline)?.call(request, request_deadline(deadline)).inspect_err(|error| {
                // A broken connection may hold half an answer: never use it again.
                client.forget_bootstrap(error);
            })
        })
    }

    /// Runs `attempt` until it succeeds, fails for good, or the time is over.
    pub(crate) fn retry<T>(
        &mut self,
        deadline: Instant,
        mut attempt: impl FnMut(&mut Self) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let mut backoff = Backoff::new();
        loop {
            match attempt(self) {
                Err(error @ ClientError::Unreachable { .. }) => return Err(error),
                Err(error) if error.is_retriable() && backoff.wait(deadline) => {}
                done => return done,
            }
        }
    }

    fn forget_bootstrap(&mut self, error: &ClientError) {
        if matches!(error, ClientError::Connection { .. } | ClientError::Malformed { .. }) {
            self.bootstrap = None;
        }
    }

    /// Sends a request to one broker, by the address that the newest metadata gave.
    pub(crate) fn call_broker<R: Request>(
        &mut self,
        broker: i32,
        request: &R,
        deadline: Instant,
    ) -> Result<R::Response, ClientError> {
        let result = self.broker(broker, deadline)?.call(request, request_deadline(deadline));
        if matches!(result, Err(ClientError::Connection { .. } | ClientError::Malformed { .. })) {
            self.connections.remove(&broker);
        }
        result
    }

    /// The connection to a broker, dialled where there is none.
    pub(crate) fn broker(&mut self, broker: i32, deadline: Instant) -> Result<&mut Connection, ClientError> {
        if !self.connections.contains_key(&broker) {
            if !self.brokers.contains_key(&broker) {
                self.metadata(Some(&[]), deadline)?;
            }
            let node = self
                .brokers
                .get(&broker)
                .ok_or_else(|| ClientError::broker(ErrorCode::BrokerNotAvailable.code(), None))?;
            let (client_id, deadline) = (&self.options.client_id, request_deadline(deadline));
            let (dialer, budget) = (&self.dialer, &self.budget);
            let connection = Connection::open_within(&node.address, dialer, client_id, deadline, budget)
                .map_err(|reason| ClientError::Connection {
                    address: format!("{} (broker {broker}{ADVERTISED}", node.address),
                    source: std::io::Error::other(reason),
                })?;
            self.connections.insert(broker, connection);
        }
        Ok(self.connections.get_mut(&broker).expect("it was just inserted"))
    }

    /// Drops the connection to a broker, after an error that may have left half an answer in it.
    pub(crate) fn forget_broker(&mut self, broker: i32) {
        self.connections.remove(&broker);
    }

    /// The brokers of the newest metadata, by id.
    pub(crate) fn brokers(&self) -> &BTreeMap<i32, BrokerNode> {
        &self.brokers
    }

    /// Asks for topics by name (`None`: all), never creating them, and remembers the brokers.
    pub(crate) fn metadata(
        &mut self,
        topics: Option<&[&str]>,
        deadline: Instant,
    ) -> Result<MetadataResponse, ClientError> {
        self.metadata_request(metadata::request(topics, false), deadline)
    }

    /// As `metadata`, for a request with ids or with creation allowed.
    pub(crate) fn metadata_request(
        &mut self,
        request: MetadataRequest,
        deadline: Instant,
    ) -> Result<MetadataResponse, ClientError> {
        let response = self.retry(deadline, |client| {
            let result = client.any(deadline)?.call(&request, request_deadline(deadline));
            if let Err(error) = &result {
                client.forget_bootstrap(error);
            }
            result
        })?;
        self.brokers = metadata::brokers(&response);
        Ok(response)
    }

    /// Finds a group's coordinator and waits while it is being made ready.
    pub(crate) fn coordinator(&mut self, group: &str, deadline: Instant) -> Result<i32, ClientError> {
        self.retry(deadline, |client| client.coordinator_once(group, deadline))
    }

    fn coordinator_once(&mut self, group: &str, deadline: Instant) -> Result<i32, ClientError> {
        let connection = self.any(deadline)?;
        let key = StrBytes::from_string(group.to_owned());
        let version = connection.version_of::<FindCoordinatorRequest>()?;
        let request = if version >= 4 {
            FindCoordinatorRequest::default().with_coordinator_keys(vec![key])
        } else {
            FindCoordinatorRequest::default().with_key(key)
        };
        let result = connection.call_version(&request, version, request_deadline(deadline));
        if let Err(error) = &result {
            self.forget_bootstrap(error);
        }
        let response = result?;
        let (code, message, id, host, port) = match response.coordinators.into_iter().next() {
            Some(c) => (c.error_code, c.error_message, c.node_id, c.host, c.port),
            None => {
                (response.error_code, response.error_message, response.node_id, response.host, response.port)
            }
        };
        ClientError::check(code, message.as_deref())?;
        let port = u16::try_from(port).unwrap_or(0);
        let node = BrokerNode { id: id.0, address: HostPort { host: host.to_string(), port }, rack: None };
        self.brokers.entry(id.0).or_insert(node);
        Ok(id.0)
    }

    /// Sends a request to a group's coordinator, finding it again where it moved. `code_of` reads the answer's
    /// top-level error, or `None`.
    pub(crate) fn call_coordinator<R: Request>(
        &mut self,
        group: &str,
        request: &R,
        code_of: impl Fn(&R::Response) -> i16,
    ) -> Result<R::Response, ClientError> {
        let deadline = self.deadline();
        self.retry(deadline, |client| {
            let broker = client.coordinator(group, deadline)?;
            let response = client.call_broker(broker, request, deadline)?;
            match ErrorCode::from_code(code_of(&response)) {
                code @ (ErrorCode::NotCoordinator
                | ErrorCode::CoordinatorNotAvailable
                | ErrorCode::CoordinatorLoadInProgress) => Err(ClientError::broker(code.code(), None)),
                _ => Ok(response),
            }
        })
    }
}

/// One request's share of an operation's time.
pub(crate) fn request_deadline(operation: Instant) -> Instant {
    operation.min(Instant::now() + REQUEST_TIMEOUT)
}

/// Pauses that double up to a bound.
pub(crate) struct Backoff {
    next_ms: u64,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { next_ms: RETRY_BACKOFF_MS.0 }
    }

    /// Sleeps; `false` without sleeping when the deadline would pass meanwhile.
    pub(crate) fn wait(&mut self, deadline: Instant) -> bool {
        let pause = Duration::from_millis(self.next_ms);
        if Instant::now() + pause >= deadline {
            return false;
        }
        std::thread::sleep(pause);
        self.next_ms = (self.next_ms * 2).min(RETRY_BACKOFF_MS.1);
        true
    }
}
