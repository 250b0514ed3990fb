//! Notices that this node is left over from another cluster than its controllers' one. Nobody of theirs takes a call of it, and
//! it takes none, so that its data stays as it was; but it would wait for ever, and nobody would know why.

use std::sync::Arc;
use std::time::Duration;

use moldau_cluster::{ControllerAddress, identify};
use moldau_security::link::Dialer;
use tokio::time::sleep;

use super::Prepared;
use super::node::{controller_addresses, credentials, other_controllers};

/// How often the others are asked, as long as this node has no place among them.
const PAUSE: Duration = Duration::from_secs(1);
/// How often it is looked whether it still has one.
const REST: Duration = Duration::from_secs(10);

/// Asks the other controllers.
pub(super) struct Strangers<'a> {
    prepared: &'a Prepared,
    dialer: Arc<Dialer>,
}

impl<'a> Strangers<'a> {
    pub(super) fn new(prepared: &'a Prepared, dialer: Arc<Dialer>) -> Self {
        Self { prepared, dialer }
    }

    /// Waits until it is certain that this node does not belong here, and says so in one line. `is_in_place` tells whether
    /// there is nothing to ask.
    pub(super) async fn found(&self, is_in_place: impl Fn() -> bool) -> String {
        let mut is_told = false;
        loop {
            sleep(if is_in_place() { REST } else { PAUSE }).await;
            if is_in_place() {
                continue;
            }
            let answers = self.ask().await;
            let own = &self.prepared.cluster_id;
            let count = controller_addresses(&self.prepared.config).len();
            if let Some(other) = majority_of_another(own, count, &answers) {
                return self.line(&other);
            }
            if let Some(other) = answers.iter().find(|(_, id)| id != own)
                && !std::mem::replace(&mut is_told, true)
            {
                tracing::error!("{}", self.line(other));
            }
        }
    }

    /// The line about somebody of another cluster, if there is one now.
    pub(super) async fn line_about_any(&self) -> Option<String> {
        let answers = self.ask().await;
        answers.iter().find(|(_, id)| *id != self.prepared.cluster_id).map(|other| self.line(other))
    }

    async fn ask(&self) -> Vec<(String, String)> {
        let config = &self.prepared.config;
        let others = other_controllers(config)
            .into_iter()
            .map(|address| ControllerAddress { node_id: None, address })
            .collect::<Vec<_>>();
        let credentials = credentials(config, None, Arc::clone(&self.dialer));
        identify(&credentials, &others).await.unwrap_or_else(|error| {
            tracing::debug!(error, "the controllers do not say which cluster they are");
            Vec::new()
        })
    }

    fn line(&self, (address, cluster_id): &(String, String)) -> String {
        let config = &self.prepared.config;
        let own = &self.prepared.cluster_id;
        let mut folders = if config.roles.broker { config.log_dirs.clone() } else { Vec::new() };
        if config.roles.controller && !folders.contains(&config.metadata_log_dir) {
            folders.push(config.metadata_log_dir.clone());
        }
        let folders = folders.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(",");
        format!(
            "{folders} holds data of cluster {own}, but the controller at {address} is of cluster {cluster_id}; nothing was \
             changed. To join that cluster without this data, start with another log.dirs; to keep the data, start with the \
             controllers of its own cluster"
        )
    }
}

/// The first of those that say the same other cluster, where they are a majority of all `count` controllers.
fn majority_of_another(own: &str, count: usize, answers: &[(String, String)]) -> Option<(String, String)> {
    let say = |cluster: &str| answers.iter().filter(|(_, id)| id == cluster).count();
    answers.iter().find(|(_, id)| id != own && say(id) > count / 2).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_of_another_cluster_counts_and_one_alone_does_not() {
        let judged = |count, ids: &[&str]| {
            let answers: Vec<(String, String)> =
                (0..).zip(ids).map(|(n, id)| (format!("c{n}:1"), (*id).to_owned())).collect();
            majority_of_another("A", count, &answers).map(|(address, _)| address)
        };
        assert_eq!(judged(3, &["B", "B"]).as_deref(), Some("c0:1"));
        assert_eq!(judged(5, &["A", "B", "B", "B"]).as_deref(), Some("c1:1"));
        assert_eq!(judged(1, &["B"]).as_deref(), Some("c0:1"));
        for (count, ids) in [(3, &["B"][..]), (2, &["B"]), (3, &["B", "C"]), (3, &["A", "A"]), (3, &[])] {
            assert_eq!(judged(count, ids), None, "{ids:?}");
        }
    }
}
