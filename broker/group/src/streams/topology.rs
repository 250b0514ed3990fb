//! The topology of an application: its subtopologies and the topics between them, as its first member says it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moldau_model::{ErrorCode, validate_topic_name};

use crate::consumer::Refused;
use crate::records::STRING_BYTES_MAX;

/// Topics of the cluster's own, which no application may use.
const INTERNAL_TOPICS: [&str; 3] = ["__consumer_offsets", "__transaction_state", "__share_group_state"];

/// Far above what applications have. What is computed of a topology, at heartbeats and for who describes the group, takes the
/// product of both at worst, under the lock of the group's shard.
const SUBTOPOLOGIES_MAX: usize = 500;
/// In all lists of all subtopologies, and so many places in copartition groups.
const TOPICS_MAX: usize = 5_000;

/// A topology, as the group's record has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamsTopology {
    pub epoch: i32,
    pub subtopologies: Vec<StreamsSubtopology>,
}

/// A part of a topology that is connected to others by topics only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamsSubtopology {
    pub subtopology_id: String,
    pub source_topics: Vec<String>,
    pub source_topic_regexes: Vec<String>,
    /// They have as many partitions as the subtopology has tasks.
    pub changelog_topics: Vec<StreamsTopicInfo>,
    pub repartition_sink_topics: Vec<String>,
    pub repartition_source_topics: Vec<StreamsTopicInfo>,
    pub copartition_groups: Vec<StreamsCopartitionGroup>,
}

/// A topic that the application needs for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamsTopicInfo {
    pub name: String,
    /// 0: as many as follow from the topology.
    pub partitions: i32,
    /// 0 or -1: the cluster's default.
    pub replication_factor: i16,
    pub configs: Vec<(String, String)>,
}

/// Topics that have to have equally many partitions, as places in the subtopology's lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamsCopartitionGroup {
    pub source_topics: Vec<i16>,
    pub source_topic_regexes: Vec<i16>,
    pub repartition_source_topics: Vec<i16>,
}

impl StreamsTopology {
    /// Whether both say the same; the order of subtopologies says nothing.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.epoch == other.epoch && self.by_id() == other.by_id()
    }

    pub(crate) fn by_id(&self) -> BTreeMap<&str, &StreamsSubtopology> {
        self.subtopologies.iter().map(|each| (each.subtopology_id.as_str(), each)).collect()
    }

    /// The topics that the application's assignment rests on.
    pub(crate) fn required_topics(&self) -> BTreeSet<Arc<str>> {
        let names = self.subtopologies.iter().flat_map(|each| {
            each.inputs().chain(each.changelog_topics.iter().map(|topic| topic.name.as_str()))
        });
        names.map(Arc::from).collect()
    }

    /// The subtopology that reads the topic.
    pub(crate) fn reader_of(&self, topic: &str) -> Option<&StreamsSubtopology> {
        self.subtopologies.iter().find(|each| each.inputs().any(|input| input == topic))
    }

    /// All strings, for their length is bounded.
    fn texts(&self) -> impl Iterator<Item = &str> {
        self.subtopologies.iter().flat_map(|each| {
            let infos = each.changelog_topics.iter().chain(&each.repartition_source_topics);
            let info_texts = infos.flat_map(|info| {
                let configs = info.configs.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]);
                std::iter::once(info.name.as_str()).chain(configs)
            });
            let lists = [&each.source_topics, &each.source_topic_regexes, &each.repartition_sink_topics];
            let listed = lists.into_iter().flatten().map(String::as_str);
            std::iter::once(each.subtopology_id.as_str()).chain(listed).chain(info_texts)
        })
    }

    /// About as many bytes as its record has.
    fn bytes(&self) -> usize {
        /// A string's length, or a number, and what is around it.
        const FIELD_BYTES: usize = 8;
        let texts: usize = self.texts().map(|text| text.len() + FIELD_BYTES).sum();
        let groups = self.subtopologies.iter().flat_map(|each| &each.copartition_groups);
        texts + groups.map(|group| FIELD_BYTES + 2 * group.places()).sum::<usize>()
    }

    /// Whether there are more subtopologies, topics or copartitioned topics than any application has.
    fn is_too_wide(&self) -> bool {
        let topics = self.subtopologies.iter().map(|each| {
            let lists = [&each.source_topics, &each.source_topic_regexes, &each.repartition_sink_topics];
            let named: usize = lists.iter().map(|list| list.len()).sum();
            named + each.changelog_topics.len() + each.repartition_source_topics.len()
        });
        let groups = self.subtopologies.iter().flat_map(|each| &each.copartition_groups);
        self.subtopologies.len() > SUBTOPOLOGIES_MAX
            || topics.sum::<usize>() > TOPICS_MAX
            || groups.map(|group| 1 + group.places()).sum::<usize>() > TOPICS_MAX
    }
}

impl StreamsCopartitionGroup {
    fn places(&self) -> usize {
        self.source_topics.len() + self.source_topic_regexes.len() + self.repartition_source_topics.len()
    }
}

impl StreamsSubtopology {
    /// The topics that it reads.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = &str> {
        let repartition = self.repartition_source_topics.iter().map(|topic| topic.name.as_str());
        self.source_topics.iter().map(String::as_str).chain(repartition)
    }

    /// The topics of a copartition group; `None` where one is not there.
    pub(crate) fn copartitioned(&self, group: &StreamsCopartitionGroup) -> Option<BTreeSet<&str>> {
        let source = |place: &i16| {
            let topic = usize::try_from(*place).ok().and_then(|place| self.source_topics.get(place));
            topic.map(String::as_str)
        };
        let repartition = |place: &i16| {
            let place = usize::try_from(*place).ok();
            let topic = place.and_then(|place| self.repartition_source_topics.get(place));
            topic.map(|topic| topic.name.as_str())
        };
        let sources = group.source_topics.iter().map(source);
        sources.chain(group.repartition_source_topics.iter().map(repartition)).collect()
    }
}

/// What is wrong with a topology itself, whatever topics there are.
pub(super) fn check(topology: &StreamsTopology, bytes_max: usize) -> Result<(), Refused> {
    let invalid = |message: String| Err(Refused::new(ErrorCode::StreamsInvalidTopology, message));
    // First, for all that follows walks over it.
    if topology.is_too_wide()
        || topology.texts().any(|text| text.len() > STRING_BYTES_MAX)
        || topology.bytes() > bytes_max
    {
        return invalid("The topology is too large to be kept.".to_owned());
    }
    let internal = || {
        let subtopologies = topology.subtopologies.iter();
        subtopologies.flat_map(|each| each.repartition_source_topics.iter().chain(&each.changelog_topics))
    };
    let topics = || {
        let listed = topology
            .subtopologies
            .iter()
            .flat_map(|each| each.source_topics.iter().chain(&each.repartition_sink_topics));
        listed.map(String::as_str).chain(internal().map(|topic| topic.name.as_str()))
    };
    let prohibited: Vec<&str> = topics().filter(|topic| INTERNAL_TOPICS.contains(topic)).collect();
    if !prohibited.is_empty() {
        let names = prohibited.join(",");
        return invalid(format!(
            "Use of Kafka internal topics {names} in a Kafka Streams topology is prohibited."
        ));
    }
    let unnamable: Vec<&str> = topics().filter(|topic| validate_topic_name(topic).is_err()).collect();
    if !unnamable.is_empty() {
        return invalid(format!("Topic names {} are not valid topic names.", unnamable.join(",")));
    }
    if topology.epoch < 0 {
        return invalid("The topology's epoch is negative.".to_owned());
    }
    if topology.by_id().len() < topology.subtopologies.len() {
        return invalid("A subtopology is there twice.".to_owned());
    }
    let reads_twice =
        |each: &StreamsSubtopology| each.inputs().collect::<BTreeSet<&str>>().len() < each.inputs().count();
    if topology.subtopologies.iter().any(reads_twice) {
        return invalid("A subtopology names a topic that it reads twice.".to_owned());
    }
    // Applications say -1 where they leave the number of replicas to the cluster.
    if internal().any(|topic| topic.partitions < 0 || topic.replication_factor < -1) {
        return invalid("A number of partitions, or of replicas, is negative.".to_owned());
    }
    let has_unknown_topic = |each: &StreamsSubtopology| {
        each.copartition_groups.iter().any(|group| each.copartitioned(group).is_none())
    };
    if topology.subtopologies.iter().any(has_unknown_topic) {
        return invalid("A copartition group has a topic that its subtopology does not have.".to_owned());
    }
    Ok(())
}

/// Changelog topics follow their subtopology.
pub(super) fn check_changelogs(topology: &StreamsTopology) -> Result<(), Refused> {
    let mut changelogs = topology.subtopologies.iter().flat_map(|each| &each.changelog_topics);
    match changelogs.find(|topic| topic.partitions != 0) {
        None => Ok(()),
        Some(topic) => {
            let message = format!(
                "Changelog topic {} must have an undefined partition count, but it is set to {}.",
                topic.name, topic.partitions
            );
            Err(Refused::new(ErrorCode::StreamsInvalidTopology, message))
        }
    }
}
