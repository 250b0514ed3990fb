//! Connections, frames, batches.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use kafka_protocol::protocol::{Request, StrBytes};
use moldau_model::TimestampMs;
use moldau_record::{BatchBuilder, Compression};

use crate::Result;

/// A server that says nothing for so long has failed.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(120);

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A whole frame, its size first.
pub(crate) fn frame<T: Request>(version: i16, body: &T) -> Result<Vec<u8>> {
    let client_id = StrBytes::from_static_str("load");
    Ok(moldau_kafka::encode_request(version, 1, Some(&client_id), body)?.to_vec())
}

pub(crate) fn connect(address: &str) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.set_write_timeout(Some(SILENCE_MAX))?;
    Ok(stream)
}

/// Reads one answer into `buffer`, without its size; how long it is. The buffer only grows.
pub(crate) fn answer(stream: &mut impl Read, buffer: &mut Vec<u8>) -> Result<usize> {
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let size = usize::try_from(i32::from_be_bytes(size))?;
    if buffer.len() < size {
        buffer.resize(size, 0);
    }
    stream.read_exact(&mut buffer[..size])?;
    Ok(size)
}

/// Asks, and decodes the answer.
pub(crate) fn call<T: Request>(stream: &mut TcpStream, version: i16, body: &T) -> Result<T::Response> {
    stream.write_all(&frame(version, body)?)?;
    let mut buffer = Vec::new();
    let size = answer(stream, &mut buffer)?;
    let mut bytes = Bytes::from(buffer).slice(..size);
    Ok(moldau_kafka::decode_response::<T>(version, &mut bytes)?.1)
}

/// Values that compress by half, the same in each batch.
pub(crate) fn batch(record_bytes: usize, records: usize, codec: &str) -> Result<Bytes> {
    let codec = match codec {
        "none" => Compression::None,
        "gzip" => Compression::Gzip,
        "snappy" => Compression::Snappy,
        "lz4" => Compression::Lz4,
        "zstd" => Compression::Zstd,
        other => return Err(format!("no codec {other}").into()),
    };
    // Retention would take what is old, from one of two systems sooner than from the other.
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let now = TimestampMs(i64::try_from(now.as_millis())?);
    let mut batch = BatchBuilder::new().compression(codec);
    let mut chance = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..records {
        let value: Vec<u8> = (0..record_bytes)
            .map(|n| {
                chance ^= chance << 13;
                chance ^= chance >> 7;
                chance ^= chance << 17;
                if n % 2 == 0 { (chance & 0xff) as u8 } else { b'x' }
            })
            .collect();
        batch.append(now, None, Some(&value), &[])?;
    }
    Ok(batch.build()?.into())
}
