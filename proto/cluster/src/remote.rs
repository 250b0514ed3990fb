//! The channel to a quorum of several controllers: finds the active one, and asks again where one is gone.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use moldau_model::{BrokerEpoch, BrokerId, ErrorCode};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::rpc::{Connection, Credentials};
use crate::{
    AllocateProducerIds, AlterPartition, AlterPartitionReply, ControllerChannel, ControllerError,
    ControllerStatistics, Forward, Forwarded, Heartbeat, HeartbeatReply, LeaderHint, MetadataWatch,
    ProducerIdBlock, QuorumDescription, RegisterBroker, RegisteredBroker, WatchMetadata,
};

/// Pause once all controllers were asked and none is the active one: an election takes a while.
const ROUND_PAUSE: Duration = Duration::from_millis(20);
/// Pause once no controller tells of the metadata.
const WATCH_PAUSE: Duration = Duration::from_millis(50);
/// Pause before a broker looks again whether its own process's controller still is the one to attend.
const ATTEND_PAUSE: Duration = Duration::from_millis(200);
/// How long a heartbeat looks for the active controller. A later one says more.
const HEARTBEAT_LIMIT: Duration = Duration::from_secs(3);
/// How long other requests do: longer than an election and what follows on it.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
/// How long a node without an identity asks in one go.
const IDENTIFY_LIMIT: Duration = Duration::from_secs(2);
/// How many controllers are kept in mind; hints may name more than the configuration.
const NODES_MAX: usize = 32;

/// Where a controller listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerAddress {
    /// Its `node.id`, where the configuration tells it.
    pub node_id: Option<BrokerId>,
    /// `host:port`; an IPv6 address stands in brackets.
    pub address: String,
}

/// The controller in the same process, which is asked without the network.
#[derive(Clone)]
pub struct LocalController {
    /// Its `node.id`.
    pub node_id: BrokerId,
    /// The controller.
    pub channel: Arc<dyn ControllerChannel>,
}

#[derive(Clone)]
enum Way {
    Local(Arc<dyn ControllerChannel>),
    Remote(Arc<Connection>),
}

#[derive(Clone)]
struct Node {
    node_id: Option<BrokerId>,
    address: String,
    way: Way,
}

impl Node {
    fn channel(&self) -> &dyn ControllerChannel {
        match &self.way {
            Way::Local(channel) => &**channel,
            Way::Remote(connection) => &**connection,
        }
    }
}

struct State {
    nodes: Vec<Node>,
    /// Whom to ask first: the last one that answered as the active controller, or the next to try.
    current: usize,
    attended: Option<Attended>,
}

/// The task that lets the active controller see this broker, whichever it is.
struct Attended {
    broker_epoch: BrokerEpoch,
    task: JoinHandle<()>,
}

impl Drop for Attended {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// See the module.
pub struct RemoteControllerChannel {
    controllers: Arc<Controllers>,
}

impl RemoteControllerChannel {
    /// Knows these controllers, and the one in the same process if there is one.
    ///
    /// # Errors
    /// If one of the addresses is none; it is told.
    pub fn new(
        credentials: Credentials,
        controllers: &[ControllerAddress],
        local: Option<LocalController>,
    ) -> Result<Self, String> {
        let mut nodes = Vec::new();
        let local_id = local.as_ref().map(|local| local.node_id);
        if let Some(local) = local {
            let way = Way::Local(local.channel);
            nodes.push(Node { node_id: Some(local.node_id), address: String::new(), way });
        }
        for controller in controllers.iter().filter(|c| c.node_id.is_none() || c.node_id != local_id) {
            nodes.push(remote(controller.node_id, &controller.address, &credentials)?);
        }
        let state = Mutex::new(State { nodes, current: 0, attended: None });
        Ok(Self { controllers: Arc::new(Controllers { credentials, state }) })
    }
}

/// The controllers that are known, and which of them led last.
struct Controllers {
    credentials: Credentials,
    state: Mutex<State>,
}

impl Controllers {
    /// Asks the active controller, wherever it is, for as long as `limit` and the outcome allow.
    async fn ask<R, F>(&self, limit: Duration, ask: impl Fn(Node) -> F) -> Result<R, ControllerError>
    where
        F: Future<Output = Result<R, ControllerError>>,
    {
        let deadline = Instant::now() + limit;
        let mut asked_in_round = 0;
        let mut last = None;
        let mut strangers = BTreeSet::new();
        loop {
            let Some((index, node)) = self.current() else {
                return Err(ControllerError::NotController { leader: None });
            };
            let count = self.state.lock().nodes.len();
            let error = match tokio::time::timeout_at(deadline, ask(node)).await {
                Ok(Ok(reply)) => return Ok(reply),
                // This one node's secret is wrong, perhaps.
                Ok(Err(error @ ControllerError::Kafka(ErrorCode::ClusterAuthorizationFailed))) => error,
                // Nor does one that is left over from another cluster speak for this one; a majority would.
                Ok(Err(error @ ControllerError::Kafka(ErrorCode::InconsistentClusterId))) => {
                    strangers.insert(index);
                    if strangers.len() > count / 2 {
                        return Err(error);
                    }
                    ControllerError::NotController { leader: None }
                }
                Ok(Err(error @ (ControllerError::Kafka(_) | ControllerError::BrokerLives { .. }))) => {
                    return Err(error);
                }
                Ok(Err(error)) => error,
                Err(_) => return Err(last.unwrap_or(ControllerError::Timeout)),
            };
            asked_in_round += 1;
            let is_hinted = match &error {
                ControllerError::NotController { leader: Some(hint) } => self.follow(index, hint),
                _ => self.go_on(index),
            };
            let pause = if is_hinted || asked_in_round % count != 0 { Duration::ZERO } else { ROUND_PAUSE };
            // A hint may be wrong, too.
            let pause = if asked_in_round > 2 * count { ROUND_PAUSE } else { pause };
            if Instant::now() + pause >= deadline {
                return Err(error);
            }
            last = Some(error);
            tokio::time::sleep(pause).await;
        }
    }

    /// Turns from a node that does not lead to the one that it says does. False if it said nothing new.
    fn follow(&self, asked: usize, hint: &LeaderHint) -> bool {
        let mut state = self.state.lock();
        let known = state.nodes.iter().position(|node| node.node_id == Some(hint.node_id)).or_else(|| {
            state.nodes.iter().position(|node| !hint.address.is_empty() && node.address == hint.address)
        });
        let target = match known {
            Some(index) => {
                state.nodes[index].node_id = Some(hint.node_id);
                Some(index)
            }
            None if !hint.address.is_empty() && state.nodes.len() < NODES_MAX => {
                match remote(Some(hint.node_id), &hint.address, &self.credentials) {
                    Ok(node) => {
                        state.nodes.push(node);
                        Some(state.nodes.len() - 1)
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a controller's address cannot be used");
                        None
                    }
                }
            }
            None => None,
        };
        match target {
            Some(target) if target != asked => {
                state.current = target;
                true
            }
            _ => {
                drop(state);
                self.go_on(asked)
            }
        }
    }

    /// Turns to the node after the one that was asked, unless somebody has done so already.
    fn go_on(&self, asked: usize) -> bool {
        let mut state = self.state.lock();
        if state.current == asked {
            state.current = (asked + 1) % state.nodes.len().max(1);
        }
        false
    }

    /// Asks one controller after the other for the metadata, once.
    async fn watch_any(&self, request: &WatchMetadata) -> Result<MetadataWatch, ControllerError> {
        let (nodes, first) = {
            let state = self.state.lock();
            let local = state.nodes.iter().position(|node| matches!(node.way, Way::Local(_)));
            (state.nodes.clone(), local.unwrap_or(state.current))
        };
        let mut last = None;
        for offset in 0..nodes.len() {
            let node = &nodes[(first + offset) % nodes.len()];
            match node.channel().watch_metadata(request.clone()).await {
                Ok(events) => return Ok(events),
                // What one of another cluster says counts only where nobody says anything else.
                Err(error @ ControllerError::Kafka(ErrorCode::InconsistentClusterId)) => {
                    last.get_or_insert(error);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or(ControllerError::NotController { leader: None }))
    }

    /// Sees to it that the active controller sees the broker, from now on and whichever it is. It does when this returns,
    /// or does not let itself be reached.
    async fn attend(self: &Arc<Self>, heartbeat: &Heartbeat) {
        let (broker_id, broker_epoch) = (heartbeat.broker_id, heartbeat.broker_epoch);
        let opened = {
            let mut state = self.state.lock();
            let is_attended =
                |attended: &Attended| attended.broker_epoch == broker_epoch && !attended.task.is_finished();
            if state.attended.as_ref().is_some_and(is_attended) {
                return;
            }
            let (open, opened) = oneshot::channel();
            let task = tokio::spawn(keep_attending(Arc::downgrade(self), broker_id, broker_epoch, open));
            state.attended = Some(Attended { broker_epoch, task });
            opened
        };
        // The next heartbeat is not to wait for a controller that is gone.
        drop(tokio::time::timeout(HEARTBEAT_LIMIT, opened).await);
    }

    /// The node to ask first.
    fn current(&self) -> Option<(usize, Node)> {
        let state = self.state.lock();
        let index = state.current % state.nodes.len().max(1);
        state.nodes.get(index).map(|node| (index, node.clone()))
    }
}

/// Attends the active controller, and the next one when that one is gone. Ends with the channel, and where the broker is
/// not the registered one any more.
async fn keep_attending(
    controllers: Weak<Controllers>,
    broker_id: BrokerId,
    broker_epoch: BrokerEpoch,
    opened: oneshot::Sender<()>,
) {
    let mut opened = Some(opened);
    let mut tell = || {
        if let Some(opened) = opened.take() {
            // Who asked for it may have stopped waiting.
            let _ = opened.send(());
        }
    };
    loop {
        let Some(known) = controllers.upgrade() else { return };
        let Some((index, node)) = known.current() else { return };
        let Way::Remote(connection) = node.way else {
            // Who is in the same process ends with it. Another one is turned to by the next heartbeat.
            tell();
            drop(known);
            tokio::time::sleep(ATTEND_PAUSE).await;
            continue;
        };
        match connection.attend(broker_id, broker_epoch).await {
            Ok(mut attendance) => {
                tell();
                drop(known);
                attendance.ended().await;
            }
            Err(ControllerError::NotController { leader: Some(hint) }) => {
                known.follow(index, &hint);
                drop(known);
                tokio::time::sleep(ROUND_PAUSE).await;
            }
            Err(error) => {
                tracing::debug!(%error, "the active controller is not attended");
                known.go_on(index);
                drop(known);
                tokio::time::sleep(ROUND_PAUSE).await;
            }
        }
    }
}

fn remote(node_id: Option<BrokerId>, address: &str, credentials: &Credentials) -> Result<Node, String> {
    let connection = Connection::new(address, credentials).map_err(|error| format!("{address}: {error}"))?;
    Ok(Node { node_id, address: address.to_owned(), way: Way::Remote(Arc::new(connection)) })
}

/// Asks all of the controllers which cluster they belong to. Gives the address and the cluster of those that answer.
///
/// # Errors
/// If nobody answers, and one of the addresses is none or the secret is refused.
pub async fn identify(
    credentials: &Credentials,
    controllers: &[ControllerAddress],
) -> Result<Vec<(String, String)>, String> {
    let asking = controllers.iter().map(|controller| async move {
        let address = &controller.address;
        let connection =
            Connection::new(address, credentials).map_err(|error| format!("{address}: {error}"))?;
        match tokio::time::timeout(IDENTIFY_LIMIT, connection.identify()).await {
            Ok(Ok(cluster_id)) => Ok(Some((address.clone(), cluster_id))),
            Ok(Err(ControllerError::Kafka(code))) => Err(format!("{address}: {code}")),
            Ok(Err(_)) | Err(_) => Ok(None),
        }
    });
    let (mut found, mut refused) = (Vec::new(), None);
    for answer in futures::future::join_all(asking).await {
        match answer {
            Ok(answer) => found.extend(answer),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    match refused {
        Some(error) if found.is_empty() => Err(error),
        _ => Ok(found),
    }
}

#[async_trait]
impl ControllerChannel for RemoteControllerChannel {
    async fn register_broker(&self, request: RegisterBroker) -> Result<RegisteredBroker, ControllerError> {
        self.controllers
            .ask(REQUEST_LIMIT, |node| {
                let request = request.clone();
                async move { node.channel().register_broker(request).await }
            })
            .await
    }

    async fn heartbeat(&self, request: Heartbeat) -> Result<HeartbeatReply, ControllerError> {
        let reply = self
            .controllers
            .ask(HEARTBEAT_LIMIT, |node| {
                let request = request.clone();
                async move { node.channel().heartbeat(request).await }
            })
            .await?;
        self.controllers.attend(&request).await;
        Ok(reply)
    }

    async fn allocate_producer_ids(
        &self,
        request: AllocateProducerIds,
    ) -> Result<ProducerIdBlock, ControllerError> {
        self.controllers
            .ask(REQUEST_LIMIT, |node| async move { node.channel().allocate_producer_ids(request).await })
            .await
    }

    async fn alter_partition(&self, request: AlterPartition) -> Result<AlterPartitionReply, ControllerError> {
        self.controllers
            .ask(REQUEST_LIMIT, |node| {
                let request = request.clone();
                async move { node.channel().alter_partition(request).await }
            })
            .await
    }

    /// From the controller in this process if there is one, else from whichever answers: all of them have it.
    async fn watch_metadata(&self, request: WatchMetadata) -> Result<MetadataWatch, ControllerError> {
        let deadline = Instant::now() + REQUEST_LIMIT;
        loop {
            let error = match self.controllers.watch_any(&request).await {
                Err(error) if error != ControllerError::Kafka(ErrorCode::InconsistentClusterId) => error,
                watched => return watched,
            };
            if Instant::now() + WATCH_PAUSE >= deadline {
                return Err(error);
            }
            tokio::time::sleep(WATCH_PAUSE).await;
        }
    }

    async fn describe_quorum(&self) -> Result<QuorumDescription, ControllerError> {
        self.controllers
            .ask(REQUEST_LIMIT, |node| async move { node.channel().describe_quorum().await })
            .await
    }

    async fn forward(&self, request: Forward) -> Result<Forwarded, ControllerError> {
        self.controllers
            .ask(REQUEST_LIMIT, |node| {
                let request = request.clone();
                async move { node.channel().forward(request).await }
            })
            .await
    }

    fn local_statistics(&self) -> Option<ControllerStatistics> {
        let state = self.controllers.state.lock();
        let local = state.nodes.iter().find(|node| matches!(node.way, Way::Local(_)))?;
        local.channel().local_statistics()
    }
}

#[cfg(test)]
mod tests;
