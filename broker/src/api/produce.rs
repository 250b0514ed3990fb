//! Produce (0), versions 3 to 13, advertised from 0 (KAFKA-18659).
//!
//! - 5: log start offset in the answer. 7: zstd allowed (KIP-110). 8: errors of single records (KIP-467). 9: flexible.
//! - 10: the new leader in the answer (KIP-951). 11, 12: transactions v2 (KIP-890). 13: topics by id (KIP-516).
//!
//! The records are not decoded here: their place in the frame is found, and the log checks and patches them there.
//! The first batch of a transaction waits for its coordinator's word: see `transactions`.
//!
//! acks=0 has no answer, so an error in it ends the connection, as in Kafka; acks=1 is answered from the page cache; acks=all
//! when the high watermark has passed, while the connection's next requests are served.

mod appending;
mod traces;
mod transactions;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_protocol::messages::ProduceResponse;
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use moldau_kafka::{ProduceRequestView, ProduceTopicRef, ProducedPartition, ProducedTopic, encode_produced};
use moldau_log::AppendInfo;
use moldau_metadata::{MetadataImage, QuotaKey};
use moldau_model::{BrokerId, ErrorCode, Offset, TimestampMs, TopicId, TopicIdPartition};

use self::appending::Appending;
use self::transactions::{Plan, Verified};
use super::message::{broker_id, text, topic_name, wire_uuid};
use super::topic_view::is_internal;
use super::{Acknowledgement, ApiSupport, Reply, Request, RequestContext};
use crate::authorize::{Operation, Resource, is_authorized};
use crate::broker::Broker;
use crate::purgatory::DelayedOperation;
use crate::replica_manager::AppendRefused;
use crate::response::ResponseFrame;
use crate::trace::RequestTrace;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(0, "Produce", 3, 13, handle);

const ACKS_ALL: i16 = -1;

/// What became of one partition's records.
struct Outcome {
    id: TopicIdPartition,
    result: Result<AppendInfo, AppendRefused>,
}

/// Everything the answer is made of.
struct Answer {
    broker: Arc<Broker>,
    context: RequestContext,
    topics: Vec<(String, TopicId, Vec<Outcome>)>,
    throttle_ms: i32,
    trace: Option<Box<RequestTrace>>,
}

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let version = request.context.api_version;
    let view = match ProduceRequestView::parse(version, request.body()) {
        Ok(view) => view,
        Err(error) => {
            tracing::debug!(peer = %request.context.client_address, %error, "unreadable produce request");
            return Reply::Close("unreadable produce request");
        }
    };
    let trace = traces::begin(broker, &request, &view);
    match transactions::plan(broker, &request, &view) {
        Plan::Append(verified) => serve(broker, request, &view, &verified, trace),
        Plan::Ask(asking) => {
            let broker = Arc::clone(broker);
            Reply::Deferred(Box::pin(async move {
                let verified = asking.ask(&broker).await;
                serve(&broker, request, &view, &verified, trace)
            }))
        }
    }
}

fn serve(
    broker: &Arc<Broker>,
    mut request: Request,
    view: &ProduceRequestView,
    verified: &Verified,
    mut trace: Option<Box<RequestTrace>>,
) -> Reply {
    let begun = Instant::now();
    if let Some(trace) = &mut trace {
        trace.step("append");
    }
    let partition_count = view.topics.iter().map(|topic| topic.partitions.len()).sum();
    let delayed = (view.acks == ACKS_ALL).then(|| Arc::new(DelayedOperation::new(partition_count)));
    let topics = append_all(broker, &mut request, view, verified, delayed.as_ref());
    count_failed(broker, &request.context, &topics);
    let throttle_ms = throttle_ms(broker, &request, view.acks, begun);
    if let Some(trace) = &mut trace {
        traces::describe(trace, &request.context, view, &topics);
    }
    let context = request.context.clone();
    let mut answer = Answer { broker: Arc::clone(broker), context, topics, throttle_ms, trace };
    // The frame's memory is given back before anything waits.
    drop(request);
    if view.acks == 0 {
        return if answer.has_error() {
            Reply::Close("error in a produce without acks")
        } else {
            Reply::NoResponse { throttle_ms }
        };
    }
    let Some(delayed) = delayed else { return Reply::Ready(answer.frame(None)) };
    if delayed.seal() {
        return Reply::Ready(answer.frame(Some(&delayed)));
    }
    let timeout = Duration::from_millis(u64::try_from(view.timeout_ms).unwrap_or(0));
    if let Some(trace) = &mut answer.trace {
        trace.step("replicate");
    }
    Reply::Acknowledged(Acknowledgement {
        operation: delayed,
        deadline: tokio::time::Instant::now() + timeout,
        answer: Box::new(move |delayed| answer.frame(Some(delayed))),
    })
}

/// What was refused at once. Appends count where they are made.
fn count_failed(broker: &Broker, context: &RequestContext, topics: &[(String, TopicId, Vec<Outcome>)]) {
    for (name, _, outcomes) in topics {
        for _ in outcomes.iter().filter(|outcome| outcome.result.is_err()) {
            broker.metrics.traffic.note_failed(name, |of| &of.failed_produce_requests);
            broker.metrics.requests.errors(context.api_key, 1);
        }
    }
}

/// For how long the client is to wait: by what it sent, and by the time that took, for which nobody who wants no answer
/// has to account.
fn throttle_ms(broker: &Broker, request: &Request, acks: i16, begun: Instant) -> i32 {
    let quotas = &broker.control.quotas;
    let mut throttle_ms = 0;
    if quotas.limits(QuotaKey::ProducerByteRate) {
        throttle_ms =
            quotas.record(QuotaKey::ProducerByteRate, &request.context, request.frame_bytes() as f64);
    }
    if acks != 0 && quotas.limits(QuotaKey::RequestPercentage) {
        throttle_ms = throttle_ms.max(quotas.record_time(&request.context, begun.elapsed()));
    }
    throttle_ms
}

fn append_all(
    broker: &Arc<Broker>,
    request: &mut Request,
    view: &ProduceRequestView,
    verified: &Verified,
    delayed: Option<&Arc<DelayedOperation>>,
) -> Vec<(String, TopicId, Vec<Outcome>)> {
    let image = broker.control.image();
    let mut slot = 0;
    let mut topics = Vec::with_capacity(view.topics.len());
    for topic in &view.topics {
        let (name, topic_id, refusal) = find_topic(&image, request, &topic.topic);
        let refusal = verified
            .refusal
            .or(refusal)
            .or_else(|| (!matches!(view.acks, -1..=1)).then_some(ErrorCode::InvalidRequiredAcks))
            .or_else(|| is_internal(&name).then_some(ErrorCode::InvalidTopicException));
        let outcomes = match refusal {
            Some(code) => {
                let ids =
                    topic.partitions.iter().map(|view| TopicIdPartition { topic_id, partition: view.index });
                ids.map(|id| Outcome { id, result: Err(code.into()) }).collect()
            }
            None => {
                let api_version = request.context.api_version;
                let appending = Appending { broker, image: &image, api_version, topic_id, verified, delayed };
                appending.all(request.body_mut(), &topic.partitions, slot)
            }
        };
        slot += topic.partitions.len();
        topics.push((name, topic_id, outcomes));
    }
    topics
}

fn find_topic(
    image: &MetadataImage,
    request: &Request,
    topic: &ProduceTopicRef,
) -> (String, TopicId, Option<ErrorCode>) {
    match topic {
        ProduceTopicRef::Name(range) => {
            let name = moldau_kafka::text(request.body(), range);
            // Whether there is such a topic is not told to who may not write to it.
            if let Some(refusal) = check_writer(&request.context, name) {
                return (name.to_owned(), TopicId::ZERO, Some(refusal));
            }
            match image.topics().by_name(name) {
                Some(topic) => (name.to_owned(), topic.id(), None),
                None => (name.to_owned(), TopicId::ZERO, Some(ErrorCode::UnknownTopicOrPartition)),
            }
        }
        ProduceTopicRef::Id(id) => match image.topics().by_id(*id) {
            Some(topic) => (topic.name().to_string(), *id, check_writer(&request.context, topic.name())),
            None => (String::new(), *id, Some(ErrorCode::UnknownTopicId)),
        },
    }
}

/// Kafka's refusal of who may not write to the topic.
fn check_writer(context: &RequestContext, topic: &str) -> Option<ErrorCode> {
    let is_allowed = is_authorized(context, Operation::Write, Resource::topic(topic));
    (!is_allowed).then_some(ErrorCode::TopicAuthorizationFailed)
}

impl Answer {
    fn has_error(&self) -> bool {
        self.topics.iter().any(|(_, _, outcomes)| outcomes.iter().any(|outcome| outcome.result.is_err()))
    }

    /// The answer where everything went well, which is nearly every one.
    fn produced(&self) -> ResponseFrame {
        let topics = self.topics.iter().map(|(name, topic_id, outcomes)| {
            let partitions = outcomes.iter().map(|outcome| {
                let index = outcome.id.partition;
                match &outcome.result {
                    Ok(info) => ProducedPartition {
                        index,
                        error_code: ErrorCode::None,
                        base_offset: info.first_offset,
                        log_append_time: info.log_append_time,
                        log_start_offset: info.log_start_offset,
                    },
                    // The caller has none.
                    Err(refused) => ProducedPartition {
                        index,
                        error_code: refused.code,
                        base_offset: Offset::NONE,
                        log_append_time: TimestampMs::NONE,
                        log_start_offset: refused.log_start_offset,
                    },
                }
            });
            ProducedTopic { name, topic_id: *topic_id, partitions }
        });
        let (version, correlation_id) = (self.context.api_version, self.context.correlation_id);
        self.context.encoded(encode_produced(version, correlation_id, topics, self.throttle_ms))
    }

    fn frame(mut self, delayed: Option<&DelayedOperation>) -> ResponseFrame {
        let mut trace = self.trace.take();
        if let Some(trace) = &mut trace {
            trace.step("ack");
        }
        if !self.has_error() && delayed.is_none_or(DelayedOperation::is_all_well) {
            return self.produced().telling_throttle(self.throttle_ms).traced(trace);
        }
        let version = self.context.api_version;
        let image = self.broker.control.image();
        let mut leaders = BTreeSet::new();
        let mut slot = 0;
        let mut responses = Vec::with_capacity(self.topics.len());
        for (name, topic_id, outcomes) in self.topics {
            let mut partitions = Vec::with_capacity(outcomes.len());
            for outcome in outcomes {
                let waited = delayed.map_or(ErrorCode::None, |delayed| delayed.outcome(slot));
                slot += 1;
                let mut answer = partition_answer(version, &outcome, waited);
                if let Some(trace) = trace.as_mut().filter(|_| answer.error_code != 0) {
                    trace.note_error(ErrorCode::from_code(answer.error_code));
                }
                if version >= 10 && answer.error_code == ErrorCode::NotLeaderOrFollower.code() {
                    let leader = self.broker.replica_manager.current_leader(&image, outcome.id);
                    if let Some((leader, leader_epoch)) = leader {
                        leaders.insert(leader);
                        answer.current_leader = LeaderIdAndEpoch::default()
                            .with_leader_id(broker_id(leader))
                            .with_leader_epoch(leader_epoch.0);
                    }
                }
                partitions.push(answer);
            }
            let mut topic = TopicProduceResponse::default().with_partition_responses(partitions);
            if version >= 13 {
                topic.topic_id = wire_uuid(topic_id);
            } else {
                topic.name = topic_name(name);
            }
            responses.push(topic);
        }
        let mut response =
            ProduceResponse::default().with_responses(responses).with_throttle_time_ms(self.throttle_ms);
        if version >= 10 {
            response.node_endpoints = endpoints(&image, &self.context, &leaders);
        }
        self.context.response(&response).telling_throttle(self.throttle_ms).traced(trace)
    }
}

fn partition_answer(version: i16, outcome: &Outcome, waited: ErrorCode) -> PartitionProduceResponse {
    let mut answer = PartitionProduceResponse::default().with_index(outcome.id.partition.0);
    match &outcome.result {
        Ok(info) => {
            answer.error_code = waited.code();
            answer.base_offset = info.first_offset.0;
            answer.log_append_time_ms = info.log_append_time.0;
            if version >= 5 {
                answer.log_start_offset = info.log_start_offset.0;
            }
        }
        Err(refused) => {
            answer.error_code = refused.code.code();
            answer.base_offset = Offset::NONE.0;
            answer.log_append_time_ms = -1;
            if version >= 5 {
                answer.log_start_offset = refused.log_start_offset.0;
            }
            if version >= 8 {
                answer.error_message = refused.message.as_ref().map(text);
                let errors = refused.record_errors.iter().map(|error| {
                    BatchIndexAndErrorMessage::default()
                        .with_batch_index(error.batch_index)
                        .with_batch_index_error_message(Some(text(&error.message)))
                });
                answer.record_errors = errors.collect();
            }
        }
    }
    answer
}

fn endpoints(
    image: &MetadataImage,
    context: &RequestContext,
    leaders: &BTreeSet<BrokerId>,
) -> Vec<NodeEndpoint> {
    image
        .alive_brokers_with_listener(&context.listener)
        .filter(|(broker, _)| leaders.contains(&broker.id))
        .map(|(broker, listener)| {
            NodeEndpoint::default()
                .with_node_id(broker_id(broker.id))
                .with_host(text(&listener.host))
                .with_port(i32::from(listener.port))
                .with_rack(broker.rack.as_ref().map(text))
        })
        .collect()
}
