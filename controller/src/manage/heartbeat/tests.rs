//! Brokers that live, fall silent, leave and are lost.

use moldau_model::{ErrorCode, Uuid};

use super::super::Random;
use super::super::placement::Placement;
use super::super::testing::{Cluster, directory};
use super::*;

struct Life {
    cluster: Cluster,
    sessions: BrokerSessions,
}

const TIMEOUT_MS: i64 = 9_000;

impl Life {
    fn new(brokers: i32) -> Self {
        Self { cluster: Cluster::new(brokers), sessions: BrokerSessions::new(TIMEOUT_MS) }
    }

    /// (caught up, fenced, may stop)
    fn beat(&mut self, request: &Heartbeat, now: i64) -> (bool, bool, bool) {
        let Cluster { image, settings, .. } = &self.cluster;
        let decision = self.sessions.handle_heartbeat(image, settings, request, TimestampMs(now)).unwrap();
        self.cluster.commit(decision.records);
        let reply = decision.response;
        // What the broker is told is what the image says once the records are committed.
        assert_eq!(self.cluster.image.broker(request.broker_id).unwrap().fenced, reply.is_fenced);
        (reply.is_caught_up, reply.is_fenced, reply.should_shut_down)
    }
}

#[test]
fn a_broker_is_let_in_once_it_knows_of_its_own_registration() {
    let mut life = Life::new(1);
    life.cluster.register(1, false);
    let caught_up = life.cluster.heartbeat(1);
    let behind = Heartbeat { metadata_offset: Offset(caught_up.metadata_offset.0 - 1), ..caught_up.clone() };
    assert_eq!(life.beat(&behind, 0), (false, true, false));
    let shy = Heartbeat { want_fence: true, ..caught_up.clone() };
    assert_eq!(life.beat(&shy, 0), (true, true, false));
    assert_eq!(life.beat(&caught_up, 0), (true, false, false));
    assert_eq!(life.beat(&caught_up, 0), (true, false, false));
    assert_eq!(life.beat(&shy, 0), (true, true, false));
}

#[test]
fn a_broker_may_stop_once_its_leaderships_moved_and_the_others_know() {
    let mut life = Life::new(2);
    life.cluster.topic("t", &[&[1, 2]], &[]);
    let leave = |life: &Life| Heartbeat { want_shutdown: true, ..life.cluster.heartbeat(1) };
    let ignorant = life.cluster.heartbeat(2);
    assert_eq!(life.beat(&ignorant, 0), (true, false, false));
    let first = leave(&life);
    assert_eq!(life.beat(&first, 0), (true, false, false));
    assert_eq!(life.cluster.partition("t", 0).leader, BrokerId(2));
    let second = leave(&life);
    assert_eq!(life.beat(&second, 1), (true, false, false), "broker 2 may still send its clients here");
    let informed = life.cluster.heartbeat(2);
    life.beat(&informed, 2);
    assert_eq!(life.beat(&second, 3), (true, false, true));
}

#[test]
fn a_lone_broker_may_stop_at_its_second_heartbeat_and_a_fenced_one_at_once() {
    let mut life = Life::new(1);
    life.cluster.topic("t", &[&[1]], &[]);
    let leave = Heartbeat { want_shutdown: true, ..life.cluster.heartbeat(1) };
    assert_eq!(life.beat(&leave, 0), (true, false, false));
    assert_eq!(life.beat(&leave, 0), (true, false, true));
    assert_eq!(life.cluster.partition("t", 0).leader, BrokerId::NONE);

    life.cluster.register(1, true);
    let leave = Heartbeat { want_shutdown: true, ..life.cluster.heartbeat(1) };
    assert_eq!(life.beat(&leave, 0), (true, true, true));
}

#[test]
fn a_heartbeat_of_another_incarnation_is_refused() {
    let mut life = Life::new(1);
    let old = life.cluster.heartbeat(1);
    life.cluster.register(1, false);
    let unknown = Heartbeat { broker_id: BrokerId(7), ..old.clone() };
    for request in [old, unknown] {
        let Cluster { image, settings, .. } = &life.cluster;
        let error = life.sessions.handle_heartbeat(image, settings, &request, TimestampMs(0)).unwrap_err();
        assert_eq!(error.code, ErrorCode::StaleBrokerEpoch);
    }
}

#[test]
fn a_silent_broker_expires_and_an_inherited_session_blocks_no_restart() {
    let mut life = Life::new(2);
    let now = TimestampMs;
    life.sessions.adopt(&life.cluster.image, now(100));
    assert_eq!(life.sessions.state(BrokerId(1), now(100)), SessionState::NotLive);
    let beat = life.cluster.heartbeat(1);
    life.beat(&beat, 200);
    assert_eq!(life.sessions.state(BrokerId(1), now(200 + TIMEOUT_MS - 1)), SessionState::Live);
    assert_eq!(life.sessions.state(BrokerId(1), now(200 + TIMEOUT_MS)), SessionState::NotLive);
    // Who waits for as long as a session lasts, and finds one, was not met by one that only had to end.
    for (waited_ms, at, lives) in
        [(TIMEOUT_MS - 1, 200, false), (TIMEOUT_MS, 200, true), (TIMEOUT_MS, 200 + TIMEOUT_MS, false)]
    {
        assert_eq!(life.sessions.outlives(BrokerId(1), waited_ms, now(at)), lives, "{waited_ms} {at}");
    }

    assert_eq!(life.sessions.next_expiry(&life.cluster.image), Some(now(100 + TIMEOUT_MS)));
    assert_eq!(life.sessions.expired(&life.cluster.image, now(99 + TIMEOUT_MS)), []);
    let expired = ExpiredSession { broker_id: BrokerId(2), broker_epoch: life.cluster.epoch(2) };
    assert_eq!(life.sessions.expired(&life.cluster.image, now(100 + TIMEOUT_MS)), [expired]);
    life.cluster.fence(2);
    assert_eq!(life.sessions.expired(&life.cluster.image, now(100 + TIMEOUT_MS)), []);

    life.sessions.handle_lost(BrokerId(1), beat.broker_epoch, now(300));
    assert_eq!(life.sessions.state(BrokerId(1), now(300)), SessionState::NotLive);
    assert_eq!(life.sessions.expired(&life.cluster.image, now(300)).len(), 1);
}

#[test]
fn a_broker_whose_connection_broke_can_be_replaced_until_it_is_heard_of_again() {
    let mut life = Life::new(1);
    let beat = life.cluster.heartbeat(1);
    life.beat(&beat, 0);
    life.sessions.handle_left(BrokerId(1), BrokerEpoch(beat.broker_epoch.0 - 1));
    assert_eq!(life.sessions.state(BrokerId(1), TimestampMs(1)), SessionState::Live, "another one left");
    life.sessions.handle_left(BrokerId(1), beat.broker_epoch);
    assert_eq!(life.sessions.state(BrokerId(1), TimestampMs(1)), SessionState::NotLive);
    assert_eq!(life.sessions.expired(&life.cluster.image, TimestampMs(1)), [], "its session goes on");
    life.beat(&beat, 2);
    assert_eq!(life.sessions.state(BrokerId(1), TimestampMs(3)), SessionState::Live);
}

#[test]
fn a_failed_directory_does_not_let_a_broker_in_by_the_same_heartbeat() {
    let mut life = Life::new(1);
    life.cluster.topic("t", &[&[1]], &[]);
    let failed = Heartbeat { offline_log_dirs: vec![directory(1)], ..life.cluster.heartbeat(1) };
    assert_eq!(life.beat(&failed, 0), (true, false, false));
    assert_eq!(life.cluster.partition("t", 0).leader, BrokerId::NONE);
    assert!(life.cluster.image.broker(BrokerId(1)).unwrap().log_directories.is_empty());
    // Told again, it changes nothing.
    let offset = life.cluster.next_offset();
    life.beat(&failed, 1);
    assert_eq!(life.cluster.next_offset(), offset);
}

#[test]
fn a_full_directory_gives_up_what_others_can_go_on_with_and_keeps_the_rest() {
    let mut life = Life::new(3);
    life.cluster.topic("three", &[&[1, 2, 3]], &[]);
    life.cluster.topic("followed", &[&[2, 1]], &[]);
    life.cluster.topic("alone", &[&[1]], &[]);
    life.cluster.topic("elsewhere", &[&[2, 3]], &[]);
    let full =
        |life: &Life, id| Heartbeat { full_log_dirs: vec![directory(id)], ..life.cluster.heartbeat(id) };
    let story = |life: &Life| {
        ["three", "followed", "alone", "elsewhere"].map(|topic| {
            let partition = life.cluster.partition(topic, 0);
            (partition.leader.0, partition.isr.iter().map(|id| id.0).collect::<Vec<_>>())
        })
    };
    let first = full(&life, 1);
    assert_eq!(life.beat(&first, 0), (true, false, false));
    let one_is_full = [(2, vec![2, 3]), (2, vec![2]), (1, vec![1]), (2, vec![2, 3])];
    assert_eq!(story(&life), one_is_full);
    // Told again it changes nothing, and who is full does not come back.
    let offset = life.cluster.next_offset();
    life.beat(&first, 1);
    assert_eq!(life.cluster.next_offset(), offset);
    assert!(!life.cluster.may_join("three", 0, 1));
    // The next one: what is left to it alone, it keeps.
    let second = full(&life, 2);
    life.beat(&second, 2);
    assert_eq!(story(&life), [(3, vec![3]), (2, vec![2]), (1, vec![1]), (3, vec![3])]);
    // There is room again.
    for id in [1, 2] {
        let relieved = life.cluster.heartbeat(id);
        assert_eq!(life.beat(&relieved, 3), (true, false, false));
        assert!(life.cluster.image.broker(BrokerId(id)).unwrap().full_log_directories.is_empty());
    }
    assert!(life.cluster.may_join("three", 0, 1));
    // With somebody in sync again, what was kept is given up at the next heartbeat.
    life.cluster.set_isr("followed", &[2, 1]);
    let again = full(&life, 2);
    life.beat(&again, 4);
    assert_eq!(story(&life)[1], (1, vec![1]));
}

#[test]
fn replicas_are_noted_where_they_are_and_not_where_they_would_have_lost_their_records() {
    let mut life = Life::new(2);
    let (first, second) = (Uuid::from_bytes([1; 16]), Uuid::from_bytes([2; 16]));
    // With two directories a broker chooses by itself.
    life.cluster.register_with(1, vec![first, second]);
    life.cluster.topic("t", &[&[1, 2], &[1, 2]], &[]);
    assert!(life.cluster.partition("t", 0).directory(BrokerId(1)).is_zero());
    let topic_id = life.cluster.image.topics().by_name("t").unwrap().id();
    let at = |partition, directory| moldau_cluster::ReplicaDirectory {
        topic_id,
        partition: moldau_model::PartitionIndex(partition),
        directory,
    };
    let told = |life: &Life, replicas: &[moldau_cluster::ReplicaDirectory]| Heartbeat {
        replica_directories: replicas.to_vec(),
        ..life.cluster.heartbeat(1)
    };
    let places = |life: &Life| [0, 1].map(|p| life.cluster.partition("t", p).directory(BrokerId(1)));
    let strangers = [at(7, first), at(0, Uuid::from_bytes([9; 16]))];
    let beat = told(&life, &strangers);
    assert_eq!(life.beat(&beat, 0), (true, false, false));
    assert_eq!(places(&life), [Uuid::ZERO, Uuid::ZERO], "unknown partitions and directories are passed over");
    let beat = told(&life, &[at(0, first), at(1, second)]);
    life.beat(&beat, 0);
    assert_eq!(places(&life), [first, second]);
    let offset = life.cluster.next_offset();
    life.beat(&beat, 1);
    assert_eq!(life.cluster.next_offset(), offset, "told again it changes nothing");
    // The second fails, and the partition in it moves to the other broker.
    let failed = Heartbeat { offline_log_dirs: vec![second], ..life.cluster.heartbeat(1) };
    life.beat(&failed, 2);
    let leaders = [0, 1].map(|p| life.cluster.partition("t", p).leader.0);
    assert_eq!(leaders, [1, 2]);
    // An empty replica that takes its place is not the one that was lost.
    let beat = told(&life, &[at(1, first)]);
    life.beat(&beat, 3);
    assert_eq!(places(&life), [first, second]);
}

#[test]
fn a_replica_that_moved_into_a_directory_and_lost_it_before_that_was_known_leads_no_more() {
    let mut life = Life::new(2);
    let (first, second) = (Uuid::from_bytes([1; 16]), Uuid::from_bytes([2; 16]));
    life.cluster.register_with(1, vec![first, second]);
    life.cluster.topic("t", &[&[1, 2]], &[]);
    let topic_id = life.cluster.image.topics().by_name("t").unwrap().id();
    let at = |directory| moldau_cluster::ReplicaDirectory {
        topic_id,
        partition: moldau_model::PartitionIndex(0),
        directory,
    };
    let placed = Heartbeat { replica_directories: vec![at(first)], ..life.cluster.heartbeat(1) };
    life.beat(&placed, 0);
    let moved = |life: &Life| Heartbeat {
        offline_log_dirs: vec![second],
        replica_directories: vec![at(second)],
        ..life.cluster.heartbeat(1)
    };
    // The first such heartbeat takes the directory out, the next one the replica.
    for now in 1..=2 {
        let beat = moved(&life);
        life.beat(&beat, now);
    }
    let partition = life.cluster.partition("t", 0);
    assert_eq!((partition.leader, partition.isr.as_slice()), (BrokerId(2), [BrokerId(2)].as_slice()));
    assert_eq!(partition.directory(BrokerId(1)), second);
    let offset = life.cluster.next_offset();
    let again = moved(&life);
    life.beat(&again, 3);
    assert_eq!(life.cluster.next_offset(), offset);
}

#[test]
fn a_broker_of_cordoned_directories_alone_gets_no_new_replicas() {
    let mut life = Life::new(2);
    let cordoned =
        |life: &Life| Heartbeat { cordoned_log_dirs: vec![directory(1)], ..life.cluster.heartbeat(1) };
    let takes = |life: &Life, id| life.cluster.image.broker(BrokerId(id)).unwrap().takes_new_replicas();
    let beat = cordoned(&life);
    assert_eq!(life.beat(&beat, 0), (true, false, false));
    assert_eq!((takes(&life, 1), takes(&life, 2)), (false, true));
    let mut random = Random::from_number(1);
    let mut placement = Placement::new(&life.cluster.image, &mut random);
    for _ in 0..10 {
        assert_eq!(placement.place(1), Ok(vec![BrokerId(2)]));
    }
    assert!(placement.place(2).unwrap_err().contains("only 1 broker(s) are registered"));
    // Said again it changes nothing.
    let offset = life.cluster.next_offset();
    let again = cordoned(&life);
    life.beat(&again, 1);
    assert_eq!(life.cluster.next_offset(), offset);
    let opened = life.cluster.heartbeat(1);
    life.beat(&opened, 2);
    assert!(takes(&life, 1));
}
