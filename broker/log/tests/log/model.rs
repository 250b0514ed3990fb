//! Seeded random operations against a plain list of batches: whatever was done, in whatever order, the log answers as
//! the list does.

use moldau_log::{AppendOrigin, LogConfig, PartitionLog};
use moldau_model::{LeaderEpoch, Offset, TimestampMs};
use moldau_record::{BatchBuilder, BatchView, Batches, Compression, DecompressLimit};

use crate::support::*;

#[derive(Clone, Debug)]
struct Batch {
    base: i64,
    next: i64,
    epoch: i32,
    times: Vec<i64>,
    bytes: Vec<u8>,
}

#[derive(Debug, Default)]
struct Model {
    batches: Vec<Batch>,
    start: i64,
    end: i64,
}

struct Run {
    seed: u64,
    random: Random,
    disk: Disk,
    config: LogConfig,
    log: PartitionLog,
    model: Model,
    epoch: i32,
    clock: i64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let config = LogConfig {
            segment_bytes: 900 + random.below(3000) as u32,
            index_interval_bytes: 1 + random.below(500) as u32,
            segment_index_bytes: 40 + random.below(2000) as u32,
            ..LogConfig::default()
        };
        let disk = Disk::new();
        let log = disk.open(config.clone());
        Self { seed, random, disk, config, log, model: Model::default(), epoch: 0, clock: 0 }
    }

    fn build(&mut self) -> (BatchBuilder, Vec<i64>) {
        let codecs = [Compression::None, Compression::Lz4, Compression::Gzip, Compression::Zstd];
        let mut builder = BatchBuilder::new().compression(codecs[self.random.below(4) as usize]);
        let mut times = Vec::new();
        self.clock += self.random.below(20) as i64;
        for _ in 0..=self.random.below(4) {
            let time = self.clock + self.random.below(50) as i64 - 25;
            let value = vec![self.random.below(256) as u8; self.random.below(150) as usize];
            builder.append(TimestampMs(NOW.0 + time), Some(b"key"), Some(&value), &[]).unwrap();
            times.push(time);
        }
        (builder, times)
    }

    fn append(&mut self) {
        let (builder, times) = self.build();
        let count = times.len() as i64;
        let follower = self.random.below(4) == 0;
        // A follower may find that offsets are missing: its leader's log was compacted.
        let gap = if follower && self.random.below(5) == 0 { self.random.below(9) as i64 } else { 0 };
        let base = self.model.end + gap;
        let bytes = if follower {
            let builder = builder.base_offset(Offset(base)).leader_epoch(LeaderEpoch(self.epoch));
            let bytes = builder.build().unwrap();
            self.log.append_as_follower(&bytes, NOW).unwrap();
            bytes
        } else {
            let mut bytes = builder.build().unwrap();
            let info = self
                .log
                .append_as_leader(&mut bytes, LeaderEpoch(self.epoch), AppendOrigin::Client, NOW)
                .unwrap();
            assert_eq!((info.first_offset.0, info.last_offset.0), (base, base + count - 1));
            bytes
        };
        self.model.end = base + count;
        self.model.batches.push(Batch { base, next: base + count, epoch: self.epoch, times, bytes });
    }

    fn truncate(&mut self) {
        let reach = (self.model.end - self.model.start).min(30) as u64;
        let to = self.model.end - self.random.below(reach + 1) as i64;
        self.log.truncate_to(Offset(to), NOW).unwrap();
        if to < self.model.end {
            // The batch that holds the offset goes whole; in a gap the log ends at the offset.
            let cut = self.model.batches.iter().find(|batch| batch.next > to);
            self.model.end = cut.map_or(to, |cut| cut.base.min(to));
            self.model.start = self.model.start.min(self.model.end);
            self.model.batches.retain(|batch| batch.next <= to);
        }
        self.epoch += 1;
    }

    fn reopen(&mut self) {
        let clean = self.random.below(2) == 0;
        if clean {
            self.log.close(NOW).unwrap();
        }
        let recovery_point = Offset(self.random.below(self.log.durable_end_offset().0 as u64 + 1) as i64);
        let mode = moldau_log::OpenMode {
            clean_shutdown: clean,
            recovery_point,
            log_start_offset: Offset(self.model.start),
        };
        let (log, report) = self.disk.reopen(self.config.clone(), mode);
        self.log = log;
        // A log that was cut inside a gap ended behind its last batch; nothing on disk says so but a new segment.
        let last = self.model.batches.last().map_or(self.model.start, |batch| batch.next);
        let end = self.log.log_end_offset().0;
        assert!((last.max(self.model.start)..=self.model.end).contains(&end), "seed {}", self.seed);
        self.model.end = end;
        if last >= self.model.start && !self.model.batches.is_empty() {
            assert_eq!((report.bytes_truncated, report.segments_removed), (0, 0), "seed {}", self.seed);
            assert_eq!(report.notes, Vec::<String>::new(), "seed {}", self.seed);
        }
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..=11 => self.append(),
            12 => self.truncate(),
            13 => {
                let span = (self.model.end - self.model.start) as u64 + 1;
                let to = self.model.start + self.random.below(span.min(20)) as i64;
                self.log.delete_records_to(Offset(to), Offset(self.model.end)).unwrap();
                self.model.start = to;
                self.log.delete_old_segments(NOW, Offset(self.model.end)).unwrap();
                self.log.purge_deleted(TimestampMs(i64::MAX));
            }
            14 => self.log.roll(NOW).unwrap(),
            15 => {
                if let Some(ticket) = self.log.begin_sync() {
                    ticket.run().unwrap();
                    assert_eq!(self.log.complete_sync(ticket).0, self.model.end);
                }
            }
            16 => self.reopen(),
            _ => self.check(),
        }
    }

    fn check(&mut self) {
        let seed = self.seed;
        let Model { start, end, .. } = self.model;
        assert_eq!((self.log.log_start_offset().0, self.log.log_end_offset().0), (start, end), "seed {seed}");
        let visible: Vec<&Batch> = self.model.batches.iter().filter(|batch| batch.next > start).collect();
        let whole: Vec<u8> = visible.iter().flat_map(|batch| batch.bytes.clone()).collect();
        assert!(read_all(&self.log) == whole, "seed {seed}");
        for batch in &visible {
            let epoch = self.log.epoch_for_offset(Offset(batch.base.max(start)));
            assert_eq!(epoch, Some(LeaderEpoch(batch.epoch)), "seed {seed}");
        }
        self.check_read();
        self.check_times();
    }

    fn check_read(&mut self) {
        let Model { start, end, .. } = self.model;
        let span = (end - start) as u64 + 1;
        let from = start + self.random.below(span) as i64;
        let upper = start + self.random.below(span) as i64;
        let max_bytes = self.random.below(1500) as usize;
        let at_least_one = self.random.below(2) == 0;
        let slice = self.log.read(Offset(from), max_bytes, Offset(upper), at_least_one).unwrap().slice;
        let bytes = slice.map(|slice| slice.read_all().unwrap()).unwrap_or_default();
        let what = format!("seed {}: {max_bytes} from {from} below {upper}", self.seed);
        let may: Vec<&Batch> =
            self.model.batches.iter().filter(|b| b.next > from && b.next <= upper).collect();
        let expected: Vec<u8> = may.iter().flat_map(|batch| batch.bytes.clone()).collect();
        assert!(expected.starts_with(&bytes), "{what}");
        let first = may.first().map_or(0, |batch| batch.bytes.len());
        assert!(
            bytes.len() <= max_bytes || (at_least_one && bytes.len() == first),
            "{what}: {}",
            bytes.len()
        );
        if from < upper && (at_least_one || max_bytes >= first) {
            assert!(bytes.len() >= first, "{what}: no progress");
        }
        assert!(self.log.read(Offset(start - 1), 10, Offset(end), true).is_err());
        assert!(self.log.read(Offset(end + 1), 10, Offset(end), true).is_err());
    }

    fn check_times(&mut self) {
        let Model { start, end, .. } = self.model;
        let upper = if self.random.below(2) == 0 {
            end
        } else {
            let ends: Vec<i64> = self.model.batches.iter().map(|batch| batch.next).collect();
            ends.get(self.random.below(ends.len() as u64) as usize).copied().unwrap_or(end)
        };
        let asked = self.random.below(self.clock as u64 + 60) as i64 - 30;
        let records = self.model.batches.iter().flat_map(|batch| {
            batch.times.iter().enumerate().map(|(number, time)| (batch.base + number as i64, *time))
        });
        let visible: Vec<(i64, i64)> = records.filter(|(at, _)| *at >= start && *at < upper).collect();
        let plain = |found: moldau_log::TimestampOffset| (found.offset.0, found.timestamp.0 - NOW.0);
        let found =
            self.log.offset_for_timestamp(TimestampMs(NOW.0 + asked), Offset(upper)).unwrap().map(plain);
        let expected = visible.iter().find(|(_, time)| *time >= asked).copied();
        assert_eq!(found, expected, "seed {}: time {asked} below {upper}", self.seed);
        let found = self.log.max_timestamp_offset(Offset(upper)).unwrap().map(plain);
        let expected = visible.iter().copied().reduce(|best, next| if next.1 > best.1 { next } else { best });
        assert_eq!(found.map(|found| found.1), expected.map(|expected| expected.1), "seed {}", self.seed);
        if let Some(found) = found {
            assert!(visible.contains(&found), "seed {}", self.seed);
        }
    }
}

#[test]
fn the_log_answers_as_a_list_of_batches_does() {
    let seeds = std::env::var("MOLDAU_LOG_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(4);
    for seed in 0..seeds * 15 {
        let mut run = Run::new(seed);
        for _ in 0..150 {
            run.step();
        }
        run.check();
    }
}

#[test]
fn the_same_records_come_back_from_every_codec() {
    let mut run = Run::new(1);
    for _ in 0..60 {
        run.append();
    }
    let bytes = read_all(&run.log);
    let mut times = Vec::new();
    for batch in Batches::new(&bytes) {
        let batch: BatchView<'_> = batch.unwrap();
        for record in &batch.records(DecompressLimit(1 << 20)).unwrap() {
            times.push(record.unwrap().timestamp.0 - NOW.0);
        }
    }
    let expected: Vec<i64> = run.model.batches.iter().flat_map(|batch| batch.times.clone()).collect();
    assert_eq!(times, expected);
}
