//! Delegation tokens (KIP-48), as far as they are secrets. A token's holder shows an HMAC: that of the token's id, by a secret
//! that the nodes have. So the log holds no secret, and each node that knows the secret can check every token.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use moldau_metadata::config::security::Secret;
use moldau_metadata::{DelegationToken, DelegationTokensImage, ScramCredential, ScramMechanism};
use moldau_model::TimestampMs;
use parking_lot::Mutex;
use ring::{digest, hmac};

use crate::scram::{are_equal, credential, decoy_salt};

/// How many stretched passwords of tokens a listener keeps. Beyond it all are made anew.
const CREDENTIALS_MAX: usize = 4096;

/// `delegation.token.secret.key`.
#[derive(Clone)]
pub struct TokenKey(hmac::Key);

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey([hidden])")
    }
}

impl TokenKey {
    #[must_use]
    pub fn new(secret: &Secret) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA512, secret.expose().as_bytes()))
    }

    /// What the holder of a token shows.
    #[must_use]
    pub fn hmac(&self, token_id: &str) -> Vec<u8> {
        hmac::sign(&self.0, token_id.as_bytes()).as_ref().to_vec()
    }

    /// What it logs in by.
    #[must_use]
    pub fn password(&self, token_id: &str) -> Secret {
        Secret::new(STANDARD.encode(self.hmac(token_id)))
    }
}

/// A token that lets somebody in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelegationLogin {
    /// As whom.
    pub owner: String,
    pub password: Secret,
    pub expires_in: Duration,
}

impl DelegationLogin {
    /// `None` once the token is over.
    #[must_use]
    pub fn of(key: &TokenKey, token: &DelegationToken, now: TimestampMs) -> Option<Self> {
        let end = token.expires_at.min(token.max_timestamp);
        let left_ms = u64::try_from(end.0.saturating_sub(now.0)).ok().filter(|left_ms| *left_ms > 0)?;
        Some(Self {
            owner: token.owner.name.to_string(),
            password: key.password(&token.id),
            expires_in: Duration::from_millis(left_ms),
        })
    }
}

/// Finds tokens by what their holders show. The HMACs of all tokens are known here, once, and looked up by their hashes: how long
/// that takes tells nothing of them.
#[derive(Debug)]
pub struct TokenFinder {
    key: TokenKey,
    found: Mutex<Found>,
}

/// The ids by the hash of the HMAC, of these tokens.
#[derive(Debug, Default)]
struct Found {
    tokens: DelegationTokensImage,
    ids: BTreeMap<Vec<u8>, Arc<str>>,
}

impl TokenFinder {
    #[must_use]
    pub fn new(key: TokenKey) -> Self {
        Self { key, found: Mutex::default() }
    }

    #[must_use]
    pub const fn key(&self) -> &TokenKey {
        &self.key
    }

    /// The id of the token, among these, that has this HMAC.
    #[must_use]
    pub fn find(&self, tokens: &DelegationTokensImage, hmac: &[u8]) -> Option<Arc<str>> {
        let hash = |hmac: &[u8]| digest::digest(&digest::SHA256, hmac).as_ref().to_vec();
        let mut found = self.found.lock();
        let Found { tokens: known, ids } = &mut *found;
        tokens.for_each_id_since(known, |id, is_there| {
            let hash = hash(&self.key.hmac(id));
            if is_there {
                ids.insert(hash, Arc::clone(id));
            } else {
                ids.remove(&hash);
            }
        });
        known.clone_from(tokens);
        let id = ids.get(&hash(hmac))?;
        are_equal(hmac, &self.key.hmac(id)).then(|| Arc::clone(id))
    }
}

/// What tokens' passwords become when they are stretched, which takes long enough to be done once. A token that is there looks
/// to a stranger as one that is not: its salt is made in the same way.
#[derive(Debug, Default)]
pub(crate) struct TokenCredentials(Mutex<BTreeMap<(ScramMechanism, String), ScramCredential>>);

impl TokenCredentials {
    /// `secret` is the one of decoys.
    pub(crate) fn of(
        &self,
        mechanism: ScramMechanism,
        token_id: &str,
        password: &Secret,
        secret: &[u8],
    ) -> ScramCredential {
        let place = (mechanism, token_id.to_owned());
        if let Some(known) = self.0.lock().get(&place) {
            return known.clone();
        }
        let salt = decoy_salt(mechanism, token_id, secret);
        let made = credential(mechanism, password.expose(), salt, ScramMechanism::ITERATIONS_MIN);
        let mut known = self.0.lock();
        if known.len() >= CREDENTIALS_MAX {
            known.clear();
        }
        known.insert(place, made.clone());
        made
    }
}

#[cfg(test)]
mod tests {
    use moldau_metadata::{MetadataBatch, MetadataImage, MetadataRecord};
    use moldau_model::{LeaderEpoch, Offset, Principal};

    use super::*;

    fn token(id: &str) -> DelegationToken {
        DelegationToken {
            id: id.into(),
            owner: Principal::user("alice"),
            requester: Principal::user("alice"),
            renewers: Vec::new(),
            issued_at: TimestampMs(0),
            max_timestamp: TimestampMs(100),
            expires_at: TimestampMs(50),
        }
    }

    fn image(ids: &[&str]) -> MetadataImage {
        let records: Vec<MetadataRecord> = ids.iter().map(|id| token(id).to_record().into()).collect();
        let batch = MetadataBatch::from(records);
        MetadataImage::empty().replay_image(&batch, Offset(1), LeaderEpoch(1)).unwrap()
    }

    fn key() -> TokenKey {
        TokenKey::new(&Secret::new("Jefe"))
    }

    /// RFC 4231, case 2.
    #[test]
    fn what_a_holder_shows_is_the_hmac_of_the_id() {
        let hmac = key().hmac("what do ya want for nothing?");
        assert_eq!(hmac[..8], [0x16, 0x4b, 0x7a, 0x7b, 0xfc, 0xf8, 0x19, 0xe2]);
        assert_eq!(hmac.len(), 64);
        assert_eq!(format!("{:?}", key()), "TokenKey([hidden])");
        assert_eq!(format!("{:?}", key().password("a")), "[hidden]");
    }

    #[test]
    fn tokens_are_found_by_their_hmac_while_they_are_there() {
        let finder = TokenFinder::new(key());
        let (both, one) = (image(&["a", "b"]), image(&["b"]));
        let find = |image: &MetadataImage, hmac: &[u8]| finder.find(image.delegation_tokens(), hmac);
        assert_eq!(find(&both, &key().hmac("a")).as_deref(), Some("a"));
        assert_eq!(find(&one, &key().hmac("a")), None);
        assert_eq!(find(&one, &key().hmac("b")).as_deref(), Some("b"));
        assert_eq!(find(&both, &key().hmac("a")).as_deref(), Some("a"));
        for wrong in [&b""[..], b"a", &key().hmac("c"), &key().hmac("a")[..63]] {
            assert_eq!(find(&both, wrong), None);
        }
        let other = TokenFinder::new(TokenKey::new(&Secret::new("other")));
        assert_eq!(other.find(both.delegation_tokens(), &key().hmac("a")), None);
    }

    #[test]
    fn a_token_lets_its_owner_in_until_it_is_over() {
        let at = |now: i64| DelegationLogin::of(&key(), &token("a"), TimestampMs(now));
        let login = at(10).unwrap();
        assert_eq!((login.owner.as_str(), login.expires_in), ("alice", Duration::from_millis(40)));
        assert_eq!(login.password, key().password("a"));
        assert_eq!((at(50), at(51)), (None, None));
        let beyond = DelegationToken { expires_at: TimestampMs(500), ..token("a") };
        assert_eq!(DelegationLogin::of(&key(), &beyond, TimestampMs(100)), None);
    }

    #[test]
    fn stretched_passwords_are_made_once() {
        let credentials = TokenCredentials::default();
        let made = || credentials.of(ScramMechanism::Sha256, "a", &key().password("a"), b"secret");
        assert_eq!(made(), made());
        assert_eq!(credentials.0.lock().len(), 1);
        assert_eq!(made().salt, decoy_salt(ScramMechanism::Sha256, "a", b"secret"));
    }
}
