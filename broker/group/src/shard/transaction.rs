//! Offsets in transactions: TxnOffsetCommit (key 28), versions 0 to 5, and the markers of WriteTxnMarkers (key 27).
//!
//! A marker goes through the shard, as all that is written to its partition: it decides over the offsets that the log has
//! before it, and over no other.

use moldau_model::ErrorCode;

use super::append::{Completion, PendingAppend};
use super::offset_commit::{CommitKind, refused};
use super::{AppendKind, GroupShard, Output};
use crate::request::{EndTransactionRequest, RequestToken, TxnOffsetCommitRequest};
use crate::response::Response;

impl GroupShard {
    pub(super) fn txn_offset_commit(
        &mut self,
        token: RequestToken,
        request: &TxnOffsetCommitRequest,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        let commit = &request.commit;
        match self.commit_group(commit, CommitKind::InTransaction, now_ms) {
            Ok(simple_group) => {
                let kind = AppendKind::InTransaction(request.transaction);
                self.append_offsets(token, commit, kind, simple_group, now_ms, out);
            }
            Err(error) => out.push(Output::Reply { token, response: refused(commit, error) }),
        }
    }

    /// Writes a transaction's end. It is written whether or not the shard knows of the transaction: the log has to know.
    pub(super) fn write_marker(
        &mut self,
        token: RequestToken,
        request: EndTransactionRequest,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        let mut offsets_of = self.appends.groups_in_transaction(request.producer_id);
        offsets_of.extend(self.open_transactions.groups_of(request.producer_id));
        let response = Response::EndTransaction(ErrorCode::None);
        let append = PendingAppend {
            kind: AppendKind::Marker(request),
            completion: Some(Completion::Reply { token, response, simple_group: None }),
            offsets_of,
            ..PendingAppend::default()
        };
        self.append(append, now_ms, out);
    }
}
