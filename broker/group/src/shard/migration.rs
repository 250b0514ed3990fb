//! Groups that change between the classic and the consumer protocol while they are in use (KIP-848).

use std::sync::Arc;

use moldau_model::ErrorCode;

use super::consumer::Work;
use super::{GroupShard, Output};
use crate::group::ClassicGroup;
use crate::rebalance::{join_refused, sync_refused};
use crate::records::GroupMetadataValue;
use crate::request::{Request, RequestToken};
use crate::timers::TimerKey;

impl GroupShard {
    /// Gives a request of the classic protocol to the consumer group that it is for; gives it back if there is none.
    pub(super) fn ask_consumer_group(
        &mut self,
        token: RequestToken,
        request: Request,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) -> Option<Request> {
        let group_id = match &request {
            Request::Join(request) => &request.group_id,
            Request::Sync(request) => &request.group_id,
            Request::Heartbeat(request) => &request.group_id,
            Request::Leave(request) => &request.group_id,
            _ => return Some(request),
        };
        let group_id = match self.consumer_groups.by_id.get_key_value(&**group_id) {
            Some((group_id, slot)) if slot.is_in_use() => Arc::clone(group_id),
            _ => return Some(request),
        };
        self.queue(&group_id, Work::Classic(token, Box::new(request)), now_ms, out);
        None
    }

    /// Takes out the classic group whose place a consumer group takes. Who waits in it has to join again, and will find the
    /// other one.
    pub(super) fn retire_classic_group(
        &mut self,
        group_id: &Arc<str>,
        out: &mut Vec<Output>,
    ) -> Option<ClassicGroup> {
        let mut group = self.groups.remove(group_id)?;
        self.timers.cancel(&TimerKey::Join { group_id: Arc::clone(group_id) });
        self.timers.cancel(&TimerKey::Sync { group_id: Arc::clone(group_id) });
        let error = ErrorCode::RebalanceInProgress;
        for member in group.abandon_rebalance() {
            if let Some(token) = member.awaiting_join {
                out.push(Output::Reply { token, response: join_refused(error, &member.member_id) });
            }
            if let Some(token) = member.awaiting_sync {
                out.push(Output::Reply { token, response: sync_refused(error) });
            }
        }
        Some(group)
    }

    /// A classic group stays, or comes to be, after all: its members join again.
    pub(super) fn resume_classic_group(&mut self, group_id: &str, now_ms: i64, out: &mut Vec<Output>) {
        let Some(mut rebalance) = self.rebalance(group_id, now_ms, out) else { return };
        let member_ids: Vec<Arc<str>> =
            rebalance.group.members().map(|member| Arc::clone(&member.member_id)).collect();
        if member_ids.is_empty() {
            return;
        }
        for member_id in &member_ids {
            rebalance.renew_session(member_id);
        }
        rebalance.prepare_rebalance();
    }

    /// The record is committed by which a consumer group becomes a classic one.
    pub(super) fn become_classic(
        &mut self,
        group_id: &Arc<str>,
        record: &[u8],
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        let Some(slot) = self.consumer_groups.by_id.remove(group_id) else { return };
        let read = GroupMetadataValue::decode(record)
            .and_then(|value| ClassicGroup::from_record(Arc::clone(group_id), &value));
        let group = read.unwrap_or_else(|error| panic!("the coordinator reads what it has written: {error}"));
        for (member_id, _) in slot.group.members() {
            let (group_id, member_id) = (Arc::clone(group_id), Arc::clone(member_id));
            self.timers.cancel(&TimerKey::Revocation {
                group_id: Arc::clone(&group_id),
                member_id: Arc::clone(&member_id),
            });
            self.timers.cancel(&TimerKey::Rejoin { group_id, member_id });
        }
        self.groups.insert(Arc::clone(group_id), group);
        self.resume_classic_group(group_id, now_ms, out);
        for (token, request) in slot.into_requests() {
            self.request(token, request, now_ms, out);
        }
    }
}
