//! Bytes of keys, values and headers as JSON can hold them.

use serde_json::{Value, json};

use crate::client::consumer::IncomingRecord;

/// Of one key, value or header as much is shown: a list of records is for reading.
pub(super) const SHOWN_BYTES_MAX: usize = 64 * 1024;

/// Text where it is text, else pairs of hexadecimal digits; null where there is nothing.
pub(super) fn json(bytes: Option<&[u8]>) -> Value {
    let Some(all) = bytes else { return Value::Null };
    let is_cut = all.len() > SHOWN_BYTES_MAX;
    // A text is not to become bytes because of where it was cut.
    let text = std::str::from_utf8(all).ok().map(|text| &text[..text.floor_char_boundary(SHOWN_BYTES_MAX)]);
    match text {
        Some(text) => json!({"text": text, "bytes": all.len(), "is_cut": is_cut}),
        None => {
            json!({"hex": hex(&all[..all.len().min(SHOWN_BYTES_MAX)]), "bytes": all.len(), "is_cut": is_cut})
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let pair = |byte: &u8| [DIGITS[usize::from(byte >> 4)] as char, DIGITS[usize::from(byte & 15)] as char];
    bytes.iter().flat_map(pair).collect()
}

/// The bytes of hexadecimal digits, blanks between them left out.
pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> =
        text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16)).collect::<Option<_>>()?;
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => u8::try_from(high * 16 + low).ok(),
        _ => None,
    });
    pairs.collect()
}

/// One record, as a line of a scan.
pub(super) fn record(record: &IncomingRecord) -> Value {
    let headers =
        record.headers.iter().map(|(key, value)| json!({"key": key, "value": json(value.as_deref())}));
    json!({
        "type": "record",
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": (record.timestamp >= 0).then_some(record.timestamp),
        "is_log_append_time": record.log_append_time,
        "key": json(record.key.as_deref()),
        "value": json(record.value.as_deref()),
        "headers": headers.collect::<Vec<Value>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_text_where_they_can_be() {
        assert_eq!(json(None), Value::Null);
        assert_eq!(json(Some("ä<b>".as_bytes()))["text"], "ä<b>");
        assert_eq!(json(Some(&[0xff, 0x0a]))["hex"], "ff0a");
        let long = "ä".repeat(SHOWN_BYTES_MAX);
        let shown = json(Some(long.as_bytes()));
        assert_eq!(
            (shown["is_cut"].as_bool(), shown["bytes"].as_u64()),
            (Some(true), Some(long.len() as u64))
        );
        assert!(shown["text"].as_str().unwrap().len() <= SHOWN_BYTES_MAX);
    }

    #[test]
    fn digits_become_the_bytes_they_were() {
        assert_eq!(from_hex("ff 0A"), Some(vec![255, 10]));
        assert_eq!((from_hex("f"), from_hex("gg")), (None, None));
    }
}
