//! Replicas of one partition on disks of their own, without a network between them: the scripts of KIP-101 and KIP-279,
//! cuts at every batch, logs that start behind one another, and random histories of elections and power cuts.

use moldau_kafka::FetchedPartition;
use moldau_metadata::config::TopicConfig;
use moldau_model::{BrokerEpoch, PartitionEpoch, TopicId};
use moldau_record::{BatchBuilder, Batches};
use moldau_replica::{FollowerFetch, PartitionRegistration};

use super::*;
use crate::log_dirs::LogDirs;
use crate::purgatory::DelayedOperation;

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;
const ALL: [usize; 3] = [A, B, C];

/// One broker with its replica.
struct Host {
    id: BrokerId,
    /// A new one after each crash.
    broker_epoch: i64,
    disk: FaultFileSystem,
    partition: Arc<Partition>,
}

/// All of them, and what metadata says.
struct World {
    hosts: Vec<Host>,
    leader_epoch: i32,
    partition_epoch: i32,
    next_value: u64,
}

fn id() -> TopicIdPartition {
    TopicIdPartition { topic_id: TopicId::from_random_bytes([7; 16]), partition: PartitionIndex(0) }
}

fn open(id_: BrokerId, disk: &FaultFileSystem) -> Arc<Partition> {
    let file_system: Arc<dyn FileSystem> = Arc::new(disk.clone());
    let dirs = LogDirs::open(&file_system, &[PathBuf::from("/data")], &[], "cluster", id_, 100).unwrap();
    let statics = BTreeMap::new();
    let broker = BrokerSettings { statics: &statics, of_this_broker: None, of_all_brokers: None };
    let config = Arc::new(TopicConfig { segment_bytes: 2000, ..broker.topic_config(None) });
    let settings = PartitionSettings {
        broker_id: id_,
        incarnation_id: INCARNATION,
        flush_policy: FlushPolicy::OnAck,
        lag_ms_max: 1_000_000,
        producer_id_expiration_ms: 86_400_000,
        throttles: Arc::new(crate::replication::Throttles::new(&BTreeMap::new())),
        traffic: Arc::default(),
    };
    let dir = Arc::clone(dirs.least_loaded().unwrap());
    let topic_partition = TopicPartition::new("t", 0);
    Partition::open(dir, topic_partition, id(), config, settings, Arc::default()).unwrap()
}

impl World {
    fn new() -> Self {
        let host = |number: i32| {
            let (id, disk) = (BrokerId(number), FaultFileSystem::new());
            Host { id, broker_epoch: 1, partition: open(id, &disk), disk }
        };
        let mut world =
            Self { hosts: [1, 2, 3].map(host).into(), leader_epoch: -1, partition_epoch: -1, next_value: 0 };
        world.elect(A);
        world
    }

    fn registration(&self, leader: usize) -> PartitionRegistration {
        let all: Vec<BrokerId> = self.hosts.iter().map(|host| host.id).collect();
        PartitionRegistration {
            replicas: all.clone(),
            isr: all,
            absent: Vec::new(),
            leader: Some(self.hosts[leader].id),
            leader_epoch: LeaderEpoch(self.leader_epoch),
            partition_epoch: PartitionEpoch(self.partition_epoch),
        }
    }

    /// Metadata says that this one leads, and all hear of it.
    fn elect(&mut self, leader: usize) {
        self.leader_epoch += 1;
        self.partition_epoch += 1;
        for host in ALL {
            self.tell(host, leader);
        }
    }

    fn tell(&self, host: usize, leader: usize) {
        self.hosts[host].partition.handle_registration(&self.registration(leader));
    }

    /// The machine loses its power: what was not synced goes. It comes back as another registration of its broker, and
    /// has no role before it is told one.
    fn crash(&mut self, host: usize, seed: u64) {
        let host = &mut self.hosts[host];
        host.disk.power_cut(seed);
        host.broker_epoch += 1;
        host.partition = open(host.id, &host.disk);
    }

    /// Appends batches of two records, unlike any before, to a leader.
    fn append(&mut self, leader: usize, batches: usize) {
        for _ in 0..batches {
            let mut builder = BatchBuilder::new();
            for _ in 0..2 {
                self.next_value += 1;
                let value = format!("value {}", self.next_value);
                builder.append(crate::clock::now(), None, Some(value.as_bytes()), &[]).unwrap();
            }
            let mut batch = builder.build().unwrap();
            let partition = &self.hosts[leader].partition;
            partition.append(&mut batch, moldau_log::AppendOrigin::Client, None).unwrap();
        }
    }

    fn sync(&self, host: usize) {
        while self.hosts[host].partition.sync().unwrap() {}
    }

    /// One fetch, from the question to what the answer did.
    fn fetch(&self, follower: usize, leader: usize, bytes_max: usize) -> Result<Followed, FollowError> {
        self.fetch_as_of(follower, leader, bytes_max, Offset::ZERO)
    }

    /// The same, with what the leader's broker knew of the follower's at that offset of the metadata.
    fn fetch_as_of(
        &self,
        follower: usize,
        leader: usize,
        bytes_max: usize,
        as_of: Offset,
    ) -> Result<Followed, FollowError> {
        let (follower, leader) = (&self.hosts[follower], &self.hosts[leader]);
        let leader_epoch = LeaderEpoch(self.leader_epoch);
        let (position, _) =
            follower.partition.fetch_position(leader_epoch).ok_or(FollowError::NotFollower)?;
        let fetch = FollowerFetch {
            fetch_offset: position.fetch_offset,
            durable_end: position.durable_end,
            log_start: position.log_start,
            broker_epoch: BrokerEpoch(follower.broker_epoch),
            may_join: true,
        };
        let request = ReadRequest {
            fetch_offset: position.fetch_offset,
            bytes_max,
            at_least_one_batch: true,
            current_leader_epoch: leader_epoch,
            last_fetched_epoch: position.last_fetched_epoch,
            isolation: Isolation::LogEnd,
        };
        let read = leader
            .partition
            .read_for_follower(follower.id, &fetch, FollowerNews::Progress, &request, as_of, None)
            .map_err(FollowError::Refused)?;
        let fetched = FetchedPartition {
            id: id(),
            error_code: if read.is_out_of_range { ErrorCode::OffsetOutOfRange } else { ErrorCode::None },
            high_watermark: read.high_watermark,
            log_start_offset: read.log_start_offset,
            diverging_epoch: read.diverging_epoch.map(|end| moldau_kafka::EpochEndOffset {
                epoch: end.leader_epoch,
                end_offset: end.end_offset,
            }),
            records: read.records.map(|slice| slice.read_all().unwrap().into()).unwrap_or_default(),
        };
        follower.partition.follow(leader_epoch, Some(position.fetch_offset), &fetched)
    }

    /// Fetches until there is nothing more. Returns how often the log was cut on the way.
    fn catch_up(&self, follower: usize, leader: usize) -> usize {
        let mut cuts = 0;
        for _ in 0..1000 {
            match self.fetch(follower, leader, 300).unwrap() {
                Followed::Nothing => return cuts,
                Followed::Truncated => cuts += 1,
                Followed::Grown | Followed::StartMoved => {}
                Followed::Outdated => panic!("nothing else moves the log"),
            }
        }
        panic!("the follower does not get to an end");
    }

    /// All follow the leader to its end, sync, and tell it.
    fn settle(&self, leader: usize) {
        self.sync(leader);
        for _ in 0..2 {
            for host in ALL.into_iter().filter(|host| *host != leader) {
                self.catch_up(host, leader);
                self.sync(host);
            }
        }
        for host in ALL.into_iter().filter(|host| *host != leader) {
            self.catch_up(host, leader);
        }
    }

    fn bytes(&self, host: usize) -> Vec<u8> {
        let partition = &self.hosts[host].partition;
        let state = partition.lock();
        let log = state.log.as_ref().unwrap();
        let (mut at, end) = (log.log_start_offset(), log.log_end_offset());
        let mut bytes = Vec::new();
        while at < end {
            let slice = log.read(at, 1 << 20, end, true).unwrap().slice.unwrap();
            let piece = slice.read_all().unwrap();
            for batch in Batches::new(&piece) {
                at = batch.unwrap().next_offset();
            }
            bytes.extend_from_slice(&piece);
        }
        bytes
    }

    fn end(&self, host: usize) -> i64 {
        self.hosts[host].partition.log_bounds().unwrap().1.0
    }

    fn high_watermark(&self, host: usize) -> i64 {
        self.hosts[host].partition.high_watermark().0
    }

    fn assert_equal(&self) {
        let expected = self.bytes(A);
        assert!(self.bytes(B) == expected && self.bytes(C) == expected, "the replicas differ");
    }
}

#[test]
fn kip_101_a_follower_that_restarts_keeps_what_is_above_its_high_watermark() {
    let mut world = World::new();
    world.append(A, 1);
    world.settle(A);
    world.append(A, 1);
    for follower in [B, C] {
        world.catch_up(follower, A);
        world.sync(follower);
    }
    world.sync(A);
    world.catch_up(B, A);
    world.catch_up(C, A);
    let acknowledged = world.high_watermark(A);
    assert_eq!(acknowledged, 4);
    // It has the second batch and has not heard that it is committed; and comes back when its leader is gone.
    world.crash(B, 1);
    world.tell(B, A);
    assert_eq!(world.end(B), 4);
    world.elect(B);
    assert_eq!(world.end(B), 4);
    world.append(B, 1);
    world.settle(B);
    assert_eq!(world.high_watermark(B), 6);
    world.assert_equal();
}

#[test]
fn kip_101_a_leader_that_comes_back_gives_up_what_its_successor_never_had() {
    let mut world = World::new();
    world.append(A, 1);
    world.settle(A);
    world.append(A, 1);
    world.sync(A);
    world.elect(B);
    world.append(B, 1);
    // Both logs end at the same offset, with other records.
    assert_eq!((world.end(A), world.end(B)), (4, 4));
    assert!(world.bytes(A) != world.bytes(B));
    assert_eq!(world.catch_up(A, B), 1);
    world.settle(B);
    world.assert_equal();
    assert_eq!(world.end(A), 4);
}

#[test]
fn kip_279_three_leaders_with_three_tails_converge_whoever_leads_next() {
    for next in ALL {
        let mut world = World::new();
        world.append(A, 3);
        world.settle(A);
        world.append(A, 3);
        world.elect(B);
        world.append(B, 2);
        world.elect(C);
        world.append(C, 1);
        world.elect(next);
        world.append(next, 1);
        world.settle(next);
        world.assert_equal();
        // The committed beginning, the tail of the last leader, and the batch of this one.
        let tail = [3, 2, 1][next];
        assert_eq!(world.end(next), 2 * (3 + tail + 1), "{next}");
    }
}

#[test]
fn a_leader_without_a_record_of_its_own_follows_the_next_one() {
    let mut world = World::new();
    world.append(A, 2);
    world.settle(A);
    // Led for a moment, and wrote nothing: nobody else knows of that epoch.
    world.elect(B);
    world.elect(C);
    world.append(C, 1);
    world.settle(C);
    world.assert_equal();
    assert_eq!(world.end(B), 6);
}

#[test]
fn a_log_is_cut_at_whichever_batch_the_histories_part() {
    for common in 0..12 {
        let mut world = World::new();
        world.append(A, common);
        world.catch_up(B, A);
        world.append(A, 12 - common);
        world.sync(A);
        world.elect(B);
        world.append(B, 3);
        let cuts = world.catch_up(A, B);
        assert_eq!(cuts, usize::from(common < 12), "{common}");
        assert!(world.bytes(A) == world.bytes(B), "{common}");
        // And the power may go right after the cut.
        world.crash(A, common as u64);
        world.tell(A, B);
        world.settle(B);
        world.assert_equal();
    }
}

#[test]
fn what_a_follower_has_not_synced_does_not_count_and_may_be_lost() {
    let mut world = World::new();
    world.append(A, 5);
    world.sync(A);
    world.catch_up(C, A);
    world.sync(C);
    world.catch_up(C, A);
    world.catch_up(B, A);
    assert_eq!((world.end(B), world.high_watermark(A)), (10, 0), "it is there, and not durable");
    world.crash(B, 3);
    world.tell(B, A);
    let left = world.end(B);
    assert!(left < 10);
    world.catch_up(B, A);
    assert!(world.high_watermark(A) <= left, "as much as was found after the crash, and no more");
    world.sync(B);
    world.catch_up(B, A);
    assert_eq!(world.high_watermark(A), 10);
}

#[tokio::test(start_paused = true)]
async fn a_coordinators_records_are_waited_for_until_they_are_committed_or_another_leads() {
    use crate::replica_manager::offsets_store::is_committed;
    let mut world = World::new();
    world.append(A, 1);
    let leader = Arc::clone(&world.hosts[A].partition);
    let until = |end: i64| {
        let leader = Arc::clone(&leader);
        tokio::spawn(async move { is_committed(&leader, LeaderEpoch(0), Offset(end)).await })
    };
    let (first, second) = (until(2), until(4));
    tokio::task::yield_now().await;
    // Whoever produces is told that it failed, but the records stay where they are.
    let mut wake = super::super::wake::Wake::default();
    leader.lock().fail_produces(ErrorCode::NotLeaderOrFollower, &mut wake);
    wake.fire();
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert!(!first.is_finished() && !second.is_finished());
    world.settle(A);
    assert!(first.await.unwrap());
    world.append(A, 1);
    world.elect(B);
    assert!(!second.await.unwrap(), "it may be lost");
}

#[test]
fn a_fetch_of_a_registration_that_is_over_changes_nothing() {
    let mut world = World::new();
    world.append(A, 1);
    world.settle(A);
    world.append(A, 1);
    world.sync(A);
    world.crash(B, 1);
    world.tell(B, A);
    world.catch_up(B, A);
    world.hosts[B].broker_epoch -= 1;
    let refused = world.fetch(B, A, 300).unwrap_err();
    assert!(matches!(refused, FollowError::Refused(ErrorCode::NotLeaderOrFollower)), "{refused}");
    assert_eq!(world.high_watermark(A), 2);
}

#[test]
fn nobody_waits_for_a_follower_that_was_seen_last_in_an_image_from_before_it_left_the_isr() {
    for (as_of, expected) in [(7, 2), (8, 0)] {
        let mut world = World::new();
        world.settle(A);
        // C is on its way down, and metadata has put it out of the ISR. Its fetch that waited is answered with what the
        // broker knew of it before; then it is gone.
        world.partition_epoch += 1;
        let mut registration = world.registration(A);
        registration.isr.retain(|id| *id != world.hosts[C].id);
        let leader = Arc::clone(&world.hosts[A].partition);
        leader.note_metadata_offset(Offset(8));
        leader.handle_registration(&registration);
        world.append(A, 1);
        world.fetch_as_of(C, A, 0, Offset(as_of)).unwrap();
        world.sync(A);
        world.catch_up(B, A);
        world.sync(B);
        world.fetch_as_of(B, A, 0, Offset(8)).unwrap();
        assert_eq!(world.high_watermark(A), expected, "{as_of}");
    }
}

#[test]
fn a_fetch_in_another_epoch_is_refused_and_an_answer_from_one_does_nothing() {
    let mut world = World::new();
    world.append(A, 1);
    world.leader_epoch += 1;
    world.partition_epoch += 1;
    world.tell(B, A);
    let refused = world.fetch(B, A, 300).unwrap_err();
    assert!(matches!(refused, FollowError::Refused(ErrorCode::UnknownLeaderEpoch)), "{refused}");
    world.tell(A, A);
    let refused = world.fetch(C, A, 300).unwrap_err();
    assert!(matches!(refused, FollowError::NotFollower), "C has not heard of the epoch: {refused}");
    assert_eq!(world.end(C), 0);
}

#[test]
fn a_follower_behind_its_leaders_start_begins_there() {
    let mut world = World::new();
    world.append(A, 20);
    world.sync(A);
    for follower in [B, C] {
        world.catch_up(follower, A);
        world.sync(follower);
        world.catch_up(follower, A);
    }
    assert_eq!(world.high_watermark(A), 40);
    // In the middle of a batch, and behind all that C will have.
    let operation = Arc::new(DelayedOperation::new(1));
    world.hosts[A].partition.delete_records(Some(Offset(31)), (&operation, 0)).unwrap();
    assert!(!operation.seal());
    world.hosts[C] = {
        let disk = FaultFileSystem::new();
        Host { id: BrokerId(3), broker_epoch: 9, partition: open(BrokerId(3), &disk), disk }
    };
    world.tell(C, A);
    assert_eq!(world.catch_up(C, A), 1, "it starts anew where the leader's log does");
    world.catch_up(B, A);
    // Not past what is durable there.
    assert_eq!(world.hosts[C].partition.log_bounds().unwrap(), (Offset(30), Offset(40)));
    assert!(!operation.is_done());
    world.sync(C);
    world.catch_up(C, A);
    for follower in [B, C] {
        let (start, end) = world.hosts[follower].partition.log_bounds().unwrap();
        assert_eq!((start, end), (Offset(31), Offset(40)), "{follower}");
    }
    // The leader's low watermark is over all three, now that all three have said so.
    assert!(operation.is_done());
    world.settle(A);
    assert_eq!(world.hosts[A].partition.low_watermark(), Some(Offset(31)));
    world.append(A, 1);
    world.settle(A);
    assert_eq!(world.high_watermark(A), 42);
}

#[test]
fn an_answer_that_comes_twice_is_taken_once() {
    let mut world = World::new();
    world.append(A, 3);
    let leader_epoch = LeaderEpoch(0);
    let partition = Arc::clone(&world.hosts[B].partition);
    let answer = FetchedPartition {
        id: id(),
        error_code: ErrorCode::None,
        high_watermark: Offset(0),
        log_start_offset: Offset(0),
        diverging_epoch: None,
        records: world.bytes(A).into(),
    };
    assert_eq!(partition.follow(leader_epoch, Some(Offset(0)), &answer).unwrap(), Followed::Grown);
    assert_eq!(partition.follow(leader_epoch, Some(Offset(0)), &answer).unwrap(), Followed::Outdated);
    let out_of_range = FetchedPartition { error_code: ErrorCode::OffsetOutOfRange, ..answer };
    let outdated = partition.follow(leader_epoch, Some(Offset(0)), &out_of_range).unwrap();
    assert_eq!((outdated, world.end(B)), (Followed::Outdated, 6));
}

/// A small generator whose whole state is its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

#[test]
fn no_history_of_elections_and_power_cuts_loses_what_was_committed_or_leaves_replicas_apart() {
    for seed in 0..60 {
        let mut random = Random(seed);
        let mut world = World::new();
        let mut leader = A;
        let mut committed: Vec<u8> = Vec::new();
        for step in 0..60 {
            let host = random.below(3);
            match random.below(10) {
                0..3 => world.append(leader, 1 + random.below(3)),
                3..6 if host != leader => {
                    for _ in 0..=random.below(4) {
                        world.fetch(host, leader, 100 + random.below(1000)).unwrap();
                    }
                }
                3..8 => world.sync(host),
                8 => {
                    leader = host;
                    world.elect(leader);
                }
                _ => {
                    world.crash(host, seed * 1000 + step);
                    // Who led before it leads again only in a new epoch.
                    if host == leader {
                        leader = random.below(3);
                        world.elect(leader);
                    } else {
                        world.tell(host, leader);
                    }
                }
            }
            let high_watermark = world.hosts[leader].partition.high_watermark();
            let bytes = world.bytes(leader);
            let mut below = 0;
            for batch in Batches::new(&bytes) {
                let batch = batch.unwrap();
                if batch.next_offset() <= high_watermark {
                    below += batch.size_bytes();
                }
            }
            if below > committed.len() {
                committed = bytes[..below].to_vec();
            }
            for host in ALL {
                let found = world.bytes(host);
                assert!(found.starts_with(&committed), "seed {seed} step {step}: broker {host} lost records");
            }
        }
        world.elect(leader);
        world.append(leader, 1);
        world.settle(leader);
        world.assert_equal();
        assert_eq!(world.high_watermark(leader), world.end(leader), "seed {seed}");
    }
}

/// A second log directory of a host.
fn other_directory(host: &Host, path: &str) -> Arc<LogDir> {
    let file_system: Arc<dyn FileSystem> = Arc::new(host.disk.clone());
    let dirs = LogDirs::open(&file_system, &[PathBuf::from(path)], &[], "cluster", host.id, 100).unwrap();
    Arc::clone(dirs.least_loaded().unwrap())
}

#[test]
fn a_log_that_is_cut_or_begins_anew_while_it_moves_arrives_as_its_leaders() {
    // How far the copy has come when the log is cut, and whether it is cut or begins anew.
    for (steps, begins_anew) in (0..8).flat_map(|steps| [(steps, false), (steps, true)]) {
        let what = format!("after {steps} steps, anew {begins_anew}");
        let mut world = World::new();
        world.append(A, 6);
        world.sync(A);
        world.catch_up(B, A);
        world.catch_up(C, A);
        // B leads, and has records that nobody else has.
        world.elect(B);
        world.append(B, 6);
        world.sync(B);
        let goal = other_directory(&world.hosts[B], "/goal");
        let moving = Arc::clone(&world.hosts[B].partition);
        moving.begin_move(&goal, None).unwrap();
        for _ in 0..steps {
            if let MoveProgress::Moved { old, from } = moving.advance_move() {
                moving.finish_move(old, &from).unwrap();
            }
        }
        world.elect(A);
        world.append(A, 9);
        world.sync(A);
        if begins_anew {
            let mut state = moving.lock();
            let mut wake = super::super::wake::Wake::default();
            moving.start_at(&mut state, Offset(0), &mut wake).unwrap();
        }
        world.catch_up(B, A);
        while moving.is_moving() {
            match moving.advance_move() {
                MoveProgress::Moved { old, from } => moving.finish_move(old, &from).unwrap(),
                MoveProgress::Copied(_) => {}
                _ => panic!("{what}"),
            }
        }
        assert_eq!(moving.dir().id, goal.id, "{what}");
        assert!(world.bytes(B) == world.bytes(A), "{what}");
        // And it follows on.
        world.append(A, 2);
        world.sync(A);
        world.catch_up(B, A);
        assert!(world.bytes(B) == world.bytes(A), "{what}");
    }
}
