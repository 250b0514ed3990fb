//! Subscriptions by regular expression.

use moldau_model::ErrorCode;

use super::{Topics, beat, cluster, having, joining, set, told};
use crate::*;

fn matching(member_id: &str, regex: &str) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        subscribed_topic_names: None,
        subscribed_topic_regex: Some(regex.into()),
        ..joining("g", member_id, &[])
    }
}

#[test]
fn a_member_reads_what_its_expression_matches_and_new_topics_with_it() {
    let mut h = cluster(&[("a1", 1), ("b1", 1)]);
    assert_eq!(told(&h.beat(matching("m", "a.*"))), Some(set(&["a1-0"])));
    let later = Topics::of(&[("a1", 1), ("b1", 1), ("a2", 1)]);
    h.change_topics(&later);
    assert_eq!(h.beat(beat("g", "m", 2)).assignment, None, "it was looked at less than a second ago");
    h.advance(1_000);
    assert_eq!(told(&h.beat(beat("g", "m", 2))), Some(set(&["a1-0", "a2-0"])));
    let written = h.log.len();
    h.advance(1_000);
    h.beat(beat("g", "m", 3));
    assert_eq!(h.log.len(), written, "nothing is new");
}

#[test]
fn an_expression_finds_what_the_member_may_know_of() {
    let mut h = cluster(&[("a1", 1), ("a-secret", 1), ("b", 1)]);
    let restricted = |request: ConsumerGroupHeartbeatRequest| ConsumerGroupHeartbeatRequest {
        visible_topics: TopicFilter::new(|topic| topic != "a-secret"),
        ..request
    };
    assert_eq!(told(&h.beat(restricted(matching("m", "a.*")))), Some(set(&["a1-0"])));
    // What is named is another question, which is asked where the request comes in.
    h.change_topics(&Topics::of(&[("a1", 1), ("a2", 1), ("a-secret", 1), ("a-secret2", 1)]));
    h.advance(1_000);
    let more = told(&h.beat(restricted(beat("g", "m", 2))));
    assert_eq!(more, Some(set(&["a1-0", "a2-0", "a-secret2-0"])));
}

#[test]
fn an_expression_that_is_none_is_refused_and_leaves_nothing() {
    let mut h = cluster(&[("a1", 1)]);
    let refused = h.beat(matching("m", "("));
    assert_eq!(refused.error, ErrorCode::InvalidRegularExpression);
    let message = refused.error_message.unwrap();
    assert!(message.starts_with("SubscribedTopicRegex `(` is not a valid regular expression: "), "{message}");
    assert_eq!(h.shard.group_count(), 0);
}

#[test]
fn expressions_and_names_go_together() {
    let mut h = cluster(&[("a", 1), ("b", 1), ("c", 1)]);
    let both = ConsumerGroupHeartbeatRequest {
        subscribed_topic_names: Some(vec!["c".into()]),
        ..matching("m", "a|b")
    };
    assert_eq!(told(&h.beat(both)), Some(set(&["a-0", "b-0", "c-0"])));
    let without = ConsumerGroupHeartbeatRequest {
        subscribed_topic_regex: Some(String::new()),
        ..having("g", "m", 2, &[("a", &[0]), ("b", &[0]), ("c", &[0])])
    };
    assert_eq!(told(&h.beat(without)), Some(set(&["c-0"])));
    assert!(h.shard.consumer_groups.get("g").unwrap().regexes().is_empty(), "nobody has it any more");
}

#[test]
fn an_expression_lives_as_long_as_a_member_has_it() {
    let mut h = cluster(&[("a", 2)]);
    h.beat(matching("m", "a"));
    h.beat(matching("n", "a"));
    h.beat(beat("g", "m", -1));
    assert_eq!(h.shard.consumer_groups.get("g").unwrap().regexes().len(), 1);
    h.fail_over();
    assert_eq!(told(&h.beat(having("g", "n", 3, &[]))), Some(set(&["a-0", "a-1"])));
    h.beat(beat("g", "n", -1));
    assert!(h.shard.consumer_groups.get("g").unwrap().regexes().is_empty());
}
