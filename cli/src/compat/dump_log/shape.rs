//! The shapes of records, read from `records.txt`, and records as JSON by their shape, as Kafka's converters write them.

use super::json::{base64, text};
use moldau_model::Uuid;

const RECORDS: &str = include_str!("records.txt");

/// The fields of a structure, in the order in which they are shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shape {
    fields: Vec<Field>,
    is_flexible: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Field {
    name: &'static str,
    tag: Option<u32>,
    kind: Kind,
    is_nullable: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Int8,
    Int16,
    UInt16,
    Int32,
    Int64,
    Uuid,
    String,
    Bytes,
    Array(Box<Kind>),
    Struct(Vec<Field>),
}

/// Why bytes are none of the record that they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ShapeError {
    #[error("{0} is cut short")]
    Truncated(&'static str),
    #[error("{0} is invalid")]
    Invalid(&'static str),
    #[error("{0} is null")]
    Null(&'static str),
}

/// The shape of a key (`part` is `key`) or of a value (`part` is its version) of this kind.
pub(super) fn find(log: &str, kind: i16, part: &str) -> Option<Shape> {
    RECORDS.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let is_it = words.next()? == log && words.next()?.parse() == Ok(kind);
        let found = words.next()?;
        let is_flexible = found.ends_with('~');
        (is_it && found.trim_end_matches('~') == part)
            .then(|| Shape { fields: fields(&mut words), is_flexible })
    })
}

/// Reads fields up to the end, or to the bracket that closes their structure, which is left to be looked at as `}` or `}?`.
fn fields(words: &mut std::str::SplitWhitespace<'static>) -> Vec<Field> {
    fields_to_bracket(words).0
}

fn fields_to_bracket(words: &mut std::str::SplitWhitespace<'static>) -> (Vec<Field>, bool) {
    let mut fields = Vec::new();
    while let Some(word) = words.next() {
        if let Some(end) = word.strip_prefix('}') {
            return (fields, end == "?");
        }
        let (name, kind) = word.split_once(':').expect("a field is name:kind");
        let (name, tag) = match name.split_once('@') {
            Some((name, tag)) => (name, Some(tag.parse().expect("a tag is a number"))),
            None => (name, None),
        };
        let (kind, is_array) = kind.strip_prefix("[]").map_or((kind, false), |kind| (kind, true));
        let (kind, is_nullable) = if kind == "{" {
            let (inner, is_nullable) = fields_to_bracket(words);
            (Kind::Struct(inner), is_nullable)
        } else {
            let (kind, is_nullable) = kind.strip_suffix('?').map_or((kind, false), |kind| (kind, true));
            (primitive(kind), is_nullable)
        };
        let kind = if is_array { Kind::Array(Box::new(kind)) } else { kind };
        fields.push(Field { name, tag, kind, is_nullable });
    }
    (fields, false)
}

fn primitive(name: &str) -> Kind {
    match name {
        "int8" => Kind::Int8,
        "int16" => Kind::Int16,
        "uint16" => Kind::UInt16,
        "int32" => Kind::Int32,
        "int64" => Kind::Int64,
        "uuid" => Kind::Uuid,
        "string" => Kind::String,
        "bytes" => Kind::Bytes,
        other => unreachable!("records.txt names the kind {other}"),
    }
}

impl Shape {
    /// The record as JSON. `replace` may put something else in the place of a field of bytes, by its name.
    pub(super) fn json(
        &self,
        bytes: &[u8],
        replace: &dyn Fn(&str, &[u8]) -> Option<String>,
    ) -> Result<String, ShapeError> {
        let mut reader = Reader { rest: bytes, is_flexible: self.is_flexible, replace };
        reader.structure(&self.fields)
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    is_flexible: bool,
    replace: &'a dyn Fn(&str, &[u8]) -> Option<String>,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize, name: &'static str) -> Result<&'a [u8], ShapeError> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(ShapeError::Truncated(name))?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self, name: &'static str) -> Result<[u8; N], ShapeError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(ShapeError::Truncated(name))?;
        self.rest = rest;
        Ok(*head)
    }

    fn unsigned_varint(&mut self, name: &'static str) -> Result<u32, ShapeError> {
        let mut value = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array::<1>(name)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| ShapeError::Invalid(name));
            }
        }
        Err(ShapeError::Invalid(name))
    }

    /// A length, `None` for null. What it counts takes at least a byte each, so that one beyond the bytes left is a lie.
    fn length(&mut self, is_short: bool, name: &'static str) -> Result<Option<usize>, ShapeError> {
        let length = if self.is_flexible {
            i64::from(self.unsigned_varint(name)?) - 1
        } else if is_short {
            i64::from(i16::from_be_bytes(self.array(name)?))
        } else {
            i64::from(i32::from_be_bytes(self.array(name)?))
        };
        match usize::try_from(length) {
            Ok(length) if length <= self.rest.len() => Ok(Some(length)),
            Ok(_) => Err(ShapeError::Truncated(name)),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(ShapeError::Invalid(name)),
        }
    }

    fn structure(&mut self, fields: &'a [Field]) -> Result<String, ShapeError> {
        let mut shown: Vec<Option<String>> = vec![None; fields.len()];
        for (field, place) in fields.iter().zip(&mut shown).filter(|(field, _)| field.tag.is_none()) {
            *place = Some(self.field(field)?);
        }
        if self.is_flexible {
            for _ in 0..self.unsigned_varint("tagged fields")? {
                let tag = self.unsigned_varint("tag")?;
                let size = self.unsigned_varint("tagged field")? as usize;
                let rest = self.take(size, "tagged field")?;
                let known = fields.iter().zip(&mut shown).find(|(field, _)| field.tag == Some(tag));
                if let Some((field, place)) = known {
                    let mut reader = Reader { rest, is_flexible: true, replace: self.replace };
                    *place = Some(reader.field(field)?);
                }
            }
        }
        // A tagged field that is not there has its default, which Kafka does not show.
        let shown = fields.iter().zip(shown).filter_map(|(field, value)| Some((field.name, value?)));
        let shown: Vec<String> = shown.map(|(name, value)| format!("\"{name}\":{value}")).collect();
        Ok(format!("{{{}}}", shown.join(",")))
    }

    fn field(&mut self, field: &'a Field) -> Result<String, ShapeError> {
        let name = field.name;
        if let Kind::Struct(inner) = &field.kind
            && field.is_nullable
        {
            // -1 and 1 where it stands among the others, 0 and 1 in a tagged field.
            let [mark] = self.array::<1>(name)?;
            let is_null = if field.tag.is_some() { mark == 0 } else { mark == 0xff };
            return if is_null { Ok("null".to_owned()) } else { self.structure(inner) };
        }
        match self.value(&field.kind, name)? {
            Some(value) => Ok(value),
            None if field.is_nullable => Ok("null".to_owned()),
            None => Err(ShapeError::Null(name)),
        }
    }

    /// A value as JSON; nothing for null.
    fn value(&mut self, kind: &'a Kind, name: &'static str) -> Result<Option<String>, ShapeError> {
        Ok(Some(match kind {
            Kind::Int8 => i8::from_be_bytes(self.array(name)?).to_string(),
            Kind::Int16 => i16::from_be_bytes(self.array(name)?).to_string(),
            Kind::UInt16 => u16::from_be_bytes(self.array(name)?).to_string(),
            Kind::Int32 => i32::from_be_bytes(self.array(name)?).to_string(),
            Kind::Int64 => i64::from_be_bytes(self.array(name)?).to_string(),
            Kind::Uuid => text(&Uuid::from_bytes(self.array(name)?).to_string()),
            Kind::String => {
                let Some(length) = self.length(true, name)? else { return Ok(None) };
                let bytes = self.take(length, name)?;
                text(std::str::from_utf8(bytes).map_err(|_| ShapeError::Invalid(name))?)
            }
            Kind::Bytes => {
                let Some(length) = self.length(false, name)? else { return Ok(None) };
                let bytes = self.take(length, name)?;
                (self.replace)(name, bytes).unwrap_or_else(|| text(&base64(bytes)))
            }
            Kind::Array(kind) => {
                let Some(count) = self.length(false, name)? else { return Ok(None) };
                let mut items = Vec::new();
                for _ in 0..count {
                    items.push(self.value(kind, name)?.ok_or(ShapeError::Null(name))?);
                }
                format!("[{}]", items.join(","))
            }
            Kind::Struct(fields) => self.structure(fields)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_a_shape() {
        let lines = RECORDS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut count = 0;
        for line in lines {
            let words: Vec<&str> = line.split_whitespace().collect();
            let part = words[2].trim_end_matches('~');
            let shape = find(words[0], words[1].parse().unwrap(), part).unwrap();
            assert_eq!(shape.is_flexible, words[2].ends_with('~'));
            assert!(!shape.fields.is_empty(), "{line}");
            count += 1;
        }
        assert!(count > 50);
        assert_eq!(find("offsets", 99, "key"), None);
        assert_eq!(find("offsets", 1, "5"), None);
    }

    #[test]
    fn lengths_that_lie_are_refused_and_nothing_is_allocated_for_them() {
        let shape = find("offsets", 7, "0").unwrap();
        let keep = |_: &str, _: &[u8]| None;
        assert_eq!(
            shape.json(&[0xff, 0xff, 0xff, 0xff, 0x0f], &keep),
            Err(ShapeError::Truncated("topicPartitions"))
        );
        assert_eq!(shape.json(&[0], &keep), Err(ShapeError::Null("topicPartitions")));
        assert_eq!(shape.json(&[1, 0], &keep).unwrap(), r#"{"topicPartitions":[]}"#);
    }
}
