//! The partition log on disk, in Kafka's format to the byte.
//!
//! [`LogDirectory`] is one of `log.dirs`: its lock, its identity, its checkpoints, its partitions. [`PartitionLog`] is
//! one partition: segments with their indexes, producer state, leader epochs. Everything is synchronous, knows no
//! request and no network, and reaches the disk only through [`FileSystem`], so that tests can cut the power.
//!
//! One number orders all others, and it is asserted after every change:
//! `log_start_offset <= durable_end_offset <= log_end_offset`.

pub mod file_system;

mod log_directory;
mod partition_log;

mod cleaner;

mod aborted_transaction;
mod batch_header;
mod checkpoint;
mod config;
mod error;
mod file_cache;
mod found;
mod index;
mod journal;
mod leader_epoch_cache;
mod meta_properties;
mod moved_from;
mod partition_metadata;
mod producer_state;
mod read;
mod room;
mod segment;
mod sync;

pub use aborted_transaction::AbortedTransaction;
pub use cleaner::{CleanerBudget, CleanerPace, Cleaning, Dirtiness};
pub use config::{CleanupPolicy, LogConfig};
pub use error::{AppendError, LogError, ReadError, RecordError};
pub use file_cache::FileCache;
pub use file_system::{File, FileSystem, RealFileSystem};
pub use found::FoundPartitions;
pub use journal::{JOURNAL_COMMIT_BYTES_MAX, Journal};
pub use log_directory::{LogDirectory, PartitionCheckpoint, PartitionOnDisk};
pub use meta_properties::MetaProperties;
pub use moved_from::MovedFrom;
pub use partition_log::{
    ActiveProducer, AppendInfo, AppendOrigin, AppendTerms, CleanReport, EpochEnd, LogEnvironment, OpenMode,
    PartitionLog, RecoveryReport, RemovedSegments, TimestampOffset,
};
pub use read::{FileSlice, LogRead};
pub use room::Room;
pub use sync::SyncTicket;
