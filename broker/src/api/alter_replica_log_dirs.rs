//! AlterReplicaLogDirs (34), versions 1 and 2 (KIP-113): replicas are to be in other log directories of this broker. What moves
//! goes on moving after the answer.
//!
//! - 2: flexible.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use kafka_protocol::messages::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse};
use moldau_model::{ErrorCode, PartitionIndex};

use super::message::topic_name;
use super::{ApiSupport, Reply, Request};
use crate::authorize::{Operation, Resource, is_authorized};
use crate::broker::Broker;
use crate::response::ResponseFrame;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(34, "AlterReplicaLogDirs", 1, 2, handle);

/// Of each partition the path of its directory. The last one counts, where there are several.
type Wishes = BTreeMap<(String, i32), String>;

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<AlterReplicaLogDirsRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let wishes = wishes(&request);
    if !is_authorized(&context, Operation::Alter, Resource::CLUSTER) {
        return context.ready(&response(wishes, |_, _, _| Err(ErrorCode::ClusterAuthorizationFailed)));
    }
    // To begin a copy makes files.
    let broker = Arc::clone(broker);
    Reply::Deferred(Box::pin(async move {
        let altered = tokio::task::spawn_blocking(move || {
            let image = broker.control.image();
            let alter = |topic: &str, partition, path: &str| {
                broker.replica_manager.alter_log_dir(&image, topic, partition, path)
            };
            context.response(&response(wishes, alter))
        });
        Reply::Ready(altered.await.unwrap_or_else(|error| {
            tracing::error!(%error, "altering log directories failed");
            ResponseFrame::unanswerable()
        }))
    }))
}

fn wishes(request: &AlterReplicaLogDirsRequest) -> Wishes {
    let mut wishes = Wishes::new();
    for dir in &request.dirs {
        for topic in &dir.topics {
            for partition in &topic.partitions {
                wishes.insert((topic.name.to_string(), *partition), dir.path.to_string());
            }
        }
    }
    wishes
}

fn response(
    wishes: Wishes,
    alter: impl Fn(&str, PartitionIndex, &str) -> Result<(), ErrorCode>,
) -> AlterReplicaLogDirsResponse {
    let mut topics: BTreeMap<String, Vec<AlterReplicaLogDirPartitionResult>> = BTreeMap::new();
    for ((topic, partition), path) in wishes {
        let code = alter(&topic, PartitionIndex(partition), &path).err().unwrap_or(ErrorCode::None);
        topics.entry(topic).or_default().push(
            AlterReplicaLogDirPartitionResult::default()
                .with_partition_index(partition)
                .with_error_code(code.code()),
        );
    }
    let results = topics.into_iter().map(|(topic, partitions)| {
        AlterReplicaLogDirTopicResult::default()
            .with_topic_name(topic_name(topic))
            .with_partitions(partitions)
    });
    AlterReplicaLogDirsResponse::default().with_results(results.collect())
}
