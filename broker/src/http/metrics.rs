//! `/metrics`: what the node counts, and what its parts look like at the moment, in Prometheus' text format.
//!
//! What is the cluster's one node tells, so that a sum over all nodes is right: of a partition its leader, of a group its
//! coordinator, of the rest the unfenced broker with the lowest id. (Not the controllers: they may run without brokers.)

mod controller;
mod exposition;
mod groups;
mod node;
mod partitions;

use std::sync::Arc;

use moldau_metadata::MetadataImage;
use moldau_model::BrokerId;

use exposition::Exposition;

use crate::broker::Broker;
use crate::metrics::definitions::{Family, Metric};

/// Prometheus' text format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4";

/// Series of topics, partitions and groups in one answer where `metrics.series.max` does not say otherwise.
const SERIES_MAX: usize = 100_000;

/// What the settings say of metrics.
#[derive(Clone, Debug)]
pub(super) struct MetricsSettings {
    families: Vec<Family>,
    tells_of_clients: bool,
    series_max: usize,
}

impl MetricsSettings {
    pub(super) fn of(settings: &std::collections::BTreeMap<String, String>) -> Self {
        let families = settings.get("metrics.families").map(String::as_str);
        let names: Option<Vec<&str>> = families.map(|text| text.split(',').map(str::trim).collect());
        let has = |name: &str| names.as_ref().is_none_or(|names| names.contains(&name));
        let series_max = settings.get("metrics.series.max").and_then(|text| text.trim().parse().ok());
        Self {
            families: Family::ALL.into_iter().filter(|family| has(family.name())).collect(),
            tells_of_clients: has("clients"),
            series_max: series_max.unwrap_or(SERIES_MAX),
        }
    }
}

/// The whole answer.
pub(super) async fn text(broker: Arc<Broker>, settings: Arc<MetricsSettings>) -> Option<String> {
    // Before the rest: the ends of partitions that are led elsewhere have to be asked for.
    let tells_of_groups =
        settings.families.contains(&Family::Exporter) || settings.families.contains(&Family::Moldau);
    let groups = if tells_of_groups { groups::facts(&broker).await } else { Vec::new() };
    let workers = node::Workers::look();
    // Looks at every partition and into `/proc`, and takes as long as that takes.
    let text = tokio::task::spawn_blocking(move || {
        let mut out = Exposition::new(&settings.families, settings.series_max);
        node::put(&mut out, &broker, workers);
        if let Some(statistics) = broker.control.channel.local_statistics() {
            controller::put(&mut out, &statistics);
        }
        let image = broker.control.image();
        partitions::put(&mut out, &broker, &image, is_teller(&image, broker.control.node_id));
        groups::put(&mut out, &groups);
        let (series, omitted) = out.series();
        out.put(Metric::Series, series);
        out.put(Metric::SeriesOmitted, omitted);
        let mut text = out.finish();
        if settings.tells_of_clients {
            text.push_str(&broker.control.telemetry.text());
        }
        text
    });
    match text.await {
        Ok(text) => Some(text),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be written");
            None
        }
    }
}

/// What a controller without a broker tells.
#[must_use]
pub fn controller_text(
    settings: &std::collections::BTreeMap<String, String>,
    statistics: &moldau_cluster::ControllerStatistics,
) -> String {
    let settings = MetricsSettings::of(settings);
    let mut out = Exposition::new(&settings.families, settings.series_max);
    controller::put(&mut out, statistics);
    node::put_process(&mut out);
    out.finish()
}

/// Whether this broker speaks for the cluster. Two may for a moment, while they see different metadata.
fn is_teller(image: &MetadataImage, node_id: BrokerId) -> bool {
    image.alive_brokers().map(|broker| broker.id).min() == Some(node_id)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> MetricsSettings {
        let settings: BTreeMap<_, _> = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        MetricsSettings::of(&settings)
    }

    #[test]
    fn all_is_told_but_what_the_settings_leave_out() {
        let all = settings(&[]);
        assert_eq!(all.families, Family::ALL);
        assert!(all.tells_of_clients);
        assert_eq!(all.series_max, SERIES_MAX);
        let some = settings(&[("metrics.families", "jmx, process"), ("metrics.series.max", "7")]);
        assert_eq!(some.families, [Family::Jmx, Family::Process]);
        assert!(!some.tells_of_clients);
        assert_eq!(some.series_max, 7);
        assert_eq!(settings(&[("metrics.families", "")]).families, []);
    }
}
