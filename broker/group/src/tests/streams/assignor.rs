//! The sticky assignor.

use std::collections::BTreeMap;

use super::super::consumer::model::Random;
use super::*;
use crate::streams::{AssignmentMember, SubtopologyTasks, assign};

type Members = BTreeMap<Arc<str>, AssignmentMember>;

fn subtopologies(all: &[(&str, i32, bool)]) -> BTreeMap<Arc<str>, SubtopologyTasks> {
    let tasks = |(id, task_count, is_stateful): &(&str, i32, bool)| {
        (Arc::from(*id), SubtopologyTasks { task_count: *task_count, is_stateful: *is_stateful })
    };
    all.iter().map(tasks).collect()
}

/// Members as (id, process).
fn members(all: &[(&str, &str)]) -> Members {
    let member = |(id, process): &(&str, &str)| {
        let before = StreamsAssignment::default();
        (Arc::from(*id), AssignmentMember { process_id: (*process).into(), before })
    };
    all.iter().map(member).collect()
}

/// Assigns, and lets members have what they got.
fn assigned(
    members: &mut Members,
    subtopologies: &BTreeMap<Arc<str>, SubtopologyTasks>,
    replicas: usize,
) -> BTreeMap<Arc<str>, StreamsAssignment> {
    let targets = assign(members, subtopologies, replicas);
    for (member_id, target) in &targets {
        members.get_mut(member_id).unwrap().before = target.clone();
    }
    check(members, subtopologies, &targets, replicas);
    targets
}

fn count(tasks: &StreamsTasks) -> usize {
    tasks.values().map(BTreeSet::len).sum()
}

/// Every task is active once, and copied as often as there are other processes for it.
fn check(
    members: &Members,
    subtopologies: &BTreeMap<Arc<str>, SubtopologyTasks>,
    targets: &BTreeMap<Arc<str>, StreamsAssignment>,
    replicas: usize,
) {
    let mut holders: BTreeMap<String, Vec<&Arc<str>>> = BTreeMap::new();
    let mut active: BTreeMap<String, usize> = BTreeMap::new();
    for (member_id, target) in targets {
        for task in names(&target.active) {
            *active.entry(task).or_default() += 1;
        }
        for task in names(&target.active).into_iter().chain(names(&target.standby)) {
            holders.entry(task).or_default().push(&members[member_id].process_id);
        }
    }
    let processes: BTreeSet<&Arc<str>> = members.values().map(|member| &member.process_id).collect();
    for (id, subtopology) in subtopologies {
        for partition in 0..subtopology.task_count {
            let task = format!("{id}-{partition}");
            assert_eq!(active.get(&task), Some(&1), "{task} is active once");
            let of_task = &holders[&task];
            let distinct: BTreeSet<&Arc<str>> = of_task.iter().copied().collect();
            assert_eq!(distinct.len(), of_task.len(), "no process has {task} twice");
            let copies = if subtopology.is_stateful { replicas } else { 0 };
            assert_eq!(distinct.len(), (1 + copies).min(processes.len()), "{task} is copied");
        }
    }
}

#[test]
fn tasks_are_spread_over_members_and_copies_over_other_processes() {
    let all = subtopologies(&[("0", 4, false), ("1", 4, true)]);
    let mut two = members(&[("a", "p"), ("b", "q")]);
    let targets = assigned(&mut two, &all, 1);
    for target in targets.values() {
        assert_eq!((count(&target.active), count(&target.standby)), (4, 2));
    }
    let mut threads = members(&[("a", "p"), ("b", "p"), ("c", "q")]);
    let targets = assigned(&mut threads, &all, 2);
    let of_p: usize = ["a", "b"].iter().map(|member_id| count(&targets[*member_id].active)).sum();
    assert_eq!((of_p, count(&targets["c"].active)), (5, 3), "a process counts with its threads");
}

#[test]
fn tasks_stay_where_they_are_when_a_member_comes_and_copies_become_active_when_one_goes() {
    let all = subtopologies(&[("0", 6, true)]);
    let mut group = members(&[("a", "p"), ("b", "q")]);
    let before = assigned(&mut group, &all, 1);
    group.extend(members(&[("c", "r")]));
    let after = assigned(&mut group, &all, 1);
    for member_id in ["a", "b"] {
        let kept = names(&after[member_id].active);
        assert_eq!(kept.len(), 2);
        assert!(
            kept.is_subset(&names(&before[member_id].active)),
            "nothing moves among those that were there"
        );
    }
    let gone = group.remove("b").unwrap();
    let copies: BTreeMap<Arc<str>, BTreeSet<String>> =
        after.iter().map(|(id, target)| (Arc::clone(id), names(&target.standby))).collect();
    let healed = assigned(&mut group, &all, 1);
    for task in names(&gone.before.active) {
        let owner = healed.iter().find(|(_, target)| names(&target.active).contains(&task)).unwrap().0;
        let had_copy = copies.iter().any(|(id, copies)| &**id != "b" && copies.contains(&task));
        assert!(!had_copy || copies[owner].contains(&task), "{task} goes to who has its state");
    }
}

#[test]
fn whoever_comes_and_goes_all_tasks_are_assigned_evenly() {
    for seed in 1..=300 {
        let mut random = Random::of_seed(seed);
        let all = subtopologies(&[
            ("0", 1 + random.below(8) as i32, false),
            ("1", 1 + random.below(8) as i32, true),
        ]);
        let total: usize = all.values().map(|each| each.task_count as usize).sum();
        let mut group = Members::new();
        for step in 0..30 {
            if random.below(3) < 2 {
                let process = format!("p{}", random.below(3));
                group.extend(members(&[(&*format!("m{step}"), &*process)]));
            } else if let Some(id) = group.keys().nth(random.below(group.len().max(1))).cloned() {
                group.remove(&id);
            }
            if group.is_empty() {
                continue;
            }
            let targets = assigned(&mut group, &all, random.below(3));
            let most = targets.values().map(|target| count(&target.active)).max().unwrap();
            assert!(most <= total.div_ceil(group.len()) + 1, "seed {seed}: {most} of {total} with one");
        }
    }
}
