//! `ExportTraceServiceRequest` of OTLP, in protobuf. Few fields of few messages: written by hand, as `telemetry/otlp` reads.

use bytes::{BufMut as _, Bytes};

use super::{SpanContext, Trace, Value};

const LENGTH_DELIMITED: u32 = 2;
const FIXED64: u32 = 1;
const FIXED32: u32 = 5;
const VARINT: u32 = 0;

/// `SPAN_KIND_INTERNAL` and `SPAN_KIND_SERVER`.
const KIND_INTERNAL: u64 = 1;
const KIND_SERVER: u64 = 2;
const STATUS_ERROR: u64 = 2;
/// The flag of a context that is sampled, and those that say that a context came from another process.
const FLAGS_SAMPLED: u32 = 1;
const FLAGS_IS_REMOTE: u32 = 0x300;

/// A message in the making.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn tag(&mut self, field: u32, wire_type: u32) {
        self.varint(u64::from(field << 3 | wire_type));
    }

    fn bytes(mut self, field: u32, bytes: &[u8]) -> Self {
        self.tag(field, LENGTH_DELIMITED);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn message(self, field: u32, message: &Self) -> Self {
        self.bytes(field, &message.0)
    }

    fn messages(self, field: u32, messages: impl Iterator<Item = Self>) -> Self {
        messages.fold(self, |all, message| all.message(field, &message))
    }

    fn number(mut self, field: u32, value: u64) -> Self {
        self.tag(field, VARINT);
        self.varint(value);
        self
    }

    fn fixed64(mut self, field: u32, value: u64) -> Self {
        self.tag(field, FIXED64);
        self.0.put_u64_le(value);
        self
    }

    fn fixed32(mut self, field: u32, value: u32) -> Self {
        self.tag(field, FIXED32);
        self.0.put_u32_le(value);
        self
    }
}

/// What a collector is sent for these traces.
pub(super) fn request(resource: &[(String, String)], traces: &[Trace]) -> Bytes {
    let resource = resource.iter().map(|(name, value)| text_attribute(name, value));
    let resource = Message::default().messages(1, resource);
    let scope = Message::default().bytes(1, b"moldau-broker").bytes(2, env!("CARGO_PKG_VERSION").as_bytes());
    let scope_spans = Message::default().message(1, &scope).messages(2, traces.iter().flat_map(spans));
    let resource_spans = Message::default().message(1, &resource).message(2, &scope_spans);
    Bytes::from(Message::default().message(1, &resource_spans).0)
}

fn spans(trace: &Trace) -> impl Iterator<Item = Message> {
    let root = trace.spans.first().map(|root| root.id).unwrap_or_default();
    trace.spans.iter().enumerate().map(move |(index, span)| {
        let is_root = index == 0;
        let parent = if is_root { trace.parent.map(|parent| parent.span_id) } else { Some(root) };
        let flags = match trace.parent.filter(|_| is_root) {
            Some(_) => FLAGS_SAMPLED | FLAGS_IS_REMOTE,
            None => FLAGS_SAMPLED,
        };
        let mut message = Message::default().bytes(1, &trace.trace_id).bytes(2, &span.id);
        if let Some(parent) = parent {
            message = message.bytes(4, &parent);
        }
        message = message
            .bytes(5, span.name.as_bytes())
            .number(6, if is_root { KIND_SERVER } else { KIND_INTERNAL })
            .fixed64(7, span.start_ns)
            .fixed64(8, span.end_ns);
        if is_root {
            message = message.messages(9, trace.attributes.iter().map(attribute));
            message = message.messages(13, trace.links.iter().map(link));
            if let Some(error) = trace.error {
                message = message.message(9, &text_attribute("error.type", &error.to_string()));
                let status =
                    Message::default().bytes(2, error.to_string().as_bytes()).number(3, STATUS_ERROR);
                message = message.message(15, &status);
            }
        }
        message.fixed32(16, flags)
    })
}

fn link(context: &SpanContext) -> Message {
    let flags = FLAGS_IS_REMOTE | if context.is_sampled { FLAGS_SAMPLED } else { 0 };
    Message::default().bytes(1, &context.trace_id).bytes(2, &context.span_id).fixed32(6, flags)
}

fn attribute((name, value): &(&'static str, Value)) -> Message {
    match value {
        Value::Text(text) => text_attribute(name, text),
        Value::Number(number) => key_value(name, &Message::default().number(3, number.cast_unsigned())),
    }
}

fn text_attribute(name: &str, text: &str) -> Message {
    key_value(name, &Message::default().bytes(1, text.as_bytes()))
}

fn key_value(name: &str, value: &Message) -> Message {
    Message::default().bytes(1, name.as_bytes()).message(2, value)
}
