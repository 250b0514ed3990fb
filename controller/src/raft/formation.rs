//! How a quorum of several comes about, and how a node without a log finds its place in it.
//!
//! `controller.quorum.voters` is the same at every node, so any of them may write it as the first entry. A node with an
//! empty log nevertheless asks the others before it takes part: it may be an old voter whose disk was lost, and then a
//! vote of its would count twice and the entries that it had acknowledged would be missing. It needs an answer of as many
//! as make a majority with it. Who has the lowest id among those writes the entry; the others wait for it, and vote.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use moldau_cluster::rpc::raft as wire;
use moldau_cluster::rpc::uuid;
use moldau_model::Uuid;
use openraft::type_config::async_runtime::watch::WatchReceiver;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use tonic::Request;

use super::node::{Node, is_initialized, voters_of};
use super::peers::Peers;
use super::types::{Member, Vote};

/// How long one answer may take.
const PROBE_LIMIT: Duration = Duration::from_secs(1);
/// Pause between two rounds of questions. Whoever is asked asks in return at once.
const ROUND_PAUSE: Duration = Duration::from_millis(50);
/// The same once the others have kept a node waiting for [`PATIENCE`].
const SLOW_ROUND_PAUSE: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a node that has a log looks for a majority to propose an election to. Then Raft's own timers do.
const ELECTION_PATIENCE: Duration = Duration::from_secs(2);

/// What a node with an empty log may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing yet: too few answered, or what they say does not fit together.
    Wait,
    /// Vote, and take the leader's entries.
    Join,
    /// Write the first entry.
    Found,
    /// Take the leader's entries, but not vote: the others know this node by another disk.
    Displaced,
}

/// What another voter says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) has_log: bool,
    pub(super) members: BTreeMap<u64, (Uuid, bool)>,
    pub(super) configured: BTreeMap<u64, String>,
}

/// What a node knows of itself.
#[derive(Clone, Debug)]
pub(super) struct Candidacy {
    pub(super) node_id: u64,
    pub(super) directory_id: Uuid,
    /// `controller.quorum.voters`: ids and addresses. Empty at a node that is taken in by those who are there.
    pub(super) voters: BTreeMap<u64, String>,
    /// `host:port` by which the others reach this node; empty where nobody has to.
    pub(super) address: String,
    /// `controller.quorum.bootstrap.servers`: whom a node asks that no configuration names.
    pub(super) servers: Vec<String>,
    /// `controller.quorum.auto.join.enable`: whether it asks for a vote.
    pub(super) auto_join: bool,
}

impl Candidacy {
    /// Whether this node founds no quorum, and votes in none until it was taken in.
    pub(super) fn is_newcomer(&self) -> bool {
        !self.voters.contains_key(&self.node_id)
    }
}

/// Judges the answers that other voters gave to a node whose log is empty.
pub(super) fn judge(me: &Candidacy, answers: &BTreeMap<u64, Answer>) -> Verdict {
    let known = |answer: &Answer| answer.members.get(&me.node_id).copied();
    let is_displaced =
        |answer: &Answer| known(answer).is_some_and(|(disk, _)| !disk.is_zero() && disk != me.directory_id);
    if answers.values().any(is_displaced) {
        return Verdict::Displaced;
    }
    let majority = me.voters.len() / 2 + 1;
    if answers.len() + 1 < majority {
        return Verdict::Wait;
    }
    let mut logs = answers.values().filter(|answer| answer.has_log).peekable();
    if logs.peek().is_some() {
        let is_voter = |answer: &Answer| known(answer).is_some_and(|(_, is_voter)| is_voter);
        return if logs.all(is_voter) { Verdict::Join } else { Verdict::Wait };
    }
    if answers.values().any(|answer| answer.configured != me.voters) {
        return Verdict::Wait;
    }
    let is_lowest = answers.keys().all(|id| me.node_id < *id);
    if is_lowest { Verdict::Found } else { Verdict::Join }
}

/// What the formation tells those who serve calls, and what they tell it.
pub(super) struct Formation {
    verdict: watch::Sender<Verdict>,
    asked: Notify,
}

impl Default for Formation {
    fn default() -> Self {
        Self { verdict: watch::channel(Verdict::Wait).0, asked: Notify::new() }
    }
}

impl Formation {
    /// Another node is there: it is time to ask again.
    pub(super) fn wake(&self) {
        self.asked.notify_one();
    }

    /// Whether this node may vote while its log is empty. Waits a little for the answers that tell.
    pub(super) async fn may_vote(&self, limit: Duration) -> bool {
        self.wake();
        let mut verdict = self.verdict.subscribe();
        let is_cleared = |verdict: &Verdict| matches!(verdict, Verdict::Join | Verdict::Found);
        matches!(timeout(limit, verdict.wait_for(is_cleared)).await, Ok(Ok(_)))
    }

    /// Asks until this node has a log, and writes its first entry if that is its part.
    pub(super) async fn run(self: Arc<Self>, raft: Node, me: Candidacy, peers: Arc<Peers>) {
        let (begin, first_vote) = (Instant::now(), vote_of(&raft));
        let had_log = is_initialized(&raft);
        let mut told = Verdict::Wait;
        let mut complaints = BTreeMap::new();
        loop {
            let answers = hear(ask(&me, &peers).await, &mut complaints);
            if is_initialized(&raft) {
                let patience = begin.elapsed() < ELECTION_PATIENCE;
                if !had_log || !patience || propose_election(&raft, &me, &answers, first_vote).await {
                    return;
                }
            } else {
                let verdict = judge(&me, &answers);
                self.verdict.send_replace(verdict);
                if std::mem::replace(&mut told, verdict) != verdict {
                    tell(verdict, &me, &answers);
                }
                if verdict == Verdict::Found {
                    found(&raft, &me).await;
                }
            }
            let pause = if begin.elapsed() < PATIENCE { ROUND_PAUSE } else { SLOW_ROUND_PAUSE };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.asked.notified() => {}
            }
        }
    }
}

fn tell(verdict: Verdict, me: &Candidacy, answers: &BTreeMap<u64, Answer>) {
    let answered: Vec<u64> = answers.keys().copied().collect();
    match verdict {
        Verdict::Wait if answers.values().any(|answer| !answer.has_log && answer.configured != me.voters) => {
            tracing::error!(
                ?answered,
                "controller.quorum.voters differs between the controllers; write the same everywhere"
            );
        }
        Verdict::Wait => tracing::info!(?answered, "waiting for the other controllers"),
        Verdict::Join => tracing::info!(?answered, "joining the metadata quorum"),
        Verdict::Found => tracing::info!(?answered, "founding the metadata quorum"),
        Verdict::Displaced => tracing::warn!(
            ?answered,
            "the quorum knows this node by another disk; it does not vote until the active controller has taken it in"
        ),
    }
}

async fn found(raft: &Node, me: &Candidacy) {
    let member =
        |(id, address): (&u64, &String)| (*id, Member { address: address.clone(), ..Member::default() });
    let members: BTreeMap<u64, Member> = me.voters.iter().map(member).collect();
    if let Err(error) = raft.initialize(members).await {
        // The leader's first entries may have come meanwhile.
        tracing::debug!(%error, "the quorum is founded already");
    }
}

fn vote_of(raft: &Node) -> Vote {
    raft.metrics().borrow_watched().vote
}

/// After a restart of all nodes nobody leads. Once a majority is there, its lowest node need not wait for a timer to ask
/// whether it may. True if there is nothing more to do.
///
/// Somebody has led, or stood, since this node started if its vote is another one than then: it may not know of a leader
/// because one takes over from another just now, whom an election would depose.
async fn propose_election(
    raft: &Node,
    me: &Candidacy,
    answers: &BTreeMap<u64, Answer>,
    first_vote: Vote,
) -> bool {
    let (has_leader, voters) = {
        let metrics = raft.metrics();
        let metrics = metrics.borrow_watched();
        (metrics.current_leader.is_some(), voters_of(&metrics))
    };
    if has_leader || vote_of(raft) != first_vote || !voters.contains(&me.node_id) {
        return true;
    }
    let present: BTreeSet<u64> = answers.keys().copied().filter(|id| voters.contains(id)).collect();
    if present.len() + 1 < voters.len() / 2 + 1 {
        return false;
    }
    if present.iter().all(|id| me.node_id < *id) {
        drop(raft.trigger().elect(true).await);
    }
    true
}

/// The answers of those that gave one. Why others did not is told once, unless they are only not there.
fn hear(
    answers: BTreeMap<u64, Result<Answer, String>>,
    complaints: &mut BTreeMap<u64, String>,
) -> BTreeMap<u64, Answer> {
    let mut heard = BTreeMap::new();
    for (node_id, answer) in answers {
        match answer {
            Ok(answer) => {
                heard.insert(node_id, answer);
            }
            Err(complaint) if complaint.is_empty() => {}
            Err(complaint) => {
                if complaints.get(&node_id) != Some(&complaint) {
                    tracing::warn!(node_id, complaint, "a controller cannot be asked");
                    complaints.insert(node_id, complaint);
                }
            }
        }
    }
    heard
}

/// What each of the other voters says. An empty error is one of nobody there.
async fn ask(me: &Candidacy, peers: &Peers) -> BTreeMap<u64, Result<Answer, String>> {
    let others = me.voters.iter().filter(|(id, _)| **id != me.node_id);
    let questions = others.map(|(id, address)| async move { (*id, ask_one(*id, address, peers).await) });
    join_all(questions).await.into_iter().collect()
}

async fn ask_one(node_id: u64, address: &str, peers: &Peers) -> Result<Answer, String> {
    let mut client = peers.client(address).map_err(|error| error.to_string())?;
    let probe = client.probe(Request::new(wire::ProbeRequest {}));
    let response = match timeout(PROBE_LIMIT, probe).await {
        Ok(Ok(response)) => response.into_inner(),
        // A status with details is the node's own; others come from the transport.
        Ok(Err(status)) if !status.details().is_empty() => return Err(status.message().to_owned()),
        Ok(Err(_)) | Err(_) => return Err(String::new()),
    };
    if u64::try_from(response.node_id).ok() != Some(node_id) {
        return Err(format!("node {} listens at {address}", response.node_id));
    }
    answer(response).ok_or_else(|| "its answer cannot be understood".to_owned())
}

fn answer(response: wire::ProbeResponse) -> Option<Answer> {
    let id = |member: &wire::Member| u64::try_from(member.node_id).ok();
    let members = response
        .members
        .iter()
        .map(|member| Some((id(member)?, (uuid(&member.directory_id).ok()?, member.is_voter))));
    let configured =
        response.configured_voters.iter().map(|member| Some((id(member)?, member.address.clone())));
    Some(Answer {
        has_log: response.has_log,
        members: members.collect::<Option<_>>()?,
        configured: configured.collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINE: Uuid = Uuid::from_bytes([2; 16]);
    const OTHER: Uuid = Uuid::from_bytes([9; 16]);

    fn voters() -> BTreeMap<u64, String> {
        [1, 2, 3].into_iter().map(|id| (id, format!("c{id}:9093"))).collect()
    }

    fn me() -> Candidacy {
        let voters = voters();
        Candidacy {
            node_id: 2,
            directory_id: MINE,
            voters,
            address: String::new(),
            servers: vec![],
            auto_join: false,
        }
    }

    fn empty() -> Answer {
        Answer { has_log: false, members: BTreeMap::new(), configured: voters() }
    }

    /// A node that has a log, in which node 2 stands as given.
    fn with_log(me: Option<(Uuid, bool)>) -> Answer {
        let members = me.map(|me| (2, me)).into_iter().chain([(1, (OTHER, true))]).collect();
        Answer { has_log: true, members, configured: voters() }
    }

    #[test]
    fn the_lowest_of_a_majority_founds_and_the_others_join() {
        for (answers, verdict) in [
            (vec![], Verdict::Wait),
            (vec![(1, empty())], Verdict::Join),
            (vec![(3, empty())], Verdict::Found),
            (vec![(1, empty()), (3, empty())], Verdict::Join),
        ] {
            let answers: BTreeMap<u64, Answer> = answers.into_iter().collect();
            assert_eq!(judge(&me(), &answers), verdict, "{answers:?}");
        }
    }

    #[test]
    fn who_comes_late_joins_what_is_there() {
        for known in [(Uuid::ZERO, true), (MINE, true)] {
            let answers = BTreeMap::from([(3, with_log(Some(known)))]);
            assert_eq!(judge(&me(), &answers), Verdict::Join);
        }
        // Nobody founds beside a log, and nobody votes in a quorum that does not have it.
        for known in [None, Some((MINE, false))] {
            let answers = BTreeMap::from([(1, empty()), (3, with_log(known))]);
            assert_eq!(judge(&me(), &answers), Verdict::Wait, "{known:?}");
        }
    }

    #[test]
    fn who_is_known_by_another_disk_never_votes() {
        for answers in [
            BTreeMap::from([(3, with_log(Some((OTHER, true))))]),
            BTreeMap::from([(1, empty()), (3, with_log(Some((OTHER, true))))]),
            BTreeMap::from([(1, with_log(Some((Uuid::ZERO, true)))), (3, with_log(Some((OTHER, true))))]),
        ] {
            assert_eq!(judge(&me(), &answers), Verdict::Displaced, "{answers:?}");
        }
    }

    #[test]
    fn different_configurations_found_nothing() {
        let mut other = empty();
        other.configured.insert(3, "elsewhere:9093".to_owned());
        assert_eq!(judge(&me(), &BTreeMap::from([(3, other)])), Verdict::Wait);
    }
}
