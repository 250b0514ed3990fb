//! WriteShareGroupState (85), versions 0 and 1: what members of a share group have said of records.
//!
//! - 1: how many deliveries are done (KIP-1226).

use std::sync::Arc;

use kafka_protocol::messages::WriteShareGroupStateResponse;
use kafka_protocol::messages::write_share_group_state_response::{PartitionResult, WriteStateResult};
use moldau_kafka::{ShareStateWrite, WriteShareGroupStateRequest};
use moldau_share::{DeliveryState, Request as StateRequest, SharePartitionKey, StateBatch};

use super::message::{text, wire_uuid};
use super::share_state::{ask_all, by_topic, key, outcome};
use super::{ApiSupport, Reply, Request};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(85, "WriteShareGroupState", 0, 1, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, body) = request.into_body();
    let request = match WriteShareGroupStateRequest::decode(context.api_version, &body) {
        Ok(request) => request,
        Err(error) => {
            tracing::debug!(peer = %context.client_address, %error, "unreadable request");
            return Reply::Close("unreadable request");
        }
    };
    let group_id: Arc<str> = request.group_id.as_str().into();
    let asked = request.writes.iter().map(|data| {
        let key = key(&group_id, data.topic_id, data.partition.0);
        (data.topic_id, data.partition.0, write(key, data))
    });
    let (broker, asked) = (Arc::clone(broker), asked.collect());
    Reply::Pending(Box::pin(async move {
        let answers = ask_all(&broker, &context, asked).await;
        let topics = by_topic(answers, |partition, response| {
            let (code, message) = outcome(response);
            PartitionResult::default()
                .with_partition(partition)
                .with_error_code(code)
                .with_error_message(message.map(text))
        });
        let results = topics.into_iter().map(|(topic_id, partitions)| {
            WriteStateResult::default().with_topic_id(wire_uuid(topic_id)).with_partitions(partitions)
        });
        context.response(&WriteShareGroupStateResponse::default().with_results(results.collect()))
    }))
}

fn write(key: SharePartitionKey, data: &ShareStateWrite) -> StateRequest {
    let batches = data.batches.iter().map(|batch| match DeliveryState::from_code(batch.delivery_state) {
        Some(state) => StateBatch {
            first: batch.first_offset,
            last: batch.last_offset,
            state,
            delivery_count: batch.delivery_count,
        },
        // A state that is none makes a batch that is refused.
        None => StateBatch { first: -1, last: -1, state: DeliveryState::Available, delivery_count: -1 },
    });
    StateRequest::Write {
        key,
        state_epoch: data.state_epoch,
        leader_epoch: data.leader_epoch,
        start_offset: data.start_offset,
        delivery_complete_count: data.delivery_complete_count,
        batches: batches.collect(),
    }
}
