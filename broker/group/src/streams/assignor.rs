//! The sticky assignor: tasks stay where they are as far as the load allows.
//!
//! Active tasks go to the member that had them, then to one that had a copy of their state, and else to the process with the
//! least load. Copies go where a copy, or the task itself, was before, and else to the least loaded process that has nothing of
//! the task. A process counts with as many members as it has, one for each of its threads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moldau_model::PartitionIndex;

use super::tasks::{StreamsAssignment, StreamsTasks, TaskId};

/// A member as it is before the assignment.
#[derive(Clone, Debug, Default)]
pub(crate) struct AssignmentMember {
    pub(crate) process_id: Arc<str>,
    /// Its last target.
    pub(crate) before: StreamsAssignment,
}

/// A subtopology's tasks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SubtopologyTasks {
    pub(crate) task_count: i32,
    pub(crate) is_stateful: bool,
}

/// Assigns every task to one member, and its copies to others as far as there are processes for them.
pub(crate) fn assign(
    members: &BTreeMap<Arc<str>, AssignmentMember>,
    subtopologies: &BTreeMap<Arc<str>, SubtopologyTasks>,
    standby_replicas: usize,
) -> BTreeMap<Arc<str>, StreamsAssignment> {
    let mut work = Work::new(members, subtopologies, standby_replicas);
    if !members.is_empty() {
        work.assign_active(tasks(subtopologies, |_| true));
        work.assign_standby(tasks(subtopologies, |subtopology| subtopology.is_stateful), standby_replicas);
    }
    work.members.into_iter().map(|(member_id, member)| (Arc::clone(member_id), member.assigned)).collect()
}

fn tasks(
    subtopologies: &BTreeMap<Arc<str>, SubtopologyTasks>,
    is_wanted: impl Fn(&SubtopologyTasks) -> bool,
) -> Vec<TaskId> {
    let wanted = subtopologies.iter().filter(|(_, subtopology)| is_wanted(subtopology));
    let of = |(id, subtopology): (&Arc<str>, &SubtopologyTasks)| {
        let id = Arc::clone(id);
        (0..subtopology.task_count).map(move |partition| (Arc::clone(&id), PartitionIndex(partition)))
    };
    wanted.flat_map(of).collect()
}

/// How many tasks a member gets where all get about as many. It shrinks or grows as members turn out to be full.
#[derive(Clone, Copy, Debug)]
struct Quota {
    tasks_left: usize,
    members_left: usize,
}

impl Quota {
    fn per_member(self) -> usize {
        if self.members_left == 0 { 0 } else { self.tasks_left.div_ceil(self.members_left) }
    }

    /// A member has so many tasks now.
    fn note(&mut self, count: usize) {
        if self.members_left > 0 && count == self.per_member() {
            self.members_left -= 1;
            self.tasks_left = self.tasks_left.saturating_sub(count);
        }
    }
}

#[derive(Debug)]
struct Member<'a> {
    process_id: &'a Arc<str>,
    count: usize,
    assigned: StreamsAssignment,
}

#[derive(Debug, Default)]
struct Process<'a> {
    members: Vec<&'a Arc<str>>,
    tasks: BTreeSet<TaskId>,
    count: usize,
}

/// A process's tasks by its members; a ratio that compares without rounding.
#[derive(Clone, Copy, Debug)]
struct Load {
    tasks: usize,
    members: usize,
}

impl Load {
    fn cmp(self, other: Self) -> std::cmp::Ordering {
        (self.tasks * other.members).cmp(&(other.tasks * self.members))
    }
}

struct Work<'a> {
    members: BTreeMap<&'a Arc<str>, Member<'a>>,
    processes: BTreeMap<&'a Arc<str>, Process<'a>>,
    had_active: BTreeMap<TaskId, &'a Arc<str>>,
    had_standby: BTreeMap<TaskId, Vec<&'a Arc<str>>>,
    active_quota: Quota,
    total_quota: Quota,
}

impl<'a> Work<'a> {
    fn new(
        members: &'a BTreeMap<Arc<str>, AssignmentMember>,
        subtopologies: &BTreeMap<Arc<str>, SubtopologyTasks>,
        standby_replicas: usize,
    ) -> Self {
        let count = |each: &SubtopologyTasks| usize::try_from(each.task_count).unwrap_or(0);
        let active: usize = subtopologies.values().map(count).sum();
        let stateful: usize = subtopologies.values().filter(|each| each.is_stateful).map(count).sum();
        let members_left = members.len();
        let mut work = Self {
            members: BTreeMap::new(),
            processes: BTreeMap::new(),
            had_active: BTreeMap::new(),
            had_standby: BTreeMap::new(),
            active_quota: Quota { tasks_left: active, members_left },
            total_quota: Quota { tasks_left: active + stateful * standby_replicas, members_left },
        };
        for (member_id, member) in members {
            let process_id = &member.process_id;
            let assigned = StreamsAssignment::default();
            work.members.insert(member_id, Member { process_id, count: 0, assigned });
            work.processes.entry(process_id).or_default().members.push(member_id);
            for task in each_task(&member.before.active) {
                work.had_active.insert(task, member_id);
            }
            for task in each_task(&member.before.standby) {
                work.had_standby.entry(task).or_default().push(member_id);
            }
        }
        work
    }

    fn assign_active(&mut self, mut tasks: Vec<TaskId>) {
        tasks.sort_by(|(a, i), (b, j)| (i, a).cmp(&(j, b)));
        tasks.retain(|task| {
            let before = self.had_active.get(task).copied();
            !self.gives_back(task, before)
        });
        tasks.retain(|task| {
            let before = self.least_loaded_of(self.had_standby.get(task), None);
            !self.gives_back(task, before)
        });
        tasks.sort();
        for task in tasks {
            if let Some(member_id) = self.least_loaded(None) {
                self.give(&task, member_id, true);
            }
        }
    }

    /// Gives an active task to a member that knows it, unless that has enough.
    fn gives_back(&mut self, task: &TaskId, member_id: Option<&'a Arc<str>>) -> bool {
        let quota = self.active_quota.per_member();
        match member_id {
            Some(member_id) if self.count(member_id) < quota => {
                self.give(task, member_id, true);
                true
            }
            _ => false,
        }
    }

    fn assign_standby(&mut self, mut tasks: Vec<TaskId>, replicas: usize) {
        tasks.sort_by(|(a, i), (b, j)| (j, b).cmp(&(i, a)));
        let mut open: Vec<(TaskId, usize)> = Vec::new();
        for task in tasks {
            for done in 0..replicas {
                let active = self.had_active.get(&task).copied();
                let active = active.filter(|member_id| !self.process_has(member_id, &task));
                let standby = self.least_loaded_of(self.had_standby.get(&task), Some(&task));
                let quota = self.total_quota.per_member();
                let mut known = active.into_iter().chain(standby);
                let Some(member_id) = known.find(|member_id| self.count(member_id) < quota) else {
                    open.push((task, replicas - done));
                    break;
                };
                self.give(&task, member_id, false);
            }
        }
        open.sort_by(|(a, _), (b, _)| b.cmp(a));
        for (task, replicas) in open {
            for _ in 0..replicas {
                // Fewer copies than were asked for, where there are too few processes.
                let Some(member_id) = self.least_loaded(Some(&task)) else { break };
                self.give(&task, member_id, false);
            }
        }
    }

    fn give(&mut self, task: &TaskId, member_id: &'a Arc<str>, is_active: bool) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        let role = if is_active { &mut member.assigned.active } else { &mut member.assigned.standby };
        role.entry(Arc::clone(&task.0)).or_default().insert(task.1);
        member.count += 1;
        if let Some(process) = self.processes.get_mut(member.process_id) {
            process.tasks.insert(task.clone());
            process.count += 1;
        }
        if is_active {
            self.active_quota.note(member.count);
        }
        self.total_quota.note(member.count);
    }

    fn count(&self, member_id: &Arc<str>) -> usize {
        self.members.get(member_id).map_or(0, |member| member.count)
    }

    fn process_of(&self, member_id: &Arc<str>) -> Option<&Process<'a>> {
        self.processes.get(self.members.get(member_id)?.process_id)
    }

    fn process_has(&self, member_id: &Arc<str>, task: &TaskId) -> bool {
        self.process_of(member_id).is_some_and(|process| process.tasks.contains(task))
    }

    /// Of these members the one of the least loaded process that has nothing of the task yet, and there the least loaded.
    fn least_loaded_of(
        &self,
        member_ids: Option<&Vec<&'a Arc<str>>>,
        task: Option<&TaskId>,
    ) -> Option<&'a Arc<str>> {
        let candidates = member_ids.into_iter().flatten().copied().filter_map(|member_id| {
            let process = self.process_of(member_id)?;
            let is_free = task.is_none_or(|task| !process.tasks.contains(task));
            is_free.then_some((member_id, process))
        });
        let least = candidates.min_by(|(a, of_a), (b, of_b)| {
            of_a.load().cmp(of_b.load()).then_with(|| self.count(a).cmp(&self.count(b)))
        });
        least.map(|(member_id, _)| member_id)
    }

    /// The same of all members.
    fn least_loaded(&self, task: Option<&TaskId>) -> Option<&'a Arc<str>> {
        let free =
            self.processes.values().filter(|process| task.is_none_or(|task| !process.tasks.contains(task)));
        let process = free.min_by(|a, b| a.load().cmp(b.load()))?;
        process.members.iter().copied().min_by_key(|member_id| self.count(member_id))
    }
}

impl Process<'_> {
    fn load(&self) -> Load {
        Load { tasks: self.count, members: self.members.len() }
    }
}

fn each_task(tasks: &StreamsTasks) -> impl Iterator<Item = TaskId> {
    tasks.iter().flat_map(|(subtopology, partitions)| {
        partitions.iter().map(|partition| (Arc::clone(subtopology), *partition))
    })
}
