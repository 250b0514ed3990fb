//! How tokens of OAUTHBEARER are checked, and where the keys for that are.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::{JaasEntry, Lookup, SecurityProblem, problem};
use crate::SecurityProtocol;
use crate::config::security::{KeysEndpoint, KeysPlace, SaslMechanism, TlsSettings, TokenSettings};
use crate::config::value::as_list;

const ENDPOINT: &str = "sasl.oauthbearer.jwks.endpoint.url";

/// The class that checks tokens, by Kafka's names of it, old and new.
pub(super) const TOKEN_VALIDATORS: &[&str] = &[
    "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler",
    "org.apache.kafka.common.security.oauthbearer.secured.OAuthBearerValidatorCallbackHandler",
];

/// `jaas`: the listener's login module, with the name under which it was found.
pub(super) fn tokens(
    lookup: &Lookup<'_>,
    jaas: Option<&(String, JaasEntry)>,
) -> Result<TokenSettings, SecurityProblem> {
    let find = |key: &str| lookup.find(Some(SaslMechanism::OauthBearer), key);
    if let Some((key, entry)) = jaas
        && entry.options.keys().any(|option| option.starts_with("unsecured"))
    {
        let text = "unsecured tokens are not taken here: what nobody signed anybody can write";
        return Err(problem(key, text));
    }
    if let Some((key, class)) = find("sasl.server.callback.handler.class")
        && !TOKEN_VALIDATORS.contains(&class)
    {
        let text = format!("{class} is not there; {} is", TOKEN_VALIDATORS[0]);
        return Err(problem(&key, text));
    }
    let text = |key: &str| find(key).map_or_else(|| lookup.text(key), |(_, text)| text).to_owned();
    let skew = "sasl.oauthbearer.clock.skew.seconds";
    let clock_skew_seconds = text(skew).parse::<i32>().ok().filter(|seconds| *seconds >= 0);
    let audiences = text("sasl.oauthbearer.expected.audience");
    Ok(TokenSettings {
        keys: keys_place(lookup, jaas)?,
        audiences: as_list(&audiences).into_iter().map(str::to_owned).collect(),
        issuer: Some(text("sasl.oauthbearer.expected.issuer")).filter(|issuer| !issuer.is_empty()),
        subject_claim: text("sasl.oauthbearer.sub.claim.name"),
        scope_claim: text("sasl.oauthbearer.scope.claim.name"),
        clock_skew_seconds: clock_skew_seconds.ok_or_else(|| problem(skew, "is no number of seconds"))?,
    })
}

fn keys_place(lookup: &Lookup<'_>, jaas: Option<&(String, JaasEntry)>) -> Result<KeysPlace, SecurityProblem> {
    let find = |key: &str| lookup.find(Some(SaslMechanism::OauthBearer), key);
    let (key, url) = find(ENDPOINT).ok_or_else(|| {
        let text = "OAUTHBEARER needs the provider's keys, a JSON Web Key Set, as https:// or as file:/path";
        problem(ENDPOINT, text)
    })?;
    if url.starts_with("file:") {
        return file_of_url(&key, url).map(KeysPlace::File);
    }
    let (host, port, path_and_query) = https_url(url).map_err(|text| problem(&key, text))?;
    let duration = |key: &str| {
        let (key, text) = find(key).unwrap_or_else(|| (key.to_owned(), lookup.text(key)));
        let ms = text.parse::<u64>().ok().filter(|ms| *ms > 0);
        let not_ms = || problem(&key, format!("{text} is no number of milliseconds above 0"));
        ms.map(Duration::from_millis).ok_or_else(not_ms)
    };
    Ok(KeysPlace::Endpoint(Box::new(KeysEndpoint {
        host,
        port,
        path_and_query,
        tls: endpoint_tls(jaas)?,
        refresh: duration("sasl.oauthbearer.jwks.endpoint.refresh.ms")?,
        retry_backoff: duration("sasl.oauthbearer.jwks.endpoint.retry.backoff.ms")?,
        retry_backoff_max: duration("sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms")?,
    })))
}

/// The provider is no listener of the cluster: as in Kafka, whom to believe stands among the login module's options.
fn endpoint_tls(jaas: Option<&(String, JaasEntry)>) -> Result<TlsSettings, SecurityProblem> {
    let options = jaas.iter().flat_map(|(_, entry)| &entry.options);
    let of_tls = options.filter(|(name, _)| name.starts_with("ssl."));
    let settings: BTreeMap<String, String> =
        of_tls.map(|(name, value)| (name.clone(), value.expose().to_owned())).collect();
    let lookup = Lookup { settings: &settings, prefix: None, has_broker_defaults: false };
    let place = jaas.map_or("sasl.jaas.config", |(key, _)| key);
    let tls = lookup.tls(SecurityProtocol::Ssl, false).map_err(|error| problem(place, error))?;
    // Keys of whoever answers there are keys of anybody: Java's HTTPS looks at the name whatever is set.
    Ok(TlsSettings { checks_host_name: true, ..tls })
}

/// Host, port, and path with query of `https://host:port/path?query`.
fn https_url(url: &str) -> Result<(String, u16, String), &'static str> {
    const NOT_HTTPS: &str =
        "only https:// and file:/path are read here: keys that come in the clear are anybody's";
    const NO_URL: &str = "is no URL of https://host:port/path";
    let rest = url.get(..8).filter(|scheme| scheme.eq_ignore_ascii_case("https://")).ok_or(NOT_HTTPS)?;
    let rest = url.get(rest.len()..).unwrap_or_default();
    if !rest.chars().all(|c| c.is_ascii_graphic()) || rest.contains('#') {
        return Err(NO_URL);
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err("a name and password in the URL are not taken");
    }
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host.parse::<std::net::Ipv6Addr>().map_err(|_| NO_URL)?.to_string(), port),
        None => {
            let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            (host.to_owned(), port)
        }
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => 443,
        Some(digits) if digits.chars().all(|c| c.is_ascii_digit()) => {
            digits.parse().ok().filter(|port| *port > 0).ok_or(NO_URL)?
        }
        _ => return Err(NO_URL),
    };
    if host.is_empty() {
        return Err(NO_URL);
    }
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok((host, port, format!("{slash}{path}")))
}

/// The path of `file:/path` or `file:///path`.
pub(super) fn file_of_url(key: &str, url: &str) -> Result<PathBuf, SecurityProblem> {
    let path = url.strip_prefix("file:").map(|path| path.strip_prefix("//").unwrap_or(path));
    let path = path.filter(|path| path.starts_with('/')).map(PathBuf::from);
    path.ok_or_else(|| problem(key, "is no file:/path of a file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_or_is_none() {
        for (url, expected) in [
            ("https://idp", ("idp", 443, "/")),
            ("HTTPS://idp:8443/keys", ("idp", 8443, "/keys")),
            ("https://idp?a=b/c", ("idp", 443, "/?a=b/c")),
            ("https://[2001:db8::1]:1/x?y", ("2001:db8::1", 1, "/x?y")),
            ("https://[::1]", ("::1", 443, "/")),
        ] {
            let (host, port, path) = https_url(url).unwrap();
            assert_eq!((host.as_str(), port, path.as_str()), expected, "{url}");
        }
        for url in [
            "http://idp/keys",
            "ftp://idp",
            "https:/idp",
            "https://",
            "https:///keys",
            "https://:443/",
            "https://idp:/",
            "https://idp:0/",
            "https://idp:+1/",
            "https://idp:70000/",
            "https://a:b@idp/",
            "https://idp/a b",
            "https://idp/a\r\nHost: x",
            "https://idp/#a",
            "https://[idp]/",
            "https://[::1/",
            "https://[::1]443",
            "https://\u{fc}/",
            "\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}",
        ] {
            assert!(https_url(url).is_err(), "{url}");
        }
    }
}
