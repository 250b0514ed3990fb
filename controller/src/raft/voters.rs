//! AddRaftVoter and RemoveRaftVoter as they are carried out: one change at a time, each within its limit, and none cut in
//! two because the asker has left.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use moldau_cluster::LeaderHint;
use moldau_model::{BrokerId, ErrorCode, Uuid};
use openraft::ChangeMembers;
use tokio::time::{Instant, timeout_at};

use super::membership::{ChangeError, Changes, Step};
use super::node::RaftNode;
use super::types::{Member, Membership};
use crate::manage::{ApiError, ReplicaKey, check_new_voter, check_old_voter};

/// How often it is looked how far a learner is.
const CATCH_UP_PAUSE: Duration = Duration::from_millis(20);

/// Why the voters are as they were, or may be.
#[derive(Clone, Debug)]
pub(crate) enum VoterChangeError {
    /// This node does not lead, or not any more.
    NotLeader(Option<LeaderHint>),
    Refused(ApiError),
}

impl From<ApiError> for VoterChangeError {
    fn from(error: ApiError) -> Self {
        Self::Refused(error)
    }
}

impl From<ChangeError> for VoterChangeError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::NotLeader(leader) => Self::NotLeader(leader),
            ChangeError::Pending => {
                timed_out("Request timed out waiting for voters to commit the latest voter change")
            }
            ChangeError::Failed(reason) => {
                tracing::warn!(reason, "a change of the voters failed");
                Self::Refused(ApiError::new(ErrorCode::UnknownServerError, reason))
            }
        }
    }
}

fn timed_out(text: impl Into<String>) -> VoterChangeError {
    VoterChangeError::Refused(ApiError::new(ErrorCode::RequestTimedOut, text))
}

impl RaftNode {
    /// Makes a controller a voter. It has to answer, and to get all of the log, within `limit`.
    pub(crate) async fn add_voter(
        &self,
        new: ReplicaKey,
        address: String,
        limit: Duration,
    ) -> Result<(), VoterChangeError> {
        let deadline = Instant::now() + limit;
        self.check_leads()?;
        self.changing(deadline, async move |changes: Changes| changes.add(new, address, deadline).await).await
    }

    /// Takes a controller's vote. It goes on as an observer. Where it is this node, another leads first.
    pub(crate) async fn remove_voter(
        &self,
        old: ReplicaKey,
        limit: Duration,
    ) -> Result<(), VoterChangeError> {
        let deadline = Instant::now() + limit;
        self.check_leads()?;
        if self.changes.me.node_id == id(old.node_id) {
            check_old_voter(&self.changes.voters(&self.changes.settled()?), old)?;
            return Err(self.hand_over_to_be_removed().await);
        }
        self.changing(deadline, async move |changes: Changes| changes.remove(old).await).await
    }

    fn check_leads(&self) -> Result<(), VoterChangeError> {
        if self.watch_role().borrow().is_leader {
            return Ok(());
        }
        Err(VoterChangeError::NotLeader(self.leader_hint()))
    }

    /// Changes the voters in a task of its own: one that is under way is not to be dropped half done.
    async fn changing<F>(
        &self,
        deadline: Instant,
        change: impl FnOnce(Changes) -> F + Send + 'static,
    ) -> Result<(), VoterChangeError>
    where
        F: Future<Output = Result<(), VoterChangeError>> + Send + 'static,
    {
        let changes = self.changes.clone();
        let Ok(Ok(permit)) = timeout_at(deadline, changes.one.clone().acquire_owned()).await else {
            return Err(timed_out(
                "Request timed out waiting for leader to handle previous voter change request",
            ));
        };
        let task = tokio::spawn(async move {
            let _permit = permit;
            change(changes).await
        });
        match timeout_at(deadline, task).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Err(ChangeError::Failed(error.to_string()).into()),
            Err(_) => Err(timed_out("Request timed out waiting for the voter change to be committed")),
        }
    }
}

impl Changes {
    /// Who votes, by the disks that are known.
    fn voters(&self, membership: &Membership) -> Vec<ReplicaKey> {
        let key = |node_id: u64| {
            let named = membership.get_node(&node_id).map(|member| member.directory_id);
            let named = named.filter(|disk| !disk.is_zero());
            let seen = || {
                let is_me = node_id == self.me.node_id;
                if is_me { Some(self.me.directory_id) } else { self.peers.known_disk(node_id) }
            };
            let directory_id = named.or_else(seen).unwrap_or(Uuid::ZERO);
            ReplicaKey { node_id: BrokerId(i32::try_from(node_id).unwrap_or(i32::MAX)), directory_id }
        };
        membership.voter_ids().map(key).collect()
    }

    async fn add(&self, new: ReplicaKey, address: String, deadline: Instant) -> Result<(), VoterChangeError> {
        let membership = self.settled()?;
        check_new_voter(&self.voters(&membership), new)?;
        let node_id = id(new.node_id);
        let found = timeout_at(deadline, self.probe(&address)).await.ok().flatten();
        match found {
            Some(found) if found == (node_id, new.directory_id) => {}
            None => return Err(timed_out(format!("New voter {new} is not ready to receive requests"))),
            Some((found_id, disk)) => {
                let found = ReplicaKey {
                    node_id: BrokerId(i32::try_from(found_id).unwrap_or(-1)),
                    directory_id: disk,
                };
                let text =
                    format!("Aborted add voter operation for {new} since {found} listens at {address}");
                return Err(timed_out(text));
            }
        }
        let member = Member { address, directory_id: new.directory_id, joins: false };
        let known = membership.get_node(&node_id);
        let is_learner = known.is_some_and(|known| {
            known.address == member.address && known.directory_id == member.directory_id
        });
        if !is_learner {
            let step = if known.is_some() { Step::Readmit } else { Step::Admit };
            self.take(step(node_id, member)).await?;
        }
        while !self.is_caught_up(node_id) {
            if Instant::now() >= deadline {
                if known.is_none() {
                    // It was no observer before, and is none now.
                    self.take(Step::Forget(node_id)).await?;
                }
                return Err(timed_out(format!(
                    "Aborted add voter operation for {new} since it is lagging behind"
                )));
            }
            tokio::time::sleep(CATCH_UP_PAUSE).await;
        }
        self.take(Step::Promote(node_id)).await?;
        tracing::info!(voter = %new, "the controller votes");
        Ok(())
    }

    async fn remove(&self, old: ReplicaKey) -> Result<(), VoterChangeError> {
        let membership = self.settled()?;
        check_old_voter(&self.voters(&membership), old)?;
        let node_id = id(old.node_id);
        let member = membership.get_node(&node_id).cloned().unwrap_or_default();
        // It keeps its place as a learner, by which everybody knows that it was removed.
        let observer = Member { directory_id: old.directory_id, joins: false, ..member };
        let change = ChangeMembers::Batch(vec![
            ChangeMembers::SetNodes(BTreeMap::from([(node_id, observer)])),
            ChangeMembers::RemoveVoters(BTreeSet::from([node_id])),
        ]);
        self.change(change, true).await?;
        self.peers.drop_wish(node_id);
        tracing::info!(voter = %old, "the controller votes no more");
        Ok(())
    }
}

fn id(node_id: BrokerId) -> u64 {
    // A negative id names nobody, and was refused.
    u64::try_from(node_id.0).unwrap_or(u64::MAX)
}
