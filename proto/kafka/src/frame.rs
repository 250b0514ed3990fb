//! A frame: four bytes of size, then that many bytes. The size is judged before anything is allocated.

use bytes::BytesMut;

use crate::error::WireError;

/// The size prefix.
pub const SIZE_PREFIX_BYTES: usize = 4;

/// Kafka's `socket.request.max.bytes` default.
pub const REQUEST_SIZE_MAX_DEFAULT: usize = 100 * 1024 * 1024;

/// What a client may send before it has authenticated: Kafka's `sasl.server.max.receive.size` default.
pub const UNAUTHENTICATED_REQUEST_SIZE_MAX: usize = 512 * 1024;

/// How many bytes follow the prefix. Refuses sizes below 1 and above `size_max`.
pub fn frame_size(prefix: [u8; SIZE_PREFIX_BYTES], size_max: usize) -> Result<usize, WireError> {
    let size = i32::from_be_bytes(prefix);
    if size == 0 {
        return Err(WireError::FrameEmpty);
    }
    let size = usize::try_from(size).map_err(|_| WireError::FrameNegative { size })?;
    if size > size_max {
        return Err(WireError::FrameTooLarge { size, size_max });
    }
    Ok(size)
}

/// The prefix of a frame of `size` bytes.
pub fn size_prefix(size: usize) -> Result<[u8; SIZE_PREFIX_BYTES], WireError> {
    i32::try_from(size).map(i32::to_be_bytes).map_err(|_| WireError::MessageTooLarge { size })
}

/// Writes the size into the place that was left for it.
pub(crate) fn seal(mut frame: BytesMut) -> Result<BytesMut, WireError> {
    let prefix = size_prefix(frame.len() - SIZE_PREFIX_BYTES)?;
    frame[..SIZE_PREFIX_BYTES].copy_from_slice(&prefix);
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_prefix_is_judged_before_it_is_believed() {
        let max = REQUEST_SIZE_MAX_DEFAULT;
        for (size, expected) in [
            (1, Ok(1)),
            (max as i32, Ok(max)),
            (0, Err(WireError::FrameEmpty)),
            (-1, Err(WireError::FrameNegative { size: -1 })),
            (i32::MIN, Err(WireError::FrameNegative { size: i32::MIN })),
            (max as i32 + 1, Err(WireError::FrameTooLarge { size: max + 1, size_max: max })),
            (i32::MAX, Err(WireError::FrameTooLarge { size: i32::MAX as usize, size_max: max })),
        ] {
            assert_eq!(frame_size(size.to_be_bytes(), max), expected, "{size}");
        }
        // What an HTTP client and a TLS hello look like.
        assert!(frame_size(*b"GET ", max).is_err());
        assert!(frame_size([0x16, 3, 1, 2], max).is_err());
    }

    #[test]
    fn a_prefix_cannot_lie_about_its_frame() {
        assert_eq!(size_prefix(258), Ok([0, 0, 1, 2]));
        let size = 1 << 31;
        assert_eq!(size_prefix(size), Err(WireError::MessageTooLarge { size }));
    }
}
