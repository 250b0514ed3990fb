//! The loop beside entries that Raft writes by itself.

use std::sync::Arc;
use std::time::Duration;

use moldau_metadata::records;
use moldau_model::{BrokerId, TimestampMs, Uuid};

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
