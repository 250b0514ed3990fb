//! Subscriptions by regular expression: Kafka's are RE2's, and match a topic's whole name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ::regex::{Regex, RegexBuilder, escape};
use moldau_model::ErrorCode;

use super::draft::Refused;
use super::metadata::CoordinatorMetadata;
use crate::TopicFilter;

/// Bytes of a compiled expression. Matching takes time linear in the name's length whatever the expression is, so this
/// alone bounds what a client can ask for.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// Whether the expression is one.
pub(super) fn check(regex: &str) -> Result<(), Refused> {
    compile(regex).map(|_| ()).map_err(|error| {
        // The last line says what is wrong, those before it show where.
        let error = error.to_string();
        let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
        let message = format!("SubscribedTopicRegex `{regex}` is not a valid regular expression: {reason}.");
        Refused::new(ErrorCode::InvalidRegularExpression, message)
    })
}

fn compile(regex: &str) -> Result<Regex, ::regex::Error> {
    let compile = |regex: &str| RegexBuilder::new(regex).size_limit(COMPILED_BYTES_MAX).build();
    let regex = unquoted(regex);
    // Alone first: `)(` would be an expression between parentheses.
    compile(&regex)?;
    compile(&format!(r"\A(?:{regex})\z"))
}

/// RE2 takes what stands between `\Q` and `\E` as it is.
fn unquoted(regex: &str) -> String {
    let mut result = String::with_capacity(regex.len());
    let mut rest = regex;
    while let Some(at) = rest.find('\\') {
        result.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(quoted) = rest.strip_prefix(r"\Q") {
            let (literal, after) = quoted.split_once(r"\E").unwrap_or((quoted, ""));
            result.push_str(&escape(literal));
            rest = after;
        } else {
            // The character behind a backslash is not looked at: it may be another backslash.
            let end = rest.char_indices().nth(2).map_or(rest.len(), |(at, _)| at);
            result.push_str(&rest[..end]);
            rest = &rest[end..];
        }
    }
    result.push_str(rest);
    result
}

/// The topics that each expression matches, of those that may be known of.
pub(super) fn resolve(
    regexes: &BTreeSet<Arc<str>>,
    metadata: &dyn CoordinatorMetadata,
    visible_topics: &TopicFilter,
) -> BTreeMap<Arc<str>, BTreeSet<Arc<str>>> {
    // What does not compile matches nothing; members' expressions were checked when they came.
    let compiled: Vec<(&Arc<str>, Regex)> =
        regexes.iter().filter_map(|regex| Some((regex, compile(regex).ok()?))).collect();
    let mut resolved: BTreeMap<Arc<str>, BTreeSet<Arc<str>>> =
        regexes.iter().map(|regex| (Arc::clone(regex), BTreeSet::new())).collect();
    metadata.for_each_topic_name(&mut |name| {
        let mut is_visible = None;
        for (regex, compiled) in &compiled {
            // Asked once a topic, and only of those that match.
            if compiled.is_match(name)
                && *is_visible.get_or_insert_with(|| visible_topics.is_visible(name))
                && let Some(topics) = resolved.get_mut(*regex)
            {
                topics.insert(Arc::clone(name));
            }
        }
    });
    resolved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_matches_whole_names() {
        for (regex, name, matches) in [
            ("foo", "foo", true),
            ("foo", "foobar", false),
            ("foo.*", "foobar", true),
            ("^foo.*$", "foobar", true),
            ("a|b", "b", true),
            ("a|b", "ab", false),
            (r"\Qa.b\E.", "a.bc", true),
            (r"\Qa.b\E", "axb", false),
            (r"\Qa.b", "a.b", true),
            (r"a\\Q", r"a\Q", true),
            (r"t-\d+", "t-12", true),
            ("(?i)FOO", "foo", true),
        ] {
            assert_eq!(compile(regex).unwrap().is_match(name), matches, "{regex} {name}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused_with_the_reason() {
        for regex in ["(", "[", "*", ")(", "a{2000}{2000}", r"\"] {
            let refused = check(regex).unwrap_err();
            assert_eq!(refused.error, ErrorCode::InvalidRegularExpression);
            assert!(refused.message.contains("is not a valid regular expression: "), "{}", refused.message);
            assert!(refused.message.len() < 200, "{}", refused.message);
        }
    }
}
