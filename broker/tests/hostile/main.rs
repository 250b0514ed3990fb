//! Bytes and clients that mean harm, against a real broker: a clean error or a closed connection, never a panic, never
//! memory without bound, and everybody else is served.
//!
//! `MOLDAU_FUZZ_ITERATIONS` makes the bounded runs longer, `MOLDAU_FUZZ_SEED` makes them others.
#![allow(clippy::unwrap_used, clippy::too_many_lines, clippy::print_stdout, reason = "tests")]

#[allow(dead_code, reason = "the other tests' harness does more")]
#[path = "../broker/harness.rs"]
mod harness;
#[allow(dead_code, reason = "the other tests ask for more")]
#[path = "../broker/requests.rs"]
mod requests;

mod batches;
mod bombs;
mod connections;
mod fuzz;
mod many;
mod memory;
mod watch;
