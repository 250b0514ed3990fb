//! Before the first batch of a transaction is written to a partition, the coordinator is asked (KIP-890): a batch that
//! comes late would else open a transaction that nobody ends.

use std::collections::HashMap;
use std::sync::Arc;

use moldau_kafka::{ProduceRequestView, text};
use moldau_log::{AppendOrigin, AppendTerms};
use moldau_model::{ErrorCode, ProducerEpoch, ProducerId, TopicIdPartition, VerificationGuard};
use moldau_record::BatchView;

use super::find_topic;
use crate::api::Request;
use crate::api::topic_view::is_internal;
use crate::authorize::{Operation, Resource, is_authorized};
use crate::broker::Broker;
use crate::replica_manager::AppendRefused;
use crate::verification::{ClientSupport, Question, for_client};

/// From here on a client leaves it to the broker to add partitions to its transactions.
const VERSION_ADDED_BY_BROKER: i16 = 12;
/// From here on a client knows TRANSACTION_ABORTABLE.
const VERSION_ABORTABLE: i16 = 11;

/// What is known of the transactions in a request.
#[derive(Default)]
pub(super) struct Verified {
    /// Nothing at all is appended.
    pub(super) refusal: Option<ErrorCode>,
    needs_verification: bool,
    partitions: HashMap<TopicIdPartition, Result<VerificationGuard, (ErrorCode, Option<String>)>>,
}

impl Verified {
    /// Under which terms a partition's batch may be appended.
    pub(super) fn terms(&self, id: TopicIdPartition) -> Result<AppendTerms, AppendRefused> {
        let verification = match self.partitions.get(&id) {
            None => None,
            Some(Ok(guard)) => Some(*guard),
            Some(Err((code, message))) => {
                return Err(AppendRefused { message: message.clone(), ..(*code).into() });
            }
        };
        let needs_verification = self.needs_verification;
        Ok(AppendTerms { needs_verification, verification, ..AppendOrigin::Client.into() })
    }
}

/// Whether the coordinator has to be asked.
pub(super) enum Plan {
    Append(Verified),
    Ask(Asking),
}

/// What the coordinator is to be asked, and what is known without it.
pub(super) struct Asking {
    question: Question,
    /// For the question's partitions, in its order: with the first sequence of the batch.
    guards: Vec<(TopicIdPartition, i32, VerificationGuard)>,
    verified: Verified,
}

impl Asking {
    /// Asks.
    pub(super) async fn ask(self, broker: &Arc<Broker>) -> Verified {
        let Self { question, mut guards, mut verified } = self;
        let bumps_epoch = question.support == ClientSupport::AddedByBroker;
        // The marker of the transaction before, when it is written, takes the guards away: an answer to what is asked after
        // it counts under new ones alone.
        let renew = || {
            let mut is_renewed = false;
            for (id, sequence, guard) in &mut guards {
                let renewed = broker.replica_manager.get(*id).and_then(|partition| {
                    let (producer_id, epoch) = (question.producer_id, question.producer_epoch);
                    partition.begin_verification(producer_id, epoch, *sequence, bumps_epoch)
                });
                if let Ok(Some(renewed)) = renewed {
                    is_renewed |= *guard != renewed;
                    *guard = renewed;
                }
            }
            is_renewed
        };
        let verdict = broker.transaction_verifier.ask(|| broker.control.image(), &question, renew).await;
        for ((id, _, guard), code) in guards.into_iter().zip(verdict) {
            let result = if code.is_none() { Ok(guard) } else { Err(for_client(code)) };
            verified.partitions.insert(id, result);
        }
        verified
    }
}

/// One transactional batch, as its header says.
struct Batch {
    id: TopicIdPartition,
    topic: String,
    producer_id: ProducerId,
    producer_epoch: ProducerEpoch,
    sequence: i32,
}

/// Looks at the batches' headers.
pub(super) fn plan(broker: &Broker, request: &Request, view: &ProduceRequestView) -> Plan {
    let has_transactional = view
        .topics
        .iter()
        .flat_map(|topic| &topic.partitions)
        .any(|partition| transactional(request, partition.records.clone()).is_some());
    if !has_transactional {
        return Plan::Append(Verified::default());
    }
    let refused = |code| Plan::Append(Verified { refusal: Some(code), ..Verified::default() });
    let transactional_id = view.transactional_id.as_ref().map(|range| text(request.body(), range));
    let may_write =
        |id: &&str| is_authorized(&request.context, Operation::Write, Resource::transactional_id(id));
    let Some(transactional_id) = transactional_id.filter(may_write) else {
        return refused(ErrorCode::TransactionalIdAuthorizationFailed);
    };
    let batches = batches(broker, request, view);
    let Some(first) = batches.first() else { return Plan::Append(Verified::default()) };
    let (producer_id, producer_epoch) = (first.producer_id, first.producer_epoch);
    if batches.iter().any(|batch| (batch.producer_id, batch.producer_epoch) != (producer_id, producer_epoch))
    {
        return refused(ErrorCode::InvalidProducerIdMapping);
    }
    let support = match request.context.api_version {
        VERSION_ADDED_BY_BROKER.. => ClientSupport::AddedByBroker,
        VERSION_ABORTABLE => ClientSupport::AbortableErrors,
        _ => ClientSupport::DefaultErrors,
    };
    let needs_verification = broker.verifies_transactions();
    let mut verified = Verified { needs_verification, ..Verified::default() };
    let bumps_epoch = support == ClientSupport::AddedByBroker;
    if !needs_verification && !bumps_epoch {
        return Plan::Append(verified);
    }
    let (mut guards, mut partitions) = (Vec::new(), Vec::new());
    for batch in batches {
        let guard = broker.replica_manager.get(batch.id).and_then(|partition| {
            partition.begin_verification(producer_id, producer_epoch, batch.sequence, bumps_epoch)
        });
        match guard {
            // Its transaction is open here.
            Ok(None) => {}
            Ok(Some(guard)) => {
                guards.push((batch.id, batch.sequence, guard));
                partitions.push((Arc::from(batch.topic), batch.id.partition));
            }
            Err(code) => drop(verified.partitions.insert(batch.id, Err((code, None)))),
        }
    }
    if guards.is_empty() {
        return Plan::Append(verified);
    }
    let transactional_id = transactional_id.to_owned();
    let question = Question { transactional_id, producer_id, producer_epoch, support, partitions };
    Plan::Ask(Asking { question, guards, verified })
}

/// The transactional batches of those partitions that will be appended to.
fn batches(broker: &Broker, request: &Request, view: &ProduceRequestView) -> Vec<Batch> {
    let image = broker.control.image();
    let mut batches = Vec::new();
    for topic in &view.topics {
        let (name, topic_id, refusal) = find_topic(&image, request, &topic.topic);
        if refusal.is_some() || is_internal(&name) {
            continue;
        }
        for partition in &topic.partitions {
            let is_known = image.topics().partition(topic_id, partition.index).is_some();
            if let Some(batch) = transactional(request, partition.records.clone()).filter(|_| is_known) {
                batches.push(Batch {
                    id: TopicIdPartition { topic_id, partition: partition.index },
                    topic: name.clone(),
                    producer_id: batch.producer_id(),
                    producer_epoch: batch.producer_epoch(),
                    sequence: batch.base_sequence(),
                });
            }
        }
    }
    batches
}

/// The first batch of the records, if it is one of a transaction. What is wrong with it is for the append to say.
fn transactional(request: &Request, records: Option<std::ops::Range<usize>>) -> Option<BatchView<'_>> {
    let batch = BatchView::first(request.body().get(records?)?).ok()?;
    (batch.is_transactional() && batch.has_producer_id()).then_some(batch)
}
