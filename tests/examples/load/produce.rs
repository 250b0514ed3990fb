//! Produce as fast as the server takes it.

use std::io::Write;
use std::net::TcpStream;
use std::time::Instant;

use bytes::Bytes;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, EndTxnRequest, FindCoordinatorRequest, InitProducerIdRequest, ProduceRequest,
    ProducerId, TopicName, TransactionalId,
};

use crate::Result;
use crate::wire::{answer, batch, call, connect, frame, text};

const VERSION: i16 = 9;
const IN_FLIGHT_MAX: usize = 5;
/// Threads that share many connections; the server is to have the processors.
const THREADS_MAX: usize = 2;
pub(crate) const REQUESTS_PER_TRANSACTION: usize = 20;
const SETTLED_WITHIN_SECONDS: u64 = 60;
const TIMEOUT_MS: i32 = 60_000;

/// Where the fields of a batch are.
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
const PRODUCER_ID_AT: usize = 43;
const SEQUENCE_AT: usize = 53;
const HEADER_BYTES: usize = 61;
const TRANSACTIONAL: u8 = 0x10;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    Idempotent,
    Transactional,
}

impl Kind {
    pub(crate) fn of(name: &str) -> Result<Self> {
        match name {
            "plain" => Ok(Self::Plain),
            "idempotent" => Ok(Self::Idempotent),
            "transactional" => Ok(Self::Transactional),
            other => Err(format!("no kind of producer is called {other}").into()),
        }
    }
}

pub(crate) struct Load<'a> {
    pub(crate) address: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) record_bytes: usize,
    pub(crate) records: usize,
    pub(crate) total_mb: usize,
    pub(crate) partitions: i32,
    pub(crate) connections: usize,
    pub(crate) codec: &'a str,
    pub(crate) kind: Kind,
}

pub(crate) fn run(load: &Load<'_>) -> Result<()> {
    let batch = batch(load.record_bytes, load.records, load.codec)?;
    let mut connections = Vec::new();
    for number in 0..load.connections {
        connections.push(Connection::open(load, &batch, number)?);
    }
    let batches = if load.connections == 1 { usize::try_from(load.partitions)? } else { 1 };
    let payload_bytes = load.record_bytes * load.records * batches;
    let requests = (load.total_mb * 1_000_000).div_ceil(payload_bytes * load.connections).max(1);
    let mut shares: Vec<Vec<Connection>> = Vec::new();
    let threads = THREADS_MAX.min(load.connections);
    for _ in 0..threads {
        let share =
            connections.split_off(connections.len() - connections.len().div_ceil(threads - shares.len()));
        shares.push(share);
    }
    for connection in shares.iter_mut().flatten() {
        connection.settle()?;
    }
    let started = Instant::now();
    let outcomes: Vec<std::result::Result<(), String>> = std::thread::scope(|scope| {
        let send = |share: Vec<Connection>| {
            scope.spawn(move || send_all(share, requests).map_err(|e| e.to_string()))
        };
        let threads: Vec<_> = shares.into_iter().map(send).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("panicked".to_owned())))
            .collect()
    });
    let seconds = started.elapsed().as_secs_f64();
    outcomes.into_iter().collect::<std::result::Result<(), String>>()?;
    let requests = requests * load.connections;
    let megabytes = (requests * payload_bytes) as f64 / 1e6;
    println!(
        "{:.2} MB/s {requests} requests {:.0} requests/s",
        megabytes / seconds,
        requests as f64 / seconds
    );
    Ok(())
}

/// Keeps every connection's requests in flight, and takes their answers in turn.
fn send_all(mut connections: Vec<Connection>, requests: usize) -> Result<()> {
    let mut buffer = Vec::new();
    loop {
        let mut is_busy = false;
        for connection in &mut connections {
            connection.fill(requests)?;
        }
        for connection in &mut connections {
            if connection.sent > connection.answered {
                connection.take_answer(&mut buffer)?;
                is_busy = true;
            }
        }
        if !is_busy {
            return Ok(());
        }
    }
}

struct Connection {
    stream: TcpStream,
    frame: Vec<u8>,
    /// Where the batches are in the frame, and how long one is.
    batches_at: Vec<usize>,
    batch_bytes: usize,
    records: usize,
    sent: usize,
    answered: usize,
    /// Of an idempotent producer: the next batch's sequence.
    sequence: Option<i32>,
    transaction: Option<Transaction>,
}

struct Transaction {
    id: TransactionalId,
    producer: (i64, i16),
    topic: String,
    partitions: Vec<i32>,
    is_open: bool,
}

impl Connection {
    fn open(load: &Load<'_>, batch: &Bytes, number: usize) -> Result<Self> {
        let partitions: Vec<i32> = match load.connections {
            1 => (0..load.partitions).collect(),
            _ => vec![i32::try_from(number)? % load.partitions],
        };
        let mut stream = connect(load.address)?;
        let mut batch = batch.to_vec();
        let mut transaction = None;
        if load.kind != Kind::Plain {
            let id = TransactionalId(text(&format!("{}-{number}", load.topic)));
            let producer =
                init_producer_id(&mut stream, (load.kind == Kind::Transactional).then(|| id.clone()))?;
            batch[PRODUCER_ID_AT..PRODUCER_ID_AT + 8].copy_from_slice(&producer.0.to_be_bytes());
            batch[PRODUCER_ID_AT + 8..SEQUENCE_AT].copy_from_slice(&producer.1.to_be_bytes());
            if load.kind == Kind::Transactional {
                batch[ATTRIBUTES_AT + 1] |= TRANSACTIONAL;
                let (topic, partitions) = (load.topic.to_owned(), partitions.clone());
                transaction = Some(Transaction { id, producer, topic, partitions, is_open: false });
            }
            set_sequence(&mut batch, 0);
        }
        let data = partitions.iter().map(|&index| {
            let records = Bytes::from(batch.clone());
            PartitionProduceData::default().with_index(index).with_records(Some(records))
        });
        let of_topic = TopicProduceData::default()
            .with_name(TopicName(text(load.topic)))
            .with_partition_data(data.collect());
        let request = ProduceRequest::default()
            .with_acks(-1)
            .with_timeout_ms(TIMEOUT_MS)
            .with_transactional_id(transaction.as_ref().map(|transaction| transaction.id.clone()))
            .with_topic_data(vec![of_topic]);
        let frame = frame(VERSION, &request)?;
        let is_there = |at: &usize| frame[*at..].starts_with(&batch[..HEADER_BYTES]);
        let mut batches_at = Vec::new();
        let mut at = 0;
        while at + batch.len() <= frame.len() {
            if is_there(&at) {
                batches_at.push(at);
                at += batch.len();
            } else {
                at += 1;
            }
        }
        let sequence = (load.kind != Kind::Plain).then_some(0);
        let batch_bytes = batch.len();
        let records = load.records;
        Ok(Self {
            stream,
            frame,
            batches_at,
            batch_bytes,
            records,
            sent: 0,
            answered: 0,
            sequence,
            transaction,
        })
    }

    /// Sends the first request until it is taken: of a topic that was just made, leaders may not know yet.
    fn settle(&mut self) -> Result<()> {
        if self.transaction.is_some() {
            return Ok(());
        }
        let started = Instant::now();
        let mut buffer = Vec::new();
        loop {
            self.stream.write_all(&self.frame)?;
            let size = answer(&mut self.stream, &mut buffer)?;
            match check(&buffer[..size], self.batches_at.len()) {
                Ok(()) => break,
                Err(error) if started.elapsed().as_secs() > SETTLED_WITHIN_SECONDS => return Err(error),
                Err(_) => std::thread::sleep(std::time::Duration::from_millis(50)),
            }
        }
        if self.sequence.is_some() {
            self.sequence = Some(i32::try_from(self.records)?);
        }
        Ok(())
    }

    fn fill(&mut self, requests: usize) -> Result<()> {
        while self.sent < requests && self.sent - self.answered < IN_FLIGHT_MAX {
            if let Some(transaction) = &mut self.transaction
                && self.sent.is_multiple_of(REQUESTS_PER_TRANSACTION)
            {
                if self.sent > self.answered {
                    return Ok(()); // what is in flight belongs to the transaction before
                }
                transaction.renew(&mut self.stream)?;
            }
            if let Some(sequence) = self.sequence {
                for &at in &self.batches_at {
                    set_sequence(&mut self.frame[at..at + self.batch_bytes], sequence);
                }
                self.sequence = Some(sequence.wrapping_add(i32::try_from(self.records)?) & i32::MAX);
            }
            self.stream.write_all(&self.frame)?;
            self.sent += 1;
        }
        Ok(())
    }

    fn take_answer(&mut self, buffer: &mut Vec<u8>) -> Result<()> {
        let size = answer(&mut self.stream, buffer)?;
        self.answered += 1;
        check(&buffer[..size], self.batches_at.len())?;
        if let Some(transaction) = &mut self.transaction
            && self.sent == self.answered
            && self.sent.is_multiple_of(REQUESTS_PER_TRANSACTION)
        {
            transaction.end(&mut self.stream)?;
        }
        Ok(())
    }
}

/// Looks for errors in an answer of version 9 without decoding it: 4 bytes of correlation id and tags, the topic, and then
/// for each partition its index, its error, ...
fn check(answer: &[u8], partitions: usize) -> Result<()> {
    let mut bytes = Bytes::copy_from_slice(answer);
    let (_, response) = moldau_kafka::decode_response::<ProduceRequest>(VERSION, &mut bytes)?;
    let codes = response.responses.iter().flat_map(|topic| &topic.partition_responses).map(|p| p.error_code);
    let (mut answers, mut failed) = (0, None);
    for code in codes {
        answers += 1;
        failed = failed.or((code != 0).then_some(code));
    }
    match failed {
        None if answers == partitions => Ok(()),
        failed => Err(format!("produce was answered for {answers} partitions, with error {failed:?}").into()),
    }
}

fn set_sequence(batch: &mut [u8], sequence: i32) {
    batch[SEQUENCE_AT..SEQUENCE_AT + 4].copy_from_slice(&sequence.to_be_bytes());
    let crc = crc32c::crc32c(&batch[ATTRIBUTES_AT..]);
    batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
}

/// The producer's id and epoch, once its coordinator is there.
fn init_producer_id(stream: &mut TcpStream, id: Option<TransactionalId>) -> Result<(i64, i16)> {
    let started = Instant::now();
    let request = InitProducerIdRequest::default()
        .with_transactional_id(id.clone())
        .with_transaction_timeout_ms(TIMEOUT_MS)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    loop {
        if let Some(id) = &id {
            let find = FindCoordinatorRequest::default().with_key(id.0.clone()).with_key_type(1);
            call(stream, 3, &find)?; // makes the coordinator's topic
        }
        let response = call(stream, 4, &request)?;
        if response.error_code == 0 {
            return Ok((response.producer_id.0, response.producer_epoch));
        }
        if started.elapsed().as_secs() > 60 {
            return Err(format!("InitProducerId: error {}", response.error_code).into());
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

impl Transaction {
    fn end(&mut self, stream: &mut TcpStream) -> Result<()> {
        if std::mem::take(&mut self.is_open) {
            let request = EndTxnRequest::default()
                .with_transactional_id(self.id.clone())
                .with_producer_id(ProducerId(self.producer.0))
                .with_producer_epoch(self.producer.1)
                .with_committed(true);
            let response = call(stream, 3, &request)?;
            if response.error_code != 0 {
                return Err(format!("EndTxn: error {}", response.error_code).into());
            }
        }
        Ok(())
    }

    fn renew(&mut self, stream: &mut TcpStream) -> Result<()> {
        let topic = AddPartitionsToTxnTopic::default()
            .with_name(TopicName(text(&self.topic)))
            .with_partitions(self.partitions.clone());
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(self.id.clone())
            .with_v3_and_below_producer_id(ProducerId(self.producer.0))
            .with_v3_and_below_producer_epoch(self.producer.1)
            .with_v3_and_below_topics(vec![topic]);
        loop {
            let response = call(stream, 3, &request)?;
            let results = response.results_by_topic_v3_and_below.iter();
            let codes = results.flat_map(|topic| &topic.results_by_partition).map(|p| p.partition_error_code);
            match codes.into_iter().find(|code| *code != 0) {
                None => break,
                Some(51) => {} // CONCURRENT_TRANSACTIONS: the last one's markers are on their way
                Some(code) => return Err(format!("AddPartitionsToTxn: error {code}").into()),
            }
        }
        self.is_open = true;
        Ok(())
    }
}
