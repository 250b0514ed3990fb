//! Three nodes that do the least: the leader receives and writes, hands on to two followers over connections, syncs its own file
//! while they write and sync theirs, and answers when all three are durable. All three share the disk, as in the measured line.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;

use super::disk::{Disk, open};
use super::measure::{Figures, cpu_seconds, pair};
use super::{Frame, Probe, receive, receive_and_sync_beside};
use crate::Result;

const FOLLOWERS: usize = 2;
const COPIES: usize = 1 + FOLLOWERS;
/// Followers write what they have read before it leaves the processor's cache.
const READ_BYTES_MAX: usize = 256 * 1024;

pub(crate) fn run(directory: &Path, total_mb: usize, frame: Frame) -> Result<()> {
    let frames = frame.durable((total_mb * 1_000_000).div_ceil(frame.payload_bytes));
    let payload_bytes = frame.payload_bytes;
    // Memory for three logs is touched before.
    let probe = Probe { directory, total_mb: COPIES * total_mb, files: 1, frame, is_transactional: false };
    let best = measure(&probe, frames, false)?.better(measure(&probe, frames, true)?);
    Disk::remove(&probe)?;
    for number in 0..FOLLOWERS {
        std::fs::remove_file(directory.join(file_name(number)))?;
    }
    println!(
        "mb_s {:.1} cpu_s_gb {:.4} cpu_us {:.3} frames_s {:.1}",
        best.mb_s,
        best.cpu_s_gb,
        best.cpu_us,
        best.mb_s * 1e6 / payload_bytes as f64
    );
    Ok(())
}

fn file_name(follower: usize) -> String {
    format!("limit-follower-{follower}.log")
}

/// The leader does all in turn, or syncs and waits by a second thread. Followers that sync by a second one, too, and are handed
/// each frame at once, were slower than the better of these at every size.
fn measure(probe: &Probe<'_>, frames: usize, is_beside: bool) -> Result<Figures> {
    let mut followers = Vec::new();
    let mut streams = Vec::new();
    for number in 0..FOLLOWERS {
        let (leader, stream) = pair()?;
        streams.push(leader);
        let file = open(probe.directory, &file_name(number))?;
        followers.push(std::thread::spawn(move || follow(stream, file).map_err(|error| error.to_string())));
    }
    let mut disk = Disk::create(probe, false)?;
    let file = disk.files[0].try_clone()?;
    let mut leader = Leader { file, streams, frame_bytes: probe.frame.bytes.len(), handed_on: 0 };
    let figures = if is_beside {
        receive_and_sync_beside(&mut disk, &probe.frame, frames, |count| leader.replicate(count))?
    } else {
        receive(&mut disk, &probe.frame, frames, Some(&mut |count| leader.replicate(count)))?
    };
    drop(leader);
    let mut cpu = 0.0;
    for follower in followers {
        cpu += follower.join().map_err(|_| "a follower panicked")??;
    }
    Ok(figures.and_cpu(cpu, frames * probe.frame.payload_bytes, frames))
}

struct Leader {
    file: File,
    streams: Vec<TcpStream>,
    frame_bytes: usize,
    handed_on: u64,
}

impl Leader {
    /// Hands on what was written, by the kernel; it is durable when it is everywhere.
    fn replicate(&mut self, frames: usize) -> std::io::Result<()> {
        let bytes = frames * self.frame_bytes;
        let end = self.handed_on + bytes as u64;
        for stream in &self.streams {
            rustix::net::send(stream, &(bytes as u64).to_be_bytes(), rustix::net::SendFlags::MORE)?;
            let mut position = self.handed_on;
            while position < end {
                let left = usize::try_from(end - position).unwrap_or(usize::MAX);
                if rustix::fs::sendfile(stream, &self.file, Some(&mut position), left)? == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
            }
        }
        self.handed_on = end;
        self.file.sync_data()?;
        self.streams.iter_mut().try_for_each(|stream| stream.read_exact(&mut [0]))
    }
}

/// Until the leader is gone; what it had of a processor.
fn follow(mut stream: TcpStream, mut file: File) -> Result<f64> {
    let mut buffer = vec![0; READ_BYTES_MAX];
    while append_next(&mut stream, &mut file, &mut buffer)? {
        file.sync_data()?;
        stream.write_all(&[1])?;
    }
    cpu_seconds()
}

/// What was handed on at once; false when the leader is gone.
fn append_next(stream: &mut TcpStream, file: &mut File, buffer: &mut [u8]) -> std::io::Result<bool> {
    let mut size = [0; 8];
    match stream.read_exact(&mut size) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(false),
        read => read?,
    }
    let mut left = usize::try_from(u64::from_be_bytes(size)).unwrap_or(usize::MAX);
    while left > 0 {
        let piece = left.min(buffer.len());
        stream.read_exact(&mut buffer[..piece])?;
        file.write_all(&buffer[..piece])?;
        left -= piece;
    }
    Ok(true)
}
