//! What an append takes, what it refuses, and what it leaves in the log.

use moldau_log::{AppendError, AppendOrigin, CleanupPolicy, LogConfig};
use moldau_model::{ErrorCode, LeaderEpoch, Offset, ProducerEpoch, ProducerId, TimestampMs};
use moldau_record::{BatchBuilder, BatchView, Batches, Compression, ControlRecord, TimestampType};

use crate::support::*;

fn code(result: Result<moldau_log::AppendInfo, AppendError>) -> ErrorCode {
    result.err().map_or(ErrorCode::None, |error| error.error_code())
}

fn patched(mut bytes: Vec<u8>, at: usize, value: &[u8]) -> Vec<u8> {
    bytes[at..at + value.len()].copy_from_slice(value);
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

#[test]
fn offsets_and_epoch_are_given_out_in_order_and_nothing_else_is_touched() {
    let disk = Disk::new();
    let mut log = disk.open(LogConfig::default());
    let sent = batch(3);
    let first = append(&mut log, sent.clone()).unwrap();
    assert_eq!((first.first_offset, first.last_offset), (Offset(0), Offset(2)));
    assert_eq!(first.log_append_time, TimestampMs::NONE);
    let mut again = sent.clone();
    let second = log.append_as_leader(&mut again, LeaderEpoch(4), AppendOrigin::Client, NOW).unwrap();
    assert_eq!((second.first_offset, second.last_offset), (Offset(3), Offset(5)));
    assert_eq!(log.log_end_offset(), Offset(6));

    let stored = read_from(&log, Offset(3), Offset(6));
    let view = BatchView::first(&stored).unwrap();
    assert_eq!((view.base_offset(), view.leader_epoch()), (Offset(3), LeaderEpoch(4)));
    assert_eq!(stored[16..], sent[16..], "everything from the magic on is the client's");
}

#[test]
fn what_kafka_refuses_is_refused_with_its_code_and_leaves_nothing() {
    let good = batch(3);
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let control = {
        let mut builder = BatchBuilder::new()
            .control(true)
            .producer(ProducerId(1), ProducerEpoch(0), -1)
            .transactional(true);
        builder.append_control(NOW, ControlRecord::Commit { coordinator_epoch: 0 }).unwrap();
        builder.build().unwrap()
    };
    let old_magic = {
        let mut bytes = good.clone();
        bytes[16] = 1;
        bytes
    };
    let no_magic = {
        let mut bytes = good.clone();
        bytes[16] = 9;
        bytes
    };
    let ahead = {
        let mut builder = BatchBuilder::new();
        builder.append(TimestampMs(NOW.0 + 3_600_001), None, Some(b"v"), &[]).unwrap();
        builder.build().unwrap()
    };
    let cases = [
        ("a flipped bit", flipped, ErrorCode::CorruptMessage),
        ("a cut batch", good[..good.len() - 1].to_vec(), ErrorCode::CorruptMessage),
        ("a cut header", good[..30].to_vec(), ErrorCode::CorruptMessage),
        ("an old format", old_magic, ErrorCode::InvalidRecord),
        ("no format at all", no_magic, ErrorCode::CorruptMessage),
        ("nothing", Vec::new(), ErrorCode::InvalidRecord),
        ("two batches", [good.clone(), good.clone()].concat(), ErrorCode::InvalidRecord),
        (
            "a count that does not match",
            patched(good.clone(), 57, &4i32.to_be_bytes()),
            ErrorCode::InvalidRecord,
        ),
        ("no records", patched(good.clone(), 57, &0i32.to_be_bytes()), ErrorCode::InvalidRecord),
        ("a negative delta", patched(good.clone(), 23, &(-1i32).to_be_bytes()), ErrorCode::InvalidRecord),
        (
            "an unknown codec",
            patched(good.clone(), 21, &6i16.to_be_bytes()),
            ErrorCode::UnsupportedCompressionType,
        ),
        (
            "the broker's timestamp type",
            patched(good.clone(), 21, &8i16.to_be_bytes()),
            ErrorCode::InvalidTimestamp,
        ),
        ("a control batch", control, ErrorCode::InvalidRecord),
        ("an id without sequence", idempotent(5, 0, -1, 1), ErrorCode::InvalidRecord),
        ("a time too far ahead", ahead, ErrorCode::InvalidTimestamp),
        ("a large batch", batch_of(1, 2000), ErrorCode::MessageTooLarge),
    ];
    let disk = Disk::new();
    let mut log = disk.open(LogConfig { max_message_bytes: 1000, ..LogConfig::default() });
    append(&mut log, good.clone()).unwrap();
    for (what, bytes, expected) in cases {
        assert_eq!(code(append(&mut log, bytes)), expected, "{what}");
        assert_eq!(log.log_end_offset(), Offset(3), "{what}");
    }
    append(&mut log, good).unwrap();
    assert_eq!(offsets(&log), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn more_than_a_segment_is_too_large_a_list() {
    let disk = Disk::new();
    let mut log = disk.open(small());
    assert_eq!(code(append(&mut log, batch_of(1, 2000))), ErrorCode::RecordListTooLarge);
}

#[test]
fn an_older_leader_epoch_is_fenced() {
    let disk = Disk::new();
    let mut log = disk.open(LogConfig::default());
    log.assign_leader_epoch(LeaderEpoch(3));
    let old = log.append_as_leader(&mut batch(1), LeaderEpoch(2), AppendOrigin::Client, NOW);
    assert_eq!(code(old), ErrorCode::NotLeaderOrFollower);
}

#[test]
fn a_topic_of_log_append_time_gets_the_brokers_time_and_a_new_crc() {
    let disk = Disk::new();
    let config = LogConfig { message_timestamp_type: TimestampType::LogAppendTime, ..LogConfig::default() };
    let mut log = disk.open(config);
    let info = append(&mut log, batch(2)).unwrap();
    assert_eq!(info.log_append_time, NOW);
    let stored = read_all(&log);
    let view = BatchView::first(&stored).unwrap();
    view.check_crc().unwrap();
    assert_eq!((view.timestamp_type(), view.max_timestamp()), (TimestampType::LogAppendTime, NOW));
}

#[test]
fn a_compacted_topic_names_each_record_without_a_key() {
    let disk = Disk::new();
    let cleanup_policy = CleanupPolicy { delete: false, compact: true };
    let mut log = disk.open(LogConfig { cleanup_policy, ..LogConfig::default() });
    let mut builder = BatchBuilder::new().compression(Compression::Gzip);
    for key in [Some(&b"a"[..]), None, Some(b"b"), None] {
        builder.append(NOW, key, Some(b"v"), &[]).unwrap();
    }
    let error = append(&mut log, builder.build().unwrap()).unwrap_err();
    assert_eq!(error.error_code(), ErrorCode::InvalidRecord);
    let numbers: Vec<i32> = error.record_errors().iter().map(|record| record.batch_index).collect();
    assert_eq!(numbers, [1, 3]);
    assert_eq!(log.log_end_offset(), Offset(0));
}

#[test]
fn a_follower_keeps_every_byte_and_leaves_a_cut_batch_out() {
    let (leader, follower) = (Disk::new(), Disk::new());
    let mut log = leader.open(small());
    for number in 0..40 {
        append(&mut log, numbered(number)).unwrap();
        if number == 20 {
            log.assign_leader_epoch(LeaderEpoch(2));
        }
    }
    let bytes = read_all(&log);
    let mut copy = follower.open(small());
    for piece in bytes.chunks(700) {
        // A fetch may end anywhere: what is cut comes again.
        let have = read_all(&copy).len();
        let end = copy.append_as_follower(&bytes[have..(have + piece.len()).min(bytes.len())], NOW).unwrap();
        assert_eq!(end, copy.log_end_offset());
    }
    while copy.log_end_offset() < log.log_end_offset() {
        let have = read_all(&copy).len();
        copy.append_as_follower(&bytes[have..], NOW).unwrap();
    }
    assert_eq!(read_all(&copy), bytes);
    assert_eq!(copy.latest_epoch(), Some(LeaderEpoch(2)));
    assert_eq!(copy.end_offset_for_epoch(LeaderEpoch(0)), log.end_offset_for_epoch(LeaderEpoch(0)));

    let error = copy.append_as_follower(&bytes[..200], NOW).unwrap_err();
    assert!(matches!(error, AppendError::OffsetsOutOfOrder { .. }), "{error}");
    let mut flipped = bytes[..].to_vec();
    // Within what the CRC covers: base offset and leader epoch are not, and compaction makes any gap a legal one.
    let tenth = Batches::new(&bytes).take(10).map(|batch| batch.unwrap().size_bytes()).sum::<usize>();
    flipped[tenth + 40] ^= 0x10;
    let mut other = Disk::new().open(small());
    assert!(other.append_as_follower(&flipped, NOW).is_err());
    let good = read_all(&other);
    assert!(good == bytes[..tenth], "only what came before the bad batch");
}

#[test]
fn segments_roll_by_size_age_and_index_and_offsets_go_on() {
    let disk = Disk::new();
    let mut log = disk.open(small());
    for number in 0..30 {
        append(&mut log, numbered(number)).unwrap();
    }
    assert!(log.segment_base_offsets().len() > 2);
    assert_eq!(offsets(&log), (0..30).collect::<Vec<i64>>());

    let mut log = Disk::new().open(LogConfig { segment_ms: 1000, ..LogConfig::default() });
    let hour = 3_600_000;
    log.append_as_leader(&mut at(&[-hour]), EPOCH, AppendOrigin::Client, NOW).unwrap();
    log.append_as_leader(&mut at(&[-hour + 1000]), EPOCH, AppendOrigin::Client, NOW).unwrap();
    assert_eq!(log.segment_base_offsets(), [Offset(0)], "by the records' time, not the broker's");
    log.append_as_leader(&mut at(&[-hour + 1001]), EPOCH, AppendOrigin::Client, NOW).unwrap();
    assert_eq!(log.segment_base_offsets(), [Offset(0), Offset(2)]);
    assert!(log.roll_if_due(NOW).unwrap());
    assert!(!log.roll_if_due(NOW).unwrap(), "an empty segment is not rolled");
    assert_eq!(log.segment_base_offsets(), [Offset(0), Offset(2), Offset(3)]);

    let config = LogConfig { segment_index_bytes: 48, index_interval_bytes: 1, ..LogConfig::default() };
    let mut log = Disk::new().open(config);
    for number in 0..20 {
        append(&mut log, numbered(number)).unwrap();
    }
    assert!(log.segment_base_offsets().len() > 2, "a full index rolls");
}

#[test]
fn a_follower_far_ahead_rolls_before_relative_offsets_overflow() {
    let mut log = Disk::new().open(LogConfig::default());
    let far = |offset: i64| {
        let mut builder = BatchBuilder::new().base_offset(Offset(offset)).leader_epoch(EPOCH);
        builder.append(NOW, None, Some(b"v"), &[]).unwrap();
        builder.build().unwrap()
    };
    log.append_as_follower(&far(0), NOW).unwrap();
    log.append_as_follower(&far(i64::from(i32::MAX)), NOW).unwrap();
    assert_eq!(log.segment_base_offsets().len(), 1);
    log.append_as_follower(&far(i64::from(i32::MAX) + 1), NOW).unwrap();
    assert_eq!(log.segment_base_offsets().len(), 2);
    let last = log.log_end_offset().plus(-1);
    assert_eq!(records(&read_from(&log, last, log.log_end_offset())).len(), 1);
}

#[test]
fn jitter_takes_something_off_a_segments_time_and_not_the_same_from_each() {
    let config = LogConfig { segment_ms: 1000, segment_jitter_ms: 400, ..small() };
    let mut log = Disk::new().open(config);
    let mut ages = std::collections::BTreeSet::new();
    for number in 0..20 {
        append(&mut log, numbered(number)).unwrap();
        let rolled = (0..2000).find(|age| log.roll_if_due(TimestampMs(NOW.0 + age)).unwrap());
        ages.insert(rolled.unwrap());
    }
    assert!(ages.first() > Some(&600) && ages.last() <= Some(&1001), "{ages:?}");
    assert!(ages.len() > 10, "{ages:?}");
}
