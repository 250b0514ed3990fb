//! The records, against bytes that Apache Kafka 4.3.0's own serialisers wrote for the same facts.

use bytes::Bytes;
use moldau_model::{ProducerEpoch, ProducerId, TimestampMs, TopicPartition};

use crate::records::{RecordError, RecordKey, decode_key, decode_value, encode_key, encode_value};
use crate::state::TransactionState;
use crate::transaction::Transaction;

const KEY: &str = "000000086f72646572732d31";
/// By version: an id without a transaction, and an open transaction.
const EMPTY_VALUES: [&str; 2] = [
    "00000000000000000fa000000000ea6000ffffffff0000018bcfe56800ffffffffffffffff",
    "00010000000000000fa000000000ea6000000000018bcfe56800ffffffffffffffff00",
];
const ONGOING_VALUES: [&str; 2] = [
    "00000000000000000fa000070000ea60010000000200016100000002000000000000000200016200000001000000050000018bcfe569\
     f40000018bcfe56800",
    "00010000000000000fa000070000ea60010302610300000000000000020002620200000005000000018bcfe569f40000018bcfe56800\
     0300080000000000000fa00108000000000000138802020002",
];

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn empty() -> Transaction {
    Transaction {
        producer_epoch: ProducerEpoch(0),
        ..Transaction::unused(ProducerId(4_000), 60_000, TimestampMs(1_700_000_000_000))
    }
}

fn ongoing(version: usize) -> Transaction {
    let only_flexible = |id| if version >= 1 { ProducerId(id) } else { ProducerId::NONE };
    Transaction {
        previous_producer_id: only_flexible(4_000),
        next_producer_id: only_flexible(5_000),
        producer_epoch: ProducerEpoch(7),
        state: TransactionState::Ongoing,
        partitions: [("a", 0), ("a", 2), ("b", 5)].map(|(topic, at)| TopicPartition::new(topic, at)).into(),
        started_at: TimestampMs(1_700_000_000_000),
        updated_at: TimestampMs(1_700_000_000_500),
        client_version: if version >= 1 { 2 } else { 0 },
        ..empty()
    }
}

#[test]
fn records_are_kafkas_to_the_byte() {
    assert_eq!(encode_key("orders-1"), Bytes::from(bytes(KEY)));
    assert_eq!(decode_key(&bytes(KEY)), Ok(RecordKey::Transaction { transactional_id: "orders-1" }));
    for version in 0..2 {
        for (hex, transaction) in
            [(EMPTY_VALUES[version], empty()), (ONGOING_VALUES[version], ongoing(version))]
        {
            assert_eq!(encode_value(&transaction, version as i16), Bytes::from(bytes(hex)), "{version}");
            assert_eq!(decode_value(&bytes(hex)), Ok(transaction), "{version}");
        }
    }
}

#[test]
fn a_cluster_of_version_0_writes_what_its_readers_know() {
    let value = encode_value(&ongoing(1), 0);
    assert_eq!(value, Bytes::from(bytes(ONGOING_VALUES[0])));
}

#[test]
fn bytes_that_are_no_record_are_told_and_never_a_panic() {
    let whole = bytes(ONGOING_VALUES[1]);
    for end in 0..whole.len() {
        assert!(decode_value(&whole[..end]).is_err(), "cut at {end}");
    }
    for at in 0..whole.len() {
        for byte in [0, 1, 0x7f, 0x80, 0xff] {
            let mut spoiled = whole.clone();
            spoiled[at] = byte;
            // Any outcome but a panic, or memory beyond the bytes there are.
            let _ = decode_value(&spoiled);
        }
    }
    for (value, error) in [
        ("0002", RecordError::UnknownValueVersion(2)),
        ("ffff", RecordError::UnknownValueVersion(-1)),
        ("00", RecordError::Truncated { field: "value version" }),
        // Dead is never written.
        ("00000000000000000fa000000000ea6006", RecordError::Invalid { field: "state" }),
        ("00000000000000000fa000000000ea60017fffffff", RecordError::Invalid { field: "partitions" }),
    ] {
        assert_eq!(decode_value(&bytes(value)), Err(error), "{value}");
    }
    assert_eq!(decode_key(&bytes("0000000161ff")), Err(RecordError::Invalid { field: "key" }));
    assert_eq!(decode_key(&bytes("0003000161")), Ok(RecordKey::Other { version: 3 }));
}
