//! Opens a log directory, Apache Kafka's or ours, and prints what is in it, one line for each partition:
//! `cargo run -p moldau-log --example read_log_directory -- DIRECTORY`. Opening takes the directory's clean-shutdown
//! marker away and may mend it, so give it a copy.

#![expect(clippy::print_stdout, reason = "the output of a command")]

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use moldau_log::{FileCache, LogConfig, LogDirectory, PartitionLog, RealFileSystem};
use moldau_model::{Offset, TimestampMs};
use moldau_record::{Batches, DecompressLimit};

const NOW: TimestampMs = TimestampMs(1_800_000_000_000);

fn main() -> Result<(), Box<dyn Error>> {
    let path = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: read_log_directory DIRECTORY")?);
    let directory = LogDirectory::open(Arc::new(RealFileSystem), Arc::new(FileCache::new(64)), path)?;
    println!("{:?} clean={}", directory.meta_properties(), directory.was_clean_shutdown());
    let mut partitions = directory.list_partitions()?;
    partitions.sort_unstable_by(|one, other| one.topic_partition.cmp(&other.topic_partition));
    for found in partitions {
        let Some(topic_id) = found.topic_id else { continue };
        let (log, report) =
            directory.open_partition(&found.topic_partition, topic_id, LogConfig::default(), NOW)?;
        let (records, bytes, crc) = read(&log)?;
        println!(
            "{} {}..{} durable={} records={records} bytes={bytes} crc={crc:08x} youngest={:?} producers={} \
             stable={} epoch={:?} {report:?}",
            found.topic_partition,
            log.log_start_offset(),
            log.log_end_offset(),
            log.durable_end_offset(),
            log.max_timestamp_offset(log.log_end_offset())?.map(|found| found.offset.0),
            log.active_producers().len(),
            log.last_stable_offset(log.log_end_offset()),
            log.latest_epoch(),
        );
    }
    Ok(())
}

/// Reads everything in pieces as a consumer would, checks every CRC and decodes every record.
fn read(log: &PartitionLog) -> Result<(u64, u64, u32), Box<dyn Error>> {
    let (mut records, mut size, mut crc) = (0, 0, 0);
    let mut at: Offset = log.log_start_offset();
    while let Some(slice) = log.read(at, 100_000, log.log_end_offset(), true)?.slice {
        let bytes = slice.read_all()?;
        let mut whole = 0;
        for batch in Batches::new(&bytes).map_while(Result::ok) {
            batch.check_crc()?;
            for record in &batch.records(DecompressLimit(100 << 20))? {
                record?;
                records += 1;
            }
            whole += batch.size_bytes();
            at = batch.next_offset();
        }
        size += whole as u64;
        crc = crc32c::crc32c_append(crc, bytes.get(..whole).unwrap_or_default());
    }
    Ok((records, size, crc))
}
