//! Records are Kafka's: the bytes' lengths and fields are those that `kafka-dump-log` shows of a run of Apache Kafka 4.3.0.

use super::*;
use crate::records::{Decoded, ShareRecord, Snapshot, Update, decode, encode, tombstone_key};

fn snapshot() -> Snapshot {
    Snapshot {
        snapshot_epoch: 0,
        state_epoch: 2,
        leader_epoch: 0,
        start_offset: -1,
        delivery_complete_count: -1,
        create_timestamp_ms: 1_795_750_324_890,
        write_timestamp_ms: 1_795_750_324_890,
        batches: Vec::new(),
    }
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let key = SharePartitionKey::new("g1", "XDXwxJMsStyARBbS2ECUQg".parse().unwrap(), 2);
    let full = Snapshot {
        snapshot_epoch: 1,
        start_offset: 15,
        delivery_complete_count: 0,
        batches: vec![batch(15, 19, DeliveryState::Available, 3)],
        ..snapshot()
    };
    let update = Update {
        snapshot_epoch: 0,
        leader_epoch: 0,
        start_offset: 0,
        delivery_complete_count: 10,
        batches: vec![batch(0, 9, DeliveryState::Acknowledged, 1)],
    };
    for (record, key_bytes, value_bytes) in [
        (ShareRecord::Snapshot(snapshot()), 26, 40),
        (ShareRecord::Snapshot(full), 26, 40 + 20 + 6),
        (ShareRecord::Update(update), 26, 2 + 4 + 4 + 8 + 1 + 20 + 7),
    ] {
        let (written_key, value) = encode(&key, &record);
        assert_eq!((written_key.len(), value.len()), (key_bytes, value_bytes), "{record:?}");
        assert_eq!(decode(&written_key, Some(&value)), Ok(Decoded::Record(key.clone(), record)));
    }
    assert_eq!(decode(&tombstone_key(&key), None), Ok(Decoded::Tombstone(key)));
}

#[test]
fn bytes_that_are_no_record_are_refused_wherever_they_end() {
    let record = ShareRecord::Snapshot(Snapshot {
        delivery_complete_count: 3,
        batches: vec![batch(1, 2, DeliveryState::Archived, 1), batch(5, 9, DeliveryState::Available, 2)],
        ..snapshot()
    });
    let (key, value) = encode(&key(0), &record);
    for end in 0..value.len() {
        assert!(decode(&key, Some(&value[..end])).is_err(), "{end} of {}", value.len());
    }
    for end in 0..key.len() {
        assert!(decode(&key[..end], Some(&value)).is_err(), "{end} of {}", key.len());
    }
    let longer = [&key[..], &[0]].concat();
    assert_eq!(decode(&longer, Some(&value)), Err(RecordError::Invalid { field: "key" }));
    let mut other = value.to_vec();
    other[1] = 1;
    let expected = RecordError::UnknownValueVersion { key_version: 0, value_version: 1 };
    assert_eq!(decode(&key, Some(&other)), Err(expected));
    assert_eq!(decode(&[0, 9, 1, 2], None), Ok(Decoded::Other(9)));
}
