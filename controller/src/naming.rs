//! How the controllers of a new quorum come to its cluster's id where nobody gave them one.
//!
//! The id is random, so that no later cluster of the same voters has it: by its id every node tells who belongs to it and
//! who is left over from another one. A controller without an id asks the other voters before it starts, and answers them
//! meanwhile. It takes the id that they have, or, where nobody has one, that of the first voter, which alone draws it: of two
//! that drew at the same time, each could find a majority. It is in the first voter's `meta.properties` before anybody hears
//! of it.

mod judge;
mod server;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use moldau_cluster::ControllerError;
use moldau_cluster::rpc::raft as wire;
use moldau_cluster::rpc::raft::raft_client::RaftClient;
use moldau_cluster::rpc::{Connection, Credentials, SignCalls, connect_lazily, error_of_status};
use moldau_model::{BrokerId, ErrorCode, Uuid};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tonic::Request;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use crate::{ControllerSecurity, QuorumVoter};
use judge::{Answer, Me, Verdict, Wait, judge};

/// How long one answer may take.
const PROBE_LIMIT: Duration = Duration::from_secs(1);
/// Pause between two rounds of questions. Whoever is asked asks in return at once.
const ROUND_PAUSE: Duration = Duration::from_millis(50);
/// The same once the others have kept a node waiting for [`PATIENCE`].
const SLOW_ROUND_PAUSE: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(10);
/// How long those that did not answer yet are waited for once a majority has no data.
const LATENESS_MAX: Duration = Duration::from_secs(10);
/// How often it is told again what is waited for.
const TOLD_EVERY: Duration = Duration::from_secs(30);

/// What a controller without a cluster's id asks the others with.
#[derive(Clone, Debug)]
pub struct NamingOptions {
    /// `node.id`.
    pub node_id: BrokerId,
    /// `controller.quorum.voters`, this node among them.
    pub voters: Vec<QuorumVoter>,
    /// `cluster.secret`.
    pub secret: Option<String>,
    /// What protects the CONTROLLER listeners, and how other controllers are dialled.
    pub security: ControllerSecurity,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// The others have this id.
    Known(String),
    /// This node is to draw it, and to write it down before it starts.
    ToBeDrawn,
}

/// Asks the other voters, and answers them on `listeners`, until it is known what cluster this is. Takes as long as it takes.
///
/// # Errors
/// If the listeners cannot be used or an address is none; one line.
pub async fn name_cluster(options: NamingOptions, listeners: Vec<TcpListener>) -> Result<Name, String> {
    let asked = Arc::new(Notify::new());
    let me = Me {
        node_id: options.node_id,
        voters: options.voters.iter().map(|voter| (voter.node_id, voter.address())).collect(),
    };
    let credentials = Credentials {
        node_id: options.node_id,
        cluster_id: None,
        directory_id: Uuid::ZERO,
        secret: options.secret.clone(),
        dialer: Arc::clone(&options.security.dialer),
    };
    let peers: BTreeMap<BrokerId, Peer> = me
        .voters
        .iter()
        .filter(|(id, _)| **id != me.node_id)
        .map(|(id, address)| Ok((*id, Peer::new(address, &credentials)?)))
        .collect::<Result<_, String>>()?;
    // Ends when this returns.
    let _server =
        server::start(&me, options.secret.as_deref(), &options.security, listeners, Arc::clone(&asked))
            .map_err(|error| format!("the CONTROLLER listener cannot be used: {error}"))?;
    let begun = Instant::now();
    let mut told: Option<(Wait, Instant)> = None;
    let mut late_since: Option<Instant> = None;
    let mut complaints = BTreeMap::new();
    loop {
        let asking = peers.iter().map(|(id, peer)| async move { (*id, peer.ask(*id).await) });
        let answers = heard(join_all(asking).await, &mut complaints);
        let answered: Vec<i32> = answers.keys().map(|id| id.0).collect();
        let is_patient = late_since.is_none_or(|since| since.elapsed() < LATENESS_MAX);
        let verdict = judge(&me, &answers, is_patient);
        match verdict {
            Verdict::Wait(Wait::Late(_)) => _ = late_since.get_or_insert_with(Instant::now),
            // They may take their time again once something has changed; not because nobody is waited for any more.
            Verdict::Wait(Wait::First(_)) => {}
            _ => late_since = None,
        }
        match verdict {
            Verdict::Adopt(cluster_id) => {
                tracing::info!(
                    cluster_id,
                    ?answered,
                    "the other controllers have told which cluster this is"
                );
                return Ok(Name::Known(cluster_id));
            }
            Verdict::Draw => {
                tracing::info!(?answered, "nobody has data: this node names a new cluster");
                return Ok(Name::ToBeDrawn);
            }
            Verdict::Wait(wait) => {
                let is_known =
                    told.as_ref().is_some_and(|(last, at)| *last == wait && at.elapsed() < TOLD_EVERY);
                if !is_known {
                    wait.tell(&answered);
                    told = Some((wait, Instant::now()));
                }
            }
        }
        let pause = if begun.elapsed() < PATIENCE { ROUND_PAUSE } else { SLOW_ROUND_PAUSE };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = asked.notified() => {}
        }
    }
}

/// The answers of those that gave one. Why others did not is told once, unless they are only not there.
fn heard(
    answers: Vec<(BrokerId, Result<Answer, String>)>,
    complaints: &mut BTreeMap<BrokerId, String>,
) -> BTreeMap<BrokerId, Answer> {
    let mut heard = BTreeMap::new();
    for (node_id, answer) in answers {
        match answer {
            Ok(answer) => {
                heard.insert(node_id, answer);
            }
            Err(complaint) if complaint.is_empty() || complaints.get(&node_id) == Some(&complaint) => {}
            Err(complaint) => {
                tracing::warn!(%node_id, complaint, "a controller cannot be asked");
                complaints.insert(node_id, complaint);
            }
        }
    }
    heard
}

/// Another voter.
struct Peer {
    address: String,
    raft: RaftClient<InterceptedService<Channel, SignCalls>>,
    controller: Connection,
}

impl Peer {
    fn new(address: &str, credentials: &Credentials) -> Result<Self, String> {
        let no_address = |error| format!("controller.quorum.voters: {address}: {error}");
        let channel = connect_lazily(address, &credentials.dialer).map_err(no_address)?;
        Ok(Self {
            address: address.to_owned(),
            raft: RaftClient::new(InterceptedService::new(channel, SignCalls::new(credentials))),
            controller: Connection::new(address, credentials).map_err(no_address)?,
        })
    }

    /// What it says. An empty error is one of nobody there.
    async fn ask(&self, node_id: BrokerId) -> Result<Answer, String> {
        let mut raft = self.raft.clone();
        let response = match timeout(PROBE_LIMIT, raft.probe(Request::new(wire::ProbeRequest {}))).await {
            Ok(Ok(response)) => response.into_inner(),
            // A status with details is the node's own; others come from the transport.
            Ok(Err(status)) if !status.details().is_empty() => {
                return match error_of_status(&status) {
                    // One of a version that is asked in another way.
                    ControllerError::Kafka(ErrorCode::InconsistentClusterId) => self.identify().await,
                    error => Err(error.to_string()),
                };
            }
            Ok(Err(_)) | Err(_) => return Err(String::new()),
        };
        if response.node_id != node_id.0 {
            return Err(format!("node {} listens at {}", response.node_id, self.address));
        }
        let configured = response.configured_voters.into_iter();
        Ok(Answer {
            cluster_id: Some(response.cluster_id).filter(|id| !id.is_empty()),
            has_log: response.has_log,
            configured: configured.map(|voter| (BrokerId(voter.node_id), voter.address)).collect(),
        })
    }

    async fn identify(&self) -> Result<Answer, String> {
        match timeout(PROBE_LIMIT, self.controller.identify()).await {
            Ok(Ok(cluster_id)) => {
                Ok(Answer { cluster_id: Some(cluster_id), has_log: true, configured: BTreeMap::new() })
            }
            Ok(Err(_)) | Err(_) => Err(String::new()),
        }
    }
}
