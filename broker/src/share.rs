//! Share partitions on this broker: those of partitions that it leads, members' sessions with them, and the way to the share
//! coordinators that keep their state (KIP-932).
//!
//! A share partition comes into being with the first request for it, by reading its state, and is forgotten when its
//! partition's leadership changes. Each lives under its own lock, which is never held over an await.

mod end_offsets;
mod entry;
mod link;
mod persister;
mod pruning;
mod settings;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use moldau_metadata::MetadataImage;
use moldau_model::{ErrorCode, TopicIdPartition};
use moldau_security::link::Dialer;
use moldau_share::{SessionKey, SharePartitionKey, ShareSessions};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::control::ControlPlane;
use crate::replica_manager::ReplicaManager;

pub use end_offsets::EndOffsets;
pub(crate) use entry::ShareEntry;
pub(crate) use link::Exchange;
use link::Links;
pub use persister::SharePersister;
pub use pruning::wishes;
pub(crate) use settings::ShareGroupSettings;

/// The feature that brings share groups.
const SHARE_VERSION: &str = "share.version";
/// Share partitions of one broker: far more than there are groups times partitions on one. Beyond it requests for others are
/// told to come again.
const SHARE_PARTITIONS_MAX: usize = 100_000;
/// How long the watch over locks sleeps where nobody has anything; whoever gets something wakes it.
const IDLE_PAUSE: Duration = Duration::from_secs(3600);

/// What one broker has of share partitions.
pub struct ShareService {
    control: Arc<ControlPlane>,
    replicas: Arc<ReplicaManager>,
    pub persister: SharePersister,
    pub end_offsets: EndOffsets,
    entries: Mutex<HashMap<SharePartitionKey, Arc<ShareEntry>>>,
    sessions: Mutex<ShareSessions>,
    started: Instant,
    /// Somebody has something, for a while.
    locked: Notify,
}

impl ShareService {
    /// Nothing is there yet. Needs a tokio runtime: locks time out from here on.
    #[must_use]
    pub fn start(
        control: Arc<ControlPlane>,
        replicas: Arc<ReplicaManager>,
        dialer: Arc<Dialer>,
    ) -> Arc<Self> {
        let sessions_max = usize::try_from(control.config.group.share.sessions_max).unwrap_or(0);
        let links = Arc::new(Links::new(Arc::clone(&control), dialer));
        let service = Arc::new(Self {
            persister: SharePersister::new(Arc::clone(&control), Arc::clone(&links)),
            end_offsets: EndOffsets::new(Arc::clone(&control), Arc::clone(&replicas), links),
            control,
            replicas,
            entries: Mutex::default(),
            sessions: Mutex::new(ShareSessions::new(sessions_max)),
            started: Instant::now(),
            locked: Notify::new(),
        });
        tokio::spawn(watch_locks(Arc::downgrade(&service)));
        service
    }

    /// Whether share groups are served: the cluster's `share.version` says so, or the broker's
    /// `group.coordinator.rebalance.protocols`.
    #[must_use]
    pub fn is_served(&self) -> bool {
        self.control.config.group.share.is_served || self.control.image().feature_level(SHARE_VERSION) > 0
    }

    pub(crate) fn sessions(&self) -> parking_lot::MutexGuard<'_, ShareSessions> {
        self.sessions.lock()
    }

    pub(crate) fn settings(&self, image: &MetadataImage, group_id: &str) -> ShareGroupSettings {
        ShareGroupSettings::of(&self.control.config.group.share, image, group_id)
    }

    /// Milliseconds since the start.
    pub(crate) fn now_ms(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// The share partition, read if it is not here yet.
    ///
    /// # Errors
    /// The partition is not led here, or its state cannot be read.
    pub(crate) async fn entry(
        self: &Arc<Self>,
        group_id: &Arc<str>,
        at: TopicIdPartition,
    ) -> Result<Arc<ShareEntry>, ErrorCode> {
        let image = self.control.image();
        let topic = image.topics().by_id(at.topic_id).ok_or(ErrorCode::UnknownTopicId)?;
        topic.partition(at.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let partition = self.replicas.get(at)?;
        let (leader, leader_epoch) =
            self.replicas.current_leader(&image, at).ok_or(ErrorCode::NotLeaderOrFollower)?;
        if leader != self.control.node_id {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        let key = SharePartitionKey {
            group_id: Arc::clone(group_id),
            topic_id: at.topic_id,
            partition: at.partition,
        };
        let entry = {
            let mut entries = self.entries.lock();
            let known = entries.get(&key).filter(|entry| entry.leader_epoch == leader_epoch).cloned();
            match known {
                Some(entry) => entry,
                None if entries.len() >= SHARE_PARTITIONS_MAX => {
                    return Err(ErrorCode::CoordinatorNotAvailable);
                }
                None => {
                    let entry = Arc::new(ShareEntry::new(key.clone(), partition, leader_epoch));
                    // One of an older leadership tells whoever waits for it.
                    if let Some(old) = entries.insert(key, Arc::clone(&entry)) {
                        old.fence();
                    }
                    entry
                }
            }
        };
        entry.note_used();
        entry.loaded(self).await.inspect_err(|_| self.forget(&entry))?;
        Ok(entry)
    }

    /// The share partition is to be read anew by who comes next.
    pub(crate) fn forget(&self, entry: &Arc<ShareEntry>) {
        let mut entries = self.entries.lock();
        if entries.get(&entry.key).is_some_and(|known| Arc::ptr_eq(known, entry)) {
            entries.remove(&entry.key);
        }
        drop(entries);
        entry.fence();
    }

    /// Somebody has got records.
    pub(crate) fn note_locked(&self) {
        self.locked.notify_one();
    }

    /// A session has ended: what its member has is for others.
    pub(crate) fn release(self: &Arc<Self>, key: &SessionKey, partitions: &[TopicIdPartition]) {
        for at in partitions {
            let key_of = SharePartitionKey {
                group_id: Arc::clone(&key.group_id),
                topic_id: at.topic_id,
                partition: at.partition,
            };
            let entry = self.entries.lock().get(&key_of).cloned();
            if let Some(entry) = entry {
                entry.change(self, |partition| partition.release_member(&key.member_id));
            }
        }
        // Nobody reads for the group: its offsets may be altered before somebody comes again.
        if !self.sessions.lock().has_group(&key.group_id) {
            for entry in self.entries().into_iter().filter(|entry| entry.key.group_id == key.group_id) {
                entry.retire(self);
            }
        }
    }

    /// A connection has ended, and with it the sessions that were opened over it.
    pub(crate) fn connection_closed(self: &Arc<Self>, peer: SocketAddr) {
        let closed = {
            let mut sessions = self.sessions.lock();
            // At the end of the process there is nobody left to write.
            let is_over = tokio::runtime::Handle::try_current().is_err();
            if sessions.is_empty() || is_over {
                return;
            }
            sessions.connection_closed(peer)
        };
        for (key, partitions) in closed {
            self.release(&key, &partitions);
        }
    }

    fn entries(&self) -> Vec<Arc<ShareEntry>> {
        self.entries.lock().values().cloned().collect()
    }
}

/// Takes records back whose time is over, for as long as there is a service.
async fn watch_locks(service: std::sync::Weak<ShareService>) {
    loop {
        let pause = {
            let Some(service) = service.upgrade() else { return };
            let now_ms = service.now_ms();
            let mut next_ms: Option<i64> = None;
            for entry in service.entries() {
                let deadline_ms = entry.expire(&service, now_ms);
                next_ms = [next_ms, deadline_ms].into_iter().flatten().min();
            }
            let left =
                |next_ms: i64| Duration::from_millis(u64::try_from(next_ms - now_ms).unwrap_or(0).max(1));
            next_ms.map_or(IDLE_PAUSE, left)
        };
        let Some(current) = service.upgrade() else { return };
        let locked = current.locked.notified();
        tokio::select! {
            () = locked => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}
