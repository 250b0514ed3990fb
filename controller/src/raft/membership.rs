//! The leader's care for the membership. It writes down by which disk each voter is known, takes in who asks for it, and
//! takes a voter in again that has lost its disk: out of the voters, caught up as a learner, and then a voter by its new
//! disk. Its old votes and what it had acknowledged count no more, and are not needed: a majority of the others has it.
//!
//! Each step is decided from the membership as it stands in the log, so that the next leader goes on where one ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use moldau_cluster::LeaderHint;
use moldau_cluster::rpc::raft as wire;
use moldau_cluster::rpc::uuid;
use moldau_model::Uuid;
use openraft::error::{ChangeMembershipError, ClientWriteError};
use openraft::type_config::async_runtime::watch::WatchReceiver;
use openraft::{ChangeMembers, Instant as _, RaftMetrics};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tonic::Request;

use super::formation::Candidacy;
use super::node::{Node, Role, hint, membership_of};
use super::peers::{Peers, Wish};
use super::types::{Member, Membership, TypeConfig};

/// Pause after a change that failed, for example because the leadership was lost over it.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How often a leader looks for voters that the quorum lacks.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// How often it looks how far one is that is to vote.
const CATCH_UP_INTERVAL: Duration = Duration::from_millis(100);
/// How long a node may take to say by which disk it is to be known.
const PROBE_LIMIT: Duration = Duration::from_secs(1);
/// By how many entries a learner may lag to be made a voter: what a slow disk writes in a moment. Entries are committed
/// later for the lag of a voter.
const LAG_MAX: u64 = 100;
/// A learner that was silent for longer is forgotten, unless the configuration names it; Kafka's bound.
pub(super) const OBSERVER_LIMIT: Duration = Duration::from_secs(300);
/// How many members there may be. Each learner costs the leader a replication stream.
const MEMBERS_MAX: usize = 32;

type Change = ChangeMembers<u64, Member>;

/// Why the membership did not change.
#[derive(Clone, Debug)]
pub(super) enum ChangeError {
    NotLeader(Option<LeaderHint>),
    /// Another change is not committed yet.
    Pending,
    Failed(String),
}

/// The membership, and the one change of it that may be under way.
#[derive(Clone)]
pub(super) struct Changes {
    pub(super) raft: Node,
    pub(super) me: Candidacy,
    pub(super) peers: Arc<Peers>,
    /// Who changes the membership holds the one permit.
    pub(super) one: Arc<Semaphore>,
}

/// What moves the membership towards what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Completes a change that its leader did not live to complete.
    Finish,
    /// Takes in a learner.
    Admit(u64, Member),
    /// Takes in a member anew that came with another disk or address. A voter loses its vote first.
    Readmit(u64, Member),
    /// Drops a learner.
    Forget(u64),
    /// Has a learner vote once it has the log.
    Invite(u64, Member),
    /// Lets a learner vote.
    Promote(u64),
    /// Writes down what has become known of members.
    Name(BTreeMap<u64, Member>),
}

impl Changes {
    /// The membership, if all that was changed is committed.
    pub(super) fn settled(&self) -> Result<Membership, ChangeError> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        if metrics.membership_config != metrics.committed_membership_config {
            return Err(ChangeError::Pending);
        }
        Ok(metrics.membership_config.membership().clone())
    }

    /// Takes a step, and waits until it is committed. To be called with the permit.
    pub(super) async fn take(&self, step: Step) -> Result<(), ChangeError> {
        match step {
            Step::Finish => self.change(ChangeMembers::AddVoterIds(BTreeSet::new()), true).await,
            Step::Admit(id, member) => {
                self.change(ChangeMembers::AddNodes([(id, member)].into()), true).await
            }
            Step::Readmit(id, member) => {
                // What the leader knows of the old disk's log has to go: a member keeps it as long as it is one.
                if membership_of(&self.raft).voter_ids().any(|voter| voter == id) {
                    self.change(ChangeMembers::RemoveVoters([id].into()), false).await?;
                } else {
                    self.change(ChangeMembers::RemoveNodes([id].into()), true).await?;
                }
                self.change(ChangeMembers::AddNodes([(id, member)].into()), true).await
            }
            Step::Forget(id) => self.change(ChangeMembers::RemoveNodes([id].into()), true).await,
            Step::Invite(id, member) => {
                self.change(ChangeMembers::SetNodes([(id, member)].into()), true).await
            }
            Step::Promote(id) => self.change(ChangeMembers::AddVoterIds([id].into()), true).await,
            Step::Name(members) => self.change(ChangeMembers::SetNodes(members), true).await,
        }
    }

    pub(super) async fn change(&self, change: Change, retain: bool) -> Result<(), ChangeError> {
        match self.raft.change_membership(change, retain).await.map_err(|error| error.into_api_error()) {
            Ok(_) => Ok(()),
            Err(Some(
                ClientWriteError::ForwardToLeader(leader) | ClientWriteError::LogEntryDiscarded(leader),
            )) => Err(ChangeError::NotLeader(hint(leader))),
            Err(Some(ClientWriteError::ChangeMembershipError(ChangeMembershipError::InProgress(_)))) => {
                Err(ChangeError::Pending)
            }
            Err(Some(error)) => Err(ChangeError::Failed(error.to_string())),
            Err(None) => Err(ChangeError::Failed("the node has stopped".to_owned())),
        }
    }

    /// Whether a learner has about all of the log.
    pub(super) fn is_caught_up(&self, node_id: u64) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        is_caught_up(&metrics, node_id)
    }

    /// What node listens at an address: its id and its disk.
    pub(super) async fn probe(&self, address: &str) -> Option<(u64, Uuid)> {
        let mut client = self.peers.client(address).ok()?;
        let probe = client.probe(Request::new(wire::ProbeRequest {}));
        let response = tokio::time::timeout(PROBE_LIMIT, probe).await.ok()?.ok()?.into_inner();
        Some((u64::try_from(response.node_id).ok()?, uuid(&response.directory_id).ok()?))
    }

    /// Makes one change, if there is one to make. Whether it did.
    async fn keep_once(&self, leads_since: Instant) -> Result<bool, ChangeError> {
        let Ok(_permit) = self.one.try_acquire() else { return Err(ChangeError::Pending) };
        let membership = self.settled()?;
        let found = found(&membership, &self.me, &self.peers.wishes(), &self.peers.replaced());
        let step = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            let is_caught_up = |id| is_caught_up(&metrics, id);
            let is_silent = |id: u64| {
                let heard = metrics.heartbeat.as_ref().and_then(|all| all.get(&id)).and_then(Option::as_ref);
                heard.map_or_else(|| leads_since.elapsed(), |heard| heard.elapsed()) > OBSERVER_LIMIT
            };
            next_step(&membership, &self.me, &found, is_caught_up, is_silent, |id| self.peers.known_disk(id))
        };
        let step = match step {
            Some(step) => step,
            None => {
                self.peers.drop_wishes();
                match self.missing(&membership).await {
                    Some(step) => step,
                    None => return Ok(false),
                }
            }
        };
        match &step {
            Step::Readmit(node_id, member) => {
                tracing::info!(node_id, disk = %member.directory_id, "taking in a controller by another disk or address");
            }
            Step::Admit(node_id, member) => {
                tracing::info!(node_id, disk = %member.directory_id, joins = member.joins, "taking in a controller");
            }
            Step::Promote(node_id) => tracing::info!(node_id, "the controller has the log, and votes"),
            step => tracing::debug!(?step, "changing the quorum's membership"),
        }
        self.take(step).await.map(|()| true)
    }

    /// A voter of `controller.quorum.voters` that the quorum does not know at all, and that answers: one that was added to
    /// the configuration, or whose replacement was interrupted. One that was removed is known as a learner.
    async fn missing(&self, membership: &Membership) -> Option<Step> {
        for (node_id, address) in &self.me.voters {
            if membership.get_node(node_id).is_some() {
                continue;
            }
            if let Some((found, directory_id)) = self.probe(address).await
                && found == *node_id
            {
                return Some(Step::Admit(
                    *node_id,
                    Member { address: address.clone(), directory_id, joins: true },
                ));
            }
        }
        None
    }
}

/// Keeps the membership, whenever this node leads.
pub(super) async fn keep(changes: Changes, mut role: watch::Receiver<Role>) {
    let mut learnt = changes.peers.watch();
    let mut leads_since = None;
    loop {
        learnt.mark_unchanged();
        let now = *role.borrow_and_update();
        leads_since = now.is_leader.then(|| leads_since.unwrap_or_else(Instant::now));
        if let Some(since) = leads_since {
            match changes.keep_once(since).await {
                Ok(false) => {}
                Ok(true) => continue,
                Err(reason) => {
                    tracing::debug!(?reason, "the quorum's membership did not change");
                    tokio::time::sleep(RETRY_PAUSE).await;
                    continue;
                }
            }
        }
        let is_joining = leads_since.is_some() && {
            let membership = membership_of(&changes.raft);
            membership.learner_ids().any(|id| membership.get_node(&id).is_some_and(|member| member.joins))
        };
        let pause = if is_joining { CATCH_UP_INTERVAL } else { CHECK_INTERVAL };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            changed = learnt.changed() => if changed.is_err() { return },
            changed = role.changed() => if changed.is_err() { return },
        }
    }
}

fn is_caught_up(metrics: &RaftMetrics<TypeConfig>, node_id: u64) -> bool {
    let replicated = metrics.replication.as_ref().and_then(|all| all.get(&node_id)).and_then(Option::as_ref);
    replicated
        .is_some_and(|id| metrics.last_log_index.is_some_and(|last| id.index.saturating_add(LAG_MAX) >= last))
}

/// Who has come, with which disk: those that asked, and those that answered from another disk than they are known by.
fn found(
    membership: &Membership,
    me: &Candidacy,
    wishes: &BTreeMap<u64, Wish>,
    replaced: &BTreeMap<u64, Uuid>,
) -> BTreeMap<u64, Wish> {
    let mut found: BTreeMap<u64, Wish> = BTreeMap::new();
    for (node_id, directory_id) in replaced {
        if let Some(member) = membership.get_node(node_id) {
            // What the configuration names votes, unless it was removed.
            let is_voter = membership.voter_ids().any(|id| id == *node_id);
            let wants_vote = me.voters.contains_key(node_id) && (is_voter || member.joins);
            let member =
                Member { address: member.address.clone(), directory_id: *directory_id, joins: false };
            found.insert(*node_id, Wish { member, wants_vote });
        }
    }
    for (node_id, wish) in wishes {
        let is_named = found.get(node_id).is_some_and(|named| named.wants_vote);
        found.insert(*node_id, Wish { wants_vote: wish.wants_vote || is_named, ..wish.clone() });
    }
    found.remove(&me.node_id);
    found
}

/// What is to be done next, by who is a member, who has come, and how far the learners are.
fn next_step(
    membership: &Membership,
    me: &Candidacy,
    found: &BTreeMap<u64, Wish>,
    is_caught_up: impl Fn(u64) -> bool,
    is_silent: impl Fn(u64) -> bool,
    known_disk: impl Fn(u64) -> Option<Uuid>,
) -> Option<Step> {
    if membership.get_joint_config().len() > 1 {
        return Some(Step::Finish);
    }
    let voters: BTreeSet<u64> = membership.voter_ids().collect();
    for (node_id, Wish { member: found, wants_vote }) in found {
        match membership.get_node(node_id) {
            // An unknown disk is named below.
            Some(known) if voters.contains(node_id) => {
                let is_other = !known.directory_id.is_zero() && known.directory_id != found.directory_id;
                if is_other && *wants_vote {
                    return Some(Step::Readmit(*node_id, Member { joins: true, ..found.clone() }));
                }
            }
            Some(known) if known.directory_id != found.directory_id || known.address != found.address => {
                return Some(Step::Readmit(*node_id, Member { joins: *wants_vote, ..found.clone() }));
            }
            Some(known) if *wants_vote && !known.joins => {
                return Some(Step::Invite(*node_id, Member { joins: true, ..known.clone() }));
            }
            None if membership.nodes().count() < MEMBERS_MAX => {
                return Some(Step::Admit(*node_id, Member { joins: *wants_vote, ..found.clone() }));
            }
            _ => {}
        }
    }
    for node_id in membership.learner_ids() {
        let joins = membership.get_node(&node_id).is_some_and(|member| member.joins);
        if joins && is_caught_up(node_id) {
            return Some(Step::Promote(node_id));
        }
        if is_silent(node_id) && !me.voters.contains_key(&node_id) {
            return Some(Step::Forget(node_id));
        }
    }
    let named = to_be_named(membership, me, known_disk);
    (!named.is_empty()).then_some(Step::Name(named))
}

/// The members of whom more is known by now than was written down: their disks, and this node's own address.
fn to_be_named(
    membership: &Membership,
    me: &Candidacy,
    known_disk: impl Fn(u64) -> Option<Uuid>,
) -> BTreeMap<u64, Member> {
    let mut named = BTreeMap::new();
    for (node_id, member) in membership.nodes() {
        let mut better = member.clone();
        let is_me = *node_id == me.node_id;
        if member.directory_id.is_zero() {
            let disk = if is_me { Some(me.directory_id) } else { known_disk(*node_id) };
            better.directory_id = disk.unwrap_or(Uuid::ZERO);
        }
        if is_me && !me.address.is_empty() {
            better.address.clone_from(&me.address);
        }
        if better != *member {
            named.insert(*node_id, better);
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(byte: u8) -> Uuid {
        Uuid::from_bytes([byte; 16])
    }

    fn member(id: u64, byte: u8) -> Member {
        Member { address: format!("c{id}:1"), directory_id: disk(byte), joins: false }
    }

    /// Ids and disks of voters and of learners.
    fn membership(voters: &[(u64, u8)], learners: &[(u64, u8)]) -> Membership {
        let nodes: BTreeMap<u64, Member> =
            voters.iter().chain(learners).map(|(id, byte)| (*id, member(*id, *byte))).collect();
        Membership::new(vec![voters.iter().map(|(id, _)| *id).collect()], nodes).unwrap()
    }

    /// Node 1, whose configuration names these.
    fn me(voters: &[u64]) -> Candidacy {
        Candidacy {
            node_id: 1,
            directory_id: disk(1),
            voters: voters.iter().map(|id| (*id, format!("c{id}:1"))).collect(),
            address: "c1:1".to_owned(),
            servers: Vec::new(),
            auto_join: false,
        }
    }

    fn wish(id: u64, byte: u8, wants_vote: bool) -> BTreeMap<u64, Wish> {
        BTreeMap::from([(id, Wish { member: member(id, byte), wants_vote })])
    }

    /// The next step where nobody lags, is silent, or lacks a name.
    fn step(membership: &Membership, me: &Candidacy, found: &BTreeMap<u64, Wish>) -> Option<Step> {
        next_step(membership, me, found, |_| true, |_| false, |_| None)
    }

    #[test]
    fn disks_and_the_own_address_are_written_down_once_they_are_known() {
        let known = membership(&[(1, 0), (2, 0), (3, 0)], &[]);
        let named = to_be_named(&known, &me(&[]), |id| (id == 3).then(|| disk(3)));
        assert_eq!(named, BTreeMap::from([(1, member(1, 1)), (3, member(3, 3))]));
        let settled = membership(&[(1, 1), (2, 2)], &[]);
        assert!(to_be_named(&settled, &me(&[]), |_| Some(disk(9))).is_empty());
        let moved = Candidacy { address: "elsewhere:1".to_owned(), ..me(&[]) };
        let named = to_be_named(&settled, &moved, |_| None);
        assert_eq!(named.into_keys().collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn a_named_voter_with_another_disk_is_taken_in_anew_and_promoted() {
        let me = me(&[1, 2, 3]);
        let mut now = membership(&[(1, 1), (2, 2), (3, 3)], &[]);
        let replaced = BTreeMap::from([(2, disk(9))]);
        let who = found(&now, &me, &BTreeMap::new(), &replaced);
        let joining = Member { joins: true, ..member(2, 9) };
        assert_eq!(step(&now, &me, &who), Some(Step::Readmit(2, joining.clone())));
        // Where that was interrupted nobody knows it any more, and the leader looks for it by its configuration.
        now = membership(&[(1, 1), (3, 3)], &[]);
        assert!(found(&now, &me, &BTreeMap::new(), &replaced).is_empty());
        let nodes = [(1, member(1, 1)), (2, joining), (3, member(3, 3))];
        now = Membership::new(vec![BTreeSet::from([1, 3])], BTreeMap::from(nodes)).unwrap();
        let lagging = next_step(&now, &me, &BTreeMap::new(), |_| false, |_| true, |_| None);
        assert_eq!(lagging, None, "one that lags does not vote, and one that is named is not forgotten");
        assert_eq!(step(&now, &me, &BTreeMap::new()), Some(Step::Promote(2)));
    }

    #[test]
    fn a_removed_voter_stays_an_observer_by_whatever_disk_it_comes() {
        let me = me(&[1, 2, 3]);
        let now = membership(&[(1, 1), (2, 2)], &[(3, 3)]);
        assert_eq!(step(&now, &me, &BTreeMap::new()), None);
        let who = found(&now, &me, &BTreeMap::new(), &BTreeMap::from([(3, disk(9))]));
        assert!(!who[&3].wants_vote);
        assert_eq!(step(&now, &me, &who), Some(Step::Readmit(3, member(3, 9))));
    }

    #[test]
    fn a_newcomer_reads_along_and_votes_only_if_it_asks_to() {
        let me = me(&[]);
        let alone = membership(&[(1, 1)], &[]);
        assert_eq!(step(&alone, &me, &wish(2, 2, false)), Some(Step::Admit(2, member(2, 2))));
        let joining = Member { joins: true, ..member(2, 2) };
        assert_eq!(step(&alone, &me, &wish(2, 2, true)), Some(Step::Admit(2, joining.clone())));
        let observed = membership(&[(1, 1)], &[(2, 2)]);
        assert_eq!(step(&observed, &me, &wish(2, 2, false)), None);
        assert_eq!(step(&observed, &me, &wish(2, 2, true)), Some(Step::Invite(2, joining)));
        for joins in [false, true] {
            let other = Member { joins, ..member(2, 9) };
            assert_eq!(step(&observed, &me, &wish(2, 9, joins)), Some(Step::Readmit(2, other)));
        }
    }

    #[test]
    fn a_voter_that_nobody_named_is_replaced_only_if_it_asks_to() {
        let now = membership(&[(1, 1), (2, 2), (3, 3)], &[]);
        assert_eq!(step(&now, &me(&[]), &wish(2, 9, false)), None);
        assert_eq!(
            step(&now, &me(&[]), &wish(2, 9, true)),
            Some(Step::Readmit(2, Member { joins: true, ..member(2, 9) }))
        );
        assert_eq!(step(&now, &me(&[]), &wish(2, 2, true)), None);
    }

    #[test]
    fn a_silent_observer_is_forgotten_unless_the_configuration_names_it() {
        let now = membership(&[(1, 1)], &[(2, 2)]);
        let silent = |me| next_step(&now, &me, &BTreeMap::new(), |_| true, |_| true, |_| None);
        assert_eq!(silent(me(&[])), Some(Step::Forget(2)));
        assert_eq!(silent(me(&[1, 2])), None);
    }

    #[test]
    fn a_change_that_was_interrupted_is_finished_first() {
        let nodes = BTreeMap::from([(1, member(1, 1)), (2, member(2, 2))]);
        let joint = Membership::new(vec![BTreeSet::from([1, 2]), BTreeSet::from([1])], nodes).unwrap();
        assert_eq!(step(&joint, &me(&[]), &wish(3, 3, true)), Some(Step::Finish));
    }
}
