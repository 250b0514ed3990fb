//! Fetching from partitions at positions of the caller's: what a consumer does once it knows its partitions.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{BrokerId, FetchRequest};
use moldau_model::ErrorCode;
use moldau_record::{BatchView, Batches, ControlRecord, DecompressLimit, Record, TimestampType};

use super::metadata::topic_name;
use super::offsets::{EARLIEST, LATEST, Partition};
use super::{Client, ClientError};

/// Names, not ids, go with every version up to this one.
const FETCH_VERSION_MAX: i16 = 12;
const FETCH_BYTES_MAX: i32 = 50 << 20;
const PARTITION_BYTES_MAX: i32 = 1 << 20;
/// What one batch may decompress to: as much as an answer may hold, and then some.
pub(super) const DECOMPRESS_BYTES_MAX: usize = 256 << 20;

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IncomingRecord {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// -1 where the record has none.
    pub(crate) timestamp: i64,
    /// Whether the broker set the timestamp.
    pub(crate) log_append_time: bool,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    /// How often it was delivered, with this time, to members of a share group.
    pub(crate) delivery_count: Option<i16>,
}

/// How much is taken at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FetchLimits {
    /// Asked of one partition.
    pub(crate) partition_bytes: i32,
    /// Asked of one broker.
    pub(crate) answer_bytes: i32,
    /// What one batch may decompress to.
    pub(crate) batch_bytes: usize,
}

impl Default for FetchLimits {
    fn default() -> Self {
        Self {
            partition_bytes: PARTITION_BYTES_MAX,
            answer_bytes: FETCH_BYTES_MAX,
            batch_bytes: DECOMPRESS_BYTES_MAX,
        }
    }
}

/// A record that is looked at where it lies, in an answer of a broker's.
#[derive(Clone, Copy)]
pub(crate) struct SeenRecord<'a> {
    pub(crate) partition: &'a Partition,
    pub(crate) record: Record<'a>,
    /// Whether the broker set the timestamp.
    pub(crate) log_append_time: bool,
}

impl SeenRecord<'_> {
    pub(crate) fn to_incoming(self) -> IncomingRecord {
        let headers = self.record.headers.into_iter().map(|header| {
            (String::from_utf8_lossy(header.key).into_owned(), header.value.map(<[u8]>::to_vec))
        });
        IncomingRecord {
            topic: self.partition.0.clone(),
            partition: self.partition.1,
            offset: self.record.offset.0,
            timestamp: self.record.timestamp.0,
            log_append_time: self.log_append_time,
            headers: headers.collect(),
            key: self.record.key.map(<[u8]>::to_vec),
            value: self.record.value.map(<[u8]>::to_vec),
            delivery_count: None,
        }
    }
}

/// What a reader says to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    /// It has seen it, and wants the next.
    Next,
    /// It leaves this record, and what is behind it in its partition, for another time.
    LeavePartition,
    /// It leaves this record, and everything else.
    LeaveAll,
}

/// Takes records one by one.
pub(crate) type Reader<'a> = &'a mut dyn FnMut(SeenRecord<'_>) -> Take;

/// Positions and fetching. Not a group's member: see `membership`.
pub(crate) struct Fetcher {
    pub(crate) read_committed: bool,
    /// Where to go on when a position does not exist any more: `EARLIEST` or `LATEST`.
    pub(crate) reset_to: i64,
    pub(crate) limits: FetchLimits,
    positions: BTreeMap<Partition, i64>,
    leaders: BTreeMap<Partition, i32>,
    /// Rounds so far: each begins with another partition, so that neither a broker with large batches nor a reader who leaves
    /// early passes over the same ones each time.
    rounds: usize,
}

impl Fetcher {
    pub(crate) fn new(read_committed: bool, reset_to: i64) -> Self {
        Self {
            read_committed,
            reset_to,
            limits: FetchLimits::default(),
            positions: BTreeMap::new(),
            leaders: BTreeMap::new(),
            rounds: 0,
        }
    }

    /// The next offset to read, by partition.
    pub(crate) fn positions(&self) -> &BTreeMap<Partition, i64> {
        &self.positions
    }

    /// The partitions whose leader nobody knows for now.
    pub(crate) fn leaderless(&self) -> impl Iterator<Item = &Partition> {
        self.positions.keys().filter(|partition| !self.leaders.contains_key(*partition))
    }

    /// Reads these partitions from now on, from these offsets; negative ones are special times.
    pub(crate) fn assign(
        &mut self,
        client: &mut Client,
        starts: Vec<(Partition, i64)>,
    ) -> Result<(), ClientError> {
        let (special, plain): (Vec<_>, Vec<_>) = starts.into_iter().partition(|(_, offset)| *offset < 0);
        self.positions = plain.into_iter().collect();
        self.leaders.clear();
        for (partition, at) in client.list_offsets(&special, self.read_committed)? {
            self.positions.insert(partition, at?.offset);
        }
        Ok(())
    }

    /// Asks no more for partitions that are read as far as they are to be. A broker gives a batch that is larger than was asked
    /// for to one partition of an answer alone, which is not to be one of these.
    pub(crate) fn leave(&mut self, is_done: impl Fn(&Partition, i64) -> bool) {
        self.positions.retain(|partition, position| !is_done(partition, *position));
    }

    /// Waits up to `wait` for records and returns what came, by partition in offset order. Positions move behind
    /// it. Moved leaders and broken connections cost a round without records.
    pub(crate) fn poll(
        &mut self,
        client: &mut Client,
        wait: Duration,
    ) -> Result<Vec<IncomingRecord>, ClientError> {
        let mut records = Vec::new();
        self.visit(client, wait, &mut |seen| {
            records.push(seen.to_incoming());
            Take::Next
        })?;
        Ok(records)
    }

    /// As `poll`, but shows the records where they lie: no more of them is in memory than one batch, and what the reader keeps.
    pub(crate) fn visit(
        &mut self,
        client: &mut Client,
        wait: Duration,
        reader: Reader<'_>,
    ) -> Result<(), ClientError> {
        if self.positions.is_empty() {
            std::thread::sleep(wait);
            return Ok(());
        }
        let deadline = client.deadline();
        if self.leaders.len() < self.positions.len() {
            self.find_leaders(client, deadline)?;
        }
        let mut asked = Vec::new();
        for (leader, mut partitions) in self.by_leader() {
            let first = self.rounds % partitions.len().max(1);
            partitions.rotate_left(first);
            match self.send(client, leader, &partitions, wait, deadline) {
                Ok(sent) => asked.push((leader, sent)),
                Err(error) => self.lost(client, leader, error)?,
            }
        }
        if asked.is_empty() {
            std::thread::sleep(wait.min(Duration::from_millis(100)));
        }
        let mut answered: Vec<(Partition, PartitionData)> = Vec::new();
        for (leader, (correlation_id, version)) in asked {
            let answer = client.broker(leader, deadline).and_then(|connection| {
                connection.receive_as::<FetchRequest>(correlation_id, version, deadline)
            });
            match answer {
                Ok(response) => {
                    ClientError::check(response.error_code, None)?;
                    for topic in response.responses {
                        let name = topic.topic.0.to_string();
                        let partitions = topic.partitions.into_iter();
                        answered.extend(partitions.map(|data| ((name.clone(), data.partition_index), data)));
                    }
                }
                Err(error) => self.lost(client, leader, error)?,
            }
        }
        self.rounds = self.rounds.wrapping_add(1);
        for (partition, data) in answered {
            if self.take(client, partition, &data, reader)? == Take::LeaveAll {
                break;
            }
        }
        Ok(())
    }

    fn by_leader(&self) -> BTreeMap<i32, Vec<Partition>> {
        let mut groups: BTreeMap<i32, Vec<Partition>> = BTreeMap::new();
        for partition in self.positions.keys() {
            if let Some(leader) = self.leaders.get(partition) {
                groups.entry(*leader).or_default().push(partition.clone());
            }
        }
        groups
    }

    fn find_leaders(&mut self, client: &mut Client, deadline: Instant) -> Result<(), ClientError> {
        let items: Vec<(Partition, ())> =
            self.positions.keys().map(|partition| (partition.clone(), ())).collect();
        match client.by_leader(&items, deadline) {
            Ok(groups) => {
                self.leaders = groups
                    .into_iter()
                    .filter_map(|(leader, group)| Some((leader?, group)))
                    .flat_map(|(leader, group)| {
                        group.into_iter().map(move |(partition, ())| (partition, leader))
                    })
                    .collect();
                Ok(())
            }
            Err(error) if error.is_retriable() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A broker that did not answer: look for other leaders in the next round.
    fn lost(&mut self, client: &mut Client, leader: i32, error: ClientError) -> Result<(), ClientError> {
        client.forget_broker(leader);
        self.leaders.clear();
        if error.is_retriable() || matches!(error, ClientError::Timeout(_)) { Ok(()) } else { Err(error) }
    }

    fn send(
        &self,
        client: &mut Client,
        leader: i32,
        partitions: &[Partition],
        wait: Duration,
        deadline: Instant,
    ) -> Result<(i32, i16), ClientError> {
        let mut topics: BTreeMap<&str, Vec<FetchPartition>> = BTreeMap::new();
        for partition in partitions {
            topics.entry(&partition.0).or_default().push(
                FetchPartition::default()
                    .with_partition(partition.1)
                    .with_current_leader_epoch(-1)
                    .with_fetch_offset(self.positions.get(partition).copied().unwrap_or(0))
                    .with_last_fetched_epoch(-1)
                    .with_log_start_offset(-1)
                    .with_partition_max_bytes(self.limits.partition_bytes),
            );
        }
        let topics = topics
            .into_iter()
            .map(|(topic, list)| FetchTopic::default().with_topic(topic_name(topic)).with_partitions(list));
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(i32::try_from(wait.as_millis()).unwrap_or(i32::MAX))
            .with_min_bytes(1)
            .with_max_bytes(self.limits.answer_bytes)
            .with_isolation_level(i8::from(self.read_committed))
            .with_session_epoch(-1)
            .with_topics(topics.collect());
        let connection = client.broker(leader, deadline)?;
        let version = connection.version_of::<FetchRequest>()?.min(FETCH_VERSION_MAX);
        Ok((connection.send_version(&request, version, deadline)?, version))
    }

    /// Shows one partition's records, and moves its position. `Next` where all were taken.
    fn take(
        &mut self,
        client: &mut Client,
        partition: Partition,
        data: &PartitionData,
        reader: Reader<'_>,
    ) -> Result<Take, ClientError> {
        let Some(position) = self.positions.get(&partition).copied() else { return Ok(Take::Next) };
        match ErrorCode::from_code(data.error_code) {
            ErrorCode::None => {}
            ErrorCode::OffsetOutOfRange => {
                let asked = [(partition.clone(), self.reset_to)];
                for (partition, at) in client.list_offsets(&asked, self.read_committed)? {
                    self.positions.insert(partition, at?.offset);
                }
                return Ok(Take::Next);
            }
            code if code.is_retriable() => {
                self.leaders.clear();
                return Ok(Take::Next);
            }
            code => return Err(ClientError::broker(code.code(), None)),
        }
        let malformed = |reason: String| ClientError::Malformed {
            address: format!("the leader of {}-{}", partition.0, partition.1),
            reason,
        };
        let mut aborted = Aborted::new(data, self.read_committed);
        let bytes = data.records.as_deref().unwrap_or_default();
        let mut next = position;
        let mut taken = Take::Next;
        for batch in Batches::new(bytes) {
            // The last batch may be cut: the rest comes with the next fetch.
            let Ok(batch) = batch else { break };
            batch.check_crc().map_err(|error| malformed(error.to_string()))?;
            if aborted.hides(&batch) {
                next = next.max(batch.next_offset().0);
                continue;
            }
            let shown = show_batch(&batch, &partition, position, self.limits.batch_bytes, reader);
            match shown.map_err(malformed)? {
                None => next = next.max(batch.next_offset().0),
                Some((offset, left)) => {
                    (next, taken) = (next.max(offset), left);
                    break;
                }
            }
        }
        self.positions.insert(partition, next);
        Ok(taken)
    }
}

/// Shows the batch's records from `position` on. Where the reader left, and how, if it did.
fn show_batch(
    batch: &BatchView<'_>,
    partition: &Partition,
    position: i64,
    bytes_max: usize,
    reader: Reader<'_>,
) -> Result<Option<(i64, Take)>, String> {
    let set = batch.records(DecompressLimit(bytes_max)).map_err(|error| error.to_string())?;
    let log_append_time = batch.timestamp_type() == TimestampType::LogAppendTime;
    for record in &set {
        let record = record.map_err(|error| error.to_string())?;
        if record.offset.0 < position {
            continue;
        }
        match reader(SeenRecord { partition, record, log_append_time }) {
            Take::Next => {}
            left => return Ok(Some((record.offset.0, left))),
        }
    }
    Ok(None)
}

/// Adds the batch's records from `position` on.
pub(super) fn read_batch(
    batch: &BatchView<'_>,
    partition: &Partition,
    position: i64,
    bytes_max: usize,
    records: &mut Vec<IncomingRecord>,
) -> Result<(), String> {
    show_batch(batch, partition, position, bytes_max, &mut |seen| {
        records.push(seen.to_incoming());
        Take::Next
    })
    .map(drop)
}

/// The transactions that a `read_committed` reader leaves out, while it walks through one answer.
struct Aborted {
    /// Starts of aborted transactions still to come, the next one last.
    starts: Vec<(i64, i64)>,
    open: HashSet<i64>,
}

impl Aborted {
    fn new(data: &PartitionData, read_committed: bool) -> Self {
        let listed = data.aborted_transactions.iter().flatten().filter(|_| read_committed);
        let mut starts: Vec<(i64, i64)> = listed.map(|t| (t.first_offset, t.producer_id.0)).collect();
        starts.sort_unstable_by(|a, b| b.cmp(a));
        Self { starts, open: HashSet::new() }
    }

    /// Whether nobody is to see this batch: a marker, or part of an aborted transaction.
    fn hides(&mut self, batch: &BatchView<'_>) -> bool {
        while let Some((start, producer)) = self.starts.last().copied() {
            if start > batch.last_offset().0 {
                break;
            }
            self.open.insert(producer);
            self.starts.pop();
        }
        if batch.is_control() {
            let abort = batch.records(DecompressLimit(1 << 10)).ok().and_then(|set| {
                let record = set.iter().next()?.ok()?;
                ControlRecord::parse(record.key, record.value).ok()
            });
            if matches!(abort, Some(ControlRecord::Abort { .. })) {
                self.open.remove(&batch.producer_id().0);
            }
            return true;
        }
        batch.is_transactional() && self.open.contains(&batch.producer_id().0)
    }
}

/// `earliest`, `latest` or a number, as `--offset` takes it.
pub(crate) fn parse_start(text: &str) -> Option<i64> {
    match text {
        "earliest" => Some(EARLIEST),
        "latest" => Some(LATEST),
        number => number.parse().ok().filter(|offset| *offset >= 0),
    }
}
