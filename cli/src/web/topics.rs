//! Topics: by page, one with the state of each replica, and where its partitions begin and end.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use moldau_metadata::{MetadataImage, PartitionRegistration, TopicImage};
use moldau_model::BrokerId;
use serde_json::{Value, json};

use super::Shared;
use super::answer::{Answer, Failure, Json, Page, Query};
use super::health::{Faults, MinIsr};
use crate::client::log_sizes::ReplicaSize;
use crate::client::offsets::{EARLIEST, LATEST, OffsetAt, Partition};
use crate::client::{Client, ClientError};

/// Kafka's own topics.
pub(super) fn is_internal(name: &str) -> bool {
    ["__consumer_offsets", "__transaction_state", "__share_group_state"].contains(&name)
}

/// What the list shows of a topic.
struct Row {
    topic: Arc<TopicImage>,
    replicas: usize,
    under_replicated: usize,
    under_min_isr: usize,
    offline: usize,
}

impl Row {
    fn of(topic: &Arc<TopicImage>, min_isr: usize) -> Self {
        let mut row =
            Self { topic: Arc::clone(topic), replicas: 0, under_replicated: 0, under_min_isr: 0, offline: 0 };
        for (_, partition) in topic.partitions() {
            let faults = Faults::of(partition, min_isr);
            row.replicas = row.replicas.max(partition.replicas.len());
            row.under_replicated += usize::from(faults.under_replicated);
            row.under_min_isr += usize::from(faults.under_min_isr);
            row.offline += usize::from(faults.offline);
        }
        row
    }

    fn json(&self, size_bytes: Option<i64>) -> Value {
        json!({
            "name": &**self.topic.name(),
            "topic_id": self.topic.id().to_string(),
            "is_internal": is_internal(self.topic.name()),
            "partitions": self.topic.partition_count(),
            "replication_factor": self.replicas,
            "under_replicated": self.under_replicated,
            "under_min_isr": self.under_min_isr,
            "offline": self.offline,
            "size_bytes": size_bytes,
        })
    }
}

pub(super) async fn list(State(web): State<Shared>, query: Query) -> Answer {
    let page = Page::of(&query)?;
    let image = web.node.image();
    let search = query.text("search").unwrap_or_default().to_lowercase();
    let with_internal = query.is_true("internal");
    let only_faulty = query.is_true("faulty");
    let min_isr = MinIsr::new(web.node.settings(&image), &image);
    let mut rows: Vec<Row> = Vec::new();
    for topic in image.topics().iter() {
        let is_wanted =
            (with_internal || !is_internal(topic.name())) && topic.name().to_lowercase().contains(&search);
        if is_wanted {
            let row = Row::of(topic, min_isr.of(topic.name()));
            if !only_faulty || row.under_replicated + row.offline > 0 {
                rows.push(row);
            }
        }
    }
    sort(&mut rows, query.text("sort").unwrap_or("name"))?;
    let total = rows.len();
    let shown: Vec<Row> = rows.into_iter().skip(page.skip()).take(page.size).collect();
    drop(image);
    // What replicas take on disk their brokers have to be asked: the list need not wait for that.
    let sizes = if query.is_true("sizes") {
        let names: Vec<String> = shown.iter().map(|row| row.topic.name().to_string()).collect();
        Some(web.clients()?.ask(move |client| client.replica_sizes(&names)).await?)
    } else {
        None
    };
    let size_of = |row: &Row| {
        let sizes = sizes.as_ref()?;
        Some(sizes.iter().filter(|size| size.partition.0 == **row.topic.name()).map(|size| size.bytes).sum())
    };
    Ok(Json(json!({
        "total": total,
        "page": page.number,
        "page_size": page.size,
        "topics": shown.iter().map(|row| row.json(size_of(row))).collect::<Vec<Value>>(),
    })))
}

fn sort(rows: &mut [Row], by: &str) -> Result<(), Failure> {
    let (is_falling, key) = by.strip_prefix('-').map_or((false, by), |key| (true, key));
    // They come by name, and those that are equal stay so.
    match key {
        "name" => {}
        "partitions" => rows.sort_by_key(|row| row.topic.partition_count()),
        "replication_factor" => rows.sort_by_key(|row| row.replicas),
        "faults" => rows.sort_by_key(|row| (row.offline, row.under_min_isr, row.under_replicated)),
        _ => return Err(Failure::bad_request("sort is name, partitions, replication_factor or faults")),
    }
    if is_falling {
        rows.reverse();
    }
    Ok(())
}

/// The topic of the newest metadata, or that there is none.
pub(super) fn find(image: &MetadataImage, name: &str) -> Result<Arc<TopicImage>, Failure> {
    image.topics().by_name(name).cloned().ok_or_else(|| Failure::no_topic(name))
}

pub(super) async fn describe(State(web): State<Shared>, Path(name): Path<String>) -> Answer {
    let image = web.node.image();
    let topic = find(&image, &name)?;
    let min_isr = MinIsr::new(web.node.settings(&image), &image).of(topic.name());
    let partitions: Vec<Value> = topic
        .partitions()
        .map(|(index, partition)| partition_json(&image, index.0, partition, min_isr))
        .collect();
    let brokers: Vec<Value> = image
        .brokers()
        .map(|broker| json!({"id": broker.id.0, "is_alive": !broker.fenced, "rack": broker.rack.as_deref()}))
        .collect();
    Ok(Json(json!({
        "name": name,
        "topic_id": topic.id().to_string(),
        "is_internal": is_internal(&name),
        "min_insync_replicas": min_isr,
        "metadata_offset": image.position().offset.0,
        "brokers": brokers,
        "partitions": partitions,
    })))
}

fn partition_json(
    image: &MetadataImage,
    index: i32,
    partition: &PartitionRegistration,
    min_isr: usize,
) -> Value {
    let faults = Faults::of(partition, min_isr);
    let replicas =
        partition.replicas.iter().map(|id| json!({"broker": id.0, "state": state(image, partition, *id)}));
    let ids = |ids: &[BrokerId]| ids.iter().map(|id| id.0).collect::<Vec<i32>>();
    json!({
        "partition": index,
        "leader": partition.has_leader().then_some(partition.leader.0),
        "preferred_leader": partition.preferred_replica().0,
        "leader_epoch": partition.leader_epoch.0,
        "replicas": replicas.collect::<Vec<Value>>(),
        "isr": ids(&partition.isr),
        "elr": ids(&partition.elr),
        "adding": ids(&partition.adding_replicas),
        "removing": ids(&partition.removing_replicas),
        "is_under_replicated": faults.under_replicated,
        "is_under_min_isr": faults.under_min_isr,
        "is_offline": faults.offline,
    })
}

/// What a replica is: a broker that is away may still stand in the ISR for a moment, or as the last one that knows all.
fn state(image: &MetadataImage, partition: &PartitionRegistration, id: BrokerId) -> &'static str {
    if !image.is_alive_broker(id) {
        "offline"
    } else if partition.leader == id {
        "leader"
    } else if partition.isr.contains(&id) {
        "in_sync"
    } else {
        "lagging"
    }
}

type Bounds = BTreeMap<Partition, Result<OffsetAt, ClientError>>;

pub(super) async fn offsets(State(web): State<Shared>, Path(name): Path<String>) -> Answer {
    let topic = find(&web.node.image(), &name)?;
    let partitions: Vec<Partition> = topic.partitions().map(|(index, _)| (name.clone(), index.0)).collect();
    let asked = partitions.clone();
    let (starts, ends, sizes) = web
        .clients()?
        .ask(move |client: &mut Client| -> Result<(Bounds, Bounds, Vec<ReplicaSize>), ClientError> {
            let at = |time| asked.iter().map(|partition| (partition.clone(), time)).collect::<Vec<_>>();
            let starts = client.list_offsets(&at(EARLIEST), false)?;
            let ends = client.list_offsets(&at(LATEST), false)?;
            Ok((starts, ends, client.replica_sizes(&[name])?))
        })
        .await?;
    let offset =
        |bounds: &Bounds, partition: &Partition| bounds.get(partition)?.as_ref().ok().map(|at| at.offset);
    let rows = partitions.iter().map(|partition| {
        let of_partition = sizes.iter().filter(|size| size.partition == *partition);
        let replicas = of_partition.map(|size| json!({"broker": size.broker, "bytes": size.bytes}));
        json!({
            "partition": partition.1,
            "start": offset(&starts, partition),
            "end": offset(&ends, partition),
            "replicas": replicas.collect::<Vec<Value>>(),
        })
    });
    Ok(Json(json!({ "partitions": rows.collect::<Vec<Value>>() })))
}
