//! The questions for one coordinator.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::BytesMut;
use moldau_model::{BrokerEpoch, BrokerId, ErrorCode};
use tokio::sync::mpsc;

use super::{Asked, Question};
use crate::api::verification_request::{self, Answer};
use crate::replication::{Endpoint, LeaderConnection};

/// Questions in one request.
const ROUND_MAX: usize = 256;
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Questions by their transactional id, of which one request holds each once: those of one producer go together.
type Round = BTreeMap<String, Vec<Asked>>;

struct Link {
    connection: LeaderConnection,
    endpoint: Endpoint,
}

/// Asks until nobody can ask any more.
pub(super) async fn run(
    node_id: BrokerId,
    coordinator: BrokerId,
    mut questions: mpsc::Receiver<Asked>,
    answer_limit: Duration,
) {
    let client_id = format!("broker-{node_id}-txn");
    let mut link = None;
    let mut correlation_id = 0;
    while let Some(first) = questions.recv().await {
        let mut round = Round::new();
        add(&mut round, first);
        for _ in 1..ROUND_MAX {
            let Ok(next) = questions.try_recv() else { break };
            add(&mut round, next);
        }
        correlation_id += 1;
        let merged: Vec<Question> = round.values().filter_map(|asked| merge(asked)).collect();
        let outcome = match verification_request::encode(correlation_id, &client_id, merged.iter()) {
            Ok(frame) => exchange(&mut link, &round, &frame, correlation_id, answer_limit).await,
            Err(error) => Err(error.to_string()),
        };
        match outcome {
            Ok(response) => answer(round, &response),
            Err(error) => {
                tracing::warn!(%coordinator, error, "a transaction coordinator cannot be asked");
                answer_all(round, ErrorCode::NetworkException);
            }
        }
    }
}

/// Puts a question into the round. A producer has several requests under way, each for other partitions, and so several
/// questions. Of two producers with one transactional id the older one is fenced.
fn add(round: &mut Round, asked: Asked) {
    let others = round.entry(asked.question.transactional_id.clone()).or_default();
    if let Some(other) = others.first().map(|other| &other.question) {
        let question = &asked.question;
        if other.producer_epoch > question.producer_epoch {
            return refuse(asked, ErrorCode::InvalidProducerEpoch);
        }
        let is_same = (other.producer_id, other.producer_epoch, other.support)
            == (question.producer_id, question.producer_epoch, question.support);
        if !is_same {
            let is_older = other.producer_epoch < question.producer_epoch;
            let code = if is_older { ErrorCode::InvalidProducerEpoch } else { ErrorCode::NetworkException };
            others.drain(..).for_each(|replaced| refuse(replaced, code));
        }
    }
    others.push(asked);
}

/// One producer's questions as one.
fn merge(asked: &[Asked]) -> Option<Question> {
    let (first, others) = asked.split_first()?;
    let mut merged = first.question.clone();
    for partition in others.iter().flat_map(|other| &other.question.partitions) {
        if !merged.partitions.contains(partition) {
            merged.partitions.push(partition.clone());
        }
    }
    Some(merged)
}

fn refuse(asked: Asked, code: ErrorCode) {
    let verdict = vec![code; asked.question.partitions.len()];
    // Who asked may have gone.
    let _ = asked.answer.send(verdict);
}

fn answer_all(round: Round, code: ErrorCode) {
    round.into_values().flatten().for_each(|asked| refuse(asked, code));
}

/// Sends the request and waits for its answer. A connection that was there before may have been closed for want of
/// requests: then it is tried on a new one.
async fn exchange(
    link: &mut Option<Link>,
    round: &Round,
    frame: &BytesMut,
    correlation_id: i32,
    answer_limit: Duration,
) -> Result<Answer, String> {
    let Some(endpoint) = round.values().flatten().next_back().map(|asked| Endpoint {
        host: asked.host.clone(),
        port: asked.port,
        broker_epoch: BrokerEpoch(-1),
        dialer: asked.dialer.clone(),
    }) else {
        return Err("nothing is asked".to_owned());
    };
    let kept = link.take().filter(|link| link.endpoint == endpoint);
    if let Some(mut kept) = kept
        && let Ok(response) = send(&mut kept.connection, frame, correlation_id, answer_limit).await
    {
        *link = Some(kept);
        return Ok(response);
    }
    let connection = LeaderConnection::open(&endpoint, FRAME_BYTES_MAX).await;
    let mut connection = connection.map_err(|error| error.to_string())?;
    let response = send(&mut connection, frame, correlation_id, answer_limit).await?;
    *link = Some(Link { connection, endpoint });
    Ok(response)
}

async fn send(
    connection: &mut LeaderConnection,
    frame: &BytesMut,
    correlation_id: i32,
    answer_limit: Duration,
) -> Result<Answer, String> {
    connection.send(frame).await.map_err(|error| error.to_string())?;
    let answer = tokio::time::timeout(answer_limit, connection.receive());
    let mut answer = answer.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let decoded = verification_request::decode(&mut answer);
    let (received, response) = decoded.map_err(|error| error.to_string())?;
    if received == correlation_id {
        Ok(response)
    } else {
        Err(format!("answer {received} to request {correlation_id}"))
    }
}

fn answer(round: Round, answer: &Answer) {
    let code = answer.code();
    if !code.is_none() {
        // That the cluster would not let its own broker ask is none of the producers' business.
        let is_refused = code == ErrorCode::ClusterAuthorizationFailed;
        return answer_all(round, if is_refused { ErrorCode::InvalidTxnState } else { code });
    }
    for asked in round.into_values().flatten() {
        let verdict = answer.verdict(&asked.question);
        // Who asked may have gone.
        let _ = asked.answer.send(verdict);
    }
}
