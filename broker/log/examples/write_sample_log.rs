//! Writes a log directory with something of everything, for Apache Kafka's own `kafka-dump-log` to read:
//! `cargo run -p moldau-log --example write_sample_log -- DIRECTORY`. Prints the partitions' directories.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use moldau_log::{
    AppendOrigin, CleanupPolicy, FileCache, LogConfig, LogDirectory, MetaProperties, PartitionCheckpoint,
    PartitionLog, RealFileSystem,
};
use moldau_model::{
    BrokerEpoch, BrokerId, LeaderEpoch, Offset, ProducerEpoch, ProducerId, TimestampMs, TopicId,
    TopicPartition, Uuid,
};
use moldau_record::{BatchBuilder, Compression, ControlRecord, TimestampType};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const NOW: TimestampMs = TimestampMs(1_700_000_000_000);

fn main() -> Result<()> {
    let path = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: write_sample_log DIRECTORY")?);
    let files = Arc::new(FileCache::new(16));
    let directory = LogDirectory::open(Arc::new(RealFileSystem), files, path)?;
    directory.format(&MetaProperties {
        cluster_id: Uuid::from_random_bytes([1; 16]).to_string(),
        node_id: BrokerId(1),
        directory_id: Uuid::from_random_bytes([2; 16]),
    })?;
    let small = LogConfig { segment_bytes: 64 << 10, index_interval_bytes: 512, ..LogConfig::default() };
    let broker_time = LogConfig { message_timestamp_type: TimestampType::LogAppendTime, ..small.clone() };
    let cleanup_policy = CleanupPolicy { delete: false, compact: true };
    let compacted = LogConfig { cleanup_policy, segment_bytes: 8 << 10, ..small.clone() };

    let mut checkpoints = Vec::new();
    let samples: [(&str, LogConfig, fn(&mut PartitionLog) -> Result<()>); 5] = [
        ("codecs", small.clone(), write_codecs),
        ("idempotent", small.clone(), write_idempotent),
        ("transactional", small.clone(), write_transactional),
        ("broker-time", broker_time, write_codecs),
        ("compacted", compacted, write_compacted),
    ];
    for (number, (topic, config, write)) in samples.into_iter().enumerate() {
        let partition = TopicPartition::new(topic, 0);
        let topic_id = TopicId::from_random_bytes([number as u8 + 10; 16]);
        let (mut log, _) = directory.open_partition(&partition, topic_id, config, NOW)?;
        write(&mut log)?;
        if let Some(ticket) = log.begin_sync() {
            ticket.run()?;
            log.complete_sync(ticket);
        }
        log.close(NOW)?;
        #[expect(clippy::print_stdout, reason = "the output of a command")]
        {
            println!("{}", log.directory().display());
        }
        checkpoints.push(PartitionCheckpoint {
            topic_partition: partition,
            recovery_point: log.durable_end_offset(),
            log_start_offset: log.log_start_offset(),
            high_watermark: log.log_end_offset(),
        });
    }
    directory.close_clean(&checkpoints, BrokerEpoch(7))?;
    Ok(())
}

fn append(log: &mut PartitionLog, epoch: i32, origin: AppendOrigin, builder: &BatchBuilder) -> Result<()> {
    log.append_as_leader(&mut builder.build()?, LeaderEpoch(epoch), origin, NOW)?;
    Ok(())
}

/// Every codec, times that go back and forth, several leader epochs and segments.
fn write_codecs(log: &mut PartitionLog) -> Result<()> {
    let codecs =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    for number in 0..400i64 {
        let mut builder = BatchBuilder::new().compression(codecs[number as usize % codecs.len()]);
        for record in 0..=number % 7 {
            let time = TimestampMs(NOW.0 - 100_000 + number * 100 + (record * 37) % 90 - (number % 11) * 50);
            let value = format!("pageview {number} {record} {}", "/index.html ".repeat(number as usize % 60));
            let key = format!("user{}", number % 13);
            builder.append(time, Some(key.as_bytes()), Some(value.as_bytes()), &[("trace", Some(b"1"))])?;
        }
        append(log, (number / 90) as i32, AppendOrigin::Client, &builder)?;
    }
    Ok(())
}

fn write_idempotent(log: &mut PartitionLog) -> Result<()> {
    for number in 0..300 {
        for producer in [1000, 1001] {
            let id = ProducerId(producer);
            let mut builder = BatchBuilder::new().producer(id, ProducerEpoch(3), number * 2);
            builder.append(NOW, None, Some(&[b'v'; 100]), &[])?;
            builder.append(NOW, None, Some(b"second"), &[])?;
            append(log, 0, AppendOrigin::Client, &builder)?;
        }
    }
    Ok(())
}

fn write_transactional(log: &mut PartitionLog) -> Result<()> {
    for number in 0..60 {
        let id = ProducerId(2000 + i64::from(number % 3));
        let sequence = (number / 3) * 5;
        let mut builder = BatchBuilder::new().producer(id, ProducerEpoch(0), sequence).transactional(true);
        for _ in 0..5 {
            builder.append(NOW, Some(b"account"), Some(&[b'm'; 200]), &[])?;
        }
        append(log, 0, AppendOrigin::Client, &builder)?;
        if number == 59 {
            break; // one transaction stays open
        }
        let end = if number % 4 == 0 {
            ControlRecord::Abort { coordinator_epoch: 1 }
        } else {
            ControlRecord::Commit { coordinator_epoch: 1 }
        };
        let mut marker =
            BatchBuilder::new().producer(id, ProducerEpoch(0), -1).transactional(true).control(true);
        marker.append_control(NOW, end)?;
        append(log, 0, AppendOrigin::Coordinator, &marker)?;
    }
    Ok(())
}

/// Keys over and over, tombstones, an idempotent producer whose last batch lost its records, and two passes of the
/// cleaner.
fn write_compacted(log: &mut PartitionLog) -> Result<()> {
    for number in 0..500i32 {
        let codec = if number % 2 == 0 { Compression::None } else { Compression::Zstd };
        let mut builder =
            BatchBuilder::new().compression(codec).producer(ProducerId(1), ProducerEpoch(0), number * 3);
        for record in 0..3 {
            let key = format!("key{}", (number * 3 + record) % 40);
            let tombstone = number % 50 == 49;
            let value = (!tombstone).then_some(&b"the value of the key"[..]);
            builder.append(NOW, Some(key.as_bytes()), value, &[("h", None)])?;
        }
        append(log, 0, AppendOrigin::Client, &builder)?;
        if number == 250 {
            log.roll(NOW)?;
            log.clean(log.log_end_offset(), NOW)?;
        }
    }
    let mut last = BatchBuilder::new().producer(ProducerId(2), ProducerEpoch(0), 0);
    last.append(NOW, Some(b"key0"), Some(b"superseded at once"), &[])?;
    append(log, 0, AppendOrigin::Client, &last)?;
    let mut other = BatchBuilder::new();
    other.append(NOW, Some(b"key0"), Some(b"the last"), &[])?;
    append(log, 0, AppendOrigin::Client, &other)?;
    log.roll(NOW)?;
    log.clean(Offset(i64::MAX), NOW)?;
    log.purge_deleted(TimestampMs(i64::MAX));
    append(log, 1, AppendOrigin::Client, &other)
}
