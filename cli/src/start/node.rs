//! One node of both roles: the controller on a runtime of its own, so that a stalled disk of the data's never delays
//! a vote (D8), the broker on another, and the signals that stop them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moldau_broker::{BrokerHandle, BrokerOptions};
use moldau_cluster::ControllerChannel;
use moldau_controller::{Controller, ControllerHandle, ControllerOptions, QuorumVoter};
use moldau_metadata::config::BrokerConfig;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::banner::Banner;
use super::{Prepared, storage};
use crate::console::Console;

/// Exit code of a second signal: the one of a process that SIGINT ended.
const IMPATIENT: i32 = 130;

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
    let controller = Controller::start(controller_options(&prepared), control.handle())
        .await
        .map_err(|error| with_next_step(&error.to_string(), &config))?;
    let broker = start_broker(&prepared, &controller).await;
    let broker = match broker {
        Ok(broker) => broker,
        Err(text) => {
            controller.shutdown().await;
            return Err(with_next_step(&text, &config));
        }
    };
    let ended = tokio::select! {
        ready = broker.wait_ready() => match ready {
            Ok(()) => None,
            Err(state) => Some(Err(format!("the controller refused this broker: {state:?}"))),
        },
        reason = controller.failed() => Some(Err(reason)),
        name = signals.next() => Some(Ok(name)),
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            announce(&prepared, &broker, started, console);
            tokio::select! {
                failure = broker.wait_failed() => Err(format!("the broker cannot go on: {failure}")),
                reason = controller.failed() => Err(format!("the controller has failed: {reason}")),
                name = signals.next() => Ok(name),
            }
        }
    };
    if let Ok(name) = &ended {
        tracing::info!("{name}: stopping; once more ends at once, without a clean shutdown");
    }
    let stopping = async {
        if let Err(error) = broker.stop().await {
            tracing::error!(%error, "the logs could not be closed cleanly; the next start recovers them");
        }
        controller.shutdown().await;
    };
    tokio::select! {
        () = stopping => {}
        _ = signals.next() => std::process::exit(IMPATIENT),
    }
    ended.map(|_| tracing::info!("stopped"))
}

async fn start_broker(prepared: &Prepared, controller: &ControllerHandle) -> Result<BrokerHandle, String> {
    let incarnation_id = storage::random_id().map_err(|error| format!("no random numbers: {error}"))?;
    let options = BrokerOptions {
        config: prepared.config.clone(),
        cluster_id: prepared.cluster_id.clone(),
        incarnation_id,
    };
    let channel: Arc<dyn ControllerChannel> = Arc::new(controller.clone());
    BrokerHandle::start(options, channel).await.map_err(|error| error.to_string())
}

fn controller_options(prepared: &Prepared) -> ControllerOptions {
    let config = &prepared.config;
    let mut options = ControllerOptions::new(
        config.node_id,
        prepared.cluster_id.clone(),
        config.metadata_log_dir.clone(),
        prepared.metadata_directory_id,
    );
    options.voters = config
        .quorum_voters
        .iter()
        .map(|voter| QuorumVoter { node_id: voter.id, host: voter.host.clone(), port: voter.port })
        .collect();
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

fn announce(prepared: &Prepared, broker: &BrokerHandle, started: Instant, console: &mut Console<'_>) {
    let banner = Banner {
        node_id: prepared.config.node_id.0,
        cluster_id: &prepared.cluster_id,
        addresses: broker.addresses(),
        http: broker.http_address(),
        directories: &prepared.config.log_dirs,
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
        let choice = if text.contains("http") {
            "http.listener=localhost:PORT"
        } else {
            "listeners=PLAINTEXT://localhost:PORT"
        };
        return format!("{error}; stop what uses it, or choose another by --override {choice}");
    }
    error.to_owned()
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
}
