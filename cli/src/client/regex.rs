//! Topic patterns as Kafka's tools take them: a Java regular expression that must match the whole name, commas for
//! alternatives.

/// A pattern of topic names.
pub(crate) struct TopicPattern {
    regex: regex::Regex,
}

/// A pattern that cannot be compiled. The text is Kafka's.
#[derive(Debug, thiserror::Error)]
#[error("{0} is an invalid regex.")]
pub(crate) struct InvalidPattern(String);

impl TopicPattern {
    pub(crate) fn new(raw: &str) -> Result<Self, InvalidPattern> {
        // Quotes and blanks around it come from scripts that quoted twice.
        let cleaned = raw.trim().replace(',', "|").replace(' ', "");
        let cleaned = cleaned.trim_matches(|c| c == '"' || c == '\'');
        let whole = format!("^(?:{cleaned})$");
        regex::Regex::new(&whole).map(|regex| Self { regex }).map_err(|_| InvalidPattern(cleaned.to_owned()))
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        self.regex.is_match(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_names() {
        for (pattern, name, matches) in [
            ("pageview", "pageview", true),
            ("pageview", "pageviews", false),
            ("a,b", "b", true),
            ("\"a\"", "a", true),
            ("t(t|ra)", "tra", true),
            ("a.b", "axb", true),
        ] {
            assert_eq!(TopicPattern::new(pattern).unwrap().matches(name), matches, "{pattern} {name}");
        }
        assert_eq!(TopicPattern::new("a(").err().unwrap().to_string(), "a( is an invalid regex.");
    }
}
