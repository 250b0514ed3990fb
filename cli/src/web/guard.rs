//! Who may call: browsers that a foreign page has sent are refused, and so is every change where the console is for reading.
//!
//! The calls know no users yet, so the danger is a page elsewhere that makes the operator's browser call. A changing call
//! needs JSON, which a form cannot send, and must come from a page of this very address. A name that the foreign page's owner
//! lets point here (DNS rebinding) is none of those by which a node is known.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use moldau_broker::http::KnownHosts;
use moldau_metadata::MetadataImage;
use moldau_metadata::SecurityProtocol;
use moldau_metadata::config::BrokerConfig;

use super::Shared;
use super::answer::Failure;

/// Nothing from elsewhere, nothing inline, and no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'none'; frame-ancestors 'none'; base-uri 'none'";

/// What is let through.
pub(super) struct Guard {
    pub(super) read_only: bool,
    hides_records: bool,
    hosts: KnownHosts,
}

impl Guard {
    pub(super) fn of(config: &BrokerConfig) -> Self {
        let is_secured = config.listeners.iter().any(|listener| {
            matches!(
                listener.protocol,
                SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl | SecurityProtocol::Ssl
            )
        });
        let value = |name: &str| config.settings.get(name).map_or("", |value| value.trim());
        // Who calls here says to nobody who it is.
        let is_secured = is_secured || config.authorizer.is_some();
        let (read_only, hides_records) = match value("http.ui.readonly") {
            "true" => (true, is_secured),
            // Whoever reaches this address may do what the node may.
            "false" => (false, false),
            _ => (is_secured, is_secured),
        };
        Self { read_only, hides_records, hosts: KnownHosts::of(config) }
    }

    /// Records are shown where everybody may read them, or where the user has let everybody do everything here.
    pub(super) fn check_records(&self) -> Result<(), Failure> {
        if !self.hides_records {
            return Ok(());
        }
        let message = "this cluster asks clients who they are, and the console does not: set http.ui.readonly=false if whoever reaches \
                       this address may read and change everything";
        Err(Failure::new(StatusCode::FORBIDDEN, "RECORDS_HIDDEN", message))
    }

    /// Why a call is refused, if it is.
    fn refusal(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        image: &MetadataImage,
    ) -> Option<Failure> {
        let forbidden =
            |code: &str, message: String| Some(Failure::new(StatusCode::FORBIDDEN, code, message));
        let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(header::HOST).unwrap_or_default();
        if let Some(name) = self.hosts.unknown(headers, image) {
            return forbidden(
                "UNKNOWN_HOST",
                format!("this node is not known as {name}; http.ui.allowed.hosts can name it"),
            );
        }
        let site = headers.get("sec-fetch-site").and_then(|value| value.to_str().ok());
        if path.starts_with("/api/") && site.is_some_and(|site| site != "same-origin" && site != "none") {
            return forbidden("CROSS_SITE", "a page of another site has asked".to_owned());
        }
        if matches!(*method, Method::GET | Method::HEAD) {
            return None;
        }
        if self.read_only {
            return forbidden(
                "READ_ONLY",
                "the console of this node is for reading: http.ui.readonly".to_owned(),
            );
        }
        let of_origin =
            |origin: &str| origin.split_once("://").is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(host));
        if text(header::ORIGIN).is_some_and(|origin| !of_origin(origin)) {
            return forbidden("CROSS_SITE", "a page of another site has asked".to_owned());
        }
        let kind = text(header::CONTENT_TYPE).unwrap_or_default();
        if kind.split(';').next().unwrap_or_default().trim() != "application/json" {
            let message = "a call that changes something has Content-Type: application/json";
            return Some(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "NOT_JSON", message));
        }
        None
    }
}

/// Lets a call through or not, and says in each answer what a browser may do with it.
pub(super) async fn guard(State(web): State<Shared>, request: Request, next: Next) -> Response {
    let image = web.node.image();
    let refusal = web.guard.refusal(request.method(), request.uri().path(), request.headers(), &image);
    drop(image);
    let mut response = match refusal {
        Some(failure) => failure.into_response(),
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(guard: &Guard, method: Method, headers: &[(&'static str, &str)]) -> Option<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        guard.refusal(&method, "/api/v1/topics", &map, &MetadataImage::empty()).map(|failure| failure.code)
    }

    fn open() -> Guard {
        Guard {
            read_only: false,
            hides_records: false,
            hosts: KnownHosts::new(["kafka.example.org"].into_iter()),
        }
    }

    #[test]
    fn a_name_that_points_here_by_somebody_elses_will_is_refused() {
        assert_eq!(refused(&open(), Method::GET, &[("host", "Kafka.Example.org:9644")]), None);
        let refused = refused(&open(), Method::GET, &[("host", "evil.example.com:9644")]);
        assert_eq!(refused.as_deref(), Some("UNKNOWN_HOST"));
    }

    #[test]
    fn a_change_needs_json_from_a_page_of_this_address() {
        let host = ("host", "127.0.0.1:9644");
        let json = ("content-type", "application/json; charset=utf-8");
        for (headers, code) in [
            (vec![host, json], None),
            (vec![host, json, ("origin", "http://127.0.0.1:9644"), ("sec-fetch-site", "same-origin")], None),
            (vec![host], Some("NOT_JSON")),
            (vec![host, ("content-type", "text/plain")], Some("NOT_JSON")),
            (vec![host, json, ("origin", "http://evil.example.com")], Some("CROSS_SITE")),
            (vec![host, json, ("origin", "null")], Some("CROSS_SITE")),
            (vec![host, json, ("origin", "http://127.0.0.1:9645")], Some("CROSS_SITE")),
            (vec![host, json, ("sec-fetch-site", "same-site")], Some("CROSS_SITE")),
        ] {
            assert_eq!(refused(&open(), Method::POST, &headers).as_deref(), code, "{headers:?}");
        }
    }

    #[test]
    fn records_are_hidden_where_clients_are_asked_who_they_are_unless_the_user_has_decided() {
        let guard = |settings: &[(&str, &str)]| {
            let settings =
                settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            Guard::of(&BrokerConfig::from_settings(settings).unwrap())
        };
        let authorizer = ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer");
        assert!(guard(&[]).check_records().is_ok());
        assert_eq!(guard(&[authorizer]).check_records().unwrap_err().code, "RECORDS_HIDDEN");
        assert!(guard(&[authorizer, ("http.ui.readonly", "true")]).check_records().is_err());
        assert!(guard(&[authorizer, ("http.ui.readonly", "false")]).check_records().is_ok());
    }

    #[test]
    fn where_it_is_for_reading_every_change_is_refused_and_nothing_else() {
        let guard = Guard { read_only: true, hides_records: false, hosts: KnownHosts::default() };
        let headers = [("host", "localhost"), ("content-type", "application/json")];
        for method in [Method::POST, Method::PATCH, Method::DELETE, Method::PUT] {
            assert_eq!(refused(&guard, method, &headers).as_deref(), Some("READ_ONLY"));
        }
        assert_eq!(refused(&guard, Method::GET, &headers), None);
    }
}
