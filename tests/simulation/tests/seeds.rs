//! Many seeds, a seed twice, and the seeded faults.
//!
//! `SIM_SEEDS` says how many seeds (200), `SIM_FIRST_SEED` where they begin (1). A seed that failed is looked at with
//! `cargo run -p moldau-simulation -- replay SEED`.

use moldau_simulation::{Bug, Options, Runs, run, run_many};

/// Found in that many seeds or not at all.
const SEEDS_FOR_A_FAULT: u64 = 1_000;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

#[test]
fn nothing_promised_breaks_under_faults_and_all_is_well_in_the_end() {
    let (first, count) = (number("SIM_FIRST_SEED", 1), number("SIM_SEEDS", 200));
    let Runs { seeds, steps, simulated_ms, coverage, failed } =
        run_many(first, count, &Options::default(), 5);
    let report: Vec<String> = failed
        .iter()
        .map(|outcome| format!("{outcome}\n  cargo run -p moldau-simulation -- replay {}\n", outcome.seed))
        .collect();
    assert!(failed.is_empty(), "{}", report.concat());
    println!("{seeds} seeds, {steps} steps, {} simulated seconds\n{coverage}", simulated_ms / 1000);
    // What never happened was not survived.
    if count >= 200 {
        assert_eq!(coverage.missing(), [], "{coverage}");
    }
}

#[test]
fn a_seed_is_the_same_run_every_time() {
    let options = Options { is_traced: true, bug: None };
    for seed in [3, 4] {
        let (one, other) = (run(seed, &options), run(seed, &options));
        assert!(one.trace.len() > 1_000, "{one}");
        assert!(one == other, "seed {seed} ran in two ways");
    }
    assert_ne!(run(3, &options).steps, run(4, &options).steps);
}

#[test]
fn every_seeded_fault_is_found() {
    let mut unfound = Vec::new();
    for bug in Bug::ALL {
        let options = Options { bug: Some(*bug), is_traced: false };
        if run_many(1, SEEDS_FOR_A_FAULT, &options, 1).failed.is_empty() {
            unfound.push(*bug);
        }
    }
    assert_eq!(unfound, [], "no seed has found these");
}
