//! An identity provider's keys: a JSON Web Key Set (RFC 7517). Keys of other kinds, and those that are not for signatures,
//! are passed over; symmetric keys are none that anybody should have put there.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use serde_json::Value;

/// A provider has a handful, two of each while they change.
const KEYS_MAX: usize = 64;
/// The smallest modulus that is believed, in bytes.
const MODULUS_BYTES_MIN: usize = 256;
/// The largest: a signature by a larger one takes long to check, and strangers say which is to be taken.
const MODULUS_BYTES_MAX: usize = 1024;

/// Why there are no keys. Nothing of them is repeated.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("cannot read {path}: {source}", path = path.display())]
    Read { path: std::path::PathBuf, source: std::io::Error },
    #[error("cannot fetch {place}: {source}")]
    Fetch { place: String, source: super::FetchError },
    #[error("whom to believe when keys are fetched: {0}")]
    Trust(#[from] crate::tls::TlsError),
    #[error("keys cannot be fetched here: {0}")]
    Thread(std::io::Error),
    #[error("{0} is no JSON Web Key Set")]
    NotKeys(String),
    #[error(
        "{0} has no key for signatures that is known: RSA of 2048 to 8192 bits, EC of P-256 or P-384, or Ed25519"
    )]
    NoKey(String),
    #[error("{0} has more than {KEYS_MAX} keys")]
    TooMany(String),
}

/// How a token says that it is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    /// EdDSA by Ed25519, the one of its curves that is known.
    Ed25519,
}

impl Algorithm {
    /// By its name in a token's header. `none` and those of shared secrets (`HS256`) are not among them.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            // RFC 8037's name, and that of RFC 9864, which names the curve.
            "EdDSA" | "Ed25519" => Self::Ed25519,
            _ => return None,
        })
    }

    const fn rsa(self) -> Option<&'static RsaParameters> {
        Some(match self {
            Self::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Self::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            Self::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            Self::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
            Self::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
            Self::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
            Self::Es256 | Self::Es384 | Self::Ed25519 => return None,
        })
    }
}

/// The keys. None by default.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct KeySet {
    keys: Vec<Key>,
}

#[derive(Debug, PartialEq, Eq)]
struct Key {
    id: Option<String>,
    /// The one algorithm that the key is for, if it says so.
    algorithm: Option<Algorithm>,
    public: PublicKey,
}

#[derive(Debug, PartialEq, Eq)]
enum PublicKey {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl KeySet {
    /// Reads a set; `place` is where it comes from, for people.
    ///
    /// # Errors
    /// Why there is no key in it.
    pub fn parse(json: &[u8], place: &str) -> Result<Self, KeysError> {
        let not_keys = || KeysError::NotKeys(place.to_owned());
        let set: Value = serde_json::from_slice(json).map_err(|_| not_keys())?;
        let listed = set.get("keys").and_then(Value::as_array).ok_or_else(not_keys)?;
        if listed.len() > KEYS_MAX {
            return Err(KeysError::TooMany(place.to_owned()));
        }
        let keys: Vec<Key> = listed.iter().filter_map(Key::parse).collect();
        if keys.is_empty() {
            return Err(KeysError::NoKey(place.to_owned()));
        }
        Ok(Self { keys })
    }

    /// Whether a key has this id.
    pub(super) fn has_id(&self, key_id: &str) -> bool {
        self.keys.iter().any(|key| key.id.as_deref() == Some(key_id))
    }

    /// Whether one of the keys that the header allows for has signed the message.
    pub(super) fn have_signed(
        &self,
        algorithm: Algorithm,
        key_id: Option<&str>,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        let is_meant = |key: &&Key| key_id.is_none() || key.id.as_deref() == key_id;
        let mut meant = self.keys.iter().filter(is_meant);
        meant.any(|key| key.has_signed(algorithm, message, signature))
    }
}

impl Key {
    /// `None` for a key that is not for checking signatures, or of a kind that is not known.
    fn parse(json: &Value) -> Option<Self> {
        let text = |name: &str| json.get(name).and_then(Value::as_str);
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        if text("use").is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let operations = json.get("key_ops").and_then(Value::as_array);
        if operations.is_some_and(|operations| !operations.iter().any(|operation| operation == "verify")) {
            return None;
        }
        let algorithm = match text("alg") {
            Some(name) => Some(Algorithm::from_name(name)?),
            None => None,
        };
        let point = |length: usize| {
            let (x, y) = (bytes("x")?, bytes("y")?);
            // Uncompressed (SEC 1, 2.3.3).
            (x.len() == length && y.len() == length).then(|| [&[4][..], &x, &y].concat())
        };
        let public = match (text("kty")?, text("crv")) {
            ("RSA", _) => {
                let (n, e) = (bytes("n")?, bytes("e")?);
                let n: Vec<u8> = n.into_iter().skip_while(|byte| *byte == 0).collect();
                if !(MODULUS_BYTES_MIN..=MODULUS_BYTES_MAX).contains(&n.len()) {
                    return None;
                }
                PublicKey::Rsa { n, e }
            }
            ("EC", Some("P-256")) => PublicKey::P256(point(32)?),
            ("EC", Some("P-384")) => PublicKey::P384(point(48)?),
            ("OKP", Some("Ed25519")) => PublicKey::Ed25519(bytes("x").filter(|x| x.len() == 32)?),
            _ => return None,
        };
        Some(Self { id: text("kid").map(str::to_owned), algorithm, public })
    }

    fn has_signed(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        // A key is used by its kind alone: what the header says must not make another kind of it.
        if self.algorithm.is_some_and(|only| only != algorithm) {
            return false;
        }
        let verify = |verification: &'static dyn VerificationAlgorithm, point: &[u8]| {
            UnparsedPublicKey::new(verification, point).verify(message, signature).is_ok()
        };
        match (&self.public, algorithm) {
            (PublicKey::Rsa { n, e }, algorithm) => algorithm.rsa().is_some_and(|parameters| {
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signature).is_ok()
            }),
            (PublicKey::P256(point), Algorithm::Es256) => verify(&signature::ECDSA_P256_SHA256_FIXED, point),
            (PublicKey::Ed25519(point), Algorithm::Ed25519) => verify(&signature::ED25519, point),
            (PublicKey::P384(point), Algorithm::Es384) => verify(&signature::ECDSA_P384_SHA384_FIXED, point),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_what_it_has_of_keys_for_signatures() {
        let modulus = URL_SAFE_NO_PAD.encode([0xab; 256]);
        let point = URL_SAFE_NO_PAD.encode([7; 32]);
        let rsa = format!(r#"{{"kty":"RSA","kid":"a","n":"{modulus}","e":"AQAB"}}"#);
        let ec = format!(r#"{{"kty":"EC","crv":"P-256","x":"{point}","y":"{point}"}}"#);
        let edwards = ec.replace("EC", "OKP").replace("P-256", "Ed25519");
        let other = [
            r#"{"kty":"oct","k":"c2VjcmV0"}"#.to_owned(),
            rsa.replace("\"kid\"", "\"use\":\"enc\",\"kid\""),
            rsa.replace("\"kid\"", "\"alg\":\"HS256\",\"kid\""),
            rsa.replace("\"kid\"", "\"key_ops\":[\"encrypt\"],\"kid\""),
            rsa.replace(&modulus, &URL_SAFE_NO_PAD.encode([0xab; 128])),
            rsa.replace(&modulus, &URL_SAFE_NO_PAD.encode([0xab; 4096])),
            ec.replace("P-256", "P-521"),
            ec.replace(&point, "AA"),
            edwards.replace(&point, "AA"),
            edwards.replace("Ed25519", "X25519"),
            edwards.replace("OKP", "EC"),
        ];
        let set =
            |keys: &[String]| KeySet::parse(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes(), "p");
        for key in &other {
            assert!(matches!(set(std::slice::from_ref(key)), Err(KeysError::NoKey(_))), "{key}");
        }
        let all = [&other[..], &[rsa, ec, edwards]].concat();
        assert_eq!(set(&all).unwrap().keys.len(), 3);
        assert!(matches!(set(&vec![all[0].clone(); KEYS_MAX + 1]), Err(KeysError::TooMany(_))));
        for json in ["", "[]", "{}", r#"{"keys":{}}"#, &"[".repeat(100_000)] {
            assert!(matches!(KeySet::parse(json.as_bytes(), "p"), Err(KeysError::NotKeys(_))));
        }
    }
}
