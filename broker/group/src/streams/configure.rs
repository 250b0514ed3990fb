//! What a topology is with the topics that there are: how many tasks each subtopology has, how many partitions the topics that
//! the application needs for itself, and which of those are missing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moldau_model::ErrorCode;

use super::message::{StreamsStatus, StreamsStatusCode};
use super::topology::{StreamsSubtopology, StreamsTopicInfo, StreamsTopology};
use crate::consumer::{CoordinatorMetadata, Refused};

/// Topics that a message names; the others are counted.
const NAMED_TOPICS_MAX: usize = 3;

/// A topology with numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfiguredTopology {
    /// `None` while the numbers cannot be known.
    pub(crate) subtopologies: Option<BTreeMap<Arc<str>, ConfiguredSubtopology>>,
    pub(crate) missing_topics: Vec<StreamsTopicInfo>,
    /// Why nothing can be assigned.
    pub(crate) problem: Option<StreamsStatus>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfiguredSubtopology {
    pub(crate) task_count: i32,
    /// Whether it has a state that a standby task could copy.
    pub(crate) is_stateful: bool,
    pub(crate) source_topics: BTreeSet<Arc<str>>,
    pub(crate) repartition_sink_topics: BTreeSet<Arc<str>>,
    pub(crate) repartition_source_topics: Vec<StreamsTopicInfo>,
    pub(crate) changelog_topics: Vec<StreamsTopicInfo>,
}

impl ConfiguredTopology {
    /// Whether tasks can be assigned.
    pub(crate) fn is_ready(&self) -> bool {
        self.problem.is_none()
    }
}

/// Why there are no numbers.
enum Failure {
    /// The application waits for somebody to put the topics right.
    Topics(StreamsStatus),
    /// The topology makes no sense.
    Topology(String),
}

fn incorrectly_partitioned(detail: String) -> Failure {
    Failure::Topics(StreamsStatus { code: StreamsStatusCode::IncorrectlyPartitionedTopics, detail })
}

/// Settles the numbers of a topology.
pub(crate) fn configure(
    topology: &StreamsTopology,
    metadata: &dyn CoordinatorMetadata,
    tasks_max: i64,
) -> Result<ConfiguredTopology, Refused> {
    match settle(topology, metadata, tasks_max) {
        Ok(configured) => Ok(configured),
        Err(Failure::Topics(problem)) => {
            Ok(ConfiguredTopology { subtopologies: None, missing_topics: Vec::new(), problem: Some(problem) })
        }
        Err(Failure::Topology(message)) => Err(Refused::new(ErrorCode::StreamsInvalidTopology, message)),
    }
}

fn settle(
    topology: &StreamsTopology,
    metadata: &dyn CoordinatorMetadata,
    tasks_max: i64,
) -> Result<ConfiguredTopology, Failure> {
    check_sources(topology, metadata)?;
    let mut counts = Counts { metadata, decided: BTreeMap::new() };
    decide_repartition_topics(topology, &mut counts)?;
    let fixed = repartition_topics(topology);
    for subtopology in topology.by_id().values() {
        for group in &subtopology.copartition_groups {
            let topics = subtopology.copartitioned(group).unwrap_or_default();
            enforce_copartitioning(&fixed, &topics, &mut counts)?;
        }
    }
    let mut subtopologies = BTreeMap::new();
    for (subtopology_id, subtopology) in topology.by_id() {
        let task_count = subtopology.inputs().filter_map(|topic| counts.of(topic)).max();
        let task_count = task_count.ok_or_else(|| {
            Failure::Topology(format!("No source topics found for subtopology {subtopology_id}"))
        })?;
        subtopologies.insert(subtopology_id.into(), configured(subtopology, task_count, &counts));
    }
    let tasks: i64 = subtopologies.values().map(|each| i64::from(each.task_count)).sum();
    if tasks > tasks_max {
        return Err(Failure::Topology(format!(
            "The topology has {tasks} tasks, more than the {tasks_max} that one group may have."
        )));
    }
    let missing_topics = missing_topics(&subtopologies, metadata)?;
    let problem = (!missing_topics.is_empty()).then(|| {
        let names: Vec<&str> = missing_topics.iter().map(|topic| topic.name.as_str()).collect();
        let detail = format!("Internal topics are missing: {}", summary(&names));
        StreamsStatus { code: StreamsStatusCode::MissingInternalTopics, detail }
    });
    Ok(ConfiguredTopology { subtopologies: Some(subtopologies), missing_topics, problem })
}

/// The partitions of topics: of those that there are, and of those that there are to be.
struct Counts<'a> {
    metadata: &'a dyn CoordinatorMetadata,
    decided: BTreeMap<&'a str, i32>,
}

impl Counts<'_> {
    fn of(&self, topic: &str) -> Option<i32> {
        let existing = self.metadata.topic(topic).map(|topic| topic.partition_count);
        existing.or_else(|| self.decided.get(topic).copied())
    }
}

fn check_sources(topology: &StreamsTopology, metadata: &dyn CoordinatorMetadata) -> Result<(), Failure> {
    let sources: BTreeSet<&str> = topology
        .subtopologies
        .iter()
        .flat_map(|each| each.source_topics.iter().map(String::as_str))
        .collect();
    let missing: Vec<&str> = sources.into_iter().filter(|topic| metadata.topic(topic).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let detail = format!("Source topics {} are missing.", summary(&missing));
    Err(Failure::Topics(StreamsStatus { code: StreamsStatusCode::MissingSourceTopics, detail }))
}

/// A repartition topic has the partitions that the topology says, or as many as the widest input of a subtopology that writes
/// to it.
fn decide_repartition_topics<'a>(
    topology: &'a StreamsTopology,
    counts: &mut Counts<'a>,
) -> Result<(), Failure> {
    let by_id = topology.by_id();
    for topic in by_id.values().flat_map(|each| &each.repartition_source_topics) {
        if topic.partitions != 0 {
            counts.decided.insert(&topic.name, topic.partitions);
        }
    }
    loop {
        let (mut is_open, mut has_advanced) = (false, false);
        for subtopology in by_id.values() {
            let repartition = subtopology.repartition_source_topics.iter();
            let decided = repartition.filter_map(|topic| counts.decided.get(&*topic.name).copied());
            let sources = subtopology.source_topics.iter().filter_map(|topic| counts.of(topic));
            let widest = decided.chain(sources).max();
            for sink in &subtopology.repartition_sink_topics {
                match widest {
                    _ if counts.decided.contains_key(&**sink) => {}
                    Some(partitions) => {
                        counts.decided.insert(sink, partitions);
                        has_advanced = true;
                    }
                    None => is_open = true,
                }
            }
        }
        if !is_open {
            break;
        }
        if !has_advanced {
            return Err(Failure::Topology(
                "Failed to compute number of partitions for all repartition topics. There may be loops in the \
                 topology that cannot be resolved."
                    .to_owned(),
            ));
        }
    }
    let mut needed = by_id.values().flat_map(|each| &each.repartition_source_topics);
    if needed.any(|topic| !counts.decided.contains_key(&*topic.name)) {
        return Err(Failure::Topology(
            "Failed to compute number of partitions for all repartition topics, because a repartition source \
             topic is never used as a sink topic."
                .to_owned(),
        ));
    }
    Ok(())
}

/// All repartition topics that are read, and whether the topology says how many partitions each has.
fn repartition_topics(topology: &StreamsTopology) -> BTreeMap<&str, bool> {
    let mut topics = BTreeMap::new();
    for info in topology.subtopologies.iter().flat_map(|each| &each.repartition_source_topics) {
        *topics.entry(info.name.as_str()).or_default() |= info.partitions != 0;
    }
    topics
}

/// Topics that are joined have equally many partitions: those that the user made have to, and repartition topics follow.
fn enforce_copartitioning<'a>(
    repartition_topics: &BTreeMap<&'a str, bool>,
    topics: &BTreeSet<&'a str>,
    counts: &mut Counts<'a>,
) -> Result<(), Failure> {
    let is_repartition = |topic: &str| repartition_topics.contains_key(topic);
    let is_fixed = |topic: &str| repartition_topics.get(topic).copied().unwrap_or_default();
    let with_counts = |wanted: &dyn Fn(&str) -> bool| -> BTreeMap<&'a str, i32> {
        let wanted = topics.iter().filter(|topic| wanted(topic));
        wanted.filter_map(|topic| Some((*topic, counts.of(topic)?))).collect()
    };
    let repartition = with_counts(&is_repartition);
    let given = with_counts(&|topic| !is_repartition(topic));
    let fixed = with_counts(&is_fixed);
    let leading = if !given.is_empty() {
        &given
    } else if !fixed.is_empty() {
        &fixed
    } else {
        &repartition
    };
    let Some(count) = leading.values().copied().max() else { return Ok(()) };
    let may_differ = given.is_empty() && fixed.is_empty();
    if !may_differ && leading.values().any(|other| *other != count) {
        let shown = if given.is_empty() { &repartition } else { &given };
        let shown: Vec<String> = shown.iter().map(|(topic, count)| format!("{topic}={count}")).collect();
        return Err(incorrectly_partitioned(format!(
            "Following topics do not have the same number of partitions: [{{{}}}]",
            shown.join(", ")
        )));
    }
    for (topic, own) in repartition {
        if is_fixed(topic) && own != count {
            return Err(incorrectly_partitioned(format!(
                "Number of partitions [{own}] of repartition topic [{topic}] doesn't match number of partitions \
                 [{count}] of the source topic."
            )));
        }
        counts.decided.insert(topic, count);
    }
    Ok(())
}

fn configured(
    subtopology: &StreamsSubtopology,
    task_count: i32,
    counts: &Counts<'_>,
) -> ConfiguredSubtopology {
    let names = |names: &[String]| names.iter().map(|name| Arc::from(name.as_str())).collect();
    let with_partitions = |topic: &StreamsTopicInfo, decided: i32| {
        let partitions = if topic.partitions == 0 { decided } else { topic.partitions };
        StreamsTopicInfo { partitions, ..topic.clone() }
    };
    let repartition = subtopology.repartition_source_topics.iter().map(|topic| {
        let decided = counts.decided.get(&*topic.name).copied();
        with_partitions(topic, decided.unwrap_or(task_count))
    });
    ConfiguredSubtopology {
        task_count,
        is_stateful: !subtopology.changelog_topics.is_empty(),
        source_topics: names(&subtopology.source_topics),
        repartition_sink_topics: names(&subtopology.repartition_sink_topics),
        repartition_source_topics: repartition.collect(),
        changelog_topics: subtopology
            .changelog_topics
            .iter()
            .map(|topic| with_partitions(topic, task_count))
            .collect(),
    }
}

/// The topics of the application's own that there are not yet; those that there are have to be as they are expected.
fn missing_topics(
    subtopologies: &BTreeMap<Arc<str>, ConfiguredSubtopology>,
    metadata: &dyn CoordinatorMetadata,
) -> Result<Vec<StreamsTopicInfo>, Failure> {
    let mut missing: BTreeMap<&str, &StreamsTopicInfo> = BTreeMap::new();
    let all = subtopologies
        .values()
        .flat_map(|each| each.repartition_source_topics.iter().chain(&each.changelog_topics));
    for topic in all {
        match metadata.topic(&topic.name).map(|topic| topic.partition_count) {
            Some(found) if found != topic.partitions => {
                return Err(incorrectly_partitioned(format!(
                    "Existing topic {} has different number of partitions: expected {}, found {found}",
                    topic.name, topic.partitions
                )));
            }
            Some(_) => {}
            None => {
                missing.insert(&topic.name, topic);
            }
        }
    }
    Ok(missing.into_values().cloned().collect())
}

fn summary(topics: &[&str]) -> String {
    let named = topics.iter().take(NAMED_TOPICS_MAX).copied().collect::<Vec<_>>().join(", ");
    match topics.len().saturating_sub(NAMED_TOPICS_MAX) {
        0 => named,
        others => format!("{named} and {others} additional topics"),
    }
}
