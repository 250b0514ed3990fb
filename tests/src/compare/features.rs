//! Levels of features: raised, lowered, refused. What is changed is put back.

use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::{self as m, ApiKey, RequestKind};

use super::Case;
use super::admin::text;

const UPGRADE: i8 = 1;
const SAFE_DOWNGRADE: i8 = 2;
const UNSAFE_DOWNGRADE: i8 = 3;

/// Features with levels and the kind of change. Version 0 knows downgrades by a flag.
fn update(version: i16, updates: &[(&str, i16, i8)], validate_only: bool) -> RequestKind {
    let update = |(name, level, kind): &(&str, i16, i8)| {
        let key = FeatureUpdateKey::default().with_feature(text(name)).with_max_version_level(*level);
        if version == 0 { key.with_allow_downgrade(*kind > UPGRADE) } else { key.with_upgrade_type(*kind) }
    };
    let request = m::UpdateFeaturesRequest::default()
        .with_timeout_ms(10_000)
        .with_feature_updates(updates.iter().map(update).collect());
    RequestKind::UpdateFeatures(if version == 0 {
        request
    } else {
        request.with_validate_only(validate_only)
    })
}

pub(super) fn cases() -> Vec<Case> {
    use ApiKey::UpdateFeatures;
    vec![
        Case::new("update a feature to its level", UpdateFeatures, 0, 2, |_, v| {
            update(v, &[("group.version", 1, UPGRADE)], false)
        }),
        Case::new("lower a feature, validate only", UpdateFeatures, 1, 2, |_, v| {
            update(v, &[("transaction.version", 1, SAFE_DOWNGRADE)], true)
        }),
        Case::new("lower a feature's level", UpdateFeatures, 0, 2, |_, v| {
            update(v, &[("eligible.leader.replicas.version", 0, SAFE_DOWNGRADE)], false)
        }),
        Case::new("raise it again", UpdateFeatures, 0, 2, |_, v| {
            update(v, &[("eligible.leader.replicas.version", 1, UPGRADE)], false)
        }),
        Case::new("lower a feature without saying so", UpdateFeatures, 0, 2, |_, v| {
            update(v, &[("transaction.version", 0, UPGRADE)], false)
        }),
        Case::new("lower a feature to more than it has", UpdateFeatures, 0, 2, |_, v| {
            update(v, &[("group.version", 9, UNSAFE_DOWNGRADE)], false)
        }),
        Case::new("raise a feature beyond what there is", UpdateFeatures, 0, 2, |_, v| {
            update(v, &[("transaction.version", 9, UPGRADE)], false)
        }),
        Case::new("raise a feature that does not exist", UpdateFeatures, 0, 2, |_, v| {
            update(v, &[("no.such.version", 1, UPGRADE)], false)
        }),
        Case::new("a feature of a negative level", UpdateFeatures, 0, 2, |_, v| {
            update(v, &[("group.version", -1, SAFE_DOWNGRADE)], false)
        }),
        Case::new("take the metadata's version away", UpdateFeatures, 0, 2, |_, v| {
            update(v, &[("metadata.version", 0, SAFE_DOWNGRADE)], false)
        }),
        Case::new("lower the metadata's version", UpdateFeatures, 0, 2, |_, v| {
            update(v, &[("metadata.version", 25, SAFE_DOWNGRADE)], false)
        }),
        Case::new("lower the metadata's version whatever is lost", UpdateFeatures, 1, 2, |_, v| {
            update(v, &[("metadata.version", 25, UNSAFE_DOWNGRADE)], false)
        }),
        Case::new("have controllers be changed, as they can be", UpdateFeatures, 0, 2, |_, v| {
            update(v, &[("kraft.version", 1, UPGRADE)], false)
        }),
        Case::new("let controllers be as they are for good", UpdateFeatures, 0, 2, |_, v| {
            update(v, &[("kraft.version", 0, SAFE_DOWNGRADE)], false)
        }),
        Case::new("let controllers be as they are, whatever is lost", UpdateFeatures, 1, 2, |_, v| {
            update(v, &[("kraft.version", 0, UNSAFE_DOWNGRADE)], true)
        }),
        Case::new("let controllers be as they are without saying so", UpdateFeatures, 0, 2, |_, v| {
            update(v, &[("kraft.version", 0, UPGRADE)], false)
        }),
        Case::new("lower the controllers' feature to its level", UpdateFeatures, 1, 2, |_, v| {
            update(v, &[("kraft.version", 1, SAFE_DOWNGRADE)], false)
        }),
        Case::new("raise the controllers' feature beyond what there is", UpdateFeatures, 0, 2, |_, v| {
            update(v, &[("kraft.version", 2, UPGRADE)], false)
        }),
        Case::new("all features of a release", UpdateFeatures, 1, 2, |_, v| {
            let release = [
                ("metadata.version", 30, UPGRADE),
                ("kraft.version", 1, UPGRADE),
                ("transaction.version", 2, UPGRADE),
                ("group.version", 1, UPGRADE),
                ("eligible.leader.replicas.version", 1, UPGRADE),
                ("share.version", 1, UPGRADE),
                ("streams.version", 1, UPGRADE),
            ];
            update(v, &release, true)
        }),
        Case::new("one feature that can be and one that cannot", UpdateFeatures, 0, 2, |_, v| {
            update(v, &[("group.version", 1, UPGRADE), ("no.such.version", 1, UPGRADE)], false)
        }),
        Case::new("one feature twice", UpdateFeatures, 0, 2, |_, v| {
            update(v, &[("group.version", 1, UPGRADE), ("group.version", 0, SAFE_DOWNGRADE)], false)
        }),
        Case::new("raise the feature that came twice", UpdateFeatures, 2, 2, |_, v| {
            update(v, &[("group.version", 1, UPGRADE)], false)
        }),
        Case::new("a change that is none of the kinds", UpdateFeatures, 1, 2, |_, v| {
            update(v, &[("group.version", 0, 9)], false)
        }),
        Case::new("no feature at all", UpdateFeatures, 0, 2, |_, v| update(v, &[], false)),
    ]
}
