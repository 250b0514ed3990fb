//! The records, against bytes that Apache Kafka 4.3.0's own serialisers wrote for the same facts.

use moldau_model::{GenerationId, LeaderEpoch, Offset, PartitionIndex, TimestampMs, TopicId};

use crate::Replayed;
use crate::records::{
    GroupMetadataValue, MemberMetadata, OffsetCommitValue, RecordError, RecordKey, group_key, offset_key,
};
use crate::tests::harness::Harness;

const OFFSET_KEY: &str = "00010001670005746f70696300000003";
const GROUP_KEY: &str = "0002000167";
const OFFSET_VALUES: [&str; 5] = [
    "0000000000000000002a00046d6574610000018bcfe56800",
    "0001000000000000002a00046d6574610000018bcfe568000000018bcfe65260",
    "0002000000000000002a00046d6574610000018bcfe56800",
    "0003000000000000002a0000000500046d6574610000018bcfe56800",
    "0004000000000000002a00000005056d6574610000018bcfe5680000",
];
const OFFSET_VALUE_WITH_TOPIC_ID: &str =
    "0004000000000000002a00000005056d6574610000018bcfe568000100100102030405060708090a0b0c0d0e0f10";
const GROUP_VALUES: [&str; 5] = [
    "00000008636f6e73756d657200000007000572616e676500036d2d310000000200036d2d31000163000a2f3132372e302e302e31\
     00002710000000020102000000010300036d2d320000000168000017700000000000000000",
    "00010008636f6e73756d657200000007000572616e676500036d2d310000000200036d2d31000163000a2f3132372e302e302e31\
     0000ea6000002710000000020102000000010300036d2d320000000168ffffffff000017700000000000000000",
    "00020008636f6e73756d657200000007000572616e676500036d2d310000018bcfe568000000000200036d2d31000163000a2f31\
     32372e302e302e310000ea6000002710000000020102000000010300036d2d320000000168ffffffff000017700000000000000000",
    "00030008636f6e73756d657200000007000572616e676500036d2d310000018bcfe568000000000200036d2d310003692d310001\
     63000a2f3132372e302e302e310000ea6000002710000000020102000000010300036d2d32ffff0000000168ffffffff00001770\
     0000000000000000",
    "000409636f6e73756d6572000000070672616e6765046d2d310000018bcfe5680003046d2d3104692d3102630b2f3132372e302e\
     302e310000ea6000002710030102020300046d2d3200010268ffffffff0000177001010000",
];
const EMPTY_GROUP_VALUE: &str = "0003000000000000ffffffff0000018bcfe5680000000000";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn offset_value(version: usize) -> OffsetCommitValue<'static> {
    OffsetCommitValue {
        offset: Offset(42),
        leader_epoch: if version >= 3 { LeaderEpoch(5) } else { LeaderEpoch::NONE },
        metadata: "meta",
        commit_timestamp: TimestampMs(1_700_000_000_000),
        expire_timestamp: (version == 1).then_some(TimestampMs(1_700_000_060_000)),
        topic_id: TopicId::ZERO,
    }
}

fn group_value(version: usize) -> GroupMetadataValue<'static> {
    let first = MemberMetadata {
        member_id: "m-1",
        group_instance_id: (version >= 3).then_some("i-1"),
        client_id: "c",
        client_host: "/127.0.0.1",
        rebalance_timeout_ms: if version >= 1 { 60_000 } else { -1 },
        session_timeout_ms: 10_000,
        subscription: &[1, 2],
        assignment: &[3],
    };
    let second = MemberMetadata {
        member_id: "m-2",
        group_instance_id: None,
        client_id: "",
        client_host: "h",
        rebalance_timeout_ms: -1,
        session_timeout_ms: 6_000,
        subscription: &[],
        assignment: &[],
    };
    GroupMetadataValue {
        protocol_type: "consumer",
        generation_id: GenerationId(7),
        protocol: Some("range"),
        leader: Some("m-1"),
        current_state_timestamp: if version >= 2 {
            TimestampMs(1_700_000_000_000)
        } else {
            TimestampMs::NONE
        },
        members: vec![first, second],
    }
}

#[test]
fn what_kafka_writes_is_written_to_the_byte() {
    assert_eq!(offset_key("g", "topic", PartitionIndex(3)), bytes(OFFSET_KEY));
    assert_eq!(group_key("g"), bytes(GROUP_KEY));
    assert_eq!(offset_value(4).encode(), bytes(OFFSET_VALUES[4]));
    let topic_id = TopicId::from_bytes([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
    let with_topic_id = OffsetCommitValue { topic_id, ..offset_value(4) };
    assert_eq!(with_topic_id.encode(), bytes(OFFSET_VALUE_WITH_TOPIC_ID));
    // A client that sets a retention time of its own gets version 1, as from Kafka.
    assert_eq!(offset_value(1).encode(), bytes(OFFSET_VALUES[1]));
    assert_eq!(group_value(3).encode(), bytes(GROUP_VALUES[3]));
    let empty = GroupMetadataValue {
        protocol_type: "",
        generation_id: GenerationId(0),
        protocol: None,
        leader: None,
        members: Vec::new(),
        ..group_value(3)
    };
    assert_eq!(empty.encode(), bytes(EMPTY_GROUP_VALUE));
}

#[test]
fn every_version_that_kafka_ever_wrote_is_read() {
    let key = bytes(OFFSET_KEY);
    let expected = RecordKey::Offset { group_id: "g", topic: "topic", partition: PartitionIndex(3) };
    assert_eq!(RecordKey::decode(&key), Ok(expected));
    let old_key = [&[0, 0], &key[2..]].concat();
    assert_eq!(RecordKey::decode(&old_key), Ok(expected), "version 0 looks like version 1");
    assert_eq!(RecordKey::decode(&bytes(GROUP_KEY)), Ok(RecordKey::Group { group_id: "g" }));
    for (version, hex) in OFFSET_VALUES.iter().enumerate() {
        let value = bytes(hex);
        assert_eq!(OffsetCommitValue::decode(&value), Ok(offset_value(version)), "version {version}");
    }
    for (version, hex) in GROUP_VALUES.iter().enumerate() {
        let value = bytes(hex);
        assert_eq!(GroupMetadataValue::decode(&value), Ok(group_value(version)), "version {version}");
    }
}

#[test]
fn a_record_cut_short_anywhere_is_refused_and_never_panics() {
    for hex in OFFSET_VALUES.iter().chain([&OFFSET_VALUE_WITH_TOPIC_ID]) {
        let value = bytes(hex);
        for length in 0..value.len() {
            assert!(OffsetCommitValue::decode(&value[..length]).is_err(), "{hex} to {length}");
        }
    }
    for hex in GROUP_VALUES {
        let value = bytes(hex);
        for length in 0..value.len() {
            assert!(GroupMetadataValue::decode(&value[..length]).is_err(), "{hex} to {length}");
        }
    }
    for hex in [OFFSET_KEY, GROUP_KEY] {
        let key = bytes(hex);
        for length in 0..key.len() {
            assert!(RecordKey::decode(&key[..length]).is_err(), "{hex} to {length}");
        }
    }
}

#[test]
fn any_byte_changed_to_any_other_is_read_or_refused_and_never_panics() {
    let keys = [OFFSET_KEY, GROUP_KEY];
    let values = OFFSET_VALUES.iter().chain(&GROUP_VALUES).chain([&OFFSET_VALUE_WITH_TOPIC_ID]);
    for (key, value) in keys.iter().flat_map(|key| values.clone().map(move |value| (key, value))) {
        let (key, value) = (bytes(key), bytes(value));
        let mut harness = Harness::inactive(crate::GroupConfig::default());
        harness.shard.begin_load(LeaderEpoch(1));
        for at in 0..value.len() {
            for byte in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = value.clone();
                changed[at] = byte;
                let _ = harness.shard.replay(&key, Some(&changed));
            }
        }
        for at in 0..key.len() {
            let mut changed = key.clone();
            changed[at] = 0xff;
            let _ = harness.shard.replay(&changed, Some(&value));
        }
    }
}

#[test]
fn records_of_other_kinds_are_skipped_and_said_so() {
    let mut harness = Harness::inactive(crate::GroupConfig::default());
    harness.shard.begin_load(LeaderEpoch(1));
    for version in [9i16, 18, 24, 1_000] {
        let key = [&version.to_be_bytes()[..], b"\0\x01g"].concat();
        assert_eq!(harness.shard.replay(&key, Some(b"whatever")), Ok(Replayed::Skipped(version)));
        assert_eq!(harness.shard.replay(&key, None), Ok(Replayed::Skipped(version)));
    }
    let unknown_value = harness.shard.replay(&bytes(GROUP_KEY), Some(&[0, 5]));
    assert_eq!(unknown_value, Err(RecordError::UnknownValueVersion { key_version: 2, value_version: 5 }));
    assert_eq!(harness.shard.group_count(), 0);
}
