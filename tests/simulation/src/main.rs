//! Runs seeds by hand: one to be looked at, many, or the table of seeded faults.

use std::io::{self, Write};
use std::process::ExitCode;

use moldau_simulation::{Bug, Options, Runs, run, run_many};

const USAGE: &str = "\
usage: moldau-simulation replay SEED [LINES] [BUG]   one seed, with its last LINES events (200)
       moldau-simulation seeds FIRST COUNT [BUG]      many seeds
       moldau-simulation bugs [COUNT]                 each seeded fault, until a seed finds it (1000 seeds)
";

/// So many seeds have to show everything that can happen.
const SEEDS_FOR_COVERAGE: u64 = 200;
/// Found in that many seeds or not at all.
const SEEDS_FOR_A_FAULT: u64 = 1_000;

fn main() -> io::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut out = io::stdout().lock();
    let number =
        |at: usize, default: u64| words.get(at).and_then(|word| word.parse().ok()).unwrap_or(default);
    let bug = |at: usize| words.get(at).and_then(|name| Bug::from_name(name));
    match words.first() {
        Some(&"replay") => replay(&mut out, number(1, 1), number(2, 200) as usize, bug(3)),
        Some(&"seeds") => seeds(&mut out, number(1, 1), number(2, 100), bug(3)),
        Some(&"bugs") => bugs(&mut out, number(1, SEEDS_FOR_A_FAULT)),
        _ => {
            write!(out, "{USAGE}")?;
            Ok(ExitCode::FAILURE)
        }
    }
}

fn replay(out: &mut impl Write, seed: u64, lines: usize, bug: Option<Bug>) -> io::Result<ExitCode> {
    let outcome = run(seed, &Options { bug, is_traced: true });
    for line in outcome.trace.iter().skip(outcome.trace.len().saturating_sub(lines)) {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "{outcome}")?;
    Ok(verdict(outcome.violation.is_none()))
}

fn seeds(out: &mut impl Write, first: u64, count: u64, bug: Option<Bug>) -> io::Result<ExitCode> {
    let Runs { seeds, steps, simulated_ms, coverage, failed } =
        run_many(first, count, &Options { bug, is_traced: false }, 20);
    writeln!(out, "{coverage}")?;
    for outcome in &failed {
        writeln!(out, "{outcome}")?;
        writeln!(out, "  cargo run -p moldau-simulation -- replay {}", outcome.seed)?;
    }
    // What never happened was not survived.
    let missing = if seeds >= SEEDS_FOR_COVERAGE { coverage.missing() } else { Vec::new() };
    if !missing.is_empty() {
        writeln!(out, "never happened: {missing:?}")?;
    }
    writeln!(
        out,
        "{seeds} seeds, {steps} steps, {} simulated seconds, {} failed",
        simulated_ms / 1000,
        failed.len()
    )?;
    Ok(verdict(failed.is_empty() && missing.is_empty()))
}

fn bugs(out: &mut impl Write, count: u64) -> io::Result<ExitCode> {
    let mut all_found = true;
    writeln!(out, "{:<34} {:>6}  found by", "seeded fault", "seeds")?;
    for bug in Bug::ALL {
        let options = Options { bug: Some(*bug), is_traced: false };
        let runs = run_many(1, count, &options, 1);
        match runs.failed.first() {
            Some(outcome) => {
                let invariant = outcome.violation.as_ref().map_or("", |violation| &violation.invariant);
                writeln!(out, "{:<34} {:>6}  {invariant} (seed {})", bug.name(), runs.seeds, outcome.seed)?;
            }
            None => {
                all_found = false;
                writeln!(out, "{:<34} {:>6}  not found", bug.name(), runs.seeds)?;
            }
        }
        out.flush()?;
    }
    Ok(verdict(all_found))
}

fn verdict(is_well: bool) -> ExitCode {
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
