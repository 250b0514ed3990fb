//! What the machine can do at most: the least that a broker has to do with each byte, without the broker.

pub(crate) mod catch_up;
mod disk;
pub(crate) mod latency;
mod measure;
pub(crate) mod replicated;
mod transactions;

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use disk::{Disk, dirty_files, sync_all, syncs};
use measure::{Count, Figures, cpu_seconds, figures, pair};
use transactions::{ask, steps_before, take};

use crate::Result;
use crate::unpack::Unpack;
use crate::wire::batch;

/// Requests that the client has in flight, as the load's.
const IN_FLIGHT: usize = 5;
const ANSWER_BYTES: usize = 16;
const PIECE: usize = 1 << 20;
const SMALL_BYTES: usize = 8 * 1024;
const SMALL_FRAMES_MAX: usize = 20_000;

/// What is sent and what is done with it.
pub(crate) struct Probe<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) total_mb: usize,
    /// Each frame is cut into so many pieces, each of which is summed and goes to a file of its own, as partitions' batches do.
    pub(crate) files: usize,
    pub(crate) frame: Frame,
    /// Durable frames come in transactions, as those of `load produce kind=transactional`.
    pub(crate) is_transactional: bool,
}

/// Bytes on the wire, and for how many bytes of records they stand.
#[derive(Clone)]
pub(crate) struct Frame {
    bytes: Bytes,
    payload_bytes: usize,
    /// Whoever takes compressed records has to see what is in them.
    unpack: Option<Unpack>,
}

impl Frame {
    pub(crate) fn plain(bytes: usize) -> Self {
        Self { bytes: vec![7; bytes].into(), payload_bytes: bytes, unpack: None }
    }

    /// A request's batches, one for each of its partitions.
    pub(crate) fn batches(
        record_bytes: usize,
        records: usize,
        codec: &str,
        partitions: usize,
    ) -> Result<Self> {
        let bytes = batch(record_bytes, records, codec)?.repeat(partitions);
        let payload_bytes = record_bytes * records * partitions;
        Ok(Self { bytes: bytes.into(), payload_bytes, unpack: Unpack::of(codec)? })
    }

    /// What small ones cost is their syncs, of which a part of the load tells as much.
    fn durable(&self, frames: usize) -> usize {
        if self.bytes.len() < SMALL_BYTES { frames.min(SMALL_FRAMES_MAX) } else { frames }
    }
}

/// Receives over loopback, checks sums, writes (and syncs), sends back; how long one sync takes, and a thousand dirty files.
pub(crate) fn run(probe: &Probe<'_>) -> Result<()> {
    let frame = &probe.frame;
    let frames = (probe.total_mb * 1_000_000).div_ceil(frame.payload_bytes);
    let mut disk = Disk::create(probe, false)?;
    let written = receive(&mut disk, frame, frames, None)?;
    let sent = send(&disk.files[0], disk.written_bytes)?;
    drop(disk);
    let durable_frames = frame.durable(frames);
    let mut durable: Option<Figures> = None;
    let mut note = |found: Figures| durable = Some(durable.map_or(found, |best| best.better(found)));
    // Several files are durable when each is synced, or when one more that has the same is.
    for has_journal in if probe.files == 1 { &[false][..] } else { &[false, true] } {
        let mut disk = Disk::create(probe, *has_journal)?;
        let synced = disk.to_sync()?;
        note(receive(&mut disk, frame, durable_frames, Some(&mut |_| sync_all(&synced)))?);
        let mut disk = Disk::create(probe, *has_journal)?;
        let synced = disk.to_sync()?;
        note(receive_and_sync_beside(&mut disk, frame, durable_frames, |_| sync_all(&synced))?);
    }
    let durable = durable.ok_or("nothing was measured")?;
    let (sync_p50, sync_p99) = syncs(&mut Disk::create(probe, false)?.files[0])?;
    Disk::remove(probe)?;
    let dirty_files_ms = dirty_files(probe.directory)?;
    println!(
        "write_mb_s {:.1} write_cpu_s_gb {:.4} write_cpu_us {:.3} durable_mb_s {:.1} durable_cpu_s_gb {:.4} \
         durable_cpu_us {:.3} sendfile_mb_s {:.1} sendfile_cpu_s_gb {:.4} sync_p50_ms {:.3} sync_p99_ms {:.3} \
         files_1000_ms {:.1}",
        written.mb_s,
        written.cpu_s_gb,
        written.cpu_us,
        durable.mb_s,
        durable.cpu_s_gb,
        durable.cpu_us,
        sent.mb_s,
        sent.cpu_s_gb,
        sync_p50,
        sync_p99,
        dirty_files_ms
    );
    Ok(())
}

/// Makes so many frames more durable, which are written.
type MakeDurable<'a> = &'a mut dyn FnMut(usize) -> std::io::Result<()>;

/// What a server's thread does is counted; the client has one of its own.
fn receive(
    disk: &mut Disk,
    frame: &Frame,
    frames: usize,
    mut make_durable: Option<MakeDurable<'_>>,
) -> Result<Figures> {
    let is_durable = make_durable.is_some();
    let (mut server, client) = pair()?;
    let (sent, mut transactions) = (frame.bytes.clone(), disk.transactions.take().filter(|_| is_durable));
    let is_transactional = transactions.is_some();
    let sending = std::thread::spawn(move || {
        send_frames(client, &sent, frames, is_transactional).map_err(|e| e.to_string())
    });
    let mut buffer = vec![0; frame.bytes.len()];
    let mut unpacker = frame.unpack.map(|unpack| unpack.unpacker(frame.payload_bytes)).transpose()?;
    let (cpu, started) = (cpu_seconds()?, Instant::now());
    let mut unanswered = 0;
    for number in 0..frames {
        take_steps(&mut server, &mut transactions, number)?;
        server.read_exact(&mut buffer)?;
        if let Some(unpacker) = &mut unpacker {
            unpacker.unpack(&buffer)?;
        }
        disk.append(&buffer)?;
        unanswered += 1;
        // One sync for all that the client has in flight, as group commit does.
        let is_last = number + 1 == frames || (is_transactional && steps_before(number + 1) > 0);
        if !is_durable || unanswered == IN_FLIGHT || is_last {
            if let Some(make_durable) = &mut make_durable {
                make_durable(unanswered)?;
            }
            server.write_all(&vec![0; ANSWER_BYTES * unanswered])?;
            unanswered = 0;
        }
    }
    if is_durable {
        disk.settle()?;
    }
    let figures = figures(cpu_seconds()? - cpu, started.elapsed(), frame.payload_bytes * frames, frames);
    sending.join().map_err(|_| "the client panicked")??;
    Ok(figures)
}

/// One thread receives and writes while another syncs and answers: the disk never waits for the processor.
fn receive_and_sync_beside(
    disk: &mut Disk,
    frame: &Frame,
    frames: usize,
    mut make_durable: impl FnMut(usize) -> std::io::Result<()> + Send,
) -> Result<Figures> {
    let (mut server, client) = pair()?;
    let mut answers = server.try_clone()?;
    let (sent, mut transactions) = (frame.bytes.clone(), disk.transactions.take());
    let is_transactional = transactions.is_some();
    let sending = std::thread::spawn(move || {
        send_frames(client, &sent, frames, is_transactional).map_err(|e| e.to_string())
    });
    let written = Count::default();
    let mut buffer = vec![0; frame.bytes.len()];
    let mut unpacker = frame.unpack.map(|unpack| unpack.unpacker(frame.payload_bytes)).transpose()?;
    let (cpu, started) = (cpu_seconds()?, Instant::now());
    let mut cpu_beside = 0.0;
    std::thread::scope(|scope| -> Result<()> {
        let syncing = scope.spawn(|| -> std::result::Result<f64, String> {
            let mut durable = 0;
            while durable < frames {
                let now = written.beyond(durable);
                make_durable(now - durable).map_err(|e| e.to_string())?;
                answers.write_all(&vec![0; ANSWER_BYTES * (now - durable)]).map_err(|e| e.to_string())?;
                durable = now;
            }
            cpu_seconds().map_err(|e| e.to_string())
        });
        for number in 0..frames {
            take_steps(&mut server, &mut transactions, number)?;
            server.read_exact(&mut buffer)?;
            if let Some(unpacker) = &mut unpacker {
                unpacker.unpack(&buffer)?;
            }
            disk.append(&buffer)?;
            written.grow();
        }
        cpu_beside = syncing.join().map_err(|_| "the syncing thread panicked")??;
        Ok(())
    })?;
    disk.settle()?;
    let cpu = cpu_seconds()? - cpu + cpu_beside;
    let figures = figures(cpu, started.elapsed(), frame.payload_bytes * frames, frames);
    sending.join().map_err(|_| "the client panicked")??;
    Ok(figures)
}

/// Before this frame, as the client has nothing in flight then.
fn take_steps(server: &mut TcpStream, transactions: &mut Option<File>, frame: usize) -> std::io::Result<()> {
    match transactions {
        Some(file) => (0..steps_before(frame)).try_for_each(|_| take(server, file)),
        None => Ok(()),
    }
}

fn send_frames(mut stream: TcpStream, frame: &[u8], frames: usize, is_transactional: bool) -> Result<()> {
    let mut in_flight = 0;
    let take_answers = |stream: &mut TcpStream, count: usize| -> std::io::Result<()> {
        (0..count).try_for_each(|_| stream.read_exact(&mut [0; ANSWER_BYTES]))
    };
    for number in 0..frames {
        let steps = if is_transactional { steps_before(number) } else { 0 };
        if steps > 0 {
            take_answers(&mut stream, std::mem::take(&mut in_flight))?;
            (0..steps).try_for_each(|_| ask(&mut stream))?;
        }
        if in_flight == IN_FLIGHT {
            take_answers(&mut stream, 1)?;
            in_flight -= 1;
        }
        stream.write_all(frame)?;
        in_flight += 1;
    }
    take_answers(&mut stream, in_flight)?;
    Ok(())
}

/// The file's bytes to a socket by the kernel.
fn send(file: &File, bytes: usize) -> Result<Figures> {
    let (server, mut client) = pair()?;
    let receiving = std::thread::spawn(move || -> std::io::Result<()> {
        let mut buffer = vec![0; PIECE];
        let mut left = bytes;
        while left > 0 {
            let room = left.min(PIECE);
            match client.read(&mut buffer[..room])? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                read => left -= read,
            }
        }
        Ok(())
    });
    let (cpu, started) = (cpu_seconds()?, Instant::now());
    let mut position = 0;
    while position < bytes as u64 {
        if rustix::fs::sendfile(&server, file, Some(&mut position), PIECE)? == 0 {
            return Err("the file became shorter".into());
        }
    }
    let cpu = cpu_seconds()? - cpu;
    receiving.join().map_err(|_| "the client panicked")??;
    Ok(figures(cpu, started.elapsed(), bytes, bytes / PIECE))
}
