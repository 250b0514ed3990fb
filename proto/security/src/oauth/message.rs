//! The client's first message (RFC 7628, 3.1): `n,a=AUTHZID,\x01auth=Bearer TOKEN\x01key=value\x01\x01`.

use crate::scram::message::name;

const SEPARATOR: char = '\x01';

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BearerMessage<'a> {
    pub(crate) authorization_id: Option<String>,
    pub(crate) token: &'a str,
}

impl<'a> BearerMessage<'a> {
    /// What the client is told of a message that is none is Kafka's.
    pub(crate) fn parse(message: &'a [u8]) -> Result<Self, &'static str> {
        const INVALID: &str = "Invalid OAUTHBEARER client first message";
        let text = std::str::from_utf8(message).map_err(|_| INVALID)?;
        let (authorization, rest) =
            text.strip_prefix("n,").and_then(|rest| rest.split_once(',')).ok_or(INVALID)?;
        let authorization_id = match authorization {
            "" => None,
            some => Some(some.strip_prefix("a=").and_then(name).ok_or(INVALID)?),
        };
        let pairs = rest.strip_prefix(SEPARATOR).and_then(|pairs| pairs.strip_suffix(SEPARATOR));
        // Each pair has its own separator, and one more ends the message.
        let pairs = pairs.filter(|pairs| pairs.is_empty() || pairs.ends_with(SEPARATOR)).ok_or(INVALID)?;
        let mut credentials = None;
        for pair in pairs.split_terminator(SEPARATOR) {
            let (key, value) = pair.split_once('=').ok_or(INVALID)?;
            let is_value = |c: char| matches!(c, ' '..='~' | '\t' | '\r' | '\n');
            if key.is_empty() || !key.chars().all(|c| c.is_ascii_alphabetic()) || !value.chars().all(is_value)
            {
                return Err(INVALID);
            }
            // Extensions are for others to read; of credentials there are one.
            if key == "auth" && credentials.replace(value).is_some() {
                return Err(INVALID);
            }
        }
        let credentials =
            credentials.ok_or("Invalid OAUTHBEARER client first message: 'auth' not specified")?;
        let (scheme, token) = credentials
            .split_once(' ')
            .map(|(scheme, token)| (scheme, token.trim()))
            .filter(|(_, token)| !token.is_empty())
            .ok_or("Invalid OAUTHBEARER client first message: invalid 'auth' format")?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err("Invalid scheme in OAUTHBEARER client first message");
        }
        Ok(Self { authorization_id, token })
    }
}

/// What a client sends.
pub(crate) fn bearer_message(token: &str) -> Vec<u8> {
    format!("n,,{SEPARATOR}auth=Bearer {token}{SEPARATOR}{SEPARATOR}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_send_is_read_and_nothing_else() {
        let message = |token, authorization_id: Option<&str>| BearerMessage {
            token,
            authorization_id: authorization_id.map(str::to_owned),
        };
        assert_eq!(BearerMessage::parse(&bearer_message("a.b-c_d.e")), Ok(message("a.b-c_d.e", None)));
        let full = b"n,a=al=2Cice,\x01auth=bearer  t\x01scope=a b\x01\x01";
        assert_eq!(BearerMessage::parse(full), Ok(message("t", Some("al,ice"))));
        for (text, told) in [
            (&b""[..], "first message"),
            (b"n,,", "first message"),
            (b"y,,\x01auth=Bearer t\x01\x01", "first message"),
            (b"n,a=,\x01auth=Bearer t\x01\x01", "first message"),
            (b"n,,\x01auth=Bearer t\x01", "first message"),
            (b"n,,\x01auth=Bearer t\x01auth=Bearer u\x01\x01", "first message"),
            (b"n,,\x01=x\x01auth=Bearer t\x01\x01", "first message"),
            (b"n,,\x01auth=Bearer \xff\x01\x01", "first message"),
            (b"n,,\x01\x01", "not specified"),
            (b"n,,\x01auth=Bearer\x01\x01", "invalid 'auth' format"),
            (b"n,,\x01auth=Bearer  \x01\x01", "invalid 'auth' format"),
            (b"n,,\x01auth=Basic t\x01\x01", "Invalid scheme"),
        ] {
            let refused = BearerMessage::parse(text).unwrap_err();
            assert!(refused.contains(told), "{text:?}: {refused}");
        }
    }
}
