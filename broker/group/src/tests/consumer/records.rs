//! The records, against bytes that Apache Kafka 4.3.0's own serialisers wrote for the same facts, and the hash of a topic
//! against Kafka's.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use moldau_model::{PartitionIndex, TopicId};

use super::Topics;
use crate::consumer::{
    Assignment, ClassicMember, ConsumerMemberMetadata, CurrentAssignment, MemberState, OwnedPartitions,
    metadata_hash,
};
use crate::records::{ConsumerRecord, GroupEpoch, RecordKey, ResolvedRegex, TargetEpoch};
use crate::*;

const ID: [u8; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn owned(partitions: &[(i32, i32)]) -> OwnedPartitions {
    let partitions =
        partitions.iter().map(|(partition, epoch)| (PartitionIndex(*partition), *epoch)).collect();
    OwnedPartitions::from([(TopicId::from_bytes(ID), partitions)])
}

fn member(metadata: Option<ConsumerMemberMetadata>) -> ConsumerRecord {
    ConsumerRecord::Member { member_id: "m".into(), metadata }
}

fn current(current: Option<CurrentAssignment>) -> ConsumerRecord {
    ConsumerRecord::CurrentAssignment { member_id: "m".into(), current }
}

fn cases() -> Vec<(ConsumerRecord, &'static str, Option<&'static str>)> {
    let metadata = ConsumerMemberMetadata {
        instance_id: Some("i".into()),
        rack_id: Some("r".into()),
        client_id: "c".into(),
        client_host: "/127.0.0.1".into(),
        topic_names: ["a".into(), "b".into()].into(),
        topic_regex: "x.*".into(),
        rebalance_timeout_ms: 300_000,
        server_assignor: Some("range".into()),
        classic: None,
    };
    let protocol = JoinGroupProtocol { name: "range".into(), metadata: Bytes::from_static(&[1, 2]) };
    let classic = ConsumerMemberMetadata {
        client_id: "c".into(),
        client_host: "/127.0.0.1".into(),
        topic_names: ["a".into()].into(),
        rebalance_timeout_ms: 300_000,
        classic: Some(ClassicMember { session_timeout_ms: 45_000, protocols: vec![protocol] }),
        ..ConsumerMemberMetadata::default()
    };
    let assignment = CurrentAssignment {
        member_epoch: 7,
        previous_member_epoch: 6,
        state: MemberState::UnrevokedPartitions,
        assigned: owned(&[(0, 5), (2, 6)]),
        pending_revocation: owned(&[(3, 4)]),
    };
    let target = Assignment::from([(TopicId::from_bytes(ID), [PartitionIndex(0), PartitionIndex(2)].into())]);
    let resolved = ResolvedRegex {
        topics: ["xa".into(), "xb".into()].into(),
        version: 12,
        timestamp_ms: 1_700_000_000_000,
    };
    let epoch = |metadata_hash| ConsumerRecord::Epoch(Some(GroupEpoch { epoch: 7, metadata_hash }));
    let target_epoch = TargetEpoch { epoch: 7, timestamp_ms: 1_700_000_000_000 };
    let target_member = |target| ConsumerRecord::TargetMember { member_id: "m".into(), target };
    let regex = |resolved| ConsumerRecord::Regex { regex: "x.*".into(), resolved };
    vec![
        (epoch(0x1122_3344_5566_7788), "0003000167", Some("0000000000070100081122334455667788")),
        (epoch(0), "0003000167", Some("00000000000700")),
        (ConsumerRecord::Epoch(None), "0003000167", None),
        (ConsumerRecord::SubscriptionMetadata { is_present: false }, "0004000167", None),
        (
            member(Some(metadata)),
            "000500016700016d",
            Some("00000269027202630b2f3132372e302e302e31030261026204782e2a000493e00672616e676501000100"),
        ),
        (
            member(Some(classic)),
            "000500016700016d",
            Some(
                "0000000002630b2f3132372e302e302e3102026101000493e000010011010000afc8020672616e67650301020000",
            ),
        ),
        (member(None), "000500016700016d", None),
        (
            ConsumerRecord::TargetEpoch(Some(target_epoch)),
            "0006000167",
            Some("0000000000070100080000018bcfe56800"),
        ),
        (ConsumerRecord::TargetEpoch(None), "0006000167", None),
        (
            target_member(Some(target)),
            "000700016700016d",
            Some("0000020102030405060708090a0b0c0d0e0f100300000000000000020000"),
        ),
        (target_member(None), "000700016700016d", None),
        (
            current(Some(assignment)),
            "000800016700016d",
            Some(
                "0000000000070000000601020102030405060708090a0b0c0d0e0f1003000000000000000201000903000000050000\
                 0006020102030405060708090a0b0c0d0e0f100200000003010005020000000400",
            ),
        ),
        (current(None), "000800016700016d", None),
        (
            regex(Some(resolved)),
            "00100001670003782e2a",
            Some("000003037861037862000000000000000c0000018bcfe5680000"),
        ),
        (regex(None), "00100001670003782e2a", None),
    ]
}

fn decode(key: &[u8], value: Option<&[u8]>) -> Result<ConsumerRecord, RecordError> {
    match RecordKey::decode(key)? {
        RecordKey::ConsumerGroup { kind, group_id: "g", name } => ConsumerRecord::decode(kind, name, value),
        other => panic!("{other:?}"),
    }
}

#[test]
fn records_are_written_and_read_as_kafkas_are() {
    for (record, key, value) in cases() {
        let (key, value) = (bytes(key), value.map(bytes));
        let encoded = record.encode("g");
        assert_eq!((&*encoded.key, encoded.value.as_deref()), (&key[..], value.as_deref()), "{record:?}");
        assert_eq!(decode(&key, value.as_deref()), Ok(record));
    }
}

#[test]
fn partitions_without_epochs_count_as_assigned_at_the_members() {
    for (epochs, member_epoch, expected) in [("01000100", "00000007", 7), ("00", "fffffffe", 0)] {
        let topic = "0102030405060708090a0b0c0d0e0f10030000000000000002";
        let value = bytes(&format!("0000{member_epoch}000000060002{topic}{epochs}0100"));
        let read = decode(&bytes("000800016700016d"), Some(&value));
        let Ok(ConsumerRecord::CurrentAssignment { current: Some(current), .. }) = read else {
            panic!("{read:?}");
        };
        assert_eq!(current.assigned, owned(&[(0, expected), (2, expected)]));
    }
}

#[test]
fn what_is_cut_short_or_of_another_version_is_no_record() {
    for (record, key, value) in cases() {
        let Some(value) = value.map(bytes) else { continue };
        for end in 0..value.len() {
            assert!(decode(&bytes(key), Some(&value[..end])).is_err(), "{record:?} up to {end}");
        }
        let mut later = value;
        later[1] = 1;
        let error = decode(&bytes(key), Some(&later)).unwrap_err();
        assert!(matches!(error, RecordError::UnknownValueVersion { value_version: 1, .. }), "{error}");
    }
}

#[test]
fn the_hash_of_topics_is_kafkas() {
    let id = TopicId::from_bytes(ID);
    let topics = Topics {
        by_name: BTreeMap::from([(Arc::from("topic"), TopicSummary { topic_id: id, partition_count: 2 })]),
        racks: vec!["rack-b".into(), "a".into()],
        ..Topics::default()
    };
    assert_eq!(metadata_hash(&["topic".into(), "gone".into()].into(), &topics), -3_278_127_138_369_852_428);
    assert_eq!(metadata_hash(&["gone".into()].into(), &topics), 0);
}
