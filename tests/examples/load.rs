//! A lean load generator: frames are encoded once and sent over and over, so that the server is what is measured.
//!
//! ```text
//! load produce ADDRESS TOPIC RECORD_BYTES RECORDS_PER_BATCH TOTAL_MB PARTITIONS
//! load fetch   ADDRESS TOPIC TOTAL_MB PARTITIONS
//! load first   ADDRESS SECONDS
//! ```
//! `produce` sends a batch for each partition in every request, acks=all, five requests in flight; `fetch` reads one
//! partition after the other, 1 MiB a request; `first` waits for the first Metadata answer.
//!
//! Each prints one line: megabytes per second, or milliseconds.

#![expect(clippy::print_stdout, reason = "one line of figures is what it is for")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, BrokerId, FetchRequest, FetchResponse, MetadataRequest, ProduceRequest, ProduceResponse,
    RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use moldau_model::TimestampMs;
use moldau_record::BatchBuilder;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const PRODUCE_VERSION: i16 = 9;
const FETCH_VERSION: i16 = 11;
const METADATA_VERSION: i16 = 1;
const PRODUCE_IN_FLIGHT_MAX: usize = 5;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["produce", address, topic, record_bytes, records, total_mb, partitions] => {
            let batch = batch(record_bytes.parse()?, records.parse()?)?;
            let payload_bytes = record_bytes.parse::<usize>()? * records.parse::<usize>()?;
            produce(address, topic, &batch, payload_bytes, total_mb.parse()?, partitions.parse()?)
        }
        ["fetch", address, topic, total_mb, partitions] => {
            fetch(address, topic, total_mb.parse()?, partitions.parse()?)
        }
        ["first", address, seconds] => first_answer(address, seconds.parse()?),
        _ => {
            Err("usage: load produce|fetch|first ADDRESS ... (see the top of tests/examples/load.rs)".into())
        }
    }
}

fn frame(key: ApiKey, version: i16, body: &impl Encodable) -> Result<Vec<u8>> {
    let header = RequestHeader::default()
        .with_request_api_key(key as i16)
        .with_request_api_version(version)
        .with_client_id(Some(StrBytes::from_static_str("load")));
    let mut bytes = BytesMut::new();
    header.encode(&mut bytes, key.request_header_version(version))?;
    body.encode(&mut bytes, version)?;
    let mut out = u32::try_from(bytes.len())?.to_be_bytes().to_vec();
    out.extend_from_slice(&bytes);
    Ok(out)
}

fn connect(address: &str) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    Ok(stream)
}

/// Reads one answer into `buffer`, without its size.
fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<()> {
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    buffer.resize(usize::try_from(i32::from_be_bytes(size))?, 0);
    stream.read_exact(buffer)?;
    Ok(())
}

fn batch(record_bytes: usize, records: i64) -> Result<Bytes> {
    let value = vec![b'x'; record_bytes];
    // Retention would take what is old, from one of two systems sooner than from the other.
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let now = TimestampMs(i64::try_from(now.as_millis())?);
    let mut batch = BatchBuilder::new();
    for _ in 0..records {
        batch.append(now, None, Some(&value), &[])?;
    }
    Ok(batch.build()?.into())
}

fn produce(
    address: &str,
    topic: &str,
    batch: &Bytes,
    payload_bytes: usize,
    total_mb: usize,
    partitions: i32,
) -> Result<()> {
    let payload_bytes = payload_bytes * usize::try_from(partitions)?;
    let data = (0..partitions)
        .map(|index| PartitionProduceData::default().with_index(index).with_records(Some(batch.clone())));
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![
        TopicProduceData::default()
            .with_name(TopicName(StrBytes::from_string(topic.to_string())))
            .with_partition_data(data.collect()),
    ]);
    let frame = frame(ApiKey::Produce, PRODUCE_VERSION, &request)?;
    let requests = (total_mb * 1_000_000).div_ceil(payload_bytes);
    let mut stream = connect(address)?;
    let mut buffer = Vec::new();
    let started = Instant::now();
    let (mut sent, mut answered) = (0, 0);
    while answered < requests {
        while sent < requests && sent - answered < PRODUCE_IN_FLIGHT_MAX {
            stream.write_all(&frame)?;
            sent += 1;
        }
        answer(&mut stream, &mut buffer)?;
        answered += 1;
        let mut bytes = Bytes::copy_from_slice(&buffer);
        ResponseHeader::decode(&mut bytes, ApiKey::Produce.response_header_version(PRODUCE_VERSION))?;
        let response = ProduceResponse::decode(&mut bytes, PRODUCE_VERSION)?;
        let answers: Vec<i16> =
            response.responses.iter().flat_map(|t| &t.partition_responses).map(|p| p.error_code).collect();
        if answers.len() != usize::try_from(partitions)? || answers.iter().any(|code| *code != 0) {
            return Err(format!("produce was answered with errors {answers:?}").into());
        }
    }
    let megabytes = (requests * payload_bytes) as f64 / 1e6;
    println!("{:.1} MB/s {requests} requests", megabytes / started.elapsed().as_secs_f64());
    Ok(())
}

fn fetch_frame(topic: &str, partition: i32, offset: i64) -> Result<Vec<u8>> {
    let partition = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_current_leader_epoch(-1)
        .with_log_start_offset(-1)
        .with_partition_max_bytes(1 << 20);
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![
            FetchTopic::default()
                .with_topic(TopicName(StrBytes::from_string(topic.to_string())))
                .with_partitions(vec![partition]),
        ]);
    frame(ApiKey::Fetch, FETCH_VERSION, &request)
}

fn fetch(address: &str, topic: &str, total_mb: usize, partitions: i32) -> Result<()> {
    let mut stream = connect(address)?;
    let mut bytes_read = 0;
    let started = Instant::now();
    for partition in 0..partitions {
        bytes_read += fetch_partition(
            &mut stream,
            topic,
            partition,
            total_mb * 1_000_000 / usize::try_from(partitions)?,
        )?;
    }
    println!("{:.1} MB/s", bytes_read as f64 / 1e6 / started.elapsed().as_secs_f64());
    Ok(())
}

fn fetch_partition(
    stream: &mut TcpStream,
    topic: &str,
    partition: i32,
    bytes_wanted: usize,
) -> Result<usize> {
    let mut buffer = Vec::new();
    let (mut offset, mut bytes_read) = (0i64, 0usize);
    while bytes_read < bytes_wanted {
        stream.write_all(&fetch_frame(topic, partition, offset)?)?;
        answer(stream, &mut buffer)?;
        let mut bytes = Bytes::from(std::mem::take(&mut buffer));
        ResponseHeader::decode(&mut bytes, ApiKey::Fetch.response_header_version(FETCH_VERSION))?;
        let response = FetchResponse::decode(&mut bytes, FETCH_VERSION)?;
        let Some(partition) = response.responses.first().and_then(|t| t.partitions.first()) else {
            return Err("a fetch was answered without its partition".into());
        };
        let records = partition.records.clone().unwrap_or_default();
        if partition.error_code != 0 || records.is_empty() {
            return Err(format!(
                "fetch at {offset}: error {}, {} bytes",
                partition.error_code,
                records.len()
            )
            .into());
        }
        bytes_read += records.len();
        offset = next_offset(&records);
    }
    Ok(bytes_read)
}

/// The offset behind the last whole batch.
fn next_offset(records: &[u8]) -> i64 {
    let mut rest = records;
    let mut next = 0;
    while rest.len() >= 61 {
        let number =
            |at: usize| i64::from(i32::from_be_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]));
        let size = usize::try_from(number(8)).unwrap_or(0) + 12;
        if size > rest.len() {
            break;
        }
        let mut base = [0; 8];
        base.copy_from_slice(&rest[..8]);
        next = i64::from_be_bytes(base) + number(23) + 1;
        rest = &rest[size..];
    }
    next
}

fn first_answer(address: &str, seconds: u64) -> Result<()> {
    let request = MetadataRequest::default().with_topics(Some(Vec::<MetadataRequestTopic>::new()));
    let frame = frame(ApiKey::Metadata, METADATA_VERSION, &request)?;
    let started = Instant::now();
    let mut buffer = Vec::new();
    while started.elapsed() < Duration::from_secs(seconds) {
        if let Ok(mut stream) = connect(address)
            && stream.write_all(&frame).is_ok()
            && answer(&mut stream, &mut buffer).is_ok()
        {
            println!("{:.1} ms", started.elapsed().as_secs_f64() * 1e3);
            return Ok(());
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    Err(format!("no answer within {seconds} s").into())
}
