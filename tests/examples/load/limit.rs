//! What the machine can do at most: the least that a broker has to do with each byte, without the broker.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::Result;
use crate::unpack::Unpack;
use crate::wire::batch;

/// Requests that the client has in flight, as the load's.
const IN_FLIGHT: usize = 5;
const ANSWER_BYTES: usize = 16;
const SYNCS: usize = 200;
const FILES: usize = 1000;
const PIECE: usize = 1 << 20;
const TOUCHED_MORE_MB: usize = 256;
const SMALL_BYTES: usize = 8 * 1024;
const SMALL_FRAMES_MAX: usize = 20_000;

/// What is sent and what is done with it.
pub(crate) struct Probe<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) total_mb: usize,
    /// Each frame is cut into so many pieces, each of which is summed and goes to a file of its own, as partitions' batches do.
    pub(crate) files: usize,
    pub(crate) frame: Frame,
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
}

/// Receives over loopback, checks sums, writes (and syncs), sends back; how long one sync takes, and a thousand dirty files.
pub(crate) fn run(probe: &Probe<'_>) -> Result<()> {
    let frame = &probe.frame;
    let frames = (probe.total_mb * 1_000_000).div_ceil(frame.payload_bytes);
    let mut disk = Disk::create(probe, false)?;
    let written = receive(&mut disk, frame, frames, false)?;
    let sent = send(&disk.files[0], disk.written_bytes)?;
    drop(disk);
    // What small ones cost is their syncs, of which a part of the load tells as much.
    let durable_frames = if frame.bytes.len() < SMALL_BYTES { frames.min(SMALL_FRAMES_MAX) } else { frames };
    let mut durable: Option<Figures> = None;
    let mut note = |found: Figures| durable = Some(durable.map_or(found, |best| best.better(found)));
    // Several files are durable when each is synced, or when one more that has the same is.
    for has_journal in if probe.files == 1 { &[false][..] } else { &[false, true] } {
        note(receive(&mut Disk::create(probe, *has_journal)?, frame, durable_frames, true)?);
        note(receive_and_sync_beside(&mut Disk::create(probe, *has_journal)?, frame, durable_frames)?);
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

/// Where frames go.
struct Disk {
    files: Vec<File>,
    journal: Option<File>,
    /// To the first file.
    written_bytes: usize,
}

impl Disk {
    /// Empty files, and memory for what will be in them that was touched just before, as it is before each load of a broker.
    fn create(probe: &Probe<'_>, has_journal: bool) -> Result<Self> {
        Self::remove(probe)?;
        touch_memory(probe)?;
        let open = |name: &str| {
            let path = probe.directory.join(name);
            OpenOptions::new().create(true).truncate(true).read(true).write(true).open(path)
        };
        let files =
            (0..probe.files).map(|n| open(&format!("limit-{n}.log"))).collect::<std::io::Result<_>>()?;
        let journal = if has_journal { Some(open("limit-journal")?) } else { None };
        Ok(Self { files, journal, written_bytes: 0 })
    }

    fn remove(probe: &Probe<'_>) -> Result<()> {
        let files = (0..probe.files).map(|n| format!("limit-{n}.log"));
        for name in files.chain(["limit-journal".to_owned()]) {
            match std::fs::remove_file(probe.directory.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(journal) = &mut self.journal {
            journal.write_all(bytes)?;
        }
        let piece_bytes = bytes.len().div_ceil(self.files.len());
        self.written_bytes += piece_bytes;
        for (piece, file) in bytes.chunks(piece_bytes).zip(&mut self.files) {
            std::hint::black_box(crc32c::crc32c(piece));
            file.write_all(piece)?;
        }
        Ok(())
    }

    /// A journal is no place to stay, for its room is needed again: what has been answered for by its syncs alone is synced where it
    /// belongs, once for all of it.
    fn settle(&self) -> std::io::Result<()> {
        if self.journal.is_some() { sync_all(&self.files) } else { Ok(()) }
    }

    /// What has to be synced before an answer.
    fn to_sync(&self) -> std::io::Result<Vec<File>> {
        match &self.journal {
            Some(journal) => Ok(vec![journal.try_clone()?]),
            None => self.files.iter().map(File::try_clone).collect(),
        }
    }
}

/// A virtual machine's memory is the host's until it is touched: see `touch_memory` of tests/bench/systems.py, which does the same
/// before a broker's load.
fn touch_memory(probe: &Probe<'_>) -> Result<()> {
    let path = probe.directory.join("limit-touched");
    let mut file = File::create(&path)?;
    let piece = vec![1; PIECE];
    for _ in 0..probe.total_mb + TOUCHED_MORE_MB {
        file.write_all(&piece)?;
    }
    drop(file);
    std::fs::remove_file(path)?;
    Ok(())
}

fn sync_all(files: &[File]) -> std::io::Result<()> {
    files.iter().try_for_each(File::sync_data)
}

#[derive(Clone, Copy)]
struct Figures {
    mb_s: f64,
    cpu_s_gb: f64,
    /// Of the processor, for each frame.
    cpu_us: f64,
}

impl Figures {
    /// Of two ways to do the same, the limit is what the better one reaches, figure by figure.
    fn better(self, other: Self) -> Self {
        Self {
            mb_s: self.mb_s.max(other.mb_s),
            cpu_s_gb: self.cpu_s_gb.min(other.cpu_s_gb),
            cpu_us: self.cpu_us.min(other.cpu_us),
        }
    }
}

/// What a server's thread does is counted; the client has one of its own.
fn receive(disk: &mut Disk, frame: &Frame, frames: usize, is_durable: bool) -> Result<Figures> {
    let (mut server, client) = pair()?;
    let sent = frame.bytes.clone();
    let sending = std::thread::spawn(move || send_frames(client, &sent, frames).map_err(|e| e.to_string()));
    let mut buffer = vec![0; frame.bytes.len()];
    let mut unpacker = frame.unpack.map(|unpack| unpack.unpacker(frame.payload_bytes)).transpose()?;
    let synced = disk.to_sync()?;
    let (cpu, started) = (cpu_seconds()?, Instant::now());
    let mut unanswered = 0;
    for number in 0..frames {
        server.read_exact(&mut buffer)?;
        if let Some(unpacker) = &mut unpacker {
            unpacker.unpack(&buffer)?;
        }
        disk.append(&buffer)?;
        unanswered += 1;
        // One sync for all that the client has in flight, as group commit does.
        if !is_durable || unanswered == IN_FLIGHT || number + 1 == frames {
            if is_durable {
                sync_all(&synced)?;
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
fn receive_and_sync_beside(disk: &mut Disk, frame: &Frame, frames: usize) -> Result<Figures> {
    let (mut server, client) = pair()?;
    let mut answers = server.try_clone()?;
    let synced = disk.to_sync()?;
    let sent = frame.bytes.clone();
    let sending = std::thread::spawn(move || send_frames(client, &sent, frames).map_err(|e| e.to_string()));
    let (written, grew) = (Mutex::new(0), Condvar::new());
    let mut buffer = vec![0; frame.bytes.len()];
    let mut unpacker = frame.unpack.map(|unpack| unpack.unpacker(frame.payload_bytes)).transpose()?;
    let (cpu, started) = (cpu_seconds()?, Instant::now());
    let mut cpu_beside = 0.0;
    std::thread::scope(|scope| -> Result<()> {
        let syncing = scope.spawn(|| -> std::result::Result<f64, String> {
            let mut durable = 0;
            while durable < frames {
                let mut seen = written.lock().unwrap_or_else(PoisonError::into_inner);
                while *seen == durable {
                    seen = grew.wait(seen).unwrap_or_else(PoisonError::into_inner);
                }
                let now = *seen;
                drop(seen);
                sync_all(&synced).map_err(|e| e.to_string())?;
                answers.write_all(&vec![0; ANSWER_BYTES * (now - durable)]).map_err(|e| e.to_string())?;
                durable = now;
            }
            cpu_seconds().map_err(|e| e.to_string())
        });
        for _ in 0..frames {
            server.read_exact(&mut buffer)?;
            if let Some(unpacker) = &mut unpacker {
                unpacker.unpack(&buffer)?;
            }
            disk.append(&buffer)?;
            *written.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            grew.notify_one();
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

fn send_frames(mut stream: TcpStream, frame: &[u8], frames: usize) -> Result<()> {
    let mut answer = [0; ANSWER_BYTES];
    for number in 0..frames {
        if number >= IN_FLIGHT {
            stream.read_exact(&mut answer)?;
        }
        stream.write_all(frame)?;
    }
    for _ in 0..IN_FLIGHT.min(frames) {
        stream.read_exact(&mut answer)?;
    }
    Ok(())
}

/// The file's bytes from the page cache to a socket by the kernel.
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

/// Milliseconds of a sync after a small append: the median, and the one in a hundred.
fn syncs(file: &mut File) -> Result<(f64, f64)> {
    let mut took = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        file.write_all(&[7; 4096])?;
        let started = Instant::now();
        file.sync_data()?;
        took.push(started.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    Ok((took[SYNCS / 2], took[SYNCS * 99 / 100]))
}

/// Milliseconds until a thousand files, each with a little more in it, are all durable: a round of as many partitions.
fn dirty_files(directory: &Path) -> Result<f64> {
    let path = |number: usize| directory.join(format!("limit-{number}"));
    let mut files =
        (0..FILES).map(|number| File::create(path(number))).collect::<std::io::Result<Vec<_>>>()?;
    let mut best = f64::MAX;
    for _ in 0..3 {
        for file in &mut files {
            file.write_all(&[7; 1024])?;
        }
        let started = Instant::now();
        for file in &files {
            file.sync_data()?;
        }
        best = best.min(started.elapsed().as_secs_f64() * 1e3);
    }
    for number in 0..FILES {
        std::fs::remove_file(path(number))?;
    }
    Ok(best)
}

fn pair() -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    for stream in [&server, &client] {
        stream.set_nodelay(true)?;
    }
    Ok((server, client))
}

fn figures(cpu_seconds: f64, took: Duration, bytes: usize, frames: usize) -> Figures {
    Figures {
        mb_s: bytes as f64 / 1e6 / took.as_secs_f64(),
        cpu_s_gb: cpu_seconds / (bytes as f64 / 1e9),
        cpu_us: cpu_seconds * 1e6 / frames.max(1) as f64,
    }
}

/// What this thread has had of a processor.
fn cpu_seconds() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: f64 = text.split_whitespace().next().ok_or("no schedstat")?.parse()?;
    Ok(nanoseconds / 1e9)
}
