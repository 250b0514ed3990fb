//! Lines of standard input as records: what `kafka-console-producer` makes of keys, headers and null markers.

use crate::client::producer::OutgoingRecord;

/// How a line is cut. Kafka's names are the properties of `--reader-property`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LineReader {
    parse_key: bool,
    parse_headers: bool,
    ignore_error: bool,
    key_separator: String,
    headers_delimiter: String,
    headers_separator: String,
    headers_key_separator: String,
    null_marker: Option<String>,
}

impl Default for LineReader {
    fn default() -> Self {
        Self {
            parse_key: false,
            parse_headers: false,
            ignore_error: false,
            key_separator: "\t".to_owned(),
            headers_delimiter: "\t".to_owned(),
            headers_separator: ",".to_owned(),
            headers_key_separator: ":".to_owned(),
            null_marker: None,
        }
    }
}

impl LineReader {
    /// Takes properties over; unknown ones are ignored, as in Kafka. Refuses signs that cannot be told apart.
    pub(crate) fn configure(properties: &[(String, String)]) -> Result<Self, String> {
        let mut reader = Self::default();
        let truth = |value: &str| value.trim().eq_ignore_ascii_case("true");
        for (key, value) in properties {
            match key.as_str() {
                "parse.key" => reader.parse_key = truth(value),
                "parse.headers" => reader.parse_headers = truth(value),
                "ignore.error" => reader.ignore_error = truth(value),
                "key.separator" => reader.key_separator.clone_from(value),
                "headers.delimiter" => reader.headers_delimiter.clone_from(value),
                "headers.separator" => reader.headers_separator.clone_from(value),
                "headers.key.separator" => reader.headers_key_separator.clone_from(value),
                "null.marker" => reader.null_marker = Some(value.clone()),
                _ => {}
            }
        }
        let same = "headers.delimiter and headers.separator may not be equal";
        if reader.headers_delimiter == reader.headers_separator {
            return Err(same.to_owned());
        }
        if reader.headers_separator == reader.headers_key_separator {
            return Err("headers.separator and headers.key.separator may not be equal".to_owned());
        }
        if reader.null_marker.as_deref().is_some_and(|marker| marker == reader.key_separator) {
            return Err("null.marker and key.separator may not be equal".to_owned());
        }
        if reader.null_marker.as_deref().is_some_and(|marker| marker == reader.headers_separator) {
            return Err("null.marker and headers.separator may not be equal".to_owned());
        }
        if reader.null_marker.as_deref().is_some_and(|marker| marker == reader.headers_delimiter) {
            return Err("null.marker and headers.delimiter may not be equal".to_owned());
        }
        if reader.null_marker.as_deref().is_some_and(|marker| marker == reader.headers_key_separator) {
            return Err("null.marker and headers.key.separator may not be equal".to_owned());
        }
        Ok(reader)
    }

    /// Cuts one line. The error text is Kafka's.
    pub(crate) fn parse(&self, line: &str, number: u64) -> Result<OutgoingRecord, String> {
        let mut rest = line;
        let mut cut = |enabled: bool, sign: &str, what: &str| -> Result<Option<String>, String> {
            if !enabled {
                return Ok(None);
            }
            match rest.split_once(sign) {
                Some((before, after)) => {
                    rest = after;
                    Ok(Some(before.to_owned()))
                }
                None if self.ignore_error => Ok(None),
                None => Err(format!("No {what} found on line number {number}: '{line}'")),
            }
        };
        let headers = cut(self.parse_headers, &self.headers_delimiter, "headers delimiter")?;
        let key = cut(self.parse_key, &self.key_separator, "key separator")?;
        let bytes = |text: String| Some(text).filter(|text| !self.is_null(text)).map(String::into_bytes);
        Ok(OutgoingRecord {
            key: key.and_then(bytes),
            value: bytes(rest.to_owned()),
            headers: match headers.filter(|headers| !self.is_null(headers)) {
                Some(headers) => self.headers(&headers, number)?,
                None => Vec::new(),
            },
            partition: None,
        })
    }

    fn is_null(&self, text: &str) -> bool {
        self.null_marker.as_deref() == Some(text)
    }

    fn headers(&self, text: &str, number: u64) -> Result<Vec<(String, Option<Vec<u8>>)>, String> {
        text.split(&self.headers_separator)
            .map(|pair| match pair.split_once(&self.headers_key_separator) {
                Some((key, _)) if self.is_null(key) => Err(format!(
                    "Header keys should not be equal to the null marker '{key}' as they can't be null"
                )),
                Some((key, value)) => {
                    let value = Some(value).filter(|value| !self.is_null(value));
                    Ok((key.to_owned(), value.map(|value| value.as_bytes().to_vec())))
                }
                None if self.ignore_error => Ok((pair.to_owned(), None)),
                None => {
                    Err(format!("No header key separator found in pair '{pair}' on line number {number}"))
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(properties: &[(&str, &str)], line: &str) -> Result<OutgoingRecord, String> {
        let properties: Vec<_> = properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        LineReader::configure(&properties)?.parse(line, 3)
    }

    fn shown(record: &OutgoingRecord) -> String {
        let text = |bytes: &Option<Vec<u8>>| {
            bytes.as_ref().map_or("null".to_owned(), |b| String::from_utf8(b.clone()).unwrap())
        };
        let headers: Vec<String> = record.headers.iter().map(|(k, v)| format!("{k}={}", text(v))).collect();
        format!("{}|{}|{}", text(&record.key), text(&record.value), headers.join("+"))
    }

    #[test]
    fn a_line_is_cut_as_kafka_cuts_it() {
        let key = ("parse.key", "true");
        let headers = ("parse.headers", "true");
        let colon = ("key.separator", ":");
        let marker = ("null.marker", "NULL");
        for (properties, line, expected) in [
            (&[][..], "a:b", "null|a:b|"),
            (&[key], "k\tv", "k|v|"),
            (&[key, colon], "k:v:w", "k|v:w|"),
            (&[key, headers], "h1:v1,h2:v2\tk\tv", "k|v|h1=v1+h2=v2"),
            (&[headers], "h:\tv", "null|v|h="),
            (&[key, headers, marker], "NULL\tNULL\tNULL", "null|null|"),
            (&[headers, marker], "h:NULL\tv", "null|v|h=null"),
            (&[key, ("ignore.error", "true")], "v", "null|v|"),
        ] {
            assert_eq!(shown(&parse(properties, line).unwrap()), expected, "{line:?}");
        }
    }

    #[test]
    fn what_is_missing_in_a_line_is_named() {
        assert_eq!(
            parse(&[("parse.key", "true")], "k1:v1").unwrap_err(),
            "No key separator found on line number 3: 'k1:v1'"
        );
        assert_eq!(
            parse(&[("parse.headers", "true")], "h\tv").unwrap_err(),
            "No header key separator found in pair 'h' on line number 3"
        );
    }
}
