//! `kafka-dump-log`: what segments, indexes and snapshots of a log directory hold, whether ours or Kafka's. The same lines as
//! Kafka's tool, for which every file of ours is one of its own. Decoders are there for the topics that our brokers have too: not for
//! the metadata of Kafka's controllers, which ours keep otherwise, nor for remote logs.

mod decoder;
mod index;
mod json;
mod shape;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use moldau_record::{BatchView, ControlRecord, DecompressLimit, Record, TimestampType, batch_size};

use super::options::{Argument, Options, Spec};
use super::tool::{Failure, ToolInfo, require};
use crate::console::{Console, errln, outln};
use decoder::Decoder;
use index::Complaints;

/// A batch larger than this is none that a broker takes.
const BATCH_BYTES_MAX: usize = 1 << 30;
/// What one batch may decompress to.
const DECOMPRESSED_BYTES_MAX: usize = 1 << 30;
/// The bytes of a batch before which its size is known.
const SIZE_FIELD_END: usize = 12;

const TOOL: ToolInfo = ToolInfo {
    spec: Spec {
        options: &[
            ("cluster-metadata-decoder", Argument::No),
            ("deep-iteration", Argument::No),
            ("files", Argument::Required),
            ("help", Argument::No),
            ("index-sanity-check", Argument::No),
            ("key-decoder-class", Argument::Optional),
            ("max-bytes", Argument::Required),
            ("max-message-size", Argument::Required),
            ("offsets-decoder", Argument::No),
            ("print-data-log", Argument::No),
            ("remote-log-metadata-decoder", Argument::No),
            ("share-group-state-decoder", Argument::No),
            ("skip-record-metadata", Argument::No),
            ("transaction-log-decoder", Argument::No),
            ("value-decoder-class", Argument::Optional),
            ("verify-index-only", Argument::No),
            ("version", Argument::No),
        ],
    },
    usage: include_str!("usage/kafka-dump-log.txt"),
    about: "This tool helps to parse a log file and dump its contents to the console, useful for debugging a seemingly corrupt log segment.",
};

/// Options that need what this tool does not have.
const REFUSED: &[&str] =
    &["cluster-metadata-decoder", "key-decoder-class", "remote-log-metadata-decoder", "value-decoder-class"];
/// The first that is there counts.
const DECODERS: &[(&str, Decoder)] = &[
    ("offsets-decoder", Decoder::Offsets),
    ("transaction-log-decoder", Decoder::Transactions),
    ("share-group-state-decoder", Decoder::ShareGroupState),
];

/// How a log is shown.
struct View {
    is_deep: bool,
    with_contents: bool,
    without_metadata: bool,
    bytes_max: u64,
    decoder: Option<Decoder>,
}

pub(crate) fn main(arguments: &[String], console: &mut Console<'_>) -> io::Result<u8> {
    let result = run(arguments, console);
    TOOL.finish(result, "", console)
}

fn run(arguments: &[String], console: &mut Console<'_>) -> Result<(), Failure> {
    let options = TOOL.parse(arguments, console)?;
    require(&options, &["files"])?;
    if let Some(refused) = REFUSED.iter().find(|name| options.has(name)) {
        return Err(Failure::Text(format!("--{refused} is not supported by this tool yet")));
    }
    let bytes_max: Option<i32> = options.number("max-bytes")?;
    let decoder = DECODERS.iter().find(|(name, _)| options.has(name)).map(|(_, decoder)| *decoder);
    let with_contents = decoder.is_some() || options.has("print-data-log");
    let view = View {
        is_deep: with_contents || options.has("deep-iteration"),
        with_contents,
        without_metadata: options.has("skip-record-metadata"),
        bytes_max: bytes_max.map_or(u64::MAX, |bytes| u64::try_from(bytes).unwrap_or(0)),
        decoder,
    };
    let mut complaints = Complaints::default();
    for name in options.one("files")?.unwrap_or_default().split(',') {
        outln!(console, "Dumping {name}");
        let path = Path::new(name);
        let text = |error: io::Error| Failure::Text(format!("{name}: {error}"));
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("log") => dump_log(path, &view, &mut complaints, console)?,
            Some("index") => {
                index::dump_offsets(path, &options, &mut complaints, console)?;
            }
            Some("timeindex") => index::dump_times(path, &options, &mut complaints, console)?,
            Some("snapshot") => index::dump_producers(path, console)?,
            Some("txnindex") => index::dump_transactions(path, console).map_err(text)?,
            _ => errln!(console, "Ignoring unknown file {name}"),
        }
    }
    complaints.tell(console)?;
    Ok(())
}

/// The offset that a file is named after.
fn base_offset(path: &Path) -> Result<i64, Failure> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let number = name.split('.').next().unwrap_or_default();
    number.parse().map_err(|_| Failure::Text(format!("{}: its name is no offset", path.display())))
}

fn named(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::Text(format!("{}: {error}", path.display()))
}

/// Reads a log batch by batch, from anywhere.
struct LogFile {
    file: File,
    length: u64,
    position: u64,
    batch: Vec<u8>,
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok(Self { file, length, position: 0, batch: Vec::new() })
    }

    /// The next batch begins here.
    fn seek(&mut self, position: u64) {
        self.position = position;
    }

    /// Reads the next batch, if there is a whole one.
    fn next(&mut self) -> io::Result<Option<&[u8]>> {
        let left = self.length.saturating_sub(self.position);
        if left < SIZE_FIELD_END as u64 {
            return Ok(None);
        }
        self.file.seek(SeekFrom::Start(self.position))?;
        let mut start = [0; SIZE_FIELD_END];
        self.file.read_exact(&mut start)?;
        let size = match batch_size(&start) {
            Ok(size) if size as u64 <= left && size <= BATCH_BYTES_MAX => size,
            Ok(_) | Err(_) => return Ok(None),
        };
        self.batch.clear();
        self.batch.extend_from_slice(&start);
        let rest = (size - SIZE_FIELD_END) as u64;
        (&mut self.file).take(rest).read_to_end(&mut self.batch)?;
        self.position += size as u64;
        Ok((self.batch.len() == size).then_some(self.batch.as_slice()))
    }
}

fn dump_log(
    path: &Path,
    view: &View,
    complaints: &mut Complaints,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    outln!(console, "Log starting offset: {}", base_offset(path)?);
    let mut log = LogFile::open(path).map_err(|error| named(path, error))?;
    log.length = log.length.min(view.bytes_max);
    let (mut position, mut last) = (0, -1);
    while let Some(bytes) = log.next().map_err(|error| named(path, error))? {
        let Ok(batch) = BatchView::first(bytes) else { break };
        outln!(console, "{}", batch_line(&batch, position));
        if view.is_deep {
            let set = batch.records(DecompressLimit(DECOMPRESSED_BYTES_MAX));
            let set = set.map_err(|error| named(path, error))?;
            for record in &set {
                let record = record.map_err(|error| named(path, error))?;
                // Also of a segment that begins elsewhere, as Kafka's tool has it.
                if record.offset.0 != last + 1 {
                    complaints.not_consecutive(path, last, record.offset.0);
                }
                last = record.offset.0;
                let line =
                    record_line(&batch, &record, view).map_err(|error| Failure::Text(error.to_string()))?;
                outln!(console, "{line}");
            }
        }
        position += batch.size_bytes() as u64;
    }
    let trailing = log.length - position;
    if trailing > 0 && view.bytes_max == u64::MAX {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        outln!(console, "Found {trailing} invalid bytes at the end of {name}");
    }
    Ok(())
}

fn time_kind(kind: TimestampType) -> &'static str {
    match kind {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    }
}

fn batch_line(batch: &BatchView<'_>, position: u64) -> String {
    // Bit 6 says that the base timestamp is the time from which a compacted batch may be deleted.
    let horizon = if batch.attributes() & 0x40 != 0 {
        format!("OptionalLong[{}]", batch.base_timestamp().0)
    } else {
        "OptionalLong.empty".to_owned()
    };
    format!(
        "baseOffset: {} lastOffset: {} count: {} baseSequence: {} lastSequence: {} producerId: {} producerEpoch: {} \
         partitionLeaderEpoch: {} isTransactional: {} isControl: {} deleteHorizonMs: {horizon} position: {position} {}: {} \
         size: {} magic: 2 compresscodec: {} crc: {} isvalid: {}",
        batch.base_offset().0,
        batch.last_offset().0,
        batch.record_count(),
        batch.base_sequence(),
        batch.last_sequence(),
        batch.producer_id().0,
        batch.producer_epoch().0,
        batch.leader_epoch().0,
        batch.is_transactional(),
        batch.is_control(),
        time_kind(batch.timestamp_type()),
        batch.max_timestamp().0,
        batch.size_bytes(),
        batch.compression().map_or("unknown", moldau_record::Compression::name),
        batch.crc(),
        batch.check_crc().is_ok(),
    )
}

fn record_line(
    batch: &BatchView<'_>,
    record: &Record<'_>,
    view: &View,
) -> Result<String, decoder::MissingKey> {
    let mut line = "| ".to_owned();
    let mut between = "";
    if !view.without_metadata {
        let size = |bytes: Option<&[u8]>| bytes.map_or(-1, |bytes| bytes.len() as i64);
        let headers =
            record.headers.into_iter().map(|header| String::from_utf8_lossy(header.key).into_owned());
        line.push_str(&format!(
            "offset: {} {}: {} keySize: {} valueSize: {} sequence: {} headerKeys: [{}]",
            record.offset.0,
            time_kind(batch.timestamp_type()),
            record.timestamp.0,
            size(record.key),
            size(record.value),
            sequence(batch, record.offset.0),
            headers.collect::<Vec<_>>().join(","),
        ));
        if batch.is_control() {
            line.push_str(&control(record));
        }
        between = " ";
    }
    if view.with_contents && !batch.is_control() {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (key, payload) = match view.decoder {
            None => (record.key.map(text), record.value.map(text)),
            Some(decoder) => {
                let decoded = decoder.decode(record)?;
                (Some(decoded.key), decoded.payload)
            }
        };
        if let Some(key) = key {
            line.push_str(&format!("{between}key: {key}"));
        }
        if let Some(payload) = payload {
            line.push_str(&format!(" payload: {payload}"));
        }
    }
    Ok(line)
}

/// A record's sequence number: they go on at 0 behind the largest.
fn sequence(batch: &BatchView<'_>, offset: i64) -> i32 {
    let base = batch.base_sequence();
    if base < 0 {
        return -1;
    }
    let delta = offset - batch.base_offset().0;
    i32::try_from((i64::from(base) + delta) % (i64::from(i32::MAX) + 1)).unwrap_or(-1)
}

fn control(record: &Record<'_>) -> String {
    match ControlRecord::parse(record.key, record.value) {
        Ok(ControlRecord::Commit { coordinator_epoch }) => {
            format!(" endTxnMarker: COMMIT coordinatorEpoch: {coordinator_epoch}")
        }
        Ok(ControlRecord::Abort { coordinator_epoch }) => {
            format!(" endTxnMarker: ABORT coordinatorEpoch: {coordinator_epoch}")
        }
        Ok(_) | Err(_) => " controlType: UNKNOWN(-1)".to_owned(),
    }
}
