//! DescribeLogDirs (35), version 5: it tells which log directories are cordoned (KIP-1066), which kafka-protocol 0.18 does not
//! know. The request is the same in all versions from 2 on.

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::DescribeLogDirsResponse;

use crate::api_key::ApiKey;
use crate::codec::{encode_body, encode_response};
use crate::error::WireError;
use crate::frame::{SIZE_PREFIX_BYTES, seal};
use crate::header::encode_response_header;
use crate::wire::put_length;

const API_KEY: ApiKey = ApiKey::DescribeLogDirs;
/// From here on a directory says whether it is cordoned.
const CORDONED_SINCE: i16 = 5;
/// The newest version that kafka-protocol knows, of the response and of the request.
pub const DESCRIBE_LOG_DIRS_LIBRARY_VERSION: i16 = 4;

/// The whole frame of an answer; `cordoned` has one element for each result, and is told from version 5 on.
///
/// # Errors
/// None that a broker's own answer can cause.
pub fn encode_describe_log_dirs_response(
    version: i16,
    correlation_id: i32,
    body: &DescribeLogDirsResponse,
    cordoned: &[bool],
) -> Result<BytesMut, WireError> {
    if version < CORDONED_SINCE {
        return encode_response(API_KEY, version, correlation_id, body);
    }
    let mut out = BytesMut::new();
    out.put_bytes(0, SIZE_PREFIX_BYTES);
    encode_response_header(API_KEY, version, correlation_id, &mut out);
    out.put_i32(body.throttle_time_ms);
    out.put_i16(body.error_code);
    put_length(&mut out, body.results.len())?;
    for (number, result) in body.results.iter().enumerate() {
        encode_body(API_KEY, DESCRIBE_LOG_DIRS_LIBRARY_VERSION, result, &mut out)?;
        // The new field comes before the tagged fields, of which there are none: one byte.
        out.truncate(out.len() - 1);
        out.put_u8(u8::from(cordoned.get(number).copied().unwrap_or(false)));
        out.put_u8(0);
    }
    out.put_u8(0);
    seal(out)
}
