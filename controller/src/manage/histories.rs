//! Random histories of a cluster: whatever happens, in whatever order, the promises hold after every step.

use std::collections::BTreeMap;

use moldau_cluster::{AlterPartition, AlterPartitionRequest, IsrMember, LeaderRecoveryState};
use moldau_metadata::{MetadataBatch, MetadataImage, PartitionRegistration};
use moldau_model::{BrokerId, LeaderEpoch, PartitionEpoch, PartitionIndex, ProducerId, TopicId};
use proptest::prelude::*;

use super::testing::{Cluster, ELR, directory};
use super::*;

const BROKERS: i32 = 4;

type Partitions = BTreeMap<(TopicId, PartitionIndex), PartitionRegistration>;

fn partitions(image: &MetadataImage) -> Partitions {
    let of = |topic: &std::sync::Arc<moldau_metadata::TopicImage>| {
        let id = topic.id();
        topic.partitions().map(|(index, partition)| ((id, index), (**partition).clone())).collect::<Vec<_>>()
    };
    image.topics().iter().flat_map(of).collect()
}

/// One step, picked by three numbers.
fn step(cluster: &mut Cluster, kind: u8, a: u8, b: u8) {
    let id = 1 + i32::from(a) % BROKERS;
    let broker = cluster.image.broker(BrokerId(id)).cloned();
    match kind % 10 {
        0 => cluster.fence(id),
        1 | 2 => cluster.unfence(id),
        3 => cluster.register(id, b.is_multiple_of(2)),
        4 => cluster.shut_down(id),
        5 if cluster.image.topics().len() < 3 => create(cluster, a, b),
        5 | 6 => alter_isr(cluster, a, b),
        7 if b < 40 => {
            let failed = [directory(id)];
            cluster.commit(fence_log_directories(&cluster.image, &cluster.settings, BrokerId(id), &failed));
        }
        7 => {
            let kind = if b.is_multiple_of(2) { ElectionKind::Preferred } else { ElectionKind::Unclean };
            let request = ElectLeadersRequest { kind, partitions: None };
            cluster.decide(|image, inputs| elect_leaders(image, &request, inputs)).unwrap();
        }
        8 => reassign(cluster, a, b),
        _ => {
            if broker.is_some() && b < 20 {
                cluster
                    .decide(|image, inputs| unregister_broker(image, inputs.settings, BrokerId(id)))
                    .unwrap();
            } else if let Some(broker) = broker {
                let request =
                    moldau_cluster::AllocateProducerIds { broker_id: broker.id, broker_epoch: broker.epoch };
                cluster.decide(|image, _| allocate_producer_ids(image, &request)).unwrap();
            }
        }
    }
}

fn create(cluster: &mut Cluster, a: u8, b: u8) {
    let unclean = if a.is_multiple_of(3) { "true" } else { "false" };
    let topic = NewTopic {
        name: format!("t{}", cluster.next_offset()),
        num_partitions: 1 + i32::from(a % 3),
        replication_factor: 1 + i16::from(b % 3),
        assignments: vec![],
        configs: vec![
            ("unclean.leader.election.enable".into(), Some(unclean.into())),
            ("min.insync.replicas".into(), Some((1 + b % 2).to_string())),
        ],
    };
    let request = CreateTopicsRequest { topics: vec![topic], validate_only: false };
    // With too few brokers it is refused, which is fine too.
    let _ = cluster.decide(|image, inputs| create_topics(image, &request, inputs)).unwrap();
}

/// Some partition is to be held by others, or its move is taken back.
fn reassign(cluster: &mut Cluster, a: u8, b: u8) {
    let all: Vec<_> = partitions(&cluster.image).into_iter().collect();
    if all.is_empty() {
        return;
    }
    let ((topic_id, index), _) = &all[usize::from(a) % all.len()];
    let name = cluster.image.topics().by_id(*topic_id).unwrap().name().to_string();
    let target: Vec<BrokerId> = (1..=BROKERS).filter(|id| b & (1 << id) != 0).map(BrokerId).collect();
    let replicas = (b & 1 == 0).then_some(target);
    let asked = ReassignablePartition { partition: *index, replicas };
    let request = ReassignPartitionsRequest {
        topics: vec![(name, vec![asked])],
        allow_replication_factor_change: true,
    };
    // Unknown brokers and moves that are not there are refused, which is fine too.
    let _ = cluster.decide(|image, inputs| reassign_partitions(image, &request, inputs)).unwrap();
}

/// A leader proposes some ISR with itself in it.
fn alter_isr(cluster: &mut Cluster, a: u8, b: u8) {
    let all: Vec<_> = partitions(&cluster.image).into_iter().filter(|(_, p)| p.has_leader()).collect();
    if all.is_empty() {
        return;
    }
    let ((topic_id, partition), registration) = &all[usize::from(a) % all.len()];
    let chosen = |(place, id): &(usize, &BrokerId)| **id == registration.leader || b & (1 << place) != 0;
    let new_isr = registration
        .replicas
        .iter()
        .enumerate()
        .filter(chosen)
        .map(|(_, id)| IsrMember { broker_id: *id, broker_epoch: moldau_model::BrokerEpoch(-1) });
    let request = AlterPartition {
        broker_id: registration.leader,
        broker_epoch: cluster.epoch(registration.leader.0),
        partitions: vec![AlterPartitionRequest {
            topic_id: *topic_id,
            partition: *partition,
            leader_epoch: registration.leader_epoch,
            partition_epoch: registration.partition_epoch,
            new_isr: new_isr.collect(),
            leader_recovery_state: LeaderRecoveryState::Recovered,
        }],
    };
    let reply = cluster.decide(|image, inputs| alter_partition(image, inputs.settings, &request)).unwrap();
    if let Ok(altered) = &reply.partitions[0] {
        let now = cluster.image.topics().partition(*topic_id, *partition).unwrap();
        assert_eq!(altered.isr, now.isr);
        assert_eq!((altered.leader, altered.leader_epoch), (now.leader, now.leader_epoch));
        assert_eq!(altered.partition_epoch, now.partition_epoch);
    }
}

/// What holds of every image.
fn check_image(image: &MetadataImage) {
    for ((_, index), partition) in partitions(image) {
        partition.assert_invariants();
        let inactive: Vec<_> = partition.isr.iter().filter(|id| !image.is_active_broker(**id)).collect();
        // KIP-841, but for the last member, which stays for want of a better one.
        assert!(
            inactive.is_empty() || partition.isr.len() == 1,
            "{index} has {inactive:?} in sync: {partition:?}"
        );
        assert!(
            !partition.has_leader() || image.is_active_broker(partition.leader),
            "{index} is led by a broker that is not active: {partition:?}"
        );
    }
}

/// What holds from one image to the next.
fn check_step(before: &MetadataImage, after: &MetadataImage) {
    let earlier = partitions(before);
    for (key, now) in partitions(after) {
        let Some(then) = earlier.get(&key) else {
            assert_eq!((now.leader_epoch, now.partition_epoch), (LeaderEpoch::ZERO, PartitionEpoch(0)));
            continue;
        };
        assert!(then.leader_epoch <= now.leader_epoch && then.partition_epoch <= now.partition_epoch);
        assert!(
            *then == now || then.partition_epoch < now.partition_epoch,
            "changed in one epoch: {then:?} {now:?}"
        );
        assert!(then.leader == now.leader || then.leader_epoch < now.leader_epoch, "{then:?} {now:?}");
        // A leader of another incarnation leads in another epoch, or not at all.
        let incarnation = |image: &MetadataImage, id| {
            image.broker(id).map(|broker: &std::sync::Arc<_>| broker.incarnation_id)
        };
        if now.has_leader() && incarnation(before, now.leader) != incarnation(after, now.leader) {
            assert!(then.leader_epoch < now.leader_epoch, "an old incarnation's leadership goes on: {now:?}");
        }
        // The leader that named a newcomer in sync may be gone with the end of the reassignment.
        let is_newcomer = then.is_reassigning() && !now.is_reassigning() && now.isr.contains(&now.leader);
        let may_have_all = then.isr.contains(&now.leader) || then.elr.contains(&now.leader) || is_newcomer;
        assert!(
            !now.has_leader()
                || may_have_all
                || now.leader_recovery_state == moldau_metadata::LeaderRecoveryState::Recovering,
            "an unclean election that does not say so: {then:?} {now:?}"
        );
    }
    let epochs =
        |image: &MetadataImage| -> BTreeMap<_, _> { image.brokers().map(|b| (b.id, b.epoch)).collect() };
    let (then, now) = (epochs(before), epochs(after));
    assert!(now.iter().all(|(id, epoch)| then.get(id).is_none_or(|earlier| earlier <= epoch)));
    assert!(
        before.next_producer_id() <= after.next_producer_id() && ProducerId(0) <= before.next_producer_id()
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn epochs_grow_and_leaders_are_in_sync_and_alive(
        elr in 0..2i16,
        steps in proptest::collection::vec(any::<(u8, u8, u8)>(), 1..80),
    ) {
        let mut cluster = Cluster::with(BROKERS, &[(ELR, elr)], &[]);
        for (kind, a, b) in steps {
            let before = cluster.image.clone();
            step(&mut cluster, kind, a, b);
            check_image(&cluster.image);
            check_step(&before, &cluster.image);
            let snapshot = MetadataBatch::from(cluster.image.to_snapshot_records());
            let position = cluster.image.position();
            let restored = MetadataImage::from_snapshot([&snapshot], position.offset, position.epoch).unwrap();
            prop_assert!(restored == cluster.image);
        }
    }
}
