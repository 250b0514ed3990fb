//! How the calls read what they are asked, answer in JSON, and fail.

use std::collections::BTreeMap;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use moldau_model::ErrorCode;
use serde_json::{Map, Value, json};

use crate::client::ClientError;
use crate::client::budget::Spent;

/// What a call gives.
pub(super) type Answer = Result<Json, Failure>;

/// A body of JSON.
#[derive(Debug)]
pub(super) struct Json(pub(super) Value);

impl IntoResponse for Json {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/json")], self.0.to_string()).into_response()
    }
}

/// Why a call failed: a status, a name to act upon, and what to tell people.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    pub(super) code: String,
    pub(super) message: String,
}

impl Failure {
    pub(super) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into() }
    }

    /// What was asked makes no sense.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_REQUEST", message)
    }

    pub(super) fn no_topic(name: &str) -> Self {
        let message = format!("there is no topic {name}");
        Self::new(StatusCode::NOT_FOUND, ErrorCode::UnknownTopicOrPartition.name(), message)
    }

    pub(super) fn body(&self) -> Value {
        json!({"error": {"code": self.code, "message": self.message}})
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let (status, code) = match &error {
            ClientError::Broker { code, .. } => (status_of(*code), code.name()),
            ClientError::Timeout(_) => (StatusCode::GATEWAY_TIMEOUT, "TIMED_OUT"),
            ClientError::Unreachable { .. } | ClientError::Connection { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "UNREACHABLE")
            }
            ClientError::Unsupported { .. } => (StatusCode::NOT_IMPLEMENTED, "UNSUPPORTED"),
            ClientError::Malformed { .. } => (StatusCode::BAD_GATEWAY, "MALFORMED_ANSWER"),
            ClientError::Spent(Spent::Cancelled) => (StatusCode::GATEWAY_TIMEOUT, "TIMED_OUT"),
            ClientError::Spent(Spent::Bytes | Spent::Requests) => {
                (StatusCode::SERVICE_UNAVAILABLE, "TOO_LARGE")
            }
            ClientError::Address(_) => (StatusCode::INTERNAL_SERVER_ERROR, "ADDRESS"),
        };
        Self::new(status, code, error.to_string())
    }
}

fn status_of(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::UnknownTopicOrPartition | ErrorCode::GroupIdNotFound => StatusCode::NOT_FOUND,
        ErrorCode::TopicAlreadyExists | ErrorCode::NonEmptyGroup => StatusCode::CONFLICT,
        code if code.is_retriable() => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(self.body())).into_response()
    }
}

/// The query of a call's address. Of a name that comes twice the last one counts.
#[derive(Debug, Default)]
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    pub(super) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        });
        Self(pairs.collect())
    }

    /// The value, unless it is missing or empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub(super) fn is_true(&self, name: &str) -> bool {
        self.text(name).is_some_and(|value| value == "true" || value == "1")
    }

    /// A number from `min` to `max`, or the default.
    pub(super) fn number(&self, name: &str, default: u64, min: u64, max: u64) -> Result<u64, Failure> {
        let Some(text) = self.text(name) else { return Ok(default) };
        let number = text.parse().ok().filter(|number| (min..=max).contains(number));
        number.ok_or_else(|| Failure::bad_request(format!("{name} is a number from {min} to {max}")))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default()))
    }
}

/// Takes `+` and `%xx` back; what is no such escape stays as it is.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let escaped = text.get(index + 1..index + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[index], escaped) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                index += 3;
                continue;
            }
            (b'+', _) => decoded.push(b' '),
            (byte, _) => decoded.push(byte),
        }
        index += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The body of a call that changes something.
pub(super) struct Body(Map<String, Value>);

impl Body {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Failure> {
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(map)) => Ok(Self(map)),
            Ok(_) => Err(Failure::bad_request("the body is a JSON object")),
            Err(error) => Err(Failure::bad_request(format!("the body is no JSON: {error}"))),
        }
    }

    /// The value, where there is one that is not null.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, Failure> {
        let wrong = || Failure::bad_request(format!("{name} is a text"));
        self.get(name).map(|value| value.as_str().ok_or_else(wrong)).transpose()
    }

    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>, Failure> {
        let wrong = || Failure::bad_request(format!("{name} is a whole number"));
        self.get(name).map(|value| value.as_i64().ok_or_else(wrong)).transpose()
    }

    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool, Failure> {
        let wrong = || Failure::bad_request(format!("{name} is true or false"));
        self.get(name).map_or(Ok(default), |value| value.as_bool().ok_or_else(wrong))
    }

    /// An object of texts.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<(String, String)>, Failure> {
        let wrong = || Failure::bad_request(format!("{name} is an object of texts"));
        let Some(value) = self.get(name) else { return Ok(Vec::new()) };
        let pairs = value.as_object().ok_or_else(wrong)?.iter();
        pairs.map(|(key, value)| Ok((key.clone(), value.as_str().ok_or_else(wrong)?.to_owned()))).collect()
    }

    /// A list of texts.
    pub(super) fn list(&self, name: &str) -> Result<Vec<String>, Failure> {
        let wrong = || Failure::bad_request(format!("{name} is a list of texts"));
        let Some(value) = self.get(name) else { return Ok(Vec::new()) };
        let items = value.as_array().ok_or_else(wrong)?.iter();
        items.map(|item| item.as_str().map(ToOwned::to_owned).ok_or_else(wrong)).collect()
    }
}

/// One page of something: which items, and what to say of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) number: usize,
    pub(super) size: usize,
}

/// Rows on a page unless asked otherwise, and at most: a page is for people, and bounds what an answer costs.
const PAGE_ROWS: u64 = 50;
const PAGE_ROWS_MAX: u64 = 200;

impl Page {
    pub(super) fn of(query: &Query) -> Result<Self, Failure> {
        let number = query.number("page", 1, 1, u64::from(u32::MAX))?;
        let size = query.number("page_size", PAGE_ROWS, 1, PAGE_ROWS_MAX)?;
        Ok(Self { number: number as usize, size: size as usize })
    }

    pub(super) fn skip(&self) -> usize {
        (self.number - 1).saturating_mul(self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_taken_back_from_its_escapes() {
        let query = Query::parse("key=a%20b+c%C3%A4&broken=%zz%4&empty=&x");
        assert_eq!(query.text("key"), Some("a b cä"));
        assert_eq!(query.text("broken"), Some("%zz%4"));
        assert_eq!((query.text("empty"), query.text("x"), query.text("y")), (None, None, None));
    }

    #[test]
    fn numbers_out_of_their_bounds_are_refused() {
        let query = Query::parse("page_size=201&page=0");
        assert!(Page::of(&query).is_err());
        assert!(query.number("page", 1, 1, 5).is_err());
        assert_eq!(Page::of(&Query::parse("page=3&page_size=10")).unwrap().skip(), 20);
    }

    #[test]
    fn a_body_of_the_wrong_kind_is_refused_by_name() {
        let body = Body::parse(br#"{"a": 1, "b": "x", "c": {"k": "v"}, "d": null}"#).unwrap();
        assert_eq!(body.integer("a").unwrap(), Some(1));
        assert!(body.text("a").unwrap_err().message.starts_with("a is"));
        assert_eq!(body.texts("c").unwrap(), [("k".to_owned(), "v".to_owned())]);
        assert_eq!(body.text("d").unwrap(), None);
        assert!(Body::parse(b"[]").is_err());
        assert!(Body::parse(b"{").is_err());
    }
}
