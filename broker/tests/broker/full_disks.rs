//! Disks without room: nobody waits for the broker that has one, and it goes on where it can.

use std::path::Path;
use std::sync::Arc;

use moldau_log::file_system::{FaultFileSystem, FaultKind, Operation, Space};
use moldau_model::ErrorCode;

use crate::cluster::Cluster;
use crate::harness::{Node, Settings, eventually};
use crate::requests::*;

/// Lags are never long enough here: who leaves the ISR leaves it because it is full.
const SETTINGS: [(&str, &str); 2] = [("replica.lag.time.max.ms", "600000"), ("min.insync.replicas", "2")];

fn fill(cluster: &Cluster, id: i32) {
    cluster.disk(id).files.fail_always(Operation::Write, FaultKind::NoSpace);
}

fn others(id: i32) -> Vec<i32> {
    [1, 2, 3].into_iter().filter(|other| *other != id).collect()
}

fn is_alive(cluster: &Cluster, id: i32) -> bool {
    cluster.image().alive_brokers().any(|broker| broker.id.0 == id)
}

#[test]
fn a_leader_without_room_hands_over_and_comes_back_with_room() {
    let cluster = Cluster::start(&SETTINGS);
    let topic = cluster.create_topic("t", 1, &[]);
    let full = cluster.wait_for_leader(&topic, 0);
    let mut client = cluster.connect(full);
    produced(&mut client, &topic, batch(&[b"before"]));
    fill(&cluster, full);
    let refused = produce(&mut client, 9, &topic, -1, batch(&[b"refused"]));
    assert_eq!(code(refused.error_code), ErrorCode::KafkaStorageError);
    cluster.wait_for_isr(&topic, 0, &others(full));
    let next = cluster.wait_for_leader(&topic, 0);
    assert_ne!(next, full);
    let mut at_next = cluster.connect(next);
    assert_eq!(produced(&mut at_next, &topic, batch(&[b"after"])), 1);
    assert!(cluster.is_running(full) && is_alive(&cluster, full), "it stays for what it has");
    cluster.disk(full).files.clear_faults();
    cluster.wait_for_isr(&topic, 0, &[1, 2, 3]);
    assert!(cluster.log(full, &topic, 0) == cluster.log(next, &topic, 0));
}

#[test]
fn nobody_waits_for_a_follower_without_room() {
    let cluster = Cluster::start(&SETTINGS);
    let topic = cluster.create_topic("t", 1, &[]);
    let idle = cluster.create_topic("idle", 1, &[]);
    let leader = cluster.wait_for_leader(&topic, 0);
    let full = cluster.followers(&topic, 0)[0];
    let mut client = cluster.connect(leader);
    produced(&mut client, &topic, batch(&[b"before"]));
    fill(&cluster, full);
    for _ in 0..20 {
        produced(&mut client, &topic, batch(&[b"after"]));
    }
    // It is in sync there still, and could not follow.
    cluster.wait_for_isr(&idle, 0, &others(full));
    cluster.wait_for_isr(&topic, 0, &others(full));
    assert!(is_alive(&cluster, full));
    cluster.disk(full).files.clear_faults();
    cluster.wait_for_isr(&topic, 0, &[1, 2, 3]);
    cluster.wait_for_isr(&idle, 0, &[1, 2, 3]);
}

#[test]
fn the_last_replica_without_room_is_read_and_deleted_from() {
    let cluster = Cluster::start(&[]);
    let topic = cluster.create_topic("t", 1, &[]);
    let leader = cluster.wait_for_leader(&topic, 0);
    let mut client = cluster.connect(leader);
    produced(&mut client, &topic, batch(&[b"before"]));
    for id in [1, 2, 3] {
        fill(&cluster, id);
    }
    let mut last = leader;
    eventually("nobody has room", || {
        last = cluster.wait_for_leader(&topic, 0);
        let refused = produce(&mut cluster.connect(last), 9, &topic, 1, batch(&[b"refused"]));
        let known = cluster.image();
        let is_full =
            |id: i32| !known.broker(moldau_model::BrokerId(id)).unwrap().full_log_directories.is_empty();
        refused.error_code != 0 && [1, 2, 3].into_iter().all(is_full)
    });
    let last = cluster.wait_for_leader(&topic, 0);
    assert_eq!(read_from(&mut cluster.connect(last), &topic, 0), [(0, b"before".to_vec())]);
    for id in [1, 2, 3] {
        cluster.disk(id).files.clear_faults();
    }
    cluster.wait_for_isr(&topic, 0, &[1, 2, 3]);
}

#[test]
fn records_leave_room_on_the_volume_of_the_metadata_alone() {
    let free = |usable_bytes| Space { total_bytes: 1 << 30, usable_bytes };
    let nearly_full = free((64 << 20) + 10);
    let none: Settings<'_> = &[("metadata.log.reserve.bytes", "0")];
    for (is_apart, settings, refused) in [
        (false, &[][..], ErrorCode::KafkaStorageError),
        (true, &[], ErrorCode::None),
        (false, none, ErrorCode::None),
    ] {
        let disk = FaultFileSystem::new();
        if is_apart {
            disk.set_volume(Path::new("/a"), 1);
        }
        disk.set_space(nearly_full);
        let node = Node::start_on(Arc::new(disk.clone()), "/a", settings);
        let mut client = node.connect();
        // What the metadata says needs no room here.
        let topic = create_topic(&mut client, "t", 1, &[]);
        let answer = produce(&mut client, 9, &topic, -1, batch(&[b"before"]));
        assert_eq!(code(answer.error_code), refused, "{is_apart} {settings:?}");
        disk.set_space(free(1 << 29));
        let answer = produce(&mut client, 9, &topic, -1, batch(&[b"after"]));
        assert_eq!(code(answer.error_code), ErrorCode::None);
    }
}
