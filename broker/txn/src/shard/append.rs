//! Steps on their way into the log, and what follows when they have come there.

use std::collections::BTreeMap;
use std::sync::Arc;

use moldau_model::ErrorCode;

use super::{AppendId, CoordinatorRecord, Entry, Output, TransactionShard};
use crate::records::{encode_key, encode_value};
use crate::request::RequestToken;
use crate::response::{AddPartitionsResponse, ProducerResponse, Response};
use crate::timers::Deadline;
use crate::transaction::Transaction;

/// What an append changes once it is committed.
#[derive(Debug)]
pub(super) enum Change {
    Step {
        transactional_id: Arc<str>,
        next: Box<Transaction>,
    },
    /// The id has expired.
    Remove {
        transactional_id: Arc<str>,
    },
}

impl Change {
    fn id(&self) -> &Arc<str> {
        let (Self::Step { transactional_id, .. } | Self::Remove { transactional_id }) = self;
        transactional_id
    }
}

/// Who waits for an append.
#[derive(Debug)]
pub(super) enum Completion {
    /// A client; the answer if all goes well.
    Reply { token: RequestToken, response: Response },
    /// The end of a transaction: it is written again if it cannot be.
    Markers,
    /// Nobody: what the coordinator does of its own accord it does again when it looks again.
    Nobody,
}

impl Completion {
    /// Tells a client that waits of an error; others do not want to know.
    pub(super) fn refused_if_reply(self, error: ErrorCode) -> Option<Output> {
        let Self::Reply { token, response } = self else { return None };
        Some(Output::Reply { token, response: with_error(response, error) })
    }
}

/// The appends of one shard whose outcome is not known.
#[derive(Debug, Default)]
pub(super) struct Appends {
    next_id: u64,
    pending: BTreeMap<AppendId, PendingAppend>,
}

#[derive(Debug)]
struct PendingAppend {
    changes: Vec<Change>,
    /// Gone once the client was told that it takes too long.
    completion: Option<Completion>,
    deadline_ms: i64,
}

impl Appends {
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Forgets everything, and gives back who waits. Ids go on, so that a late outcome meets nothing.
    pub(super) fn clear(&mut self) -> Vec<Completion> {
        let pending = std::mem::take(&mut self.pending);
        pending.into_values().filter_map(|append| append.completion).collect()
    }
}

impl TransactionShard {
    /// Hands a step to the log. Until its outcome is known, no other step of the id is taken.
    pub(super) fn append_step(
        &mut self,
        transactional_id: &Arc<str>,
        next: Transaction,
        completion: Completion,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        let record = CoordinatorRecord {
            key: encode_key(transactional_id),
            value: Some(encode_value(&next, self.transaction_version)),
        };
        let change = Change::Step { transactional_id: Arc::clone(transactional_id), next: Box::new(next) };
        self.append(vec![(record, change)], completion, now_ms, out);
    }

    pub(super) fn append(
        &mut self,
        changes: Vec<(CoordinatorRecord, Change)>,
        completion: Completion,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        let append_id = AppendId(self.appends.next_id);
        self.appends.next_id += 1;
        let (records, changes): (Vec<CoordinatorRecord>, Vec<Change>) = changes.into_iter().unzip();
        for change in &changes {
            if let Some(entry) = self.entries.get_mut(change.id()) {
                entry.pending = Some(append_id);
            }
        }
        let deadline_ms = now_ms.saturating_add(self.config.append_timeout_ms);
        self.timers.schedule(deadline_ms, Deadline::Append(append_id));
        let pending = PendingAppend { changes, completion: Some(completion), deadline_ms };
        self.appends.pending.insert(append_id, pending);
        out.push(Output::Append { append_id, leader_epoch: self.leader_epoch(), records });
    }

    pub(super) fn appended(
        &mut self,
        append_id: AppendId,
        result: Result<(), ErrorCode>,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        let Some(append) = self.appends.pending.remove(&append_id) else { return };
        self.timers.cancel(append.deadline_ms, Deadline::Append(append_id));
        let touched: Vec<Arc<str>> = append.changes.iter().map(|change| Arc::clone(change.id())).collect();
        match result {
            Ok(()) => {
                // The client first: it need not wait for the markers.
                let decided = self.apply(append.changes);
                if let Some(Completion::Reply { token, response }) = append.completion {
                    out.push(Output::Reply { token, response });
                }
                for transactional_id in decided {
                    self.write_markers(&transactional_id, now_ms, out);
                }
            }
            Err(error) => {
                self.give_up(&append.changes, now_ms);
                let error = append_error_to_response(error);
                out.extend(append.completion.and_then(|completion| completion.refused_if_reply(error)));
            }
        }
        for transactional_id in touched {
            self.retry_waiting(&transactional_id, now_ms, out);
        }
    }

    /// The outcome does not come: the client is told, and the step stays pending, since its record may be in the log.
    pub(super) fn append_takes_too_long(&mut self, append_id: AppendId, out: &mut Vec<Output>) {
        let Some(append) = self.appends.pending.get_mut(&append_id) else { return };
        let completion = append.completion.take();
        let error = ErrorCode::CoordinatorNotAvailable;
        out.extend(completion.and_then(|completion| completion.refused_if_reply(error)));
    }

    /// Applies committed changes. Returns the ids whose outcome they decided.
    fn apply(&mut self, changes: Vec<Change>) -> Vec<Arc<str>> {
        let mut decided = Vec::new();
        for change in changes {
            match change {
                Change::Step { transactional_id, next } => {
                    if next.state.is_ending() {
                        decided.push(Arc::clone(&transactional_id));
                    }
                    self.entries.insert(transactional_id, Entry { current: *next, pending: None });
                }
                Change::Remove { transactional_id } => {
                    self.entries.remove(&transactional_id);
                }
            }
        }
        decided
    }

    /// Changes that are not in the log: all is as before, and the end of a transaction is written again.
    fn give_up(&mut self, changes: &[Change], now_ms: i64) {
        for change in changes {
            let transactional_id = change.id();
            let Some(entry) = self.entries.get_mut(transactional_id) else { continue };
            entry.pending = None;
            if entry.current.state.is_ending() {
                let again_ms = now_ms.saturating_add(self.config.completion_retry_ms);
                self.timers.schedule(again_ms, Deadline::Completion(Arc::clone(transactional_id)));
            }
            if !entry.current.is_stored() {
                self.entries.remove(transactional_id);
            }
        }
    }
}

fn with_error(response: Response, error: ErrorCode) -> Response {
    match response {
        Response::InitProducerId(_) => Response::InitProducerId(ProducerResponse::refused(error)),
        Response::EndTransaction(_) => Response::EndTransaction(ProducerResponse::refused(error)),
        Response::AddPartitions(response) => {
            let partitions = response.partitions.into_iter().map(|(partition, _)| (partition, error));
            Response::AddPartitions(AddPartitionsResponse { partitions: partitions.collect() })
        }
        // These never wait for the log.
        response @ (Response::VerifyPartitions(_)
        | Response::DescribeTransaction(_)
        | Response::ListTransactions(_)) => response,
    }
}

/// How Kafka's coordinator tells clients that an append failed: by what makes them look for the coordinator again, or
/// repeat.
fn append_error_to_response(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::NotEnoughReplicasAfterAppend
        | ErrorCode::RequestTimedOut => ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch | ErrorCode::KafkaStorageError => {
            ErrorCode::NotCoordinator
        }
        _ => ErrorCode::UnknownServerError,
    }
}
