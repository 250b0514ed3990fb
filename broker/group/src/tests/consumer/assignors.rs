//! What assignors give to whom.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moldau_model::PartitionIndex;

use super::topic_id;
use crate::Assignor::{self, Range, Uniform};
use crate::consumer::{Assignment, GroupSubscriptions, MemberSubscription};

#[derive(Default)]
struct Group(GroupSubscriptions);

impl Group {
    fn of(topics: &[(&str, i32)], members: &[(&str, &[&str])]) -> Self {
        let mut group = Self::default();
        group.0.partition_counts = topics.iter().map(|(name, count)| (topic_id(name), *count)).collect();
        for (member_id, topics) in members {
            group.join(member_id, topics);
        }
        group
    }

    fn join(&mut self, member_id: &str, topics: &[&str]) {
        let subscription = MemberSubscription {
            instance_id: None,
            topics: topics.iter().map(|topic| topic_id(topic)).collect(),
            target: Arc::default(),
        };
        self.0.members.insert(member_id.into(), subscription);
    }

    /// Assigns, keeps that as the members' targets, and shows it.
    fn assign(&mut self, assignor: Assignor) -> BTreeMap<String, Vec<String>> {
        let assigned = assignor.assign(&self.0);
        for (member_id, member) in &mut self.0.members {
            member.target = Arc::new(assigned[member_id].clone());
        }
        self.check();
        assigned.iter().map(|(id, assignment)| (id.to_string(), shown(assignment))).collect()
    }

    /// Every partition that somebody subscribes to has one reader, who subscribes to it.
    fn check(&self) {
        let mut given = BTreeSet::new();
        for member in self.0.members.values() {
            for (topic_id, partitions) in &*member.target {
                assert!(member.topics.contains(topic_id));
                for partition in partitions {
                    assert!(
                        given.insert((*topic_id, *partition)),
                        "{partition} of {topic_id} is given twice"
                    );
                }
            }
        }
        let subscribed: BTreeSet<_> = self.0.members.values().flat_map(|member| &member.topics).collect();
        let wanted = subscribed.into_iter().flat_map(|topic_id| {
            (0..self.0.partition_counts[topic_id]).map(|partition| (*topic_id, PartitionIndex(partition)))
        });
        assert_eq!(given, wanted.collect());
    }

    fn loads(&self) -> Vec<usize> {
        let load = |member: &MemberSubscription| member.target.values().map(BTreeSet::len).sum();
        self.0.members.values().map(load).collect()
    }

    /// How many partitions have another reader now than `before`.
    fn moved_since(&self, before: &BTreeMap<Arc<str>, Arc<Assignment>>) -> usize {
        let kept = |(id, member): (&Arc<str>, &MemberSubscription)| {
            let before = before.get(id).map(|before| shown(before)).unwrap_or_default();
            shown(&member.target).iter().filter(|partition| !before.contains(partition)).count()
        };
        self.0.members.iter().map(kept).sum()
    }

    fn targets(&self) -> BTreeMap<Arc<str>, Arc<Assignment>> {
        self.0.members.iter().map(|(id, member)| (Arc::clone(id), Arc::clone(&member.target))).collect()
    }
}

fn shown(assignment: &Assignment) -> Vec<String> {
    let of_topic = |(topic_id, partitions): (&moldau_model::TopicId, &BTreeSet<PartitionIndex>)| {
        let name = char::from(topic_id.as_bytes()[0]);
        partitions.iter().map(move |p| format!("{name}{}", p.0)).collect::<Vec<_>>()
    };
    assignment.iter().flat_map(of_topic).collect()
}

fn expected(members: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
    let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    members.iter().map(|(id, partitions)| ((*id).to_owned(), texts(partitions))).collect()
}

#[test]
fn ranges_of_all_topics_go_to_members_in_one_order() {
    let both: &[&str] = &["a", "b"];
    let mut group = Group::of(&[("a", 3), ("b", 3)], &[("m", both), ("n", both)]);
    let ranges = expected(&[("m", &["a0", "a1", "b0", "b1"]), ("n", &["a2", "b2"])]);
    assert_eq!(group.assign(Range), ranges);
    group.join("o", &["b"]);
    let ranges = expected(&[("m", &["a0", "a1", "b0"]), ("n", &["a2", "b1"]), ("o", &["b2"])]);
    assert_eq!(group.assign(Range), ranges);
    group.0.members.get_mut("o").unwrap().instance_id = Some("z".into());
    let ranges = expected(&[("m", &["a0", "a1", "b1"]), ("n", &["a2", "b2"]), ("o", &["b0"])]);
    assert_eq!(group.assign(Range), ranges, "static members come first");
}

#[test]
fn uniform_shares_are_equal_and_move_no_more_than_they_must() {
    let mut group = Group::of(&[("a", 3), ("b", 4)], &[("m", &["a", "b"])]);
    group.assign(Uniform);
    for (member_id, loads, moves) in
        [("n", vec![4, 3], 3), ("o", vec![3, 2, 2], 2), ("p", vec![2, 2, 2, 1], 1)]
    {
        let before = group.targets();
        group.join(member_id, &["a", "b"]);
        group.assign(Uniform);
        assert_eq!((group.loads(), group.moved_since(&before)), (loads, moves), "{member_id} came");
    }
    let before = group.targets();
    group.assign(Uniform);
    assert_eq!(group.moved_since(&before), 0, "what is balanced stays");
    group.0.members.remove("m");
    group.assign(Uniform);
    assert_eq!((group.loads(), group.moved_since(&before)), (vec![2, 2, 3], 2), "m's two moved");
}

#[test]
fn among_new_members_the_last_ones_get_one_more_as_in_kafka() {
    let mut group = Group::of(&[("a", 5)], &[("m", &["a"]), ("n", &["a"]), ("o", &["a"])]);
    let shares = expected(&[("m", &["a0"]), ("n", &["a1", "a2"]), ("o", &["a3", "a4"])]);
    assert_eq!(group.assign(Uniform), shares);
}

#[test]
fn more_members_than_partitions_leave_some_without() {
    let mut group = Group::of(&[("a", 1)], &[("m", &["a"]), ("n", &["a"])]);
    group.assign(Uniform);
    assert_eq!(group.loads(), [0, 1]);
    let mut group = Group::of(&[("a", 1)], &[("m", &[]), ("n", &[])]);
    assert_eq!(group.assign(Uniform), expected(&[("m", &[]), ("n", &[])]));
    assert_eq!(group.assign(Range), expected(&[("m", &[]), ("n", &[])]));
}

#[test]
fn members_of_different_topics_are_balanced_where_they_can_be() {
    let mut group = Group::of(&[("a", 6), ("b", 6)], &[("m", &["a"]), ("n", &["a", "b"]), ("o", &["b"])]);
    group.assign(Uniform);
    assert_eq!(group.loads(), [4, 4, 4]);
    let before = group.targets();
    group.assign(Uniform);
    assert_eq!(group.moved_since(&before), 0);
    group.join("p", &["b"]);
    group.assign(Uniform);
    assert_eq!(group.loads(), [4, 3, 3, 2], "no subscriber of a topic has two more than another");
}

#[test]
fn random_groups_are_assigned_whole_and_balanced() {
    let mut seed = 1u64;
    let mut below = |bound: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % bound
    };
    for _ in 0..300 {
        let names = ["a", "b", "c"];
        let topics: Vec<(&str, i32)> = names.iter().map(|name| (*name, below(8) as i32)).collect();
        let mut group = Group::of(&topics, &[]);
        for _ in 0..6 {
            let member_id = format!("m{}", below(5));
            if group.0.members.remove(&*member_id).is_none() {
                let chosen: Vec<&str> = names.into_iter().filter(|_| below(3) > 0).collect();
                group.join(&member_id, &chosen);
            }
            let is_homogeneous =
                group.0.members.values().map(|member| &member.topics).collect::<BTreeSet<_>>().len() <= 1;
            group.assign([Uniform, Range][below(2)]);
            group.assign(Uniform);
            let (least, most) = (group.loads().into_iter().min(), group.loads().into_iter().max());
            if is_homogeneous {
                assert!(most.unwrap_or(0) - least.unwrap_or(0) <= 1, "{:?}", group.loads());
            }
            // No partition would be better off with another of its subscribers.
            for giver in group.0.members.values() {
                for topic_id in giver.target.keys() {
                    for taker in group.0.members.values().filter(|taker| taker.topics.contains(topic_id)) {
                        let load = |member: &MemberSubscription| -> usize {
                            member.target.values().map(BTreeSet::len).sum()
                        };
                        assert!(load(giver) <= load(taker) + 1, "{:?}", group.loads());
                    }
                }
            }
        }
    }
}
