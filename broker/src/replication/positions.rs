//! Which partitions a fetcher follows, what their leader was told of each, and which of them have to be named next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use moldau_kafka::ReplicaFetchPartition;
use moldau_model::{LeaderEpoch, Offset, TopicIdPartition};
use tokio::time::Instant;

use super::inbox::Assignment;
use crate::replica_manager::{FetchPosition, Partition};

/// The first pause after a partition's answer could not be followed; it doubles up to `replica.fetch.backoff.ms`.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
/// How soon a partition that was left out because of its broker's quota is looked at again.
const THROTTLE_PAUSE: Duration = Duration::from_millis(250);
/// Partitions that one request names; the others follow in the next. A leader reads no request of more elements.
const NAMED_MAX: usize = 20_000;

/// The pause after this many failures in a row.
pub(super) fn backoff(failures: u32, max: Duration) -> Duration {
    BACKOFF_MIN.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(max.max(BACKOFF_MIN))
}

struct Following {
    partition: Arc<Partition>,
    leader_epoch: LeaderEpoch,
    /// What the leader was told last.
    told: Option<FetchPosition>,
    /// It is in the leader's session, as far as this side knows.
    is_in_session: bool,
    delayed_until: Option<Instant>,
    failures: u32,
}

/// All partitions of one fetcher.
#[derive(Default)]
pub(super) struct Positions {
    following: BTreeMap<TopicIdPartition, Following>,
    /// To be named by the session's next fetch.
    changed: BTreeSet<TopicIdPartition>,
    /// To be taken out of the session by its next fetch.
    forgotten: BTreeSet<TopicIdPartition>,
    /// More of them is durable than the leader was told.
    synced: BTreeSet<TopicIdPartition>,
    delayed: BTreeSet<(Instant, TopicIdPartition)>,
    /// Some of `changed` is not to wait for the fetch under way.
    is_urgent: bool,
}

/// What the next request of a session says.
#[derive(Default)]
pub(super) struct Named {
    pub(super) partitions: Vec<ReplicaFetchPartition>,
    pub(super) forgotten: Vec<TopicIdPartition>,
}

impl Positions {
    pub(super) fn assign(&mut self, id: TopicIdPartition, assignment: Option<Assignment>) {
        let before = self.following.remove(&id);
        let is_in_session = before.as_ref().is_some_and(|before| before.is_in_session);
        if let Some(until) = before.and_then(|before| before.delayed_until) {
            self.delayed.remove(&(until, id));
        }
        let Some(Assignment { partition, leader_epoch }) = assignment else {
            self.changed.remove(&id);
            self.synced.remove(&id);
            if is_in_session {
                self.forgotten.insert(id);
            }
            return;
        };
        let following = Following {
            partition,
            leader_epoch,
            told: None,
            is_in_session,
            delayed_until: None,
            failures: 0,
        };
        self.following.insert(id, following);
        self.changed.insert(id);
        self.is_urgent = true;
    }

    pub(super) fn note_synced(&mut self, id: TopicIdPartition) {
        if self.following.contains_key(&id) {
            self.synced.insert(id);
        }
    }

    pub(super) fn has_synced(&self) -> bool {
        !self.synced.is_empty()
    }

    pub(super) fn is_urgent(&self) -> bool {
        self.is_urgent
    }

    pub(super) fn make_urgent(&mut self) {
        self.is_urgent = true;
    }

    /// Whether there is any partition to fetch now.
    pub(super) fn has_fetchable(&self) -> bool {
        self.following.len() > self.delayed.len()
    }

    pub(super) fn get(&self, id: TopicIdPartition) -> Option<(&Arc<Partition>, LeaderEpoch, Option<Offset>)> {
        let following = self.following.get(&id)?;
        Some((&following.partition, following.leader_epoch, following.told.map(|told| told.fetch_offset)))
    }

    /// The log has moved: its partition is named again.
    pub(super) fn note_progress(&mut self, id: TopicIdPartition, leader_epoch: LeaderEpoch) {
        if let Some(following) = self.following.get_mut(&id)
            && following.leader_epoch == leader_epoch
        {
            following.failures = 0;
            self.changed.insert(id);
        }
    }

    /// The partition rests for a while, longer each time. Returns how often this has happened in a row.
    pub(super) fn delay(
        &mut self,
        id: TopicIdPartition,
        leader_epoch: LeaderEpoch,
        backoff_max: Duration,
        now: Instant,
    ) -> u32 {
        let Some(following) = self.following.get_mut(&id) else { return 0 };
        if following.leader_epoch != leader_epoch || following.delayed_until.is_some() {
            return 0;
        }
        following.failures += 1;
        let failures = following.failures;
        self.leave_out(id, now + backoff(failures, backoff_max));
        failures
    }

    /// The quota is exceeded: the partitions that it holds back are left out for a while.
    pub(super) fn rest_throttled(&mut self, now: Instant) {
        let is_held_back =
            |following: &Following| following.delayed_until.is_none() && following.partition.is_held_back();
        let held_back: Vec<TopicIdPartition> = self
            .following
            .iter()
            .filter(|(_, following)| is_held_back(following))
            .map(|(id, _)| *id)
            .collect();
        for id in held_back {
            self.leave_out(id, now + THROTTLE_PAUSE);
        }
    }

    /// The leader is to send nothing of it, and to be told anew where it stands when it comes back: it may have refused
    /// what it was told, or been told to no purpose.
    fn leave_out(&mut self, id: TopicIdPartition, until: Instant) {
        let Some(following) = self.following.get_mut(&id) else { return };
        following.told = None;
        following.delayed_until = Some(until);
        self.delayed.insert((until, id));
        self.changed.remove(&id);
        if following.is_in_session {
            self.forgotten.insert(id);
        }
    }

    pub(super) fn next_return(&self) -> Option<Instant> {
        self.delayed.first().map(|(until, _)| *until)
    }

    /// Partitions that have rested long enough are asked for again, unless the quota is exceeded that holds them back.
    pub(super) fn return_delayed(&mut self, now: Instant, is_quota_exceeded: bool) {
        while let Some(&(until, id)) = self.delayed.first()
            && until <= now
        {
            self.delayed.pop_first();
            let Some(following) = self.following.get_mut(&id) else { continue };
            if is_quota_exceeded && following.partition.is_held_back() {
                let until = now + THROTTLE_PAUSE;
                following.delayed_until = Some(until);
                self.delayed.insert((until, id));
                continue;
            }
            following.delayed_until = None;
            self.changed.insert(id);
            self.is_urgent = true;
        }
    }

    /// A new session begins: the leader knows of nothing.
    pub(super) fn begin_session(&mut self) {
        self.forgotten.clear();
        for (&id, following) in &mut self.following {
            following.is_in_session = false;
            following.told = None;
            if following.delayed_until.is_none() {
                self.changed.insert(id);
            }
        }
    }

    /// What the session's next fetch names. Partitions that metadata has made something else of are left out: their next
    /// assignment is on its way.
    pub(super) fn take_for_fetch(&mut self, bytes_max: i32) -> Named {
        self.changed.append(&mut self.synced);
        let mut named = Named::default();
        self.is_urgent = false;
        while let Some(id) = self.changed.pop_first() {
            if named.partitions.len() == NAMED_MAX {
                self.changed.insert(id);
                self.is_urgent = true;
                break;
            }
            let Some(following) = self.following.get_mut(&id) else { continue };
            if following.delayed_until.is_some() {
                continue;
            }
            let Some((position, high_watermark)) = following.partition.fetch_position(following.leader_epoch)
            else {
                continue;
            };
            self.forgotten.remove(&id);
            if following.is_in_session && following.told == Some(position) {
                continue;
            }
            following.told = Some(position);
            following.is_in_session = true;
            named.partitions.push(wire(id, following.leader_epoch, position, high_watermark, bytes_max));
        }
        for id in std::mem::take(&mut self.forgotten) {
            if let Some(following) = self.following.get_mut(&id) {
                following.is_in_session = false;
            }
            named.forgotten.push(id);
        }
        named
    }

    /// What a report says: the partitions of which the leader was told less than is durable.
    pub(super) fn take_for_report(&mut self) -> Vec<ReplicaFetchPartition> {
        let mut partitions = Vec::new();
        while partitions.len() < NAMED_MAX
            && let Some(id) = self.synced.pop_first()
        {
            let Some(following) = self.following.get_mut(&id) else { continue };
            let Some((position, high_watermark)) = following.partition.fetch_position(following.leader_epoch)
            else {
                continue;
            };
            let Some(told) = &mut following.told else { continue };
            if position.durable_end <= told.durable_end {
                continue;
            }
            told.durable_end = position.durable_end;
            // A new start is told by the fetch, when it is written down.
            let position = FetchPosition { log_start: told.log_start, ..position };
            partitions.push(wire(id, following.leader_epoch, position, high_watermark, 0));
        }
        partitions
    }
}

fn wire(
    id: TopicIdPartition,
    leader_epoch: LeaderEpoch,
    position: FetchPosition,
    high_watermark: Offset,
    bytes_max: i32,
) -> ReplicaFetchPartition {
    ReplicaFetchPartition {
        id,
        leader_epoch,
        fetch_offset: position.fetch_offset,
        last_fetched_epoch: position.last_fetched_epoch,
        log_start: position.log_start,
        durable_end: position.durable_end,
        high_watermark,
        bytes_max,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap as Map;
    use std::path::PathBuf;

    use moldau_kafka::FetchedPartition;
    use moldau_log::FileSystem;
    use moldau_log::file_system::FaultFileSystem;
    use moldau_metadata::config::{FlushPolicy, TopicConfig};
    use moldau_model::{BrokerId, ErrorCode, PartitionEpoch, PartitionIndex, TopicId, TopicPartition, Uuid};
    use moldau_replica::PartitionRegistration;

    use super::*;
    use crate::log_dirs::LogDirs;
    use crate::replica_manager::PartitionSettings;
    use crate::replication::Throttles;

    const ID: TopicIdPartition =
        TopicIdPartition { topic_id: TopicId::from_bytes([7; 16]), partition: PartitionIndex(0) };
    const EPOCH: LeaderEpoch = LeaderEpoch(3);

    /// A follower of broker 2 with an empty log.
    fn partition(config: TopicConfig, throttles: Arc<Throttles>) -> Arc<Partition> {
        let file_system: Arc<dyn FileSystem> = Arc::new(FaultFileSystem::new());
        let dirs =
            LogDirs::open(&file_system, &[PathBuf::from("/data")], &[], "cluster", BrokerId(1), 10).unwrap();
        let settings = PartitionSettings {
            broker_id: BrokerId(1),
            incarnation_id: Uuid::from_bytes([3; 16]),
            flush_policy: FlushPolicy::OnAck,
            lag_ms_max: 30_000,
            producer_id_expiration_ms: 1,
            throttles,
            traffic: Arc::default(),
        };
        let dir = Arc::clone(dirs.least_loaded().unwrap());
        let (name, config) = (TopicPartition::new("t", 0), Arc::new(config));
        let partition = Partition::open(dir, name, ID, config, settings, Arc::default()).unwrap();
        partition.handle_registration(&PartitionRegistration {
            replicas: vec![BrokerId(1), BrokerId(2)],
            isr: vec![BrokerId(2)],
            absent: Vec::new(),
            leader: Some(BrokerId(2)),
            leader_epoch: EPOCH,
            partition_epoch: PartitionEpoch(0),
        });
        partition
    }

    fn following() -> Positions {
        let mut positions = Positions::default();
        let partition = partition(TopicConfig::default(), Arc::new(Throttles::new(&Map::new())));
        positions.assign(ID, Some(Assignment { partition, leader_epoch: EPOCH }));
        positions
    }

    fn named(positions: &mut Positions) -> usize {
        positions.take_for_fetch(100).partitions.len()
    }

    #[test]
    fn a_partition_is_named_once_and_again_after_a_refusal_though_its_log_stands_still() {
        let mut positions = following();
        assert_eq!((named(&mut positions), named(&mut positions)), (1, 0));
        positions.note_progress(ID, EPOCH);
        assert_eq!(named(&mut positions), 0, "the leader knows");
        let now = Instant::now();
        assert_eq!(positions.delay(ID, EPOCH, Duration::from_secs(1), now), 1);
        assert_eq!(positions.delay(ID, EPOCH, Duration::from_secs(1), now), 0, "it rests already");
        assert!(!positions.has_fetchable());
        positions.return_delayed(now, false);
        assert!(!positions.has_fetchable(), "not so soon");
        positions.return_delayed(now + Duration::from_secs(1), false);
        assert!(positions.has_fetchable() && positions.is_urgent());
        assert_eq!((named(&mut positions), named(&mut positions)), (1, 0));
        positions.begin_session();
        assert_eq!(named(&mut positions), 1, "a new session knows of nothing");
    }

    #[test]
    fn what_is_not_followed_any_more_is_taken_out_of_the_session_and_of_no_other_epoch() {
        let mut positions = following();
        assert_eq!(named(&mut positions), 1);
        assert_eq!(
            positions.delay(ID, LeaderEpoch(2), Duration::ZERO, Instant::now()),
            0,
            "of another epoch"
        );
        positions.assign(ID, None);
        let last = positions.take_for_fetch(100);
        assert_eq!((last.partitions.len(), last.forgotten.as_slice()), (0, &[ID][..]));
        assert!(positions.take_for_fetch(100).forgotten.is_empty());
        assert!(positions.get(ID).is_none() && !positions.has_fetchable());
    }

    #[test]
    fn what_lags_and_is_throttled_is_left_out_while_the_quota_is_exceeded_and_nothing_else_is() {
        let config = |throttled: &'static str| {
            TopicConfig::from_values(|name| {
                (name == "follower.replication.throttled.replicas").then_some(throttled)
            })
        };
        let now = Instant::now();
        let throttles = Arc::new(Throttles::new(&Map::new()));
        for (throttled, isr, high_watermark, is_left_out) in [
            ("0:1", vec![2], None, true),
            ("*", vec![2], Some(5), true),
            ("*", vec![2], Some(0), false),
            ("*", vec![1, 2], Some(5), false),
            ("0:2,1:1", vec![2], None, false),
            ("", vec![2], None, false),
        ] {
            let case = format!("{throttled:?} {isr:?} {high_watermark:?}");
            let partition = partition(config(throttled), Arc::clone(&throttles));
            partition.handle_registration(&PartitionRegistration {
                replicas: vec![BrokerId(1), BrokerId(2)],
                isr: isr.into_iter().map(BrokerId).collect(),
                absent: Vec::new(),
                leader: Some(BrokerId(2)),
                leader_epoch: EPOCH,
                partition_epoch: PartitionEpoch(1),
            });
            if let Some(high_watermark) = high_watermark {
                let answer = FetchedPartition {
                    id: ID,
                    error_code: ErrorCode::None,
                    high_watermark: Offset(high_watermark),
                    log_start_offset: Offset::ZERO,
                    diverging_epoch: None,
                    records: bytes::Bytes::new(),
                };
                partition.follow(EPOCH, None, &answer).unwrap();
            }
            let mut positions = Positions::default();
            positions.assign(ID, Some(Assignment { partition, leader_epoch: EPOCH }));
            assert_eq!(named(&mut positions), 1);
            positions.rest_throttled(now);
            assert_eq!(positions.has_fetchable(), !is_left_out, "{case}");
            if !is_left_out {
                continue;
            }
            assert_eq!(positions.take_for_fetch(100).forgotten, [ID], "the leader is to send nothing of it");
            let later = now + THROTTLE_PAUSE;
            positions.return_delayed(later, true);
            assert!(!positions.has_fetchable() && !positions.is_urgent(), "still exceeded: {case}");
            positions.return_delayed(later, false);
            assert!(!positions.has_fetchable(), "it waits for its next look: {case}");
            positions.return_delayed(later + THROTTLE_PAUSE, false);
            assert_eq!(named(&mut positions), 1, "{case}");
        }
    }

    #[test]
    fn pauses_double_up_to_the_setting() {
        let max = Duration::from_millis(100);
        let found: Vec<u128> = (1..6).map(|failures| backoff(failures, max).as_millis()).collect();
        assert_eq!(found, [20, 40, 80, 100, 100]);
        assert_eq!(backoff(u32::MAX, max), max);
        assert_eq!(backoff(1, Duration::ZERO), BACKOFF_MIN);
    }
}
