//! PLAIN (RFC 4616): `authorization id NUL user NUL password`. The password crosses the line as it is: TLS has to hide it.

use std::collections::BTreeMap;

use moldau_metadata::config::security::Secret;
use ring::digest::{SHA256, digest};

use crate::scram::are_equal;

/// The user, or what it is told, in Kafka's words.
pub(super) fn check(token: &[u8], users: &BTreeMap<String, Secret>) -> Result<String, &'static str> {
    let parts: Vec<&[u8]> = token.split(|byte| *byte == 0).collect();
    let [authorization_id, user, password] = parts.as_slice() else {
        return Err("Invalid SASL/PLAIN response: expected 3 tokens");
    };
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| "Invalid SASL/PLAIN response: not UTF-8");
    let (authorization_id, user) = (text(authorization_id)?, text(user)?);
    if user.is_empty() {
        return Err("Authentication failed: username not specified");
    }
    if password.is_empty() {
        return Err("Authentication failed: password not specified");
    }
    // Hashes are of one length, so that their comparison tells nothing of the password's; and who is not known takes as
    // long as who is.
    let nobody = Secret::default();
    let known = users.get(user);
    let expected = digest(&SHA256, known.unwrap_or(&nobody).expose().as_bytes());
    let is_right = are_equal(digest(&SHA256, password).as_ref(), expected.as_ref());
    if !is_right || known.is_none() {
        return Err("Authentication failed: Invalid username or password");
    }
    if !authorization_id.is_empty() && authorization_id != user {
        return Err(
            "Authentication failed: Client requested an authorization id that is different from username",
        );
    }
    Ok(user.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_password_of_a_user_gets_in() {
        let users = BTreeMap::from([("a".to_owned(), Secret::new("pw"))]);
        assert_eq!(check(b"\0a\0pw", &users), Ok("a".to_owned()));
        assert_eq!(check(b"a\0a\0pw", &users), Ok("a".to_owned()));
        let invalid = "Authentication failed: Invalid username or password";
        for (token, told) in [
            (&b"\0a\0pW"[..], invalid),
            (b"\0a\0p", invalid),
            (b"\0b\0pw", invalid),
            (b"\0\0pw", "Authentication failed: username not specified"),
            (b"\0a\0", "Authentication failed: password not specified"),
            (b"a\0pw", "Invalid SASL/PLAIN response: expected 3 tokens"),
            (b"\0a\0p\0w", "Invalid SASL/PLAIN response: expected 3 tokens"),
            (b"", "Invalid SASL/PLAIN response: expected 3 tokens"),
            (b"\0\xff\0pw", "Invalid SASL/PLAIN response: not UTF-8"),
            (
                b"b\0a\0pw",
                "Authentication failed: Client requested an authorization id that is different from username",
            ),
        ] {
            assert_eq!(check(token, &users), Err(told), "{token:?}");
        }
    }
}
