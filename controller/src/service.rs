//! What brokers ask of a controller, each turned into one decision of the event loop or a look at what is applied.

mod kafka;
mod presence;
pub(crate) mod tools;
mod watch;

pub(crate) use kafka::Change;
pub(crate) use presence::Presence;
#[cfg(test)]
pub(crate) use watch::spawn as watch_applied;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use moldau_cluster::{
    AllocateProducerIds, AlterPartition, AlterPartitionReply, BrokerListener, ClusterStatistics,
    ControllerError, ControllerStatistics, Forward, Forwarded, Heartbeat, HeartbeatReply, MetadataWatch,
    ProducerIdBlock, QuorumDescription, QuorumNode, QuorumReplica, RegisterBroker, RegisteredBroker,
    WatchMetadata,
};
use moldau_metadata::{AuthorizerSettings, MetadataImage, ScramCredential, ScramMechanism};
use moldau_model::{BrokerId, ErrorCode, Offset, Operation, TimestampMs, Uuid};
use moldau_security::delegation::{DelegationLogin, TokenFinder};
use moldau_security::sasl::CredentialStore;
use tokio::sync::{Semaphore, mpsc, oneshot, watch as flag};

use crate::applied::Applied;
use crate::audit::AuditLog;
use crate::event_loop::{Decided, Deciding, Work};
use crate::manage::{
    Access, ApiError, Asker, Decision, allocate_producer_ids, alter_partition, register_broker,
};
use crate::raft::RaftNode;

/// How long an answer may take: longer than an election, shorter than clients wait.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

/// Requests of clients that are carried out at the same time; they are, also where nobody waits for the answer any more.
pub(crate) const CARRIED_OUT_MAX: usize = 1024;

/// What all requests need.
pub(crate) struct Service {
    pub(crate) node_id: BrokerId,
    pub(crate) cluster_id: String,
    /// What the voters' addresses are called.
    pub(crate) listener_name: String,
    /// What the addresses are called at which brokers find one another.
    pub(crate) inter_broker_listener: String,
    /// Who decides what clients may do, where a decision of the event loop is not asked; `None` if they may do everything.
    pub(crate) authorizer: Option<AuthorizerSettings>,
    pub(crate) audit: Arc<AuditLog>,
    /// Finds delegation tokens; `None` where there are none.
    pub(crate) tokens: Option<TokenFinder>,
    pub(crate) node: Arc<RaftNode>,
    pub(crate) applied: Arc<Applied>,
    pub(crate) requests: mpsc::Sender<Work>,
    /// Whether this controller is the active one.
    pub(crate) active: Arc<flag::Sender<bool>>,
    pub(crate) stop: flag::Sender<bool>,
    /// Places of requests of clients.
    pub(crate) carrying_out: Arc<Semaphore>,
}

/// A decision's answer, or the refusal of the request as a whole; and the offset from which what it says is visible.
type Answer<R> = (Result<R, ApiError>, Offset);

impl Service {
    /// Has a decision made, committed and applied.
    pub(crate) async fn decide<R: Send + 'static>(
        &self,
        decide: impl FnOnce(&mut Deciding<'_>) -> Result<Decision<R>, ApiError> + Send + 'static,
    ) -> Result<Answer<R>, ControllerError> {
        self.decide_and_then(decide, |_, _, _| {}).await
    }

    /// As [`Self::decide`]; `committed` is told of a decision that is, before the answer goes out.
    async fn decide_and_then<R: Send + 'static>(
        &self,
        decide: impl FnOnce(&mut Deciding<'_>) -> Result<Decision<R>, ApiError> + Send + 'static,
        committed: impl FnOnce(&R, &mut crate::manage::BrokerSessions, TimestampMs) + Send + 'static,
    ) -> Result<Answer<R>, ControllerError> {
        let (sender, receiver) = oneshot::channel::<Result<Answer<R>, ControllerError>>();
        // Whichever of the two closures is called takes the sender; an asker who is gone needs no answer.
        let sender = Arc::new(parking_lot::Mutex::new(Some(sender)));
        let refuse_sender = sender.clone();
        let tell = |sender: &parking_lot::Mutex<Option<oneshot::Sender<_>>>, answer| {
            if let Some(sender) = sender.lock().take() {
                drop(sender.send(answer));
            }
        };
        let work = Work::Decide {
            decide: Box::new(move |deciding| {
                let (records, response) = match decide(deciding) {
                    Ok(decision) => (decision.records, Ok(decision.response)),
                    Err(refusal) => (Vec::new(), Err(refusal)),
                };
                let reply = Box::new(
                    move |fate: Result<Offset, ControllerError>,
                          sessions: &mut crate::manage::BrokerSessions,
                          now| {
                        if let (Ok(_), Ok(response)) = (&fate, &response) {
                            committed(response, sessions, now);
                        }
                        tell(&sender, fate.map(|offset| (response, offset)));
                    },
                );
                Decided { records, reply }
            }),
            refuse: Box::new(move |error| tell(&refuse_sender, Err(error))),
        };
        let answer = async {
            self.requests.send(work).await.map_err(|_| ControllerError::Stopping)?;
            receiver.await.unwrap_or(Err(ControllerError::Stopping))
        };
        tokio::time::timeout(REPLY_TIMEOUT, answer).await.unwrap_or(Err(ControllerError::Timeout))
    }

    /// Waits until this controller is the active one. False if it stopped before.
    pub(crate) async fn wait_active(&self) -> bool {
        let mut active = self.active.subscribe();
        tokio::select! {
            active = active.wait_for(|active| *active) => active.is_ok(),
            () = self.requests.closed() => false,
        }
    }

    pub(crate) async fn register_broker(
        &self,
        request: RegisterBroker,
    ) -> Result<RegisteredBroker, ControllerError> {
        let id = request.broker_id;
        let decide = move |deciding: &mut Deciding<'_>| {
            let session = deciding.sessions.state(id, deciding.now);
            match register_broker(deciding.image, &request, session, &mut deciding.inputs) {
                Err(error)
                    if error.code == ErrorCode::DuplicateBrokerRegistration
                        && deciding.sessions.outlives(id, request.waited_ms, deciding.now) =>
                {
                    Ok(Decision::unchanged(Err(whereabouts(deciding.image, id))))
                }
                answer => {
                    answer.map(|Decision { records, response }| Decision { records, response: Ok(response) })
                }
            }
        };
        type Registration = Result<RegisteredBroker, String>;
        let registered =
            move |registered: &Registration, sessions: &mut crate::manage::BrokerSessions, now| {
                if let Ok(registered) = registered {
                    sessions.handle_registered(id, registered.broker_epoch, now);
                }
            };
        let answer = whole(self.decide_and_then(decide, registered).await?, "registration", id)?;
        answer.map_err(|address| {
            tracing::warn!(broker = id.0, address, "refused a second broker of this id: the first one lives");
            ControllerError::BrokerLives { address }
        })
    }

    pub(crate) async fn heartbeat(&self, request: Heartbeat) -> Result<HeartbeatReply, ControllerError> {
        let id = request.broker_id;
        let answer = self
            .decide(move |deciding| {
                deciding.sessions.handle_heartbeat(
                    deciding.image,
                    deciding.inputs.settings,
                    &request,
                    deciding.now,
                )
            })
            .await?;
        whole(answer, "heartbeat", id)
    }

    pub(crate) async fn allocate_producer_ids(
        &self,
        request: AllocateProducerIds,
    ) -> Result<ProducerIdBlock, ControllerError> {
        let answer = self.decide(move |deciding| allocate_producer_ids(deciding.image, &request)).await?;
        whole(answer, "producer id allocation", request.broker_id)
    }

    pub(crate) async fn alter_partition(
        &self,
        request: AlterPartition,
    ) -> Result<AlterPartitionReply, ControllerError> {
        let id = request.broker_id;
        let answer = self
            .decide(move |deciding| alter_partition(deciding.image, deciding.inputs.settings, &request))
            .await?;
        whole(answer, "ISR change", id)
    }

    /// # Errors
    /// `INCONSISTENT_CLUSTER_ID`.
    pub(crate) fn watch_metadata(&self, request: &WatchMetadata) -> Result<MetadataWatch, ControllerError> {
        if request.cluster_id != self.cluster_id {
            return Err(ControllerError::Kafka(ErrorCode::InconsistentClusterId));
        }
        if *self.stop.borrow() {
            return Err(ControllerError::Stopping);
        }
        Ok(watch::spawn(self.applied.clone(), request.after, self.stop.subscribe()))
    }

    /// # Errors
    /// `NotController`: the one that leads knows how far the others are.
    pub(crate) fn describe_quorum(&self) -> Result<QuorumDescription, ControllerError> {
        let state = self.node.quorum_state();
        if state.leader != Some(self.node_id) {
            return Err(ControllerError::NotController { leader: self.node.leader_hint() });
        }
        let now = wall_clock();
        let replica = |voter: &crate::raft::QuorumMember| {
            let last_fetch = voter.silent_for.map_or(TimestampMs::NONE, |silent| {
                TimestampMs(now.0.saturating_sub(i64::try_from(silent.as_millis()).unwrap_or(i64::MAX)))
            });
            let has_all = voter.log_end_offset.is_some_and(|end| end >= state.high_watermark);
            QuorumReplica {
                node_id: voter.node_id,
                directory_id: voter.directory_id,
                log_end_offset: voter.log_end_offset.unwrap_or(Offset::NONE),
                last_fetch_timestamp_ms: last_fetch,
                last_caught_up_timestamp_ms: if has_all { last_fetch } else { TimestampMs::NONE },
            }
        };
        let image = self.applied.image();
        let is_member =
            |id: BrokerId| state.voters.iter().chain(&state.observers).any(|member| member.node_id == id);
        let brokers = image.brokers().filter(|broker| !is_member(broker.id)).map(|broker| QuorumReplica {
            node_id: broker.id,
            directory_id: broker.log_directories.first().copied().unwrap_or(Uuid::ZERO),
            log_end_offset: Offset::NONE,
            last_fetch_timestamp_ms: TimestampMs::NONE,
            last_caught_up_timestamp_ms: TimestampMs::NONE,
        });
        let node = |voter: &crate::raft::QuorumMember| QuorumNode {
            node_id: voter.node_id,
            listeners: controller_listener(&self.listener_name, &voter.address).into_iter().collect(),
        };
        Ok(QuorumDescription {
            leader_id: self.node_id,
            leader_epoch: state.epoch,
            high_watermark: state.high_watermark,
            voters: state.voters.iter().map(replica).collect(),
            observers: state.observers.iter().map(replica).chain(brokers).collect(),
            nodes: state.voters.iter().map(node).collect(),
        })
    }

    /// This controller, and if it is the active one the cluster, for metrics.
    pub(crate) fn statistics(&self) -> ControllerStatistics {
        let standing = self.node.standing();
        let is_active = *self.active.borrow();
        let (elections, leaderless) = self.node.elections().total();
        ControllerStatistics {
            leader_id: standing.leader.unwrap_or(BrokerId::NONE),
            epoch: standing.epoch,
            state: standing.state,
            is_active,
            applied_end: standing.applied_end,
            log_end: standing.log_end,
            elections,
            leaderless,
            cluster: is_active.then(|| cluster_statistics(&self.applied.image())),
        }
    }

    /// Carries out a request of a client. Whoever asks may go meanwhile: what has begun is carried out to its end, and so is
    /// its line of the audit log.
    pub(crate) async fn forward(self: &Arc<Self>, request: Forward) -> Result<Forwarded, ControllerError> {
        let place = Arc::clone(&self.carrying_out).acquire_owned();
        let place = tokio::time::timeout(REPLY_TIMEOUT, place).await;
        let place = place.map_err(|_| ControllerError::Timeout)?.map_err(|_| ControllerError::Stopping)?;
        let service = Arc::clone(self);
        let carried_out = tokio::spawn(async move {
            let _place = place;
            kafka::handle(&service, request).await
        });
        carried_out.await.unwrap_or_else(|error| {
            let panicked = ControllerError::Kafka(ErrorCode::UnknownServerError);
            Err(if error.is_panic() { panicked } else { ControllerError::Stopping })
        })
    }

    /// The id of the delegation token that somebody shows, as far as this controller has applied. Who was given one knows it from
    /// an answer that came after that.
    fn find_token(&self, hmac: &[u8]) -> Option<Arc<str>> {
        self.tokens.as_ref()?.find(self.applied.image().delegation_tokens(), hmac)
    }

    /// Whether the asker may do this to the cluster, by the entries that are applied here.
    ///
    /// # Errors
    /// `CLUSTER_AUTHORIZATION_FAILED`.
    fn check_cluster(&self, asker: &Asker, operation: Operation) -> Result<(), ApiError> {
        let image = self.applied.image();
        Access::new(self.authorizer.as_ref(), image.acls(), asker, &*self.audit).check_cluster(operation)
    }

    /// # Errors
    /// `NotController`, if this node does not lead.
    fn check_leads(&self) -> Result<(), ControllerError> {
        if self.node.watch_role().borrow().is_leader {
            return Ok(());
        }
        Err(ControllerError::NotController { leader: self.node.leader_hint() })
    }
}

/// Where a broker listens, as it has registered.
fn whereabouts(image: &MetadataImage, id: BrokerId) -> String {
    let listener = |listener: &moldau_metadata::Listener| {
        format!("{}://{}:{}", listener.name, listener.host, listener.port)
    };
    let listeners = image.broker(id).map(|broker| broker.listeners.iter().map(listener).collect::<Vec<_>>());
    listeners.unwrap_or_default().join(",")
}

/// Who has a password, as far as this controller has applied.
pub(crate) struct Users<'a>(pub(crate) &'a Service);

impl CredentialStore for Users<'_> {
    fn scram(&self, mechanism: ScramMechanism, user: &str) -> Option<ScramCredential> {
        self.0.applied.image().scram().get(user, mechanism).map(|credential| (**credential).clone())
    }

    fn delegation_token(&self, id: &str) -> Option<DelegationLogin> {
        let key = self.0.tokens.as_ref()?.key();
        let image = self.0.applied.image();
        image.delegation_tokens().get(id).and_then(|token| DelegationLogin::of(key, token, wall_clock()))
    }
}

fn cluster_statistics(image: &MetadataImage) -> ClusterStatistics {
    let mut statistics = ClusterStatistics { topics: image.topics().len(), ..ClusterStatistics::default() };
    for broker in image.brokers() {
        if broker.fenced {
            statistics.fenced_brokers += 1;
        } else {
            statistics.active_brokers += 1;
        }
    }
    for (_, partition) in image.topics().iter().flat_map(|topic| topic.partitions()) {
        statistics.partitions += 1;
        statistics.offline_partitions += usize::from(!partition.has_leader());
        statistics.imbalanced_partitions += usize::from(partition.leader != partition.preferred_replica());
    }
    statistics
}

/// A voter's listener; none if its address was never told.
fn controller_listener(name: &str, address: &str) -> Option<BrokerListener> {
    let (host, port) = address.rsplit_once(':')?;
    Some(BrokerListener {
        name: name.to_owned(),
        host: host.to_owned(),
        port: port.parse().ok()?,
        // Kafka does not tell the protocol here.
        security_protocol: 0,
    })
}

/// An answer whose refusal is all there is to say.
fn whole<R>((result, _): Answer<R>, what: &str, id: BrokerId) -> Result<R, ControllerError> {
    result.map_err(|error| {
        // Who was started again asks until the session of its earlier start is over, and says so itself.
        if error.code == ErrorCode::DuplicateBrokerRegistration {
            tracing::debug!(broker = id.0, %error, "refused a {what}");
        } else {
            tracing::info!(broker = id.0, %error, "refused a {what}");
        }
        ControllerError::Kafka(error.code)
    })
}

/// Milliseconds since 1970.
pub(crate) fn wall_clock() -> TimestampMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimestampMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
