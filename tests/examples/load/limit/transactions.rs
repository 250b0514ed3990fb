//! What a transaction makes durable beside its records, one behind the other, as its order demands: the partitions before the
//! first record, that it commits before its marker, and the marker before what is next. That it is complete may be said with the
//! next transaction's partitions.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;

use super::ANSWER_BYTES;
use crate::produce::REQUESTS_PER_TRANSACTION;

const REQUEST_BYTES: usize = 128;

/// How many are due before the frame of this number, with nothing in flight.
pub(super) fn steps_before(frame: usize) -> usize {
    match frame % REQUESTS_PER_TRANSACTION {
        0 if frame == 0 => 1,
        0 => 3,
        _ => 0,
    }
}

/// The client's side of a step.
pub(super) fn ask(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(&[7; REQUEST_BYTES])?;
    stream.read_exact(&mut [0; ANSWER_BYTES])
}

/// The server's side of it, in a file of the steps' own.
pub(super) fn take(stream: &mut TcpStream, file: &mut File) -> std::io::Result<()> {
    let mut request = [0; REQUEST_BYTES];
    stream.read_exact(&mut request)?;
    file.write_all(&request)?;
    file.sync_data()?;
    stream.write_all(&[0; ANSWER_BYTES])
}
