//! The replicated metadata log, in place of openraft: terms, votes, majority commit, and what a disk keeps of them.
//!
//! A vote and an entry count once they are synced, which takes time; a loss of power takes what was not. There is no
//! pre-vote and no snapshot: a controller's log reaches back to the beginning.

use std::collections::BTreeSet;
use std::rc::Rc;

use moldau_metadata::{MetadataBatch, RecordKind};
use moldau_model::{LeaderEpoch, Offset};

use crate::bug::Bug;
use crate::controller::Controller;
use crate::core::Core;
use crate::coverage::Happened;
use crate::event::Timer;
use crate::message::{Entry, Message, Node, Quorum};
use crate::topology::CONTROLLERS;

pub(crate) const TICK_MS: i64 = 50;
const ELECTION_MS_MIN: i64 = 250;
const ELECTION_MS_MAX: i64 = 600;
/// Entries in one message; sometimes only one, so that a majority may have older terms' entries alone.
const ENTRIES_MAX: usize = 64;

/// What a controller has on disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct QuorumDisk {
    pub(crate) term: u64,
    pub(crate) voted_for: Option<usize>,
    pub(crate) log: Vec<Entry>,
    /// How many entries are synced.
    synced_length: usize,
    /// Term and vote as they are synced.
    synced_vote: (u64, Option<usize>),
}

impl QuorumDisk {
    fn last_term(&self) -> u64 {
        self.log.last().map_or(0, |entry| entry.term)
    }

    fn sync_vote(&mut self) {
        self.synced_vote = (self.term, self.voted_for);
    }

    /// The power went. Of the entries that were not synced the first `kept` survived. Returns whether anything was lost.
    pub(crate) fn lose_power(&mut self, kept: usize) -> bool {
        let before = (self.term, self.voted_for, self.log.len());
        (self.term, self.voted_for) = self.synced_vote;
        self.log.truncate(self.synced_length + kept);
        before != (self.term, self.voted_for, self.log.len())
    }

    pub(crate) fn unsynced(&self) -> usize {
        self.log.len() - self.synced_length
    }

    /// What a start finds is made durable before it is used.
    pub(crate) fn recover(&mut self) {
        self.synced_length = self.log.len();
        self.sync_vote();
    }
}

/// What a controller is to the quorum now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Follower,
    Candidate {
        votes: BTreeSet<usize>,
    },
    /// By controller, where to go on sending and how much is known to be synced there.
    Leader {
        next: [usize; CONTROLLERS],
        matched: [usize; CONTROLLERS],
    },
}

impl Controller {
    pub(crate) fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader { .. })
    }

    pub(crate) fn quorum_tick(&mut self, core: &mut Core) {
        self.timer(core, TICK_MS, Timer::QuorumTick);
        if let Role::Leader { next, matched } = &mut self.role {
            // What was lost on the way is sent again.
            *next = *matched;
            self.replicate(core);
        } else if core.now >= self.election_at {
            self.stand_for_election(core);
        }
    }

    pub(crate) fn reset_election(&mut self, core: &mut Core) {
        self.election_at = core.now + core.random.between(ELECTION_MS_MIN, ELECTION_MS_MAX);
    }

    fn stand_for_election(&mut self, core: &mut Core) {
        self.reset_election(core);
        self.disk.term += 1;
        self.disk.voted_for = Some(self.id);
        self.leader = None;
        self.role = Role::Candidate { votes: BTreeSet::new() };
        // Its own vote counts, and the request goes out, once it is synced.
        let disk = &self.disk;
        let request = Quorum::Vote { term: disk.term, last_term: disk.last_term(), length: disk.log.len() };
        let delay = core.random.between(1, 6);
        self.timer(core, delay, Timer::VoteSynced { to: self.id, reply: request });
    }

    pub(crate) fn vote_synced(&mut self, core: &mut Core, to: usize, message: Quorum) {
        match message {
            Quorum::Vote { term, .. } => {
                if term != self.disk.term {
                    return;
                }
                self.disk.sync_vote();
                for other in (0..CONTROLLERS).filter(|other| *other != self.id) {
                    self.say(core, other, message.clone());
                }
                self.count_vote(core, self.id);
            }
            Quorum::VoteReply { term, .. } if term == self.disk.term => {
                self.disk.sync_vote();
                self.say(core, to, message);
            }
            _ => {}
        }
    }

    pub(crate) fn handle_quorum(&mut self, core: &mut Core, from: usize, message: Quorum) {
        match message {
            Quorum::Vote { term, last_term, length } => {
                self.handle_vote(core, from, term, (last_term, length));
            }
            Quorum::VoteReply { term, is_granted } => {
                self.note_term(core, term);
                if is_granted && term == self.disk.term {
                    self.count_vote(core, from);
                }
            }
            Quorum::Append { term, previous_term, from: start, entries, committed } => {
                self.handle_append(core, from, term, (start, previous_term), entries, committed);
            }
            Quorum::AppendReply { term, matched, length } => {
                self.note_term(core, term);
                if term == self.disk.term {
                    self.handle_append_reply(core, from, matched, length);
                }
            }
        }
    }

    /// A newer term ends whatever this controller was.
    fn note_term(&mut self, core: &mut Core, term: u64) {
        if term > self.disk.term {
            self.disk.term = term;
            self.disk.voted_for = None;
            self.disk.sync_vote();
            self.follow(core, None);
        }
    }

    fn follow(&mut self, core: &mut Core, leader: Option<usize>) {
        self.leader = leader;
        self.role = Role::Follower;
        self.matched = 0;
        self.resign(core);
    }

    fn handle_vote(&mut self, core: &mut Core, from: usize, term: u64, candidate: (u64, usize)) {
        let synced = self.disk.synced_vote;
        self.note_term(core, term);
        let disk = &mut self.disk;
        let is_granted = term == disk.term
            && disk.voted_for.is_none_or(|voted| voted == from)
            && !matches!(self.role, Role::Leader { .. })
            && candidate >= (disk.last_term(), disk.log.len());
        let reply = Quorum::VoteReply { term: disk.term, is_granted };
        if !is_granted {
            return self.say(core, from, reply);
        }
        disk.voted_for = Some(from);
        self.reset_election(core);
        self.has_voted_for = Some(from);
        if core.has(Bug::NoSyncOfVote) {
            self.disk.synced_vote = synced;
            return self.say(core, from, reply);
        }
        let delay = core.random.between(1, 6);
        self.timer(core, delay, Timer::VoteSynced { to: from, reply });
    }

    fn count_vote(&mut self, core: &mut Core, from: usize) {
        let Role::Candidate { votes } = &mut self.role else { return };
        votes.insert(from);
        if votes.len() * 2 > CONTROLLERS {
            core.coverage.note(Happened::ControllerElected);
            let length = self.disk.log.len();
            self.role = Role::Leader { next: [length; CONTROLLERS], matched: [0; CONTROLLERS] };
            self.leader = Some(self.id);
            // An entry of its own term, without which it could not commit those of others.
            self.append_entry(core, None);
        }
    }

    /// Appends to the leader's own log and sends it on. Gives the entry's offset.
    pub(crate) fn append_entry(&mut self, core: &mut Core, batch: Option<Rc<MetadataBatch>>) -> usize {
        let offset = self.disk.log.len();
        self.disk.log.push(Entry { term: self.disk.term, batch });
        self.sync_entries(core);
        self.replicate(core);
        offset
    }

    fn sync_entries(&mut self, core: &mut Core) {
        if self.is_syncing || self.disk.unsynced() == 0 {
            return;
        }
        self.is_syncing = true;
        let synced = Timer::EntriesSynced { length: self.disk.log.len(), truncations: self.truncations };
        let delay = core.random.between(1, 6);
        self.timer(core, delay, synced);
    }

    pub(crate) fn entries_synced(&mut self, core: &mut Core, length: usize, truncations: u64) {
        self.is_syncing = false;
        if truncations == self.truncations {
            self.disk.synced_length = length;
        }
        self.sync_entries(core);
        if self.is_leader() {
            self.advance_commit(core);
        } else {
            self.report_matched(core);
        }
    }

    fn replicate(&mut self, core: &mut Core) {
        for to in 0..CONTROLLERS {
            if to != self.id {
                self.replicate_to(core, to);
            }
        }
    }

    fn replicate_to(&mut self, core: &mut Core, to: usize) {
        let Role::Leader { next, .. } = &mut self.role else { return };
        let start = next[to];
        let entries_max = if core.random.per_mille(300) { 1 } else { ENTRIES_MAX };
        let end = self.disk.log.len().min(start + entries_max);
        next[to] = end;
        let mut entries = self.disk.log[start..end].to_vec();
        if core.has(Bug::LargeEntryCut) {
            entries.iter_mut().for_each(cut_entry);
        }
        let previous_term = start.checked_sub(1).map_or(0, |at| self.disk.log[at].term);
        let message = Quorum::Append {
            term: self.disk.term,
            previous_term,
            from: start,
            entries,
            committed: self.committed,
        };
        self.say(core, to, message);
    }

    fn handle_append(
        &mut self,
        core: &mut Core,
        from: usize,
        term: u64,
        (start, previous_term): (usize, u64),
        entries: Vec<Entry>,
        committed: usize,
    ) {
        self.note_term(core, term);
        if term < self.disk.term {
            let reply =
                Quorum::AppendReply { term: self.disk.term, matched: None, length: self.disk.log.len() };
            return self.say(core, from, reply);
        }
        assert!(!self.is_leader(), "controllers {from} and {} lead in term {term}", self.id);
        if self.leader != Some(from) || self.role != Role::Follower {
            self.follow(core, Some(from));
        }
        self.reset_election(core);
        let log = &self.disk.log;
        let is_known = start <= log.len() && (start == 0 || log[start - 1].term == previous_term);
        if !is_known {
            let length = log.len().min(start.saturating_sub(1));
            return self.say(core, from, Quorum::AppendReply { term, matched: None, length });
        }
        let end = start + entries.len();
        for (offset, entry) in (start..).zip(entries) {
            if self.disk.log.get(offset).is_some_and(|known| known.term == entry.term) {
                continue;
            }
            if offset < self.disk.log.len() {
                assert!(offset >= self.committed, "a committed entry of the metadata log is cut off");
                core.coverage.note(Happened::MetadataEntryDropped);
                self.disk.log.truncate(offset);
                self.disk.synced_length = self.disk.synced_length.min(offset);
                self.truncations += 1;
            }
            self.disk.log.push(entry);
        }
        self.matched = self.matched.max(end);
        self.committed = self.committed.max(committed.min(end));
        self.sync_entries(core);
        self.report_matched(core);
        self.apply(core);
    }

    /// Tells the leader how much of its log is synced here.
    fn report_matched(&mut self, core: &mut Core) {
        let Some(leader) = self.leader else { return };
        let matched = self.matched.min(self.disk.synced_length);
        let length = self.disk.log.len();
        let reply = Quorum::AppendReply { term: self.disk.term, matched: Some(matched), length };
        self.say(core, leader, reply);
    }

    fn handle_append_reply(&mut self, core: &mut Core, from: usize, known: Option<usize>, length: usize) {
        let Role::Leader { next, matched } = &mut self.role else { return };
        match known {
            Some(synced) => {
                matched[from] = matched[from].max(synced);
                self.advance_commit(core);
            }
            None => {
                next[from] = length.max(matched[from]).min(next[from]);
                self.replicate_to(core, from);
            }
        }
    }

    fn advance_commit(&mut self, core: &mut Core) {
        let Role::Leader { matched, .. } = &mut self.role else { return };
        matched[self.id] = self.disk.synced_length;
        let mut sorted = *matched;
        sorted.sort_unstable();
        let majority = sorted[CONTROLLERS / 2];
        let is_of_this_term = |length: usize| self.disk.log[length - 1].term == self.disk.term;
        if majority > self.committed && is_of_this_term(majority) {
            self.committed = majority;
            self.apply(core);
            self.replicate(core);
        }
    }

    /// Replays what is committed, and lets everybody know who waits for it.
    fn apply(&mut self, core: &mut Core) {
        let before = self.applied;
        while self.applied < self.committed {
            let entry = &self.disk.log[self.applied];
            let batch = entry.batch.clone().unwrap_or_default();
            let offset = Offset(self.applied as i64);
            let image = self.image.replay_image(&batch, offset, LeaderEpoch(entry.term as i32));
            self.image = image.expect("a committed batch replays");
            let at = (offset.0, entry.term);
            let is_new = core.invariants.images.len() == self.applied;
            if is_new {
                core.trace.line(core.now, || format!("== {} {}", self.applied, describe(&batch)));
            }
            core.invariants.controller_applied(self.id, at, &batch, &self.image, &mut core.coverage);
            self.applied += 1;
        }
        if self.applied > before {
            self.applied_more(core);
        }
        self.activate(core);
    }

    fn say(&self, core: &mut Core, to: usize, message: Quorum) {
        core.send(Node::Controller(self.id), Node::Controller(to), Message::Quorum(message));
    }
}

/// What a committed batch says, for the trace.
fn describe(batch: &MetadataBatch) -> String {
    let record = |record: &moldau_metadata::MetadataRecord| match &record.kind {
        Some(RecordKind::PartitionChange(change)) => format!(
            "partition {:02x}-{} leader {:?} isr {:?} elr {:?} recovery {:?}",
            change.topic_id.first().unwrap_or(&0),
            change.partition_index,
            change.leader,
            change.isr.as_ref().map(|isr| &isr.ids),
            change.eligible_leader_replicas.as_ref().map(|elr| &elr.ids),
            change.leader_recovery_state,
        ),
        Some(RecordKind::RegisterBroker(broker)) => format!("register {}", broker.broker_id),
        Some(RecordKind::BrokerRegistrationChange(change)) => format!(
            "broker {} fenced {:?} shutting down {:?}",
            change.broker_id, change.fenced, change.in_controlled_shutdown
        ),
        Some(RecordKind::Topic(topic)) => {
            format!("topic {:02x} {}", topic.topic_id.first().unwrap_or(&0), topic.name)
        }
        _ => record.name().to_owned(),
    };
    batch.records.iter().map(record).collect::<Vec<_>>().join("; ")
}

/// For the seeded fault: a frame that is too long loses its end.
fn cut_entry(entry: &mut Entry) {
    const RECORDS_MAX: usize = 4;
    if let Some(batch) = &entry.batch
        && batch.records.len() > RECORDS_MAX
    {
        let records = batch.records[..RECORDS_MAX].to_vec();
        entry.batch = Some(Rc::new(MetadataBatch { records }));
    }
}
