//! What a share group's settings say of its partitions.

use moldau_metadata::config::ShareSettings;
use moldau_metadata::{ConfigResource, MetadataImage};
use moldau_share::Limits;

use crate::replica_manager::Isolation;

/// Where a share group starts in a partition that it has not read yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OffsetReset {
    Earliest,
    Latest,
    /// At the first record not older than this.
    ByDuration {
        back_ms: i64,
    },
}

/// A group's own settings, the broker's where it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShareGroupSettings {
    pub(crate) limits: Limits,
    pub(crate) offset_reset: OffsetReset,
    pub(crate) isolation: Isolation,
    pub(crate) may_renew: bool,
}

impl ShareGroupSettings {
    pub(super) fn of(broker: &ShareSettings, image: &MetadataImage, group_id: &str) -> Self {
        let own = image.configs().of(&ConfigResource::group(group_id));
        let text = |name: &str| own.and_then(|own| own.get(name)).map(|value| value.trim());
        let number =
            |name: &str, of_broker: i32| text(name).and_then(|value| value.parse().ok()).unwrap_or(of_broker);
        let delivery_count_max = number("share.delivery.count.limit", broker.delivery_count_limit)
            .min(broker.delivery_count_limit_max.max(broker.delivery_count_limit));
        Self {
            limits: Limits {
                delivery_count_max: i16::try_from(delivery_count_max).unwrap_or(i16::MAX),
                records_in_flight_max: i64::from(number(
                    "share.partition.max.record.locks",
                    broker.record_locks_max,
                )),
                lock_duration_ms: i64::from(number(
                    "share.record.lock.duration.ms",
                    broker.record_lock_duration_ms,
                )),
            },
            offset_reset: offset_reset(text("share.auto.offset.reset").unwrap_or_default()),
            isolation: match text("share.isolation.level") {
                Some("read_committed") => Isolation::ReadCommitted,
                _ => Isolation::ReadUncommitted,
            },
            may_renew: text("share.renew.acknowledge.enable") != Some("false"),
        }
    }
}

/// The setting was checked when it was made.
fn offset_reset(text: &str) -> OffsetReset {
    match text.split_once(':') {
        Some(("by_duration", duration)) => OffsetReset::ByDuration { back_ms: duration_ms(duration) },
        _ if text == "earliest" => OffsetReset::Earliest,
        _ => OffsetReset::Latest,
    }
}

/// An ISO 8601 duration of days, hours, minutes and seconds, `PnDTnHnMn.nS`.
fn duration_ms(text: &str) -> i64 {
    let mut total_ms = 0.0;
    let mut amount = String::new();
    for character in text.chars() {
        let unit_ms = match character.to_ascii_uppercase() {
            'D' => 86_400_000.0,
            'H' => 3_600_000.0,
            'M' => 60_000.0,
            'S' => 1_000.0,
            digit if digit.is_ascii_digit() || digit == '.' => {
                amount.push(digit);
                continue;
            }
            _ => 0.0,
        };
        total_ms += amount.parse::<f64>().unwrap_or(0.0) * unit_ms;
        amount.clear();
    }
    total_ms as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_starts_where_its_setting_says() {
        for (text, expected) in [
            ("", OffsetReset::Latest),
            ("latest", OffsetReset::Latest),
            ("earliest", OffsetReset::Earliest),
            ("by_duration:PT1H30M", OffsetReset::ByDuration { back_ms: 5_400_000 }),
            ("by_duration:P2DT0.5S", OffsetReset::ByDuration { back_ms: 172_800_500 }),
        ] {
            assert_eq!(offset_reset(text), expected, "{text}");
        }
    }
}
