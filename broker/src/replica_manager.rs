//! The partitions of this broker: which there are, where their logs lie, and what metadata makes of them.
//!
//! Only [`ReplicaManager::apply`], fed with committed metadata, opens, deletes or changes the role of a partition. A log
//! is made when metadata first gives this broker a replica.

mod append;
mod client_batch;
mod closing;
mod directories;
mod figures;
mod follower;
mod leader;
mod log_config;
mod moving;
mod offsets_store;
mod partition;
mod placement;
mod read;
mod throttled;
mod upkeep;
mod wake;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use moldau_log::{FoundPartitions, LogError, PartitionOnDisk};
use moldau_metadata::config::{BrokerSettings, CleanerSettings, FlushPolicy, TopicConfig, as_list};
use moldau_metadata::{BrokerRegistration, ConfigResource, ConfigResourceType, MetadataDelta, MetadataImage};
use moldau_model::{
    BrokerId, ErrorCode, LeaderEpoch, PartitionIndex, TopicIdPartition, TopicPartition, Uuid,
};
use moldau_replica::Role;
use parking_lot::{Mutex, RwLock};

pub use append::AppendRefused;
pub(crate) use append::SyncFailed;
#[cfg(test)]
pub(crate) use figures::FollowerLag;
pub(crate) use figures::PartitionFigures;
pub(crate) use follower::{FetchPosition, FollowError, Followed};
pub(crate) use leader::FollowerNews;
pub use moving::FutureView;
pub(crate) use moving::MoveProgress;
pub use offsets_store::ReplicaOffsetsStore;
pub use partition::{Partition, PartitionSettings};
pub use read::{ChooseReplica, FoundOffset, Isolation, OffsetQuery, PartitionRead, ReadRequest, Readers};

use crate::clock;
use crate::log_dirs::{LogDir, LogDirs};
use crate::log_mover::MoveQueue;
use crate::replication::{FollowChange, IsrChanges};

/// Logs that are opened at the same time: opening after a crash reads, and disks like several readers.
const OPENERS_MAX: usize = 8;

/// All partitions of this broker.
pub struct ReplicaManager {
    settings: PartitionSettings,
    /// What the broker was started with, for topics' effective settings.
    statics: BTreeMap<String, String>,
    dirs: LogDirs,
    isr_changes: Arc<IsrChanges>,
    partitions: RwLock<HashMap<TopicIdPartition, Hosted>>,
    /// Partitions found on disk at the start that no metadata has claimed yet.
    unclaimed: Mutex<HashMap<TopicPartition, (Arc<LogDir>, PartitionOnDisk)>>,
    /// New partitions of which the files are not made yet: see [`ReplicaManager::make_logs`].
    to_make: Mutex<Vec<Arc<Partition>>>,
    cleaner_settings: Mutex<CleanerSettings>,
    /// Partitions that are not here yet, and the directory that they were wished into.
    preferred_dirs: Mutex<HashMap<TopicPartition, Uuid>>,
    /// Copies found on disk at the start: of moves that were under way.
    futures: Mutex<HashMap<TopicPartition, Vec<(Arc<LogDir>, PartitionOnDisk)>>>,
    moves: MoveQueue,
    move_rate: Mutex<Option<f64>>,
    /// Of those who wish for another directory one at a time has the floor.
    altering: Mutex<()>,
    /// The image was complete once since the start: replicas that come later are new.
    is_loaded: AtomicBool,
}

/// A partition, or that its log cannot be used.
#[derive(Clone)]
enum Hosted {
    Online(Arc<Partition>),
    Offline,
}

/// A partition that has to be opened before it gets its role.
struct ToOpen {
    id: TopicIdPartition,
    topic_partition: TopicPartition,
    registration: moldau_replica::PartitionRegistration,
    config: Arc<TopicConfig>,
    /// The directory that metadata names; zero where it names none.
    directory: Uuid,
}

impl ReplicaManager {
    /// A broker without partitions, over its opened log directories.
    pub fn new(
        dirs: LogDirs,
        settings: PartitionSettings,
        statics: BTreeMap<String, String>,
    ) -> Result<Self, LogError> {
        let by_number: Vec<&Arc<LogDir>> = dirs.iter().collect();
        let with_ids: Vec<_> = by_number.iter().map(|dir| (dir.id, &dir.log)).collect();
        let found = FoundPartitions::look(&with_ids, clock::now())?;
        if dirs.offline_count() > 0 {
            dirs.note_failure();
        }
        let mut unclaimed = HashMap::new();
        for (number, found) in found.partitions {
            unclaimed.insert(found.topic_partition.clone(), (Arc::clone(by_number[number]), found));
        }
        let mut futures: HashMap<_, Vec<_>> = HashMap::new();
        for (number, found) in found.futures {
            let of_partition = futures.entry(found.topic_partition.clone()).or_default();
            of_partition.push((Arc::clone(by_number[number]), found));
        }
        let partitions = RwLock::new(HashMap::new());
        let (unclaimed, to_make) = (Mutex::new(unclaimed), Mutex::default());
        let isr_changes = Arc::default();
        let at_start = BrokerSettings::of_statics(&statics);
        dirs.set_cordoned(&cordoned_log_dirs(&at_start));
        let cleaner_settings = Mutex::new(CleanerSettings::of(&at_start));
        let move_rate = Mutex::new(move_rate(&at_start));
        Ok(Self {
            settings,
            statics,
            dirs,
            isr_changes,
            partitions,
            unclaimed,
            to_make,
            cleaner_settings,
            preferred_dirs: Mutex::default(),
            futures: Mutex::new(futures),
            moves: MoveQueue::default(),
            move_rate,
            altering: Mutex::default(),
            is_loaded: AtomicBool::new(false),
        })
    }

    /// What the leaders among the partitions wish of the controller.
    #[must_use]
    pub fn isr_changes(&self) -> &Arc<IsrChanges> {
        &self.isr_changes
    }

    #[must_use]
    pub fn dirs(&self) -> &LogDirs {
        &self.dirs
    }

    /// What the cleaner may use now.
    pub(crate) fn cleaner_settings(&self) -> CleanerSettings {
        *self.cleaner_settings.lock()
    }

    #[must_use]
    pub fn flush_policy(&self) -> FlushPolicy {
        self.settings.flush_policy
    }

    /// A partition of this broker.
    ///
    /// # Errors
    /// `KAFKA_STORAGE_ERROR` if its disk failed, `NOT_LEADER_OR_FOLLOWER` if it is not here; that it exists at all is
    /// for the caller to look up in the metadata.
    pub fn get(&self, id: TopicIdPartition) -> Result<Arc<Partition>, ErrorCode> {
        match self.partitions.read().get(&id) {
            Some(Hosted::Online(partition)) if partition.is_dir_online() => Ok(Arc::clone(partition)),
            Some(_) => Err(ErrorCode::KafkaStorageError),
            None => Err(ErrorCode::NotLeaderOrFollower),
        }
    }

    /// Who leads the partition, as its replica here knows, or else the metadata: the replicas hear first of what changed.
    #[must_use]
    pub fn current_leader(
        &self,
        image: &MetadataImage,
        id: TopicIdPartition,
    ) -> Option<(BrokerId, LeaderEpoch)> {
        match self.hosted(id) {
            Some(Hosted::Online(partition)) => match partition.role() {
                Role::Leader { leader_epoch } => Some((self.settings.broker_id, leader_epoch)),
                Role::Follower { leader, leader_epoch } => Some((leader?, leader_epoch)),
                Role::None => None,
            },
            Some(Hosted::Offline) | None => {
                let state = image.topics().partition(id.topic_id, id.partition)?;
                state.has_leader().then_some((state.leader, state.leader_epoch))
            }
        }
    }

    /// The partition by its topic's name.
    ///
    /// # Errors
    /// As [`ReplicaManager::get`]; and `UNKNOWN_TOPIC_OR_PARTITION`.
    pub fn by_name(
        &self,
        image: &MetadataImage,
        topic: &str,
        partition: PartitionIndex,
    ) -> Result<Arc<Partition>, ErrorCode> {
        let (topic, _) =
            image.partition_by_name(topic, partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        self.get(TopicIdPartition { topic_id: topic.id(), partition })
    }

    /// All usable partitions, in no order.
    #[must_use]
    pub fn partitions(&self) -> Vec<Arc<Partition>> {
        let partitions = self.partitions.read();
        partitions
            .values()
            .filter_map(|hosted| match hosted {
                Hosted::Online(partition) => Some(Arc::clone(partition)),
                Hosted::Offline => None,
            })
            .collect()
    }

    /// Brings the partitions to what `image` says. Blocks on the disk where logs are opened. Returns whom the partitions
    /// follow of which that may have changed.
    pub(crate) fn apply(&self, delta: &MetadataDelta, image: &MetadataImage) -> Vec<FollowChange> {
        let mut touched = Vec::new();
        for topic in delta.deleted_topics.values() {
            for (partition, _) in topic.partitions() {
                let id = TopicIdPartition { topic_id: topic.id(), partition };
                self.delete(id);
                touched.push(id);
            }
            self.settings.traffic.forget(topic.name());
        }
        let mut to_open = Vec::new();
        for topic_delta in delta.topics.values() {
            let topic = &topic_delta.topic;
            let mut config = None;
            for (&partition, change) in &topic_delta.partitions {
                let id = TopicIdPartition { topic_id: topic.id(), partition };
                if !change.after.replicas.contains(&self.settings.broker_id) {
                    if self.delete(id) {
                        touched.push(id);
                    }
                    continue;
                }
                touched.push(id);
                let registration = self.registration(image, &change.after);
                if let Some(Hosted::Online(hosted)) = self.hosted(id) {
                    hosted.note_metadata_offset(image.position().offset);
                    hosted.handle_registration(&registration);
                    continue;
                }
                let config = config.get_or_insert_with(|| Arc::new(self.topic_config(image, topic.name())));
                to_open.push(ToOpen {
                    id,
                    topic_partition: TopicPartition { topic: Arc::clone(topic.name()), partition },
                    registration,
                    config: Arc::clone(config),
                    directory: change.after.directory(self.settings.broker_id),
                });
            }
        }
        // Moves go on as soon as their logs are open, and not faster than they may.
        self.apply_move_rate(delta, image);
        self.open_all(to_open);
        self.apply_brokers(delta);
        self.apply_configs(delta, image);
        touched.into_iter().map(|id| self.follow_change(id)).collect()
    }

    /// Tells the partitions led here of the brokers that went or came.
    fn apply_brokers(&self, delta: &MetadataDelta) {
        let is_active = |broker: &Option<Arc<BrokerRegistration>>| {
            broker.as_ref().is_some_and(|registration| registration.is_active())
        };
        let changes = delta.brokers.iter().filter_map(|(id, change)| {
            let is_now = is_active(&change.after);
            (is_active(&change.before) != is_now).then_some((*id, is_now))
        });
        let changes: Vec<(BrokerId, bool)> = changes.collect();
        if changes.is_empty() {
            return;
        }
        for partition in self.partitions() {
            for (id, is_active) in &changes {
                partition.handle_broker(*id, !is_active);
            }
        }
    }

    fn follow_change(&self, id: TopicIdPartition) -> FollowChange {
        let follows = match self.hosted(id) {
            Some(Hosted::Online(partition)) => match partition.role() {
                Role::Follower { leader: Some(leader), leader_epoch } => {
                    Some((partition, leader, leader_epoch))
                }
                Role::Follower { leader: None, .. } | Role::Leader { .. } | Role::None => None,
            },
            Some(Hosted::Offline) | None => None,
        };
        FollowChange { id, follows }
    }

    /// Whether metadata knows of this start of the broker, and so has ended what the one before it led.
    #[must_use]
    pub fn is_registered(&self, image: &MetadataImage) -> bool {
        image
            .broker(self.settings.broker_id)
            .is_some_and(|broker| broker.incarnation_id == self.settings.incarnation_id)
    }

    /// The part of a partition's metadata that its replicas go by. A leadership of the broker's start before this one is
    /// none: followers may have records of it that this log has lost, and others must not be written at their offsets.
    fn registration(
        &self,
        image: &MetadataImage,
        partition: &moldau_metadata::PartitionRegistration,
    ) -> moldau_replica::PartitionRegistration {
        let is_led = partition.has_leader()
            && (partition.leader != self.settings.broker_id || self.is_registered(image));
        moldau_replica::PartitionRegistration {
            replicas: partition.replicas.clone(),
            isr: partition.isr.clone(),
            absent: partition.replicas.iter().copied().filter(|id| !image.is_active_broker(*id)).collect(),
            leader: is_led.then_some(partition.leader),
            leader_epoch: partition.leader_epoch,
            partition_epoch: partition.partition_epoch,
        }
    }

    fn hosted(&self, id: TopicIdPartition) -> Option<Hosted> {
        self.partitions.read().get(&id).cloned()
    }

    /// Opens the logs, several at a time, and gives each partition its role. New ones are only declared.
    fn open_all(&self, to_open: Vec<ToOpen>) {
        let (to_open, new): (Vec<ToOpen>, Vec<ToOpen>) = {
            let unclaimed = self.unclaimed.lock();
            to_open.into_iter().partition(|open| unclaimed.contains_key(&open.topic_partition))
        };
        for open in new {
            if let Some(partition) = self.open(open) {
                self.to_make.lock().push(partition);
            }
        }
        let openers = to_open.len().min(OPENERS_MAX);
        if openers <= 1 {
            for open in to_open {
                self.open(open);
            }
            return;
        }
        let queue = Mutex::new(to_open.into_iter());
        std::thread::scope(|scope| {
            for _ in 0..openers {
                scope.spawn(|| {
                    loop {
                        // The lock must not be held while a log is opened.
                        let next = queue.lock().next();
                        let Some(open) = next else { return };
                        self.open(open);
                    }
                });
            }
        });
    }

    /// Makes the files of the partitions that came last. A topic of fifty partitions is of use before that is done: who
    /// appends first makes its own. Blocks on the disk.
    pub fn make_logs(&self) {
        loop {
            // The lock must not be held while a log is made.
            let next = self.to_make.lock().pop();
            let Some(partition) = next else { return };
            if let Err(error) = partition.make_log() {
                tracing::warn!(
                    partition = %partition.topic_partition(), %error, "log not made, its first append tries again"
                );
            }
        }
    }

    fn open(&self, open: ToOpen) -> Option<Arc<Partition>> {
        let ToOpen { id, topic_partition, registration, config, directory } = open;
        let found = self.unclaimed.lock().get(&topic_partition).cloned();
        let is_found = found.is_some();
        let may_have_failed =
            self.may_lie_in_failed(id, directory, found.as_ref().map(|(_, on_disk)| on_disk));
        let wished = if is_found { None } else { self.take_preferred(&topic_partition) };
        let dir = found.map(|(dir, _)| dir).or(wished).or_else(|| self.dirs.by_id(directory).cloned());
        let opened = match dir.or_else(|| self.dirs.least_loaded().cloned()) {
            _ if may_have_failed => Err("it may lie in a log directory that is offline".to_owned()),
            Some(dir) => {
                let partition = Partition::open(
                    dir,
                    topic_partition.clone(),
                    id,
                    config,
                    self.settings.clone(),
                    Arc::clone(&self.isr_changes),
                );
                partition.map_err(|error| error.to_string())
            }
            None => Err("every log directory is offline".to_owned()),
        };
        let hosted = match opened {
            Ok(partition) => {
                self.unclaimed.lock().remove(&topic_partition);
                if is_found {
                    self.resume_move(&partition);
                }
                partition.handle_registration(&registration);
                Hosted::Online(partition)
            }
            Err(error) => {
                tracing::error!(partition = %topic_partition, %error, "cannot open a log");
                Hosted::Offline
            }
        };
        self.partitions.write().insert(id, hosted.clone());
        match hosted {
            Hosted::Online(partition) => Some(partition),
            Hosted::Offline => None,
        }
    }

    /// Whether it was here.
    fn delete(&self, id: TopicIdPartition) -> bool {
        let removed = self.partitions.write().remove(&id);
        let is_here = removed.is_some();
        let Some(Hosted::Online(partition)) = removed else { return is_here };
        let (log, copy) = partition.take_log(ErrorCode::UnknownTopicOrPartition);
        if let Some(copy) = copy {
            copy.give_up();
        }
        let Some((log, dir)) = log else { return is_here };
        if let Err(error) = dir.log.delete_partition(log, clock::now()) {
            tracing::error!(partition = %partition.topic_partition(), %error, "cannot delete a log");
        }
        is_here
    }

    /// Deletes what lies on disk and belongs to no partition of this broker, and opens again what could not be opened
    /// because it lay in the way. To be called once the image is known to be complete, never on the way there: a topic that
    /// the image does not have *yet* is no stray.
    pub(crate) fn remove_strays(&self, image: &MetadataImage) -> Vec<FollowChange> {
        let unclaimed = std::mem::take(&mut *self.unclaimed.lock());
        for (dir, stray) in unclaimed.into_values() {
            if self.is_ours(image, &stray) {
                continue;
            }
            tracing::info!(partition = %stray.topic_partition, topic_id = ?stray.topic_id, "deleting a stray log");
            if let Err(error) = dir.log.delete_stray(&stray, clock::now()) {
                tracing::error!(partition = %stray.topic_partition, %error, "cannot delete a stray log");
            }
        }
        self.remove_stray_copies();
        let is_offline = |id: &TopicIdPartition| matches!(self.hosted(*id), Some(Hosted::Offline));
        let mut to_open = Vec::new();
        for (topic, partition, state) in image.topics().partitions_of(self.settings.broker_id) {
            let id = TopicIdPartition { topic_id: topic.id(), partition };
            if is_offline(&id) {
                to_open.push(ToOpen {
                    id,
                    topic_partition: TopicPartition { topic: Arc::clone(topic.name()), partition },
                    registration: self.registration(image, state),
                    config: Arc::new(self.topic_config(image, topic.name())),
                    directory: state.directory(self.settings.broker_id),
                });
            }
        }
        let opened: Vec<_> = to_open.iter().map(|open| open.id).collect();
        self.open_all(to_open);
        self.is_loaded.store(true, Ordering::Release);
        opened.into_iter().map(|id| self.follow_change(id)).collect()
    }

    /// Whether metadata gives this broker the partition found on disk. One that could not be opened must not be taken for a
    /// stray; one of which the id is not readable counts by its name.
    fn is_ours(&self, image: &MetadataImage, found: &PartitionOnDisk) -> bool {
        let TopicPartition { topic, partition } = &found.topic_partition;
        let state = match found.topic_id {
            Some(id) => image.topics().partition(id, *partition),
            None => image.partition_by_name(topic, *partition).map(|(_, state)| state),
        };
        state.is_some_and(|state| state.replicas.contains(&self.settings.broker_id))
    }

    fn have_broker_settings_changed(&self, delta: &MetadataDelta) -> bool {
        let own = ConfigResource::broker(self.settings.broker_id);
        delta.configs.contains_key(&own) || delta.configs.contains_key(&ConfigResource::default_broker())
    }

    fn apply_move_rate(&self, delta: &MetadataDelta, image: &MetadataImage) {
        if self.have_broker_settings_changed(delta) {
            *self.move_rate.lock() = move_rate(&self.broker_settings(image));
        }
    }

    /// Settings that changed reach the logs they concern: one topic's, or all.
    fn apply_configs(&self, delta: &MetadataDelta, image: &MetadataImage) {
        if self.have_broker_settings_changed(delta) {
            let settings = self.broker_settings(image);
            self.settings.throttles.set_limits(&settings);
            *self.cleaner_settings.lock() = CleanerSettings::of(&settings);
            self.dirs.set_cordoned(&cordoned_log_dirs(&settings));
            let mut configs: HashMap<Arc<str>, Arc<TopicConfig>> = HashMap::new();
            for partition in self.partitions() {
                let topic = &partition.topic_partition().topic;
                let config = configs
                    .entry(Arc::clone(topic))
                    .or_insert_with(|| Arc::new(self.topic_config(image, topic)));
                partition.update_config(Arc::clone(config));
            }
            return;
        }
        let changed =
            delta.configs.keys().filter(|resource| resource.resource_type == ConfigResourceType::Topic);
        for resource in changed {
            let Some(topic) = image.topics().by_name(&resource.name) else { continue };
            let config = Arc::new(self.topic_config(image, topic.name()));
            for (partition, _) in topic.partitions() {
                let id = TopicIdPartition { topic_id: topic.id(), partition };
                if let Some(Hosted::Online(partition)) = self.hosted(id) {
                    partition.update_config(Arc::clone(&config));
                }
            }
        }
    }

    fn topic_config(&self, image: &MetadataImage, topic: &Arc<str>) -> TopicConfig {
        let own = image.configs().of(&ConfigResource::topic(Arc::clone(topic)));
        self.broker_settings(image).topic_config(own.map(|configs| &**configs))
    }

    fn broker_settings<'a>(&'a self, image: &'a MetadataImage) -> BrokerSettings<'a> {
        let configs = image.configs();
        let own = ConfigResource::broker(self.settings.broker_id);
        BrokerSettings {
            statics: &self.statics,
            of_this_broker: configs.of(&own).map(|configs| &**configs),
            of_all_brokers: configs.of(&ConfigResource::default_broker()).map(|configs| &**configs),
        }
    }

    /// The directory has gone offline: its partitions take nothing any more, and who waits for them is told.
    pub fn handle_offline_dir(&self, dir: &LogDir) {
        let reason = dir.log.offline_reason().unwrap_or_else(|| "unknown".into());
        for partition in self.partitions() {
            if partition.end_move_of_failed(dir.id) {
                tracing::warn!(partition = %partition.topic_partition(), "a move ends, for a log directory failed");
            }
            if partition.dir().id == dir.id {
                partition.poison(&reason);
            }
        }
        self.dirs.note_failure();
    }

    /// Writes the checkpoint files of one directory. Blocks on syncs.
    pub fn write_checkpoints(&self, dir: &LogDir) -> Result<(), LogError> {
        if !dir.is_online() {
            return Ok(());
        }
        dir.log.write_checkpoints(&self.checkpoints_of(dir))
    }

    pub(crate) fn checkpoints_of(&self, dir: &LogDir) -> Vec<moldau_log::PartitionCheckpoint> {
        let partitions = self.partitions();
        partitions.iter().filter_map(|partition| partition.checkpoint(dir)).collect()
    }
}

impl ReplicaManager {
    /// Whether the files of new partitions are still to be made.
    pub(crate) fn has_logs_to_make(&self) -> bool {
        !self.to_make.lock().is_empty()
    }
}

/// `replica.alter.log.dirs.io.max.bytes.per.second`, unless it is no limit.
fn move_rate(settings: &BrokerSettings<'_>) -> Option<f64> {
    let rate: i64 = settings.value("replica.alter.log.dirs.io.max.bytes.per.second")?.trim().parse().ok()?;
    (rate < i64::MAX).then_some(rate as f64)
}

/// `cordoned.log.dirs`.
fn cordoned_log_dirs<'a>(settings: &BrokerSettings<'a>) -> Vec<&'a str> {
    settings.value("cordoned.log.dirs").map(as_list).unwrap_or_default()
}

#[cfg(test)]
mod tests;
