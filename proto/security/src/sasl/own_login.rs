//! The login that the nodes of one cluster share. It lets them in, and whoever has it, before metadata holds any user: or
//! a cluster that speaks nothing but SCRAM could neither form nor be given its first user.

use moldau_metadata::config::security::{Login, SaslMechanism};
use moldau_metadata::{ScramCredential, ScramMechanism};

use super::CredentialStore;
use crate::delegation::DelegationLogin;
use crate::oauth::{TokenRefusal, TokenVerifier, VerifiedToken};
use crate::scram::credential;

/// See the module.
#[derive(Debug)]
pub struct OwnLogin {
    mechanism: ScramMechanism,
    user: String,
    credential: ScramCredential,
}

impl OwnLogin {
    /// `None` where the login is not SCRAM's. Takes as long as a password is stretched; `salt` is chance.
    #[must_use]
    pub fn of(login: &Login, salt: &[u8]) -> Option<Self> {
        let mechanism = match login.mechanism {
            SaslMechanism::Plain | SaslMechanism::OauthBearer => return None,
            SaslMechanism::ScramSha256 => ScramMechanism::Sha256,
            SaslMechanism::ScramSha512 => ScramMechanism::Sha512,
        };
        let iterations = ScramMechanism::ITERATIONS_MIN;
        let credential = credential(mechanism, login.password.expose(), salt.to_vec(), iterations);
        Some(Self { mechanism, user: login.user.clone(), credential })
    }
}

/// What is kept in `store`, behind it the login of the nodes, and beside it tokens.
pub struct WithOwnLogin<'a> {
    pub own: Option<&'a OwnLogin>,
    pub tokens: Option<&'a TokenVerifier>,
    /// Milliseconds since 1970.
    pub now_ms: i64,
    pub store: &'a dyn CredentialStore,
}

impl CredentialStore for WithOwnLogin<'_> {
    fn scram(&self, mechanism: ScramMechanism, user: &str) -> Option<ScramCredential> {
        let own = self.own.filter(|own| own.mechanism == mechanism && own.user == user);
        self.store.scram(mechanism, user).or_else(|| own.map(|own| own.credential.clone()))
    }

    fn delegation_token(&self, id: &str) -> Option<DelegationLogin> {
        self.store.delegation_token(id)
    }

    fn token(&self, token: &str) -> Result<VerifiedToken, TokenRefusal> {
        self.tokens.map_or(Err(TokenRefusal::NotEnabled), |tokens| tokens.verify(token, self.now_ms))
    }
}

#[cfg(test)]
mod tests {
    use moldau_metadata::config::security::Secret;

    use super::*;

    struct Store(Option<ScramCredential>);

    impl CredentialStore for Store {
        fn scram(&self, _: ScramMechanism, _: &str) -> Option<ScramCredential> {
            self.0.clone()
        }
    }

    #[test]
    fn a_users_own_password_goes_before_the_one_of_the_configuration() {
        let login = |mechanism| Login {
            mechanism,
            user: "node".to_owned(),
            password: Secret::new("a"),
            token_file: None,
            by_token: false,
        };
        assert!(OwnLogin::of(&login(SaslMechanism::Plain), b"salt").is_none());
        let own = OwnLogin::of(&login(SaslMechanism::ScramSha256), b"salt");
        let expected = credential(ScramMechanism::Sha256, "a", b"salt".to_vec(), 4096);
        let none = WithOwnLogin { own: own.as_ref(), tokens: None, now_ms: 0, store: &Store(None) };
        assert_eq!(none.scram(ScramMechanism::Sha256, "node"), Some(expected));
        assert_eq!(none.scram(ScramMechanism::Sha512, "node"), None);
        assert_eq!(none.scram(ScramMechanism::Sha256, "other"), None);
        let changed = credential(ScramMechanism::Sha256, "b", b"other".to_vec(), 4096);
        let store = Store(Some(changed.clone()));
        let some = WithOwnLogin { own: own.as_ref(), tokens: None, now_ms: 0, store: &store };
        assert_eq!(some.scram(ScramMechanism::Sha256, "node"), Some(changed));
    }
}
