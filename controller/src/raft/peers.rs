//! The other members of the quorum: one connection to each, and the disk that each is known by.

use std::collections::BTreeMap;
use std::sync::Arc;

use moldau_cluster::rpc::raft::raft_client::RaftClient;
use moldau_cluster::rpc::{Credentials, MESSAGE_BYTES_MAX, SignCalls, connect_lazily};
use moldau_model::Uuid;
use moldau_security::link::Dialer;
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::watch;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use super::types::{Member, Membership};

pub(super) type Client = RaftClient<InterceptedService<Channel, SignCalls>>;

/// A member has come with another disk than the quorum knows it by. It may have forgotten a vote, or entries that were
/// counted as its own.
#[derive(Clone, Copy, Debug, Error)]
#[error("node {node_id} has its log in {found}, but the quorum knows it by {known}")]
pub(super) struct OtherDisk {
    node_id: u64,
    found: Uuid,
    known: Uuid,
}

/// How many nodes may wait to be taken in. A quorum has a handful, and each asks again.
const WISHES_MAX: usize = 32;

/// A controller that asks to be taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// Where it listens, and on which disk its log is.
    pub(super) member: Member,
    pub(super) wants_vote: bool,
}

#[derive(Default)]
struct Disks {
    /// What the membership says, and for whom it says nothing, what was seen first.
    known: BTreeMap<u64, Uuid>,
    /// Members that came with another disk, and with which.
    replaced: BTreeMap<u64, Uuid>,
    wishes: BTreeMap<u64, Wish>,
}

/// See the module.
pub(super) struct Peers {
    sign: SignCalls,
    dialer: Arc<Dialer>,
    clients: Mutex<BTreeMap<String, Client>>,
    disks: Mutex<Disks>,
    /// The last leader whose process was seen to have ended, and its term.
    gone: Mutex<Option<(u64, u64)>>,
    /// Counts what was learnt of disks.
    learnt: watch::Sender<u64>,
}

impl Peers {
    pub(super) fn new(credentials: &Credentials) -> Self {
        let disks = Disks::default();
        Self {
            sign: SignCalls::new(credentials),
            dialer: Arc::clone(&credentials.dialer),
            clients: Mutex::default(),
            disks: Mutex::new(disks),
            gone: Mutex::default(),
            learnt: watch::channel(0).0,
        }
    }

    /// The one connection to an address.
    pub(super) fn client(&self, address: &str) -> Result<Client, tonic::transport::Error> {
        let mut clients = self.clients.lock();
        if let Some(client) = clients.get(address) {
            return Ok(client.clone());
        }
        let signed = InterceptedService::new(connect_lazily(address, &self.dialer)?, self.sign.clone());
        let client = RaftClient::new(signed)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        clients.insert(address.to_owned(), client.clone());
        Ok(client)
    }

    /// Takes what a membership says over what was seen.
    pub(super) fn learn(&self, membership: &Membership) {
        let mut disks = self.disks.lock();
        for (node_id, member) in membership.nodes() {
            if !member.directory_id.is_zero() {
                disks.known.insert(*node_id, member.directory_id);
                if disks.replaced.get(node_id) == Some(&member.directory_id) {
                    disks.replaced.remove(node_id);
                }
            }
        }
    }

    /// Whether a member still has the disk it is known by. Who was not known is from now on.
    pub(super) fn check_disk(&self, node_id: u64, found: Uuid) -> Result<(), OtherDisk> {
        let mut disks = self.disks.lock();
        let known = *disks.known.entry(node_id).or_insert_with(|| {
            self.learnt.send_modify(|count| *count += 1);
            found
        });
        if known == found {
            return Ok(());
        }
        if disks.replaced.insert(node_id, found) != Some(found) {
            self.learnt.send_modify(|count| *count += 1);
            tracing::warn!(node_id, %found, %known, "a controller has lost its disk; it does not count until it joins anew");
        }
        Err(OtherDisk { node_id, found, known })
    }

    /// The disk of a member, if it was seen.
    pub(super) fn known_disk(&self, node_id: u64) -> Option<Uuid> {
        self.disks.lock().known.get(&node_id).copied()
    }

    /// The members that came with another disk, and with which.
    pub(super) fn replaced(&self) -> BTreeMap<u64, Uuid> {
        self.disks.lock().replaced.clone()
    }

    /// Notes who wants to be taken in. It asks again if there is no place left.
    pub(super) fn wish(&self, node_id: u64, wish: Wish) {
        let mut disks = self.disks.lock();
        if disks.wishes.len() < WISHES_MAX || disks.wishes.contains_key(&node_id) {
            disks.wishes.insert(node_id, wish);
            self.learnt.send_modify(|count| *count += 1);
        }
    }

    /// Those who want to be taken in.
    pub(super) fn wishes(&self) -> BTreeMap<u64, Wish> {
        self.disks.lock().wishes.clone()
    }

    /// Drops what a node wished before it was removed.
    pub(super) fn drop_wish(&self, node_id: u64) {
        self.disks.lock().wishes.remove(&node_id);
    }

    /// Drops wishes that were fulfilled, or cannot be.
    pub(super) fn drop_wishes(&self) {
        self.disks.lock().wishes.clear();
    }

    /// Notes that the leader of a term is gone.
    pub(super) fn set_gone(&self, leader: u64, term: u64) {
        *self.gone.lock() = Some((leader, term));
    }

    /// Whether an election for `term` follows on a leader that is gone.
    pub(super) fn follows_on_gone(&self, term: u64) -> bool {
        self.gone.lock().is_some_and(|(_, gone)| gone + 1 == term)
    }

    /// Notes that another node leads a term: how the leader before it ended is its own business.
    pub(super) fn set_led(&self, term: u64) {
        self.gone.lock().take_if(|(_, gone)| *gone < term);
    }

    /// The leader that is gone and that no other one has followed, for its successor, which asks once.
    pub(super) fn take_gone(&self) -> Option<u64> {
        self.gone.lock().take().map(|(leader, _)| leader)
    }

    /// Tells of all that is learnt of disks.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.learnt.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn peers() -> Peers {
        let (node_id, cluster_id) = (moldau_model::BrokerId(1), Some("a".to_owned()));
        let dialer = Arc::new(Dialer::plain());
        Peers::new(&Credentials { node_id, cluster_id, directory_id: Uuid::ONE, secret: None, dialer })
    }

    #[test]
    fn a_leader_that_is_gone_is_told_to_its_successor_alone() {
        let peers = peers();
        peers.set_gone(3, 7);
        assert!(peers.follows_on_gone(8) && !peers.follows_on_gone(9));
        // It still is the last one that was followed; the election may have taken two terms.
        peers.set_led(7);
        assert_eq!((peers.take_gone(), peers.take_gone()), (Some(3), None));
        peers.set_gone(3, 7);
        peers.set_led(8);
        assert_eq!(peers.take_gone(), None);
    }

    #[test]
    fn a_member_is_known_by_its_first_disk_until_the_membership_says_otherwise() {
        let peers = peers();
        let [first, second] = [2, 3].map(|byte| Uuid::from_bytes([byte; 16]));
        peers.check_disk(2, first).unwrap();
        peers.check_disk(2, first).unwrap();
        peers.check_disk(2, second).unwrap_err();
        assert_eq!(peers.replaced(), BTreeMap::from([(2, second)]));
        let member = |directory_id| Member { address: "b:1".to_owned(), directory_id, joins: false };
        let membership =
            |id| Membership::new(vec![BTreeSet::from([2])], BTreeMap::from([(2, member(id))])).unwrap();
        peers.learn(&membership(Uuid::ZERO));
        peers.check_disk(2, second).unwrap_err();
        peers.learn(&membership(second));
        assert!(peers.replaced().is_empty());
        peers.check_disk(2, second).unwrap();
        peers.check_disk(2, first).unwrap_err();
    }
}
