//! Bodies and frames for tests: valid ones of every API and version, and ones that lie. Made along the same schemas that
//! [`check_request`](crate::check_request) walks, so that a lie stands where a length, a count, a null or a tag stands,
//! and what is around it is right. Everything follows from the seed.

use crate::api_key::ApiKey;
use crate::schema::{Direction, Layout, Schema, Shape, schema};

/// Makes messages. The same seed makes the same ones.
#[derive(Clone, Debug)]
pub struct MessageGenerator {
    random: Random,
    flexible: bool,
    /// How many places that can lie are still to come before the one that does; `None` for an honest message.
    honest_places_left: Option<u32>,
    /// How many more elements the message may get.
    elements_left: u32,
}

impl MessageGenerator {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { random: Random(seed), flexible: false, honest_places_left: None, elements_left: 0 }
    }

    /// One of the APIs and one of its versions.
    pub fn api(&mut self) -> (ApiKey, i16) {
        let place = self.random.below(ApiKey::ALL.len() as u32) as usize;
        let api_key = ApiKey::ALL.get(place).copied().unwrap_or(ApiKey::Metadata);
        let versions = api_key.kafka_versions();
        let version = versions.min + self.random.below((versions.max - versions.min + 1) as u32) as i16;
        (api_key, version)
    }

    /// The body of a request that is right in form, though not in sense. Empty for an unknown version.
    pub fn valid_request(&mut self, api_key: ApiKey, version: i16) -> Vec<u8> {
        self.message(schema(api_key, Direction::Request, version), None)
    }

    /// The body of a response that is right in form.
    pub fn valid_response(&mut self, api_key: ApiKey, version: i16) -> Vec<u8> {
        self.message(schema(api_key, Direction::Response, version), None)
    }

    /// The body of a request with one lie in it, or with bytes changed, cut off or added. It may be valid by chance.
    pub fn hostile_request(&mut self, api_key: ApiKey, version: i16) -> Vec<u8> {
        self.hostile(schema(api_key, Direction::Request, version))
    }

    /// The body of a response, spoilt likewise.
    pub fn hostile_response(&mut self, api_key: ApiKey, version: i16) -> Vec<u8> {
        self.hostile(schema(api_key, Direction::Response, version))
    }

    /// A whole frame around a body: size prefix, header, body.
    #[must_use]
    pub fn frame(api_key: ApiKey, version: i16, correlation_id: i32, body: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 4];
        frame.extend_from_slice(&api_key.code().to_be_bytes());
        frame.extend_from_slice(&version.to_be_bytes());
        frame.extend_from_slice(&correlation_id.to_be_bytes());
        frame.extend_from_slice(&[0, 4, b'f', b'u', b'z', b'z']);
        if api_key.request_header_version(version) >= 2 {
            frame.push(0);
        }
        frame.extend_from_slice(body);
        let size = (frame.len() - 4) as u32;
        frame.splice(..4, size.to_be_bytes());
        frame
    }

    fn message(&mut self, schema: Option<&Schema>, honest_places: Option<u32>) -> Vec<u8> {
        let mut out = Vec::new();
        let Some(schema) = schema else { return out };
        self.flexible = schema.flexible;
        self.honest_places_left = honest_places;
        self.elements_left = 200;
        self.layout(&schema.body, &mut out);
        out
    }

    fn hostile(&mut self, schema: Option<&Schema>) -> Vec<u8> {
        if self.random.below(4) > 0 {
            let honest_places = self.random.below(24);
            return self.message(schema, Some(honest_places));
        }
        let mut body = self.message(schema, None);
        self.spoil(&mut body);
        body
    }

    /// Changes bytes without knowing what they mean.
    fn spoil(&mut self, body: &mut Vec<u8>) {
        let place = self.random.below(body.len() as u32 + 1) as usize;
        match self.random.below(4) {
            0 => body.truncate(place),
            1 => body.extend_from_slice(&[0; 3]),
            2 => drop(body.splice(place..place, [0xff; 5])),
            _ => {
                for _ in 0..=self.random.below(4) {
                    let place = self.random.below(body.len() as u32) as usize;
                    let value = self.random.next() as u8;
                    if let Some(byte) = body.get_mut(place) {
                        *byte = value;
                    }
                }
            }
        }
    }

    fn layout(&mut self, layout: &Layout, out: &mut Vec<u8>) {
        for shape in &layout.fields {
            self.shape(shape, out);
        }
        if let Some(known) = &layout.tagged {
            self.tagged(known, out);
        }
    }

    fn shape(&mut self, shape: &Shape, out: &mut Vec<u8>) {
        match shape {
            Shape::Fixed { bytes } => self.number(*bytes, out),
            Shape::String { nullable } => {
                let text = self.text();
                let length = if self.null(*nullable) { None } else { Some(text.len()) };
                self.string_length(length, text, out);
            }
            Shape::Bytes { nullable } => {
                let bytes = self.text();
                let length = if self.null(*nullable) { None } else { Some(bytes.len()) };
                self.length(length, out);
                out.extend_from_slice(if length.is_some() { bytes.as_bytes() } else { b"" });
            }
            Shape::Struct { nullable, layout } => {
                let null = self.null(*nullable);
                if *nullable {
                    let honest = if null { 0xff } else { 1 };
                    out.push(if self.lies() { self.random.next() as u8 } else { honest });
                }
                if !null {
                    self.layout(layout, out);
                }
            }
            Shape::FixedArray { nullable, element_bytes } => {
                let Some(count) = self.count(*nullable, out) else { return };
                for _ in 0..count {
                    self.number(*element_bytes, out);
                }
            }
            Shape::Array { nullable, element } => {
                let Some(count) = self.count(*nullable, out) else { return };
                for _ in 0..count {
                    self.layout(element, out);
                }
            }
        }
    }

    fn tagged(&mut self, known: &[(u32, Shape)], out: &mut Vec<u8>) {
        let mut fields: Vec<(u32, Vec<u8>)> = Vec::new();
        for (tag, shape) in known {
            if self.random.below(2) == 0 {
                let mut value = Vec::new();
                self.shape(shape, &mut value);
                fields.push((*tag, value));
            }
        }
        if self.random.below(8) == 0 {
            fields.push((1_000 + self.random.below(5), vec![7; self.random.below(4) as usize]));
        }
        if self.lies() {
            match self.random.below(3) {
                0 => fields.push((0, Vec::new())),
                1 => fields.iter_mut().for_each(|(_, value)| value.push(0)),
                _ => return self.hostile_varint(out),
            }
        }
        put_varint(out, fields.len() as u32);
        for (tag, value) in fields {
            put_varint(out, tag);
            if self.lies() {
                self.hostile_varint(out)
            } else {
                put_varint(out, value.len() as u32)
            }
            out.extend_from_slice(&value);
        }
    }

    fn count(&mut self, nullable: bool, out: &mut Vec<u8>) -> Option<u32> {
        let count = self.random.below(4).min(self.elements_left);
        self.elements_left -= count;
        let count = if self.null(nullable) { None } else { Some(count) };
        self.length(count.map(|count| count as usize), out);
        count
    }

    fn string_length(&mut self, length: Option<usize>, text: &str, out: &mut Vec<u8>) {
        if self.flexible {
            self.length(length, out);
        } else if self.lies() {
            let lie = self.random.pick(&[i16::MAX, -1, -2, i16::MIN, 0, 1_000]);
            out.extend_from_slice(&lie.to_be_bytes());
        } else {
            out.extend_from_slice(&length.map_or(-1, |length| length as i16).to_be_bytes());
        }
        if length.is_some() {
            out.extend_from_slice(text.as_bytes());
        }
    }

    fn length(&mut self, length: Option<usize>, out: &mut Vec<u8>) {
        match (self.lies(), self.flexible) {
            (true, true) => self.hostile_varint(out),
            (true, false) => {
                let lie = self.random.pick(&[i32::MAX, -1, -2, i32::MIN, 0, 1 << 24, 70_000]);
                out.extend_from_slice(&lie.to_be_bytes());
            }
            (false, true) => put_varint(out, length.map_or(0, |length| length as u32 + 1)),
            (false, false) => out.extend_from_slice(&length.map_or(-1, |length| length as i32).to_be_bytes()),
        }
    }

    fn hostile_varint(&mut self, out: &mut Vec<u8>) {
        let lies: [&[u8]; 7] = [
            &[0],
            &[1],
            &[0xff, 0xff, 0xff, 0xff, 0x0f],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            &[0x80, 0x80, 0x80, 0x80, 0x70],
            &[0xff, 0xff, 0x03],
            &[0x82, 0x80, 0x00],
        ];
        out.extend_from_slice(self.random.pick(&lies));
    }

    /// Bytes of a number, or of a run of them.
    fn number(&mut self, bytes: usize, out: &mut Vec<u8>) {
        let value = match self.random.below(6) {
            0 => i64::MAX.to_be_bytes(),
            1 => (-1i64).to_be_bytes(),
            2 => [0x80, 0, 0, 0, 0, 0, 0, 0],
            3 => [0, 0, 0, 0, 0, 0, 0, 1],
            4 => [0; 8],
            _ => self.random.next().to_be_bytes(),
        };
        out.extend(value.iter().cycle().take(bytes));
    }

    /// A short text: bytes are made of it too.
    fn text(&mut self) -> &'static str {
        self.random.pick(&[
            "",
            "a",
            "topic",
            "__consumer_offsets",
            "..",
            "vltava\u{2013}moldau",
            "0123456789abcdef",
        ])
    }

    fn null(&mut self, nullable: bool) -> bool {
        nullable && self.random.below(4) == 0
    }

    /// Whether it is here that the message lies.
    fn lies(&mut self) -> bool {
        match self.honest_places_left {
            None => false,
            Some(0) => {
                self.honest_places_left = None;
                true
            }
            Some(left) => {
                self.honest_places_left = Some(left - 1);
                false
            }
        }
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// SplitMix64: enough to choose between cases, and the same everywhere.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 where there is none.
    fn below(&mut self, bound: u32) -> u32 {
        (((self.next() >> 32) * u64::from(bound)) >> 32) as u32
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u32) as usize]
    }
}
