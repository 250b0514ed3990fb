//! How `kafka-console-consumer` prints a record.

use std::io::{self, Write};

use crate::client::consumer::IncomingRecord;

/// How bytes become text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deserializer {
    /// The bytes as they are, which is what strings print as.
    Text,
    Integer,
    Long,
    Short,
    Double,
    Float,
}

/// What to print, by Kafka's `--formatter-property` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Formatter {
    timestamp: bool,
    partition: bool,
    offset: bool,
    delivery: bool,
    epoch: bool,
    headers: bool,
    key: bool,
    value: bool,
    key_separator: String,
    line_separator: String,
    headers_separator: String,
    null_literal: String,
    key_deserializer: Deserializer,
    value_deserializer: Deserializer,
    header_deserializer: Deserializer,
}

impl Default for Formatter {
    fn default() -> Self {
        Self {
            timestamp: false,
            partition: false,
            offset: false,
            delivery: false,
            epoch: false,
            headers: false,
            key: false,
            value: true,
            key_separator: "\t".to_owned(),
            line_separator: "\n".to_owned(),
            headers_separator: ",".to_owned(),
            null_literal: "null".to_owned(),
            key_deserializer: Deserializer::Text,
            value_deserializer: Deserializer::Text,
            header_deserializer: Deserializer::Text,
        }
    }
}

impl Formatter {
    /// Takes properties over; unknown ones are ignored, as in Kafka.
    pub(crate) fn configure(properties: &[(String, String)]) -> Result<Self, String> {
        let mut formatter = Self::default();
        for (key, value) in properties {
            let truth = value.trim().eq_ignore_ascii_case("true");
            match key.as_str() {
                "print.timestamp" => formatter.timestamp = truth,
                "print.partition" => formatter.partition = truth,
                "print.offset" => formatter.offset = truth,
                "print.delivery" => formatter.delivery = truth,
                "print.epoch" => formatter.epoch = truth,
                "print.headers" => formatter.headers = truth,
                "print.key" => formatter.key = truth,
                "print.value" => formatter.value = truth,
                "key.separator" => formatter.key_separator.clone_from(value),
                "line.separator" => formatter.line_separator.clone_from(value),
                "headers.separator" => formatter.headers_separator.clone_from(value),
                "null.literal" => formatter.null_literal.clone_from(value),
                "key.deserializer" => formatter.key_deserializer = deserializer(value)?,
                "value.deserializer" => formatter.value_deserializer = deserializer(value)?,
                "headers.deserializer" => formatter.header_deserializer = deserializer(value)?,
                _ => {}
            }
        }
        Ok(formatter)
    }

    pub(crate) fn write(&self, record: &IncomingRecord, out: &mut dyn Write) -> io::Result<()> {
        let mut columns: Vec<Vec<u8>> = Vec::new();
        if self.timestamp {
            columns.push(
                match (record.timestamp, record.log_append_time) {
                    (-1, false) => "NO_TIMESTAMP".to_owned(),
                    (time, false) => format!("CreateTime:{time}"),
                    (time, true) => format!("LogAppendTime:{time}"),
                }
                .into_bytes(),
            );
        }
        if self.partition {
            columns.push(format!("Partition:{}", record.partition).into_bytes());
        }
        if self.offset {
            columns.push(format!("Offset:{}", record.offset).into_bytes());
        }
        if self.delivery {
            let count =
                record.delivery_count.map_or_else(|| "NOT_PRESENT".to_owned(), |count| count.to_string());
            columns.push(format!("Delivery:{count}").into_bytes());
        }
        if self.epoch {
            // Kafka's tool loses the epoch on the way and prints this for every record.
            columns.push(b"Epoch:NOT_PRESENT".to_vec());
        }
        if self.headers {
            columns.push(self.headers_text(record)?);
        }
        if self.key {
            columns.push(self.text(record.key.as_deref(), self.key_deserializer)?);
        }
        if self.value {
            columns.push(self.text(record.value.as_deref(), self.value_deserializer)?);
        }
        out.write_all(&columns.join(self.key_separator.as_bytes()))?;
        out.write_all(self.line_separator.as_bytes())
    }

    fn headers_text(&self, record: &IncomingRecord) -> io::Result<Vec<u8>> {
        if record.headers.is_empty() {
            return Ok(b"NO_HEADERS".to_vec());
        }
        let pairs = record.headers.iter().map(|(key, value)| {
            let mut pair = format!("{key}:").into_bytes();
            pair.extend(self.text(value.as_deref(), self.header_deserializer)?);
            Ok(pair)
        });
        Ok(pairs.collect::<io::Result<Vec<_>>>()?.join(self.headers_separator.as_bytes()))
    }

    fn text(&self, bytes: Option<&[u8]>, deserializer: Deserializer) -> io::Result<Vec<u8>> {
        let Some(bytes) = bytes else { return Ok(self.null_literal.clone().into_bytes()) };
        let wrong =
            || io::Error::other(format!("Size of data received by {deserializer:?}Deserializer is wrong"));
        let text = match deserializer {
            Deserializer::Text => return Ok(bytes.to_vec()),
            Deserializer::Integer => i32::from_be_bytes(bytes.try_into().map_err(|_| wrong())?).to_string(),
            Deserializer::Long => i64::from_be_bytes(bytes.try_into().map_err(|_| wrong())?).to_string(),
            Deserializer::Short => i16::from_be_bytes(bytes.try_into().map_err(|_| wrong())?).to_string(),
            Deserializer::Double => {
                format!("{:?}", f64::from_be_bytes(bytes.try_into().map_err(|_| wrong())?))
            }
            Deserializer::Float => {
                format!("{:?}", f32::from_be_bytes(bytes.try_into().map_err(|_| wrong())?))
            }
        };
        Ok(text.into_bytes())
    }
}

/// A deserializer by its Java class. Classes of the user's own cannot be loaded here.
fn deserializer(class: &str) -> Result<Deserializer, String> {
    let name = class.rsplit('.').next().unwrap_or(class);
    match name {
        "StringDeserializer" | "ByteArrayDeserializer" | "BytesDeserializer" | "ByteBufferDeserializer" => {
            Ok(Deserializer::Text)
        }
        "IntegerDeserializer" => Ok(Deserializer::Integer),
        "LongDeserializer" => Ok(Deserializer::Long),
        "ShortDeserializer" => Ok(Deserializer::Short),
        "DoubleDeserializer" => Ok(Deserializer::Double),
        "FloatDeserializer" => Ok(Deserializer::Float),
        _ => Err(format!("{class} is a Java class that this tool cannot load")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(properties: &[(&str, &str)], record: &IncomingRecord) -> String {
        let properties: Vec<_> = properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let mut out = Vec::new();
        Formatter::configure(&properties).unwrap().write(record, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn record(offset: i64, key: &str, value: &str, timestamp: i64) -> IncomingRecord {
        IncomingRecord {
            topic: "pageview".into(),
            partition: 1,
            offset,
            timestamp,
            log_append_time: false,
            headers: vec![],
            key: Some(key.into()),
            value: Some(value.into()),
            delivery_count: None,
        }
    }

    #[test]
    fn records_are_printed_as_apache_kafka_printed_them() {
        let records = [
            record(0, "k1", "{\"user\":\"a\",\"page\":\"/\"}", 1_795_466_516_012),
            record(1, "k2", "{\"user\":\"b\",\"page\":\"/x\"}", 1_795_466_516_025),
        ];
        let properties = [
            ("print.timestamp", "true"),
            ("print.partition", "true"),
            ("print.offset", "true"),
            ("print.headers", "true"),
            ("print.key", "true"),
        ];
        let text: String = records.iter().map(|r| printed(&properties, r)).collect();
        assert_eq!(text, include_str!("../../tests/golden/consume_props.out"));
        let text: String = records.iter().map(|r| printed(&[], r)).collect();
        assert_eq!(text, include_str!("../../tests/golden/consume.out"));
    }

    #[test]
    fn what_is_missing_has_a_word() {
        let mut empty = record(0, "", "", -1);
        (empty.key, empty.value) = (None, None);
        empty.headers = vec![("h".into(), None), ("i".into(), Some(b"1".to_vec()))];
        let properties = [("print.key", "true"), ("print.timestamp", "true"), ("print.headers", "true")];
        assert_eq!(printed(&properties, &empty), "NO_TIMESTAMP\th:null,i:1\tnull\tnull\n");
        assert_eq!(
            printed(&[("print.value", "false"), ("print.key", "true"), ("null.literal", "-")], &empty),
            "-\n"
        );
    }

    #[test]
    fn numbers_are_read_where_the_user_says_so() {
        let mut number = record(0, "", "", 1);
        number.value = Some(7i64.to_be_bytes().to_vec());
        let class = "org.apache.kafka.common.serialization.LongDeserializer";
        assert_eq!(printed(&[("value.deserializer", class)], &number), "7\n");
        assert!(Formatter::configure(&[("value.deserializer".into(), "com.acme.Avro".into())]).is_err());
    }
}
