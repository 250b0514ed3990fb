//! Reads what clients push: OpenTelemetry's `MetricsData`, of which the sums and gauges count (KIP-714). Pure.
//!
//! Only what is shown is read: names, attributes, values. Everything else is skipped by its length, as protobuf allows.

use std::collections::BTreeMap;

/// How many fields one push may have: each is a step, and a byte is enough for one.
const FIELDS_MAX: usize = 1_000_000;

/// Bytes that are no `MetricsData`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the metrics cannot be read")]
pub(crate) struct Unreadable;

/// What a number says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// How it is now.
    Gauge,
    /// A sum since the client began.
    Cumulative,
    /// What came to a sum since the last push.
    Delta,
}

/// One number of a push.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) name: String,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) kind: Kind,
    pub(crate) value: f64,
}

/// One field of a message: its number and its value.
enum Value<'a> {
    Number(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32,
}

/// Walks over the fields of one message.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Result<u64, Unreadable> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or(Unreadable)?;
            self.rest = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Unreadable)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Unreadable> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Unreadable)?;
        self.rest = rest;
        Ok(taken)
    }

    fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, Unreadable> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().map_err(|_| Unreadable)?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Unreadable)?;
                Value::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Value::Fixed32
            }
            _ => return Err(Unreadable),
        };
        Ok(Some((key >> 3, value)))
    }
}

/// Calls `found` with each field of a message. `budget` is how many fields the whole push may still have.
fn each<'a>(
    message: &'a [u8],
    budget: &mut usize,
    mut found: impl FnMut(u64, Value<'a>, &mut usize) -> Result<(), Unreadable>,
) -> Result<(), Unreadable> {
    let mut fields = Fields { rest: message };
    while let Some((number, value)) = fields.next()? {
        *budget = budget.checked_sub(1).ok_or(Unreadable)?;
        found(number, value, budget)?;
    }
    Ok(())
}

fn text(bytes: &[u8]) -> Result<String, Unreadable> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Unreadable)
}

/// All numbers of a push.
pub(crate) fn points(data: &[u8]) -> Result<Vec<Point>, Unreadable> {
    let mut points = Vec::new();
    let mut budget = FIELDS_MAX;
    each(data, &mut budget, |number, value, budget| match (number, value) {
        (1, Value::Bytes(resource)) => {
            each(resource, budget, |number, value, budget| match (number, value) {
                (2, Value::Bytes(scope)) => {
                    each(scope, budget, |number, value, budget| match (number, value) {
                        (2, Value::Bytes(metric)) => read_metric(metric, budget, &mut points),
                        _ => Ok(()),
                    })
                }
                _ => Ok(()),
            })
        }
        _ => Ok(()),
    })?;
    Ok(points)
}

fn read_metric(metric: &[u8], budget: &mut usize, points: &mut Vec<Point>) -> Result<(), Unreadable> {
    let mut name = String::new();
    let mut found = Vec::new();
    each(metric, budget, |number, value, budget| {
        match (number, value) {
            (1, Value::Bytes(bytes)) => name = text(bytes)?,
            (5, Value::Bytes(gauge)) => {
                let read = read_data(gauge, budget)?;
                found.extend(read.0.into_iter().map(|(attributes, value)| (attributes, Kind::Gauge, value)));
            }
            (7, Value::Bytes(sum)) => {
                let (read, temporality) = read_data(sum, budget)?;
                let kind = if temporality == DELTA { Kind::Delta } else { Kind::Cumulative };
                found.extend(read.into_iter().map(|(attributes, value)| (attributes, kind, value)));
            }
            _ => {}
        }
        Ok(())
    })?;
    let point = |(attributes, kind, value)| Point { name: name.clone(), attributes, kind, value };
    points.extend(found.into_iter().map(point));
    Ok(())
}

/// OpenTelemetry's number for sums that start anew with each push.
const DELTA: u64 = 1;

/// The points of a gauge or a sum, and the sum's temporality.
#[allow(clippy::type_complexity, reason = "a list of pairs")]
fn read_data(
    data: &[u8],
    budget: &mut usize,
) -> Result<(Vec<(BTreeMap<String, String>, f64)>, u64), Unreadable> {
    let mut points = Vec::new();
    let mut temporality = 0;
    each(data, budget, |number, value, budget| {
        match (number, value) {
            (1, Value::Bytes(point)) => points.push(read_point(point, budget)?),
            (2, Value::Number(given)) => temporality = given,
            _ => {}
        }
        Ok(())
    })?;
    Ok((points, temporality))
}

fn read_point(point: &[u8], budget: &mut usize) -> Result<(BTreeMap<String, String>, f64), Unreadable> {
    let mut attributes = BTreeMap::new();
    let mut number = 0.0;
    each(point, budget, |field, value, budget| {
        match (field, value) {
            (4, Value::Fixed64(bits)) => number = f64::from_bits(bits),
            (6, Value::Fixed64(bits)) => number = bits.cast_signed() as f64,
            (7, Value::Bytes(attribute)) => {
                let (key, value) = read_attribute(attribute, budget)?;
                attributes.insert(key, value);
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok((attributes, number))
}

fn read_attribute(attribute: &[u8], budget: &mut usize) -> Result<(String, String), Unreadable> {
    let (mut key, mut shown) = (String::new(), String::new());
    each(attribute, budget, |field, value, budget| {
        match (field, value) {
            (1, Value::Bytes(bytes)) => key = text(bytes)?,
            (2, Value::Bytes(any)) => each(any, budget, |field, value, _| {
                match (field, value) {
                    (1, Value::Bytes(bytes)) => shown = text(bytes)?,
                    (2, Value::Number(flag)) => shown = (flag != 0).to_string(),
                    (3, Value::Number(number)) => shown = number.cast_signed().to_string(),
                    (4, Value::Fixed64(bits)) => shown = f64::from_bits(bits).to_string(),
                    _ => {}
                }
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    })?;
    Ok((key, shown))
}

#[cfg(test)]
pub(super) mod testing {
    /// A field that holds bytes.
    pub(crate) fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2];
        let mut length = bytes.len();
        while length >= 0x80 {
            out.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
        out.extend_from_slice(bytes);
        out
    }

    /// A push of one number.
    pub(crate) fn push(name: &str, kind: super::Kind, value: f64, attribute: (&str, &str)) -> Vec<u8> {
        let any = field(1, attribute.1.as_bytes());
        let attribute = [field(1, attribute.0.as_bytes()), field(2, &any)].concat();
        let point = [&[4 << 3 | 1][..], &value.to_bits().to_le_bytes(), &field(7, &attribute)].concat();
        let (number, temporality): (u8, &[u8]) = match kind {
            super::Kind::Gauge => (5, &[]),
            super::Kind::Delta => (7, &[2 << 3, 1]),
            super::Kind::Cumulative => (7, &[2 << 3, 2]),
        };
        let data = field(number, &[&field(1, &point)[..], temporality].concat());
        let metric = [field(1, name.as_bytes()), data].concat();
        field(1, &field(2, &field(2, &metric)))
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{field, push};
    use super::*;

    #[test]
    fn gauges_and_sums_are_read_with_their_attributes() {
        for kind in [Kind::Gauge, Kind::Delta, Kind::Cumulative] {
            let read = points(&push("org.apache.kafka.x", kind, 1.5, ("node", "7"))).unwrap();
            let attributes = BTreeMap::from([("node".to_owned(), "7".to_owned())]);
            assert_eq!(read, [Point { name: "org.apache.kafka.x".into(), attributes, kind, value: 1.5 }]);
        }
        let unknown = [field(9, b"skipped"), push("a", Kind::Gauge, 2.0, ("b", "c"))].concat();
        assert_eq!(points(&unknown).unwrap().len(), 1, "what is not known is skipped");
        assert_eq!(points(&[]), Ok(Vec::new()));
    }

    #[test]
    fn what_ends_early_or_lies_of_its_length_is_refused() {
        let whole = push("name", Kind::Delta, 1.0, ("k", "v"));
        for cut in 1..whole.len() {
            assert!(points(&whole[..cut]).is_err(), "cut at {cut}");
        }
        for garbage in
            [&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01][..], &[0x0b], &[0x80; 11]]
        {
            assert_eq!(points(garbage), Err(Unreadable));
        }
    }
}
