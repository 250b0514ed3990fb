//! The basic metrics: by the names that Apache Kafka's JMX exporter gives them, and those every process has.

use std::fmt::{Display, Write as _};

use super::survey::Survey;
use crate::broker::Broker;

/// All of them, in Prometheus' text format. Looks into `/proc`.
pub(super) fn text(broker: &Broker) -> String {
    let survey = Survey::of(&broker.control);
    let image = broker.control.image();
    let offline_dirs = broker.replica_manager.dirs().offline_count();
    let mut out = Text::default();
    out.gauge("kafka_server_replicamanager_partitioncount", "Partitions held here", survey.held);
    out.gauge("kafka_server_replicamanager_leadercount", "Partitions led here", survey.led);
    out.gauge(
        "kafka_server_replicamanager_underreplicatedpartitions",
        "Partitions led here with replicas out of sync",
        survey.under_replicated,
    );
    out.gauge(
        "kafka_server_replicamanager_underminisrpartitioncount",
        "Partitions led here with fewer in sync than min.insync.replicas",
        survey.under_min_isr,
    );
    out.gauge(
        "kafka_server_replicamanager_atminisrpartitioncount",
        "Partitions led here with just min.insync.replicas in sync",
        survey.at_min_isr,
    );
    out.gauge(
        "kafka_log_logmanager_offlinelogdirectorycount",
        "Log directories of this node that failed",
        offline_dirs,
    );
    out.gauge("moldau_broker_ready", "Whether clients are sent to this broker", u8::from(broker.is_ready()));
    out.gauge("moldau_broker_epoch", "This broker's registration", broker.broker_epoch());
    out.gauge(
        "moldau_metadata_offset",
        "How far this broker has applied the cluster's metadata",
        image.position().offset,
    );
    out.gauge(
        "moldau_metadata_offline_partitions",
        "Partitions of the whole cluster without a leader, as this broker's metadata shows it",
        survey.offline,
    );
    out.gauge("moldau_metadata_brokers", "Registered brokers", image.broker_count());
    out.process();
    out.0.push_str(&broker.control.telemetry.text());
    out.0
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.metric(name, "gauge", help, value);
    }

    fn metric(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        // Writing to a String cannot fail.
        let _ = write!(self.0, "# HELP {name} {help}.\n# TYPE {name} {kind}\n{name} {value}\n");
    }

    /// What the operating system knows of this process; what it does not tell is left out.
    fn process(&mut self) {
        let page_bytes = rustix::param::page_size() as u64;
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        if let Some(pages) = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()) {
            self.gauge("process_resident_memory_bytes", "Resident memory", pages * page_bytes);
        }
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        if let Some(ticks) = cpu_ticks(&stat) {
            let seconds = ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
            self.metric("process_cpu_seconds_total", "counter", "CPU time, user and system", seconds);
        }
        if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
            self.gauge("process_open_fds", "Open file descriptors", open.count());
        }
        let version = env!("CARGO_PKG_VERSION");
        let _ = write!(
            self.0,
            "# HELP moldau_build_info The version that runs.\n# TYPE moldau_build_info gauge\n\
             moldau_build_info{{version=\"{version}\"}} 1\n"
        );
    }
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

    #[test]
    fn the_time_is_found_behind_any_process_name() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 30 12 99 100";
        assert_eq!(cpu_ticks(stat), Some(42));
        assert_eq!(cpu_ticks("7 (a"), None);
    }

    #[test]
    fn this_process_is_told_of() {
        let mut text = Text::default();
        text.process();
        for name in ["process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"] {
            let line = text.0.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
            assert!(line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() >= 0.0, "{line}");
        }
    }
}
