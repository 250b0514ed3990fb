//! `kafka-storage`: random-uuid, format, info, and what it knows of features. Nobody needs it, for a node formats its storage by itself.

mod add_scram;

use std::io;
use std::path::{Path, PathBuf};

use moldau_metadata::config::{BrokerConfig, QuorumVoter};
use moldau_model::Uuid;

use super::features;
use crate::console::{Console, errln};
use crate::properties;
use crate::start::{initial_records, quorum, storage};

const USAGE: &str = include_str!("usage/kafka-storage.txt");
const HELP: &str = include_str!("usage/kafka-storage-help.txt");
const FORMAT_HELP: &str = include_str!("usage/kafka-storage-format-help.txt");
const INFO_HELP: &str = include_str!("usage/kafka-storage-info-help.txt");
const VERSION_MAPPING_HELP: &str = include_str!("usage/kafka-storage-version-mapping-help.txt");
const FEATURE_DEPENDENCIES_HELP: &str = include_str!("usage/kafka-storage-feature-dependencies-help.txt");
const RANDOM_UUID_HELP: &str = include_str!("usage/kafka-storage-random-uuid-help.txt");
/// The level that a formatted directory of Apache Kafka 4.3 starts with, and this cluster too.
const METADATA_VERSION: &str = "4.3-IV0";

/// What the line says, after the subcommand.
#[derive(Debug, Default, PartialEq, Eq)]
struct Line {
    config: Option<PathBuf>,
    cluster_id: Option<String>,
    ignore_formatted: bool,
    /// `--standalone`, `--no-initial-controllers` or `--initial-controllers`: how the quorum is founded.
    beginning: Option<Beginning>,
    /// `--add-scram`, each a user of one mechanism.
    users: Vec<String>,
    release_version: Option<String>,
    features: Vec<String>,
    help: bool,
}

/// Who founds the quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Beginning {
    Standalone,
    /// Others; this node is taken in.
    Nobody,
    /// `id@host:port:directory-id`, separated by commas.
    These(String),
}

fn parse(arguments: &[String]) -> Result<Line, String> {
    let mut line = Line::default();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let (name, mut inline) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        let mut argument = || {
            inline
                .take()
                .or_else(|| words.next().cloned())
                .ok_or_else(|| format!("argument {name}: expected one argument"))
        };
        match name {
            "--config" | "-c" => line.config = Some(PathBuf::from(argument()?)),
            "--cluster-id" | "-t" => line.cluster_id = Some(argument()?),
            "--add-scram" | "-S" => line.users.push(argument()?),
            "--ignore-formatted" | "-g" => line.ignore_formatted = true,
            "--help" | "-h" => line.help = true,
            "--standalone" | "-s" => line.beginning = Some(Beginning::Standalone),
            "--no-initial-controllers" | "-N" => line.beginning = Some(Beginning::Nobody),
            "--initial-controllers" | "-I" => line.beginning = Some(Beginning::These(argument()?)),
            "--release-version" | "-r" => line.release_version = Some(argument()?),
            "--feature" | "-f" => line.features.push(argument()?),
            other => return Err(format!("unrecognized arguments: '{other}'")),
        }
    }
    Ok(line)
}

pub(crate) fn main(arguments: &[String], console: &mut Console<'_>) -> io::Result<u8> {
    let Some((command, rest)) = arguments.split_first() else {
        errln!(console, "{USAGE}kafka-storage: error: too few arguments");
        return Ok(1);
    };
    if ["-h", "--help"].contains(&command.as_str()) {
        write!(console.out, "{HELP}")?;
        return Ok(0);
    }
    let help = match command.as_str() {
        "random-uuid" => RANDOM_UUID_HELP,
        "format" => FORMAT_HELP,
        "info" => INFO_HELP,
        "version-mapping" => VERSION_MAPPING_HELP,
        "feature-dependencies" => FEATURE_DEPENDENCIES_HELP,
        other => {
            errln!(
                console,
                "{USAGE}kafka-storage: error: invalid choice: '{other}'  (choose from 'info', 'format',\n\
                 'version-mapping', 'feature-dependencies', 'random-uuid')"
            );
            return Ok(1);
        }
    };
    let result = parse(rest).and_then(|line| match command.as_str() {
        _ if line.help => Ok(None),
        "random-uuid" => {
            storage::random_id().map(|id| Some((format!("{id}\n"), 0))).map_err(|e| e.to_string())
        }
        "version-mapping" => features::mapping(line.release_version.as_deref()).map(|text| Some((text, 0))),
        "feature-dependencies" if line.features.is_empty() => {
            Err("argument --feature/-f is required".to_owned())
        }
        "feature-dependencies" => features::storage_dependencies(&line.features).map(|text| Some((text, 0))),
        "format" => format(&line).map(Some),
        _ => info(&line).map(Some),
    });
    match result {
        Ok(None) => {
            write!(console.out, "{help}")?;
            Ok(0)
        }
        Ok(Some((text, code))) => {
            write!(console.out, "{text}")?;
            Ok(code)
        }
        Err(text) => {
            if text.starts_with("argument") || text.starts_with("unrecognized") {
                let usage = help.split("\n\n").next().unwrap_or_default();
                errln!(console, "{usage}\nkafka-storage: error: {text}");
            } else {
                errln!(console, "{text}");
            }
            Ok(1)
        }
    }
}

/// The configuration that the line names, and its directories.
fn directories(line: &Line) -> Result<(BrokerConfig, Vec<PathBuf>), String> {
    let path = line.config.as_deref().ok_or("argument --config/-c is required")?;
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let settings = properties::parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let config = BrokerConfig::from_settings(settings.into_iter().collect())
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    let mut directories = config.log_dirs.clone();
    if !directories.contains(&config.metadata_log_dir) {
        directories.push(config.metadata_log_dir.clone());
    }
    directories.sort();
    Ok((config, directories))
}

fn format(line: &Line) -> Result<(String, u8), String> {
    let (config, directories) = directories(line)?;
    let cluster_id = line.cluster_id.as_deref().ok_or("argument --cluster-id/-t is required")?;
    let mut all_formatted = true;
    for directory in &directories {
        match storage::read(directory).map_err(|error| error.to_string())? {
            Some(found) if found.cluster_id != cluster_id => {
                return Err(format!(
                    "Invalid cluster.id in: {}/meta.properties. Expected {cluster_id}, but read {}",
                    directory.display(),
                    found.cluster_id
                ));
            }
            Some(_) if !line.ignore_formatted => {
                return Err(format!(
                    "Log directory {} is already formatted. Use --ignore-formatted to ignore this directory and \
                     format the others.",
                    directory.display()
                ));
            }
            Some(_) => {}
            None => all_formatted = false,
        }
    }
    if all_formatted {
        return Ok(("All of the log directories are already formatted.\n".to_owned(), 0));
    }
    let beginning = beginning(line, &config)?;
    if !line.users.is_empty() && !config.roles.controller {
        return Err("--add-scram is for controllers: one of them founds the cluster.".to_owned());
    }
    // What is wrong with a user is found out before anything is written.
    let users = add_scram::records(&line.users, |length| {
        let mut salt = vec![0; length];
        getrandom::fill(&mut salt).map_err(io::Error::other)?;
        Ok(salt)
    })?;
    let is_new = |directory: &PathBuf| {
        storage::read(directory).map(|found| found.is_none()).map_err(|error| error.to_string())
    };
    let metadata_is_new = is_new(&config.metadata_log_dir)?;
    // Before anything says that the directory is formatted: who is interrupted formats again.
    if !users.is_empty() && metadata_is_new {
        initial_records::write(&config.metadata_log_dir, users).map_err(|error| error.to_string())?;
    }
    if let Some(First { directory_id: Some(directory_id), .. }) = &beginning
        && metadata_is_new
    {
        let (cluster_id, node_id) = (cluster_id.to_owned(), config.node_id.0);
        let identity = storage::Identity { cluster_id, node_id, directory_id: *directory_id };
        storage::write(&config.metadata_log_dir, &identity).map_err(|error| error.to_string())?;
    }
    let formatted =
        storage::format(&directories, config.node_id.0, Some(cluster_id), &mut || storage::random_id())
            .map_err(|error| error.to_string())?;
    let mut text = String::new();
    let votes = beginning.as_ref().is_some_and(|first| !first.voters.is_empty());
    if let Some(first) = &beginning
        && metadata_is_new
    {
        quorum::write_initial_voters(&config.metadata_log_dir, &first.voters)
            .map_err(|error| error.to_string())?;
    }
    let is_new = |directory: &&storage::Formatted| {
        directory.is_new || (metadata_is_new && directory.path == config.metadata_log_dir)
    };
    for directory in formatted.iter().filter(is_new) {
        let kind = match directory.path == config.metadata_log_dir {
            true if votes => "dynamic metadata voter",
            true => "metadata",
            false => "data",
        };
        text += &format!(
            "Formatting {kind} directory {} with metadata.version {METADATA_VERSION}.\n",
            directory.path.display()
        );
    }
    Ok((text, 0))
}

/// The voters that found the quorum, and the disk of this one if that is told.
struct First {
    voters: Vec<QuorumVoter>,
    directory_id: Option<Uuid>,
}

/// What the line says of the founding; `None` where the configuration is to tell.
fn beginning(line: &Line, config: &BrokerConfig) -> Result<Option<First>, String> {
    let Some(beginning) = &line.beginning else { return Ok(None) };
    let names_voters =
        config.settings.get("controller.quorum.voters").is_some_and(|voters| !voters.is_empty());
    match beginning {
        Beginning::Nobody if names_voters => return Ok(None),
        _ if names_voters => {
            return Err("You cannot specify controller.quorum.voters and format the node with --initial-controllers or \
                        --standalone. If you want to use dynamic quorum, please remove controller.quorum.voters and \
                        specify controller.quorum.bootstrap.servers instead."
                .to_owned());
        }
        Beginning::Standalone if !config.roles.controller => {
            return Err("You can only use --standalone on a controller.".to_owned());
        }
        _ if !config.roles.controller => return Ok(None),
        _ => {}
    }
    let own = || {
        quorum::own_voter(config).ok_or("a controller needs a listener that controller.listener.names names")
    };
    match beginning {
        Beginning::Nobody => Ok(Some(First { voters: Vec::new(), directory_id: None })),
        Beginning::Standalone => Ok(Some(First { voters: vec![own()?], directory_id: None })),
        Beginning::These(text) => {
            let mut first = First { voters: Vec::new(), directory_id: None };
            for element in text.split(',').map(str::trim) {
                let parsed = element.rsplit_once(':').and_then(|(voter, directory_id)| {
                    Some((voter.parse::<QuorumVoter>().ok()?, directory_id.parse::<Uuid>().ok()?))
                });
                let (voter, directory_id) =
                    parsed.ok_or_else(|| format!("{element} is not id@host:port:directory-id"))?;
                if voter.id == config.node_id {
                    first.directory_id = Some(directory_id);
                }
                first.voters.push(voter);
            }
            if first.directory_id.is_none() {
                return Err(format!("--initial-controllers does not name node.id {}", config.node_id));
            }
            Ok(Some(first))
        }
    }
}

fn info(line: &Line) -> Result<(String, u8), String> {
    let (_, directories) = directories(line)?;
    let mut found: Vec<&Path> = Vec::new();
    let mut problems = Vec::new();
    let mut metadata = None;
    for directory in &directories {
        if !directory.is_dir() {
            problems.push(format!("{} does not exist", directory.display()));
            continue;
        }
        found.push(directory);
        match storage::read(directory) {
            Ok(Some(identity)) => {
                metadata.get_or_insert(format!(
                    "{{cluster.id={}, directory.id={}, node.id={}, version=1}}",
                    identity.cluster_id, identity.directory_id, identity.node_id
                ));
            }
            Ok(None) => problems.push(format!("{} is not formatted.", directory.display())),
            Err(error) => problems.push(error.to_string()),
        }
    }
    let several = |word: &str, count: usize, plural: &str| {
        format!("Found {}:\n", if count == 1 { word.to_owned() } else { plural.to_owned() })
    };
    let mut text = String::new();
    if !found.is_empty() {
        text += &several("log directory", found.len(), "log directories");
        found.iter().for_each(|directory| text += &format!("  {}\n", directory.display()));
        text.push('\n');
    }
    if let Some(metadata) = metadata {
        text += &format!("Found metadata: {metadata}\n\n");
    }
    if problems.is_empty() {
        return Ok((text, 0));
    }
    text += &several("problem", problems.len(), "problems");
    problems.iter().for_each(|problem| text += &format!("  {problem}\n"));
    text.push('\n');
    Ok((text, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(words: &[&str]) -> (u8, String, String) {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = main(&words, &mut Console { out: &mut out, err: &mut err }).unwrap();
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn a_random_id_is_a_line_that_parses() {
        let (code, out, _) = outcome(&["random-uuid"]);
        assert_eq!(code, 0);
        assert!(out.trim_end().parse::<moldau_model::Uuid>().is_ok(), "{out}");
    }

    /// The texts are those of Apache Kafka 4.3.0's tool.
    #[test]
    fn what_features_need_is_told_in_kafkas_words() {
        let mapping = "kraft.version=1\ntransaction.version=0\ngroup.version=0\n\
            eligible.leader.replicas.version=0\nshare.version=0\nstreams.version=0\n";
        let newest = "metadata.version=30 (4.3-IV0)\nkraft.version=1\ntransaction.version=2\ngroup.version=1\n\
            eligible.leader.replicas.version=1\nshare.version=1\nstreams.version=1\n";
        let usage =
            "usage: kafka-storage feature-dependencies [-h] --feature FEATURE\nkafka-storage: error: ";
        for (line, code, out, err) in [
            ("version-mapping", 0, newest.to_owned(), String::new()),
            (
                "version-mapping -r 3.9-IV0",
                0,
                format!("metadata.version=21 (3.9-IV0)\n{mapping}"),
                String::new(),
            ),
            (
                "feature-dependencies -f group.version=1 --feature metadata.version=20",
                0,
                "group.version=1 has no dependencies.\nmetadata.version=20 (3.8-IV0) has no dependencies.\n"
                    .to_owned(),
                String::new(),
            ),
            (
                "feature-dependencies -f eligible.leader.replicas.version=1",
                0,
                "eligible.leader.replicas.version=1 requires:\n    metadata.version=23 (4.0-IV1)\n"
                    .to_owned(),
                String::new(),
            ),
            ("feature-dependencies", 1, String::new(), format!("{usage}argument --feature/-f is required\n")),
            (
                "feature-dependencies -f foo",
                1,
                String::new(),
                "Invalid feature format: foo. Expected format: 'feature=version' (e.g. 'group.version=1')\n"
                    .to_owned(),
            ),
            (
                "feature-dependencies -f group.version=x",
                1,
                String::new(),
                "Invalid version format: x for feature group.version\n".to_owned(),
            ),
            (
                "feature-dependencies -f group.version=9",
                1,
                String::new(),
                "Feature level 9 is not supported for feature group.version\n".to_owned(),
            ),
            ("feature-dependencies -f x=2", 1, String::new(), "Unknown feature: x\n".to_owned()),
            (
                "feature-dependencies -f metadata.version=3",
                1,
                String::new(),
                "Unknown metadata.version 3\n".to_owned(),
            ),
            ("version-mapping -h", 0, VERSION_MAPPING_HELP.to_owned(), String::new()),
            ("feature-dependencies --help", 0, FEATURE_DEPENDENCIES_HELP.to_owned(), String::new()),
        ] {
            let words: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(outcome(&words), (code, out, err), "{line}");
        }
    }

    #[test]
    fn directories_are_formatted_once() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("d");
        let config = directory.path().join("server.properties");
        std::fs::write(&config, format!("node.id=7\nlog.dirs={}\n", data.display())).unwrap();
        let config = config.to_str().unwrap();
        let data = data.display();
        let id = "7ja9YcYrQLCm7A8M4_lZgw";
        assert_eq!(
            outcome(&["info", "-c", config]),
            (1, format!("Found problem:\n  {data} does not exist\n\n"), String::new())
        );
        let format = ["format", "-t", id, "-c", config];
        let (code, out, err) = outcome(&format);
        let line = format!("Formatting metadata directory {data} with metadata.version 4.3-IV0.\n");
        assert_eq!((code, out, err), (0, line, String::new()));
        let (code, _, err) = outcome(&format);
        assert_eq!(code, 1);
        assert!(
            err.starts_with(&format!("Log directory {data} is already formatted. Use --ignore-formatted")),
            "{err}"
        );
        let (code, out, _) = outcome(&["format", "-t", id, "-c", config, "--ignore-formatted"]);
        assert_eq!((code, out.as_str()), (0, "All of the log directories are already formatted.\n"));
        let (code, out, _) = outcome(&["info", "--config", config]);
        assert_eq!(code, 0);
        assert!(
            out.starts_with(&format!(
                "Found log directory:\n  {data}\n\nFound metadata: {{cluster.id={id}, "
            )),
            "{out}"
        );
    }

    #[test]
    fn a_controller_is_formatted_as_the_first_or_as_one_to_be_taken_in() {
        let directory = tempfile::tempdir().unwrap();
        let id = "7ja9YcYrQLCm7A8M4_lZgw";
        let file = |name: &str, more: &str| {
            let (data, path) =
                (directory.path().join(name), directory.path().join(format!("{name}.properties")));
            let text = format!(
                "node.id=1\nprocess.roles=controller\nlisteners=CONTROLLER://c1:9093\nlog.dirs={}\n{more}\n",
                data.display()
            );
            std::fs::write(&path, text).unwrap();
            (path.to_str().unwrap().to_owned(), data)
        };
        let servers = "controller.quorum.bootstrap.servers=c1:9093,c2:9093";
        let initial = "1@c1:9093:JEXY6aqzQY-32P5TStzaFg,2@c2:9093:MvDxzVmcRsaTz33bUuRU6A";
        for (name, flags, kind, written) in [
            ("alone", &["--standalone"][..], "dynamic metadata voter", "initial.voters=1@c1:9093"),
            ("newcomer", &["-N"], "metadata", "initial.voters="),
            ("three", &["-I", initial], "dynamic metadata voter", "initial.voters=1@c1:9093,2@c2:9093"),
        ] {
            let (config, data) = file(name, servers);
            let (code, out, err) = outcome(&[&["format", "-t", id, "-c", &config], flags].concat());
            let line =
                format!("Formatting {kind} directory {} with metadata.version 4.3-IV0.\n", data.display());
            assert_eq!((code, out, err), (0, line, String::new()));
            let text = std::fs::read_to_string(data.join("initial.voters")).unwrap();
            assert_eq!(text.lines().last(), Some(written));
        }
        let identity = storage::read(&directory.path().join("three")).unwrap().unwrap();
        assert_eq!(identity.directory_id.to_string(), "JEXY6aqzQY-32P5TStzaFg");
        let broker = "process.roles=broker\ncontroller.quorum.bootstrap.servers=c:1\nlisteners=PLAINTEXT://localhost:9092";
        for (more, told) in [
            ("controller.quorum.voters=1@c1:9093", "You cannot specify controller.quorum.voters and format"),
            (broker, "You can only use --standalone on a controller."),
        ] {
            let (config, data) = file("refused", more);
            let (code, _, err) = outcome(&["format", "-t", id, "-c", &config, "-s"]);
            assert_eq!(code, 1);
            assert!(err.starts_with(told), "{err}");
            assert!(!data.try_exists().unwrap(), "it was formatted nevertheless");
        }
        let (config, _) = file("stranger", servers);
        let (_, _, err) =
            outcome(&["format", "-t", id, "-c", &config, "-I", "2@c2:9093:MvDxzVmcRsaTz33bUuRU6A"]);
        assert_eq!(err, "--initial-controllers does not name node.id 1\n");
    }

    #[test]
    fn what_is_missing_is_named_below_the_usage() {
        let (code, _, err) = outcome(&["format", "-c", "/nonexistent"]);
        assert_eq!(code, 1);
        assert!(err.starts_with("/nonexistent: "), "{err}");
        let (_, _, err) = outcome(&["info"]);
        assert!(err.ends_with("kafka-storage: error: argument --config/-c is required\n"), "{err}");
        assert_eq!(outcome(&[]).2, format!("{USAGE}kafka-storage: error: too few arguments\n"));
    }
}
