//! The exporter: takes traces off the queue and posts them to the collector, some at a time, until the broker stops.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use super::{Trace, TraceSettings, Tracer, encode};
use crate::net;

/// Traces in one request: some hundred kilobytes at most.
const BATCH_MAX: usize = 256;
/// A collector that is not there, or asks for patience, is asked so many times in all. Then the batch is dropped: there will be
/// others, and the queue fills meanwhile.
const TRIES_MAX: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);
/// Of the answer the first line is read.
const HEAD_BYTES_MAX: usize = 1024;
/// A stop waits so long for what is left.
const LAST_LIMIT: Duration = Duration::from_secs(2);

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("no answer in time")]
    Timeout,
    #[error("the answer is not HTTP")]
    NotHttp,
    #[error("it answers {0}")]
    Status(u16),
}

impl ExportError {
    /// The standard names these; anything else would be refused again.
    fn is_worth_a_retry(&self) -> bool {
        match self {
            Self::Io(_) | Self::Timeout => true,
            Self::Status(status) => matches!(status, 429 | 502 | 503 | 504),
            Self::NotHttp => false,
        }
    }
}

/// Exports until `stop` says so, which it does once no request is left; and then what there is, for so long as a stop may take.
pub(crate) async fn run(
    tracer: Arc<Tracer>,
    mut traces: mpsc::Receiver<Trace>,
    mut stop: watch::Receiver<bool>,
) {
    let mut was_told = false;
    // Outside of what the stop ends: what is in it then is exported by what follows.
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            () = gather(&mut batch, &mut traces, tracer.settings.schedule_delay) => {}
            () = net::stopped(&mut stop) => break,
        }
        let is_stopped = {
            let exporting = export(&tracer, &batch, &mut was_told);
            tokio::pin!(exporting);
            tokio::select! {
                () = &mut exporting => false,
                () = net::stopped(&mut stop) => {
                    // Half an exchange says nothing: it may have been taken, or not.
                    if tokio::time::timeout(LAST_LIMIT, &mut exporting).await.is_err() {
                        tracer.counts.failed.fetch_add(count(&batch), Ordering::Relaxed);
                    }
                    true
                }
            }
        };
        batch.clear();
        if is_stopped {
            break;
        }
    }
    while let Ok(trace) = traces.try_recv() {
        batch.push(trace);
    }
    let deadline = tokio::time::Instant::now() + LAST_LIMIT;
    for batch in batch.chunks(BATCH_MAX) {
        // Who stops does not wait for long.
        if tokio::time::timeout_at(deadline, export(&tracer, batch, &mut was_told)).await.is_err() {
            tracer.counts.failed.fetch_add(count(batch), Ordering::Relaxed);
        }
    }
}

/// Adds the next traces: those that come within a while of the first, or as many as go into one request. The queue closes only
/// with the tracer, whose user this is.
async fn gather(batch: &mut Vec<Trace>, traces: &mut mpsc::Receiver<Trace>, delay: Duration) {
    match traces.recv().await {
        Some(first) => batch.push(first),
        None => std::future::pending::<()>().await,
    }
    let deadline = tokio::time::Instant::now() + delay;
    while batch.len() < BATCH_MAX {
        match tokio::time::timeout_at(deadline, traces.recv()).await {
            Ok(Some(trace)) => batch.push(trace),
            Ok(None) | Err(_) => break,
        }
    }
}

fn count(batch: &[Trace]) -> u64 {
    batch.iter().map(|trace| trace.spans.len() as u64).sum()
}

async fn export(tracer: &Tracer, batch: &[Trace], was_told: &mut bool) {
    let (settings, spans) = (&tracer.settings, count(batch));
    let body = encode(settings, batch);
    let mut tries = 1;
    loop {
        let outcome = tokio::time::timeout(settings.timeout, post(settings, &body)).await;
        match outcome.unwrap_or(Err(ExportError::Timeout)) {
            Ok(()) => {
                *was_told = false;
                tracer.counts.exported.fetch_add(spans, Ordering::Relaxed);
                return;
            }
            Err(error) if error.is_worth_a_retry() && tries < TRIES_MAX => {
                tokio::time::sleep(PAUSE * tries).await;
                tries += 1;
            }
            Err(error) => {
                if !std::mem::replace(was_told, true) {
                    let collector = &settings.address;
                    tracing::warn!(collector, %error, "traces are not taken; told once until some are");
                }
                tracer.counts.failed.fetch_add(spans, Ordering::Relaxed);
                return;
            }
        }
    }
}

/// One request on a connection of its own: there is one every few seconds.
async fn post(settings: &TraceSettings, body: &Bytes) -> Result<(), ExportError> {
    let mut stream = TcpStream::connect(&settings.address).await?;
    stream.write_all(head(settings, body.len()).as_bytes()).await?;
    stream.write_all(body).await?;
    let mut answer = Vec::new();
    while answer.len() < HEAD_BYTES_MAX && !answer.contains(&b'\n') {
        if stream.read_buf(&mut answer).await? == 0 {
            break;
        }
    }
    let status = status(&answer).ok_or(ExportError::NotHttp)?;
    if (200..300).contains(&status) { Ok(()) } else { Err(ExportError::Status(status)) }
}

fn head(settings: &TraceSettings, body_bytes: usize) -> String {
    let TraceSettings { address, path, headers, .. } = settings;
    let version = env!("CARGO_PKG_VERSION");
    let mut head = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: moldau/{version}\r\nConnection: close\r\n\
         Content-Type: application/x-protobuf\r\nContent-Length: {body_bytes}\r\n"
    );
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head.push_str("\r\n");
    head
}

/// The number in `HTTP/1.1 200 OK`.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|c| *c == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_from_the_first_line() {
        assert_eq!(status(b"HTTP/1.1 200 OK\r\nx: y\r\n"), Some(200));
        assert_eq!(status(b"HTTP/1.0 503\r\n"), Some(503));
        assert_eq!(status(b"SSH-2.0\r\n"), None);
        assert_eq!(status(b""), None);
    }
}
