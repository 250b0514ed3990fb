//! One run and its outcome, and many of them on all cores.

use std::cell::RefCell;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::thread;

use crate::bug::Bug;
use crate::coverage::{Coverage, Happened};
use crate::invariants::Violation;
use crate::world::{ACKED_MIN, World};

/// How to run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// A fault to be found.
    pub bug: Option<Bug>,
    /// Whether to keep the last events.
    pub is_traced: bool,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub seed: u64,
    /// Events until the end, or until the violation.
    pub steps: u64,
    pub simulated_ms: i64,
    pub coverage: Coverage,
    pub violation: Option<Violation>,
    /// The last events, if the run was traced.
    pub trace: Vec<String>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, steps, simulated_ms, .. } = self;
        match &self.violation {
            None => write!(f, "seed {seed}: well after {steps} steps, {simulated_ms} ms"),
            Some(Violation { invariant, text }) => {
                write!(f, "seed {seed}, step {steps}, {simulated_ms} ms: {invariant} is broken: {text}")
            }
        }
    }
}

thread_local! {
    /// The last panic of a run on this thread.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static IS_RUNNING: RefCell<bool> = const { RefCell::new(false) };
}

/// An assertion that fails in a run is a finding, not a message on the terminal.
fn catch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if IS_RUNNING.with_borrow(|is_running| *is_running) {
                PANIC.set(Some(info.to_string()));
            } else {
                before(info);
            }
        }));
    });
}

/// Runs one seed.
#[must_use]
pub fn run(seed: u64, options: &Options) -> Outcome {
    catch_panics();
    IS_RUNNING.set(true);
    let mut world = World::new(seed, options.bug, options.is_traced);
    let begin = world.now();
    let result = panic::catch_unwind(AssertUnwindSafe(|| world.run()));
    IS_RUNNING.set(false);
    let (steps, simulated_ms) = (world.steps(), world.now() - begin);
    let (mut violation, coverage, trace) = world.finish();
    if result.is_err() {
        let text = PANIC.take().unwrap_or_default();
        violation = Some(Violation { invariant: "panic".to_owned(), text });
    }
    let acked = coverage.count(Happened::AckedAll);
    if violation.is_none() && acked < ACKED_MIN {
        let text = format!("only {acked} batches were acknowledged");
        violation = Some(Violation { invariant: "coverage".to_owned(), text });
    }
    Outcome { seed, steps, simulated_ms, coverage, violation, trace }
}

/// What came of many runs.
#[derive(Clone, Debug, Default)]
pub struct Runs {
    pub seeds: u64,
    pub steps: u64,
    pub simulated_ms: i64,
    pub coverage: Coverage,
    /// The failed ones, by seed.
    pub failed: Vec<Outcome>,
}

/// Runs `count` seeds from `first` on, on all cores, until `failed_max` of them have failed.
#[must_use]
pub fn run_many(first: u64, count: u64, options: &Options, failed_max: usize) -> Runs {
    let next = AtomicU64::new(first);
    let runs = Mutex::new(Runs::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let has_failed_enough =
                || runs.lock().unwrap_or_else(PoisonError::into_inner).failed.len() >= failed_max;
            if seed >= first + count || has_failed_enough() {
                return;
            }
            let outcome = run(seed, options);
            let mut runs = runs.lock().unwrap_or_else(PoisonError::into_inner);
            runs.seeds += 1;
            runs.steps += outcome.steps;
            runs.simulated_ms += outcome.simulated_ms;
            runs.coverage.add(&outcome.coverage);
            if outcome.violation.is_some() {
                runs.failed.push(outcome);
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let mut runs = runs.into_inner().unwrap_or_else(PoisonError::into_inner);
    runs.failed.sort_by_key(|outcome| outcome.seed);
    runs
}
