//! A controller that is told whom to ask (`controller.quorum.bootstrap.servers`) and is no voter. It finds those who are
//! there, asks the one that leads to be taken in, and for a vote where it is told to (`controller.quorum.auto.join.enable`,
//! KIP-1186).

use std::sync::Arc;
use std::time::Duration;

use moldau_cluster::rpc::raft as wire;
use moldau_cluster::rpc::uuid;
use moldau_model::Uuid;
use openraft::type_config::async_runtime::watch::WatchReceiver;
use tokio::time::{Instant, timeout};
use tonic::Request;

use super::formation::Candidacy;
use super::node::Node;
use super::peers::Peers;
use super::types::Membership;

/// Pause before a node that is not in its place asks again: the others write and commit meanwhile.
const ASK_PAUSE: Duration = Duration::from_secs(1);
/// A member that is in its place asks so seldom; the others may have forgotten one that was away for long.
const RENEWAL: Duration = Duration::from_secs(60);
/// How long one answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// How many addresses are asked in one go, those included that others tell.
const ADDRESSES_MAX: usize = 32;
/// How often somebody who watches is told that nobody is there.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// What this node is, as far as its own log tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Outside,
    Observer,
    Voter,
}

fn place(membership: &Membership, me: &Candidacy) -> Place {
    match membership.get_node(&me.node_id) {
        Some(member) if member.directory_id == me.directory_id || member.directory_id.is_zero() => {
            if membership.voter_ids().any(|id| id == me.node_id) {
                Place::Voter
            } else {
                Place::Observer
            }
        }
        _ => Place::Outside,
    }
}

/// Asks for as long as the task lives, whenever there is something to ask for.
pub(super) async fn run(raft: Node, me: Candidacy, peers: Arc<Peers>) {
    let mut asked: Option<Instant> = None;
    let mut told: Option<Instant> = None;
    // Who was removed while it runs does not come back by itself.
    let mut has_voted = false;
    let mut metrics = raft.server_metrics();
    loop {
        let membership = metrics.borrow_watched().membership_config.membership().clone();
        let place = place(&membership, &me);
        has_voted |= place == Place::Voter;
        let wants_vote = me.auto_join && !has_voted;
        let is_in_place = place == Place::Voter || (place == Place::Observer && !wants_vote);
        let is_due = asked.is_none_or(|asked| asked.elapsed() >= RENEWAL);
        if !is_in_place || (place == Place::Observer && is_due) {
            let is_to_be_told = !is_in_place && told.is_none_or(|told| told.elapsed() >= TOLD_EVERY);
            let answer = ask(&membership, &me, &peers, wants_vote).await;
            if answer != Answer::Nobody {
                asked = Some(Instant::now());
            }
            if let Answer::Displaced(disk) = answer
                && is_to_be_told
            {
                told = Some(Instant::now());
                tracing::warn!(
                    "the quorum knows this node as a voter by another disk, and takes it in once that is removed: \
                     kafka-metadata-quorum remove-controller --controller-id {} --controller-directory-id {disk}",
                    me.node_id
                );
            } else if answer == Answer::Nobody && is_to_be_told {
                told = Some(Instant::now());
                tracing::info!(
                    servers = me.servers.join(","),
                    "looking for the active controller; a new quorum's first controller is formatted with: kafka-storage \
                     format --standalone"
                );
            }
        }
        let mut is_voter = place == Place::Voter;
        let pause = tokio::time::sleep(ASK_PAUSE);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                // A voter has nothing to ask for as long as it is one.
                () = &mut pause, if !is_voter => break,
                changed = metrics.changed() => match changed {
                    Ok(()) => {
                        let metrics = metrics.borrow_watched();
                        let membership = metrics.membership_config.membership();
                        is_voter = self::place(membership, &me) == Place::Voter;
                        has_voted |= is_voter;
                    }
                    Err(_) => return,
                },
            }
        }
    }
}

/// What came of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// No leader was found.
    Nobody,
    /// The leader sees to it.
    Heard,
    /// A voter with this disk stands in the way.
    Displaced(Uuid),
}

/// Asks one after the other for the leader, and the leader to be taken in.
async fn ask(membership: &Membership, me: &Candidacy, peers: &Peers, wants_vote: bool) -> Answer {
    let known = membership.nodes().map(|(_, member)| member.address.clone());
    let mut addresses: Vec<String> = me.servers.iter().cloned().chain(known).collect();
    let mut next = 0;
    while let Some(address) = addresses.get(next).cloned().filter(|_| next < ADDRESSES_MAX) {
        next += 1;
        if address.is_empty() || address == me.address || addresses[..next - 1].contains(&address) {
            continue;
        }
        let Ok(mut client) = peers.client(&address) else { continue };
        let request = wire::JoinRequest { address: me.address.clone(), wants_vote };
        match timeout(ANSWER_LIMIT, client.join(Request::new(request))).await {
            Ok(Ok(response)) => {
                let response = response.into_inner();
                if response.heard {
                    let other = uuid(&response.voter_directory_id).ok().filter(|disk| !disk.is_zero());
                    return other.map_or(Answer::Heard, Answer::Displaced);
                }
                addresses.insert(next, response.leader_address);
            }
            // A status with details is the node's own; others come from the transport.
            Ok(Err(status)) if !status.details().is_empty() => {
                tracing::warn!(address, reason = status.message(), "a controller cannot be asked");
            }
            Ok(Err(_)) | Err(_) => {}
        }
    }
    Answer::Nobody
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::super::types::Member;
    use super::*;

    #[test]
    fn a_node_knows_its_place_by_its_disk() {
        let me = |byte| Candidacy {
            node_id: 2,
            directory_id: Uuid::from_bytes([byte; 16]),
            voters: BTreeMap::new(),
            address: String::new(),
            servers: Vec::new(),
            auto_join: true,
        };
        let membership = |voters: &[u64], byte| {
            let member = Member { directory_id: Uuid::from_bytes([byte; 16]), ..Member::default() };
            let nodes = BTreeMap::from([(1, Member::default()), (2, member)]);
            Membership::new(vec![BTreeSet::from_iter(voters.iter().copied())], nodes).unwrap()
        };
        assert_eq!(place(&Membership::default(), &me(2)), Place::Outside);
        assert_eq!(place(&membership(&[1], 2), &me(2)), Place::Observer);
        assert_eq!(place(&membership(&[1, 2], 2), &me(2)), Place::Voter);
        assert_eq!(place(&membership(&[1, 2], 0), &me(2)), Place::Voter);
        assert_eq!(place(&membership(&[1, 2], 9), &me(2)), Place::Outside);
    }
}
