//! Questions to a coordinator that answers by a table, and over metadata of a few records.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};
use moldau_kafka::{ApiKey, RequestHeader, decode, encode_response};
use moldau_metadata::{MetadataImage, MetadataRecord, records};
use moldau_model::{BrokerId, ErrorCode, LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::verification::{
    ClientSupport, Patience, Question, TRANSACTION_STATE_TOPIC, TransactionVerifier, for_client,
};

/// What the coordinator says of each partition, by its number.
const CODES: [ErrorCode; 6] = [
    ErrorCode::None,
    ErrorCode::ProducerFenced,
    ErrorCode::TransactionAbortable,
    ErrorCode::InvalidTxnState,
    ErrorCode::NotCoordinator,
    ErrorCode::ConcurrentTransactions,
];

async fn coordinate(mut stream: TcpStream, asked: mpsc::Sender<AddPartitionsToTxnRequest>) {
    while let Ok(size) = stream.read_i32().await {
        let mut frame = vec![0; usize::try_from(size).unwrap()];
        stream.read_exact(&mut frame).await.unwrap();
        let mut body = BytesMut::from(&frame[..]).freeze();
        let header = RequestHeader::parse(&mut body).unwrap();
        assert!(body.has_remaining());
        let request: AddPartitionsToTxnRequest = decode(header.api_version, &mut body).unwrap();
        let results = request.transactions.iter().map(|transaction| {
            let topics = transaction.topics.iter().map(|topic| {
                let partitions = topic.partitions.iter().map(|&index| {
                    AddPartitionsToTxnPartitionResult::default()
                        .with_partition_index(index)
                        .with_partition_error_code(CODES[usize::try_from(index).unwrap()].code())
                });
                AddPartitionsToTxnTopicResult::default()
                    .with_name(topic.name.clone())
                    .with_results_by_partition(partitions.collect())
            });
            AddPartitionsToTxnResult::default()
                .with_transactional_id(transaction.transactional_id.clone())
                .with_topic_results(topics.collect())
        });
        let response = AddPartitionsToTxnResponse::default().with_results_by_transaction(results.collect());
        let key = ApiKey::AddPartitionsToTxn;
        let answer = encode_response(key, header.api_version, header.correlation_id, &response).unwrap();
        stream.write_all(&answer).await.unwrap();
        let _ = asked.send(request).await;
    }
}

/// One coordinator on this port, if there is one.
fn image(port: Option<u16>) -> Arc<MetadataImage> {
    let mut made: Vec<MetadataRecord> = Vec::new();
    if let Some(port) = port {
        let listener = records::BrokerListener {
            name: "INNER".into(),
            host: "127.0.0.1".into(),
            port: u32::from(port),
            ..records::BrokerListener::default()
        };
        made.push(
            records::RegisterBroker {
                broker_id: 2,
                incarnation_id: vec![1; 16],
                broker_epoch: 1,
                listeners: vec![listener],
                ..Default::default()
            }
            .into(),
        );
        made.push(records::Topic { name: TRANSACTION_STATE_TOPIC.into(), topic_id: vec![7; 16] }.into());
        made.push(
            records::Partition {
                topic_id: vec![7; 16],
                replicas: vec![2],
                isr: vec![2],
                leader: 2,
                directories: vec![vec![0; 16]],
                ..Default::default()
            }
            .into(),
        );
    }
    Arc::new(MetadataImage::empty().replay(&made.into(), Offset(1), LeaderEpoch(1)).unwrap().0)
}

fn question(support: ClientSupport, partitions: &[i32]) -> Question {
    Question {
        transactional_id: "tx".into(),
        producer_id: ProducerId(4),
        producer_epoch: ProducerEpoch(1),
        support,
        partitions: partitions.iter().map(|index| ("t".into(), PartitionIndex(*index))).collect(),
    }
}

#[tokio::test]
async fn the_coordinators_word_is_put_as_the_client_understands_it() {
    use ClientSupport::{AbortableErrors, AddedByBroker, DefaultErrors};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let image = image(Some(listener.local_addr().unwrap().port()));
    let (sender, mut asked) = mpsc::channel(64);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(coordinate(stream, sender.clone()));
        }
    });
    let verifier = TransactionVerifier::new(BrokerId(1), "INNER");
    let (fenced, invalid) = (ErrorCode::InvalidProducerEpoch, ErrorCode::InvalidTxnState);
    for (support, abortable, is_verification) in [
        (DefaultErrors, invalid, true),
        (AbortableErrors, ErrorCode::TransactionAbortable, true),
        (AddedByBroker, ErrorCode::TransactionAbortable, false),
    ] {
        let question = question(support, &[0, 1, 2, 3, 4]);
        let verdict = verifier.ask(|| Arc::clone(&image), &question, || false).await;
        assert_eq!(verdict, [ErrorCode::None, fenced, abortable, invalid, ErrorCode::NotCoordinator]);
        let request = asked.recv().await.unwrap();
        assert_eq!(request.transactions.len(), 1);
        assert_eq!(request.transactions[0].verify_only, is_verification, "{support:?}");
    }
    // A coordinator that is busy is asked again for a while.
    let verdict = verifier.ask(|| Arc::clone(&image), &question(DefaultErrors, &[5]), || false).await;
    assert_eq!(verdict, [ErrorCode::ConcurrentTransactions]);
    assert!(asked.recv().await.is_some() && asked.recv().await.is_some());
}

#[tokio::test]
async fn without_a_coordinator_producers_are_told_to_try_again() {
    let verifier = TransactionVerifier::new(BrokerId(1), "INNER");
    let question = question(ClientSupport::DefaultErrors, &[0, 1]);
    let verdict = verifier.ask(|| image(None), &question, || false).await;
    assert_eq!(verdict, [ErrorCode::CoordinatorNotAvailable; 2]);
    // Nobody listens there.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = gone.local_addr().unwrap().port();
    drop(gone);
    let verdict = verifier.ask(|| image(Some(port)), &question, || false).await;
    assert_eq!(verdict, [ErrorCode::NetworkException; 2]);
    for code in verdict {
        let (told, message) = for_client(code);
        assert_eq!(told, ErrorCode::NotEnoughReplicas);
        assert!(message.is_some_and(|message| message.ends_with("Underlying error: NETWORK_EXCEPTION")));
    }
}

#[tokio::test]
async fn one_producers_questions_go_together_and_each_has_its_own_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let image = image(Some(listener.local_addr().unwrap().port()));
    let (sender, mut asked) = mpsc::channel(64);
    let verifier = TransactionVerifier::new(BrokerId(1), "INNER");
    // Nobody accepts yet: the questions wait, all of them behind the first.
    let questions: Vec<Question> =
        [&[0][..], &[1], &[0, 3]].map(|partitions| question(ClientSupport::AddedByBroker, partitions)).into();
    let ask = |question| verifier.ask(|| Arc::clone(&image), question, || false);
    let all = futures::future::join_all(questions.iter().map(ask));
    let serve = async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(coordinate(stream, sender.clone()));
        }
    };
    let serving = tokio::spawn(async move {
        tokio::task::yield_now().await;
        serve.await;
    });
    let (fenced, invalid) = (ErrorCode::InvalidProducerEpoch, ErrorCode::InvalidTxnState);
    assert_eq!(all.await, [vec![ErrorCode::None], vec![fenced], vec![ErrorCode::None, invalid]]);
    serving.abort();
    let mut requests = 0;
    while asked.try_recv().is_ok() {
        requests += 1;
    }
    assert!((1..=2).contains(&requests), "{requests} requests");
}

#[tokio::test]
async fn an_answer_that_came_too_late_for_its_guards_is_asked_for_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let image = image(Some(listener.local_addr().unwrap().port()));
    let (sender, mut asked) = mpsc::channel(64);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(coordinate(stream, sender.clone()));
        }
    });
    // Longer than a machine under load takes for the first answer.
    let patient = Patience { retry_limit: Duration::from_secs(30), ..Patience::default() };
    let verifier = TransactionVerifier::new(BrokerId(1), "INNER").with_patience(patient);
    let question = question(ClientSupport::AddedByBroker, &[0]);
    // The marker of the transaction before comes once, while the first question is under way.
    let mut is_late = true;
    let verdict = verifier.ask(|| Arc::clone(&image), &question, || std::mem::take(&mut is_late)).await;
    assert_eq!(verdict, [ErrorCode::None]);
    assert!(asked.recv().await.is_some() && asked.recv().await.is_some(), "it was asked twice");
    // Markers without end: the producer is to try again, which is not fatal to it. Nobody counts the questions any more.
    drop(asked);
    let verifier = TransactionVerifier::new(BrokerId(1), "INNER");
    let verdict = verifier.ask(|| Arc::clone(&image), &question, || true).await;
    assert_eq!(verdict, [ErrorCode::ConcurrentTransactions]);
}
