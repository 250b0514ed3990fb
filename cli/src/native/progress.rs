//! How far something is that takes long: a bar that is drawn over on a terminal, a line now and then elsewhere.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use crate::console::Console;

const BAR_WIDTH: usize = 30;
/// How often a reader of lines is told; a terminal is drawn at each change.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Written to standard error, so that what a command prints stays clean.
pub(super) struct Progress {
    is_terminal: bool,
    begun: Instant,
    last_line: Option<Instant>,
    is_drawn: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        let is_terminal = io::stderr().is_terminal();
        Self { is_terminal, begun: Instant::now(), last_line: None, is_drawn: false }
    }

    /// Shows that `done` of `total` are done.
    pub(super) fn show(
        &mut self,
        done: usize,
        total: usize,
        what: &str,
        console: &mut Console<'_>,
    ) -> io::Result<()> {
        if self.is_terminal {
            let text = bar(done, total, what, self.begun.elapsed());
            self.is_drawn = true;
            // Back to the line's start, and what is left of a longer text away.
            write!(console.err, "\r{text}\x1b[K")?;
            return console.err.flush();
        }
        if done == total || self.last_line.is_none_or(|at| at.elapsed() >= LINE_EVERY) {
            self.last_line = Some(Instant::now());
            writeln!(console.err, "{done} of {total} {what}")?;
        }
        Ok(())
    }

    /// Leaves the bar's line.
    pub(super) fn finish(&mut self, console: &mut Console<'_>) -> io::Result<()> {
        if std::mem::take(&mut self.is_drawn) {
            writeln!(console.err)?;
        }
        Ok(())
    }
}

fn bar(done: usize, total: usize, what: &str, elapsed: Duration) -> String {
    let filled = (done * BAR_WIDTH).checked_div(total).unwrap_or(BAR_WIDTH).min(BAR_WIDTH);
    let bar: String = "#".repeat(filled) + &".".repeat(BAR_WIDTH - filled);
    let left = match (done, total.saturating_sub(done)) {
        (0, _) | (_, 0) => String::new(),
        (done, left) => {
            let seconds =
                elapsed.as_secs() * u64::try_from(left).unwrap_or(0) / u64::try_from(done).unwrap_or(1);
            format!(", about {seconds} s left")
        }
    };
    format!("[{bar}] {done} of {total} {what}{left}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills_as_things_are_done() {
        assert_eq!(bar(0, 4, "moved", Duration::ZERO), format!("[{}] 0 of 4 moved", ".".repeat(30)));
        let half = bar(2, 4, "moved", Duration::from_secs(10));
        assert_eq!(half, format!("[{}{}] 2 of 4 moved, about 10 s left", "#".repeat(15), ".".repeat(15)));
        assert_eq!(bar(0, 0, "moved", Duration::ZERO), format!("[{}] 0 of 0 moved", "#".repeat(30)));
    }
}
