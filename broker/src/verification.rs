//! Asks the transaction coordinator whether a transaction includes the partitions that a producer writes to (KIP-890), and,
//! for transactions of version 2, adds them to it.
//!
//! One task for each broker that coordinates transactions asks over one connection, one request at a time; what comes
//! meanwhile goes together into the next one.

mod link;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use moldau_group::partition_for_group;
use moldau_metadata::MetadataImage;
use moldau_metadata::config::BrokerSettings;
use moldau_model::{BrokerId, ErrorCode, PartitionIndex, ProducerEpoch, ProducerId};
use moldau_security::link::Dialer;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// The topic that holds the state of transactions.
pub const TRANSACTION_STATE_TOPIC: &str = "__transaction_state";

/// Questions that one coordinator has not been asked yet. Beyond them producers are told to try again.
const QUESTIONS_MAX: usize = 4096;
/// The first pause, which doubles: a transaction ends within a few syncs.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(1);

/// How patient a broker is with coordinators. The defaults are Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// `add.partitions.to.txn.retry.backoff.max.ms`: how long the coordinator may still be busy with the end of the
    /// producer's last transaction before the producer is told to try again.
    pub retry_limit: Duration,
    /// `add.partitions.to.txn.retry.backoff.ms`: the longest pause between two questions about it.
    pub retry_pause_max: Duration,
    /// `request.timeout.ms`: a coordinator that takes longer is asked anew by the producers.
    pub answer_limit: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            retry_limit: Duration::from_millis(100),
            retry_pause_max: Duration::from_millis(20),
            answer_limit: Duration::from_secs(30),
        }
    }
}

impl Patience {
    /// As the settings of the start say.
    #[must_use]
    pub fn of(statics: &BTreeMap<String, String>) -> Self {
        let settings = BrokerSettings::of_statics(statics);
        let duration = |name: &str, fallback: Duration| {
            let ms = settings.value(name).and_then(|text| text.trim().parse().ok());
            ms.map_or(fallback, Duration::from_millis)
        };
        let Self { retry_limit, retry_pause_max, answer_limit } = Self::default();
        Self {
            retry_limit: duration("add.partitions.to.txn.retry.backoff.max.ms", retry_limit),
            retry_pause_max: duration("add.partitions.to.txn.retry.backoff.ms", retry_pause_max),
            answer_limit: duration("request.timeout.ms", answer_limit),
        }
    }
}

/// What a client understands of what the coordinator says: that goes by the version of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClientSupport {
    /// INVALID_TXN_STATE, which is fatal.
    DefaultErrors,
    /// TRANSACTION_ABORTABLE.
    AbortableErrors,
    /// It leaves it to the broker to add partitions to its transaction.
    AddedByBroker,
}

/// One transaction, and the partitions that it is to include.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub transactional_id: String,
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub support: ClientSupport,
    pub partitions: Vec<(Arc<str>, PartitionIndex)>,
}

/// A code for each partition of the question, in its order.
pub type Verdict = Vec<ErrorCode>;

struct Asked {
    question: Question,
    host: Arc<str>,
    port: u16,
    dialer: Arc<Dialer>,
    answer: oneshot::Sender<Verdict>,
}

/// See the module.
pub struct TransactionVerifier {
    node_id: BrokerId,
    inter_broker_listener: String,
    dialer: Arc<Dialer>,
    patience: Patience,
    coordinators: Mutex<HashMap<BrokerId, mpsc::Sender<Asked>>>,
}

impl TransactionVerifier {
    /// One that has asked nobody yet.
    #[must_use]
    pub fn new(node_id: BrokerId, inter_broker_listener: impl Into<String>) -> Self {
        let inter_broker_listener = inter_broker_listener.into();
        let (dialer, patience) = (Arc::new(Dialer::plain()), Patience::default());
        Self { node_id, inter_broker_listener, dialer, patience, coordinators: Mutex::default() }
    }

    /// The same with other bounds.
    #[must_use]
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// The same that dials in another way.
    #[must_use]
    pub fn with_dialer(self, dialer: Arc<Dialer>) -> Self {
        Self { dialer, ..self }
    }

    /// Asks the coordinator; again for a while where it is busy with the transaction before, or where `renew` says that the
    /// marker of that one came while this was asked: then the answer is not about the guards that are there now. `renew` is
    /// called before each question but the first, and after each answer. `image` gives the newest metadata, for the
    /// coordinator may move meanwhile. Needs a tokio runtime.
    pub async fn ask(
        &self,
        image: impl Fn() -> Arc<MetadataImage>,
        question: &Question,
        mut renew: impl FnMut() -> bool,
    ) -> Verdict {
        let deadline = Instant::now() + self.patience.retry_limit;
        let mut pause = RETRY_PAUSE_MIN;
        loop {
            let verdict = self.ask_once(&image(), question).await;
            let is_busy = verdict.contains(&ErrorCode::ConcurrentTransactions);
            let is_late = !is_busy && renew();
            if !is_busy && !is_late {
                return verdict;
            }
            if Instant::now() >= deadline {
                return vec![ErrorCode::ConcurrentTransactions; question.partitions.len()];
            }
            if is_busy {
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2).min(self.patience.retry_pause_max);
                renew();
            }
        }
    }

    async fn ask_once(&self, image: &MetadataImage, question: &Question) -> Verdict {
        let all = |code| vec![code; question.partitions.len()];
        let Some((coordinator, host, port)) = self.coordinator(image, &question.transactional_id) else {
            return all(ErrorCode::CoordinatorNotAvailable);
        };
        let (sender, answer) = oneshot::channel();
        let dialer = Arc::clone(&self.dialer);
        let asked = Asked { question: question.clone(), host, port, dialer, answer: sender };
        let is_taken = self.sender(coordinator).try_send(asked).is_ok();
        if !is_taken {
            return all(ErrorCode::NetworkException);
        }
        answer.await.unwrap_or_else(|_| all(ErrorCode::NetworkException))
    }

    /// The broker that coordinates the transactional id's transactions.
    fn coordinator(
        &self,
        image: &MetadataImage,
        transactional_id: &str,
    ) -> Option<(BrokerId, Arc<str>, u16)> {
        let topic = image.topics().by_name(TRANSACTION_STATE_TOPIC)?;
        let partition = topic.partition(partition_for_group(transactional_id, topic.partition_count()))?;
        let broker = image.broker(partition.leader).filter(|broker| !broker.fenced)?;
        let listener = broker.listener(&self.inter_broker_listener)?;
        Some((broker.id, Arc::clone(&listener.host), listener.port))
    }

    fn sender(&self, coordinator: BrokerId) -> mpsc::Sender<Asked> {
        let mut coordinators = self.coordinators.lock();
        let sender = coordinators.entry(coordinator).or_insert_with(|| {
            let (sender, questions) = mpsc::channel(QUESTIONS_MAX);
            tokio::spawn(link::run(self.node_id, coordinator, questions, self.patience.answer_limit));
            sender
        });
        sender.clone()
    }
}

/// What the client is told where the coordinator's code is none that it could act on, with Kafka's text for it. Codes that
/// come and go become NOT_ENOUGH_REPLICAS: the oldest clients, too, try again after it, without a look at the metadata.
#[must_use]
pub fn for_client(code: ErrorCode) -> (ErrorCode, Option<String>) {
    match code {
        ErrorCode::InvalidTxnState => (code, Some("Partition was not added to the transaction".to_owned())),
        ErrorCode::ConcurrentTransactions
        | ErrorCode::NetworkException
        | ErrorCode::CoordinatorLoadInProgress
        | ErrorCode::CoordinatorNotAvailable
        | ErrorCode::NotCoordinator => {
            let message = format!(
                "Unable to verify the partition has been added to the transaction. Underlying error: {}",
                code.name()
            );
            (ErrorCode::NotEnoughReplicas, Some(message))
        }
        code => (code, None),
    }
}
