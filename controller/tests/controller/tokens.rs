//! Delegation tokens: made, renewed and ended by requests as brokers forward them.

use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::{
    CreateDelegationTokenRequest, CreateDelegationTokenResponse, ExpireDelegationTokenRequest,
    RenewDelegationTokenRequest, UpdateFeaturesRequest,
};
use kafka_protocol::protocol::StrBytes;
use moldau_controller::{ControllerHandle, ControllerOptions};
use moldau_metadata::records;
use moldau_model::ErrorCode;

use super::harness::{forward, options, runtime, start_with};
use super::watch_until;

const RECORDS_VERSION: &str = "moldau.records.version";

fn with_tokens(path: &std::path::Path) -> ControllerOptions {
    let mut options = options(path);
    let settings =
        [("secret.key", "secret"), ("expiry.check.interval.ms", "50"), ("max.lifetime.ms", "600000")];
    let settings = settings.map(|(name, value)| (format!("delegation.token.{name}"), value.to_owned()));
    options.settings.extend(settings);
    options
}

async fn create(controller: &ControllerHandle, version: i16) -> CreateDelegationTokenResponse {
    let request = CreateDelegationTokenRequest::default().with_max_lifetime_ms(-1);
    forward(controller, version, &request).await.unwrap().0
}

#[test]
fn a_token_outlives_a_restart_is_renewed_and_goes_when_it_is_over() {
    runtime().block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let controller = start_with(with_tokens(directory.path())).await;
        for version in 1..=3 {
            let created = create(&controller, version).await;
            assert_eq!(
                (created.error_code, created.hmac.len(), &*created.principal_name),
                (0, 64, "ANONYMOUS")
            );
            assert_eq!(created.max_timestamp_ms - created.issue_timestamp_ms, 600_000);
        }
        let created = create(&controller, 3).await;
        assert_eq!(&*created.token_requester_principal_name, "ANONYMOUS");
        controller.shutdown().await;

        let controller = start_with(with_tokens(directory.path())).await;
        let renew = |hmac| RenewDelegationTokenRequest::default().with_hmac(hmac).with_renew_period_ms(-1);
        let (renewed, _) = forward(&controller, 2, &renew(created.hmac.clone())).await.unwrap();
        assert_eq!((renewed.error_code, renewed.expiry_timestamp_ms), (0, created.max_timestamp_ms));
        let (unknown, _) = forward(&controller, 1, &renew(vec![0; 64].into())).await.unwrap();
        let not_found = ErrorCode::DelegationTokenNotFound.code();
        assert_eq!((unknown.error_code, unknown.expiry_timestamp_ms), (not_found, 0));
        let expire = ExpireDelegationTokenRequest::default().with_hmac(created.hmac.clone());
        let expire = expire.with_expiry_time_period_ms(0);
        let (ended, _) = forward(&controller, 2, &expire).await.unwrap();
        assert_eq!(ended.error_code, 0);
        watch_until(&controller, |image| image.delegation_tokens().len() == 3).await;
        let (unknown, _) = forward(&controller, 2, &renew(created.hmac)).await.unwrap();
        assert_eq!(unknown.error_code, not_found);
        controller.shutdown().await;
    });
}

#[test]
fn tokens_wait_until_all_nodes_can_read_them() {
    runtime().block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let mut options = with_tokens(directory.path());
        let level = records::FeatureLevel { name: RECORDS_VERSION.to_owned(), level: 1 };
        options.initial_records = vec![level.into()];
        let controller = start_with(options).await;
        let refused = create(&controller, 3).await;
        assert_eq!((refused.error_code, &*refused.token_id), (ErrorCode::UnsupportedVersion.code(), ""));
        assert!(controller.image().delegation_tokens().is_empty());
        let update = FeatureUpdateKey::default()
            .with_feature(StrBytes::from_static_str(RECORDS_VERSION))
            .with_max_version_level(2)
            .with_upgrade_type(1);
        let request = UpdateFeaturesRequest::default().with_feature_updates(vec![update]);
        let (raised, _) = forward(&controller, 1, &request).await.unwrap();
        assert_eq!(raised.error_code, 0, "{raised:?}");
        assert_eq!(create(&controller, 3).await.error_code, 0);
        controller.shutdown().await;
    });
}

#[test]
fn without_a_secret_every_request_says_so() {
    runtime().block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let controller = start_with(options(directory.path())).await;
        let disabled = ErrorCode::DelegationTokenAuthDisabled.code();
        assert_eq!(create(&controller, 3).await.error_code, disabled);
        let (renewed, _) = forward(&controller, 2, &RenewDelegationTokenRequest::default()).await.unwrap();
        let (ended, _) = forward(&controller, 2, &ExpireDelegationTokenRequest::default()).await.unwrap();
        assert_eq!((renewed.error_code, ended.error_code), (disabled, disabled));
        controller.shutdown().await;
    });
}
