//! Looking through a topic's records within bounds: which come first, which match, and where to go on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::kept::{self, Kept, Line};
use super::payload;
use crate::client::consumer::{FetchLimits, Fetcher, SeenRecord, Take};
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
/// Records that one scan looks at, however small they are.
const RECORDS_SCANNED_MAX: u64 = 10_000_000;
/// After so many records a scan looks whether its time is over.
const LOOK_EVERY: u64 = 256;
/// The newest records are looked for from the end backwards, in windows of as many offsets of each partition as are wanted in all.
/// With a filter the windows are longer, for few records of each will match. A window that holds more bytes than may be looked
/// through is tried anew as a shorter one.
const WINDOW_FILTERED: i64 = 5_000;
const WINDOW_SHRINKS_BY: i64 = 4;

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
    key: Option<String>,
    value: Option<String>,
    /// A header's name, and a part of its value.
    header: Option<(String, Option<String>)>,
}

impl Filter {
    /// Of a header `name`, or `name:part of its value`.
    pub(super) fn new(key: Option<&str>, value: Option<&str>, header: Option<&str>) -> Self {
        let header = header.map(|wanted| match wanted.split_once(':') {
            Some((name, part)) => (name.trim().to_owned(), Some(part.trim().to_lowercase())),
            None => (wanted.trim().to_owned(), None),
        });
        Self { key: key.map(str::to_lowercase), value: value.map(str::to_lowercase), header }
    }

    fn is_none(&self) -> bool {
        *self == Self::default()
    }

    fn matches(&self, seen: &SeenRecord<'_>) -> bool {
        let holds = |bytes: Option<&[u8]>, wanted: Option<&String>| {
            let Some(wanted) = wanted else { return true };
            bytes.is_some_and(|bytes| String::from_utf8_lossy(bytes).to_lowercase().contains(wanted))
        };
        holds(seen.record.key, self.key.as_ref())
            && holds(seen.record.value, self.value.as_ref())
            && self.header.as_ref().is_none_or(|(name, part)| {
                seen.record.headers.into_iter().any(|header| {
                    header.key.eq_ignore_ascii_case(name.as_bytes()) && holds(header.value, part.as_ref())
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
pub(super) type Sink<'a> = &'a mut dyn FnMut(String) -> bool;

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
        told: Instant::now(),
        counts: Counts::new(request),
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
    let counts = &scan.counts;
    let line = json!({"type": "done", "reason": reason, "scanned": counts.scanned, "bytes": counts.bytes, "found": scan.found,
        "elapsed_ms": counts.began.elapsed().as_millis() as u64, direction: by_partition(&next),
        "starts": by_partition(&starts), "ends": by_partition(&ends)});
    (scan.sink)(line.to_string());
    Ok(())
}

/// What was looked at, and how much may be.
struct Counts {
    began: Instant,
    time_max: Duration,
    scanned: u64,
    scanned_max: u64,
    bytes: u64,
    bytes_max: u64,
}

impl Counts {
    fn new(request: &Request) -> Self {
        Self {
            began: Instant::now(),
            time_max: request.time_max,
            scanned: 0,
            scanned_max: RECORDS_SCANNED_MAX,
            bytes: 0,
            bytes_max: request.bytes_max,
        }
    }

    fn add(&mut self, seen: &SeenRecord<'_>) {
        let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        let headers = seen.record.headers.into_iter();
        let headers: usize = headers.map(|header| header.key.len() + length(header.value)).sum();
        self.scanned += 1;
        self.bytes += (length(seen.record.key) + length(seen.record.value) + headers) as u64;
    }

    /// Whether as much was looked at as may be.
    fn enough(&self) -> Option<&'static str> {
        if self.bytes >= self.bytes_max {
            Some("bytes")
        } else if self.scanned >= self.scanned_max {
            Some("count")
        } else {
            None
        }
    }

    fn is_late(&self) -> bool {
        self.began.elapsed() >= self.time_max
    }

    /// As `is_late`, for who asks at every record.
    fn is_late_now_and_then(&self) -> bool {
        self.scanned.is_multiple_of(LOOK_EVERY) && self.is_late()
    }

    /// What was looked at since was in vain, and does not count for how much may be.
    fn forgive(&mut self, since: (u64, u64)) {
        self.scanned_max += self.scanned - since.0;
        self.bytes_max += self.bytes - since.1;
    }
}

struct Scan<'a> {
    request: &'a Request,
    sink: Sink<'a>,
    fetcher: Fetcher,
    told: Instant,
    counts: Counts,
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
            if self.fetcher.positions().is_empty() {
                return Ok(("end", next));
            }
            if let Some(reason) = self.is_over() {
                return Ok((reason, next));
            }
            let mut kept = Kept::new(self.request.records_max - self.found, kept::BYTES_MAX);
            let (counts, filter) = (&mut self.counts, &self.request.filter);
            self.fetcher.visit(client, wait, &mut |seen| {
                if seen.record.offset.0 >= ends[seen.partition] {
                    return Take::LeavePartition;
                }
                if kept.is_full() || counts.enough().is_some() || counts.is_late_now_and_then() {
                    return Take::LeaveAll;
                }
                if filter.matches(&seen) {
                    if kept.is_full_of(seen.partition) {
                        return Take::LeavePartition;
                    }
                    kept.add(seen.partition, line(&seen));
                }
                counts.add(&seen);
                Take::Next
            })?;
            next.extend(
                self.fetcher.positions().iter().map(|(p, position)| (p.clone(), (*position).min(ends[p]))),
            );
            self.fetcher.leave(|p, position| position >= ends[p]);
            while let Some((partition, line)) = kept.pop_oldest() {
                if self.found < self.request.records_max && !self.is_abandoned {
                    self.give(line);
                } else {
                    // What finds no room any more is read again when one goes on.
                    let next = next.entry(partition).or_insert(line.offset);
                    *next = (*next).min(line.offset);
                }
            }
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
        let mut length = if self.request.filter.is_none() { length } else { length.max(WINDOW_FILTERED) };
        loop {
            let open: BTreeMap<Partition, (i64, i64)> = before
                .iter()
                .filter(|(p, high)| **high > starts[*p])
                .map(|(p, high)| (p.clone(), ((high - length).max(starts[p]), *high)))
                .collect();
            if open.is_empty() {
                return Ok(("end", before));
            }
            if let Some(reason) = self.is_over() {
                return Ok((reason, before));
            }
            let since = (self.counts.scanned, self.counts.bytes);
            let mut kept = Kept::new(self.request.records_max - self.found, kept::BYTES_MAX);
            let cut = self.window(client, &open, length == 1, &mut kept)?;
            // Of a partition whose window was not read to its end nothing is shown: there would be a gap.
            let unread: Vec<Partition> = self.fetcher.positions().keys().cloned().collect();
            if matches!(cut, Some("bytes" | "count")) && unread.len() == open.len() && length > 1 {
                length = (length / WINDOW_SHRINKS_BY).max(1);
                self.counts.forgive(since);
                continue;
            }
            unread.iter().for_each(|partition| kept.forget(partition));
            for (partition, (low, _)) in open.iter().filter(|(p, _)| !unread.contains(p)) {
                // What had to go is read again when one goes on, as is what finds no room below.
                let reached = kept.dropped().get(partition).map_or(*low, |offset| offset + 1);
                before.insert(partition.clone(), reached);
            }
            while let Some((partition, line)) = kept.pop_newest() {
                if self.found < self.request.records_max && !self.is_abandoned {
                    self.give(line);
                } else {
                    let reached = before.entry(partition).or_insert(0);
                    *reached = (*reached).max(line.offset + 1);
                }
            }
            if self.found >= self.request.records_max {
                return Ok(("limit", before));
            }
            if let Some(reason) = cut.or(kept.was_too_large().then_some("bytes")) {
                return Ok((reason, before));
            }
        }
    }

    /// Reads windows of partitions and keeps the newest that match. Why it did not come to their end, if it did not. `is_least`:
    /// the windows cannot be shorter, and are read whatever they hold.
    fn window(
        &mut self,
        client: &mut Client,
        open: &BTreeMap<Partition, (i64, i64)>,
        is_least: bool,
        kept: &mut Kept,
    ) -> Result<Option<&'static str>, ClientError> {
        let lows = open.iter().map(|(p, (low, _))| (p.clone(), *low)).collect();
        self.fetcher.assign(client, lows)?;
        while !self.fetcher.positions().is_empty() {
            match self.is_over() {
                Some("bytes" | "count") if is_least => {}
                Some(reason) => return Ok(Some(reason)),
                None => {}
            }
            let (counts, filter) = (&mut self.counts, &self.request.filter);
            self.fetcher.visit(client, POLL, &mut |seen| {
                if seen.record.offset.0 >= open[seen.partition].1 {
                    return Take::LeavePartition;
                }
                if (counts.enough().is_some() && !is_least) || counts.is_late_now_and_then() {
                    return Take::LeaveAll;
                }
                counts.add(&seen);
                if filter.matches(&seen) {
                    kept.add_newer(seen.partition, line(&seen));
                }
                Take::Next
            })?;
            self.fetcher.leave(|p, position| position >= open[p].1);
            self.tell();
        }
        Ok(None)
    }

    fn give(&mut self, line: Line) {
        self.found += 1;
        self.is_abandoned |= !(self.sink)(line.text);
    }

    fn tell(&mut self) {
        if self.told.elapsed() >= PROGRESS_INTERVAL {
            self.told = Instant::now();
            let (scanned, bytes) = (self.counts.scanned, self.counts.bytes);
            let line = json!({"type": "progress", "scanned": scanned, "bytes": bytes, "found": self.found});
            self.is_abandoned |= !(self.sink)(line.to_string());
        }
    }

    fn is_over(&self) -> Option<&'static str> {
        if self.is_abandoned {
            Some("cancelled")
        } else if self.counts.is_late() {
            Some("time")
        } else {
            self.counts.enough()
        }
    }
}

fn line(seen: &SeenRecord<'_>) -> Line {
    let text = payload::record(seen).to_string();
    Line { offset: seen.record.offset.0, timestamp: seen.record.timestamp.0, text }
}

#[cfg(test)]
mod tests {
    use moldau_record::{BatchBuilder, BatchView, DecompressLimit};

    use super::*;

    fn matches(filter: &Filter) -> bool {
        let mut builder = BatchBuilder::new();
        let headers = [("Trace", Some(b"abc-1".as_slice()))];
        builder.append(moldau_model::TimestampMs(5), Some(b"Key"), None, &headers).unwrap();
        let bytes = builder.build().unwrap();
        let records = BatchView::first(&bytes).unwrap().records(DecompressLimit(1 << 20)).unwrap();
        let record = records.iter().next().unwrap().unwrap();
        filter.matches(&SeenRecord { partition: &("t".to_owned(), 0), record, log_append_time: false })
    }

    #[test]
    fn a_filter_wants_all_that_it_names() {
        let matches = |key, value, header| matches(&Filter::new(key, value, header));
        assert!(matches(None, None, None) && matches(Some("EY"), None, Some("trace")));
        assert!(matches(None, None, Some("trace: ABC")) && !matches(None, None, Some("trace:x")));
        assert!(!matches(None, Some(""), None) && !matches(Some("z"), None, Some("trace")));
        assert!(!matches(None, None, Some("other")));
    }
}
