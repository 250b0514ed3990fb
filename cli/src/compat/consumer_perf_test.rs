//! `kafka-consumer-perf-test`: how fast one consumer of a group reads. The same lines as Kafka's tool, which counts whole polls of
//! up to 500 records where this one ends with the last that was asked for; and times in UTC. `--print-metrics`, which prints a
//! Java client's inside, is refused.

use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::console_consumer::key_values;
use super::java_date::DatePattern;
use super::options::{Argument, Options, Spec};
use super::tool::{Failure, NO_CONSUMER, ToolInfo, connect_dialing, dialer, require};
use crate::client::API_TIMEOUT;
use crate::client::consumer::SeenRecord;
use crate::client::offsets::{EARLIEST, LATEST};
use crate::client::regex::TopicPattern;
use crate::console::{Console, outln};
use crate::consume::{self, ConsumeError, ConsumeOptions, Subscription};

const TOOL: ToolInfo = ToolInfo {
    spec: Spec {
        options: &[
            ("bootstrap-server", Argument::Required),
            ("command-config", Argument::Required),
            ("command-property", Argument::Required),
            ("consumer.config", Argument::Required),
            ("date-format", Argument::Required),
            ("fetch-size", Argument::Required),
            ("from-latest", Argument::No),
            ("group", Argument::Required),
            ("help", Argument::No),
            ("hide-header", Argument::No),
            ("include", Argument::Required),
            ("messages", Argument::Required),
            ("num-records", Argument::Required),
            ("print-metrics", Argument::No),
            ("reporting-interval", Argument::Required),
            ("show-detailed-stats", Argument::No),
            ("socket-buffer-size", Argument::Required),
            ("timeout", Argument::Required),
            ("topic", Argument::Required),
            ("version", Argument::No),
        ],
    },
    usage: include_str!("usage/kafka-consumer-perf-test.txt"),
    about: "This tool is used to verify the consumer performance.",
};

const DATE_FORMAT: &str = "yyyy-MM-dd HH:mm:ss:SSS";
const FETCH_BYTES: i32 = 1 << 20;
const REPORTING_INTERVAL_MS: u64 = 5_000;
const TIMEOUT_MS: u64 = 10_000;
const MIB: f64 = 1_048_576.0;
/// What both headers end with.
const LATER_COLUMNS: &str = "rebalance.time.ms, fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec";

pub(crate) fn main(arguments: &[String], console: &mut Console<'_>) -> io::Result<u8> {
    let result = run(arguments, console);
    TOOL.finish(result, "", console)
}

/// How the run is told of.
#[derive(Debug)]
struct Report {
    is_detailed: bool,
    interval: Duration,
    timeout_ms: u64,
    dates: DatePattern,
}

struct Plan {
    options: ConsumeOptions,
    report: Report,
    client_id: String,
    properties: Vec<(String, String)>,
}

fn usage<T>(text: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Usage(text.into()))
}

fn exactly_one(options: &Options, one: &str, other: &str) -> Result<(), Failure> {
    if options.has(one) == options.has(other) {
        return usage(format!("Exactly one of the following arguments is required: [{one}], [{other}]"));
    }
    Ok(())
}

/// What is wrong with the line, and what is said of it; Kafka's tool reads its values only behind the header.
fn check(options: &Options, console: &mut Console<'_>) -> Result<(), Failure> {
    require(options, &["bootstrap-server"])?;
    exactly_one(options, "topic", "include")?;
    exactly_one(options, "messages", "num-records")?;
    if options.has("consumer.config") && options.has("command-config") {
        return usage("Option \"[consumer.config]\" can't be used with option \"[command-config]\"");
    }
    for (old, new) in [("messages", "num-records"), ("consumer.config", "command-config")] {
        if options.has(old) {
            outln!(console, "Warning: --{old} is deprecated. Use --{new} instead.");
        }
    }
    if options.has("print-metrics") {
        let text = "--print-metrics is not supported by this tool: it has no Java client";
        return Err(Failure::Text(text.to_owned()));
    }
    if !options.has("hide-header") {
        outln!(console, "{}", header(options.has("show-detailed-stats")));
    }
    Ok(())
}

fn plan(options: &Options) -> Result<Plan, Failure> {
    let records: i64 = match options.number("num-records")? {
        Some(records) => records,
        None => options.number("messages")?.unwrap_or(0),
    };
    let interval: i64 = options.number("reporting-interval")?.unwrap_or(REPORTING_INTERVAL_MS as i64);
    let interval = u64::try_from(interval).ok().filter(|ms| *ms > 0);
    let interval =
        interval.ok_or_else(|| Failure::Text("Reporting interval must be greater than 0.".to_owned()))?;
    let timeout: i64 = options.number("timeout")?.unwrap_or(TIMEOUT_MS as i64);
    // Without effect here: the kernel sizes its buffers itself.
    options.number::<i32>("socket-buffer-size")?;
    let pattern = options.one("date-format")?.unwrap_or(DATE_FORMAT);
    let properties = key_values(options, &["consumer.config", "command-config"], &["command-property"])?;
    let property =
        |key: &str| properties.iter().rev().find(|(k, _)| k == key).map(|(_, value)| value.clone());
    let subscription = match options.one("include")? {
        Some(pattern) => Subscription::Pattern(
            TopicPattern::new(pattern).map_err(|error| Failure::Text(error.to_string()))?,
        ),
        None => Subscription::Topic(options.one("topic")?.unwrap_or_default().to_owned()),
    };
    let group = match options.one("group")? {
        Some(group) => group.to_owned(),
        None => format!("perf-consumer-{}", random_below(100_000)?),
    };
    let timeout_ms = u64::try_from(timeout).unwrap_or(0);
    Ok(Plan {
        options: ConsumeOptions {
            subscription,
            group: Some(group),
            partition: None,
            start: if options.has("from-latest") { LATEST } else { EARLIEST },
            read_committed: property("isolation.level").as_deref() == Some("read_committed"),
            records_max: Some(u64::try_from(records).unwrap_or(0)),
            idle_max: Some(Duration::from_millis(timeout_ms)),
            partition_bytes: Some(options.number("fetch-size")?.unwrap_or(FETCH_BYTES)),
        },
        report: Report {
            is_detailed: options.has("show-detailed-stats"),
            interval: Duration::from_millis(interval),
            timeout_ms,
            dates: DatePattern::new(pattern).map_err(|error| Failure::Text(error.to_string()))?,
        },
        client_id: property("client.id").unwrap_or_else(|| "perf-consumer-client".to_owned()),
        properties,
    })
}

fn random_below(bound: u32) -> Result<u32, Failure> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).map_err(|error| Failure::Text(format!("no random numbers: {error}")))?;
    Ok(u32::from_le_bytes(bytes) % bound)
}

fn run(arguments: &[String], console: &mut Console<'_>) -> Result<(), Failure> {
    let options = TOOL.parse(arguments, console)?;
    check(&options, console)?;
    // The words of an exception, which goes to standard error.
    let plan = plan(&options).map_err(|failure| match failure {
        Failure::Option(error) => Failure::Text(error.to_string()),
        other => other,
    })?;
    let mut client =
        connect_dialing(&options, &plan.client_id, API_TIMEOUT, dialer(&plan.properties)?, NO_CONSUMER)?;
    let stop = consume::stop_on_signals();
    // What counts records, and what is called after each round, tell of the same counts.
    let tally = std::cell::RefCell::new(Tally::new(now_ms(), Instant::now()));
    let out = std::cell::RefCell::new(&mut *console.out);
    let (count, result) = consume::run(
        &mut client,
        &plan.options,
        &stop,
        &mut |seen: SeenRecord<'_>| {
            let bytes = seen.record.key.map_or(0, <[u8]>::len) + seen.record.value.map_or(0, <[u8]>::len);
            tally.borrow_mut().add(bytes as u64);
            Ok(())
        },
        &mut |joining| {
            let mut tally = tally.borrow_mut();
            tally.joined(joining);
            let line = tally.window(Instant::now(), now_ms(), &plan.report);
            match line.filter(|_| plan.report.is_detailed) {
                Some(line) => {
                    let mut out = out.borrow_mut();
                    writeln!(out, "{line}")?;
                    out.flush()
                }
                None => Ok(()),
            }
        },
    );
    match result {
        Ok(()) => {}
        Err(ConsumeError::Output(error)) => return Err(Failure::Io(error)),
        Err(ConsumeError::Client(error)) => return Err(Failure::Text(error.java())),
    }
    if plan.options.records_max.is_some_and(|wanted| count < wanted) {
        outln!(
            console,
            "WARNING: Exiting before consuming the expected number of records: timeout ({} ms) exceeded. \
             You can use the --timeout option to increase the timeout.",
            plan.report.timeout_ms
        );
    }
    if !plan.report.is_detailed {
        outln!(console, "{}", tally.borrow().total(Instant::now(), now_ms(), &plan.report));
    }
    Ok(())
}

fn header(is_detailed: bool) -> String {
    let first = if is_detailed { "time, threadId" } else { "start.time, end.time" };
    format!("{first}, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, {LATER_COLUMNS}")
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// What was read.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    records: u64,
    bytes: u64,
    /// How long the group was waited for.
    joining_ms: u64,
}

/// What was read in all, and since the last line.
struct Tally {
    begun_ms: i64,
    begun: Instant,
    whole: Count,
    window: Count,
    window_begun: Instant,
}

impl Tally {
    fn new(begun_ms: i64, begun: Instant) -> Self {
        Self { begun_ms, begun, whole: Count::default(), window: Count::default(), window_begun: begun }
    }

    fn add(&mut self, bytes: u64) {
        for count in [&mut self.whole, &mut self.window] {
            count.records += 1;
            count.bytes += bytes;
        }
    }

    fn joined(&mut self, joining: Duration) {
        for count in [&mut self.whole, &mut self.window] {
            count.joining_ms += u64::try_from(joining.as_millis()).unwrap_or(u64::MAX);
        }
    }

    /// The line of a reporting interval that is over, in which there were records.
    fn window(&mut self, now: Instant, now_ms: i64, report: &Report) -> Option<String> {
        let elapsed = now.saturating_duration_since(self.window_begun);
        if elapsed < report.interval || self.window.records == 0 {
            return None;
        }
        let window = std::mem::take(&mut self.window);
        self.window_begun = now;
        let elapsed_ms = elapsed.as_millis() as i64;
        let fetching_ms = elapsed_ms - window.joining_ms as i64;
        let mib = window.bytes as f64 / MIB;
        let per_second = |amount: f64, ms: i64| if ms <= 0 { 0.0 } else { amount * 1000.0 / ms as f64 };
        Some(format!(
            "{}, 0, {:.4}, {:.4}, {}, {:.4}, {}, {fetching_ms}, {:.4}, {:.4}",
            report.dates.format(now_ms),
            self.whole.bytes as f64 / MIB,
            per_second(mib, elapsed_ms),
            self.whole.records,
            per_second(window.records as f64, elapsed_ms),
            window.joining_ms,
            per_second(mib, fetching_ms),
            per_second(window.records as f64, fetching_ms),
        ))
    }

    /// The last line.
    fn total(&self, now: Instant, now_ms: i64, report: &Report) -> String {
        let elapsed_ms = now.saturating_duration_since(self.begun).as_millis() as i64;
        let fetching_ms = elapsed_ms - self.whole.joining_ms as i64;
        let mib = self.whole.bytes as f64 / MIB;
        // As Java divides: nothing by nothing is no number, and something by nothing is without end.
        let per_second = |amount: f64, ms: i64| java_decimal(amount / (ms as f64 / 1000.0));
        format!(
            "{}, {}, {mib:.4}, {}, {}, {}, {}, {fetching_ms}, {}, {}",
            report.dates.format(self.begun_ms),
            report.dates.format(now_ms),
            per_second(mib, elapsed_ms),
            self.whole.records,
            per_second(self.whole.records as f64, elapsed_ms),
            self.whole.joining_ms,
            per_second(mib, fetching_ms),
            per_second(self.whole.records as f64, fetching_ms),
        )
    }
}

/// `%.4f`.
fn java_decimal(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        (if value > 0.0 { "Infinity" } else { "-Infinity" }).to_owned()
    } else {
        format!("{value:.4}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(line: &str) -> Result<(Plan, String), String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut console = Console { out: &mut out, err: &mut err };
        let plan = TOOL.parse(&words, &mut console).and_then(|options| {
            check(&options, &mut console)?;
            plan(&options)
        });
        match plan {
            Ok(plan) => Ok((plan, String::from_utf8(out).unwrap())),
            Err(Failure::Usage(text) | Failure::Text(text)) => Err(text),
            Err(Failure::Option(error)) => Err(error.to_string()),
            Err(other) => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn wrong_lines_have_the_tools_own_words() {
        let server = "--bootstrap-server h:1";
        for (line, text) in [
            ("--topic t --num-records 1".to_owned(), "Missing required argument \"[bootstrap-server]\""),
            (
                format!("{server} --num-records 1"),
                "Exactly one of the following arguments is required: [topic], [include]",
            ),
            (
                format!("{server} --topic t"),
                "Exactly one of the following arguments is required: [messages], [num-records]",
            ),
            (
                format!("{server} --topic t --num-records x"),
                "Cannot parse argument 'x' of option num-records",
            ),
            (
                format!("{server} --topic t --num-records 1 --reporting-interval 0"),
                "Reporting interval must be greater than 0.",
            ),
            (format!("{server} --topic t --num-records 1 --date-format bb"), "Illegal pattern character 'b'"),
        ] {
            assert_eq!(planned(&line).err().as_deref(), Some(text), "{line}");
        }
    }

    #[test]
    fn what_is_not_said_is_as_with_kafkas_tool() {
        let (plan, out) = planned("--bootstrap-server h:1 --topic t --messages 7").unwrap();
        let warning = "Warning: --messages is deprecated. Use --num-records instead.";
        assert_eq!(out, format!("{warning}\n{}\n", header(false)));
        assert_eq!((plan.options.start, plan.options.records_max), (EARLIEST, Some(7)));
        assert_eq!(plan.options.idle_max, Some(Duration::from_secs(10)));
        assert_eq!(plan.options.partition_bytes, Some(1_048_576));
        assert_eq!(plan.client_id, "perf-consumer-client");
        assert!(plan.options.group.unwrap().starts_with("perf-consumer-"));
        let line = "--bootstrap-server h:1 --include t.* --num-records 7 --from-latest --group g --command-property client.id=me";
        let (plan, _) = planned(line).unwrap();
        assert_eq!((plan.options.start, plan.client_id.as_str()), (LATEST, "me"));
        assert_eq!(plan.options.group.as_deref(), Some("g"));
    }

    fn report() -> Report {
        Report {
            is_detailed: true,
            interval: Duration::from_secs(5),
            timeout_ms: 10_000,
            dates: DatePattern::new(DATE_FORMAT).unwrap(),
        }
    }

    #[test]
    fn lines_have_the_tools_form() {
        let begun = Instant::now();
        let mut tally = Tally::new(0, begun);
        tally.joined(Duration::from_millis(500));
        for _ in 0..1024 {
            tally.add(2048);
        }
        assert_eq!(tally.window(begun + Duration::from_secs(4), 4_000, &report()), None);
        assert_eq!(
            tally.window(begun + Duration::from_secs(5), 5_000, &report()).unwrap(),
            "1970-01-01 00:00:05:000, 0, 2.0000, 0.4000, 1024, 204.8000, 500, 4500, 0.4444, 227.5556"
        );
        assert_eq!(tally.window(begun + Duration::from_secs(20), 20_000, &report()), None, "nothing came");
        assert_eq!(
            tally.total(begun + Duration::from_secs(10), 10_000, &report()),
            "1970-01-01 00:00:00:000, 1970-01-01 00:00:10:000, 2.0000, 0.2000, 1024, 102.4000, 500, 9500, 0.2105, 107.7895"
        );
        let nothing = Tally::new(0, begun).total(begun, 0, &report());
        assert!(nothing.ends_with(" 0.0000, NaN, 0, NaN, 0, 0, NaN, NaN"), "{nothing}");
    }
}
