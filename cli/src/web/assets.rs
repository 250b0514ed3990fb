//! The console's own files, in the binary.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// Name, media type, text.
type Asset = (&'static str, &'static str, &'static str);

const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! assets {
    ($(($name:literal, $kind:expr)),* $(,)?) => {
        &[$(($name, $kind, include_str!(concat!("../../ui/", $name)))),*]
    };
}

const ASSETS: &[Asset] = assets![
    ("index.html", "text/html; charset=utf-8"),
    ("style.css", "text/css; charset=utf-8"),
    ("icon.svg", "image/svg+xml"),
    ("theme.js", SCRIPT),
    ("app.js", SCRIPT),
    ("api.js", SCRIPT),
    ("dom.js", SCRIPT),
    ("dialog.js", SCRIPT),
    ("chart.js", SCRIPT),
    ("live.js", SCRIPT),
    ("overview.js", SCRIPT),
    ("topics.js", SCRIPT),
    ("topic.js", SCRIPT),
    ("messages.js", SCRIPT),
    ("groups.js", SCRIPT),
    ("brokers.js", SCRIPT),
    ("configs.js", SCRIPT),
];

pub(super) async fn index(headers: HeaderMap) -> Response {
    answer("index.html", &headers)
}

pub(super) async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    answer(&name, &headers)
}

fn answer(name: &str, headers: &HeaderMap) -> Response {
    let Some((_, kind, text)) = ASSETS.iter().find(|(own, _, _)| *own == name) else {
        return (StatusCode::NOT_FOUND, "no such file\n").into_response();
    };
    // A browser asks each time whether its copy is the one of this version: a node that was upgraded has another console.
    let tag = tag(text);
    let caching = [(header::CACHE_CONTROL, "no-cache"), (header::ETAG, tag.as_str())];
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    ([(header::CONTENT_TYPE, *kind)], caching, *text).into_response()
}

fn tag(text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The promise is about what is sent; it is sent as it is, so that it holds without a browser's help.
    const BYTES_MAX: usize = 300 * 1024;

    #[test]
    fn the_console_is_small_and_asks_nobody_else_for_anything() {
        assert!(ASSETS.iter().map(|(_, _, text)| text.len()).sum::<usize>() <= BYTES_MAX);
        for (name, _, text) in ASSETS {
            for (at, _) in text.match_indices("://") {
                let address = text[..at].rsplit(['"', '\'', '`', ' ']).next().unwrap_or_default();
                let rest = &text[at..];
                assert!(
                    rest.starts_with("://www.w3.org/"),
                    "{name} names an address: {address}{}",
                    &rest[..20]
                );
            }
        }
    }

    #[test]
    fn nothing_stands_inline_that_the_policy_forbids_and_no_text_becomes_markup() {
        for (name, _, text) in ASSETS {
            for word in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                " style=\"",
                " onclick=",
                "javascript:",
            ] {
                assert!(!text.contains(word), "{name} says {word}");
            }
            assert!(!text.contains("<script>"), "{name} has a script inline");
        }
    }

    #[test]
    fn each_module_that_is_imported_is_served() {
        for (name, kind, text) in ASSETS {
            for (at, _) in text.match_indices("from \"./").filter(|_| *kind == SCRIPT) {
                let file = text[at + 8..].split('"').next().unwrap();
                assert!(ASSETS.iter().any(|(own, _, _)| *own == file), "{name} imports {file}");
            }
        }
    }
}
