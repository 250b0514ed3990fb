//! A client's batch before it comes to the log: whether it holds what its header says, and in which codec it is stored.
//! Unpacking takes milliseconds, so it is done before the partition's lock is taken.

use moldau_log::PartitionLog;
use moldau_metadata::config::{CompressionType, TimestampType, TopicConfig};
use moldau_model::{ErrorCode, Offset};
use moldau_record::{
    BatchView, Codec, Compression, ConvertError, DecompressLimit, RecordTimes, set_max_timestamp,
};

use super::append::AppendRefused;
use super::partition::Partition;

/// What of a topic's settings is needed here.
#[derive(Clone, Copy)]
struct Terms {
    bytes_max: usize,
    broker_time: bool,
    /// `None` for the producer's.
    codec: Option<Codec>,
}

impl Terms {
    fn of(config: &TopicConfig) -> Self {
        let codec = |compression, level| Some(Codec { compression, level });
        Self {
            bytes_max: usize::try_from(config.max_message_bytes).unwrap_or(0),
            broker_time: config.message_timestamp_type == TimestampType::LogAppendTime,
            codec: match config.compression_type {
                CompressionType::Producer => None,
                CompressionType::Uncompressed => codec(Compression::None, None),
                CompressionType::Gzip => codec(Compression::Gzip, Some(config.compression_gzip_level)),
                CompressionType::Snappy => codec(Compression::Snappy, None),
                CompressionType::Lz4 => codec(Compression::Lz4, Some(config.compression_lz4_level)),
                CompressionType::Zstd => codec(Compression::Zstd, Some(config.compression_zstd_level)),
            },
        }
    }

    /// What compresses better than a hundredfold was made to.
    fn limit(&self) -> DecompressLimit {
        DecompressLimit(self.bytes_max.saturating_mul(100))
    }
}

impl Partition {
    /// Refuses a batch that nobody could read, which would stop every consumer for good, as Kafka makes sure of; mends a
    /// greatest timestamp that is none of the records'; and returns the batch in the topic's codec, where that is
    /// another one. What else is wrong is for the log to say, which looks at the size and the checksum first.
    pub(super) fn prepare_client_batch(&self, records: &mut [u8]) -> Result<Option<Vec<u8>>, AppendRefused> {
        let Ok(batch) = BatchView::first(records) else { return Ok(None) };
        let terms = Terms::of(&self.lock().config);
        if batch.size_bytes() > terms.bytes_max {
            return Ok(None);
        }
        let times = match batch.check_records(terms.limit()) {
            Ok(times) => times,
            Err(_) if batch.check_crc().is_err() || batch.compression().is_none() => return Ok(None),
            Err(error) => return Err(self.refuse_records(&error)),
        };
        let is_mended = !terms.broker_time && is_header_wrong(&batch, times);
        let codec = terms.codec.filter(|codec| batch.compression() != Some(codec.compression));
        let must_change = is_mended || codec.is_some();
        // A new checksum would hide that the old one was wrong.
        if !must_change || batch.is_control() || batch.check_crc().is_err() {
            return Ok(None);
        }
        let converted = codec.map(|codec| self.convert(&batch, codec, terms)).transpose()?;
        let Some(times) = times.filter(|_| is_mended) else { return Ok(converted) };
        let Some(mut converted) = converted else {
            let size = batch.size_bytes();
            set_max_timestamp(records.get_mut(..size).unwrap_or_default(), times.latest);
            return Ok(None);
        };
        set_max_timestamp(&mut converted, times.latest);
        Ok(Some(converted))
    }

    fn convert(&self, batch: &BatchView<'_>, codec: Codec, terms: Terms) -> Result<Vec<u8>, AppendRefused> {
        batch.convert(codec, terms.limit(), terms.bytes_max).map_err(|error| match error {
            ConvertError::Records(error) => self.refuse_records(&error),
            ConvertError::TooLarge { .. } => {
                tracing::debug!(partition = %self.topic_partition(), %error, "records are refused");
                ErrorCode::MessageTooLarge.into()
            }
            ConvertError::Compress { .. } => {
                tracing::error!(partition = %self.topic_partition(), %error, "a batch cannot be compressed");
                ErrorCode::UnknownServerError.into()
            }
        })
    }

    fn refuse_records(&self, error: &moldau_record::RecordError) -> AppendRefused {
        tracing::debug!(partition = %self.topic_partition(), %error, "records are refused");
        let log_start_offset = self.lock().log.as_ref().map_or(Offset::NONE, PartitionLog::log_start_offset);
        AppendRefused { log_start_offset, ..ErrorCode::InvalidRecord.into() }
    }
}

fn is_header_wrong(batch: &BatchView<'_>, times: Option<RecordTimes>) -> bool {
    batch.timestamp_type() == moldau_record::TimestampType::CreateTime
        && times.is_some_and(|times| times.latest != batch.max_timestamp())
}
