//! The server's side: two messages in, two out.

use moldau_metadata::{ScramCredential, ScramMechanism};

use super::message::{ClientFinal, ClientFirst, to_base64};
use super::{NONCE_BYTES, are_equal, hash, sign, xor};

/// Where an exchange is that has begun.
struct Begun {
    user: String,
    credential: ScramCredential,
    /// The user is known, and says that it acts for itself.
    is_real: bool,
    gs2_header: String,
    nonce: String,
    /// `client-first-bare,server-first`.
    messages: String,
}

/// One exchange. It is over after two messages, whatever they are.
pub struct ScramServer {
    mechanism: ScramMechanism,
    begun: Option<Begun>,
}

/// Why somebody is not let in. The client is told one thing in all cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScramRefusal {
    #[error("the message is none of SCRAM's")]
    Malformed,
    #[error("the nonce is not the one that was given")]
    Nonce,
    #[error("the channel binding is not the one that was begun with")]
    ChannelBinding,
    #[error("the user or the password is wrong")]
    Credentials,
}

/// What a user that does not exist is given instead of a credential of its own: the same one each time, so that nobody can
/// tell by asking twice. `secret` is this process's own.
#[must_use]
pub fn decoy(mechanism: ScramMechanism, user: &str, secret: &[u8]) -> ScramCredential {
    let salt = decoy_salt(mechanism, user, secret);
    let key = sign(mechanism, secret, &[b"no such user:", user.as_bytes()].concat());
    ScramCredential {
        salt,
        stored_key: key.clone(),
        server_key: key,
        iterations: ScramMechanism::ITERATIONS_MIN,
    }
}

/// The salt of a decoy.
pub(crate) fn decoy_salt(mechanism: ScramMechanism, user: &str, secret: &[u8]) -> Vec<u8> {
    let mut salt = sign(mechanism, secret, user.as_bytes());
    salt.truncate(16);
    salt
}

impl ScramServer {
    #[must_use]
    pub const fn new(mechanism: ScramMechanism) -> Self {
        Self { mechanism, begun: None }
    }

    /// Takes the first message. `credential_of` gives a user's credential, if there is such a user, or a delegation token's, if
    /// the second argument says that the name is a token's id; `secret` is for [`decoy`].
    ///
    /// # Errors
    /// `Malformed`.
    pub fn first(
        &mut self,
        message: &[u8],
        nonce: &[u8; NONCE_BYTES],
        secret: &[u8],
        credential_of: impl FnOnce(&str, bool) -> Option<ScramCredential>,
    ) -> Result<Vec<u8>, ScramRefusal> {
        let first = ClientFirst::parse(message).ok_or(ScramRefusal::Malformed)?;
        let known = credential_of(&first.user, first.is_token);
        let acts_for_itself = first.authorization_id.as_ref().is_none_or(|id| *id == first.user);
        let is_real = known.is_some() && acts_for_itself;
        let decoy = decoy(self.mechanism, &first.user, secret);
        let credential = known.unwrap_or(decoy);
        let nonce = format!("{}{}", first.nonce, to_base64(nonce));
        let (salt, iterations) = (to_base64(&credential.salt), credential.iterations);
        let answer = format!("r={nonce},s={salt},i={iterations}");
        self.begun = Some(Begun {
            user: first.user,
            credential,
            is_real,
            gs2_header: first.gs2_header.to_owned(),
            nonce,
            messages: format!("{},{answer}", first.bare),
        });
        Ok(answer.into_bytes())
    }

    /// Takes the last message: who it is, or which token, and the last answer.
    ///
    /// # Errors
    /// Why it is nobody.
    pub fn last(&mut self, message: &[u8]) -> Result<(String, Vec<u8>), ScramRefusal> {
        let begun = self.begun.take().ok_or(ScramRefusal::Malformed)?;
        let last = ClientFinal::parse(message).ok_or(ScramRefusal::Malformed)?;
        // A client that names another nonce repeats an exchange that it has overheard (CVE-2024-56128).
        if !are_equal(last.nonce.as_bytes(), begun.nonce.as_bytes()) {
            return Err(ScramRefusal::Nonce);
        }
        if last.channel_binding != begun.gs2_header.as_bytes() {
            return Err(ScramRefusal::ChannelBinding);
        }
        let (mechanism, credential) = (self.mechanism, &begun.credential);
        let message = format!("{},{}", begun.messages, last.without_proof);
        let client_signature = sign(mechanism, &credential.stored_key, message.as_bytes());
        let client_key = xor(&last.proof, &client_signature);
        let knows_password = are_equal(&hash(mechanism, &client_key), &credential.stored_key)
            && last.proof.len() == client_signature.len();
        let server_signature = sign(mechanism, &credential.server_key, message.as_bytes());
        if !knows_password || !begun.is_real {
            return Err(ScramRefusal::Credentials);
        }
        Ok((begun.user, format!("v={}", to_base64(&server_signature)).into_bytes()))
    }

    /// Whether the first message was taken.
    #[must_use]
    pub const fn has_begun(&self) -> bool {
        self.begun.is_some()
    }
}
