//! Topics that come into being because somebody uses them: on a Metadata request for an unknown topic, and
//! `__consumer_offsets`, `__transaction_state` and `__share_group_state` on the first search for a coordinator. The controller
//! creates them; this waits, within a bound, until the broker's own image shows them.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};
use kafka_protocol::protocol::{Decodable, Encodable};
use moldau_cluster::Forward;
use moldau_kafka::ApiKey;
use moldau_model::{BrokerId, ErrorCode, Principal};

use super::RequestContext;
use super::message::{text, topic_name};
use crate::control::ControlPlane;
use crate::coordinator::{OFFSETS_TOPIC, SHARE_STATE_TOPIC, TRANSACTION_TOPIC};

/// The version in which the broker itself writes CreateTopics.
const CREATE_TOPICS_VERSION: i16 = 7;
/// How long an answer waits for a topic it asked for. Beyond it the client is told to ask again, as Kafka always does.
const CREATION_LIMIT: Duration = Duration::from_secs(2);
/// Brokers a topic of the cluster's own is spread over where the user did not say: as Kafka's default, if there are as many.
const INTERNAL_REPLICATION_FACTOR_MAX: i16 = 3;

/// In whose name a topic is created.
pub(crate) struct Requester {
    principal: String,
    client_host: String,
    client_id: Option<String>,
    listener: String,
}

impl Requester {
    /// The sender of a request.
    pub(crate) fn of(context: &RequestContext) -> Self {
        Self {
            principal: context.principal.to_string(),
            client_host: context.client_address.ip().to_canonical().to_string(),
            client_id: context.client_id.as_deref().map(str::to_owned),
            listener: context.listener.to_string(),
        }
    }

    /// The broker itself.
    pub(crate) fn broker(control: &ControlPlane) -> Self {
        Self {
            principal: Principal::node(control.node_id).to_string(),
            client_host: String::new(),
            client_id: Some(format!("broker-{}", control.node_id)),
            listener: control.config.inter_broker_listener_name.clone(),
        }
    }

    /// Whose entries count.
    pub(crate) fn asker(&self) -> String {
        format!("{} from {}", self.principal, self.client_host)
    }

    /// A request to be carried out by the controller in this name.
    pub(crate) fn forward(
        &self,
        broker_id: BrokerId,
        api_key: i16,
        api_version: i16,
        body: Bytes,
    ) -> Forward {
        Forward {
            broker_id,
            api_key,
            api_version,
            body,
            principal: self.principal.clone(),
            client_host: self.client_host.clone(),
            client_id: self.client_id.clone(),
            listener: self.listener.clone(),
        }
    }
}

/// Creates topics with the controller's defaults, those of Kafka's own with theirs. Returns when the broker's image shows
/// them, or when the bound is reached; what went wrong the image tells.
pub(crate) async fn create_topics(control: &ControlPlane, names: &[String], requester: &Requester) {
    let topics = names.iter().map(|name| creatable(control, name)).collect();
    match create(control, topics, requester).await {
        Ok(refusals) => {
            for (topic, refusal) in refusals {
                tracing::warn!(topic, refusal, "topic not created");
            }
        }
        Err(problem) => {
            tracing::warn!(problem, ?names, "topics cannot be created");
            return;
        }
    }
    // A topic is of use when somebody leads it: its leader may be elected one batch later.
    let all_led = |image: &moldau_metadata::MetadataImage| {
        names
            .iter()
            .filter_map(|name| image.topics().by_name(name))
            .all(|topic| topic.partitions().all(|(_, partition)| partition.leader != BrokerId::NONE))
    };
    control.metadata.wait_until(CREATION_LIMIT, all_led).await;
}

/// Has the controller create these topics, and waits until the broker's image shows them. Gives those that it refused, and why;
/// one that there is already is none of them.
///
/// # Errors
/// Why nothing is known of the outcome.
pub(crate) async fn create(
    control: &ControlPlane,
    topics: Vec<CreatableTopic>,
    requester: &Requester,
) -> Result<Vec<(String, String)>, String> {
    let request = CreateTopicsRequest::default()
        .with_topics(topics)
        .with_timeout_ms(i32::try_from(CREATION_LIMIT.as_millis()).unwrap_or(i32::MAX));
    let mut body = BytesMut::new();
    if let Err(error) = request.encode(&mut body, CREATE_TOPICS_VERSION) {
        return Err(format!("CreateTopics cannot be encoded: {error}"));
    }
    let forward =
        requester.forward(control.node_id, ApiKey::CreateTopics.code(), CREATE_TOPICS_VERSION, body.freeze());
    let forwarded = match tokio::time::timeout(CREATION_LIMIT, control.channel.forward(forward)).await {
        Ok(Ok(forwarded)) => forwarded,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err("the controller has not answered in time".to_owned()),
    };
    let refusals = refusals(&forwarded.body)?;
    control.metadata.wait_for_offset(forwarded.metadata_offset, CREATION_LIMIT).await;
    Ok(refusals)
}

fn creatable(control: &ControlPlane, name: &str) -> CreatableTopic {
    let topic = CreatableTopic::default().with_name(topic_name(name));
    match name {
        OFFSETS_TOPIC => {
            let settings = &control.config.offsets_topic;
            let chosen = settings.replication_factor_is_chosen.then_some(settings.replication_factor);
            topic
                .with_num_partitions(settings.partition_count)
                .with_replication_factor(chosen.unwrap_or_else(|| replication_factor(control)))
                .with_configs(vec![
                    config("compression.type", "producer"),
                    config("cleanup.policy", "compact"),
                    config("segment.bytes", settings.segment_bytes),
                ])
        }
        TRANSACTION_TOPIC => {
            let settings = &control.config.transaction;
            let is_chosen = settings.state_log_replication_factor_is_chosen;
            let factor =
                if is_chosen { settings.state_log_replication_factor } else { replication_factor(control) };
            // A factor that was lowered to the brokers there are must not leave a topic that nobody can write to.
            let min_isr = if is_chosen {
                settings.state_log_min_isr
            } else {
                settings.state_log_min_isr.min(i32::from(factor))
            };
            topic
                .with_num_partitions(settings.state_log_partition_count)
                .with_replication_factor(factor)
                .with_configs(vec![
                    config("unclean.leader.election.enable", false),
                    config("compression.type", "uncompressed"),
                    config("cleanup.policy", "compact"),
                    config("min.insync.replicas", min_isr),
                    config("segment.bytes", settings.state_log_segment_bytes),
                ])
        }
        SHARE_STATE_TOPIC => {
            let settings = &control.config.group.share;
            let is_chosen = settings.state_replication_factor_is_chosen;
            let factor =
                if is_chosen { settings.state_replication_factor } else { replication_factor(control) };
            let min_isr = if is_chosen {
                settings.state_min_isr
            } else {
                settings.state_min_isr.min(i32::from(factor))
            };
            topic
                .with_num_partitions(settings.state_partition_count)
                .with_replication_factor(factor)
                // An update belongs to the snapshot before it: nothing of it may be compacted, or grow too old.
                .with_configs(vec![
                    config("cleanup.policy", "delete"),
                    config("compression.type", "uncompressed"),
                    config("min.insync.replicas", min_isr),
                    config("segment.bytes", settings.state_segment_bytes),
                    config("retention.ms", -1),
                ])
        }
        _ => topic.with_num_partitions(-1).with_replication_factor(-1),
    }
}

/// As many replicas as Kafka's default has, if there are as many brokers.
fn replication_factor(control: &ControlPlane) -> i16 {
    let alive = control.image().alive_brokers().count();
    i16::try_from(alive).unwrap_or(i16::MAX).clamp(1, INTERNAL_REPLICATION_FACTOR_MAX)
}

fn config(name: &str, value: impl ToString) -> CreatableTopicConfig {
    CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value.to_string())))
}

fn refusals(body: &Bytes) -> Result<Vec<(String, String)>, String> {
    let mut body = body.clone();
    let response = CreateTopicsResponse::decode(&mut body, CREATE_TOPICS_VERSION)
        .map_err(|error| format!("the controller's answer is unreadable: {error}"))?;
    let refused = response.topics.into_iter().filter_map(|topic| {
        let error = ErrorCode::from_code(topic.error_code);
        let message = topic.error_message.map(|message| message.to_string());
        let message = message.filter(|message| !message.is_empty());
        (!error.is_none() && error != ErrorCode::TopicAlreadyExists)
            .then(|| (topic.name.to_string(), message.unwrap_or_else(|| error.message().to_owned())))
    });
    Ok(refused.collect())
}

/// Makes sure that a coordinator's topic exists and that its partitions have leaders. Within a bound; the caller looks at the
/// image for what came of it.
pub(crate) async fn ensure_topic(control: &Arc<ControlPlane>, topic: &str, requester: &Requester) {
    if control.image().topics().by_name(topic).is_none() {
        create_topics(control, &[topic.to_owned()], requester).await;
    }
}
