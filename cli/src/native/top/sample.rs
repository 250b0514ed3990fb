//! What `moldau top` looks at, and what two looks say together.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::client::offsets::{LATEST, Partition};
use crate::client::{Client, ClientError};

/// Groups whose offsets are asked for at each look; a cluster may have thousands.
const GROUPS_MAX: usize = 50;

/// One look at a cluster.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) brokers: Vec<i32>,
    /// Those that registered and are not in service.
    pub(super) fenced: Vec<i32>,
    pub(super) controller: i32,
    pub(super) topics: BTreeMap<String, TopicSample>,
    /// Of all topics, those too that are not shown.
    pub(super) under_replicated: usize,
    pub(super) leaderless: usize,
    pub(super) groups: Vec<GroupSample>,
    pub(super) groups_left_out: usize,
    /// Why the groups are not known, as while a coordinator is away.
    pub(super) groups_error: Option<String>,
}

/// A topic's partitions and the ends of their logs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TopicSample {
    pub(super) partitions: usize,
    pub(super) under_replicated: usize,
    pub(super) leaderless: usize,
    /// The sum of the ends; none where one is not known.
    pub(super) end: Option<i64>,
}

/// A group's state and how far it is behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupSample {
    pub(super) group: String,
    pub(super) state: String,
    pub(super) committed: i64,
    /// None where the end of a partition is not known: a sum without it would look like a group that has caught up.
    pub(super) lag: Option<i64>,
}

/// A topic as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TopicRow {
    pub(super) name: String,
    pub(super) sample: TopicSample,
    /// None at the first look.
    pub(super) records_per_second: Option<f64>,
}

/// A group as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct GroupRow {
    pub(super) sample: GroupSample,
    /// What it commits in a second.
    pub(super) records_per_second: Option<f64>,
}

impl Sample {
    pub(super) fn take(client: &mut Client, with_internal: bool) -> Result<Self, ClientError> {
        let deadline = client.deadline();
        let response = client.metadata(None, deadline)?;
        let mut topics: BTreeMap<String, TopicSample> = BTreeMap::new();
        let (mut under_replicated, mut leaderless) = (0, 0);
        let mut asked: Vec<(Partition, i64)> = Vec::new();
        for topic in &response.topics {
            let Some(name) = topic.name.as_ref().map(|name| name.0.to_string()) else { continue };
            let replicas = topic.partitions.iter().filter(|p| p.leader_id.0 >= 0);
            under_replicated += replicas.filter(|p| p.isr_nodes.len() < p.replica_nodes.len()).count();
            leaderless += topic.partitions.iter().filter(|p| p.leader_id.0 < 0).count();
            if topic.is_internal && !with_internal {
                continue;
            }
            let entry = topics.entry(name.clone()).or_default();
            entry.end = Some(0);
            for p in &topic.partitions {
                entry.partitions += 1;
                if p.leader_id.0 < 0 {
                    entry.leaderless += 1;
                    entry.end = None;
                } else {
                    entry.under_replicated += usize::from(p.isr_nodes.len() < p.replica_nodes.len());
                    asked.push(((name.clone(), p.partition_index), LATEST));
                }
            }
        }
        let mut ends: BTreeMap<Partition, i64> = BTreeMap::new();
        for (partition, answer) in client.list_offsets(&asked, false)? {
            let end = answer.ok().map(|at| at.offset);
            if let Some(topic) = topics.get_mut(&partition.0) {
                topic.end = topic.end.zip(end).map(|(sum, end)| sum + end);
            }
            ends.extend(end.map(|end| (partition, end)));
        }
        let (groups, groups_left_out, groups_error) = match groups(client, &ends, &topics) {
            Ok((groups, left_out)) => (groups, left_out, None),
            Err(error) => (Vec::new(), 0, Some(error.to_string())),
        };
        Ok(Self {
            at: Instant::now(),
            brokers: client.brokers().keys().copied().collect(),
            fenced: client.fenced_brokers(),
            controller: response.controller_id.0,
            topics,
            under_replicated,
            leaderless,
            groups,
            groups_left_out,
            groups_error,
        })
    }

    /// The topics, the busiest first.
    pub(super) fn topic_rows(&self, before: Option<&Self>) -> Vec<TopicRow> {
        let mut rows: Vec<TopicRow> = self
            .topics
            .iter()
            .map(|(name, sample)| {
                let old = before.and_then(|before| before.topics.get(name)).and_then(|topic| topic.end);
                let grown = sample.end.zip(old).map(|(now, old)| now - old);
                let records_per_second = grown.and_then(|grown| self.per_second(before, grown));
                TopicRow { name: name.clone(), sample: sample.clone(), records_per_second }
            })
            .collect();
        rows.sort_by(|a, b| {
            let rate = |row: &TopicRow| row.records_per_second.unwrap_or(0.0);
            rate(b).total_cmp(&rate(a)).then_with(|| a.name.cmp(&b.name))
        });
        rows
    }

    /// The groups, the furthest behind first.
    pub(super) fn group_rows(&self, before: Option<&Self>) -> Vec<GroupRow> {
        let mut rows: Vec<GroupRow> = self
            .groups
            .iter()
            .map(|sample| {
                let old = before.and_then(|b| b.groups.iter().find(|group| group.group == sample.group));
                let grown = old.map(|old| sample.committed - old.committed);
                let records_per_second = grown.and_then(|grown| self.per_second(before, grown));
                GroupRow { sample: sample.clone(), records_per_second }
            })
            .collect();
        rows.sort_by(|a, b| {
            // What is not known is for the user to look at.
            let key = |row: &GroupRow| (row.sample.lag.is_none(), row.sample.lag);
            key(b).cmp(&key(a)).then_with(|| a.sample.group.cmp(&b.sample.group))
        });
        rows
    }

    /// Records a second since the look before; a topic that was made anew meanwhile has not shrunk.
    fn per_second(&self, before: Option<&Self>, grown: i64) -> Option<f64> {
        let seconds = self.at.duration_since(before?.at).as_secs_f64();
        (seconds > 0.0).then(|| grown.max(0) as f64 / seconds)
    }

    pub(super) fn partitions(&self) -> usize {
        self.topics.values().map(|topic| topic.partitions).sum()
    }
}

/// The groups with what they are behind, and how many were left out.
fn groups(
    client: &mut Client,
    ends: &BTreeMap<Partition, i64>,
    topics: &BTreeMap<String, TopicSample>,
) -> Result<(Vec<GroupSample>, usize), ClientError> {
    let listed = client.list_groups()?;
    let left_out = listed.len().saturating_sub(GROUPS_MAX);
    let mut groups = Vec::new();
    for group in listed.into_iter().take(GROUPS_MAX) {
        // A group may go while it is looked at.
        let Ok(committed) = client.committed_offsets(&group.group, None) else { continue };
        let lag = lag(&committed, ends, |topic| topics.contains_key(topic));
        let committed = committed.values().sum();
        groups.push(GroupSample { group: group.group, state: group.state, committed, lag });
    }
    Ok((groups, left_out))
}

/// What a group has left to read in the topics that are shown: its offsets may outlive others.
fn lag(
    committed: &BTreeMap<Partition, i64>,
    ends: &BTreeMap<Partition, i64>,
    is_shown: impl Fn(&str) -> bool,
) -> Option<i64> {
    let shown = committed.iter().filter(|(partition, _)| is_shown(&partition.0));
    shown.map(|(partition, at)| Some((ends.get(partition)? - at).max(0))).sum()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn sample(at: Instant, ends: &[(&str, i64)], groups: &[(&str, i64, i64)]) -> Sample {
        let topic = |end: i64| TopicSample { partitions: 2, end: Some(end), ..TopicSample::default() };
        let group = |(name, committed, lag): &(&str, i64, i64)| GroupSample {
            group: (*name).to_owned(),
            state: "Stable".to_owned(),
            committed: *committed,
            lag: Some(*lag),
        };
        Sample {
            at,
            brokers: vec![1],
            fenced: Vec::new(),
            under_replicated: 0,
            leaderless: 0,
            controller: 1,
            topics: ends.iter().map(|(name, end)| ((*name).to_owned(), topic(*end))).collect(),
            groups: groups.iter().map(group).collect(),
            groups_left_out: 0,
            groups_error: None,
        }
    }

    #[test]
    fn a_lag_is_unknown_where_an_end_is() {
        let of = |topic: &str, partition: i32, at: i64| ((topic.to_owned(), partition), at);
        let committed = BTreeMap::from([of("a", 0, 5), of("a", 1, 1), of("deleted", 0, 3)]);
        let is_shown = |topic: &str| topic == "a";
        assert_eq!(lag(&committed, &BTreeMap::from([of("a", 0, 9), of("a", 1, 1)]), is_shown), Some(4));
        assert_eq!(lag(&committed, &BTreeMap::from([of("a", 0, 9)]), is_shown), None);
    }

    #[test]
    fn two_looks_make_a_rate_and_the_busiest_comes_first() {
        let begun = Instant::now();
        let before = sample(begun, &[("a", 10), ("b", 0), ("anew", 50)], &[("g", 5, 5), ("h", 0, 0)]);
        let now = sample(
            begun + Duration::from_secs(2),
            &[("a", 20), ("b", 100), ("anew", 2), ("new", 7)],
            &[("g", 9, 3), ("h", 0, 90)],
        );
        let rows: Vec<_> =
            now.topic_rows(Some(&before)).into_iter().map(|row| (row.name, row.records_per_second)).collect();
        assert_eq!(
            rows,
            [
                ("b".to_owned(), Some(50.0)),
                ("a".to_owned(), Some(5.0)),
                ("anew".to_owned(), Some(0.0)),
                ("new".to_owned(), None)
            ]
        );
        let rows: Vec<_> = now
            .group_rows(Some(&before))
            .into_iter()
            .map(|row| (row.sample.group, row.records_per_second))
            .collect();
        assert_eq!(rows, [("h".to_owned(), Some(0.0)), ("g".to_owned(), Some(2.0))]);
        assert!(before.topic_rows(None).iter().all(|row| row.records_per_second.is_none()));
    }
}
