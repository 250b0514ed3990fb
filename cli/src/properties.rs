//! Java's `.properties` syntax: comments, `=`, `:` or blanks between key and value, continued lines, escapes.

/// A file that Java's reader would refuse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: malformed \\uxxxx escape")]
pub(crate) struct PropertiesError {
    pub(crate) line: usize,
}

/// The keys and values in the file's order. A key that stands twice comes twice: the last one holds.
pub(crate) fn parse(text: &str) -> Result<Vec<(String, String)>, PropertiesError> {
    let mut properties = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, first)) = lines.next() {
        let mut logical = first.trim_start_matches(is_blank).to_owned();
        if logical.is_empty() || logical.starts_with(['#', '!']) {
            continue;
        }
        // An odd number of backslashes at the end joins the next line, without that line's leading blanks.
        while logical.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1 {
            logical.pop();
            match lines.next() {
                Some((_, next)) => logical.push_str(next.trim_start_matches(is_blank)),
                None => break,
            }
        }
        let (key, value) = split(&logical);
        let line = number + 1;
        properties.push((unescape(key, line)?, unescape(value, line)?));
    }
    Ok(properties)
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\x0c')
}

/// Cuts at the first unescaped separator: a sign, or blanks with at most one sign among them.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if matches!(c, '=' | ':') || is_blank(c) {
            let rest = line[at..].trim_start_matches(is_blank);
            let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
            return (&line[..at], rest.trim_start_matches(is_blank));
        }
    }
    (line, "")
}

fn unescape(text: &str, line: usize) -> Result<String, PropertiesError> {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('f') => plain.push('\x0c'),
            Some('u') => {
                let hex: String = chars.by_ref().take(4).collect();
                let code = u32::from_str_radix(&hex, 16).ok().filter(|_| hex.len() == 4);
                let code = code.ok_or(PropertiesError { line })?;
                // Half of a surrogate pair cannot stand alone in UTF-8; no configuration value needs one.
                plain.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(other) => plain.push(other),
            None => {}
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> (String, String) {
        let mut all = parse(text).unwrap();
        assert_eq!(all.len(), 1, "{text:?} gave {all:?}");
        all.remove(0)
    }

    #[test]
    fn keys_and_values_are_cut_as_java_cuts_them() {
        for (text, key, value) in [
            ("a=b", "a", "b"),
            ("a:b", "a", "b"),
            ("a b", "a", "b"),
            ("  a \t=  b c ", "a", "b c "),
            ("a", "a", ""),
            ("a=", "a", ""),
            ("a==b", "a", "=b"),
            ("listeners=PLAINTEXT://:9092,C://:9093", "listeners", "PLAINTEXT://:9092,C://:9093"),
            ("a\\=b=c", "a=b", "c"),
            ("a\\:b\\ c=d", "a:b c", "d"),
            ("a=b\\tc\\u0041\\\\", "a", "b\tcA\\"),
            ("a=b,\\\n    c", "a", "b,c"),
            ("a=b\\", "a", "b"),
            ("a=b # c", "a", "b # c"),
        ] {
            assert_eq!(one(text), (key.to_owned(), value.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn comments_and_empty_lines_do_not_count() {
        assert_eq!(parse("# a=b\n\n ! c\r\n   \n").unwrap(), []);
        assert_eq!(parse("# ends in \\\na=b").unwrap(), [("a".to_owned(), "b".to_owned())]);
        assert_eq!(one("a=b\r\n"), ("a".to_owned(), "b".to_owned()));
    }

    #[test]
    fn a_broken_escape_names_its_line() {
        assert_eq!(parse("a=b\nc=\\u00g0"), Err(PropertiesError { line: 2 }));
    }
}
