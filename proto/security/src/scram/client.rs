//! The client's side: two messages out, two in.

use moldau_metadata::ScramMechanism;

use super::message::{ServerFirst, TOKEN_EXTENSION, escaped, from_base64, to_base64};
use super::{NONCE_BYTES, are_equal, hash, salted_password, sign, xor};

/// A server that asks for more has no user's good in mind.
const ITERATIONS_MAX: i32 = ScramMechanism::ITERATIONS_MAX;

/// Why a server is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerRefused {
    #[error("the server's message is none of SCRAM's")]
    Malformed,
    #[error("the server answered with another nonce")]
    Nonce,
    #[error("the server asks for {0} iterations")]
    Iterations(i32),
    #[error("the server does not know the password")]
    Signature,
}

/// One exchange.
pub struct ScramClient {
    mechanism: ScramMechanism,
    nonce: String,
    first_bare: String,
    password: String,
    server_signature: Vec<u8>,
}

impl ScramClient {
    #[must_use]
    pub fn new(mechanism: ScramMechanism, user: &str, password: &str, nonce: &[u8; NONCE_BYTES]) -> Self {
        let nonce = to_base64(nonce);
        let first_bare = format!("n={},r={nonce}", escaped(user));
        Self { mechanism, nonce, first_bare, password: password.to_owned(), server_signature: Vec::new() }
    }

    /// The user's name is a delegation token's id, and the password what its holder shows.
    #[must_use]
    pub fn by_token(mut self) -> Self {
        self.first_bare = format!("{},{TOKEN_EXTENSION}true", self.first_bare);
        self
    }

    /// What is said first.
    #[must_use]
    pub fn first(&self) -> Vec<u8> {
        format!("n,,{}", self.first_bare).into_bytes()
    }

    /// Takes the server's first message, and gives the last one of the client's.
    ///
    /// # Errors
    /// What is wrong with the server.
    pub fn last(&mut self, message: &[u8]) -> Result<Vec<u8>, ServerRefused> {
        self.last_under(message, b"n,,")
    }

    fn last_under(&mut self, message: &[u8], gs2_header: &[u8]) -> Result<Vec<u8>, ServerRefused> {
        let first = ServerFirst::parse(message).ok_or(ServerRefused::Malformed)?;
        if !first.nonce.starts_with(&self.nonce) || first.nonce.len() == self.nonce.len() {
            return Err(ServerRefused::Nonce);
        }
        if !(ScramMechanism::ITERATIONS_MIN..=ITERATIONS_MAX).contains(&first.iterations) {
            return Err(ServerRefused::Iterations(first.iterations));
        }
        let mechanism = self.mechanism;
        let salted = salted_password(mechanism, self.password.as_bytes(), &first.salt, first.iterations);
        let client_key = sign(mechanism, &salted, b"Client Key");
        let server_key = sign(mechanism, &salted, b"Server Key");
        let without_proof = format!("c={},r={}", to_base64(gs2_header), first.nonce);
        let server_first = String::from_utf8_lossy(message);
        let auth = format!("{},{server_first},{without_proof}", self.first_bare);
        let signature = sign(mechanism, &hash(mechanism, &client_key), auth.as_bytes());
        self.server_signature = sign(mechanism, &server_key, auth.as_bytes());
        Ok(format!("{without_proof},p={}", to_base64(&xor(&client_key, &signature))).into_bytes())
    }

    /// Takes the server's last message.
    ///
    /// # Errors
    /// What is wrong with the server.
    pub fn verify(&self, message: &[u8]) -> Result<(), ServerRefused> {
        let text = std::str::from_utf8(message).map_err(|_| ServerRefused::Malformed)?;
        let signature = text.split(',').next().and_then(|first| first.strip_prefix("v="));
        let signature = signature.and_then(from_base64).ok_or(ServerRefused::Malformed)?;
        let is_right = !self.server_signature.is_empty() && are_equal(&signature, &self.server_signature);
        if is_right { Ok(()) } else { Err(ServerRefused::Signature) }
    }
}

#[cfg(test)]
impl ScramClient {
    pub(super) fn first_bare_for_tests(&self) -> &str {
        &self.first_bare
    }

    pub(super) fn last_bound(&mut self, message: &[u8], gs2_header: &str) -> Vec<u8> {
        self.last_under(message, gs2_header.as_bytes()).unwrap()
    }
}
