//! The files beside a segment: its indexes by offset, time and aborted transaction, and snapshots of producers.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use moldau_record::{BatchView, DecompressLimit};

use super::{DECOMPRESSED_BYTES_MAX, Failure, LogFile, Options, base_offset, named};
use crate::console::{Console, errln, outln};

const OFFSET_ENTRY_BYTES: usize = 8;
const TIME_ENTRY_BYTES: usize = 12;
const TRANSACTION_ENTRY_BYTES: usize = 34;
const SNAPSHOT_HEADER_BYTES: usize = 10;
const SNAPSHOT_CRC_FROM: usize = 6;
const PRODUCER_ENTRY_BYTES: usize = 46;
/// An index that is larger is none of a segment.
const INDEX_BYTES_MAX: u64 = 1 << 30;

/// What is wrong, told at the end, by file.
#[derive(Default)]
pub(super) struct Complaints {
    mismatches: BTreeMap<String, Vec<(i64, i64)>>,
    not_consecutive: BTreeMap<String, Vec<(i64, i64)>>,
    time_mismatches: BTreeMap<String, Vec<(i64, i64)>>,
    times_out_of_order: BTreeMap<String, Vec<(i64, i64)>>,
    offsets_not_found: BTreeMap<String, Vec<(i64, i64)>>,
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

impl Complaints {
    pub(super) fn not_consecutive(&mut self, path: &Path, first: i64, second: i64) {
        self.not_consecutive.entry(absolute(path)).or_default().push((first, second));
    }

    /// The newest complaint of a file first, where Kafka's tool puts each before the last.
    pub(super) fn tell(&self, console: &mut Console<'_>) -> io::Result<()> {
        for (file, list) in &self.mismatches {
            errln!(console, "Mismatches in :{file}");
            for (index, log) in list.iter().rev() {
                errln!(console, "  Index offset: {index}, log offset: {log}");
            }
        }
        for (file, list) in &self.time_mismatches {
            errln!(console, "Found timestamp mismatch in :{file}");
            for (index, log) in list {
                errln!(console, "  Index timestamp: {index}, log timestamp: {log}");
            }
        }
        for (file, list) in &self.times_out_of_order {
            errln!(console, "Found out of order timestamp in :{file}");
            for (index, before) in list {
                errln!(console, "  Index timestamp: {index}, Previously indexed timestamp: {before}");
            }
        }
        for list in self.offsets_not_found.values() {
            errln!(console, "The following indexed offsets are not found in the log.");
            for (index, log) in list {
                errln!(console, "Indexed offset: {index}, found log offset: {log}");
            }
        }
        for (file, list) in &self.not_consecutive {
            errln!(console, "Non-consecutive offsets in {file}");
            for (first, second) in list.iter().rev() {
                errln!(console, "  {first} is followed by {second}");
            }
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let length = std::fs::metadata(path).map_err(|error| named(path, error))?.len();
    if length > INDEX_BYTES_MAX {
        return Err(named(path, format!("{length} bytes are no index")));
    }
    std::fs::read(path).map_err(|error| named(path, error))
}

fn beside(path: &Path, extension: &str) -> PathBuf {
    path.with_extension(extension)
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).copied().unwrap_or([0; N])
}

fn word(bytes: &[u8], at: usize) -> i64 {
    i64::from(i32::from_be_bytes(number(bytes, at)))
}

fn long(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(number(bytes, at))
}

/// Offsets with the places of their batches.
fn offset_entries(bytes: &[u8], base: i64) -> Vec<(i64, u64)> {
    let entry = |entry: &[u8]| (base + word(entry, 0), u64::try_from(word(entry, 4)).unwrap_or(0));
    bytes.chunks_exact(OFFSET_ENTRY_BYTES).map(entry).collect()
}

/// What a start asks of an index: whole entries, and none before the segment's begin.
fn passes(bytes: &[u8], entry_bytes: usize, last_offset: Option<i64>, base: i64) -> bool {
    bytes.len().is_multiple_of(entry_bytes) && last_offset.is_none_or(|last| last >= base)
}

pub(super) fn dump_offsets(
    path: &Path,
    options: &Options,
    complaints: &mut Complaints,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let base = base_offset(path)?;
    let bytes = read(path)?;
    let entries = offset_entries(&bytes, base);
    let log_path = beside(path, "log");
    let mut log = LogFile::open(&log_path).map_err(|error| named(&log_path, error))?;
    if entries.is_empty() {
        outln!(console, "{} is empty.", path.display());
        return Ok(());
    }
    if options.has("index-sanity-check") {
        return sane(
            path,
            passes(&bytes, OFFSET_ENTRY_BYTES, entries.last().map(|(o, _)| *o), base),
            console,
        );
    }
    for (count, (offset, position)) in entries.into_iter().enumerate() {
        // Behind a crash there may be room that was never written.
        if offset == base && count > 0 {
            return Ok(());
        }
        log.seek(position);
        let batch = log.next().map_err(|error| named(&log_path, error))?;
        let found = batch.and_then(|bytes| BatchView::first(bytes).ok()).map_or(-1, |b| b.last_offset().0);
        if found != offset {
            complaints.mismatches.entry(absolute(path)).or_default().push((offset, found));
        }
        if !options.has("verify-index-only") {
            outln!(console, "offset: {offset} position: {position}");
        }
    }
    Ok(())
}

fn sane(path: &Path, is_sane: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    if !is_sane {
        return Err(named(path, "the index would be made anew at a start"));
    }
    outln!(console, "{} passed sanity check.", path.display());
    Ok(())
}

pub(super) fn dump_times(
    path: &Path,
    options: &Options,
    complaints: &mut Complaints,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let base = base_offset(path)?;
    let bytes = read(path)?;
    let entries: Vec<(i64, i64)> =
        bytes.chunks_exact(TIME_ENTRY_BYTES).map(|entry| (long(entry, 0), base + word(entry, 8))).collect();
    if options.has("index-sanity-check") {
        let last = entries.last().map(|(_, offset)| *offset);
        return sane(path, passes(&bytes, TIME_ENTRY_BYTES, last, base), console);
    }
    let log_path = beside(path, "log");
    let mut log = LogFile::open(&log_path).map_err(|error| named(&log_path, error))?;
    let places = offset_entries(&read(&beside(path, "index"))?, base);
    let mut before = -1;
    for (count, (timestamp, offset)) in entries.into_iter().enumerate() {
        if offset == base && count > 0 {
            return Ok(());
        }
        let at = places.partition_point(|(indexed, _)| *indexed <= offset);
        log.seek(at.checked_sub(1).and_then(|at| places.get(at)).map_or(0, |(_, position)| *position));
        match batch_with(&mut log, offset).map_err(|error| named(&log_path, error))? {
            Some((last, newest)) if last == offset => {
                let file = absolute(path);
                if newest != timestamp {
                    complaints.time_mismatches.entry(file.clone()).or_default().push((timestamp, newest));
                }
                if before >= timestamp {
                    complaints.times_out_of_order.entry(file).or_default().push((timestamp, before));
                }
            }
            other => {
                let found = other.map_or(-1, |(last, _)| last);
                complaints.offsets_not_found.entry(absolute(path)).or_default().push((offset, found));
            }
        }
        if !options.has("verify-index-only") {
            outln!(console, "timestamp: {timestamp} offset: {offset}");
        }
        before = timestamp;
    }
    Ok(())
}

/// The last offset and the newest record's time of the first batch that ends at `offset` or behind.
fn batch_with(log: &mut LogFile, offset: i64) -> io::Result<Option<(i64, i64)>> {
    while let Some(bytes) = log.next()? {
        let Ok(batch) = BatchView::first(bytes) else { return Ok(None) };
        if batch.last_offset().0 < offset {
            continue;
        }
        let set = batch.records(DecompressLimit(DECOMPRESSED_BYTES_MAX)).map_err(io::Error::other)?;
        let mut newest = -1;
        for record in &set {
            newest = newest.max(record.map_err(io::Error::other)?.timestamp.0);
        }
        return Ok(Some((batch.last_offset().0, newest)));
    }
    Ok(None)
}

pub(super) fn dump_transactions(path: &Path, console: &mut Console<'_>) -> io::Result<()> {
    let bytes = std::fs::read(path)?;
    for entry in bytes.chunks_exact(TRANSACTION_ENTRY_BYTES) {
        outln!(
            console,
            "version: {} producerId: {} firstOffset: {} lastOffset: {} lastStableOffset: {}",
            i16::from_be_bytes(number(entry, 0)),
            long(entry, 2),
            long(entry, 10),
            long(entry, 18),
            long(entry, 26)
        );
    }
    Ok(())
}

pub(super) fn dump_producers(path: &Path, console: &mut Console<'_>) -> Result<(), Failure> {
    let bytes = read(path)?;
    let rest = bytes.get(SNAPSHOT_CRC_FROM..).unwrap_or_default();
    let crc = u32::from_be_bytes(number(&bytes, 2));
    if crc32c::crc32c(rest) != crc {
        let found = crc32c::crc32c(rest);
        errln!(
            console,
            "Snapshot is corrupt (CRC is no longer valid). Stored crc: {crc}. Computed crc: {found}"
        );
        return Ok(());
    }
    for entry in bytes.get(SNAPSHOT_HEADER_BYTES..).unwrap_or_default().chunks_exact(PRODUCER_ENTRY_BYTES) {
        let (last_sequence, last_offset, delta) =
            (word(entry, 10) as i32, long(entry, 14), word(entry, 22) as i32);
        let begun = format!(
            "producerId: {} producerEpoch: {} coordinatorEpoch: {} currentTxnFirstOffset: {} lastTimestamp: {} ",
            long(entry, 0),
            i16::from_be_bytes(number(entry, 8)),
            word(entry, 34),
            optional(long(entry, 38)),
            long(entry, 26),
        );
        // A producer that only has a transaction's marker here has no batch.
        if last_offset < 0 {
            outln!(console, "{begun}");
            continue;
        }
        let first = if last_sequence >= delta {
            last_sequence - delta
        } else {
            i32::MAX - (delta - last_sequence) + 1
        };
        outln!(
            console,
            "{begun}firstSequence: {first} lastSequence: {last_sequence} lastOffset: {last_offset} offsetDelta: {delta} timestamp: {}",
            long(entry, 26)
        );
    }
    Ok(())
}

fn optional(offset: i64) -> String {
    if offset >= 0 { format!("OptionalLong[{offset}]") } else { "OptionalLong.empty".to_owned() }
}
