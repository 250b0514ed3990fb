//! A setting's text: what it parses to, and Kafka's words for why it does not.

use std::collections::BTreeMap;

use thiserror::Error;

use super::definitions::{
    self, ConfigDefinition, ConfigType, UpdateMode, ValidValues, client_metrics_definition, group_definition,
    topic_definition,
};
use super::effective::BrokerSettings;

/// Why a setting cannot hold a value. The text is Kafka's: it reaches users through clients' errors.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct InvalidValue(pub String);

impl InvalidValue {
    fn new(name: &str, value: impl std::fmt::Display, reason: impl std::fmt::Display) -> Self {
        Self(format!("Invalid value {value} for configuration {name}: {reason}"))
    }
}

/// The elements of a list: separated by commas, without the blanks around them. No text is no element.
#[must_use]
pub fn as_list(text: &str) -> Vec<&str> {
    let text = text.trim();
    if text.is_empty() { Vec::new() } else { text.split(',').map(str::trim).collect() }
}

impl ConfigDefinition {
    /// Checks a value's type and range.
    ///
    /// # Errors
    /// Kafka's message for this value.
    pub fn validate(&self, value: &str) -> Result<(), InvalidValue> {
        match self.config_type {
            ConfigType::Boolean => parse_boolean(value).map(|_| ()).ok_or_else(|| {
                InvalidValue::new(self.name, value, "Expected value to be either true or false")
            }),
            ConfigType::Int | ConfigType::Short | ConfigType::Long => {
                let number = self.parse_integer(value)?;
                self.check_integer(number)
            }
            ConfigType::Double => {
                let number = parse_double(value)
                    .ok_or_else(|| InvalidValue::new(self.name, value, "Not a number of type DOUBLE"))?;
                self.check_fraction(number)
            }
            ConfigType::List => self.check_list(value),
            ConfigType::String | ConfigType::Class | ConfigType::Password => self.check_string(value.trim()),
        }
    }

    fn parse_integer(&self, value: &str) -> Result<i64, InvalidValue> {
        let text = value.trim();
        let number = match self.config_type {
            ConfigType::Short => text.parse::<i16>().ok().map(i64::from),
            ConfigType::Int => text.parse::<i32>().ok().map(i64::from),
            _ => text.parse::<i64>().ok(),
        };
        number.ok_or_else(|| {
            InvalidValue::new(
                self.name,
                value,
                format_args!("Not a number of type {}", self.config_type.name()),
            )
        })
    }

    fn check_integer(&self, number: i64) -> Result<(), InvalidValue> {
        let (min, max) = match self.valid {
            ValidValues::AtLeast(min) => (min, i64::MAX),
            ValidValues::Between(min, max) => (min, max),
            ValidValues::GzipLevel if number != -1 && !(1..=9).contains(&number) => {
                let reason = "Value must be between 1 and 9 or equal to -1";
                return Err(InvalidValue::new(self.name, number, reason));
            }
            _ => return Ok(()),
        };
        if number < min {
            let reason = format_args!("Value must be at least {min}");
            return Err(InvalidValue::new(self.name, number, reason));
        }
        if number > max {
            let reason = format_args!("Value must be no more than {max}");
            return Err(InvalidValue::new(self.name, number, reason));
        }
        Ok(())
    }

    fn check_fraction(&self, number: f64) -> Result<(), InvalidValue> {
        let ValidValues::Fraction(min, max) = self.valid else { return Ok(()) };
        // Java prints a whole number with its fraction, and so does Rust's `{:?}`.
        let shown = format!("{number:?}");
        if number.is_nan() || number < min {
            let reason = format_args!("Value must be at least {min}");
            return Err(InvalidValue::new(self.name, shown, reason));
        }
        if number > max {
            let reason = format_args!("Value must be no more than {max}");
            return Err(InvalidValue::new(self.name, shown, reason));
        }
        Ok(())
    }

    fn check_string(&self, value: &str) -> Result<(), InvalidValue> {
        match self.valid {
            ValidValues::OneOf(allowed) if !allowed.contains(&value) => {
                let reason = format_args!("String must be one of: {}", allowed.join(", "));
                Err(InvalidValue::new(self.name, value, reason))
            }
            ValidValues::OneOfIgnoringCase(allowed)
                if !allowed.iter().any(|one| one.eq_ignore_ascii_case(value)) =>
            {
                let reason = format_args!("String must be one of (case insensitive): {}", allowed.join(", "));
                Err(InvalidValue::new(self.name, value, reason))
            }
            ValidValues::NonEmptyString if value.is_empty() => {
                Err(InvalidValue::new(self.name, value, "String must be non-empty"))
            }
            ValidValues::OffsetReset if !is_offset_reset(value) => Err(InvalidValue::new(
                self.name,
                value,
                format_args!(
                    "Invalid value `{value}` for configuration {}. The value must be either 'earliest', 'latest' \
                     or of the format 'by_duration:<PnDTnHnMn.nS>'.",
                    self.name
                ),
            )),
            _ => Ok(()),
        }
    }

    fn check_list(&self, value: &str) -> Result<(), InvalidValue> {
        let elements = as_list(value);
        match self.valid {
            ValidValues::ThrottledReplicas => return self.check_throttled_replicas(&elements),
            ValidValues::QuorumVoters => return super::broker_config::check_quorum_voters(&elements),
            ValidValues::BootstrapServers => return super::broker_config::check_bootstrap_servers(&elements),
            ValidValues::Any => return Ok(()),
            _ => {}
        }
        if elements.is_empty() {
            let allowed = match self.valid {
                ValidValues::NonEmptyListOf(allowed) => format!("[{}]", allowed.join(", ")),
                ValidValues::NonEmptyDistinctList => "any non-empty value".into(),
                _ => return Ok(()),
            };
            return Err(InvalidValue(format!(
                "Configuration '{}' must not be empty. Valid values include: {allowed}",
                self.name
            )));
        }
        if elements.iter().any(|element| element.is_empty()) {
            return Err(InvalidValue(format!("Configuration '{}' values must not be empty.", self.name)));
        }
        // Kafka drops repeated elements instead of refusing them, and so do the readers of lists here.
        let (ValidValues::ListOf(allowed) | ValidValues::NonEmptyListOf(allowed)) = self.valid else {
            return Ok(());
        };
        match elements.iter().find(|element| !allowed.contains(element)) {
            Some(unknown) => {
                let reason = format_args!("String must be one of: {}", allowed.join(", "));
                Err(InvalidValue::new(self.name, unknown, reason))
            }
            None => Ok(()),
        }
    }

    fn check_throttled_replicas(&self, elements: &[&str]) -> Result<(), InvalidValue> {
        let is_pair = |element: &&str| {
            element.split_once(':').is_some_and(|(partition, broker)| {
                let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
                digits(partition) && digits(broker)
            })
        };
        if elements.is_empty() || elements == ["*"] || elements.iter().all(is_pair) {
            return Ok(());
        }
        Err(InvalidValue::new(
            self.name,
            format_args!("[{}]", elements.join(", ")),
            format_args!(
                "{} must be the literal '*' or a list of replicas in the following format: \
                 [partitionId]:[brokerId],[partitionId]:[brokerId],...",
                self.name
            ),
        ))
    }
}

/// `true` or `false`, in any case.
pub(super) fn parse_boolean(value: &str) -> Option<bool> {
    let text = value.trim();
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// A number as Java reads one: a trailing `f` or `d` is its type, and of the words only `NaN` and `Infinity` are numbers.
pub(super) fn parse_double(value: &str) -> Option<f64> {
    let text = value.trim();
    let is_word = matches!(text.trim_start_matches(['+', '-']), "NaN" | "Infinity");
    if is_word {
        return text.parse().ok();
    }
    let digits = text.strip_suffix(['f', 'F', 'd', 'D']).unwrap_or(text);
    if digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-')) {
        digits.parse().ok()
    } else {
        None
    }
}

fn is_offset_reset(value: &str) -> bool {
    if value == "earliest" || value == "latest" {
        return true;
    }
    value.strip_prefix("by_duration:").is_some_and(is_duration)
}

/// Whether this is an ISO-8601 duration of days, hours, minutes and seconds: `PnDTnHnMn.nS`.
fn is_duration(text: &str) -> bool {
    let Some(text) = text.strip_prefix(['P', 'p']) else { return false };
    let (days, time) = match text.split_once(['T', 't']) {
        Some((days, time)) => (days, Some(time)),
        None => (text, None),
    };
    let is_amount = |digits: &str, fraction: bool| {
        !digits.is_empty()
            && digits.bytes().all(|b| b.is_ascii_digit() || (fraction && b == b'.'))
            && digits.bytes().any(|b| b.is_ascii_digit())
    };
    let days_are_good = days.is_empty() || days.strip_suffix(['D', 'd']).is_some_and(|d| is_amount(d, false));
    let Some(time) = time else { return days_are_good && !days.is_empty() };
    let mut rest = time;
    let mut units = ['H', 'M', 'S'].as_slice();
    while let Some(end) = rest.find(|c: char| c.is_ascii_alphabetic()) {
        let unit = rest.as_bytes()[end].to_ascii_uppercase() as char;
        let Some(position) = units.iter().position(|u| *u == unit) else { return false };
        if !is_amount(&rest[..end], unit == 'S') {
            return false;
        }
        units = &units[position + 1..];
        rest = &rest[end + 1..];
    }
    days_are_good && rest.is_empty() && !time.is_empty()
}

/// Checks all settings of one topic together, as they will stand after an alteration.
///
/// # Errors
/// Kafka's message: an unknown name, a value, or two values that contradict each other.
pub fn validate_topic_configs(configs: &BTreeMap<String, String>) -> Result<(), InvalidValue> {
    for name in configs.keys() {
        if topic_definition(name).is_none() {
            return Err(InvalidValue(format!("Unknown topic config name: {name}")));
        }
    }
    for (name, value) in configs {
        if let Some(definition) = topic_definition(name) {
            definition.validate(value)?;
        }
    }
    let number = |name: &str| {
        let own = configs.get(name).map(String::as_str);
        let default = || topic_definition(name).and_then(|d| d.default.text());
        own.or_else(default).and_then(|text| text.trim().parse::<i64>().ok()).unwrap_or(0)
    };
    let (min, max) = (number("min.compaction.lag.ms"), number("max.compaction.lag.ms"));
    if min > max {
        return Err(InvalidValue(format!(
            "conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max})"
        )));
    }
    if configs.get("remote.storage.enable").and_then(|value| parse_boolean(value)) == Some(true) {
        return Err(InvalidValue(
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log \
             storage."
                .into(),
        ));
    }
    Ok(())
}

/// Checks one setting of a group.
///
/// # Errors
/// Kafka's message.
pub fn validate_group_config(name: &str, value: &str) -> Result<(), InvalidValue> {
    let definition =
        group_definition(name).ok_or_else(|| InvalidValue(format!("Unknown group config name: {name}")))?;
    definition.validate(value)
}

/// Checks all settings of one group together, as they will stand: each by itself, and within the bounds that the broker
/// has for it.
///
/// # Errors
/// Kafka's message.
pub fn validate_group_configs(
    configs: &BTreeMap<String, String>,
    broker: &BrokerSettings<'_>,
) -> Result<(), InvalidValue> {
    configs.iter().try_for_each(|(name, value)| validate_group_config(name, value))?;
    let number = |text: &str| text.trim().parse::<i64>().ok();
    let bound = |name: &str| broker.value(name).and_then(number);
    for (name, value) in configs {
        let (Some((kind, what)), Some(value)) = (name.split_once('.'), number(value)) else { continue };
        let least = format!("group.{kind}.min.{what}");
        if bound(&least).is_some_and(|least| value < least) {
            return Err(InvalidValue(format!("{name} must be greater than or equal to {least}")));
        }
        let most = format!("group.{kind}.max.{}", what.strip_prefix("num.").unwrap_or(what));
        if bound(&most).is_some_and(|most| value > most) {
            return Err(InvalidValue(format!("{name} must be less than or equal to {most}")));
        }
    }
    let effective = |name: String| {
        configs.get(&name).and_then(|value| number(value)).or_else(|| bound(&format!("group.{name}")))
    };
    for kind in ["consumer", "share", "streams"] {
        let session = effective(format!("{kind}.session.timeout.ms"));
        let heartbeat = effective(format!("{kind}.heartbeat.interval.ms"));
        if session <= heartbeat {
            return Err(InvalidValue(format!(
                "{kind}.session.timeout.ms must be greater than {kind}.heartbeat.interval.ms"
            )));
        }
    }
    Ok(())
}

/// Checks one setting of a client metrics subscription, apart from what [`validate_client_match`] looks at.
///
/// # Errors
/// Kafka's message.
pub fn validate_client_metrics_config(name: &str, value: &str) -> Result<(), InvalidValue> {
    let definition = client_metrics_definition(name)
        .ok_or_else(|| InvalidValue(format!("Unknown client metrics configuration: {name}")))?;
    definition.validate(value).map_err(|error| match (definition.valid, value.trim().parse::<i32>()) {
        (ValidValues::Between(min, max), Ok(number)) => InvalidValue(format!(
            "Invalid value {number} for {name}, interval must be between {min} and {max} (1 hour)"
        )),
        _ => error,
    })
}

/// Checks which clients a subscription is for: patterns `property=regular expression`.
///
/// # Errors
/// Kafka's message: a property that clients do not have, or an expression that is none.
pub fn validate_client_match(patterns: &str) -> Result<(), InvalidValue> {
    const PROPERTIES: &[&str] = &[
        "client_instance_id",
        "client_id",
        "client_software_name",
        "client_software_version",
        "client_source_address",
        "client_source_port",
    ];
    let is_good = |pattern: &str| {
        pattern.split_once('=').is_some_and(|(property, expression)| {
            PROPERTIES.contains(&property.trim()) && regex::Regex::new(expression.trim()).is_ok()
        })
    };
    match as_list(patterns).into_iter().find(|pattern| !is_good(pattern)) {
        Some(pattern) => Err(InvalidValue(format!("Illegal client matching pattern: {pattern}"))),
        None => Ok(()),
    }
}

/// Checks that `cordoned.log.dirs` names directories of `log.dirs`, or all of them by `*` alone, in Kafka's words.
///
/// # Errors
/// What is wrong.
pub fn check_cordoned_log_dirs(cordoned: &[&str], log_dirs: &[&str]) -> Result<(), InvalidValue> {
    if cordoned.contains(&"*") {
        let text = "When cordoned.log.dirs is set to *, it must not contain other values";
        return if cordoned.len() == 1 { Ok(()) } else { Err(InvalidValue(text.to_owned())) };
    }
    let missing: Vec<&str> = cordoned.iter().copied().filter(|dir| !log_dirs.contains(dir)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(InvalidValue(format!(
        "All entries in cordoned.log.dirs must be present in log.dirs or log.dir. Missing entries : {}",
        missing.join(", ")
    )))
}

/// Checks settings that brokers take while they run: of one broker (`per_broker`), or of all.
///
/// # Errors
/// Kafka's message: a setting that needs a restart, one that cannot be common to all brokers, or a value.
pub fn validate_dynamic_broker_config(
    configs: &BTreeMap<String, String>,
    per_broker: bool,
) -> Result<(), InvalidValue> {
    let mode_of = |name: &str| definitions::dynamic_broker_definition(base_name(name)).map(|d| d.update_mode);
    let names = |wanted: fn(Option<UpdateMode>) -> bool| {
        let found: Vec<&str> =
            configs.keys().map(String::as_str).filter(|name| wanted(mode_of(name))).collect();
        found
    };
    let read_only = names(|mode| mode == Some(UpdateMode::ReadOnly));
    if !read_only.is_empty() {
        return Err(InvalidValue(format!(
            "Cannot update these configs dynamically: [{}]",
            read_only.join(", ")
        )));
    }
    if !per_broker {
        let of_one_broker = names(|mode| mode == Some(UpdateMode::PerBroker));
        if !of_one_broker.is_empty() {
            return Err(InvalidValue(format!(
                "Cannot update these configs at default cluster level, broker id must be specified: [{}]",
                of_one_broker.join(", ")
            )));
        }
    }
    for (name, value) in configs {
        if let Some(definition) = definitions::dynamic_broker_definition(base_name(name)) {
            definition.validate(value)?;
        }
    }
    Ok(())
}

/// The setting behind a listener's own one: `listener.name.<listener>.<name>`.
fn base_name(name: &str) -> &str {
    name.strip_prefix("listener.name.").and_then(|rest| rest.split_once('.')).map_or(name, |(_, base)| base)
}

#[cfg(test)]
mod tests;
