//! `moldau doctor`: what usually keeps a cluster from working, looked at from where it runs. Each finding says what to do.

mod brokers;
mod clock;
mod here;
mod listeners;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use super::{Common, Failure};
use crate::client::connection::Connection;
use crate::console::{Console, outln};

/// How long one broker may take to answer; a doctor that hangs is no help.
const BROKER_MAX: Duration = Duration::from_secs(3);

const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const GREEN: &str = "\x1b[32m";
const PLAIN: &str = "\x1b[0m";

#[derive(Args)]
pub(super) struct Arguments {
    /// A data directory on this machine whose disk is to be measured; default: those of brokers that run here
    #[arg(short, long, value_name = "DIRECTORY")]
    data_dir: Vec<PathBuf>,
    /// Look at this machine alone, before a first start
    #[arg(long)]
    local: bool,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Good,
    Warning,
    Problem,
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Warning => "warning",
            Self::Problem => "PROBLEM",
        }
    }

    const fn colour(self) -> &'static str {
        match self {
            Self::Good => GREEN,
            Self::Warning => YELLOW,
            Self::Problem => RED,
        }
    }
}

/// What was looked at, what was seen, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    verdict: Verdict,
    subject: String,
    seen: String,
    advice: Option<String>,
}

impl Finding {
    fn good(subject: impl Into<String>, seen: impl Into<String>) -> Self {
        Self { verdict: Verdict::Good, subject: subject.into(), seen: seen.into(), advice: None }
    }

    fn warning(subject: impl Into<String>, seen: impl Into<String>, advice: impl Into<String>) -> Self {
        let advice = Some(advice.into());
        Self { verdict: Verdict::Warning, subject: subject.into(), seen: seen.into(), advice }
    }

    fn problem(subject: impl Into<String>, seen: impl Into<String>, advice: impl Into<String>) -> Self {
        let advice = Some(advice.into());
        Self { verdict: Verdict::Problem, subject: subject.into(), seen: seen.into(), advice }
    }
}

/// A broker that answered where it says it is.
struct Reached {
    id: i32,
    host: String,
    connection: Connection,
    log_dirs: Vec<PathBuf>,
    http_listener: Option<String>,
}

pub(super) fn run(common: &Common, arguments: &Arguments, console: &mut Console<'_>) -> Result<(), Failure> {
    let mut findings = Vec::new();
    let mut directories = arguments.data_dir.clone();
    if !arguments.local {
        let mut client = common.client("moldau-doctor")?;
        let mut reached = listeners::check(&mut client, &mut findings);
        if !reached.is_empty() {
            brokers::check(&mut client, &mut reached, &mut findings);
            clock::check(&mut client, &reached, &mut findings);
        }
        if directories.is_empty() {
            directories = here::directories_of(&reached);
        }
    }
    here::check(&directories, &mut findings);
    report(common, &findings, console)
}

fn report(common: &Common, findings: &[Finding], console: &mut Console<'_>) -> Result<(), Failure> {
    let count = |verdict: Verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let (problems, warnings) = (count(Verdict::Problem), count(Verdict::Warning));
    if common.is_json() {
        let list: Vec<Value> = findings
            .iter()
            .map(|f| {
                let verdict = f.verdict.word().to_ascii_lowercase();
                json!({"verdict": verdict, "subject": f.subject, "seen": f.seen, "advice": f.advice})
            })
            .collect();
        super::json(&json!({"problems": problems, "warnings": warnings, "findings": list}), console)?;
    } else {
        let width = findings.iter().map(|finding| finding.subject.chars().count()).max().unwrap_or(0);
        let colours = crate::console::colours();
        for finding in findings {
            let word = format!("{:<7}", finding.verdict.word());
            let word = if colours { format!("{}{word}{PLAIN}", finding.verdict.colour()) } else { word };
            outln!(console, "{word}  {:<width$}  {}", finding.subject, finding.seen);
            for line in finding.advice.iter().flat_map(|advice| advice.lines()) {
                outln!(console, "{:9}{:<width$}  -> {line}", "", "");
            }
        }
        match (problems, warnings) {
            (0, 0) => outln!(console, "\nall is well"),
            _ => outln!(
                console,
                "\n{}, {}",
                super::counted(problems, "problem"),
                super::counted(warnings, "warning")
            ),
        }
    }
    if problems == 0 { Ok(()) } else { Err(Failure::Unhealthy) }
}

fn deadline() -> Instant {
    Instant::now() + BROKER_MAX
}

/// Bytes as people read them.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_problem_fails_and_each_finding_says_what_to_do() {
        let findings =
            [Finding::good("bootstrap", "fine"), Finding::warning("disk", "slow", "take another\nor wait")];
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut console = Console { out: &mut out, err: &mut err };
        assert!(report(&Common::for_tests(), &findings, &mut console).is_ok());
        let problem = [Finding::problem("x", "y", "z")];
        let failed = report(&Common::for_tests(), &problem, &mut console);
        assert!(matches!(failed, Err(Failure::Unhealthy)));
        let expected = "\
ok       bootstrap  fine
warning  disk       slow
                    -> take another
                    -> or wait

0 problems, 1 warning
PROBLEM  x  y
            -> z

1 problem, 0 warnings
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!([size(5), size(1536), size(3 << 30)], ["5 B", "1.5 KiB", "3.0 GiB"]);
    }
}
