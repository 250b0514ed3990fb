//! Settings from the environment, as Apache Kafka's image reads them, with the names that other images' compose files
//! use: `KAFKA_LOG_DIRS` is `log.dirs`; `_` is a dot, `__` an underscore, `___` a dash.

use std::collections::BTreeMap;

use moldau_metadata::config::definitions::OWN;

/// What the environment says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    pub(crate) settings: BTreeMap<String, String>,
    /// The cluster id to format storage with.
    pub(crate) cluster_id: Option<String>,
    /// `KAFKA_CREATE_TOPICS`, and what stands between its topics.
    pub(crate) create_topics: Option<String>,
    pub(crate) create_topics_separator: Option<String>,
    /// Variables that are accepted and mean nothing here.
    pub(crate) ignored: Vec<String>,
    /// Sentences for the user, each about something that will not happen.
    pub(crate) warnings: Vec<String>,
}

/// Variables of the JVM, of images' scripts and of our own tools, with or without the prefix: no settings.
const IGNORED: &[&str] = &[
    "HEAP_OPTS",
    "OPTS",
    "JVM_PERFORMANCE_OPTS",
    "GC_LOG_OPTS",
    "DEBUG",
    "HOME",
    "VERSION",
    "CLASSPATH",
    "BOOTSTRAP_SERVERS",
    "ENABLE_KRAFT",
    "LOG",
    "LOG_FORMAT",
    "CONF_FILE",
    "MOUNTED_CONF_DIR",
    // Bitnami's scripts: where things lie, and that storage is formatted, which a start here does where it has to.
    "BASE_DIR",
    "CLIENT_LISTENER_NAME",
    "CONF_DIR",
    "DAEMON_GROUP",
    "DAEMON_USER",
    "DATA_DIR",
    "EXTRA_FLAGS",
    "INITSCRIPTS_DIR",
    "KRAFT_VERSION",
    "SKIP_KRAFT_STORAGE_INIT",
    "VOLUME_DIR",
];
/// `CONFLUENT_` holds the license, telemetry and balancer of Confluent's own server.
const IGNORED_PREFIXES: &[&str] = &["CONFLUENT_", "JMX_", "LOG4J_", "JAVA_", "TOOLS_LOG4J_"];
/// Users and certificates as Bitnami's scripts take them, which write Kafka's settings from them. To go on without
/// would be to run open where somebody asked for a lock.
const BITNAMI_SECURITY: &[&str] = &[
    "CERTIFICATE_PASSWORD",
    "CLIENT_PASSWORDS",
    "CLIENT_USERS",
    "CONTROLLER_PASSWORD",
    "CONTROLLER_USER",
    "INTER_BROKER_PASSWORD",
    "INTER_BROKER_USER",
    "TLS_CLIENT_AUTH",
    "TLS_TRUSTSTORE_FILE",
    "TLS_TYPE",
];

/// What sets a variable against another of the same meaning: the later ones win.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    Bitnami,
    Kafka,
    Moldau,
}

/// Reads variables, in any order.
pub(crate) fn read(variables: impl IntoIterator<Item = (String, String)>) -> Environment {
    let mut environment = Environment::default();
    let mut found: Vec<(Family, String, String)> = Vec::new();
    let mut advertised = (None, None);
    let mut sorted: Vec<(String, String)> = variables.into_iter().collect();
    sorted.sort();
    for (variable, value) in sorted {
        if variable == "CLUSTER_ID" {
            environment.cluster_id.get_or_insert(value);
            continue;
        }
        let Some((family, name)) = family_of(&variable) else { continue };
        if is_service_link(name) {
            continue;
        }
        match name {
            "CLUSTER_ID" | "KRAFT_CLUSTER_ID" => {
                environment.cluster_id.get_or_insert(value);
            }
            "ADVERTISED_HOST_NAME" => advertised.0 = Some(value),
            "ADVERTISED_PORT" => advertised.1 = Some(value),
            "CREATE_TOPICS" => environment.create_topics = Some(value),
            "CREATE_TOPICS_SEPARATOR" => environment.create_topics_separator = Some(value),
            _ if BITNAMI_SECURITY.contains(&name) => environment.warnings.push(format!(
                "{variable} is ignored: write Kafka's own settings (sasl.*, ssl.*), as docs/CONFIGURATION.md has them"
            )),
            _ if name.starts_with("ZOOKEEPER_") => environment
                .warnings
                .push(format!("{variable} is ignored: no ZooKeeper needed, its service can be removed")),
            _ if IGNORED.contains(&name)
                || IGNORED_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) =>
            {
                if name != "BOOTSTRAP_SERVERS"
                    && !(family == Family::Moldau && ["LOG", "LOG_FORMAT"].contains(&name))
                {
                    environment.ignored.push(variable);
                }
            }
            _ => found.push((family, key_of(name), value)),
        }
    }
    found.sort_by_key(|(family, _, _)| *family);
    environment.settings.extend(found.into_iter().map(|(_, key, value)| (key, value)));
    if let Some(host) = advertised.0 {
        // An image of before listeners: one plain listener, and this name for clients.
        let port = advertised.1.unwrap_or_else(|| "9092".to_owned());
        let listener = format!("PLAINTEXT://{host}:{port}");
        environment.settings.entry("advertised.listeners".to_owned()).or_insert(listener);
    }
    environment
}

/// The part of a variable's name that is a setting, and whose way of writing it is.
fn family_of(variable: &str) -> Option<(Family, &str)> {
    if let Some(name) = variable.strip_prefix("MOLDAU_") {
        return Some((Family::Moldau, name));
    }
    // OpenTelemetry's own, which other programs know as well: those that are settings here.
    if OWN.iter().any(|definition| variable.starts_with("OTEL_") && definition.name == key_of(variable)) {
        return Some((Family::Kafka, variable));
    }
    let name = variable.strip_prefix("KAFKA_")?;
    Some(name.strip_prefix("CFG_").map_or((Family::Kafka, name), |name| (Family::Bitnami, name)))
}

/// `LOG_DIRS` is `log.dirs`.
pub(crate) fn key_of(name: &str) -> String {
    // The long ones first, and by way of characters that no name has, so that nothing is replaced twice.
    name.to_ascii_lowercase()
        .replace("___", "\u{1}")
        .replace("__", "\u{2}")
        .replace('_', ".")
        .replace('\u{1}', "-")
        .replace('\u{2}', "_")
}

/// Kubernetes puts `KAFKA_PORT`, `KAFKA_SERVICE_HOST`, `KAFKA_PORT_9092_TCP_ADDR` ... into every pod beside a Service
/// that is named `kafka`, and the same with `KAFKA_HEADLESS_...` for `kafka-headless`.
fn is_service_link(name: &str) -> bool {
    let in_port = |at: usize| {
        let rest = &name[at + "PORT".len()..];
        rest.is_empty()
            || rest.strip_prefix('_').is_some_and(|rest| {
                let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit());
                digits.len() < rest.len()
                    && ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| digits.starts_with(protocol))
            })
    };
    name.ends_with("SERVICE_HOST")
        || name.contains("SERVICE_PORT")
        || name == "PORT"
        || name.match_indices("PORT").any(|(at, _)| !name[at..].eq("PORT") && in_port(at))
        || (name.ends_with("_PORT") && name != "ADVERTISED_PORT")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        read(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    fn setting(variables: &[(&str, &str)]) -> Vec<(String, String)> {
        environment(variables).settings.into_iter().collect()
    }

    #[test]
    fn a_variable_is_a_setting_by_kafkas_rule() {
        for (variable, key) in [
            ("KAFKA_LOG_DIRS", "log.dirs"),
            ("KAFKA_PROCESS_ROLES", "process.roles"),
            ("KAFKA_BROKER_ID", "broker.id"),
            ("KAFKA_CFG_NODE_ID", "node.id"),
            ("MOLDAU_HTTP_LISTENER", "http.listener"),
            ("KAFKA_LISTENER_NAME_OUT__SIDE_X", "listener.name.out_side.x"),
            ("KAFKA_LISTENER_NAME_A___B_X", "listener.name.a-b.x"),
            ("KAFKA_LOG_RETENTION_MS", "log.retention.ms"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "otel.exporter.otlp.endpoint"),
            ("KAFKA_TRANSACTION_STATE_LOG_MIN_ISR", "transaction.state.log.min.isr"),
        ] {
            assert_eq!(setting(&[(variable, "v")]), [(key.to_owned(), "v".to_owned())], "{variable}");
        }
    }

    #[test]
    fn what_kubernetes_puts_there_is_no_setting() {
        for variable in [
            "KAFKA_PORT",
            "KAFKA_SERVICE_HOST",
            "KAFKA_SERVICE_PORT",
            "KAFKA_SERVICE_PORT_CLIENT",
            "KAFKA_PORT_9092_TCP",
            "KAFKA_PORT_9092_TCP_ADDR",
            "KAFKA_PORT_9092_TCP_PROTO",
            "KAFKA_HEADLESS_SERVICE_HOST",
            "KAFKA_HEADLESS_PORT",
            "KAFKA_HEADLESS_PORT_9093_TCP_PORT",
        ] {
            assert_eq!(
                environment(&[(variable, "tcp://10.0.0.1:9092")]),
                Environment::default(),
                "{variable}"
            );
        }
    }

    #[test]
    fn the_more_own_name_wins() {
        let all = [("KAFKA_CFG_NODE_ID", "1"), ("KAFKA_NODE_ID", "2"), ("MOLDAU_NODE_ID", "3")];
        for count in 1..=3 {
            assert_eq!(setting(&all[..count]), [("node.id".to_owned(), count.to_string())]);
        }
    }

    #[test]
    fn the_cluster_id_has_three_names() {
        for variable in ["CLUSTER_ID", "KAFKA_CLUSTER_ID", "KAFKA_KRAFT_CLUSTER_ID", "MOLDAU_CLUSTER_ID"] {
            let read = environment(&[(variable, "5L6g3nShT-eMCtK--X86sw")]);
            assert_eq!(read.cluster_id.as_deref(), Some("5L6g3nShT-eMCtK--X86sw"));
            assert!(read.settings.is_empty());
        }
    }

    #[test]
    fn a_java_machine_is_not_needed_and_zookeeper_neither() {
        let read = environment(&[
            ("KAFKA_HEAP_OPTS", "-Xmx1G"),
            ("KAFKA_JMX_PORT", "9999"),
            ("KAFKA_LOG4J_LOGGERS", "x"),
            ("KAFKA_CFG_ZOOKEEPER_CONNECT", "zookeeper:2181"),
            ("KAFKA_BOOTSTRAP_SERVERS", "a:1"),
            ("ALLOW_PLAINTEXT_LISTENER", "yes"),
            ("PATH", "/bin"),
        ]);
        assert!(read.settings.is_empty());
        assert_eq!(read.ignored, ["KAFKA_HEAP_OPTS", "KAFKA_LOG4J_LOGGERS"]);
        assert_eq!(
            read.warnings,
            ["KAFKA_CFG_ZOOKEEPER_CONNECT is ignored: no ZooKeeper needed, its service can be removed"]
        );
    }

    #[test]
    fn confluents_own_server_is_not_needed_and_bitnamis_scripts_neither() {
        let read = environment(&[
            ("KAFKA_CONFLUENT_LICENSE_TOPIC_REPLICATION_FACTOR", "1"),
            ("CONFLUENT_METRICS_ENABLE", "false"),
            ("KAFKA_TOOLS_LOG4J_LOGLEVEL", "ERROR"),
            ("KAFKA_SKIP_KRAFT_STORAGE_INIT", "true"),
            ("KAFKA_ENABLE_KRAFT", "yes"),
            ("BITNAMI_DEBUG", "true"),
        ]);
        assert!(read.settings.is_empty(), "{:?}", read.settings);
        assert_eq!(read.warnings, Vec::<String>::new());
        assert_eq!(read.ignored.len(), 4);
    }

    #[test]
    fn a_lock_that_is_not_put_on_is_named() {
        let read = environment(&[("KAFKA_CLIENT_USERS", "user")]);
        assert!(read.settings.is_empty());
        assert_eq!(read.warnings.len(), 1);
        assert!(read.warnings[0].starts_with("KAFKA_CLIENT_USERS is ignored"), "{:?}", read.warnings);
    }

    #[test]
    fn topics_to_create_are_no_setting() {
        let read = environment(&[("KAFKA_CREATE_TOPICS", "a:1:1"), ("KAFKA_CREATE_TOPICS_SEPARATOR", ";")]);
        assert_eq!(read.create_topics.as_deref(), Some("a:1:1"));
        assert_eq!(read.create_topics_separator.as_deref(), Some(";"));
        assert!(read.settings.is_empty() && read.warnings.is_empty());
    }

    #[test]
    fn old_images_advertise_by_host_and_port() {
        assert_eq!(
            setting(&[("KAFKA_ADVERTISED_HOST_NAME", "h"), ("KAFKA_ADVERTISED_PORT", "9")]),
            [("advertised.listeners".to_owned(), "PLAINTEXT://h:9".to_owned())]
        );
    }
}
