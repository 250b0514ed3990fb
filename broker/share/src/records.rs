//! The records of `__share_group_state`, byte for byte Kafka's.
//!
//! A key opens with its version: 0 is a snapshot, all that is known of a share partition, 1 an update, what has changed since.
//! Both name the share partition. Updates belong to the snapshot before them, which is why the topic is not compacted. Source:
//! the record definitions of Apache Kafka 4.3's share coordinator.

mod wire;

use bytes::Bytes;
use moldau_model::PartitionIndex;

use crate::batch::{DeliveryState, StateBatch};
use crate::key::SharePartitionKey;
use crate::{DELIVERY_COMPLETE_COUNT_UNKNOWN, START_OFFSET_UNKNOWN};
use wire::{Reader, Writer};

/// The longest string that Kafka's 16-bit length can carry. Longer ones never reach a record: the shard refuses them.
pub(crate) const STRING_BYTES_MAX: usize = i16::MAX as usize;

const SNAPSHOT_KEY: i16 = 0;
const UPDATE_KEY: i16 = 1;
const VALUE_VERSION: i16 = 0;
/// The one tagged field of both kinds, left out where it says -1.
const DELIVERY_COMPLETE_COUNT_TAG: u32 = 0;

/// What [`ShareStateShard::replay`](crate::ShareStateShard::replay) made of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed {
    Snapshot,
    Update,
    /// A share partition is gone.
    Tombstone,
    /// A record of a kind that this coordinator does not know; the number is the key's version.
    Skipped(i16),
}

/// Why bytes are no record of `__share_group_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("the {field} of a share state record is cut short")]
    Truncated { field: &'static str },
    #[error("the {field} of a share state record is invalid")]
    Invalid { field: &'static str },
    #[error(
        "a share state record of key version {key_version} has a value of unknown version {value_version}"
    )]
    UnknownValueVersion { key_version: i16, value_version: i16 },
}

/// All that is known of a share partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) snapshot_epoch: i32,
    pub(crate) state_epoch: i32,
    pub(crate) leader_epoch: i32,
    pub(crate) start_offset: i64,
    pub(crate) delivery_complete_count: i32,
    pub(crate) create_timestamp_ms: i64,
    pub(crate) write_timestamp_ms: i64,
    pub(crate) batches: Vec<StateBatch>,
}

/// What has changed of a share partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Update {
    pub(crate) snapshot_epoch: i32,
    pub(crate) leader_epoch: i32,
    /// Unknown: it stays.
    pub(crate) start_offset: i64,
    /// Unknown: it stays.
    pub(crate) delivery_complete_count: i32,
    pub(crate) batches: Vec<StateBatch>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ShareRecord {
    Snapshot(Snapshot),
    Update(Update),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decoded {
    Record(SharePartitionKey, ShareRecord),
    Tombstone(SharePartitionKey),
    /// A tombstone of an update says nothing: no coordinator writes it.
    Nothing,
    Other(i16),
}

pub(crate) fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Decoded, RecordError> {
    let mut reader = Reader::new(key);
    let key_version = reader.i16("key version")?;
    if key_version != SNAPSHOT_KEY && key_version != UPDATE_KEY {
        return Ok(Decoded::Other(key_version));
    }
    let key = SharePartitionKey {
        group_id: reader.string("group")?.into(),
        topic_id: reader.topic_id("topic id")?,
        partition: PartitionIndex(reader.i32("partition")?),
    };
    reader.finish("key")?;
    let Some(value) = value else {
        return Ok(if key_version == SNAPSHOT_KEY { Decoded::Tombstone(key) } else { Decoded::Nothing });
    };
    let mut reader = Reader::new(value);
    let value_version = reader.i16("value version")?;
    if value_version != VALUE_VERSION {
        return Err(RecordError::UnknownValueVersion { key_version, value_version });
    }
    let record = if key_version == SNAPSHOT_KEY {
        ShareRecord::Snapshot(read_snapshot(&mut reader)?)
    } else {
        ShareRecord::Update(read_update(&mut reader)?)
    };
    Ok(Decoded::Record(key, record))
}

fn read_snapshot(reader: &mut Reader<'_>) -> Result<Snapshot, RecordError> {
    let mut snapshot = Snapshot {
        snapshot_epoch: reader.i32("snapshot epoch")?,
        state_epoch: reader.i32("state epoch")?,
        leader_epoch: reader.i32("leader epoch")?,
        start_offset: reader.i64("start offset")?,
        delivery_complete_count: DELIVERY_COMPLETE_COUNT_UNKNOWN,
        create_timestamp_ms: reader.i64("create timestamp")?,
        write_timestamp_ms: reader.i64("write timestamp")?,
        batches: read_batches(reader)?,
    };
    snapshot.delivery_complete_count = read_delivery_complete_count(reader)?;
    Ok(snapshot)
}

fn read_update(reader: &mut Reader<'_>) -> Result<Update, RecordError> {
    let mut update = Update {
        snapshot_epoch: reader.i32("snapshot epoch")?,
        leader_epoch: reader.i32("leader epoch")?,
        start_offset: reader.i64("start offset")?,
        delivery_complete_count: DELIVERY_COMPLETE_COUNT_UNKNOWN,
        batches: read_batches(reader)?,
    };
    update.delivery_complete_count = read_delivery_complete_count(reader)?;
    Ok(update)
}

fn read_delivery_complete_count(reader: &mut Reader<'_>) -> Result<i32, RecordError> {
    let mut count = DELIVERY_COMPLETE_COUNT_UNKNOWN;
    reader.tagged_fields(|tag, bytes| {
        if tag == DELIVERY_COMPLETE_COUNT_TAG {
            count = Reader::new(bytes).i32("delivery complete count")?;
        }
        Ok(())
    })?;
    Ok(count)
}

fn read_batches(reader: &mut Reader<'_>) -> Result<Vec<StateBatch>, RecordError> {
    let mut batches = Vec::new();
    for _ in 0..reader.count("state batches")? {
        let invalid = RecordError::Invalid { field: "state batch" };
        let batch = StateBatch {
            first: reader.i64("first offset")?,
            last: reader.i64("last offset")?,
            state: DeliveryState::from_code(reader.i8("delivery state")?).ok_or(invalid)?,
            delivery_count: reader.i16("delivery count")?,
        };
        reader.tagged_fields(|_, _| Ok(()))?;
        if !batch.is_valid() {
            return Err(invalid);
        }
        batches.push(batch);
    }
    Ok(batches)
}

/// The bytes that Kafka 4.3 would write.
pub(crate) fn encode(key: &SharePartitionKey, record: &ShareRecord) -> (Bytes, Bytes) {
    let mut writer = Writer::default();
    writer.i16(VALUE_VERSION);
    let (key_version, count, batches) = match record {
        ShareRecord::Snapshot(snapshot) => {
            writer.i32(snapshot.snapshot_epoch);
            writer.i32(snapshot.state_epoch);
            writer.i32(snapshot.leader_epoch);
            writer.i64(snapshot.start_offset);
            writer.i64(snapshot.create_timestamp_ms);
            writer.i64(snapshot.write_timestamp_ms);
            (SNAPSHOT_KEY, snapshot.delivery_complete_count, &snapshot.batches)
        }
        ShareRecord::Update(update) => {
            writer.i32(update.snapshot_epoch);
            writer.i32(update.leader_epoch);
            writer.i64(update.start_offset);
            (UPDATE_KEY, update.delivery_complete_count, &update.batches)
        }
    };
    writer.compact_count(batches.len());
    for batch in batches {
        writer.i64(batch.first);
        writer.i64(batch.last);
        writer.i8(batch.state.code());
        writer.i16(batch.delivery_count);
        writer.no_tagged_fields();
    }
    if count == DELIVERY_COMPLETE_COUNT_UNKNOWN {
        writer.no_tagged_fields();
    } else {
        writer.tagged_field(DELIVERY_COMPLETE_COUNT_TAG, &count.to_be_bytes());
    }
    (encode_key(key_version, key), writer.finish())
}

/// The key of the tombstone that takes a share partition out.
pub(crate) fn tombstone_key(key: &SharePartitionKey) -> Bytes {
    encode_key(SNAPSHOT_KEY, key)
}

fn encode_key(version: i16, key: &SharePartitionKey) -> Bytes {
    let mut writer = Writer::default();
    writer.i16(version);
    writer.string(&key.group_id);
    writer.raw(key.topic_id.as_bytes());
    writer.i32(key.partition.0);
    writer.finish()
}

impl Snapshot {
    /// What is known once an update of it is written.
    pub(crate) fn apply(&mut self, update: &Update) {
        if update.start_offset != START_OFFSET_UNKNOWN {
            self.start_offset = update.start_offset;
        }
        if update.delivery_complete_count != DELIVERY_COMPLETE_COUNT_UNKNOWN {
            self.delivery_complete_count = update.delivery_complete_count;
        }
        self.leader_epoch = self.leader_epoch.max(update.leader_epoch);
        self.batches = crate::combine(&self.batches, &update.batches, self.start_offset);
    }
}
