//! Names out of certificates: the subject as Java writes it, and the rules that make it shorter
//! (`ssl.principal.mapping.rules`).

mod distinguished_name;

use regex::Regex;

pub use distinguished_name::subject;

/// Who is nobody in particular.
pub const ANONYMOUS: &str = "ANONYMOUS";

#[derive(Debug)]
enum Rule {
    /// The name as it is.
    Default,
    Replace {
        pattern: Regex,
        replacement: String,
        case: Case,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    AsIs,
    Lower,
    Upper,
}

/// The rules; the first that fits makes the name.
#[derive(Debug)]
pub struct PrincipalRules(Vec<Rule>);

/// What is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid rule: `{0}`; write DEFAULT or RULE:pattern/replacement/[LU]")]
pub struct RulesError(String);

impl PrincipalRules {
    /// Reads `RULE:pattern/replacement/[LU],DEFAULT`. A slash inside of a pattern has a backslash before it.
    ///
    /// # Errors
    /// The first that is no rule.
    pub fn parse(text: &str) -> Result<Self, RulesError> {
        let mut rules = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (rule, after) = next_rule(rest).ok_or_else(|| RulesError(rest.to_owned()))?;
            rules.push(rule);
            rest = match after.trim_start() {
                "" => "",
                more => more.strip_prefix(',').ok_or_else(|| RulesError(rest.to_owned()))?.trim_start(),
            };
        }
        if rules.is_empty() {
            rules.push(Rule::Default);
        }
        Ok(Self(rules))
    }

    /// The name of somebody with this subject; `None` where no rule fits, and it is let in under no name.
    #[must_use]
    pub fn apply(&self, subject: &str) -> Option<String> {
        self.0.iter().find_map(|rule| match rule {
            Rule::Default => Some(subject.to_owned()),
            Rule::Replace { pattern, replacement, case } => {
                let name = pattern.is_match(subject).then(|| pattern.replace_all(subject, replacement))?;
                Some(match case {
                    Case::AsIs => name.into_owned(),
                    Case::Lower => name.to_lowercase(),
                    Case::Upper => name.to_uppercase(),
                })
            }
        })
    }
}

fn next_rule(text: &str) -> Option<(Rule, &str)> {
    if let Some(after) = text.strip_prefix("DEFAULT") {
        return Some((Rule::Default, after));
    }
    let (pattern, rest) = until_slash(text.strip_prefix("RULE:")?)?;
    let (replacement, rest) = until_slash(rest)?;
    let (case, rest) = match rest.chars().next() {
        Some('L') => (Case::Lower, &rest[1..]),
        Some('U') => (Case::Upper, &rest[1..]),
        _ => (Case::AsIs, rest),
    };
    // Kafka's rules have to fit the whole subject.
    let pattern = Regex::new(&format!("^(?:{pattern})$")).ok()?;
    let replacement = with_braces(replacement, pattern.captures_len());
    Some((Rule::Replace { pattern, replacement, case }, rest))
}

fn until_slash(text: &str) -> Option<(&str, &str)> {
    let mut is_escaped = false;
    for (position, character) in text.char_indices() {
        match character {
            '/' if !is_escaped => return Some((&text[..position], &text[position + 1..])),
            '\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    None
}

/// Java's `$1` is `${1}` here, where `$1x` would be a group of that name. A group that there is not stands for itself.
fn with_braces(replacement: &str, groups: usize) -> String {
    let mut out = String::new();
    let mut characters = replacement.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '$' => match characters.next_if(char::is_ascii_digit) {
                Some(digit) if digit.to_digit(10).is_some_and(|digit| (digit as usize) < groups) => {
                    out.push_str(&format!("${{{digit}}}"));
                }
                Some(digit) => out.push_str(&format!("$${digit}")),
                None => out.push_str("$$"),
            },
            '\\' => out.extend(characters.next()),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBJECT: &str = "CN=kafka-1.example.com,OU=Ops,O=Example,C=US";

    #[test]
    fn the_first_rule_that_fits_makes_the_name() {
        for (rules, name) in [
            ("", Some(SUBJECT)),
            ("DEFAULT", Some(SUBJECT)),
            ("RULE:^CN=(.*?),OU=Ops.*$/$1/", Some("kafka-1.example.com")),
            ("RULE:^CN=(.*?),OU=(.*?),.*$/$1@$2/U", Some("KAFKA-1.EXAMPLE.COM@OPS")),
            ("RULE:^CN=(.*?),.*$/$1x/L , DEFAULT", Some("kafka-1.example.comx")),
            ("RULE:^OU=(.*)$/$1/,RULE:.*C=(..)$/$1/", Some("US")),
            ("RULE:^OU=(.*)$/$1/,DEFAULT", Some(SUBJECT)),
            ("RULE:^OU=(.*)$/$1/", None),
            ("RULE:CN=/x/", None),
            ("RULE:.*/a\\/$7/", Some("a/$7")),
        ] {
            let rules = PrincipalRules::parse(rules).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(rules.apply(SUBJECT).as_deref(), name);
        }
    }

    #[test]
    fn what_is_no_rule_is_named() {
        for text in ["default", "RULE:^CN=(.*)$", "RULE:(/x/", "RULE:a/b/L DEFAULT", "RULE:a/b/X", ","] {
            assert!(PrincipalRules::parse(text).is_err(), "{text}");
        }
    }
}
