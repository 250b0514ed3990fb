//! A follower's watch over its leader. Raft's own timers wait for more than a second, for a leader that is silent may be
//! slow or cut off. One whose process has ended closes its connections, and its port refuses: then nobody has to wait. The
//! voters look for themselves before they give their vote within the leader's lease.

use std::sync::Arc;
use std::time::Duration;

use moldau_cluster::rpc::raft as wire;
use openraft::raft::VoteRequest;
use openraft::type_config::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::Request;

use super::node::{Node, Role};
use super::peers::Peers;
use super::types::Vote;
use super::wire::vote_request_to_wire;
use crate::dial::{Dialled, dial};

/// How long the leader's port may take to refuse.
const DIAL_LIMIT: Duration = Duration::from_millis(500);
/// Pause before a leader is attended again that is there, or was not reached.
const PAUSE: Duration = Duration::from_millis(200);
/// By so much the followers stand for election one after the other, the lowest id first: as long as a vote takes.
const RANK_PAUSE: Duration = Duration::from_millis(80);
/// How long the election of a follower that stood may take before it looks again.
const ELECTION_LIMIT: Duration = Duration::from_secs(1);
/// How long the other voters may take to say whom they follow; one that is there answers within a round trip.
const QUESTION_LIMIT: Duration = Duration::from_millis(250);

/// Watches whoever leads, for as long as the task lives.
pub(super) async fn keep(raft: Node, node_id: u64, peers: Arc<Peers>, mut role: watch::Receiver<Role>) {
    // The leadership in whose place another voter was found, or was about, to be elected.
    let mut succeeded = None;
    loop {
        let followed = *role.borrow_and_update();
        let leader = followed.leader.filter(|leader| *leader != node_id);
        let address = leader.and_then(|leader| address_of(&raft, leader));
        let (Some(leader), Some(address)) = (leader, address) else {
            if role.changed().await.is_err() {
                return;
            }
            continue;
        };
        tokio::select! {
            changed = role.changed() => {
                if changed.is_err() {
                    return;
                }
                continue;
            }
            () = stand(&peers, &address) => {}
        }
        let is_gone = dial(&address, DIAL_LIMIT).await == Dialled::Refused;
        if !is_gone || *role.borrow() != followed {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        tracing::info!(leader, term = followed.term, "the active controller has ended");
        peers.set_gone(leader, followed.term);
        tokio::time::sleep(RANK_PAUSE * rank(&raft, node_id, leader)).await;
        if *role.borrow_and_update() != followed || !is_voter(&raft, node_id) {
            continue;
        }
        // A leader that handed over has a successor of which this node may not have heard, and which an election would
        // depose. That of a successor which comes to nothing is made up for the next time.
        let is_succeeded =
            succeeded != Some(followed) && is_succeeded(&raft, node_id, &peers, followed).await;
        if is_succeeded {
            succeeded = Some(followed);
        } else {
            drop(raft.trigger().elect(false).await);
        }
        let new_leader = role.wait_for(|role| role.leader.is_some() && role.leader != Some(leader));
        // Whoever it will be: if nobody, the next round finds the same leader gone, and stands again.
        drop(tokio::time::timeout(ELECTION_LIMIT, new_leader).await);
    }
}

/// Whether another voter follows a later leader than this node does, or votes for one.
async fn is_succeeded(raft: &Node, node_id: u64, peers: &Peers, followed: Role) -> bool {
    let (others, last_log_id): (Vec<String>, _) = {
        let metrics = raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let others = membership.voter_ids().filter(|id| *id != node_id && Some(*id) != followed.leader);
        let others = others.filter_map(|id| membership.get_node(&id)).map(|member| member.address.clone());
        (others.collect(), metrics.last_applied)
    };
    // A vote that is asked for in advance changes nothing, and the answer says how far the other one is.
    let vote = Vote::new(followed.term + 1, node_id);
    let question = vote_request_to_wire(&VoteRequest::new(vote, last_log_id), false);
    let mut questions = JoinSet::new();
    for address in others {
        let Ok(mut client) = peers.client(&address) else { continue };
        questions.spawn(async move { client.request_pre_vote(Request::new(question)).await });
    }
    let is_later = async {
        while let Some(answered) = questions.join_next().await {
            if let Ok(Ok(answer)) = answered
                && answer.into_inner().vote.is_some_and(|vote| vote.term > followed.term)
            {
                return true;
            }
        }
        false
    };
    tokio::time::timeout(QUESTION_LIMIT, is_later).await.unwrap_or(false)
}

/// Returns when the leader's call has ended, or could not be made.
async fn stand(peers: &Peers, address: &str) {
    let Ok(mut client) = peers.client(address) else { return };
    if let Ok(response) = client.stand(Request::new(wire::StandRequest {})).await {
        let mut stream = response.into_inner();
        while let Ok(Some(_)) = stream.message().await {}
    }
}

fn address_of(raft: &Node, node_id: u64) -> Option<String> {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    metrics.membership_config.membership().get_node(&node_id).map(|member| member.address.clone())
}

fn is_voter(raft: &Node, node_id: u64) -> bool {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    metrics.membership_config.membership().voter_ids().any(|id| id == node_id)
}

/// How many voters with a lower id are left without the leader.
fn rank(raft: &Node, node_id: u64, leader: u64) -> u32 {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let voters = metrics.membership_config.membership().voter_ids();
    voters.filter(|id| *id < node_id && *id != leader).count() as u32
}
