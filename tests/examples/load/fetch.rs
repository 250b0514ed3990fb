//! Fetch as fast as the server gives it.

use std::io::Write;
use std::time::Instant;

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, TopicName};

use crate::Result;
use crate::wire::{answer, connect, frame, text};

const VERSION: i16 = 11;
const BYTES_MAX: i32 = 1 << 20;
const WAIT_MS: i32 = 500;
const BATCH_HEADER_BYTES: usize = 61;
/// What a batch's length does not count: its offset and the length.
const LOG_OVERHEAD: usize = 12;

pub(crate) fn run(
    address: &str,
    topic: &str,
    total_mb: usize,
    partitions: i32,
    consumers: usize,
) -> Result<()> {
    let bytes_each = total_mb * 1_000_000 / usize::try_from(partitions)?;
    let started = Instant::now();
    let read = || {
        let mut reader = Reader::open(address, topic)?;
        (0..partitions).try_fold(0, |sum, partition| Ok(sum + reader.read(partition, bytes_each)?))
    };
    let outcomes: Vec<std::result::Result<usize, String>> = std::thread::scope(|scope| {
        let read = || read().map_err(|error: Box<dyn std::error::Error>| error.to_string());
        let threads: Vec<_> = (0..consumers).map(|_| scope.spawn(read)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("panicked".to_owned())))
            .collect()
    });
    let bytes_read: usize = outcomes.into_iter().sum::<std::result::Result<usize, String>>()?;
    println!("{:.2} MB/s", bytes_read as f64 / 1e6 / started.elapsed().as_secs_f64());
    Ok(())
}

pub(crate) struct Reader {
    stream: std::net::TcpStream,
    topic: String,
    buffer: Vec<u8>,
}

impl Reader {
    pub(crate) fn open(address: &str, topic: &str) -> Result<Self> {
        Ok(Self { stream: connect(address)?, topic: topic.to_owned(), buffer: Vec::new() })
    }

    /// Reads a partition from its start until there were so many bytes.
    fn read(&mut self, partition: i32, bytes_wanted: usize) -> Result<usize> {
        let (mut offset, mut bytes_read) = (0, 0);
        while bytes_read < bytes_wanted {
            let records = self.fetch(partition, offset)?;
            if records.is_empty() {
                return Err(
                    format!("partition {partition} ends at {offset}, after {bytes_read} bytes").into()
                );
            }
            bytes_read += records.len();
            offset = next_offset(records);
        }
        Ok(bytes_read)
    }

    /// The records from `offset` on, as they came; none if there are none after a wait.
    pub(crate) fn fetch(&mut self, partition: i32, offset: i64) -> Result<&[u8]> {
        self.stream.write_all(&request(&self.topic, partition, offset)?)?;
        let size = answer(&mut self.stream, &mut self.buffer)?;
        records(&self.buffer[..size], self.topic.len())
    }
}

fn request(topic: &str, partition: i32, offset: i64) -> Result<Vec<u8>> {
    let partition = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_current_leader_epoch(-1)
        .with_log_start_offset(-1)
        .with_partition_max_bytes(BYTES_MAX);
    let topic = FetchTopic::default().with_topic(TopicName(text(topic))).with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(WAIT_MS)
        .with_min_bytes(1)
        .with_max_bytes(BYTES_MAX)
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    frame(VERSION, &request)
}

/// Where the records are in an answer of version 11 for one partition: nothing is decoded or copied, as a client that is to
/// be faster than the server must not.
fn records(answer: &[u8], topic_bytes: usize) -> Result<&[u8]> {
    let number = |at: usize, bytes: usize| -> Result<i64> {
        let field = answer.get(at..at + bytes).ok_or("a fetch was answered with less than a partition")?;
        let is_negative = field[0] & 0x80 != 0;
        Ok(field.iter().fold(if is_negative { -1 } else { 0 }, |sum, byte| sum << 8 | i64::from(*byte)))
    };
    // Correlation id, throttle time, error, session, number of topics, name, number of partitions, index.
    let error_at = 4 + 4 + 2 + 4 + 4 + 2 + topic_bytes + 4 + 4;
    let (whole, error) = (number(8, 2)?, number(error_at, 2)?);
    if whole != 0 || error != 0 {
        return Err(format!("fetch was answered with errors {whole}, {error}").into());
    }
    // High watermark, last stable offset, log start offset; then aborted transactions of 16 bytes, and the preferred replica.
    let aborted_at = error_at + 2 + 8 + 8 + 8;
    let aborted = usize::try_from(number(aborted_at, 4)?.max(0))?;
    let size_at = aborted_at + 4 + 16 * aborted + 4;
    let size = usize::try_from(number(size_at, 4)?.max(0))?;
    Ok(answer.get(size_at + 4..size_at + 4 + size).ok_or("records are cut off")?)
}

/// The whole batches, each with its first offset.
pub(crate) fn batches(mut records: &[u8]) -> impl Iterator<Item = (i64, &[u8])> {
    std::iter::from_fn(move || {
        let header = records.get(..BATCH_HEADER_BYTES)?;
        let length = i32::from_be_bytes([header[8], header[9], header[10], header[11]]);
        let batch = records.get(..usize::try_from(length).ok()? + LOG_OVERHEAD)?;
        records = &records[batch.len()..];
        let mut base = [0; 8];
        base.copy_from_slice(&header[..8]);
        Some((i64::from_be_bytes(base), batch))
    })
}

/// The offset behind the last whole batch.
pub(crate) fn next_offset(records: &[u8]) -> i64 {
    batches(records).last().map_or(0, |(base, batch)| {
        base + i64::from(i32::from_be_bytes([batch[23], batch[24], batch[25], batch[26]])) + 1
    })
}
