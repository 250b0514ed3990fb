//! The last events of a run, for who has to understand a failure. A run is traced only when it is replayed: to write
//! every event down would take longer than the run.

use std::collections::VecDeque;

/// How many lines are kept.
const LINES_MAX: usize = 200_000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    is_on: bool,
    lines: VecDeque<String>,
}

impl Trace {
    pub(crate) fn new(is_on: bool) -> Self {
        Self { is_on, lines: VecDeque::new() }
    }

    pub(crate) fn line(&mut self, now: i64, text: impl FnOnce() -> String) {
        if !self.is_on {
            return;
        }
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(format!("{:>9} {}", now - 1_000_000, text()));
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }
}
