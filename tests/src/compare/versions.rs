//! ApiVersions: what every connection begins with.

use kafka_protocol::messages::{self as m, ApiKey, RequestKind};

use super::Case;
use super::admin::text;

fn versions(name: &str, version: &str, api_version: i16) -> RequestKind {
    let request = m::ApiVersionsRequest::default();
    RequestKind::ApiVersions(if api_version >= 3 {
        request.with_client_software_name(text(name)).with_client_software_version(text(version))
    } else {
        request
    })
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("api versions", ApiKey::ApiVersions, 0, 4, |_, v| versions("compare", "1.0", v)),
        Case::new("api versions for a nameless client", ApiKey::ApiVersions, 3, 4, |_, v| {
            versions("", "1.0", v)
        }),
        Case::new("api versions for a client with an impossible name", ApiKey::ApiVersions, 3, 4, |_, v| {
            versions("com pare", "1.0", v)
        }),
        Case::new(
            "api versions for a client with an impossible version",
            ApiKey::ApiVersions,
            3,
            4,
            |_, v| versions("compare", "-", v),
        ),
    ]
}
