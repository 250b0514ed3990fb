//! `add-controller` and `remove-controller` (KIP-853). A controller is added by its own configuration file: its id, the id
//! of its metadata directory, and where it listens.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use kafka_protocol::messages::add_raft_voter_request::Listener;
use kafka_protocol::messages::{AddRaftVoterRequest, RemoveRaftVoterRequest};
use kafka_protocol::protocol::StrBytes;
use moldau_model::{ErrorCode, Uuid};

use super::super::tool::Failure;
use super::{Line, connect, usage};
use crate::client::{API_TIMEOUT, ClientError};
use crate::console::{Console, outln};
use crate::properties;
use crate::start::storage;

/// How long the controllers may take: the Java admin client's request timeout.
const CHANGE_TIMEOUT_MS: i32 = 30_000;
/// Pause before the active controller is looked for anew.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// A controller that is to vote.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NewController {
    id: i32,
    directory_id: Uuid,
    /// Name, host and port of its CONTROLLER listeners, the first one first.
    endpoints: Vec<(String, String, u16)>,
}

/// A controller's configuration, as its file has it.
type Properties = BTreeMap<String, String>;

fn wrong<T>(text: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Text(text.into()))
}

pub(super) fn add(line: &Line, console: &mut Console<'_>) -> Result<(), Failure> {
    let Some(path) = &line.config else {
        return wrong(
            "You must supply the configuration file of the controller you are adding when using add-controller.",
        );
    };
    let controller = new_controller(&read(path)?)?;
    if !line.dry_run {
        let listener = |(name, host, port): &(String, String, u16)| {
            let text = |text: &String| StrBytes::from_string(text.clone());
            Listener::default().with_name(text(name)).with_host(text(host)).with_port(*port)
        };
        let request = AddRaftVoterRequest::default()
            .with_cluster_id(None)
            .with_timeout_ms(CHANGE_TIMEOUT_MS)
            .with_voter_id(controller.id)
            .with_voter_directory_id(uuid(controller.directory_id))
            .with_listeners(controller.endpoints.iter().map(listener).collect());
        change(line, |client| {
            let response = client.call(&request)?;
            ClientError::check(response.error_code, response.error_message.as_deref())
        })?;
    }
    outln!(console, "{}", added(&controller, line.dry_run));
    Ok(())
}

pub(super) fn remove(line: &Line, console: &mut Console<'_>) -> Result<(), Failure> {
    let usage = usage(Some("remove-controller"));
    // The line breaks are those of the real tool.
    let Some(directory_id) = &line.controller_directory_id else {
        return wrong(format!(
            "{usage}kafka-metadata-quorum:  error:  argument   --controller-directory-id/-d  is\nrequired"
        ));
    };
    let Some(id) = &line.controller_id else {
        return wrong(format!(
            "{usage}kafka-metadata-quorum: error: argument --controller-id/-i is required"
        ));
    };
    let Ok(id) = id.parse::<i32>() else {
        return wrong(format!(
            "{usage}kafka-metadata-quorum:  error:  argument   --controller-id/-i:   could  not\nconvert '{id}' to \
             Integer (For input string: \"{id}\")"
        ));
    };
    if id < 0 {
        return wrong(format!("Invalid negative --controller-id: {id}"));
    }
    let directory_id: Uuid = match directory_id.parse() {
        Ok(directory_id) => directory_id,
        Err(_) => {
            return wrong(format!("Failed to parse --controller-directory-id: {}", not_an_id(directory_id)));
        }
    };
    if !line.dry_run {
        let request = RemoveRaftVoterRequest::default()
            .with_cluster_id(None)
            .with_voter_id(id)
            .with_voter_directory_id(uuid(directory_id));
        change(line, |client| {
            let response = client.call(&request)?;
            ClientError::check(response.error_code, response.error_message.as_deref())
        })?;
    }
    // Two blanks: the real tool prints them.
    let done = if line.dry_run { "DRY RUN of removing " } else { "Removed " };
    outln!(console, "{done} KRaft controller {id} with directory id {directory_id}");
    Ok(())
}

/// Asks the active controller, and looks for it anew where it is another one meanwhile.
fn change(
    line: &Line,
    ask: impl Fn(&mut crate::client::Client) -> Result<(), ClientError>,
) -> Result<(), Failure> {
    let deadline = Instant::now() + API_TIMEOUT;
    loop {
        let (mut client, _) = connect(line)?;
        let error = match ask(&mut client) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let leads_no_more =
            matches!(error.code(), Some(ErrorCode::NotController | ErrorCode::NotLeaderOrFollower));
        if !leads_no_more || Instant::now() + RETRY_PAUSE >= deadline {
            return wrong(error.java());
        }
        std::thread::sleep(RETRY_PAUSE);
    }
}

fn uuid(id: Uuid) -> uuid::Uuid {
    uuid::Uuid::from_bytes(*id.as_bytes())
}

fn read(path: &str) -> Result<Properties, Failure> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return wrong(format!("Properties file {path} does not exists!"));
        }
        Err(error) => return Err(error.into()),
    };
    match properties::parse(&text) {
        Ok(properties) => Ok(properties.into_iter().collect()),
        Err(error) => wrong(format!("{path}: {error}")),
    }
}

/// What a controller's file says of it, in the order in which Kafka's tool looks.
fn new_controller(properties: &Properties) -> Result<NewController, Failure> {
    const DOUBT: &str = "Is this a valid controller configuration file?";
    let get = |key: &str| properties.get(key).map(|value| value.trim());
    let Some(id) = get("node.id") else {
        return wrong(format!("node.id not found in configuration file. {DOUBT}"));
    };
    let Ok(id) = id.parse::<i32>() else { return wrong(format!("For input string: \"{id}\"")) };
    if id < 0 {
        return wrong(format!("node.id was negative in configuration file. {DOUBT}"));
    }
    if !get("process.roles").unwrap_or_default().contains("controller") {
        return wrong(format!("process.roles did not contain 'controller' in configuration file. {DOUBT}"));
    }
    let first_log_dir = || get("log.dirs").and_then(|dirs| dirs.split(',').next());
    let Some(directory) = get("metadata.log.dir").or_else(first_log_dir) else {
        return wrong(format!("Neither metadata.log.dir nor log.dirs were found. {DOUBT}"));
    };
    let identity = match storage::read(Path::new(directory)) {
        Ok(Some(identity)) => identity,
        Ok(None) => return wrong(format!("Unable to read meta.properties from {directory}")),
        Err(error) => return wrong(error.to_string()),
    };
    let mut listeners: BTreeMap<String, (String, u16)> = BTreeMap::new();
    for key in ["listeners", "advertised.listeners"] {
        for text in get(key).unwrap_or_default().split(',').map(str::trim).filter(|text| !text.is_empty()) {
            let Some((name, host, port)) = listener(text) else {
                return wrong(format!("Unable to parse {text} to a broker endpoint"));
            };
            listeners.insert(name, (host, port));
        }
    }
    let Some(names) = get("controller.listener.names") else {
        return wrong(format!("controller.listener.names was not found. {DOUBT}"));
    };
    let mut endpoints = Vec::new();
    for name in names.split(',').map(|name| name.trim().to_ascii_uppercase()) {
        let Some((host, port)) = listeners.get(&name) else {
            return wrong(format!("Cannot find information about controller listener name: {name}"));
        };
        let host = if host.is_empty() { "localhost".to_owned() } else { host.clone() };
        endpoints.push((name, host, *port));
    }
    Ok(NewController { id, directory_id: identity.directory_id, endpoints })
}

/// `NAME://host:port`; the host may be missing, and an IPv6 address stands in brackets.
fn listener(text: &str) -> Option<(String, String, u16)> {
    let (name, address) = text.split_once("://")?;
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some((name.to_ascii_uppercase(), host.to_owned(), port.parse().ok()?))
}

fn added(controller: &NewController, dry_run: bool) -> String {
    let endpoints: Vec<String> = controller
        .endpoints
        .iter()
        .map(|(name, host, port)| match host.contains(':') {
            true => format!("{name}://[{host}]:{port}"),
            false => format!("{name}://{host}:{port}"),
        })
        .collect();
    format!(
        "{} controller {} with directory id {} and endpoints: {}",
        if dry_run { "DRY RUN of adding" } else { "Added" },
        controller.id,
        controller.directory_id,
        endpoints.join(", ")
    )
}

/// Why Java's reader of ids refuses a text.
fn not_an_id(text: &str) -> String {
    const LENGTH_MAX: usize = 24;
    if text.len() > LENGTH_MAX {
        let prefix: String = text.chars().take(LENGTH_MAX).collect();
        return format!("Input string with prefix `{prefix}` is too long to be decoded as a base64 UUID");
    }
    let bytes = text.trim_end_matches('=').len() * 3 / 4;
    format!(
        "Input string `{text}` decoded as {bytes} bytes, which is not equal to the expected 16 bytes of a base64-encoded UUID"
    )
}

#[cfg(test)]
mod tests {
    use super::super::main;
    use super::*;

    const DISK: &str = "TMhe0Wg5oyrzMJagZeSU6Q";

    fn outcome(words: &[&str]) -> (u8, String, String) {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = main(&words, &mut Console { out: &mut out, err: &mut err }).unwrap();
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    /// The file of a controller that was formatted, but for the keys that are given.
    fn file(directory: &Path, other: &[(&str, &str)]) -> String {
        let identity = storage::Identity {
            cluster_id: "Swr14cqxRpSOFnC5UHnoAg".to_owned(),
            node_id: 2,
            directory_id: DISK.parse().unwrap(),
        };
        storage::write(&directory.join("data"), &identity).unwrap();
        let dirs = directory.join("data").display().to_string();
        let mut properties = BTreeMap::from([
            ("node.id", "2"),
            ("process.roles", "controller"),
            ("log.dirs", dirs.as_str()),
            ("listeners", "CONTROLLER://127.0.0.1:37989"),
            ("controller.listener.names", "CONTROLLER"),
        ]);
        properties.extend(other.iter().copied());
        let path = directory.join("controller.properties");
        let text = properties.iter().filter(|(_, value)| **value != "-").map(|(k, v)| format!("{k}={v}\n"));
        std::fs::write(&path, text.collect::<String>()).unwrap();
        path.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_controller_is_added_by_its_own_file() {
        let directory = tempfile::tempdir().unwrap();
        let add = |other: &[(&str, &str)]| {
            let path = file(directory.path(), other);
            outcome(&["--command-config", &path, "--bootstrap-server", "h:1", "add-controller", "--dry-run"])
        };
        let line = |endpoint: &str| {
            let text = format!(
                "DRY RUN of adding controller 2 with directory id {DISK} and endpoints: {endpoint}\n"
            );
            (0, text, String::new())
        };
        assert_eq!(add(&[]), line("CONTROLLER://127.0.0.1:37989"));
        assert_eq!(add(&[("advertised.listeners", "controller://[::1]:7")]), line("CONTROLLER://[::1]:7"));
        assert_eq!(
            add(&[("listeners", "PLAINTEXT://:1,CONTROLLER://:9093")]),
            line("CONTROLLER://localhost:9093")
        );
        for (key, value, text) in [
            (
                "node.id",
                "-",
                "node.id not found in configuration file. Is this a valid controller configuration file?",
            ),
            (
                "node.id",
                "-2",
                "node.id was negative in configuration file. Is this a valid controller configuration file?",
            ),
            ("node.id", "x", "For input string: \"x\""),
            (
                "process.roles",
                "broker",
                "process.roles did not contain 'controller' in configuration file. Is this a valid controller \
                 configuration file?",
            ),
            (
                "log.dirs",
                "-",
                "Neither metadata.log.dir nor log.dirs were found. Is this a valid controller configuration file?",
            ),
            ("log.dirs", "/nonexistent", "Unable to read meta.properties from /nonexistent"),
            (
                "controller.listener.names",
                "-",
                "controller.listener.names was not found. Is this a valid controller configuration file?",
            ),
            ("listeners", "-", "Cannot find information about controller listener name: CONTROLLER"),
        ] {
            assert_eq!(add(&[(key, value)]), (1, String::new(), format!("{text}\n")), "{key}={value}");
        }
        let (code, _, err) = outcome(&["--bootstrap-server", "h:1", "add-controller"]);
        assert_eq!(code, 1);
        assert!(
            err.starts_with("You must supply the configuration file of the controller you are adding"),
            "{err}"
        );
        let nofile = ["--command-config", "nofile", "--bootstrap-server", "h:1", "add-controller"];
        assert_eq!(outcome(&nofile).2, "Properties file nofile does not exists!\n");
    }

    #[test]
    fn a_controller_is_removed_by_its_id_and_its_disk() {
        let remove = |words: &[&str]| {
            let all = ["--bootstrap-controller", "h:1", "remove-controller"];
            outcome(&[&all[..], words].concat())
        };
        let done = format!("DRY RUN of removing  KRaft controller 2 with directory id {DISK}\n");
        for words in [
            &["-i", "2", "-d", DISK, "--dry-run"][..],
            &["--controller-id=2", "--controller-directory-id", DISK, "--dry-run"],
        ] {
            assert_eq!(remove(words), (0, done.clone(), String::new()));
        }
        let usage = usage(Some("remove-controller"));
        assert!(usage.ends_with("[--dry-run]\n"), "{usage}");
        for (words, text) in [
            (
                &[][..],
                format!("{usage}kafka-metadata-quorum:  error:  argument   --controller-directory-id/-d  is\nrequired"),
            ),
            (
                &["-i", "x", "-d", DISK],
                format!(
                    "{usage}kafka-metadata-quorum:  error:  argument   --controller-id/-i:   could  not\nconvert 'x' to \
                     Integer (For input string: \"x\")"
                ),
            ),
            (
                &["-i"],
                format!("{usage}kafka-metadata-quorum: error:  argument  --controller-id/-i:  expected  one\nargument"),
            ),
            (&["-i=-1", "-d", DISK], "Invalid negative --controller-id: -1".to_owned()),
            (
                &["-i", "2", "-d", "zzz"],
                "Failed to parse --controller-directory-id: Input string `zzz` decoded as 2 bytes, which is not equal to \
                 the expected 16 bytes of a base64-encoded UUID"
                    .to_owned(),
            ),
            (
                &["-i", "2", "-d", "___________________________"],
                "Failed to parse --controller-directory-id: Input string with prefix `________________________` is too \
                 long to be decoded as a base64 UUID"
                    .to_owned(),
            ),
        ] {
            assert_eq!(remove(words), (1, String::new(), format!("{text}\n")), "{words:?}");
        }
        let bogus = outcome(&["--bootstrap-controller", "h:1", "add-controller", "--bogus"]).2;
        let text = "kafka-metadata-quorum: error: unrecognized arguments: '--bogus'\n";
        assert_eq!(bogus, format!("{}{text}", super::usage(Some("add-controller"))));
    }
}
