//! Requests, and the coordinator's own wishes: checked, decided, handed to the log.

use std::sync::Arc;

use moldau_model::{ErrorCode, ProducerEpoch, ProducerId, TimestampMs};

use super::append::Completion;
use super::{AllocationId, Entry, Output, ShardState, TransactionShard};
use crate::decide::{self, Circumstances, Decision};
use crate::records::{STRING_BYTES_MAX, encode_value};
use crate::request::{AddPartitionsRequest, Request, RequestToken};
use crate::response::{
    AddPartitionsResponse, DescribedTransaction, ListTransactionsResponse, ProducerResponse, Response,
};
use crate::transaction::Transaction;

/// What waits for a producer id. It is decided anew when the id is there.
#[derive(Debug)]
pub(super) enum Parked {
    Request {
        token: RequestToken,
        request: Box<Request>,
    },
    /// A transaction that took too long.
    TimedOut {
        transactional_id: Arc<str>,
    },
}

impl TransactionShard {
    pub(super) fn request(
        &mut self,
        token: RequestToken,
        request: Request,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        if let Err(error) = self.check(&request) {
            return out.push(Output::Reply { token, response: refused(&request, error) });
        }
        match request {
            Request::VerifyPartitions(request) => {
                out.push(Output::Reply { token, response: self.verify(&request) });
            }
            Request::DescribeTransaction(transactional_id) => {
                let response = Response::DescribeTransaction(self.describe(&transactional_id));
                out.push(Output::Reply { token, response });
            }
            Request::ListTransactions(request) => {
                let response = Response::ListTransactions(self.list(&request, now_ms));
                out.push(Output::Reply { token, response });
            }
            request => self.change(token, request, None, now_ms, out),
        }
    }

    fn check(&self, request: &Request) -> Result<(), ErrorCode> {
        let id = request.transactional_id();
        if id.is_some_and(|id| id.is_empty() || id.len() > STRING_BYTES_MAX) {
            return Err(ErrorCode::InvalidRequest);
        }
        if let Request::InitProducerId(request) = request
            && !(1..=self.config.transaction_timeout_ms_max).contains(&request.transaction_timeout_ms)
        {
            return Err(ErrorCode::InvalidTransactionTimeout);
        }
        match self.state {
            ShardState::Inactive => Err(ErrorCode::NotCoordinator),
            ShardState::Loading { .. } => Err(ErrorCode::CoordinatorLoadInProgress),
            ShardState::Active { .. } if request.may_append() && !self.has_room() => {
                Err(ErrorCode::CoordinatorNotAvailable)
            }
            ShardState::Active { .. } => Ok(()),
        }
    }

    /// Whether one more append, or wish for a producer id, may be under way.
    pub(super) fn has_room(&self) -> bool {
        self.appends.len() + self.parked.len() < self.config.pending_max
    }

    fn verify(&self, request: &AddPartitionsRequest) -> Response {
        let verified = match self.entries.get(&*request.transactional_id) {
            Some(entry) => decide::verify_partitions(&entry.current, request),
            None => Err(ErrorCode::InvalidProducerIdMapping),
        };
        Response::VerifyPartitions(match verified {
            Ok(partitions) => AddPartitionsResponse { partitions },
            Err(error) => all_partitions(request, error),
        })
    }

    /// A request that takes a step. `spare` is a producer id that was asked for on its behalf.
    pub(super) fn change(
        &mut self,
        token: RequestToken,
        request: Request,
        spare: Option<ProducerId>,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        let decided = self.decide(&request, spare, now_ms);
        let Some(transactional_id) = request.transactional_id().map(Arc::from) else { return };
        let decision = match decided {
            Ok(decision) => decision,
            Err(ErrorCode::ConcurrentTransactions) => {
                return self.wait_or_refuse(token, request, now_ms, out);
            }
            Err(error) => return out.push(Output::Reply { token, response: refused(&request, error) }),
        };
        match decision {
            Decision::NeedsProducerId => {
                self.park(Parked::Request { token, request: Box::new(request) }, out);
            }
            Decision::Done => {
                let current = self.entries.get(&transactional_id).map(|entry| entry.current.clone());
                let response = current.map_or_else(
                    || refused(&request, ErrorCode::UnknownServerError),
                    |current| answer(&request, &current),
                );
                out.push(Output::Reply { token, response });
            }
            Decision::Step(next) => {
                let response = answer(&request, &next);
                self.take_step(&request, &transactional_id, next, (token, response), now_ms, out);
            }
            Decision::Fence(next) => {
                // The epoch of the fence is nobody's: the producer asks again, and gets the one after it.
                let response = refused(&request, ErrorCode::ConcurrentTransactions);
                self.take_step(&request, &transactional_id, next, (token, response), now_ms, out);
            }
        }
    }

    fn decide(
        &mut self,
        request: &Request,
        spare: Option<ProducerId>,
        now_ms: i64,
    ) -> Result<Decision, ErrorCode> {
        let id = request.transactional_id().unwrap_or_default();
        if let Request::InitProducerId(init) = request
            && !self.entries.contains_key(id)
        {
            if self.entries.len() >= self.config.transactional_ids_max {
                return Err(ErrorCode::CoordinatorNotAvailable);
            }
            let Some(producer_id) = spare else { return Ok(Decision::NeedsProducerId) };
            let current = Transaction::unused(producer_id, init.transaction_timeout_ms, TimestampMs(now_ms));
            self.entries.insert(id.into(), Entry { current, pending: None });
        }
        let entry = self.entries.get(id).ok_or(ErrorCode::InvalidProducerIdMapping)?;
        let (current, circumstances) = (&entry.current, self.circumstances(entry, spare, now_ms));
        match request {
            Request::InitProducerId(request) => decide::init_producer_id(current, request, &circumstances),
            Request::AddPartitions(request) => decide::add_partitions(current, request, &circumstances),
            Request::EndTransaction(request) => decide::end_transaction(current, request, &circumstances),
            Request::VerifyPartitions(_) | Request::DescribeTransaction(_) | Request::ListTransactions(_) => {
                Ok(Decision::Done)
            }
        }
    }

    pub(super) fn circumstances(
        &self,
        entry: &Entry,
        spare: Option<ProducerId>,
        now_ms: i64,
    ) -> Circumstances {
        Circumstances {
            is_pending: entry.pending.is_some(),
            transaction_version: self.transaction_version,
            spare,
            now: TimestampMs(now_ms),
        }
    }

    fn take_step(
        &mut self,
        request: &Request,
        transactional_id: &Arc<str>,
        next: Transaction,
        (token, response): (RequestToken, Response),
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        if encode_value(&next, self.transaction_version).len() > self.config.record_bytes_max {
            let response = refused(request, ErrorCode::UnknownServerError);
            return out.push(Output::Reply { token, response });
        }
        self.append_step(transactional_id, next, Completion::Reply { token, response }, now_ms, out);
    }

    pub(super) fn park(&mut self, parked: Parked, out: &mut Vec<Output>) {
        let allocation_id = AllocationId(self.next_allocation_id);
        self.next_allocation_id += 1;
        self.parked.insert(allocation_id, parked);
        out.push(Output::AllocateProducerId { allocation_id });
    }

    pub(super) fn allocated(
        &mut self,
        allocation_id: AllocationId,
        result: Result<ProducerId, ErrorCode>,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        match (self.parked.remove(&allocation_id), result) {
            (Some(Parked::Request { token, request }), Ok(spare)) => {
                self.change(token, *request, Some(spare), now_ms, out);
            }
            (Some(Parked::Request { token, request }), Err(error)) => {
                out.push(Output::Reply { token, response: refused(&request, error) });
            }
            (Some(Parked::TimedOut { transactional_id }), Ok(spare)) => {
                self.abort_timed_out(&transactional_id, Some(spare), now_ms, out);
            }
            // It still takes too long when the coordinator looks again.
            (Some(Parked::TimedOut { .. }), Err(_)) | (None, _) => {}
        }
    }
}

/// The answer once what is known of the id is `known`.
fn answer(request: &Request, known: &Transaction) -> Response {
    let producer = |(producer_id, producer_epoch): (ProducerId, ProducerEpoch)| ProducerResponse {
        error: ErrorCode::None,
        producer_id,
        producer_epoch,
    };
    match request {
        Request::InitProducerId(_) => {
            Response::InitProducerId(producer((known.producer_id, known.producer_epoch)))
        }
        Request::EndTransaction(_) => Response::EndTransaction(producer(known.producer_after())),
        request => refused(request, ErrorCode::None),
    }
}

/// The answer to a request that comes to nothing but this code.
pub(super) fn refused(request: &Request, error: ErrorCode) -> Response {
    match request {
        Request::InitProducerId(_) => Response::InitProducerId(ProducerResponse::refused(error)),
        Request::EndTransaction(_) => Response::EndTransaction(ProducerResponse::refused(error)),
        Request::AddPartitions(request) => Response::AddPartitions(all_partitions(request, error)),
        Request::VerifyPartitions(request) => Response::VerifyPartitions(all_partitions(request, error)),
        Request::DescribeTransaction(transactional_id) => {
            Response::DescribeTransaction(DescribedTransaction::refused(transactional_id, error))
        }
        Request::ListTransactions(_) => Response::ListTransactions(ListTransactionsResponse {
            error,
            unknown_states: Vec::new(),
            transactions: Vec::new(),
        }),
    }
}

fn all_partitions(request: &AddPartitionsRequest, error: ErrorCode) -> AddPartitionsResponse {
    let partitions = request.partitions.iter().map(|partition| (partition.clone(), error));
    AddPartitionsResponse { partitions: partitions.collect() }
}
