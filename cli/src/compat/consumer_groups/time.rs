//! Times as `--to-datetime` and `--by-duration` take them: ISO 8601, in milliseconds.

/// Why a text is no time. The texts are those of Java's readers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::compat) enum TimeError {
    #[error(
        "java.text.ParseException: Error parsing timestamp. It does not contain a 'T' according to ISO8601 format"
    )]
    NoT,
    #[error("java.text.ParseException: Unparseable date: \"{0}\"")]
    Date(String),
    #[error("Text cannot be parsed to a Duration")]
    Duration,
}

/// `YYYY-MM-DDThh:mm:ss.sss`, with `Z` or `+hh:mm` or nothing (which is UTC) behind it, in milliseconds since 1970.
pub(in crate::compat) fn datetime_ms(text: &str) -> Result<i64, TimeError> {
    let (date, time) = text.split_once('T').ok_or(TimeError::NoT)?;
    let wrong = || TimeError::Date(text.to_owned());
    let (time, zone_minutes) = zone(time).ok_or_else(wrong)?;
    let numbers =
        |text: &str, sign: char| -> Option<Vec<i64>> { text.split(sign).map(|n| n.parse().ok()).collect() };
    let date = numbers(date, '-').filter(|d| d.len() == 3).ok_or_else(wrong)?;
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let clock = numbers(clock, ':').filter(|c| c.len() == 3).ok_or_else(wrong)?;
    let in_range = (1..=12).contains(&date[1])
        && (1..=31).contains(&date[2])
        && (0..24).contains(&clock[0])
        && (0..60).contains(&clock[1])
        && (0..61).contains(&clock[2]);
    if !in_range || fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let millis: i64 = format!("{fraction:0<3}")[..3].parse().map_err(|_| wrong())?;
    let days = days_since_1970(date[0], date[1], date[2]);
    let minutes = days * 1440 + clock[0] * 60 + clock[1] - zone_minutes;
    Ok((minutes * 60 + clock[2]) * 1000 + millis)
}

/// Cuts the zone off; minutes east of Greenwich.
fn zone(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix('Z') {
        return Some((time, 0));
    }
    let Some(at) = time.find(['+', '-']) else { return Some((time, 0)) };
    let (time, zone) = time.split_at(at);
    let digits: String = zone[1..].chars().filter(|c| *c != ':').collect();
    let number: i64 = digits.parse().ok()?;
    let minutes = if digits.len() == 2 { number * 60 } else { number / 100 * 60 + number % 100 };
    Some((time, if zone.starts_with('-') { -minutes } else { minutes }))
}

/// The civil calendar's day number.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    // Years start in March here, so that the leap day is a year's last.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// `PnDTnHnMnS` in milliseconds; any part may be missing, seconds may have a fraction.
pub(super) fn duration_ms(text: &str) -> Result<i64, TimeError> {
    let upper = text.to_ascii_uppercase();
    let (negative, rest) = match upper.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, upper.as_str()),
    };
    let rest = rest.strip_prefix('P').ok_or(TimeError::Duration)?;
    let (days, clock) = rest.split_once('T').map_or((rest, None), |(days, clock)| (days, Some(clock)));
    if rest.is_empty() || clock == Some("") {
        return Err(TimeError::Duration);
    }
    let mut total = 0.0;
    let mut part = |text: &str, units: &[(char, f64)]| -> Result<(), TimeError> {
        let mut rest = text;
        let mut units = units.iter();
        while !rest.is_empty() {
            let at = rest.find(|c: char| c.is_ascii_alphabetic()).ok_or(TimeError::Duration)?;
            let unit = rest[at..].chars().next().ok_or(TimeError::Duration)?;
            let (_, ms) = units.find(|(name, _)| *name == unit).ok_or(TimeError::Duration)?;
            total += rest[..at].parse::<f64>().map_err(|_| TimeError::Duration)? * ms;
            rest = &rest[at + 1..];
        }
        Ok(())
    };
    part(days, &[('D', 86_400_000.0)])?;
    part(clock.unwrap_or(""), &[('H', 3_600_000.0), ('M', 60_000.0), ('S', 1000.0)])?;
    Ok(if negative { -(total as i64) } else { total as i64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datetimes_are_utc_unless_they_say_otherwise() {
        for (text, ms) in [
            ("1970-01-01T00:00:00.000", 0),
            ("2020-01-01T00:00:00.000", 1_577_836_800_000),
            ("2024-02-29T12:30:15.5Z", 1_709_209_815_500),
            ("2024-02-29T12:30:15.500+01:00", 1_709_206_215_500),
            ("2024-02-29T12:30:15.500-0030", 1_709_211_615_500),
        ] {
            assert_eq!(datetime_ms(text), Ok(ms), "{text}");
        }
        assert_eq!(datetime_ms("foo"), Err(TimeError::NoT));
        assert!(matches!(datetime_ms("2024-13-01T00:00:00.000"), Err(TimeError::Date(_))));
    }

    #[test]
    fn durations_are_iso_8601() {
        for (text, ms) in [
            ("PT1H", 3_600_000),
            ("P1DT2H3M4.5S", 93_784_500),
            ("PT0S", 0),
            ("-PT1S", -1000),
            ("pt1m", 60_000),
        ] {
            assert_eq!(duration_ms(text), Ok(ms), "{text}");
        }
        for text in ["", "foo", "P", "PT", "1H", "PT1D", "PT1M1H"] {
            assert_eq!(duration_ms(text), Err(TimeError::Duration), "{text}");
        }
    }
}
