//! The same request, in every version, to Moldau and to a real Apache Kafka; the answers compared word for word.
//!
//! An answer is decoded by kafka-protocol and printed with its field names; what must differ (ids that each system
//! makes up, ports, clocks) is replaced by a word first, and everything else has to be equal.

mod acls;
pub mod admin;
mod answer;
mod configs;
mod consumer_groups;
mod data;
mod delegation_tokens;
pub mod deviations;
mod features;
mod fetches;
mod group_errors;
mod groups;
mod later_versions;
mod log_dirs;
mod migration;
mod moves;
mod peer;
mod produces;
mod quotas;
mod share_groups;
mod streams_groups;
mod telemetry;
mod transactional_offsets;
mod transactions;
mod versions;
mod voters;

use std::ops::RangeInclusive;

use kafka_protocol::messages::{ApiKey, RequestKind};

pub use peer::{Error, Peer};

/// What a request is built from: what each system answered before.
pub type Build = fn(&mut Peer, i16) -> RequestKind;

/// What a request's body is built from, where kafka-protocol does not know the version.
pub type BuildBody = fn(&Peer) -> Vec<u8>;

/// A request of an API that kafka-protocol does not know at all, and its answer in words.
pub type AskOwn = fn(&mut Peer, ignore: &[&str]) -> Result<String, Error>;

/// One request that is asked in each of its versions.
#[derive(Clone)]
pub struct Case {
    pub name: &'static str,
    pub key: ApiKey,
    pub versions: RangeInclusive<i16>,
    pub build: Build,
    /// In its place where kafka-protocol does not know the version: the answers' bytes are compared.
    pub body: Option<BuildBody>,
    /// In its place where kafka-protocol does not know the API.
    pub own: Option<(moldau_kafka::ApiKey, AskOwn)>,
    /// Fields that are not compared in this case, by their Rust names, and why.
    pub ignore: (&'static [&'static str], &'static str),
}

impl Case {
    const fn new(name: &'static str, key: ApiKey, min: i16, max: i16, build: Build) -> Self {
        Self { name, key, versions: min..=max, build, body: None, own: None, ignore: (&[], "") }
    }

    /// A request in a version that kafka-protocol does not know.
    const fn bytes(name: &'static str, key: ApiKey, version: i16, body: BuildBody) -> Self {
        let build: Build =
            |_, _| RequestKind::ApiVersions(kafka_protocol::messages::ApiVersionsRequest::default());
        Self { body: Some(body), ..Self::new(name, key, version, version, build) }
    }

    /// A request of an API that kafka-protocol does not know, in its one version.
    const fn own(name: &'static str, key: moldau_kafka::ApiKey, ask: AskOwn) -> Self {
        let build: Build =
            |_, _| RequestKind::ApiVersions(kafka_protocol::messages::ApiVersionsRequest::default());
        Self { own: Some((key, ask)), ..Self::new(name, ApiKey::ApiVersions, 0, 0, build) }
    }

    /// The number of the API that is asked.
    #[must_use]
    pub fn api_code(&self) -> i16 {
        self.own.map_or(self.key as i16, |(key, _)| key.code())
    }

    /// Its name.
    #[must_use]
    pub fn api_name(&self) -> String {
        self.own.map_or_else(|| format!("{:?}", self.key), |(key, _)| key.name().to_owned())
    }

    /// For what only this one request shows; what all answers of an API have stands in [`deviations`].
    const fn ignoring(mut self, fields: &'static [&'static str], why: &'static str) -> Self {
        self.ignore = (fields, why);
        self
    }
}

/// All cases, in the order in which they must be asked: later ones stand on what earlier ones made.
#[must_use]
pub fn cases() -> Vec<Case> {
    [
        versions::cases(),
        admin::topics(),
        group_errors::ground(),
        data::cases(),
        produces::cases(),
        produces::stored_otherwise(),
        fetches::cases(),
        groups::cases(),
        group_errors::subscribed(),
        group_errors::cases(),
        consumer_groups::cases(),
        migration::cases(),
        share_groups::cases(),
        streams_groups::cases(),
        admin::cluster(),
        log_dirs::cases(),
        moves::cases(),
        voters::cases(),
        configs::cases(),
        quotas::cases(),
        acls::cases(),
        delegation_tokens::cases(),
        features::cases(),
        telemetry::cases(),
        transactions::ground(),
        transactions::cases(),
        transactional_offsets::cases(),
        later_versions::cases(),
        admin::endings(),
    ]
    .concat()
}

/// One difference, ready to print.
pub struct Difference {
    pub case: String,
    pub kafka: String,
    pub moldau: String,
}

/// Both may end the connection instead of an answer; how they put it does not matter.
const NO_ANSWER: &str = "no answer";

/// What one case changes reaches a broker some time after it was answered: a case that only describes may look again.
const LOOKS_MAX: u32 = 10;
const LOOK_INTERVAL: std::time::Duration = std::time::Duration::from_millis(200);

/// Later cases stand on what the ground made: a refused one would compare nothing but refusals.
fn check_ground(case: &Case, answer: &Result<String, Error>) -> Result<(), Error> {
    let answer = answer.as_ref().map_err(|error| format!("{}: {error}", case.name))?;
    let failed =
        answer.lines().find(|line| line.contains("error_code: ") && !line.ends_with("error_code: 0,"));
    failed.map_or(Ok(()), |line| Err(format!("{}: {}", case.name, line.trim()).into()))
}

/// Asks both everything, or what has one of `only`'s words, parted by commas, in its name. Returns how many answers were compared, and the differences.
///
/// # Errors
/// If what the cases stand on cannot be made in Kafka itself; every other failure is an answer like any.
pub fn run(
    kafka: &mut Peer,
    moldau: &mut Peer,
    only: Option<&str>,
) -> Result<(usize, Vec<Difference>), Error> {
    let mut compared = 0;
    let mut differences = Vec::new();
    for case in cases() {
        let is_left_out = only.is_some_and(|only| !only.split(',').any(|words| case.name.contains(words)));
        if is_left_out && !case.name.starts_with("ground") {
            continue;
        }
        for version in case.versions.clone() {
            let [mut expected, mut got] = ask_both(kafka, moldau, &case, version)?;
            let mut looks = 1;
            while expected != got && case.name.starts_with("describe") && looks < LOOKS_MAX {
                std::thread::sleep(LOOK_INTERVAL);
                [expected, got] = ask_both(kafka, moldau, &case, version)?;
                looks += 1;
            }
            compared += 1;
            if expected != got {
                let name = format!("{} ({} v{version})", case.name, case.api_name());
                differences.push(Difference { case: name, kafka: expected, moldau: got });
            }
        }
    }
    Ok((compared, differences))
}

fn ask_both(kafka: &mut Peer, moldau: &mut Peer, case: &Case, version: i16) -> Result<[String; 2], Error> {
    let expected = ask(kafka, case, version);
    if case.name.starts_with("ground") {
        check_ground(case, &expected)?;
    }
    let got = ask(moldau, case, version);
    Ok([expected, got].map(|answer| answer.unwrap_or_else(|_| NO_ANSWER.into())))
}

fn ask(peer: &mut Peer, case: &Case, version: i16) -> Result<String, Error> {
    if let Some((_, ask)) = case.own {
        return ask(peer, case.ignore.0);
    }
    if let Some(body) = case.body {
        let body = body(peer);
        return peer.call_bytes(case.key, version, &body);
    }
    let request = (case.build)(peer, version);
    let response = peer.call(case.key, version, &request)?;
    peer.remember(&response);
    Ok(peer.normalise(case.key, &response, case.ignore.0))
}
