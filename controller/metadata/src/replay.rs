//! Replay: the only code that changes an image.

use std::collections::BTreeMap;
use std::sync::Arc;

use moldau_model::{
    BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionEpoch, PartitionIndex, ProducerId, TopicId, Uuid,
};

use crate::{
    BrokerRegistration, ConfigResource, ConfigResourceType, LeaderRecoveryState, Listener, MetadataBatch,
    MetadataDelta, MetadataImage, MetadataPosition, PartitionRegistration, RecordKind, SecurityProtocol,
    SupportedFeatureRange, TopicImage, records,
};

/// Why a batch cannot be replayed. The log then is not what this image grew from, or was written by a newer version:
/// the process must stop, for to go on would be to act on metadata that nobody agreed on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    #[error("record {index} is of a kind that this version does not know")]
    UnknownRecordKind { index: usize },
    #[error("record {index} ({kind}) at offset {offset}: {reason}")]
    Invalid { index: usize, kind: &'static str, offset: i64, reason: String },
    #[error("the batch at offset {offset} does not come after {replayed}, up to which the log was replayed")]
    OutOfOrder { offset: i64, replayed: i64 },
}

impl MetadataImage {
    /// The image after `batch`, which stands at `offset` of the log and was written in `epoch` of the controller, and
    /// what it changed. This image stays as it is. All records take effect or none does.
    pub fn replay(
        &self,
        batch: &MetadataBatch,
        offset: Offset,
        epoch: LeaderEpoch,
    ) -> Result<(Self, MetadataDelta), ReplayError> {
        let after = self.replay_image(batch, offset, epoch)?;
        let delta = MetadataDelta::between(self, &after);
        Ok((after, delta))
    }

    /// [`Self::replay`] for who needs no delta.
    pub fn replay_image(
        &self,
        batch: &MetadataBatch,
        offset: Offset,
        epoch: LeaderEpoch,
    ) -> Result<Self, ReplayError> {
        if offset <= self.position.offset {
            return Err(ReplayError::OutOfOrder { offset: offset.0, replayed: self.position.offset.0 });
        }
        let mut after = self.clone();
        after.position = MetadataPosition { offset, epoch };
        after.replay_records(&batch.records, offset)?;
        Ok(after)
    }

    pub(crate) fn replay_records(
        &mut self,
        records: &[crate::MetadataRecord],
        offset: Offset,
    ) -> Result<(), ReplayError> {
        for (index, record) in records.iter().enumerate() {
            let kind = record.kind.as_ref().ok_or(ReplayError::UnknownRecordKind { index })?;
            self.replay_record(kind).map_err(|reason| ReplayError::Invalid {
                index,
                kind: record.name(),
                offset: offset.0,
                reason,
            })?;
        }
        Ok(())
    }

    fn replay_record(&mut self, kind: &RecordKind) -> Result<(), String> {
        match kind {
            RecordKind::RegisterBroker(record) => {
                let broker = registration(record)?;
                // The same incarnation may amend its registration; it keeps its epoch.
                let is_amended = |earlier: &BrokerRegistration| {
                    earlier.epoch == broker.epoch && earlier.incarnation_id == broker.incarnation_id
                };
                if let Some(earlier) = self.brokers.get(&broker.id)
                    && earlier.epoch >= broker.epoch
                    && !is_amended(earlier)
                {
                    return Err(format!("broker epoch {} follows {}", broker.epoch, earlier.epoch));
                }
                self.brokers.insert(broker.id, Arc::new(broker));
            }
            RecordKind::UnregisterBroker(record) => {
                self.registered(record.broker_id, record.broker_epoch)?;
                self.brokers.remove(&BrokerId(record.broker_id));
            }
            RecordKind::BrokerRegistrationChange(record) => {
                let broker = self.registered(record.broker_id, record.broker_epoch)?;
                broker.fenced = record.fenced.unwrap_or(broker.fenced);
                broker.in_controlled_shutdown =
                    record.in_controlled_shutdown.unwrap_or(broker.in_controlled_shutdown);
                if let Some(directories) = &record.log_directories {
                    broker.log_directories = uuids(&directories.ids)?;
                }
                if let Some(directories) = &record.full_log_directories {
                    broker.full_log_directories = uuids(&directories.ids)?;
                }
                if let Some(directories) = &record.cordoned_log_directories {
                    broker.cordoned_log_directories = uuids(&directories.ids)?;
                }
            }
            RecordKind::Topic(record) => self.replay_topic(record)?,
            RecordKind::RemoveTopic(record) => self.replay_remove_topic(record)?,
            RecordKind::Partition(record) => self.replay_partition(record)?,
            RecordKind::PartitionChange(record) => self.replay_partition_change(record)?,
            RecordKind::Config(record) => self.replay_config(record)?,
            RecordKind::ProducerIds(record) => {
                if record.next_producer_id < self.next_producer_id.0 {
                    return Err(format!("producer ids fall back from {}", self.next_producer_id));
                }
                self.next_producer_id = ProducerId(record.next_producer_id);
            }
            RecordKind::FeatureLevel(record) => {
                let level = i16::try_from(record.level).map_err(|_| format!("level {}", record.level))?;
                let features = Arc::make_mut(&mut self.features);
                if level == 0 {
                    features.remove(record.name.as_str());
                } else {
                    features.insert(record.name.as_str().into(), level);
                }
            }
            RecordKind::ClientQuota(record) => self.client_quotas.replay(record)?,
            RecordKind::UserScramCredential(record) => self.scram.replay(record)?,
            RecordKind::AccessControlEntry(record) => self.acls.replay_entry(record)?,
            RecordKind::RemoveAccessControlEntry(record) => self.acls.replay_removal(record)?,
            RecordKind::DelegationToken(record) => self.delegation_tokens.replay_token(record)?,
            RecordKind::RemoveDelegationToken(record) => self.delegation_tokens.replay_removal(record)?,
            RecordKind::NoOp(_) => {}
            RecordKind::Cluster(record) => match &self.cluster_id {
                Some(id) if **id != *record.cluster_id => {
                    return Err(format!("the cluster id is {id} already"));
                }
                _ => self.cluster_id = Some(record.cluster_id.as_str().into()),
            },
        }
        Ok(())
    }

    /// The registration of this id and epoch, to be changed.
    fn registered(&mut self, id: i32, epoch: i64) -> Result<&mut BrokerRegistration, String> {
        let broker =
            self.brokers.get_mut(&BrokerId(id)).ok_or_else(|| format!("broker {id} is not registered"))?;
        if broker.epoch != BrokerEpoch(epoch) {
            return Err(format!("broker {id} has epoch {}, not {epoch}", broker.epoch));
        }
        Ok(Arc::make_mut(broker))
    }

    fn replay_topic(&mut self, record: &records::Topic) -> Result<(), String> {
        let id = uuid(&record.topic_id)?;
        let name: Arc<str> = record.name.as_str().into();
        if self.topics.by_id.contains_key(&id) {
            return Err(format!("topic id {id} is in use"));
        }
        if self.topics.ids.insert(Arc::clone(&name), id).is_some() {
            return Err(format!("topic '{name}' exists"));
        }
        self.topics.by_id.insert(id, Arc::new(TopicImage::new(name, id)));
        Ok(())
    }

    fn replay_remove_topic(&mut self, record: &records::RemoveTopic) -> Result<(), String> {
        let id = uuid(&record.topic_id)?;
        let topic = self.topics.by_id.remove(&id).ok_or_else(|| format!("topic id {id} is unknown"))?;
        self.topics.ids.remove(topic.name());
        self.topics.partition_count -= topic.partitions.len();
        self.configs.resources.remove(&ConfigResource::topic(Arc::clone(topic.name())));
        Ok(())
    }

    fn topic_mut(&mut self, id: TopicId) -> Result<&mut TopicImage, String> {
        let topic = self.topics.by_id.get_mut(&id).ok_or_else(|| format!("topic id {id} is unknown"))?;
        Ok(Arc::make_mut(topic))
    }

    fn replay_partition(&mut self, record: &records::Partition) -> Result<(), String> {
        let partition = partition(record)?;
        partition.assert_invariants();
        let topic = self.topic_mut(uuid(&record.topic_id)?)?;
        let index = PartitionIndex(record.partition_index);
        if record.partition_index != topic.partition_count() {
            return Err(format!("partition {index} follows {} others", topic.partition_count()));
        }
        topic.partitions.insert(index, Arc::new(partition));
        self.topics.partition_count += 1;
        Ok(())
    }

    fn replay_partition_change(&mut self, record: &records::PartitionChange) -> Result<(), String> {
        let topic = self.topic_mut(uuid(&record.topic_id)?)?;
        let index = PartitionIndex(record.partition_index);
        let partition =
            topic.partitions.get_mut(&index).ok_or_else(|| format!("partition {index} is unknown"))?;
        let partition = Arc::make_mut(partition);
        let set = |field: &mut Vec<BrokerId>, change: &Option<records::BrokerIds>| {
            if let Some(change) = change {
                *field = broker_ids(&change.ids);
            }
        };
        set(&mut partition.replicas, &record.replicas);
        set(&mut partition.isr, &record.isr);
        set(&mut partition.adding_replicas, &record.adding_replicas);
        set(&mut partition.removing_replicas, &record.removing_replicas);
        set(&mut partition.elr, &record.eligible_leader_replicas);
        set(&mut partition.last_known_elr, &record.last_known_eligible_leader_replicas);
        if let Some(directories) = &record.directories {
            partition.directories = uuids(&directories.ids)?;
        }
        if let Some(state) = record.leader_recovery_state {
            partition.leader_recovery_state = recovery_state(state)?;
        }
        if let Some(leader) = record.leader {
            partition.leader = BrokerId(leader);
            partition.leader_epoch = partition.leader_epoch.next();
        }
        partition.partition_epoch = partition.partition_epoch.next();
        if partition.directories.len() != partition.replicas.len() {
            return Err("replicas and their directories differ in number".into());
        }
        partition.assert_invariants();
        Ok(())
    }

    fn replay_config(&mut self, record: &records::Config) -> Result<(), String> {
        let resource_type = i8::try_from(record.resource_type).ok().and_then(ConfigResourceType::from_code);
        let resource_type = resource_type
            .ok_or_else(|| format!("config resource type {} is unknown", record.resource_type))?;
        let resource = ConfigResource::new(resource_type, record.resource_name.as_str());
        let resources = &mut self.configs.resources;
        if let Some(value) = &record.value {
            if let Some(configs) = resources.get_mut(&resource) {
                Arc::make_mut(configs).insert(record.key.as_str().into(), value.as_str().into());
            } else {
                let configs = BTreeMap::from([(record.key.as_str().into(), value.as_str().into())]);
                resources.insert(resource, Arc::new(configs));
            }
        } else if let Some(configs) = resources.get_mut(&resource) {
            let configs = Arc::make_mut(configs);
            configs.remove(record.key.as_str());
            if configs.is_empty() {
                resources.remove(&resource);
            }
        }
        Ok(())
    }
}

fn uuid(bytes: &[u8]) -> Result<Uuid, String> {
    let bytes = bytes.try_into().map_err(|_| format!("an id of {} bytes", bytes.len()))?;
    Ok(Uuid::from_bytes(bytes))
}

fn uuids(ids: &[Vec<u8>]) -> Result<Vec<Uuid>, String> {
    ids.iter().map(|id| uuid(id)).collect()
}

fn broker_ids(ids: &[i32]) -> Vec<BrokerId> {
    ids.iter().copied().map(BrokerId).collect()
}

fn recovery_state(state: i32) -> Result<LeaderRecoveryState, String> {
    LeaderRecoveryState::try_from(state).map_err(|_| format!("leader recovery state {state} is unknown"))
}

fn registration(record: &records::RegisterBroker) -> Result<BrokerRegistration, String> {
    let listener = |listener: &records::BrokerListener| {
        Ok(Listener {
            name: listener.name.as_str().into(),
            host: listener.host.as_str().into(),
            port: u16::try_from(listener.port).map_err(|_| format!("port {}", listener.port))?,
            security_protocol: SecurityProtocol::from_code(listener.security_protocol)
                .ok_or_else(|| format!("security protocol {} is unknown", listener.security_protocol))?,
        })
    };
    let feature = |feature: &records::SupportedFeature| {
        let level = |level: i32| i16::try_from(level).map_err(|_| format!("level {level}"));
        Ok(SupportedFeatureRange {
            name: feature.name.as_str().into(),
            min_level: level(feature.min_level)?,
            max_level: level(feature.max_level)?,
        })
    };
    Ok(BrokerRegistration {
        id: BrokerId(record.broker_id),
        epoch: BrokerEpoch(record.broker_epoch),
        incarnation_id: uuid(&record.incarnation_id)?,
        listeners: record.listeners.iter().map(listener).collect::<Result<_, String>>()?,
        features: record.features.iter().map(feature).collect::<Result<_, String>>()?,
        rack: record.rack.as_deref().map(Into::into),
        fenced: record.fenced,
        in_controlled_shutdown: record.in_controlled_shutdown,
        log_directories: uuids(&record.log_directories)?,
        full_log_directories: uuids(&record.full_log_directories)?,
        cordoned_log_directories: uuids(&record.cordoned_log_directories)?,
    })
}

fn partition(record: &records::Partition) -> Result<PartitionRegistration, String> {
    if record.directories.len() != record.replicas.len() {
        return Err("replicas and their directories differ in number".into());
    }
    Ok(PartitionRegistration {
        replicas: broker_ids(&record.replicas),
        directories: uuids(&record.directories)?,
        isr: broker_ids(&record.isr),
        elr: broker_ids(&record.eligible_leader_replicas),
        last_known_elr: broker_ids(&record.last_known_eligible_leader_replicas),
        adding_replicas: broker_ids(&record.adding_replicas),
        removing_replicas: broker_ids(&record.removing_replicas),
        leader: BrokerId(record.leader),
        leader_recovery_state: recovery_state(record.leader_recovery_state)?,
        leader_epoch: LeaderEpoch(record.leader_epoch),
        partition_epoch: PartitionEpoch(record.partition_epoch),
    })
}

#[cfg(test)]
mod tests;
