//! The console's own files, in the binary.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// Name, media type, text.
type Asset = (&'static str, &'static str, &'static str);

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! assets {
    ($(($name:literal, $kind:expr)),* $(,)?) => {
        &[$(($name, $kind, include_str!(concat!("../../ui/", $name)))),*]
    };
}

const ASSETS: &[Asset] = assets![
    ("index.html", HTML),
    ("style.css", "text/css; charset=utf-8"),
    ("icon.svg", "image/svg+xml"),
    ("early.js", SCRIPT),
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

/// The page: asked for each time, as a node that was upgraded has another console.
pub(super) async fn index(headers: HeaderMap) -> Response {
    let asset = ("index.html", HTML, &**PAGE);
    answer(asset, Caching::Asked, &headers)
}

/// A file without a version in its address.
pub(super) async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    find(&name, Caching::Asked, &headers)
}

/// A file as the page names it: a browser that has it need not ask again, for another text has another address.
pub(super) async fn versioned(Path((version, name)): Path<(String, String)>, headers: HeaderMap) -> Response {
    // A page of the version before that is still open gets what there is.
    let caching = if version == *VERSION { Caching::ForGood } else { Caching::Asked };
    find(&name, caching, &headers)
}

/// What a browser does with its copy.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Caching {
    /// It asks each time whether it is still the one.
    Asked,
    ForGood,
}

/// Of all files together.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut hasher = DefaultHasher::new();
    ASSETS.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
});

/// The page with the files' addresses of this version.
static PAGE: LazyLock<String> = LazyLock::new(|| {
    let plain = ASSETS.iter().find(|(name, _, _)| *name == "index.html").map_or("", |(_, _, text)| *text);
    ASSETS.iter().fold(plain.to_owned(), |page, (name, _, _)| {
        page.replace(&format!("=\"{name}\""), &format!("=\"{}/{name}\"", *VERSION))
    })
});

fn find(name: &str, caching: Caching, headers: &HeaderMap) -> Response {
    match ASSETS.iter().find(|(own, _, _)| *own == name) {
        Some((name, kind, text)) => answer((name, kind, text), caching, headers),
        None => (StatusCode::NOT_FOUND, "no such file\n").into_response(),
    }
}

fn answer(
    (_, kind, text): (&str, &'static str, &'static str),
    caching: Caching,
    headers: &HeaderMap,
) -> Response {
    let tag = tag(text);
    let caching = match caching {
        Caching::Asked => "no-cache",
        Caching::ForGood => "public, max-age=31536000, immutable",
    };
    let caching = [(header::CACHE_CONTROL, caching), (header::ETAG, tag.as_str())];
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    ([(header::CONTENT_TYPE, kind)], caching, text).into_response()
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
            let imports = ["from \"./", "import(\"./"].into_iter().flat_map(|word| text.split(word).skip(1));
            for rest in imports.filter(|_| *kind == SCRIPT) {
                let file = rest.split('"').next().unwrap();
                assert!(ASSETS.iter().any(|(own, _, _)| *own == file), "{name} imports {file}");
            }
        }
    }

    #[test]
    fn what_the_page_names_stays_with_the_browser_until_there_is_another_console() {
        for word in ["src=\"", "href=\""] {
            for (at, _) in PAGE.match_indices(word) {
                let address = PAGE[at + word.len()..].split('"').next().unwrap();
                let named = address.split_once('/').map(|(version, name)| (version == *VERSION, name));
                let is_here = |name: &str| ASSETS.iter().any(|(own, _, _)| *own == name);
                assert!(
                    address == "#main" || named.is_some_and(|(it, name)| it && is_here(name)),
                    "{address}"
                );
            }
        }
        let caching = |response: Response| {
            let value = response.headers()[header::CACHE_CONTROL].to_str().unwrap().to_owned();
            (response.status().as_u16(), value.contains("immutable"))
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let asked = |version: &str| {
            let path = Path((version.to_owned(), "app.js".to_owned()));
            caching(runtime.block_on(versioned(path, HeaderMap::new())))
        };
        assert_eq!(asked(&VERSION), (200, true));
        assert_eq!(asked("0123456789abcdef"), (200, false));
        assert_eq!(caching(runtime.block_on(index(HeaderMap::new()))), (200, false));
    }
}
