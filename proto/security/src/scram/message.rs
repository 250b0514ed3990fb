//! The four messages of an exchange, as RFC 5802 writes them. Attributes come in a fixed order, each once.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A name or nonce longer than this is nobody's.
const TEXT_BYTES_MAX: usize = 1024;

/// The extension by which a client says that it logs in by a delegation token.
pub(super) const TOKEN_EXTENSION: &str = "tokenauth=";

pub(super) fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub(super) fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// `n,a=authzid,n=user,r=nonce`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientFirst<'a> {
    /// With its comma: what the last message repeats in base64.
    pub(super) gs2_header: &'a str,
    pub(super) authorization_id: Option<String>,
    /// Without the header.
    pub(super) bare: &'a str,
    pub(super) user: String,
    pub(super) nonce: &'a str,
    /// The user's name is the id of a delegation token.
    pub(super) is_token: bool,
}

impl<'a> ClientFirst<'a> {
    pub(super) fn parse(message: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(message).ok()?;
        // No channel binding is offered, so `p` is none of ours, and `y` is what Kafka does not take either.
        let rest = text.strip_prefix("n,")?;
        let (authorization, bare) = rest.split_once(',')?;
        let authorization_id = match authorization {
            "" => None,
            some => Some(name(some.strip_prefix("a=")?)?),
        };
        let gs2_header = &text[..text.len() - bare.len()];
        let mut attributes = bare.split(',');
        let user = name(attributes.next()?.strip_prefix("n=")?)?;
        let nonce = attributes.next()?.strip_prefix("r=").filter(|nonce| is_nonce(nonce))?;
        // Extensions follow, of which a server that does not know them takes no notice.
        let is_token = attributes
            .filter_map(|extension| extension.strip_prefix(TOKEN_EXTENSION))
            .any(|value| value.eq_ignore_ascii_case("true"));
        Some(Self { gs2_header, authorization_id, bare, user, nonce, is_token })
    }
}

/// `c=header,r=nonce,p=proof`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientFinal<'a> {
    pub(super) channel_binding: Vec<u8>,
    pub(super) nonce: &'a str,
    pub(super) proof: Vec<u8>,
    pub(super) without_proof: &'a str,
}

impl<'a> ClientFinal<'a> {
    pub(super) fn parse(message: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(message).ok()?;
        let (without_proof, proof) = text.rsplit_once(",p=")?;
        let mut attributes = without_proof.split(',');
        let channel_binding = from_base64(attributes.next()?.strip_prefix("c=")?)?;
        let nonce = attributes.next()?.strip_prefix("r=").filter(|nonce| is_nonce(nonce))?;
        Some(Self { channel_binding, nonce, proof: from_base64(proof)?, without_proof })
    }
}

/// `r=nonce,s=salt,i=iterations`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServerFirst<'a> {
    pub(super) nonce: &'a str,
    pub(super) salt: Vec<u8>,
    pub(super) iterations: i32,
}

impl<'a> ServerFirst<'a> {
    pub(super) fn parse(message: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(message).ok()?;
        let mut attributes = text.split(',');
        let nonce = attributes.next()?.strip_prefix("r=").filter(|nonce| is_nonce(nonce))?;
        let salt = from_base64(attributes.next()?.strip_prefix("s=")?)?;
        let iterations = attributes.next()?.strip_prefix("i=")?.parse().ok()?;
        Some(Self { nonce, salt, iterations })
    }
}

/// A user's name with `,` and `=` written as `=2C` and `=3D`.
pub(super) fn escaped(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

/// A name out of what `escaped` makes; nothing where it is none, or longer than anybody's.
pub(crate) fn name(text: &str) -> Option<String> {
    let is_too_long = text.is_empty() || text.len() > TEXT_BYTES_MAX;
    let plain = text.replace("=2C", "\0c").replace("=3D", "\0e");
    if is_too_long || text.contains('\0') || plain.contains('=') {
        return None;
    }
    Some(plain.replace("\0c", ",").replace("\0e", "="))
}

fn is_nonce(text: &str) -> bool {
    (1..=TEXT_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
}
