//! Looking through a topic's records within bounds: which come first, which match, and where to go on.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::payload;
use crate::client::consumer::{FetchLimits, Fetcher, IncomingRecord};
use crate::client::offsets::{EARLIEST, LATEST, OffsetAt, Partition};
use crate::client::{Client, ClientError};

/// How long the brokers may wait for records that are not there yet: scans end at what was there when they began.
const POLL: Duration = Duration::from_millis(100);
/// What is taken at a time. It is in this node's memory, for which brokers have better uses: a batch that decompresses to more
/// is for tools of their own.
const LIMITS: FetchLimits =
    FetchLimits { partition_bytes: 256 * 1024, answer_bytes: 8 << 20, batch_bytes: 64 << 20 };
/// As long as that they may wait where what is to come is what is looked for.
const LIVE_POLL: Duration = Duration::from_millis(500);
/// How often a scan says how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);
/// The newest records are looked for from the end backwards, in steps of as many offsets of each partition as are wanted in all.
/// With a filter the steps are longer, for few records of each will match.
const WINDOW_FILTERED: i64 = 5_000;

/// Where to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// Backwards from the end, or from before these offsets.
    Newest(BTreeMap<i32, i64>),
    Oldest,
    Offset(i64),
    Time(i64),
    /// What comes from now on.
    Live,
    /// Forwards from these offsets.
    At(BTreeMap<i32, i64>),
}

/// Which records are wanted: all that is set must be there, capital letters or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) key: Option<String>,
    pub(super) value: Option<String>,
    /// `name`, or `name:part of its value`.
    pub(super) header: Option<String>,
}

impl Filter {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }

    fn matches(&self, record: &IncomingRecord) -> bool {
        let holds = |bytes: Option<&[u8]>, wanted: &Option<String>| {
            let Some(wanted) = wanted else { return true };
            bytes.is_some_and(|bytes| {
                String::from_utf8_lossy(bytes).to_lowercase().contains(&wanted.to_lowercase())
            })
        };
        holds(record.key.as_deref(), &self.key)
            && holds(record.value.as_deref(), &self.value)
            && self.header.as_ref().is_none_or(|wanted| {
                let (name, part) = wanted
                    .split_once(':')
                    .map_or((wanted.as_str(), None), |(n, v)| (n, Some(v.trim().to_owned())));
                record.headers.iter().any(|(key, value)| {
                    key.eq_ignore_ascii_case(name.trim()) && holds(value.as_deref(), &part)
                })
            })
    }
}

/// What is looked for, and how much may be looked at.
pub(super) struct Request {
    pub(super) partitions: Vec<Partition>,
    pub(super) start: Start,
    pub(super) filter: Filter,
    pub(super) read_committed: bool,
    pub(super) records_max: usize,
    pub(super) bytes_max: u64,
    pub(super) time_max: Duration,
}

/// Takes a scan's lines. False: nobody reads them any more.
pub(super) type Sink<'a> = &'a mut dyn FnMut(Value) -> bool;

/// Runs a scan; its last line says why it ended and where to go on.
pub(super) fn run(client: &mut Client, request: &Request, sink: Sink<'_>) -> Result<(), ClientError> {
    let bounds = |client: &mut Client, time: i64| -> Result<BTreeMap<Partition, i64>, ClientError> {
        let asked: Vec<(Partition, i64)> = request.partitions.iter().map(|p| (p.clone(), time)).collect();
        let answers = client.list_offsets(&asked, request.read_committed)?;
        answers.into_iter().map(|(p, at)| at.map(|at: OffsetAt| (p, at.offset))).collect()
    };
    let (starts, ends) = (bounds(client, EARLIEST)?, bounds(client, LATEST)?);
    let mut fetcher = Fetcher::new(request.read_committed, EARLIEST);
    fetcher.limits = LIMITS;
    let mut scan = Scan {
        request,
        sink,
        fetcher,
        began: Instant::now(),
        told: Instant::now(),
        scanned: 0,
        bytes: 0,
        found: 0,
        is_abandoned: false,
    };
    let clamped = |offset: i64, p: &Partition| offset.clamp(starts[p], ends[p].max(starts[p]));
    let wanted =
        |offsets: &BTreeMap<i32, i64>, otherwise: &BTreeMap<Partition, i64>| -> BTreeMap<Partition, i64> {
            let at = |p: &Partition| offsets.get(&p.1).copied().unwrap_or(otherwise[p]);
            request.partitions.iter().map(|p| (p.clone(), clamped(at(p), p))).collect()
        };
    let (reason, next, direction) = match &request.start {
        Start::Newest(before) => {
            let before = wanted(before, &ends);
            let (reason, before) = scan.backwards(client, &starts, before)?;
            (reason, before, "before")
        }
        forwards => {
            let from = match forwards {
                Start::Time(time) => {
                    let found = bounds(client, *time)?;
                    let at = |p: &Partition| if found[p] < 0 { ends[p] } else { found[p] };
                    request.partitions.iter().map(|p| (p.clone(), at(p))).collect()
                }
                Start::Offset(offset) => {
                    request.partitions.iter().map(|p| (p.clone(), clamped(*offset, p))).collect()
                }
                Start::At(offsets) => wanted(offsets, &ends),
                Start::Live => ends.clone(),
                Start::Oldest | Start::Newest(_) => starts.clone(),
            };
            let is_live = *forwards == Start::Live;
            let until =
                if is_live { ends.keys().map(|p| (p.clone(), i64::MAX)).collect() } else { ends.clone() };
            let (reason, next) =
                scan.forwards(client, from, &until, if is_live { LIVE_POLL } else { POLL })?;
            (reason, next, "at")
        }
    };
    let by_partition = |offsets: &BTreeMap<Partition, i64>| -> Value {
        offsets
            .iter()
            .map(|(p, offset)| (p.1.to_string(), json!(offset)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let line = json!({"type": "done", "reason": reason, "scanned": scan.scanned, "bytes": scan.bytes, "found": scan.found,
        "elapsed_ms": scan.began.elapsed().as_millis() as u64, direction: by_partition(&next),
        "starts": by_partition(&starts), "ends": by_partition(&ends)});
    (scan.sink)(line);
    Ok(())
}

struct Scan<'a> {
    request: &'a Request,
    sink: Sink<'a>,
    fetcher: Fetcher,
    began: Instant,
    told: Instant,
    scanned: u64,
    bytes: u64,
    found: usize,
    is_abandoned: bool,
}

impl Scan<'_> {
    /// From these offsets to the end, the partitions merged by time as far as that goes.
    fn forwards(
        &mut self,
        client: &mut Client,
        from: BTreeMap<Partition, i64>,
        ends: &BTreeMap<Partition, i64>,
        wait: Duration,
    ) -> Result<(&'static str, BTreeMap<Partition, i64>), ClientError> {
        let mut next = from.clone();
        let open = from.into_iter().filter(|(p, offset)| *offset < ends[p]);
        self.fetcher.assign(client, open.collect())?;
        loop {
            if self.fetcher.positions().iter().all(|(p, position)| *position >= ends[p]) {
                return Ok(("end", next));
            }
            if let Some(reason) = self.is_over() {
                return Ok((reason, next));
            }
            let records = self.fetcher.poll(client, wait)?;
            for record in merged(records) {
                let partition = (record.topic.clone(), record.partition);
                if record.offset >= ends[&partition] {
                    continue;
                }
                if self.found >= self.request.records_max || self.is_abandoned {
                    return Ok(("limit", next));
                }
                next.insert(partition, record.offset + 1);
                if self.count(&record) {
                    self.give(&record);
                }
            }
            // All that came was looked at.
            next.extend(
                self.fetcher.positions().iter().map(|(p, position)| (p.clone(), (*position).min(ends[p]))),
            );
            if self.found >= self.request.records_max {
                return Ok(("limit", next));
            }
            self.tell();
        }
    }

    /// From before these offsets towards the start, a window at a time, the newest first.
    fn backwards(
        &mut self,
        client: &mut Client,
        starts: &BTreeMap<Partition, i64>,
        mut before: BTreeMap<Partition, i64>,
    ) -> Result<(&'static str, BTreeMap<Partition, i64>), ClientError> {
        let length = i64::try_from(self.request.records_max).unwrap_or(WINDOW_FILTERED);
        let length = if self.request.filter.is_none() { length } else { length.max(WINDOW_FILTERED) };
        loop {
            let open: BTreeMap<&Partition, (i64, i64)> = before
                .iter()
                .filter(|(p, high)| **high > starts[*p])
                .map(|(p, high)| (p, ((high - length).max(starts[p]), *high)))
                .collect();
            if open.is_empty() {
                return Ok(("end", before));
            }
            self.fetcher.assign(client, open.iter().map(|(p, (low, _))| ((*p).clone(), *low)).collect())?;
            let mut matching: Vec<IncomingRecord> = Vec::new();
            while !self.fetcher.positions().iter().all(|(p, position)| *position >= open[p].1) {
                // A window that was not read to its end would leave a gap: it is not shown, and read anew when one goes on.
                if let Some(reason) = self.is_over() {
                    return Ok((reason, before));
                }
                for record in self.fetcher.poll(client, POLL)? {
                    let high = open[&(record.topic.clone(), record.partition)].1;
                    if record.offset < high && self.count(&record) {
                        matching.push(record);
                    }
                }
                self.tell();
            }
            matching.sort_by_key(|record| std::cmp::Reverse((record.timestamp, record.offset)));
            let left = self.request.records_max - self.found;
            let is_enough = matching.len() >= left;
            let reached: BTreeMap<Partition, i64> = if is_enough {
                // What matched and finds no room any more is read again when one goes on.
                let mut reached = before.clone();
                reached.extend(open.iter().map(|(p, (low, _))| ((*p).clone(), *low)));
                for record in &matching[left..] {
                    let partition = (record.topic.clone(), record.partition);
                    let reached = reached.entry(partition).or_insert(0);
                    *reached = (*reached).max(record.offset + 1);
                }
                reached
            } else {
                let mut reached = before.clone();
                reached.extend(open.iter().map(|(p, (low, _))| ((*p).clone(), *low)));
                reached
            };
            for record in matching.iter().take(left) {
                self.give(record);
            }
            before = reached;
            if is_enough || self.is_abandoned {
                return Ok(("limit", before));
            }
        }
    }

    /// Counts a record that was looked at; says whether it matches.
    fn count(&mut self, record: &IncomingRecord) -> bool {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers: usize = record.headers.iter().map(|(key, value)| key.len() + length(value)).sum();
        self.scanned += 1;
        self.bytes += (length(&record.key) + length(&record.value) + headers) as u64;
        self.request.filter.matches(record)
    }

    fn give(&mut self, record: &IncomingRecord) {
        self.found += 1;
        self.is_abandoned |= !(self.sink)(payload::record(record));
    }

    fn tell(&mut self) {
        if self.told.elapsed() >= PROGRESS_INTERVAL {
            self.told = Instant::now();
            let line = json!({"type": "progress", "scanned": self.scanned, "bytes": self.bytes, "found": self.found});
            self.is_abandoned |= !(self.sink)(line);
        }
    }

    fn is_over(&self) -> Option<&'static str> {
        if self.is_abandoned {
            Some("cancelled")
        } else if self.bytes >= self.request.bytes_max {
            Some("bytes")
        } else if self.began.elapsed() >= self.request.time_max {
            Some("time")
        } else {
            None
        }
    }
}

/// Records of several partitions by time, those of each in their order.
fn merged(records: Vec<IncomingRecord>) -> Vec<IncomingRecord> {
    let mut queues: BTreeMap<i32, VecDeque<IncomingRecord>> = BTreeMap::new();
    for record in records {
        queues.entry(record.partition).or_default().push_back(record);
    }
    let mut merged = Vec::new();
    while let Some(next) = queues.iter().filter_map(|(p, queue)| Some((queue.front()?.timestamp, *p))).min() {
        merged.extend(queues.get_mut(&next.1).and_then(VecDeque::pop_front));
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(partition: i32, offset: i64, timestamp: i64) -> IncomingRecord {
        IncomingRecord {
            topic: "t".to_owned(),
            partition,
            offset,
            timestamp,
            log_append_time: false,
            headers: vec![("Trace".to_owned(), Some(b"abc-1".to_vec()))],
            key: Some(b"Key".to_vec()),
            value: None,
            delivery_count: None,
        }
    }

    #[test]
    fn records_are_merged_by_time_and_a_partition_keeps_its_order() {
        let records = vec![record(0, 0, 5), record(0, 1, 2), record(1, 0, 3), record(1, 1, 9)];
        let order: Vec<(i32, i64)> = merged(records).iter().map(|r| (r.partition, r.offset)).collect();
        assert_eq!(order, [(1, 0), (0, 0), (0, 1), (1, 1)]);
    }

    #[test]
    fn a_filter_wants_all_that_it_names() {
        let matches = |key: Option<&str>, value: Option<&str>, header: Option<&str>| {
            let text = |text: Option<&str>| text.map(ToOwned::to_owned);
            Filter { key: text(key), value: text(value), header: text(header) }.matches(&record(0, 0, 0))
        };
        assert!(matches(None, None, None) && matches(Some("EY"), None, Some("trace")));
        assert!(matches(None, None, Some("trace: ABC")) && !matches(None, None, Some("trace:x")));
        assert!(!matches(None, Some(""), None) && !matches(Some("z"), None, Some("trace")));
        assert!(!matches(None, None, Some("other")));
    }
}
