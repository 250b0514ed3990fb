//! The few messages of authentication, read and written by hand: what is read before anybody is known stays small enough
//! to be looked through.

pub(super) const SASL_HANDSHAKE: i16 = 17;
pub(super) const API_VERSIONS: i16 = 18;
pub(super) const SASL_AUTHENTICATE: i16 = 36;
/// The largest version of SaslHandshake.
pub(super) const HANDSHAKE_VERSION_MAX: i16 = 1;
/// The largest version of SaslAuthenticate; it is the flexible one.
pub(super) const AUTHENTICATE_VERSION_MAX: i16 = 2;

/// A request's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) api_key: i16,
    pub(super) version: i16,
    pub(super) correlation_id: i32,
}

pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn int16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    pub(super) fn int32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(super) fn int64(&mut self) -> Option<i64> {
        Some(i64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    /// Empty where it is null.
    pub(super) fn nullable_string(&mut self) -> Option<&'a str> {
        match self.int16()? {
            -1 => Some(""),
            length => std::str::from_utf8(self.take(usize::try_from(length).ok()?)?).ok(),
        }
    }

    pub(super) fn string(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.int16()?).ok()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.int32()?).ok()?;
        self.take(length)
    }

    fn varint(&mut self) -> Option<u32> {
        let mut value = 0u32;
        for shift in (0..35).step_by(7) {
            let byte = *self.take(1)?.first()?;
            value |= u32::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    pub(super) fn compact_bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.varint()?.checked_sub(1)?;
        self.take(usize::try_from(length).ok()?)
    }

    pub(super) fn tagged_fields(&mut self) -> Option<()> {
        for _ in 0..self.varint()? {
            self.varint()?;
            let length = self.varint()?;
            self.take(usize::try_from(length).ok()?)?;
        }
        Some(())
    }
}

/// The header of a request, and what comes behind the client's id.
pub(super) fn header(frame: &[u8]) -> Option<(Header, Reader<'_>)> {
    let mut reader = Reader(frame);
    let header =
        Header { api_key: reader.int16()?, version: reader.int16()?, correlation_id: reader.int32()? };
    reader.nullable_string()?;
    Some((header, reader))
}

fn framed(body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut frame = vec![0; 4];
    body(&mut frame);
    let size = u32::try_from(frame.len() - 4).unwrap_or(u32::MAX);
    frame[..4].copy_from_slice(&size.to_be_bytes());
    frame
}

fn put_string(frame: &mut Vec<u8>, text: &str) {
    let length = i16::try_from(text.len()).unwrap_or(i16::MAX);
    frame.extend(length.to_be_bytes());
    frame.extend(text.bytes().take(usize::try_from(length).unwrap_or(0)));
}

fn put_varint(frame: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        frame.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    frame.push(u8::try_from(value).unwrap_or(0));
}

/// A frame without a header.
pub(super) fn raw(token: &[u8]) -> Vec<u8> {
    framed(|frame| frame.extend(token))
}

pub(super) fn handshake_response(header: Header, error: i16, mechanisms: &[&str]) -> Vec<u8> {
    framed(|frame| {
        frame.extend(header.correlation_id.to_be_bytes());
        frame.extend(error.to_be_bytes());
        frame.extend(i32::try_from(mechanisms.len()).unwrap_or(0).to_be_bytes());
        for mechanism in mechanisms {
            put_string(frame, mechanism);
        }
    })
}

pub(super) fn authenticate_response(
    header: Header,
    error: i16,
    message: Option<&str>,
    token: &[u8],
    lifetime_ms: i64,
) -> Vec<u8> {
    framed(|frame| {
        frame.extend(header.correlation_id.to_be_bytes());
        let is_flexible = header.version >= AUTHENTICATE_VERSION_MAX;
        if is_flexible {
            frame.push(0);
        }
        frame.extend(error.to_be_bytes());
        match (message, is_flexible) {
            (None, true) => frame.push(0),
            (None, false) => frame.extend((-1i16).to_be_bytes()),
            (Some(text), true) => {
                put_varint(frame, text.len() + 1);
                frame.extend(text.bytes());
            }
            (Some(text), false) => put_string(frame, text),
        }
        if is_flexible {
            put_varint(frame, token.len() + 1);
        } else {
            frame.extend(i32::try_from(token.len()).unwrap_or(0).to_be_bytes());
        }
        frame.extend(token);
        if header.version >= 1 {
            frame.extend(lifetime_ms.to_be_bytes());
        }
        if is_flexible {
            frame.push(0);
        }
    })
}

fn request(api_key: i16, version: i16, correlation_id: i32, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    framed(|frame| {
        frame.extend(api_key.to_be_bytes());
        frame.extend(version.to_be_bytes());
        frame.extend(correlation_id.to_be_bytes());
        put_string(frame, "moldau");
        body(frame);
    })
}

/// SaslHandshake, version 1.
pub(super) fn handshake_request(correlation_id: i32, mechanism: &str) -> Vec<u8> {
    request(SASL_HANDSHAKE, 1, correlation_id, |frame| put_string(frame, mechanism))
}

/// SaslAuthenticate, version 1: the last one that is not flexible.
pub(super) fn authenticate_request(correlation_id: i32, token: &[u8]) -> Vec<u8> {
    request(SASL_AUTHENTICATE, 1, correlation_id, |frame| {
        frame.extend(i32::try_from(token.len()).unwrap_or(0).to_be_bytes());
        frame.extend(token);
    })
}
