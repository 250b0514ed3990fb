//! Times as a pattern of Java's `SimpleDateFormat` writes them, in UTC.

/// A pattern that cannot be used. The text is Java's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PatternError {
    #[error("Illegal pattern character '{0}'")]
    Letter(char),
    #[error("Unterminated quote")]
    Quote,
}

/// A pattern, in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DatePattern(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// A letter, and how often it stands there.
    Field(char, usize),
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// 1 January 1970 was a Thursday.
const WEEKDAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
/// The fields that are known here: Java's, without weeks, eras and names of zones.
const FIELDS: &str = "yuMLdDEuaHkKhmsSzZX";

impl DatePattern {
    /// # Errors
    /// A letter that stands for no field, or a quote without its end.
    pub(crate) fn new(pattern: &str) -> Result<Self, PatternError> {
        let mut parts = Vec::new();
        let mut letters = pattern.chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                '\'' if letters.next_if_eq(&'\'').is_some() => parts.push(Part::Text("'".to_owned())),
                '\'' => parts.push(Part::Text(quoted(&mut letters)?)),
                letter if letter.is_ascii_alphabetic() => {
                    if !FIELDS.contains(letter) {
                        return Err(PatternError::Letter(letter));
                    }
                    let mut count = 1;
                    while letters.next_if_eq(&letter).is_some() {
                        count += 1;
                    }
                    parts.push(Part::Field(letter, count));
                }
                other => parts.push(Part::Text(other.to_string())),
            }
        }
        Ok(Self(parts))
    }

    /// Milliseconds since 1970.
    pub(crate) fn format(&self, at_ms: i64) -> String {
        let time = Time::of(at_ms);
        self.0
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Field(letter, count) => time.field(*letter, *count),
            })
            .collect()
    }
}

/// Up to the closing quote; two quotes are one.
fn quoted(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<String, PatternError> {
    let mut text = String::new();
    loop {
        match letters.next() {
            Some('\'') if letters.next_if_eq(&'\'').is_some() => text.push('\''),
            Some('\'') => return Ok(text),
            Some(letter) => text.push(letter),
            None => return Err(PatternError::Quote),
        }
    }
}

struct Time {
    days: i64,
    year: i64,
    month: i64,
    day: i64,
    millis_of_day: i64,
}

impl Time {
    fn of(at_ms: i64) -> Self {
        let days = at_ms.div_euclid(86_400_000);
        let (year, month, day) = civil(days);
        Self { days, year, month, day, millis_of_day: at_ms.rem_euclid(86_400_000) }
    }

    fn field(&self, letter: char, count: usize) -> String {
        let padded = |value: i64| format!("{value:0count$}");
        let named = |name: &str| name.chars().take(if count < 4 { 3 } else { usize::MAX }).collect();
        let hour = self.millis_of_day / 3_600_000;
        let weekday = self.days.rem_euclid(7);
        match letter {
            'y' if count == 2 => format!("{:02}", self.year.rem_euclid(100)),
            'y' => padded(self.year),
            'M' | 'L' if count > 2 => named(MONTHS[(self.month - 1).rem_euclid(12) as usize]),
            'M' | 'L' => padded(self.month),
            'd' => padded(self.day),
            'D' => padded(self.days - days_of(self.year, 1, 1) + 1),
            'E' => named(WEEKDAYS[weekday as usize]),
            // Monday is 1.
            'u' => padded((weekday + 3) % 7 + 1),
            'a' => (if hour < 12 { "AM" } else { "PM" }).to_owned(),
            'H' => padded(hour),
            'k' => padded(if hour == 0 { 24 } else { hour }),
            'K' => padded(hour % 12),
            'h' => padded((hour + 11) % 12 + 1),
            'm' => padded(self.millis_of_day / 60_000 % 60),
            's' => padded(self.millis_of_day / 1000 % 60),
            'S' => padded(self.millis_of_day % 1000),
            'z' if count < 4 => "UTC".to_owned(),
            'z' => "Coordinated Universal Time".to_owned(),
            'Z' => "+0000".to_owned(),
            _ => "Z".to_owned(),
        }
    }
}

/// Year, month and day of a day's number.
fn civil(days: i64) -> (i64, i64, i64) {
    // Years start in March here, so that the leap day is a year's last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The number of a day.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Java 17 writes in UTC.
    #[test]
    fn patterns_are_written_as_java_writes_them() {
        // A Thursday in a leap year, at 13:04:05.006.
        let at_ms = 1_709_211_845_006;
        for (pattern, text) in [
            ("yyyy-MM-dd HH:mm:ss:SSS", "2024-02-29 13:04:05:006"),
            ("yy/M/d h:m:s.S a", "24/2/29 1:4:5.6 PM"),
            ("EEE, d MMM yyyy HH:mm:ss Z", "Thu, 29 Feb 2024 13:04:05 +0000"),
            ("EEEE MMMM D u", "Thursday February 60 4"),
            ("yyyy-MM-dd'T'HH:mm:ss'Z' 'o''clock' ''", "2024-02-29T13:04:05Z o'clock '"),
            ("k K hh z X", "13 1 01 UTC Z"),
        ] {
            assert_eq!(DatePattern::new(pattern).unwrap().format(at_ms), text, "{pattern}");
        }
        let default = DatePattern::new("yyyy-MM-dd HH:mm:ss:SSS").unwrap();
        assert_eq!(default.format(0), "1970-01-01 00:00:00:000");
        assert_eq!(default.format(-1), "1969-12-31 23:59:59:999");
        assert_eq!(default.format(951_782_400_000), "2000-02-29 00:00:00:000");
    }

    #[test]
    fn days_have_one_number() {
        for days in (-800_000..800_000).step_by(37) {
            let (year, month, day) = civil(days);
            assert_eq!(days_of(year, month, day), days);
        }
    }

    #[test]
    fn a_pattern_that_makes_no_sense_is_refused_in_javas_words() {
        let refused = |pattern| DatePattern::new(pattern).unwrap_err().to_string();
        assert_eq!(refused("yyyy b"), "Illegal pattern character 'b'");
        assert_eq!(refused("yyyy 'b"), "Unterminated quote");
    }
}
