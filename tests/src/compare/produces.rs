//! Produce where batches are odd: compressed, too large, of old formats, without keys, in other people's topics.

use bytes::Bytes;
use kafka_protocol::messages::{self as m, ApiKey, RequestKind};
use moldau_model::{Offset, ProducerEpoch, ProducerId, TimestampMs};
use moldau_record::{BatchBuilder, Compression};

use super::admin::text;
use super::data::{batch, fetch, produce, timestamp_ms, wish};
use super::{Case, Peer};

fn built(builder: &BatchBuilder) -> Bytes {
    match builder.build() {
        Ok(bytes) => Bytes::from(bytes),
        Err(error) => panic!("the batch cannot be built: {error}"),
    }
}

fn append(builder: &mut BatchBuilder, key: Option<&[u8]>, value: &[u8], timestamp: i64) {
    if let Err(error) = builder.append(TimestampMs(timestamp), key, Some(value), &[]) {
        panic!("the record cannot be appended: {error}");
    }
}

fn with_records(mut builder: BatchBuilder, records: &[(Option<&[u8]>, i64)]) -> Bytes {
    for (key, timestamp) in records {
        append(&mut builder, *key, b"value", *timestamp);
    }
    built(&builder)
}

fn keyed(builder: BatchBuilder) -> Bytes {
    with_records(builder, &[(Some(b"key"), timestamp_ms()), (Some(b"other"), timestamp_ms() + 1)])
}

/// The batch with another format's number, or another codec's, and a checksum that fits.
fn patched(position: usize, value: u8) -> Bytes {
    const CRC: std::ops::Range<usize> = 17..21;
    let mut bytes = keyed(BatchBuilder::new()).to_vec();
    bytes[position] = value;
    let crc = crc32c::crc32c(&bytes[CRC.end..]);
    bytes[CRC].copy_from_slice(&crc.to_be_bytes());
    Bytes::from(bytes)
}

fn compressed(peer: &Peer, version: i16, compression: Compression) -> RequestKind {
    produce(peer, version, -1, &[("data", 0, keyed(BatchBuilder::new().compression(compression)))])
}

fn one(peer: &Peer, version: i16, topic: &str, batch: Bytes) -> RequestKind {
    produce(peer, version, -1, &[(topic, 0, batch)])
}

fn of_a_producer(first_sequence: i32, epoch: i16, id: i64) -> Bytes {
    keyed(BatchBuilder::new().producer(ProducerId(id), ProducerEpoch(epoch), first_sequence))
}

const TO_COME_MS: i64 = 4_000_000_000_000;
const WHY_NO_TEXT: &str = "the text of a time out of range holds the broker's time";

pub(super) fn cases() -> Vec<Case> {
    use ApiKey::Produce;
    vec![
        Case::new("produce gzip", Produce, 3, 13, |peer, v| compressed(peer, v, Compression::Gzip)),
        Case::new("produce snappy", Produce, 3, 13, |peer, v| compressed(peer, v, Compression::Snappy)),
        Case::new("produce lz4", Produce, 3, 13, |peer, v| compressed(peer, v, Compression::Lz4)),
        Case::new("produce zstd", Produce, 3, 13, |peer, v| compressed(peer, v, Compression::Zstd)),
        Case::new("produce a codec that is none", Produce, 3, 13, |peer, v| {
            one(peer, v, "odd", patched(22, 7))
        })
        .ignoring(&["error_code", "log_start_offset"], "Apache Kafka answers UNKNOWN_SERVER_ERROR; UNSUPPORTED_COMPRESSION_TYPE names what is wrong"),
        Case::new("produce an old record format", Produce, 3, 13, |peer, v| {
            one(peer, v, "data", patched(16, 1))
        }),
        Case::new("produce a record format to come", Produce, 3, 13, |peer, v| {
            one(peer, v, "data", patched(16, 3))
        }),
        Case::new("produce a control batch", Produce, 3, 13, |peer, v| {
            one(peer, v, "data", patched(22, 0x20))
        }),
        Case::new("produce the broker's timestamp type", Produce, 3, 13, |peer, v| {
            one(peer, v, "odd", patched(22, 0x08))
        })
        .ignoring(&["error_code", "base_offset", "log_start_offset"], "Apache Kafka takes a batch that claims the broker's time; Moldau answers INVALID_TIMESTAMP, as Kafka did for older record formats"),
        Case::new("produce with nothing in it", Produce, 3, 13, |peer, v| one(peer, v, "data", Bytes::new())),
        Case::new("produce to no topic", Produce, 3, 13, |peer, v| produce(peer, v, -1, &[])),
        Case::new("produce two batches", Produce, 3, 13, |peer, v| {
            one(peer, v, "data", [batch(1, -1, -1), batch(1, -1, -1)].concat().into())
        }),
        Case::new("produce a torn batch", Produce, 3, 13, |peer, v| {
            let batch = batch(1, -1, -1);
            one(peer, v, "data", batch.slice(..batch.len() - 3))
        }),
        Case::new("produce less than a header", Produce, 3, 13, |peer, v| {
            one(peer, v, "data", Bytes::from_static(b"\0\0\0"))
        }),
        Case::new("produce what is too large", Produce, 3, 13, |peer, v| {
            let mut builder = BatchBuilder::new();
            append(&mut builder, None, &[b'x'; 2000], timestamp_ms());
            one(peer, v, "small", built(&builder))
        }),
        Case::new("produce without a key to a compacted topic", Produce, 3, 13, |peer, v| {
            let records = [(Some(b"key".as_slice()), timestamp_ms()), (None, timestamp_ms())];
            one(peer, v, "compacted", with_records(BatchBuilder::new(), &records))
        }),
        Case::new("produce to a compacted topic", Produce, 3, 13, |peer, v| {
            one(peer, v, "compacted", keyed(BatchBuilder::new()))
        }),
        Case::new("produce from the time to come", Produce, 3, 13, |peer, v| {
            one(peer, v, "data", with_records(BatchBuilder::new(), &[(None, TO_COME_MS)]))
        })
        .ignoring(&["batch_index_error_message"], WHY_NO_TEXT),
        Case::new("produce where the broker's time counts", Produce, 3, 13, |peer, v| {
            one(peer, v, "stamped", keyed(BatchBuilder::new()))
        })
        .ignoring(&["log_append_time_ms"], "the broker's time"),
        Case::new("produce to an internal topic", Produce, 3, 12, |peer, v| {
            one(peer, v, "__consumer_offsets", keyed(BatchBuilder::new()))
        }),
        Case::new("produce beside an offset", Produce, 3, 13, |peer, v| {
            one(peer, v, "data", keyed(BatchBuilder::new().base_offset(Offset(7))))
        }),
        Case::new("produce with a sequence that begins late", Produce, 3, 12, |peer, v| {
            one(peer, v, "data", of_a_producer(5, 0, 900_000))
        }),
        Case::new("produce in another epoch", Produce, 9, 9, |peer, v| {
            one(peer, v, "data", of_a_producer(0, 3, 900_001))
        }),
        Case::new("produce in an older epoch", Produce, 3, 12, |peer, v| {
            one(peer, v, "data", of_a_producer(2, 1, 900_001))
        }),
        Case::new("produce in a newer epoch from the middle", Produce, 3, 12, |peer, v| {
            one(peer, v, "data", of_a_producer(2, 4, 900_001))
        }),
        Case::new("produce with acks=0, and ask for more", Produce, 3, 13, |peer, v| {
            // It has no answer: what comes back belongs to the request behind it.
            peer.send(Produce, v, &produce(peer, v, 0, &[("data", 0, batch(1, -1, -1))]));
            produce(peer, v, 1, &[("data", 0, batch(1, -1, -1))])
        }),
        Case::new("produce as a transaction", Produce, 3, 11, |peer, v| {
            let RequestKind::Produce(request) = one(peer, v, "data", keyed(BatchBuilder::new())) else {
                unreachable!("built above")
            };
            RequestKind::Produce(request.with_transactional_id(Some(m::TransactionalId(text("never")))))
        }),
    ]
}

/// Batches that are stored otherwise than they were sent.
pub(super) fn stored_otherwise() -> Vec<Case> {
    use ApiKey::{Fetch, Produce};
    vec![
        Case::new("produce to a topic that stores without compression", Produce, 7, 13, |peer, v| {
            let codec = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
            let builder = BatchBuilder::new().compression(codec[usize::from(v.unsigned_abs()) % codec.len()]);
            one(peer, v, "unpacked", keyed(builder))
        }),
        Case::new("produce to a topic that stores zstd", Produce, 3, 13, |peer, v| {
            one(peer, v, "packed", keyed(BatchBuilder::new().compression(Compression::Gzip)))
        }),
        Case::new("produce a wrong checksum to a topic that stores zstd", Produce, 3, 13, |peer, v| {
            let mut batch = keyed(BatchBuilder::new()).to_vec();
            batch[17] ^= 1;
            one(peer, v, "packed", batch.into())
        }),
        Case::new("produce records of which some are too old", Produce, 3, 13, |peer, v| {
            let old = timestamp_ms() - 10_000_000;
            let times = [timestamp_ms(), old, timestamp_ms() + 1, old + 1].map(|time| (None, time));
            one(peer, v, "punctual", with_records(BatchBuilder::new().compression(Compression::Lz4), &times))
        })
        .ignoring(&["batch_index_error_message"], WHY_NO_TEXT),
        Case::new("fetch what was unpacked", Fetch, 4, 18, |peer, v| {
            fetch(peer, v, &[wish("unpacked", 0, 0), wish("unpacked", 0, 7)], 1 << 20)
        }),
        Case::new("fetch from a topic that stores zstd", Fetch, 4, 18, |peer, v| {
            fetch(peer, v, &[wish("packed", 0, 0)], 1 << 20)
        })
        .ignoring(&["records"], "two releases of zstd do not write the same bytes"),
        Case::new("produce a greatest time that no record has", Produce, 3, 13, |peer, v| {
            let time = timestamp_ms() + i64::from(v) * 10;
            let times = [time, time + 5, time + 2].map(|time| (None, time));
            let mut batch = with_records(BatchBuilder::new(), &times).to_vec();
            batch[35..43].copy_from_slice(&(time - 9).to_be_bytes());
            let crc = crc32c::crc32c(&batch[21..]);
            batch[17..21].copy_from_slice(&crc.to_be_bytes());
            one(peer, v, "unpacked", batch.into())
        }),
    ]
}
