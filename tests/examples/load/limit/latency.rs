//! The latency that is left where nothing but the least is done: one thread receives, sums and writes; another syncs, answers the
//! producer and hands on to the consumer. What comes during a sync is covered by the next one.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};

use rustix::thread::{Pid, gettid};

use super::ANSWER_BYTES;
use super::disk::open;
use super::measure::{cpu_seconds_of, pair};
use crate::Result;
use crate::latency::{Schedule, Sink, Source, measure};
use crate::wire::answer;

const FILE: &str = "limit-latency";
const SIZE_BYTES: usize = 4;

pub(crate) fn run(directory: &Path, schedule: Schedule) -> Result<()> {
    let mut file = open(directory, FILE)?;
    println!("{}", Server::default().probe(&mut file, schedule)?);
    std::fs::remove_file(directory.join(FILE))?;
    Ok(())
}

/// What was written and is not durable yet: whole frames.
#[derive(Default)]
struct Written {
    frames: usize,
    bytes: Vec<u8>,
    is_last: bool,
}

#[derive(Default)]
pub(super) struct Server {
    written: Mutex<Written>,
    grew: Condvar,
    threads: Mutex<Vec<Pid>>,
}

impl Server {
    pub(super) fn probe(&self, file: &mut File, schedule: Schedule) -> Result<String> {
        let (from_producer, producer) = pair()?;
        let (to_consumer, consumer) = pair()?;
        let (answers, synced) = (from_producer.try_clone()?, file.try_clone()?);
        std::thread::scope(|scope| {
            let receiving = scope.spawn(|| self.receive(from_producer, file).map_err(|e| e.to_string()));
            let syncing = scope.spawn(|| self.sync(&synced, answers, to_consumer).map_err(|e| e.to_string()));
            let source = Pushed { stream: consumer, buffer: Vec::new() };
            let measured = measure(schedule, producer, &Bare, source).map_err(|e| e.to_string());
            receiving.join().map_err(|_| "the receiving thread panicked")??;
            syncing.join().map_err(|_| "the syncing thread panicked")??;
            Ok(measured?)
        })
    }

    /// What its threads have had of a processor; they have to be there still.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.iter().map(|thread| cpu_seconds_of(&format!("self/task/{thread}"))).sum()
    }

    fn note_thread(&self) {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(gettid());
    }

    /// Until the producer closes its connection.
    fn receive(&self, mut stream: TcpStream, file: &mut File) -> std::io::Result<()> {
        self.note_thread();
        let received = self.receive_all(&mut stream, file);
        self.written.lock().unwrap_or_else(PoisonError::into_inner).is_last = true;
        self.grew.notify_one();
        match received {
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => Err(error),
            _ => Ok(()),
        }
    }

    fn receive_all(&self, stream: &mut TcpStream, file: &mut File) -> std::io::Result<()> {
        let mut frame = vec![0; SIZE_BYTES];
        loop {
            stream.read_exact(&mut frame[..SIZE_BYTES])?;
            let size = u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
            frame.resize(SIZE_BYTES + size, 0);
            let batch = &mut frame[SIZE_BYTES..];
            stream.read_exact(batch)?;
            std::hint::black_box(crc32c::crc32c(batch));
            file.write_all(batch)?;
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            written.frames += 1;
            written.bytes.extend_from_slice(&frame);
            drop(written);
            self.grew.notify_one();
        }
    }

    fn sync(&self, file: &File, mut answers: TcpStream, mut consumer: TcpStream) -> std::io::Result<()> {
        self.note_thread();
        let result = self.sync_all(file, &mut answers, &mut consumer);
        // Whoever waits at either end learns it.
        for stream in [answers, consumer] {
            let _ = stream.shutdown(Shutdown::Both);
        }
        result
    }

    fn sync_all(
        &self,
        file: &File,
        answers: &mut TcpStream,
        consumer: &mut TcpStream,
    ) -> std::io::Result<()> {
        loop {
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            while written.frames == 0 && !written.is_last {
                written = self.grew.wait(written).unwrap_or_else(PoisonError::into_inner);
            }
            let Written { frames, bytes, .. } = &mut *written;
            let (frames, bytes) = (std::mem::take(frames), std::mem::take(bytes));
            drop(written);
            if frames == 0 {
                return Ok(());
            }
            file.sync_data()?;
            answers.write_all(&ANSWER.repeat(frames))?;
            consumer.write_all(&bytes)?;
        }
    }
}

/// A frame of nothing but its size's worth of zeros.
const ANSWER: [u8; ANSWER_BYTES] = {
    let mut answer = [0; ANSWER_BYTES];
    answer[SIZE_BYTES - 1] = (ANSWER_BYTES - SIZE_BYTES) as u8;
    answer
};

/// Frames that are a size and a batch.
struct Bare;

impl Sink for Bare {
    fn frame(&self, batch: Vec<u8>) -> Result<Vec<u8>> {
        Ok([&u32::try_from(batch.len())?.to_be_bytes(), &batch[..]].concat())
    }

    fn check(_: &[u8]) -> Result<()> {
        Ok(())
    }
}

struct Pushed {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Source for Pushed {
    fn next(&mut self, _: i64) -> Result<&[u8]> {
        let size = answer(&mut self.stream, &mut self.buffer)?;
        Ok(&self.buffer[..size])
    }
}
