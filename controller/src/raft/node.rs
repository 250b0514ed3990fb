//! One member of the metadata quorum, started, asked and stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use moldau_cluster::LeaderHint;
use moldau_cluster::rpc::Credentials;
use moldau_model::{BrokerId, ErrorCode, LeaderEpoch, Offset, Uuid};
use moldau_security::link::Dialer;
use openraft::error::{ClientWriteError, Fatal, ForwardToLeader};
use openraft::impls::ProgressResponder;
use openraft::raft::ClientWriteResult;
use openraft::type_config::async_runtime::watch::WatchReceiver;
use openraft::vote::leader_id_std::CommittedLeaderId;
use openraft::{Config, Instant as _, Raft, RaftMetrics, ServerState, SnapshotPolicy};
use thiserror::Error;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;

use super::ENTRY_BYTES_MAX;
use super::formation::{Candidacy, Formation};
use super::identity::{Identity, MetadataDirectory};
use super::kv::RaftKv;
use super::kv::sled_store::{SledKv, is_released};
use super::log_store::LogStore;
use super::membership::{Changes, OBSERVER_LIMIT};
use super::network::PeerNetworks;
use super::peers::Peers;
use super::service::RaftService;
use super::snapshot::SnapshotFiles;
use super::state_machine::{StateMachine, epoch};
use super::types::{EncodedBatch, Member, Membership, TypeConfig};
use super::voters::VoterChangeError;
use super::{join, membership, ticks, vigil};
use crate::applied::Applied;
use crate::manage::ApiError;
use crate::{RaftOptions, StartError};

/// How long a lone voter may take to elect itself and to replay its log.
const READY_TIMEOUT: Duration = Duration::from_secs(120);
/// How long another node may take to take the leadership over.
const HAND_OVER_LIMIT: Duration = Duration::from_secs(1);
/// How long a stopped node may take to let go of its files.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a node is started with.
#[derive(Clone, Debug)]
pub(crate) struct RaftNodeOptions {
    pub(crate) node_id: BrokerId,
    pub(crate) cluster_id: String,
    pub(crate) metadata_log_dir: PathBuf,
    pub(crate) directory_id: Uuid,
    /// `controller.quorum.voters`: ids and the `host:port` of their CONTROLLER listeners. The address may be empty where
    /// this node is alone. A node that is not among them is taken in by those who are there.
    pub(crate) voters: BTreeMap<u64, String>,
    /// `host:port` by which the others reach this node; empty where nobody has to.
    pub(crate) address: String,
    /// `controller.quorum.bootstrap.servers`, each as `host:port`.
    pub(crate) servers: Vec<String>,
    /// `controller.quorum.auto.join.enable`.
    pub(crate) auto_join: bool,
    /// `cluster.secret`.
    pub(crate) secret: Option<String>,
    /// How other controllers are dialled.
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) raft: RaftOptions,
}

/// This node leads: what the next proposal will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leadership {
    /// The term, which a proposal must carry: in another one it fails.
    pub(crate) term: u64,
    /// Where the next proposal will stand, if nobody else proposes.
    pub(crate) next_offset: Offset,
}

impl Leadership {
    /// The term as the metadata's epoch.
    pub(crate) fn epoch(&self) -> LeaderEpoch {
        epoch(self.term)
    }
}

/// Why a proposal was not committed, or may not have been.
#[derive(Clone, Debug, Error)]
pub(crate) enum ProposeError {
    /// This node does not lead, or not in that term any more. What was proposed may be committed nevertheless.
    #[error("this node is not the active controller")]
    NotLeader(Option<LeaderHint>),
    /// The entry was not proposed.
    #[error("an entry of {length} bytes is longer than {ENTRY_BYTES_MAX}")]
    TooLarge { length: usize },
    /// The node stops, or failed.
    #[error("the metadata quorum stopped: {0}")]
    Stopped(String),
}

/// Who leads, as far as this node knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Role {
    pub(crate) term: u64,
    /// Whether it is this node. It may still have to apply what was committed before.
    pub(crate) is_leader: bool,
    pub(crate) leader: Option<u64>,
}

/// Where this node itself stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(crate) leader: Option<BrokerId>,
    pub(crate) epoch: LeaderEpoch,
    /// As Kafka calls it.
    pub(crate) state: &'static str,
    /// The end of what is applied, exclusive.
    pub(crate) applied_end: Offset,
    /// The end of the log, exclusive.
    pub(crate) log_end: Offset,
}

/// How often this node knew no leader, and for how long until it knew one again.
#[derive(Debug, Default)]
pub(crate) struct Elections {
    count: AtomicU64,
    leaderless_us: AtomicU64,
}

impl Elections {
    fn note(&self, leaderless: Duration) {
        let us = u64::try_from(leaderless.as_micros()).unwrap_or(u64::MAX);
        self.leaderless_us.fetch_add(us, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// The count, and the time of all.
    pub(crate) fn total(&self) -> (u64, Duration) {
        let count = self.count.load(Ordering::Relaxed);
        (count, Duration::from_micros(self.leaderless_us.load(Ordering::Relaxed)))
    }
}

/// The quorum as this node sees it.
#[derive(Clone, Debug)]
pub(crate) struct QuorumState {
    pub(crate) leader: Option<BrokerId>,
    pub(crate) epoch: LeaderEpoch,
    /// The end of what is committed, exclusive.
    pub(crate) high_watermark: Offset,
    pub(crate) voters: Vec<QuorumMember>,
    /// Controllers that read along and are there, as far as the leader knows.
    pub(crate) observers: Vec<QuorumMember>,
}

/// One voter or observer.
#[derive(Clone, Debug)]
pub(crate) struct QuorumMember {
    pub(crate) node_id: BrokerId,
    /// Of its CONTROLLER listener; may be empty.
    pub(crate) address: String,
    /// Zero where it is not known.
    pub(crate) directory_id: Uuid,
    /// The end of its log, exclusive, which the leader alone knows.
    pub(crate) log_end_offset: Option<Offset>,
    /// How long ago the leader heard of it.
    pub(crate) silent_for: Option<Duration>,
}

/// A proposal under way.
pub(crate) struct Proposal(oneshot::Receiver<ClientWriteResult<TypeConfig>>);

impl Proposal {
    /// Waits until the proposal is committed and applied; gives its offset.
    pub(crate) async fn applied(self) -> Result<Offset, ProposeError> {
        match self.0.await {
            Ok(Ok(response)) => Ok(Offset(response.log_id.index as i64)),
            Ok(Err(
                ClientWriteError::ForwardToLeader(leader) | ClientWriteError::LogEntryDiscarded(leader),
            )) => Err(ProposeError::NotLeader(hint(leader))),
            Ok(Err(error)) => Err(ProposeError::Stopped(error.to_string())),
            Err(_) => Err(ProposeError::Stopped("the node has stopped".to_owned())),
        }
    }
}

pub(super) fn hint(leader: ForwardToLeader<TypeConfig>) -> Option<LeaderHint> {
    let node_id = BrokerId(i32::try_from(leader.leader_id?).ok()?);
    Some(LeaderHint { node_id, address: leader.leader_node.map(|node| node.address).unwrap_or_default() })
}

pub(super) type Node = Raft<TypeConfig, StateMachine>;

/// The newest membership in the log, committed or not: the one that counts.
pub(super) fn membership_of(raft: &Node) -> Membership {
    raft.metrics().borrow_watched().membership_config.membership().clone()
}

pub(super) fn voters_of(metrics: &RaftMetrics<TypeConfig>) -> BTreeSet<u64> {
    metrics.membership_config.membership().voter_ids().collect()
}

/// Whether the log has a membership.
pub(super) fn is_initialized(raft: &Node) -> bool {
    membership_of(raft).voter_ids().next().is_some()
}

/// See the module.
pub(crate) struct RaftNode {
    raft: Node,
    node_id: BrokerId,
    service: RaftService,
    role: watch::Receiver<Role>,
    pub(super) changes: Changes,
    /// Follow what Raft tells, until the node is shut down.
    elections: Arc<Elections>,
    tasks: parking_lot::Mutex<JoinSet<()>>,
    /// Without an answer of a majority for longer, a leader is none any more, and takes no proposals.
    lease: Duration,
    /// Raft takes no proposals while it hands the leadership over.
    is_handing_over: AtomicBool,
    store: Weak<SledKv>,
    directory: parking_lot::Mutex<Option<MetadataDirectory>>,
}

struct Opened {
    directory: MetadataDirectory,
    store: Arc<SledKv>,
    log: LogStore,
    snapshots: SnapshotFiles,
}

impl RaftNode {
    /// Opens the metadata log. A node that is the whole quorum leads, and has applied all that was committed, when this
    /// returns; in a quorum of several that takes as long as it takes.
    pub(crate) async fn start(options: RaftNodeOptions, applied: Arc<Applied>) -> Result<Self, StartError> {
        let begin = Instant::now();
        let config = Arc::new(config(&options).map_err(|error| StartError::Timers(error.to_string()))?);
        let to_open = options.clone();
        // sled panics on some kinds of damage.
        let Opened { directory, store, log, snapshots } =
            tokio::task::spawn_blocking(move || open(&to_open)).await.map_err(|error| {
                StartError::Damaged { path: options.metadata_log_dir.clone(), reason: error.to_string() }
            })??;
        let opened = begin.elapsed();
        let syncs_to_open = store.sync_count();
        let node_id = options.node_id;
        let id = u64::try_from(node_id.0)
            .map_err(|_| StartError::Raft(format!("node.id {node_id} is negative")))?;
        let last_purged = log.last_purged_log_id();
        let machine = StateMachine::new(applied.clone(), snapshots);
        let path = directory.path().to_owned();
        let peers = Arc::new(Peers::new(&Credentials {
            node_id,
            cluster_id: Some(options.cluster_id.clone()),
            directory_id: options.directory_id,
            secret: options.secret.clone(),
            dialer: options.dialer.clone(),
        }));
        let network = PeerNetworks { node_id: id, peers: peers.clone() };
        let raft =
            Node::new(id, config, network, log, machine).await.map_err(|error| start_error(&path, &error))?;
        let me = Candidacy {
            node_id: id,
            directory_id: options.directory_id,
            voters: options.voters.clone(),
            address: options.address.clone(),
            servers: options.servers.clone(),
            auto_join: options.auto_join,
        };
        let formation = Arc::new(Formation::default());
        let mut tasks = JoinSet::new();
        let elections = Arc::default();
        let role = follow_role(&raft, &mut tasks, peers.clone(), Arc::clone(&elections));
        tasks.spawn(ticks::keep(raft.clone(), options.raft.heartbeat_interval));
        let service = RaftService {
            raft: raft.clone(),
            cluster_id: options.cluster_id.as_str().into(),
            me: me.clone(),
            peers: peers.clone(),
            formation,
            role: role.clone(),
        };
        let changes = Changes {
            raft: raft.clone(),
            me: me.clone(),
            peers: peers.clone(),
            one: Arc::new(Semaphore::new(1)),
        };
        let node = Self {
            raft,
            changes,
            node_id,
            service,
            role,
            elections,
            tasks: parking_lot::Mutex::new(tasks),
            lease: options.raft.election_timeout_max,
            is_handing_over: AtomicBool::new(false),
            store: Arc::downgrade(&store),
            directory: parking_lot::Mutex::new(Some(directory)),
        };
        if let Err(error) = node.take_part(me, peers, last_purged.map(|id| id.index), &path, &applied).await {
            drop(store);
            node.shutdown().await;
            return Err(error);
        }
        tracing::debug!(
            opened_ms = opened.as_secs_f64() * 1e3,
            ready_ms = begin.elapsed().as_secs_f64() * 1e3,
            syncs_to_open,
            syncs = store.sync_count(),
            "the metadata log is ready"
        );
        Ok(node)
    }

    /// Leads where this node is the whole quorum; else begins to look for the others.
    async fn take_part(
        &self,
        me: Candidacy,
        peers: Arc<Peers>,
        last_purged: Option<u64>,
        path: &Path,
        applied: &Applied,
    ) -> Result<(), StartError> {
        let purged = last_purged.map_or(-1, |index| index as i64);
        if applied.position().map_or(-1, |position| position.offset.0) < purged {
            let reason = format!("there is no snapshot of the entries up to {purged}, which were purged");
            return Err(StartError::Damaged { path: path.to_owned(), reason });
        }
        let is_initialized = self.raft.is_initialized().await.map_err(|error| start_error(path, &error))?;
        // Once there is a membership in the log, it rules.
        let mut known = me.clone();
        if is_initialized {
            known.voters = self
                .raft
                .with_raft_state(|state| {
                    let membership = state.membership_state.effective().membership().clone();
                    let address = |id| membership.get_node(&id).map(|member| member.address.clone());
                    membership.voter_ids().map(|id| (id, address(id).unwrap_or_default())).collect()
                })
                .await
                .map_err(|error| start_error(path, &error))?;
        }
        let is_alone = known.voters.keys().eq([&me.node_id]);
        if is_alone {
            self.lead(&known, is_initialized, path).await?;
        }
        let formation = self.service.formation.clone();
        let mut tasks = self.tasks.lock();
        tasks.spawn(vigil::keep(self.raft.clone(), me.node_id, peers.clone(), self.role.clone()));
        tasks.spawn(membership::keep(self.changes.clone(), self.role.clone()));
        if !me.servers.is_empty() {
            tasks.spawn(join::run(self.raft.clone(), me, peers.clone()));
        }
        if !is_alone && !known.is_newcomer() {
            tasks.spawn(formation.run(self.raft.clone(), known, peers));
        }
        Ok(())
    }

    /// Founds the quorum on the first start; elects this node, since nobody else can be, without waiting for a timer.
    async fn lead(&self, me: &Candidacy, is_initialized: bool, path: &Path) -> Result<(), StartError> {
        if is_initialized {
            self.raft.trigger().elect(false).await.map_err(|error| start_error(path, &error))?;
        } else {
            let address = me.voters.get(&me.node_id).cloned().unwrap_or_default();
            let member = Member { address, directory_id: me.directory_id, joins: false };
            let members = BTreeMap::from([(me.node_id, member)]);
            self.raft.initialize(members).await.map_err(|error| StartError::Raft(error.to_string()))?;
        }
        let ready = |metrics: &RaftMetrics<TypeConfig>| is_ready(metrics) || metrics.running_state.is_err();
        let metrics = self
            .raft
            .wait(Some(READY_TIMEOUT))
            .metrics(ready, "lead and be caught up")
            .await
            .map_err(|error| StartError::Raft(error.to_string()))?;
        metrics.running_state.map_err(|error| start_error(path, &error))
    }

    /// What other members call.
    pub(crate) fn service(&self) -> RaftService {
        self.service.clone()
    }

    /// Whether this node is alone in its quorum.
    pub(crate) fn is_alone(&self) -> bool {
        voters_of(&self.raft.metrics().borrow_watched()).iter().eq([&self.service.me.node_id])
    }

    /// Who leads, now and later.
    pub(crate) fn watch_role(&self) -> watch::Receiver<Role> {
        self.role.clone()
    }

    /// The leader before this one, if its process was seen to have ended. It is told once.
    pub(crate) fn take_ended_leader(&self) -> Option<BrokerId> {
        i32::try_from(self.service.peers.take_gone()?).ok().map(BrokerId)
    }

    /// Whether a majority answered this leader lately. One that was cut off must not speak for the quorum.
    pub(crate) fn has_quorum(&self) -> bool {
        let receiver = self.raft.metrics();
        let metrics = receiver.borrow_watched();
        let is_alone = metrics.membership_config.membership().voter_ids().nth(1).is_none();
        is_alone || metrics.last_quorum_acked.as_ref().is_some_and(|acked| acked.elapsed() <= self.lease)
    }

    /// Hands entries to Raft in the order of the calls. The proposal is made when this returns; the outcome comes later.
    pub(crate) async fn propose(&self, term: u64, batch: Bytes) -> Result<Proposal, ProposeError> {
        if batch.len() > ENTRY_BYTES_MAX {
            return Err(ProposeError::TooLarge { length: batch.len() });
        }
        let (responder, receiver) = ProgressResponder::complete_only();
        self.raft
            .write(EncodedBatch(batch))
            .with_leader(CommittedLeaderId::new(term))
            .responder(responder)
            .await
            .map_err(|error| ProposeError::Stopped(error.to_string()))?;
        Ok(Proposal(receiver))
    }

    /// Whether this node leads and has applied everything before. To be asked while no proposal is under way.
    pub(crate) fn leadership(&self) -> Option<Leadership> {
        let receiver = self.raft.metrics();
        let metrics = receiver.borrow_watched();
        let is_ready = is_ready(&metrics) && !self.is_handing_over.load(Ordering::Relaxed);
        is_ready.then(|| Leadership {
            term: metrics.current_term,
            next_offset: Offset(metrics.last_log_index.map_or(0, |index| index as i64 + 1)),
        })
    }

    /// Whom to ask instead of this node.
    pub(crate) fn leader_hint(&self) -> Option<LeaderHint> {
        let receiver = self.raft.metrics();
        let metrics = receiver.borrow_watched();
        let leader = metrics.current_leader.filter(|leader| u64::try_from(self.node_id.0) != Ok(*leader))?;
        let member = metrics.membership_config.membership().get_node(&leader);
        let address = member.map(|member| member.address.clone()).unwrap_or_default();
        Some(LeaderHint { node_id: BrokerId(leader as i32), address })
    }

    /// Elections that this node saw.
    pub(crate) fn elections(&self) -> &Elections {
        &self.elections
    }

    pub(crate) fn standing(&self) -> Standing {
        let receiver = self.raft.metrics();
        let metrics = receiver.borrow_watched();
        let end = |index: Option<u64>| Offset(index.map_or(0, |index| index as i64 + 1));
        Standing {
            leader: metrics.current_leader.map(|leader| BrokerId(leader as i32)),
            epoch: epoch(metrics.current_term),
            state: match metrics.state {
                ServerState::Leader => "leader",
                ServerState::Candidate => "candidate",
                ServerState::Follower if metrics.current_leader.is_none() => "unattached",
                ServerState::Follower => "follower",
                ServerState::Learner | ServerState::Shutdown => "observer",
            },
            applied_end: end(metrics.last_applied.as_ref().map(|id| id.index)),
            log_end: end(metrics.last_log_index),
        }
    }

    pub(crate) fn quorum_state(&self) -> QuorumState {
        let receiver = self.raft.metrics();
        let metrics = receiver.borrow_watched();
        let end = |index: Option<u64>| Offset(index.map_or(0, |index| index as i64 + 1));
        let membership = metrics.membership_config.membership();
        let own = u64::try_from(self.node_id.0).ok();
        let leads = metrics.state == ServerState::Leader;
        let member = |id: u64| {
            let member = membership.get_node(&id).cloned().unwrap_or_default();
            let is_self = Some(id) == own;
            let known = self.service.peers.known_disk(id).unwrap_or_default();
            let replicated = metrics.replication.as_ref().and_then(|all| all.get(&id));
            let heard = metrics.heartbeat.as_ref().and_then(|all| all.get(&id)).and_then(Option::as_ref);
            QuorumMember {
                node_id: BrokerId(id as i32),
                directory_id: match member.directory_id {
                    _ if is_self => self.service.me.directory_id,
                    Uuid::ZERO => known,
                    known => known,
                },
                address: member.address,
                log_end_offset: if is_self {
                    Some(end(metrics.last_log_index))
                } else {
                    replicated.filter(|_| leads).map(|id| end(id.as_ref().map(|id| id.index)))
                },
                silent_for: if is_self && leads {
                    Some(Duration::ZERO)
                } else {
                    heard.filter(|_| leads).map(|heard| heard.elapsed())
                },
            }
        };
        // Who sees a new voter counts on it. It is shown once it counts: when the change is committed, to its end.
        let settled = metrics.committed_membership_config.membership().get_joint_config().first().cloned();
        let voters = settled.unwrap_or_else(|| membership.voter_ids().collect());
        // One that never came, or left, is not shown; it may be one that was removed because it is gone.
        let is_there =
            |member: &QuorumMember| member.silent_for.is_some_and(|silent| silent <= OBSERVER_LIMIT);
        QuorumState {
            leader: metrics.current_leader.map(|id| BrokerId(id as i32)),
            epoch: epoch(metrics.current_term),
            high_watermark: end(metrics.local_committed.as_ref().map(|id| id.index)),
            observers: membership
                .nodes()
                .filter(|(id, _)| !voters.contains(id))
                .map(|(id, _)| member(*id))
                .filter(is_there)
                .collect(),
            voters: voters.into_iter().map(member).collect(),
        }
    }

    /// Waits until the node has failed, and says why. Never returns if it is stopped.
    pub(crate) async fn failed(&self) -> String {
        // These change seldom, and end with Raft. The complete metrics would wake whoever waits with every tick.
        let mut metrics = self.raft.server_metrics();
        while metrics.changed().await.is_ok() {}
        let running = self.raft.metrics().borrow_watched().running_state.clone();
        match running {
            Err(error) if !matches!(error, Fatal::Stopped) => error.to_string(),
            // The node was stopped before it could fail.
            Ok(()) | Err(_) => std::future::pending().await,
        }
    }

    /// Takes a snapshot now; for tests, which do not want to write thousands of entries.
    #[cfg(test)]
    pub(crate) async fn snapshot(&self) {
        self.raft.trigger().snapshot().await.expect("the node runs");
    }

    /// Writes the membership once more, as it is; for tests of what happens beside entries of Raft's own.
    #[cfg(test)]
    pub(crate) async fn rewrite_membership(&self) {
        let members = membership_of(&self.raft);
        let members = members.nodes().map(|(id, member)| (*id, member.clone())).collect();
        let change = openraft::ChangeMembers::SetNodes(members);
        self.raft.change_membership(change, true).await.expect("this node leads");
    }

    /// Gives leadership to the follower that has most of the log, so that nobody has to wait for an election.
    pub(crate) async fn hand_over(&self) {
        let Some(successor) = self.successor() else { return };
        self.is_handing_over.store(true, Ordering::Relaxed);
        if self.raft.trigger().transfer_leader(successor).await.is_err() {
            return;
        }
        // Not only that it is over: the others must hear of the successor before they find this node's port closed.
        let mut role = self.role.clone();
        let own = self.service.me.node_id;
        let over = role.wait_for(|role| role.leader.is_some_and(|leader| leader != own));
        match tokio::time::timeout(HAND_OVER_LIMIT, over).await {
            Ok(_) => tracing::info!(successor, "handed the leadership over"),
            Err(_) => {
                tracing::warn!(successor, "the leadership was not taken; the others elect by themselves")
            }
        }
    }

    /// Hands over because this node is to be removed. Whoever leads then removes it.
    pub(super) async fn hand_over_to_be_removed(&self) -> VoterChangeError {
        self.hand_over().await;
        self.is_handing_over.store(false, Ordering::Relaxed);
        if self.role.borrow().is_leader {
            let text = "no other voter is there to take the leadership over";
            return VoterChangeError::Refused(ApiError::new(ErrorCode::RequestTimedOut, text));
        }
        VoterChangeError::NotLeader(self.leader_hint())
    }

    /// The follower to hand over to, if this node leads several.
    fn successor(&self) -> Option<u64> {
        let receiver = self.raft.metrics();
        let metrics = receiver.borrow_watched();
        if metrics.state != ServerState::Leader {
            return None;
        }
        let own = u64::try_from(self.node_id.0).ok();
        let heard = metrics.heartbeat.as_ref()?;
        let is_there = |id: &u64| {
            heard.get(id).and_then(Option::as_ref).is_some_and(|heard| heard.elapsed() <= self.lease * 2)
        };
        let voters = metrics.membership_config.membership().voter_ids();
        let followers = voters.filter(|id| Some(*id) != own && is_there(id));
        let replication = metrics.replication.as_ref()?;
        followers.max_by_key(|id| replication.get(id).and_then(Option::as_ref).map(|id| id.index))
    }

    /// Ends what this node does by itself, and the calls by which others watch it.
    pub(crate) fn end_tasks(&self) {
        self.tasks.lock().abort_all();
    }

    /// Stops the node, and lets go of its files.
    pub(crate) async fn shutdown(&self) {
        self.end_tasks();
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "the metadata quorum did not stop cleanly");
        }
        // The state machine's task ends by itself and still reads the store until then. The lock is kept as long.
        let end = Instant::now() + RELEASE_TIMEOUT;
        let directory = self.directory.lock().take();
        let Some(directory) = directory else { return };
        let path = log_path(&directory);
        while (self.store.strong_count() > 0 || !is_released(&path)) && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Keeps the role in a channel of our own, and has the peers learn what memberships say of them.
fn follow_role(
    raft: &Node,
    tasks: &mut JoinSet<()>,
    peers: Arc<Peers>,
    elections: Arc<Elections>,
) -> watch::Receiver<Role> {
    let (sender, role) = watch::channel(Role::default());
    let mut metrics = raft.server_metrics();
    tasks.spawn(async move {
        let mut leaderless_since = Some(Instant::now());
        loop {
            {
                let metrics = metrics.borrow_watched();
                peers.learn(metrics.membership_config.membership());
                let now = Role {
                    term: metrics.vote.leader_id.term,
                    is_leader: metrics.state == ServerState::Leader,
                    leader: metrics.current_leader,
                };
                match (now.leader, leaderless_since) {
                    (Some(_), Some(since)) => {
                        elections.note(since.elapsed());
                        leaderless_since = None;
                    }
                    (None, None) => leaderless_since = Some(Instant::now()),
                    (Some(_), None) | (None, Some(_)) => {}
                }
                if now.leader.is_some() && !now.is_leader {
                    peers.set_led(now.term);
                }
                sender.send_if_modified(|role| std::mem::replace(role, now) != now);
            }
            if metrics.changed().await.is_err() {
                return;
            }
        }
    });
    role
}

fn is_ready(metrics: &RaftMetrics<TypeConfig>) -> bool {
    metrics.state == ServerState::Leader
        && metrics.last_applied.as_ref().map(|id| id.index) == metrics.last_log_index
        // The first entry of its own term tells a leader what was committed before.
        && metrics.last_applied.as_ref().is_some_and(|id| id.leader_id.term == metrics.current_term)
}

fn log_path(directory: &MetadataDirectory) -> PathBuf {
    directory.path().join("log")
}

/// All that blocks on the disk before Raft starts.
fn open(options: &RaftNodeOptions) -> Result<Opened, StartError> {
    let identity = Identity {
        cluster_id: options.cluster_id.clone(),
        node_id: options.node_id.0,
        directory_id: options.directory_id.to_string(),
    };
    let directory = MetadataDirectory::open(&options.metadata_log_dir, &identity)?;
    let path = log_path(&directory);
    // The identity is written last: where it is, the log was.
    if directory.is_finished()? && !SledKv::exists(&path)? {
        let reason = "its entries are gone".to_owned();
        return Err(StartError::Damaged { path, reason });
    }
    let store = Arc::new(SledKv::open(&path)?);
    directory.finish(&identity)?;
    let kv: Arc<dyn RaftKv> = store.clone();
    let error = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::InvalidData => {
            StartError::Damaged { path: path.clone(), reason: source.to_string() }
        }
        _ => StartError::Io { path: path.clone(), source },
    };
    let log = LogStore::open(kv).map_err(&error)?;
    let snapshots = SnapshotFiles::open(directory.path()).map_err(&error)?;
    Ok(Opened { directory, store, log, snapshots })
}

fn config(options: &RaftNodeOptions) -> Result<Config, openraft::ConfigError> {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let raft = &options.raft;
    Config {
        cluster_name: options.cluster_id.clone(),
        heartbeat_interval: millis(raft.heartbeat_interval),
        election_timeout_min: millis(raft.election_timeout_min),
        election_timeout_max: millis(raft.election_timeout_max),
        install_snapshot_timeout: millis(raft.install_snapshot_timeout),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(raft.snapshot_interval_entries.max(1)),
        max_in_snapshot_log_to_keep: raft.entries_kept_after_snapshot,
        purge_batch_size: 256,
        max_payload_entries: 256,
        api_channel_size: Some(4096),
        notification_channel_size: Some(4096),
        enable_pre_vote: Some(true),
        // A leader that restarts is elected anew, so that a new term tells its old decisions from its new ones.
        enable_leader_restore: Some(false),
        ..Config::default()
    }
    .validate()
}

fn start_error(path: &Path, error: &Fatal<TypeConfig>) -> StartError {
    match error {
        Fatal::StorageError(error) => {
            StartError::Damaged { path: path.to_owned(), reason: error.to_string() }
        }
        error => StartError::Raft(error.to_string()),
    }
}
