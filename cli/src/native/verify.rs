//! `moldau verify`: a load that remembers what it was promised. Kill nodes, cut networks, fill disks while it runs; at the
//! end it says whether an acknowledged record is lost, doubled, out of order or changed. Of any cluster of Kafka's protocol.

mod history;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::load::{Target, TopicArguments, join, spawn};
use super::{Common, Failure};
use crate::client::consumer::{Fetcher, Take};
use crate::client::offsets::{EARLIEST, LATEST, Partition};
use crate::client::producer::{OutgoingRecord, Producer, ProducerOptions};
use crate::client::{Client, ClientError};
use crate::console::{Console, errln, note, outln};
use crate::consume::stop_on_signals;
use history::{History, Judgement, Name, Outcome, Seen};

/// Records of a run are remembered, some fifty bytes each.
const RECORDS_MAX: u64 = 20_000_000;
const PRODUCERS_MAX: usize = 64;
/// Facts under way from the threads to the history.
const FACTS_MAX: usize = 4096;
/// Records of one batch.
const BATCH_MAX: u64 = 100;
/// How long one batch is tried again before its fate counts as unknown.
const DELIVERY_MAX: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);
/// How long the cluster may take at the end until every partition can be read to its end.
const LAST_READ_MAX: Duration = Duration::from_secs(120);
/// One operation of that, so that a cluster which is back is asked anew.
const LAST_READ_OPERATION_MAX: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    topic: TopicArguments,
    /// How long to write, in seconds; Ctrl-C ends it earlier, and judges
    #[arg(short, long, default_value_t = 30)]
    duration_s: u64,
    /// Producers, each of which writes to one partition in turn
    #[arg(long, default_value_t = 4)]
    producers: usize,
    /// Records a second, of all producers together
    #[arg(long, default_value_t = 1000)]
    rate: u64,
}

/// What threads tell the history.
enum Fact {
    Sent(Name, Outcome),
    Read(Seen),
}

/// What all threads see.
struct Run {
    id: u64,
    until: Instant,
    stop: Arc<AtomicBool>,
    producers_are_done: AtomicBool,
    acked: AtomicU64,
    read: AtomicU64,
    /// Whether the last poll of the live reader was answered.
    reader_is_well: AtomicBool,
    /// The longest time in which nothing was acknowledged, in milliseconds.
    longest_pause_ms: AtomicU64,
}

impl Run {
    fn is_over(&self) -> bool {
        Instant::now() >= self.until || self.stop.load(Ordering::Relaxed)
    }
}

pub(super) fn run(common: &Common, arguments: &Arguments, console: &mut Console<'_>) -> Result<(), Failure> {
    if !(1..=PRODUCERS_MAX).contains(&arguments.producers) {
        return Err(Failure::Text(format!("--producers {}: from 1 to {PRODUCERS_MAX}", arguments.producers)));
    }
    let records = arguments.rate.saturating_mul(arguments.duration_s);
    if arguments.rate == 0 || records > RECORDS_MAX {
        return Err(Failure::Text(format!(
            "{} records a second for {} s: from 1 to {RECORDS_MAX} records can be remembered",
            arguments.rate, arguments.duration_s
        )));
    }
    let target = Arc::new(Target::prepare(common, &arguments.topic, "verify")?);
    if !common.is_json() {
        errln!(
            console,
            "writing to {} for {} s; now is the time to kill a node",
            target.topic,
            arguments.duration_s
        );
    }
    let ended = load(arguments, &target, console).inspect_err(|_| stays(&target, "to be looked at"))?;
    let longest_pause = ended.longest_pause;
    let judgement = match ended.last {
        Ok(last) => ended.history.judge(&last),
        Err(Unread { found, reason }) => {
            let acknowledged = ended.acknowledged;
            // Those that were read as they came were found, wherever their leaders are now.
            let found = found.max(ended.read);
            if common.is_json() {
                let value = json!({"sound": false, "acknowledged": acknowledged, "found": found,
                    "longest_pause_ms": longest_pause.as_millis() as u64, "cannot_judge": reason});
                super::json(&value, console)?;
            }
            return Err(Failure::Text(cannot_judge(&target.topic, acknowledged, found, &reason)));
        }
    };
    report(common, &judgement, longest_pause, console)?;
    if judgement.faults.is_empty() {
        // Whoever finds a fault needs the topic. That it cannot be deleted changes nothing in what was found.
        if let Err(Failure::Client(error)) = target.clean() {
            stays(&target, &format!("for it cannot be deleted now: {error}"));
        }
        return if judgement.is_sound() { Ok(()) } else { Err(Failure::Unhealthy) };
    }
    stays(&target, "to be looked at");
    Err(Failure::Unhealthy)
}

fn stays(target: &Target, why: &str) {
    note(&format!("the topic {} stays, {why}", target.topic));
}

fn cannot_judge(topic: &str, acknowledged: u64, found: usize, reason: &str) -> String {
    format!(
        "cannot judge: the topic cannot be read to its end within {} s ({reason})\n  {acknowledged} records were \
         acknowledged, and {found} were found so far; see `moldau cluster health`\n  the topic {topic} stays, to be looked at",
        LAST_READ_MAX.as_secs()
    )
}

/// What a run has to be judged by.
struct Ended {
    history: History,
    acknowledged: u64,
    /// Records that were read as they came.
    read: usize,
    longest_pause: Duration,
    last: Result<Vec<Seen>, Unread>,
}

/// A topic that was not read to its end.
#[derive(Debug)]
struct Unread {
    /// Records of this run.
    found: usize,
    reason: String,
}

fn load(arguments: &Arguments, target: &Arc<Target>, console: &mut Console<'_>) -> Result<Ended, Failure> {
    let run = Arc::new(Run {
        id: u64::from(std::process::id()) << 32 | u64::from(crate::client::producer::now().0 as u32),
        until: Instant::now() + Duration::from_secs(arguments.duration_s),
        stop: stop_on_signals(),
        producers_are_done: AtomicBool::new(false),
        acked: AtomicU64::new(0),
        read: AtomicU64::new(0),
        reader_is_well: AtomicBool::new(true),
        longest_pause_ms: AtomicU64::new(0),
    });
    // A topic that holds records already is read from where it ends now.
    let mut client = target.client("moldau-verify");
    let asked: Vec<(Partition, i64)> =
        target.partitions.iter().map(|p| ((target.topic.clone(), *p), LATEST)).collect();
    let mut starts = Vec::with_capacity(asked.len());
    for (partition, at) in client.list_offsets(&asked, false)? {
        starts.push((partition, at?.offset));
    }
    let (facts, told) = sync_channel(FACTS_MAX);
    let mut producers = Vec::with_capacity(arguments.producers);
    for number in 0..arguments.producers {
        let (run, target, facts) = (Arc::clone(&run), Arc::clone(target), facts.clone());
        let rate = arguments.rate as f64 / arguments.producers as f64;
        producers.push(spawn("producer", move || produce(&run, &target, number, rate, &facts))?);
    }
    let reader = {
        let (run, target, starts) = (Arc::clone(&run), Arc::clone(target), starts.clone());
        spawn("reader", move || read_live(&run, &target, starts, &facts))?
    };
    let mut history = History::default();
    gather(
        &run,
        &told,
        &mut history,
        || producers.iter().all(std::thread::JoinHandle::is_finished),
        console,
    )?;
    for producer in producers {
        join(producer)?.map_err(Failure::from)?;
    }
    run.producers_are_done.store(true, Ordering::SeqCst);
    gather(&run, &told, &mut history, || reader.is_finished(), console)?;
    join(reader)?.map_err(Failure::from)?;
    // Both have ended: what is left in the channel is all there is.
    told.try_iter().for_each(|fact| take(&mut history, fact));
    if !run.reader_is_well.load(Ordering::Relaxed) {
        errln!(console, "waiting for the cluster, for up to {} s", LAST_READ_MAX.as_secs());
    }
    let last = read_all(&mut client, run.id, &starts, Instant::now() + LAST_READ_MAX);
    let longest_pause = Duration::from_millis(run.longest_pause_ms.load(Ordering::Relaxed));
    let acknowledged = run.acked.load(Ordering::Relaxed);
    let read = usize::try_from(run.read.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
    Ok(Ended { history, acknowledged, read, longest_pause, last })
}

fn take(history: &mut History, fact: Fact) {
    match fact {
        Fact::Sent(name, outcome) => history.sent(name, outcome),
        Fact::Read(seen) => history.read_live(seen),
    }
}

/// Takes facts until `is_over`, and tells each second how it goes.
fn gather(
    run: &Run,
    facts: &Receiver<Fact>,
    history: &mut History,
    is_over: impl Fn() -> bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let is_terminal = std::io::stderr().is_terminal();
    let mut told_at = Instant::now();
    let mut acked_at = (run.acked.load(Ordering::Relaxed), Instant::now());
    while !is_over() {
        match facts.recv_timeout(POLL) {
            Ok(fact) => take(history, fact),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        let acked = run.acked.load(Ordering::Relaxed);
        if acked != acked_at.0 || run.producers_are_done.load(Ordering::Relaxed) {
            acked_at = (acked, Instant::now());
        }
        let pause = u64::try_from(acked_at.1.elapsed().as_millis()).unwrap_or(u64::MAX);
        run.longest_pause_ms.fetch_max(pause, Ordering::Relaxed);
        if is_terminal && told_at.elapsed() >= Duration::from_secs(1) {
            told_at = Instant::now();
            let read = run.read.load(Ordering::Relaxed);
            let left = run.until.saturating_duration_since(Instant::now()).as_secs();
            let state =
                if pause > 1000 { format!(", nothing acknowledged for {pause} ms") } else { String::new() };
            errln!(console, "{left:4} s left: {acked} acknowledged, {read} read{state}");
        }
    }
    Ok(())
}

/// Writes records one after another to one partition, and notes what the cluster says of each.
fn produce(
    run: &Run,
    target: &Target,
    number: usize,
    rate: f64,
    facts: &SyncSender<Fact>,
) -> Result<(), ClientError> {
    let options = ProducerOptions {
        delivery_timeout: DELIVERY_MAX,
        batch_bytes: usize::MAX,
        ..ProducerOptions::default()
    };
    let make = || Producer::new(target.client("moldau-verify"), &target.topic, options.clone());
    let mut producer = make();
    let partition = target.partitions.get(number % target.partitions.len().max(1)).copied();
    let producer_number = u32::try_from(number).unwrap_or(u32::MAX);
    let begun = Instant::now();
    let mut next = 0u64;
    while !run.is_over() {
        let due = (begun.elapsed().as_secs_f64() * rate) as u64 + 1;
        let count = due.saturating_sub(next).min(BATCH_MAX);
        if count == 0 {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        let names: Vec<Name> =
            (next..next + count).map(|sequence| Name { producer: producer_number, sequence }).collect();
        next += count;
        let outcome = match send(&mut producer, run, &names, partition) {
            Ok(outcome) => outcome,
            // It may be written all the same: a producer of the same name could have its next batch taken for it.
            Err(_) => {
                producer = make();
                Outcome::Unknown
            }
        };
        if outcome == Outcome::Acknowledged {
            run.acked.fetch_add(count, Ordering::Relaxed);
        }
        for name in names {
            // Whoever gathers has ended only where everything has.
            drop(facts.send(Fact::Sent(name, outcome)));
        }
    }
    Ok(())
}

/// Sends a batch, which is written whole or not at all.
fn send(
    producer: &mut Producer,
    run: &Run,
    names: &[Name],
    partition: Option<i32>,
) -> Result<Outcome, ClientError> {
    for name in names {
        let value = Some(name.text(run.id).into_bytes());
        producer.send(&OutgoingRecord { value, partition, ..OutgoingRecord::default() })?;
    }
    let is_written = producer.flush()?.is_empty();
    Ok(if is_written { Outcome::Acknowledged } else { Outcome::Unknown })
}

/// Reads what is written, as it is written, until a while after the last producer has ended.
fn read_live(
    run: &Run,
    target: &Target,
    starts: Vec<(Partition, i64)>,
    facts: &SyncSender<Fact>,
) -> Result<(), ClientError> {
    let mut client = target.client("moldau-verify-reader");
    let mut fetcher = Fetcher::new(false, EARLIEST);
    fetcher.assign(&mut client, starts)?;
    loop {
        // Asked before: what was written by then is read by the poll that comes back empty.
        let is_last = run.producers_are_done.load(Ordering::SeqCst);
        let polled = fetcher.poll(&mut client, POLL);
        run.reader_is_well.store(polled.is_ok(), Ordering::Relaxed);
        let records = match polled {
            Ok(records) => records,
            // The cluster is away: what it comes back with is read again at the end.
            Err(error) if may_pass(&error) => {
                std::thread::sleep(POLL);
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        if records.is_empty() && is_last {
            return Ok(());
        }
        for record in records {
            let Some(name) = record.value.as_deref().and_then(|value| Name::parse(value, run.id)) else {
                continue;
            };
            run.read.fetch_add(1, Ordering::Relaxed);
            let seen = Seen { partition: record.partition, offset: record.offset, name };
            drop(facts.send(Fact::Read(seen)));
        }
    }
}

/// Whether a cluster that is asked again later may answer.
fn may_pass(error: &ClientError) -> bool {
    error.is_retriable() || error.is_unreachable()
}

/// Everything that the partitions hold now, from where the run began. Waits for a cluster that is away.
fn read_all(
    client: &mut Client,
    run: u64,
    starts: &[(Partition, i64)],
    deadline: Instant,
) -> Result<Vec<Seen>, Unread> {
    client.set_api_timeout(LAST_READ_OPERATION_MAX);
    let mut seen = Vec::new();
    let mut reason = "a partition has no leader".to_owned();
    let mut fetcher = Fetcher::new(false, EARLIEST);
    let mut ends = None;
    loop {
        match read_on(client, run, starts, &mut fetcher, &mut ends, &mut seen) {
            Ok(true) => break,
            Ok(false) => {}
            Err(error) => {
                reason = error.to_string();
                if !may_pass(&error) {
                    return Err(Unread { found: seen.len(), reason });
                }
                std::thread::sleep(POLL);
            }
        }
        if Instant::now() >= deadline {
            return Err(Unread { found: seen.len(), reason });
        }
    }
    seen.sort_by_key(|seen| (seen.partition, seen.offset));
    // A batch whose rest could not be read was shown again.
    seen.dedup_by_key(|seen| (seen.partition, seen.offset));
    Ok(seen)
}

/// Where each partition ends.
type Ends = BTreeMap<Partition, i64>;

/// A round of reading; whether it has reached the ends.
fn read_on(
    client: &mut Client,
    run: u64,
    starts: &[(Partition, i64)],
    fetcher: &mut Fetcher,
    known_ends: &mut Option<Ends>,
    seen: &mut Vec<Seen>,
) -> Result<bool, ClientError> {
    let ends = match known_ends {
        Some(ends) => ends,
        None => {
            let asked: Vec<(Partition, i64)> =
                starts.iter().map(|(partition, _)| (partition.clone(), LATEST)).collect();
            let answers = client.list_offsets(&asked, false)?.into_iter();
            let ends: Ends = answers
                .map(|(partition, at)| Ok((partition, at?.offset)))
                .collect::<Result<_, ClientError>>()?;
            fetcher.assign(client, starts.to_vec())?;
            known_ends.insert(ends)
        }
    };
    let is_behind = |fetcher: &Fetcher| {
        fetcher.positions().iter().any(|(partition, at)| ends.get(partition).is_some_and(|end| at < end))
    };
    if is_behind(fetcher) {
        // Kept as they come: what is behind them may fail, and they are not shown again.
        fetcher.visit(client, POLL, &mut |record| {
            let record = record.to_incoming();
            if let Some(name) = record.value.as_deref().and_then(|value| Name::parse(value, run)) {
                seen.push(Seen { partition: record.partition, offset: record.offset, name });
            }
            Take::Next
        })?;
    }
    Ok(!is_behind(fetcher))
}

fn report(
    common: &Common,
    judgement: &Judgement,
    longest_pause: Duration,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let Judgement { acknowledged, unknown, found, faults } = judgement;
    if common.is_json() {
        let faults: Vec<_> = faults
            .iter()
            .map(|fault| json!({"kind": fault.kind, "count": fault.count, "examples": fault.examples}))
            .collect();
        let value = json!({"sound": judgement.is_sound(), "acknowledged": acknowledged, "unknown": unknown,
            "found": found, "longest_pause_ms": longest_pause.as_millis() as u64, "faults": faults});
        return Ok(super::json(&value, console)?);
    }
    outln!(console, "acknowledged   {acknowledged} records");
    outln!(console, "unknown        {unknown} (given up; they may be there or not)");
    outln!(console, "found          {found}");
    outln!(console, "longest pause  {} ms without an acknowledgement", longest_pause.as_millis());
    for fault in faults {
        outln!(console, "FAULT          {} {}: {}", fault.count, fault.kind, fault.examples.join("; "));
    }
    if judgement.is_sound() {
        outln!(console, "\nnothing lost, nothing doubled, nothing out of order, nothing changed");
    } else if faults.is_empty() {
        outln!(console, "\nnothing was acknowledged, so nothing is shown: see `moldau cluster health`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{ClientOptions, HostPort, WhenUnreachable};

    #[test]
    fn a_cluster_that_does_not_come_back_is_waited_for_and_then_said_to_be_away() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut client = Client::new(ClientOptions {
            bootstrap: vec![HostPort { host: "127.0.0.1".to_owned(), port }],
            client_id: "test".to_owned(),
            api_timeout: Duration::from_secs(60),
            when_unreachable: WhenUnreachable::Fail,
        });
        let begun = Instant::now();
        let starts = [(("t".to_owned(), 0), 0)];
        let unread = read_all(&mut client, 1, &starts, begun + 2 * POLL).unwrap_err();
        assert!(begun.elapsed() >= 2 * POLL);
        assert_eq!(unread.found, 0);
        let text = cannot_judge("t", 7, unread.found, &unread.reason);
        assert!(
            text.starts_with("cannot judge: the topic cannot be read to its end within 120 s (cannot reach"),
            "{text}"
        );
        assert!(
            text.contains("7 records were acknowledged, and 0 were found")
                && text.contains("the topic t stays"),
            "{text}"
        );
    }
}
