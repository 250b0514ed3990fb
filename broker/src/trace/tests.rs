//! Traces of requests, up to the bytes that a collector gets.

use std::collections::BTreeMap;
use std::time::Duration;

use moldau_model::{ErrorCode, TimestampMs};
use moldau_record::{BatchBuilder, Compression};

use super::*;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const OTHER: &str = "00-1af7651916cd43dd8448eb211c80319c-c7ad6b7169203331-00";

fn tracer(sampler: &str) -> (Arc<Tracer>, mpsc::Receiver<Trace>) {
    let settings = [("otel.exporter.otlp.endpoint", "http://127.0.0.1:1"), ("otel.traces.sampler", sampler)];
    let settings: BTreeMap<String, String> =
        settings.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Tracer::new(TraceSettings::of(&settings, 1).unwrap().unwrap())
}

fn batch(compression: Compression, traceparents: &[&str]) -> Vec<u8> {
    let mut builder = BatchBuilder::new().compression(compression);
    for traceparent in traceparents {
        let value = (!traceparent.is_empty()).then_some(traceparent.as_bytes());
        let headers = [("x", None), ("traceparent", value)];
        builder.append(TimestampMs(0), None, Some(b"v"), &headers).unwrap();
    }
    builder.build().unwrap()
}

fn finished(tracer: &Arc<Tracer>, traces: &mut mpsc::Receiver<Trace>, records: &[u8]) -> Option<Trace> {
    let mut request = tracer.begin("produce", Instant::now(), [records].into_iter())?;
    for step in ["append", "replicate", "ack"] {
        request.step(step);
    }
    request.attribute("a", Value::Number(7));
    request.note_error(ErrorCode::NotEnoughReplicas);
    request.note_error(ErrorCode::InvalidRecord);
    drop(request);
    traces.try_recv().ok()
}

#[test]
fn steps_follow_on_one_another_under_the_span_of_the_request() {
    let (tracer, mut traces) = tracer("always_on");
    let trace = finished(&tracer, &mut traces, b"").unwrap();
    let names: Vec<_> = trace.spans.iter().map(|span| span.name).collect();
    assert_eq!(names, ["produce", "receive", "append", "replicate", "ack"]);
    for pair in trace.spans[1..].windows(2) {
        assert_eq!(pair[0].end_ns, pair[1].start_ns);
        assert_ne!(pair[0].id, pair[1].id);
    }
    assert_eq!(trace.spans[0].start_ns, trace.spans[1].start_ns);
    assert_eq!(trace.spans[0].end_ns, trace.spans[4].end_ns);
    assert_eq!((trace.parent, trace.error), (None, Some(ErrorCode::NotEnoughReplicas)));
}

#[test]
fn a_trace_goes_on_from_the_first_record_and_is_linked_to_the_others() {
    let (tracer, mut traces) = tracer("parentbased_always_on");
    for compression in [Compression::None, Compression::Zstd] {
        let records = batch(compression, &["", "nonsense", PARENT, PARENT, OTHER]);
        let trace = finished(&tracer, &mut traces, &records).unwrap();
        let parent = SpanContext::parse(PARENT.as_bytes()).unwrap();
        assert_eq!(trace.trace_id, parent.trace_id);
        assert_eq!(trace.parent, Some(parent));
        assert_eq!(trace.links, [SpanContext::parse(OTHER.as_bytes()).unwrap()]);
    }
    // Its producer did not want that trace.
    assert!(finished(&tracer, &mut traces, &batch(Compression::None, &[OTHER, PARENT])).is_none());
}

#[test]
fn who_finds_the_queue_full_is_counted_and_does_not_wait() {
    let (tracer, _traces) = tracer("always_on");
    for _ in 0..=QUEUE_MAX {
        drop(tracer.begin("produce", Instant::now(), std::iter::empty()));
    }
    assert_eq!(tracer.counts()[1], ("dropped", 2));
}

/// A message's fields: numbers and wire types, with the bytes of those that have a length.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut all = Vec::new();
    let varint = |bytes: &mut &[u8]| {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    };
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let length = match tag & 7 {
            0 => {
                all.push((tag >> 3, varint(&mut bytes).to_le_bytes().to_vec()));
                continue;
            }
            1 => 8,
            2 => varint(&mut bytes) as usize,
            5 => 4,
            other => panic!("wire type {other}"),
        };
        all.push((tag >> 3, bytes[..length].to_vec()));
        bytes = &bytes[length..];
    }
    all
}

fn one(bytes: &[u8], field: u64) -> Vec<u8> {
    fields(bytes).into_iter().find(|(number, _)| *number == field).unwrap().1
}

#[test]
fn a_collector_gets_what_the_standards_messages_say() {
    let (tracer, mut traces) = tracer("always_on");
    let records = batch(Compression::None, &[PARENT, OTHER]);
    let trace = finished(&tracer, &mut traces, &records).unwrap();
    let request = encode(&tracer.settings, &[trace]);
    let resource_spans = one(&request, 1);
    let attributes = fields(&one(&resource_spans, 1));
    let names: Vec<_> = attributes.iter().map(|(_, attribute)| one(attribute, 1)).collect();
    assert!(names.contains(&b"service.name".to_vec()), "{names:?}");
    let spans: Vec<_> = fields(&one(&resource_spans, 2))
        .into_iter()
        .filter(|(number, _)| *number == 2)
        .map(|(_, span)| span)
        .collect();
    assert_eq!(spans.len(), 5);
    let parent = SpanContext::parse(PARENT.as_bytes()).unwrap();
    let root = &spans[0];
    assert_eq!((one(root, 1), one(root, 4)), (parent.trace_id.to_vec(), parent.span_id.to_vec()));
    assert_eq!(one(root, 5), b"produce");
    assert_eq!(one(&one(root, 13), 1)[0], 0x1a);
    assert_eq!(one(&one(root, 15), 3)[0], 2);
    for (step, span) in ["receive", "append", "replicate", "ack"].into_iter().zip(&spans[1..]) {
        assert_eq!(one(span, 5), step.as_bytes());
        assert_eq!(one(span, 4), one(root, 2));
        assert_eq!(one(span, 7).len(), 8);
    }
}

/// Reads a request's head, and whatever else comes with it.
async fn head(stream: &mut tokio::net::TcpStream) -> String {
    use tokio::io::AsyncReadExt as _;
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        stream.read_buf(&mut head).await.unwrap();
    }
    String::from_utf8_lossy(&head).into_owned()
}

fn tracer_to(collector: &tokio::net::TcpListener, delay_ms: &str) -> (Arc<Tracer>, mpsc::Receiver<Trace>) {
    let settings = [
        ("otel.exporter.otlp.endpoint", format!("http://{}", collector.local_addr().unwrap())),
        ("otel.exporter.otlp.headers", "api-key=k".to_owned()),
        ("otel.bsp.schedule.delay", delay_ms.to_owned()),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value)).into();
    Tracer::new(TraceSettings::of(&settings, 1).unwrap().unwrap())
}

#[tokio::test]
async fn what_waits_for_company_when_the_broker_stops_is_exported() {
    use tokio::io::AsyncWriteExt as _;
    let collector = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (tracer, traces) = tracer_to(&collector, "3600000");
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let exporter = tokio::spawn(export(Arc::clone(&tracer), traces, stopping));
    drop(tracer.begin("produce", Instant::now(), std::iter::empty()));
    // The exporter has it, and waits for more.
    let taken = async {
        while tracer.queue.capacity() < QUEUE_MAX {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), taken).await.unwrap();
    stop.send_replace(true);
    let (mut stream, _) =
        tokio::time::timeout(Duration::from_secs(30), collector.accept()).await.unwrap().unwrap();
    head(&mut stream).await;
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    exporter.await.unwrap();
    assert_eq!(tracer.counts().map(|(_, count)| count), [2, 0, 0]);
}

#[tokio::test]
async fn a_collector_is_posted_to_and_one_that_refuses_is_not_asked_again() {
    use tokio::io::AsyncWriteExt as _;
    let collector = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (tracer, traces) = tracer_to(&collector, "1");
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let exporter = tokio::spawn(export(Arc::clone(&tracer), traces, stopping));
    for (answer, counts) in [("200 OK", [2, 0, 0]), ("400 Bad Request", [2, 0, 2])] {
        drop(tracer.begin("produce", Instant::now(), std::iter::empty()));
        let (mut stream, _) = collector.accept().await.unwrap();
        let text = head(&mut stream).await;
        assert!(text.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{text}");
        assert!(text.contains("\r\napi-key: k\r\n"), "{text}");
        stream.write_all(format!("HTTP/1.1 {answer}\r\n\r\n").as_bytes()).await.unwrap();
        let counted = async {
            while tracer.counts().map(|(_, count)| count) != counts {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), counted).await.unwrap();
    }
    stop.send_replace(true);
    exporter.await.unwrap();
}
