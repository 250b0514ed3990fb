//! `moldau bench`: how many records a cluster takes and gives, and how long each is on its way. A load of plain clients, each
//! with one request under way at a time, so that more of them show what a cluster can do and one shows what a client gets.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use super::histogram::Histogram;
use super::load::{Target, TopicArguments, join, spawn};
use super::{Common, Failure};
use crate::client::ClientError;
use crate::client::consumer::Fetcher;
use crate::client::offsets::LATEST;
use crate::client::producer::{OutgoingRecord, Producer, ProducerOptions};
use crate::console::{Console, errln, outln};
use crate::consume::stop_on_signals;

/// A record's own part: when it was sent, and by which run.
const HEADER_BYTES: usize = 16;
/// As Kafka's `max.request.size`.
const RECORD_BYTES_MAX: usize = 1 << 20;
const CLIENTS_MAX: usize = 64;
/// Values are cut out of so many bytes that do not compress.
const FILLER_BYTES: usize = 2 << 20;
const POLL: Duration = Duration::from_millis(100);
/// How long consumers wait for what was produced and has not come yet.
const TAIL_MAX: Duration = Duration::from_secs(30);

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    topic: TopicArguments,
    /// How long to produce, in seconds
    #[arg(short, long, default_value_t = 10)]
    duration_s: u64,
    /// Bytes of each record's value
    #[arg(short = 's', long, default_value_t = 1024)]
    record_bytes: usize,
    /// Producers at the same time
    #[arg(long, default_value_t = 2)]
    producers: usize,
    /// Consumers at the same time, each of which reads a share of the partitions; 0 for none
    #[arg(long, default_value_t = 1)]
    consumers: usize,
    /// Records a second, of all producers together; default: as many as go
    #[arg(long)]
    rate: Option<u64>,
    /// Bytes of a batch
    #[arg(long, default_value_t = 64 * 1024)]
    batch_bytes: usize,
    /// all, 1 or 0: how many replicas have a record before it counts
    #[arg(long, default_value = "all", value_parser = ["all", "1", "0"])]
    acks: String,
    /// none, gzip, snappy, lz4 or zstd
    #[arg(short = 'z', long, default_value = "none")]
    compression: String,
}

/// What one client did.
struct Share {
    records: u64,
    failed: u64,
    reason: Option<String>,
    latency: Histogram,
    took: Duration,
}

impl Share {
    fn new() -> Self {
        Self { records: 0, failed: 0, reason: None, latency: Histogram::new(), took: Duration::ZERO }
    }
}

/// What all threads see.
struct Run {
    begun: Instant,
    id: u64,
    stop: Arc<AtomicBool>,
    acked: AtomicU64,
    consumed: AtomicU64,
    producers_are_done: AtomicBool,
}

pub(super) fn run(common: &Common, arguments: &Arguments, console: &mut Console<'_>) -> Result<(), Failure> {
    check(arguments)?;
    let options = producer_options(arguments)?;
    let target = Arc::new(Target::prepare(common, &arguments.topic, "bench")?);
    let result = measure(arguments, &options, &target, console);
    let cleaned = target.clean();
    let (produced, consumed) = result?;
    cleaned?;
    report(common, arguments, &produced, consumed.as_ref(), console)?;
    match produced.failed {
        0 => Ok(()),
        failed => {
            let reason = produced.reason.unwrap_or_default();
            Err(Failure::Text(format!("{failed} records were not written: {reason}")))
        }
    }
}

fn check(arguments: &Arguments) -> Result<(), Failure> {
    let within = |name: &str, value: usize, least: usize, most: usize| {
        if (least..=most).contains(&value) {
            return Ok(());
        }
        Err(Failure::Text(format!("--{name} {value}: from {least} to {most}")))
    };
    within("record-bytes", arguments.record_bytes, HEADER_BYTES, RECORD_BYTES_MAX)?;
    within("batch-bytes", arguments.batch_bytes, 1, RECORD_BYTES_MAX)?;
    within("producers", arguments.producers, 1, CLIENTS_MAX)?;
    within("consumers", arguments.consumers, 0, CLIENTS_MAX)?;
    if arguments.rate == Some(0) {
        return Err(Failure::Text("--rate 0: 1 or more".to_owned()));
    }
    Ok(())
}

fn producer_options(arguments: &Arguments) -> Result<ProducerOptions, Failure> {
    let compression = moldau_record::Compression::from_name(&arguments.compression).ok_or_else(|| {
        Failure::Text(format!("{} is no compression; none, gzip, snappy, lz4 or zstd", arguments.compression))
    })?;
    let acks = match arguments.acks.as_str() {
        "0" => 0,
        "1" => 1,
        _ => -1,
    };
    // Batches are sent when this program says so.
    Ok(ProducerOptions { acks, compression, batch_bytes: usize::MAX, ..ProducerOptions::default() })
}

fn measure(
    arguments: &Arguments,
    options: &ProducerOptions,
    target: &Arc<Target>,
    console: &mut Console<'_>,
) -> Result<(Share, Option<Share>), Failure> {
    let run = Arc::new(Run {
        begun: Instant::now(),
        id: u64::from(std::process::id()) << 32 | u64::from(crate::client::producer::now().0 as u32),
        stop: stop_on_signals(),
        acked: AtomicU64::new(0),
        consumed: AtomicU64::new(0),
        producers_are_done: AtomicBool::new(false),
    });
    // Consumers stand at the end of the log before the first record is produced.
    let (ready, is_ready) = sync_channel(CLIENTS_MAX);
    let count = arguments.consumers.min(target.partitions.len());
    let mut consumers = Vec::with_capacity(count);
    for index in 0..count {
        let (run, target, ready) = (Arc::clone(&run), Arc::clone(target), ready.clone());
        consumers.push(spawn("consumer", move || consume(&run, &target, index, count, &ready))?);
    }
    drop(ready);
    // A consumer that fails before it is ready drops its sender.
    let ready_count = is_ready.iter().take(count).count();
    let begun = Instant::now();
    let until = begun + Duration::from_secs(arguments.duration_s);
    let filler = Arc::new(filler());
    let (done, is_done) = sync_channel(CLIENTS_MAX);
    let mut producers = Vec::with_capacity(arguments.producers);
    if ready_count == count {
        for _ in 0..arguments.producers {
            let (run, target, filler, done) =
                (Arc::clone(&run), Arc::clone(target), Arc::clone(&filler), done.clone());
            let mut load = Load {
                producer: Producer::new(target.client("moldau-bench"), &target.topic, options.clone()),
                record_bytes: arguments.record_bytes,
                batch: (arguments.batch_bytes / arguments.record_bytes).max(1),
                rate: arguments.rate.map(|rate| rate as f64 / arguments.producers as f64),
                until,
            };
            producers.push(spawn("producer", move || {
                let share = load.produce(&run, &filler);
                drop(done);
                share
            })?);
        }
    }
    drop(done);
    watch(&run, &is_done, console)?;
    let mut produced = Share::new();
    for producer in producers {
        add(&mut produced, join(producer)?);
    }
    produced.took = begun.elapsed();
    run.producers_are_done.store(true, Ordering::SeqCst);
    let mut consumed = Share::new();
    for consumer in consumers {
        add(&mut consumed, join(consumer)??);
    }
    consumed.took = begun.elapsed();
    Ok((produced, (count > 0).then_some(consumed)))
}

fn add(all: &mut Share, one: Share) {
    all.records += one.records;
    all.failed += one.failed;
    all.reason = all.reason.take().or(one.reason);
    all.latency.merge(&one.latency);
}

/// Tells a terminal each second how it goes, until every producer has dropped its end of the channel.
fn watch(run: &Run, is_done: &Receiver<()>, console: &mut Console<'_>) -> Result<(), Failure> {
    let is_terminal = std::io::stderr().is_terminal();
    let mut before = 0;
    while is_done.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
        let acked = run.acked.load(Ordering::Relaxed);
        if is_terminal {
            let behind = acked.saturating_sub(run.consumed.load(Ordering::Relaxed));
            errln!(
                console,
                "{:4} s  {:>9} records/s  {behind} on their way",
                run.begun.elapsed().as_secs(),
                acked - before
            );
        }
        before = acked;
    }
    Ok(())
}

/// One producer's work.
struct Load {
    producer: Producer,
    record_bytes: usize,
    /// Records of a batch.
    batch: usize,
    rate: Option<f64>,
    until: Instant,
}

impl Load {
    fn produce(&mut self, run: &Run, filler: &[u8]) -> Share {
        let mut share = Share::new();
        let begun = Instant::now();
        let mut sent = 0u64;
        let mut at = 0usize;
        while Instant::now() < self.until && !run.stop.load(Ordering::Relaxed) {
            let count = self.due(begun, sent);
            if count == 0 {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            let result = self.send_batch(run, filler, count, &mut at, &mut share);
            sent += count as u64;
            if let Err(error) = result {
                share.failed += count as u64;
                share.reason = Some(error.to_string());
                break;
            }
        }
        share
    }

    /// How many records are to be sent now: a batch, or as many of it as the rate asks for by now.
    fn due(&self, begun: Instant, sent: u64) -> usize {
        let Some(rate) = self.rate else { return self.batch };
        let due = (begun.elapsed().as_secs_f64() * rate) as u64;
        usize::try_from(due.saturating_sub(sent)).unwrap_or(usize::MAX).min(self.batch)
    }

    fn send_batch(
        &mut self,
        run: &Run,
        filler: &[u8],
        count: usize,
        at: &mut usize,
        share: &mut Share,
    ) -> Result<(), ClientError> {
        let begun = Instant::now();
        let since = u64::try_from(run.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        for _ in 0..count {
            let mut value = Vec::with_capacity(self.record_bytes);
            value.extend_from_slice(&since.to_be_bytes());
            value.extend_from_slice(&run.id.to_be_bytes());
            let rest = self.record_bytes - HEADER_BYTES;
            *at = (*at + rest + 1) % (filler.len() - rest);
            value.extend_from_slice(&filler[*at..*at + rest]);
            self.producer.send(&OutgoingRecord { value: Some(value), ..OutgoingRecord::default() })?;
        }
        let failed: usize = self
            .producer
            .flush()?
            .iter()
            .map(|failure| {
                share.reason = Some(failure.error.to_string());
                failure.records.len()
            })
            .sum();
        let (failed, written) = (failed as u64, (count - failed) as u64);
        share.failed += failed;
        share.records += written;
        share.latency.add(begun.elapsed(), written);
        run.acked.fetch_add(written, Ordering::Relaxed);
        Ok(())
    }
}

/// Reads a share of the partitions from their ends, until all that was produced is read.
fn consume(
    run: &Run,
    target: &Target,
    index: usize,
    count: usize,
    ready: &std::sync::mpsc::SyncSender<()>,
) -> Result<Share, ClientError> {
    let mut client = target.client("moldau-bench");
    let mut fetcher = Fetcher::new(false, LATEST);
    let own = target.partitions.iter().enumerate().filter(|(at, _)| at % count == index);
    let starts = own.map(|(_, partition)| ((target.topic.clone(), *partition), LATEST)).collect();
    fetcher.assign(&mut client, starts)?;
    // Nobody waits any more where another consumer failed.
    let _ = ready.send(());
    let mut share = Share::new();
    let mut last = Instant::now();
    loop {
        let records = fetcher.poll(&mut client, POLL)?;
        let now = u64::try_from(run.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        for record in &records {
            // Others may write to the topic, too.
            let Some((sent, _)) = record.value.as_deref().and_then(header).filter(|(_, id)| *id == run.id)
            else {
                continue;
            };
            share.latency.add(Duration::from_nanos(now.saturating_sub(sent)), 1);
            share.records += 1;
            run.consumed.fetch_add(1, Ordering::Relaxed);
        }
        if !records.is_empty() {
            last = Instant::now();
        }
        if run.producers_are_done.load(Ordering::SeqCst) {
            let has_all = run.consumed.load(Ordering::Relaxed) >= run.acked.load(Ordering::Relaxed);
            if has_all || last.elapsed() > TAIL_MAX {
                return Ok(share);
            }
        }
    }
}

fn header(value: &[u8]) -> Option<(u64, u64)> {
    let (sent, rest) = value.split_first_chunk()?;
    Some((u64::from_be_bytes(*sent), u64::from_be_bytes(*rest.first_chunk()?)))
}

/// Bytes that no codec makes smaller.
fn filler() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut bytes = Vec::with_capacity(FILLER_BYTES);
    while bytes.len() < FILLER_BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_be_bytes());
    }
    bytes
}

fn report(
    common: &Common,
    arguments: &Arguments,
    produced: &Share,
    consumed: Option<&Share>,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    if common.is_json() {
        let mut value =
            json!({"record_bytes": arguments.record_bytes, "produced": as_json(produced, arguments)});
        if let Some(consumed) = consumed {
            value["consumed"] = as_json(consumed, arguments);
        }
        return Ok(super::json(&value, console)?);
    }
    text("produced", "acknowledged after", produced, arguments, console)?;
    if let Some(consumed) = consumed {
        text("consumed", "end to end", consumed, arguments, console)?;
    }
    Ok(())
}

fn per_second(share: &Share) -> f64 {
    share.records as f64 / share.took.as_secs_f64().max(f64::EPSILON)
}

fn as_json(share: &Share, arguments: &Arguments) -> Value {
    let ms = |latency: Duration| latency.as_secs_f64() * 1000.0;
    let at = |thousandths: u64| ms(share.latency.at(thousandths));
    json!({"records": share.records, "failed": share.failed, "seconds": share.took.as_secs_f64(),
        "records_per_second": per_second(share),
        "bytes_per_second": per_second(share) * arguments.record_bytes as f64,
        "latency_ms": {"p50": at(500), "p95": at(950), "p99": at(990), "p999": at(999), "max": ms(share.latency.max())}})
}

fn text(
    what: &str,
    latency: &str,
    share: &Share,
    arguments: &Arguments,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let rate = per_second(share);
    let mib = rate * arguments.record_bytes as f64 / f64::from(1 << 20);
    let seconds = share.took.as_secs_f64();
    outln!(
        console,
        "{what}  {} records in {seconds:.1} s: {rate:.0} records/s, {mib:.1} MiB/s",
        share.records
    );
    let ms = |thousandths: u64| share.latency.at(thousandths).as_secs_f64() * 1000.0;
    outln!(
        console,
        "  {latency:<19}p50 {:.1} ms  p95 {:.1} ms  p99 {:.1} ms  p99.9 {:.1} ms  max {:.1} ms",
        ms(500),
        ms(950),
        ms(990),
        ms(999),
        share.latency.max().as_secs_f64() * 1000.0
    );
    Ok(())
}
