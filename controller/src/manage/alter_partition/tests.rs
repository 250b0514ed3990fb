//! ISR changes as leaders ask for them, and the stale ones.

use moldau_model::{BrokerEpoch, LeaderEpoch, PartitionEpoch, PartitionIndex, TopicId};

use super::super::testing::{Cluster, ELR, directory, ids};
use super::super::{SessionState, register_broker};
use super::*;

fn proposal(cluster: &Cluster, isr: &[i32]) -> AlterPartitionRequest {
    let partition = cluster.partition("t", 0);
    AlterPartitionRequest {
        topic_id: cluster.image.topics().by_name("t").unwrap().id(),
        partition: PartitionIndex(0),
        leader_epoch: partition.leader_epoch,
        partition_epoch: partition.partition_epoch,
        new_isr: isr
            .iter()
            .map(|id| IsrMember { broker_id: BrokerId(*id), broker_epoch: cluster.epoch(*id) })
            .collect(),
        leader_recovery_state: RequestedState::Recovered,
    }
}

fn ask(
    cluster: &mut Cluster,
    sender: i32,
    partitions: Vec<AlterPartitionRequest>,
) -> Vec<Result<AlteredPartition, ErrorCode>> {
    let broker_epoch = cluster.epoch(sender);
    let request = AlterPartition { broker_id: BrokerId(sender), broker_epoch, partitions };
    cluster.decide(|image, inputs| alter_partition(image, inputs.settings, &request)).unwrap().partitions
}

/// Brokers 1 to 4, 3 fenced and 4 on its way down; topic `t` on 1 to 4 with 1 as the leader.
fn cluster() -> Cluster {
    let mut cluster = Cluster::new(4);
    cluster.topic("t", &[&[1, 2, 3, 4]], &[]);
    cluster.fence(3);
    cluster.shut_down(4);
    cluster
}

#[test]
fn an_isr_shrinks_and_grows_without_a_new_leader_epoch() {
    let mut cluster = cluster();
    let leader_epoch = cluster.partition("t", 0).leader_epoch;
    for isr in [&[1][..], &[1, 2]] {
        let request = proposal(&cluster, isr);
        let altered = ask(&mut cluster, 1, vec![request.clone()]).remove(0).unwrap();
        let partition = cluster.partition("t", 0);
        assert_eq!(altered.isr, ids(isr));
        assert_eq!(altered.isr, partition.isr);
        assert_eq!((altered.leader, altered.leader_epoch), (BrokerId(1), leader_epoch));
        assert_eq!(altered.partition_epoch, request.partition_epoch.next());
        assert_eq!(
            (altered.leader_epoch, altered.partition_epoch),
            (partition.leader_epoch, partition.partition_epoch)
        );
    }
}

#[test]
fn the_same_isr_again_changes_no_epoch() {
    let mut cluster = cluster();
    let request = proposal(&cluster, &[1, 2]);
    let altered = ask(&mut cluster, 1, vec![request.clone()]).remove(0).unwrap();
    assert_eq!(altered.partition_epoch, request.partition_epoch);
}

#[test]
fn what_is_not_allowed_is_refused_by_kafkas_first_reason() {
    type Change = fn(&mut AlterPartitionRequest);
    let cases: &[(&str, i32, &[i32], Change, ErrorCode)] = &[
        ("unknown topic", 1, &[1], |r| r.topic_id = TopicId::ONE, ErrorCode::UnknownTopicId),
        (
            "unknown partition",
            1,
            &[1],
            |r| r.partition = PartitionIndex(9),
            ErrorCode::UnknownTopicOrPartition,
        ),
        ("later leader epoch", 1, &[1], |r| r.leader_epoch = LeaderEpoch(9), ErrorCode::NotController),
        (
            "later partition epoch",
            2,
            &[1],
            |r| r.partition_epoch = PartitionEpoch(99),
            ErrorCode::NotController,
        ),
        ("earlier leader epoch", 2, &[1], |r| r.leader_epoch = LeaderEpoch(-1), ErrorCode::FencedLeaderEpoch),
        ("not the leader", 2, &[1, 2], |r| r.partition_epoch = PartitionEpoch(0), ErrorCode::InvalidRequest),
        (
            "earlier partition epoch",
            1,
            &[9],
            |r| r.partition_epoch = PartitionEpoch(0),
            ErrorCode::InvalidUpdateVersion,
        ),
        ("empty", 1, &[], |_| {}, ErrorCode::InvalidRequest),
        ("not a replica", 1, &[1, 9], |_| {}, ErrorCode::InvalidRequest),
        ("twice", 1, &[1, 1], |_| {}, ErrorCode::InvalidRequest),
        ("without the leader", 1, &[2], |_| {}, ErrorCode::InvalidRequest),
        (
            "recovering again",
            1,
            &[1],
            |r| r.leader_recovery_state = RequestedState::Recovering,
            ErrorCode::InvalidRequest,
        ),
        ("fenced", 1, &[1, 3], |_| {}, ErrorCode::IneligibleReplica),
        ("on its way down", 1, &[1, 4], |_| {}, ErrorCode::IneligibleReplica),
        (
            "another incarnation",
            1,
            &[1, 2],
            |r| r.new_isr[1].broker_epoch = BrokerEpoch(0),
            ErrorCode::IneligibleReplica,
        ),
    ];
    for (name, sender, isr, change, code) in cases {
        let mut cluster = cluster();
        let known: Vec<i32> = isr.iter().copied().filter(|id| *id != 9).collect();
        let mut request = proposal(&cluster, &known);
        let unknown = isr.iter().filter(|id| **id == 9);
        request
            .new_isr
            .extend(unknown.map(|id| IsrMember { broker_id: BrokerId(*id), broker_epoch: BrokerEpoch(-1) }));
        change(&mut request);
        let before = cluster.show();
        assert_eq!(ask(&mut cluster, *sender, vec![request]), [Err(*code)], "{name}");
        assert_eq!(cluster.show(), before, "{name}");
    }
}

#[test]
fn an_epoch_of_minus_one_skips_the_check_of_the_incarnation() {
    let mut cluster = cluster();
    cluster.set_isr("t", &[1]);
    let mut request = proposal(&cluster, &[1, 2]);
    request.new_isr[1].broker_epoch = BrokerEpoch(-1);
    assert!(ask(&mut cluster, 1, vec![request])[0].is_ok());
}

#[test]
fn one_request_changes_a_partition_once() {
    let mut cluster = cluster();
    let (first, second) = (proposal(&cluster, &[1]), proposal(&cluster, &[1, 2]));
    let results = ask(&mut cluster, 1, vec![first, second]);
    assert!(results[0].is_ok());
    assert_eq!(results[1], Err(ErrorCode::InvalidUpdateVersion));
}

#[test]
fn a_leader_that_was_elected_uncleanly_reports_its_recovery() {
    let mut cluster = Cluster::new(2);
    cluster.topic("t", &[&[1, 2]], &[("unclean.leader.election.enable", "true")]);
    cluster.set_isr("t", &[1]);
    cluster.fence(1);
    assert_eq!(cluster.partition("t", 0).leader_recovery_state, LeaderRecoveryState::Recovering);
    cluster.unfence(1);
    let mut early = proposal(&cluster, &[2, 1]);
    early.leader_recovery_state = RequestedState::Recovering;
    assert_eq!(ask(&mut cluster, 2, vec![early]), [Err(ErrorCode::InvalidRequest)]);
    let recovered = proposal(&cluster, &[2, 1]);
    let altered = ask(&mut cluster, 2, vec![recovered]).remove(0).unwrap();
    assert_eq!(altered.leader_recovery_state, RequestedState::Recovered);
    assert_eq!(cluster.show(), "leader 2 isr [2,1] elr [] leader epoch 1 partition epoch 3");
}

#[test]
fn a_replica_on_a_new_disk_may_lead_again_once_it_has_joined_the_isr_and_not_before() {
    let mut cluster = Cluster::with(2, &[(ELR, 1)], &[("min.insync.replicas", "2")]);
    cluster.topic("t", &[&[2, 1]], &[]);
    let mut registration = cluster.registration(2, false);
    registration.log_dirs = vec![Uuid::from_bytes([77; 16])];
    cluster
        .decide(|image, inputs| register_broker(image, &registration, SessionState::NotLive, inputs))
        .unwrap();
    cluster.unfence(2);
    assert_eq!(cluster.show(), "leader 1 isr [1] elr [] leader epoch 1 partition epoch 1");
    assert_ne!(cluster.partition("t", 0).directory(BrokerId(2)), registration.log_dirs[0]);
    let request = proposal(&cluster, &[1, 2]);
    ask(&mut cluster, 1, vec![request]).remove(0).unwrap();
    assert_eq!(cluster.partition("t", 0).directory(BrokerId(2)), registration.log_dirs[0]);
    assert_eq!(cluster.partition("t", 0).directory(BrokerId(1)), directory(1));
    cluster.fence(1);
    assert_eq!(cluster.show(), "leader 2 isr [2] elr [1] leader epoch 2 partition epoch 3");
}
