//! Where replicas go: spread over racks and brokers, never twice on one.

use std::collections::BTreeSet;

use super::super::testing::{Cluster, ids};
use super::super::{SessionState, register_broker};
use super::*;

/// Brokers by id, rack and whether they are fenced.
fn cluster(brokers: &[(i32, Option<&str>, bool)]) -> Cluster {
    let mut cluster = Cluster::new(0);
    for (id, rack, fenced) in brokers {
        let mut request = cluster.registration(*id, false);
        request.rack = rack.map(str::to_owned);
        cluster
            .decide(|image, inputs| register_broker(image, &request, SessionState::NotLive, inputs))
            .unwrap();
        if !fenced {
            cluster.unfence(*id);
        }
    }
    cluster
}

fn placed(cluster: &Cluster, seed: u64, partitions: usize, replication_factor: i16) -> Vec<Vec<BrokerId>> {
    let mut random = Random::from_number(seed);
    let mut placement = Placement::new(&cluster.image, &mut random);
    (0..partitions).map(|_| placement.place(replication_factor).unwrap()).collect()
}

#[test]
fn replicas_are_distinct_and_spread_over_racks_and_leaders_over_brokers() {
    let racks = ["a", "b", "c"];
    let brokers: Vec<_> = (0..6).map(|id| (id, Some(racks[id as usize % 3]), false)).collect();
    let cluster = cluster(&brokers);
    for seed in 0..50 {
        let partitions = placed(&cluster, seed, 6, 3);
        for replicas in &partitions {
            let racks: BTreeSet<i32> = replicas.iter().map(|id| id.0 % 3).collect();
            assert_eq!(racks.len(), 3, "seed {seed}: {partitions:?}");
        }
        let leaders: BTreeSet<BrokerId> = partitions.iter().map(|replicas| replicas[0]).collect();
        assert_eq!(leaders.len(), 6, "seed {seed}: {partitions:?}");
        for id in 0..6 {
            let held = partitions.iter().filter(|replicas| replicas.contains(&BrokerId(id))).count();
            assert_eq!(held, 3, "seed {seed}: {partitions:?}");
        }
    }
}

#[test]
fn every_broker_of_uneven_racks_is_used_once_where_all_are_needed() {
    let cluster = cluster(&[
        (1, Some("a"), false),
        (2, Some("a"), true),
        (3, Some("a"), false),
        (4, Some("b"), true),
        (5, None, false),
    ]);
    for seed in 0..50 {
        for replicas in placed(&cluster, seed, 20, 5) {
            assert!([1, 3, 5].contains(&replicas[0].0), "a fenced broker leads: {replicas:?}");
            let all: BTreeSet<BrokerId> = replicas.into_iter().collect();
            assert_eq!(all, ids(&[1, 2, 3, 4, 5]).into_iter().collect());
        }
    }
}

#[test]
fn a_fenced_broker_takes_a_replica_only_where_its_rack_has_no_other_left() {
    let cluster = cluster(&[(1, Some("a"), false), (2, Some("a"), true), (3, Some("b"), false)]);
    for seed in 0..50 {
        for replicas in placed(&cluster, seed, 4, 2) {
            assert!(!replicas.contains(&BrokerId(2)), "seed {seed}: {replicas:?}");
        }
    }
}

#[test]
fn one_live_broker_leads_everything() {
    let cluster = cluster(&[(1, None, false), (2, None, true)]);
    assert!(placed(&cluster, 1, 5, 2).iter().all(|replicas| *replicas == ids(&[1, 2])));
}

#[test]
fn a_seed_decides_where_placement_starts() {
    let cluster = Cluster::new(5);
    assert_eq!(placed(&cluster, 1, 10, 3), placed(&cluster, 1, 10, 3));
    let starts: BTreeSet<BrokerId> = (0..50).map(|seed| placed(&cluster, seed, 1, 1)[0][0]).collect();
    assert_eq!(starts.len(), 5);
}

#[test]
fn a_new_replica_is_given_the_directory_of_a_broker_that_has_one() {
    let mut cluster = Cluster::new(1);
    let mut request = cluster.registration(2, false);
    request.log_dirs.push(Uuid::from_bytes([9; 16]));
    cluster.decide(|image, inputs| register_broker(image, &request, SessionState::NotLive, inputs)).unwrap();
    let directories = default_directories(&cluster.image, &ids(&[2, 1]));
    assert_eq!(directories, [Uuid::ZERO, super::super::testing::directory(1)]);
}
