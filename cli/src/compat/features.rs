//! `kafka-features`: the levels of a cluster's features, and their changes.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::subcommands::{Command, CommandLine, Read, flag, required, value};
use super::tool::{admin_servers, default_bootstrap};
use crate::client::features::{Features, UpgradeType};
use crate::client::{API_TIMEOUT, Client, ClientError, ClientOptions, WhenUnreachable, security};
use crate::console::{Console, errln, outln};
use crate::properties;

const HELP: &str = include_str!("usage/kafka-features-help.txt");
const LINE: CommandLine = CommandLine {
    options: &[value("--bootstrap-server"), value("--bootstrap-controller"), value("--command-config")],
    commands: &[
        Command {
            name: "describe",
            help: include_str!("usage/kafka-features-describe-help.txt"),
            options: &[value("--node-id")],
        },
        Command {
            name: "upgrade",
            help: include_str!("usage/kafka-features-upgrade-help.txt"),
            options: &[
                value("--metadata"),
                value("--release-version"),
                value("--feature"),
                flag("--dry-run"),
            ],
        },
        Command {
            name: "downgrade",
            help: include_str!("usage/kafka-features-downgrade-help.txt"),
            options: &[
                value("--metadata"),
                value("--release-version"),
                value("--feature"),
                flag("--unsafe"),
                flag("--dry-run"),
            ],
        },
        Command {
            name: "disable",
            help: include_str!("usage/kafka-features-disable-help.txt"),
            options: &[value("--feature"), flag("--unsafe"), flag("--dry-run")],
        },
        Command {
            name: "version-mapping",
            help: include_str!("usage/kafka-features-version-mapping-help.txt"),
            options: &[value("--release-version")],
        },
        Command {
            name: "feature-dependencies",
            help: include_str!("usage/kafka-features-feature-dependencies-help.txt"),
            options: &[required("--feature")],
        },
    ],
};

const METADATA_VERSION: &str = "metadata.version";
/// The names of the metadata's levels, from `FIRST_LEVEL` on.
const METADATA_VERSIONS: &[&str] = &[
    "3.3-IV3", "3.4-IV0", "3.5-IV0", "3.5-IV1", "3.5-IV2", "3.6-IV0", "3.6-IV1", "3.6-IV2", "3.7-IV0",
    "3.7-IV1", "3.7-IV2", "3.7-IV3", "3.7-IV4", "3.8-IV0", "3.9-IV0", "4.0-IV0", "4.0-IV1", "4.0-IV2",
    "4.0-IV3", "4.1-IV0", "4.1-IV1", "4.2-IV0", "4.2-IV1", "4.3-IV0", "4.4-IV0",
];
const FIRST_LEVEL: i16 = 7;
/// The last one that is released with 4.3.
const LATEST: &str = "4.3-IV0";

/// The other features in the order of Kafka's table: name, highest level, and from which level of the metadata on a release
/// has it at that level.
const FEATURES: &[(&str, i16, i16)] = &[
    ("kraft.version", 1, 21),
    ("transaction.version", 2, 24),
    ("group.version", 1, 22),
    ("eligible.leader.replicas.version", 1, 26),
    ("share.version", 1, 28),
    ("streams.version", 1, 29),
];

/// The level of a release: of its last change, where the name leaves that open. Only those that are released have a short
/// name.
fn metadata_level(version: &str) -> Result<i16, String> {
    let is_released = |index: usize| METADATA_VERSIONS[index] <= LATEST;
    let found = METADATA_VERSIONS.iter().position(|name| *name == version).or_else(|| {
        let short = format!("{version}-");
        METADATA_VERSIONS
            .iter()
            .rposition(|name| name.starts_with(&short))
            .filter(|index| is_released(*index))
    });
    found.and_then(|index| i16::try_from(index).ok()).map(|index| index + FIRST_LEVEL).ok_or_else(|| {
        format!(
            "Unknown metadata.version '{version}'. Supported metadata.version are: {}",
            METADATA_VERSIONS.join(", ")
        )
    })
}

fn metadata_name(level: i16) -> Option<&'static str> {
    METADATA_VERSIONS.get(usize::try_from(level - FIRST_LEVEL).ok()?).copied()
}

/// The level as the tool shows it.
fn shown(feature: &str, level: i16) -> String {
    if feature != METADATA_VERSION {
        return level.to_string();
    }
    metadata_name(level).map_or_else(|| format!("UNKNOWN {level}"), str::to_owned)
}

/// The levels that the other features have with this one of the metadata.
fn defaults(metadata: i16) -> impl Iterator<Item = (&'static str, i16)> {
    FEATURES.iter().map(move |(name, level, since)| (*name, if metadata >= *since { *level } else { 0 }))
}

pub(crate) fn main(arguments: &[String], console: &mut Console<'_>) -> io::Result<u8> {
    let mut read = Read::default();
    if let Err(text) = LINE.read(arguments, &mut read) {
        errln!(console, "Command line error: {text}. Type --help for help.");
        return Ok(1);
    }
    let Some(command) = read.command.filter(|_| !read.asks_for_help) else {
        let help = read.command.map_or(HELP, |command| LINE.commands[command].help);
        write!(console.out, "{help}")?;
        return Ok(0);
    };
    match run(LINE.commands[command].name, &read, console) {
        Ok(()) => Ok(0),
        Err(Failed::Io(error)) => Err(error),
        Err(Failed::Text(text)) => {
            console.out.flush()?;
            errln!(console, "{text}");
            Ok(1)
        }
    }
}

/// Why the tool ends early.
enum Failed {
    Text(String),
    Io(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<String> for Failed {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<ClientError> for Failed {
    fn from(error: ClientError) -> Self {
        Self::Text(error.java())
    }
}

fn run(command: &str, read: &Read, console: &mut Console<'_>) -> Result<(), Failed> {
    match command {
        "version-mapping" => return Ok(write!(console.out, "{}", mapping(read.one("--release-version"))?)?),
        "feature-dependencies" => return dependencies(read.all("--feature"), console),
        _ => {}
    }
    if command == "describe" {
        let features = connect(read)?.describe_features()?;
        return Ok(describe(&features, console)?);
    }
    let upgrade_type = match command {
        "upgrade" => UpgradeType::Upgrade,
        _ if read.has("--unsafe") => UpgradeType::UnsafeDowngrade,
        _ => UpgradeType::SafeDowngrade,
    };
    let levels = if command == "disable" {
        disabled(read.all("--feature"))?
    } else {
        levels(read, upgrade_type, console)?
    };
    if levels.is_empty() {
        return Err(Failed::Text(format!("You must specify at least one feature to {command}")));
    }
    let is_dry = read.has("--dry-run");
    let outcome = connect(read)?.update_features(&levels, upgrade_type, is_dry);
    report(command, &levels, is_dry, outcome, console)
}

fn connect(read: &Read) -> Result<Client, Failed> {
    if read.has("--bootstrap-controller") {
        let text = "--bootstrap-controller is not supported yet: ask a broker by --bootstrap-server";
        return Err(Failed::Text(text.to_owned()));
    }
    let properties = match read.one("--command-config") {
        None => Vec::new(),
        Some(path) => {
            let content = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
            properties::parse(&content).map_err(|error| format!("{path}: {error}"))?
        }
    };
    let dialer = security::dialer(&properties)?;
    let servers = read.one("--bootstrap-server").map_or_else(default_bootstrap, str::to_owned);
    let bootstrap = admin_servers(&servers)?;
    let client = Client::new(ClientOptions {
        bootstrap,
        client_id: "adminclient-1".to_owned(),
        api_timeout: API_TIMEOUT,
        when_unreachable: WhenUnreachable::Retry,
    });
    Ok(client.dialing(Arc::new(dialer)))
}

fn describe(features: &Features, console: &mut Console<'_>) -> io::Result<()> {
    for (name, (min, max)) in &features.supported {
        let level = features.finalized.get(name).copied().unwrap_or(0);
        let epoch = if features.epoch < 0 { "-".to_owned() } else { features.epoch.to_string() };
        outln!(
            console,
            "Feature: {name:<42}SupportedMinVersion: {:<17}SupportedMaxVersion: {:<17}FinalizedVersionLevel: {:<17}Epoch: \
             {epoch}",
            shown(name, *min),
            shown(name, *max),
            shown(name, level)
        );
    }
    Ok(())
}

fn disabled(features: &[String]) -> Result<BTreeMap<String, i16>, String> {
    let mut levels = BTreeMap::new();
    for feature in features {
        if levels.insert(feature.clone(), 0).is_some() {
            return Err(format!("Feature {feature} was specified more than once."));
        }
    }
    Ok(levels)
}

fn levels(
    read: &Read,
    upgrade_type: UpgradeType,
    console: &mut Console<'_>,
) -> Result<BTreeMap<String, i16>, Failed> {
    let mut levels = BTreeMap::new();
    let (metadata, features) = (read.one("--metadata"), read.all("--feature"));
    if let Some(release) = read.one("--release-version") {
        if metadata.is_some() || !features.is_empty() {
            return Err(Failed::Text(
                "Can not specify `release-version` with other feature flags.".to_owned(),
            ));
        }
        let level = metadata_level(release)?;
        levels.insert(METADATA_VERSION.to_owned(), level);
        // Nothing is raised to nothing.
        let others = defaults(level).filter(|(_, level)| upgrade_type != UpgradeType::Upgrade || *level > 0);
        levels.extend(others.map(|(name, level)| (name.to_owned(), level)));
        return Ok(levels);
    }
    if let Some(metadata) = metadata {
        outln!(console, " `metadata` flag is deprecated and may be removed in a future release.");
        levels.insert(METADATA_VERSION.to_owned(), metadata_level(metadata)?);
    }
    for feature in features {
        let (name, level) = name_and_level(feature)?;
        if upgrade_type == UpgradeType::Upgrade && level < 1 {
            return Err(Failed::Text(format!(
                "The upgradeType flag should be set to SAFE_DOWNGRADE or UNSAFE_DOWNGRADE when the provided \
                 maxVersionLevel:{level} is < 1."
            )));
        }
        if levels.insert(name.to_owned(), level).is_some() {
            return Err(Failed::Text(format!("Feature {name} was specified more than once.")));
        }
    }
    Ok(levels)
}

fn name_and_level(text: &str) -> Result<(&str, i16), String> {
    let Some((name, level)) = text.split_once('=') else {
        return Err(format!("Can't parse feature=level string {text}: equals sign not found."));
    };
    let level = level.trim();
    let number = level.parse().map_err(|_| {
        format!("Can't parse feature=level string {text}: unable to parse {level} as a short.")
    })?;
    Ok((name.trim(), number))
}

/// Says of each feature what became of it.
fn report(
    command: &str,
    levels: &BTreeMap<String, i16>,
    is_dry: bool,
    outcome: Result<(), ClientError>,
    console: &mut Console<'_>,
) -> Result<(), Failed> {
    let error = match outcome {
        Ok(()) => None,
        Err(error @ ClientError::Broker { .. }) => Some(error.to_string()),
        Err(error) => return Err(error.into()),
    };
    for (name, level) in levels {
        let to = if command == "disable" { String::new() } else { format!(" to {level}") };
        match &error {
            None => {
                let done = if is_dry { "can be" } else { "was" };
                let participle =
                    if command == "disable" { "disabled".to_owned() } else { format!("{command}d") };
                outln!(console, "{name} {done} {participle}{to}.");
            }
            Some(error) => {
                let not = if is_dry { "Can not" } else { "Could not" };
                outln!(console, "{not} {command} {name}{to}. {error}");
            }
        }
    }
    match error {
        None => Ok(()),
        Some(_) => {
            let count = levels.len();
            Err(Failed::Text(format!("{count} out of {count} operation(s) failed.")))
        }
    }
}

/// Which levels the features have in a release, as this tool and `kafka-storage` print it.
pub(super) fn mapping(release: Option<&str>) -> Result<String, String> {
    let release = release.unwrap_or(LATEST);
    let level = metadata_level(release)?;
    let others = defaults(level).map(|(name, level)| format!("{name}={level}\n"));
    Ok(format!("{METADATA_VERSION}={level} ({release})\n{}", others.collect::<String>()))
}

fn dependencies(features: &[String], console: &mut Console<'_>) -> Result<(), Failed> {
    for feature in features {
        let (name, level) = name_and_level(feature)?;
        let no_level = || format!("No feature:{name} with feature level {level}");
        write!(console.out, "{}", dependencies_of(name, level, no_level)?)?;
    }
    Ok(())
}

/// As `dependencies`, in the words of `kafka-storage`, which refuses lines in others.
pub(super) fn storage_dependencies(features: &[String]) -> Result<String, String> {
    let mut text = String::new();
    for feature in features {
        let (name, level) = feature.split_once('=').ok_or_else(|| {
            format!(
                "Invalid feature format: {feature}. Expected format: 'feature=version' (e.g. 'group.version=1')"
            )
        })?;
        let level: i16 =
            level.parse().map_err(|_| format!("Invalid version format: {level} for feature {name}"))?;
        let no_level = || format!("Feature level {level} is not supported for feature {name}");
        text += &dependencies_of(name, level, no_level)?;
    }
    Ok(text)
}

fn dependencies_of(name: &str, level: i16, no_level: impl Fn() -> String) -> Result<String, String> {
    if name == METADATA_VERSION {
        let version = metadata_name(level).ok_or_else(|| format!("Unknown metadata.version {level}"))?;
        return Ok(format!("{name}={level} ({version}) has no dependencies.\n"));
    }
    let Some((_, max, _)) = FEATURES.iter().find(|(known, _, _)| *known == name) else {
        return Err(format!("Unknown feature: {name}"));
    };
    if !(0..=*max).contains(&level) {
        return Err(no_level());
    }
    if name == "eligible.leader.replicas.version" && level == 1 {
        let needed = shown(METADATA_VERSION, 23);
        return Ok(format!("{name}={level} requires:\n    {METADATA_VERSION}=23 ({needed})\n"));
    }
    Ok(format!("{name}={level} has no dependencies.\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_line(line: &str) -> (u8, String, String) {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = main(&words, &mut Console { out: &mut out, err: &mut err }).unwrap();
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn what_needs_no_cluster_is_answered_in_kafkas_words() {
        for (line, code, out, err) in [
            ("", 1, "", "Command line error: too few arguments. Type --help for help.\n"),
            (
                "nosuch",
                1,
                "",
                "Command line error: invalid choice: 'nosuch' (choose from 'describe', 'upgrade', 'downgrade', 'disable', \
                 'version-mapping', 'feature-dependencies'). Type --help for help.\n",
            ),
            (
                "feature-dependencies",
                1,
                "",
                "Command line error: argument --feature is required. Type --help for help.\n",
            ),
            (
                "feature-dependencies --feature transaction.version=2",
                0,
                "transaction.version=2 has no dependencies.\n",
                "",
            ),
            (
                "feature-dependencies --feature eligible.leader.replicas.version=1",
                0,
                "eligible.leader.replicas.version=1 requires:\n    metadata.version=23 (4.0-IV1)\n",
                "",
            ),
            (
                "feature-dependencies --feature metadata.version=17",
                0,
                "metadata.version=17 (3.7-IV2) has no dependencies.\n",
                "",
            ),
            ("feature-dependencies --feature nosuch=1", 1, "", "Unknown feature: nosuch\n"),
            (
                "feature-dependencies --feature group.version=9",
                1,
                "",
                "No feature:group.version with feature level 9\n",
            ),
            ("upgrade", 1, "", "You must specify at least one feature to upgrade\n"),
            ("upgrade --feature x", 1, "", "Can't parse feature=level string x: equals sign not found.\n"),
            (
                "upgrade --feature x=y",
                1,
                "",
                "Can't parse feature=level string x=y: unable to parse y as a short.\n",
            ),
            (
                "upgrade --feature group.version=1 --feature group.version=0",
                1,
                "",
                "The upgradeType flag should be set to SAFE_DOWNGRADE or UNSAFE_DOWNGRADE when the provided \
                 maxVersionLevel:0 is < 1.\n",
            ),
            (
                "upgrade --release-version 4.3 --feature group.version=1",
                1,
                "",
                "Can not specify `release-version` with other feature flags.\n",
            ),
            (
                "upgrade --metadata 4.3 --feature metadata.version=30",
                1,
                " `metadata` flag is deprecated and may be removed in a future release.\n",
                "Feature metadata.version was specified more than once.\n",
            ),
            (
                "version-mapping --release-version 4.0",
                0,
                "metadata.version=25 (4.0)\nkraft.version=1\ntransaction.version=2\ngroup.version=1\n\
                 eligible.leader.replicas.version=0\nshare.version=0\nstreams.version=0\n",
                "",
            ),
            (
                "version-mapping",
                0,
                "metadata.version=30 (4.3-IV0)\nkraft.version=1\ntransaction.version=2\ngroup.version=1\n\
                 eligible.leader.replicas.version=1\nshare.version=1\nstreams.version=1\n",
                "",
            ),
        ] {
            assert_eq!(run_line(line), (code, out.to_owned(), err.to_owned()), "{line}");
        }
        let (code, _, err) = run_line("version-mapping --release-version 4.4");
        assert!(
            code == 1
                && err
                    .starts_with("Unknown metadata.version '4.4'. Supported metadata.version are: 3.3-IV3, ")
        );
        assert_eq!(run_line("--help"), (0, HELP.to_owned(), String::new()));
    }

    #[test]
    fn features_are_described_as_apache_kafka_described_them() {
        let features = Features {
            supported: BTreeMap::from([
                ("eligible.leader.replicas.version".into(), (0, 1)),
                (METADATA_VERSION.into(), (7, 30)),
            ]),
            finalized: BTreeMap::from([(METADATA_VERSION.into(), 30)]),
            epoch: 370,
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        describe(&features, &mut Console { out: &mut out, err: &mut err }).unwrap();
        let expected = "\
Feature: eligible.leader.replicas.version          SupportedMinVersion: 0                SupportedMaxVersion: 1                FinalizedVersionLevel: 0                Epoch: 370
Feature: metadata.version                          SupportedMinVersion: 3.3-IV3          SupportedMaxVersion: 4.3-IV0          FinalizedVersionLevel: 4.3-IV0          Epoch: 370
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn what_became_of_a_change_is_told_feature_by_feature() {
        let levels = BTreeMap::from([("a.version".to_owned(), 1), ("b.version".to_owned(), 0)]);
        let told = |command: &str, dry: bool, outcome: Result<(), ClientError>| {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let failed =
                report(command, &levels, dry, outcome, &mut Console { out: &mut out, err: &mut err }).err();
            let failed = failed.map(|failed| match failed {
                Failed::Text(text) => text,
                Failed::Io(error) => error.to_string(),
            });
            (String::from_utf8(out).unwrap(), failed)
        };
        let done = "a.version was downgraded to 1.\nb.version was downgraded to 0.\n";
        assert_eq!(told("downgrade", false, Ok(())), (done.to_owned(), None));
        let disabled = "a.version can be disabled.\nb.version can be disabled.\n";
        assert_eq!(told("disable", true, Ok(())), (disabled.to_owned(), None));
        let refused = Err(ClientError::broker(95, Some("No.")));
        let expected = "Could not upgrade a.version to 1. No.\nCould not upgrade b.version to 0. No.\n";
        assert_eq!(
            told("upgrade", false, refused),
            (expected.to_owned(), Some("2 out of 2 operation(s) failed.".to_owned()))
        );
    }
}
