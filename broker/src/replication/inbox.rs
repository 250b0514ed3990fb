//! What reaches a running fetcher from outside: partitions to follow, the leader's address, ends of syncs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moldau_model::{BrokerEpoch, LeaderEpoch, TopicIdPartition};
use moldau_security::link::Dialer;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::replica_manager::Partition;

/// Where the leader's inter-broker listener is.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) host: Arc<str>,
    pub(crate) port: u16,
    /// The leader's registration: a start of it that has just come is not waited for as one that had gone.
    pub(crate) broker_epoch: BrokerEpoch,
    /// How that listener is dialled; a broker has one way for all.
    pub(crate) dialer: Arc<Dialer>,
}

impl PartialEq for Endpoint {
    fn eq(&self, other: &Self) -> bool {
        (&self.host, self.port, self.broker_epoch) == (&other.host, other.port, other.broker_epoch)
    }
}

impl Eq for Endpoint {}

/// A partition to be followed in one leader epoch.
#[derive(Clone)]
pub(super) struct Assignment {
    pub(super) partition: Arc<Partition>,
    pub(super) leader_epoch: LeaderEpoch,
}

/// A fetcher's inbox. Everything in it is bounded by the partitions that the broker holds: what comes again replaces what
/// was there.
#[derive(Default)]
pub struct Inbox {
    state: Mutex<Mail>,
    arrived: Notify,
}

/// What has come since the fetcher looked last.
#[derive(Default)]
pub(super) struct Mail {
    /// `None`: not to be followed any more.
    pub(super) assignments: BTreeMap<TopicIdPartition, Option<Assignment>>,
    /// More of them is durable than before.
    pub(super) synced: BTreeSet<TopicIdPartition>,
    /// Always there, changed or not.
    pub(super) endpoint: Option<Endpoint>,
    pub(super) is_closed: bool,
}

impl Inbox {
    /// A sync of the partition has ended.
    pub(crate) fn note_synced(&self, id: TopicIdPartition) {
        self.state.lock().synced.insert(id);
        self.arrived.notify_one();
    }

    pub(super) fn assign(&self, id: TopicIdPartition, assignment: Option<Assignment>) {
        self.state.lock().assignments.insert(id, assignment);
        self.arrived.notify_one();
    }

    pub(super) fn set_endpoint(&self, endpoint: Option<Endpoint>) {
        let mut mail = self.state.lock();
        if mail.endpoint != endpoint {
            mail.endpoint = endpoint;
            self.arrived.notify_one();
        }
    }

    /// The fetcher ends.
    pub(super) fn close(&self) {
        self.state.lock().is_closed = true;
        self.arrived.notify_one();
    }

    pub(super) fn take(&self) -> Mail {
        let mut mail = self.state.lock();
        Mail {
            assignments: std::mem::take(&mut mail.assignments),
            synced: std::mem::take(&mut mail.synced),
            endpoint: mail.endpoint.clone(),
            is_closed: mail.is_closed,
        }
    }

    /// Waits until something has come since the last time. One fetcher waits.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }
}
