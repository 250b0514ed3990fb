//! A disk that fails: nothing is acknowledged that it did not take, and what it once refused it is not asked for again.

use std::sync::Arc;

use kafka_protocol::messages::ProduceRequest;
use moldau_broker::BrokerFailure;
use moldau_log::FileSystem;
use moldau_log::file_system::{FaultFileSystem, FaultKind, Operation};
use moldau_model::ErrorCode;

use crate::harness::{Node, eventually};
use crate::requests::*;

fn node_on(file_system: &FaultFileSystem, log_dirs: &str) -> Node {
    let file_system: Arc<dyn FileSystem> = Arc::new(file_system.clone());
    Node::start_on(file_system, log_dirs, &[])
}

#[test]
fn a_failed_sync_acknowledges_nothing_takes_the_directory_offline_and_ends_the_broker_that_has_no_other() {
    let file_system = FaultFileSystem::new();
    let node = node_on(&file_system, "/a");
    let mut client = node.connect();
    let topic = create_topic(&mut client, "t", 1, &[]);
    assert_eq!(produced(&mut client, &topic, batch(&[b"durable"])), 0);

    file_system.fail_once(Operation::SyncData, 0, FaultKind::Io);
    let answer = produce(&mut client, 9, &topic, -1, batch(&[b"lost"]));
    assert_eq!(code(answer.error_code), ErrorCode::KafkaStorageError);
    assert_eq!(node.block_on(node.handle().wait_failed()), BrokerFailure::NoLogDirectory);

    // The fault is gone, and would let the next sync through: the directory stays offline.
    let later = produce(&mut client, 9, &topic, 1, batch(&[b"later"]));
    assert_eq!(code(later.error_code), ErrorCode::KafkaStorageError);
    let data = fetch_one(&mut client, 12, &topic, from(0, 0));
    assert_eq!(code(data.error_code), ErrorCode::KafkaStorageError);
}

#[test]
fn what_waits_for_a_sync_that_does_not_come_is_never_acknowledged_and_never_seen() {
    let file_system = FaultFileSystem::new();
    let node = node_on(&file_system, "/a");
    let (mut producer, mut consumer) = (node.connect(), node.connect());
    let topic = create_topic(&mut producer, "t", 1, &[]);
    produced(&mut producer, &topic, batch(&[b"durable"]));
    file_system.fail_always(Operation::SyncData, FaultKind::Io);
    // Several at once, on one connection: all of them fail, none is lost in the order of answers.
    for _ in 0..5 {
        producer.send(9, &produce_request(9, &topic, 0, -1, batch(&[b"lost"])));
    }
    for _ in 0..5 {
        let (_, response) = producer.receive::<ProduceRequest>(9);
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!(code(answer.error_code), ErrorCode::KafkaStorageError);
    }
    let data = fetch_one(&mut consumer, 12, &topic, from(0, 0));
    assert!(records(&data).iter().all(|(offset, _)| *offset == 0));
}

#[test]
fn after_a_failed_sync_and_a_power_cut_what_was_acknowledged_is_there_and_nothing_else_is_read() {
    let file_system = FaultFileSystem::new();
    let mut node = node_on(&file_system, "/a");
    let mut client = node.connect();
    let topic = create_topic(&mut client, "t", 1, &[]);
    assert_eq!(produced(&mut client, &topic, batch(&[b"durable"])), 0);
    file_system.fail_once(Operation::SyncData, 0, FaultKind::Io);
    let answer = produce(&mut client, 9, &topic, -1, batch(&[b"lost"]));
    assert_eq!(code(answer.error_code), ErrorCode::KafkaStorageError);
    node.crash_and_start();
    client = node.connect();
    let found = read_from(&mut client, &topic, 0);
    assert_eq!(found.first(), Some(&(0, b"durable".to_vec())));
    assert!(produced(&mut client, &topic, batch(&[b"after"])) >= 1);
}

/// A failed sync leaves bytes that can be read and will not be written: the kernel takes them for clean. A process that
/// came back and trusted them would put acknowledged records behind a hole.
#[test]
fn what_is_acknowledged_after_a_failed_sync_and_a_restart_survives_a_power_cut() {
    for seed in 0..4 {
        let file_system = FaultFileSystem::new();
        let mut node = node_on(&file_system, "/a");
        let mut client = node.connect();
        let topic = create_topic(&mut client, "t", 1, &[]);
        produced(&mut client, &topic, batch(&[b"durable"]));
        file_system.fail_once(Operation::SyncData, 0, FaultKind::Io);
        let answer = produce(&mut client, 9, &topic, -1, batch(&[&[b'x'; 20_000]]));
        assert_eq!(code(answer.error_code), ErrorCode::KafkaStorageError);
        node.crash_and_start();
        client = node.connect();
        let offset = produced(&mut client, &topic, batch(&[b"acknowledged"]));
        node.power_cut(|| file_system.power_cut(seed));
        client = node.connect();
        let found = read_from(&mut client, &topic, 0);
        assert_eq!(found.first(), Some(&(0, b"durable".to_vec())), "seed {seed}");
        assert_eq!(found.last(), Some(&(offset, b"acknowledged".to_vec())), "seed {seed}");
    }
}

#[test]
fn with_another_directory_left_the_broker_goes_on() {
    let file_system = FaultFileSystem::new();
    let node = node_on(&file_system, "/a,/b");
    let mut client = node.connect();
    let topics: Vec<_> =
        (0..2).map(|number| create_topic(&mut client, &format!("t{number}"), 1, &[])).collect();
    for topic in &topics {
        produced(&mut client, topic, batch(&[b"durable"]));
    }
    file_system.fail_once(Operation::SyncData, 0, FaultKind::Io);
    let answer = produce(&mut client, 9, &topics[0], -1, batch(&[b"lost"]));
    assert_eq!(code(answer.error_code), ErrorCode::KafkaStorageError);
    assert_eq!(produced(&mut client, &topics[1], batch(&[b"fine"])), 1);
    let online = node.broker().replica_manager.dirs().online_ids();
    assert_eq!(online.len(), 1);
    // New partitions go where they can.
    let topic = create_topic(&mut client, "t2", 1, &[]);
    assert_eq!(produced(&mut client, &topic, batch(&[b"fine"])), 0);
}

#[test]
fn the_controller_learns_in_which_directory_a_replica_is_and_takes_the_leaderships_of_one_that_fails() {
    let file_system = FaultFileSystem::new();
    let node = node_on(&file_system, "/a,/b");
    let mut client = node.connect();
    let topics: Vec<_> =
        (0..2).map(|number| create_topic(&mut client, &format!("t{number}"), 1, &[])).collect();
    let state = |topic: &Topic| {
        let image = node.broker().control.image();
        let (_, state) = image.partition_by_name(&topic.name, moldau_model::PartitionIndex(0)).unwrap();
        (state.directories[0], state.has_leader())
    };
    eventually("both are known to be where they are", || {
        let dirs = node.broker().replica_manager.dirs().online_ids();
        topics.iter().all(|topic| dirs.contains(&state(topic).0))
    });
    assert_ne!(state(&topics[0]).0, state(&topics[1]).0);
    file_system.fail_once(Operation::SyncData, 0, FaultKind::Io);
    let answer = produce(&mut client, 9, &topics[0], -1, batch(&[b"lost"]));
    assert_eq!(code(answer.error_code), ErrorCode::KafkaStorageError);
    eventually("nobody leads what is in the directory that failed", || !state(&topics[0]).1);
    assert!(state(&topics[1]).1);
}

#[test]
fn a_full_disk_refuses_what_it_cannot_take_and_takes_again_when_there_is_room() {
    let file_system = FaultFileSystem::new();
    let node = node_on(&file_system, "/a");
    let mut client = node.connect();
    let topic = create_topic(&mut client, "t", 1, &[]);
    assert_eq!(produced(&mut client, &topic, batch(&[b"before"])), 0);
    file_system.fail_once(Operation::Write, 0, FaultKind::NoSpace);
    let answer = produce(&mut client, 9, &topic, -1, batch(&[b"too much"]));
    assert_eq!(code(answer.error_code), ErrorCode::KafkaStorageError);
    assert_eq!(produced(&mut client, &topic, batch(&[b"after"])), 1);
    let found = read_from(&mut client, &topic, 0);
    assert_eq!(found, [(0, b"before".to_vec()), (1, b"after".to_vec())]);
}
