//! UpdateFeatures, versions 0 to 2: raises or lowers finalized features (KIP-584, KIP-1022). All updates of a request
//! take effect, or none does.

use std::collections::BTreeMap;

use kafka_protocol::messages::update_features_response::UpdatableFeatureResult;
use kafka_protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};
use moldau_cluster::{ControllerError, KRAFT_VERSION, RECORDS_VERSION, SUPPORTED_FEATURES};
use moldau_metadata::{MetadataImage, MetadataRecord, records};
use moldau_model::{BrokerId, ErrorCode, Offset, Operation};

use super::{Service, text};
use crate::event_loop::Deciding;
use crate::manage::{ApiError, Asker, Decision, ELIGIBLE_LEADER_REPLICAS, eligible_leader_records};

const METADATA_VERSION: &str = "metadata.version";

/// Kafka's kinds of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UpgradeType {
    Upgrade,
    SafeDowngrade,
    UnsafeDowngrade,
    Unknown,
}

#[derive(Clone, Debug)]
struct Update {
    feature: String,
    level: i16,
    upgrade_type: UpgradeType,
}

pub(super) async fn handle(
    service: &Service,
    version: i16,
    asker: Asker,
    request: UpdateFeaturesRequest,
) -> Result<(UpdateFeaturesResponse, Offset), ControllerError> {
    let updates: Vec<Update> = request
        .feature_updates
        .into_iter()
        .map(|update| Update {
            feature: update.feature.to_string(),
            level: update.max_version_level,
            upgrade_type: match (version, update.upgrade_type) {
                // Version 0 has a flag that allows to lower a level, which Apache Kafka 4.3 does not look at.
                (0, _) | (1.., 1) => UpgradeType::Upgrade,
                (1.., 2) => UpgradeType::SafeDowngrade,
                (1.., 3) => UpgradeType::UnsafeDowngrade,
                _ => UpgradeType::Unknown,
            },
        })
        .collect();
    let names: Vec<String> = updates.iter().map(|update| update.feature.clone()).collect();
    let (node_id, validate_only) = (service.node_id, request.validate_only);
    let (result, offset) = service
        .decide(move |deciding| {
            deciding.access(&asker).check_cluster(Operation::Alter)?;
            decide(deciding, node_id, &updates, validate_only)
        })
        .await?;
    Ok((response(version, names, result), offset))
}

/// The level records, or why there are none.
fn decide(
    deciding: &Deciding<'_>,
    node_id: BrokerId,
    updates: &[Update],
    validate_only: bool,
) -> Result<Decision<()>, ApiError> {
    let image = deciding.image;
    // Of a feature that comes twice the last update counts, as in Kafka.
    let updates: BTreeMap<&str, &Update> =
        updates.iter().map(|update| (update.feature.as_str(), update)).collect();
    let mut records: Vec<MetadataRecord> = Vec::new();
    for update in updates.into_values() {
        let current = match update.feature == KRAFT_VERSION.0 {
            true => KRAFT_VERSION.1,
            false => image.feature_level(&update.feature),
        };
        if let Err(error) = check(image, node_id, update, current) {
            let text = format!(
                "The update failed for all features since the following feature had an error: {}",
                error.message.unwrap_or_default()
            );
            return Err(ApiError::new(error.code, text));
        }
        if update.level != current {
            let level = i32::from(update.level);
            records.push(records::FeatureLevel { name: update.feature.clone(), level }.into());
            if update.feature == ELIGIBLE_LEADER_REPLICAS && current == 0 {
                records.extend(eligible_leader_records(image, deciding.inputs.settings));
            }
        }
    }
    if validate_only {
        records.clear();
    }
    Ok(Decision { records, response: () })
}

fn check(image: &MetadataImage, node_id: BrokerId, update: &Update, current: i16) -> Result<(), ApiError> {
    let Update { feature, level, upgrade_type } = update;
    let invalid = |reason: String| {
        let text = format!("Invalid update version {level} for feature {feature}. {reason}");
        Err(ApiError::new(ErrorCode::InvalidUpdateVersion, text))
    };
    if *upgrade_type == UpgradeType::Unknown {
        return invalid("The controller does not support the given upgrade type.".to_owned());
    }
    if *level < 0 {
        return invalid("A feature version cannot be less than 0.".to_owned());
    }
    let Some((_, min, max)) = SUPPORTED_FEATURES.iter().find(|(name, _, _)| name == feature) else {
        return invalid(format!("Local controller {node_id} does not support this feature."));
    };
    // Level 0 takes a feature away; the metadata's own cannot go.
    if !(*min..=*max).contains(level) && (*level != 0 || feature == METADATA_VERSION) {
        return invalid(format!("Local controller {node_id} only supports versions {min}-{max}"));
    }
    for broker in image.brokers() {
        let range = broker.features.iter().find(|range| *range.name == **feature);
        match range {
            _ if *level == 0 => {}
            None => return invalid(format!("Broker {} does not support this feature.", broker.id)),
            Some(range) if !(range.min_level..=range.max_level).contains(level) => {
                return invalid(format!(
                    "Broker {} only supports versions {}-{}",
                    broker.id, range.min_level, range.max_level
                ));
            }
            Some(_) => {}
        }
    }
    match upgrade_type {
        UpgradeType::Upgrade if *level < current => invalid(
            "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe \
             downgrade."
                .to_owned(),
        ),
        UpgradeType::SafeDowngrade | UpgradeType::UnsafeDowngrade if *level > current => {
            invalid("Can't downgrade to a newer version.".to_owned())
        }
        UpgradeType::SafeDowngrade | UpgradeType::UnsafeDowngrade
            if feature == KRAFT_VERSION.0 && *level < current =>
        {
            invalid("Can't downgrade the version of this feature.".to_owned())
        }
        // Records of a later level may be in the log already, and nobody has checked whether they are.
        UpgradeType::SafeDowngrade | UpgradeType::UnsafeDowngrade
            if [METADATA_VERSION, RECORDS_VERSION.0].contains(&feature.as_str()) && *level < current =>
        {
            let why = match upgrade_type {
                UpgradeType::SafeDowngrade => {
                    "Refusing to perform the requested downgrade because it might delete metadata information."
                }
                _ => "Unsafe metadata downgrade is not supported in this version.",
            };
            let text = format!("Unsupported {feature} downgrade from {current} to {level}. {why}");
            Err(ApiError::new(ErrorCode::InvalidUpdateVersion, text))
        }
        _ => Ok(()),
    }
}

fn response(version: i16, names: Vec<String>, result: Result<(), ApiError>) -> UpdateFeaturesResponse {
    let (code, message) = super::error_fields(&result);
    let response = UpdateFeaturesResponse::default().with_error_code(code).with_error_message(message);
    if version >= 2 || code != ErrorCode::None.code() {
        return response;
    }
    // Kafka gives the name of its "no error" for a text.
    let result = |name| {
        UpdatableFeatureResult::default().with_feature(text(name)).with_error_message(Some(text("NONE")))
    };
    response.with_results(names.into_iter().map(result).collect())
}
