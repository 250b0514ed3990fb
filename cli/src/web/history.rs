//! The last quarter of an hour of this node, in memory that does not grow, so that charts need nothing beside it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::State;
use moldau_model::TopicIdPartition;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::Shared;
use super::answer::{Answer, Json};
use super::node::Node;
use super::stream::stopped;

/// How often a sample is taken.
const INTERVAL: Duration = Duration::from_secs(5);
/// Samples of fifteen minutes.
const SAMPLES_MAX: usize = 180;

/// What the node was like at one time, and how much came since the sample before.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sample {
    at_ms: u64,
    /// Records a second that partitions led here have taken.
    records_per_second: f64,
    /// What clients have written to and read from partitions led here. Followers are not counted.
    bytes_in_per_second: f64,
    bytes_out_per_second: f64,
    /// Of the partitions held here.
    log_bytes: u64,
    led: usize,
    held: usize,
    resident_bytes: u64,
    /// Of one core.
    cpu_percent: f64,
}

impl Sample {
    fn json(&self) -> Value {
        json!({
            "at_ms": self.at_ms,
            "records_per_second": self.records_per_second,
            "bytes_in_per_second": self.bytes_in_per_second,
            "bytes_out_per_second": self.bytes_out_per_second,
            "log_bytes": self.log_bytes,
            "partitions_led": self.led,
            "partitions_held": self.held,
            "resident_bytes": self.resident_bytes,
            "cpu_percent": self.cpu_percent,
        })
    }
}

/// The samples, the oldest first.
pub(super) struct History {
    samples: parking_lot::Mutex<VecDeque<Sample>>,
    taken: watch::Sender<u64>,
}

impl Default for History {
    fn default() -> Self {
        Self { samples: parking_lot::Mutex::default(), taken: watch::Sender::new(0) }
    }
}

impl History {
    fn add(&self, sample: Sample) {
        let mut samples = self.samples.lock();
        if samples.len() == SAMPLES_MAX {
            samples.pop_front();
        }
        samples.push_back(sample);
        drop(samples);
        self.taken.send_modify(|count| *count += 1);
    }

    /// Tells of every later sample.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.taken.subscribe()
    }

    /// The newest sample.
    pub(super) fn newest(&self) -> Value {
        self.samples.lock().back().map_or(Value::Null, Sample::json)
    }
}

pub(super) async fn history(State(web): State<Shared>) -> Answer {
    let samples: Vec<Value> = web.history.samples.lock().iter().map(Sample::json).collect();
    Ok(Json(json!({
        "node_id": web.node.config().node_id.0,
        "interval_ms": INTERVAL.as_millis() as u64,
        "samples": samples,
    })))
}

/// Takes samples until the node stops.
pub(super) async fn run(web: Shared) {
    let mut stop = web.stop.clone();
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut sampler = Sampler::default();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stopped(&mut stop) => return,
        }
        // Locks of all partitions, and two small files of the kernel's.
        let node = Arc::clone(&web);
        let taken = tokio::task::spawn_blocking(move || {
            let sample = sampler.take(&node.node);
            (sampler, sample)
        });
        let Ok((after, sample)) = taken.await else { return };
        sampler = after;
        if let Some(sample) = sample {
            web.history.add(sample);
        }
    }
}

/// What the last sample saw, to tell what came since.
#[derive(Default)]
struct Sampler {
    ends: HashMap<TopicIdPartition, i64>,
    cpu_seconds: f64,
    /// In and out, since the start.
    bytes: (u64, u64),
    at_ms: Option<u64>,
}

impl Sampler {
    /// The first look has nothing to compare with, and gives no sample.
    fn take(&mut self, node: &Node) -> Option<Sample> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut sample = Sample { at_ms: now.as_millis() as u64, ..Sample::default() };
        let mut ends = HashMap::new();
        let mut came = 0;
        let broker = node.broker().ok();
        for partition in broker.into_iter().flat_map(|broker| broker.replica_manager.partitions()) {
            sample.held += 1;
            sample.log_bytes += partition.size_bytes().unwrap_or(0);
            if partition.leader_epoch_if_leader().is_some()
                && let Ok((_, end)) = partition.log_bounds()
            {
                sample.led += 1;
                came += came_since(self.ends.get(&partition.id()).copied(), end.0);
                ends.insert(partition.id(), end.0);
            }
        }
        sample.resident_bytes = resident_bytes();
        let cpu_seconds = cpu_seconds();
        let before_ms = self.at_ms.replace(sample.at_ms);
        let cpu_before = std::mem::replace(&mut self.cpu_seconds, cpu_seconds);
        let bytes = broker.map_or((0, 0), |broker| broker.metrics.traffic.bytes());
        let bytes_before = std::mem::replace(&mut self.bytes, bytes);
        self.ends = ends;
        let seconds = sample.at_ms.saturating_sub(before_ms?) as f64 / 1000.0;
        if seconds > 0.0 {
            sample.records_per_second = came as f64 / seconds;
            sample.bytes_in_per_second = bytes.0.saturating_sub(bytes_before.0) as f64 / seconds;
            sample.bytes_out_per_second = bytes.1.saturating_sub(bytes_before.1) as f64 / seconds;
            sample.cpu_percent = (cpu_seconds - cpu_before).max(0.0) / seconds * 100.0;
        }
        Some(sample)
    }
}

/// A partition that was not led here before brings its whole log along, which nobody has written just now.
fn came_since(before: Option<i64>, end: i64) -> i64 {
    before.map_or(0, |before| (end - before).max(0))
}

fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// User and system time of this process.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field, in brackets, may hold anything.
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_an_hour_is_kept_and_no_more() {
        let history = History::default();
        for at_ms in 0..1000 {
            history.add(Sample { at_ms, ..Sample::default() });
        }
        let samples = history.samples.lock();
        assert_eq!(samples.len() as u64 * INTERVAL.as_secs(), 15 * 60);
        assert_eq!((samples[0].at_ms, samples.back().unwrap().at_ms), (1000 - SAMPLES_MAX as u64, 999));
    }

    #[test]
    fn a_leadership_that_came_is_no_burst_of_records() {
        assert_eq!(came_since(None, 1_000_000), 0);
        assert_eq!(came_since(Some(10), 15), 5);
        assert_eq!(came_since(Some(15), 10), 0);
    }
}
