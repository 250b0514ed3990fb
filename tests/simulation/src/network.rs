//! A network that loses, delays, duplicates and reorders, and that can be cut one way or both.

use std::collections::BTreeMap;

use crate::coverage::{Coverage, Happened};
use crate::message::Node;
use crate::random::Random;

/// How a link behaves now, in times out of a thousand messages.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    pub(crate) lost: u32,
    pub(crate) duplicated: u32,
    /// Delayed far beyond the others, and so overtaken.
    pub(crate) late: u32,
}

/// The longest that a late message takes: less than a retry, less than a session, more than either.
const LATE_MS_MAX: &[i64] = &[200, 900, 3_000];
/// The longest that any other takes.
const USUAL_MS_MAX: i64 = 4;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Network {
    pub(crate) weather: Weather,
    /// Directed links that carry nothing until then.
    cut_until: BTreeMap<(Node, Node), i64>,
}

impl Network {
    /// How long each copy of a message is under way; none if it is lost.
    pub(crate) fn delays(
        &self,
        (from, to): (Node, Node),
        is_connection: bool,
        now: i64,
        random: &mut Random,
        coverage: &mut Coverage,
    ) -> Vec<i64> {
        if self.cut_until.get(&(from, to)).is_some_and(|until| now < *until) {
            coverage.note(Happened::MessageCut);
            return Vec::new();
        }
        if random.per_mille(self.weather.lost) {
            coverage.note(Happened::MessageLost);
            return Vec::new();
        }
        let mut delays = vec![self.delay(random, coverage)];
        if !is_connection && random.per_mille(self.weather.duplicated) {
            coverage.note(Happened::MessageDuplicated);
            delays.push(self.delay(random, coverage));
        }
        delays
    }

    fn delay(&self, random: &mut Random, coverage: &mut Coverage) -> i64 {
        if random.per_mille(self.weather.late) {
            coverage.note(Happened::MessageLate);
            let longest = random.pick(LATE_MS_MAX);
            return random.between(10, longest);
        }
        random.between(1, USUAL_MS_MAX)
    }

    pub(crate) fn cut(&mut self, from: Node, to: Node, until: i64) {
        self.cut_until.insert((from, to), until);
    }

    pub(crate) fn heal(&mut self) {
        self.cut_until.clear();
        self.weather = Weather::default();
    }
}
