//! Where settings come from, and which one holds: override > environment > file > default.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use crate::properties;

/// What holds where no properties file was named. Apache Kafka cannot start so; the files that it ships for a first try
/// say the same of the wait for a new group's further members, which is three seconds by default.
const WITHOUT_A_FILE: [(&str, &str); 1] = [("group.initial.rebalance.delay.ms", "0")];

/// Why the settings cannot be read. One line each, naming what to mend.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("cannot read {path}: {source}", path = path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}: {source}", path = path.display())]
    Syntax { path: PathBuf, source: properties::PropertiesError },
    #[error("--override {0}: write it as key=value")]
    Override(String),
}

/// Reads a properties file; the later of two equal keys holds.
pub(crate) fn file(path: &Path) -> Result<BTreeMap<String, String>, SettingsError> {
    let bytes =
        std::fs::read(path).map_err(|source| SettingsError::Read { path: path.to_owned(), source })?;
    let text = String::from_utf8_lossy(&bytes);
    let parsed =
        properties::parse(&text).map_err(|source| SettingsError::Syntax { path: path.to_owned(), source })?;
    Ok(parsed.into_iter().collect())
}

/// Lays the sources over one another and fills in what one setting says about another.
pub(crate) fn merge(
    files: &[PathBuf],
    environment: &Environment,
    overrides: &[String],
) -> Result<BTreeMap<String, String>, SettingsError> {
    let mut settings = BTreeMap::new();
    if files.is_empty() {
        settings.extend(WITHOUT_A_FILE.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
    for path in files {
        settings.extend(file(path)?);
    }
    // A node's number has two names; the file's must not stand against the environment's.
    let has_own_id = |keys: &dyn Fn(&str) -> bool| keys("node.id") || keys("broker.id");
    if has_own_id(&|key| environment.settings.contains_key(key)) {
        settings.remove("node.id");
        settings.remove("broker.id");
    }
    settings.extend(environment.settings.clone());
    let mut given = BTreeMap::new();
    for text in overrides {
        let (key, value) = text.split_once('=').ok_or_else(|| SettingsError::Override(text.clone()))?;
        given.insert(key.trim().to_owned(), value.trim().to_owned());
    }
    if has_own_id(&|key| given.contains_key(key)) {
        settings.remove("node.id");
        settings.remove("broker.id");
    }
    settings.extend(given);
    derive_listeners(&mut settings);
    Ok(settings)
}

/// Who only says what clients are told wants to be reached there: listen on every interface at those ports, as
/// Apache Kafka's image does.
fn derive_listeners(settings: &mut BTreeMap<String, String>) {
    if settings.contains_key("listeners") {
        return;
    }
    // A process that is a controller alone has nothing to advertise; the configuration's check says so.
    let is_broker = settings.get("process.roles").is_none_or(|roles| roles.contains("broker"));
    let Some(advertised) = settings.get("advertised.listeners").filter(|_| is_broker) else { return };
    let listeners: Vec<String> = advertised
        .split(',')
        .map(|listener| match (listener.split_once("://"), listener.rsplit_once(':')) {
            (Some((name, _)), Some((_, port))) => format!("{}://0.0.0.0:{port}", name.trim()),
            _ => listener.to_owned(),
        })
        .collect();
    settings.insert("listeners".to_owned(), listeners.join(","));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(file: &str, environment: &[(&str, &str)], overrides: &[&str]) -> BTreeMap<String, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("server.properties");
        std::fs::write(&path, file).unwrap();
        let environment = super::super::environment::read(
            environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())),
        );
        let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
        merge(&[path], &environment, &overrides).unwrap()
    }

    #[test]
    fn an_override_beats_the_environment_which_beats_the_file() {
        let file = "num.partitions=1\n";
        let variable = [("KAFKA_NUM_PARTITIONS", "2")];
        assert_eq!(merged(file, &[], &[])["num.partitions"], "1");
        assert_eq!(merged(file, &variable, &[])["num.partitions"], "2");
        assert_eq!(merged(file, &variable, &["num.partitions=3"])["num.partitions"], "3");
    }

    #[test]
    fn a_first_try_without_a_file_does_not_wait_for_further_members() {
        let without = |overrides: &[String]| merge(&[], &Environment::default(), overrides).unwrap();
        assert_eq!(without(&[])["group.initial.rebalance.delay.ms"], "0");
        let said = ["group.initial.rebalance.delay.ms=5".to_owned()];
        assert_eq!(without(&said)["group.initial.rebalance.delay.ms"], "5");
        assert_eq!(merged("", &[], &[]).get("group.initial.rebalance.delay.ms"), None);
    }

    #[test]
    fn a_nodes_number_has_two_names_and_the_stronger_source_wins() {
        let settings = merged("node.id=1", &[("KAFKA_BROKER_ID", "2")], &[]);
        assert_eq!((settings.get("node.id"), settings["broker.id"].as_str()), (None, "2"));
        let settings = merged("broker.id=1", &[], &["node.id=3"]);
        assert_eq!((settings.get("broker.id"), settings["node.id"].as_str()), (None, "3"));
    }

    #[test]
    fn listeners_follow_from_what_is_advertised() {
        let variable = [("KAFKA_ADVERTISED_LISTENERS", "PLAINTEXT://kafka:9092,OUT://localhost:9094")];
        assert_eq!(merged("", &variable, &[])["listeners"], "PLAINTEXT://0.0.0.0:9092,OUT://0.0.0.0:9094");
        assert_eq!(merged("listeners=PLAINTEXT://:1", &variable, &[])["listeners"], "PLAINTEXT://:1");
        assert_eq!(merged("process.roles=controller", &variable, &[]).get("listeners"), None);
    }

    #[test]
    fn what_is_no_override_is_named() {
        let error = merge(&[], &Environment::default(), &["foo".to_owned()]).unwrap_err();
        assert_eq!(error.to_string(), "--override foo: write it as key=value");
    }
}
