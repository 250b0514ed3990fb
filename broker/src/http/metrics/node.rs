//! The node itself: its requests, connections, disks, workers, and what the operating system knows of the process.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::exposition::{Exposition, Labels};
use crate::api::support;
use crate::broker::Broker;
use crate::log_dirs::LogDir;
use crate::metrics::definitions::Metric;

/// Two looks at the workers that are closer say nothing about how busy they are.
const LOOK_APART: Duration = Duration::from_millis(500);

/// The API keys of requests that wait in what Kafka calls a purgatory.
const PURGATORIES: [i16; 2] = [0, 1];

/// The workers of the runtime, which read requests and handle them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Workers {
    count: usize,
    busy: Duration,
    /// The idle part of the time since the look before.
    idle: f64,
}

/// A look at the workers, and what it told.
#[derive(Clone, Copy)]
struct Look {
    at: Instant,
    busy: Duration,
    idle: f64,
}

static LAST_LOOK: LazyLock<Mutex<Option<Look>>> = LazyLock::new(Mutex::default);

impl Workers {
    /// Has to be called in the runtime.
    pub(super) fn look() -> Self {
        let metrics = tokio::runtime::Handle::current().metrics();
        let count = metrics.num_workers();
        let busy: Duration = (0..count).map(|worker| metrics.worker_total_busy_duration(worker)).sum();
        let now = Instant::now();
        let mut last = LAST_LOOK.lock();
        let idle = match *last {
            Some(before) if now.duration_since(before.at) < LOOK_APART => before.idle,
            Some(before) => idle_part(now.duration_since(before.at), count, busy.saturating_sub(before.busy)),
            None => 1.0,
        };
        if last.is_none_or(|before| now.duration_since(before.at) >= LOOK_APART) {
            *last = Some(Look { at: now, busy, idle });
        }
        Self { count, busy, idle }
    }
}

fn idle_part(time: Duration, workers: usize, busy: Duration) -> f64 {
    (1.0 - busy.as_secs_f64() / (time.as_secs_f64() * workers.max(1) as f64)).clamp(0.0, 1.0)
}

pub(super) fn put(out: &mut Exposition, broker: &Broker, workers: Workers) {
    put_requests(out, broker);
    put_state(out, broker);
    for dir in broker.replica_manager.dirs().iter() {
        put_dir(out, dir);
    }
    out.put(Metric::NetworkProcessorIdle, workers.idle);
    out.put(Metric::RequestHandlerIdle, workers.idle);
    out.put(Metric::WorkerBusy, workers.busy.as_secs_f64());
    out.put(Metric::Workers, workers.count);
    for (listener, counted) in broker.metrics.authentications() {
        let labels = Labels::of("listener", listener);
        out.put_for(Metric::AuthenticationsSuccessful, &labels, counted.successful);
        out.put_for(Metric::AuthenticationsFailed, &labels, counted.failed);
        out.put_for(Metric::ReauthenticationsSuccessful, &labels, counted.successful_again);
        out.put_for(Metric::ReauthenticationsFailed, &labels, counted.failed_again);
    }
    for (listener, open, accepted) in broker.metrics.connections() {
        let labels = Labels::of("listener", listener);
        out.put_for(Metric::ConnectionCount, &labels, open);
        out.put_for(Metric::ConnectionCreations, &labels, accepted);
    }
    if let Some((taken, limit)) = broker.metrics.request_memory() {
        out.put(Metric::RequestMemory, taken);
        out.put(Metric::RequestMemoryLimit, limit);
    }
    for (outcome, count) in broker.tracer.iter().flat_map(|tracer| tracer.counts()) {
        out.put_for(Metric::TraceSpans, &Labels::of("outcome", outcome), count);
    }
    put_process(out);
}

fn put_requests(out: &mut Exposition, broker: &Broker) {
    let mut waiting = [0; PURGATORIES.len()];
    for of_key in broker.metrics.requests.snapshots() {
        let name = support(of_key.api_key).map_or("Unknown", |row| row.name);
        let labels = Labels::of("request", name);
        out.put_for(Metric::RequestsTotal, &labels, of_key.total.count());
        out.put_for(Metric::RequestErrors, &labels, of_key.errors + of_key.refused);
        out.put_for(Metric::RequestsRefused, &labels, of_key.refused);
        out.put_for(Metric::RequestsWaiting, &labels, of_key.waiting);
        for (metric, part, snapshot) in [
            (Metric::TotalTimeMs, "total", &of_key.total),
            (Metric::LocalTimeMs, "local", &of_key.local),
            (Metric::RemoteTimeMs, "remote", &of_key.remote),
        ] {
            out.summary_ms(metric, &labels, snapshot);
            out.histogram(Metric::RequestSeconds, &labels.and("part", part), snapshot);
        }
        for (waiting, key) in waiting.iter_mut().zip(PURGATORIES) {
            *waiting += if key == of_key.api_key { of_key.waiting } else { 0 };
        }
    }
    for (waiting, key) in waiting.into_iter().zip(PURGATORIES) {
        let name = support(key).map_or("Unknown", |row| row.name);
        out.put_for(Metric::PurgatorySize, &Labels::of("delayedOperation", name), waiting);
    }
}

fn put_state(out: &mut Exposition, broker: &Broker) {
    let replicas = &broker.replica_manager;
    let [shrinks, expands, failures] = replicas.isr_changes().counts();
    out.put(Metric::IsrShrinks, shrinks);
    out.put(Metric::IsrExpands, expands);
    out.put(Metric::FailedIsrUpdates, failures);
    out.put(Metric::OfflineReplicaCount, replicas.offline_count());
    out.put(Metric::OfflineLogDirectoryCount, replicas.dirs().offline_count());
    out.put(Metric::BrokerReady, u8::from(broker.is_ready()));
    out.put(Metric::BrokerEpoch, broker.broker_epoch());
    let image = broker.control.image();
    out.put(Metric::MetadataOffset, image.position().offset);
    out.put(Metric::LastAppliedRecordOffset, image.position().offset);
    out.put(Metric::MetadataBrokers, image.broker_count());
}

fn put_dir(out: &mut Exposition, dir: &LogDir) {
    let labels = Labels::of("directory", dir.log.path().display());
    let snapshot = dir.sync.durations.snapshot();
    out.histogram(Metric::SyncSeconds, &labels, &snapshot);
    out.summary_ms(Metric::LogFlushTimeMs, &labels, &snapshot);
    out.put_for(Metric::SyncQueue, &labels, dir.sync.len());
    out.put_for(Metric::LogDirOnline, &labels, u8::from(dir.is_online()));
    out.put_for(Metric::LogDirFull, &labels, u8::from(dir.is_full()));
    if let Some(space) = dir.is_online().then(|| dir.log.space().ok()).flatten() {
        out.put_for(Metric::LogDirTotal, &labels, space.total_bytes);
        out.put_for(Metric::LogDirUsable, &labels, space.usable_bytes);
        out.put_for(Metric::LogDirReserve, &labels, dir.log.room().reserve_bytes(space.total_bytes));
    }
}

/// What the operating system knows of this process; what it does not tell is left out.
pub(super) fn put_process(out: &mut Exposition) {
    let page_bytes = rustix::param::page_size() as u64;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    if let Some(pages) = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()) {
        out.put(Metric::ResidentMemory, pages * page_bytes);
    }
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    if let Some(ticks) = cpu_ticks(&stat) {
        out.put(Metric::CpuSeconds, ticks as f64 / rustix::param::clock_ticks_per_second() as f64);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        out.put(Metric::OpenFds, open.count());
    }
    if let Some(most) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        out.put(Metric::MaxFds, most);
    }
    out.put_for(Metric::BuildInfo, &Labels::of("version", env!("CARGO_PKG_VERSION")), 1);
}

/// User and system ticks: the fields 14 and 15 of `/proc/self/stat`, of which the second, in brackets, may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::definitions::Family;

    #[test]
    fn the_time_is_found_behind_any_process_name() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 30 12 99 100";
        assert_eq!(cpu_ticks(stat), Some(42));
        assert_eq!(cpu_ticks("7 (a"), None);
    }

    #[test]
    fn workers_are_idle_for_the_rest_of_their_time() {
        let second = Duration::from_secs(1);
        assert!((idle_part(second, 2, second / 2) - 0.75).abs() < 1e-9);
        assert!(idle_part(second, 1, second * 3).abs() < 1e-9);
    }

    #[test]
    fn this_process_is_told_of() {
        let mut out = Exposition::new(&Family::ALL, 0);
        put_process(&mut out);
        let text = out.finish();
        for name in ["process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"] {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
            assert!(line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() >= 0.0, "{line}");
        }
    }
}
