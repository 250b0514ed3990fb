//! A log on a disk in memory, and the batches to put into it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use moldau_log::file_system::FaultFileSystem;
use moldau_log::{
    AppendError, AppendInfo, AppendOrigin, FileCache, LogConfig, LogEnvironment, LogError, OpenMode,
    PartitionLog, RecoveryReport,
};
use moldau_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TimestampMs, TopicId, TopicPartition};
use moldau_record::{BatchBuilder, BatchView, Batches, Compression, ControlRecord, DecompressLimit};

pub(crate) const NOW: TimestampMs = TimestampMs(1_700_000_000_000);
pub(crate) const EPOCH: LeaderEpoch = LeaderEpoch(0);
pub(crate) const CLEAN: OpenMode =
    OpenMode { clean_shutdown: true, recovery_point: Offset::ZERO, log_start_offset: Offset::ZERO };
pub(crate) const UNCLEAN: OpenMode =
    OpenMode { clean_shutdown: false, recovery_point: Offset::ZERO, log_start_offset: Offset::ZERO };

pub(crate) fn topic_id() -> TopicId {
    TopicId::from_random_bytes([7; 16])
}

pub(crate) fn directory() -> PathBuf {
    PathBuf::from("/data/pageview-0")
}

/// Small segments and an index entry for nearly every batch, so that little data reaches every corner.
pub(crate) fn small() -> LogConfig {
    LogConfig { segment_bytes: 1024, index_interval_bytes: 100, ..LogConfig::default() }
}

#[derive(Clone, Debug)]
pub(crate) struct Disk {
    pub(crate) fs: FaultFileSystem,
}

impl Disk {
    pub(crate) fn new() -> Self {
        use moldau_log::FileSystem;
        let fs = FaultFileSystem::new();
        // The name of the partition itself is its log directory's to sync.
        fs.create_dir_all(&directory()).unwrap();
        for parent in ["/", "/data"] {
            fs.sync_dir(Path::new(parent)).unwrap();
        }
        Self { fs }
    }

    pub(crate) fn environment(&self) -> LogEnvironment {
        LogEnvironment::new(Arc::new(self.fs.clone()), Arc::new(FileCache::new(3)))
    }

    pub(crate) fn try_open(
        &self,
        config: LogConfig,
        mode: OpenMode,
    ) -> Result<(PartitionLog, RecoveryReport), LogError> {
        let partition = TopicPartition::new("pageview", 0);
        PartitionLog::open(&self.environment(), directory(), partition, topic_id(), config, mode, NOW)
    }

    pub(crate) fn open(&self, config: LogConfig) -> PartitionLog {
        self.try_open(config, CLEAN).unwrap().0
    }

    /// Kills the process and starts it again, without a loss of power.
    pub(crate) fn reopen(&self, config: LogConfig, mode: OpenMode) -> (PartitionLog, RecoveryReport) {
        self.fs.kill_process();
        self.try_open(config, mode).unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        directory().join(name)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        use moldau_log::FileSystem;
        self.fs.read_dir(&directory()).unwrap().into_iter().map(|entry| entry.name).collect()
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        self.fs.bytes(&self.path(name)).unwrap()
    }

    pub(crate) fn set_bytes(&self, name: &str, bytes: impl Into<Vec<u8>>) {
        self.fs.set_bytes(&self.path(name), bytes.into()).unwrap();
    }

    pub(crate) fn remove(&self, name: &str) {
        use moldau_log::FileSystem;
        self.fs.remove_file(&self.path(name)).unwrap();
        self.fs.sync_dir(Path::new(&directory())).unwrap();
    }
}

/// A batch of `count` records with values of `size` bytes.
pub(crate) fn batch_of(count: usize, size: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for number in 0..count {
        let value = vec![b'a' + (number % 26) as u8; size];
        builder.append(TimestampMs(NOW.0 + number as i64), Some(b"key"), Some(&value), &[]).unwrap();
    }
    builder.build().unwrap()
}

pub(crate) fn batch(count: usize) -> Vec<u8> {
    batch_of(count, 20)
}

/// One record, of a value that can be told from others.
pub(crate) fn numbered(number: u64) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    let value = format!("value {number}");
    builder.append(NOW, Some(b"key"), Some(value.as_bytes()), &[]).unwrap();
    builder.build().unwrap()
}

pub(crate) fn at(timestamps: &[i64]) -> Vec<u8> {
    let mut builder = BatchBuilder::new().compression(Compression::Lz4);
    for timestamp in timestamps {
        builder.append(TimestampMs(NOW.0 + timestamp), None, Some(b"value"), &[]).unwrap();
    }
    builder.build().unwrap()
}

pub(crate) fn idempotent(producer: i64, epoch: i16, sequence: i32, count: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new().producer(ProducerId(producer), ProducerEpoch(epoch), sequence);
    for _ in 0..count {
        builder.append(NOW, Some(b"key"), Some(b"value"), &[]).unwrap();
    }
    builder.build().unwrap()
}

pub(crate) fn transactional(producer: i64, sequence: i32, count: usize) -> Vec<u8> {
    transactional_in(producer, 0, sequence, count)
}

pub(crate) fn transactional_in(producer: i64, epoch: i16, sequence: i32, count: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new()
        .producer(ProducerId(producer), ProducerEpoch(epoch), sequence)
        .transactional(true);
    for _ in 0..count {
        builder.append(NOW, Some(b"key"), Some(b"value"), &[]).unwrap();
    }
    builder.build().unwrap()
}

/// The end of a transaction.
pub(crate) fn marker(producer: i64, epoch: i16, record: ControlRecord) -> Vec<u8> {
    let mut builder = BatchBuilder::new()
        .producer(ProducerId(producer), ProducerEpoch(epoch), -1)
        .transactional(true)
        .control(true);
    builder.append_control(NOW, record).unwrap();
    builder.build().unwrap()
}

/// What a control batch says.
pub(crate) fn control(batch: &BatchView<'_>) -> ControlRecord {
    let records = batch.records(DecompressLimit(1 << 10)).unwrap();
    let record = records.iter().next().unwrap().unwrap();
    ControlRecord::parse(record.key, record.value).unwrap()
}

pub(crate) fn append(log: &mut PartitionLog, mut batch: Vec<u8>) -> Result<AppendInfo, AppendError> {
    let epoch = log.latest_epoch().unwrap_or(EPOCH);
    log.append_as_leader(&mut batch, epoch, AppendOrigin::Client, NOW)
}

pub(crate) fn sync(log: &mut PartitionLog) -> Offset {
    let ticket = log.begin_sync().expect("something to sync");
    ticket.run().unwrap();
    log.complete_sync(ticket)
}

/// Everything below `upper`, by as many reads as it takes.
pub(crate) fn read_from(log: &PartitionLog, from: Offset, upper: Offset) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut at = from;
    while at < upper {
        let read = log.read(at, 1 << 20, upper, true).unwrap();
        let Some(slice) = read.slice else { break };
        let piece = slice.read_all().unwrap();
        for batch in Batches::new(&piece) {
            at = batch.unwrap().next_offset();
        }
        bytes.extend_from_slice(&piece);
    }
    bytes
}

pub(crate) fn read_all(log: &PartitionLog) -> Vec<u8> {
    read_from(log, log.log_start_offset(), log.log_end_offset())
}

/// Offset, key and value of all records, after checking every CRC.
pub(crate) fn records(bytes: &[u8]) -> Vec<(i64, Option<String>, Option<String>)> {
    let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
    let mut out = Vec::new();
    for batch in Batches::new(bytes) {
        let batch: BatchView<'_> = batch.unwrap();
        batch.check_crc().unwrap();
        for record in &batch.records(DecompressLimit(1 << 20)).unwrap() {
            let record = record.unwrap();
            out.push((record.offset.0, text(record.key), text(record.value)));
        }
    }
    out
}

pub(crate) fn offsets(log: &PartitionLog) -> Vec<i64> {
    records(&read_all(log)).into_iter().map(|(offset, _, _)| offset).collect()
}

/// A log of six one-record batches in small segments, closed.
pub(crate) fn closed_log(disk: &Disk, batches: u64) -> LogConfig {
    let config = small();
    let mut log = disk.open(config.clone());
    for number in 0..batches {
        append(&mut log, numbered(number)).unwrap();
    }
    sync(&mut log);
    log.close(NOW).unwrap();
    config
}

/// A small generator whose whole state is its seed, so that a failure names all it takes to come again.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x9e37_79b9_7f4a_7c15)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}
