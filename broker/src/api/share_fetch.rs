//! ShareFetch (78), versions 1 and 2: a member of a share group says what became of records, and gets others (KIP-932).
//!
//! - 2: records counted strictly (KIP-1206), renewals (KIP-1222).
//!
//! What was said takes effect first, then the session's partitions are looked at, another one first each time. A fetch that gets
//! nothing parks at all of them: at the partitions, where records are appended, and at the share partitions, where they come back.

mod answer;
mod take;

use std::sync::Arc;
use std::time::Duration;

use moldau_kafka::ShareFetchRequest;
use moldau_metadata::QuotaKey;
use moldau_model::{ErrorCode, TopicIdPartition};
use moldau_share::{AcquireMode, SessionKey, ShareSessions};
use tokio::time::Instant;

use super::share_request;
use super::{ApiSupport, Reply, Request, RequestContext};
use crate::broker::Broker;
use crate::purgatory::{FetchWaiter, WaitEnd};
use crate::response::ResponseFrame;
use crate::share::ShareGroupSettings;
use take::{Seen, Taken};

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(78, "ShareFetch", 1, 2, handle);

/// The strict mode of version 2.
const RECORD_LIMIT: i8 = 1;

/// One fetch on its way to an answer.
struct Fetch {
    broker: Arc<Broker>,
    context: RequestContext,
    key: SessionKey,
    settings: ShareGroupSettings,
    limits: FetchLimits,
    partitions: Vec<TopicIdPartition>,
}

#[derive(Clone, Copy)]
struct FetchLimits {
    wait_max: Duration,
    bytes_max: usize,
    records_max: i64,
    batch_size: i64,
    mode: AcquireMode,
}

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, body) = request.into_body();
    let request = match ShareFetchRequest::decode(context.api_version, &body) {
        Ok(request) => request,
        Err(error) => {
            tracing::debug!(peer = %context.client_address, %error, "unreadable request");
            return Reply::Close("unreadable request");
        }
    };
    drop(body);
    let (key, partitions) = match begin_session(broker, &context, &request) {
        Ok(begun) => begun,
        Err(refused) => return Reply::Ready(answer::refuse(&context, refused)),
    };
    let settings = broker.share.settings(&broker.control.image(), &key.group_id);
    let said = share_request::said(&request.partitions, request.is_renewal && settings.may_renew);
    let is_final = ShareSessions::is_final(request.session_epoch);
    // Who renews, or goes, gets nothing.
    let fetched = if is_final || request.is_renewal { Vec::new() } else { partitions };
    let limits = limits(broker, &context, &request);
    let fetch = Fetch { broker: Arc::clone(broker), context, key, settings, limits, partitions: fetched };
    Reply::Pending(Box::pin(async move {
        let Fetch { broker, context, key, .. } = &fetch;
        let outcomes = share_request::acknowledge(broker, context, key, said).await;
        if is_final {
            let partitions = broker.share.sessions().close(key);
            broker.share.release(key, &partitions);
        }
        // What was said is told soon, whether or not there is something to get.
        let is_patient = outcomes.is_empty();
        let taken = fetch.take(is_patient).await;
        fetch.answer(&outcomes, taken)
    }))
}

fn begin_session(
    broker: &Broker,
    context: &RequestContext,
    request: &ShareFetchRequest,
) -> Result<(SessionKey, Vec<TopicIdPartition>), ErrorCode> {
    let (group_id, member_id) = (request.group_id.as_deref(), request.member_id.as_deref());
    let key = share_request::session_key(broker, context, group_id, member_id)?;
    let asks_for_something = request.bytes_max > 0 || request.records_max > 0 || request.bytes_min > 0;
    if request.is_renewal && (asks_for_something || request.wait_max_ms > 0) {
        // Who renews gets nothing, and says so.
        return Err(ErrorCode::InvalidRequest);
    }
    let has_said = request.partitions.iter().any(|partition| !partition.acknowledgements.is_empty());
    if request.session_epoch == 0 && has_said {
        // A session that begins has given nothing yet.
        return Err(ErrorCode::InvalidRequest);
    }
    let is_final = ShareSessions::is_final(request.session_epoch);
    let added = request.partitions.iter().map(|partition| partition.at).filter(|_| !is_final);
    let partitions = broker.share.sessions().fetch(
        &key,
        request.session_epoch,
        context.client_address,
        added,
        &request.forgotten,
    )?;
    Ok((key, partitions))
}

fn limits(broker: &Broker, context: &RequestContext, request: &ShareFetchRequest) -> FetchLimits {
    let size = |bytes: i32| usize::try_from(bytes).unwrap_or(0);
    let mut bytes_max = size(request.bytes_max).min(size(broker.options.config.fetch_bytes_max));
    let quotas = &broker.control.quotas;
    if quotas.limits(QuotaKey::ConsumerByteRate)
        && let Some(most) = quotas.fetch_bytes_max(context)
    {
        bytes_max = bytes_max.min(most);
    }
    FetchLimits {
        wait_max: Duration::from_millis(u64::try_from(request.wait_max_ms).unwrap_or(0)),
        bytes_max,
        records_max: i64::from(request.records_max.max(0)),
        batch_size: i64::from(request.batch_size.max(1)),
        mode: if request.acquire_mode == RECORD_LIMIT {
            AcquireMode::RecordLimit
        } else {
            AcquireMode::BatchOptimized
        },
    }
}

impl Fetch {
    /// Looks until there is something to tell, or no time left.
    async fn take(&self, is_patient: bool) -> Vec<Taken> {
        let deadline = Instant::now() + self.limits.wait_max;
        loop {
            let look = self.look().await;
            let is_over = !is_patient || self.partitions.is_empty() || Instant::now() >= deadline;
            if look.has_something || is_over {
                return look.taken;
            }
            let waiter = Arc::new(FetchWaiter::new(1));
            let parked = Parked { waiter, seen: &look.seen };
            if parked.park(self) && parked.waiter.wait(deadline).await == WaitEnd::Over {
                return look.taken;
            }
        }
    }

    fn answer(&self, outcomes: &[(TopicIdPartition, ErrorCode)], taken: Vec<Taken>) -> ResponseFrame {
        answer::frame(self, outcomes, self.throttle_ms(&taken), taken)
    }

    /// For how long the client has to wait before it asks again. What it got is its already, so that the answer brings it
    /// nevertheless.
    fn throttle_ms(&self, taken: &[Taken]) -> i32 {
        let quotas = &self.broker.control.quotas;
        if !quotas.limits(QuotaKey::ConsumerByteRate) {
            return 0;
        }
        let sizes = taken.iter().filter_map(|taken| taken.result.as_ref().ok());
        let bytes: usize = sizes.map(|records| records.bytes.len()).sum();
        quotas.record(QuotaKey::ConsumerByteRate, &self.context, bytes as f64)
    }
}

/// A fetch that stands at its partitions. However it ends, they forget it.
struct Parked<'a> {
    waiter: Arc<FetchWaiter>,
    seen: &'a [Seen],
}

impl Parked<'_> {
    /// `false` if some partition has more to see by now.
    fn park(&self, fetch: &Fetch) -> bool {
        let mut is_quiet = true;
        for seen in self.seen {
            seen.entry.park(&self.waiter);
            if let Some(read) = &seen.read {
                is_quiet &= seen.entry.partition.park(&self.waiter, fetch.settings.isolation, read);
            }
            // What came back between the look and the parking has woken nobody.
            is_quiet &= seen.entry.look(|share| share.next_fetch_offset()) == Ok(seen.next_fetch_offset);
        }
        is_quiet
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        for seen in self.seen {
            seen.entry.unpark(&self.waiter);
            if seen.read.is_some() {
                seen.entry.partition.unpark(&self.waiter);
            }
        }
    }
}
