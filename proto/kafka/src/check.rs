//! The structural walk: whether a body is what its schema says, before a decoder reserves memory by what it claims.
//!
//! kafka-protocol reserves `count * size_of::<Element>()` for every array, whatever the count, and an allocation that
//! fails ends the process. After this walk, every count has its elements behind it, and all of them together cost what
//! the message's size allows. The walk itself allocates nothing and reads every byte at most twice.
//!
//! It reads what the library reads, byte for byte. Were there one place where the two disagreed on a length, the library
//! would see counts that the walk never saw.

use crate::api_key::ApiKey;
use crate::error::WireError;
use crate::schema::{Direction, Layout, Shape, schema};
use crate::wire::Reader;

/// Elements of arrays, not counting those of fixed size, and tagged fields in one request. It bounds the work that one
/// request can ask for, above what the biggest clusters' clients send.
const REQUEST_ELEMENTS_MAX: usize = 250_000;
/// A server is trusted further than a client: the metadata of a cluster with a million partitions is a good response.
const RESPONSE_ELEMENTS_MAX: usize = 16_000_000;

/// A message may cost this many times its bytes once it is decoded,
const DECODED_TIMES_MAX: usize = 16;
/// and this much for nothing.
const DECODED_BYTES_FREE: usize = 1024 * 1024;
/// What the library keeps of an unknown tagged field: a node of a map, at worst.
const DECODED_TAG_BYTES: usize = 80;

/// Walks the body of a request of any API of Kafka 4.3 (its header taken off) along its schema. Returns how many of the
/// bytes are the message.
///
/// What follows the message is not looked at: Kafka's broker does not either, and a stock client leans on that
/// (librdkafka 2.x asks for all topics, in Metadata 9 and later, with three bytes behind the message).
pub fn check_request(api_key: ApiKey, version: i16, body: &[u8]) -> Result<usize, WireError> {
    let rest = check(api_key, Direction::Request, version, body, REQUEST_ELEMENTS_MAX)?;
    Ok(body.len() - rest.remaining())
}

/// Walks the body of a response (its header taken off) along its schema, to its last byte.
pub fn check_response(api_key: ApiKey, version: i16, body: &[u8]) -> Result<(), WireError> {
    check(api_key, Direction::Response, version, body, RESPONSE_ELEMENTS_MAX)?.finish()
}

/// Returns the reader behind the message.
fn check(
    api_key: ApiKey,
    direction: Direction,
    version: i16,
    body: &[u8],
    elements_max: usize,
) -> Result<Reader<'_>, WireError> {
    let schema =
        schema(api_key, direction, version).ok_or(WireError::UnsupportedVersion { api_key, version })?;
    let decoded_bytes_max = body.len().saturating_mul(DECODED_TIMES_MAX).saturating_add(DECODED_BYTES_FREE);
    let mut walk = Walk {
        flexible: schema.flexible,
        elements_max,
        elements_left: elements_max,
        decoded_bytes_max,
        decoded_bytes_left: decoded_bytes_max,
    };
    let mut reader = Reader::new(body);
    walk.layout(&schema.body, &mut reader)?;
    Ok(reader)
}

/// One walk and what is left of its budget.
struct Walk {
    flexible: bool,
    elements_max: usize,
    elements_left: usize,
    decoded_bytes_max: usize,
    decoded_bytes_left: usize,
}

impl Walk {
    fn layout(&mut self, layout: &Layout, reader: &mut Reader<'_>) -> Result<(), WireError> {
        for shape in &layout.fields {
            self.shape(shape, reader)?;
        }
        match &layout.tagged {
            Some(known) => self.tagged(known, reader),
            None => Ok(()),
        }
    }

    fn shape(&mut self, shape: &Shape, reader: &mut Reader<'_>) -> Result<(), WireError> {
        match shape {
            Shape::Fixed { bytes } => reader.take(*bytes).map(drop),
            Shape::String { nullable } => present(reader.string(self.flexible)?, *nullable).map(drop),
            Shape::Bytes { nullable } => match present(reader.length(self.flexible)?, *nullable)? {
                Some(length) => reader.take(length).map(drop),
                None => Ok(()),
            },
            Shape::Struct { nullable: false, layout } => self.layout(layout, reader),
            // The library takes 1 for present and anything else for null: only those two may pass.
            Shape::Struct { nullable: true, layout } => match reader.i8()? {
                -1 => Ok(()),
                1 => self.layout(layout, reader),
                byte => Err(WireError::BadPresence { byte }),
            },
            Shape::FixedArray { nullable, element_bytes } => {
                let Some(count) = self.count(*nullable, *element_bytes, reader)? else { return Ok(()) };
                reader.take(count * element_bytes).map(drop)
            }
            Shape::Array { nullable, element } => {
                let Some(count) = self.count(*nullable, element.wire_bytes_min, reader)? else {
                    return Ok(());
                };
                self.charge(count, element.decoded_bytes)?;
                for _ in 0..count {
                    self.layout(element, reader)?;
                }
                Ok(())
            }
        }
    }

    /// The length of an array, which fits the bytes that are left.
    fn count(
        &self,
        nullable: bool,
        bytes_min: usize,
        reader: &mut Reader<'_>,
    ) -> Result<Option<usize>, WireError> {
        let Some(count) = present(reader.length(self.flexible)?, nullable)? else { return Ok(None) };
        let remaining = reader.remaining();
        if count > remaining / bytes_min {
            return Err(WireError::CountTooLarge { count, remaining });
        }
        Ok(Some(count))
    }

    fn tagged(&mut self, known: &[(u32, Shape)], reader: &mut Reader<'_>) -> Result<(), WireError> {
        let count = reader.unsigned_varint()? as usize;
        let remaining = reader.remaining();
        // A tag and a size take a byte each at least.
        if count > remaining / 2 {
            return Err(WireError::CountTooLarge { count, remaining });
        }
        self.charge(count, DECODED_TAG_BYTES)?;
        let mut previous = None;
        for _ in 0..count {
            let (tag, value) = reader.tag(previous)?;
            previous = Some(tag);
            if let Ok(place) = known.binary_search_by_key(&tag, |(known, _)| *known)
                && let Some((_, shape)) = known.get(place)
            {
                let mut inner = Reader::new(value);
                self.shape(shape, &mut inner)?;
                inner.finish().map_err(|_| WireError::TagSize { tag, size: value.len() })?;
            }
        }
        Ok(())
    }

    fn charge(&mut self, count: usize, decoded_bytes: usize) -> Result<(), WireError> {
        let count_max = self.elements_max;
        self.elements_left =
            self.elements_left.checked_sub(count).ok_or(WireError::TooManyElements { count_max })?;
        let bytes_max = self.decoded_bytes_max;
        let cost = count.saturating_mul(decoded_bytes);
        self.decoded_bytes_left =
            self.decoded_bytes_left.checked_sub(cost).ok_or(WireError::TooCostly { bytes_max })?;
        Ok(())
    }
}

fn present<T>(value: Option<T>, nullable: bool) -> Result<Option<T>, WireError> {
    if value.is_none() && !nullable { Err(WireError::UnexpectedNull) } else { Ok(value) }
}
