//! The loop beside entries that Raft writes by itself.

use std::sync::Arc;
use std::time::Duration;

use moldau_cluster::{ControllerError, RECORDS_VERSION};
use moldau_metadata::{MetadataRecord, ScramCredential, ScramMechanism, records};
use moldau_model::{BrokerId, ErrorCode, TimestampMs, Uuid};

use super::session_check_pause;
use crate::manage::Decision;
use crate::{Controller, ControllerOptions};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decisions_go_on_between_changes_of_the_membership() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let options = ControllerOptions::new(BrokerId(1), "a-cluster".to_owned(), path, Uuid::ONE);
    let controller = Controller::start(options, &tokio::runtime::Handle::current()).await.unwrap();
    let service = Arc::clone(&controller.service);
    let changes = tokio::spawn(async move {
        for _ in 0..300 {
            service.node.rewrite_membership().await;
        }
    });
    let mut last = 0;
    while !changes.is_finished() {
        let decided = controller
            .service
            .decide(|_| Ok(Decision { records: vec![records::NoOp {}.into()], response: () }));
        let (result, offset) = decided.await.unwrap();
        result.unwrap();
        assert!(offset.0 > last, "{offset} after {last}");
        last = offset.0;
    }
    changes.await.unwrap();
    controller.shutdown().await;
}

#[test]
fn sessions_are_looked_at_when_the_next_one_ends_and_at_least_once_a_second() {
    let now = TimestampMs(5_000);
    for (next_expiry, pause_ms) in [
        (None, 1000),
        (Some(90_000), 1000),
        (Some(5_400), 400),
        // Its fencing is under way.
        (Some(5_000), 100),
        (Some(0), 100),
        (Some(i64::MAX), 1000),
    ] {
        let pause = session_check_pause(next_expiry.map(TimestampMs), now);
        assert_eq!(pause, Duration::from_millis(pause_ms), "{next_expiry:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kind_of_record_that_older_nodes_do_not_know_waits_for_its_level() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let options = ControllerOptions::new(BrokerId(1), "a-cluster".to_owned(), path, Uuid::ONE);
    let controller = Controller::start(options, &tokio::runtime::Handle::current()).await.unwrap();
    let service = Arc::clone(&controller.service);
    let written = async |record: MetadataRecord| {
        let decided = service.decide(move |_| Ok(Decision { records: vec![record], response: () }));
        decided.await.map(|(result, _)| result.unwrap())
    };
    let level = |level: i32| records::FeatureLevel { name: RECORDS_VERSION.0.to_owned(), level }.into();
    let password = || ScramCredential::removal("alice", ScramMechanism::Sha256).into();
    let checked = async || {
        let decided = service.decide(|deciding| {
            deciding.check_records_level(1, "passwords")?;
            Ok(Decision::unchanged(()))
        });
        decided.await.unwrap().0.map_err(|refusal| refusal.code)
    };
    written(password()).await.expect("a new cluster begins with the highest level");
    written(level(0)).await.unwrap();
    assert_eq!(written(password()).await, Err(ControllerError::Kafka(ErrorCode::UnknownServerError)));
    assert_eq!(checked().await, Err(ErrorCode::UnsupportedVersion));
    written(level(1)).await.unwrap();
    written(password()).await.unwrap();
    assert_eq!(checked().await, Ok(()));
    controller.shutdown().await;
}
