//! A transaction's value, versions 0 and 1.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use moldau_model::{PartitionIndex, ProducerEpoch, ProducerId, TimestampMs, TopicPartition};

use super::RecordError;
use super::wire::{Reader, Writer};
use crate::state::TransactionState;
use crate::transaction::Transaction;

/// Version 1 is flexible; what it has more is in tagged fields. It is written from `transaction.version` 1 on.
const FLEXIBLE_VERSION: i16 = 1;
const PREVIOUS_PRODUCER_ID_TAG: u32 = 0;
const NEXT_PRODUCER_ID_TAG: u32 = 1;
const CLIENT_VERSION_TAG: u32 = 2;

pub(crate) fn decode_value(value: &[u8]) -> Result<Transaction, RecordError> {
    let mut reader = Reader::new(value);
    let version = reader.i16("value version")?;
    if !(0..=FLEXIBLE_VERSION).contains(&version) {
        return Err(RecordError::UnknownValueVersion(version));
    }
    reader.is_flexible = version >= FLEXIBLE_VERSION;
    let mut transaction = Transaction {
        producer_id: ProducerId(reader.i64("producer id")?),
        previous_producer_id: ProducerId::NONE,
        next_producer_id: ProducerId::NONE,
        producer_epoch: ProducerEpoch(reader.i16("producer epoch")?),
        last_producer_epoch: ProducerEpoch::NONE,
        timeout_ms: reader.i32("timeout")?,
        state: decode_state(&mut reader)?,
        partitions: decode_partitions(&mut reader)?,
        updated_at: TimestampMs(reader.i64("last update")?),
        started_at: TimestampMs(reader.i64("start")?),
        client_version: 0,
    };
    reader.tagged_fields(|tag, field| {
        match tag {
            PREVIOUS_PRODUCER_ID_TAG => {
                transaction.previous_producer_id = ProducerId(field.i64("previous producer id")?);
            }
            NEXT_PRODUCER_ID_TAG => transaction.next_producer_id = ProducerId(field.i64("next producer id")?),
            CLIENT_VERSION_TAG => transaction.client_version = field.i16("client's version")?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(transaction)
}

/// States that are never written have no place in a record.
fn decode_state(reader: &mut Reader<'_>) -> Result<TransactionState, RecordError> {
    let state = TransactionState::from_id(reader.i8("state")?);
    state
        .filter(|state| state.is_at_rest() || state.is_ending() || *state == TransactionState::Ongoing)
        .ok_or(RecordError::Invalid { field: "state" })
}

fn decode_partitions(reader: &mut Reader<'_>) -> Result<BTreeSet<TopicPartition>, RecordError> {
    let mut partitions = BTreeSet::new();
    for _ in 0..reader.nullable_count("partitions")?.unwrap_or(0) {
        let topic: Arc<str> = reader.string("topic")?.into();
        for _ in 0..reader.count("partition ids")? {
            let partition = PartitionIndex(reader.i32("partition id")?);
            partitions.insert(TopicPartition { topic: Arc::clone(&topic), partition });
        }
        reader.tagged_fields(|_, _| Ok(()))?;
    }
    Ok(partitions)
}

/// The bytes that Kafka 4.3 would write where `transaction.version` is this.
pub(crate) fn encode_value(transaction: &Transaction, transaction_version: i16) -> Bytes {
    let version = if transaction_version >= 1 { FLEXIBLE_VERSION } else { 0 };
    let mut writer = Writer::default();
    writer.is_flexible = version >= FLEXIBLE_VERSION;
    writer.i16(version);
    writer.i64(transaction.producer_id.0);
    writer.i16(transaction.producer_epoch.0);
    writer.i32(transaction.timeout_ms);
    writer.i8(transaction.state.id());
    encode_partitions(&mut writer, transaction);
    writer.i64(transaction.updated_at.0);
    writer.i64(transaction.started_at.0);
    let mut tagged: Vec<(u32, Vec<u8>)> = Vec::new();
    for (tag, id) in [
        (PREVIOUS_PRODUCER_ID_TAG, transaction.previous_producer_id),
        (NEXT_PRODUCER_ID_TAG, transaction.next_producer_id),
    ] {
        if id != ProducerId::NONE {
            tagged.push((tag, id.0.to_be_bytes().to_vec()));
        }
    }
    if transaction.client_version != 0 {
        tagged.push((CLIENT_VERSION_TAG, transaction.client_version.to_be_bytes().to_vec()));
    }
    writer.tagged_fields(&tagged);
    writer.finish()
}

fn encode_partitions(writer: &mut Writer, transaction: &Transaction) {
    // Kafka writes null where no transaction has begun yet.
    if transaction.state == TransactionState::Empty {
        return writer.count(None);
    }
    let mut by_topic: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in &transaction.partitions {
        by_topic.entry(&partition.topic).or_default().push(partition.partition.0);
    }
    writer.count(Some(by_topic.len()));
    for (topic, partitions) in by_topic {
        writer.string(topic);
        writer.count(Some(partitions.len()));
        for partition in partitions {
            writer.i32(partition);
        }
        writer.tagged_fields(&[]);
    }
}
