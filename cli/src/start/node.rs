//! One node of either role or both: the controller on a runtime of its own, so that a stalled disk of the data's never
//! delays a vote (D8), the broker on another, and the signals that stop them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moldau_broker::{BrokerHandle, BrokerOptions};
use moldau_cluster::rpc::Credentials;
use moldau_cluster::{
    ControllerAddress, ControllerChannel, LocalController, RemoteControllerChannel, identify,
};
use moldau_controller::{Controller, ControllerHandle, ControllerOptions, ControllerSecurity, QuorumVoter};
use moldau_metadata::config::{BrokerConfig, HttpListener};
use moldau_model::Uuid;
use moldau_security::link::Dialer;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::banner::Banner;
use super::health::ControllerHealth;
use super::strangers::Strangers;
use super::{Prepared, create_topics, listeners, notify, refusal, security, storage, waiting};
use crate::console::Console;
use crate::web::ControllerNode;

/// Exit code of a second Ctrl-C: the one of a process that SIGINT ended.
const IMPATIENT: i32 = 130;
/// A signal so soon after the first is the same one.
const SAME_SIGNAL_MAX: Duration = Duration::from_secs(1);
/// Pause before controllers that did not answer are asked again.
const ASKING_PAUSE: Duration = Duration::from_millis(100);
/// How often somebody who watches is told of the wait.
const ASKING_TOLD_EVERY: Duration = Duration::from_secs(10);

/// Runs the node until a signal; the error is one line.
pub(super) fn run(prepared: Prepared, started: Instant, console: &mut Console<'_>) -> Result<(), String> {
    let control = runtime("control", 1)?;
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let data = runtime("data", workers)?;
    let result = data.block_on(serve(prepared, &control, started, console));
    // Whatever still runs has been told to stop; a task that hangs must not hold the process.
    data.shutdown_timeout(Duration::from_secs(1));
    control.shutdown_timeout(Duration::from_secs(1));
    result
}

fn runtime(name: &'static str, workers: usize) -> Result<Runtime, String> {
    Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name(name)
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start threads: {error}"))
}

async fn serve(
    prepared: Prepared,
    control: &Runtime,
    started: Instant,
    console: &mut Console<'_>,
) -> Result<(), String> {
    let mut signals = Signals::new().map_err(|error| format!("cannot wait for signals: {error}"))?;
    let config = prepared.config.clone();
    let named = |error: String| with_next_step(&error, &config);
    let security = security::of_controllers(&config)?;
    let strangers = Strangers::new(&prepared, Arc::clone(&security.dialer));
    let node = Node::start(&prepared, security, control).await.map_err(named)?;
    let ended = match node.wait_ready(&config, &strangers, &mut signals).await {
        Some(ended) => ended.map_err(named),
        None => {
            announce(&prepared, &node, started, console);
            notify::tell(notify::State::Ready);
            if let Some(broker) = &node.broker {
                create_topics::start(prepared.create_topics.clone(), broker);
            }
            tokio::select! {
                reason = node.failed(&config) => Err(reason),
                line = node.stranger(&strangers) => Err(line),
                name = signals.next() => Ok(name),
            }
        }
    };
    notify::tell(notify::State::Stopping);
    if let Ok(name) = &ended {
        tracing::info!("{name}: stopping; Ctrl-C once more ends at once, without a clean shutdown");
    }
    tokio::select! {
        () = node.stop() => {}
        () = signals.impatience() => std::process::exit(IMPATIENT),
    }
    ended.map(|_| tracing::info!("stopped"))
}

/// What runs in this process: a controller, a broker, or both.
struct Node {
    controller: Option<ControllerHandle>,
    /// Where the controller listens.
    controller_addresses: Vec<(String, SocketAddr)>,
    broker: Option<BrokerHandle>,
    /// Health of a controller alone; a broker serves its own.
    health: Option<ControllerHealth>,
}

impl Node {
    async fn start(
        prepared: &Prepared,
        security: ControllerSecurity,
        control: &Runtime,
    ) -> Result<Self, String> {
        let config = &prepared.config;
        let mut node =
            Self { controller: None, controller_addresses: Vec::new(), broker: None, health: None };
        security::keep_fresh(&security, control);
        if config.roles.controller {
            let bound = listeners::bind(config)?;
            node.controller_addresses = bound.addresses();
            let mut options = controller_options(prepared);
            options.security = security.clone();
            options.initial_records =
                super::initial_records::read(&config.metadata_log_dir).map_err(|error| error.to_string())?;
            let started = Controller::start_on(options, bound.sockets(), control.handle()).await;
            node.controller = Some(started.map_err(|error| error.to_string())?);
        }
        let started = if config.roles.broker {
            start_broker(prepared, node.controller.as_ref(), control, security.dialer).await.map(|broker| {
                node.broker = Some(broker);
            })
        } else {
            start_health(prepared, node.controller.as_ref(), control, security.dialer).await.map(|health| {
                node.health = health;
            })
        };
        if let Err(text) = started {
            node.stop().await;
            return Err(text);
        }
        Ok(node)
    }

    /// Waits until the node serves. What ended it before, if something did: a failure, or a signal's name.
    async fn wait_ready(
        &self,
        config: &BrokerConfig,
        strangers: &Strangers<'_>,
        signals: &mut Signals,
    ) -> Option<Result<&'static str, String>> {
        let others = other_controllers(config);
        let ready = async {
            match &self.broker {
                Some(broker) => broker.wait_ready().await,
                None => Ok(()),
            }
        };
        tokio::select! {
            ready = ready => match ready {
                Ok(()) => None,
                Err(state) => Some(Err(refusal::of_broker(state, self.broker.as_ref(), config, strangers).await)),
            },
            line = strangers.found(|| self.has_leader()) => Some(Err(line)),
            reason = controller_failed(self.controller.as_ref()) => Some(Err(reason)),
            name = signals.next() => Some(Ok(name)),
            never = waiting::tell(&others) => match never {},
        }
    }

    /// Whether a controller of this process knows who leads.
    fn has_leader(&self) -> bool {
        self.controller.as_ref().is_some_and(ControllerHandle::has_leader)
    }

    /// Waits until the controller of this node turns out to be none of its quorum's.
    async fn stranger(&self, strangers: &Strangers<'_>) -> String {
        match &self.controller {
            Some(_) => strangers.found(|| self.has_leader()).await,
            None => std::future::pending().await,
        }
    }

    /// Waits until the node cannot go on, and says why.
    async fn failed(&self, config: &BrokerConfig) -> String {
        let broker = async {
            match &self.broker {
                Some(broker) => refusal::of_running(broker, config).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            reason = broker => reason,
            reason = controller_failed(self.controller.as_ref()) => format!("the controller has failed: {reason}"),
        }
    }

    /// Stops the broker first, which needs a controller to move its leaderships away.
    async fn stop(self) {
        if let Some(broker) = self.broker
            && let Err(error) = broker.stop().await
        {
            tracing::error!(%error, "the logs could not be closed cleanly; the next start recovers them");
        }
        if let Some(controller) = self.controller {
            controller.shutdown().await;
        }
    }
}

async fn controller_failed(controller: Option<&ControllerHandle>) -> String {
    match controller {
        Some(controller) => controller.failed().await,
        None => std::future::pending().await,
    }
}

async fn start_broker(
    prepared: &Prepared,
    controller: Option<&ControllerHandle>,
    control: &Runtime,
    dialer: Arc<Dialer>,
) -> Result<BrokerHandle, String> {
    let incarnation_id = storage::random_id().map_err(|error| format!("no random numbers: {error}"))?;
    let options = BrokerOptions {
        config: prepared.config.clone(),
        cluster_id: prepared.cluster_id.clone(),
        incarnation_id,
        failed_log_dirs: prepared.failed_log_dirs.clone(),
    };
    let channel = channel(prepared, controller, control, dialer)?;
    BrokerHandle::start_with_routes(options, channel, Box::new(crate::web::routes))
        .await
        .map_err(|error| error.to_string())
}

async fn start_health(
    prepared: &Prepared,
    controller: Option<&ControllerHandle>,
    control: &Runtime,
    dialer: Arc<Dialer>,
) -> Result<Option<ControllerHealth>, String> {
    let Some(controller) = controller else { return Ok(None) };
    ControllerHealth::start(ControllerNode {
        controller: controller.clone(),
        channel: channel(prepared, Some(controller), control, dialer)?,
        config: prepared.config.clone(),
        cluster_id: prepared.cluster_id.clone(),
    })
    .await
}

/// A node's way to the controllers: the one in this process where that is all of them.
fn channel(
    prepared: &Prepared,
    controller: Option<&ControllerHandle>,
    control: &Runtime,
    dialer: Arc<Dialer>,
) -> Result<Arc<dyn ControllerChannel>, String> {
    let config = &prepared.config;
    // One that others are to be asked for may get company while it runs.
    if let Some(controller) = controller
        && config.quorum_voters.len() <= 1
        && config.quorum_bootstrap_servers.is_empty()
    {
        return Ok(Arc::new(controller.clone()));
    }
    let local = controller
        .map(|controller| LocalController { node_id: config.node_id, channel: Arc::new(controller.clone()) });
    // Its connections live beside the controller, away from the data.
    let _context = control.enter();
    let credentials = credentials(config, Some(prepared.cluster_id.clone()), dialer);
    Ok(Arc::new(RemoteControllerChannel::new(credentials, &controller_addresses(config), local)?))
}

pub(super) fn credentials(
    config: &BrokerConfig,
    cluster_id: Option<String>,
    dialer: Arc<Dialer>,
) -> Credentials {
    Credentials {
        node_id: config.node_id,
        cluster_id,
        directory_id: Uuid::ZERO,
        secret: config.cluster_secret.clone(),
        dialer,
    }
}

/// Where the controllers are, as far as the configuration tells.
pub(super) fn controller_addresses(config: &BrokerConfig) -> Vec<ControllerAddress> {
    let voters = quorum_voters(config)
        .into_iter()
        .map(|voter| ControllerAddress { node_id: Some(voter.node_id), address: voter.address() });
    let servers = bootstrap_servers(config).map(|address| ControllerAddress { node_id: None, address });
    voters.chain(servers).collect()
}

/// The addresses of controllers in other processes.
pub(super) fn other_controllers(config: &BrokerConfig) -> Vec<String> {
    let addresses = controller_addresses(config).into_iter();
    let is_other = |controller: &ControllerAddress| {
        !config.roles.controller || controller.node_id != Some(config.node_id)
    };
    addresses.filter(is_other).map(|controller| controller.address).collect()
}

/// `controller.quorum.bootstrap.servers`, each as it is dialled.
fn bootstrap_servers(config: &BrokerConfig) -> impl Iterator<Item = String> + '_ {
    config.quorum_bootstrap_servers.iter().map(|(host, port)| {
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    })
}

pub(super) fn quorum_voters(config: &BrokerConfig) -> Vec<QuorumVoter> {
    config.quorum_voters.iter().map(quorum_voter).collect()
}

fn quorum_voter(voter: &moldau_metadata::config::QuorumVoter) -> QuorumVoter {
    QuorumVoter { node_id: voter.id, host: voter.host.clone(), port: voter.port }
}

/// Asks the controllers which cluster a new broker belongs to, until one of them answers.
pub(super) fn ask_cluster_id(config: &BrokerConfig) -> Result<String, String> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start threads: {error}"))?;
    let dialer = Dialer::new(&config.security.controller).map_err(|error| error.to_string())?;
    let credentials = credentials(config, None, Arc::new(dialer));
    let addresses = controller_addresses(config);
    runtime.block_on(async {
        let mut told = None;
        loop {
            let answers = identify(&credentials, &addresses).await?;
            // What one of several says may be of another cluster, from which it is left over.
            let needed = if config.quorum_voters.is_empty() { 1 } else { config.quorum_voters.len() / 2 + 1 };
            let say = |cluster: &str| answers.iter().filter(|(_, id)| id == cluster).count();
            if let Some((_, cluster_id)) = answers.iter().find(|(_, id)| say(id) >= needed) {
                return Ok(cluster_id.clone());
            }
            if told.is_none_or(|told: Instant| told.elapsed() >= ASKING_TOLD_EVERY) {
                tracing::info!("waiting for a controller to tell which cluster this is");
                told = Some(Instant::now());
            }
            tokio::time::sleep(ASKING_PAUSE).await;
        }
    })
}

pub(super) fn controller_options(prepared: &Prepared) -> ControllerOptions {
    let config = &prepared.config;
    let mut options = ControllerOptions::new(
        config.node_id,
        prepared.cluster_id.clone(),
        config.metadata_log_dir.clone(),
        prepared.metadata_directory_id,
    );
    options.voters = quorum_voters(config);
    options.bootstrap_servers = bootstrap_servers(config).collect();
    options.auto_join = config.quorum_auto_join;
    if options.voters.iter().all(|voter| voter.node_id != config.node_id) {
        let own = super::quorum::own_voter(config);
        options.advertised_address = own.map(|own| quorum_voter(&own).address()).unwrap_or_default();
    }
    options.secret.clone_from(&config.cluster_secret);
    if let Some(name) = config.controller_listener_names.first() {
        options.listener_name.clone_from(name);
    }
    options.broker_session_timeout =
        Duration::from_millis(u64::try_from(config.session_timeout_ms).unwrap_or_default());
    if let Some(timeout_ms) = config.quorum_election_timeout_ms.and_then(|ms| u64::try_from(ms).ok()) {
        options.raft.election_timeout_min = Duration::from_millis(timeout_ms);
        options.raft.election_timeout_max = Duration::from_millis(timeout_ms + timeout_ms / 2);
    }
    options.settings.clone_from(&config.settings);
    options
}

fn announce(prepared: &Prepared, node: &Node, started: Instant, console: &mut Console<'_>) {
    let config = &prepared.config;
    let broker_addresses = node.broker.as_ref().map_or(&[][..], BrokerHandle::addresses);
    let health_of_controller = node.health.as_ref().and_then(ControllerHealth::address);
    let is_alone =
        config.roles.broker && config.quorum_voters.len() == 1 && config.quorum_bootstrap_servers.len() <= 1;
    let banner = Banner {
        node_id: config.node_id.0,
        cluster_id: &prepared.cluster_id,
        addresses: broker_addresses,
        controllers: if is_alone { &[] } else { &node.controller_addresses },
        http: node.broker.as_ref().and_then(BrokerHandle::http_address).or(health_of_controller),
        directories: if config.roles.broker {
            &config.log_dirs
        } else {
            std::slice::from_ref(&config.metadata_log_dir)
        },
        new_directories: &prepared.new_directories,
        took: started.elapsed(),
    };
    // A node without a standard output serves all the same.
    drop(console.out.write_all(banner.text().as_bytes()).and_then(|()| console.out.flush()));
    // The words that test harnesses wait for.
    tracing::info!("Kafka Server started");
}

/// What to do about the two errors that newcomers meet.
fn with_next_step(error: &str, config: &BrokerConfig) -> String {
    let text = error.to_ascii_lowercase();
    if text.contains("in use by another process") || text.contains("lock") {
        let directory = config.metadata_log_dir.display();
        return format!(
            "{error}; is moldau running already? stop it, or start this one with --override log.dirs=OTHER (now {directory})"
        );
    }
    if text.contains("address already in use") || text.contains("address in use") {
        let choice = if text.contains("serve http") {
            format!("http.listener={}", http_with_another_port(config))
        } else {
            format!("listeners={}", with_another_port(error, config))
        };
        return format!("{error}; stop what uses it, or choose another by --override {choice}");
    }
    if text.contains("no space left") {
        return format!("{error}; make room on that disk first, a node that starts has to write to it");
    }
    error.to_owned()
}

/// The address that the configuration serves HTTP on, with another port.
fn http_with_another_port(config: &BrokerConfig) -> String {
    match config.http_listener {
        HttpListener::At { address, .. } => {
            // As it would be written: an IPv6 address stands in brackets.
            let text = address.to_string();
            text.rsplit_once(':')
                .map_or_else(|| "localhost:PORT".to_owned(), |(host, _)| format!("{host}:PORT"))
        }
        HttpListener::Off => "localhost:PORT".to_owned(),
    }
}

/// The configuration's own listeners, where the one that the error names has another port.
fn with_another_port(error: &str, config: &BrokerConfig) -> String {
    let is_taken = |name: &str| error.contains(&format!("listener {}:", name.to_ascii_uppercase()));
    let mut listeners: Vec<String> = match config.settings.get("listeners") {
        Some(text) => text.split(',').map(|listener| listener.trim().to_owned()).collect(),
        None => config.listeners.iter().map(ToString::to_string).collect(),
    };
    // Who did not name the controllers' listener goes on without doing so, unless it is in the way.
    let unnamed = config.controller_listeners.iter().filter(|listener| is_taken(&listener.name));
    let unnamed: Vec<String> = unnamed
        .filter(|listener| {
            let name = format!("{}://", listener.name);
            !listeners.iter().any(|text| text.to_ascii_uppercase().starts_with(&name))
        })
        .map(ToString::to_string)
        .collect();
    listeners.extend(unnamed);
    for text in &mut listeners {
        let name = text.split("://").next().unwrap_or_default();
        if let (true, Some((host, _))) = (is_taken(name), text.rsplit_once(':')) {
            *text = format!("{host}:PORT");
        }
    }
    listeners.join(",")
}

/// The signals that mean "stop".
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }

    /// Another Ctrl-C, a moment after the first signal. Wrappers pass on what the terminal has sent already, and supervisors send
    /// SIGTERM as often as they like: neither wants the logs to be left open.
    async fn impatience(&mut self) {
        let same = tokio::time::sleep(SAME_SIGNAL_MAX);
        tokio::pin!(same);
        loop {
            tokio::select! {
                () = &mut same => break,
                _ = self.interrupt.recv() => {}
            }
        }
        self.interrupt.recv().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_port_leaves_the_other_listeners_as_they_are() {
        let config = |listeners: Option<&str>| {
            let settings = listeners.map(|text| ("listeners".to_owned(), text.to_owned()));
            BrokerConfig::from_settings(settings.into_iter().collect()).unwrap()
        };
        for (listeners, error, choice) in [
            (
                Some("PLAINTEXT://localhost:9292,CONTROLLER://localhost:9294"),
                "cannot listen on controller listener CONTROLLER://localhost:9294: Address already in use",
                "listeners=PLAINTEXT://localhost:9292,CONTROLLER://localhost:PORT",
            ),
            (
                Some("PLAINTEXT://localhost:9292,CONTROLLER://[::1]:9294"),
                "cannot listen on localhost:9292 for listener PLAINTEXT: Address already in use (os error 98)",
                "listeners=PLAINTEXT://localhost:PORT,CONTROLLER://[::1]:9294",
            ),
            (
                None,
                "cannot listen on localhost:9092 for listener PLAINTEXT: Address already in use (os error 98)",
                "listeners=PLAINTEXT://localhost:PORT",
            ),
            (
                None,
                "cannot listen on controller listener CONTROLLER://localhost:9093: Address already in use",
                "listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:PORT",
            ),
            (
                None,
                "cannot serve HTTP on 127.0.0.1:9644: Address already in use (os error 98)",
                "http.listener=127.0.0.1:PORT",
            ),
        ] {
            let text = with_next_step(error, &config(listeners));
            assert!(text.ends_with(&format!("--override {choice}")), "{text}");
        }
    }

    #[test]
    fn a_disk_without_room_is_to_be_given_some() {
        let config = BrokerConfig::from_settings([].into()).unwrap();
        let text = with_next_step("d/log: No space left on device (os error 28)", &config);
        assert!(text.contains("; make room on that disk"), "{text}");
    }

    #[test]
    fn another_port_for_http_is_at_the_address_that_is_configured() {
        for (listener, choice) in [
            (":9644", "0.0.0.0:PORT"),
            ("10.1.2.3:9644", "10.1.2.3:PORT"),
            ("[::1]:9644", "[::1]:PORT"),
            ("localhost:9644", "127.0.0.1:PORT"),
        ] {
            let settings = [("http.listener".to_owned(), listener.to_owned())];
            let config = BrokerConfig::from_settings(settings.into()).unwrap();
            let text =
                with_next_step("cannot serve HTTP on it: Address already in use (os error 98)", &config);
            assert!(text.ends_with(&format!("--override http.listener={choice}")), "{text}");
        }
    }
}
