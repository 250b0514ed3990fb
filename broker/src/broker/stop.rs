//! The clean stop: leaderships away, clients out, logs closed, and the marker that says so.

use std::time::Duration;

use moldau_log::LogError;

use super::BrokerHandle;

/// How long the controller gets to move leaderships away.
const CONTROLLED_SHUTDOWN_MAX: Duration = Duration::from_secs(10);
/// How long connections get to have their last requests answered.
const DRAIN_MAX: Duration = Duration::from_secs(5);

impl BrokerHandle {
    /// Stops cleanly: the next start has nothing to recover.
    ///
    /// # Errors
    /// The first log that could not be closed; then the next start recovers what is in its directory, and nothing is lost
    /// that was acknowledged.
    pub async fn stop(self) -> Result<(), LogError> {
        let Self {
            broker,
            lifecycle,
            stop,
            servers,
            exporter,
            fetchers,
            isr_changes,
            background,
            syncers,
            ..
        } = self;
        let has_logs = !broker.replica_manager.dirs().online_ids().is_empty();
        if broker.options.config.controlled_shutdown && broker.is_ready() && has_logs {
            let moved = lifecycle.controlled_shutdown(CONTROLLED_SHUTDOWN_MAX).await;
            if !moved {
                tracing::warn!("the controller did not move the leaderships away in time");
            }
        }
        stop.send_replace(true);
        for server in servers {
            end(server).await;
        }
        if let Some(exporter) = exporter {
            exporter.stop.send_replace(true);
            end(exporter.task).await;
        }
        broker.control.coordinator.stop();
        broker.control.transactions.stop();
        broker.control.share_state.stop();
        let broker_epoch = broker.broker_epoch();
        lifecycle.stop().await;
        isr_changes.abort();
        fetchers.stop().await;
        let replicas = std::sync::Arc::clone(&broker.replica_manager);
        let closed = tokio::task::spawn_blocking(move || {
            drop(background);
            // Their queues are worked off first: what was appended becomes durable.
            drop(syncers);
            replicas.close_clean(broker_epoch)
        });
        closed.await.unwrap_or_else(|error| {
            tracing::error!(%error, "closing the logs failed");
            Ok(())
        })
    }
}

/// Waits for a task that was told to stop, as long as that may take.
async fn end(mut task: tokio::task::JoinHandle<()>) {
    if tokio::time::timeout(DRAIN_MAX, &mut task).await.is_err() {
        task.abort();
    }
}
