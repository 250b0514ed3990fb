//! The schemas of all requests and responses of Kafka 4.3, from the texts beside this file, each compiled for one version
//! when it is first needed.
//!
//! A message starts with a line `<ApiKey> request` or `<ApiKey> response`. Then comes a line for each field, its children
//! two spaces further in: `name: type[?[versions]] [tag N][, versions]`.
//! - Types are `bool int8 int16 uint16 int32 int64 float64 uuid string bytes`, `{}` for a structure, `[]` before the type
//!   of an array's elements, and `[]` alone for an array of structures.
//! - `?` allows null, in the versions behind it or in all.
//! - `tag N` makes it a tagged field (KIP-482).
//! - Versions are `3+`, `3-12` or `3`. Without them, a field is in every version that its parent is in.

use std::sync::{LazyLock, OnceLock};

use crate::api_key::{ApiKey, VersionRange};

const TEXTS: [&str; 8] = [
    include_str!("schema/data.txt"),
    include_str!("schema/group.txt"),
    include_str!("schema/transaction.txt"),
    include_str!("schema/topic.txt"),
    include_str!("schema/security.txt"),
    include_str!("schema/cluster.txt"),
    include_str!("schema/share.txt"),
    include_str!("schema/streams.txt"),
];

/// Which of the two messages of an API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Request,
    Response,
}

/// How to walk a message of one version.
#[derive(Debug)]
pub(crate) struct Schema {
    /// Compact lengths, tagged fields.
    pub(crate) flexible: bool,
    pub(crate) body: Layout,
}

/// The fields of a structure in one version, in the order of the wire.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    pub(crate) fields: Vec<Shape>,
    /// The known tagged fields; `None` where the structure has no room for any.
    pub(crate) tagged: Option<Vec<(u32, Shape)>>,
    /// The fewest bytes that the structure can take.
    pub(crate) wire_bytes_min: usize,
    /// About what the library's struct takes in memory.
    pub(crate) decoded_bytes: usize,
}

/// One field, or a run of fields of fixed size.
#[derive(Debug)]
pub(crate) enum Shape {
    Fixed { bytes: usize },
    String { nullable: bool },
    Bytes { nullable: bool },
    Struct { nullable: bool, layout: Layout },
    FixedArray { nullable: bool, element_bytes: usize },
    Array { nullable: bool, element: Layout },
}

/// The schema of this version of a message; `None` outside [`ApiKey::kafka_versions`].
pub(crate) fn schema(api_key: ApiKey, direction: Direction, version: i16) -> Option<&'static Schema> {
    static COMPILED: LazyLock<Vec<OnceLock<Vec<Schema>>>> =
        LazyLock::new(|| (0..2 * CODES).map(|_| OnceLock::new()).collect());
    let versions = api_key.kafka_versions();
    if !versions.contains(version) {
        return None;
    }
    let place = 2 * api_key.code() as usize + usize::from(direction == Direction::Response);
    let compile =
        || (versions.min..=versions.max).map(|version| compile(api_key, direction, version)).collect();
    COMPILED.get(place)?.get_or_init(compile).get((version - versions.min) as usize)
}

/// One more than the highest API key.
const CODES: usize = 93;

fn compile(api_key: ApiKey, direction: Direction, version: i16) -> Schema {
    static PARSED: LazyLock<Vec<Message>> =
        LazyLock::new(|| TEXTS.iter().flat_map(|text| parse_text(text)).collect());
    let message = PARSED.iter().find(|m| m.name == api_key.name() && m.direction == direction);
    let fields = message.map(|message| message.fields.as_slice()).unwrap_or_default();
    assert!(message.is_some(), "no schema of the {direction:?} of {api_key}");
    let flexible = api_key.is_flexible(version);
    Schema { flexible, body: layout(fields, version, flexible) }
}

struct Message {
    name: &'static str,
    direction: Direction,
    fields: Vec<Field>,
}

/// A field over all versions, as it stands in the text.
struct Field {
    kind: Kind,
    is_array: bool,
    nullable: Option<VersionRange>,
    tag: Option<u32>,
    versions: VersionRange,
    children: Vec<Field>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Fixed(usize),
    String,
    Bytes,
    Struct,
}

fn parse_text(text: &'static str) -> Vec<Message> {
    let mut lines = text.lines().filter(|line| !line.is_empty()).peekable();
    let mut messages = Vec::new();
    while let Some(heading) = lines.next() {
        let (name, direction) = heading.split_once(' ').unwrap_or((heading, ""));
        let direction = match direction {
            "request" => Direction::Request,
            "response" => Direction::Response,
            _ => panic!("`{heading}` is no heading of a message"),
        };
        let all = VersionRange::new(0, i16::MAX);
        let fields = parse_fields(&mut lines, 1, all);
        messages.push(Message { name, direction, fields });
    }
    messages
}

/// The fields at this depth, and below each its children.
fn parse_fields<I>(lines: &mut std::iter::Peekable<I>, depth: usize, parent: VersionRange) -> Vec<Field>
where
    I: Iterator<Item = &'static str>,
{
    let depth_of = |line: &str| (line.len() - line.trim_start().len()) / 2;
    let mut fields = Vec::new();
    while let Some(line) = lines.next_if(|line| depth_of(line) == depth) {
        let mut field = parse_field(line.trim_start(), parent);
        field.children = parse_fields(lines, depth + 1, field.versions);
        fields.push(field);
    }
    fields
}

fn parse_field(line: &str, parent: VersionRange) -> Field {
    let definition = line.split_once(": ").unwrap_or_else(|| panic!("no type in `{line}`")).1;
    let (definition, versions) = match definition.split_once(", ") {
        Some((definition, versions)) => (definition, parse_versions(versions)),
        None => (definition, parent),
    };
    let (kind, tag) = match definition.split_once(" tag ") {
        Some((kind, tag)) => (kind, Some(tag.parse().unwrap_or_else(|_| panic!("no tag in `{line}`")))),
        None => (definition, None),
    };
    let (kind, nullable) = match kind.split_once('?') {
        Some((kind, "")) => (kind, Some(versions)),
        Some((kind, nullable)) => (kind, Some(parse_versions(nullable))),
        None => (kind, None),
    };
    let (kind, is_array) = match kind.strip_prefix("[]") {
        Some(element) => (element, true),
        None => (kind, false),
    };
    let kind = match kind {
        "bool" | "int8" => Kind::Fixed(1),
        "int16" | "uint16" => Kind::Fixed(2),
        "int32" => Kind::Fixed(4),
        "int64" | "float64" => Kind::Fixed(8),
        "uuid" => Kind::Fixed(16),
        "string" => Kind::String,
        "bytes" => Kind::Bytes,
        "" if is_array => Kind::Struct,
        "{}" => Kind::Struct,
        _ => panic!("unknown type in `{line}`"),
    };
    Field { kind, is_array, nullable, tag, versions, children: Vec::new() }
}

fn parse_versions(text: &str) -> VersionRange {
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("`{text}` is no version"));
    match (text.strip_suffix('+'), text.split_once('-')) {
        (Some(min), _) => VersionRange::new(number(min), i16::MAX),
        (None, Some((min, max))) => VersionRange::new(number(min), number(max)),
        (None, None) => VersionRange::new(number(text), number(text)),
    }
}

/// What the library's structs are made of.
const DECODED_STRING_BYTES: usize = size_of::<bytes::Bytes>();
const DECODED_ARRAY_BYTES: usize = size_of::<Vec<u8>>();
/// The map of unknown tagged fields that every struct has.
const DECODED_TAGS_BYTES: usize = size_of::<std::collections::BTreeMap<i32, bytes::Bytes>>();

fn layout(fields: &[Field], version: i16, flexible: bool) -> Layout {
    let mut layout = Layout::default();
    let mut tagged = Vec::new();
    for field in fields.iter().filter(|field| field.versions.contains(version)) {
        let shape = shape(field, version, flexible);
        match field.tag {
            Some(tag) => tagged.push((tag, shape)),
            None => {
                layout.wire_bytes_min += wire_bytes_min(&shape, flexible);
                push(&mut layout.fields, shape);
            }
        }
    }
    if flexible {
        tagged.sort_by_key(|(tag, _)| *tag);
        layout.tagged = Some(tagged);
        layout.wire_bytes_min += 1;
    }
    layout.decoded_bytes = decoded_bytes(fields);
    layout
}

/// Joins runs of fixed size, so that the walk passes them at once.
fn push(fields: &mut Vec<Shape>, shape: Shape) {
    match (fields.last_mut(), shape) {
        (Some(Shape::Fixed { bytes: run }), Shape::Fixed { bytes }) => *run += bytes,
        (_, shape) => fields.push(shape),
    }
}

fn shape(field: &Field, version: i16, flexible: bool) -> Shape {
    let nullable = field.nullable.is_some_and(|versions| versions.contains(version));
    let one = |shape| Layout {
        wire_bytes_min: wire_bytes_min(&shape, flexible),
        fields: vec![shape],
        tagged: None,
        decoded_bytes: DECODED_STRING_BYTES,
    };
    match (field.kind, field.is_array) {
        (Kind::Fixed(bytes), false) => Shape::Fixed { bytes },
        (Kind::Fixed(element_bytes), true) => Shape::FixedArray { nullable, element_bytes },
        (Kind::String, false) => Shape::String { nullable },
        (Kind::String, true) => Shape::Array { nullable, element: one(Shape::String { nullable: false }) },
        (Kind::Bytes, false) => Shape::Bytes { nullable },
        (Kind::Bytes, true) => Shape::Array { nullable, element: one(Shape::Bytes { nullable: false }) },
        (Kind::Struct, false) => {
            Shape::Struct { nullable, layout: layout(&field.children, version, flexible) }
        }
        (Kind::Struct, true) => {
            Shape::Array { nullable, element: layout(&field.children, version, flexible) }
        }
    }
}

fn wire_bytes_min(shape: &Shape, flexible: bool) -> usize {
    match shape {
        Shape::Fixed { bytes } => *bytes,
        Shape::Struct { nullable: true, .. } => 1,
        Shape::Struct { nullable: false, layout } => layout.wire_bytes_min,
        Shape::String { .. } if !flexible => 2,
        Shape::Bytes { .. } | Shape::FixedArray { .. } | Shape::Array { .. } if !flexible => 4,
        Shape::String { .. } | Shape::Bytes { .. } | Shape::FixedArray { .. } | Shape::Array { .. } => 1,
    }
}

/// The library's struct holds the fields of all versions, whichever one was decoded.
fn decoded_bytes(fields: &[Field]) -> usize {
    let field = |field: &Field| match field.kind {
        _ if field.is_array => DECODED_ARRAY_BYTES,
        Kind::Fixed(bytes) => bytes,
        Kind::String | Kind::Bytes => DECODED_STRING_BYTES,
        Kind::Struct => decoded_bytes(&field.children),
    };
    (fields.iter().map(field).sum::<usize>() + DECODED_TAGS_BYTES).next_multiple_of(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_of_every_message_has_a_schema() {
        for &api_key in ApiKey::ALL {
            assert!((api_key.code() as usize) < CODES);
            let versions = api_key.kafka_versions();
            for version in versions.min..=versions.max {
                for direction in [Direction::Request, Direction::Response] {
                    let schema = schema(api_key, direction, version).unwrap();
                    assert_eq!(schema.flexible, api_key.is_flexible(version));
                    check_elements(&schema.body, 0);
                }
            }
            assert!(schema(api_key, Direction::Request, versions.max + 1).is_none());
            assert!(schema(api_key, Direction::Request, versions.min - 1).is_none());
            assert!(schema(api_key, Direction::Request, -1).is_none());
        }
    }

    /// An element of no bytes would make any count fit; a schema that nests deeply would make the walk's stack deep.
    fn check_elements(layout: &Layout, depth: usize) {
        assert!(depth < 8);
        let tagged = layout.tagged.iter().flatten().map(|(_, shape)| shape);
        for shape in layout.fields.iter().chain(tagged) {
            match shape {
                Shape::Array { element, .. } => {
                    assert!(element.wire_bytes_min > 0);
                    check_elements(element, depth + 1);
                }
                Shape::FixedArray { element_bytes, .. } => assert!(*element_bytes > 0),
                Shape::Struct { layout, .. } => check_elements(layout, depth + 1),
                Shape::Fixed { .. } | Shape::String { .. } | Shape::Bytes { .. } => {}
            }
        }
    }

    #[test]
    fn what_a_struct_costs_is_estimated_well() {
        use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
        use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
        let request = |api_key, version| &schema(api_key, Direction::Request, version).unwrap().body;
        let array = |layout: &'static Layout| {
            layout.fields.iter().find_map(|shape| match shape {
                Shape::Array { element, .. } => Some(element),
                _ => None,
            })
        };
        let topic = array(request(ApiKey::Fetch, 12)).unwrap();
        let partition = array(topic).unwrap();
        let metadata = array(request(ApiKey::Metadata, 1)).unwrap();
        for (estimate, real) in [
            (topic.decoded_bytes, size_of::<FetchTopic>()),
            (partition.decoded_bytes, size_of::<FetchPartition>()),
            (metadata.decoded_bytes, size_of::<MetadataRequestTopic>()),
        ] {
            assert!(estimate >= real && estimate <= real + 16, "{estimate} for {real}");
        }
    }
}
