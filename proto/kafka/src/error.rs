//! What can be wrong with bytes from the wire. Every variant means "close the connection", unless it says otherwise.

use crate::api_key::ApiKey;

/// Why bytes are no Kafka frame, header or message. Cheap to make and to drop: a flood of bad frames costs no backtraces.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("frame of {size} bytes")]
    FrameNegative { size: i32 },
    #[error("empty frame")]
    FrameEmpty,
    #[error("frame of {size} bytes where {size_max} are allowed")]
    FrameTooLarge { size: usize, size_max: usize },
    #[error("message ends {missing} bytes early")]
    Truncated { missing: usize },
    #[error("unknown API key {code}")]
    UnknownApiKey { code: i16 },
    /// Never made for the header of an ApiVersions request, whose sender gets an answer.
    #[error("{api_key} version {version} is not supported")]
    UnsupportedVersion { api_key: ApiKey, version: i16 },
    #[error("variable-length number runs over its type's width")]
    VarintTooLong,
    #[error("length {length}")]
    NegativeLength { length: i32 },
    #[error("null where the schema allows none")]
    UnexpectedNull,
    #[error("{count} elements do not fit in {remaining} bytes")]
    CountTooLarge { count: usize, remaining: usize },
    #[error("more than {count_max} elements in one message")]
    TooManyElements { count_max: usize },
    #[error("message would take more than {bytes_max} bytes of memory")]
    TooCostly { bytes_max: usize },
    #[error("string is not UTF-8")]
    NotUtf8,
    #[error("presence byte {byte} of a nullable structure")]
    BadPresence { byte: i8 },
    #[error("tag {tag} out of order")]
    TagOutOfOrder { tag: u32 },
    #[error("tagged field {tag} does not fill its {size} bytes")]
    TagSize { tag: u32, size: usize },
    #[error("{bytes} bytes follow the message")]
    TrailingBytes { bytes: usize },
    /// The library refused a message that the schema allows, or a message of ours does not fit its version.
    #[error("{api_key} version {version}: {reason}")]
    Codec { api_key: ApiKey, version: i16, reason: String },
    /// A message of ours is larger than a frame's 32-bit size can say.
    #[error("message of {size} bytes is larger than a frame")]
    MessageTooLarge { size: usize },
}
