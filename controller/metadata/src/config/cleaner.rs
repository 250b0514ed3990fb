//! `log.cleaner.*`: what the cleaner may use. All of it changes while the broker runs.

use std::time::Duration;

use super::effective::BrokerSettings;

/// Less is not worth a pass (Kafka refuses less, by a change at run time alone).
const DEDUPE_BUFFER_BYTES_MIN: i64 = 1 << 20;
/// What a table of keys works with.
const LOAD_FACTORS: (f64, f64) = (0.1, 0.99);

/// What the cleaner's threads have together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CleanerSettings {
    /// `log.cleaner.threads`.
    pub threads: usize,
    /// `log.cleaner.dedupe.buffer.size`: memory for keys.
    pub dedupe_buffer_bytes: usize,
    /// `log.cleaner.io.buffer.load.factor`: how full it may be.
    pub load_factor: f64,
    /// `log.cleaner.io.buffer.size`.
    pub io_buffer_bytes: usize,
    /// `log.cleaner.io.max.bytes.per.second`; `None` for no limit.
    pub io_bytes_per_second: Option<f64>,
    /// `log.cleaner.backoff.ms`.
    pub backoff: Duration,
}

impl CleanerSettings {
    /// What is in force now.
    #[must_use]
    pub fn of(settings: &BrokerSettings<'_>) -> Self {
        let text = |name: &str| settings.value(name).map(str::trim);
        let long = |name: &str| text(name).and_then(|text| text.parse::<i64>().ok()).unwrap_or(0).max(0);
        let double = |name: &str| text(name).and_then(|text| text.parse::<f64>().ok());
        let size = |bytes: i64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let threads = size(long("log.cleaner.threads"));
        let least = DEDUPE_BUFFER_BYTES_MIN.saturating_mul(i64::try_from(threads).unwrap_or(1).max(1));
        let (emptiest, fullest) = LOAD_FACTORS;
        Self {
            threads,
            dedupe_buffer_bytes: size(long("log.cleaner.dedupe.buffer.size").max(least)),
            load_factor: double("log.cleaner.io.buffer.load.factor").unwrap_or(0.9).clamp(emptiest, fullest),
            io_buffer_bytes: size(long("log.cleaner.io.buffer.size")),
            io_bytes_per_second: double("log.cleaner.io.max.bytes.per.second")
                .filter(|rate| *rate > 0.0 && *rate < f64::MAX),
            backoff: Duration::from_millis(long("log.cleaner.backoff.ms").max(1).unsigned_abs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn of(settings: &[(&str, &str)]) -> CleanerSettings {
        let statics: BTreeMap<String, String> =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        CleanerSettings::of(&BrokerSettings::of_statics(&statics))
    }

    #[test]
    fn the_defaults_are_kafkas_and_what_cannot_work_is_moved_to_what_does() {
        let defaults = CleanerSettings {
            threads: 1,
            dedupe_buffer_bytes: 128 << 20,
            load_factor: 0.9,
            io_buffer_bytes: 512 << 10,
            io_bytes_per_second: None,
            backoff: Duration::from_secs(15),
        };
        assert_eq!(of(&[]), defaults);
        let odd = of(&[
            ("log.cleaner.threads", "3"),
            ("log.cleaner.dedupe.buffer.size", "7"),
            ("log.cleaner.io.buffer.load.factor", "1.5"),
            ("log.cleaner.io.max.bytes.per.second", "1000.5"),
            ("log.cleaner.backoff.ms", "0"),
        ]);
        let expected = CleanerSettings {
            threads: 3,
            dedupe_buffer_bytes: 3 << 20,
            load_factor: 0.99,
            io_bytes_per_second: Some(1000.5),
            backoff: Duration::from_millis(1),
            ..defaults
        };
        assert_eq!(odd, expected);
    }
}
