//! `moldau start`: settings from files, the environment and the command line; storage; then the node itself.

mod banner;
mod container;
mod create_topics;
pub(crate) mod environment;
mod health;
pub(crate) mod initial_records;
mod listeners;
mod naming;
mod node;
mod notify;
pub(crate) mod quorum;
mod refusal;
mod security;
mod settings;
pub(crate) mod storage;
mod strangers;
mod waiting;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Instant;

use moldau_metadata::config::{BrokerConfig, UnknownSetting};

use crate::client::topics::NewTopic;
use crate::console::{Console, errln, outln};
use environment::Environment;

/// The log's filter where `MOLDAU_LOG` does not say otherwise: the libraries' own chatter helps nobody.
const LOG_FILTER: &str = "info,h2=error,openraft=error,sled=warn";

/// What `moldau start` was told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct StartArguments {
    /// Properties files, the later ones over the earlier ones.
    pub(crate) files: Vec<PathBuf>,
    /// `key=value`, over everything.
    pub(crate) overrides: Vec<String>,
    /// This is one of the project's container images.
    pub(crate) is_container: bool,
}

/// Everything a node needs to start, checked.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) config: BrokerConfig,
    pub(crate) cluster_id: String,
    pub(crate) metadata_directory_id: moldau_model::Uuid,
    /// Directories that this start made.
    pub(crate) new_directories: Vec<PathBuf>,
    /// Those of `log.dirs` that cannot be used: the broker goes on without them.
    pub(crate) failed_log_dirs: Vec<PathBuf>,
    /// What `KAFKA_CREATE_TOPICS` asks for.
    pub(crate) create_topics: Vec<NewTopic>,
}

/// Runs a node until it is told to stop. Returns the exit code.
pub(crate) fn run(arguments: &StartArguments, console: &mut Console<'_>) -> io::Result<u8> {
    let started = Instant::now();
    log_to_stderr();
    raise_open_files();
    refuse_huge_pages();
    let environment = environment::read(std::env::vars_os().filter_map(|(name, value)| {
        // A name or value that is no text is no setting.
        Some((name.into_string().ok()?, value.into_string().ok()?))
    }));
    say(&environment);
    let of_container = arguments
        .is_container
        .then(|| container::arguments(arguments, &environment, container::Mounted::look()));
    match prepare(of_container.as_ref().unwrap_or(arguments), &environment) {
        Ok(prepared) => match node::run(prepared, started, console) {
            Ok(()) => Ok(0),
            Err(text) => {
                errln!(console, "moldau: {text}");
                Ok(1)
            }
        },
        Err(problems) => {
            for problem in problems {
                errln!(console, "moldau: {problem}");
            }
            Ok(1)
        }
    }
}

/// `kafka-server-start.sh [-daemon] server.properties [--override key=value]*`.
pub(crate) fn server_start(arguments: &[String], console: &mut Console<'_>) -> io::Result<u8> {
    const USAGE: &str =
        "USAGE: kafka-server-start.sh [-daemon] server.properties [--override property=value]*";
    // Kafka's script prints this to the standard output. `moldau start` is what needs no file.
    if arguments.is_empty() {
        outln!(console, "{USAGE}");
        return Ok(1);
    }
    let mut start = StartArguments::default();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match (word.as_str(), word.strip_prefix("--override=")) {
            ("--override", _) => start.overrides.extend(words.next().cloned()),
            (_, Some(text)) => start.overrides.push(text.to_owned()),
            ("-daemon", _) => errln!(console, "note: -daemon is ignored, this runs in the foreground"),
            ("--version", _) => {
                errln!(console, "{}", crate::compat::tool::KAFKA_VERSION);
                return Ok(0);
            }
            (file, _) if !file.starts_with('-') => start.files.push(PathBuf::from(file)),
            (other, _) => {
                errln!(console, "{other} is not a recognized option");
                errln!(console, "{USAGE}");
                return Ok(1);
            }
        }
    }
    run(&start, console)
}

/// Reads and checks everything, and gives new directories their identity. The errors are a line each.
fn prepare(arguments: &StartArguments, environment: &Environment) -> Result<Prepared, Vec<String>> {
    let one = |error: &dyn std::fmt::Display| vec![error.to_string()];
    let settings =
        settings::merge(&arguments.files, environment, &arguments.overrides).map_err(|error| one(&error))?;
    let mut config = BrokerConfig::from_settings(settings)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    for unknown in config.unknown_settings() {
        tracing::warn!("{}", unknown_text(&unknown));
    }
    let idle = config.settings_without_effect();
    if !idle.is_empty() {
        tracing::warn!("without effect yet (docs/CONFIGURATION.md says why): {}", idle.join(", "));
    }
    // What is printed, and what errors name, should be found from any directory.
    for path in config.log_dirs.iter_mut().chain([&mut config.metadata_log_dir]) {
        *path = std::path::absolute(&*path).map_err(|error| one(&error))?;
    }
    quorum::name_initial_voters(&mut config).map_err(|error| one(&error))?;
    let keeps_metadata = config.roles.controller;
    let mut directories = if config.roles.broker { config.log_dirs.clone() } else { Vec::new() };
    if keeps_metadata && !directories.contains(&config.metadata_log_dir) {
        directories.push(config.metadata_log_dir.clone());
    }
    let metadata_log_dir = keeps_metadata.then_some(config.metadata_log_dir.as_path());
    let failed_log_dirs =
        storage::set_failed_apart(&mut directories, metadata_log_dir).map_err(|error| one(&error))?;
    storage::check_nothing_is_lost(&directories, metadata_log_dir).map_err(|error| one(&error))?;
    let cluster_id = cluster_id(&config, &directories, environment)?;
    let mut random = || storage::random_id();
    let formatted = storage::format(&directories, config.node_id.0, cluster_id.as_deref(), &mut random)
        .map_err(|error| one(&error))?;
    let of_metadata = formatted
        .iter()
        .find(|directory| Some(directory.path.as_path()) == metadata_log_dir)
        .or(formatted.first());
    let identity = of_metadata.map(|directory| directory.identity.clone());
    let identity = identity.ok_or_else(|| vec!["log.dirs: no directory is named".to_owned()])?;
    let separator = environment.create_topics_separator.as_deref().unwrap_or_default();
    let (create_topics, warnings) =
        create_topics::parse(environment.create_topics.as_deref().unwrap_or_default(), separator);
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    Ok(Prepared {
        cluster_id: identity.cluster_id,
        metadata_directory_id: identity.directory_id,
        new_directories: formatted.into_iter().filter(|d| d.is_new).map(|d| d.path).collect(),
        failed_log_dirs,
        create_topics,
        config,
    })
}

/// The cluster that a new node belongs to: the one it is given, or that its directories or its controllers say. `None`
/// founds one.
fn cluster_id(
    config: &BrokerConfig,
    directories: &[PathBuf],
    environment: &Environment,
) -> Result<Option<String>, Vec<String>> {
    let present = storage::present_cluster_id(directories).map_err(|error| vec![error.to_string()])?;
    if environment.cluster_id.is_some() || present.is_some() {
        return Ok(environment.cluster_id.clone());
    }
    // So does a controller that others are to take in.
    if !config.roles.controller || config.quorum_voters.is_empty() {
        return node::ask_cluster_id(config).map(Some).map_err(|error| vec![error]);
    }
    if config.quorum_voters.len() > 1 {
        return naming::cluster_id(config).map_err(|error| vec![error]);
    }
    Ok(None)
}

fn unknown_text(unknown: &UnknownSetting) -> String {
    let key = &unknown.key;
    match unknown.nearest {
        _ if unknown.is_retired => format!("{key} is ignored: Kafka has no such setting any more"),
        Some(nearest) => format!("{key} is ignored: no such setting; did you mean {nearest}?"),
        None => format!("{key} is ignored: no such setting"),
    }
}

fn say(environment: &Environment) {
    if !environment.ignored.is_empty() {
        tracing::info!("ignored, for there is no Java here: {}", environment.ignored.join(", "));
    }
    for warning in &environment.warnings {
        tracing::warn!("{warning}");
    }
}

fn log_to_stderr() {
    let filter = std::env::var("MOLDAU_LOG").unwrap_or_else(|_| LOG_FILTER.to_owned());
    let filter = tracing_subscriber::EnvFilter::try_new(filter)
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(LOG_FILTER));
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let format = std::env::var("MOLDAU_LOG_FORMAT").unwrap_or_default();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // Fails only where a subscriber is set already, which then is good enough.
    let _ = if format.eq_ignore_ascii_case("json") {
        lines.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    } else {
        lines.with_ansi(colours).with_target(false).try_init()
    };
    if !["", "text", "json"].contains(&format.to_ascii_lowercase().as_str()) {
        tracing::warn!("MOLDAU_LOG_FORMAT={format} is neither text nor json: this is text");
    }
}

/// Has this process told to stop when the one that started it ends, however it ends.
pub(crate) fn end_with_parent() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
    {
        crate::console::note(&format!("this node will not notice the end of what started it: {error}"));
    }
}

/// A node may hold thousands of files and connections: takes as many descriptors as it may without asking.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// The allocator asks for huge pages, and an idle node would hold two megabytes for each few kilobytes it touched.
fn refuse_huge_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages stay as they are");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(overrides: &[&str]) -> Result<Prepared, Vec<String>> {
        let arguments = StartArguments {
            files: Vec::new(),
            overrides: overrides.iter().map(|text| (*text).to_owned()).collect(),
            is_container: false,
        };
        prepare(&arguments, &Environment::default())
    }

    #[test]
    fn a_first_start_makes_an_identity_and_a_second_one_finds_it() {
        let directory = tempfile::tempdir().unwrap();
        let dirs = format!("log.dirs={}", directory.path().join("data").display());
        let first = prepared(&[&dirs]).unwrap();
        assert_eq!(first.new_directories.len(), 1);
        let second = prepared(&[&dirs]).unwrap();
        assert_eq!(second.new_directories.len(), 0);
        assert_eq!(second.cluster_id, first.cluster_id);
        assert_eq!(second.metadata_directory_id, first.metadata_directory_id);
    }

    #[test]
    fn a_log_directory_that_cannot_be_used_does_not_end_the_start_unless_it_is_the_last_or_the_metadatas() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let start = |metadata: &str| {
            let dirs = format!("log.dirs={},{}", path("a"), path("b"));
            prepared(&[&dirs, &format!("metadata.log.dir={}", path(metadata))])
        };
        let first = start("a").unwrap();
        assert_eq!(first.failed_log_dirs, Vec::<PathBuf>::new());
        // A disk that is gone, here a file in the place of the directory.
        std::fs::rename(path("b"), path("away")).unwrap();
        std::fs::write(path("b"), "").unwrap();
        let second = start("a").unwrap();
        assert_eq!(second.failed_log_dirs, [PathBuf::from(path("b"))]);
        assert_eq!(second.cluster_id, first.cluster_id);
        let told = start("b").unwrap_err();
        assert!(told.len() == 1 && told[0].contains("/b"), "{told:?}");
        // One that never was there, and cannot be made.
        let third = prepared(&[&format!("log.dirs={},{}/below", path("a"), path("b"))]).unwrap();
        assert_eq!(third.failed_log_dirs, [PathBuf::from(format!("{}/below", path("b")))]);
        // Of an identity that nobody can read it is not known what it is.
        std::fs::remove_file(path("b")).unwrap();
        std::fs::rename(path("away"), path("b")).unwrap();
        std::fs::write(format!("{}/meta.properties", path("b")), "version=1\n").unwrap();
        assert_eq!(start("a").unwrap().failed_log_dirs, [PathBuf::from(path("b"))]);
    }

    #[test]
    fn kafkas_own_file_of_one_node_founds_a_quorum_of_one() {
        let directory = tempfile::tempdir().unwrap();
        let dirs = format!("log.dirs={}", directory.path().display());
        let listeners = "listeners=PLAINTEXT://:9092,CONTROLLER://:9093";
        let roles = "process.roles=broker,controller";
        let servers = |text: &str| format!("controller.quorum.bootstrap.servers={text}");
        let told = prepared(&[&dirs, roles, listeners, &servers("localhost:9093")]).unwrap();
        assert_eq!(told.config.quorum_voters.len(), 1);
    }

    #[test]
    fn kafkas_script_wants_a_file_and_says_so_as_kafkas_does() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = server_start(&[], &mut Console { out: &mut out, err: &mut err }).unwrap();
        let usage = "USAGE: kafka-server-start.sh [-daemon] server.properties [--override property=value]*\n";
        assert_eq!((code, String::from_utf8(out).unwrap().as_str(), err.is_empty()), (1, usage, true));
    }

    #[test]
    fn nodes_of_one_new_quorum_come_to_one_cluster_whose_id_is_new() {
        let directory = tempfile::tempdir().unwrap();
        let sockets = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = sockets.each_ref().map(|socket| socket.local_addr().unwrap().port());
        drop(sockets);
        let voters = format!("controller.quorum.voters=1@127.0.0.1:{},2@127.0.0.1:{}", ports[0], ports[1]);
        let start = |attempt: i32, id: usize| {
            let dirs = format!("log.dirs={}", directory.path().join(format!("{attempt}-{id}")).display());
            let listeners =
                format!("listeners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:{}", ports[id - 1]);
            prepared(&[&dirs, &voters, &listeners, &format!("node.id={id}")]).unwrap()
        };
        let found = |attempt: i32| {
            std::thread::scope(|scope| {
                let second = scope.spawn(|| start(attempt, 2));
                let first = start(attempt, 1);
                let controller = serve(&first);
                let second = second.join().unwrap();
                drop(controller);
                (first, second)
            })
        };
        let ((first, second), (again, _)) = (found(1), found(2));
        assert_eq!(first.cluster_id, second.cluster_id);
        assert_ne!(first.metadata_directory_id, second.metadata_directory_id);
        assert_ne!(again.cluster_id, first.cluster_id, "each founding has an id of its own");
    }

    /// The controller of a node that is prepared. Ends with its runtime.
    fn serve(prepared: &Prepared) -> tokio::runtime::Runtime {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let sockets = listeners::bind(&prepared.config).unwrap().sockets();
        let started = moldau_controller::Controller::start_on(
            node::controller_options(prepared),
            sockets,
            runtime.handle(),
        );
        runtime.block_on(started).unwrap();
        runtime
    }

    #[test]
    fn a_wrong_value_is_one_line_that_names_the_key() {
        let problems = prepared(&["num.partitions=x"]).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert!(problems[0].contains("num.partitions"), "{problems:?}");
        let problems = prepared(&["process.roles=broker", "controller.quorum.voters=1@h:1"]).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
    }
}
