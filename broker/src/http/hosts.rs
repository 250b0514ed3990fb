//! The names by which browsers may know a node.
//!
//! Answers are for who can reach this address, which a page elsewhere cannot read, unless its owner lets a name of theirs point here
//! (DNS rebinding): then the browser takes this node for a part of that page. So what tells of the cluster asks for a `Host` that
//! nobody else could have named. Prometheus sends what its target is called: an address, or a name that is let in here. Liveness and
//! readiness tell nothing, and are asked for by load balancers under any name.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use moldau_metadata::MetadataImage;
use moldau_metadata::config::BrokerConfig;

/// Ends of names that no public name server answers for.
const PRIVATE_ENDS: &[&str] = &[".localhost", ".local", ".internal", ".svc"];

/// Names that are let in, in small letters: `http.ui.allowed.hosts` and the advertised ones.
#[derive(Clone, Debug, Default)]
pub struct KnownHosts(Vec<String>);

impl KnownHosts {
    #[must_use]
    pub fn of(config: &BrokerConfig) -> Self {
        let advertised = config.advertised_listeners.iter().map(|listener| listener.host.as_str());
        let allowed = config.settings.get("http.ui.allowed.hosts").map_or("", |value| value.trim());
        Self::new(allowed.split(',').chain(advertised))
    }

    /// These names, besides those that every node is known by.
    pub fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let names = names.map(str::trim).filter(|name| !name.is_empty());
        Self(names.map(str::to_ascii_lowercase).collect())
    }

    /// The name that a request has called this node by, where that is none of its own.
    #[must_use]
    pub fn unknown<'a>(&self, headers: &'a HeaderMap, image: &MetadataImage) -> Option<&'a str> {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let name = without_port(host);
        (!self.knows(name, image)).then_some(name)
    }

    fn knows(&self, name: &str, image: &MetadataImage) -> bool {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        // What has no dot, a public name server does not answer for; what has none of the two is no name at all.
        let is_local = !name.contains('.') && !name.is_empty();
        is_local
            || name.parse::<IpAddr>().is_ok()
            || PRIVATE_ENDS.iter().any(|end| name.ends_with(end))
            || self.0.contains(&name)
            || image
                .brokers()
                .flat_map(|broker| &broker.listeners)
                .any(|listener| listener.host.eq_ignore_ascii_case(&name))
    }
}

/// A `Host` without its port, an IPv6 address without its brackets.
fn without_port(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

/// What the check needs: the names, and the newest metadata.
pub type HostCheck = (Arc<KnownHosts>, Arc<dyn Fn() -> Arc<MetadataImage> + Send + Sync>);

/// Lets a request through that knows this node by one of its names.
pub async fn check_host(State((hosts, image)): State<HostCheck>, request: Request, next: Next) -> Response {
    if let Some(name) = hosts.unknown(request.headers(), &image()) {
        let text = format!("this node is not known as {name}; http.ui.allowed.hosts can name it\n");
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_points_here_by_somebody_elses_will_is_unknown() {
        let hosts = KnownHosts::new(["", " Kafka.example.org "].into_iter());
        for (host, is_known) in [
            ("127.0.0.1:9644", true),
            ("[::1]:9644", true),
            ("localhost:9644", true),
            ("kafka-1:9644", true),
            ("node.kafka.svc:9644", true),
            ("Kafka.Example.org", true),
            ("evil.example.com:9644", false),
            ("127.0.0.1.evil.example.com", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            assert_eq!(hosts.unknown(&headers, &MetadataImage::empty()).is_none(), is_known, "{host}");
        }
        assert_eq!(hosts.unknown(&HeaderMap::new(), &MetadataImage::empty()), Some(""));
    }
}
