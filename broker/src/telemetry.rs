//! Clients' own metrics (KIP-714): which of them operators subscribed to, and what the clients push of those.
//!
//! The numbers are shown where the broker's own are, at `/metrics`. Each client pushes to one broker at a time.

mod instances;
mod otlp;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use moldau_metadata::{ConfigResourceType, MetadataDelta, MetadataImage};
use moldau_model::{ErrorCode, Uuid};
use moldau_record::{Compression, DecompressLimit, decompress};
use parking_lot::Mutex;

use self::instances::{Instances, Properties, subscriptions};
pub(crate) use self::instances::{Push, Wanted};
use self::otlp::Kind;
use crate::api::RequestContext;
use crate::clock;

/// What a push may decompress to: many times of what clients send, and little enough for a few of them at once.
const PUSH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The clients' metrics of one broker.
#[derive(Default)]
pub struct Telemetry {
    instances: Mutex<Instances>,
    is_wanted: AtomicBool,
}

impl Telemetry {
    /// Follows the metadata.
    pub(crate) fn apply(&self, delta: &MetadataDelta, image: &MetadataImage) {
        let is_of_clients = |kind| kind == ConfigResourceType::ClientMetrics;
        if delta.configs.keys().any(|resource| is_of_clients(resource.resource_type)) {
            let subscriptions = subscriptions(image);
            self.is_wanted.store(!subscriptions.is_empty(), Ordering::Relaxed);
            self.instances.lock().subscribe(subscriptions);
        }
    }

    /// Whether anybody has subscribed to anything. Where nobody has, clients are not told that they could push: each would
    /// ask, and librdkafka's would write a line about it.
    pub(crate) fn is_wanted(&self) -> bool {
        self.is_wanted.load(Ordering::Relaxed)
    }

    /// What a client is to push.
    ///
    /// # Errors
    /// `THROTTLING_QUOTA_EXCEEDED`.
    pub(crate) fn ask(&self, client: Uuid, context: &RequestContext) -> Result<Wanted, ErrorCode> {
        self.instances.lock().ask(client, properties(client, context), clock::monotonic())
    }

    /// Whether a push is taken.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn check_push(&self, push: Push, context: &RequestContext) -> Result<(), ErrorCode> {
        self.instances.lock().check_push(push, properties(push.client, context), clock::monotonic())
    }

    /// Takes what a client pushed. Decompresses and decodes it: not for a network worker.
    ///
    /// # Errors
    /// `INVALID_RECORD`: it cannot be read.
    pub(crate) fn take(&self, client: Uuid, compression: Compression, bytes: &[u8]) -> Result<(), ErrorCode> {
        let data = decompress(compression, bytes, DecompressLimit(PUSH_BYTES_MAX)).map_err(|error| {
            tracing::debug!(%client, %error, "a client's metrics cannot be decompressed");
            ErrorCode::InvalidRecord
        })?;
        let points = otlp::points(&data).map_err(|error| {
            tracing::debug!(%client, %error, "a client's metrics");
            ErrorCode::InvalidRecord
        })?;
        self.instances.lock().take(client, points);
        Ok(())
    }

    /// All numbers of clients that are there, in Prometheus' text format.
    pub(crate) fn text(&self) -> String {
        let mut metrics: BTreeMap<String, (Kind, String)> = BTreeMap::new();
        {
            let mut instances = self.instances.lock();
            instances.forget_silent(clock::monotonic());
            for (client, client_id, (name, attributes), kind, value) in instances.series() {
                let name = metric_name(name);
                let (_, lines) = metrics.entry(name.clone()).or_insert_with(|| (kind, String::new()));
                let mut labels: BTreeMap<String, &str> =
                    attributes.iter().map(|(key, value)| (metric_name(key), value.as_str())).collect();
                let client = client.to_string();
                labels.insert("client_instance_id".to_owned(), &client);
                labels.insert("client_id".to_owned(), client_id);
                let labels: Vec<String> =
                    labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
                // Writing to a String cannot fail.
                let _ = writeln!(lines, "{name}{{{}}} {value}", labels.join(","));
            }
        }
        let mut out = String::new();
        for (name, (kind, lines)) in metrics {
            let kind = if kind == Kind::Gauge { "gauge" } else { "counter" };
            let _ = write!(out, "# HELP {name} Told by clients.\n# TYPE {name} {kind}\n{lines}");
        }
        out
    }
}

/// What subscriptions can ask of a client. What is not known of it has no entry, and matches nothing.
fn properties(client: Uuid, context: &RequestContext) -> Properties {
    let mut properties = Properties::from([
        ("client_instance_id", client.to_string()),
        ("client_source_address", context.client_address.ip().to_string()),
        ("client_source_port", context.client_address.port().to_string()),
    ]);
    if let Some(client_id) = &context.client_id {
        properties.insert("client_id", client_id.to_string());
    }
    if let Some(software) = context.peer.software.get() {
        properties.insert("client_software_name", software.name.clone());
        properties.insert("client_software_version", software.version.clone());
    }
    properties
}

/// A name as Prometheus takes it.
fn metric_name(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let name: String = name.chars().map(|c| if fits(c) { c } else { '_' }).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use moldau_model::Principal;

    use crate::api::ClientSoftware;

    fn context() -> RequestContext {
        let context = RequestContext {
            api_key: 71,
            api_version: 0,
            correlation_id: 0,
            client_id: Some("orders \"1\"".into()),
            listener: "PLAINTEXT".into(),
            client_address: ([127, 0, 0, 1], 7).into(),
            principal: Principal::anonymous(),
            may_manage_tokens: false,
            authorizer: None,
            received_at: std::time::Instant::now(),
            peer: Arc::default(),
        };
        let software = ClientSoftware { name: "apache-kafka-java".into(), version: "4.3.0".into() };
        context.peer.software.set(software).unwrap();
        context
    }

    #[test]
    fn what_a_client_tells_is_shown_in_prometheus_words() {
        let telemetry = Telemetry::default();
        let client = Uuid::from_bytes([9; 16]);
        telemetry.ask(client, &context()).unwrap();
        let data =
            otlp::testing::push("org.apache.kafka.producer.record.total", Kind::Delta, 3.0, ("node.id", "1"));
        telemetry.take(client, Compression::None, &data).unwrap();
        let zipped = moldau_record::compress(Compression::Zstd, &data).unwrap();
        telemetry.take(client, Compression::Zstd, &zipped).unwrap();
        let name = "org_apache_kafka_producer_record_total";
        assert_eq!(
            telemetry.text(),
            format!(
                "# HELP {name} Told by clients.\n# TYPE {name} counter\n\
                 {name}{{client_id=\"orders \\\"1\\\"\",client_instance_id=\"{client}\",node_id=\"1\"}} 6\n"
            )
        );
        let unreadable = Err(ErrorCode::InvalidRecord);
        assert_eq!(telemetry.take(client, Compression::None, b"\x0bnothing"), unreadable);
        assert_eq!(telemetry.take(client, Compression::Gzip, b"nothing"), unreadable);
    }

    #[test]
    fn subscriptions_see_what_a_client_says_of_itself() {
        let properties = properties(Uuid::from_bytes([9; 16]), &context());
        assert_eq!(properties["client_software_name"], "apache-kafka-java");
        assert_eq!(properties["client_software_version"], "4.3.0");
        assert_eq!(properties["client_source_address"], "127.0.0.1");
        assert_eq!(properties["client_source_port"], "7");
    }
}
