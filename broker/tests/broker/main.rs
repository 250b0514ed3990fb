//! A real broker with a real controller, over a socket, as a client sees it.
#![allow(clippy::unwrap_used, clippy::too_many_lines, reason = "tests")]

mod cluster;
mod compaction;
mod conversion;
mod disk;
#[allow(dead_code, reason = "the hostile tests use the rest")]
mod harness;
mod requests;
mod transactional;

mod committed_reads;
mod coordinators;
mod fetch;
mod followers;
mod full_disks;
mod offsets;
mod produce;
mod quotas;
mod replication;
mod sessions;
mod storage;
mod throttles;
mod transactional_producers;
mod transactions;
