//! The client's side: a handshake, and the mechanism's messages.

use moldau_metadata::ScramMechanism;
use moldau_metadata::config::security::{Login, SaslMechanism};
use moldau_model::ErrorCode;

use super::wire::{Reader, authenticate_request, handshake_request};
use crate::oauth::{READ_THE_ERROR, bearer_message};
use crate::scram::{NONCE_BYTES, ScramClient};

/// Why a server lets nobody in, or is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SaslClientError {
    #[error("the server does not offer {mechanism}, but {offered}")]
    Mechanism { mechanism: &'static str, offered: String },
    #[error("{0}")]
    Refused(String),
    #[error("the server's answer is none")]
    Malformed,
    #[error("{0}")]
    Server(String),
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum ClientStep {
    /// Send this frame and take the answer.
    Send(Vec<u8>),
    /// It is done; the session ends after so many milliseconds unless that is 0.
    Done { lifetime_ms: i64 },
}

enum Stage {
    Handshake,
    First,
    Second,
}

/// See the module.
pub struct SaslClient {
    login: Login,
    scram: Option<ScramClient>,
    stage: Stage,
    correlation_id: i32,
}

impl SaslClient {
    #[must_use]
    pub fn new(login: Login, nonce: &[u8; NONCE_BYTES]) -> Self {
        let scram = match login.mechanism {
            SaslMechanism::Plain | SaslMechanism::OauthBearer => None,
            SaslMechanism::ScramSha256 => Some(ScramMechanism::Sha256),
            SaslMechanism::ScramSha512 => Some(ScramMechanism::Sha512),
        };
        let scram = scram.map(|mechanism| {
            let client = ScramClient::new(mechanism, &login.user, login.password.expose(), nonce);
            if login.by_token { client.by_token() } else { client }
        });
        Self { login, scram, stage: Stage::Handshake, correlation_id: 0 }
    }

    /// The first frame.
    #[must_use]
    pub fn begin(&self) -> Vec<u8> {
        handshake_request(self.correlation_id, self.login.mechanism.name())
    }

    /// Takes an answer, without its size.
    ///
    /// # Errors
    /// Why there will be no session.
    pub fn handle(&mut self, answer: &[u8]) -> Result<ClientStep, SaslClientError> {
        let mut reader = Reader(answer);
        let correlation_id = reader.int32().ok_or(SaslClientError::Malformed)?;
        if correlation_id != self.correlation_id {
            return Err(SaslClientError::Malformed);
        }
        let code = reader.int16().ok_or(SaslClientError::Malformed)?;
        if matches!(self.stage, Stage::Handshake) {
            return self.take_handshake(code, &mut reader);
        }
        let message = reader.nullable_string().ok_or(SaslClientError::Malformed)?;
        if code != ErrorCode::None.code() {
            let text = if message.is_empty() { ErrorCode::from_code(code).message() } else { message };
            return Err(SaslClientError::Refused(text.to_owned()));
        }
        let token = reader.bytes().ok_or(SaslClientError::Malformed)?;
        let lifetime_ms = reader.int64().ok_or(SaslClientError::Malformed)?;
        let server = |error: crate::scram::ServerRefused| SaslClientError::Server(error.to_string());
        let Some(scram) = &mut self.scram else {
            // Of OAUTHBEARER an answer that says anything says what is wrong; the server says it once more, in Kafka's way, when
            // it has heard that this was read.
            let is_error = !token.is_empty() && self.login.mechanism == SaslMechanism::OauthBearer;
            if is_error && matches!(self.stage, Stage::First) {
                self.stage = Stage::Second;
                return Ok(self.authenticate(READ_THE_ERROR));
            }
            return if is_error {
                Err(SaslClientError::Malformed)
            } else {
                Ok(ClientStep::Done { lifetime_ms })
            };
        };
        if matches!(self.stage, Stage::First) {
            let last = scram.last(token).map_err(server)?;
            self.stage = Stage::Second;
            return Ok(self.authenticate(&last));
        }
        scram.verify(token).map_err(server)?;
        Ok(ClientStep::Done { lifetime_ms })
    }

    fn take_handshake(&mut self, code: i16, reader: &mut Reader<'_>) -> Result<ClientStep, SaslClientError> {
        if code != ErrorCode::None.code() {
            let count = reader.int32().unwrap_or(0).clamp(0, 16);
            let offered: Vec<&str> = (0..count).map_while(|_| reader.string()).collect();
            let mechanism = self.login.mechanism.name();
            return Err(SaslClientError::Mechanism { mechanism, offered: offered.join(", ") });
        }
        self.stage = Stage::First;
        let first = match &self.scram {
            Some(scram) => scram.first(),
            None if self.login.mechanism == SaslMechanism::OauthBearer => {
                bearer_message(self.login.password.expose())
            }
            None => format!("\0{}\0{}", self.login.user, self.login.password.expose()).into_bytes(),
        };
        Ok(self.authenticate(&first))
    }

    fn authenticate(&mut self, token: &[u8]) -> ClientStep {
        self.correlation_id += 1;
        ClientStep::Send(authenticate_request(self.correlation_id, token))
    }
}
