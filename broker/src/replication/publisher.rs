//! What replicas do with new metadata: logs first, then the fetchers.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use moldau_cluster::ReplicaDirectory;
use moldau_metadata::{MetadataDelta, MetadataImage};
use moldau_model::Uuid;
use tokio::task::JoinHandle;

use super::FetcherManager;
use crate::control::ReplicaPublisher;
use crate::replica_manager::ReplicaManager;

/// How long the files of new partitions wait. The first records come at once or much later, and a sync of those would
/// wait for the journal of the file system to take in all the others.
const MAKE_LOGS_DELAY: Duration = Duration::from_millis(500);

/// The replicas of a broker and those who fetch for them.
pub struct Replicas {
    pub manager: Arc<ReplicaManager>,
    pub fetchers: Arc<FetcherManager>,
}

#[async_trait]
impl ReplicaPublisher for Replicas {
    async fn apply(&self, delta: &MetadataDelta, image: &Arc<MetadataImage>) {
        let mut changes = Vec::new();
        let is_touched = !delta.topics.is_empty()
            || !delta.deleted_topics.is_empty()
            || !delta.configs.is_empty()
            || !delta.brokers.is_empty();
        if is_touched {
            let (manager, delta, image) = (Arc::clone(&self.manager), delta.clone(), Arc::clone(image));
            changes = applied(tokio::task::spawn_blocking(move || manager.apply(&delta, &image))).await;
        }
        if !changes.is_empty() || !delta.brokers.is_empty() {
            self.fetchers.apply(changes, delta, image);
        }
        if self.manager.has_logs_to_make() {
            let manager = Arc::clone(&self.manager);
            tokio::spawn(async move {
                tokio::time::sleep(MAKE_LOGS_DELAY).await;
                tokio::task::spawn_blocking(move || manager.make_logs());
            });
        }
    }

    fn is_registered(&self, image: &MetadataImage) -> bool {
        self.manager.is_registered(image)
    }

    fn offline_log_dirs(&self) -> Vec<Uuid> {
        self.manager.dirs().offline_ids()
    }

    fn full_log_dirs(&self) -> Vec<Uuid> {
        self.manager.dirs().full_ids()
    }

    fn cordoned_log_dirs(&self) -> Vec<Uuid> {
        self.manager.dirs().cordoned_ids()
    }

    fn replica_directories(&self, image: &MetadataImage) -> Vec<ReplicaDirectory> {
        self.manager.misplaced(image)
    }
}

/// What a blocking task made of new metadata.
///
/// A task that a stopping runtime never began has applied nothing. It has no outcome, and whoever waits for one ends with
/// the runtime, so that nothing is built on it.
async fn applied<T>(task: JoinHandle<T>) -> T {
    match task.await {
        Ok(outcome) => outcome,
        Err(error) if error.is_cancelled() => std::future::pending().await,
        Err(error) => {
            // Half-applied metadata would make a leader of the wrong replica.
            tracing::error!(%error, "applying metadata failed, the process stops");
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A runtime drops the blocking tasks that wait for a thread when it stops, which is not a fault of the broker.
    #[test]
    fn metadata_that_a_stopping_runtime_does_not_apply_any_more_ends_nothing() {
        let runtime =
            tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().expect("a runtime");
        let (release, released) = mpsc::channel::<()>();
        runtime.block_on(async {
            let busy = tokio::task::spawn_blocking(move || released.recv());
            let waiting = tokio::task::spawn_blocking(|| ());
            waiting.abort();
            let outcome = applied(waiting);
            tokio::pin!(outcome);
            drop(release);
            busy.await.expect("the first task ends").expect_err("its channel is closed");
            for _ in 0..3 {
                tokio::task::yield_now().await;
                assert!(futures::poll!(outcome.as_mut()).is_pending());
            }
        });
    }
}
