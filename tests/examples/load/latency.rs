//! How long records take from when they are due until a consumer has them, at a fixed rate.
//!
//! An open loop: a record is due at its time, whatever became of those before it, and its latency counts from then. As a
//! client without linger does, what is due goes out in one batch, five of them in flight at most; what falls due meanwhile
//! waits, and its wait counts.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, TopicName};
use moldau_model::TimestampMs;
use moldau_record::{BatchBuilder, Batches, DecompressLimit};

use crate::Result;
use crate::fetch::{Reader, next_offset};
use crate::wire::{answer, connect, frame, text};

const IN_FLIGHT_MAX: u64 = 5;
/// Shorter waits are spun: a sleep ends some time after it should.
const SPIN: Duration = Duration::from_micros(200);
/// Records of the first part warm everything up, and are not counted.
const WARM_UP_SHARE: f64 = 0.2;
/// Nothing here is compressed.
const UNCOMPRESSED: DecompressLimit = DecompressLimit(0);
/// Records of one batch, where many are due.
const BATCH_RECORDS_MAX: u64 = 5000;

/// What is due when, and how large it is.
#[derive(Clone, Copy)]
pub(crate) struct Schedule {
    pub(crate) rate: u64,
    pub(crate) seconds: u64,
    pub(crate) record_bytes: usize,
}

impl Schedule {
    fn total(self) -> u64 {
        self.rate * self.seconds
    }

    fn due(self, number: u64) -> Duration {
        Duration::from_nanos(number * 1_000_000_000 / self.rate)
    }
}

/// Where the producer's batches go.
pub(crate) trait Sink {
    fn frame(&self, batch: Vec<u8>) -> Result<Vec<u8>>;
    /// Fails if the answer tells of a failure.
    fn check(answer: &[u8]) -> Result<()>;
}

/// Where the consumer's batches come from.
pub(crate) trait Source {
    /// The next batches from `offset` on; none if none came for some time.
    fn next(&mut self, offset: i64) -> Result<&[u8]>;
}

pub(crate) fn run(address: &str, topic: &str, schedule: Schedule) -> Result<()> {
    println!("{}", measure(schedule, connect(address)?, &Topic(topic), Reader::open(address, topic)?)?);
    Ok(())
}

struct Topic<'a>(&'a str);

impl Sink for Topic<'_> {
    fn frame(&self, batch: Vec<u8>) -> Result<Vec<u8>> {
        let data = PartitionProduceData::default().with_index(0).with_records(Some(batch.into()));
        let topic =
            TopicProduceData::default().with_name(TopicName(text(self.0))).with_partition_data(vec![data]);
        let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000);
        frame(9, &request.with_topic_data(vec![topic]))
    }

    fn check(answer: &[u8]) -> Result<()> {
        let mut bytes = Bytes::copy_from_slice(answer);
        let (_, response) = moldau_kafka::decode_response::<ProduceRequest>(9, &mut bytes)?;
        let failed = response.responses.iter().flat_map(|topic| &topic.partition_responses);
        match failed.map(|partition| partition.error_code).find(|code| *code != 0) {
            Some(code) => Err(format!("produce was answered with error {code}").into()),
            None => Ok(()),
        }
    }
}

impl Source for Reader {
    fn next(&mut self, offset: i64) -> Result<&[u8]> {
        self.fetch(0, offset)
    }
}

/// How long records took, as a line of names and figures.
pub(crate) fn measure<S: Sink + Sync>(
    schedule: Schedule,
    stream: TcpStream,
    sink: &S,
    source: impl Source + Send,
) -> Result<String> {
    // Some time for the consumer to stand at the end of the log.
    let begin = Instant::now() + Duration::from_millis(300);
    let fail = |error: Box<dyn std::error::Error>| error.to_string();
    let (received, sent) = std::thread::scope(|scope| {
        let consumer = scope.spawn(|| consume(source, schedule, begin).map_err(fail));
        let producer = scope.spawn(|| produce(stream, sink, schedule, begin).map_err(fail));
        (consumer.join(), producer.join())
    });
    sent.map_err(|_| "the producer panicked")??;
    let mut received = received.map_err(|_| "the consumer panicked")??;
    let mut latencies = received.split_off((received.len() as f64 * WARM_UP_SHARE) as usize);
    latencies.sort_unstable();
    let percentile = |share: f64| {
        let at = ((latencies.len() as f64 * share) as usize).min(latencies.len().saturating_sub(1));
        latencies.get(at).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
    };
    Ok(format!(
        "p50 {:.3} p90 {:.3} p99 {:.3} p99.9 {:.3} max {:.3} ms of {} records",
        percentile(0.5),
        percentile(0.9),
        percentile(0.99),
        percentile(0.999),
        percentile(1.0),
        latencies.len()
    ))
}

/// What each record took, in the order they were received in.
fn consume(mut source: impl Source, schedule: Schedule, begin: Instant) -> Result<Vec<Duration>> {
    let total = schedule.total();
    let mut latencies = Vec::with_capacity(usize::try_from(total)?);
    let (mut offset, mut last_news) = (0, Instant::now());
    while (latencies.len() as u64) < total {
        let records = source.next(offset)?;
        let now = Instant::now();
        if records.is_empty() {
            if now.duration_since(last_news) > Duration::from_secs(30) {
                return Err(format!("{} of {total} records came", latencies.len()).into());
            }
            continue;
        }
        last_news = now;
        for batch in Batches::new(records) {
            for record in batch?.records(UNCOMPRESSED)?.iter() {
                let value = record?.value.ok_or("a record without a value")?;
                let number = value.get(..8).and_then(|number| number.try_into().ok()).map(u64::from_be_bytes);
                let was_due = begin + schedule.due(number.ok_or("a short record")?);
                latencies.push(now.saturating_duration_since(was_due));
            }
        }
        offset = next_offset(records);
    }
    Ok(latencies)
}

fn produce<S: Sink>(mut stream: TcpStream, sink: &S, schedule: Schedule, begin: Instant) -> Result<()> {
    let total = schedule.total();
    let mut answers = stream.try_clone()?;
    let (sent, answered) = (AtomicU64::new(0), AtomicU64::new(0));
    let producing = std::thread::current();
    let is_sent = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| -> std::result::Result<(), String> {
            let mut buffer = Vec::new();
            // One more answer than was sent never comes: the last is the one behind which nothing is sent any more.
            loop {
                if answered.load(Ordering::Acquire) == sent.load(Ordering::Acquire) {
                    if is_sent.load(Ordering::Acquire) == 1 {
                        return Ok(());
                    }
                    std::thread::park_timeout(Duration::from_millis(1));
                    continue;
                }
                let size = answer(&mut answers, &mut buffer).map_err(|error| error.to_string())?;
                answered.fetch_add(1, Ordering::AcqRel);
                producing.unpark();
                S::check(&buffer[..size]).map_err(|error| error.to_string())?;
            }
        });
        let mut number = 0;
        while number < total && !reading.is_finished() {
            let now = Instant::now();
            let is_full = sent.load(Ordering::Acquire) - answered.load(Ordering::Acquire) >= IN_FLIGHT_MAX;
            let next = begin + schedule.due(number);
            if is_full {
                std::thread::park_timeout(Duration::from_millis(1));
            } else if next > now {
                let wait = next - now;
                if wait > SPIN {
                    std::thread::sleep(wait - SPIN);
                } else {
                    std::hint::spin_loop();
                }
            } else {
                let first = number;
                while number < total
                    && number - first < BATCH_RECORDS_MAX
                    && begin + schedule.due(number) <= now
                {
                    number += 1;
                }
                let frame = sink.frame(batch(first..number, schedule.record_bytes)?)?;
                sent.fetch_add(1, Ordering::AcqRel);
                reading.thread().unpark();
                stream.write_all(&frame)?;
            }
        }
        is_sent.store(1, Ordering::Release);
        reading.join().map_err(|_| "the reader of answers panicked")??;
        Ok(())
    })
}

fn batch(numbers: std::ops::Range<u64>, record_bytes: usize) -> Result<Vec<u8>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let now = TimestampMs(i64::try_from(now.as_millis())?);
    let mut batch = BatchBuilder::new();
    let mut value = vec![b'x'; record_bytes.max(8)];
    for number in numbers {
        value[..8].copy_from_slice(&number.to_be_bytes());
        batch.append(now, None, Some(&value), &[])?;
    }
    Ok(batch.build()?)
}
