//! The loop beside entries that Raft writes by itself.

use std::sync::Arc;

use moldau_metadata::records;
use moldau_model::{BrokerId, Uuid};

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
