//! A file that is on the disk alone goes to a reader, by the kernel, while the load of `latency` runs beside it.

use std::io::{Seek, Write};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Advice, fadvise};

use super::disk::open;
use super::latency::Server;
use super::send;
use crate::Result;
use crate::latency::Schedule;
use crate::wire::batch;

const COLD: &str = "limit-cold";
const HOT: &str = "limit-latency";
/// Until the load beside it is under way.
const BEGINS_AFTER: Duration = Duration::from_secs(1);
const RECORD_BYTES: usize = 1024;
const RECORDS: usize = 100;

pub(crate) fn run(directory: &Path, total_mb: usize, schedule: Schedule) -> Result<()> {
    let mut cold = open(directory, COLD)?;
    let batch = batch(RECORD_BYTES, RECORDS, "none")?;
    for _ in 0..(total_mb * 1_000_000).div_ceil(batch.len()) {
        cold.write_all(&batch)?;
    }
    let bytes = cold.stream_position()?;
    cold.sync_data()?;
    fadvise(&cold, 0, None, Advice::DontNeed)?;
    fadvise(&cold, 0, None, Advice::Sequential)?;
    let mut hot = open(directory, HOT)?;
    let server = Server::default();
    let (found, latencies) = std::thread::scope(|scope| -> Result<_> {
        let beside = scope.spawn(|| server.probe(&mut hot, schedule).map_err(|error| error.to_string()));
        std::thread::sleep(BEGINS_AFTER);
        let cpu = server.cpu_seconds()?;
        let found = send(&cold, usize::try_from(bytes)?)?;
        let cpu = server.cpu_seconds()? - cpu;
        let latencies = beside.join().map_err(|_| "the load beside panicked")??;
        Ok((found.and_cpu(cpu, usize::try_from(bytes)?, 1), latencies))
    })?;
    for name in [COLD, HOT] {
        std::fs::remove_file(directory.join(name))?;
    }
    println!("mb_s {:.1} cpu_s_gb {:.4} {latencies}", found.mb_s, found.cpu_s_gb);
    Ok(())
}
