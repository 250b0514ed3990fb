//! The same request, in every version, to Moldau and to a real Apache Kafka; the answers compared word for word.
//!
//! An answer is decoded by kafka-protocol and printed with its field names; what must differ (ids that each system
//! makes up, ports, clocks) is replaced by a word first, and everything else has to be equal.

pub mod admin;
mod data;
mod groups;
mod peer;

use std::ops::RangeInclusive;

use kafka_protocol::messages::{ApiKey, RequestKind};

pub use peer::{Error, Peer};

/// What a request is built from: what each system answered before.
pub type Build = fn(&mut Peer, i16) -> RequestKind;

/// One request that is asked in each of its versions.
pub struct Case {
    pub name: &'static str,
    pub key: ApiKey,
    pub versions: RangeInclusive<i16>,
    pub build: Build,
    /// Fields whose values are each system's own, by their Rust names.
    pub ignore: &'static [&'static str],
    /// Whether the elements of the answer's list come in no particular order.
    pub unordered: bool,
}

impl Case {
    const fn new(name: &'static str, key: ApiKey, min: i16, max: i16, build: Build) -> Self {
        Self { name, key, versions: min..=max, build, ignore: &[], unordered: false }
    }

    const fn in_any_order(mut self) -> Self {
        self.unordered = true;
        self
    }

    const fn ignoring(mut self, fields: &'static [&'static str]) -> Self {
        self.ignore = fields;
        self
    }
}

/// All cases, in the order in which they must be asked: later ones stand on what earlier ones made.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut all = admin::topics();
    all.extend(data::cases());
    all.extend(groups::cases());
    all.extend(admin::cluster());
    all.extend(admin::endings());
    all
}

/// One difference, ready to print.
pub struct Difference {
    pub case: String,
    pub kafka: String,
    pub moldau: String,
}

/// Asks both everything. Returns how many answers were compared, and the differences.
///
/// # Errors
/// If Kafka itself cannot be asked; a failure of Moldau's is a difference.
pub fn run(
    kafka: &mut Peer,
    moldau: &mut Peer,
    only: Option<&str>,
) -> Result<(usize, Vec<Difference>), Error> {
    let mut compared = 0;
    let mut differences = Vec::new();
    for case in cases() {
        if only.is_some_and(|only| !case.name.contains(only)) && !case.name.starts_with("ground") {
            continue;
        }
        for version in case.versions.clone() {
            let expected = ask(kafka, &case, version)?;
            let got = ask(moldau, &case, version).unwrap_or_else(|error| format!("no answer: {error}"));
            compared += 1;
            if expected != got {
                let name = format!("{} ({:?} v{version})", case.name, case.key);
                differences.push(Difference { case: name, kafka: expected, moldau: got });
            }
        }
    }
    Ok((compared, differences))
}

fn ask(peer: &mut Peer, case: &Case, version: i16) -> Result<String, Error> {
    let request = (case.build)(peer, version);
    let response = peer.call(case.key, version, &request)?;
    peer.remember(&response);
    let answer = peer.normalise(&response, case.ignore);
    Ok(if case.unordered { sort_elements(&answer) } else { answer })
}

/// Sorts what stands in the answer's own lists: the blocks that are indented by three steps.
fn sort_elements(answer: &str) -> String {
    let mut sorted: Vec<String> = Vec::new();
    let mut elements: Vec<String> = Vec::new();
    for line in answer.lines() {
        let indent = line.len() - line.trim_start().len();
        match (indent >= 12, indent == 12 && line.ends_with('{'), elements.last_mut()) {
            (true, true, _) | (true, false, None) => elements.push(line.to_string()),
            (true, false, Some(element)) => {
                element.push('\n');
                element.push_str(line);
            }
            (false, ..) => {
                elements.sort();
                sorted.append(&mut elements);
                sorted.push(line.to_string());
            }
        }
    }
    sorted.join("\n")
}
