//! Groups that are coordinated here: members, committed offsets, lags.
//!
//! A lag needs the partition's end. Of a partition with a replica here that is known, a moment old; of any other its leader is
//! asked, and where it does not answer in time the lag is left out of this answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use moldau_group::GroupSummary;
use moldau_metadata::MetadataImage;
use moldau_model::{PartitionIndex, TopicIdPartition};

use super::exposition::{Exposition, Labels};
use crate::broker::Broker;
use crate::metrics::definitions::{Family, Metric};

/// Leaders of partitions that have no replica here are asked for so long all together: a scrape has ten seconds by default.
const ASKING_LIMIT: Duration = Duration::from_secs(2);
/// Questions to leaders that are under way at a time, and in one answer.
const ASKED_AT_ONCE: usize = 64;
const ASKED_MAX: usize = 4096;
/// Series of one group, of one of its topics, of one of its partitions.
const GROUP_SERIES: usize = 1;
const TOPIC_SERIES: usize = 2;
const PARTITION_SERIES: usize = 2;

/// The readable part of a partition.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    start: i64,
    end: i64,
}

/// A group, with the ends of what it reads.
pub(crate) struct GroupFacts {
    summary: GroupSummary,
    /// In the order of its offsets; `None` where the partition is gone or nobody told.
    bounds: Vec<Option<Bounds>>,
}

/// Ends by topic and partition.
type Ends = BTreeMap<(Arc<str>, PartitionIndex), Bounds>;

/// Looks at the groups that this broker coordinates.
pub(crate) async fn facts(broker: &Arc<Broker>) -> Vec<GroupFacts> {
    let asked = Arc::clone(broker);
    // Looks at every offset of every group, and so not where connections are served.
    let looked = tokio::task::spawn_blocking(move || look(&asked)).await;
    let Ok((summaries, mut known, elsewhere)) = looked else { return Vec::new() };
    known.extend(ask(broker, &broker.control.image(), elsewhere).await);
    let facts = tokio::task::spawn_blocking(move || {
        let facts = summaries.into_iter().map(|summary| {
            let offsets = summary.offsets.iter();
            let bounds = offsets.map(|(topic, index, _)| known.get(&(Arc::clone(topic), *index)).copied());
            GroupFacts { bounds: bounds.collect(), summary }
        });
        facts.collect()
    });
    facts.await.unwrap_or_default()
}

/// The groups, the ends that are known here, and the partitions whose leaders are to be asked.
fn look(broker: &Broker) -> (Vec<GroupSummary>, Ends, Vec<(Arc<str>, TopicIdPartition)>) {
    let summaries = broker.control.coordinator.summaries();
    let image = broker.control.image();
    let wanted: BTreeSet<(&Arc<str>, PartitionIndex)> = summaries
        .iter()
        .flat_map(|summary| summary.offsets.iter().map(|(topic, partition, _)| (topic, *partition)))
        .collect();
    let mut known = Ends::new();
    let mut elsewhere = Vec::new();
    for (topic, partition) in wanted {
        let Some((of, _)) = image.partition_by_name(topic, partition) else { continue };
        let id = TopicIdPartition { topic_id: of.id(), partition };
        match broker.replica_manager.get(id).ok().and_then(|replica| replica.figures()) {
            Some(figures) => {
                let bounds = Bounds { start: figures.log_start.0, end: figures.high_watermark.0 };
                known.insert((Arc::clone(topic), partition), bounds);
            }
            None if elsewhere.len() < ASKED_MAX => elsewhere.push((Arc::clone(topic), id)),
            None => {}
        }
    }
    (summaries, known, elsewhere)
}

async fn ask(
    broker: &Broker,
    image: &MetadataImage,
    elsewhere: Vec<(Arc<str>, TopicIdPartition)>,
) -> Vec<((Arc<str>, PartitionIndex), Bounds)> {
    let led = elsewhere.into_iter().filter(|(_, id)| {
        image.topics().partition(id.topic_id, id.partition).is_some_and(|state| state.has_leader())
    });
    let questions = led.map(|(topic, id)| async move {
        let end = broker.share.end_offsets.ask_once(id).await.ok()?;
        Some(((topic, id.partition), Bounds { start: 0, end }))
    });
    let mut answers = futures::stream::iter(questions).buffer_unordered(ASKED_AT_ONCE);
    let mut all = Vec::new();
    let deadline = tokio::time::Instant::now() + ASKING_LIMIT;
    while let Ok(Some(answer)) = tokio::time::timeout_at(deadline, answers.next()).await {
        all.extend(answer);
    }
    all
}

pub(super) fn put(out: &mut Exposition, groups: &[GroupFacts]) {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for GroupFacts { summary, bounds } in groups {
        *counts.entry((summary.group_type, &summary.state)).or_default() += 1;
        if out.tells(Family::Exporter) {
            put_group(out, summary, bounds);
        }
    }
    for ((group_type, state), count) in counts {
        out.put_for(Metric::Groups, &Labels::of("type", group_type).and("state", state), count);
    }
}

fn put_group(out: &mut Exposition, summary: &GroupSummary, bounds: &[Option<Bounds>]) {
    if !out.has_room(GROUP_SERIES) {
        return;
    }
    let of_group = Labels::of("consumergroup", &summary.group_id);
    out.put_for(Metric::GroupMembers, &of_group, summary.members);
    let mut sums: BTreeMap<&Arc<str>, (i64, Option<i64>)> = BTreeMap::new();
    for ((topic, partition, offset), bounds) in summary.offsets.iter().zip(bounds) {
        let (offsets, lags) = sums.entry(topic).or_insert((0, Some(0)));
        let lag = bounds.map(|bounds| lag(offset.0, bounds));
        *offsets = offsets.saturating_add(offset.0);
        // A sum that lacks a part would look like a group that has caught up.
        *lags = lags.and_then(|sum| Some(sum.saturating_add(lag?)));
        if out.has_room(PARTITION_SERIES) {
            let labels = of_group.and("topic", topic).and("partition", partition);
            out.put_for(Metric::GroupCurrentOffset, &labels, offset);
            if let Some(lag) = lag {
                out.put_for(Metric::GroupLag, &labels, lag);
            }
        }
    }
    for (topic, (offsets, lags)) in sums {
        if out.has_room(TOPIC_SERIES) {
            let labels = of_group.and("topic", topic);
            out.put_for(Metric::GroupCurrentOffsetSum, &labels, offsets);
            if let Some(lags) = lags {
                out.put_for(Metric::GroupLagSum, &labels, lags);
            }
        }
    }
}

/// What there is to read. Records that retention took are none of it.
fn lag(committed: i64, bounds: Bounds) -> i64 {
    (bounds.end - committed.max(bounds.start)).max(0)
}

#[cfg(test)]
mod tests {
    use moldau_model::Offset;

    use super::*;

    fn group(offsets: &[(&str, i32, i64)]) -> GroupSummary {
        let offsets = offsets.iter();
        GroupSummary {
            group_id: "g".into(),
            group_type: "classic",
            state: "Empty".to_owned(),
            members: 0,
            offsets: offsets.map(|(t, p, o)| (Arc::from(*t), PartitionIndex(*p), Offset(*o))).collect(),
        }
    }

    #[test]
    fn a_lag_is_what_is_left_to_read() {
        assert_eq!(lag(3, Bounds { start: 0, end: 10 }), 7);
        assert_eq!(lag(3, Bounds { start: 8, end: 10 }), 2);
        assert_eq!(lag(12, Bounds { start: 0, end: 10 }), 0);
    }

    #[test]
    fn a_topic_has_no_sum_of_lags_where_one_of_them_is_not_known() {
        let summary = group(&[("a", 0, 5), ("a", 1, 1), ("b", 0, 2)]);
        let bounds = vec![Some(Bounds { start: 0, end: 9 }), None, Some(Bounds { start: 0, end: 2 })];
        let mut out = Exposition::new(&Family::ALL, 100);
        put(&mut out, &[GroupFacts { summary, bounds }]);
        let text = out.finish();
        for line in [
            "kafka_consumergroup_lag{consumergroup=\"g\",topic=\"a\",partition=\"0\"} 4",
            "kafka_consumergroup_current_offset{consumergroup=\"g\",topic=\"a\",partition=\"1\"} 1",
            "kafka_consumergroup_current_offset_sum{consumergroup=\"g\",topic=\"a\"} 6",
            "kafka_consumergroup_lag_sum{consumergroup=\"g\",topic=\"b\"} 0",
            "moldau_groups{type=\"classic\",state=\"Empty\"} 1",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("kafka_consumergroup_lag_sum{consumergroup=\"g\",topic=\"a\"}"), "{text}");
    }
}
