//! Features: which levels a cluster supports and has, and their changes.

use std::collections::BTreeMap;

use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::{ApiVersionsRequest, UpdateFeaturesRequest};

use super::metadata::string;
use super::{Client, ClientError};

/// The kind of a change; the numbers are the protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpgradeType {
    Upgrade = 1,
    SafeDowngrade = 2,
    UnsafeDowngrade = 3,
}

/// A cluster's features.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Features {
    /// Lowest and highest level by name.
    pub(crate) supported: BTreeMap<String, (i16, i16)>,
    /// The level in force; features without an entry have none.
    pub(crate) finalized: BTreeMap<String, i16>,
    /// As of which change; below zero if the broker does not know.
    pub(crate) epoch: i64,
}

impl Client {
    pub(crate) fn describe_features(&mut self) -> Result<Features, ClientError> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(string("moldau"))
            .with_client_software_version(string(env!("CARGO_PKG_VERSION")));
        let response = self.call(&request)?;
        ClientError::check(response.error_code, None)?;
        let supported = response.supported_features.iter();
        let finalized = response.finalized_features.iter();
        Ok(Features {
            supported: supported
                .map(|range| (range.name.to_string(), (range.min_version, range.max_version)))
                .collect(),
            finalized: finalized.map(|level| (level.name.to_string(), level.max_version_level)).collect(),
            epoch: response.finalized_features_epoch,
        })
    }

    /// Changes levels, all or none.
    pub(crate) fn update_features(
        &mut self,
        levels: &BTreeMap<String, i16>,
        upgrade_type: UpgradeType,
        validate_only: bool,
    ) -> Result<(), ClientError> {
        let update = |(name, level): (&String, &i16)| {
            FeatureUpdateKey::default()
                .with_feature(string(name))
                .with_max_version_level(*level)
                .with_upgrade_type(upgrade_type as i8)
        };
        let request = UpdateFeaturesRequest::default()
            .with_timeout_ms(60_000)
            .with_feature_updates(levels.iter().map(update).collect())
            .with_validate_only(validate_only);
        let response = self.call(&request)?;
        ClientError::check(response.error_code, response.error_message.as_deref())?;
        response
            .results
            .iter()
            .try_for_each(|result| ClientError::check(result.error_code, result.error_message.as_deref()))
    }
}
