//! The records of Kafka's own topics, in the words of `kafka-dump-log`'s decoders.

use moldau_record::Record;

use super::shape::{self, Shape};

/// Which topic's records they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decoder {
    Offsets,
    Transactions,
    ShareGroupState,
}

/// A record in words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decoded {
    pub(super) key: String,
    pub(super) payload: Option<String>,
}

/// Why nothing more is shown: Kafka's tool ends there.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("Failed to decode message at offset {0} using the specified decoder (message had a missing key)")]
pub(super) struct MissingKey(i64);

impl Decoder {
    fn log(self) -> &'static str {
        match self {
            Self::Offsets => "offsets",
            Self::Transactions => "transactions",
            Self::ShareGroupState => "share",
        }
    }

    pub(super) fn decode(self, record: &Record<'_>) -> Result<Decoded, MissingKey> {
        let offset = record.offset.0;
        let key = record.key.ok_or(MissingKey(offset))?;
        Ok(self.parts(key, record.value).unwrap_or_else(|error| Decoded {
            key: match error {
                Undecoded::UnknownKind(kind) => {
                    format!("Unknown record type {kind} at offset {offset}, skipping.")
                }
                Undecoded::Broken(reason) => format!("Error at offset {offset}, skipping. {reason}"),
            },
            payload: None,
        }))
    }

    fn parts(self, key: &[u8], value: Option<&[u8]>) -> Result<Decoded, Undecoded> {
        let (kind, key) = version(key, "key")?;
        let shape = shape::find(self.log(), kind, "key").ok_or(Undecoded::UnknownKind(kind))?;
        let key = format!(r#"{{"type":"{kind}","data":{}}}"#, json(&shape, key, &keep)?);
        let Some(value) = value else {
            return Ok(Decoded { key, payload: Some("<DELETE>".to_owned()) });
        };
        let (version, value) = version(value, "value")?;
        let shape = shape::find(self.log(), kind, &version.to_string());
        let shape = shape.ok_or_else(|| {
            Undecoded::Broken(format!("a record of type {kind} has a value of unknown version {version}"))
        })?;
        let is_group = self == Self::Offsets && kind == GROUP_METADATA;
        let data = if is_group { group(&shape, value)? } else { json(&shape, value, &keep)? };
        Ok(Decoded { key, payload: Some(format!(r#"{{"version":"{version}","data":{data}}}"#)) })
    }
}

/// The type of a classic group's record.
const GROUP_METADATA: i16 = 2;

enum Undecoded {
    UnknownKind(i16),
    Broken(String),
}

fn version<'a>(bytes: &'a [u8], name: &str) -> Result<(i16, &'a [u8]), Undecoded> {
    let cut = || Undecoded::Broken(format!("the {name} is cut short"));
    let (version, rest) = bytes.split_first_chunk().ok_or_else(cut)?;
    Ok((i16::from_be_bytes(*version), rest))
}

fn keep(_: &str, _: &[u8]) -> Option<String> {
    None
}

fn json(
    shape: &Shape,
    bytes: &[u8],
    replace: &dyn Fn(&str, &[u8]) -> Option<String>,
) -> Result<String, Undecoded> {
    shape.json(bytes, replace).map_err(|error| Undecoded::Broken(error.to_string()))
}

/// A classic group: what its members say in the protocol of consumers is shown, and everything else as its bytes.
fn group(shape: &Shape, value: &[u8]) -> Result<String, Undecoded> {
    let plain = json(shape, value, &keep)?;
    if !plain.starts_with(r#"{"protocolType":"consumer","#) {
        return Ok(plain);
    }
    json(shape, value, &|name, bytes| {
        let (version, rest) = version(bytes, name).ok()?;
        shape::find(name, 0, &version.to_string())?.json(rest, &keep).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(decoder: Decoder, key: &[u8], value: Option<&[u8]>) -> (String, Option<String>) {
        match decoder.parts(key, value) {
            Ok(decoded) => (decoded.key, decoded.payload),
            Err(Undecoded::UnknownKind(kind)) => (format!("unknown {kind}"), None),
            Err(Undecoded::Broken(reason)) => (reason, None),
        }
    }

    fn bytes(parts: &[&[u8]]) -> Vec<u8> {
        parts.concat()
    }

    #[test]
    fn a_committed_offset_is_shown_and_its_end() {
        let key = bytes(&[&[0, 1, 0, 1], b"g", &[0, 1], b"t", &[0, 0, 0, 3]]);
        let value = bytes(&[&[0, 3], &7i64.to_be_bytes(), &[0xff; 4], &[0, 0], &9i64.to_be_bytes()]);
        let expected = r#"{"type":"1","data":{"group":"g","topic":"t","partition":3}}"#;
        assert_eq!(
            shown(Decoder::Offsets, &key, Some(&value)),
            (
                expected.to_owned(),
                Some(
                    r#"{"version":"3","data":{"offset":7,"leaderEpoch":-1,"metadata":"","commitTimestamp":9}}"#
                        .to_owned()
                )
            )
        );
        assert_eq!(shown(Decoder::Offsets, &key, None), (expected.to_owned(), Some("<DELETE>".to_owned())));
    }

    #[test]
    fn tagged_fields_stand_where_kafka_shows_them_and_only_if_they_are_there() {
        let key = bytes(&[&[0, 0, 0, 1], b"x"]);
        let head = |version: u8| {
            bytes(&[
                &[0, version],
                &5i64.to_be_bytes(),
                &[0, 2],
                &[0, 0, 0x17, 0x70],
                &[0],
                &[0],
                &1i64.to_be_bytes(),
                &(-1i64).to_be_bytes(),
            ])
        };
        let tagged = bytes(&[&head(1), &[1, 2, 2, 0, 2]]);
        assert_eq!(
            shown(Decoder::Transactions, &key, Some(&tagged)).1.unwrap(),
            r#"{"version":"1","data":{"producerId":5,"producerEpoch":2,"transactionTimeoutMs":6000,"transactionStatus":0,"transactionPartitions":null,"transactionLastUpdateTimestampMs":1,"transactionStartTimestampMs":-1,"clientTransactionVersion":2}}"#
        );
        let before = bytes(&[&head(1), &[1, 0, 8], &4i64.to_be_bytes()]);
        let text = shown(Decoder::Transactions, &key, Some(&before)).1.unwrap();
        assert!(text.contains(r#""producerId":5,"previousProducerId":4,"producerEpoch":2"#), "{text}");
        assert!(!text.contains("clientTransactionVersion"), "{text}");
    }

    #[test]
    fn members_of_a_classic_group_are_shown_in_their_own_protocol_where_it_is_that_of_consumers() {
        let key = bytes(&[&[0, 2, 0, 1], b"g"]);
        let subscription = bytes(&[&[0, 0], &[0, 0, 0, 1, 0, 1], b"t", &[0xff; 4]]);
        let value = |protocol: &[u8]| {
            bytes(&[
                &[0, 0, 0, protocol.len() as u8],
                protocol,
                &[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1],
                &[0, 1],
                b"m",
                &[0, 1],
                b"c",
                &[0, 1],
                b"h",
                &[0, 0, 0, 9],
                &[0, 0, 0, subscription.len() as u8],
                &subscription,
                &[0, 0, 0, 1, 7],
            ])
        };
        let text = shown(Decoder::Offsets, &key, Some(&value(b"consumer"))).1.unwrap();
        assert_eq!(
            text,
            r#"{"version":"0","data":{"protocolType":"consumer","generation":1,"protocol":null,"leader":null,"members":[{"memberId":"m","clientId":"c","clientHost":"h","sessionTimeout":9,"subscription":{"topics":["t"],"userData":null},"assignment":"Bw=="}]}}"#
        );
        let text = shown(Decoder::Offsets, &key, Some(&value(b"connect"))).1.unwrap();
        assert!(text.contains(r#""subscription":"AAAAAAABAAF0/////w==""#), "{text}");
    }

    #[test]
    fn what_is_not_known_is_said_and_skipped() {
        assert_eq!(shown(Decoder::ShareGroupState, &[0, 9], None).0, "unknown 9");
        let key = bytes(&[&[0, 3, 0, 1], b"g"]);
        let (text, payload) = shown(Decoder::Offsets, &key, Some(&[0, 7]));
        assert_eq!((text.as_str(), payload), ("a record of type 3 has a value of unknown version 7", None));
        let (text, _) = shown(Decoder::Offsets, &key, Some(&[0, 0, 1]));
        assert_eq!(text, "epoch is cut short");
    }
}
