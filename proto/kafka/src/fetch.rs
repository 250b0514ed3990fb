//! Fetch's hot path: a response as a list of small pieces of bytes with the records' places between them, so that
//! records go from the file to the socket and are copied nowhere here.
//!
//! Versions 4 to 18. v5 log start offset, v7 sessions (KIP-227), v11 preferred read replica (KIP-392), v12 flexible and
//! diverging epoch (KIP-595), v13 topic ids (KIP-516), v16 node endpoints (KIP-951).

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use moldau_model::{BrokerId, ErrorCode, LeaderEpoch, Offset, PartitionIndex, ProducerId, TopicId};

use crate::api_key::ApiKey;
use crate::error::WireError;
use crate::frame::{SIZE_PREFIX_BYTES, size_prefix};
use crate::header::encode_response_header;
use crate::wire::{put_length, put_unsigned_varint};

/// Records that stand somewhere else, for example in a file.
pub trait RecordsSource {
    /// Exactly how many bytes will be sent for it.
    fn size_bytes(&self) -> usize;
}

impl RecordsSource for Bytes {
    fn size_bytes(&self) -> usize {
        self.len()
    }
}

/// One piece of a response, in the order to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk<R> {
    Bytes(Bytes),
    Records(R),
}

/// A Fetch response. Fields that a version does not have are left out of it.
#[derive(Clone, Debug)]
pub struct FetchResponse<R> {
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    /// 0 outside a session.
    pub session_id: i32,
    pub topics: Vec<FetchTopic<R>>,
    /// Where the leaders named in `current_leader` listen.
    pub node_endpoints: Vec<NodeEndpoint>,
}

/// One topic. The wire has its name up to version 12, its id from version 13.
#[derive(Clone, Debug)]
pub struct FetchTopic<R> {
    pub name: Arc<str>,
    pub topic_id: TopicId,
    pub partitions: Vec<FetchPartition<R>>,
}

/// One partition. [`FetchPartition::new`] gives the wire's defaults.
#[derive(Clone, Debug)]
pub struct FetchPartition<R> {
    pub index: PartitionIndex,
    pub error_code: ErrorCode,
    pub high_watermark: Offset,
    pub last_stable_offset: Offset,
    pub log_start_offset: Offset,
    /// The end of the last epoch that fetcher and leader share (KIP-595).
    pub diverging_epoch: Option<EpochEndOffset>,
    pub current_leader: Option<LeaderIdAndEpoch>,
    /// `None` unless the fetch reads committed records only.
    pub aborted_transactions: Option<Vec<AbortedTransaction>>,
    /// [`BrokerId::NONE`] for "stay here".
    pub preferred_read_replica: BrokerId,
    /// Sent one behind the other.
    pub records: Vec<R>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEndOffset {
    pub epoch: LeaderEpoch,
    pub end_offset: Offset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderIdAndEpoch {
    pub leader_id: BrokerId,
    pub leader_epoch: LeaderEpoch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: ProducerId,
    pub first_offset: Offset,
}

/// A broker's listener, the one that the fetch came in by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEndpoint {
    pub node_id: BrokerId,
    pub host: Arc<str>,
    pub port: i32,
    pub rack: Option<Arc<str>>,
}

impl<R> FetchPartition<R> {
    /// No error, no records, no offsets: what a partition's answer is filled in from.
    #[must_use]
    pub fn new(index: PartitionIndex) -> Self {
        Self {
            index,
            error_code: ErrorCode::None,
            high_watermark: Offset::NONE,
            last_stable_offset: Offset::NONE,
            log_start_offset: Offset::NONE,
            diverging_epoch: None,
            current_leader: None,
            aborted_transactions: None,
            preferred_read_replica: BrokerId::NONE,
            records: Vec::new(),
        }
    }

    /// The answer where there is nothing but an error.
    #[must_use]
    pub fn error(index: PartitionIndex, error_code: ErrorCode) -> Self {
        Self { error_code, ..Self::new(index) }
    }
}

/// A response ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedFetch<R> {
    /// The first one starts with the size prefix.
    pub chunks: Vec<Chunk<R>>,
    /// All of it, size prefix and records included.
    pub size_bytes: usize,
}

impl<R: RecordsSource> FetchResponse<R> {
    /// Encodes the whole frame. Everything but the records lies in one allocation, which the chunks share.
    pub fn encode(self, version: i16, correlation_id: i32) -> Result<EncodedFetch<R>, WireError> {
        let api_key = ApiKey::Fetch;
        if !api_key.kafka_versions().contains(version) {
            return Err(WireError::UnsupportedVersion { api_key, version });
        }
        let partition_count: usize = self.topics.iter().map(|topic| topic.partitions.len()).sum();
        let mut encoder = Encoder {
            version,
            flexible: api_key.is_flexible(version),
            out: BytesMut::with_capacity(64 + 32 * self.topics.len() + 72 * partition_count),
            records: Vec::with_capacity(partition_count),
            records_bytes: 0,
        };
        encoder.out.put_bytes(0, SIZE_PREFIX_BYTES);
        encode_response_header(api_key, version, correlation_id, &mut encoder.out);
        encoder.out.put_i32(self.throttle_time_ms);
        if version >= 7 {
            encoder.out.put_i16(self.error_code as i16);
            encoder.out.put_i32(self.session_id);
        }
        encoder.length(self.topics.len())?;
        for topic in self.topics {
            encoder.topic(topic)?;
        }
        encoder.top_level_tags(&self.node_endpoints)?;
        encoder.finish()
    }
}

struct Encoder<R> {
    version: i16,
    flexible: bool,
    out: BytesMut,
    /// Records, each with its place in `out`.
    records: Vec<(usize, R)>,
    records_bytes: usize,
}

const TAG_DIVERGING_EPOCH: u8 = 0;
const TAG_CURRENT_LEADER: u8 = 1;
const TAG_NODE_ENDPOINTS: u8 = 0;

impl<R: RecordsSource> Encoder<R> {
    fn topic(&mut self, topic: FetchTopic<R>) -> Result<(), WireError> {
        if self.version >= 13 {
            self.out.put_slice(topic.topic_id.as_bytes());
        } else {
            self.string(Some(&topic.name))?;
        }
        self.length(topic.partitions.len())?;
        for partition in topic.partitions {
            self.partition(partition)?;
        }
        self.no_tags();
        Ok(())
    }

    fn partition(&mut self, partition: FetchPartition<R>) -> Result<(), WireError> {
        self.out.put_i32(partition.index.0);
        self.out.put_i16(partition.error_code as i16);
        self.out.put_i64(partition.high_watermark.0);
        self.out.put_i64(partition.last_stable_offset.0);
        if self.version >= 5 {
            self.out.put_i64(partition.log_start_offset.0);
        }
        match &partition.aborted_transactions {
            None if self.flexible => self.out.put_u8(0),
            None => self.out.put_i32(-1),
            Some(transactions) => {
                self.length(transactions.len())?;
                for transaction in transactions {
                    self.out.put_i64(transaction.producer_id.0);
                    self.out.put_i64(transaction.first_offset.0);
                    self.no_tags();
                }
            }
        }
        if self.version >= 11 {
            self.out.put_i32(partition.preferred_read_replica.0);
        }
        let size = partition.records.iter().map(RecordsSource::size_bytes).sum();
        self.length(size)?;
        self.records_bytes += size;
        let place = self.out.len();
        self.records.extend(partition.records.into_iter().map(|records| (place, records)));
        self.partition_tags(partition.diverging_epoch, partition.current_leader);
        Ok(())
    }

    fn partition_tags(&mut self, diverging: Option<EpochEndOffset>, leader: Option<LeaderIdAndEpoch>) {
        if !self.flexible {
            return;
        }
        self.out.put_u8(u8::from(diverging.is_some()) + u8::from(leader.is_some()));
        if let Some(diverging) = diverging {
            self.out.put_slice(&[TAG_DIVERGING_EPOCH, 13]);
            self.out.put_i32(diverging.epoch.0);
            self.out.put_i64(diverging.end_offset.0);
            self.no_tags();
        }
        if let Some(leader) = leader {
            self.out.put_slice(&[TAG_CURRENT_LEADER, 9]);
            self.out.put_i32(leader.leader_id.0);
            self.out.put_i32(leader.leader_epoch.0);
            self.no_tags();
        }
    }

    fn top_level_tags(&mut self, endpoints: &[NodeEndpoint]) -> Result<(), WireError> {
        if self.version < 16 || endpoints.is_empty() {
            self.no_tags();
            return Ok(());
        }
        // A tagged field's size stands before it, so it is written aside.
        let around = std::mem::take(&mut self.out);
        self.length(endpoints.len())?;
        for endpoint in endpoints {
            self.out.put_i32(endpoint.node_id.0);
            self.string(Some(&endpoint.host))?;
            self.out.put_i32(endpoint.port);
            self.string(endpoint.rack.as_deref())?;
            self.no_tags();
        }
        let field = std::mem::replace(&mut self.out, around);
        self.out.put_slice(&[1, TAG_NODE_ENDPOINTS]);
        put_unsigned_varint(&mut self.out, field.len())?;
        self.out.put_slice(&field);
        Ok(())
    }

    fn no_tags(&mut self) {
        if self.flexible {
            self.out.put_u8(0);
        }
    }

    /// The length of an array, or of records.
    fn length(&mut self, length: usize) -> Result<(), WireError> {
        let wide = i32::try_from(length).map_err(|_| WireError::MessageTooLarge { size: length })?;
        if self.flexible {
            return put_length(&mut self.out, length);
        }
        self.out.put_i32(wide);
        Ok(())
    }

    fn string(&mut self, text: Option<&str>) -> Result<(), WireError> {
        let size = text.map_or(0, str::len);
        let short = i16::try_from(size).map_err(|_| WireError::MessageTooLarge { size })?;
        match (text, self.flexible) {
            (None, true) => self.out.put_u8(0),
            (None, false) => self.out.put_i16(-1),
            (Some(_), true) => put_length(&mut self.out, size)?,
            (Some(_), false) => self.out.put_i16(short),
        }
        self.out.put_slice(text.unwrap_or_default().as_bytes());
        Ok(())
    }

    fn finish(mut self) -> Result<EncodedFetch<R>, WireError> {
        let size_bytes = self.out.len() + self.records_bytes;
        let prefix = size_prefix(size_bytes - SIZE_PREFIX_BYTES)?;
        self.out[..SIZE_PREFIX_BYTES].copy_from_slice(&prefix);
        let bytes = self.out.freeze();
        let mut chunks = Vec::with_capacity(2 * self.records.len() + 1);
        let mut from = 0;
        for (place, records) in self.records {
            if place > from {
                chunks.push(Chunk::Bytes(bytes.slice(from..place)));
                from = place;
            }
            chunks.push(Chunk::Records(records));
        }
        if from < bytes.len() {
            chunks.push(Chunk::Bytes(bytes.slice(from..)));
        }
        Ok(EncodedFetch { chunks, size_bytes })
    }
}
