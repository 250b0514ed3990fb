//! Records that are replayed: the image they make, and those that contradict it.

use expect_test::expect;
use proptest::prelude::*;

use super::*;
use crate::{DecodeError, MetadataRecord, decode_batch, encode_batch};

const EPOCH: LeaderEpoch = LeaderEpoch(1);

fn id(number: u8) -> Vec<u8> {
    vec![number; 16]
}

fn broker(broker_id: i32, broker_epoch: i64, incarnation: u8) -> MetadataRecord {
    records::RegisterBroker {
        broker_id,
        incarnation_id: id(incarnation),
        broker_epoch,
        listeners: vec![records::BrokerListener {
            name: "PLAINTEXT".into(),
            host: "localhost".into(),
            port: 9092,
            security_protocol: 0,
        }],
        features: vec![records::SupportedFeature {
            name: "metadata.version".into(),
            min_level: 7,
            max_level: 30,
        }],
        rack: (broker_id % 2 == 0).then(|| "a".into()),
        fenced: true,
        in_controlled_shutdown: false,
        log_directories: vec![id(100 + broker_id as u8)],
        full_log_directories: Vec::new(),
        cordoned_log_directories: Vec::new(),
    }
    .into()
}

fn topic(name: &str, number: u8) -> MetadataRecord {
    records::Topic { name: name.into(), topic_id: id(number) }.into()
}

fn partition(number: u8, partition_index: i32, replicas: &[i32]) -> MetadataRecord {
    records::Partition {
        partition_index,
        topic_id: id(number),
        replicas: replicas.to_vec(),
        isr: replicas.to_vec(),
        leader: replicas[0],
        directories: replicas.iter().map(|replica| id(100 + *replica as u8)).collect(),
        ..records::Partition::default()
    }
    .into()
}

fn config(topic: &str, key: &str, value: Option<&str>) -> MetadataRecord {
    records::Config {
        resource_type: 2,
        resource_name: topic.into(),
        key: key.into(),
        value: value.map(Into::into),
    }
    .into()
}

/// One of nine entities, and one of two keys.
fn quota(number: u8, value: Option<f64>) -> MetadataRecord {
    let name = |number: u8| (number > 0).then(|| format!("name-{number}"));
    let part = |entity_type: &str, number: u8| records::QuotaEntity {
        entity_type: entity_type.into(),
        entity_name: name(number % 3),
    };
    let parts = [part("user", number / 3), part("client-id", number)];
    let entity = if number.is_multiple_of(2) { parts.to_vec() } else { parts[..1].to_vec() };
    let key = if number < 128 { "producer_byte_rate" } else { "request_percentage" };
    records::ClientQuota { entity, key: key.into(), value }.into()
}

fn replay(image: &MetadataImage, records: Vec<MetadataRecord>) -> (MetadataImage, MetadataDelta) {
    let offset = image.position().offset.plus(1);
    image.replay(&records.into(), offset, EPOCH).unwrap()
}

fn refused(image: &MetadataImage, record: impl Into<MetadataRecord>) -> String {
    let batch = MetadataBatch::from(vec![record.into()]);
    image.replay(&batch, image.position().offset.plus(1), EPOCH).unwrap_err().to_string()
}

fn two_topics() -> MetadataImage {
    let records = vec![
        broker(1, 0, 1),
        topic("pageview", 1),
        partition(1, 0, &[1, 2]),
        partition(1, 1, &[2, 1]),
        topic("other", 2),
        partition(2, 0, &[1]),
        config("pageview", "retention.ms", Some("1000")),
    ];
    replay(&MetadataImage::empty(), records).0
}

#[test]
fn a_change_raises_the_epochs_it_must_and_shares_all_else() {
    let before = two_topics();
    let change = records::PartitionChange {
        partition_index: 1,
        topic_id: id(1),
        isr: Some(records::BrokerIds { ids: vec![1] }),
        leader: Some(1),
        ..records::PartitionChange::default()
    };
    let (after, delta) = replay(&before, vec![change.into()]);
    let (topic, changed) = after.partition_by_name("pageview", PartitionIndex(1)).unwrap();
    assert_eq!((changed.leader, changed.leader_epoch.0, changed.partition_epoch.0), (BrokerId(1), 1, 1));
    assert_eq!((topic.name().as_ref(), topic.partition_count()), ("pageview", 2));

    let old = before.topics().by_name("pageview").unwrap();
    assert_eq!(old.partition(PartitionIndex(1)).unwrap().leader, BrokerId(2));
    let same = |name, index| {
        let find = |image: &MetadataImage| {
            Arc::clone(image.partition_by_name(name, PartitionIndex(index)).unwrap().1)
        };
        Arc::ptr_eq(&find(&before), &find(&after))
    };
    assert!(same("pageview", 0) && same("other", 0) && !same("pageview", 1));

    let [(_, topic)] = delta.topics.iter().collect::<Vec<_>>()[..] else { panic!("{delta:?}") };
    let [(index, partition)] = topic.partitions.iter().collect::<Vec<_>>()[..] else { panic!("{topic:?}") };
    assert!(!topic.created && *index == PartitionIndex(1));
    assert_eq!(partition.before.as_ref().unwrap().leader, BrokerId(2));
    assert_eq!(partition.after.leader, BrokerId(1));
    assert!(delta.brokers.is_empty() && delta.configs.is_empty() && delta.deleted_topics.is_empty());
}

#[test]
fn a_change_without_a_leader_keeps_the_leader_epoch() {
    let change = records::PartitionChange {
        topic_id: id(1),
        isr: Some(records::BrokerIds { ids: vec![1] }),
        ..records::PartitionChange::default()
    };
    let (after, _) = replay(&two_topics(), vec![change.into()]);
    let (_, partition) = after.partition_by_name("pageview", PartitionIndex(0)).unwrap();
    assert_eq!((partition.leader_epoch.0, partition.partition_epoch.0), (0, 1));
}

#[test]
fn a_deleted_topic_takes_its_configs_along_and_may_come_back_under_another_id() {
    let before = two_topics();
    let remove = records::RemoveTopic { topic_id: id(1) };
    let again = vec![remove.into(), topic("pageview", 3), partition(3, 0, &[1])];
    let (after, delta) = replay(&before, again);
    assert_eq!(after.configs().of_topic("pageview", "retention.ms"), None);
    assert_eq!(after.topics().by_name("pageview").unwrap().id(), Uuid::from_bytes([3; 16]));
    assert_eq!((after.topics().len(), after.topics().partition_count()), (2, 2));
    assert!(delta.deleted_topics.contains_key(&Uuid::from_bytes([1; 16])));
    assert!(delta.topics[&Uuid::from_bytes([3; 16])].created);
    assert_eq!(delta.configs.len(), 1);
}

#[test]
fn what_does_not_fit_the_image_is_refused_and_changes_nothing() {
    let image = two_topics();
    let change = |topic_id| records::PartitionChange { topic_id, ..records::PartitionChange::default() };
    let unregister = |broker_id, broker_epoch| records::UnregisterBroker { broker_id, broker_epoch };
    let texts = [
        refused(&image, change(id(9))),
        refused(&image, records::PartitionChange { partition_index: 7, ..change(id(1)) }),
        refused(&image, change(vec![1])),
        refused(&image, records::RemoveTopic { topic_id: id(9) }),
        refused(&image, topic("pageview", 9)),
        refused(&image, topic("new", 1)),
        refused(&image, partition(1, 5, &[1])),
        refused(&image, unregister(7, 0)),
        refused(&image, unregister(1, 7)),
        refused(&image, broker(1, 0, 2)),
        refused(&image, records::Config { resource_type: 3, ..records::Config::default() }),
        refused(&image, MetadataRecord { kind: None }),
    ];
    expect![[r#"
        record 0 (PartitionChange) at offset 1: topic id CQkJCQkJCQkJCQkJCQkJCQ is unknown
        record 0 (PartitionChange) at offset 1: partition 7 is unknown
        record 0 (PartitionChange) at offset 1: an id of 1 bytes
        record 0 (RemoveTopic) at offset 1: topic id CQkJCQkJCQkJCQkJCQkJCQ is unknown
        record 0 (Topic) at offset 1: topic 'pageview' exists
        record 0 (Topic) at offset 1: topic id AQEBAQEBAQEBAQEBAQEBAQ is in use
        record 0 (Partition) at offset 1: partition 5 follows 2 others
        record 0 (UnregisterBroker) at offset 1: broker 7 is not registered
        record 0 (UnregisterBroker) at offset 1: broker 1 has epoch 0, not 7
        record 0 (RegisterBroker) at offset 1: broker epoch 0 follows 0
        record 0 (Config) at offset 1: config resource type 3 is unknown
        record 0 is of a kind that this version does not know
    "#]]
    .assert_eq(&(texts.join("\n") + "\n"));
    assert!(image == two_topics());
    let late = image.replay(&MetadataBatch::default(), Offset(0), EPOCH);
    assert_eq!(late.unwrap_err(), ReplayError::OutOfOrder { offset: 0, replayed: 0 });
}

#[test]
#[should_panic(expected = "leader is not in the isr")]
fn a_leader_outside_of_its_isr_stops_the_process() {
    let change =
        records::PartitionChange { topic_id: id(1), leader: Some(3), ..records::PartitionChange::default() };
    replay(&two_topics(), vec![change.into()]);
}

#[test]
fn the_bytes_of_a_batch_do_not_change() {
    let change = records::PartitionChange {
        partition_index: 1,
        topic_id: id(1),
        isr: Some(records::BrokerIds { ids: vec![] }),
        leader: Some(-1),
        ..records::PartitionChange::default()
    };
    let batch = MetadataBatch::from(vec![
        broker(2, 5, 1),
        topic("t", 1),
        partition(1, 0, &[2]),
        change.into(),
        config("t", "retention.ms", None),
        records::NoOp {}.into(),
    ]);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    expect!["0a620a600802121001010101010101010101010101010101180522190a09504c41494e5445585412096c6f63616c686f73741884472a160a106d657461646174612e76657273696f6e1007181e32016138014a10666666666666666666666666666666660a1722150a01741210010101010101010101010101010101010a2e322c1210010101010101010101010101010101011a010222010238025a10666666666666666666666666666666660a233a210801121001010101010101010101010101010101220038ffffffffffffffffff010a15421308021201741a0c726574656e74696f6e2e6d730a025a00"].assert_eq(&hex(&encode_batch(&batch)));
    assert_eq!(decode_batch(&encode_batch(&batch)).unwrap(), batch);
}

#[test]
fn what_a_newer_version_wrote_is_not_skipped() {
    // Record kind 99, with an empty message.
    assert_eq!(
        decode_batch(&[0x0a, 0x03, 0x9a, 0x06, 0x00]),
        Err(DecodeError::UnknownRecordKind { index: 0 })
    );
    let change =
        records::PartitionChange { leader_recovery_state: Some(7), ..records::PartitionChange::default() };
    let bytes = encode_batch(&MetadataBatch::from(vec![change.into()]));
    assert!(matches!(decode_batch(&bytes), Err(DecodeError::UnknownValue { value: 7, .. })));
    assert!(matches!(decode_batch(&[0xff]), Err(DecodeError::Malformed(_))));
}

/// A record that fits the image, picked by three numbers; nothing where none of its kind fits.
fn fitting(image: &MetadataImage, kind: u8, a: u8, b: u8) -> Option<MetadataRecord> {
    let brokers: Vec<_> = image.brokers().collect();
    let topics: Vec<_> = image.topics().iter().collect();
    let pick_broker = || (!brokers.is_empty()).then(|| brokers[usize::from(a) % brokers.len()]);
    let pick_topic = || (!topics.is_empty()).then(|| topics[usize::from(a) % topics.len()]);
    let flag = |bit: u8| (b & bit != 0).then_some(b & (bit << 1) != 0);
    let topic_id = |topic: &TopicImage| topic.id().as_bytes().to_vec();
    Some(match kind % 10 {
        0 => broker(i32::from(a % 4), image.position().offset.0 + 1, b),
        1 => {
            let broker = pick_broker()?;
            records::UnregisterBroker { broker_id: broker.id.0, broker_epoch: broker.epoch.0 }.into()
        }
        2 => {
            let broker = pick_broker()?;
            records::BrokerRegistrationChange {
                broker_id: broker.id.0,
                broker_epoch: broker.epoch.0,
                fenced: flag(1),
                in_controlled_shutdown: flag(4),
                log_directories: (b & 16 != 0).then(|| records::LogDirectories { ids: vec![id(b)] }),
                full_log_directories: (b & 32 != 0).then(|| records::LogDirectories { ids: vec![id(b)] }),
                cordoned_log_directories: (b & 64 != 0).then(|| records::LogDirectories { ids: vec![id(b)] }),
            }
            .into()
        }
        3 if image.topics().by_id(Uuid::from_bytes([b; 16])).is_none() => {
            let name = format!("topic-{a}");
            image.topics().by_name(&name).is_none().then(|| topic(&name, b))?
        }
        4 | 3 => {
            let topic = pick_topic()?;
            let replicas = [[1, 2, 3], [2, 3, 1], [3, 1, 2]][usize::from(b) % 3];
            partition(topic.id().as_bytes()[0], topic.partition_count(), &replicas)
        }
        5 | 6 => {
            let topic = pick_topic()?;
            let index = i32::from(b).checked_rem(topic.partition_count())?;
            let leader = [1, 2, 3, -1][usize::from(b >> 4) % 4];
            records::PartitionChange {
                partition_index: index,
                topic_id: topic_id(topic),
                isr: Some(records::BrokerIds { ids: if leader == -1 { vec![1] } else { vec![leader] } }),
                leader: Some(leader),
                eligible_leader_replicas: Some(records::BrokerIds { ids: vec![] }),
                ..records::PartitionChange::default()
            }
            .into()
        }
        7 => config(&format!("topic-{}", a % 4), &format!("key-{}", b % 4), (b & 8 == 0).then_some("value")),
        8 if b >= 192 => quota(a, (b & 1 == 0).then(|| f64::from(b) / 8.0)),
        8 if b < 64 => records::RemoveTopic { topic_id: topic_id(pick_topic()?) }.into(),
        8 => records::FeatureLevel { name: format!("feature-{}", a % 3), level: i32::from(b % 3) }.into(),
        _ => records::ProducerIds {
            broker_id: 1,
            broker_epoch: 1,
            next_producer_id: image.next_producer_id().0 + 1_000,
        }
        .into(),
    })
}

/// What the delta must be, found the slow way.
fn changed_partitions(before: &MetadataImage, after: &MetadataImage) -> Vec<(TopicId, PartitionIndex)> {
    let mut changed = Vec::new();
    for topic in after.topics().iter() {
        for (index, partition) in topic.partitions() {
            if before.topics().partition(topic.id(), index) != Some(partition) {
                changed.push((topic.id(), index));
            }
        }
    }
    changed.sort_unstable();
    changed
}

proptest! {
    #[test]
    fn a_snapshot_replays_into_the_image_it_was_taken_of(
        batches in proptest::collection::vec(proptest::collection::vec(any::<(u8, u8, u8)>(), 1..8), 1..40),
    ) {
        let mut image = MetadataImage::empty();
        for picks in batches {
            let mut records = Vec::new();
            let offset = image.position().offset.plus(1);
            // Each record must fit what the ones before it in the batch have made.
            let mut preview = image.clone();
            for (kind, a, b) in picks {
                let Some(record) = fitting(&preview, kind, a, b) else { continue };
                match preview.replay_records(std::slice::from_ref(&record), offset) {
                    Ok(()) => records.push(record),
                    // One batch cannot register one broker twice.
                    Err(error) => prop_assert!(error.to_string().contains("follows"), "{error}"),
                }
            }
            let batch = MetadataBatch::from(records);
            prop_assert_eq!(&decode_batch(&encode_batch(&batch)).unwrap(), &batch);
            let (after, delta) = image.replay(&batch, offset, EPOCH).unwrap();
            prop_assert!(after == preview);

            let snapshot = MetadataBatch::from(after.to_snapshot_records());
            let restored = MetadataImage::from_snapshot([&snapshot], offset, EPOCH).unwrap();
            prop_assert!(restored == after, "{restored:?}\n{after:?}");
            prop_assert_eq!(restored.position(), after.position());
            prop_assert_eq!(restored.topics().partition_count(), after.topics().partition_count());
            prop_assert_eq!(MetadataBatch::from(restored.to_snapshot_records()), snapshot);

            // From a snapshot a broker derives the same delta as from the batches.
            let told = |delta: &MetadataDelta| MetadataDelta { from: MetadataPosition::START, ..delta.clone() };
            prop_assert_eq!(told(&MetadataDelta::between(&image, &restored)), told(&delta));
            prop_assert_eq!(delta.is_empty(), image == after);
            let partitions = delta.topics.iter().flat_map(|(id, t)| t.partitions.keys().map(|index| (*id, *index)));
            prop_assert_eq!(partitions.collect::<Vec<_>>(), changed_partitions(&image, &after));
            image = after;
        }
    }
}
