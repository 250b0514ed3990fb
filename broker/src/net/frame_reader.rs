//! Frames out of a byte stream: `size: i32` and as many bytes.
//!
//! The size prefix is a claim. A buffer grows with what has arrived, to at most twice that, except for a connection that
//! has proven itself: one that sent a frame of some size gets a buffer of that size at once, for the next ones.
//!
//! A frame that has begun has to go on: whoever stops in the middle, or sends it byte by byte, would hold for as long as
//! `connections.max.idle.ms` what others need. Between frames a connection may rest.

use std::{io, mem};

use bytes::{Buf, BytesMut};
use tokio::time::{Duration, Instant};

use super::transport::Transport;
use crate::request_memory::{HeldMemory, RequestMemory};

const SIZE_BYTES: usize = 4;
/// What a read asks for while nothing is known of the frame.
const READ_BYTES: usize = 8 * 1024;
/// Frames up to here come free of the budget: `max.connections` bounds them.
pub(super) const SMALL_FRAME_BYTES: usize = 64 * 1024;
/// The largest buffer that is kept, or made at once, for a connection that used such before.
const TRUSTED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A large buffer is let go after this long without a byte.
const LARGE_BUFFER_IDLE: Duration = Duration::from_secs(1);

/// A connection ends when nothing of a frame that has begun arrives for this long,
const FRAME_STALL_MAX: Duration = Duration::from_secs(30);
/// or when it was waited for longer than this in all, and less than this many bytes a second have come.
const FRAME_WAIT_FREE: Duration = Duration::from_secs(30);
const FRAME_BYTES_PER_SECOND_MIN: u64 = 4 * 1024;
/// A frame that is beside the budget of memory is waited for so long, from then on: no other can be, and those that wait for memory
/// wait for little longer.
const BESIDE_WAIT_MAX: Duration = Duration::from_secs(5);

/// Why a connection's bytes end.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("the peer closed the connection")]
    Closed,
    #[error("the peer closed the connection inside a frame")]
    ClosedInFrame,
    #[error("frame size {size} is not between 0 and {max}")]
    FrameSize { size: i32, max: usize },
    #[error("a frame stopped in the middle")]
    Stalled,
    #[error("a frame came too slowly")]
    TooSlow,
    #[error("no memory for a request came free in time")]
    NoMemory,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// One frame without its size, and its part of the request memory.
pub(super) struct Frame {
    pub bytes: BytesMut,
    pub memory: HeldMemory,
}

pub(super) struct FrameReader {
    buffer: BytesMut,
    /// Bytes of the first frame in the buffer that are still to come, its size prefix read.
    missing: usize,
    /// How long the rest of the first frame has been waited for.
    frame_wait: Duration,
    frame_bytes_max: usize,
    /// The largest frame this connection has sent whole.
    trusted: usize,
    budget: RequestMemory,
    memory: HeldMemory,
    /// What a read that did not wait has found at the end of the bytes. A TLS session tells its end or its failure once,
    /// and its socket may stay silent for ever behind that.
    end: Option<io::Result<()>>,
}

impl FrameReader {
    pub(super) fn new(frame_bytes_max: usize, budget: RequestMemory) -> Self {
        Self {
            buffer: BytesMut::new(),
            missing: 0,
            frame_wait: Duration::ZERO,
            frame_bytes_max,
            trusted: 0,
            budget,
            memory: HeldMemory::default(),
            end: None,
        }
    }

    /// From now on frames may be as large as this.
    pub(super) fn set_frame_bytes_max(&mut self, frame_bytes_max: usize) {
        self.frame_bytes_max = frame_bytes_max;
    }

    /// The next frame, if all of it has arrived.
    pub(super) fn next_frame(&mut self) -> Result<Option<Frame>, ReadError> {
        let Some(prefix) = self.buffer.first_chunk::<SIZE_BYTES>() else { return Ok(None) };
        let claimed = i32::from_be_bytes(*prefix);
        let size = usize::try_from(claimed)
            .ok()
            .filter(|size| *size <= self.frame_bytes_max)
            .ok_or(ReadError::FrameSize { size: claimed, max: self.frame_bytes_max })?;
        let have = self.buffer.len() - SIZE_BYTES;
        if have < size {
            self.missing = size - have;
            return Ok(None);
        }
        self.missing = 0;
        self.frame_wait = Duration::ZERO;
        self.trusted = self.trusted.max(size).min(TRUSTED_BYTES_MAX);
        self.buffer.advance(SIZE_BYTES);
        Ok(Some(Frame { bytes: self.buffer.split_to(size), memory: mem::take(&mut self.memory) }))
    }

    /// Reads once; to be called after `next_frame` had none. May be dropped at any await without losing a byte.
    pub(super) async fn fill(&mut self, stream: &Transport) -> Result<(), ReadError> {
        if let Some(end) = self.end.take() {
            return Err(end.map_or_else(ReadError::from, |()| self.closed()));
        }
        loop {
            if self.buffer.is_empty() {
                self.let_go(stream).await;
                stream.readable().await?;
            } else {
                self.wait_for_rest(stream).await?;
            }
            self.reserve().await?;
            match stream.try_read_buf(&mut self.buffer) {
                Ok(0) => return Err(self.closed()),
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn closed(&self) -> ReadError {
        if self.buffer.is_empty() { ReadError::Closed } else { ReadError::ClosedInFrame }
    }

    /// Reads what is there, without waiting for any; whether there was something. An end or an error is kept for `fill` to
    /// tell, and a frame that takes more room than every connection has is left to it.
    pub(super) fn fill_at_once(&mut self, stream: &Transport) -> bool {
        self.buffer.len() + self.missing <= SMALL_FRAME_BYTES && self.read_at_once(stream)
    }

    /// The same, but it blocks its thread until something is there, for so long at most; and it reads large frames, where the
    /// connection has sent such before and there is memory for them.
    pub(super) fn fill_within(&mut self, stream: &Transport, patience: Duration) -> bool {
        let bytes = self.buffer.len() + self.missing;
        let has_room = bytes <= SMALL_FRAME_BYTES
            || (bytes <= SIZE_BYTES + self.trusted && self.budget.hold_at_once(&mut self.memory, bytes));
        has_room && stream.is_readable_within(patience) && self.read_at_once(stream)
    }

    fn read_at_once(&mut self, stream: &Transport) -> bool {
        self.buffer.reserve(self.missing.max(READ_BYTES));
        match stream.try_read_buf(&mut self.buffer) {
            Ok(0) => self.end = Some(Ok(())),
            Ok(_) => return true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => self.end = Some(Err(error)),
        }
        false
    }

    /// Gives back the buffer of a connection that rests: a large one after some time.
    async fn let_go(&mut self, stream: &Transport) {
        if self.buffer.capacity() > SMALL_FRAME_BYTES
            && Box::pin(tokio::time::timeout(LARGE_BUFFER_IDLE, stream.readable())).await.is_err()
        {
            self.buffer = BytesMut::new();
        }
        // A small one is made again in no time, and most connections of a broker rest. (What is left of one that held a large frame is
        // small, too, and becomes whole again when that frame is done.)
        if self.trusted <= READ_BYTES {
            self.buffer = BytesMut::new();
        }
    }

    /// A wait that is broken off, because an answer was ready meanwhile, is not counted: a connection has few of those.
    async fn wait_for_rest(&mut self, stream: &Transport) -> Result<(), ReadError> {
        let since = Instant::now();
        let is_beside = self.memory.is_beside();
        let wait_max =
            if is_beside { BESIDE_WAIT_MAX.saturating_sub(self.frame_wait) } else { FRAME_STALL_MAX };
        let readable = Box::pin(tokio::time::timeout(wait_max, stream.readable()));
        let late = |_| if is_beside { ReadError::TooSlow } else { ReadError::Stalled };
        readable.await.map_err(late)??;
        self.frame_wait += since.elapsed();
        let have = u64::try_from(self.buffer.len()).unwrap_or(u64::MAX);
        if self.frame_wait > FRAME_WAIT_FREE && have / FRAME_BYTES_PER_SECOND_MIN < self.frame_wait.as_secs()
        {
            return Err(ReadError::TooSlow);
        }
        Ok(())
    }

    /// Makes room for the next read, within the budget.
    async fn reserve(&mut self) -> Result<(), ReadError> {
        if self.missing == 0 {
            self.buffer.reserve(READ_BYTES);
            return Ok(());
        }
        let have = self.buffer.len();
        let spare = self.buffer.capacity() - have;
        if spare >= self.missing || spare >= have.max(READ_BYTES) {
            return self.take_memory(have + self.missing.min(spare)).await;
        }
        let trusted = self.trusted.saturating_sub(have);
        let grow = self.missing.min(trusted.max(have).max(SMALL_FRAME_BYTES));
        self.take_memory(have + grow).await?;
        self.buffer.reserve(grow);
        Ok(())
    }

    async fn take_memory(&mut self, bytes: usize) -> Result<(), ReadError> {
        let frame_bytes = self.buffer.len() + self.missing;
        let was_beside = self.memory.is_beside();
        if bytes > SMALL_FRAME_BYTES && !self.budget.hold(&mut self.memory, bytes, frame_bytes).await {
            return Err(ReadError::NoMemory);
        }
        if self.memory.is_beside() && !was_beside {
            self.frame_wait = Duration::ZERO;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn pair() -> (TcpStream, Transport) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, Transport::Plain(listener.accept().await.unwrap().0))
    }

    fn reader(max: usize) -> FrameReader {
        FrameReader::new(max, RequestMemory::new(1 << 20, 1 << 20))
    }

    /// All of the budget, and what one frame has beside it.
    async fn taken_by_others(budget: &RequestMemory) -> [HeldMemory; 2] {
        let mut taken = [HeldMemory::default(), HeldMemory::default()];
        for held in &mut taken {
            assert!(budget.hold(held, budget.usage().1, 1).await);
        }
        taken
    }

    async fn next(reader: &mut FrameReader, stream: &Transport) -> Result<Vec<u8>, ReadError> {
        loop {
            if let Some(frame) = reader.next_frame()? {
                return Ok(frame.bytes.to_vec());
            }
            reader.fill(stream).await?;
        }
    }

    #[tokio::test]
    async fn frames_come_out_whole_however_they_arrive() {
        let (mut client, server) = pair().await;
        let large = vec![7u8; 300_000];
        let write = async {
            client.write_all(&[0, 0]).await.unwrap();
            client.flush().await.unwrap();
            client.write_all(&[0, 3, b'a', b'b']).await.unwrap();
            client.write_all(&[b'c', 0, 0, 0, 0]).await.unwrap();
            client.write_all(&300_000i32.to_be_bytes()).await.unwrap();
            client.write_all(&large).await.unwrap();
            drop(client);
        };
        let read = async {
            let mut reader = reader(1 << 20);
            assert_eq!(next(&mut reader, &server).await.unwrap(), b"abc");
            assert_eq!(next(&mut reader, &server).await.unwrap(), b"");
            assert_eq!(next(&mut reader, &server).await.unwrap(), large);
            assert!(matches!(next(&mut reader, &server).await, Err(ReadError::Closed)));
        };
        tokio::join!(write, read);
    }

    #[tokio::test]
    async fn a_large_frame_is_waited_for_where_such_came_before_and_there_is_memory() {
        const PATIENCE: Duration = Duration::from_secs(5);
        let large = vec![7u8; 3 * SMALL_FRAME_BYTES];
        let size = i32::try_from(large.len()).unwrap().to_be_bytes();
        let (mut client, server) = pair().await;
        let budget = RequestMemory::new(large.len() + 1000, 0);
        let mut reader = FrameReader::new(1 << 20, budget.clone());
        client.write_all(&size).await.unwrap();
        client.write_all(&large).await.unwrap();
        assert_eq!(next(&mut reader, &server).await.unwrap(), large);
        client.write_all(&size).await.unwrap();
        client.write_all(&large).await.unwrap();
        server.readable().await.unwrap();
        let mut taken = HeldMemory::default();
        assert!(budget.hold_at_once(&mut taken, 2000));
        assert!(reader.next_frame().unwrap().is_none());
        assert!(reader.fill_within(&server, PATIENCE), "its beginning, which shows how large it is");
        assert!(reader.next_frame().unwrap().is_none());
        assert!(!reader.fill_within(&server, PATIENCE), "others have the memory");
        drop(taken);
        let frame = loop {
            if let Some(frame) = reader.next_frame().unwrap() {
                break frame;
            }
            assert!(reader.fill_within(&server, PATIENCE));
        };
        assert_eq!(frame.bytes, large);
        assert_eq!(budget.usage().0, SIZE_BYTES + large.len());
        assert!(!reader.fill_within(&server, Duration::ZERO), "nothing more has come");
    }

    #[tokio::test]
    async fn a_connection_that_has_sent_no_large_frame_is_not_waited_for_with_one() {
        let (mut client, server) = pair().await;
        let mut reader = reader(1 << 20);
        client.write_all(&200_000i32.to_be_bytes()).await.unwrap();
        server.readable().await.unwrap();
        assert!(reader.fill_within(&server, Duration::ZERO));
        assert!(reader.next_frame().unwrap().is_none());
        client.write_all(&[7; 1000]).await.unwrap();
        assert!(!reader.fill_within(&server, Duration::from_millis(1)));
    }

    #[tokio::test]
    async fn an_end_that_was_seen_without_waiting_is_told_by_the_next_wait() {
        for (sent, is_in_frame) in [(&[][..], false), (&[0u8, 0, 0, 9, 1][..], true)] {
            let (mut client, server) = pair().await;
            let mut reader = reader(1000);
            client.write_all(sent).await.unwrap();
            client.shutdown().await.unwrap();
            server.readable().await.unwrap();
            while reader.fill_at_once(&server) {}
            assert!(matches!(reader.end, Some(Ok(()))), "the end was not seen");
            // Not the socket's word, which a TLS session would not have a second time.
            let (_other_client, silent) = pair().await;
            let result = next(&mut reader, &silent).await;
            assert!(matches!(result, Err(ReadError::Closed)) != is_in_frame);
            assert!(matches!(result, Err(ReadError::ClosedInFrame)) == is_in_frame);
        }
    }

    #[tokio::test]
    async fn a_size_that_is_no_size_ends_the_connection_and_allocates_nothing() {
        for size in [-1, i32::MIN, i32::MAX, 1001] {
            let (mut client, server) = pair().await;
            client.write_all(&size.to_be_bytes()).await.unwrap();
            let mut reader = reader(1000);
            assert!(matches!(next(&mut reader, &server).await, Err(ReadError::FrameSize { .. })), "{size}");
            assert!(reader.buffer.capacity() <= READ_BYTES);
        }
    }

    #[tokio::test]
    async fn a_claimed_size_alone_takes_no_memory() {
        let (mut client, server) = pair().await;
        client.write_all(&1_000_000i32.to_be_bytes()).await.unwrap();
        client.write_all(&[1; 100]).await.unwrap();
        drop(client);
        let mut reader = reader(1 << 20);
        assert!(matches!(next(&mut reader, &server).await, Err(ReadError::ClosedInFrame)));
        assert!(reader.buffer.capacity() <= 2 * SMALL_FRAME_BYTES, "{}", reader.buffer.capacity());
    }

    #[tokio::test(start_paused = true)]
    async fn without_memory_a_large_frame_waits_and_then_gives_up() {
        let (mut client, server) = pair().await;
        let budget = RequestMemory::new(1 << 20, 1 << 20);
        let all = taken_by_others(&budget).await;
        let mut reader = FrameReader::new(1 << 20, budget);
        let write = async {
            client.write_all(&200_000i32.to_be_bytes()).await.unwrap();
            let _ = client.write_all(&[1; 200_000]).await;
        };
        let (_, result) = tokio::join!(write, next(&mut reader, &server));
        assert!(matches!(result, Err(ReadError::NoMemory)));
        drop(all);
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_beside_the_budget_is_not_waited_for_longer_than_others_wait_for_memory() {
        for pause_s in [1, 3600] {
            let (mut client, server) = pair().await;
            let budget = RequestMemory::new(1 << 20, 1 << 20);
            let mut all = HeldMemory::default();
            assert!(budget.hold(&mut all, 1 << 20, 1).await);
            let mut reader = FrameReader::new(1 << 20, budget.clone());
            let write = async {
                client.write_all(&200_000i32.to_be_bytes()).await.unwrap();
                client.write_all(&[1; 100_000]).await.unwrap();
                loop {
                    tokio::time::sleep(Duration::from_secs(pause_s)).await;
                    client.write_all(&[1; 1000]).await.unwrap();
                }
            };
            let begun = Instant::now();
            let result = tokio::select! {
                () = write => unreachable!(),
                result = next(&mut reader, &server) => result,
            };
            assert!(matches!(result, Err(ReadError::TooSlow)), "{result:?}");
            assert!(begun.elapsed() <= BESIDE_WAIT_MAX + Duration::from_secs(1), "{:?}", begun.elapsed());
            drop(reader);
            assert_eq!(budget.usage().0, 1 << 20, "the place beside is free again");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_stops_in_the_middle_ends_the_connection() {
        for begun in [&[0u8, 0][..], &[0, 0, 0, 9, 1, 2][..]] {
            let (mut client, server) = pair().await;
            client.write_all(begun).await.unwrap();
            let mut reader = reader(1 << 20);
            assert!(matches!(next(&mut reader, &server).await, Err(ReadError::Stalled)), "{begun:?}");
            drop(client);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_trickles_in_ends_the_connection_and_a_slow_one_does_not() {
        for (bytes_per_write, is_slow) in [(1, true), (64_000, false)] {
            let (mut client, server) = pair().await;
            let mut reader = reader(1 << 20);
            let write = async {
                client.write_all(&256_000i32.to_be_bytes()).await.unwrap();
                for _ in 0..256_000 / bytes_per_write {
                    tokio::time::sleep(Duration::from_secs(9)).await;
                    if client.write_all(&vec![1; bytes_per_write]).await.is_err() {
                        break;
                    }
                }
                // Held open, or its end would be what is seen.
                std::future::pending::<()>().await;
            };
            let result = tokio::select! {
                () = write => unreachable!(),
                result = next(&mut reader, &server) => result,
            };
            match result {
                Err(ReadError::TooSlow) => assert!(is_slow),
                Ok(frame) => assert!(!is_slow && frame.len() == 256_000),
                Err(other) => panic!("{other}"),
            }
        }
    }
}
