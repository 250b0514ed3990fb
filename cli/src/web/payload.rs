//! Bytes of keys, values and headers as JSON can hold them.

use serde_json::{Value, json};

use crate::client::consumer::SeenRecord;

/// Of one key, value or header as much is shown: a list of records is for reading.
pub(super) const SHOWN_BYTES_MAX: usize = 64 * 1024;
/// Headers of one record that are shown: their names and values together as much as one value.
const HEADERS_SHOWN_MAX: usize = 100;

/// Text where it is text, else pairs of hexadecimal digits; null where there is nothing.
fn json(bytes: Option<&[u8]>, shown_max: usize) -> Value {
    let Some(all) = bytes else { return Value::Null };
    let is_cut = all.len() > shown_max;
    // A text is not to become bytes because of where it was cut.
    let text = std::str::from_utf8(all).ok().map(|text| &text[..text.floor_char_boundary(shown_max)]);
    match text {
        Some(text) => json!({"text": text, "bytes": all.len(), "is_cut": is_cut}),
        None => {
            json!({"hex": hex(&all[..all.len().min(shown_max)]), "bytes": all.len(), "is_cut": is_cut})
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
pub(super) fn record(seen: &SeenRecord<'_>) -> Value {
    let record = &seen.record;
    let mut room = SHOWN_BYTES_MAX;
    let mut headers = Vec::new();
    for header in record.headers.into_iter().take(HEADERS_SHOWN_MAX) {
        let key = &header.key[..header.key.len().min(room)];
        room -= key.len();
        headers.push(json!({"key": String::from_utf8_lossy(key), "value": json(header.value, room)}));
        room -= header.value.map_or(0, <[u8]>::len).min(room);
    }
    json!({
        "type": "record",
        "partition": seen.partition.1,
        "offset": record.offset.0,
        "timestamp_ms": (record.timestamp.0 >= 0).then_some(record.timestamp.0),
        "is_log_append_time": seen.log_append_time,
        "key": json(record.key, SHOWN_BYTES_MAX),
        "value": json(record.value, SHOWN_BYTES_MAX),
        "headers": headers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_text_where_they_can_be() {
        let json = |bytes: &[u8]| json(Some(bytes), SHOWN_BYTES_MAX);
        assert_eq!(super::json(None, SHOWN_BYTES_MAX), Value::Null);
        assert_eq!(json("ä<b>".as_bytes())["text"], "ä<b>");
        assert_eq!(json(&[0xff, 0x0a])["hex"], "ff0a");
        let long = "ä".repeat(SHOWN_BYTES_MAX);
        let shown = json(long.as_bytes());
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
