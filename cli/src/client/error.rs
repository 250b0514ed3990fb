//! Why a request to the cluster failed, in the kinds that a tool acts on differently.

use std::io;

use moldau_model::ErrorCode;

use super::address::InvalidAddress;
use super::budget::Spent;

/// A failed client operation.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Nobody answered at any bootstrap server. `reason` is the last server's.
    #[error("cannot reach a broker at {servers}: {reason}")]
    Unreachable { servers: String, reason: String },
    /// A connection broke, or a broker that the metadata names could not be dialled.
    #[error("connection to {address} failed: {source}")]
    Connection { address: String, source: io::Error },
    /// A server answered with one of Kafka's error codes.
    #[error("{message}")]
    Broker { code: ErrorCode, message: String },
    /// The whole operation's time is over; holds what it still waited for.
    #[error("timed out: {0}")]
    Timeout(String),
    /// The server's answer cannot be read.
    #[error("malformed answer from {address}: {reason}")]
    Malformed { address: String, reason: String },
    /// The server serves no version of this request that we know.
    #[error("the broker at {address} does not support {api}")]
    Unsupported { address: String, api: &'static str },
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    /// The operation has taken what it may.
    #[error(transparent)]
    Spent(#[from] Spent),
}

impl ClientError {
    /// The error for a response's code and its message, where it has one.
    pub(crate) fn broker(code: i16, message: Option<&str>) -> Self {
        let code = ErrorCode::from_code(code);
        let message = match message {
            Some(text) if !text.is_empty() => text.to_owned(),
            _ => code.message().to_owned(),
        };
        Self::Broker { code, message }
    }

    /// `Ok` for code 0, else the error.
    pub(crate) fn check(code: i16, message: Option<&str>) -> Result<(), Self> {
        if code == 0 { Ok(()) } else { Err(Self::broker(code, message)) }
    }

    pub(crate) fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Broker { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the same request may succeed a moment later.
    pub(crate) fn is_retriable(&self) -> bool {
        match self {
            Self::Broker { code, .. } => code.is_retriable() || *code == ErrorCode::NotController,
            Self::Connection { .. } | Self::Unreachable { .. } => true,
            Self::Timeout(_)
            | Self::Malformed { .. }
            | Self::Unsupported { .. }
            | Self::Address(_)
            | Self::Spent(_) => false,
        }
    }

    /// Whether a server has answered, and said no to whoever asks as this tool does.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Unreachable { reason, .. } if reason.starts_with(NOT_LET_IN))
    }

    /// Whether no broker answered at all, which has its own exit code.
    pub(crate) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Connection { .. } | Self::Timeout(_))
    }

    /// The Java client's class name and message, as its tools print an exception.
    pub(crate) fn java(&self) -> String {
        match self {
            Self::Broker { code, message } => {
                format!("org.apache.kafka.common.errors.{}: {message}", code.exception())
            }
            Self::Timeout(text) => format!("org.apache.kafka.common.errors.TimeoutException: {text}"),
            other => other.to_string(),
        }
    }
}

/// How the reason begins where a server answers and lets nobody in, or is not believed: to ask again changes nothing.
pub(crate) const NOT_LET_IN: &str = "not let in";

/// The plain text of an I/O error, without Rust's `(os error N)`.
pub(crate) fn io_reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "no answer in time".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::UnexpectedEof => "connection closed by the server".to_owned(),
        // SASL said no, or TLS found the other side not to be what it should be.
        io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidData => format!("{NOT_LET_IN}: {error}"),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or(&text).to_owned()
        }
    }
}
