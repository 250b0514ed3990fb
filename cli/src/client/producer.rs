//! A producer for the tools: batches per partition, one request at a time and leader, idempotent by default.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    InitProducerIdRequest, ProduceRequest, ProduceResponse, ProducerId as WireProducerId,
};
use moldau_model::{ErrorCode, ProducerEpoch, ProducerId, TimestampMs};
use moldau_record::{BatchBuilder, Compression};

use super::metadata::topic_name;
use super::partitioner::partition_for_key;
use super::patience::Patience;
use super::{Backoff, Client, ClientError, metadata, request_deadline};

/// Names, not ids, go with every version up to this one.
const PRODUCE_VERSION_MAX: i16 = 12;

/// Partitions that a line names before it counts the others.
const PLACES_NAMED: usize = 5;

/// How to produce.
#[derive(Clone, Debug)]
pub(crate) struct ProducerOptions {
    /// -1: all in-sync replicas; 1: the leader; 0: nobody answers.
    pub(crate) acks: i16,
    pub(crate) compression: Compression,
    /// A batch is sent when it holds this many bytes.
    pub(crate) batch_bytes: usize,
    /// How long the broker may wait for its replicas.
    pub(crate) request_timeout_ms: i32,
    /// How long a batch may be tried again and again: `delivery.timeout.ms`.
    pub(crate) delivery_timeout: Duration,
    pub(crate) retries_max: u32,
    pub(crate) idempotent: bool,
    /// Whether standard error hears for whom it waits long.
    pub(crate) tells_waits: bool,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        Self {
            acks: -1,
            compression: Compression::None,
            batch_bytes: 16 * 1024,
            request_timeout_ms: 30_000,
            delivery_timeout: Duration::from_secs(120),
            retries_max: u32::MAX,
            idempotent: true,
            tells_waits: false,
        }
    }
}

/// A record to send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OutgoingRecord {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
    /// `None`: by the key, or any.
    pub(crate) partition: Option<i32>,
}

/// Records that were not written, and why.
#[derive(Debug)]
pub(crate) struct SendFailure {
    /// Key and value sizes of each record: what Kafka's tools print.
    pub(crate) records: Vec<(Option<usize>, Option<usize>)>,
    pub(crate) error: ClientError,
}

struct Pending {
    batch: BatchBuilder,
    sizes: Vec<(Option<usize>, Option<usize>)>,
}

/// Where the last records of a partition went; the tools print it.
pub(crate) type Written = BTreeMap<i32, i64>;

/// A producer of one topic.
pub(crate) struct Producer {
    client: Client,
    topic: String,
    options: ProducerOptions,
    /// Per partition its leader, of the newest metadata.
    leaders: BTreeMap<i32, i32>,
    identity: Option<(ProducerId, ProducerEpoch)>,
    sequences: HashMap<i32, i32>,
    pending: BTreeMap<i32, Pending>,
    /// The partition for records without a key, until the next batch.
    sticky: Option<i32>,
    round: u64,
    written: Written,
    patience: Option<Patience>,
}

impl Producer {
    pub(crate) fn new(client: Client, topic: &str, options: ProducerOptions) -> Self {
        let patience = options.tells_waits.then(Patience::new);
        Self {
            patience,
            client,
            topic: topic.to_owned(),
            options,
            leaders: BTreeMap::new(),
            identity: None,
            sequences: HashMap::new(),
            pending: BTreeMap::new(),
            sticky: None,
            // Any start will do; that many producers do not all start at partition 0 is what it is for.
            round: u64::from(std::process::id()),
            written: Written::new(),
        }
    }

    /// Base offsets of the newest batch by partition.
    pub(crate) fn written(&self) -> &Written {
        &self.written
    }

    /// Adds a record to its batch; sends when that is full. Returns what could not be written.
    pub(crate) fn send(&mut self, record: &OutgoingRecord) -> Result<Vec<SendFailure>, ClientError> {
        if self.leaders.is_empty() {
            let deadline = self.client.deadline();
            self.waits_for(|producer| format!("the topic {}", producer.topic));
            let refreshed = self.refresh(deadline);
            self.waits_no_more();
            refreshed?;
        }
        let count = i32::try_from(self.leaders.len()).unwrap_or(i32::MAX);
        let partition = match (record.partition, &record.key) {
            (Some(partition), _) if partition < count => partition,
            (Some(partition), _) => {
                let text = format!("partition {partition} does not exist: {} has {count}", self.topic);
                return Err(ClientError::broker(3, Some(&text)));
            }
            (None, Some(key)) => partition_for_key(key, count),
            (None, None) => self.sticky_partition(),
        };
        let pending = self.pending.entry(partition).or_insert_with(|| Pending {
            batch: BatchBuilder::new().compression(self.options.compression),
            sizes: Vec::new(),
        });
        let headers: Vec<(&str, Option<&[u8]>)> =
            record.headers.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
        pending
            .batch
            .append(now(), record.key.as_deref(), record.value.as_deref(), &headers)
            .map_err(|error| ClientError::broker(10, Some(&error.to_string())))?;
        pending.sizes.push((record.key.as_ref().map(Vec::len), record.value.as_ref().map(Vec::len)));
        if pending.batch.uncompressed_size_bytes() >= self.options.batch_bytes {
            self.flush()
        } else {
            Ok(Vec::new())
        }
    }

    fn sticky_partition(&mut self) -> i32 {
        if let Some(partition) = self.sticky {
            return partition;
        }
        let available: Vec<i32> =
            self.leaders.iter().filter(|(_, leader)| **leader >= 0).map(|(p, _)| *p).collect();
        let all = if available.is_empty() { self.leaders.keys().copied().collect() } else { available };
        let index = usize::try_from(self.round).unwrap_or(0) % all.len().max(1);
        self.round = self.round.wrapping_add(1);
        let partition = all.get(index).copied().unwrap_or(0);
        self.sticky = Some(partition);
        partition
    }

    fn waits_for(&self, whom: impl FnOnce(&Self) -> String) {
        if let Some(patience) = &self.patience {
            patience.wait_for(whom(self));
        }
    }

    fn waits_no_more(&self) {
        if let Some(patience) = &self.patience {
            patience.end();
        }
    }

    /// Sends all that is waiting and waits for the answers.
    pub(crate) fn flush(&mut self) -> Result<Vec<SendFailure>, ClientError> {
        let flushed = self.flush_until(Instant::now() + self.options.delivery_timeout);
        self.waits_no_more();
        flushed
    }

    fn flush_until(&mut self, deadline: Instant) -> Result<Vec<SendFailure>, ClientError> {
        self.sticky = None;
        let mut open = std::mem::take(&mut self.pending);
        let mut failures = Vec::new();
        let mut backoff = Backoff::new();
        let mut attempts = 0;
        while !open.is_empty() {
            let (again, error) = match self.attempt(&mut open, deadline, &mut failures) {
                Ok(error) => (!open.is_empty(), error),
                Err(error) if error.is_retriable() => (true, Some(error)),
                Err(error) => return Err(error),
            };
            if !again {
                break;
            }
            attempts += 1;
            if let Some(error) = &error {
                self.waits_for(|producer| format!("{}: {error}", places(&producer.topic, open.keys())));
            }
            let given_up = if attempts > self.options.retries_max || !backoff.wait(deadline) {
                Some(error.unwrap_or_else(|| ClientError::Timeout("the batch expired".into())))
            } else {
                self.refresh(deadline).err()
            };
            if let Some(error) = given_up {
                let records =
                    std::mem::take(&mut open).into_values().flat_map(|pending| pending.sizes).collect();
                failures.push(SendFailure { records, error });
                // What was sent may be written all the same: its sequences are spent, or the next batch would be taken
                // for it, and answered without being written.
                self.forget_identity();
            }
        }
        Ok(failures)
    }

    /// One round of requests to the leaders. What is answered leaves `open`, into `failures` where it was refused;
    /// what may be sent again stays. Returns the last error of those.
    fn attempt(
        &mut self,
        open: &mut BTreeMap<i32, Pending>,
        deadline: Instant,
        failures: &mut Vec<SendFailure>,
    ) -> Result<Option<ClientError>, ClientError> {
        let identity = self.identity(deadline)?;
        let mut last = None;
        let mut by_leader: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for partition in open.keys() {
            by_leader.entry(self.leaders.get(partition).copied().unwrap_or(-1)).or_default().push(*partition);
        }
        for (leader, partitions) in by_leader {
            if leader < 0 {
                last = Some(ClientError::broker(ErrorCode::LeaderNotAvailable.code(), None));
                continue;
            }
            let mut data = Vec::with_capacity(partitions.len());
            for partition in &partitions {
                let Some(pending) = open.get(partition) else { continue };
                let mut batch = pending.batch.clone();
                if let Some((id, epoch)) = identity {
                    let sequence = self.sequences.get(partition).copied().unwrap_or(0);
                    batch = batch.producer(id, epoch, sequence);
                }
                let bytes =
                    batch.build().map_err(|error| ClientError::broker(2, Some(&error.to_string())))?;
                data.push(
                    PartitionProduceData::default()
                        .with_index(*partition)
                        .with_records(Some(Bytes::from(bytes))),
                );
            }
            self.waits_for(|producer| {
                let address =
                    producer.client.brokers().get(&leader).map(|node| format!(" at {}", node.address));
                let places = places(&producer.topic, partitions.iter());
                format!("broker {leader}{}, the leader of {places}", address.unwrap_or_default())
            });
            match self.produce(leader, data, deadline) {
                Ok(Some(response)) => self.settle(&response, open, failures, &mut last),
                // Nobody answers to acks=0.
                Ok(None) => open.retain(|partition, _| !partitions.contains(partition)),
                Err(error) if error.is_retriable() => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Ok(last)
    }

    fn produce(
        &mut self,
        leader: i32,
        data: Vec<PartitionProduceData>,
        deadline: Instant,
    ) -> Result<Option<ProduceResponse>, ClientError> {
        let topic = TopicProduceData::default().with_name(topic_name(&self.topic)).with_partition_data(data);
        let request = ProduceRequest::default()
            .with_acks(self.options.acks)
            .with_timeout_ms(self.options.request_timeout_ms)
            .with_topic_data(vec![topic]);
        let connection = self.client.broker(leader, deadline)?;
        let version = connection.version_of::<ProduceRequest>()?.min(PRODUCE_VERSION_MAX);
        let deadline = request_deadline(deadline);
        let result = connection.send_version(&request, version, deadline).and_then(|correlation_id| {
            if self.options.acks == 0 {
                return Ok(None);
            }
            connection.receive_as::<ProduceRequest>(correlation_id, version, deadline).map(Some)
        });
        if result.is_err() {
            self.client.forget_broker(leader);
        }
        result
    }

    /// Takes what was answered out of `open`.
    fn settle(
        &mut self,
        response: &ProduceResponse,
        open: &mut BTreeMap<i32, Pending>,
        failures: &mut Vec<SendFailure>,
        last: &mut Option<ClientError>,
    ) {
        for answer in response.responses.iter().flat_map(|topic| &topic.partition_responses) {
            let error = ClientError::check(answer.error_code, answer.error_message.as_deref());
            let Err(error) = error else {
                self.advance(answer.index, open);
                self.written.insert(answer.index, answer.base_offset);
                continue;
            };
            match error.code() {
                // An earlier attempt had been written.
                Some(ErrorCode::DuplicateSequenceNumber) => self.advance(answer.index, open),
                _ if error.is_retriable() => *last = Some(error),
                _ => {
                    if let Some(pending) = open.remove(&answer.index) {
                        failures.push(SendFailure { records: pending.sizes, error });
                    }
                    // The broker's next expected sequence is unknown from here on: start over with another id.
                    self.forget_identity();
                }
            }
        }
    }

    /// Takes a batch that is written out of `open`, and its sequences as spent.
    fn advance(&mut self, partition: i32, open: &mut BTreeMap<i32, Pending>) {
        let Some(pending) = open.remove(&partition) else { return };
        let count = i32::try_from(pending.batch.count()).unwrap_or(i32::MAX);
        let sequence = self.sequences.entry(partition).or_default();
        // Sequences wrap to 0 after the largest one.
        *sequence = (i64::from(*sequence) + i64::from(count)).rem_euclid(1 << 31) as i32;
    }

    fn forget_identity(&mut self) {
        self.identity = None;
        self.sequences.clear();
    }

    /// The producer id, asked for with the first batch.
    fn identity(&mut self, deadline: Instant) -> Result<Option<(ProducerId, ProducerEpoch)>, ClientError> {
        if !self.options.idempotent || self.options.acks != -1 || self.identity.is_some() {
            return Ok(self.identity);
        }
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(i32::MAX)
            .with_producer_id(WireProducerId(-1))
            .with_producer_epoch(-1);
        let answer = self.client.retry(deadline, |client| {
            let response = client.any(deadline)?.call(&request, request_deadline(deadline));
            let response = response.inspect_err(|error| client.forget_bootstrap(error))?;
            ClientError::check(response.error_code, None).map(|()| response)
        });
        match answer {
            Ok(response) => {
                self.identity =
                    Some((ProducerId(response.producer_id.0), ProducerEpoch(response.producer_epoch)));
            }
            Err(ClientError::Unsupported { .. }) => self.options.idempotent = false,
            Err(error) => return Err(error),
        }
        Ok(self.identity)
    }

    /// Asks for the topic until it has leaders; the broker may create it on the way.
    fn refresh(&mut self, deadline: Instant) -> Result<(), ClientError> {
        let request = metadata::request(Some(&[self.topic.as_str()]), true);
        let mut backoff = Backoff::new();
        loop {
            let response = self.client.metadata_request(request.clone(), deadline)?;
            let topic = response.topics.first();
            let checked = topic.map_or(Ok(()), |topic| ClientError::check(topic.error_code, None));
            match (checked, topic) {
                (Ok(()), Some(topic)) if !topic.partitions.is_empty() => {
                    self.leaders =
                        topic.partitions.iter().map(|p| (p.partition_index, p.leader_id.0)).collect();
                    return Ok(());
                }
                (Err(error), _) if !error.is_retriable() => return Err(error),
                (result, _) => {
                    if !backoff.wait(deadline) {
                        let reason = result.err().map_or_else(String::new, |error| format!(": {error}"));
                        return Err(ClientError::Timeout(format!(
                            "Topic {} not present in metadata{reason}",
                            self.topic
                        )));
                    }
                }
            }
        }
    }
}

/// Partitions as people read them, the first few of many.
fn places<'a>(topic: &str, partitions: impl Iterator<Item = &'a i32>) -> String {
    let mut partitions = partitions.map(|partition| format!("{topic}-{partition}"));
    let named: Vec<String> = partitions.by_ref().take(PLACES_NAMED).collect();
    match partitions.count() {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// The wall clock, as records carry it.
pub(crate) fn now() -> TimestampMs {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    TimestampMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};

    use super::*;
    use crate::client::{ClientOptions, HostPort, WhenUnreachable};

    /// A producer in the middle of its work, with one record under way, whose cluster is not to be reached.
    fn producer() -> Producer {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let options = ClientOptions {
            bootstrap: vec![HostPort { host: "127.0.0.1".to_owned(), port }],
            client_id: "test".to_owned(),
            api_timeout: Duration::from_secs(60),
            when_unreachable: WhenUnreachable::Fail,
        };
        let mut producer = Producer::new(Client::new(options), "t", ProducerOptions::default());
        producer.leaders.insert(0, -1);
        producer.identity = Some((ProducerId(7), ProducerEpoch(0)));
        producer.sequences.insert(0, 3);
        let record = OutgoingRecord { value: Some(b"v".to_vec()), ..OutgoingRecord::default() };
        assert!(producer.send(&record).unwrap().is_empty());
        producer
    }

    #[test]
    fn a_batch_that_was_written_before_has_spent_its_sequences() {
        let mut producer = producer();
        let mut open = std::mem::take(&mut producer.pending);
        let answer = PartitionProduceResponse::default()
            .with_index(0)
            .with_error_code(ErrorCode::DuplicateSequenceNumber.code());
        let response = ProduceResponse::default()
            .with_responses(vec![TopicProduceResponse::default().with_partition_responses(vec![answer])]);
        let (mut failures, mut last) = (Vec::new(), None);
        producer.settle(&response, &mut open, &mut failures, &mut last);
        assert!(open.is_empty() && failures.is_empty() && last.is_none());
        assert_eq!(producer.sequences.get(&0), Some(&4));
    }

    #[test]
    fn a_batch_is_tried_for_as_long_as_it_may_take_and_no_longer() {
        let mut producer = producer();
        producer.options.delivery_timeout = Duration::from_millis(300);
        let begun = Instant::now();
        assert_eq!(producer.flush().unwrap().len(), 1);
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }

    #[test]
    fn many_partitions_are_named_in_part() {
        assert_eq!(places("t", [0, 2].iter()), "t-0, t-2");
        assert_eq!(places("t", (0..8).collect::<Vec<_>>().iter()), "t-0, t-1, t-2, t-3, t-4 and 3 more");
    }

    #[test]
    fn after_a_batch_was_given_up_its_sequences_are_not_used_again() {
        let mut producer = producer();
        let failures = producer.flush().unwrap();
        assert_eq!(failures.iter().map(|failure| failure.records.len()).sum::<usize>(), 1);
        assert_eq!((producer.identity, producer.sequences.len()), (None, 0));
    }
}
