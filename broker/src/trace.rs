//! Traces of requests by OpenTelemetry: off unless the settings name a collector, and then what `OTEL_*` variables say.
//!
//! A produce request is one trace: `receive`, `append`, `replicate`, `ack` under a span of its own, which continues the trace of the
//! first record that has a `traceparent` header and is linked to those of others. Off, it costs a branch for each request. On, spans
//! wait in a bounded queue for the exporter; what finds it full is dropped and counted, and no request ever waits.

mod context;
mod export;
mod otlp;
mod settings;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use moldau_model::ErrorCode;
use moldau_record::{Batches, DecompressLimit};
use tokio::sync::mpsc;

pub(crate) use context::SpanContext;
pub(crate) use export::run as export;
pub use settings::TraceSettings;

/// Traces that wait to be exported: some seconds of a busy broker's.
const QUEUE_MAX: usize = 2048;
/// Records of one partition that are looked into for a `traceparent`: producers that trace put one into each.
const RECORDS_LOOKED_AT_MAX: usize = 64;
/// What their batch may decompress to for that.
const DECOMPRESSED_BYTES_MAX: usize = 256 * 1024;
/// Links of one span; the standard's limit is 128.
const LINKS_MAX: usize = 32;
/// Steps of one request, and its span: as many random ids.
const SPANS_MAX: usize = 6;
const TRACEPARENT: &[u8] = b"traceparent";

/// What traces requests.
#[derive(Debug)]
pub struct Tracer {
    settings: TraceSettings,
    queue: mpsc::Sender<Trace>,
    counts: TraceCounts,
}

/// What became of spans.
#[derive(Debug, Default)]
pub(crate) struct TraceCounts {
    exported: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

/// A value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Number(i64),
}

/// One trace's part that happened here.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) trace_id: [u8; 16],
    /// The first is the request's own, the parent of the rest.
    pub(crate) spans: Vec<Span>,
    /// The producer's span that the first continues.
    pub(crate) parent: Option<SpanContext>,
    pub(crate) links: Vec<SpanContext>,
    pub(crate) attributes: Vec<(&'static str, Value)>,
    pub(crate) error: Option<ErrorCode>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) id: [u8; 8],
    pub(crate) name: &'static str,
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
}

/// A request that is traced, until its answer goes to the socket.
#[derive(Debug)]
pub struct RequestTrace {
    tracer: Arc<Tracer>,
    trace: Option<Trace>,
    started: Instant,
    started_ns: u64,
    ids: [u8; SPANS_MAX * 8],
}

impl Tracer {
    /// A tracer, and the queue that [`export`] empties.
    pub(crate) fn new(settings: TraceSettings) -> (Arc<Self>, mpsc::Receiver<Trace>) {
        let (queue, traces) = mpsc::channel(QUEUE_MAX);
        (Arc::new(Self { settings, queue, counts: TraceCounts::default() }), traces)
    }

    /// Spans that were exported, dropped for want of room, and not taken by the collector.
    pub(crate) fn counts(&self) -> [(&'static str, u64); 3] {
        let TraceCounts { exported, dropped, failed } = &self.counts;
        [("exported", exported), ("dropped", dropped), ("failed", failed)]
            .map(|(outcome, count)| (outcome, count.load(Ordering::Relaxed)))
    }

    /// Begins to trace a request that came at `received_at`, if it is one of those that are. `records` are its batches.
    pub(crate) fn begin<'a>(
        self: &Arc<Self>,
        name: &'static str,
        received_at: Instant,
        records: impl Iterator<Item = &'a [u8]>,
    ) -> Option<Box<RequestTrace>> {
        let mut random = [0; 16 + SPANS_MAX * 8];
        // Without random numbers there are no ids, and so no trace.
        getrandom::fill(&mut random).ok()?;
        let (new_id, ids) = random.split_first_chunk::<16>()?;
        // The trace that decides is the producer's, where there is one.
        let mut contexts = producers(records);
        let parent = contexts.first().copied();
        if !self.settings.sampler.samples(parent, &parent.map_or(*new_id, |parent| parent.trace_id)) {
            return None;
        }
        contexts.drain(..usize::from(parent.is_some()));
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ns = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let started_ns = now_ns.saturating_sub(nanoseconds(received_at.elapsed()));
        let mut request = Box::new(RequestTrace {
            tracer: Arc::clone(self),
            trace: Some(Trace {
                trace_id: parent.map_or(*new_id, |parent| parent.trace_id),
                spans: Vec::with_capacity(SPANS_MAX),
                parent,
                links: contexts,
                attributes: Vec::new(),
                error: None,
            }),
            started: received_at,
            started_ns,
            ids: ids.try_into().ok()?,
        });
        request.open(name, started_ns);
        request.open("receive", started_ns);
        Some(request)
    }
}

/// The spans that records were produced in, each once, in their order.
fn producers<'a>(records: impl Iterator<Item = &'a [u8]>) -> Vec<SpanContext> {
    let mut found: Vec<SpanContext> = Vec::new();
    for bytes in records {
        // What cannot be read is the append's business.
        let Some(Ok(batch)) = Batches::new(bytes).next() else { continue };
        let Ok(set) = batch.records(DecompressLimit(DECOMPRESSED_BYTES_MAX)) else { continue };
        for record in set.iter().take(RECORDS_LOOKED_AT_MAX).map_while(Result::ok) {
            let headers = record.headers;
            let told = headers.filter(|header| header.key == TRACEPARENT).filter_map(|header| header.value);
            for context in told.filter_map(SpanContext::parse) {
                if found.len() <= LINKS_MAX && !found.contains(&context) {
                    found.push(context);
                }
            }
        }
    }
    found
}

fn nanoseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl RequestTrace {
    fn now_ns(&self) -> u64 {
        self.started_ns.saturating_add(nanoseconds(self.started.elapsed()))
    }

    fn open(&mut self, name: &'static str, start_ns: u64) {
        let Some(trace) = &mut self.trace else { return };
        let at = trace.spans.len() * 8;
        // No request has more steps than there are ids.
        let Some(id) = self.ids.get(at..at + 8).and_then(|id| id.try_into().ok()) else { return };
        trace.spans.push(Span { id, name, start_ns, end_ns: 0 });
    }

    fn close_step(&mut self, now_ns: u64) {
        if let Some(step) = self.trace.as_mut().and_then(|trace| trace.spans.last_mut()) {
            step.end_ns = now_ns;
        }
    }

    /// The step before ends, this one begins.
    pub(crate) fn step(&mut self, name: &'static str) {
        let now_ns = self.now_ns();
        self.close_step(now_ns);
        self.open(name, now_ns);
    }

    pub(crate) fn attribute(&mut self, name: &'static str, value: Value) {
        if let Some(trace) = &mut self.trace {
            trace.attributes.push((name, value));
        }
    }

    /// The answer tells of an error; the first counts.
    pub(crate) fn note_error(&mut self, error: ErrorCode) {
        if let Some(trace) = &mut self.trace {
            trace.error.get_or_insert(error);
        }
    }
}

/// The answer goes to the socket, or there is nobody any more who waits for it.
impl Drop for RequestTrace {
    fn drop(&mut self) {
        let now_ns = self.now_ns();
        self.close_step(now_ns);
        let Some(mut trace) = self.trace.take() else { return };
        if let Some(root) = trace.spans.first_mut() {
            root.end_ns = now_ns;
        }
        let spans = trace.spans.len() as u64;
        if self.tracer.queue.try_send(trace).is_err() {
            self.tracer.counts.dropped.fetch_add(spans, Ordering::Relaxed);
        }
    }
}

/// What the collector is sent.
pub(crate) fn encode(settings: &TraceSettings, traces: &[Trace]) -> Bytes {
    otlp::request(&settings.resource, traces)
}

#[cfg(test)]
mod tests;
