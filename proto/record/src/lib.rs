//! Kafka's record batch, version 2: a view over its bytes, the check of its checksum, its records, building one, and
//! the four codecs, each decompressing no more than it is allowed to.

mod builder;
mod check;
mod compression;
mod control;
mod convert;
mod header;
mod lz4_frame;
mod record;
mod snappy;
mod unpacked;
mod varint;

pub use builder::{BatchBuilder, BuildError};
pub use check::RecordTimes;
pub use compression::{CompressError, Compression, DecompressError, DecompressLimit, compress, decompress};
pub use control::{ControlRecord, ControlRecordError};
pub use convert::{Codec, ConvertError};
pub use header::{
    BATCH_HEADER_BYTES, BatchError, BatchView, Batches, LOG_OVERHEAD_BYTES, MAGIC_V2, TimestampType,
    batch_size, set_base_offset, set_leader_epoch, set_log_append_time, set_max_timestamp,
};
pub use record::{Header, Headers, Record, RecordError, RecordSet, Records};
