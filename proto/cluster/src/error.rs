//! Why a controller did not do what it was asked.

use moldau_model::{BrokerId, ErrorCode};
use thiserror::Error;

/// Where the active controller was last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderHint {
    /// The active controller's `node.id`.
    pub node_id: BrokerId,
    /// Its CONTROLLER listener, `host:port`; empty while the quorum is one process.
    pub address: String,
}

/// A request that the controller did not carry out, or whose outcome is not known.
///
/// `NotController`, `Timeout` and `Stopping` leave the outcome **unknown** where the request had been proposed already:
/// the caller repeats it, and the epochs inside make the repetition harmless.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ControllerError {
    /// This node is not the active controller, or stopped being it while it worked on the request.
    #[error("this node is not the active controller")]
    NotController {
        /// Whom to ask instead, if anybody is known to lead.
        leader: Option<LeaderHint>,
    },
    /// No answer within the time a request may take.
    #[error("the controller did not answer in time")]
    Timeout,
    /// The controller is shutting down.
    #[error("the controller is stopping")]
    Stopping,
    /// Another process has the broker's id: its session was renewed while this one waited for its end.
    #[error("another broker lives by this id, at {address}")]
    BrokerLives {
        /// Its listeners.
        address: String,
    },
    /// The request was refused; nothing was changed.
    #[error("refused: {0}")]
    Kafka(ErrorCode),
}

impl ControllerError {
    /// The code by which a Kafka client learns of this error.
    #[must_use]
    pub const fn error_code(&self) -> ErrorCode {
        match self {
            Self::NotController { .. } | Self::Stopping => ErrorCode::NotController,
            Self::Timeout => ErrorCode::RequestTimedOut,
            Self::BrokerLives { .. } => ErrorCode::DuplicateBrokerRegistration,
            Self::Kafka(code) => *code,
        }
    }

    /// Whether the same request may succeed later or elsewhere.
    #[must_use]
    pub const fn is_retriable(&self) -> bool {
        match self {
            Self::NotController { .. } | Self::Timeout | Self::Stopping => true,
            Self::BrokerLives { .. } => false,
            Self::Kafka(code) => code.is_retriable(),
        }
    }
}

impl From<ErrorCode> for ControllerError {
    fn from(code: ErrorCode) -> Self {
        Self::Kafka(code)
    }
}
