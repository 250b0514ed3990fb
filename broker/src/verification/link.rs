//! The questions for one coordinator.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::BytesMut;
use moldau_model::{BrokerEpoch, BrokerId, ErrorCode};
use tokio::sync::mpsc;

use super::Asked;
use crate::api::verification_request::{self, Answer};
use crate::replication::{Endpoint, LeaderConnection};

/// Transactions in one request.
const TRANSACTIONS_MAX: usize = 256;
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Questions by their transactional id, of which one request holds each once.
type Round = BTreeMap<String, Asked>;

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
        while round.len() < TRANSACTIONS_MAX
            && let Ok(next) = questions.try_recv()
        {
            add(&mut round, next);
        }
        correlation_id += 1;
        let questions = round.values().map(|asked| &asked.question);
        let outcome = match verification_request::encode(correlation_id, &client_id, questions) {
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

/// Puts a question into the round. Of two about one transactional id the older producer is fenced; of one that asks twice
/// the first question is given up, for the client has, too.
fn add(round: &mut Round, asked: Asked) {
    let id = asked.question.transactional_id.clone();
    let epoch = asked.question.producer_epoch;
    match round.get(&id).map(|other| other.question.producer_epoch) {
        Some(other) if other > epoch => refuse(asked, ErrorCode::InvalidProducerEpoch),
        Some(other) => {
            let code =
                if other < epoch { ErrorCode::InvalidProducerEpoch } else { ErrorCode::NetworkException };
            if let Some(replaced) = round.insert(id, asked) {
                refuse(replaced, code);
            }
        }
        None => drop(round.insert(id, asked)),
    }
}

fn refuse(asked: Asked, code: ErrorCode) {
    let verdict = vec![code; asked.question.partitions.len()];
    // Who asked may have gone.
    let _ = asked.answer.send(verdict);
}

fn answer_all(round: Round, code: ErrorCode) {
    round.into_values().for_each(|asked| refuse(asked, code));
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
    let Some(endpoint) = round.values().next_back().map(|asked| Endpoint {
        host: asked.host.clone(),
        port: asked.port,
        broker_epoch: BrokerEpoch(-1),
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
    for asked in round.into_values() {
        let verdict = answer.verdict(&asked.question);
        // Who asked may have gone.
        let _ = asked.answer.send(verdict);
    }
}
