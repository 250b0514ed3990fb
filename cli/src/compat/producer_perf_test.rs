//! `kafka-producer-perf-test`: how fast one producer writes. The same lines as Kafka's tool; the producer is the tools' own,
//! which has one request under way for each leader. Transactions and `--print-metrics`, which prints a Java client's
//! inside, are refused.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moldau_security::link::Dialer;

use super::subcommands::usage;
use super::tool::{NO_PRODUCER, NotResolvable, check_resolvable, default_bootstrap, unresolvable};
use crate::client::producer::{OutgoingRecord, Producer, ProducerOptions};
use crate::client::{API_TIMEOUT, Client, ClientOptions, HostPort, WhenUnreachable, security};
use crate::console::{Console, errln, outln};
use crate::properties;

const HELP: &str = include_str!("usage/kafka-producer-perf-test-help.txt");
/// Of a run, so many latencies are kept for the percentiles.
const SAMPLES_MAX: u64 = 500_000;
/// How long a paced producer sleeps at most before it looks again.
const PACE: Duration = Duration::from_millis(1);

const ONE_VALUE: &[&str] = &[
    "--bootstrap-server",
    "--topic",
    "--num-records",
    "--payload-delimiter",
    "--throughput",
    "--producer.config",
    "--command-config",
    "--transactional-id",
    "--transaction-duration-ms",
    "--warmup-records",
    "--reporting-interval",
    "--record-size",
    "--payload-file",
];
const SEVERAL_VALUES: &[&str] = &["--producer-props", "--command-property"];
const FLAGS: &[&str] = &["--print-metrics", "--payload-monotonic"];
/// Of these exactly one says what a record holds.
const PAYLOADS: [&str; 3] = ["--record-size", "--payload-file", "--payload-monotonic"];

/// What records hold.
enum Payload {
    Random(usize),
    Lines(Vec<Vec<u8>>),
    Number,
}

struct Plan {
    topic: String,
    records: u64,
    /// Records a second; none for as many as go.
    throughput: Option<f64>,
    payload: Payload,
    interval: Duration,
    warmup: u64,
    bootstrap: Vec<HostPort>,
    client_id: String,
    dialer: Arc<Dialer>,
    options: ProducerOptions,
}

pub(crate) fn main(arguments: &[String], console: &mut Console<'_>) -> io::Result<u8> {
    if arguments.is_empty() {
        write!(console.out, "{HELP}")?;
        return Ok(0);
    }
    if arguments.iter().any(|word| word == "-h" || word == "--help") {
        write!(console.out, "{HELP}")?;
        return Ok(1);
    }
    let plan = match plan(arguments) {
        Ok(plan) => plan,
        Err(text) => {
            write!(console.err, "{}", usage(HELP))?;
            errln!(console, "kafka-producer-perf-test: error: {text}");
            return Ok(1);
        }
    };
    run(plan, console)
}

/// Options with their values, in argparse4j's way.
fn read(arguments: &[String]) -> Result<BTreeMap<&'static str, Vec<String>>, String> {
    let mut read: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    let mut words = arguments.iter().peekable();
    while let Some(word) = words.next() {
        let (name, inline) = match word.split_once('=') {
            Some((name, value)) if name.starts_with('-') => (name, Some(value.to_owned())),
            _ => (word.as_str(), None),
        };
        let find = |names: &[&'static str]| names.iter().copied().find(|known| *known == name);
        if let Some(name) = find(FLAGS) {
            read.entry(name).or_default();
        } else if let Some(name) = find(ONE_VALUE) {
            let value = inline.or_else(|| words.next().cloned());
            let value = value.ok_or_else(|| format!("argument {name}: expected one argument"))?;
            read.entry(name).or_default().push(value);
        } else if let Some(name) = find(SEVERAL_VALUES) {
            let values = read.entry(name).or_default();
            values.extend(inline);
            while let Some(value) = words.next_if(|next| !next.starts_with("--")) {
                values.push(value.clone());
            }
        } else {
            return Err(format!("unrecognized arguments: '{word}'"));
        }
    }
    Ok(read)
}

fn number<T: std::str::FromStr>(
    read: &BTreeMap<&'static str, Vec<String>>,
    name: &str,
    kind: &str,
) -> Result<Option<T>, String> {
    let Some(text) = read.get(name).and_then(|values| values.last()) else { return Ok(None) };
    let wrong =
        || format!("argument {name}: could not convert '{text}' to {kind} (For input string: \"{text}\")");
    text.parse().map(Some).map_err(|_| wrong())
}

fn plan(arguments: &[String]) -> Result<Plan, String> {
    let read = read(arguments)?;
    let one = |name: &str| read.get(name).and_then(|values| values.last()).cloned();
    for name in ["--topic", "--num-records", "--throughput"] {
        if !read.contains_key(name) {
            return Err(format!("argument {name} is required"));
        }
    }
    match PAYLOADS.iter().filter(|name| read.contains_key(*name)).collect::<Vec<_>>().as_slice() {
        [] => {
            return Err("one of the arguments --record-size --payload-file --payload-monotonic is required"
                .to_owned());
        }
        [_] => {}
        [first, second, ..] => return Err(format!("argument {second}: not allowed with argument {first}")),
    }
    let records: i64 = number(&read, "--num-records", "Long")?.unwrap_or_default();
    let records = u64::try_from(records).ok().filter(|records| *records > 0);
    let records = records.ok_or_else(|| "--num-records should be greater than zero.".to_owned())?;
    let throughput: f64 = number(&read, "--throughput", "Double")?.unwrap_or(-1.0);
    for name in ["--transactional-id", "--transaction-duration-ms", "--print-metrics"] {
        if read.contains_key(name) {
            return Err(format!("{name} is not supported by this tool yet"));
        }
    }
    let settings = settings(&read)?;
    let servers = one("--bootstrap-server").or_else(|| settings.get("bootstrap.servers").cloned());
    let bootstrap = HostPort::parse_list(&servers.unwrap_or_else(default_bootstrap))
        .map_err(|error| error.to_string())?;
    Ok(Plan {
        topic: one("--topic").unwrap_or_default(),
        records,
        throughput: Some(throughput).filter(|throughput| *throughput > 0.0),
        payload: payload(&read)?,
        interval: Duration::from_millis(number(&read, "--reporting-interval", "Long")?.unwrap_or(5_000)),
        warmup: number(&read, "--warmup-records", "Long")?.unwrap_or(0),
        bootstrap,
        client_id: settings.get("client.id").cloned().unwrap_or_else(|| "perf-producer-client".to_owned()),
        dialer: Arc::new(security::dialer(&settings.clone().into_iter().collect::<Vec<_>>())?),
        options: producer_options(&settings)?,
    })
}

fn payload(read: &BTreeMap<&'static str, Vec<String>>) -> Result<Payload, String> {
    if read.contains_key("--payload-monotonic") {
        return Ok(Payload::Number);
    }
    if let Some(path) = read.get("--payload-file").and_then(|values| values.last()) {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
        let delimiter = read.get("--payload-delimiter").and_then(|values| values.last());
        let delimiter =
            delimiter.map(String::as_str).filter(|text| *text != "\\n" && !text.is_empty()).unwrap_or("\n");
        let lines: Vec<Vec<u8>> = text.split(delimiter).map(|line| line.as_bytes().to_vec()).collect();
        if text.is_empty() {
            return Err("File does not exist or empty file provided.".to_owned());
        }
        return Ok(Payload::Lines(lines));
    }
    let size: i64 = number(read, "--record-size", "Integer")?.unwrap_or_default();
    let size = usize::try_from(size).ok().filter(|size| *size > 0);
    size.map(Payload::Random).ok_or_else(|| "--record-size should be greater than zero.".to_owned())
}

/// The producer's settings: of a file, and over it those of the line.
fn settings(read: &BTreeMap<&'static str, Vec<String>>) -> Result<BTreeMap<String, String>, String> {
    let mut settings = BTreeMap::new();
    for path in ["--producer.config", "--command-config"].iter().filter_map(|name| read.get(name)).flatten() {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
        settings.extend(properties::parse(&text).map_err(|error| format!("{path}: {error}"))?);
    }
    for text in SEVERAL_VALUES.iter().filter_map(|name| read.get(name)).flatten() {
        let (key, value) = text.split_once('=').ok_or_else(|| format!("Invalid property: {text}"))?;
        settings.insert(key.to_owned(), value.to_owned());
    }
    Ok(settings)
}

fn producer_options(settings: &BTreeMap<String, String>) -> Result<ProducerOptions, String> {
    let mut options = ProducerOptions::default();
    let wrong = |key: &str, value: &str| format!("Invalid value {value} for configuration {key}");
    if let Some(acks) = settings.get("acks") {
        options.acks = match acks.as_str() {
            "all" | "-1" => -1,
            "1" => 1,
            "0" => 0,
            other => return Err(wrong("acks", other)),
        };
    }
    if let Some(size) = settings.get("batch.size") {
        options.batch_bytes = size.parse().map_err(|_| wrong("batch.size", size))?;
    }
    if let Some(name) = settings.get("compression.type") {
        options.compression =
            moldau_record::Compression::from_name(name).ok_or_else(|| wrong("compression.type", name))?;
    }
    Ok(options)
}

/// What is counted, of the whole run and of the time since the last line.
struct Stats {
    begun: Instant,
    whole: Count,
    window: Count,
    window_begun: Instant,
    latencies_ms: Vec<u64>,
    /// Of so many records one latency is kept.
    sampling: u64,
}

#[derive(Default)]
struct Count {
    records: u64,
    bytes: u64,
    latency_ms: u64,
    latency_max_ms: u64,
}

impl Count {
    fn add(&mut self, bytes: u64, latency_ms: u64) {
        self.records += 1;
        self.bytes += bytes;
        self.latency_ms += latency_ms;
        self.latency_max_ms = self.latency_max_ms.max(latency_ms);
    }

    fn latency_average_ms(&self) -> f64 {
        self.latency_ms as f64 / self.records as f64
    }

    fn per_second(&self, elapsed: Duration) -> (f64, f64) {
        let seconds = (elapsed.as_millis() as f64 / 1000.0).max(0.001);
        (self.records as f64 / seconds, self.bytes as f64 / seconds / f64::from(1 << 20))
    }
}

impl Stats {
    fn new(records: u64) -> Self {
        let now = Instant::now();
        Self {
            begun: now,
            whole: Count::default(),
            window: Count::default(),
            window_begun: now,
            latencies_ms: Vec::new(),
            sampling: (records / records.clamp(1, SAMPLES_MAX)).max(1),
        }
    }

    fn add(&mut self, bytes: u64, latency_ms: u64) {
        if self.whole.records.is_multiple_of(self.sampling) {
            self.latencies_ms.push(latency_ms);
        }
        self.whole.add(bytes, latency_ms);
        self.window.add(bytes, latency_ms);
    }

    fn window_line(&mut self) -> String {
        let (records, mib) = self.window.per_second(self.window_begun.elapsed());
        let window = std::mem::take(&mut self.window);
        self.window_begun = Instant::now();
        format!(
            "{} records sent, {records:.1} records/sec ({mib:.2} MB/sec), {:.1} ms avg latency, {:.1} ms max latency.",
            window.records,
            window.latency_average_ms(),
            window.latency_max_ms as f64
        )
    }

    fn total_line(&mut self) -> String {
        let (records, mib) = self.whole.per_second(self.begun.elapsed());
        self.latencies_ms.sort_unstable();
        let at = |thousandths: usize| {
            let index = self.latencies_ms.len() * thousandths / 1000;
            self.latencies_ms.get(index).copied().unwrap_or_default()
        };
        format!(
            "{} records sent, {records:.6} records/sec ({mib:.2} MB/sec), {:.2} ms avg latency, {:.2} ms max latency, {} ms 50th, {} ms 95th, {} ms 99th, {} ms 99.9th.",
            self.whole.records,
            self.whole.latency_average_ms(),
            self.whole.latency_max_ms as f64,
            at(500),
            at(950),
            at(990),
            at(999)
        )
    }
}

fn run(plan: Plan, console: &mut Console<'_>) -> io::Result<u8> {
    if let Err(NotResolvable) = check_resolvable(&plan.bootstrap) {
        errln!(console, "{}", unresolvable(NO_PRODUCER));
        return Ok(1);
    }
    let client = Client::new(ClientOptions {
        bootstrap: plan.bootstrap.clone(),
        client_id: plan.client_id.clone(),
        api_timeout: API_TIMEOUT,
        when_unreachable: WhenUnreachable::Retry,
    });
    let client = client.dialing(Arc::clone(&plan.dialer));
    let batch_bytes = plan.options.batch_bytes;
    // Batches are sent when this loop says so: only then are the latencies of their records known.
    let options = ProducerOptions { batch_bytes: usize::MAX, ..plan.options.clone() };
    let mut producer = Producer::new(client, &plan.topic, options);
    let mut stats = Stats::new(plan.records);
    let mut steady = (plan.warmup > 0).then(|| Stats::new(plan.records));
    let mut waiting: Vec<(Instant, u64)> = Vec::new();
    let mut waiting_bytes = 0;
    let mut state = 0x2545_f491_4f6c_dd1du64;
    for index in 0..plan.records {
        let value = value(&plan.payload, index, &mut state);
        let bytes = value.len() as u64;
        waiting.push((Instant::now(), bytes));
        waiting_bytes += value.len();
        if let Err(error) = producer.send(&OutgoingRecord { value: Some(value), ..OutgoingRecord::default() })
        {
            errln!(console, "{}", error.java());
            return Ok(1);
        }
        let must_wait = is_before_its_turn(&plan, index, stats.begun);
        if waiting_bytes >= batch_bytes || must_wait || index + 1 == plan.records {
            match producer.flush() {
                Ok(failures) => {
                    let failed: usize = failures.iter().map(|failure| failure.records.len()).sum();
                    for failure in &failures {
                        errln!(console, "{}", failure.error.java());
                    }
                    let written = waiting.len().saturating_sub(failed);
                    for (sent, bytes) in waiting.drain(..).take(written) {
                        let latency_ms = u64::try_from(sent.elapsed().as_millis()).unwrap_or(u64::MAX);
                        stats.add(bytes, latency_ms);
                        if let Some(steady) = steady.as_mut().filter(|_| stats.whole.records > plan.warmup) {
                            steady.add(bytes, latency_ms);
                        } else if let Some(steady) = &mut steady {
                            steady.begun = Instant::now();
                        }
                    }
                    waiting.clear();
                    waiting_bytes = 0;
                }
                Err(error) => {
                    errln!(console, "{}", error.java());
                    return Ok(1);
                }
            }
            if stats.window_begun.elapsed() >= plan.interval {
                outln!(console, "{}", stats.window_line());
                console.out.flush()?;
            }
        }
        while is_before_its_turn(&plan, index, stats.begun) {
            std::thread::sleep(PACE);
        }
    }
    outln!(console, "{}", stats.total_line());
    if let Some(mut steady) = steady.filter(|steady| steady.whole.records > 0) {
        outln!(console, "{}", steady.total_line().replacen(" records sent", " steady state records sent", 1));
    }
    Ok(0)
}

/// Whether a paced run has sent all that it may by now, this record included.
fn is_before_its_turn(plan: &Plan, index: u64, begun: Instant) -> bool {
    plan.throughput.is_some_and(|rate| (index + 1) as f64 > begun.elapsed().as_secs_f64() * rate)
}

/// Letters by a generator that always begins the same way, as in Kafka's tool.
fn value(payload: &Payload, index: u64, state: &mut u64) -> Vec<u8> {
    let mut next = || {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    };
    match payload {
        Payload::Number => index.to_string().into_bytes(),
        Payload::Lines(lines) => {
            let at = usize::try_from(next() % lines.len().max(1) as u64).unwrap_or(0);
            lines.get(at).cloned().unwrap_or_default()
        }
        Payload::Random(size) => (0..*size).map(|_| b'A' + (next() % 26) as u8).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(line: &str) -> String {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        plan(&words).err().unwrap_or_default()
    }

    #[test]
    fn wrong_lines_have_the_tools_own_words() {
        let rest = "--topic a --throughput -1 --bootstrap-server x:1";
        for (line, text) in [
            (format!("{rest} --record-size 1"), "argument --num-records is required"),
            (
                format!("{rest} --num-records 1"),
                "one of the arguments --record-size --payload-file --payload-monotonic is required",
            ),
            (format!("{rest} --num-records 0 --record-size 1"), "--num-records should be greater than zero."),
            (
                format!("{rest} --num-records x --record-size 1"),
                "argument --num-records: could not convert 'x' to Long (For input string: \"x\")",
            ),
            ("--frob".to_owned(), "unrecognized arguments: '--frob'"),
        ] {
            assert_eq!(refusal(&line), text, "{line}");
        }
    }

    #[test]
    fn properties_come_from_the_line_several_at_a_time() {
        let line = "--topic a --num-records 3 --record-size 10 --throughput 100 --producer-props bootstrap.servers=h:1 acks=1 batch.size=5";
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let plan = plan(&words).unwrap();
        assert_eq!((plan.options.acks, plan.options.batch_bytes, plan.throughput), (1, 5, Some(100.0)));
        assert_eq!(plan.bootstrap, [HostPort { host: "h".into(), port: 1 }]);
    }

    #[test]
    fn the_last_line_has_the_tools_form() {
        let mut stats = Stats::new(4);
        for latency_ms in [1, 2, 3, 40] {
            stats.add(100, latency_ms);
        }
        stats.begun = Instant::now() - Duration::from_secs(2);
        let line = stats.total_line();
        assert!(line.starts_with("4 records sent, "), "{line}");
        assert!(
            line.ends_with(
                "11.50 ms avg latency, 40.00 ms max latency, 3 ms 50th, 40 ms 95th, 40 ms 99th, 40 ms 99.9th."
            ),
            "{line}"
        );
    }
}
