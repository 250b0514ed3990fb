//! Command lines read as jopt-simple reads them for Kafka's tools: long options, `--opt value` or `--opt=value`, no
//! abbreviations (Kafka 4 turns them off), words without a dash ignored. The error texts are jopt-simple's.

use std::collections::HashMap;

/// Whether an option takes an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Argument {
    No,
    Required,
    /// Taken unless the next word is itself an option.
    Optional,
    /// Taken if the next word is a whole number, a negative one included.
    OptionalNumber,
}

/// The options of one tool.
pub(crate) struct Spec {
    pub(crate) options: &'static [(&'static str, Argument)],
}

/// A command line that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OptionError {
    #[error("{0} is not a recognized option")]
    Unrecognized(String),
    #[error("Option {0} requires an argument")]
    MissingArgument(String),
    #[error("Found multiple arguments for option {0}, but you asked for only one")]
    Multiple(String),
    #[error("Cannot parse argument '{value}' of option {option}")]
    CannotParse { option: String, value: String },
}

/// The options that a command line holds, with their arguments in order.
#[derive(Debug, Default)]
pub(crate) struct Options {
    given: HashMap<&'static str, Vec<String>>,
}

impl Spec {
    pub(crate) fn parse(&self, arguments: &[String]) -> Result<Options, OptionError> {
        let mut options = Options::default();
        let mut words = arguments.iter().peekable();
        while let Some(word) = words.next() {
            if word == "--" {
                break;
            }
            let Some(rest) =
                word.strip_prefix("--").or_else(|| word.strip_prefix('-').filter(|r| !r.is_empty()))
            else {
                continue;
            };
            let (name, inline) = match rest.split_once('=') {
                Some((name, value)) => (name, Some(value).filter(|value| !value.is_empty())),
                None => (rest, None),
            };
            let (name, argument) = self.find(word, name)?;
            let values = options.given.entry(name).or_default();
            match (argument, inline) {
                (Argument::No, _) => {}
                (_, Some(value)) => values.push(value.to_owned()),
                // Whatever comes next is the argument, an option's name included.
                (Argument::Required, None) => match words.next() {
                    Some(value) => values.push(value.clone()),
                    None => return Err(OptionError::MissingArgument(name.to_owned())),
                },
                (Argument::Optional, None) => {
                    if let Some(value) = words.next_if(|next| !looks_like_an_option(next)) {
                        values.push(value.clone());
                    }
                }
                (Argument::OptionalNumber, None) => {
                    if let Some(value) = words.next_if(|next| next.parse::<i64>().is_ok()) {
                        values.push(value.clone());
                    }
                }
            }
        }
        Ok(options)
    }

    fn find(&self, word: &str, name: &str) -> Result<(&'static str, Argument), OptionError> {
        self.options.iter().copied().find(|(known, _)| *known == name).ok_or_else(|| {
            // With one dash, the first letter is what jopt-simple takes for an option.
            let shown = if word.starts_with("--") {
                name
            } else {
                &name[..name.chars().next().map_or(0, char::len_utf8)]
            };
            OptionError::Unrecognized(shown.to_owned())
        })
    }
}

fn looks_like_an_option(word: &str) -> bool {
    word.len() > 1 && word.starts_with('-')
}

impl Options {
    pub(crate) fn has(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// Every argument the option was given.
    pub(crate) fn all(&self, name: &str) -> &[String] {
        self.given.get(name).map_or(&[], Vec::as_slice)
    }

    /// The option's only argument.
    pub(crate) fn one(&self, name: &str) -> Result<Option<&str>, OptionError> {
        match self.all(name) {
            [] => Ok(None),
            [value] => Ok(Some(value)),
            _ => Err(OptionError::Multiple(name.to_owned())),
        }
    }

    /// The option's only argument as a number.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, OptionError> {
        let Some(value) = self.one(name)? else { return Ok(None) };
        value
            .parse()
            .map(Some)
            .map_err(|_| OptionError::CannotParse { option: name.to_owned(), value: value.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: Spec = Spec {
        options: &[
            ("list", Argument::No),
            ("topic", Argument::Required),
            ("partitions", Argument::Required),
            ("state", Argument::Optional),
            ("period", Argument::OptionalNumber),
        ],
    };

    fn parse(line: &str) -> Result<Options, OptionError> {
        SPEC.parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn values_come_after_a_blank_or_an_equals_sign() {
        for line in ["--topic a", "--topic=a", "-topic a", "--topic= a", "word --topic a word"] {
            assert_eq!(parse(line).unwrap().one("topic").unwrap(), Some("a"), "{line}");
        }
        assert_eq!(parse("--topic --list").unwrap().one("topic").unwrap(), Some("--list"));
        assert_eq!(parse("--topic a=b").unwrap().one("topic").unwrap(), Some("a=b"));
    }

    #[test]
    fn an_optional_argument_never_swallows_an_option() {
        let options = parse("--list --state --topic a").unwrap();
        assert!(options.has("state") && options.all("state").is_empty());
        assert_eq!(parse("--state empty").unwrap().all("state"), ["empty"]);
    }

    #[test]
    fn a_number_is_an_argument_also_where_it_is_negative() {
        for (line, period) in
            [("--period -1 --list", Some("-1")), ("--period 7", Some("7")), ("--period --list", None)]
        {
            assert_eq!(parse(line).unwrap().one("period").unwrap(), period, "{line}");
        }
        assert_eq!(parse("--period x").unwrap().one("period").unwrap(), None);
    }

    #[test]
    fn repeated_options_gather() {
        let options = parse("--topic a --topic b --list --list").unwrap();
        assert_eq!(options.all("topic"), ["a", "b"]);
        assert_eq!(options.one("topic"), Err(OptionError::Multiple("topic".into())));
    }

    #[test]
    fn wrong_lines_have_jopt_simples_words() {
        for (line, text) in [
            ("--zookeeper h", "zookeeper is not a recognized option"),
            ("--part 3", "part is not a recognized option"),
            ("-foo", "f is not a recognized option"),
            ("--list --topic", "Option topic requires an argument"),
        ] {
            assert_eq!(parse(line).unwrap_err().to_string(), text);
        }
        let error = parse("--partitions x").unwrap().number::<i32>("partitions").unwrap_err();
        assert_eq!(error.to_string(), "Cannot parse argument 'x' of option partitions");
    }

    #[test]
    fn nothing_after_two_dashes_is_an_option() {
        assert!(!parse("-- --list").unwrap().has("list"));
    }
}
