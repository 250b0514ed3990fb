//! What Kafka's tools have in common: usage tables, the checks of options, `--help` and `--version`, and the
//! bootstrap servers.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use moldau_security::link::Dialer;

use super::options::{OptionError, Options, Spec};
use crate::client::{API_TIMEOUT, Client, ClientError, ClientOptions, HostPort, WhenUnreachable, security};
use crate::console::{Console, errln, outln};

/// The version whose tools these are, as `--version` prints it.
pub(crate) const KAFKA_VERSION: &str = "4.3.0";

const BOOTSTRAP_SERVER: &str = "--bootstrap-server";

/// Why a tool ends early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A wrong command line: the text and the option table on standard error, exit code 1.
    Usage(String),
    /// A text on standard error, exit code 1.
    Text(String),
    /// Everything was said; the exit code.
    Exit(u8),
    Client(ClientError),
    /// A command line that turns out wrong only while the tool works, which Kafka reports like the work's errors.
    Option(OptionError),
    /// None of the servers has an address: what Kafka then says it cannot make.
    Unresolvable(&'static str),
    Io(io::Error),
}

/// What Kafka's tools say of a client that they cannot make.
pub(crate) const NO_ADMIN: &str = "Failed to create new KafkaAdminClient";
pub(crate) const NO_PRODUCER: &str =
    "org.apache.kafka.common.KafkaException: Failed to construct kafka producer";
pub(crate) const NO_CONSUMER: &str =
    "org.apache.kafka.common.KafkaException: Failed to construct kafka consumer";
pub(crate) const NO_RESOLVABLE: &str = "No resolvable bootstrap urls given in bootstrap.servers";

/// The lines of Kafka's stack trace that say something.
pub(crate) fn unresolvable(made: &str) -> String {
    format!("{made}\nCaused by: org.apache.kafka.common.config.ConfigException: {NO_RESOLVABLE}")
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<OptionError> for Failure {
    fn from(error: OptionError) -> Self {
        Self::Option(error)
    }
}

/// A tool's fixed facts.
pub(crate) struct ToolInfo {
    pub(crate) spec: Spec,
    /// The option table, as the real tool prints it.
    pub(crate) usage: &'static str,
    /// The line above the table for `--help`.
    pub(crate) about: &'static str,
}

impl ToolInfo {
    /// Reads the command line, old tutorials' options included, and answers `--help` and `--version`.
    pub(crate) fn parse(&self, arguments: &[String], console: &mut Console<'_>) -> Result<Options, Failure> {
        let kept = self.without_old_options(arguments, console)?;
        let options = self.spec.parse(&kept).map_err(|error| Failure::Text(error.to_string()))?;
        if options.has("help") {
            return Err(Failure::Usage(self.about.to_owned()));
        }
        if options.has("version") {
            outln!(console, "{KAFKA_VERSION}");
            return Err(Failure::Exit(0));
        }
        Ok(options)
    }

    /// As `parse`, for the many tools that print their help where nothing is asked of them.
    pub(crate) fn parse_some(
        &self,
        arguments: &[String],
        console: &mut Console<'_>,
    ) -> Result<Options, Failure> {
        if arguments.is_empty() {
            return Err(Failure::Usage(self.about.to_owned()));
        }
        self.parse(arguments, console)
    }

    /// The line without the options that tutorials for Kafka before 4 still show. No line that names servers by one of
    /// them goes on with others: it may delete.
    fn without_old_options(
        &self,
        arguments: &[String],
        console: &mut Console<'_>,
    ) -> Result<Vec<String>, Failure> {
        let names_servers = arguments
            .iter()
            .any(|word| word == BOOTSTRAP_SERVER || word.starts_with(&format!("{BOOTSTRAP_SERVER}=")));
        let mut kept = Vec::with_capacity(arguments.len());
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let (name, inline) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (word.as_str(), None),
            };
            let is_known =
                self.spec.options.iter().any(|(option, _)| Some(*option) == name.strip_prefix("--"));
            match name {
                "--broker-list" if !is_known => {
                    let missing = || OptionError::MissingArgument("broker-list".to_owned());
                    let servers = inline.or_else(|| words.next().cloned());
                    let servers = servers.ok_or_else(|| Failure::Text(missing().to_string()))?;
                    errln!(
                        console,
                        "note: --broker-list is gone since Kafka 4, taken as {BOOTSTRAP_SERVER} {servers}"
                    );
                    kept.extend([BOOTSTRAP_SERVER.to_owned(), servers]);
                }
                "--zookeeper" if !is_known && names_servers => {
                    if inline.is_none() {
                        words.next();
                    }
                    errln!(
                        console,
                        "note: --zookeeper is gone since Kafka 4, and nothing is asked of ZooKeeper"
                    );
                }
                "--zookeeper" if !is_known => {
                    return Err(Failure::Text(format!(
                        "{}\nKafka has no ZooKeeper since version 4: name the cluster's brokers by {BOOTSTRAP_SERVER} HOST:PORT",
                        OptionError::Unrecognized("zookeeper".to_owned())
                    )));
                }
                _ => kept.push(word.clone()),
            }
        }
        Ok(kept)
    }

    /// Says why the tool ended and returns the exit code. `prefix` goes before errors of the work itself, which
    /// Kafka's tools print on standard output.
    pub(crate) fn finish(
        &self,
        result: Result<(), Failure>,
        prefix: &str,
        console: &mut Console<'_>,
    ) -> io::Result<u8> {
        let text = match result {
            Ok(()) => return Ok(0),
            Err(Failure::Exit(code)) => return Ok(code),
            Err(Failure::Io(error)) => return Err(error),
            Err(Failure::Usage(text)) => {
                console.out.flush()?;
                errln!(console, "{text}");
                write!(console.err, "{}", self.usage)?;
                return Ok(1);
            }
            Err(Failure::Text(text)) => {
                console.out.flush()?;
                errln!(console, "{text}");
                return Ok(1);
            }
            Err(Failure::Unresolvable(made)) => {
                let text = unresolvable(made);
                match text.split_once('\n').filter(|_| !prefix.is_empty()) {
                    Some((first, cause)) => {
                        outln!(console, "{prefix}{first}");
                        console.out.flush()?;
                        errln!(console, "{cause}");
                    }
                    None => {
                        console.out.flush()?;
                        errln!(console, "{text}");
                    }
                }
                return Ok(1);
            }
            Err(Failure::Client(error)) => error.to_string(),
            Err(Failure::Option(error)) => error.to_string(),
        };
        outln!(console, "{prefix}{text}");
        Ok(1)
    }
}

/// The work's errors as the newer tools say them: by Java's names, and on standard error.
pub(crate) fn with_java_names(result: Result<(), Failure>) -> Result<(), Failure> {
    result.map_err(|failure| match failure {
        Failure::Client(error) => Failure::Text(error.java()),
        Failure::Option(error) => Failure::Text(error.to_string()),
        other => other,
    })
}

/// Refuses a line without an option that it needs.
pub(crate) fn require(options: &Options, names: &[&str]) -> Result<(), Failure> {
    match names.iter().find(|name| !options.has(name)) {
        Some(missing) => Err(Failure::Usage(format!("Missing required argument \"[{missing}]\""))),
        None => Ok(()),
    }
}

/// Refuses options that make no sense beside `used`, if that was given.
pub(crate) fn refuse_beside(options: &Options, used: &str, others: &[&str]) -> Result<(), Failure> {
    if !options.has(used) {
        return Ok(());
    }
    match others.iter().find(|other| options.has(other)) {
        Some(other) => {
            Err(Failure::Usage(format!("Option \"[{used}]\" can't be used with option \"[{other}]\"")))
        }
        None => Ok(()),
    }
}

/// Where tools connect to when nobody says.
pub(crate) fn default_bootstrap() -> String {
    std::env::var("KAFKA_BOOTSTRAP_SERVERS")
        .ok()
        .filter(|value| !value.trim().is_empty())
        .unwrap_or_else(|| "localhost:9092".to_owned())
}

/// No server that was named has an address.
pub(crate) struct NotResolvable;

/// Refuses servers of which none has an address, as Kafka's clients do at their start; where one has, it is tried. Each that
/// has none is told of, as Kafka's clients log it.
pub(crate) fn check_resolvable(servers: &[HostPort]) -> Result<(), NotResolvable> {
    let missed = &mut |server: &HostPort| {
        crate::console::note(&format!(
            "WARN Couldn't resolve server {server} from bootstrap.servers as DNS resolution failed for {}",
            server.host
        ));
    };
    if HostPort::any_resolves(servers, missed) { Ok(()) } else { Err(NotResolvable) }
}

/// The servers of an admin client, for tools that have their own command lines.
pub(crate) fn admin_servers(servers: &str) -> Result<Vec<HostPort>, String> {
    let servers = HostPort::parse_list(servers).map_err(|error| error.to_string())?;
    check_resolvable(&servers).map_err(|NotResolvable| unresolvable(NO_ADMIN))?;
    Ok(servers)
}

/// A client for the tool: `--bootstrap-server`, or the default.
pub(crate) fn connect(options: &Options, client_id: &str) -> Result<Client, Failure> {
    connect_within(options, client_id, API_TIMEOUT)
}

/// As `connect`, with another bound on each operation's time.
pub(crate) fn connect_within(
    options: &Options,
    client_id: &str,
    api_timeout: Duration,
) -> Result<Client, Failure> {
    let dialer = dialer(&command_config(options)?)?;
    connect_dialing(options, client_id, api_timeout, dialer, NO_ADMIN)
}

/// As `connect`, with what the tool's properties say of the servers. `made` is what Kafka says where there are none.
pub(crate) fn connect_dialing(
    options: &Options,
    client_id: &str,
    api_timeout: Duration,
    dialer: Dialer,
    made: &'static str,
) -> Result<Client, Failure> {
    let servers = options.one("bootstrap-server")?.map_or_else(default_bootstrap, str::to_owned);
    let bootstrap = HostPort::parse_list(&servers).map_err(|error| Failure::Text(error.to_string()))?;
    check_resolvable(&bootstrap).map_err(|NotResolvable| Failure::Unresolvable(made))?;
    let client = Client::new(ClientOptions {
        bootstrap,
        client_id: client_id.to_owned(),
        api_timeout,
        when_unreachable: WhenUnreachable::Retry,
    });
    Ok(client.dialing(Arc::new(dialer)))
}

/// The properties of `--command-config`. A file that cannot be read is refused rather than ignored.
pub(crate) fn command_config(options: &Options) -> Result<Vec<(String, String)>, Failure> {
    let Some(path) = options.one("command-config")? else { return Ok(Vec::new()) };
    let text = std::fs::read_to_string(path).map_err(|error| Failure::Text(format!("{path}: {error}")))?;
    crate::properties::parse(&text).map_err(|error| Failure::Text(format!("{path}: {error}")))
}

/// What dials as the properties say.
pub(crate) fn dialer(properties: &[(String, String)]) -> Result<Dialer, Failure> {
    security::dialer(properties).map_err(Failure::Text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compat::options::Argument;

    const TOOL: ToolInfo = ToolInfo {
        spec: Spec { options: &[("bootstrap-server", Argument::Required), ("delete", Argument::No)] },
        usage: "",
        about: "",
    };

    /// The servers that a line names, or what is said in place of going on, and the notes.
    fn servers_of(line: &str) -> (Result<Option<String>, String>, String) {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let parsed = TOOL.parse(&words, &mut Console { out: &mut out, err: &mut err });
        let servers = match parsed {
            Ok(options) => Ok(options.one("bootstrap-server").unwrap().map(str::to_owned)),
            Err(Failure::Text(text)) => Err(text),
            Err(other) => panic!("{line}: {other:?}"),
        };
        (servers, String::from_utf8(err).unwrap())
    }

    #[test]
    fn a_list_of_brokers_names_the_bootstrap_servers() {
        for line in ["--delete --broker-list h:1,i:2", "--broker-list=h:1,i:2 --delete"] {
            let (servers, notes) = servers_of(line);
            assert_eq!(servers, Ok(Some("h:1,i:2".to_owned())), "{line}");
            assert_eq!(
                notes,
                "note: --broker-list is gone since Kafka 4, taken as --bootstrap-server h:1,i:2\n"
            );
        }
        let (refused, _) = servers_of("--delete --broker-list");
        assert_eq!(refused, Err("Option broker-list requires an argument".to_owned()));
    }

    #[test]
    fn who_names_a_zookeeper_alone_never_reaches_another_cluster() {
        for line in ["--zookeeper prod-zk:2181 --delete", "--delete --zookeeper=prod-zk:2181"] {
            let (refused, notes) = servers_of(line);
            let text = refused.unwrap_err();
            assert_eq!(text.lines().next(), Some("zookeeper is not a recognized option"), "{line}");
            assert!(text.ends_with("by --bootstrap-server HOST:PORT") && notes.is_empty(), "{text}");
        }
        for line in
            ["--zookeeper z:1 --delete --bootstrap-server h:1", "--bootstrap-server=h:1 --zookeeper=z:1"]
        {
            let (servers, notes) = servers_of(line);
            assert_eq!(servers, Ok(Some("h:1".to_owned())), "{line}");
            assert!(notes.starts_with("note: --zookeeper is gone since Kafka 4"), "{notes}");
        }
    }
}
