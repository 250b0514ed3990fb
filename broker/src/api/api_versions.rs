//! ApiVersions (18), versions 0 to 4: what this broker serves, out of SUPPORTED.
//!
//! - 1: throttle time. 3: flexible, the client names its software (KIP-511), features (KIP-584). 4: features whose lowest
//!   level is 0 (KAFKA-17011); older clients cannot read those, so they are left out for them.
//! - Any other version is answered by the dispatch, in version 0 with UNSUPPORTED_VERSION.

use std::sync::Arc;

use kafka_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use moldau_cluster::KRAFT_VERSION;
use moldau_model::ErrorCode;

use super::message::text;
use super::{ApiSupport, ClientSoftware, Reply, Request, SUPPORTED};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(18, "ApiVersions", 0, 4, handle);

/// GetTelemetrySubscriptions and PushTelemetry, which are named while somebody subscribes to clients' metrics (Kafka names them
/// where a plugin receives those).
const TELEMETRY_KEYS: [i16; 2] = [71, 72];

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<ApiVersionsRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let version = context.api_version;
    if version >= 3
        && !(is_software(&request.client_software_name) && is_software(&request.client_software_version))
    {
        let refused = ApiVersionsResponse::default().with_error_code(ErrorCode::InvalidRequest.code());
        return context.ready(&refused);
    }
    if version >= 3 {
        // What a client said first stands: nobody changes what it is.
        let _ = context.peer.software.set(ClientSoftware {
            name: request.client_software_name.to_string(),
            version: request.client_software_version.to_string(),
        });
    }
    let image = broker.control.image();
    let has_telemetry = broker.control.telemetry.is_wanted();
    let rows =
        SUPPORTED.iter().filter(|row| has_telemetry || !TELEMETRY_KEYS.contains(&row.key)).map(|row| {
            ApiVersion::default()
                .with_api_key(row.key)
                .with_min_version(row.advertised_min)
                .with_max_version(row.max)
        });
    let own = image.broker(broker.options.config.node_id);
    let supported =
        own.into_iter().flat_map(|own| &own.features).filter(|range| version >= 4 || range.min_level > 0);
    let response = ApiVersionsResponse::default().with_api_keys(rows.collect());
    if version < 3 {
        return context.ready(&response);
    }
    let supported = supported.map(|range| {
        SupportedFeatureKey::default()
            .with_name(text(&range.name))
            .with_min_version(range.min_level)
            .with_max_version(range.max_level)
    });
    let levels = image.features().iter().map(|(name, level)| (&**name, *level));
    let finalized = levels.chain([KRAFT_VERSION]).map(|(name, level)| {
        FinalizedFeatureKey::default()
            .with_name(text(name))
            .with_min_version_level(level)
            .with_max_version_level(level)
    });
    let response = response
        .with_supported_features(supported.collect())
        .with_finalized_features_epoch(image.position().offset.0)
        .with_finalized_features(finalized.collect());
    context.ready(&response)
}

/// Letters, digits, dashes and dots, neither dash nor dot at either end (KIP-511).
fn is_software(name: &str) -> bool {
    let is_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    is_end(bytes.first())
        && is_end(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_software_are_words() {
        for (name, expected) in [
            ("apache-kafka-java", true),
            ("4.3.0", true),
            ("a", true),
            ("", false),
            ("-a", false),
            ("a.", false),
            ("a b", false),
        ] {
            assert_eq!(is_software(name), expected, "{name:?}");
        }
    }
}
