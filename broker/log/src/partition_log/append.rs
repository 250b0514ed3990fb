//! Appending: check everything, patch, write once, then change the state. A failure in between leaves the log as it was.

use std::io;
use std::sync::Arc;

use moldau_model::{LeaderEpoch, Offset, TimestampMs};
use moldau_record::{
    BatchError, BatchView, Batches, DecompressLimit, MAGIC_V2, TimestampType, set_base_offset,
    set_leader_epoch, set_log_append_time,
};

use super::open::control_record;
use super::{AppendInfo, AppendOrigin, AppendTerms, PartitionLog};
use crate::batch_header::BatchHeader;
use crate::producer_state::{Checked, Source, StoredBatch};
use crate::{AppendError, RecordError};

/// What one checked run of batches amounts to.
struct Checks {
    duplicate: Option<StoredBatch>,
    next_offset: Offset,
}

impl PartitionLog {
    /// Appends a leader's batches. They are checked first, all of them; then base offsets, the leader epoch and, where
    /// the topic wants it, the broker's time are patched into `batches` and everything is written at once.
    ///
    /// On an error the log is as it was. If even that could not be brought about, the log refuses everything from then
    /// on with [`AppendError::Offline`].
    pub fn append_as_leader(
        &mut self,
        batches: &mut [u8],
        leader_epoch: LeaderEpoch,
        terms: impl Into<AppendTerms>,
        now: TimestampMs,
    ) -> Result<AppendInfo, AppendError> {
        self.check_writable()?;
        if let Some(latest) = self.epochs.latest().filter(|latest| *latest > leader_epoch) {
            return Err(AppendError::FencedLeaderEpoch { received: leader_epoch, latest });
        }
        if batches.len() > self.config.segment_bytes as usize {
            // A batch that is too large on its own has the better known error.
            self.check_size(batches.len())?;
            return Err(AppendError::RecordListTooLarge {
                size_bytes: batches.len(),
                max_bytes: self.config.segment_bytes,
            });
        }
        let checks = self.check_leader_batches(batches, leader_epoch, terms.into(), now)?;
        if let Some(duplicate) = checks.duplicate {
            return Ok(AppendInfo {
                first_offset: duplicate.first_offset(),
                last_offset: duplicate.last_offset,
                log_append_time: duplicate.timestamp,
                log_start_offset: self.log_start_offset,
                duplicate: true,
            });
        }
        let first_offset = self.log_end_offset;
        let log_append_time = self.patch(batches, leader_epoch, now);
        self.write_run(batches, now)?;
        assert_eq!(self.log_end_offset, checks.next_offset, "offsets were not given out in order");
        Ok(AppendInfo {
            first_offset,
            last_offset: self.log_end_offset.plus(-1),
            log_append_time,
            log_start_offset: self.log_start_offset,
            duplicate: false,
        })
    }

    /// Appends what a follower fetched, byte for byte: offsets and epochs are the leader's. A cut batch at the end is
    /// left out. Returns the new log end offset. On an error the batches before the bad one may have been appended.
    pub fn append_as_follower(&mut self, batches: &[u8], now: TimestampMs) -> Result<Offset, AppendError> {
        self.check_writable()?;
        let mut rest = batches;
        while !rest.is_empty() {
            let (run, bad) = self.collect_follower_run(rest, now)?;
            let (written, after) = rest.split_at(run);
            if run > 0 {
                self.write_run(written, now)?;
            }
            match bad {
                Some(error) => return Err(error),
                None if run == 0 => break,
                None => rest = after,
            }
        }
        Ok(self.log_end_offset)
    }

    fn check_writable(&self) -> Result<(), AppendError> {
        match &self.offline {
            Some(reason) => Err(AppendError::Offline { reason: Arc::clone(reason) }),
            None => Ok(()),
        }
    }

    fn check_size(&self, size_bytes: usize) -> Result<(), AppendError> {
        let max_bytes = self.config.max_message_bytes;
        if size_bytes > max_bytes as usize {
            return Err(AppendError::MessageTooLarge { size_bytes, max_bytes });
        }
        Ok(())
    }

    /// Checks all batches and leaves their headers, with the offsets they will get, in the scratch.
    fn check_leader_batches(
        &mut self,
        batches: &[u8],
        leader_epoch: LeaderEpoch,
        terms: AppendTerms,
        now: TimestampMs,
    ) -> Result<Checks, AppendError> {
        let mut headers = std::mem::take(&mut self.scratch_headers);
        let mut producers = std::mem::take(&mut self.scratch_producers);
        headers.clear();
        producers.clear();
        let mut next_offset = self.log_end_offset;
        let mut duplicate = None;
        let result: Result<(), AppendError> = Batches::new(batches).try_for_each(|batch| {
            let batch = batch.map_err(refuse_magic)?;
            self.check_batch(&batch, terms.origin, headers.len(), now)?;
            let mut header = BatchHeader::of(&batch);
            header.base_offset = next_offset;
            header.leader_epoch = leader_epoch;
            if self.config.message_timestamp_type == TimestampType::LogAppendTime {
                header.max_timestamp = now;
            }
            let control = header.is_control().then(|| control_record(&batch)).flatten();
            let checked = self.producers.check(&mut producers, &header, control, Source::Live(terms), now)?;
            if let Checked::Duplicate(stored) = checked {
                duplicate = Some(stored);
            }
            next_offset = header.next_offset();
            headers.push(header);
            Ok(())
        });
        let is_empty = headers.is_empty();
        self.scratch_headers = headers;
        self.scratch_producers = producers;
        result?;
        if is_empty {
            return Err(invalid("a request to append holds at least one batch".into()));
        }
        Ok(Checks { duplicate, next_offset })
    }

    fn check_batch(
        &self,
        batch: &BatchView<'_>,
        origin: AppendOrigin,
        number: usize,
        now: TimestampMs,
    ) -> Result<(), AppendError> {
        self.check_size(batch.size_bytes())?;
        batch.check_crc()?;
        if batch.compression().is_none() {
            return Err(AppendError::UnsupportedCompression { id: batch.attributes() & 0x07 });
        }
        let count = batch.record_count();
        if count <= 0
            || batch.last_offset_delta() < 0
            || batch.last_offset_delta().checked_add(1) != Some(count)
        {
            let last = batch.last_offset_delta();
            return Err(invalid(format!("batch of {count} records whose last offset delta is {last}")));
        }
        if origin == AppendOrigin::Client {
            if number > 0 {
                return Err(invalid("a produce request holds exactly one batch for each partition".into()));
            }
            if batch.base_offset() != Offset::ZERO {
                return Err(invalid(format!(
                    "a client's batch begins at offset {}, not 0",
                    batch.base_offset()
                )));
            }
            if batch.is_control() {
                return Err(invalid("a client may not write control records".into()));
            }
            if batch.has_producer_id() && (batch.base_sequence() < 0 || batch.producer_epoch().0 < 0) {
                return Err(invalid(format!(
                    "sequence {} and epoch {} with producer id {}",
                    batch.base_sequence(),
                    batch.producer_epoch(),
                    batch.producer_id()
                )));
            }
            self.check_timestamps(batch, now)?;
        }
        if self.config.cleanup_policy.compact && !batch.is_control() {
            self.check_keys(batch)?;
        }
        Ok(())
    }

    /// By the header, whose maximum is the records' own; where times have a lower bound, by every record.
    fn check_timestamps(&self, batch: &BatchView<'_>, now: TimestampMs) -> Result<(), AppendError> {
        if self.config.message_timestamp_type == TimestampType::LogAppendTime {
            return Ok(());
        }
        if batch.timestamp_type() == TimestampType::LogAppendTime {
            return Err(AppendError::TimestampTypeFromClient);
        }
        let earliest = TimestampMs(now.0.saturating_sub(self.config.message_timestamp_before_max_ms));
        let latest = TimestampMs(now.0.saturating_add(self.config.message_timestamp_after_max_ms));
        let is_out = |time: TimestampMs| time != TimestampMs::NONE && (time < earliest || time > latest);
        let is_header_out = is_out(batch.base_timestamp()) || is_out(batch.max_timestamp());
        if !is_header_out && self.config.message_timestamp_before_max_ms == i64::MAX {
            return Ok(());
        }
        let record_errors = self.records_out_of_range(batch, earliest, latest);
        if is_header_out || !record_errors.is_empty() {
            return Err(AppendError::InvalidTimestamp { record_errors });
        }
        Ok(())
    }

    /// The records at fault, if the records can be read. The texts are Kafka's.
    fn records_out_of_range(
        &self,
        batch: &BatchView<'_>,
        earliest: TimestampMs,
        latest: TimestampMs,
    ) -> Vec<RecordError> {
        let Ok(records) = batch.records(self.decompress_limit()) else { return Vec::new() };
        let is_out = |time: TimestampMs| time != TimestampMs::NONE && (time < earliest || time > latest);
        let read = records.iter().enumerate().filter_map(|(number, record)| Some((number, record.ok()?)));
        let error = |number: usize, time: TimestampMs, offset: Offset| RecordError {
            batch_index: number as i32,
            message: format!(
                "Timestamp {time} of message with offset {offset} is out of range. The timestamp should be within \
                 [{earliest}, {latest}]"
            ),
        };
        read.filter(|(_, record)| is_out(record.timestamp))
            .map(|(number, record)| error(number, record.timestamp, record.offset))
            .collect()
    }

    /// What compresses better than a hundredfold was made to.
    fn decompress_limit(&self) -> DecompressLimit {
        DecompressLimit((self.config.max_message_bytes as usize).saturating_mul(100))
    }

    /// A compacted topic keeps the last value of each key: a record without one has no place there. The texts are
    /// Kafka's.
    fn check_keys(&self, batch: &BatchView<'_>) -> Result<(), AppendError> {
        let records = batch.records(self.decompress_limit()).map_err(|error| invalid(error.to_string()))?;
        let mut record_errors = Vec::new();
        for (number, record) in records.iter().enumerate() {
            let record = record.map_err(|error| invalid(error.to_string()))?;
            if record.key.is_none() {
                let message = format!(
                    "Compacted topic cannot accept message without key in topic partition {}",
                    self.topic_partition
                );
                record_errors.push(RecordError { batch_index: number as i32, message });
            }
        }
        if record_errors.is_empty() {
            return Ok(());
        }
        let shown: Vec<String> = record_errors
            .iter()
            .take(3)
            .map(|error| {
                format!("RecordError(batchIndex={}, message='{}')", error.batch_index, error.message)
            })
            .collect();
        let message = format!(
            "One or more records have been rejected due to {} record errors in total, and only showing the first three \
             errors at most: [{}]",
            record_errors.len(),
            shown.join(", ")
        );
        Err(AppendError::InvalidRecord { message, record_errors })
    }

    /// Makes the checked batches the log's own. Base offset and epoch lie outside of the CRC.
    fn patch(&self, batches: &mut [u8], leader_epoch: LeaderEpoch, now: TimestampMs) -> TimestampMs {
        let broker_time = self.config.message_timestamp_type == TimestampType::LogAppendTime;
        let mut rest = batches;
        for header in &self.scratch_headers {
            let (batch, after) = std::mem::take(&mut rest).split_at_mut(header.size_bytes as usize);
            set_base_offset(batch, header.base_offset);
            set_leader_epoch(batch, leader_epoch);
            if broker_time {
                set_log_append_time(batch, now);
            }
            rest = after;
        }
        if broker_time { now } else { TimestampMs::NONE }
    }

    /// Checks as many fetched batches as go into one segment. Returns their bytes and what is wrong with the next one.
    fn collect_follower_run(
        &mut self,
        batches: &[u8],
        now: TimestampMs,
    ) -> Result<(usize, Option<AppendError>), AppendError> {
        self.scratch_headers.clear();
        self.scratch_producers.clear();
        let mut next_offset = self.log_end_offset;
        let mut bytes = 0;
        for batch in Batches::new(batches) {
            let batch = match batch {
                Ok(batch) => batch,
                Err(BatchError::Truncated { .. }) => break,
                Err(error) => return Ok((bytes, Some(error.into()))),
            };
            let header = BatchHeader::of(&batch);
            if let Err(error) = batch.check_crc() {
                return Ok((bytes, Some(error.into())));
            }
            if header.base_offset < next_offset || header.last_offset_delta < 0 {
                let error = AppendError::OffsetsOutOfOrder {
                    received: header.base_offset,
                    log_end_offset: next_offset,
                };
                return Ok((bytes, Some(error)));
            }
            let full = bytes + batch.size_bytes() > self.config.segment_bytes as usize;
            if bytes > 0 && full {
                break;
            }
            let control = header.is_control().then(|| control_record(&batch)).flatten();
            self.producers.check(&mut self.scratch_producers, &header, control, Source::Accepted, now)?;
            self.scratch_headers.push(header);
            bytes += batch.size_bytes();
            next_offset = header.next_offset();
        }
        Ok((bytes, None))
    }

    /// Writes a run whose headers and producer changes stand in the scratch, and takes it into the state.
    fn write_run(&mut self, run: &[u8], now: TimestampMs) -> Result<(), AppendError> {
        let is_roll_due = self.is_roll_due(&self.scratch_headers, run.len(), now);
        // What has its room already is not asked for.
        let active = self.segments.back().filter(|_| !is_roll_due);
        self.storage.room.take(active.map_or(run.len() as u64, |active| active.growth(run.len())))?;
        self.make_for_append()?;
        if is_roll_due {
            self.start_segment(now)?;
        }
        let Some(active) = self.segments.back_mut() else {
            return Err(io::Error::other("a log without a segment").into());
        };
        let file = active.file()?;
        let mut position = active.size_bytes();
        if let Err(error) = file.write_all_at(run, position) {
            // Nothing of it may be found again: neither by a reader nor by recovery, after it was refused.
            if let Err(second) = file.set_len(position) {
                self.fail(format!("a failed write ({error}) could not be taken back: {second}").into());
            } else {
                active.note_cut();
                // That is to be durable before something is written in its place.
                self.durability.mark(&file);
            }
            return Err(error.into());
        }
        self.durability.mark_appended(&file, position);
        for header in &self.scratch_headers {
            active.note_batch(position, header, self.config.index_interval_bytes);
            self.recent.push(position, header);
            self.epochs_dirty |= self.epochs.assign(header.leader_epoch, header.base_offset);
            position += u64::from(header.size_bytes);
        }
        active.set_size(position);
        self.producers.commit(&mut self.scratch_producers, self.config.producer_ids_max);
        for transaction in self.scratch_producers.aborted.drain(..) {
            active.note_aborted(transaction);
        }
        active.write_indexes_if_due();
        if let Some(last) = self.scratch_headers.last() {
            self.log_end_offset = last.next_offset();
        }
        self.check();
        Ok(())
    }
}

fn invalid(message: String) -> AppendError {
    AppendError::InvalidRecord { message, record_errors: Vec::new() }
}

/// Magic 0 and 1 are record formats that once were; every other number never was one.
fn refuse_magic(error: BatchError) -> AppendError {
    match error {
        BatchError::UnsupportedMagic { magic } if (0..MAGIC_V2).contains(&magic) => {
            invalid(format!("record format {magic} is not taken any more"))
        }
        error => error.into(),
    }
}
