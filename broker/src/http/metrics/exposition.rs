//! Prometheus' text format: each metric's lines together, in the order of the definitions, and no more series than there may
//! be.

use std::fmt::{Display, Write as _};

use crate::metrics::Snapshot;
use crate::metrics::definitions::{DEFINITIONS, Family, Kind, Metric};

/// What summaries tell of.
const QUANTILES: [f64; 6] = [0.5, 0.75, 0.95, 0.98, 0.99, 0.999];

/// The answer in the making.
pub(crate) struct Exposition {
    /// By metric.
    lines: Vec<String>,
    families: Vec<Family>,
    series_max: usize,
    series: usize,
    omitted: usize,
}

/// Labels as they stand between braces, made once for the many metrics that share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Labels(String);

impl Labels {
    pub(crate) fn none() -> Self {
        Self::default()
    }

    pub(crate) fn of(name: &str, value: impl Display) -> Self {
        Self::none().and(name, value)
    }

    /// With one more.
    #[must_use]
    pub(crate) fn and(&self, name: &str, value: impl Display) -> Self {
        let mut all = self.0.clone();
        if !all.is_empty() {
            all.push(',');
        }
        // Writing to a String cannot fail.
        let _ = write!(all, "{name}=\"");
        let _ = write!(Escaping(&mut all), "{value}");
        all.push('"');
        Self(all)
    }
}

/// Writes what a label's value may not hold as it is.
struct Escaping<'a>(&'a mut String);

impl std::fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for c in text.chars() {
            match c {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

impl Exposition {
    /// An empty answer that will tell of these families, and of so many series of topics, partitions and groups.
    pub(crate) fn new(families: &[Family], series_max: usize) -> Self {
        let lines = vec![String::new(); DEFINITIONS.len()];
        Self { lines, families: families.to_vec(), series_max, series: 0, omitted: 0 }
    }

    /// Whether it is worth anything to look for what this family tells.
    pub(crate) fn tells(&self, family: Family) -> bool {
        self.families.contains(&family)
    }

    /// A metric without labels.
    pub(crate) fn put(&mut self, metric: Metric, value: impl Display) {
        self.put_for(metric, &Labels::none(), value);
    }

    /// One series of a metric of the node's own: there are few.
    pub(crate) fn put_for(&mut self, metric: Metric, labels: &Labels, value: impl Display) {
        self.line(metric, "", labels, value);
    }

    /// Whether there is room for one more topic, partition or group, with so many series.
    pub(crate) fn has_room(&mut self, series: usize) -> bool {
        if self.series + series > self.series_max {
            self.omitted += series;
            return false;
        }
        self.series += series;
        true
    }

    /// The series of topics, partitions and groups, and those that are not here for want of room.
    pub(crate) fn series(&self) -> (usize, usize) {
        (self.series, self.omitted)
    }

    /// A histogram in seconds.
    pub(crate) fn histogram(&mut self, metric: Metric, labels: &Labels, snapshot: &Snapshot) {
        for (bound, count) in snapshot.cumulative() {
            self.line(metric, "_bucket", &labels.and("le", bound), count);
        }
        self.line(metric, "_bucket", &labels.and("le", "+Inf"), snapshot.count());
        self.line(metric, "_sum", labels, snapshot.sum_seconds());
        self.line(metric, "_count", labels, snapshot.count());
    }

    /// The same as a summary in milliseconds.
    pub(crate) fn summary_ms(&mut self, metric: Metric, labels: &Labels, snapshot: &Snapshot) {
        for quantile in QUANTILES {
            self.line(metric, "", &labels.and("quantile", quantile), snapshot.quantile_ms(quantile));
        }
        self.sum_and_count(metric, labels, snapshot.sum_seconds() * 1e3, snapshot.count());
    }

    /// What is left of a summary that has no quantiles.
    pub(crate) fn sum_and_count(&mut self, metric: Metric, labels: &Labels, sum: f64, count: u64) {
        self.line(metric, "_sum", labels, sum);
        self.line(metric, "_count", labels, count);
    }

    fn line(&mut self, metric: Metric, suffix: &str, labels: &Labels, value: impl Display) {
        let definition = metric.definition();
        if !self.families.contains(&definition.family) {
            return;
        }
        debug_assert!(suffix.is_empty() || matches!(definition.kind, Kind::Histogram | Kind::Summary));
        let Some(lines) = self.lines.get_mut(metric as usize) else { return };
        lines.push_str(definition.name);
        lines.push_str(suffix);
        if !labels.0.is_empty() {
            lines.push('{');
            lines.push_str(&labels.0);
            lines.push('}');
        }
        // Writing to a String cannot fail.
        let _ = writeln!(lines, " {value}");
    }

    /// The whole text.
    pub(crate) fn finish(self) -> String {
        let mut out = String::with_capacity(self.lines.iter().map(|lines| lines.len() + 256).sum());
        for (definition, lines) in DEFINITIONS.iter().zip(&self.lines) {
            if !lines.is_empty() {
                let (name, help, kind) = (definition.name, definition.help, definition.kind.name());
                let _ = write!(out, "# HELP {name} {help}.\n# TYPE {name} {kind}\n{lines}");
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::Histogram;

    #[test]
    fn lines_of_one_metric_stand_together_and_labels_are_escaped() {
        let mut text = Exposition::new(&Family::ALL, 10);
        text.put_for(Metric::GroupMembers, &Labels::of("consumergroup", "a\"b\\c\nd"), 1);
        text.put(Metric::PartitionCount, 2);
        text.put_for(Metric::GroupMembers, &Labels::of("consumergroup", "e").and("x", 3), 4);
        let text = text.finish();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[2], "kafka_server_replicamanager_partitioncount 2");
        assert_eq!(lines[4], "# TYPE kafka_consumergroup_members gauge");
        assert_eq!(lines[5], r#"kafka_consumergroup_members{consumergroup="a\"b\\c\nd"} 1"#);
        assert_eq!(lines[6], r#"kafka_consumergroup_members{consumergroup="e",x="3"} 4"#);
        assert_eq!(lines.len(), 7);
    }

    #[test]
    fn a_family_that_is_off_is_not_told_and_what_is_too_much_is_counted() {
        let mut text = Exposition::new(&[Family::Moldau], 3);
        text.put(Metric::PartitionCount, 2);
        assert!(text.has_room(2));
        assert!(!text.has_room(2));
        assert!(text.has_room(1));
        assert_eq!(text.series(), (3, 2));
        assert_eq!(text.finish(), "");
    }

    #[test]
    fn a_histogram_ends_with_all_that_it_counted() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_millis(1));
        histogram.record(Duration::from_secs(60));
        let mut text = Exposition::new(&Family::ALL, 0);
        text.histogram(Metric::SyncSeconds, &Labels::of("directory", "/d"), &histogram.snapshot());
        let text = text.finish();
        assert!(text.contains("moldau_sync_seconds_bucket{directory=\"/d\",le=\"0.001024\"} 1\n"), "{text}");
        assert!(text.contains("moldau_sync_seconds_bucket{directory=\"/d\",le=\"+Inf\"} 2\n"), "{text}");
        assert!(text.contains("moldau_sync_seconds_sum{directory=\"/d\"} 60.001\n"), "{text}");
        assert!(text.contains("moldau_sync_seconds_count{directory=\"/d\"} 2\n"), "{text}");
    }
}
