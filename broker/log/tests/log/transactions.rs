//! Transactions in a partition (KIP-98): a reader of committed records sees those of committed transactions and of none,
//! and no others, whatever became of the log meanwhile; and none is begun of which the coordinator does not know (KIP-890).

use std::collections::{BTreeMap, BTreeSet};

use moldau_log::{
    AbortedTransaction, AppendOrigin, AppendTerms, FileSystem, LogConfig, OpenMode, PartitionLog,
};
use moldau_model::{
    ErrorCode, LeaderEpoch, Offset, ProducerEpoch, ProducerId, TimestampMs, VerificationGuard,
};
use moldau_record::{BatchView, Batches, ControlRecord};

use crate::support::*;

const COMMIT: ControlRecord = ControlRecord::Commit { coordinator_epoch: 1 };
const ABORT: ControlRecord = ControlRecord::Abort { coordinator_epoch: 1 };

fn end(log: &mut PartitionLog, producer: i64, record: ControlRecord) -> i64 {
    let epoch = log.latest_epoch().unwrap_or(EPOCH);
    let mut bytes = marker(producer, 0, record);
    log.append_as_leader(&mut bytes, epoch, AppendOrigin::Coordinator, NOW).unwrap().first_offset.0
}

fn aborted(producer: i64, first: i64, last: i64, stable: i64) -> AbortedTransaction {
    AbortedTransaction {
        producer_id: ProducerId(producer),
        first_offset: Offset(first),
        last_offset: Offset(last),
        last_stable_offset: Offset(stable),
    }
}

fn all_aborted(log: &PartitionLog) -> Vec<AbortedTransaction> {
    log.aborted_transactions(log.log_start_offset(), log.log_end_offset()).unwrap()
}

#[test]
fn an_aborted_transaction_is_told_to_who_reads_its_records() {
    let mut log = Disk::new().open(LogConfig::default());
    append(&mut log, transactional(1, 0, 2)).unwrap(); // 0-1
    append(&mut log, batch(1)).unwrap(); // 2
    append(&mut log, transactional(2, 0, 1)).unwrap(); // 3
    assert_eq!(end(&mut log, 1, ABORT), 4);
    append(&mut log, transactional(1, 2, 1)).unwrap(); // 5
    assert_eq!(end(&mut log, 2, ABORT), 6);
    assert_eq!(end(&mut log, 1, COMMIT), 7);
    append(&mut log, transactional(1, 3, 1)).unwrap(); // 8
    assert_eq!(end(&mut log, 1, ABORT), 9);
    let (first, second, third) = (aborted(1, 0, 4, 3), aborted(2, 3, 6, 5), aborted(1, 8, 9, 10));
    for (from, upper, expected) in [
        (0, 10, vec![first, second, third]),
        (0, 3, vec![first]),
        (2, 3, vec![first]),
        (4, 5, vec![first, second]),
        (5, 8, vec![second]),
        (7, 8, vec![]),
        (7, 9, vec![third]),
        (0, 0, vec![]),
        (9, 10, vec![third]),
    ] {
        let found = log.aborted_transactions(Offset(from), Offset(upper)).unwrap();
        assert_eq!(found, expected, "from {from} below {upper}");
    }
}

#[test]
fn a_read_brings_the_transactions_of_what_it_read_and_no_later_ones() {
    let config = LogConfig { index_interval_bytes: 1, ..LogConfig::default() };
    let mut log = Disk::new().open(config);
    for round in 0..50 {
        append(&mut log, transactional(1, round, 1)).unwrap();
        end(&mut log, 1, ABORT);
    }
    let one = log.read(Offset(0), 1, Offset(100), true).unwrap().size_bytes();
    let (read, told) = log.read_committed(Offset(0), one, Offset(100), true).unwrap();
    assert_eq!((read.size_bytes(), told.as_slice()), (one, [aborted(1, 0, 1, 2)].as_slice()));
    let (_, told) = log.read_committed(Offset(90), 1 << 20, Offset(94), true).unwrap();
    assert_eq!(told, [aborted(1, 90, 91, 92), aborted(1, 92, 93, 94)]);
    let (read, told) = log.read_committed(Offset(94), 1 << 20, Offset(94), true).unwrap();
    assert_eq!((read.size_bytes(), told), (0, vec![]));
}

#[test]
fn the_index_is_kafkas_to_the_byte_and_only_there_where_something_was_aborted() {
    let disk = Disk::new();
    let mut log = disk.open(LogConfig::default());
    append(&mut log, transactional(7, 0, 2)).unwrap();
    end(&mut log, 7, COMMIT);
    log.roll(NOW).unwrap();
    append(&mut log, transactional(7, 2, 1)).unwrap();
    append(&mut log, transactional(8, 0, 1)).unwrap();
    log.roll(NOW).unwrap();
    end(&mut log, 8, ABORT);
    log.close(NOW).unwrap();
    let indexes: Vec<String> = disk.names().into_iter().filter(|name| name.ends_with("txnindex")).collect();
    assert_eq!(indexes, ["00000000000000000005.txnindex"], "it stands by the marker");
    let mut expected = vec![0, 0];
    for field in [8i64, 4, 5, 3] {
        expected.extend_from_slice(&field.to_be_bytes());
    }
    assert_eq!(disk.bytes(&indexes[0]), expected);
}

#[test]
fn the_index_goes_with_its_segment() {
    let disk = Disk::new();
    let mut log = disk.open(LogConfig { retention_bytes: 1, ..LogConfig::default() });
    append(&mut log, transactional(1, 0, 1)).unwrap();
    end(&mut log, 1, ABORT);
    log.roll(NOW).unwrap();
    assert!(disk.names().contains(&"00000000000000000000.txnindex".to_owned()));
    append(&mut log, batch(1)).unwrap();
    log.delete_old_segments(NOW, log.log_end_offset()).unwrap();
    assert!(disk.names().contains(&"00000000000000000000.txnindex.deleted".to_owned()));
    log.purge_deleted(TimestampMs(i64::MAX));
    assert!(!disk.names().iter().any(|name| name.contains("txnindex")), "{:?}", disk.names());
    assert_eq!(all_aborted(&log), []);
}

#[test]
fn an_index_that_was_torn_is_made_anew() {
    for torn in [vec![], vec![0; 34], vec![0; 68], vec![1; 34], vec![0, 0, 1]] {
        let disk = Disk::new();
        let mut log = disk.open(LogConfig::default());
        append(&mut log, idempotent(5, 0, 0, 1)).unwrap();
        append(&mut log, transactional(1, 0, 1)).unwrap();
        log.roll(NOW).unwrap();
        for producer in 2..4 {
            append(&mut log, transactional(producer, 0, 1)).unwrap();
            end(&mut log, producer, ABORT);
        }
        end(&mut log, 1, ABORT);
        log.roll(NOW).unwrap();
        append(&mut log, transactional(2, 1, 1)).unwrap();
        end(&mut log, 2, ABORT);
        let expected = all_aborted(&log);
        assert_eq!(expected.len(), 4);
        let producers = log.active_producers();
        sync(&mut log);
        log.close(NOW).unwrap();
        disk.fs.sync_volume(&directory()).unwrap();
        let name = "00000000000000000002.txnindex";
        let whole = disk.bytes(name);
        if torn.is_empty() {
            disk.set_bytes(name, [&whole[..], &[0; 34]].concat());
        } else {
            disk.set_bytes(name, torn.clone());
        }
        let (mut log, report) = disk.reopen(LogConfig::default(), CLEAN);
        assert_eq!(report.indexes_rebuilt, 1, "{torn:?}");
        assert_eq!(all_aborted(&log), expected, "{torn:?}");
        assert_eq!(log.active_producers(), producers);
        assert_eq!(disk.bytes(name), whole, "{torn:?}");
        disk.fs.power_cut(1);
        log = disk.open(LogConfig::default());
        assert_eq!(all_aborted(&log), expected, "{torn:?}, after a loss of power");
    }
}

#[test]
fn a_marker_of_an_older_coordinator_or_producer_is_refused() {
    const LAST: i16 = i16::MAX;
    // The transaction is producer 1's, and coordinator epoch 5 has written a marker before.
    for (what, epoch_of_records, epoch, coordinator_epoch, transaction_version, expected) in [
        ("the same", 3, 3, 5, 0, Ok(())),
        ("a newer producer epoch", 3, 4, 5, 0, Ok(())),
        ("a newer coordinator", 3, 3, 6, 1, Ok(())),
        ("an older producer epoch", 3, 2, 5, 0, Err(ErrorCode::InvalidProducerEpoch)),
        ("an older coordinator", 3, 3, 4, 0, Err(ErrorCode::TransactionCoordinatorFenced)),
        ("version 2 with an epoch of its own", 3, 4, 5, 2, Ok(())),
        ("version 2 with the records' epoch", 3, 3, 5, 2, Err(ErrorCode::InvalidProducerEpoch)),
        ("version 2 with the records' epoch, the last one", LAST, LAST, 5, 2, Ok(())),
        ("version 2 of an older coordinator", 3, 4, 4, 2, Err(ErrorCode::TransactionCoordinatorFenced)),
    ] {
        let mut log = Disk::new().open(LogConfig::default());
        let commit = |coordinator_epoch| ControlRecord::Commit { coordinator_epoch };
        let mut first = marker(1, epoch_of_records, commit(5));
        log.append_as_leader(&mut first, EPOCH, AppendOrigin::Coordinator, NOW).unwrap();
        append(&mut log, transactional_in(1, epoch_of_records, 0, 1)).unwrap();
        let terms = AppendTerms { transaction_version, ..AppendOrigin::Coordinator.into() };
        let mut bytes = marker(1, epoch, commit(coordinator_epoch));
        let result = log.append_as_leader(&mut bytes, EPOCH, terms, NOW).map(drop);
        assert_eq!(result.as_ref().map_err(|error| error.error_code()).copied(), expected, "{what}");
        let open = log.last_stable_offset(log.log_end_offset()) < log.log_end_offset();
        assert_eq!(open, result.is_err(), "{what}");
    }
}

#[test]
fn a_marker_that_comes_again_does_not_end_the_next_transaction() {
    let mut log = Disk::new().open(LogConfig::default());
    let terms = AppendTerms { transaction_version: 2, ..AppendOrigin::Coordinator.into() };
    let mut commit = marker(1, 4, ControlRecord::Commit { coordinator_epoch: 5 });
    append(&mut log, transactional_in(1, 3, 0, 1)).unwrap();
    log.append_as_leader(&mut commit, EPOCH, terms, NOW).unwrap();
    // The answer was lost, and no transaction is open.
    log.append_as_leader(&mut commit, EPOCH, terms, NOW).unwrap();
    // The next one has the marker's epoch.
    append(&mut log, transactional_in(1, 4, 0, 1)).unwrap();
    let late = log.append_as_leader(&mut commit, EPOCH, terms, NOW).unwrap_err();
    assert_eq!(late.error_code(), ErrorCode::InvalidProducerEpoch);
    assert!(log.last_stable_offset(log.log_end_offset()) < log.log_end_offset(), "it is still open");
}

/// Appends as a broker does that asks the coordinator.
fn send(
    log: &mut PartitionLog,
    mut bytes: Vec<u8>,
    guard: Option<VerificationGuard>,
) -> Result<(), ErrorCode> {
    let terms = AppendTerms { needs_verification: true, verification: guard, ..AppendOrigin::Client.into() };
    let appended = log.append_as_leader(&mut bytes, EPOCH, terms, NOW);
    appended.map(drop).map_err(|error| error.error_code())
}

fn verify(log: &mut PartitionLog, epoch: i16, sequence: i32, bumps_epoch: bool) -> Option<VerificationGuard> {
    log.begin_verification(ProducerId(1), ProducerEpoch(epoch), sequence, bumps_epoch, NOW)
}

#[test]
fn a_transaction_begins_only_after_the_coordinator_was_asked() {
    let mut log = Disk::new().open(LogConfig::default());
    let refused = Err(ErrorCode::InvalidTxnState);
    assert_eq!(send(&mut log, transactional(1, 0, 1), None), refused);
    let guard = verify(&mut log, 0, 0, false);
    assert!(guard.is_some());
    assert_eq!(verify(&mut log, 0, 0, false), guard, "it is asked for once");
    assert_eq!(send(&mut log, transactional(1, 0, 1), guard), Ok(()));
    assert_eq!(verify(&mut log, 0, 1, false), None, "the transaction is open");
    assert_eq!(send(&mut log, transactional(1, 1, 1), None), Ok(()));
    end(&mut log, 1, ABORT);
    // The batch that came late: the answer of then does not count any more.
    assert_eq!(send(&mut log, transactional(1, 2, 1), guard), refused);
    assert_eq!(send(&mut log, transactional(1, 2, 1), None), refused);
    assert_eq!(log.last_stable_offset(log.log_end_offset()), log.log_end_offset());
    // One was asked for, and then the transaction was ended for it.
    let guard = verify(&mut log, 0, 2, false);
    end(&mut log, 1, ABORT);
    assert_eq!(send(&mut log, transactional(1, 2, 1), guard), refused);
    // Records outside of transactions need no such thing.
    assert_eq!(send(&mut log, idempotent(9, 0, 0, 1), None), Ok(()));
    assert_eq!(send(&mut log, batch(1), None), Ok(()));
}

#[test]
fn the_first_batch_of_a_transaction_is_the_first_that_was_asked_for() {
    let gap = Err(ErrorCode::OutOfOrderSequenceNumber);
    let mut log = Disk::new().open(LogConfig::default());
    let guard = verify(&mut log, 0, 5, false);
    verify(&mut log, 0, 3, false);
    assert_eq!(send(&mut log, transactional(1, 5, 1), guard), gap, "an earlier one was held back");
    assert_eq!(send(&mut log, transactional(1, 3, 2), guard), Ok(()));
    assert_eq!(send(&mut log, transactional(1, 5, 1), None), Ok(()));

    let mut log = Disk::new().open(LogConfig::default());
    verify(&mut log, 0, 3, false);
    let guard = verify(&mut log, 1, 4, false);
    assert_eq!(send(&mut log, transactional_in(1, 1, 4, 1), guard), Ok(()), "a new epoch counts anew");

    let mut log = Disk::new().open(LogConfig::default());
    let guard = verify(&mut log, 0, 4, true);
    assert_eq!(send(&mut log, transactional(1, 4, 1), guard), gap, "version 2 begins at zero");
    verify(&mut log, 0, 0, true);
    assert_eq!(send(&mut log, transactional(1, 0, 1), guard), Ok(()));
}

#[test]
fn questions_that_nobody_answers_are_forgotten_and_their_number_is_capped() {
    let config = LogConfig { producer_id_expiration_ms: 1000, producer_ids_max: 100, ..LogConfig::default() };
    let mut log = Disk::new().open(config);
    let guard = verify(&mut log, 0, 0, false);
    log.remove_expired_producers(TimestampMs(NOW.0 + 1000));
    assert_ne!(verify(&mut log, 0, 0, false), guard);
    let first = verify(&mut log, 0, 0, false);
    for producer in 2..200 {
        let now = TimestampMs(NOW.0 + producer);
        log.begin_verification(ProducerId(producer), ProducerEpoch(0), 0, false, now);
    }
    assert_eq!(send(&mut log, transactional(1, 0, 1), first), Err(ErrorCode::InvalidTxnState));
}

/// What a consumer of committed records makes of an answer, as Kafka's does.
fn committed(bytes: &[u8], told: &[AbortedTransaction], from: i64) -> Vec<i64> {
    let mut told: Vec<_> = told.iter().map(|one| (one.first_offset, one.producer_id)).collect();
    told.sort_unstable();
    let mut told = told.into_iter().peekable();
    let mut passed_over = BTreeSet::new();
    let mut seen = Vec::new();
    for batch in Batches::new(bytes) {
        let Ok(batch) = batch else { break };
        while let Some((_, producer)) = told.next_if(|(first, _)| *first <= batch.last_offset()) {
            passed_over.insert(producer);
        }
        if batch.is_control() {
            if control(&batch) == ABORT {
                passed_over.remove(&batch.producer_id());
            }
        } else if !(batch.is_transactional() && passed_over.contains(&batch.producer_id())) {
            seen.extend((batch.base_offset().0..=batch.last_offset().0).filter(|offset| *offset >= from));
        }
    }
    seen
}

/// A list of batches, and how their transactions ended.
#[derive(Default)]
struct Model {
    /// Base, next, and the transactional producer.
    batches: Vec<(i64, i64, Option<i64>)>,
    /// Producer, offset, and whether it was aborted.
    markers: Vec<(i64, i64, bool)>,
    start: i64,
    end: i64,
}

impl Model {
    fn ended(&self, producer: i64, from: i64) -> Option<bool> {
        let mut markers = self.markers.iter();
        markers.find(|(of, at, _)| *of == producer && *at >= from).map(|(_, _, is_aborted)| *is_aborted)
    }

    /// Where the oldest transaction begins that is open and has records at or behind `from`.
    fn open_from(&self, from: i64) -> i64 {
        let open = |(base, next, of): &(i64, i64, Option<i64>)| {
            (*next > from && of.is_some_and(|of| self.ended(of, *base).is_none())).then_some(*base)
        };
        self.batches.iter().find_map(open).unwrap_or(self.end).max(self.start)
    }

    fn visible(&self, from: i64, upper: i64) -> Vec<i64> {
        let seen = self.batches.iter().filter(|(base, next, of)| {
            *next <= upper && of.is_none_or(|of| self.ended(of, *base) == Some(false)) && *next > from
        });
        seen.flat_map(|(base, next, _)| *base..*next).filter(|offset| *offset >= from).collect()
    }

    fn truncate(&mut self, to: i64) {
        let cut = self.batches.iter().find(|(_, next, _)| *next > to).map_or(to, |(base, _, _)| *base);
        self.end = cut.min(to);
        self.batches.retain(|(_, next, _)| *next <= self.end);
        self.markers.retain(|(_, at, _)| *at < self.end);
        self.start = self.start.min(self.end);
    }
}

struct Run {
    random: Random,
    disk: Disk,
    log: PartitionLog,
    model: Model,
    epoch: i32,
    config: LogConfig,
    what: String,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let config = LogConfig {
            segment_bytes: 500 + random.below(1500) as u32,
            index_interval_bytes: 1 + random.below(300) as u32,
            ..LogConfig::default()
        };
        let disk = Disk::new();
        let log = disk.open(config.clone());
        let what = format!("seed {seed}");
        Self { random, disk, log, model: Model::default(), epoch: 0, config, what }
    }

    /// One replica leads or follows; the bytes in the log are the same.
    fn append(&mut self, mut bytes: Vec<u8>) -> (i64, i64) {
        let base = self.model.end;
        let epoch = LeaderEpoch(self.epoch);
        if self.random.below(3) == 0 {
            moldau_record::set_base_offset(&mut bytes, Offset(base));
            moldau_record::set_leader_epoch(&mut bytes, epoch);
            self.log.append_as_follower(&bytes, NOW).unwrap();
        } else {
            self.log.append_as_leader(&mut bytes, epoch, AppendOrigin::Coordinator, NOW).unwrap();
        }
        self.model.end = self.log.log_end_offset().0;
        (base, self.model.end)
    }

    fn step(&mut self) {
        let producer = 1 + self.random.below(4) as i64;
        match self.random.below(24) {
            0..=7 => {
                let (base, next) =
                    self.append(transactional(producer, 0, 1 + self.random.clone().below(3) as usize));
                self.model.batches.push((base, next, Some(producer)));
            }
            8 | 9 => {
                let (base, next) = self.append(batch(1));
                self.model.batches.push((base, next, None));
            }
            10..=13 => {
                let is_aborted = self.random.below(2) == 0;
                let (at, _) = self.append(marker(producer, 0, if is_aborted { ABORT } else { COMMIT }));
                self.model.markers.push((producer, at, is_aborted));
            }
            14 => {
                let reach = (self.model.end - self.model.start).min(25) as u64;
                let to = self.model.end - self.random.below(reach + 1) as i64;
                self.log.truncate_to(Offset(to), NOW).unwrap();
                self.model.truncate(to);
                self.epoch += 1;
            }
            15 => self.log.roll(NOW).unwrap(),
            16 if self.random.below(3) == 0 => {
                let span = (self.model.end - self.model.start) as u64 + 1;
                self.model.start += self.random.below(span.min(15)) as i64;
                self.log.delete_records_to(Offset(self.model.start), Offset(self.model.end)).unwrap();
                self.log.delete_old_segments(NOW, Offset(self.model.end)).unwrap();
            }
            17 => self.reopen(),
            _ => self.check(),
        }
    }

    fn reopen(&mut self) {
        let clean_shutdown = self.random.below(2) == 0;
        if clean_shutdown {
            self.log.close(NOW).unwrap();
        }
        if self.random.below(3) == 0 {
            for name in self.disk.names().iter().filter(|name| name.ends_with(".snapshot")) {
                if self.random.below(2) == 0 {
                    self.disk.remove(name);
                }
            }
        }
        let recovery_point = Offset(self.random.below(self.log.durable_end_offset().0 as u64 + 1) as i64);
        let mode = OpenMode { clean_shutdown, recovery_point, log_start_offset: Offset(self.model.start) };
        self.log = self.disk.reopen(self.config.clone(), mode).0;
        assert_eq!(self.log.log_end_offset().0, self.model.end, "{}", self.what);
    }

    fn check(&mut self) {
        let (start, end) = (self.model.start, self.model.end);
        let stable = self.log.last_stable_offset(Offset(end)).0;
        // Of a transaction with records below the log's start alone a log knows that has seen them.
        let expected = [self.model.open_from(start), self.model.open_from(0)];
        assert!(expected.contains(&stable), "{}: {stable}, not one of {expected:?}", self.what);
        let from = start + self.random.below((stable - start) as u64 + 1) as i64;
        let max_bytes = self.random.below(700) as usize;
        let (read, told) = self.log.read_committed(Offset(from), max_bytes, Offset(stable), true).unwrap();
        let bytes = read.slice.map(|slice| slice.read_all().unwrap()).unwrap_or_default();
        let upper = Batches::new(&bytes)
            .map_while(Result::ok)
            .last()
            .map_or(from, |batch: BatchView<'_>| batch.next_offset().0);
        let what = format!("{}: {max_bytes} bytes from {from} to {upper} of {stable}", self.what);
        assert_eq!(committed(&bytes, &told, from), self.model.visible(from, upper), "{what}");
        let mut by_end: BTreeMap<Offset, AbortedTransaction> = BTreeMap::new();
        for transaction in told {
            assert!(transaction.last_offset >= Offset(from), "{what}: {transaction:?}");
            assert!(by_end.insert(transaction.last_offset, transaction).is_none(), "{what}");
        }
    }
}

#[test]
fn readers_of_committed_records_see_just_those() {
    let seeds = std::env::var("MOLDAU_LOG_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(4);
    for seed in 0..seeds * 20 {
        let mut run = Run::new(seed);
        for _ in 0..200 {
            run.step();
        }
        run.check();
    }
}
