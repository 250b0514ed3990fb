//! Record batches that were tampered with, through Produce: what gets into the log is readable by everybody.

use std::collections::BTreeMap;

use moldau_model::{ProducerEpoch, ProducerId, TimestampMs};
use moldau_record::{BatchBuilder, Batches, Compression, DecompressLimit};

use crate::harness::Node;
use crate::requests::*;
use crate::watch::{Random, Watch, iterations, seed};

const CODECS: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

fn good(random: &mut Random) -> Vec<u8> {
    let mut builder = BatchBuilder::new().compression(CODECS[random.below(CODECS.len())]);
    if random.below(3) == 0 {
        let (id, epoch) = (random.below(4) as i64, random.below(2) as i16);
        builder = builder.producer(ProducerId(id), ProducerEpoch(epoch), random.below(3) as i32);
    }
    for number in 0..=random.below(6) {
        let value = vec![number as u8; random.below(60)];
        let key = [number as u8];
        let key = (random.below(2) == 0).then_some(&key[..]);
        let headers = [("h", Some(&b"1"[..])), ("h", None)];
        let headers = &headers[..random.below(3)];
        builder.append(TimestampMs(now_ms()), key, Some(&value), headers).unwrap();
    }
    builder.build().unwrap()
}

/// Changes fields that have a meaning, or bytes that may have one; mostly with a checksum that is right again.
fn tampered(random: &mut Random) -> Vec<u8> {
    let mut records = good(random);
    for _ in 0..random.below(3) {
        let numbers = [i32::MAX, i32::MIN, -1, 0, 1, 7, records.len() as i32];
        let number = numbers[random.below(numbers.len())].to_be_bytes();
        let at = random.below(records.len().max(1));
        match random.below(10) {
            // length, last offset delta, base sequence, record count
            0 => put(&mut records, 8, &number),
            1 => put(&mut records, 23, &number),
            2 => put(&mut records, 53, &number),
            3 => put(&mut records, 57, &number),
            // attributes
            4 => {
                let attributes = [0, random.next() as u8 & 0x7f];
                put(&mut records, 21, &attributes);
            }
            // timestamps, producer id and epoch
            5 => put(&mut records, 27 + random.below(26), &number),
            6 => records.truncate(at),
            7 => {
                let noise = random.bytes(9);
                drop(records.splice(at..at, noise));
            }
            8 => {
                let again = good(random);
                records.extend(again);
            }
            _ => put(&mut records, at, &[random.next() as u8]),
        }
    }
    if records.len() > 61 && random.below(8) > 0 {
        let crc = crc32c::crc32c(&records[21..]).to_be_bytes();
        put(&mut records, 17, &crc);
    }
    records
}

fn put(records: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = records.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

#[test]
fn tampered_batches_are_refused_or_are_readable() {
    let watch = Watch::begin();
    let node = Node::start(&[]);
    let mut client = node.connect();
    let topic = create_topic(&mut client, "t", 1, &[]);
    let mut random = Random(seed() ^ 3);
    let rounds = iterations(6_000);
    let mut codes: BTreeMap<String, u64> = BTreeMap::new();
    let mut end = 0;
    for _ in 0..rounds {
        let version = 3 + random.below(11) as i16;
        let records = tampered(&mut random);
        let answer = produce(&mut client, version, &topic, 1, records.clone());
        let outcome = code(answer.error_code);
        *codes.entry(format!("{outcome:?}")).or_default() += 1;
        if !outcome.is_none() {
            assert_eq!(answer.base_offset, -1, "{outcome:?}");
        } else if answer.base_offset >= end {
            assert_eq!(answer.base_offset, end, "offsets have no holes: {records:02x?}");
            let batch = moldau_record::BatchView::first(&records).unwrap();
            end += i64::from(batch.last_offset_delta()) + 1;
        }
    }
    println!("batches: {rounds} executions, {codes:?}");
    assert!(codes.len() > 3 && codes.contains_key("None"));
    assert_eq!(watch.panics(), 0);
    crate::harness::eventually("all is visible", || log_end(&mut client, &topic) == end);
    assert_eq!(read_all(&mut client, &topic), end);
}

/// Reads the log as a consumer does, and says where it ends.
fn read_all(client: &mut crate::harness::Client, topic: &Topic) -> i64 {
    let mut next = 0;
    loop {
        let data = fetch_one(client, 12, topic, from(0, next));
        let bytes = data.records.unwrap_or_default();
        if bytes.is_empty() {
            return next;
        }
        for batch in Batches::new(&bytes) {
            let batch = batch.unwrap();
            batch.check_crc().unwrap();
            assert_eq!(batch.base_offset().0, next);
            let records = batch.records(DecompressLimit(64 << 20)).unwrap();
            let mut offsets = records.iter().map(|record| record.unwrap().offset.0);
            assert!(offsets.all(|offset| {
                next += 1;
                offset == next - 1
            }));
            assert_eq!(batch.next_offset().0, next);
        }
    }
}
