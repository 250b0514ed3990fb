//! One broker: what its parts share, its start and its stop.

mod security;
mod start;
mod stop;

use std::sync::{Arc, OnceLock};

use moldau_metadata::MetadataImage;
use moldau_model::{BrokerEpoch, ErrorCode};
use moldau_security::link::Dialer;
use tokio::sync::watch;

pub use start::StartError;

use crate::api::streams_topics::StreamsTopics;
use crate::background::Background;
use crate::control::ControlPlane;
use crate::fetch_session::FetchSessionCache;
use crate::lifecycle::{BrokerState, Lifecycle};
use crate::metrics::Metrics;
use crate::options::{BoundAddress, BrokerOptions};
use crate::producer_ids::ProducerIds;
use crate::replica_manager::ReplicaManager;
use crate::replication::FetcherManager;
use crate::share::ShareService;
use crate::sync::{Syncer, Turns};
use crate::trace::Tracer;
use crate::verification::TransactionVerifier;

/// What the handlers and the background tasks of one broker share.
pub struct Broker {
    pub options: BrokerOptions,
    /// Metadata, the way to the controllers, coordinators of groups and transactions.
    pub control: Arc<ControlPlane>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What traces requests, where somebody asked for that.
    pub tracer: Option<Arc<Tracer>>,
    /// The partitions and their logs.
    pub replica_manager: Arc<ReplicaManager>,
    pub fetch_sessions: FetchSessionCache,
    /// Which connection speaks.
    pub(crate) turns: Turns,
    pub producer_ids: Arc<ProducerIds>,
    /// Share partitions that this broker leads, and the way to their coordinators.
    pub share: Arc<ShareService>,
    /// Topics that streams applications need and that are being created.
    pub streams_topics: Arc<StreamsTopics>,
    /// The way to the coordinators of transactions.
    pub transaction_verifier: TransactionVerifier,
    /// How other brokers are dialled, by the listener that is theirs.
    pub dialer: Arc<Dialer>,
    life: OnceLock<Life>,
}

/// What the lifecycle tells, once it has started.
struct Life {
    state: watch::Receiver<BrokerState>,
    broker_epoch: watch::Receiver<BrokerEpoch>,
}

impl Broker {
    /// What this broker signs its requests to the controller with; -1 before it is registered.
    #[must_use]
    pub fn broker_epoch(&self) -> BrokerEpoch {
        self.life.get().map_or(BrokerEpoch(-1), |life| *life.broker_epoch.borrow())
    }

    /// Whether a partition takes the first batch of a transaction only after its coordinator was asked
    /// (`transaction.partition.verification.enable`).
    #[must_use]
    pub fn verifies_transactions(&self) -> bool {
        let image = self.control.image();
        self.control.settings(&image).value("transaction.partition.verification.enable") != Some("false")
    }

    /// Whether clients are sent here.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.life.get().is_some_and(|life| *life.state.borrow() == BrokerState::Running)
    }
}

/// Why a broker cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokerFailure {
    #[error("the controller refused this broker: {0}")]
    Refused(ErrorCode),
    #[error("every log directory has failed")]
    NoLogDirectory,
    #[error("its tasks have stopped")]
    Stopped,
}

/// A running broker. Dropping it without [`BrokerHandle::stop`] is a crash: the next start recovers.
pub struct BrokerHandle {
    broker: Arc<Broker>,
    addresses: Vec<BoundAddress>,
    http_address: Option<std::net::SocketAddr>,
    lifecycle: Lifecycle,
    stop: watch::Sender<bool>,
    /// The listeners' tasks and the HTTP server's.
    servers: Vec<tokio::task::JoinHandle<()>>,
    exporter: Option<Exporter>,
    fetchers: Arc<FetcherManager>,
    isr_changes: tokio::task::JoinHandle<()>,
    background: Background,
    syncers: Vec<Syncer>,
}

/// What takes traces to their collector, and what tells it to stop.
struct Exporter {
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl BrokerHandle {
    #[must_use]
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    /// Where the listeners are, in the order of the configuration.
    #[must_use]
    pub fn addresses(&self) -> &[BoundAddress] {
        &self.addresses
    }

    /// Where health is served, unless it is off or its default port was taken.
    #[must_use]
    pub fn http_address(&self) -> Option<std::net::SocketAddr> {
        self.http_address
    }

    /// The newest metadata that this broker has applied.
    #[must_use]
    pub fn image(&self) -> Arc<MetadataImage> {
        self.broker.control.image()
    }

    /// Waits until the controller sends clients here.
    ///
    /// # Errors
    /// The state the broker has ended in: refused or stopped.
    pub async fn wait_ready(&self) -> Result<(), BrokerState> {
        self.lifecycle.wait_unfenced().await
    }

    /// Waits until the broker cannot go on, and says why. Kafka ends its process then, and so should ours.
    pub async fn wait_failed(&self) -> BrokerFailure {
        let mut state = self.lifecycle.watch_state();
        let refused = async {
            let ended = state.wait_for(|state| matches!(state, BrokerState::Refused(_))).await;
            match ended.map(|state| *state) {
                Ok(BrokerState::Refused(code)) => BrokerFailure::Refused(code),
                Ok(_) | Err(_) => BrokerFailure::Stopped,
            }
        };
        tokio::select! {
            failure = refused => failure,
            () = self.broker.replica_manager.dirs().all_failed() => BrokerFailure::NoLogDirectory,
        }
    }
}
