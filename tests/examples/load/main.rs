//! A lean load generator: frames are encoded once and sent over and over, so that the server is what is measured.
//!
//! ```text
//! load produce ADDRESS TOPIC RECORD_BYTES RECORDS_PER_BATCH TOTAL_MB PARTITIONS [connections=1 codec=none kind=plain]
//! load fetch   ADDRESS TOPIC TOTAL_MB PARTITIONS [consumers=1]
//! load latency ADDRESS TOPIC RATE SECONDS RECORD_BYTES
//! load first   ADDRESS SECONDS [TOPIC]
//! load idle    ADDRESS CONNECTIONS
//! load members ADDRESS TOPIC GROUP MEMBERS
//! load topics  ADDRESS COUNT PARTITIONS
//! load limit   DIRECTORY FRAME_BYTES TOTAL_MB [files=1]
//! load limit   DIRECTORY RECORD_BYTES RECORDS_PER_BATCH TOTAL_MB [codec=none files=1 kind=plain]
//! load limit-latency    DIRECTORY RATE SECONDS RECORD_BYTES
//! load limit-catch-up   DIRECTORY TOTAL_MB RATE SECONDS RECORD_BYTES
//! load limit-replicated DIRECTORY RECORD_BYTES RECORDS_PER_BATCH TOTAL_MB
//! ```
//! `produce` sends acks=all, five requests in flight on each connection. One connection has a batch for each partition in
//! every request; many have one partition each. `kind` is `plain`, `idempotent` or `transactional`. `fetch` reads one
//! partition after the other, 1 MiB a request; each of several consumers reads all. `latency` is an open loop: records are
//! due at a fixed rate, whatever became of those before, and a consumer takes the time from when they were due. `first` waits
//! for the first answer to Metadata, with a leader of the topic where one is named. `idle` and `members` stay until their
//! input ends. `topics` creates one topic after the other. `limit` is what the machine can do: no broker at all. It receives as many
//! bytes, or a batch of records for each of so many files, and unpacks what is compressed, as whoever checks records has to. For each
//! transaction it syncs three small appends more, one behind the other and each asked for by a request: the partitions, the commit
//! and the marker. `limit-latency` is `latency` with such a server: one thread receives and writes, one syncs, answers and hands on.
//! `limit-catch-up` is that beside a cold file, which goes from the disk to a reader by sendfile.
//! `limit-replicated` has three: one receives, writes, hands on to two that write and sync, syncs as well, and answers when all have.
//!
//! Each prints one line, the figure first; `latency` and the limits print a line of names and figures.

#![expect(clippy::print_stdout, reason = "one line of figures is what it is for")]

mod admin;
mod fetch;
mod latency;
mod limit;
mod produce;
mod unpack;
mod wire;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (options, arguments): (Vec<&str>, Vec<&str>) =
        arguments.iter().map(String::as_str).partition(|argument| argument.contains('='));
    match arguments[..] {
        ["produce", address, topic, record_bytes, records, total_mb, partitions] => {
            let load = produce::Load {
                address,
                topic,
                record_bytes: record_bytes.parse()?,
                records: records.parse()?,
                total_mb: total_mb.parse()?,
                partitions: partitions.parse()?,
                connections: option(&options, "connections", "1").parse()?,
                codec: option(&options, "codec", "none"),
                kind: produce::Kind::of(option(&options, "kind", "plain"))?,
            };
            produce::run(&load)
        }
        ["fetch", address, topic, total_mb, partitions] => {
            let consumers = option(&options, "consumers", "1").parse()?;
            fetch::run(address, topic, total_mb.parse()?, partitions.parse()?, consumers)
        }
        ["latency", address, topic, rate, seconds, record_bytes] => {
            latency::run(address, topic, schedule(rate, seconds, record_bytes)?)
        }
        ["first", address, seconds] => admin::first_answer(address, seconds.parse()?, None),
        ["first", address, seconds, topic] => admin::first_answer(address, seconds.parse()?, Some(topic)),
        ["idle", address, connections] => admin::idle(address, connections.parse()?),
        ["members", address, topic, group, members] => {
            admin::members(address, topic, group, members.parse()?)
        }
        ["topics", address, count, partitions] => {
            admin::create_topics(address, count.parse()?, partitions.parse()?)
        }
        ["limit", directory, frame_bytes, total_mb] => limit::run(&limit::Probe {
            directory: directory.as_ref(),
            total_mb: total_mb.parse()?,
            files: option(&options, "files", "1").parse()?,
            frame: limit::Frame::plain(frame_bytes.parse()?),
            is_transactional: false,
        }),
        ["limit", directory, record_bytes, records, total_mb] => {
            let codec = option(&options, "codec", "none");
            let files = option(&options, "files", "1").parse()?;
            limit::run(&limit::Probe {
                directory: directory.as_ref(),
                total_mb: total_mb.parse()?,
                files,
                frame: limit::Frame::batches(record_bytes.parse()?, records.parse()?, codec, files)?,
                is_transactional: produce::Kind::of(option(&options, "kind", "plain"))?
                    == produce::Kind::Transactional,
            })
        }
        ["limit-latency", directory, rate, seconds, record_bytes] => {
            limit::latency::run(directory.as_ref(), schedule(rate, seconds, record_bytes)?)
        }
        ["limit-replicated", directory, record_bytes, records, total_mb] => {
            let frame = limit::Frame::batches(record_bytes.parse()?, records.parse()?, "none", 1)?;
            limit::replicated::run(directory.as_ref(), total_mb.parse()?, frame)
        }
        ["limit-catch-up", directory, total_mb, rate, seconds, record_bytes] => {
            let schedule = schedule(rate, seconds, record_bytes)?;
            limit::catch_up::run(directory.as_ref(), total_mb.parse()?, schedule)
        }
        _ => {
            Err("usage: load produce|fetch|... ADDRESS ... (see the top of tests/examples/load/main.rs)"
                .into())
        }
    }
}

fn schedule(rate: &str, seconds: &str, record_bytes: &str) -> Result<latency::Schedule> {
    let (rate, seconds, record_bytes) = (rate.parse()?, seconds.parse()?, record_bytes.parse()?);
    Ok(latency::Schedule { rate, seconds, record_bytes })
}

/// The value of `name=value` among the options.
fn option<'a>(options: &[&'a str], name: &str, default: &'a str) -> &'a str {
    let found = options.iter().filter_map(|option| option.split_once('=')).find(|(key, _)| *key == name);
    found.map_or(default, |(_, value)| value)
}
