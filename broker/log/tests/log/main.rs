//! The log as its users see it, over a file system whose power can be cut.

#![expect(clippy::unwrap_used, reason = "in a test an error is a failure")]

mod append;
mod cleaner;
mod cleaner_limits;
mod declared;
mod directory;
mod faults;
mod files;
mod journal;
mod kafka_files;
mod model;
mod moving;
mod power_cut;
mod preallocated;
mod producers;
mod reading;
mod recovery;
mod retention;
mod room;
mod support;
mod timestamps;
mod transactions;
mod truncation;
