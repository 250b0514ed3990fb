//! The leader's care for the membership. It writes down by which disk each voter is known, and takes a voter in again that
//! has lost its disk: out of the voters, caught up as a learner, and then a voter by its new disk. Its old votes and what
//! it had acknowledged count no more, and are not needed: a majority of the others has it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use moldau_cluster::rpc::raft as wire;
use moldau_cluster::rpc::uuid;
use moldau_model::Uuid;
use openraft::ChangeMembers;
use openraft::type_config::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;
use tonic::Request;

use super::formation::Candidacy;
use super::node::{Node, Role};
use super::peers::Peers;
use super::types::{Member, Membership};

/// Pause after a change that failed, for example because the leadership was lost over it.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How often a leader looks for voters that the quorum lacks.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// How long a node may take to say by which disk it is to be known.
const PROBE_LIMIT: Duration = Duration::from_secs(1);
/// How long a new disk may take to get all of the log.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(120);

type Change = ChangeMembers<u64, Member>;

/// Keeps the membership, whenever this node leads.
pub(super) async fn keep(raft: Node, me: Candidacy, peers: Arc<Peers>, mut role: watch::Receiver<Role>) {
    let mut learnt = peers.watch();
    loop {
        learnt.mark_unchanged();
        role.mark_unchanged();
        if role.borrow().is_leader {
            match keep_once(&raft, &me, &peers).await {
                Ok(false) => {}
                Ok(true) => continue,
                Err(reason) => {
                    tracing::debug!(reason, "the quorum's membership did not change");
                    tokio::time::sleep(RETRY_PAUSE).await;
                    continue;
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(CHECK_INTERVAL) => {}
            changed = learnt.changed() => if changed.is_err() { return },
            changed = role.changed() => if changed.is_err() { return },
        }
    }
}

/// Makes one change, if there is one to make. Whether it did.
async fn keep_once(raft: &Node, me: &Candidacy, peers: &Peers) -> Result<bool, String> {
    let membership = {
        let metrics = raft.metrics();
        let metrics = metrics.borrow_watched();
        if metrics.membership_config != metrics.committed_membership_config {
            return Err("the last change is not committed".to_owned());
        }
        metrics.membership_config.membership().clone()
    };
    if let Some((node_id, member)) = replaced(&membership, &peers.replaced()) {
        tracing::info!(node_id, disk = %member.directory_id, "taking in a controller that has lost its disk");
        return replace(raft, node_id, member).await.map(|()| true);
    }
    if let Some((node_id, member)) = missing(&membership, me, peers).await {
        tracing::info!(node_id, disk = %member.directory_id, "taking in a controller that the configuration names");
        return join(raft, node_id, member).await.map(|()| true);
    }
    let named = to_be_named(&membership, me, |node_id| peers.known_disk(node_id));
    if named.is_empty() {
        return Ok(false);
    }
    change(raft, ChangeMembers::SetNodes(named)).await.map(|()| true)
}

/// The voters whose disk is known by now, and not written down yet.
fn to_be_named(
    membership: &Membership,
    me: &Candidacy,
    known_disk: impl Fn(u64) -> Option<Uuid>,
) -> BTreeMap<u64, Member> {
    let mut named = BTreeMap::new();
    for (node_id, member) in membership.nodes().filter(|(_, member)| member.directory_id.is_zero()) {
        let disk = if *node_id == me.node_id { Some(me.directory_id) } else { known_disk(*node_id) };
        if let Some(directory_id) = disk.filter(|disk| !disk.is_zero()) {
            named.insert(*node_id, Member { directory_id, ..member.clone() });
        }
    }
    named
}

/// A voter that is known by one disk and has come with another; with the new one.
fn replaced(membership: &Membership, found: &BTreeMap<u64, Uuid>) -> Option<(u64, Member)> {
    found.iter().find_map(|(node_id, disk)| {
        let member = membership.get_node(node_id)?;
        let is_other = !member.directory_id.is_zero() && member.directory_id != *disk;
        is_other.then(|| (*node_id, Member { directory_id: *disk, address: member.address.clone() }))
    })
}

/// A voter of `controller.quorum.voters` that the quorum lacks, and that answers: one whose replacement was interrupted.
async fn missing(membership: &Membership, me: &Candidacy, peers: &Peers) -> Option<(u64, Member)> {
    let voters: BTreeSet<u64> = membership.voter_ids().collect();
    for (node_id, address) in me.voters.iter().filter(|(id, _)| !voters.contains(*id)) {
        let Ok(mut client) = peers.client(address) else { continue };
        let probe = client.probe(Request::new(wire::ProbeRequest {}));
        if let Ok(Ok(response)) = tokio::time::timeout(PROBE_LIMIT, probe).await {
            let response = response.into_inner();
            let is_it = u64::try_from(response.node_id).ok() == Some(*node_id);
            if let Some(directory_id) = uuid(&response.directory_id).ok().filter(|_| is_it) {
                return Some((*node_id, Member { address: address.clone(), directory_id }));
            }
        }
    }
    None
}

async fn replace(raft: &Node, node_id: u64, member: Member) -> Result<(), String> {
    change(raft, ChangeMembers::RemoveVoters(BTreeSet::from([node_id]))).await?;
    join(raft, node_id, member).await
}

/// Takes a node in: it gets the log first, and then a vote.
async fn join(raft: &Node, node_id: u64, member: Member) -> Result<(), String> {
    let caught_up = raft.add_learner(node_id, member, true);
    let learner = tokio::time::timeout(CATCH_UP_LIMIT, caught_up).await;
    learner.map_err(|_| "the learner did not catch up".to_owned())?.map_err(|error| error.to_string())?;
    change(raft, ChangeMembers::AddVoterIds(BTreeSet::from([node_id]))).await?;
    tracing::info!(node_id, "the controller votes again");
    Ok(())
}

async fn change(raft: &Node, change: Change) -> Result<(), String> {
    raft.change_membership(change, false).await.map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(byte: u8) -> Uuid {
        Uuid::from_bytes([byte; 16])
    }

    fn membership(disks: &[(u64, u8)]) -> Membership {
        let member = |byte: u8| Member { address: String::new(), directory_id: disk(byte) };
        let nodes: BTreeMap<u64, Member> = disks.iter().map(|(id, byte)| (*id, member(*byte))).collect();
        Membership::new(vec![nodes.keys().copied().collect()], nodes).unwrap()
    }

    #[test]
    fn disks_are_written_down_once_they_are_known() {
        let me = Candidacy { node_id: 1, directory_id: disk(1), voters: BTreeMap::new() };
        let named = to_be_named(&membership(&[(1, 0), (2, 0), (3, 0)]), &me, |id| (id == 3).then(|| disk(3)));
        let disks: Vec<(u64, Uuid)> = named.iter().map(|(id, member)| (*id, member.directory_id)).collect();
        assert_eq!(disks, [(1, disk(1)), (3, disk(3))]);
        assert!(to_be_named(&membership(&[(1, 1), (2, 2)]), &me, |_| Some(disk(9))).is_empty());
    }

    #[test]
    fn a_voter_with_another_disk_is_replaced_and_others_are_not() {
        let membership = membership(&[(1, 1), (2, 2), (3, 0)]);
        assert_eq!(replaced(&membership, &BTreeMap::new()), None);
        assert_eq!(replaced(&membership, &BTreeMap::from([(2, disk(2)), (3, disk(3)), (4, disk(4))])), None);
        let found = replaced(&membership, &BTreeMap::from([(2, disk(9))]));
        assert_eq!(found.map(|(id, member)| (id, member.directory_id)), Some((2, disk(9))));
    }
}
