//! Topics deleted by name and by id, and those that are not.

use expect_test::expect;

use super::super::testing::{Cluster, lines};
use super::*;

fn ask(cluster: &mut Cluster, topics: &[TopicToDelete]) -> String {
    let results = cluster.decide(|image, inputs| delete_topics(image, topics, inputs)).unwrap();
    let named = results.into_iter().map(|result| {
        let id = result.topic_id.as_bytes()[0];
        let known = if result.topic_id.is_zero() {
            "no id".into()
        } else if id == 1 {
            "id 1".into()
        } else {
            "its id".to_owned()
        };
        (format!("{} ({known})", result.name.unwrap_or("no name".into())), result.result)
    });
    lines(named)
}

fn cluster() -> (Cluster, TopicId) {
    let mut cluster = Cluster::new(1);
    cluster.topic("keep", &[&[1]], &[]);
    cluster.topic("t", &[&[1]], &[]);
    let id = cluster.image.topics().by_name("t").unwrap().id();
    (cluster, id)
}

#[test]
fn what_cannot_be_deleted_is_told_so_in_kafkas_words() {
    let unknown = TopicId::from_bytes([1; 16]);
    let (mut cluster, id) = cluster();
    let text = ask(
        &mut cluster,
        &[
            TopicToDelete::by_name("nonono"),
            TopicToDelete::by_id(unknown),
            TopicToDelete::by_id(TopicId::ZERO),
            TopicToDelete { name: Some("keep".into()), topic_id: unknown },
            TopicToDelete::by_name("twice"),
            TopicToDelete::by_name("twice"),
        ],
    );
    expect![[r#"
        nonono (no id): 3 This server does not host this topic-partition.
        no name (id 1): 100 This server does not host this topic ID.
        no name (no id): 42 Neither topic name nor id were specified.
        keep (id 1): 42 You may not specify both topic name and topic id.
        twice (no id): 42 Duplicate topic name.
    "#]]
    .assert_eq(&text);
    let twice = [
        ask(&mut cluster, &[TopicToDelete::by_id(id), TopicToDelete::by_id(id)]),
        ask(&mut cluster, &[TopicToDelete::by_id(id), TopicToDelete::by_name("t")]),
    ];
    expect![[r#"
        no name (its id): 42 Duplicate topic id.
        t (its id): 42 The provided topic name maps to an ID that was already supplied.
    "#]]
    .assert_eq(&twice.concat());
    assert_eq!(cluster.image.topics().len(), 2);
}

#[test]
fn a_topic_goes_by_name_or_by_id() {
    for by_id in [false, true] {
        let (mut cluster, id) = cluster();
        let topic = if by_id { TopicToDelete::by_id(id) } else { TopicToDelete::by_name("t") };
        assert_eq!(ask(&mut cluster, &[topic]), "t (its id): ok\n");
        assert!(cluster.image.topics().by_name("t").is_none());
        assert!(cluster.image.topics().by_name("keep").is_some());
    }
}

#[test]
fn deletion_can_be_forbidden() {
    let mut cluster = Cluster::with(1, &[], &[("delete.topic.enable", "false")]);
    let topics = [TopicToDelete::by_name("t")];
    let error = cluster.decide(|image, inputs| delete_topics(image, &topics, inputs)).unwrap_err();
    assert_eq!(error.code, ErrorCode::TopicDeletionDisabled);
}
