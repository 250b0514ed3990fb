//! Connections of the probes, and what is counted of them.

use std::net::{TcpListener, TcpStream};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::Result;
use crate::wire::SILENCE_MAX;

#[derive(Clone, Copy)]
pub(super) struct Figures {
    pub(super) mb_s: f64,
    pub(super) cpu_s_gb: f64,
    /// Of the processor, for each frame.
    pub(super) cpu_us: f64,
}

impl Figures {
    /// Of two ways to do the same, the limit is what the better one reaches, figure by figure.
    pub(super) fn better(self, other: Self) -> Self {
        Self {
            mb_s: self.mb_s.max(other.mb_s),
            cpu_s_gb: self.cpu_s_gb.min(other.cpu_s_gb),
            cpu_us: self.cpu_us.min(other.cpu_us),
        }
    }

    /// Others worked for the same.
    pub(super) fn and_cpu(self, seconds: f64, bytes: usize, frames: usize) -> Self {
        Self {
            cpu_s_gb: self.cpu_s_gb + seconds / (bytes as f64 / 1e9),
            cpu_us: self.cpu_us + seconds * 1e6 / frames.max(1) as f64,
            ..self
        }
    }
}

/// How much one thread has done, for which another waits.
#[derive(Default)]
pub(super) struct Count {
    count: Mutex<usize>,
    grew: Condvar,
}

impl Count {
    pub(super) fn grow(&self) {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.grew.notify_one();
    }

    /// Waits until it is more than this.
    pub(super) fn beyond(&self, seen: usize) -> usize {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        while *count <= seen {
            count = self.grew.wait(count).unwrap_or_else(PoisonError::into_inner);
        }
        *count
    }
}

pub(super) fn pair() -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    for stream in [&server, &client] {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        stream.set_write_timeout(Some(SILENCE_MAX))?;
    }
    Ok((server, client))
}

pub(super) fn figures(cpu_seconds: f64, took: Duration, bytes: usize, frames: usize) -> Figures {
    Figures {
        mb_s: bytes as f64 / 1e6 / took.as_secs_f64(),
        cpu_s_gb: cpu_seconds / (bytes as f64 / 1e9),
        cpu_us: cpu_seconds * 1e6 / frames.max(1) as f64,
    }
}

/// What this thread has had of a processor.
pub(super) fn cpu_seconds() -> Result<f64> {
    cpu_seconds_of("thread-self")
}

/// What a thread has had, by its folder in /proc.
pub(super) fn cpu_seconds_of(thread: &str) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{thread}/schedstat"))?;
    let nanoseconds: f64 = text.split_whitespace().next().ok_or("no schedstat")?.parse()?;
    Ok(nanoseconds / 1e9)
}
