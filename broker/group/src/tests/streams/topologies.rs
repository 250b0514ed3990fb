//! What follows from a topology and the topics that there are.

use moldau_model::ErrorCode;

use super::super::consumer::Topics;
use super::*;
use crate::streams::configure;

const TASKS_MAX: i64 = 1_000;

fn details(topology: &StreamsTopology, topics: &[(&str, i32)]) -> (Option<StreamsStatusCode>, String) {
    let configured = configure(topology, &Topics::of(topics), TASKS_MAX).unwrap();
    configured.problem.map(|status| (Some(status.code), status.detail)).unwrap_or_default()
}

fn refusal(topology: &StreamsTopology, topics: &[(&str, i32)]) -> String {
    let refused = configure(topology, &Topics::of(topics), TASKS_MAX).unwrap_err();
    assert_eq!(refused.error, ErrorCode::StreamsInvalidTopology);
    refused.message
}

/// A subtopology that joins these topics.
fn joined(sources: &[&str], repartition: &[(&str, i32)]) -> StreamsSubtopology {
    let places = |count: usize| (0..count as i16).collect();
    StreamsSubtopology {
        subtopology_id: "9".into(),
        source_topics: sources.iter().map(ToString::to_string).collect(),
        repartition_source_topics: repartition
            .iter()
            .map(|(name, partitions)| StreamsTopicInfo { partitions: *partitions, ..info(name) })
            .collect(),
        copartition_groups: vec![StreamsCopartitionGroup {
            source_topics: places(sources.len()),
            source_topic_regexes: Vec::new(),
            repartition_source_topics: places(repartition.len()),
        }],
        ..StreamsSubtopology::default()
    }
}

/// Writes to repartition topics.
fn writer(source: &str, sinks: &[&str]) -> StreamsSubtopology {
    StreamsSubtopology {
        subtopology_id: format!("writer of {source}"),
        source_topics: vec![source.into()],
        repartition_sink_topics: sinks.iter().map(ToString::to_string).collect(),
        ..StreamsSubtopology::default()
    }
}

fn topology(subtopologies: Vec<StreamsSubtopology>) -> StreamsTopology {
    StreamsTopology { epoch: 0, subtopologies }
}

#[test]
fn internal_topics_have_as_many_partitions_as_what_is_written_to_them() {
    let configured = configure(&word_count(), &Topics::of(&[("lines", 3)]), TASKS_MAX).unwrap();
    assert!(!configured.is_ready());
    let missing: Vec<(&str, i32, usize)> = configured
        .missing_topics
        .iter()
        .map(|topic| (topic.name.as_str(), topic.partitions, topic.configs.len()))
        .collect();
    assert_eq!(missing, [("store-changelog", 3, 1), ("words", 3, 0)]);
    let subtopologies = configured.subtopologies.unwrap();
    let counts: Vec<(i32, bool)> =
        subtopologies.values().map(|each| (each.task_count, each.is_stateful)).collect();
    assert_eq!(counts, [(3, false), (3, true)]);
    let expected = "Internal topics are missing: store-changelog, words".to_owned();
    assert_eq!(
        details(&word_count(), &[("lines", 3)]),
        (Some(StreamsStatusCode::MissingInternalTopics), expected)
    );
    assert_eq!(details(&word_count(), &TOPICS), (None, String::new()));
}

#[test]
fn source_topics_that_are_missing_are_named_as_far_as_three_go() {
    let all = topology(vec![joined(&["a", "b", "c", "d", "e"], &[])]);
    assert_eq!(
        details(&all, &[("c", 1)]),
        (
            Some(StreamsStatusCode::MissingSourceTopics),
            "Source topics a, b, d and 1 additional topics are missing.".to_owned()
        )
    );
}

#[test]
fn topics_that_are_joined_have_equally_many_partitions() {
    let incorrect = Some(StreamsStatusCode::IncorrectlyPartitionedTopics);
    let sources = topology(vec![joined(&["a", "b"], &[])]);
    assert_eq!(
        details(&sources, &[("a", 1), ("b", 2)]),
        (incorrect, "Following topics do not have the same number of partitions: [{a=1, b=2}]".to_owned())
    );
    // A repartition topic follows the topic that it is joined with, and not the one that it is made from.
    let follows = topology(vec![joined(&["a"], &[("r", 0)]), writer("w", &["r"])]);
    let configured = configure(&follows, &Topics::of(&[("a", 2), ("w", 5)]), TASKS_MAX).unwrap();
    assert_eq!(configured.missing_topics[0].partitions, 2);
    let fixed = topology(vec![joined(&["a"], &[("r", 3)]), writer("w", &["r"])]);
    assert_eq!(
        details(&fixed, &[("a", 2), ("w", 5)]),
        (
            incorrect,
            "Number of partitions [3] of repartition topic [r] doesn't match number of partitions [2] of the source \
             topic."
                .to_owned()
        )
    );
    // Among repartition topics alone the widest counts, or what the application says.
    let both = |r: i32, s: i32| {
        topology(vec![joined(&[], &[("r", r), ("s", s)]), writer("w", &["r"]), writer("x", &["s"])])
    };
    for (r, s, expected) in [(0, 0, 5), (3, 0, 3)] {
        let topics = Topics::of(&[("w", 5), ("x", 2)]);
        let configured = configure(&both(r, s), &topics, TASKS_MAX).unwrap();
        let counts: Vec<i32> = configured.missing_topics.iter().map(|topic| topic.partitions).collect();
        assert_eq!(counts, [expected, expected]);
    }
    assert_eq!(details(&both(3, 4), &[("w", 5), ("x", 2)]).0, incorrect);
    let found = "Existing topic words has different number of partitions: expected 3, found 2".to_owned();
    // Its readers have as many tasks as it has partitions, and so does the changelog.
    let topics = [("lines", 3), ("words", 2), ("store-changelog", 2)];
    assert_eq!(details(&word_count(), &topics), (incorrect, found));
}

#[test]
fn topologies_that_make_no_sense_are_refused() {
    let looped = topology(vec![StreamsSubtopology {
        repartition_sink_topics: vec!["r".into()],
        ..joined(&[], &[("r", 0)])
    }]);
    assert!(refusal(&looped, &[]).contains("There may be loops"));
    let unwritten = topology(vec![joined(&["a"], &[("r", 0)])]);
    assert!(refusal(&unwritten, &[("a", 1)]).contains("never used as a sink topic"));
    assert!(refusal(&topology(vec![joined(&[], &[])]), &[]).contains("No source topics found"));
    let huge = topology(vec![joined(&["a"], &[("r", 2_000_000_000)])]);
    assert!(
        refusal(
            &topology(vec![writer("w", &["r"]), huge.subtopologies[0].clone()]),
            &[("a", 2_000_000_000), ("w", 1)]
        )
        .contains("more than the 1000")
    );
}

#[test]
fn what_is_wrong_with_a_topology_is_said_before_anything_is_made_of_it() {
    let mut h = cluster(&TOPICS);
    let mut refused = |change: &dyn Fn(&mut StreamsTopology)| {
        let mut request = joining("m");
        change(request.topology.as_mut().unwrap());
        let response = h.streams_beat(request);
        assert_eq!(h.shard.group_count(), 0);
        (response.error, response.error_message.unwrap())
    };
    let invalid = ErrorCode::StreamsInvalidTopology;
    for (change, message) in [
        (
            (|t| t.subtopologies[0].source_topics.push("__consumer_offsets".into()))
                as fn(&mut StreamsTopology),
            "Use of Kafka internal topics __consumer_offsets in a Kafka Streams topology is prohibited.",
        ),
        (
            |t| t.subtopologies[0].source_topics.push("a b".into()),
            "Topic names a b are not valid topic names.",
        ),
        (
            |t| t.subtopologies[1].changelog_topics[0].partitions = 2,
            "Changelog topic store-changelog must have an undefined partition count, but it is set to 2.",
        ),
        (|t| t.subtopologies[1].subtopology_id = "0".into(), "A subtopology is there twice."),
        (
            |t| {
                let group = StreamsCopartitionGroup { source_topics: vec![7], ..Default::default() };
                t.subtopologies[0].copartition_groups.push(group);
            },
            "A copartition group has a topic that its subtopology does not have.",
        ),
        (
            |t| {
                let again = t.subtopologies[0].source_topics[0].clone();
                t.subtopologies[0].source_topics.push(again);
            },
            "A subtopology names a topic that it reads twice.",
        ),
        (
            |t| {
                let one = |n| StreamsSubtopology { subtopology_id: format!("s{n}"), ..Default::default() };
                t.subtopologies.extend((0..500).map(one));
            },
            "The topology is too large to be kept.",
        ),
        (
            |t| t.subtopologies[0].repartition_sink_topics = (0..5_000).map(|n| format!("r{n}")).collect(),
            "The topology is too large to be kept.",
        ),
        (
            |t| t.subtopologies[0].copartition_groups = vec![StreamsCopartitionGroup::default(); 5_001],
            "The topology is too large to be kept.",
        ),
    ] {
        assert_eq!(refused(&change), (invalid, message.to_owned()));
    }
    let regex: &dyn Fn(&mut StreamsTopology) =
        &|t| t.subtopologies[0].source_topic_regexes.push("a.*".into());
    assert_eq!(refused(regex).0, ErrorCode::InvalidRequest);
}
