//! What a request makes of what is known of its share partition.

use moldau_model::ErrorCode;

use super::request::{ReadState, Refusal, Request, Response, StateSummary};
use super::{Known, ShareStateConfig};
use crate::records::{ShareRecord, Snapshot, Update};
use crate::{DELIVERY_COMPLETE_COUNT_UNKNOWN, START_OFFSET_UNKNOWN};

/// The epoch of who does not say, or does not know, its own.
const NO_EPOCH: i32 = -1;

pub(super) enum Decision {
    /// Nothing is to be written.
    Answer(Response),
    /// The answer, once the record is committed; no record takes the share partition out.
    Write(Option<ShareRecord>, Response),
}

pub(super) fn decide(
    config: &ShareStateConfig,
    known: Option<&Known>,
    request: &Request,
    now_ms: i64,
) -> Decision {
    let decided = match request {
        Request::Initialize { state_epoch, start_offset, .. } => {
            initialize(known, *state_epoch, *start_offset, now_ms)
        }
        Request::Read { leader_epoch, .. } => read(config, known, *leader_epoch, now_ms),
        Request::Write { state_epoch, .. } => write(config, known, *state_epoch, request, now_ms),
        Request::Delete { .. } => {
            let done = Response::Changed(Ok(()));
            // What is not there is as good as deleted.
            Ok(if known.is_some() { Decision::Write(None, done) } else { Decision::Answer(done) })
        }
        Request::ReadSummary { .. } => Ok(Decision::Answer(Response::Summary(Ok(summary(known))))),
    };
    decided.unwrap_or_else(|refusal| Decision::Answer(request.refused_with(refusal)))
}

fn initialize(
    known: Option<&Known>,
    state_epoch: i32,
    start_offset: i64,
    now_ms: i64,
) -> Result<Decision, Refusal> {
    let before = known.map(|known| &known.snapshot);
    if state_epoch != NO_EPOCH && before.is_some_and(|before| before.state_epoch > state_epoch) {
        return Err(ErrorCode::FencedStateEpoch.into());
    }
    let is_started = start_offset != START_OFFSET_UNKNOWN;
    let snapshot = Snapshot {
        snapshot_epoch: before.map_or(0, |before| before.snapshot_epoch + 1),
        state_epoch,
        leader_epoch: before.map_or(0, |before| before.leader_epoch),
        start_offset,
        delivery_complete_count: if is_started { 0 } else { DELIVERY_COMPLETE_COUNT_UNKNOWN },
        create_timestamp_ms: now_ms,
        write_timestamp_ms: now_ms,
        batches: Vec::new(),
    };
    Ok(Decision::Write(Some(ShareRecord::Snapshot(snapshot)), Response::Changed(Ok(()))))
}

fn read(
    config: &ShareStateConfig,
    known: Option<&Known>,
    leader_epoch: i32,
    now_ms: i64,
) -> Result<Decision, Refusal> {
    let Some(known) = known else {
        let message = "Read operation on uninitialized share partition not allowed.";
        return Err(Refusal::new(ErrorCode::InvalidRequest, message));
    };
    let snapshot = &known.snapshot;
    if snapshot.leader_epoch > leader_epoch {
        return Err(ErrorCode::FencedLeaderEpoch.into());
    }
    let state = ReadState {
        state_epoch: snapshot.state_epoch,
        start_offset: snapshot.start_offset,
        batches: snapshot.batches.clone(),
    };
    let response = Response::Read(Ok(state));
    if leader_epoch == snapshot.leader_epoch {
        return Ok(Decision::Answer(response));
    }
    // From now on the leader before this one cannot write any more.
    let update = Update {
        snapshot_epoch: snapshot.snapshot_epoch,
        leader_epoch,
        start_offset: START_OFFSET_UNKNOWN,
        delivery_complete_count: DELIVERY_COMPLETE_COUNT_UNKNOWN,
        batches: Vec::new(),
    };
    Ok(Decision::Write(Some(record(config, known, update, NO_EPOCH, now_ms)), response))
}

fn write(
    config: &ShareStateConfig,
    known: Option<&Known>,
    state_epoch: i32,
    request: &Request,
    now_ms: i64,
) -> Result<Decision, Refusal> {
    let Request::Write { leader_epoch, start_offset, delivery_complete_count, batches, .. } = request else {
        return Err(ErrorCode::UnknownServerError.into());
    };
    let Some(known) = known else {
        let message = "Write operation on uninitialized share partition not allowed.";
        return Err(Refusal::new(ErrorCode::InvalidRequest, message));
    };
    let snapshot = &known.snapshot;
    if *leader_epoch != NO_EPOCH && snapshot.leader_epoch > *leader_epoch {
        return Err(ErrorCode::FencedLeaderEpoch.into());
    }
    if state_epoch != NO_EPOCH && snapshot.state_epoch > state_epoch {
        return Err(ErrorCode::FencedStateEpoch.into());
    }
    let update = Update {
        snapshot_epoch: snapshot.snapshot_epoch,
        leader_epoch: *leader_epoch,
        start_offset: *start_offset,
        delivery_complete_count: *delivery_complete_count,
        batches: crate::combine(&[], batches, *start_offset),
    };
    let mut after = snapshot.clone();
    after.apply(&update);
    if after.batches.len() > config.batches_max {
        return Err(ErrorCode::InvalidRequest.into());
    }
    let record = record(config, known, update, state_epoch, now_ms);
    Ok(Decision::Write(Some(record), Response::Changed(Ok(()))))
}

/// The update, or, when there have been enough of them, all that is known with it.
fn record(
    config: &ShareStateConfig,
    known: &Known,
    update: Update,
    state_epoch: i32,
    now_ms: i64,
) -> ShareRecord {
    if known.updates < config.updates_per_snapshot {
        return ShareRecord::Update(update);
    }
    let mut snapshot = known.snapshot.clone();
    snapshot.apply(&update);
    snapshot.snapshot_epoch += 1;
    if state_epoch != NO_EPOCH {
        snapshot.state_epoch = state_epoch;
    }
    snapshot.create_timestamp_ms = now_ms;
    snapshot.write_timestamp_ms = now_ms;
    ShareRecord::Snapshot(snapshot)
}

/// What was never initialized is where nobody has started.
fn summary(known: Option<&Known>) -> StateSummary {
    match known.map(|known| &known.snapshot) {
        Some(snapshot) => StateSummary {
            state_epoch: snapshot.state_epoch,
            leader_epoch: snapshot.leader_epoch,
            start_offset: snapshot.start_offset,
            delivery_complete_count: snapshot.delivery_complete_count,
        },
        None => StateSummary {
            state_epoch: 0,
            leader_epoch: 0,
            start_offset: START_OFFSET_UNKNOWN,
            delivery_complete_count: DELIVERY_COMPLETE_COUNT_UNKNOWN,
        },
    }
}
