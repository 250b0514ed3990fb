//! The dependency arrows of `docs/ARCHITECTURE.md`, held against `cargo metadata` and the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use moldau_tests::{rust_sources, workspace_root};
use serde_json::Value;

/// Each of our crates and those of ours that it may name. A crate that is not here may not exist.
const ARROWS: &[(&str, &[&str])] = &[
    ("moldau-model", &[]),
    ("moldau-record", &["moldau-model"]),
    ("moldau-kafka", &["moldau-model", "moldau-record"]),
    ("moldau-metadata", &["moldau-model"]),
    ("moldau-security", &["moldau-model", "moldau-metadata"]),
    ("moldau-cluster", &["moldau-model", "moldau-security"]),
    ("moldau-log", &["moldau-model", "moldau-record"]),
    ("moldau-replica", &["moldau-model"]),
    ("moldau-group", &["moldau-model"]),
    ("moldau-txn", &["moldau-model"]),
    ("moldau-share", &["moldau-model"]),
    (
        "moldau-controller",
        &["moldau-model", "moldau-kafka", "moldau-metadata", "moldau-security", "moldau-cluster"],
    ),
    (
        "moldau-broker",
        &[
            "moldau-model",
            "moldau-record",
            "moldau-kafka",
            "moldau-metadata",
            "moldau-security",
            "moldau-cluster",
            "moldau-log",
            "moldau-replica",
            "moldau-group",
            "moldau-txn",
            "moldau-share",
        ],
    ),
    (
        "moldau",
        &[
            "moldau-model",
            "moldau-record",
            "moldau-kafka",
            "moldau-metadata",
            "moldau-security",
            "moldau-cluster",
            "moldau-log",
            "moldau-group",
            "moldau-broker",
            "moldau-controller",
        ],
    ),
    // What decides in the cluster, and nothing that does I/O: the simulation is the shell.
    (
        "moldau-simulation",
        &[
            "moldau-model",
            "moldau-metadata",
            "moldau-cluster",
            "moldau-controller",
            "moldau-replica",
            "moldau-group",
            "moldau-txn",
        ],
    ),
];

/// Crates of others that only some of ours may use: (theirs, ours).
const RESERVED: &[(&str, &[&str])] = &[
    ("openraft", &["moldau-controller"]),
    ("sled", &["moldau-controller"]),
    ("kafka-protocol", &["moldau-kafka", "moldau-controller", "moldau-broker", "moldau", "moldau-tests"]),
    (
        "tokio",
        &[
            "moldau-security",
            "moldau-cluster",
            "moldau-controller",
            "moldau-broker",
            "moldau",
            "moldau-tests",
        ],
    ),
];

/// Where a crate's name may stand in the sources: (the name, path prefixes).
const PLACES: &[(&str, &[&str])] = &[
    ("openraft::", &["controller/src/raft"]),
    ("sled::", &["controller/src/raft"]),
    (
        "kafka_protocol::",
        &[
            "proto/kafka/",
            "broker/src/api",
            "broker/src/net",
            "broker/tests/",
            "controller/src/service",
            "controller/tests/",
            "cli/",
            "tests/",
        ],
    ),
];

/// What a pure crate or module must not name, for the whole cluster is to run in one seeded simulation.
const PURE: &[&str] = &[
    "broker/replica/src",
    "broker/group/src",
    "broker/txn/src",
    "broker/share/src",
    "controller/metadata/src",
    "proto/security/src/sasl",
    "proto/security/src/scram",
    "proto/security/src/principal",
    "controller/src/manage",
];
/// The simulation has one source of chance and one clock of its own; only `run.rs` spreads seeds over threads. A map that
/// iterates in another order in the next process would make a seed another run.
const SIMULATION: &str = "tests/simulation/src/";
const NOT_REPLAYABLE: &[&str] = &["HashMap", "HashSet"];
const IMPURE: &[&str] = &[
    "tokio::",
    "async fn",
    ".await",
    "std::time::Instant",
    "SystemTime::now",
    "Instant::now",
    "std::fs",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
    "std::thread",
    "getrandom",
    "rand::",
];

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--locked"])
        .current_dir(workspace_root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let all = metadata["packages"].as_array().expect("packages");
    // What stands in patches/ is somebody else's crate, mended.
    let is_ours = |package: &&Value| package["name"].as_str().is_some_and(|name| name.starts_with("moldau"));
    all.iter().filter(is_ours).cloned().collect()
}

/// Each package's normal and build dependencies; tests may reach further.
fn dependencies(package: &Value) -> BTreeSet<String> {
    let all = package["dependencies"].as_array().expect("dependencies");
    all.iter().filter(|d| d["kind"] != "dev").map(|d| d["name"].as_str().expect("name").to_string()).collect()
}

#[test]
fn arrows_between_our_crates_go_one_way() {
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        ARROWS.iter().map(|(name, to)| (*name, to.iter().copied().collect())).collect();
    let mut seen = 0;
    for package in packages() {
        let name = package["name"].as_str().expect("name");
        if name == "moldau-tests" {
            continue;
        }
        let allowed = allowed.get(name).unwrap_or_else(|| panic!("{name} has no row in ARROWS"));
        for dependency in dependencies(&package) {
            if dependency.starts_with("moldau") {
                assert!(allowed.contains(dependency.as_str()), "{name} must not know {dependency}");
            }
        }
        seen += 1;
    }
    assert_eq!(seen, ARROWS.len(), "a crate in ARROWS is gone");
}

#[test]
fn reserved_crates_are_used_only_where_the_design_says() {
    for package in packages() {
        let name = package["name"].as_str().expect("name");
        let uses = dependencies(&package);
        for (theirs, ours) in RESERVED {
            assert!(!uses.contains(*theirs) || ours.contains(&name), "{name} must not depend on {theirs}");
        }
    }
}

#[test]
fn reserved_names_stand_only_in_their_places() {
    for (path, text) in rust_sources() {
        let path = path.to_string_lossy().replace('\\', "/");
        for (name, places) in PLACES {
            let here = places.iter().any(|place| path.starts_with(place)) || path == "tests/tests/arrows.rs";
            assert!(here || !text.contains(name), "{path} names {name}");
        }
    }
}

/// The first line of code that holds the word.
fn line_that_says<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    text.lines().find(|line| says(line, word) && !line.trim_start().starts_with("//"))
}

#[test]
fn a_seed_of_the_simulation_is_all_that_decides_its_run() {
    let mut seen = 0;
    for (path, text) in rust_sources() {
        let path = path.to_string_lossy().replace('\\', "/");
        if !path.starts_with(SIMULATION) || path.ends_with("/run.rs") {
            continue;
        }
        seen += 1;
        for word in IMPURE.iter().chain(NOT_REPLAYABLE) {
            let line = line_that_says(&text, word);
            assert!(line.is_none(), "{path} says {word}: {}", line.unwrap_or_default());
        }
    }
    assert!(seen > 10, "only {seen} files of the simulation were looked at");
}

/// Whether a line holds the word, and not as the beginning of a longer one.
fn says(line: &str, word: &str) -> bool {
    let goes_on = |rest: &str| {
        word.ends_with(char::is_alphanumeric) && rest.starts_with(|c: char| c.is_alphanumeric() || c == '_')
    };
    line.match_indices(word).any(|(at, _)| !goes_on(&line[at + word.len()..]))
}

#[test]
fn the_pure_parts_know_no_clock_no_randomness_and_no_io() {
    let mut seen = 0;
    for (path, text) in rust_sources() {
        let path = path.to_string_lossy().replace('\\', "/");
        if !PURE.iter().any(|place| path.starts_with(place)) {
            continue;
        }
        seen += 1;
        for word in IMPURE {
            let line = line_that_says(&text, word);
            assert!(
                line.is_none(),
                "{path} is in a pure part, yet says {word}: {}",
                line.unwrap_or_default()
            );
        }
    }
    assert!(seen > 10, "only {seen} files of the pure parts were looked at");
}
