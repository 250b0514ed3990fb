//! 128-bit ids in the form Kafka prints them: 22 characters of URL-safe base64, without padding.

use std::fmt;
use std::str::FromStr;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const TEXT_LENGTH: usize = 22;

/// A 128-bit id: of a cluster, a directory, an incarnation, a topic.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid([u8; 16]);

/// A topic's identity, which a topic recreated under the same name does not share (KIP-516).
pub type TopicId = Uuid;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseUuidError;

impl fmt::Display for ParseUuidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a 22-character URL-safe base64 id")
    }
}

impl std::error::Error for ParseUuidError {}

impl Uuid {
    /// No id at all; on the wire, the null id.
    pub const ZERO: Self = Self([0; 16]);
    /// Reserved by KIP-853's predecessors: Kafka never hands out 0 or 1.
    pub const ONE: Self = Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Makes sixteen random bytes a version 4 id, the kind Kafka hands out. The first character of its text
    /// is never `-`, so that an id can be given to a command line as a word of its own.
    #[must_use]
    pub const fn from_random_bytes(mut bytes: [u8; 16]) -> Self {
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        if bytes[0] >> 2 == 62 {
            bytes[0] &= 0x7f;
        }
        Self(bytes)
    }

    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = u128::from_be_bytes(self.0);
        let mut text = [0u8; TEXT_LENGTH];
        for (i, out) in text.iter_mut().enumerate() {
            // The last character holds the two lowest bits, shifted up by four.
            let six_bits = if i < 21 { (number >> (122 - 6 * i)) & 0x3f } else { (number << 4) & 0x3f };
            *out = ALPHABET[six_bits as usize];
        }
        f.pad(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Uuid {
    type Err = ParseUuidError;

    fn from_str(text: &str) -> Result<Self, ParseUuidError> {
        let text = text.as_bytes();
        if text.len() != TEXT_LENGTH {
            return Err(ParseUuidError);
        }
        let mut number: u128 = 0;
        for (i, character) in text.iter().enumerate() {
            let six_bits = ALPHABET.iter().position(|c| c == character).ok_or(ParseUuidError)? as u128;
            if i < 21 {
                number = (number << 6) | six_bits;
            } else if six_bits & 0x0f == 0 {
                number = (number << 2) | (six_bits >> 4);
            } else {
                return Err(ParseUuidError);
            }
        }
        Ok(Self(number.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_an_id_is_kafkas() {
        // The cluster id that Apache Kafka's container image ships with.
        let text = "5L6g3nShT-eMCtK--X86sw";
        let id: Uuid = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(Uuid::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(Uuid::from_bytes([0xff; 16]).to_string(), "_____________________w");
    }

    #[test]
    fn what_is_not_an_id_is_refused() {
        for text in [
            "",
            "5L6g3nShT-eMCtK--X86s",
            "5L6g3nShT-eMCtK--X86sww",
            "5L6g3nShT+eMCtK--X86sw",
            "_____________________x",
        ] {
            assert_eq!(text.parse::<Uuid>(), Err(ParseUuidError), "{text:?}");
        }
    }

    #[test]
    fn a_random_id_is_version_four_and_never_starts_with_a_dash() {
        let id = Uuid::from_random_bytes([0xfb; 16]);
        assert_eq!(id.as_bytes()[6] >> 4, 4);
        assert_eq!(id.as_bytes()[8] >> 6, 2);
        assert!(!id.to_string().starts_with('-'));
    }
}
