//! The share coordinator's APIs (83 to 87) as a partition's leader and a group's coordinator use them: one share partition in a
//! request, and what its answer says.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::delete_share_group_state_request as delete;
use kafka_protocol::messages::initialize_share_group_state_request as initialize;
use kafka_protocol::messages::read_share_group_state_request as read;
use kafka_protocol::messages::read_share_group_state_summary_request as summary;
use kafka_protocol::messages::{
    DeleteShareGroupStateRequest, InitializeShareGroupStateRequest, ReadShareGroupStateRequest,
    ReadShareGroupStateSummaryRequest,
};
use kafka_protocol::protocol::StrBytes;
use moldau_kafka::{
    ReadShareGroupStateSummaryResponse, SIZE_PREFIX_BYTES, ShareStateBatch, ShareStateWrite, WireError,
    WriteShareGroupStateRequest, decode_response, encode_request,
};
use moldau_model::ErrorCode;
use moldau_share::{
    DeliveryState, ReadState, Refusal, Request, Response, SharePartitionKey, StateBatch, StateSummary,
};

use super::auto_create::{Requester, ensure_topic};
use super::message::{owned, text, wire_uuid};
use crate::control::ControlPlane;
use crate::coordinator::SHARE_STATE_TOPIC;
use crate::share::Exchange;

/// What every broker serves.
const VERSION: i16 = 0;
/// Of those that count deliveries.
const COUNTING_VERSION: i16 = 1;

/// Makes sure that the topic of share state exists. Within a bound.
pub(crate) async fn ensure_state_topic(control: &std::sync::Arc<ControlPlane>) {
    if control.image().topics().by_name(SHARE_STATE_TOPIC).is_none() {
        ensure_topic(control, SHARE_STATE_TOPIC, &Requester::broker(control)).await;
    }
}

/// What writes the frame of a request.
pub(crate) fn exchange(request: &Request) -> Exchange {
    let request = request.clone();
    Box::new(move |correlation_id, client_id| {
        encode(correlation_id, &text(client_id), &request).map_err(|error| error.to_string())
    })
}

fn encode(correlation_id: i32, client_id: &StrBytes, request: &Request) -> Result<BytesMut, WireError> {
    let SharePartitionKey { group_id: group, topic_id, partition } = request.key();
    let (group, topic_id, partition) = (text(group), wire_uuid(*topic_id), partition.0);
    let client_id = Some(client_id);
    match request {
        Request::Initialize { state_epoch, start_offset, .. } => {
            let data = initialize::PartitionData::default()
                .with_partition(partition)
                .with_state_epoch(*state_epoch)
                .with_start_offset(*start_offset);
            let topic = initialize::InitializeStateData::default()
                .with_topic_id(topic_id)
                .with_partitions(vec![data]);
            let body =
                InitializeShareGroupStateRequest::default().with_group_id(group).with_topics(vec![topic]);
            encode_request(VERSION, correlation_id, client_id, &body)
        }
        Request::Read { leader_epoch, .. } => {
            let data =
                read::PartitionData::default().with_partition(partition).with_leader_epoch(*leader_epoch);
            let topic = read::ReadStateData::default().with_topic_id(topic_id).with_partitions(vec![data]);
            let body = ReadShareGroupStateRequest::default().with_group_id(group).with_topics(vec![topic]);
            encode_request(VERSION, correlation_id, client_id, &body)
        }
        Request::Write {
            state_epoch, leader_epoch, start_offset, delivery_complete_count, batches, ..
        } => {
            let batches = batches.iter().map(|batch| ShareStateBatch {
                first_offset: batch.first,
                last_offset: batch.last,
                delivery_state: batch.state.code(),
                delivery_count: batch.delivery_count,
            });
            let write = ShareStateWrite {
                topic_id: request.key().topic_id,
                partition: request.key().partition,
                state_epoch: *state_epoch,
                leader_epoch: *leader_epoch,
                start_offset: *start_offset,
                delivery_complete_count: *delivery_complete_count,
                batches: batches.collect(),
            };
            let body = WriteShareGroupStateRequest { group_id: group.to_string(), writes: vec![write] };
            body.encode(COUNTING_VERSION, correlation_id, client_id)
        }
        Request::Delete { .. } => {
            let data = delete::PartitionData::default().with_partition(partition);
            let topic =
                delete::DeleteStateData::default().with_topic_id(topic_id).with_partitions(vec![data]);
            let body = DeleteShareGroupStateRequest::default().with_group_id(group).with_topics(vec![topic]);
            encode_request(VERSION, correlation_id, client_id, &body)
        }
        Request::ReadSummary { .. } => {
            let data = summary::PartitionData::default().with_partition(partition).with_leader_epoch(-1);
            let topic =
                summary::ReadStateSummaryData::default().with_topic_id(topic_id).with_partitions(vec![data]);
            let body =
                ReadShareGroupStateSummaryRequest::default().with_group_id(group).with_topics(vec![topic]);
            // Both versions are the same but for the header.
            let mut frame = encode_request(VERSION, correlation_id, client_id, &body)?;
            frame[SIZE_PREFIX_BYTES + 2..SIZE_PREFIX_BYTES + 4]
                .copy_from_slice(&COUNTING_VERSION.to_be_bytes());
            Ok(frame)
        }
    }
}

/// What an answer says; `None` if it is none to this request.
pub(crate) fn response(request: &Request, mut frame: Bytes) -> Option<Response> {
    let frame = &mut frame;
    Some(match request {
        Request::Initialize { .. } => {
            let (_, answer) = decode_response::<InitializeShareGroupStateRequest>(VERSION, frame).ok()?;
            let partition = answer.results.into_iter().flat_map(|topic| topic.partitions).next()?;
            Response::Changed(result(partition.error_code, partition.error_message))
        }
        Request::Write { .. } => {
            let (_, answer) =
                decode_response::<kafka_protocol::messages::WriteShareGroupStateRequest>(VERSION, frame)
                    .ok()?;
            let partition = answer.results.into_iter().flat_map(|topic| topic.partitions).next()?;
            Response::Changed(result(partition.error_code, partition.error_message))
        }
        Request::Delete { .. } => {
            let (_, answer) = decode_response::<DeleteShareGroupStateRequest>(VERSION, frame).ok()?;
            let partition = answer.results.into_iter().flat_map(|topic| topic.partitions).next()?;
            Response::Changed(result(partition.error_code, partition.error_message))
        }
        Request::Read { .. } => {
            let (_, answer) = decode_response::<ReadShareGroupStateRequest>(VERSION, frame).ok()?;
            let partition = answer.results.into_iter().flat_map(|topic| topic.partitions).next()?;
            let batches: Option<Vec<StateBatch>> = partition
                .state_batches
                .iter()
                .map(|batch| {
                    let state = DeliveryState::from_code(batch.delivery_state)?;
                    let (first, last) = (batch.first_offset, batch.last_offset);
                    let batch = StateBatch { first, last, state, delivery_count: batch.delivery_count };
                    Some(batch).filter(StateBatch::is_valid)
                })
                .collect();
            let state = ReadState {
                state_epoch: partition.state_epoch,
                start_offset: partition.start_offset,
                batches: batches?,
            };
            Response::Read(result(partition.error_code, partition.error_message).map(|()| state))
        }
        Request::ReadSummary { .. } => {
            let answer = ReadShareGroupStateSummaryResponse::decode(COUNTING_VERSION, frame).ok()?;
            let partition = answer.summaries.into_iter().next()?;
            let summary = StateSummary {
                state_epoch: partition.state_epoch,
                leader_epoch: partition.leader_epoch,
                start_offset: partition.start_offset,
                delivery_complete_count: partition.delivery_complete_count,
            };
            let message = partition.error_message.map(text);
            Response::Summary(result(partition.error_code, message).map(|()| summary))
        }
    })
}

fn result(code: i16, message: Option<StrBytes>) -> Result<(), Refusal> {
    let error = ErrorCode::from_code(code);
    if error.is_none() {
        return Ok(());
    }
    let message = owned(message).unwrap_or_else(|| error.message().to_owned());
    Err(Refusal { error, message })
}
